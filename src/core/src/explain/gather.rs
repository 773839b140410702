//! Reading the facts. Every question is bounded or answered by an index; nothing is written.

use super::facts::{
    Cancelled, Complaint, Counts, DatabaseFacts, DeadStep, Facts, FailedAttempt, Held, HeldBatch, Holder,
    Known, Outside, Pause, Queue, RunFacts, StepFacts, Suspect,
};
use super::nearest::nearest;
use crate::error::{During, Error, Result};
use crate::install;
use crate::liveness::{Liveness, executor_alive};
use crate::steps::ending;
use crate::validate::{self, Severity, ValidateOptions, backlog};
use crate::vocabulary::{Phase, Vocabulary};
use crate::{Mapping, Millis, RunId, StepId, forget, schema, steps, triggers};
use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::Value as Json;

/// Queue rows that are looked through for those of one run.
const QUEUE_ROWS: i64 = 10_000;
/// Failed attempts of a step that are told.
const FAILURES: i64 = 20;
/// Held steps that are told.
const HELD: i64 = 100;

/// Checks that are told by facts of their own, so that they aren't told twice.
const TOLD: [&str; 9] = [
    "installed",
    "mapping",
    "triggers",
    "executor",
    "queue",
    "ready_steps",
    "pauses",
    "dead_steps",
    "stalled_runs",
];

/// The same where the followed table isn't there.
const TOLD_BY_MAPPING: [&str; 2] = ["required_tables", "status_words"];

/// Reads the facts of a run, or of the database as a whole.
///
/// # Errors
/// [`crate::Error::NotInstalled`], and whatever SQLite answers.
pub fn gather(
    conn: &Connection,
    run_id: Option<&RunId>,
    validate: &ValidateOptions,
    now: Millis,
) -> Result<Facts> {
    let mapping = Mapping::require(conn)?;
    let version = schema::version(conn)?;
    if version < schema::VERSION {
        return Err(Error::refused(
            format!(
                "the database has schema version {version}, and this asks for {}",
                schema::VERSION
            ),
            "migrate it: runchain install, or start an executor of this version",
        ));
    }
    let probe = RunId(String::new());
    let table_is_there = mapping.status_of(conn, run_id.unwrap_or(&probe)).is_ok();
    Ok(Facts {
        now,
        database: database(conn, &mapping, table_is_there, validate, now)?,
        run: match run_id {
            Some(run_id) => Some(run(conn, &mapping, table_is_there, run_id, now)?),
            None => None,
        },
        mapping,
        outside: Outside::default(),
    })
}

fn database(
    conn: &Connection,
    mapping: &Mapping,
    table_is_there: bool,
    options: &ValidateOptions,
    now: Millis,
) -> Result<DatabaseFacts> {
    use backlog::Backlog;
    let count = |backlog: Backlog| backlog.count(conn);
    let executor = match validate::database_path(conn)? {
        Some(path) => executor_alive(&path),
        None => Liveness::Unknown("this database has no file".to_owned()),
    };
    let pause = |pause: backlog::Pause| Pause {
        kind: pause.step,
        since: pause.since,
        actor: pause.actor,
        reason: pause.reason,
    };
    Ok(DatabaseFacts {
        table_is_there,
        trigger_faults: if table_is_there {
            triggers::faults(conn, mapping)?
                .iter()
                .map(ToString::to_string)
                .collect()
        } else {
            Vec::new()
        },
        executor,
        last_executor: backlog::last_executor(conn)?,
        queue: Queue {
            rows: count(Backlog::QueueRows)?,
            oldest: backlog::oldest_queue_row(conn)?.and_then(|row| row.at),
        },
        next_due: steps::next_due(conn)?,
        pauses: backlog::pauses(conn)?.into_iter().map(pause).collect(),
        counts: Counts {
            ready: count(Backlog::ReadySteps)?,
            waiting: count(Backlog::WaitingSteps)?,
            held: count(Backlog::LeasedSteps)? + count(Backlog::RunningSteps)?,
            dead: count(Backlog::DeadSteps)?,
            active: count(Backlog::ActiveRuns)?,
            stalled: count(Backlog::StalledRuns)?,
        },
        dead: dead(conn)?,
        held: held(conn)?,
        suspect: suspect(conn, now)?,
        held_batch: held_batch(conn, "state = 'held' AND ?1 IS NULL", None)?,
        renamed_to: install::renamed_to(conn)?,
        complaints: complaints(conn, options, now)?,
    })
}

fn complaints(conn: &Connection, options: &ValidateOptions, now: Millis) -> Result<Vec<Complaint>> {
    let findings = validate::checks(conn, options, now)?;
    let is_gone = findings
        .iter()
        .any(|finding| finding.check == "mapping" && finding.severity == Severity::Error);
    let untold = |finding: &validate::Finding| {
        let is_told = TOLD.contains(&finding.check) || (is_gone && TOLD_BY_MAPPING.contains(&finding.check));
        finding.severity == Severity::Error && !is_told
    };
    Ok(findings
        .into_iter()
        .filter(untold)
        .map(|finding| Complaint {
            check: finding.check,
            found: finding.found,
            remedy: finding.remedy,
        })
        .collect())
}

fn dead(conn: &Connection) -> Result<Option<DeadStep>> {
    conn.query_row(
        "SELECT run_id, step, error FROM runchain_steps
         WHERE finished_ms IS NULL AND state = 'dead' ORDER BY id DESC LIMIT 1",
        [],
        |row| {
            Ok(DeadStep {
                run_id: row.get(0)?,
                step: row.get(1)?,
                error: row.get(2)?,
            })
        },
    )
    .optional()
    .during("look for dead steps")
}

fn held(conn: &Connection) -> Result<Vec<Held>> {
    let mut select = conn
        .prepare_cached(
            "SELECT run_id, step FROM runchain_steps
             WHERE finished_ms IS NULL AND state IN ('leased', 'running') LIMIT ?1",
        )
        .during("look for held steps")?;
    let rows = select
        .query_map([HELD], |row| {
            Ok(Held {
                run_id: row.get(0)?,
                step: row.get(1)?,
            })
        })
        .during("look for held steps")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("look for held steps")
}

/// The oldest batch for which a condition holds.
fn held_batch(conn: &Connection, condition: &str, run_id: Option<&RunId>) -> Result<Option<HeldBatch>> {
    let sql = format!(
        "SELECT id, state, since_ms, held - released - discarded - taken_back FROM runchain_held_batches
         WHERE {condition} ORDER BY id LIMIT 1"
    );
    conn.query_row(&sql, [run_id], |row| {
        Ok(HeldBatch {
            id: row.get(0)?,
            state: row.get(1)?,
            since: row.get(2)?,
            runs: row.get(3)?,
        })
    })
    .optional()
    .during("look for held chains")
}

fn suspect(conn: &Connection, now: Millis) -> Result<Option<Suspect>> {
    conn.query_row(
        "SELECT run_id, step, ready_at_ms FROM runchain_steps
         WHERE state = 'ready' AND lost > 0 AND ready_at_ms <= ?1
           AND NOT EXISTS (SELECT 1 FROM runchain_pauses AS p WHERE p.step IN ('*', runchain_steps.step))
         ORDER BY ready_at_ms, id LIMIT 1",
        [now],
        |row| {
            Ok(Suspect {
                run_id: row.get(0)?,
                step: row.get(1)?,
                since: row.get(2)?,
            })
        },
    )
    .optional()
    .during("look for suspects")
}

fn run(
    conn: &Connection,
    mapping: &Mapping,
    table_is_there: bool,
    run_id: &RunId,
    now: Millis,
) -> Result<RunFacts> {
    let row = if table_is_there {
        mapping.status_of(conn, run_id)?
    } else {
        None
    };
    let word = row.as_ref().and_then(Option::as_deref);
    let known = known(conn, run_id)?;
    let queued = queued(conn, run_id)?;
    let nearest = if row.is_none() && known.is_none() && queued.rows == 0 {
        nearest(conn, run_id)?
    } else {
        Vec::new()
    };
    let generation = known.as_ref().map_or(0, |known| known.generation);
    Ok(RunFacts {
        run_id: run_id.clone(),
        row_phase: Vocabulary::load(conn)?.phase(word),
        row,
        nearest,
        known,
        is_forgotten: forget::is_forgotten(conn, run_id)?,
        queued,
        steps: chain(conn, run_id, generation)?,
        ending: ending::of_run(conn, run_id, now)?,
        held: held_batch(
            conn,
            "id = (SELECT batch_id FROM runchain_held WHERE run_id = ?1)",
            Some(run_id),
        )?,
        cancelled: cancelled(conn, run_id)?,
    })
}

fn known(conn: &Connection, run_id: &RunId) -> Result<Option<Known>> {
    conn.query_row(
        "SELECT phase, status, generation, phase_since_ms, monitor, stalled_since_ms FROM runchain_runs WHERE run_id = ?1",
        [run_id],
        |row| {
            Ok(Known {
                phase: row.get::<_, Phase>(0)?,
                status: row.get(1)?,
                generation: row.get(2)?,
                since: row.get(3)?,
                monitor: row.get(4)?,
                stalled_since: row.get(5)?,
            })
        },
    )
    .optional()
    .during("look a run up")
}

fn queued(conn: &Connection, run_id: &RunId) -> Result<Queue> {
    conn.query_row(
        "SELECT count(*), min(CASE WHEN typeof(at_ms) IN ('integer', 'real') THEN CAST(at_ms AS INTEGER) END)
         FROM (SELECT run_id, old_run_id, at_ms FROM runchain_queue ORDER BY id LIMIT ?2)
         WHERE ?1 IN (CAST(run_id AS TEXT), CAST(old_run_id AS TEXT))",
        (run_id, QUEUE_ROWS),
        |row| {
            Ok(Queue {
                rows: row.get(0)?,
                oldest: row.get(1)?,
            })
        },
    )
    .during("look for a run's rows in the queue")
}

fn chain(conn: &Connection, run_id: &RunId, generation: i64) -> Result<Vec<StepFacts>> {
    let mut select = conn
        .prepare_cached(
            "SELECT s.id, s.step, s.state, s.needs, s.ready_at_ms, s.attempts, s.max_attempts, s.started_ms, s.finished_ms,
               s.executor_id, e.host, e.pid, e.lease_until_ms, s.note, s.error, s.lost, s.delay_ms, s.deadline_ms, s.result, s.required
             FROM runchain_steps AS s LEFT JOIN runchain_executors AS e ON e.executor_id = s.executor_id
             WHERE s.run_id = ?1 AND s.generation = ?2 ORDER BY s.id",
        )
        .during("read a run's steps")?;
    let mut steps = select
        .query_map((run_id, generation), step)
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .during("read a run's steps")?;
    for step in &mut steps {
        step.failures = failures(conn, step.id)?;
    }
    Ok(steps)
}

fn step(row: &Row<'_>) -> rusqlite::Result<StepFacts> {
    let needs: String = row.get(3)?;
    let (host, pid): (Option<String>, Option<i64>) = (row.get(10)?, row.get(11)?);
    let lease_until = row.get(12)?;
    let holder = row.get::<_, Option<String>>(9)?.map(|executor| Holder {
        executor,
        process: host
            .zip(pid)
            .map(|(host, pid)| format!("process {pid} on {host}")),
        lease_until,
    });
    let result: Option<String> = row.get(18)?;
    let result: Json = result
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    let named = ["path", "page", "summary", "metrics"].iter();
    let files = named
        .filter_map(|key| result.get(key)?.as_str().map(str::to_owned))
        .collect();
    Ok(StepFacts {
        id: row.get(0)?,
        step: row.get(1)?,
        state: row.get(2)?,
        needs: serde_json::from_str(&needs).unwrap_or_default(),
        ready_at: row.get(4)?,
        required: row.get(19)?,
        attempts: row.get(5)?,
        max_attempts: row.get(6)?,
        started: row.get(7)?,
        finished: row.get(8)?,
        holder,
        is_deferred: row.get::<_, Option<String>>(13)?.is_some(),
        error: row.get(14)?,
        lost: row.get(15)?,
        delay_ms: row.get(16)?,
        deadline: row.get(17)?,
        files,
        failures: Vec::new(),
    })
}

fn failures(conn: &Connection, step_id: StepId) -> Result<Vec<FailedAttempt>> {
    let mut select = conn
        .prepare_cached(
            "SELECT attempt, ended_ms, error, output_tail FROM (
               SELECT id, attempt, ended_ms, error, output_tail FROM runchain_failures WHERE step_id = ?1 ORDER BY id DESC LIMIT ?2)
             ORDER BY id",
        )
        .during("read failed attempts")?;
    let rows = select
        .query_map((step_id, FAILURES), |row| {
            Ok(FailedAttempt {
                attempt: row.get(0)?,
                ended: row.get(1)?,
                error: row.get(2)?,
                last_line: row.get::<_, Option<String>>(3)?.as_deref().and_then(last_line),
            })
        })
        .during("read failed attempts")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("read failed attempts")
}

fn last_line(output: &str) -> Option<String> {
    output
        .lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty())
        .map(str::to_owned)
}

/// The newest event that tells why: a request stands after what it led to, and knows more.
fn cancelled(conn: &Connection, run_id: &RunId) -> Result<Option<Cancelled>> {
    conn.query_row(
        "SELECT at_ms, json_extract(data, '$.reason'), json_extract(data, '$.actor'), type = 'REQUEST'
         FROM runchain_events
         WHERE run_id = ?1 AND (type = 'CHAIN_CANCELLED' OR type = 'REQUEST' AND json_extract(data, '$.action') = 'cancel')
         ORDER BY id DESC LIMIT 1",
        [run_id],
        |row| {
            let asked: bool = row.get(3)?;
            let actor: Option<String> = row.get(2)?;
            Ok(Cancelled {
                at: row.get(0)?,
                reason: row.get(1)?,
                actor: asked.then(|| actor.unwrap_or_else(|| "somebody who gave no name".to_owned())),
            })
        },
    )
    .optional()
    .during("look why a chain was cancelled")
}
