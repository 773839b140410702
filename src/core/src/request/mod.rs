//! Requests: what somebody asks for by a SQL function, by the CLI, or by a plain INSERT into
//! `runchain_queue` from code that loads nothing.
//!
//! Every request is judged twice by the same rules: when it is asked (so that the asker gets an
//! answer) and when it is expanded (because only that counts). Every expanded request is an event
//! with actor, reason and answer.

mod take;

pub(crate) use take::take;

use crate::error::{During, Error, Result};
use crate::queue::known_run;
use crate::vocabulary::{Phase, Vocabulary};
use crate::{Mapping, RunId, StepId, flags, forget, steps};
use rusqlite::Connection;
use serde_json::{Value as Json, json};

/// The answers to a request for a run's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainAnswer {
    /// The run is over and has no chain yet: one is begun.
    Queued,
    /// Its chain is through: the steps are done again, in the same generation.
    Again,
    /// Its chain stopped at a dead step: that step is retried.
    Retried,
    /// Its chain is already on its way: nothing to do.
    UnderWay,
    /// The run is not over: its chain begins by itself when it ends.
    RunActive,
    /// There is no such run.
    NoSuchRun,
    /// Somebody had it forgotten.
    Forgotten,
}

impl ChainAnswer {
    /// The word in the answer's JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Again => "again",
            Self::Retried => "retried",
            Self::UnderWay => "under_way",
            Self::RunActive => "run_active",
            Self::NoSuchRun => "no_such_run",
            Self::Forgotten => "forgotten",
        }
    }

    /// Whether the request leads to work.
    #[must_use]
    pub fn leads_to_work(self) -> bool {
        matches!(self, Self::Queued | Self::Again | Self::Retried)
    }

    fn message(self) -> &'static str {
        match self {
            Self::Queued => "the run is over; its chain begins as soon as an executor runs",
            Self::Again => "the chain was through; its steps are done again",
            Self::Retried => "the chain's dead steps are tried again",
            Self::UnderWay => "the chain is already on its way; nothing was queued",
            Self::RunActive => {
                "the run is not over; its chain begins by itself when it ends; nothing was queued"
            }
            Self::NoSuchRun => "there is no such run in the mapped table; nothing was queued",
            Self::Forgotten => {
                "somebody had the run forgotten; what is written under its id is not acted on; nothing was queued"
            }
        }
    }
}

/// Judges a request for a run's chain.
///
/// # Errors
/// Whatever SQLite answers.
pub fn judge_chain(conn: &Connection, mapping: &Mapping, run_id: &RunId) -> Result<ChainAnswer> {
    if forget::is_forgotten(conn, run_id)? {
        return Ok(ChainAnswer::Forgotten);
    }
    let row = mapping.status_of(conn, run_id)?;
    let known = known_run(conn, run_id)?.filter(|run| run.phase != Phase::Deleted);
    let by_flag = flags::of_run(conn, run_id)?
        .is_some_and(|flagged| flagged.stands(row.as_ref().map(|status| status.as_deref())));
    let says = match row {
        _ if by_flag => None,
        Some(status) => Vocabulary::load(conn)?.phase(status.as_deref()),
        None => return Ok(ChainAnswer::NoSuchRun),
    };
    let phase = says.or(known.as_ref().map(|run| run.phase));
    if !phase.is_some_and(Phase::is_terminal) {
        return Ok(ChainAnswer::RunActive);
    }
    let Some(run) = known.filter(|run| run.generation > 0 && run.phase.is_terminal() && !run.is_left_alone())
    else {
        return Ok(ChainAnswer::Queued);
    };
    let (live, dead): (Option<bool>, Option<bool>) = conn
        .prepare_cached(
            "SELECT max(state IN ('ready', 'leased', 'running')), max(state = 'dead')
             FROM runchain_steps WHERE run_id = ?1 AND generation = ?2",
        )
        .and_then(|mut statement| {
            statement.query_row((run_id, run.generation), |row| Ok((row.get(0)?, row.get(1)?)))
        })
        .during("look at a run's chain")?;
    Ok(match (live, dead) {
        // No steps: it was renamed after its chain was through.
        (None, _) => ChainAnswer::Queued,
        (Some(true), _) => ChainAnswer::UnderWay,
        (_, Some(true)) => ChainAnswer::Retried,
        _ => ChainAnswer::Again,
    })
}

/// Asks for a run's chain: judges, and queues the request if it leads to work.
///
/// # Errors
/// [`Error::NotInstalled`], and whatever SQLite answers.
pub fn enqueue_chain(conn: &Connection, run_id: &RunId, actor: &str, reason: Option<&str>) -> Result<Json> {
    let mapping = Mapping::require(conn)?;
    let answer = judge_chain(conn, &mapping, run_id)?;
    if answer.leads_to_work() {
        append(conn, "enqueue_chain", Some(run_id), None, actor, reason)?;
    }
    Ok(json!({
        "run_id": run_id, "answer": answer.as_str(), "queued": answer.leads_to_work(), "message": answer.message(),
    }))
}

/// Asks for a dead step to be tried again, or for a step that has not ended to be cancelled.
///
/// # Errors
/// A refusal when there is no such step or it is not in a state for that.
pub fn ask_about_step(
    conn: &Connection,
    verb: StepVerb,
    step_id: StepId,
    actor: &str,
    reason: Option<&str>,
) -> Result<Json> {
    Mapping::require(conn)?;
    let (claim, state) = steps::find(conn, step_id)?;
    if !verb.applies_to(&state) {
        return Err(Error::refused(
            format!(
                "step {step_id} ({} of run {}) is {state}",
                claim.step, claim.run_id
            ),
            verb.applies_when(),
        ));
    }
    append(
        conn,
        verb.action(),
        Some(&claim.run_id),
        Some(step_id),
        actor,
        reason,
    )?;
    Ok(
        json!({ "step_id": step_id, "run_id": claim.run_id, "step": claim.step, "answer": "queued", "queued": true }),
    )
}

/// Asks for every step of a run's newest chain to which the verb applies; returns how many those
/// are now. Nothing is queued when there are none.
///
/// # Errors
/// Whatever SQLite answers.
pub fn ask_about_run(
    conn: &Connection,
    verb: StepVerb,
    run_id: &RunId,
    actor: &str,
    reason: Option<&str>,
) -> Result<usize> {
    let steps = newest_steps(conn, run_id)?
        .into_iter()
        .filter(|step| verb.applies_to(&step.state))
        .count();
    if steps > 0 {
        append(conn, verb.action(), Some(run_id), None, actor, reason)?;
    }
    Ok(steps)
}

/// Asks for one step of a run's newest chain to be done (again); `false` when the run has no such
/// step or is not over (any more), so that the whole chain must be asked for.
///
/// # Errors
/// A refusal when the step waits for one that is dead or cancelled; whatever SQLite answers.
pub fn ask_for_step(
    conn: &Connection,
    run_id: &RunId,
    step: &str,
    actor: &str,
    reason: Option<&str>,
) -> Result<bool> {
    Mapping::require(conn)?;
    let is_over = known_run(conn, run_id)?.is_some_and(|run| run.phase.is_terminal());
    let Some(found) = newest_steps(conn, run_id)?
        .into_iter()
        .find(|one| one.step == step)
        .filter(|_| is_over)
    else {
        return Ok(false);
    };
    match found.state.as_str() {
        "waiting" => Err(waits_for_others(run_id, step)),
        state if StepVerb::Redo.applies_to(state) => {
            append(
                conn,
                StepVerb::Redo.action(),
                Some(run_id),
                Some(found.id),
                actor,
                reason,
            )?;
            Ok(true)
        }
        _ => Ok(true),
    }
}

/// A step alone was asked for, but others must be done first.
#[must_use]
pub fn waits_for_others(run_id: &RunId, step: &str) -> Error {
    Error::refused(
        format!("step {step} of run {run_id} waits for a step before it"),
        "do the whole chain: runchain finish --run ID",
    )
}

struct StepState {
    id: StepId,
    step: String,
    state: String,
}

fn newest_steps(conn: &Connection, run_id: &RunId) -> Result<Vec<StepState>> {
    let generation = known_run(conn, run_id)?.map_or(0, |run| run.generation);
    steps_of(conn, run_id, generation)
}

fn steps_of(conn: &Connection, run_id: &RunId, generation: i64) -> Result<Vec<StepState>> {
    let mut statement = conn
        .prepare_cached(
            "SELECT id, step, state FROM runchain_steps WHERE run_id = ?1 AND generation = ?2 ORDER BY id",
        )
        .during("read a run's steps")?;
    let rows = statement
        .query_map((run_id, generation), |row| {
            Ok(StepState {
                id: row.get(0)?,
                step: row.get(1)?,
                state: row.get(2)?,
            })
        })
        .during("read a run's steps")?;
    rows.collect::<rusqlite::Result<_>>().during("read a run's steps")
}

/// What can be asked about one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepVerb {
    /// Make a dead step ready again.
    Retry,
    /// Cancel a step that has not ended.
    Cancel,
    /// Do a step again that has ended, in whatever way.
    Redo,
}

impl StepVerb {
    fn action(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Cancel => "cancel",
            Self::Redo => "redo",
        }
    }

    /// Completes "run X ..." when there is nothing to do.
    #[must_use]
    pub fn has_none(self) -> &'static str {
        match self {
            Self::Retry => "has no dead step",
            Self::Cancel => "has no step that has not ended",
            Self::Redo => "has no step that has ended",
        }
    }

    fn applies_to(self, state: &str) -> bool {
        match self {
            Self::Retry => state == "dead",
            Self::Cancel => !matches!(state, "done" | "cancelled"),
            Self::Redo => matches!(state, "done" | "dead" | "cancelled"),
        }
    }

    fn applies_when(self) -> &'static str {
        match self {
            Self::Retry => {
                "only a dead step can be retried; to do a whole chain again use enqueue_chain(run_id)"
            }
            Self::Cancel => "only a step that has not ended can be cancelled",
            Self::Redo => "only a step that has ended can be done again",
        }
    }
}

/// Asks for a kind of steps (or, with [`steps::EVERY_KIND`], for every kind) to be paused or resumed.
///
/// # Errors
/// [`Error::NotInstalled`], and whatever SQLite answers.
pub fn ask_for_pause(
    conn: &Connection,
    pause: bool,
    kind: &str,
    actor: &str,
    reason: Option<&str>,
) -> Result<Json> {
    Mapping::require(conn)?;
    let action = if pause { "pause" } else { "resume" };
    conn.execute(
        "INSERT INTO runchain_queue(action, step, actor, reason) VALUES (?1, ?2, ?3, ?4)",
        (action, kind, actor, reason),
    )
    .during("queue a request")?;
    Ok(json!({ "action": action, "step": kind, "answer": "queued", "queued": true }))
}

fn append(
    conn: &Connection,
    action: &str,
    run_id: Option<&RunId>,
    step_id: Option<StepId>,
    actor: &str,
    reason: Option<&str>,
) -> Result<()> {
    conn.execute(
        "INSERT INTO runchain_queue(action, run_id, step_id, actor, reason) VALUES (?1, ?2, ?3, ?4, ?5)",
        (action, run_id, step_id, actor, reason),
    )
    .map(|_| ())
    .during("queue a request")
}
