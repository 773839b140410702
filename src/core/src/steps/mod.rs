//! The life of a step: lease and start, settle; and what brings it back when its executor is gone.
//!
//! ```text
//! waiting -> ready -> running -> done
//!              ^         |-----> dead      (attempts used up; `retry` -> ready)
//!              +---------+ failed: backoff; deferred: uncounted; executor gone: counted
//! any but done -> cancelled
//! ```
//!
//! An executor leases a step when it has a place to start it, by the same write. The schema knows a
//! state `leased` between `ready` and `running`, of a step that somebody holds and hasn't started.
//! Nothing here leads there, but another version's executor may have left such rows: they count as
//! held, and [`recover`] takes them back uncounted.
//!
//! Invariants: an attempt counts when the step starts; only the holder of the current token can
//! settle; the token grows with every lease and is never reset, so that
//! nobody who was once declared gone can settle later. A step whose executor disappeared while it ran
//! is a suspect: it runs alone from then on, so that a step that kills its executor takes no other
//! step's attempts along.
//!
//! Every function here runs inside a transaction of the caller's, begun with BEGIN IMMEDIATE. Doing
//! the work between start and settle belongs to the executor. One file for each verb.

mod archival;
mod change;
pub(crate) mod ending;
mod executor;
mod lease;
mod recover;
mod settle;
mod terms;

pub(crate) use archival::log_archival;
pub use archival::{Archival, BagBeside, Unsettled, lacks_row, log_missing, unsettled};
pub use change::{EVERY_KIND, cancel, chain_again, pause, ready_again, resume};
pub use executor::Executor;
pub use lease::{Capacity, Wanted, lease_and_start, next_due, next_due_of, work_left};
pub use recover::{has_strays, recover, take_strays};
pub(crate) use settle::ready_what_waited;
pub use settle::{Failure, Outcome, Settled, Success, settle};
pub use terms::{Terms, terms_of};

use crate::error::{During, Error, Result};
use crate::{Millis, RunId, StepId};
use rusqlite::{Connection, OptionalExtension, Row};

/// Whether `other`, a step that is needed, holds nothing up any more.
const THROUGH: &str =
    "(other.state = 'done' OR (other.required = 0 AND other.state IN ('dead', 'cancelled')))";

/// When a failed step runs again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Upper bound of the first pause; it doubles with each attempt.
    pub base_ms: i64,
    /// No pause is longer.
    pub cap_ms: i64,
}

impl Backoff {
    /// Exponential backoff with full jitter: uniform between 0 and min(cap, base * 2^(attempt-1)),
    /// after "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015). `jitter` is in 0..1.
    #[must_use]
    pub fn pause_ms(self, attempt: i64, jitter: f64) -> i64 {
        let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(0).min(62);
        let bound = self
            .base_ms
            .saturating_mul(1_i64 << doublings)
            .min(self.cap_ms)
            .max(0);
        (bound as f64 * jitter.clamp(0.0, 1.0)) as i64
    }
}

/// A step that an executor holds: what it is, and the fence that proves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Row in `runchain_steps`.
    pub step_id: StepId,
    /// The run that it works on.
    pub run_id: RunId,
    /// Generation of the run's chain.
    pub generation: i64,
    /// Name of the step.
    pub step: String,
    /// Starts so far, this one included once it is started.
    pub attempt: i64,
    /// Starts that it may have.
    pub max_attempts: i64,
    /// The fence.
    pub token: i64,
    /// When the step was inserted.
    pub created: Millis,
    /// What an earlier, deferred execution left.
    pub note: Option<String>,
    /// Executors that disappeared while they ran it. More than none: it runs alone.
    pub lost: i64,
    /// When it must be done; later it is not started, and a command is ended.
    pub deadline: Option<Millis>,
    /// Since when it is due.
    pub ready_at: Millis,
}

impl Claim {
    const COLUMNS: &str = "id, run_id, generation, step, attempts, max_attempts, token, created_ms, note, lost, deadline_ms, ready_at_ms";

    fn of_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            step_id: row.get(0)?,
            run_id: row.get(1)?,
            generation: row.get(2)?,
            step: row.get(3)?,
            attempt: row.get(4)?,
            max_attempts: row.get(5)?,
            token: row.get(6)?,
            created: row.get(7)?,
            note: row.get(8)?,
            lost: row.get(9)?,
            deadline: row.get(10)?,
            ready_at: row.get(11)?,
        })
    }
}

/// Whether the claim still holds, for work that is about to do something that can't be undone.
///
/// # Errors
/// Whatever SQLite answers.
pub fn still_held(conn: &Connection, claim: &Claim) -> Result<bool> {
    conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM runchain_steps WHERE id = ?1 AND token = ?2 AND state = 'running')",
    )
    .and_then(|mut statement| statement.query_row((claim.step_id, claim.token), |row| row.get(0)))
    .during("look at a claim")
}

/// A step by its id with its state, for requests about it.
///
/// # Errors
/// A refusal when there is no such step.
pub fn find(conn: &Connection, step_id: StepId) -> Result<(Claim, String)> {
    conn.query_row(
        &format!(
            "SELECT {}, state FROM runchain_steps WHERE id = ?1",
            Claim::COLUMNS
        ),
        [step_id],
        |row| Ok((Claim::of_row(row)?, row.get("state")?)),
    )
    .optional()
    .during("look for a step")?
    .ok_or_else(|| {
        Error::refused(
            format!("there is no step {step_id}"),
            "look in runchain_steps for its id",
        )
    })
}
