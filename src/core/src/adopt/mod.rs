//! What becomes of a database that was copied, restored or moved, once an operator has said which.
//!
//! - A *copy* becomes a database of its own: a new UUID, epoch 1. What the original had not finished is
//!   the original's to do: here it is cancelled. Runs that are still active are watched.
//! - A *restored* one keeps its UUID and begins the next epoch. What the logs know of the time that it
//!   has lost ([`Outside`]) is taken over, so that no effect is repeated that nobody asks for again.
//! - A *moved* one only has another place.
//!
//! Invariants: every function runs inside a transaction of the caller's, and nothing but that
//! transaction happens; (UUID, epoch, seq) is never given out twice; no (run, generation) that the logs
//! have seen is given to another end of the run, where the run isn't known to have ended.
//!
//! What does not belong here: finding out what happened, and reading logs.

mod outside;
mod take_over;

pub use outside::{LogEvent, Outside, OutsideEnd, OutsideRun, OutsideStep, StepFate};

use take_over::{live_chains, reserve_generation, take_over};

use crate::audit::{self, Action, By};
use crate::chain::{self, Chain};
use crate::error::{During, Error, Result};
use crate::event::{self, EventType, NewEvent};
use crate::identity::{PLACE, Place};
use crate::{Mapping, Millis, RunId, queue, schema};
use rusqlite::Connection;
use serde::Serialize;
use serde_json::json;

/// Queue rows for one expansion.
const EXPAND_ROWS: usize = 1_000;
/// Runs that an answer names.
const NAMED: usize = 20;

/// What the operator says that the database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum As {
    /// Another database, made from this one.
    Copy,
    /// This database, from a backup.
    Restored,
    /// This database, at another place.
    Moved,
}

impl As {
    /// The word of `--as`, of the events and of `runchain_epochs`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Restored => "restored",
            Self::Moved => "moved",
        }
    }
}

/// Who adopts, where, and what goes on afterwards.
#[derive(Debug, Clone, Copy)]
pub struct Adoption<'a> {
    /// The followed table.
    pub mapping: &'a Mapping,
    /// The chain of runs whose end was captured but not looked at.
    pub chain: &'a Chain,
    /// Where the database is now.
    pub place: &'a Place,
    /// For the audit trail.
    pub by: &'a By,
}

/// What an adoption did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Adopted {
    /// The database's UUID from now on.
    pub database_uuid: String,
    /// Its epoch from now on.
    pub epoch: i64,
    /// Steps that will not be executed here.
    pub cancelled_steps: usize,
    /// Steps that the logs know to be done.
    pub settled_steps: usize,
    /// Steps that the logs know to be dead.
    pub dead_steps: usize,
    /// Steps of which the logs know no end: they are executed.
    pub open_steps: i64,
    /// Runs that are active here, but have ended before the restore, the first of them.
    pub ended_before: Vec<RunId>,
}

/// A database's identity before it was adopted.
struct Was {
    uuid: String,
    epoch: i64,
    newest: i64,
    place: Option<Place>,
}

/// Makes a copy a database of its own.
///
/// # Errors
/// Whatever SQLite answers; the caller rolls back.
pub fn copy(conn: &Connection, adoption: &Adoption<'_>, now: Millis) -> Result<Adopted> {
    let was = was(conn)?;
    conn.execute(
        "UPDATE runchain_meta SET value = lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4'
           || substr(hex(randomblob(2)), 2) || '-' || substr('89AB', 1 + (abs(random()) % 4), 1)
           || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6)))
         WHERE key = 'database_uuid'",
        [],
    )
    .during("give the copy a UUID")?;
    begin_epoch(conn, As::Copy, 1, &was, adoption, now)?;
    expand_all(conn, adoption, now)?;
    let mut adopted = identity(conn)?;
    for (run_id, generation) in live_chains(conn)? {
        let why = format!("the original ({}) has this chain; here it was copied", was.uuid);
        adopted.cancelled_steps += chain::cancel_live(conn, &run_id, generation, &why, now)?;
    }
    finish(conn, As::Copy, &was, adoption, &adopted, now)?;
    Ok(adopted)
}

/// Lets a restored database go on, by what the logs know of the time that it has lost.
///
/// # Errors
/// Whatever SQLite answers; the caller rolls back.
pub fn restored(
    conn: &Connection,
    adoption: &Adoption<'_>,
    outside: &Outside,
    now: Millis,
) -> Result<Adopted> {
    let was = was(conn)?;
    let epoch = outside.epoch.max(was.epoch) + 1;
    begin_epoch(conn, As::Restored, epoch, &was, adoption, now)?;
    // Whoever held them is gone with the time that they were held in.
    conn.execute(
        "UPDATE runchain_steps SET attempts = attempts - (state = 'running'), state = 'ready', token = token + 1,
           executor_id = NULL
         WHERE finished_ms IS NULL AND state IN ('leased', 'running')",
        [],
    )
    .during("take leased steps back")?;
    expand_all(conn, adoption, now)?;
    let mut adopted = identity(conn)?;
    for (run_id, run) in &outside.runs {
        for (&generation, end) in &run.ends {
            take_over(conn, run_id, generation, end, &mut adopted, now)?;
        }
        reserve_generation(conn, run_id, run.generation, &mut adopted, now)?;
    }
    adopted.open_steps = conn
        .query_row(
            "SELECT count(*) FROM runchain_steps WHERE finished_ms IS NULL AND state IN ('waiting', 'ready')",
            [],
            |row| row.get(0),
        )
        .during("count what is open")?;
    finish(conn, As::Restored, &was, adoption, &adopted, now)?;
    Ok(adopted)
}

/// Records the new place of a database that was moved.
///
/// # Errors
/// Whatever SQLite answers; the caller rolls back.
pub fn moved(conn: &Connection, adoption: &Adoption<'_>, now: Millis) -> Result<Adopted> {
    let was = was(conn)?;
    record_place(conn, adoption.place)?;
    let adopted = identity(conn)?;
    finish(conn, As::Moved, &was, adoption, &adopted, now)?;
    Ok(adopted)
}

/// Records where the database is.
///
/// # Errors
/// Whatever SQLite answers.
pub fn record_place(conn: &Connection, place: &Place) -> Result<()> {
    set_meta(conn, PLACE, &json!(place).to_string())
}

/// The epoch that an event of this database belongs to.
///
/// # Errors
/// Whatever SQLite answers.
pub fn epoch_of_event(conn: &Connection, database_uuid: &str, event_id: i64) -> Result<i64> {
    conn.prepare_cached(
        "SELECT coalesce(max(epoch), 1) FROM runchain_epochs WHERE database_uuid = ?1 AND began_event_id <= ?2",
    )
    .and_then(|mut statement| statement.query_row((database_uuid, event_id), |row| row.get(0)))
    .during("look for an event's epoch")
}

fn was(conn: &Connection) -> Result<Was> {
    schema::check_writer(conn)?;
    let now = identity(conn)?;
    Ok(Was {
        uuid: now.database_uuid,
        epoch: now.epoch,
        newest: event::newest_id(conn)?,
        place: Place::recorded(conn)?,
    })
}

/// UUID and epoch as they stand now; nothing done yet.
fn identity(conn: &Connection) -> Result<Adopted> {
    let database_uuid = schema::meta(conn, "database_uuid")?.ok_or(Error::NotInstalled)?;
    Ok(Adopted {
        database_uuid,
        epoch: schema::epoch(conn)?,
        ..Adopted::default()
    })
}

fn set_meta(conn: &Connection, key: &str, value: &str) -> Result<()> {
    conn.execute(
        "INSERT INTO runchain_meta(key, value) VALUES (?1, ?2) ON CONFLICT(key) DO UPDATE SET value = excluded.value",
        (key, value),
    )
    .map(|_| ())
    .during("record the database's identity")
}

/// Epoch, place and the event that opens the epoch in the logs. What the database still holds stands
/// in the logs of the epoch before, so the cursors go to its end.
fn begin_epoch(
    conn: &Connection,
    kind: As,
    epoch: i64,
    was: &Was,
    adoption: &Adoption<'_>,
    now: Millis,
) -> Result<()> {
    set_meta(conn, "epoch", &epoch.to_string())?;
    record_place(conn, adoption.place)?;
    conn.execute(
        "UPDATE runchain_cursors SET event_id = ?1 WHERE name IN ('log.monitor', 'log.archival')",
        [was.newest],
    )
    .during("move the log cursors")?;
    conn.execute("DELETE FROM runchain_executors", [])
        .during("forget executors of before")?;
    let data = json!({
        "as": kind.as_str(), "epoch": epoch,
        "was": {"db": was.uuid, "epoch": was.epoch, "seq": was.newest},
    });
    let event = NewEvent::of_database(EventType::EpochStarted, now, None, data);
    let began = event::append(conn, &event)?;
    conn.execute(
        "INSERT INTO runchain_epochs(database_uuid, epoch, began_event_id, began_ms, adopted_as, actor, reason)
         SELECT value, ?1, ?2, ?3, ?4, ?5, ?6 FROM runchain_meta WHERE key = 'database_uuid'",
        (epoch, began, now, kind.as_str(), &adoption.by.actor, &adoption.by.reason),
    )
    .map(|_| ())
    .during("begin an epoch")
}

/// What was captured before is judged now, so that what it leads to can be cancelled or settled.
fn expand_all(conn: &Connection, adoption: &Adoption<'_>, now: Millis) -> Result<()> {
    while queue::expand(conn, adoption.mapping, adoption.chain, EXPAND_ROWS, now)?.more {}
    Ok(())
}

fn finish(
    conn: &Connection,
    kind: As,
    was: &Was,
    adoption: &Adoption<'_>,
    adopted: &Adopted,
    now: Millis,
) -> Result<()> {
    let action = Action {
        name: "adopt",
        by: adoption.by,
        run_id: None,
        before: json!({"as": null, "database_uuid": was.uuid, "epoch": was.epoch, "place": was.place, "result": null}),
        after: json!({
            "as": kind.as_str(), "database_uuid": adopted.database_uuid, "epoch": adopted.epoch,
            "place": adoption.place, "result": adopted,
        }),
    };
    audit::record(conn, &action, now).map(|_| ())
}

#[cfg(test)]
mod tests;
