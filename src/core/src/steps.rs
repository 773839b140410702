//! The life of a step: lease, start, settle; and what brings it back when its executor is gone.
//!
//! ```text
//! waiting -> ready -> leased -> running -> done
//!              ^        |          |-----> dead      (attempts used up; `retry` -> ready)
//!              |        |          |-----> ready     (failed: backoff; deferred: uncounted)
//!              +--------+ given back, lease expired: uncounted
//! any but done -> cancelled
//! ```
//!
//! Invariants: an attempt counts when the step starts, not when it is leased; only the holder of the
//! current token can start or settle; the token grows with every lease and is never reset, so that
//! nobody who was once declared gone can settle later.
//!
//! Every function here runs inside a transaction of the caller's, begun with BEGIN IMMEDIATE. Doing
//! the work between start and settle belongs to the executor.

use crate::error::{During, Error, Result};
use crate::event::{self, EventType, NewEvent};
use crate::{ExecutorId, Millis, RunId, StepId, schema};
use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::{Value, json};

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
}

impl Claim {
    const COLUMNS: &str = "id, run_id, generation, step, attempts, max_attempts, token, created_ms, note";

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
        })
    }
}

/// Which ready steps an executor wants.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// Any that is due.
    Due,
    /// Those of one run (and of one name) that are due.
    OfRun {
        /// The run.
        run_id: &'a RunId,
        /// Only the step of this name.
        step: Option<&'a str>,
    },
}

/// Leases at most `limit` ready steps, in order of priority, then age.
///
/// # Errors
/// [`Error::Outdated`] when the database asks for a newer writer, [`Error::NotInstalled`], and
/// whatever SQLite answers.
pub fn lease(
    conn: &Connection,
    executor: &ExecutorId,
    wanted: Wanted<'_>,
    limit: usize,
    now: Millis,
) -> Result<Vec<Claim>> {
    schema::check_writer(conn)?;
    let (condition, run_id, step) = match wanted {
        Wanted::Due => ("?2 IS NULL AND ?3 IS NULL", None, None),
        Wanted::OfRun { run_id, step } => ("run_id = ?2 AND (?3 IS NULL OR step = ?3)", Some(run_id), step),
    };
    let sql = format!(
        "SELECT {columns} FROM runchain_steps WHERE state = 'ready' AND ready_at_ms <= ?1 AND {condition} \
         ORDER BY priority, ready_at_ms, id LIMIT ?4",
        columns = Claim::COLUMNS
    );
    let mut select = conn.prepare_cached(&sql).during("find ready steps")?;
    let mut claims = select
        .query_map(
            (now, run_id, step, i64::try_from(limit).unwrap_or(i64::MAX)),
            Claim::of_row,
        )
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .during("find ready steps")?;
    let mut update = conn
        .prepare_cached(
            "UPDATE runchain_steps SET state = 'leased', executor_id = ?2, token = token + 1 WHERE id = ?1",
        )
        .during("lease a step")?;
    for claim in &mut claims {
        update.execute((claim.step_id, executor)).during("lease a step")?;
        claim.token += 1;
    }
    Ok(claims)
}

/// Starts a leased step: from here on the attempt counts. `false` when the claim is no longer ours.
///
/// # Errors
/// Whatever SQLite answers.
pub fn start(conn: &Connection, claim: &mut Claim, executor: &ExecutorId, now: Millis) -> Result<bool> {
    let started = conn
        .prepare_cached(
            "UPDATE runchain_steps SET state = 'running', attempts = attempts + 1, started_ms = ?4
             WHERE id = ?1 AND token = ?2 AND executor_id = ?3 AND state = 'leased'",
        )
        .and_then(|mut statement| statement.execute((claim.step_id, claim.token, executor, now)))
        .during("start a step")?
        == 1;
    if started {
        claim.attempt += 1;
    }
    Ok(started)
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
}

/// A row for `archival_log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archival {
    /// Where the bag stands.
    pub archive_path: String,
    /// Bytes of the whole bag.
    pub size_bytes: i64,
    /// Digest of the bag, with its algorithm.
    pub digest: String,
    /// The same bag stood there already; the log has its row.
    pub unchanged: bool,
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
    /// The claim was no longer ours: nothing was written.
    Fenced,
}

/// Settles a started step, in one transaction with everything that follows from it: the event, the
/// row in `archival_log`, and the steps that waited for it. An outdated executor may still settle
/// what it runs; its next [`lease`] is what refuses.
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
    let executor_id: Option<Option<ExecutorId>> = conn
        .prepare_cached(
            "SELECT executor_id FROM runchain_steps WHERE id = ?1 AND token = ?2 AND state = 'running'",
        )
        .and_then(|mut statement| {
            statement
                .query_row((claim.step_id, claim.token), |row| row.get(0))
                .optional()
        })
        .during("settle a step")?;
    let Some(executor_id) = executor_id else {
        return Ok(Settled::Fenced);
    };
    match outcome {
        Outcome::Done(success) => settle_done(conn, claim, success, now),
        Outcome::Deferred { note, until } => {
            conn.prepare_cached(
                "UPDATE runchain_steps SET state = 'ready', executor_id = NULL, attempts = attempts - 1, ready_at_ms = ?2, note = ?3
                 WHERE id = ?1",
            )
            .and_then(|mut statement| statement.execute((claim.step_id, until, note)))
            .during("defer a step")?;
            Ok(Settled::Again(*until))
        }
        Outcome::Failed(failure) => {
            settle_failed(conn, claim, executor_id.as_ref(), failure, backoff, jitter, now)
        }
    }
}

fn settle_done(conn: &Connection, claim: &Claim, success: &Success, now: Millis) -> Result<Settled> {
    conn.prepare_cached(
        "UPDATE runchain_steps SET state = 'done', executor_id = NULL, finished_ms = ?2, result = ?3, output_tail = ?4, \
         error = NULL, note = NULL WHERE id = ?1",
    )
    .and_then(|mut statement| statement.execute((claim.step_id, now, success.result.to_string(), &success.output_tail)))
    .during("settle a step")?;
    if let Some(archival) = &success.archival
        && !(archival.unchanged && archived_already(conn, claim, archival)?)
    {
        log_archival(conn, claim, archival, now)?;
    }
    append(conn, done_event(&claim.step), claim, success.result.clone(), now)?;
    conn.prepare_cached(
        "UPDATE runchain_steps SET state = 'ready', ready_at_ms = ?3
         WHERE run_id = ?1 AND generation = ?2 AND state = 'waiting' AND NOT EXISTS (
           SELECT 1 FROM json_each(needs) AS need WHERE NOT EXISTS (
             SELECT 1 FROM runchain_steps AS other
             WHERE other.run_id = ?1 AND other.generation = ?2 AND other.step = need.value AND other.state = 'done'))",
    )
    .and_then(|mut statement| statement.execute((&claim.run_id, claim.generation, now)))
    .during("ready the steps that waited")?;
    Ok(Settled::Done)
}

fn settle_failed(
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
    let dead = failure.permanent || claim.attempt >= claim.max_attempts;
    let again = now.plus(backoff.pause_ms(claim.attempt, jitter));
    conn.prepare_cached(
        "UPDATE runchain_steps SET state = ?2, executor_id = NULL, ready_at_ms = ?3, finished_ms = ?4, error = ?5, output_tail = ?6
         WHERE id = ?1",
    )
    .and_then(|mut statement| {
        statement.execute((
            claim.step_id,
            if dead { "dead" } else { "ready" },
            again,
            dead.then_some(now),
            &failure.error,
            &failure.output_tail,
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

fn archived_already(conn: &Connection, claim: &Claim, archival: &Archival) -> Result<bool> {
    conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM archival_log WHERE run_id = ?1 AND archive_path = ?2)")
        .and_then(|mut statement| {
            statement.query_row((&claim.run_id, &archival.archive_path), |row| row.get(0))
        })
        .during("look into archival_log")
}

/// `archival_log` may be the user's own, with fewer columns than ours: what it has is filled.
fn log_archival(conn: &Connection, claim: &Claim, archival: &Archival, now: Millis) -> Result<()> {
    let values: [(&str, &dyn rusqlite::ToSql); 6] = [
        ("run_id", &claim.run_id),
        ("archive_path", &archival.archive_path),
        ("archived_at", &now.iso()),
        ("size_bytes", &archival.size_bytes),
        ("generation", &claim.generation),
        ("digest", &archival.digest),
    ];
    let present = crate::mapping::columns(conn, "archival_log")?;
    let (names, values): (Vec<&str>, Vec<&dyn rusqlite::ToSql>) = values
        .iter()
        .filter(|(name, _)| {
            present
                .iter()
                .any(|column| column.name.eq_ignore_ascii_case(name))
        })
        .copied()
        .unzip();
    let places = vec!["?"; names.len()].join(", ");
    conn.prepare_cached(&format!(
        "INSERT INTO archival_log({}) VALUES ({places})",
        names.join(", ")
    ))
    .and_then(|mut statement| statement.execute(&values[..]))
    .during("write archival_log")?;
    Ok(())
}

/// Gives leased steps back unstarted, uncounted: at a graceful stop.
///
/// # Errors
/// Whatever SQLite answers.
pub fn give_back(conn: &Connection, executor: &ExecutorId) -> Result<usize> {
    conn.prepare_cached(
        "UPDATE runchain_steps SET state = 'ready', executor_id = NULL, token = token + 1 WHERE executor_id = ?1 AND state = 'leased'",
    )
    .and_then(|mut statement| statement.execute([executor]))
    .during("give leased steps back")
}

/// Takes steps from executors whose lease has ended: leased ones return uncounted, running ones as
/// a failed attempt. Returns how many that were.
///
/// # Errors
/// Whatever SQLite answers.
pub fn recover(conn: &Connection, backoff: Backoff, jitter: f64, now: Millis) -> Result<usize> {
    const GONE: &str = "executor_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM runchain_executors AS e \
                        WHERE e.executor_id = runchain_steps.executor_id AND e.lease_until_ms > ?1)";
    let running = {
        let sql = format!(
            "SELECT {}, executor_id FROM runchain_steps WHERE state = 'running' AND {GONE}",
            Claim::COLUMNS
        );
        let mut select = conn.prepare_cached(&sql).during("find abandoned steps")?;
        select
            .query_map([now], |row| {
                Ok((Claim::of_row(row)?, row.get::<_, ExecutorId>(9)?))
            })
            .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
            .during("find abandoned steps")?
    };
    for (claim, executor) in &running {
        let failure = Failure {
            error: format!("executor {executor} disappeared while it ran this step"),
            ..Failure::default()
        };
        settle_failed(conn, claim, Some(executor), &failure, backoff, jitter, now)?;
        conn.prepare_cached("UPDATE runchain_steps SET token = token + 1 WHERE id = ?1")
            .and_then(|mut statement| statement.execute([claim.step_id]))
            .during("fence an abandoned step")?;
    }
    let leased = conn
        .prepare_cached(&format!(
            "UPDATE runchain_steps SET state = 'ready', executor_id = NULL, token = token + 1 WHERE state = 'leased' AND {GONE}"
        ))
        .and_then(|mut statement| statement.execute([now]))
        .during("take abandoned leases back")?;
    conn.prepare_cached(
        "DELETE FROM runchain_executors WHERE lease_until_ms <= ?1 AND NOT EXISTS (
           SELECT 1 FROM runchain_steps AS s WHERE s.executor_id = runchain_executors.executor_id AND s.state IN ('leased', 'running'))",
    )
    .and_then(|mut statement| statement.execute([now.plus(-86_400_000)]))
    .during("forget executors of yesterday")?;
    Ok(running.len() + leased)
}

/// Makes a step that has ended ready again with its attempts at zero; its token and its failures
/// stay.
///
/// # Errors
/// Whatever SQLite answers.
pub fn ready_again(conn: &Connection, step_id: StepId, now: Millis) -> Result<()> {
    conn.prepare_cached(
        "UPDATE runchain_steps SET state = 'ready', attempts = 0, ready_at_ms = ?2, finished_ms = NULL, note = NULL
         WHERE id = ?1 AND state IN ('done', 'dead', 'cancelled')",
    )
    .and_then(|mut statement| statement.execute((step_id, now)))
    .map(|_| ())
    .during("make a step ready again")
}

/// Cancels a step, and with it the steps that wait for it and could never run; who runs it is
/// fenced off.
///
/// # Errors
/// Whatever SQLite answers.
pub fn cancel(conn: &Connection, step_id: StepId, now: Millis) -> Result<()> {
    conn.prepare_cached(
        "WITH RECURSIVE
           meant AS (SELECT run_id, generation, step FROM runchain_steps WHERE id = ?1),
           chain AS (SELECT s.* FROM runchain_steps AS s JOIN meant USING (run_id, generation)),
           hit(step) AS (
             SELECT step FROM meant
             UNION
             SELECT c.step FROM hit JOIN chain AS c JOIN json_each(c.needs) AS need
             WHERE c.state = 'waiting' AND need.value = hit.step)
         UPDATE runchain_steps SET state = 'cancelled', token = token + 1, executor_id = NULL, finished_ms = ?2
         WHERE id IN (SELECT c.id FROM chain AS c JOIN hit USING (step))",
    )
    .and_then(|mut statement| statement.execute((step_id, now)))
    .map(|_| ())
    .during("cancel a step")
}

/// When the next ready step is due, if there is one.
///
/// # Errors
/// Whatever SQLite answers.
pub fn next_due(conn: &Connection) -> Result<Option<Millis>> {
    conn.prepare_cached("SELECT min(ready_at_ms) FROM runchain_steps WHERE state = 'ready'")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .during("look for the next step")
}

/// When the next ready step of one run (and name) is due, if there is one.
///
/// # Errors
/// Whatever SQLite answers.
pub fn next_due_of(conn: &Connection, run_id: &RunId, step: Option<&str>) -> Result<Option<Millis>> {
    conn.prepare_cached(
        "SELECT min(ready_at_ms) FROM runchain_steps WHERE state = 'ready' AND run_id = ?1 AND (?2 IS NULL OR step = ?2)",
    )
    .and_then(|mut statement| statement.query_row((run_id, step), |row| row.get(0)))
    .during("look for the run's next step")
}

/// Whether anything is queued, ready (now or later), leased or running: of all, of one run, or of
/// one step of it.
///
/// # Errors
/// Whatever SQLite answers.
pub fn work_left(conn: &Connection, run_id: Option<&RunId>, step: Option<&str>) -> Result<bool> {
    conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM runchain_queue)
             OR EXISTS (SELECT 1 FROM runchain_steps WHERE state = 'ready'
                        AND (?1 IS NULL OR run_id = ?1) AND (?2 IS NULL OR step = ?2))
             OR EXISTS (SELECT 1 FROM runchain_steps WHERE state IN ('leased', 'running')
                        AND (?1 IS NULL OR run_id = ?1) AND (?2 IS NULL OR step = ?2))",
    )
    .and_then(|mut statement| statement.query_row((run_id, step), |row| row.get(0)))
    .during("look whether work is left")
}

/// An executor's row: its lease covers all the steps that it holds.
#[derive(Debug, Clone)]
pub struct Executor {
    /// Its key.
    pub id: ExecutorId,
    /// Host name, for people.
    pub host: String,
    /// Process id, for people.
    pub pid: u32,
}

impl Executor {
    /// Registers or renews: one row, whatever the number of steps.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub fn renew(&self, conn: &Connection, lease_ms: i64, now: Millis) -> Result<()> {
        conn.prepare_cached(
            "INSERT INTO runchain_executors(executor_id, host, pid, version, schema_version, started_ms, beat_ms, lease_until_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7)
             ON CONFLICT(executor_id) DO UPDATE SET beat_ms = excluded.beat_ms, lease_until_ms = excluded.lease_until_ms",
        )
        .and_then(|mut statement| {
            statement.execute((
                &self.id,
                &self.host,
                self.pid,
                env!("CARGO_PKG_VERSION"),
                schema::VERSION,
                now,
                now.plus(lease_ms),
            ))
        })
        .during("renew the executor's lease")?;
        Ok(())
    }

    /// Leaves: leased steps go back, the row goes. Running steps must be settled before.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub fn leave(&self, conn: &Connection) -> Result<()> {
        give_back(conn, &self.id)?;
        conn.execute(
            "DELETE FROM runchain_executors WHERE executor_id = ?1",
            [&self.id],
        )
        .map(|_| ())
        .during("take the executor off the list")
    }
}

/// A step by its id, for requests about it.
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
        |row| Ok((Claim::of_row(row)?, row.get(9)?)),
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
