//! Lease and start, in one write: which steps an executor gets.

use super::ending::{self, Ending};
use super::{Claim, EVERY_KIND};
use crate::error::{During, Result};
use crate::{ExecutorId, Millis, RunId, schema};
use rusqlite::{Connection, OptionalExtension, Row};
use std::collections::BTreeMap;

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

impl<'a> Wanted<'a> {
    fn filter(self) -> (Option<&'a RunId>, Option<&'a str>) {
        match self {
            Self::Due => (None, None),
            Self::OfRun { run_id, step } => (Some(run_id), step),
        }
    }
}

/// How much an executor can take.
#[derive(Debug, Clone, Copy)]
pub struct Capacity<'a> {
    /// Steps that it could start now.
    pub free: usize,
    /// Steps that it runs.
    pub running: usize,
    /// By name of a step: how many may be held at once, over all executors.
    pub concurrency: &'a BTreeMap<String, usize>,
}

/// A suspect that has been due for this long is let in next: nothing else is leased until the
/// executor is empty.
const SUSPECT_PATIENCE_MS: i64 = 5_000;

/// Leases and starts ready steps, in order of priority, then age: never more than there are free
/// places, never more of one name than its limit, none of a paused kind, none of a run of which an
/// earlier step still ends, a suspect only alone. One write for each step: nothing is held that isn't
/// worked on.
///
/// # Errors
/// [`crate::Error::Outdated`] when the database asks for a newer writer,
/// [`crate::Error::NotInstalled`], and whatever SQLite answers.
pub fn lease_and_start(
    conn: &Connection,
    executor: &ExecutorId,
    wanted: Wanted<'_>,
    capacity: Capacity<'_>,
    now: Millis,
) -> Result<Vec<Claim>> {
    let mut claims = candidates(conn, wanted, capacity, now)?;
    let mut update = conn
        .prepare_cached(
            "UPDATE runchain_steps SET state = 'running', executor_id = ?2, token = token + 1, attempts = attempts + 1,
               started_ms = ?3
             WHERE id = ?1",
        )
        .during("lease and start a step")?;
    for claim in &mut claims {
        update
            .execute((claim.step_id, executor, now))
            .during("lease and start a step")?;
        claim.token += 1;
        claim.attempt += 1;
    }
    Ok(claims)
}

fn candidates(
    conn: &Connection,
    wanted: Wanted<'_>,
    capacity: Capacity<'_>,
    now: Millis,
) -> Result<Vec<Claim>> {
    schema::check_writer(conn)?;
    if capacity.free == 0 {
        return Ok(Vec::new());
    }
    let room = Room::of(conn, capacity, now)?;
    match suspect(conn, wanted, capacity, &room, now)? {
        Suspect::None => unsuspicious(conn, wanted, capacity, room, now),
        Suspect::Alone(claim) => Ok(vec![*claim]),
        Suspect::WaitsForRoom => Ok(Vec::new()),
    }
}

enum Suspect {
    /// There is none that is due.
    None,
    /// The executor is empty: it gets this one and no other.
    Alone(Box<Claim>),
    /// It has waited long enough; the executor has to run empty first.
    WaitsForRoom,
}

/// The suspect that has been due for longest, of those whose kind has room.
fn suspect(
    conn: &Connection,
    wanted: Wanted<'_>,
    capacity: Capacity<'_>,
    room: &Room,
    now: Millis,
) -> Result<Suspect> {
    let (run_id, step) = wanted.filter();
    let sql = format!(
        "SELECT {columns} FROM runchain_steps
         WHERE state = 'ready' AND lost > 0 AND ready_at_ms <= ?1 AND (?2 IS NULL OR run_id = ?2) AND (?3 IS NULL OR step = ?3)
           AND NOT EXISTS (SELECT 1 FROM runchain_pauses AS p WHERE p.step IN ('*', runchain_steps.step))
         ORDER BY ready_at_ms, id",
        columns = Claim::COLUMNS
    );
    let mut select = conn.prepare_cached(&sql).during("look for suspects")?;
    let mut rows = select.query((now, run_id, step)).during("look for suspects")?;
    while let Some(row) = rows.next().during("look for suspects")? {
        let claim = Claim::of_row(row).during("look for suspects")?;
        if room.left(&claim.step) == 0 || room.is_closed_to(&claim.run_id) {
            continue;
        }
        let ready_at = claim.ready_at;
        return Ok(if capacity.running == 0 {
            Suspect::Alone(Box::new(claim))
        } else if now.since(ready_at) >= SUSPECT_PATIENCE_MS {
            Suspect::WaitsForRoom
        } else {
            Suspect::None
        });
    }
    Ok(Suspect::None)
}

/// Candidates of each lane in the order of the index, so that neither history, nor delayed steps,
/// nor a paused kind is ever scanned; then the best of them.
fn unsuspicious(
    conn: &Connection,
    wanted: Wanted<'_>,
    capacity: Capacity<'_>,
    mut room: Room,
    now: Millis,
) -> Result<Vec<Claim>> {
    let mut found = Vec::new();
    match wanted {
        Wanted::Due => {
            for lane in lanes(conn)? {
                let limit = room.left(&lane.step).min(capacity.free);
                if limit > 0 {
                    // Those that have to be passed over must not hide the others.
                    let limit = limit + room.ending.len();
                    candidates_of_lane(conn, &lane, now, limit, &mut found)?;
                }
            }
        }
        Wanted::OfRun { .. } => candidates_of_run(conn, wanted, now, &mut found)?,
    }
    found.sort_unstable_by_key(|candidate| candidate.order);
    found.retain(|candidate| !room.is_closed_to(&candidate.claim.run_id));
    found.retain(|candidate| room.take(&candidate.claim.step));
    found.truncate(capacity.free);
    Ok(found.into_iter().map(|candidate| candidate.claim).collect())
}

struct Candidate {
    /// Priority, ready at, id.
    order: (i64, i64, i64),
    claim: Claim,
}

impl Candidate {
    fn of_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let claim = Claim::of_row(row)?;
        Ok(Self {
            order: (row.get("priority")?, claim.ready_at.0, claim.step_id.0),
            claim,
        })
    }
}

fn candidates_of_lane(
    conn: &Connection,
    lane: &Lane,
    now: Millis,
    limit: usize,
    found: &mut Vec<Candidate>,
) -> Result<()> {
    let sql = format!(
        "SELECT {columns}, priority FROM runchain_steps
         WHERE finished_ms IS NULL AND state = 'ready' AND step = ?1 AND priority = ?2 AND ready_at_ms <= ?3 AND lost = 0
         ORDER BY ready_at_ms, id LIMIT ?4",
        columns = Claim::COLUMNS
    );
    let mut select = conn.prepare_cached(&sql).during("find ready steps")?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = select
        .query_map((&lane.step, lane.priority, now, limit), Candidate::of_row)
        .during("find ready steps")?;
    for row in rows {
        found.push(row.during("find ready steps")?);
    }
    Ok(())
}

fn candidates_of_run(
    conn: &Connection,
    wanted: Wanted<'_>,
    now: Millis,
    found: &mut Vec<Candidate>,
) -> Result<()> {
    let sql = format!(
        "SELECT {columns}, priority FROM runchain_steps
         WHERE run_id = ?2 AND state = 'ready' AND ready_at_ms <= ?1 AND lost = 0 AND (?3 IS NULL OR step = ?3)
           AND NOT EXISTS (SELECT 1 FROM runchain_pauses AS p WHERE p.step IN ('*', runchain_steps.step))",
        columns = Claim::COLUMNS
    );
    let (run_id, step) = wanted.filter();
    let mut select = conn.prepare_cached(&sql).during("find ready steps of a run")?;
    let rows = select
        .query_map((now, run_id, step), Candidate::of_row)
        .during("find ready steps of a run")?;
    for row in rows {
        found.push(row.during("find ready steps of a run")?);
    }
    Ok(())
}

/// The ready steps of one kind and priority.
struct Lane {
    step: String,
    priority: i64,
}

/// The lanes of unpaused kinds that have a ready step, found by skipping through the index: one
/// look for each, however many steps they hold.
fn lanes(conn: &Connection) -> Result<Vec<Lane>> {
    let paused = pauses(conn)?;
    let mut lanes: Vec<Lane> = Vec::new();
    if paused.iter().any(|step| step == EVERY_KIND) {
        return Ok(lanes);
    }
    // Two looks, because SQLite seeks only by the first column of `(step, priority) > (?, ?)`.
    let look = |columns: &str| {
        format!(
            "SELECT step, priority FROM runchain_steps WHERE finished_ms IS NULL AND state = 'ready' AND {columns} \
             ORDER BY step, priority LIMIT 1"
        )
    };
    let mut same_step = conn
        .prepare_cached(&look("step = ?1 AND priority > ?2"))
        .during("look for ready kinds of steps")?;
    let mut next_step = conn
        .prepare_cached(&look("step > ?1"))
        .during("look for ready kinds of steps")?;
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let (mut step, mut priority) = (String::new(), i64::MIN);
    loop {
        let within = same_step
            .query_row((&step, priority), read)
            .optional()
            .during("look for ready kinds of steps")?;
        let found = match within {
            Some(place) => Some(place),
            None => next_step
                .query_row([&step], read)
                .optional()
                .during("look for ready kinds of steps")?,
        };
        match found {
            None => return Ok(lanes),
            Some(place) => (step, priority) = place,
        }
        if !paused.contains(&step) {
            lanes.push(Lane {
                step: step.clone(),
                priority,
            });
        }
    }
}

fn pauses(conn: &Connection) -> Result<Vec<String>> {
    let mut select = conn
        .prepare_cached("SELECT step FROM runchain_pauses")
        .during("read the pauses")?;
    let rows = select.query_map([], |row| row.get(0)).during("read the pauses")?;
    rows.collect::<rusqlite::Result<_>>().during("read the pauses")
}

/// What the limits of each name leave, and what was taken away and still ends.
struct Room {
    left: BTreeMap<String, usize>,
    ending: Vec<Ending>,
}

impl Room {
    fn of(conn: &Connection, capacity: Capacity<'_>, now: Millis) -> Result<Self> {
        let mut room = Self {
            left: capacity.concurrency.clone(),
            ending: ending::all(conn, now)?,
        };
        if room.left.is_empty() {
            return Ok(room);
        }
        let mut select = conn
            .prepare_cached("SELECT step, count(*) FROM runchain_steps WHERE finished_ms IS NULL AND state IN ('leased', 'running') GROUP BY step")
            .during("count held steps")?;
        let mut rows = select.query([]).during("count held steps")?;
        while let Some(row) = rows.next().during("count held steps")? {
            let (step, held): (String, i64) = row.try_into().during("count held steps")?;
            if let Some(left) = room.left.get_mut(&step) {
                *left = left.saturating_sub(usize::try_from(held).unwrap_or(usize::MAX));
            }
        }
        for step in room.ending.iter().map(|ending| &ending.step) {
            if let Some(left) = room.left.get_mut(step) {
                *left = left.saturating_sub(1);
            }
        }
        Ok(room)
    }

    fn is_closed_to(&self, run_id: &RunId) -> bool {
        self.ending.iter().any(|ending| ending.run_id == *run_id)
    }

    fn left(&self, step: &str) -> usize {
        self.left.get(step).copied().unwrap_or(usize::MAX)
    }

    fn take(&mut self, step: &str) -> bool {
        let Some(left) = self.left.get_mut(step) else {
            return true;
        };
        let had = *left > 0;
        *left = left.saturating_sub(1);
        had
    }
}

/// When the next ready step of an unpaused kind is due, if there is one.
///
/// # Errors
/// Whatever SQLite answers.
pub fn next_due(conn: &Connection) -> Result<Option<Millis>> {
    let mut first = conn
        .prepare_cached(
            "SELECT min(ready_at_ms) FROM runchain_steps
             WHERE finished_ms IS NULL AND state = 'ready' AND step = ?1 AND priority = ?2",
        )
        .during("look for the next step")?;
    let mut due: Option<Millis> = None;
    for lane in lanes(conn)? {
        let of_lane: Option<Millis> = first
            .query_row((&lane.step, lane.priority), |row| row.get(0))
            .during("look for the next step")?;
        due = due.into_iter().chain(of_lane).min();
    }
    Ok(due)
}

/// When the next ready step of one run (and name) is due, if there is one.
///
/// # Errors
/// Whatever SQLite answers.
pub fn next_due_of(conn: &Connection, run_id: &RunId, step: Option<&str>) -> Result<Option<Millis>> {
    conn.prepare_cached(
        "SELECT min(ready_at_ms) FROM runchain_steps
         WHERE state = 'ready' AND run_id = ?1 AND (?2 IS NULL OR step = ?2)
           AND NOT EXISTS (SELECT 1 FROM runchain_pauses AS p WHERE p.step IN ('*', runchain_steps.step))",
    )
    .and_then(|mut statement| statement.query_row((run_id, step), |row| row.get(0)))
    .during("look for the run's next step")
}

/// Whether anything is queued, ready (now or later), leased or running: of all, of one run, or of
/// one step of it. What is paused is not waited for.
///
/// # Errors
/// Whatever SQLite answers.
pub fn work_left(conn: &Connection, run_id: Option<&RunId>, step: Option<&str>) -> Result<bool> {
    let ready = match run_id {
        None => next_due(conn)?,
        Some(run_id) => next_due_of(conn, run_id, step)?,
    };
    if ready.is_some() {
        return Ok(true);
    }
    conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM runchain_queue)
             OR EXISTS (SELECT 1 FROM runchain_steps WHERE finished_ms IS NULL AND state IN ('leased', 'running')
                        AND (?1 IS NULL OR run_id = ?1) AND (?2 IS NULL OR step = ?2))",
    )
    .and_then(|mut statement| statement.query_row((run_id, step), |row| row.get(0)))
    .during("look whether work is left")
}
