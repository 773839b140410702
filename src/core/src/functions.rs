//! The SQL functions, one implementation for every host.

use crate::error::{During, Error, Result};
use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;

/// Which functions a connection gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// All of them.
    Full,
    /// Nothing that reads or writes files.
    NoFiles,
}

/// Registers runchain's SQL functions on a connection.
///
/// # Errors
/// Whatever SQLite answers.
pub fn register(conn: &Connection, surface: Surface) -> Result<()> {
    conn.create_scalar_function(
        "runchain_version",
        0,
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS,
        |_| Ok(env!("CARGO_PKG_VERSION")),
    )
    .during("register runchain_version")?;
    if surface == Surface::Full {
        conn.create_scalar_function(
            "ingest_events",
            1,
            FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DIRECTONLY,
            |_| -> rusqlite::Result<i64> {
                let error = Error::refused("ingest_events is not built yet", "wait for it");
                Err(rusqlite::Error::UserFunctionError(error.into()))
            },
        )
        .during("register ingest_events")?;
    }
    Ok(())
}
