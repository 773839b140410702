//! What else is known of a file: how its lines are understood, and what stood before its checkpoint.
//!
//! The format is decided once, by the caller or by the first event, and kept with the file, so that it
//! doesn't change in the middle. The bytes before the checkpoint tell a file that grew from one that
//! was rewritten with the same beginning. Both stand in a table of their own, because
//! `runchain_ingest_files` is older; no row there means that nothing is known.

use super::file::{LogFile, sha256};
use super::format::{Format, Preset};
use crate::error::{During, Error, Result};
use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;
use std::sync::Arc;

/// So much before the checkpoint is compared.
pub(super) const TAIL_BYTES: usize = 1024;

/// Who said how a file is to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChosenBy {
    /// Its first event.
    Detected,
    /// The caller, now or at an earlier call.
    Given,
}

impl ChosenBy {
    fn word(self) -> &'static str {
        match self {
            Self::Detected => "detected",
            Self::Given => "given",
        }
    }

    fn named(word: &str) -> Self {
        if word == Self::Given.word() {
            Self::Given
        } else {
            Self::Detected
        }
    }
}

/// How a file is understood.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chosen {
    pub(super) format: Arc<Format>,
    pub(super) by: ChosenBy,
}

/// Some bytes of a file and where they end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tail {
    end: u64,
    length: u64,
    sha256: String,
}

/// A file's row in `runchain_ingest_readings`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Reading {
    pub(super) chosen: Option<Chosen>,
    /// Times that were kept as text.
    pub(super) unread_times: u64,
    tail: Option<Tail>,
}

impl Reading {
    /// What is known of a file, if anything.
    pub(super) fn load(conn: &Connection, file_id: i64) -> Result<Option<Self>> {
        let row = conn
            .prepare_cached(
                "SELECT format, chosen_by, mapping, unread_times, tail_end_bytes, tail_bytes, tail_sha256
                 FROM runchain_ingest_readings WHERE file_id = ?1",
            )
            .and_then(|mut statement| statement.query_row([file_id], Stored::read).optional())
            .during("read how an event log is understood")?;
        row.map(|stored| stored.understand(file_id)).transpose()
    }

    /// Writes the row.
    pub(super) fn save(&self, conn: &Connection, file_id: i64) -> Result<()> {
        let chosen = self.chosen.as_ref();
        let mapping = chosen.and_then(|chosen| chosen.format.as_mapping());
        let tail = self.tail.as_ref();
        conn.prepare_cached(
            "INSERT OR REPLACE INTO runchain_ingest_readings(file_id, format, chosen_by, mapping, unread_times,
                                                             tail_end_bytes, tail_bytes, tail_sha256)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )
        .and_then(|mut statement| {
            statement.execute((
                file_id,
                chosen.map(|chosen| chosen.format.name()),
                chosen.map(|chosen| chosen.by.word()),
                mapping.map(|mapping| serde_json::Value::from(mapping.clone()).to_string()),
                self.unread_times as i64,
                tail.map(|tail| tail.end as i64),
                tail.map(|tail| tail.length as i64),
                tail.map(|tail| tail.sha256.as_str()),
            ))
        })
        .during("keep how an event log is understood")
        .map(drop)
    }

    /// Remembers the bytes that end at `end`.
    pub(super) fn mark(&mut self, end: u64, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.tail = Some(Tail {
                end,
                length: bytes.len() as u64,
                sha256: sha256(bytes),
            });
        }
    }

    /// Whether the file still has what stood before its checkpoint.
    pub(super) fn fits(&self, log: &LogFile) -> Result<bool> {
        let Some(tail) = &self.tail else {
            return Ok(true);
        };
        let length = usize::try_from(tail.length).unwrap_or(TAIL_BYTES).min(TAIL_BYTES);
        let bytes = log.read_before(tail.end, length)?;
        Ok(sha256(&bytes) == tail.sha256)
    }
}

/// The row as it stands.
struct Stored {
    format: Option<String>,
    chosen_by: Option<String>,
    mapping: Option<String>,
    unread_times: i64,
    tail_end: Option<i64>,
    tail_length: Option<i64>,
    tail_sha256: Option<String>,
}

impl Stored {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            format: row.get(0)?,
            chosen_by: row.get(1)?,
            mapping: row.get(2)?,
            unread_times: row.get(3)?,
            tail_end: row.get(4)?,
            tail_length: row.get(5)?,
            tail_sha256: row.get(6)?,
        })
    }

    fn understand(self, file_id: i64) -> Result<Reading> {
        let format = match (&self.format, &self.mapping) {
            (None, _) => None,
            (Some(name), None) => Some(Format::preset(Preset::named(name)?)),
            (Some(name), Some(mapping)) => {
                let mapping = serde_json::from_str(mapping).map_err(|error| {
                    Error::refused(
                        format!("the mapping {name} of file {file_id} in runchain_ingest_readings is no JSON object: {error}"),
                        "give the format again: it is kept anew",
                    )
                })?;
                Some(Arc::new(Format::mapping(name, &mapping)?))
            }
        };
        let by = ChosenBy::named(self.chosen_by.as_deref().unwrap_or_default());
        let place = self.tail_end.zip(self.tail_length).zip(self.tail_sha256);
        Ok(Reading {
            chosen: format.map(|format| Chosen { format, by }),
            unread_times: self.unread_times.unsigned_abs(),
            tail: place.map(|((end, length), sha256)| Tail {
                end: end.unsigned_abs(),
                length: length.unsigned_abs(),
                sha256,
            }),
        })
    }
}
