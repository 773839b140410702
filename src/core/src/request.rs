//! Requests: what somebody asks for by a SQL function, by the CLI, or by a plain INSERT into
//! `runchain_queue` from code that loads nothing.
//!
//! Every request is judged twice by the same rules: when it is asked (so that the asker gets an
//! answer) and when it is expanded (because only that counts). Every expanded request is an event
//! with actor, reason and answer.

use crate::chain;
use crate::error::{During, Error, Result};
use crate::event::EventType;
use crate::queue::{Expander, QueueRow, known_run};
use crate::vocabulary::{Phase, Vocabulary};
use crate::{Mapping, Millis, RunId, StepId, steps};
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
        }
    }
}

/// Judges a request for a run's chain.
///
/// # Errors
/// Whatever SQLite answers.
pub fn judge_chain(conn: &Connection, mapping: &Mapping, run_id: &RunId) -> Result<ChainAnswer> {
    let Some(status) = mapping.status_of(conn, run_id)? else {
        return Ok(ChainAnswer::NoSuchRun);
    };
    let known = known_run(conn, run_id)?.filter(|run| run.phase != Phase::Deleted);
    let phase = Vocabulary::load(conn)?
        .phase(status.as_deref())
        .or(known.as_ref().map(|run| run.phase));
    if !phase.is_some_and(Phase::is_terminal) {
        return Ok(ChainAnswer::RunActive);
    }
    let Some(run) = known.filter(|run| run.generation > 0 && run.phase.is_terminal()) else {
        return Ok(ChainAnswer::Queued);
    };
    let (live, dead): (bool, bool) = conn
        .prepare_cached(
            "SELECT coalesce(max(state IN ('ready', 'leased', 'running')), 0), coalesce(max(state = 'dead'), 0)
             FROM runchain_steps WHERE run_id = ?1 AND generation = ?2",
        )
        .and_then(|mut statement| statement.query_row((run_id, run.generation), |row| Ok((row.get(0)?, row.get(1)?))))
        .during("look at a run's chain")?;
    Ok(match (live, dead) {
        (true, _) => ChainAnswer::UnderWay,
        (false, true) => ChainAnswer::Retried,
        (false, false) => ChainAnswer::Again,
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

/// What can be asked about one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepVerb {
    /// Make a dead step ready again.
    Retry,
    /// Cancel a step that has not ended.
    Cancel,
}

impl StepVerb {
    fn action(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Cancel => "cancel",
        }
    }

    fn applies_to(self, state: &str) -> bool {
        match self {
            Self::Retry => state == "dead",
            Self::Cancel => !matches!(state, "done" | "cancelled"),
        }
    }

    fn applies_when(self) -> &'static str {
        match self {
            Self::Retry => {
                "only a dead step can be retried; to do a whole chain again use enqueue_chain(run_id)"
            }
            Self::Cancel => "only a step that has not ended can be cancelled",
        }
    }
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

/// Expands a request.
pub(crate) fn take(expander: &Expander<'_>, row: &QueueRow) -> Result<()> {
    match (row.action.as_str(), &row.run_id) {
        ("enqueue_chain", Some(run_id)) => take_chain(expander, row, run_id),
        ("enqueue_chain", None) => expander.refuse(row, "enqueue_chain needs a run_id"),
        ("retry", _) => take_steps(expander, row, StepVerb::Retry),
        ("cancel", _) => take_steps(expander, row, StepVerb::Cancel),
        _ => expander.refuse(row, "unknown action; known are enqueue_chain, retry and cancel"),
    }
}

fn take_chain(expander: &Expander<'_>, row: &QueueRow, run_id: &RunId) -> Result<()> {
    let conn = expander.conn;
    let answer = judge_chain(conn, expander.mapping, run_id)?;
    let generation = known_run(conn, run_id)?.map_or(0, |run| run.generation);
    match answer {
        ChainAnswer::Queued => {
            let status = expander.mapping.status_of(conn, run_id)?.flatten();
            expander.observe(run_id, status.as_deref(), status.as_deref(), expander.now)?;
            if let Some(run) =
                known_run(conn, run_id)?.filter(|run| run.generation == 0 && run.phase.is_terminal())
            {
                expander.end(run_id, run.phase, status.as_deref(), expander.now)?;
            }
        }
        ChainAnswer::Again => {
            conn.execute(
                "UPDATE runchain_steps SET state = CASE WHEN needs = '[]' THEN 'ready' ELSE 'waiting' END, attempts = 0,
                   ready_at_ms = ?3, finished_ms = NULL, note = NULL
                 WHERE run_id = ?1 AND generation = ?2 AND state IN ('done', 'cancelled')",
                (run_id, generation, expander.now),
            )
            .during("do a chain again")?;
        }
        ChainAnswer::Retried => retry_dead(expander, run_id, generation)?,
        ChainAnswer::UnderWay | ChainAnswer::RunActive | ChainAnswer::NoSuchRun => {}
    }
    answered(expander, row, run_id, answer.as_str(), answer.message())
}

fn take_steps(expander: &Expander<'_>, row: &QueueRow, verb: StepVerb) -> Result<()> {
    let (run_id, changed) = match (row.step_id, &row.run_id) {
        (Some(step_id), _) => match steps::find(expander.conn, step_id) {
            Ok((claim, state)) => {
                let applies = verb.applies_to(&state);
                if applies {
                    one_step(expander, verb, &claim)?;
                }
                (claim.run_id, usize::from(applies))
            }
            Err(Error::Refused { what, .. }) => return expander.refuse(row, &what),
            Err(error) => return Err(error),
        },
        (None, Some(run_id)) => (run_id.clone(), all_steps(expander, verb, run_id)?),
        (None, None) => return expander.refuse(row, "name the step (step_id) or the run (run_id)"),
    };
    let answer = if changed > 0 { "done" } else { "nothing_to_do" };
    answered(expander, row, &run_id, answer, verb.applies_when())
}

fn one_step(expander: &Expander<'_>, verb: StepVerb, claim: &steps::Claim) -> Result<()> {
    match verb {
        StepVerb::Retry => {
            steps::retry(expander.conn, claim.step_id, expander.now)?;
            let data = json!({ "step": claim.step, "step_id": claim.step_id });
            expander.run_event(EventType::StepRetried, &claim.run_id, claim.generation, data, expander.now)
        }
        StepVerb::Cancel => expander
            .conn
            .execute(
                "UPDATE runchain_steps SET state = 'cancelled', token = token + 1, executor_id = NULL, finished_ms = ?2
                 WHERE id = ?1",
                (claim.step_id, expander.now),
            )
            .map(|_| ())
            .during("cancel a step"),
    }
}

fn all_steps(expander: &Expander<'_>, verb: StepVerb, run_id: &RunId) -> Result<usize> {
    let generation = known_run(expander.conn, run_id)?.map_or(0, |run| run.generation);
    match verb {
        StepVerb::Retry => {
            let before = dead_steps(expander.conn, run_id, generation)?.len();
            retry_dead(expander, run_id, generation)?;
            Ok(before)
        }
        StepVerb::Cancel => chain::cancel_live(
            expander.conn,
            run_id,
            generation,
            "somebody asked for it",
            expander.now,
        ),
    }
}

fn retry_dead(expander: &Expander<'_>, run_id: &RunId, generation: i64) -> Result<()> {
    for step_id in dead_steps(expander.conn, run_id, generation)? {
        let (claim, _) = steps::find(expander.conn, step_id)?;
        one_step(expander, StepVerb::Retry, &claim)?;
    }
    Ok(())
}

fn dead_steps(conn: &Connection, run_id: &RunId, generation: i64) -> Result<Vec<StepId>> {
    let mut statement = conn
        .prepare_cached("SELECT id FROM runchain_steps WHERE run_id = ?1 AND generation = ?2 AND state = 'dead' ORDER BY id")
        .during("find dead steps")?;
    let rows = statement
        .query_map((run_id, generation), |row| row.get(0))
        .during("find dead steps")?;
    rows.collect::<rusqlite::Result<_>>().during("find dead steps")
}

fn answered(
    expander: &Expander<'_>,
    row: &QueueRow,
    run_id: &RunId,
    answer: &str,
    message: &str,
) -> Result<()> {
    let generation = known_run(expander.conn, run_id)?.map_or(0, |run| run.generation);
    let data = json!({
        "action": row.action, "answer": answer, "message": message, "step_id": row.step_id,
        "actor": row.actor, "reason": row.reason,
        "asked_at": row.at.map(Millis::iso),
    });
    expander.run_event(EventType::Request, run_id, generation, data, expander.now)
}
