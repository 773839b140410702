//! What needn't wait behind a rush: rows of other runs.
//!
//! One statement may queue a row for each of hundreds of thousands of runs. Taking them in takes a while,
//! and whatever is captured meanwhile stands behind them. The order of the queue matters for one run only,
//! so rows of runs of which nothing stands in the rush may be taken first.
//!
//! What is overtaken is never a part of the rush that it overtakes, and what overtakes is judged like any
//! other slice. Requests without a run (pause, release) keep their place. Where the rush ends and whose
//! rows it holds was read before (see `rush`); the rows that overtake are read in the caller's transaction.

use super::rush::{Rush, group_length};
use super::{QueueRow, Slice, read, take_slice};
use crate::chain::Chain;
use crate::error::{During, Result};
use crate::storm::StormLimit;
use crate::{Mapping, Millis, RunId};
use rusqlite::Connection;
use std::collections::HashSet;

/// Takes at most `limit` rows of other runs that stand behind a rush that was read. Nothing where the queue
/// doesn't begin with one of more than `limit` rows; it ends when `go_on` says no. Returns how many were
/// taken.
///
/// # Errors
/// As [`expand_within`](super::expand_within()).
#[expect(
    clippy::too_many_arguments,
    reason = "what judging a slice needs, and the rush"
)]
pub fn overtake(
    conn: &Connection,
    mapping: &Mapping,
    chain: &Chain,
    rush: &mut Rush,
    limit: usize,
    storm: StormLimit,
    go_on: &dyn Fn() -> bool,
    now: Millis,
) -> Result<usize> {
    crate::schema::check_writer(conn)?;
    let Some(rush_ends) = rush.end(conn)? else {
        return Ok(0);
    };
    let mut behind = read(conn, rush_ends, limit.saturating_add(1))?;
    if group_length(&behind) > limit {
        rush.forget();
        return Ok(0);
    }
    behind.truncate(limit);
    let Some(last) = behind.last().map(|row| row.id) else {
        return Ok(0);
    };
    let waiting = waiting(conn, rush, &behind)?;
    let rows = free_of(behind, waiting);
    if rows.is_empty() {
        return Ok(0);
    }
    let slice = Slice {
        rows: &rows,
        last,
        more: true,
        go_on,
    };
    let taken = take_slice(conn, mapping, chain, &slice, storm, now)?;
    let mut delete = conn
        .prepare_cached("DELETE FROM runchain_queue WHERE id = ?1")
        .during("take expanded rows from the queue")?;
    for row in taken {
        delete
            .execute([row.id])
            .during("take expanded rows from the queue")?;
    }
    Ok(taken.len())
}

/// Runs of the candidates of which something stands in the rush.
fn waiting(conn: &Connection, rush: &Rush, candidates: &[QueueRow]) -> Result<HashSet<RunId>> {
    let first: i64 = conn
        .prepare_cached("SELECT min(id) FROM runchain_queue")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .during("look for the queue's first row")?;
    let runs = candidates.iter().flat_map(QueueRow::runs);
    Ok(runs.filter(|run_id| rush.holds(run_id, first)).cloned().collect())
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
