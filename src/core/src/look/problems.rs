//! What failed, stalled or fires: what asks for a person first, then what is tried again by itself.

use super::with_last_line;
use crate::error::{During, Result};
use crate::{Millis, RunId};
use rusqlite::Connection;
use serde::Serialize;

/// Of what kind a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// A step has used up its attempts.
    DeadStep,
    /// Nothing of an active run changes.
    StalledRun,
    /// An alert that nobody has acknowledged.
    Alert,
    /// An attempt failed; another follows by itself.
    FailingStep,
}

/// A problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Of what kind it is.
    pub kind: ProblemKind,
    /// The run that it concerns.
    pub run_id: Option<RunId>,
    /// The step, the status word, or what the alert is about.
    pub subject: Option<String>,
    /// What is wrong; of a step the last line that its command printed as well: an exit code alone tells
    /// nobody anything.
    pub message: Option<String>,
    /// Since when, or when last.
    #[serde(serialize_with = "super::as_iso")]
    pub at: Millis,
    /// When it is tried again by itself.
    #[serde(serialize_with = "super::as_iso_or_null")]
    pub again_at: Option<Millis>,
    /// The alert's rule.
    pub rule: Option<String>,
}

/// How many of a kind are looked through for the newest.
const LOOKED_THROUGH: u32 = 1_000;

pub(super) const STATEMENTS: [(ProblemKind, &str); 4] = [
    (
        ProblemKind::DeadStep,
        "SELECT run_id, step, error, coalesce(started_ms, created_ms), NULL, NULL, output_tail
         FROM (SELECT * FROM runchain_steps WHERE finished_ms IS NULL AND state = 'dead' LIMIT ?2)
         ORDER BY id DESC LIMIT ?1",
    ),
    (
        ProblemKind::StalledRun,
        "SELECT run_id, status, NULL, stalled_since_ms, NULL, NULL, NULL
         FROM (SELECT * FROM runchain_runs WHERE monitor = 'on' AND stalled_since_ms IS NOT NULL LIMIT ?2)
         ORDER BY stalled_since_ms DESC LIMIT ?1",
    ),
    (
        ProblemKind::Alert,
        "SELECT run_id, subject, message, last_at_ms, NULL, rule, NULL FROM runchain_alerts
         WHERE state = 'firing' AND rule <> 'step_dead' AND rule <> 'run_stalled'
         ORDER BY last_at_ms DESC LIMIT min(?1, ?2)",
    ),
    (
        ProblemKind::FailingStep,
        "SELECT s.run_id, s.step, s.error, f.ended_ms, CASE WHEN s.state = 'ready' THEN s.ready_at_ms END, NULL,
           s.output_tail
         FROM (SELECT step_id, max(ended_ms) AS ended_ms
               FROM (SELECT step_id, ended_ms FROM runchain_failures ORDER BY id DESC LIMIT min(100, ?2))
               GROUP BY step_id) AS f
         JOIN runchain_steps AS s ON s.id = f.step_id
         WHERE s.state IN ('ready', 'leased', 'running') AND s.error IS NOT NULL
         ORDER BY f.ended_ms DESC LIMIT ?1",
    ),
];

/// The newest so many of each kind.
///
/// # Errors
/// Whatever SQLite answers.
pub fn problems(conn: &Connection, limit: u32) -> Result<Vec<Problem>> {
    let mut found = Vec::new();
    for (kind, sql) in STATEMENTS {
        let is_there = kind != ProblemKind::Alert || crate::schema::table_exists(conn, "runchain_alerts")?;
        if !is_there {
            continue;
        }
        let mut select = conn.prepare_cached(sql).during("read the problems")?;
        let rows = select
            .query_map((limit, LOOKED_THROUGH), |row| {
                Ok(Problem {
                    kind,
                    run_id: row.get(0)?,
                    subject: row.get(1)?,
                    message: with_last_line(row.get(2)?, row.get(6)?),
                    at: row.get(3)?,
                    again_at: row.get(4)?,
                    rule: row.get(5)?,
                })
            })
            .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
            .during("read the problems")?;
        found.extend(rows);
    }
    Ok(found)
}
