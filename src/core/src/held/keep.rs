//! Taking the ends of a storm in: batches that grow, and the alert that counts with them.

use super::BatchId;
use crate::alert::{self, Alarm, Own};
use crate::error::{During, Result};
use crate::event::{self, EventType, NewEvent};
use crate::queue::KnownRun;
use crate::storm::StormLimit;
use crate::{Millis, RunId};
use rusqlite::{Connection, OptionalExtension};
use serde_json::json;

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
