//! Messages: what is due leaves together, under one number until it is through.

use crate::Millis;
use crate::alert::{Entry, list};
use crate::error::{During, Result};
use rusqlite::{Connection, OptionalExtension};

/// Rows that leave as one message, at most.
pub const IN_ONE_MESSAGE: usize = 100;

/// A delivery that is part of a message.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its row.
    pub id: i64,
    /// What changed.
    pub change: list::Change,
    /// The alert as it is now.
    pub alert: Entry,
    /// Since when the alert has been firing this time.
    pub fires_since: Millis,
    /// Of a digest.
    pub digest: bool,
    /// Attempts before this one.
    pub attempts: i64,
}

/// What leaves together.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its number: the same for every attempt.
    pub id: i64,
    /// What it says, oldest first.
    pub items: Vec<Item>,
}

impl Message {
    /// Attempts before this one.
    #[must_use]
    pub fn attempts(&self) -> i64 {
        self.items.iter().map(|item| item.attempts).max().unwrap_or(0)
    }
}

/// When the next delivery of a channel is due; `None` when nothing waits. Nothing passes a message that was
/// begun: that an alert is over must not be told before that it fires.
///
/// # Errors
/// Whatever SQLite answers.
pub fn next_due(conn: &Connection, channel: &str) -> Result<Option<Millis>> {
    if let Some(begun) = begun(conn, channel)? {
        return Ok(Some(begun.due));
    }
    conn.prepare_cached(
        "SELECT min(due_ms) FROM runchain_alert_deliveries WHERE channel = ?1 AND state = 'pending'",
    )
    .and_then(|mut statement| statement.query_row([channel], |row| row.get(0)))
    .during("look for deliveries that are due")
}

/// A message that was begun and isn't through.
struct Begun {
    message: i64,
    due: Millis,
}

fn begun(conn: &Connection, channel: &str) -> Result<Option<Begun>> {
    conn.prepare_cached(
        "SELECT message, due_ms FROM runchain_alert_deliveries
         WHERE channel = ?1 AND state = 'pending' AND message IS NOT NULL ORDER BY message LIMIT 1",
    )
    .and_then(|mut statement| {
        statement
            .query_row([channel], |row| {
                Ok(Begun {
                    message: row.get(0)?,
                    due: row.get(1)?,
                })
            })
            .optional()
    })
    .during("look for a message that was begun")
}

/// Whether anything is due to any channel.
///
/// # Errors
/// Whatever SQLite answers.
pub fn any_due(conn: &Connection, now: Millis) -> Result<bool> {
    conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM runchain_alert_deliveries WHERE state = 'pending' AND due_ms <= ?1)",
    )
    .and_then(|mut statement| statement.query_row([now], |row| row.get(0)))
    .during("look for deliveries that are due")
}

/// The next message of a channel: one that was begun and isn't through, else what is due now, which
/// becomes one. Inside a transaction that is committed before anything is sent.
///
/// # Errors
/// Whatever SQLite answers.
pub fn take(conn: &Connection, channel: &str, now: Millis) -> Result<Option<Message>> {
    drop_orphans(conn, channel, now)?;
    let id = match begun(conn, channel)? {
        Some(begun) if begun.due > now => return Ok(None),
        Some(begun) => begun.message,
        None if next_due(conn, channel)?.is_none_or(|due| due > now) => return Ok(None),
        None => begin(conn, channel, now)?,
    };
    let items = items(conn, channel, id)?;
    Ok((!items.is_empty()).then_some(Message { id, items }))
}

/// What is due becomes one message, oldest first. Its number is that of its first row.
fn begin(conn: &Connection, channel: &str, now: Millis) -> Result<i64> {
    let first: i64 = conn
        .query_row(
            "SELECT min(id) FROM (SELECT id FROM runchain_alert_deliveries
             WHERE channel = ?1 AND state = 'pending' AND message IS NULL AND due_ms <= ?2 ORDER BY id LIMIT ?3)",
            (channel, now, IN_ONE_MESSAGE as i64),
            |row| row.get(0),
        )
        .during("begin a message")?;
    conn.execute(
        "UPDATE runchain_alert_deliveries SET message = ?4 WHERE id IN (
           SELECT id FROM runchain_alert_deliveries
           WHERE channel = ?1 AND state = 'pending' AND message IS NULL AND due_ms <= ?2 ORDER BY id LIMIT ?3)",
        (channel, now, IN_ONE_MESSAGE as i64, first),
    )
    .during("begin a message")?;
    Ok(first)
}

/// What has no alert any more (retention, a forgotten run) is dropped.
fn drop_orphans(conn: &Connection, channel: &str, now: Millis) -> Result<()> {
    conn.prepare_cached(
        "UPDATE runchain_alert_deliveries SET state = 'dropped', done_ms = ?2, error = 'the alert is gone'
         WHERE channel = ?1 AND state = 'pending' AND due_ms <= ?2
           AND (NOT EXISTS (SELECT 1 FROM runchain_alerts AS a WHERE a.id = alert_id)
             OR NOT EXISTS (SELECT 1 FROM runchain_alert_changes AS c WHERE c.id = change_id))",
    )
    .and_then(|mut statement| statement.execute((channel, now)))
    .map(drop)
    .during("leave out what has no alert any more")
}

/// A row of a message, before its alert is looked up.
struct Row {
    id: i64,
    digest: bool,
    attempts: i64,
    change: list::Change,
    alert: i64,
    fires_since: Millis,
}

fn items(conn: &Connection, channel: &str, message: i64) -> Result<Vec<Item>> {
    let mut statement = conn
        .prepare_cached(
            "SELECT d.id, d.digest, d.attempts, c.id, c.was, c.state, c.at_ms, c.actor, c.reason, d.alert_id,
                    coalesce((SELECT max(f.at_ms) FROM runchain_alert_changes AS f
                              WHERE f.alert_id = d.alert_id AND f.id <= c.id AND f.state = 'firing'), c.at_ms)
             FROM runchain_alert_deliveries AS d JOIN runchain_alert_changes AS c ON c.id = d.change_id
             WHERE d.message = ?2 AND d.channel = ?1 AND d.state = 'pending' ORDER BY d.change_id",
        )
        .during("read a message")?;
    let rows = statement
        .query_map((channel, message), |row| {
            let was: Option<String> = row.get(4)?;
            let change = list::Change {
                id: row.get(3)?,
                was: was.as_deref().map(list::state),
                state: list::state(&row.get::<_, String>(5)?),
                at: row.get(6)?,
                actor: row.get(7)?,
                reason: row.get(8)?,
            };
            Ok(Row {
                id: row.get(0)?,
                digest: row.get(1)?,
                attempts: row.get(2)?,
                change,
                alert: row.get(9)?,
                fires_since: row.get(10)?,
            })
        })
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .during("read a message")?;
    let mut items = Vec::with_capacity(rows.len());
    for row in rows {
        if let Some(alert) = list::find(conn, row.alert)? {
            items.push(Item {
                id: row.id,
                change: row.change,
                alert,
                fires_since: row.fires_since,
                digest: row.digest,
                attempts: row.attempts,
            });
        }
    }
    Ok(items)
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The channel has it.
    Sent,
    /// It may go later: try again then.
    Again {
        /// When.
        at: Millis,
        /// Why not now.
        error: String,
    },
    /// It is given up.
    Dead {
        /// Why.
        error: String,
    },
}

/// Keeps what came of a message.
///
/// # Errors
/// Whatever SQLite answers.
pub fn settle(conn: &Connection, channel: &str, message: i64, outcome: &Outcome, now: Millis) -> Result<()> {
    let (state, due, done, error) = match outcome {
        Outcome::Sent => ("sent", None, Some(now), None),
        Outcome::Again { at, error } => ("pending", Some(*at), None, Some(error)),
        Outcome::Dead { error } => ("dead", None, Some(now), Some(error)),
    };
    conn.prepare_cached(
        "UPDATE runchain_alert_deliveries
         SET state = ?3, due_ms = coalesce(?4, due_ms), done_ms = ?5, error = ?6, attempts = attempts + 1
         WHERE channel = ?1 AND message = ?2 AND state = 'pending'",
    )
    .and_then(|mut statement| statement.execute((channel, message, state, due, done, error)))
    .map(drop)
    .during("keep what came of a delivery")
}
