//! What lies under the database: whether WAL is safe there, and whether every change is reported.
//!
//! A database in WAL on a file system without memory that all processes share is damaged by being used,
//! so it is refused before it is opened, where its `-wal` shows it.

use super::access::beside;
use super::{OpenError, Problem};
use crate::config::Settings;
use runchain_core::file_system::{self, Under};
use rusqlite::Connection;
use std::path::{Path, PathBuf};

/// The file system of a database; one that can't be asked is taken for a local one.
pub(crate) fn under(database: &Path) -> Under {
    let file = std::fs::canonicalize(database).unwrap_or_else(|_| database.to_owned());
    let folder = file.parent().unwrap_or(Path::new("/"));
    file_system::under(folder).unwrap_or(Under::NotAsked)
}

/// Refuses WAL where it is not safe, unless the configuration takes that on itself: by what lies beside
/// the file, and once it is open by its own word.
///
/// # Errors
/// [`Problem::WalOnShared`].
pub(crate) fn refuse_unsafe_wal(settings: &Settings, conn: Option<&Connection>) -> Result<(), OpenError> {
    let path: PathBuf =
        std::path::absolute(&settings.state_db_path).unwrap_or_else(|_| settings.state_db_path.clone());
    let Under::Known(found) = under(&path) else {
        return Ok(());
    };
    if found.trust.has_coherent_memory() || settings.allow_shared_wal {
        return Ok(());
    }
    let real = std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
    let is_wal = match conn {
        None => beside(&real, "-wal").exists(),
        Some(conn) => conn
            .query_row("PRAGMA main.journal_mode", [], |row| row.get::<_, String>(0))
            .is_ok_and(|mode| mode.eq_ignore_ascii_case("wal")),
    };
    if !is_wal {
        return Ok(());
    }
    Err(OpenError {
        path,
        problem: Problem::WalOnShared { name: found.name },
    })
}
