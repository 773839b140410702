//! How far each file was read: the rows of `runchain_ingest_files`.
//!
//! A file is known by its inode, the hash of its head, and what stands right before its checkpoint
//! (`tail.rs`). What is shorter than its checkpoint, or differs there, is another file (truncated,
//! replaced, a reused inode): a new row from offset 0; deduplication by event id takes care of what it
//! repeats. A known file under another path was renamed by rotation and goes on where it was.

use super::file::LogFile;
use super::tail;
use crate::Millis;
use crate::error::{During, Result};
use rusqlite::{Connection, Row};
use serde::Serialize;

/// What a file is to the checkpoints that are there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// Never seen, and nothing else was read under its path.
    #[default]
    New,
    /// It goes on where it was.
    Known,
    /// The same, under a new path.
    Renamed,
    /// Shorter than its checkpoint: read from its beginning.
    Truncated,
    /// The same inode with another content, by copy-truncate or reuse: read from its beginning.
    Rewritten,
    /// Another file stood under this path before: read from its beginning.
    Replaced,
}

/// The columns that ingesting changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileRow {
    path: String,
    device: i64,
    head_bytes: u64,
    head_sha256: String,
    pub(super) size_bytes: u64,
    /// Everything before it is stored or rejected.
    pub(super) offset_bytes: u64,
    pub(super) lines: u64,
    pub(super) stored: u64,
    pub(super) duplicates: u64,
    pub(super) rejected: u64,
    pub(super) stored_bytes: u64,
    pub(super) rejected_bytes: u64,
}

/// A file's row, as it is being moved on by a batch.
#[derive(Debug, Clone)]
pub(super) struct Checkpoint {
    pub(super) id: i64,
    pub(super) row: FileRow,
    /// Why it is this row.
    pub(super) identity: Identity,
    loaded: FileRow,
}

const COLUMNS: &str = "id, path, device, head_bytes, head_sha256, size_bytes, offset_bytes, lines, stored,
    duplicates, rejected, stored_bytes, rejected_bytes";

impl Checkpoint {
    /// The row of this file inside the batch's transaction, made if there is none.
    pub(super) fn locate(conn: &Connection, log: &LogFile, now: Millis) -> Result<Self> {
        let same_inode = Self::query(conn, "inode = ?1", log.inode)?;
        let mut known = Vec::new();
        for candidate in &same_inode {
            if candidate.is(conn, log)? {
                known.push(candidate);
            }
        }
        // The device is only a hint: it decides between equals.
        let known = known
            .into_iter()
            .max_by_key(|candidate| (candidate.row.device == log.device, candidate.id));
        let mut checkpoint = match known {
            Some(known) => Self {
                identity: if known.row.path == log.path {
                    Identity::Known
                } else {
                    Identity::Renamed
                },
                ..known.clone()
            },
            None => {
                let identity = Self::of_unknown(conn, log, &same_inode)?;
                Self {
                    identity,
                    ..Self::insert(conn, log, now)?
                }
            }
        };
        checkpoint.meet(log);
        Ok(checkpoint)
    }

    /// The row that an earlier batch of the same call used; if it has gone since, the file is new.
    pub(super) fn again(conn: &Connection, log: &LogFile, id: i64, now: Millis) -> Result<Self> {
        let Some(mut checkpoint) = Self::query(conn, "id = ?1", id)?.into_iter().next() else {
            return Self::locate(conn, log, now);
        };
        checkpoint.meet(log);
        Ok(checkpoint)
    }

    fn meet(&mut self, log: &LogFile) {
        let row = &mut self.row;
        row.path.clone_from(&log.path);
        row.device = log.device;
        // The head of a young file is still growing.
        if row.head_bytes < log.head.len() as u64 {
            row.head_bytes = log.head.len() as u64;
            row.head_sha256 = log.head_sha256(log.head.len()).unwrap_or_default();
        }
    }

    fn is(&self, conn: &Connection, log: &LogFile) -> Result<bool> {
        let head = usize::try_from(self.row.head_bytes)
            .ok()
            .and_then(|bytes| log.head_sha256(bytes));
        Ok(self.row.offset_bytes <= log.size_bytes
            && head.as_deref() == Some(self.row.head_sha256.as_str())
            && tail::is_unchanged(conn, log, self.id, self.row.offset_bytes)?)
    }

    fn of_unknown(conn: &Connection, log: &LogFile, same_inode: &[Self]) -> Result<Identity> {
        let newest = same_inode
            .iter()
            .filter(|row| row.row.device == log.device && row.row.path == log.path)
            .max_by_key(|row| row.id);
        if let Some(newest) = newest {
            return Ok(if newest.row.offset_bytes > log.size_bytes {
                Identity::Truncated
            } else {
                Identity::Rewritten
            });
        }
        let seen = Self::query(conn, "path = ?1", &log.path)?;
        Ok(if seen.is_empty() {
            Identity::New
        } else {
            Identity::Replaced
        })
    }

    fn query(conn: &Connection, condition: &str, key: impl rusqlite::ToSql) -> Result<Vec<Self>> {
        let sql = format!("SELECT {COLUMNS} FROM runchain_ingest_files WHERE {condition}");
        conn.prepare_cached(&sql)
            .and_then(|mut statement| {
                let rows = statement.query_map([key], Self::read)?;
                rows.collect()
            })
            .during("read the checkpoint of an event log")
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let loaded = FileRow {
            path: row.get(1)?,
            device: row.get(2)?,
            head_bytes: unsigned(row, 3)?,
            head_sha256: row.get(4)?,
            size_bytes: unsigned(row, 5)?,
            offset_bytes: unsigned(row, 6)?,
            lines: unsigned(row, 7)?,
            stored: unsigned(row, 8)?,
            duplicates: unsigned(row, 9)?,
            rejected: unsigned(row, 10)?,
            stored_bytes: unsigned(row, 11)?,
            rejected_bytes: unsigned(row, 12)?,
        };
        Ok(Self {
            id: row.get(0)?,
            row: loaded.clone(),
            identity: Identity::Known,
            loaded,
        })
    }

    fn insert(conn: &Connection, log: &LogFile, now: Millis) -> Result<Self> {
        conn.prepare_cached(
            "INSERT INTO runchain_ingest_files(path, inode, device, head_bytes, head_sha256, size_bytes,
                                               first_read_ms, last_read_ms)
             VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6, ?6)",
        )
        .and_then(|mut statement| {
            statement.insert((
                &log.path,
                log.inode,
                log.device,
                log.head_sha256(0),
                log.size_bytes as i64,
                now,
            ))
        })
        .during("record a new event log")
        .and_then(|id| {
            let found = Self::query(conn, "id = ?1", id)?;
            found
                .into_iter()
                .next()
                .ok_or(rusqlite::Error::QueryReturnedNoRows)
                .during("read the checkpoint of an event log")
        })
    }

    /// Writes the row back, where anything changed.
    pub(super) fn save(&self, conn: &Connection, log: &LogFile, now: Millis) -> Result<()> {
        if self.row == self.loaded {
            return Ok(());
        }
        if self.row.offset_bytes != self.loaded.offset_bytes {
            tail::keep(conn, log, self.id, self.row.offset_bytes)?;
        }
        let row = &self.row;
        conn.prepare_cached(
            "UPDATE runchain_ingest_files
             SET path = ?2, device = ?3, head_bytes = ?4, head_sha256 = ?5, size_bytes = ?6, offset_bytes = ?7,
                 lines = ?8, stored = ?9, duplicates = ?10, rejected = ?11, stored_bytes = ?12,
                 rejected_bytes = ?13, last_read_ms = ?14
             WHERE id = ?1",
        )
        .and_then(|mut statement| {
            statement.execute((
                self.id,
                &row.path,
                row.device,
                row.head_bytes as i64,
                &row.head_sha256,
                row.size_bytes as i64,
                row.offset_bytes as i64,
                row.lines as i64,
                row.stored as i64,
                row.duplicates as i64,
                row.rejected as i64,
                row.stored_bytes as i64,
                row.rejected_bytes as i64,
                now,
            ))
        })
        .during("move the checkpoint of an event log")
        .map(drop)
    }
}

/// Counts and offsets are never negative; SQLite just has no type that says so.
fn unsigned(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(index).map(i64::unsigned_abs)
}
