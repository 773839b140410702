//! Expanding a request: the same rules once more, and then what was asked for.

use super::{ChainAnswer, StepVerb, judge_chain, newest_steps, steps_of};
use crate::alert::{self, ByHand};
use crate::audit::By;
use crate::chain;
use crate::error::{During, Error, Result};
use crate::event::{self, EventType, NewEvent};
use crate::flags;
use crate::held::{self, BatchId, Decision};
use crate::queue::{Expander, QueueRow, known_run};
use crate::vocabulary::Phase;
use crate::{Millis, RunId, StepId, steps};
use rusqlite::{Connection, OptionalExtension};
use serde_json::{Map, Value as Json, json};

/// What came of a request.
enum Taken {
    Answered {
        answer: &'static str,
        message: Option<&'static str>,
    },
    /// It changed nothing, for this reason.
    Refused(String),
}

fn refused(why: &str) -> Result<Taken> {
    Ok(Taken::Refused(why.to_owned()))
}

/// Expands a request and says in an event what came of it.
pub(crate) fn take(expander: &Expander<'_>, row: &QueueRow) -> Result<()> {
    let conn = expander.conn;
    let subject = Subject::of(conn, row)?;
    let before = subject.state(conn)?;
    let taken = match (row.action.as_str(), &row.run_id) {
        ("enqueue_chain", Some(run_id)) => take_chain(expander, run_id)?,
        ("enqueue_chain", None) => refused("enqueue_chain needs a run_id")?,
        ("retry", _) => take_steps(expander, row, StepVerb::Retry)?,
        ("cancel", _) => take_steps(expander, row, StepVerb::Cancel)?,
        ("redo", _) => take_steps(expander, row, StepVerb::Redo)?,
        ("pause" | "resume", _) => take_pause(expander, row)?,
        ("release_held" | "discard_held", _) => take_decision(expander, row)?,
        ("acknowledge_alert" | "resolve_alert", _) => take_alert(expander, row)?,
        _ => refused(
            "unknown action; known are enqueue_chain, retry, cancel, redo, pause, resume, release_held, discard_held, \
             acknowledge_alert and resolve_alert",
        )?,
    };
    let (answer, message) = match taken {
        Taken::Refused(why) => return expander.refuse(row, &why),
        Taken::Answered { answer, message } => (answer, message),
    };
    let mut data = row.audit(answer, message);
    data.insert("before".to_owned(), before);
    data.insert("after".to_owned(), subject.state(conn)?);
    let mut event = NewEvent::of_database(EventType::Request, expander.now, None, Json::Null);
    match &subject {
        Subject::Run { run_id, .. } => {
            event.generation = Some(known_run(conn, run_id)?.map_or(0, |run| run.generation));
            event.run_id = Some(run_id);
        }
        Subject::Kind(kind) => {
            data.insert("step".to_owned(), json!(kind));
        }
        Subject::Batch(id) => {
            data.insert("batch".to_owned(), json!(id));
        }
        Subject::Alert(id) => {
            data.insert("alert".to_owned(), json!(id));
        }
        Subject::Nothing => {}
    }
    event.data = Json::Object(data);
    event::append(conn, &event).map(|_| ())
}

/// What a request is about, so that its state can be told before and after.
enum Subject {
    Run {
        run_id: RunId,
        /// The generation of the step that was named; else the newest.
        generation: Option<i64>,
    },
    Kind(String),
    /// A held batch.
    Batch(i64),
    /// An alert.
    Alert(i64),
    Nothing,
}

impl Subject {
    fn of(conn: &Connection, row: &QueueRow) -> Result<Self> {
        if matches!(row.action.as_str(), "pause" | "resume") {
            return Ok(Self::Kind(
                row.step.clone().unwrap_or_else(|| steps::EVERY_KIND.to_owned()),
            ));
        }
        if matches!(row.action.as_str(), "release_held" | "discard_held") {
            return Ok(row
                .step_id
                .map_or(Self::Nothing, |StepId(batch)| Self::Batch(batch)));
        }
        if ByHand::from_action(&row.action).is_some() {
            return Ok(row
                .step_id
                .map_or(Self::Nothing, |StepId(alert)| Self::Alert(alert)));
        }
        if let Some(step_id) = row.step_id.filter(|_| row.action != "enqueue_chain") {
            return match steps::find(conn, step_id) {
                Ok((claim, _)) => Ok(Self::Run {
                    run_id: claim.run_id,
                    generation: Some(claim.generation),
                }),
                Err(Error::Refused { .. }) => Ok(Self::Nothing),
                Err(error) => Err(error),
            };
        }
        Ok(row.run_id.clone().map_or(Self::Nothing, |run_id| Self::Run {
            run_id,
            generation: None,
        }))
    }

    fn state(&self, conn: &Connection) -> Result<Json> {
        match self {
            Self::Nothing => Ok(Json::Null),
            Self::Batch(id) => {
                let batch = held::find(conn, BatchId(*id))?;
                Ok(batch.map_or(
                    Json::Null,
                    |batch| json!({ "state": batch.state, "runs": batch.left() }),
                ))
            }
            Self::Alert(id) => {
                let alert = alert::find(conn, *id)?;
                Ok(alert.map_or(
                    Json::Null,
                    |alert| json!({ "rule": alert.rule, "subject": alert.subject, "state": alert.state }),
                ))
            }
            Self::Kind(kind) => pause_of(conn, kind).map(|pause| json!({ "paused": pause })),
            Self::Run { run_id, generation } => {
                let Some(run) = known_run(conn, run_id)? else {
                    return Ok(Json::Null);
                };
                let generation = generation.unwrap_or(run.generation);
                let mut states = Map::new();
                for step in steps_of(conn, run_id, generation)? {
                    states.insert(step.step, json!(step.state));
                }
                Ok(json!({ "phase": run.phase, "generation": generation, "steps": states }))
            }
        }
    }
}

fn pause_of(conn: &Connection, kind: &str) -> Result<Option<Json>> {
    conn.prepare_cached("SELECT since_ms, actor, reason FROM runchain_pauses WHERE step = ?1")
        .and_then(|mut statement| {
            statement
                .query_row([kind], |row| {
                    let (actor, reason): (Option<String>, Option<String>) = (row.get(1)?, row.get(2)?);
                    Ok(json!({ "since": row.get::<_, Millis>(0)?.iso(), "actor": actor, "reason": reason }))
                })
                .optional()
        })
        .during("look at a pause")
}

fn take_chain(expander: &Expander<'_>, run_id: &RunId) -> Result<Taken> {
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
                    expander.begin_chain(run_id, run.generation, run.phase, run.status.as_deref())?;
                }
            }
        }
        ChainAnswer::Again => steps::chain_again(conn, run_id, generation, expander.now)?,
        ChainAnswer::Retried => {
            all_steps(expander, StepVerb::Retry, run_id)?;
        }
        ChainAnswer::UnderWay | ChainAnswer::RunActive | ChainAnswer::NoSuchRun | ChainAnswer::Forgotten => {}
    }
    if answer == ChainAnswer::Queued && expander.holds.get() {
        return Ok(Taken::Answered {
            answer: "held",
            message: Some(
                "too many were asked for at once: its chain is held; runchain held shows the batch",
            ),
        });
    }
    Ok(Taken::Answered {
        answer: answer.as_str(),
        message: Some(answer.message()),
    })
}

fn take_steps(expander: &Expander<'_>, row: &QueueRow, verb: StepVerb) -> Result<Taken> {
    let changed = match (row.step_id, &row.run_id) {
        (Some(step_id), _) => match steps::find(expander.conn, step_id) {
            Ok((claim, _)) if verb != StepVerb::Cancel && !is_current(expander.conn, &claim)? => {
                return refused(
                    "the step's run was started again, ended again or deleted since; its newest chain is what counts",
                );
            }
            Ok((claim, state)) => {
                let applies = verb.applies_to(&state);
                if applies {
                    one_step(expander, verb, &claim)?;
                }
                usize::from(applies)
            }
            Err(Error::Refused { what, .. }) => return refused(&what),
            Err(error) => return Err(error),
        },
        (None, Some(run_id)) => all_steps(expander, verb, run_id)?,
        (None, None) => return refused("name the step (step_id) or the run (run_id)"),
    };
    Ok(Taken::Answered {
        answer: done(changed > 0),
        // Only where nothing was done is there something to explain.
        message: (changed == 0).then(|| verb.applies_when()),
    })
}

fn take_pause(expander: &Expander<'_>, row: &QueueRow) -> Result<Taken> {
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
    Ok(Taken::Answered {
        answer: done(changed),
        message: None,
    })
}

fn done(changed: bool) -> &'static str {
    if changed { "done" } else { "nothing_to_do" }
}

/// What becomes of a held batch; carrying it out is `held::advance`.
fn take_decision(expander: &Expander<'_>, row: &QueueRow) -> Result<Taken> {
    let Some(StepId(batch)) = row.step_id else {
        return refused("name the batch (step_id); runchain held lists them");
    };
    let per_minute = row.step.as_deref().map(|text| text.trim().parse::<i64>());
    let decision = match (row.action.as_str(), per_minute) {
        ("release_held", None) => Decision::Release { per_minute: None },
        ("release_held", Some(Ok(per_minute))) if per_minute > 0 => Decision::Release {
            per_minute: Some(per_minute),
        },
        ("release_held", _) => return refused("step is no number of runs a minute"),
        _ => Decision::Discard,
    };
    let (actor, reason) = (row.actor.as_deref(), row.reason.as_deref());
    if !held::decide(
        expander.conn,
        BatchId(batch),
        decision,
        actor,
        reason,
        expander.now,
    )? {
        return refused("there is no such held batch, or it is over already");
    }
    Ok(Taken::Answered {
        answer: done(true),
        message: None,
    })
}

/// An alert that somebody acknowledges or resolves.
fn take_alert(expander: &Expander<'_>, row: &QueueRow) -> Result<Taken> {
    let (Some(what), Some(StepId(alert))) = (ByHand::from_action(&row.action), row.step_id) else {
        return refused("name the alert (step_id); runchain alerts lists them");
    };
    let Some(entry) = alert::find(expander.conn, alert)? else {
        return refused("there is no such alert");
    };
    let by = By {
        actor: row.actor.clone(),
        reason: row.reason.clone(),
    };
    match alert::change_by_hand(expander.conn, &entry, what, &by, expander.now) {
        Ok(is_news) => Ok(Taken::Answered {
            answer: done(is_news),
            message: None,
        }),
        Err(Error::Refused { what, .. }) => refused(&what),
        Err(error) => Err(error),
    }
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
