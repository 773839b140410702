//! The SQL functions, one implementation for every host.

use crate::error::{During, Result};
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
    let _ = surface;
    conn.create_scalar_function(
        "runchain_version",
        0,
        FunctionFlags::SQLITE_UTF8
            | FunctionFlags::SQLITE_DETERMINISTIC
            | FunctionFlags::SQLITE_INNOCUOUS,
        |_| Ok(env!("CARGO_PKG_VERSION")),
    )
    .during("register runchain_version")
}
