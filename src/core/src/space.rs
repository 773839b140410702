//! What the database says of the space on its disk, for whoever can wait.
//!
//! The executor's service raises an alert when the disk has run full, and resolves it when there is room
//! again. What does not belong here: looking at the disk, and raising the alert; the service does.

use crate::alert::{self, Own};
use crate::error::{Error, Result};
use rusqlite::Connection;

/// Whether the disk has run full, and no service has said since that there is room again.
///
/// # Errors
/// Whatever SQLite answers.
pub fn is_low(conn: &Connection) -> Result<bool> {
    alert::is_open(conn, Own::DiskLow, &[])
}

/// Refuses what can wait while space is low.
///
/// # Errors
/// The refusal; whatever SQLite answers.
pub fn refuse_while_low(conn: &Connection) -> Result<()> {
    if !is_low(conn)? {
        return Ok(());
    }
    Err(Error::refused(
        "the database's disk has run full, and reading event logs in can wait",
        "free some space; when runchain drain has said that there is room again, ingest",
    ))
}
