//! Carrying out what was decided, a bounded part of one batch at a call.

use super::batch::SELECT_BATCH;
use super::leave::close_if_empty;
use super::{Batch, BatchId, Left, leave, was};
use crate::chain::Chain;
use crate::error::{During, Result};
use crate::event::EventType;
use crate::queue::{Expander, known_run};
use crate::storm::StormLimit;
use crate::vocabulary::Phase;
use crate::{Mapping, Millis, RunId};
use rusqlite::{Connection, OptionalExtension};
use serde_json::json;

/// Rows released or discarded in one transaction at most: some ten milliseconds.
const AT_ONCE: i64 = 500;

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
