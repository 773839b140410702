//! What the logs know of one end of a run, written down as if it had never been lost.

use super::{Adopted, NAMED, OutsideEnd, StepFate};
use crate::chain;
use crate::error::{During, Result};
use crate::event::{self, EventType, NewEvent};
use crate::steps::{self, Archival};
use crate::vocabulary::Phase;
use crate::{Millis, RunId, queue};
use rusqlite::Connection;
use serde_json::{Value, json};

/// Chains that have a step which has not ended.
pub(super) fn live_chains(conn: &Connection) -> Result<Vec<(RunId, i64)>> {
    let mut statement = conn
        .prepare(
            "SELECT DISTINCT run_id, generation FROM runchain_steps
             WHERE finished_ms IS NULL AND state IN ('waiting', 'ready', 'leased', 'running', 'dead')
             ORDER BY run_id, generation",
        )
        .during("look for live chains")?;
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .during("look for live chains")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("look for live chains")
}

/// Settles the live steps of one chain by what the logs say of it.
pub(super) fn take_over(
    conn: &Connection,
    run_id: &RunId,
    generation: i64,
    end: &OutsideEnd,
    adopted: &mut Adopted,
    now: Millis,
) -> Result<()> {
    let known = queue::known_run(conn, run_id)?.filter(|run| run.generation == generation);
    let Some(known) = known.filter(|run| run.phase.is_terminal()) else {
        return Ok(());
    };
    // An end that the logs have seen after the backup, and one of the same number here: only the time
    // of the write tells whether they are one.
    if end.ended.is_some_and(|ended| ended != known.since) {
        return Ok(());
    }
    if end.cancelled {
        let why = "it was cancelled before the database was restored";
        adopted.cancelled_steps += chain::cancel_live(conn, run_id, generation, why, now)?;
        return Ok(());
    }
    for (step, told) in &end.steps {
        if !settle(conn, run_id, generation, step, &told.fate, now)? {
            continue;
        }
        match &told.fate {
            StepFate::Done { .. } => adopted.settled_steps += 1,
            StepFate::Dead { .. } => adopted.dead_steps += 1,
            StepFate::Open => continue,
        }
        let data = json!({
            "state": told.fate.as_str(), "epoch": told.epoch, "seq": told.seq,
            "remedy": "the logs say so; to do the chain again: runchain finish --run ID",
        });
        let mut event = NewEvent::of_run(EventType::StepAdopted, now, run_id, generation, data);
        event.step = Some(step);
        event::append(conn, &event)?;
    }
    steps::ready_what_waited(conn, run_id, generation, now)
}

/// `true` where that changed anything.
fn settle(
    conn: &Connection,
    run_id: &RunId,
    generation: i64,
    step: &str,
    fate: &StepFate,
    now: Millis,
) -> Result<bool> {
    let (state, result, error) = match fate {
        StepFate::Done { result } => ("done", Some(result.to_string()), None),
        StepFate::Dead { error } => ("dead", None, Some(error)),
        StepFate::Open => return Ok(false),
    };
    let changed = conn
        .prepare_cached(
            "UPDATE runchain_steps SET state = ?4, result = coalesce(?5, result), error = ?6, executor_id = NULL,
               token = token + 1, finished_ms = CASE ?4 WHEN 'done' THEN ?7 END
             WHERE run_id = ?1 AND generation = ?2 AND step = ?3 AND state IN ('waiting', 'ready', 'dead') AND state <> ?4",
        )
        .and_then(|mut statement| {
            statement.execute((run_id, generation, step, state, result, error, now))
        })
        .during("take a step over from the logs")?;
    if let (1, "archive", StepFate::Done { result }) = (changed, step, fate)
        && let Some(archival) = archival_of(result)
    {
        steps::log_archival(conn, run_id, generation, &archival, now)?;
    }
    Ok(changed == 1)
}

/// The bag that a step's result tells of, as for `archival_log`.
fn archival_of(result: &Value) -> Option<Archival> {
    Some(Archival {
        archive_path: result.get("path")?.as_str()?.to_owned(),
        size_bytes: result.get("size_bytes")?.as_i64()?,
        digest: result.get("digest")?.as_str()?.to_owned(),
        unchanged: true,
    })
}

/// The next end of a run that the logs have seen ending must not get the number of that end.
pub(super) fn reserve_generation(
    conn: &Connection,
    run_id: &RunId,
    generation: i64,
    adopted: &mut Adopted,
    now: Millis,
) -> Result<()> {
    let active = queue::known_run(conn, run_id)?.is_some_and(|run| run.phase == Phase::Active);
    let raised = conn
        .prepare_cached(
            "INSERT INTO runchain_runs(run_id, phase, generation, first_seen_ms, phase_since_ms)
             VALUES (?1, 'deleted', ?2, ?3, ?3)
             ON CONFLICT(run_id) DO UPDATE SET generation = excluded.generation
               WHERE generation < excluded.generation AND phase IN ('active', 'deleted')",
        )
        .and_then(|mut statement| statement.execute((run_id, generation, now)))
        .during("reserve a run's generation")?;
    if raised == 1 && active && adopted.ended_before.len() < NAMED {
        adopted.ended_before.push(run_id.clone());
    }
    Ok(())
}
