//! The chain of steps that a finished run goes through.
//!
//! Invariant: a chain keeps the definition that it began with. Everything but the command itself is
//! copied into `runchain_steps`, and a generation that has its steps gets no others.

mod select;

pub use select::{Condition, LeftOut, RunAtEnd, Selection, Why};

use crate::alert::{self, Own};
use crate::error::{During, Result};
use crate::event::{self, EventType, NewEvent};
use crate::steps::ending;
use crate::{Millis, RunId};
use rusqlite::Connection;
use serde_json::json;

/// One step of a chain, as the configuration names it.
#[derive(Debug, Clone, PartialEq)]
pub struct StepSpec {
    /// Its name: `archive`, `report`, or the NAME of a `[steps.NAME]`.
    pub name: String,
    /// The steps that must be done first.
    pub after: Vec<String>,
    /// How often it may start before it is dead.
    pub max_attempts: u32,
    /// Lower goes first; see [`StepSpec::PRIORITY`].
    pub priority: i64,
    /// Pause between being ready and being due.
    pub delay_ms: i64,
    /// Time from the end of the run to when it must be done; `None`: no such time.
    pub deadline_ms: Option<i64>,
    /// How long its command may run; `None`: it has no command.
    pub timeout_ms: Option<i64>,
    /// Whether the steps after it wait until it is done, and not only until it has ended.
    pub required: bool,
    /// Phases and status words of the runs that it is for; none: every run that is over.
    pub on: Vec<String>,
    /// What the run's row must say: all of it.
    pub conditions: Vec<Condition>,
}

impl StepSpec {
    /// The priority of a step that says nothing.
    pub const PRIORITY: i64 = 100;

    /// A step for every run, due at once, without a deadline, of ordinary priority.
    #[must_use]
    pub fn new(name: &str, after: &[&str], max_attempts: u32) -> Self {
        Self {
            name: name.to_owned(),
            after: after.iter().map(|name| (*name).to_owned()).collect(),
            max_attempts,
            priority: Self::PRIORITY,
            delay_ms: 0,
            deadline_ms: None,
            timeout_ms: None,
            required: true,
            on: Vec::new(),
            conditions: Vec::new(),
        }
    }
}

/// The steps that a generation can get. Settled before it arrives here: names are unique, `after`
/// names existing steps, there is no cycle.
#[derive(Debug, Clone, PartialEq)]
pub struct Chain(pub Vec<StepSpec>);

impl Chain {
    /// Archive, then report.
    #[must_use]
    pub fn builtin(max_attempts: u32) -> Self {
        Self(vec![
            StepSpec::new("archive", &[], max_attempts),
            StepSpec::new("report", &["archive"], max_attempts),
        ])
    }

    /// Inserts the steps of a generation: those that need nothing are ready, the others wait. A
    /// generation that has steps keeps those and gets no others.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub fn begin(&self, conn: &Connection, run_id: &RunId, generation: i64, now: Millis) -> Result<()> {
        if has_steps(conn, run_id, generation)? {
            return Ok(());
        }
        let mut insert = conn
            .prepare_cached(
                "INSERT INTO runchain_steps(run_id, generation, step, state, needs, ready_at_ms, max_attempts, created_ms,
                   priority, delay_ms, deadline_ms, required, timeout_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6 + ?9, ?7, ?6, ?8, ?9, ?10, ?11, ?12)",
            )
            .during("insert a chain's steps")?;
        for step in &self.0 {
            let state = if step.after.is_empty() { "ready" } else { "waiting" };
            insert
                .execute((
                    run_id,
                    generation,
                    &step.name,
                    state,
                    json!(step.after).to_string(),
                    now,
                    step.max_attempts,
                    step.priority,
                    step.delay_ms,
                    step.deadline_ms.map(|deadline_ms| now.plus(deadline_ms)),
                    step.required,
                    step.timeout_ms,
                ))
                .during("insert a chain's steps")?;
        }
        Ok(())
    }
}

fn has_steps(conn: &Connection, run_id: &RunId, generation: i64) -> Result<bool> {
    conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM runchain_steps WHERE run_id = ?1 AND generation = ?2)")
        .and_then(|mut statement| statement.query_row((run_id, generation), |row| row.get(0)))
        .during("look for a chain's steps")
}

/// Cancels what has not ended of a run's chains and says so in an event; returns how many steps
/// that were. A running step's token grows, so that its settling is fenced off.
///
/// # Errors
/// Whatever SQLite answers.
pub fn cancel_live(
    conn: &Connection,
    run_id: &RunId,
    generation: i64,
    why: &str,
    now: Millis,
) -> Result<usize> {
    ending::note_all_of(conn, run_id, now)?;
    let cancelled = conn
        .prepare_cached(
            "UPDATE runchain_steps SET state = 'cancelled', token = token + 1, executor_id = NULL, finished_ms = ?2
             WHERE run_id = ?1 AND state IN ('waiting', 'ready', 'leased', 'running', 'dead')",
        )
        .and_then(|mut statement| statement.execute((run_id, now)))
        .during("cancel a run's steps")?;
    if cancelled > 0 {
        alert::resolve_all_of(conn, Own::StepDead, run_id, now)?;
        let data = json!({ "cancelled_steps": cancelled, "reason": why });
        event::append(
            conn,
            &NewEvent::of_run(EventType::ChainCancelled, now, run_id, generation, data),
        )?;
    }
    Ok(cancelled)
}
