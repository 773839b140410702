//! How much work stands in runchain's own tables, and how old the oldest of it is.
//!
//! Invariant: each question is answered by an index (a test reads the query plans), and a count
//! stops at [`COUNT_LIMIT`], so that a backlog of millions costs no more than one of thousands.

use crate::error::{During, Result};
use crate::steps;
use crate::{Millis, schema};
use rusqlite::{Connection, OptionalExtension};

/// Counts stop here.
pub(crate) const COUNT_LIMIT: i64 = 10_000;

/// What can be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backlog {
    QueueRows,
    WaitingSteps,
    ReadySteps,
    LeasedSteps,
    RunningSteps,
    DeadSteps,
    ActiveRuns,
    MonitoredRuns,
    StalledRuns,
    FiringAlerts,
}

impl Backlog {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 10] = [
        Self::QueueRows,
        Self::WaitingSteps,
        Self::ReadySteps,
        Self::LeasedSteps,
        Self::RunningSteps,
        Self::DeadSteps,
        Self::ActiveRuns,
        Self::MonitoredRuns,
        Self::StalledRuns,
        Self::FiringAlerts,
    ];

    /// Table and condition. A partial index is used only where its own condition is repeated as it
    /// stands in the schema.
    fn rows(self) -> &'static str {
        match self {
            Self::QueueRows => "runchain_queue",
            Self::WaitingSteps => "runchain_steps WHERE finished_ms IS NULL AND state = 'waiting'",
            Self::ReadySteps => "runchain_steps WHERE finished_ms IS NULL AND state = 'ready'",
            Self::LeasedSteps => "runchain_steps WHERE finished_ms IS NULL AND state = 'leased'",
            Self::RunningSteps => "runchain_steps WHERE finished_ms IS NULL AND state = 'running'",
            Self::DeadSteps => "runchain_steps WHERE finished_ms IS NULL AND state = 'dead'",
            Self::ActiveRuns => "runchain_runs WHERE phase = 'active'",
            Self::MonitoredRuns => "runchain_runs WHERE monitor = 'on'",
            Self::StalledRuns => "runchain_runs WHERE monitor = 'on' AND stalled_since_ms IS NOT NULL",
            Self::FiringAlerts => "runchain_alerts WHERE state = 'firing'",
        }
    }

    pub(crate) fn sql(self) -> String {
        format!(
            "SELECT count(*) FROM (SELECT 1 FROM {} LIMIT {COUNT_LIMIT})",
            self.rows()
        )
    }

    /// How many there are, up to [`COUNT_LIMIT`].
    pub(crate) fn count(self, conn: &Connection) -> Result<i64> {
        conn.query_row(&self.sql(), [], |row| row.get(0))
            .during("count what is waiting")
    }
}

/// Since when the oldest ready step has been due; `None` when none is due yet. What is paused is not
/// due.
pub(crate) fn oldest_due_step(conn: &Connection, now: Millis) -> Result<Option<Millis>> {
    Ok(steps::next_due(conn)?.filter(|at| *at <= now))
}

/// A kind of steps that is not started for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pause {
    /// The kind, or [`crate::steps::EVERY_KIND`].
    pub(crate) step: String,
    pub(crate) since: Millis,
    pub(crate) actor: Option<String>,
    pub(crate) reason: Option<String>,
}

/// Every pause, the oldest first; there are as many as kinds of steps.
pub(crate) fn pauses(conn: &Connection) -> Result<Vec<Pause>> {
    let mut select = conn
        .prepare("SELECT step, since_ms, actor, reason FROM runchain_pauses ORDER BY since_ms, step")
        .during("read the pauses")?;
    let rows = select
        .query_map([], |row| {
            Ok(Pause {
                step: row.get(0)?,
                since: row.get(1)?,
                actor: row.get(2)?,
                reason: row.get(3)?,
            })
        })
        .during("read the pauses")?;
    rows.collect::<rusqlite::Result<_>>().during("read the pauses")
}

/// The queue's first row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OldestQueueRow {
    pub(crate) id: i64,
    /// `None` where the writer put something that is no number.
    pub(crate) at: Option<Millis>,
}

/// The first row that the executor will expand.
pub(crate) fn oldest_queue_row(conn: &Connection) -> Result<Option<OldestQueueRow>> {
    conn.query_row(
        "SELECT id, CASE WHEN typeof(at_ms) IN ('integer', 'real') THEN CAST(at_ms AS INTEGER) END
         FROM runchain_queue ORDER BY id LIMIT 1",
        [],
        |row| {
            Ok(OldestQueueRow {
                id: row.get(0)?,
                at: row.get(1)?,
            })
        },
    )
    .optional()
    .during("look at the queue's first row")
}

/// The executor that was heard of last, as a person would name it.
pub(crate) fn last_executor(conn: &Connection) -> Result<Option<String>> {
    if !schema::table_exists(conn, "runchain_executors")? {
        return Ok(None);
    }
    conn.query_row(
        "SELECT host, pid, version, beat_ms FROM runchain_executors ORDER BY beat_ms DESC LIMIT 1",
        [],
        |row| {
            Ok(format!(
                "process {} on {}, runchain {}, last beat {}",
                row.get::<_, i64>(1)?,
                super::wording::shown(&row.get::<_, String>(0)?),
                super::wording::shown(&row.get::<_, String>(2)?),
                row.get::<_, Millis>(3)?.iso(),
            ))
        },
    )
    .optional()
    .during("look for the last executor")
}
