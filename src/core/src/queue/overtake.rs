//! What needn't wait behind a rush: rows of other runs.
//!
//! One statement may queue a row for each of hundreds of thousands of runs. Taking them in takes a while,
//! and whatever is captured meanwhile stands behind them. The order of the queue matters for one run only,
//! so rows of runs of which nothing stands in the rush may be taken first.
//!
//! Told by capture time alone, as in `storm`: rows that follow each other within the gap belong together,
//! and more than one slice of them is a rush, whatever they say. So what is overtaken is never a part of
//! the rush that it overtakes, and what overtakes is judged like any other slice. Requests without a run
//! (pause, release) keep their place.
//!
//! Everything is read in the caller's transaction, anew each time: ids begin anew when the queue was empty,
//! and another executor may expand as well, so nothing that was read earlier could be relied on.

use super::{QueueRow, Slice, read, take_slice};
use crate::chain::Chain;
use crate::error::{During, Result};
use crate::mapping;
use crate::storm::{GAP_MS, StormLimit};
use crate::{Mapping, Millis, RunId};
use rusqlite::Connection;
use std::collections::HashSet;

/// Rows that are looked through at most: some hundred milliseconds. Behind more, others wait.
const LOOK_ROWS: usize = 1_000_000;

/// Takes at most `limit` rows of other runs that stand behind a rush. Nothing where the queue doesn't begin
/// with one of more than `limit` rows. Returns how many were taken.
///
/// # Errors
/// As [`expand_within`](super::expand_within()).
pub fn overtake(
    conn: &Connection,
    mapping: &Mapping,
    chain: &Chain,
    limit: usize,
    storm: StormLimit,
    now: Millis,
) -> Result<usize> {
    crate::schema::check_writer(conn)?;
    let Some(rush_ends) = end_of_rush(conn, limit)? else {
        return Ok(0);
    };
    let behind = read(conn, rush_ends, limit)?;
    let Some(last) = behind.last().map(|row| row.id) else {
        return Ok(0);
    };
    let waiting = waiting(conn, rush_ends, &behind)?;
    let rows = free_of(behind, waiting);
    if rows.is_empty() {
        return Ok(0);
    }
    let slice = Slice {
        rows: &rows,
        last,
        more: true,
    };
    take_slice(conn, mapping, chain, &slice, storm, now)?;
    let mut delete = conn
        .prepare_cached("DELETE FROM runchain_queue WHERE id = ?1")
        .during("take expanded rows from the queue")?;
    for row in &rows {
        delete
            .execute([row.id])
            .during("take expanded rows from the queue")?;
    }
    Ok(rows.len())
}

/// The id of the last row of the rush that the queue begins with, and of those that follow it at once;
/// `None` where it begins with none, or none ends.
fn end_of_rush(conn: &Connection, limit: usize) -> Result<Option<i64>> {
    let mut statement = conn
        .prepare_cached(
            "SELECT id, CASE WHEN typeof(at_ms) = 'integer' THEN at_ms END FROM runchain_queue ORDER BY id LIMIT ?1",
        )
        .during("look for a rush")?;
    let mut rows = statement
        .query([i64::try_from(LOOK_ROWS).unwrap_or(i64::MAX)])
        .during("look for a rush")?;
    let (mut ended, mut last_id, mut last_at, mut length) = (None, 0, None, 0_usize);
    while let Some(row) = rows.next().during("look for a rush")? {
        let (id, at): (i64, Option<i64>) = (|| Ok((row.get(0)?, row.get(1)?)))().during("look for a rush")?;
        let at = at.or(last_at);
        let goes_on = match (last_at, at) {
            (Some(last), Some(at)) => at.saturating_sub(last).saturating_abs() <= GAP_MS,
            _ => true,
        };
        if !goes_on {
            if length <= limit {
                return Ok(ended);
            }
            ended = Some(last_id);
            length = 0;
        }
        length += 1;
        (last_id, last_at) = (id, at);
    }
    // The last group may still be growing: more than a slice of it counts as a rush without an end.
    Ok(ended.filter(|_| length <= limit))
}

/// Runs of the candidates of which something stands in the rush.
fn waiting(conn: &Connection, rush_ends: i64, candidates: &[QueueRow]) -> Result<HashSet<RunId>> {
    let wanted: HashSet<&RunId> = candidates.iter().flat_map(QueueRow::runs).collect();
    let mut statement = conn
        .prepare_cached("SELECT run_id, old_run_id FROM runchain_queue WHERE id <= ?1")
        .during("look whose rows stand in a rush")?;
    let mut rows = statement
        .query([rush_ends])
        .during("look whose rows stand in a rush")?;
    let mut found = HashSet::new();
    while let Some(row) = rows.next().during("look whose rows stand in a rush")? {
        for column in 0..2 {
            let run_id = mapping::text(row, column).during("look whose rows stand in a rush")?;
            found.extend(run_id.map(RunId).filter(|run_id| wanted.contains(run_id)));
        }
    }
    Ok(found)
}

/// The rows that may go first; whatever stays keeps everything else of its runs from going.
fn free_of(rows: Vec<QueueRow>, mut waiting: HashSet<RunId>) -> Vec<QueueRow> {
    let mut free = Vec::new();
    for row in rows {
        if row.is_of_one_run() && !row.runs().any(|run_id| waiting.contains(run_id)) {
            free.push(row);
        } else {
            waiting.extend(row.runs().cloned());
        }
    }
    free
}

impl QueueRow {
    fn runs(&self) -> impl Iterator<Item = &RunId> {
        self.run_id.iter().chain(&self.old_run_id)
    }

    /// What depends on nothing but what was queued before for the same run.
    fn is_of_one_run(&self) -> bool {
        const ACTIONS: [&str; 6] = ["insert", "update", "delete", "look", "flag", "enqueue_chain"];
        self.runs().next().is_some() && ACTIONS.contains(&self.action.as_str())
    }
}
