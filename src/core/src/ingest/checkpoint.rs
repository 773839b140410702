//! How far each file was read: the rows of `runchain_ingest_files`.
//!
//! A file is known by its inode, the hash of its head and that of what stood before the checkpoint. What
//! is shorter than its checkpoint, or has other bytes there, is another file (truncated, rewritten,
//! replaced, a reused inode): a new row from offset 0; deduplication by event id takes care of what it
//! repeats. A known file under another path was renamed by rotation and goes on where it was.

use super::file::LogFile;
use super::format::{Format, Preset};
use super::reading::{Chosen, ChosenBy, Reading};
use crate::Millis;
use crate::error::{During, Result};
use rusqlite::{Connection, Row};
use serde::Serialize;
use std::sync::Arc;

/// What a file is to the checkpoints that are there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// Never seen, and no row has its path.
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
#[derive(Debug)]
pub(super) struct Checkpoint {
    pub(super) id: i64,
    inode: i64,
    pub(super) row: FileRow,
    pub(super) reading: Reading,
    /// Why it is this row.
    pub(super) identity: Identity,
    loaded: FileRow,
    /// `None`: it has no row yet.
    loaded_reading: Option<Reading>,
}

/// What the checkpoints tell of a file.
pub(super) enum Known {
    /// It goes on here.
    Row(Box<Checkpoint>),
    /// No row fits it.
    Nothing,
    /// Somebody has read further than it reached when it was opened: what was seen of it then is too old
    /// to be judged by the checkpoint.
    Ahead,
}

const COLUMNS: &str =
    "id, inode, path, device, head_bytes, head_sha256, size_bytes, offset_bytes, lines, stored,
    duplicates, rejected, stored_bytes, rejected_bytes";

impl Checkpoint {
    /// The row of this file inside the batch's transaction, made if there is none; `None`: the file has to
    /// be opened again, see [`Known::Ahead`]. `known` is the row that an earlier batch of the same call used.
    pub(super) fn locate(
        conn: &Connection,
        log: &LogFile,
        known: Option<i64>,
        now: Millis,
    ) -> Result<Option<Self>> {
        let found = match known {
            Some(id) => Self::query(conn, "id = ?1", id)?.into_iter().next(),
            None => match Self::find(conn, log)? {
                Known::Row(found) => Some(*found),
                Known::Nothing => None,
                Known::Ahead => return Ok(None),
            },
        };
        let mut checkpoint = match found {
            Some(checkpoint) => checkpoint,
            None => {
                let identity = Self::of_unknown(conn, log)?;
                Self {
                    identity,
                    ..Self::insert(conn, log, now)?
                }
            }
        };
        if checkpoint.identity == Identity::Known && checkpoint.row.path != log.path {
            checkpoint.identity = Identity::Renamed;
        }
        let row = &mut checkpoint.row;
        row.path.clone_from(&log.path);
        row.device = log.device;
        // The head of a young file is still growing.
        if row.head_bytes < log.head.len() as u64 {
            row.head_bytes = log.head.len() as u64;
            row.head_sha256 = log.head_sha256(log.head.len()).unwrap_or_default();
        }
        Ok(Some(checkpoint))
    }

    /// The row of this file, if it has one.
    pub(super) fn find(conn: &Connection, log: &LogFile) -> Result<Known> {
        let candidates = Self::query(conn, "inode = ?1", log.inode)?;
        if candidates.iter().any(|one| one.reach() > log.size_bytes) {
            let size_bytes = log.size_bytes_now()?;
            let has_come = |one: &Self| one.reach() > log.size_bytes && one.reach() <= size_bytes;
            if candidates.iter().any(has_come) {
                return Ok(Known::Ahead);
            }
        }
        let mut found: Option<Self> = None;
        for candidate in candidates {
            // The device is only a hint: it decides between equals.
            let rank = |one: &Self| (one.row.device == log.device, one.id);
            let is_better = found.as_ref().is_none_or(|old| rank(old) < rank(&candidate));
            if is_better && candidate.is(log) && candidate.reading.fits(log)? {
                found = Some(candidate);
            }
        }
        Ok(found.map_or(Known::Nothing, |found| Known::Row(Box::new(found))))
    }

    /// Bytes that a file has at least, to fit.
    fn reach(&self) -> u64 {
        self.row.offset_bytes.max(self.row.head_bytes)
    }

    /// Why a file has no row that fits it.
    fn of_unknown(conn: &Connection, log: &LogFile) -> Result<Identity> {
        let seen = Self::query(conn, "path = ?1", &log.path)?;
        let newest = seen
            .iter()
            .filter(|old| (old.inode, old.row.device) == (log.inode, log.device))
            .max_by_key(|old| old.id);
        if let Some(old) = newest {
            Self::close(conn, old.id)?;
        }
        Ok(match newest {
            Some(old) if old.row.offset_bytes > log.size_bytes => Identity::Truncated,
            Some(_) => Identity::Rewritten,
            None if seen.is_empty() => Identity::New,
            None => Identity::Replaced,
        })
    }

    /// What a file held that was cut off or written over is gone: nothing of it is pending any more.
    fn close(conn: &Connection, id: i64) -> Result<()> {
        conn.prepare_cached(
            "UPDATE runchain_ingest_files SET size_bytes = offset_bytes WHERE id = ?1 AND size_bytes > offset_bytes",
        )
        .and_then(|mut statement| statement.execute([id]))
        .during("close the checkpoint of an event log")
        .map(drop)
    }

    /// How the file is to be understood from here on: as the caller says, as before, or (`None`) as its
    /// first event will tell.
    pub(super) fn choose(&mut self, given: Option<&Arc<Format>>) -> Option<Arc<Format>> {
        if let Some(format) = given {
            self.reading.chosen = Some(Chosen {
                format: Arc::clone(format),
                by: ChosenBy::Given,
            });
        } else if self.loaded_reading.is_none() && self.row.offset_bytes > 0 {
            // An earlier version has begun it, which knew one format.
            self.reading.chosen = Some(Chosen {
                format: Format::preset(Preset::Pattern),
                by: ChosenBy::Detected,
            });
        }
        self.reading
            .chosen
            .as_ref()
            .map(|chosen| Arc::clone(&chosen.format))
    }

    fn is(&self, log: &LogFile) -> bool {
        let head = usize::try_from(self.row.head_bytes)
            .ok()
            .and_then(|bytes| log.head_sha256(bytes));
        self.row.offset_bytes <= log.size_bytes && head.as_deref() == Some(self.row.head_sha256.as_str())
    }

    fn query(conn: &Connection, condition: &str, key: impl rusqlite::ToSql) -> Result<Vec<Self>> {
        let sql = format!("SELECT {COLUMNS} FROM runchain_ingest_files WHERE {condition}");
        let mut found: Vec<Self> = conn
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                let rows = statement.query_map([key], Self::read)?;
                rows.collect()
            })
            .during("read the checkpoint of an event log")?;
        for checkpoint in &mut found {
            checkpoint.loaded_reading = Reading::load(conn, checkpoint.id)?;
            checkpoint.reading = checkpoint.loaded_reading.clone().unwrap_or_default();
        }
        Ok(found)
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let loaded = FileRow {
            path: row.get(2)?,
            device: row.get(3)?,
            head_bytes: unsigned(row, 4)?,
            head_sha256: row.get(5)?,
            size_bytes: unsigned(row, 6)?,
            offset_bytes: unsigned(row, 7)?,
            lines: unsigned(row, 8)?,
            stored: unsigned(row, 9)?,
            duplicates: unsigned(row, 10)?,
            rejected: unsigned(row, 11)?,
            stored_bytes: unsigned(row, 12)?,
            rejected_bytes: unsigned(row, 13)?,
        };
        Ok(Self {
            id: row.get(0)?,
            inode: row.get(1)?,
            row: loaded.clone(),
            reading: Reading::default(),
            identity: Identity::Known,
            loaded,
            loaded_reading: None,
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
    pub(super) fn save(&self, conn: &Connection, now: Millis) -> Result<()> {
        if self.loaded_reading.as_ref() != Some(&self.reading) && self.reading != Reading::default() {
            self.reading.save(conn, self.id)?;
        }
        if self.row == self.loaded {
            return Ok(());
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
