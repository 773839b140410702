//! What the database says of the space on its disk, for whoever can wait.
//!
//! The executor's service raises an alert when the disk has run full, and resolves it when there is room
//! again. What does not belong here: looking at the disk, and raising the alert; the service does.

use crate::error::{During, Error, Result};
use crate::schema;
use rusqlite::Connection;

/// Fingerprint of the alert of a full disk in `runchain_alerts`.
pub const DISK_LOW_FINGERPRINT: &str = "[\"disk_low\"]";

/// Whether the disk has run full, and no service has said since that there is room again.
///
/// # Errors
/// Whatever SQLite answers.
pub fn is_low(conn: &Connection) -> Result<bool> {
    if !schema::table_exists(conn, "runchain_alerts")? {
        return Ok(false);
    }
    conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM runchain_alerts WHERE fingerprint = ?1 AND state <> 'resolved')",
    )
    .and_then(|mut statement| statement.query_row([DISK_LOW_FINGERPRINT], |row| row.get(0)))
    .during("look for the alert of a full disk")
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
