//! Settle: what an execution led to, in one transaction with everything that follows from it.

use super::archival::{self, Archival, BagBeside};
use super::{Backoff, Claim, THROUGH, ending};
use crate::alert::{self, Alarm, Own};
use crate::error::{During, Error, Result};
use crate::event::{self, EventType, NewEvent};
use crate::transaction::atomically;
use crate::{ExecutorId, Millis, RunId};
use rusqlite::{Connection, OptionalExtension};
use serde_json::{Value, json};

/// What came of an execution.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It succeeded.
    Done(Success),
    /// It did not. A permanent failure is not tried again.
    Failed(Failure),
    /// Not yet: run again later, without counting this attempt.
    Deferred {
        /// What the next execution has to know.
        note: String,
        /// When.
        until: Millis,
    },
}

/// What a successful step leaves in the database.
#[derive(Debug, Clone, Default)]
pub struct Success {
    /// Kept in the step's row.
    pub result: Value,
    /// The end of a command's output.
    pub output_tail: Option<String>,
    /// The bag, when the step made one.
    pub archival: Option<Archival>,
    /// Older bags of the run that stand beside it, where they may have no row.
    pub beside: Vec<BagBeside>,
}

/// Why an execution failed.
#[derive(Debug, Clone, Default)]
pub struct Failure {
    /// What, where, and what to do.
    pub error: String,
    /// The end of a command's output.
    pub output_tail: Option<String>,
    /// Trying again can't help.
    pub permanent: bool,
    /// It is not the step's fault (a full disk): its last attempt is not used up by it.
    pub blameless: bool,
}

/// Whether a settling counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The step is done.
    Done,
    /// It runs again at this time.
    Again(Millis),
    /// It is dead until somebody retries it.
    Dead,
    /// The claim was no longer ours: nothing was written, but the row of a bag that stands.
    Fenced,
}

/// Settles a started step, in one transaction with everything that follows from it: the event, the
/// row in `archival_log`, and the steps that waited for it. An outdated executor may still settle
/// what it runs; its next [`lease_and_start`](super::lease_and_start()) is what refuses.
///
/// # Errors
/// Whatever SQLite answers.
pub fn settle(
    conn: &Connection,
    claim: &Claim,
    outcome: &Outcome,
    backoff: Backoff,
    jitter: f64,
    now: Millis,
) -> Result<Settled> {
    let settled = try_to_settle(conn, claim, outcome, backoff, jitter, now)?;
    if settled == Settled::Fenced {
        ending::over(conn, claim)?;
    }
    Ok(settled)
}

fn try_to_settle(
    conn: &Connection,
    claim: &Claim,
    outcome: &Outcome,
    backoff: Backoff,
    jitter: f64,
    now: Millis,
) -> Result<Settled> {
    let failure = match outcome {
        Outcome::Done(success) if success.archival.is_none() => {
            return settle_done(conn, claim, success, now);
        }
        Outcome::Done(success) => match atomically(conn, true, || settle_done(conn, claim, success, now)) {
            // The tables that tools read may be the user's own, with constraints that we don't know:
            // what they refuse is this step's failure, not that of all the others.
            Err(error) if is_refused(&error) => &Failure {
                error: error.to_string(),
                ..Failure::default()
            },
            settled => return settled,
        },
        Outcome::Deferred { note, until } => return settle_deferred(conn, claim, note, *until),
        Outcome::Failed(failure) => failure,
    };
    match holder(conn, claim)? {
        Some(executor) => settle_failed(conn, claim, Some(&executor), failure, backoff, jitter, now),
        None => Ok(Settled::Fenced),
    }
}

/// Whether a constraint, a trigger or the shape of a table refused it, as opposed to a disk or a lock.
fn is_refused(error: &Error) -> bool {
    use rusqlite::ErrorCode::{ConstraintViolation, TypeMismatch, Unknown};
    matches!(
        error.sqlite_code(),
        Some(ConstraintViolation | TypeMismatch | Unknown)
    )
}

/// Who runs the step by this claim, if it still holds.
fn holder(conn: &Connection, claim: &Claim) -> Result<Option<ExecutorId>> {
    conn.prepare_cached(
        "SELECT executor_id FROM runchain_steps WHERE id = ?1 AND token = ?2 AND state = 'running'",
    )
    .and_then(|mut statement| {
        statement
            .query_row((claim.step_id, claim.token), |row| row.get(0))
            .optional()
    })
    .during("settle a step")
}

fn settle_deferred(conn: &Connection, claim: &Claim, note: &str, until: Millis) -> Result<Settled> {
    let changed = conn
        .prepare_cached(
            "UPDATE runchain_steps SET state = 'ready', executor_id = NULL, attempts = attempts - 1, ready_at_ms = ?3, note = ?4
             WHERE id = ?1 AND token = ?2 AND state = 'running'",
        )
        .and_then(|mut statement| statement.execute((claim.step_id, claim.token, until, note)))
        .during("defer a step")?;
    Ok(if changed == 1 {
        Settled::Again(until)
    } else {
        Settled::Fenced
    })
}

fn settle_done(conn: &Connection, claim: &Claim, success: &Success, now: Millis) -> Result<Settled> {
    let result = success.result.to_string();
    let changed = conn
        .prepare_cached(
            "UPDATE runchain_steps SET state = 'done', executor_id = NULL, finished_ms = ?3, result = ?4, output_tail = ?5,
               error = NULL, note = NULL
             WHERE id = ?1 AND token = ?2 AND state = 'running'",
        )
        .and_then(|mut statement| {
            statement.execute((claim.step_id, claim.token, now, &result, &success.output_tail))
        })
        .during("settle a step")?;
    for bag in &success.beside {
        archival::log_missing(conn, &claim.run_id, bag.generation, &bag.archival, now)?;
    }
    if changed == 0 {
        if let Some(archival) = &success.archival {
            archival::log_missing(conn, &claim.run_id, claim.generation, archival, now)?;
        }
        return Ok(Settled::Fenced);
    }
    if let Some(archival) = &success.archival {
        archival::settled(conn, claim, archival, now)?;
    }
    append(conn, done_event(&claim.step), claim, success.result.clone(), now)?;
    ready_what_waited(conn, &claim.run_id, claim.generation, now)?;
    Ok(Settled::Done)
}

/// Readies the steps that wait for nothing any more. Most steps have none behind them, and to ask is a
/// third of the cost of an UPDATE that finds nothing.
pub(crate) fn ready_what_waited(
    conn: &Connection,
    run_id: &RunId,
    generation: i64,
    now: Millis,
) -> Result<()> {
    let waits: bool = conn
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM runchain_steps WHERE run_id = ?1 AND generation = ?2 AND state = 'waiting')",
        )
        .and_then(|mut statement| statement.query_row((run_id, generation), |row| row.get(0)))
        .during("look for steps that wait")?;
    if !waits {
        return Ok(());
    }
    conn.prepare_cached(&format!(
        "UPDATE runchain_steps SET state = 'ready', ready_at_ms = ?3 + delay_ms
         WHERE run_id = ?1 AND generation = ?2 AND state = 'waiting' AND NOT EXISTS (
           SELECT 1 FROM json_each(needs) AS need WHERE NOT EXISTS (
             SELECT 1 FROM runchain_steps AS other
             WHERE other.run_id = ?1 AND other.generation = ?2 AND other.step = need.value AND {THROUGH}))"
    ))
    .and_then(|mut statement| statement.execute((run_id, generation, now)))
    .map(|_| ())
    .during("ready the steps that waited")
}

pub(super) fn settle_failed(
    conn: &Connection,
    claim: &Claim,
    executor: Option<&ExecutorId>,
    failure: &Failure,
    backoff: Backoff,
    jitter: f64,
    now: Millis,
) -> Result<Settled> {
    conn.prepare_cached(
        "INSERT INTO runchain_failures(step_id, attempt, executor_id, started_ms, ended_ms, error, output_tail)
         SELECT id, ?2, ?3, started_ms, ?4, ?5, ?6 FROM runchain_steps WHERE id = ?1",
    )
    .and_then(|mut statement| {
        statement.execute((claim.step_id, claim.attempt, executor, now, &failure.error, &failure.output_tail))
    })
    .during("keep a step's failure")?;
    let last = claim.attempt >= claim.max_attempts;
    let dead = failure.permanent || (last && !failure.blameless);
    let again = now.plus(backoff.pause_ms(claim.attempt, jitter));
    conn.prepare_cached(
        "UPDATE runchain_steps SET state = ?2, executor_id = NULL, ready_at_ms = ?3, error = ?4, output_tail = ?5,
           attempts = attempts - ?6
         WHERE id = ?1",
    )
    .and_then(|mut statement| {
        statement.execute((
            claim.step_id,
            if dead { "dead" } else { "ready" },
            again,
            &failure.error,
            &failure.output_tail,
            last && !dead,
        ))
    })
    .during("settle a failed step")?;
    let data = json!({
        "attempt": claim.attempt, "max_attempts": claim.max_attempts, "error": failure.error,
        "next_attempt_at": (!dead).then(|| again.iso()),
    });
    let kind = if dead {
        EventType::StepDead
    } else {
        EventType::StepFailed
    };
    append(conn, kind, claim, data, now)?;
    if dead {
        let subject = format!("{} of {}", claim.step, claim.run_id);
        let message = format!(
            "{} (runchain retry {} tries it again)",
            failure.error, claim.run_id
        );
        let alarm = Alarm {
            own: Own::StepDead,
            of: &[Some(claim.run_id.as_str()), Some(&claim.step)],
            run_id: Some(&claim.run_id),
            subject: &subject,
            message: &message,
        };
        alert::raise(conn, &alarm, now)?;
        // Where it isn't required.
        ready_what_waited(conn, &claim.run_id, claim.generation, now)?;
    }
    Ok(if dead {
        Settled::Dead
    } else {
        Settled::Again(again)
    })
}

fn done_event(step: &str) -> EventType {
    match step {
        "archive" => EventType::RunArchived,
        "report" => EventType::ReportGenerated,
        _ => EventType::StepDone,
    }
}

fn append(conn: &Connection, kind: EventType, claim: &Claim, data: Value, now: Millis) -> Result<()> {
    let mut event = NewEvent::of_run(kind, now, &claim.run_id, claim.generation, data);
    event.step = Some(&claim.step);
    event::append(conn, &event).map(|_| ())
}
