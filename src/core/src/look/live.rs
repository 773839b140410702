//! Steps that are not over: waiting, ready, leased, running, dead.

use super::with_last_line;
use crate::error::{During, Result};
use crate::{Millis, RunId, StepId};
use rusqlite::Connection;
use serde::Serialize;

/// A step that is not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LiveStep {
    /// Its id.
    pub id: StepId,
    /// Of which run.
    pub run_id: RunId,
    /// Of which of its chains.
    pub generation: i64,
    /// Its name.
    pub step: String,
    /// As it stands in the database.
    pub state: String,
    /// Starts so far.
    pub attempts: i64,
    /// Starts at most.
    pub max_attempts: i64,
    /// The smaller, the sooner.
    pub priority: i64,
    /// When it can start, or could.
    #[serde(serialize_with = "super::as_iso")]
    pub ready_at: Millis,
    /// When it was started last.
    #[serde(serialize_with = "super::as_iso_or_null")]
    pub started_at: Option<Millis>,
    /// The steps that must be done first, a JSON array.
    #[serde(serialize_with = "as_json")]
    pub needs: String,
    /// Who has it.
    pub executor_id: Option<String>,
    /// What was wrong with its last attempt.
    pub error: Option<String>,
    /// The same with the last line that its command printed, for people.
    #[serde(skip)]
    pub told: Option<String>,
}

fn as_json<S: serde::Serializer>(text: &str, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    value.serialize(serializer)
}

/// By the index of what is live.
pub(super) const OF_STATE: &str = "SELECT id, run_id, generation, step, state, attempts, max_attempts, priority, ready_at_ms,
            started_ms, needs, executor_id, error, output_tail
     FROM runchain_steps WHERE finished_ms IS NULL AND state = ?1 ORDER BY step, priority, ready_at_ms, id LIMIT ?2";

/// The same of one kind of steps.
pub(super) const OF_STATE_AND_STEP: &str =
    "SELECT id, run_id, generation, step, state, attempts, max_attempts, priority, ready_at_ms,
            started_ms, needs, executor_id, error, output_tail
     FROM runchain_steps WHERE finished_ms IS NULL AND state = ?1 AND step = ?3
     ORDER BY priority, ready_at_ms, id LIMIT ?2";

/// The steps in a state, in the order in which they would start: by kind, priority, time.
///
/// # Errors
/// Whatever SQLite answers.
pub fn steps(conn: &Connection, state: &str, step: Option<&str>, limit: u32) -> Result<Vec<LiveStep>> {
    const DOING: &str = "read the steps that are not over";
    let of_row = |row: &rusqlite::Row<'_>| {
        let error: Option<String> = row.get(12)?;
        Ok(LiveStep {
            id: row.get(0)?,
            run_id: row.get(1)?,
            generation: row.get(2)?,
            step: row.get(3)?,
            state: row.get(4)?,
            attempts: row.get(5)?,
            max_attempts: row.get(6)?,
            priority: row.get(7)?,
            ready_at: row.get(8)?,
            started_at: row.get(9)?,
            needs: row.get(10)?,
            executor_id: row.get(11)?,
            told: with_last_line(error.clone(), row.get(13)?),
            error,
        })
    };
    let sql = match step {
        Some(_) => OF_STATE_AND_STEP,
        None => OF_STATE,
    };
    let mut select = conn.prepare_cached(sql).during(DOING)?;
    let rows = match step {
        Some(step) => select.query_map((state, limit, step), of_row),
        None => select.query_map((state, limit), of_row),
    };
    rows.and_then(Iterator::collect::<rusqlite::Result<_>>)
        .during(DOING)
}
