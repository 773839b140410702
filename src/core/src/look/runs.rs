//! Runs, the newest first, with the steps of their newest chains: the user's own steps included.

use crate::error::{During, Result};
use crate::vocabulary::Phase;
use crate::{Millis, RunId};
use rusqlite::Connection;
use serde::Serialize;

/// Every phase that a run can be in.
pub const PHASES: [Phase; 5] = [
    Phase::Active,
    Phase::Completed,
    Phase::Failed,
    Phase::Cancelled,
    Phase::Deleted,
];

/// Which runs.
#[derive(Debug, Clone)]
pub struct RunQuery {
    /// In these phases.
    pub phases: Vec<Phase>,
    /// Whose phase began then or later.
    pub since: Option<Millis>,
    /// The newest so many.
    pub limit: u32,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunLine {
    /// Its id.
    pub run_id: RunId,
    /// Its phase.
    pub phase: Phase,
    /// The user's own word.
    pub status: Option<String>,
    /// Entries into a terminal phase so far.
    pub generation: i64,
    /// When the phase began.
    #[serde(serialize_with = "super::as_iso")]
    pub since: Millis,
    /// When it was first seen.
    #[serde(serialize_with = "super::as_iso")]
    pub first_seen: Millis,
    /// Since when nothing of it changed, while it should.
    #[serde(serialize_with = "super::as_iso_or_null")]
    pub stalled_since: Option<Millis>,
    /// The steps of its newest chain, in its order.
    pub steps: Vec<StepLine>,
}

/// How a step stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepLine {
    /// Its name.
    pub step: String,
    /// As it stands in the database.
    pub state: String,
    /// Starts so far.
    pub attempts: i64,
    /// Starts at most.
    pub max_attempts: i64,
}

/// Of each phase so many by its index, and of those the newest: never a walk through history.
pub(super) fn sql(query: &RunQuery) -> String {
    let of_phase = |phase: &Phase| {
        format!(
            "SELECT * FROM (
               SELECT run_id, phase, status, generation, phase_since_ms, first_seen_ms,
                      CASE WHEN monitor = 'on' THEN stalled_since_ms END
               FROM runchain_runs WHERE phase = '{phase}' AND phase_since_ms >= ?1
               ORDER BY phase_since_ms DESC LIMIT ?2)",
            phase = phase.as_str()
        )
    };
    let parts: Vec<String> = query.phases.iter().map(of_phase).collect();
    format!("{} ORDER BY 5 DESC, 1 LIMIT ?2", parts.join(" UNION ALL "))
}

/// By the index of the table's UNIQUE.
pub(super) const STEPS: &str = "SELECT step, state, attempts, max_attempts FROM runchain_steps
     WHERE run_id = ?1 AND generation = ?2 ORDER BY id";

/// The newest runs that fit.
///
/// # Errors
/// Whatever SQLite answers.
pub fn runs(conn: &Connection, query: &RunQuery) -> Result<Vec<RunLine>> {
    if query.phases.is_empty() {
        return Ok(Vec::new());
    }
    let since = query.since.unwrap_or(Millis(i64::MIN));
    let mut select = conn.prepare_cached(&sql(query)).during("read the runs")?;
    let rows = select
        .query_map((since, query.limit), |row| {
            Ok(RunLine {
                run_id: row.get(0)?,
                phase: row.get(1)?,
                status: row.get(2)?,
                generation: row.get(3)?,
                since: row.get(4)?,
                first_seen: row.get(5)?,
                stalled_since: row.get(6)?,
                steps: Vec::new(),
            })
        })
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .during("read the runs")?;
    rows.into_iter()
        .map(|run| {
            let steps = steps_of(conn, &run.run_id, run.generation)?;
            Ok(RunLine { steps, ..run })
        })
        .collect()
}

fn steps_of(conn: &Connection, run_id: &RunId, generation: i64) -> Result<Vec<StepLine>> {
    let mut select = conn.prepare_cached(STEPS).during("read the steps of a run")?;
    let rows = select
        .query_map((run_id, generation), |row| {
            Ok(StepLine {
                step: row.get(0)?,
                state: row.get(1)?,
                attempts: row.get(2)?,
                max_attempts: row.get(3)?,
            })
        })
        .during("read the steps of a run")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("read the steps of a run")
}
