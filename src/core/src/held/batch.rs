//! A batch as it is shown: its row, and the words of its runs.

use crate::error::{During, Result};
use crate::{Millis, RunId};
use rusqlite::{Connection, OptionalExtension, Row};
use serde::Serialize;

/// Row id in `runchain_held_batches`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct BatchId(pub i64);

impl std::fmt::Display for BatchId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A batch of held runs.
#[derive(Debug, Clone, Serialize)]
pub struct Batch {
    /// Its number.
    pub id: BatchId,
    /// held, releasing, discarding; released, discarded, taken_back when it is over.
    pub state: String,
    /// When the first of its ends was captured.
    #[serde(serialize_with = "crate::look::as_iso")]
    pub first_at: Millis,
    /// When the last of them was captured.
    #[serde(serialize_with = "crate::look::as_iso")]
    pub last_at: Millis,
    /// The first run.
    pub first_run_id: RunId,
    /// The last one so far.
    pub last_run_id: RunId,
    /// Runs that it ever held.
    pub held: i64,
    /// Chains that began since.
    pub released: i64,
    /// Runs that stay without a chain.
    pub discarded: i64,
    /// Runs whose row was written again, or is gone.
    pub taken_back: i64,
    /// When somebody decided.
    #[serde(serialize_with = "crate::look::as_iso_or_null")]
    pub asked: Option<Millis>,
    /// Who.
    pub actor: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// At most so many a minute.
    pub per_minute: Option<i64>,
    /// When it was over.
    #[serde(serialize_with = "crate::look::as_iso_or_null")]
    pub ended: Option<Millis>,
    /// What was released before the last decision.
    #[serde(skip)]
    pub(super) released_before: i64,
}

pub(super) const SELECT_BATCH: &str = "SELECT id, state, first_at_ms, last_at_ms, first_run_id, last_run_id, held, released, discarded,
         taken_back, asked_ms, actor, reason, per_minute, ended_ms, released_before FROM runchain_held_batches";

impl Batch {
    pub(super) fn of_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: BatchId(row.get(0)?),
            state: row.get(1)?,
            first_at: row.get(2)?,
            last_at: row.get(3)?,
            first_run_id: row.get(4)?,
            last_run_id: row.get(5)?,
            held: row.get(6)?,
            released: row.get(7)?,
            discarded: row.get(8)?,
            taken_back: row.get(9)?,
            asked: row.get(10)?,
            actor: row.get(11)?,
            reason: row.get(12)?,
            per_minute: row.get(13)?,
            ended: row.get(14)?,
            released_before: row.get(15)?,
        })
    }

    /// Runs whose chains wait.
    #[must_use]
    pub fn left(&self) -> i64 {
        self.held - self.released - self.discarded - self.taken_back
    }
}

/// One batch.
///
/// # Errors
/// Whatever SQLite answers.
pub fn find(conn: &Connection, batch: BatchId) -> Result<Option<Batch>> {
    conn.prepare_cached(&format!("{SELECT_BATCH} WHERE id = ?1"))
        .and_then(|mut statement| statement.query_row([batch.0], Batch::of_row).optional())
        .during("look for a held batch")
}

/// The batches, the newest first.
///
/// # Errors
/// Whatever SQLite answers.
pub fn batches(conn: &Connection, limit: usize) -> Result<Vec<Batch>> {
    let mut statement = conn
        .prepare_cached(&format!("{SELECT_BATCH} ORDER BY id DESC LIMIT ?1"))
        .during("list the held batches")?;
    let rows = statement
        .query_map([i64::try_from(limit).unwrap_or(i64::MAX)], Batch::of_row)
        .during("list the held batches")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("list the held batches")
}

/// A status word and how many runs of a batch have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatusCount {
    /// The user's word.
    pub status: Option<String>,
    /// Runs.
    pub runs: i64,
}

/// The status words of what is left of a batch, the most frequent first.
///
/// # Errors
/// Whatever SQLite answers.
pub fn statuses(conn: &Connection, batch: BatchId) -> Result<Vec<StatusCount>> {
    let mut statement = conn
        .prepare_cached(
            "SELECT r.status, count(*) FROM runchain_held AS h JOIN runchain_runs AS r ON r.run_id = h.run_id
             WHERE h.batch_id = ?1 GROUP BY r.status ORDER BY count(*) DESC, r.status",
        )
        .during("count the statuses of a held batch")?;
    let rows = statement
        .query_map([batch.0], |row| {
            Ok(StatusCount {
                status: row.get(0)?,
                runs: row.get(1)?,
            })
        })
        .during("count the statuses of a held batch")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("count the statuses of a held batch")
}
