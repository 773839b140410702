//! What waited while nobody drained: looked at once, when an executor starts.
//!
//! That nobody drained is told by what waits: a queue row that was captured minutes ago, or a step that
//! has been due for as long, would have been taken within milliseconds. An idle executor beats rarely,
//! so its last beat says nothing.

use crate::alert::{self, Alarm, Own};
use crate::error::{During, Result};
use crate::event::{self, EventType, NewEvent};
use crate::{Millis, schema, steps};
use rusqlite::{Connection, OptionalExtension};
use serde_json::json;

/// What waits, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// The oldest of it: nobody drained since then, at least.
    pub since: Millis,
    /// Rows of the queue, by their ids.
    pub queue_rows: i64,
    /// The newest of them.
    pub newest_queue_id: i64,
    /// The last sign of an executor.
    pub last_beat: Option<Millis>,
    /// When this was looked at.
    pub seen: Millis,
}

/// Looks at what waits; `None` when nothing does.
///
/// # Errors
/// Whatever SQLite answers.
pub fn look(conn: &Connection, now: Millis) -> Result<Option<Backlog>> {
    let ids: Option<(i64, i64)> = conn
        .query_row(
            "SELECT (SELECT min(id) FROM runchain_queue), (SELECT max(id) FROM runchain_queue)",
            [],
            |row| Ok(row.get::<_, Option<i64>>(0)?.zip(row.get(1)?)),
        )
        .during("look at the queue")?;
    let captured: Option<Millis> = conn
        .query_row(
            "SELECT at_ms FROM runchain_queue WHERE typeof(at_ms) = 'integer' ORDER BY id LIMIT 1",
            [],
            |row| row.get(0),
        )
        .optional()
        .during("look at the queue")?;
    let due = steps::next_due(conn)?.filter(|due| *due <= now);
    let Some(since) = captured.into_iter().chain(due).min() else {
        return Ok(None);
    };
    let last_beat = conn
        .query_row("SELECT max(beat_ms) FROM runchain_executors", [], |row| {
            row.get(0)
        })
        .during("look for the last executor")?;
    Ok(Some(Backlog {
        since,
        queue_rows: ids.map_or(0, |(first, last)| last - first + 1),
        newest_queue_id: ids.map_or(0, |(_, last)| last),
        last_beat,
        seen: now,
    }))
}

/// Says that nobody drained, in an event.
///
/// # Errors
/// Whatever SQLite answers.
pub fn say(conn: &Connection, backlog: &Backlog, now: Millis) -> Result<()> {
    schema::check_writer(conn)?;
    let data = json!({
        "since": backlog.since.iso(), "waited_ms": now.since(backlog.since), "queue_rows": backlog.queue_rows,
        "last_beat": backlog.last_beat.map(Millis::iso),
    });
    event::append(
        conn,
        &NewEvent::of_database(EventType::ExecutorWasDown, now, None, data),
    )?;
    let message = format!(
        "nobody drained since {}; {} writes waited",
        backlog.since.iso(),
        backlog.queue_rows
    );
    let alarm = Alarm {
        own: Own::ExecutorWasDown,
        of: &[],
        run_id: None,
        subject: "executor",
        message: &message,
    };
    alert::raise(conn, &alarm, now).map(drop)
}

/// What waited is caught up with: that nobody drained is no alert any more.
///
/// # Errors
/// Whatever SQLite answers.
pub fn over(conn: &Connection, now: Millis) -> Result<bool> {
    alert::resolve(conn, Own::ExecutorWasDown, &[], now)
}

/// Whether everything that waited in the queue then is expanded.
///
/// # Errors
/// Whatever SQLite answers.
pub fn is_caught_up(conn: &Connection, backlog: &Backlog) -> Result<bool> {
    // Ids begin anew when the queue was empty, so that the time counts, too.
    conn.prepare_cached(
        "SELECT NOT EXISTS (SELECT 1 FROM runchain_queue WHERE id <= ?1 AND coalesce(at_ms <= ?2, 0))",
    )
    .and_then(|mut statement| statement.query_row((backlog.newest_queue_id, backlog.seen), |row| row.get(0)))
    .during("look how far the queue is expanded")
}
