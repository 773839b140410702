//! One log and how far it is written: in the file, and by the cursor in the database.

use super::logfile::LogFile;
use runchain_core::error::{During, Error, Result};
use runchain_core::event::Log;
use rusqlite::{Connection, OptionalExtension};
use std::path::{Path, PathBuf};

/// One log and how far it is written.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) log: Log,
    pub(super) path: PathBuf,
    /// `None` after a failure: the end of the file has to be looked at again.
    pub(super) file: Option<LogFile>,
    /// Every event up to this id that belongs to the log stands in it.
    pub(super) position: i64,
    /// The position that `runchain_cursors` holds.
    pub(super) stored: i64,
}

impl Track {
    pub(super) fn new(log: Log, folder: &Path, conn: &Connection) -> Result<Self> {
        let stored = conn
            .prepare_cached("SELECT event_id FROM runchain_cursors WHERE name = ?1")
            .and_then(|mut statement| {
                statement
                    .query_row([cursor_name(log)], |row| row.get(0))
                    .optional()
            })
            .during("read a log cursor")?
            .unwrap_or(0);
        Ok(Self {
            log,
            path: folder.join(log.file_name()),
            file: None,
            position: stored,
            stored,
        })
    }

    pub(super) fn append(&mut self, lines: &str, durable: bool) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        // Taken out, so that a failure leaves the file to be recovered.
        let Some(mut file) = self.file.take() else {
            return Err(Error::refused(
                format!("{} is not open", self.path.display()),
                "project again",
            ));
        };
        file.append(lines, durable)?;
        self.file = Some(file);
        Ok(())
    }
}

fn cursor_name(log: Log) -> &'static str {
    match log {
        Log::Monitor => "log.monitor",
        Log::Archival => "log.archival",
    }
}

/// Inside a transaction of the caller's.
pub(super) fn store_cursor(conn: &Connection, log: Log, event_id: i64) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO runchain_cursors(name, event_id) VALUES (?1, ?2) \
         ON CONFLICT(name) DO UPDATE SET event_id = excluded.event_id",
    )
    .and_then(|mut statement| statement.execute((cursor_name(log), event_id)))
    .during("store a log cursor")?;
    Ok(())
}
