//! Expanding a request: the same rules once more, and then what was asked for.

use super::{ChainAnswer, StepVerb, judge_chain, newest_steps};
use crate::chain;
use crate::error::{Error, Result};
use crate::event::{self, EventType, NewEvent};
use crate::flags;
use crate::held::{self, BatchId, Decision};
use crate::queue::{Expander, QueueRow, known_run};
use crate::vocabulary::Phase;
use crate::{Millis, RunId, StepId, steps};
use rusqlite::Connection;
use serde_json::json;

/// Expands a request.
pub(crate) fn take(expander: &Expander<'_>, row: &QueueRow) -> Result<()> {
    match (row.action.as_str(), &row.run_id) {
        ("enqueue_chain", Some(run_id)) => take_chain(expander, row, run_id),
        ("enqueue_chain", None) => expander.refuse(row, "enqueue_chain needs a run_id"),
        ("retry", _) => take_steps(expander, row, StepVerb::Retry),
        ("cancel", _) => take_steps(expander, row, StepVerb::Cancel),
        ("redo", _) => take_steps(expander, row, StepVerb::Redo),
        ("pause" | "resume", _) => take_pause(expander, row),
        ("release_held" | "discard_held", _) => take_decision(expander, row),
        _ => expander.refuse(
            row,
            "unknown action; known are enqueue_chain, retry, cancel, redo, pause, resume, release_held and discard_held",
        ),
    }
}

fn take_chain(expander: &Expander<'_>, row: &QueueRow, run_id: &RunId) -> Result<()> {
    let conn = expander.conn;
    let answer = judge_chain(conn, expander.mapping, run_id)?;
    let generation = known_run(conn, run_id)?.map_or(0, |run| run.generation);
    match answer {
        ChainAnswer::Queued => {
            let status = expander.mapping.status_of(conn, run_id)?.flatten();
            let was_deleted = known_run(conn, run_id)?.is_some_and(|run| run.phase == Phase::Deleted);
            // What a flag decided, the row doesn't say.
            if flags::of_run(conn, run_id)?.is_none() {
                expander.observe(run_id, status.as_deref(), status.as_deref(), expander.now)?;
            }
            if let Some(run) = known_run(conn, run_id)?.filter(|run| run.phase.is_terminal()) {
                // Its last end was that of a row that is gone: this one's own capture comes later, and
                // will be no news.
                if run.ended_event_id.is_none() || was_deleted {
                    expander.end(run_id, run.phase, status.as_deref(), expander.now)?;
                } else {
                    // Nothing happens where the generation has its steps.
                    expander.chain.begin(conn, run_id, run.generation, expander.now)?;
                }
            }
        }
        ChainAnswer::Again => steps::chain_again(conn, run_id, generation, expander.now)?,
        ChainAnswer::Retried => {
            all_steps(expander, StepVerb::Retry, run_id)?;
        }
        ChainAnswer::UnderWay | ChainAnswer::RunActive | ChainAnswer::NoSuchRun => {}
    }
    if answer == ChainAnswer::Queued && expander.holds.get() {
        let why = "too many were asked for at once: its chain is held; runchain held shows the batch";
        return answered(expander, row, run_id, "held", why);
    }
    answered(expander, row, run_id, answer.as_str(), answer.message())
}

fn take_steps(expander: &Expander<'_>, row: &QueueRow, verb: StepVerb) -> Result<()> {
    let (run_id, changed) = match (row.step_id, &row.run_id) {
        (Some(step_id), _) => match steps::find(expander.conn, step_id) {
            Ok((claim, _)) if verb != StepVerb::Cancel && !is_current(expander.conn, &claim)? => {
                return expander.refuse(
                    row,
                    "the step's run was started again, ended again or deleted since; its newest chain is what counts",
                );
            }
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

fn take_pause(expander: &Expander<'_>, row: &QueueRow) -> Result<()> {
    let kind = row.step.as_deref().unwrap_or(steps::EVERY_KIND);
    let changed = if row.action == "pause" {
        steps::pause(
            expander.conn,
            kind,
            row.actor.as_deref(),
            row.reason.as_deref(),
            expander.now,
        )?
    } else {
        steps::resume(expander.conn, kind)?
    };
    let data = json!({
        "action": row.action, "step": kind, "answer": if changed { "done" } else { "nothing_to_do" },
        "actor": row.actor, "reason": row.reason, "asked_at": row.at.map(Millis::iso),
    });
    event::append(
        expander.conn,
        &NewEvent::of_database(EventType::Request, expander.now, None, data),
    )
    .map(|_| ())
}

/// What becomes of a held batch; carrying it out is `held::advance`.
fn take_decision(expander: &Expander<'_>, row: &QueueRow) -> Result<()> {
    let Some(StepId(batch)) = row.step_id else {
        return expander.refuse(row, "name the batch (step_id); runchain held lists them");
    };
    let per_minute = row.step.as_deref().map(|text| text.trim().parse::<i64>());
    let decision = match (row.action.as_str(), per_minute) {
        ("release_held", None) => Decision::Release { per_minute: None },
        ("release_held", Some(Ok(per_minute))) if per_minute > 0 => Decision::Release {
            per_minute: Some(per_minute),
        },
        ("release_held", _) => return expander.refuse(row, "step is no number of runs a minute"),
        _ => Decision::Discard,
    };
    let (conn, now) = (expander.conn, expander.now);
    let before = held::find(conn, BatchId(batch))?;
    let (actor, reason) = (row.actor.as_deref(), row.reason.as_deref());
    if !held::decide(conn, BatchId(batch), decision, actor, reason, now)? {
        return expander.refuse(row, "there is no such held batch, or it is over already");
    }
    let data = json!({
        "action": row.action, "answer": "done", "batch": batch, "was": before.as_ref().map(|batch| &batch.state),
        "runs": before.as_ref().map(held::Batch::left), "per_minute": row.step, "actor": actor, "reason": reason,
        "asked_at": row.at.map(Millis::iso),
    });
    event::append(conn, &NewEvent::of_database(EventType::Request, now, None, data)).map(|_| ())
}

/// Whether the step belongs to the newest chain of a run that is over.
fn is_current(conn: &Connection, claim: &steps::Claim) -> Result<bool> {
    Ok(known_run(conn, &claim.run_id)?
        .is_some_and(|run| run.phase.is_terminal() && run.generation == claim.generation))
}

fn one_step(expander: &Expander<'_>, verb: StepVerb, claim: &steps::Claim) -> Result<()> {
    let (conn, now) = (expander.conn, expander.now);
    match verb {
        StepVerb::Retry | StepVerb::Redo => {
            steps::ready_again(conn, claim.step_id, now)?;
            retried(expander, claim)
        }
        StepVerb::Cancel => steps::cancel(conn, claim.step_id, now),
    }
}

fn all_steps(expander: &Expander<'_>, verb: StepVerb, run_id: &RunId) -> Result<usize> {
    let generation = known_run(expander.conn, run_id)?.map_or(0, |run| run.generation);
    if verb == StepVerb::Cancel {
        return chain::cancel_live(
            expander.conn,
            run_id,
            generation,
            "somebody asked for it",
            expander.now,
        );
    }
    let mut changed = 0;
    // What an active or a deleted run did at its last end is not done again.
    if !known_run(expander.conn, run_id)?.is_some_and(|run| run.phase.is_terminal()) {
        return Ok(0);
    }
    for step in newest_steps(expander.conn, run_id)? {
        if verb.applies_to(&step.state) {
            let claim = steps::find(expander.conn, step.id)?.0;
            match verb {
                StepVerb::Redo => retried(expander, &claim)?,
                _ => one_step(expander, verb, &claim)?,
            }
            changed += 1;
        }
    }
    if verb == StepVerb::Redo {
        steps::chain_again(expander.conn, run_id, generation, expander.now)?;
    }
    Ok(changed)
}

fn retried(expander: &Expander<'_>, claim: &steps::Claim) -> Result<()> {
    let data = json!({ "step": claim.step, "step_id": claim.step_id });
    expander.run_event(
        EventType::StepRetried,
        &claim.run_id,
        claim.generation,
        data,
        expander.now,
    )
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
