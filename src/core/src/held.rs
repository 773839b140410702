//! Runs that ended in a storm: recorded as over, their chains waiting for a person.
//!
//! A held end looks like one that was finished before runchain came: the phase is recorded, there is no
//! RUN_COMPLETED and no chain. So everything else (monitors, the sweep, `enqueue_chain`, an older
//! executor) treats it right without knowing of storms. A later write of the run either repeats the same
//! phase (it stays held), or takes the held end back: what was last acted on before it holds again, and
//! the write is judged as if the storm had never been. So a mistake that is undone leaves no trace but
//! in the batch.
//!
//! Whether an end is held is `storm`'s judgement; beginning a chain is the queue's.

use crate::alert::{self, Alarm, Own};
use crate::chain::Chain;
use crate::error::{During, Result};
use crate::event::{self, EventType, NewEvent};
use crate::queue::{Expander, KnownRun, known_run};
use crate::storm::StormLimit;
use crate::vocabulary::Phase;
use crate::{Mapping, Millis, RunId};
use rusqlite::{Connection, OptionalExtension, Row};
use serde::Serialize;
use serde_json::json;

/// Rows released or discarded in one transaction at most: some ten milliseconds.
const AT_ONCE: i64 = 500;

/// Row id in `runchain_held_batches`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct BatchId(pub i64);

impl std::fmt::Display for BatchId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What was last acted on before a run was held.
pub(crate) struct Was {
    /// `None`: the run had never been seen.
    pub(crate) phase: Option<Phase>,
}

/// What a held run was before; `None` when it isn't held.
pub(crate) fn was(conn: &Connection, run_id: &RunId) -> Result<Option<Was>> {
    conn.prepare_cached("SELECT was_phase FROM runchain_held WHERE run_id = ?1")
        .and_then(|mut statement| {
            statement
                .query_row([run_id], |row| Ok(Was { phase: row.get(0)? }))
                .optional()
        })
        .during("look a held run up")
}

/// When the newest end of the newest undecided batch was captured.
pub(crate) fn newest_capture(conn: &Connection) -> Result<Option<Millis>> {
    Ok(filling(conn)?.map(|batch| batch.last_at))
}

/// The batch that takes held ends in.
struct Filling {
    id: BatchId,
    last_at: Millis,
    last_run: Option<RunId>,
    added: i64,
}

fn filling(conn: &Connection) -> Result<Option<Filling>> {
    conn.prepare_cached(
        "SELECT id, last_at_ms FROM runchain_held_batches
         WHERE id = (SELECT max(id) FROM runchain_held_batches) AND state = 'held'",
    )
    .and_then(|mut statement| {
        statement
            .query_row([], |row| {
                Ok(Filling {
                    id: BatchId(row.get(0)?),
                    last_at: row.get(1)?,
                    last_run: None,
                    added: 0,
                })
            })
            .optional()
    })
    .during("look for the newest held batch")
}

/// Takes held ends in during one expansion.
pub(crate) struct Keeper<'a> {
    conn: &'a Connection,
    limit: StormLimit,
    filling: Option<Filling>,
    now: Millis,
}

impl<'a> Keeper<'a> {
    pub(crate) fn new(conn: &'a Connection, limit: StormLimit, now: Millis) -> Result<Self> {
        Ok(Self {
            conn,
            limit,
            filling: filling(conn)?,
            now,
        })
    }

    /// Holds one end. `was` is what was last acted on, `None` for a run that was never seen.
    pub(crate) fn hold(
        &mut self,
        run_id: &RunId,
        was: Option<&KnownRun>,
        status: Option<&str>,
        at: Millis,
    ) -> Result<()> {
        let batch = self.batch_for(run_id, status, at)?;
        self.conn
            .prepare_cached(
                "INSERT INTO runchain_held(batch_id, run_id, was_phase, was_status, was_since_ms, was_ended_event_id)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT(run_id) DO NOTHING",
            )
            .and_then(|mut statement| {
                statement.execute((
                    batch.0,
                    run_id,
                    was.map(|run| run.phase),
                    was.and_then(|run| run.status.as_deref()),
                    was.map(|run| run.since),
                    was.and_then(|run| run.ended_event_id),
                ))
            })
            .map(|added| {
                if let Some(filling) = &mut self.filling {
                    filling.added += i64::from(added > 0);
                    filling.last_at = at;
                    filling.last_run = Some(run_id.clone());
                }
            })
            .during("hold the end of a run")
    }

    fn batch_for(&mut self, run_id: &RunId, status: Option<&str>, at: Millis) -> Result<BatchId> {
        if let Some(filling) = &self.filling
            && at.0.saturating_sub(filling.last_at.0).saturating_abs() <= self.limit.window_ms
        {
            return Ok(filling.id);
        }
        self.save()?;
        self.conn
            .execute(
                "INSERT INTO runchain_held_batches(since_ms, first_at_ms, last_at_ms, first_run_id, last_run_id)
                 VALUES (?1, ?2, ?2, ?3, ?3)",
                (self.now, at, run_id),
            )
            .during("begin a held batch")?;
        let id = BatchId(self.conn.last_insert_rowid());
        let data = json!({
            "batch": id, "status": status, "captured_at": at.iso(),
            "max_transitions": self.limit.max_transitions, "window_ms": self.limit.window_ms,
            "remedy": format!("runchain held shows it; runchain held release {id}, or runchain held discard {id}"),
        });
        event::append(
            self.conn,
            &NewEvent::of_database(EventType::StormHeld, self.now, None, data),
        )?;
        self.filling = Some(Filling {
            id,
            last_at: at,
            last_run: Some(run_id.clone()),
            added: 0,
        });
        Ok(id)
    }

    /// Writes down how many were taken in, and keeps the alert up to date.
    pub(crate) fn save(&mut self) -> Result<()> {
        let Some(filling) = &mut self.filling else {
            return Ok(());
        };
        let Some(last_run) = filling.last_run.take() else {
            return Ok(());
        };
        self.conn
            .prepare_cached(
                "UPDATE runchain_held_batches SET held = held + ?2, last_at_ms = ?3, last_run_id = ?4 WHERE id = ?1",
            )
            .and_then(|mut statement| {
                statement.execute((filling.id.0, filling.added, filling.last_at, last_run))
            })
            .during("count a held batch")?;
        filling.added = 0;
        raise(self.conn, filling.id, self.now)
    }
}

/// One alert for each batch, whose count grows with it.
fn raise(conn: &Connection, batch: BatchId, now: Millis) -> Result<()> {
    let held: i64 = conn
        .prepare_cached("SELECT held FROM runchain_held_batches WHERE id = ?1")
        .and_then(|mut statement| statement.query_row([batch.0], |row| row.get(0)))
        .during("count a held batch")?;
    let id = batch.to_string();
    let message = format!(
        "{held} runs ended in a rush; their chains are held: runchain held release {id} begins them, \
         runchain held discard {id} drops them"
    );
    let alarm = Alarm {
        own: Own::Storm,
        of: &[Some(&id)],
        run_id: None,
        subject: &format!("batch {id}"),
        message: &message,
    };
    alert::raise_or_renew(conn, &alarm, now)?;
    conn.prepare_cached("UPDATE runchain_alerts SET count = ?2 WHERE fingerprint = ?1")
        .and_then(|mut statement| statement.execute((alert::fingerprint(Own::Storm.name(), alarm.of), held)))
        .map(drop)
        .during("count a storm in its alert")
}

/// How a run leaves its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// Its chain begins.
    Released,
    /// Its row was written again, or is gone; or the run was forgotten.
    TakenBack,
}

/// Takes a run out of its batch; `false` when it isn't held.
pub(crate) fn leave(conn: &Connection, run_id: &RunId, how: Left, now: Millis) -> Result<bool> {
    let Some(batch) = batch_of(conn, run_id)? else {
        return Ok(false);
    };
    conn.prepare_cached("DELETE FROM runchain_held WHERE run_id = ?1")
        .and_then(|mut statement| statement.execute([run_id]))
        .during("take a run out of a held batch")?;
    let sql = match how {
        Left::Released => "UPDATE runchain_held_batches SET released = released + 1 WHERE id = ?1",
        Left::TakenBack => "UPDATE runchain_held_batches SET taken_back = taken_back + 1 WHERE id = ?1",
    };
    conn.prepare_cached(sql)
        .and_then(|mut statement| statement.execute([batch.0]))
        .during("count a held batch")?;
    close_if_empty(conn, batch, now)?;
    Ok(true)
}

fn batch_of(conn: &Connection, run_id: &RunId) -> Result<Option<BatchId>> {
    conn.prepare_cached("SELECT batch_id FROM runchain_held WHERE run_id = ?1")
        .and_then(|mut statement| {
            statement
                .query_row([run_id], |row| Ok(BatchId(row.get(0)?)))
                .optional()
        })
        .during("look a held run up")
}

/// Before a write of a held run that says something else: what was last acted on before holds again.
/// `false` when the run isn't held.
pub(crate) fn take_back(conn: &Connection, run_id: &RunId, now: Millis) -> Result<bool> {
    let Some(was) = was(conn, run_id)? else {
        return Ok(false);
    };
    if was.phase.is_some() {
        conn.prepare_cached(
            "UPDATE runchain_runs SET (phase, status, phase_since_ms, ended_event_id) =
               (SELECT was_phase, was_status, was_since_ms, was_ended_event_id FROM runchain_held WHERE run_id = ?1)
             WHERE run_id = ?1",
        )
    } else {
        conn.prepare_cached("DELETE FROM runchain_runs WHERE run_id = ?1")
    }
    .and_then(|mut statement| statement.execute([run_id]))
    .during("take a held end back")?;
    leave(conn, run_id, Left::TakenBack, now)
}

/// The run's row has another id by now.
pub(crate) fn rename(conn: &Connection, old: &RunId, new: &RunId) -> Result<()> {
    conn.prepare_cached("UPDATE OR REPLACE runchain_held SET run_id = ?2 WHERE run_id = ?1")
        .and_then(|mut statement| statement.execute((old, new)))
        .map(|_| ())
        .during("rename a held run")
}

fn close_if_empty(conn: &Connection, batch: BatchId, now: Millis) -> Result<()> {
    let left: bool = conn
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM runchain_held WHERE batch_id = ?1)")
        .and_then(|mut statement| statement.query_row([batch.0], |row| row.get(0)))
        .during("look whether a held batch is over")?;
    if left {
        return Ok(());
    }
    conn.execute(
        "UPDATE runchain_held_batches SET ended_ms = ?2, state = CASE
           WHEN state = 'discarding' THEN 'discarded'
           WHEN state = 'releasing' OR released > 0 THEN 'released' ELSE 'taken_back' END
         WHERE id = ?1",
        (batch.0, now),
    )
    .during("end a held batch")?;
    alert::resolve(conn, Own::Storm, &[Some(&batch.to_string())], now)?;
    if let Some(batch) = find(conn, batch)? {
        let data = json!({
            "batch": batch.id, "outcome": batch.state, "held": batch.held, "released": batch.released,
            "discarded": batch.discarded, "taken_back": batch.taken_back, "actor": batch.actor, "reason": batch.reason,
        });
        event::append(
            conn,
            &NewEvent::of_database(EventType::StormEnded, now, None, data),
        )?;
    }
    Ok(())
}

/// What a person decided about a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The chains begin, bit by bit, in the order in which the runs ended.
    Release {
        /// At most so many a minute; `None`: as fast as they are done.
        per_minute: Option<i64>,
    },
    /// The runs stay recorded as over, without a chain.
    Discard,
}

impl Decision {
    /// The word of the request.
    #[must_use]
    pub fn action(self) -> &'static str {
        match self {
            Self::Release { .. } => "release_held",
            Self::Discard => "discard_held",
        }
    }
}

/// Queues the decision about a batch; a released one that is under way can still be discarded.
///
/// # Errors
/// A refusal when there is no such batch, or nothing left to decide.
pub fn ask(
    conn: &Connection,
    batch: BatchId,
    decision: Decision,
    actor: &str,
    reason: Option<&str>,
) -> Result<Batch> {
    Mapping::require(conn)?;
    let found = find(conn, batch)?.ok_or_else(|| {
        crate::Error::refused(
            format!("there is no held batch {batch}"),
            "runchain held lists them",
        )
    })?;
    if found.ended.is_some() {
        return Err(crate::Error::refused(
            format!("batch {batch} is {} already", found.state),
            "single runs can still be asked for: runchain finish --run ID",
        ));
    }
    let per_minute = match decision {
        Decision::Release { per_minute } => per_minute,
        Decision::Discard => None,
    };
    conn.execute(
        "INSERT INTO runchain_queue(action, step_id, step, actor, reason) VALUES (?1, ?2, ?3, ?4, ?5)",
        (decision.action(), batch.0, per_minute, actor, reason),
    )
    .during("queue a request")?;
    Ok(found)
}

/// Notes a decision that came through the queue; what it answers stands in the audit event.
pub(crate) fn decide(
    conn: &Connection,
    batch: BatchId,
    decision: Decision,
    actor: Option<&str>,
    reason: Option<&str>,
    now: Millis,
) -> Result<bool> {
    let (state, per_minute) = match decision {
        Decision::Release { per_minute } => ("releasing", per_minute),
        Decision::Discard => ("discarding", None),
    };
    // The pace counts from the request on, whatever was released before it.
    conn.execute(
        "UPDATE runchain_held_batches SET state = ?2, per_minute = ?3, actor = ?4, reason = ?5, asked_ms = ?6,
           released_before = released
         WHERE id = ?1 AND ended_ms IS NULL",
        (batch.0, state, per_minute, actor, reason, now),
    )
    .map(|changed| changed > 0)
    .during("note what becomes of a held batch")
}

/// What one call of [`advance`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Advanced {
    /// Chains that began.
    pub released: i64,
    /// Runs that stay without one.
    pub discarded: i64,
    /// When to call again; `None`: at the next change.
    pub next: Option<Millis>,
}

/// Whether a decision is being carried out.
///
/// # Errors
/// Whatever SQLite answers.
pub fn is_under_way(conn: &Connection) -> Result<bool> {
    Ok(under_way(conn)?.is_some())
}

fn under_way(conn: &Connection) -> Result<Option<Batch>> {
    // An older executor's database has no such tables.
    conn.prepare_cached(&format!(
        "{SELECT_BATCH} WHERE ended_ms IS NULL AND state <> 'held' ORDER BY state = 'releasing', id LIMIT 1"
    ))
    .and_then(|mut statement| statement.query_row([], Batch::of_row).optional())
    .during("look for held batches that were decided about")
}

/// Carries decisions out, a bounded part of one batch at a call. Of a released one, chains begin while
/// fewer than `ahead` steps are ready or running, so that they never pile up before other runs' steps.
///
/// # Errors
/// Whatever SQLite answers; the caller rolls back.
pub fn advance(
    conn: &Connection,
    mapping: &Mapping,
    chain: &Chain,
    ahead: usize,
    now: Millis,
) -> Result<Advanced> {
    match under_way(conn)? {
        None => Ok(Advanced::default()),
        Some(batch) if batch.state == "discarding" => discard_some(conn, batch.id, now),
        Some(batch) => release_some(conn, mapping, chain, &batch, ahead, now),
    }
}

fn discard_some(conn: &Connection, batch: BatchId, now: Millis) -> Result<Advanced> {
    let discarded = conn
        .prepare_cached(
            "DELETE FROM runchain_held WHERE id IN (
               SELECT id FROM runchain_held WHERE batch_id = ?1 ORDER BY id LIMIT ?2)",
        )
        .and_then(|mut statement| statement.execute((batch.0, AT_ONCE)))
        .during("discard held runs")?;
    let discarded = i64::try_from(discarded).unwrap_or(i64::MAX);
    conn.execute(
        "UPDATE runchain_held_batches SET discarded = discarded + ?2 WHERE id = ?1",
        (batch.0, discarded),
    )
    .during("count a held batch")?;
    close_if_empty(conn, batch, now)?;
    Ok(Advanced {
        discarded,
        next: Some(now),
        ..Advanced::default()
    })
}

fn release_some(
    conn: &Connection,
    mapping: &Mapping,
    chain: &Chain,
    batch: &Batch,
    ahead: usize,
    now: Millis,
) -> Result<Advanced> {
    let ahead = i64::try_from(ahead).unwrap_or(i64::MAX);
    let mut room = AT_ONCE.min(ahead - live_steps(conn, ahead)?);
    let mut next = None;
    if let (Some(per_minute), Some(asked)) = (batch.per_minute, batch.asked) {
        let allowed = now.since(asked).saturating_mul(per_minute) / 60_000 + 1;
        room = room.min(allowed - (batch.released - batch.released_before));
        next = Some(now.plus(60_000 / per_minute.max(1) + 1));
    }
    let runs = next_runs(conn, batch.id, room.max(0))?;
    let expander = Expander::new(conn, mapping, chain, StormLimit::OFF, now)?;
    for run_id in &runs {
        let known = known_run(conn, run_id)?;
        let never_seen =
            was(conn, run_id)?.is_some_and(|was| was.phase.is_none_or(|phase| phase == Phase::Deleted));
        match known.filter(|run| run.phase.is_terminal()) {
            Some(run) => {
                if never_seen {
                    let data = json!({ "status": run.status });
                    expander.run_event(EventType::RunCreated, run_id, run.generation, data, run.since)?;
                }
                expander.end(run_id, run.phase, run.status.as_deref(), run.since)?;
            }
            // An executor that knows nothing of storms has judged it since.
            None => drop(leave(conn, run_id, Left::TakenBack, now)?),
        }
    }
    if runs.is_empty() {
        close_if_empty(conn, batch.id, now)?;
    }
    Ok(Advanced {
        released: i64::try_from(runs.len()).unwrap_or(i64::MAX),
        next: if runs.len() as i64 == AT_ONCE {
            Some(now)
        } else {
            next
        },
        ..Advanced::default()
    })
}

fn next_runs(conn: &Connection, batch: BatchId, limit: i64) -> Result<Vec<RunId>> {
    let mut statement = conn
        .prepare_cached("SELECT run_id FROM runchain_held WHERE batch_id = ?1 ORDER BY id LIMIT ?2")
        .during("read held runs")?;
    let rows = statement
        .query_map((batch.0, limit), |row| row.get(0))
        .during("read held runs")?;
    rows.collect::<rusqlite::Result<_>>().during("read held runs")
}

fn live_steps(conn: &Connection, limit: i64) -> Result<i64> {
    conn.prepare_cached(
        "SELECT count(*) FROM (SELECT 1 FROM runchain_steps
                               WHERE finished_ms IS NULL AND state IN ('ready', 'leased', 'running') LIMIT ?1)",
    )
    .and_then(|mut statement| statement.query_row([limit], |row| row.get(0)))
    .during("count the steps that are under way")
}

/// A batch of held runs.
#[derive(Debug, Clone, Serialize)]
pub struct Batch {
    /// Its number.
    pub id: BatchId,
    /// held, releasing, discarding; released, discarded, taken_back when it is over.
    pub state: String,
    /// When the first of its ends was captured.
    #[serde(serialize_with = "crate::look::as_iso")]
    pub first_at: Millis,
    /// When the last of them was captured.
    #[serde(serialize_with = "crate::look::as_iso")]
    pub last_at: Millis,
    /// The first run.
    pub first_run_id: RunId,
    /// The last one so far.
    pub last_run_id: RunId,
    /// Runs that it ever held.
    pub held: i64,
    /// Chains that began since.
    pub released: i64,
    /// Runs that stay without a chain.
    pub discarded: i64,
    /// Runs whose row was written again, or is gone.
    pub taken_back: i64,
    /// When somebody decided.
    #[serde(serialize_with = "crate::look::as_iso_or_null")]
    pub asked: Option<Millis>,
    /// Who.
    pub actor: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// At most so many a minute.
    pub per_minute: Option<i64>,
    /// When it was over.
    #[serde(serialize_with = "crate::look::as_iso_or_null")]
    pub ended: Option<Millis>,
    /// What was released before the last decision.
    #[serde(skip)]
    released_before: i64,
}

const SELECT_BATCH: &str = "SELECT id, state, first_at_ms, last_at_ms, first_run_id, last_run_id, held, released, discarded,
         taken_back, asked_ms, actor, reason, per_minute, ended_ms, released_before FROM runchain_held_batches";

impl Batch {
    fn of_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: BatchId(row.get(0)?),
            state: row.get(1)?,
            first_at: row.get(2)?,
            last_at: row.get(3)?,
            first_run_id: row.get(4)?,
            last_run_id: row.get(5)?,
            held: row.get(6)?,
            released: row.get(7)?,
            discarded: row.get(8)?,
            taken_back: row.get(9)?,
            asked: row.get(10)?,
            actor: row.get(11)?,
            reason: row.get(12)?,
            per_minute: row.get(13)?,
            ended: row.get(14)?,
            released_before: row.get(15)?,
        })
    }

    /// Runs whose chains wait.
    #[must_use]
    pub fn left(&self) -> i64 {
        self.held - self.released - self.discarded - self.taken_back
    }
}

/// One batch.
///
/// # Errors
/// Whatever SQLite answers.
pub fn find(conn: &Connection, batch: BatchId) -> Result<Option<Batch>> {
    conn.prepare_cached(&format!("{SELECT_BATCH} WHERE id = ?1"))
        .and_then(|mut statement| statement.query_row([batch.0], Batch::of_row).optional())
        .during("look for a held batch")
}

/// The batches, the newest first.
///
/// # Errors
/// Whatever SQLite answers.
pub fn batches(conn: &Connection, limit: usize) -> Result<Vec<Batch>> {
    let mut statement = conn
        .prepare_cached(&format!("{SELECT_BATCH} ORDER BY id DESC LIMIT ?1"))
        .during("list the held batches")?;
    let rows = statement
        .query_map([i64::try_from(limit).unwrap_or(i64::MAX)], Batch::of_row)
        .during("list the held batches")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("list the held batches")
}

/// A status word and how many runs of a batch have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatusCount {
    /// The user's word.
    pub status: Option<String>,
    /// Runs.
    pub runs: i64,
}

/// The status words of what is left of a batch, the most frequent first.
///
/// # Errors
/// Whatever SQLite answers.
pub fn statuses(conn: &Connection, batch: BatchId) -> Result<Vec<StatusCount>> {
    let mut statement = conn
        .prepare_cached(
            "SELECT r.status, count(*) FROM runchain_held AS h JOIN runchain_runs AS r ON r.run_id = h.run_id
             WHERE h.batch_id = ?1 GROUP BY r.status ORDER BY count(*) DESC, r.status",
        )
        .during("count the statuses of a held batch")?;
    let rows = statement
        .query_map([batch.0], |row| {
            Ok(StatusCount {
                status: row.get(0)?,
                runs: row.get(1)?,
            })
        })
        .during("count the statuses of a held batch")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("count the statuses of a held batch")
}
