//! How a run leaves its batch: its chain begins, or the end is taken back and what was before holds again.

use super::{BatchId, find};
use crate::alert::{self, Own};
use crate::error::{During, Result};
use crate::event::{self, EventType, NewEvent};
use crate::vocabulary::Phase;
use crate::{Millis, RunId};
use rusqlite::{Connection, OptionalExtension};
use serde_json::json;

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

pub(super) fn close_if_empty(conn: &Connection, batch: BatchId, now: Millis) -> Result<()> {
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
