//! What is to be sent to channels: one row for each change of an alert and channel, until it is sent, dead
//! or dropped.
//!
//! Rows are planned in the transaction that announces the change, so that nothing is lost over a restart.
//! Rows that leave together carry the number of their message, kept before it is sent: who tries again,
//! also after a crash, sends the same message under the same number, and the channel can tell. What does
//! not belong here: which channels there are, and how one talks to them.

use super::list;
use super::{Entry, State};
use crate::error::{During, Result};
use crate::{Millis, schema};
use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;

/// Rows that leave as one message, at most.
pub const IN_ONE_MESSAGE: usize = 100;

/// A delivery to plan.
#[derive(Debug, Clone, Copy)]
pub struct Planned<'a> {
    /// To which channel.
    pub channel: &'a str,
    /// The change.
    pub change: i64,
    /// Its alert.
    pub alert: i64,
    /// The state that it tells.
    pub state: State,
    /// It leaves with everything else that was caught up with.
    pub digest: bool,
    /// Not twice within this time about the same alert.
    pub throttle_ms: i64,
    /// Not before this.
    pub due: Millis,
}

/// Plans one delivery, inside the transaction that announces the change; `false` where the channel hears
/// nothing new: an alert that is over before the throttle let anybody hear of it again.
///
/// # Errors
/// Whatever SQLite answers.
pub fn plan(conn: &Connection, planned: &Planned<'_>, now: Millis) -> Result<bool> {
    let due = match planned.state {
        State::Firing => planned.due.max(throttled_until(conn, planned)?),
        _ if withdraw_throttled(conn, planned, now)? => return Ok(false),
        _ => planned.due,
    };
    conn.prepare_cached(
        "INSERT INTO runchain_alert_deliveries(channel, change_id, alert_id, digest, due_ms)
         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT(change_id, channel) DO NOTHING",
    )
    .and_then(|mut statement| {
        statement.execute((
            planned.channel,
            planned.change,
            planned.alert,
            planned.digest,
            due,
        ))
    })
    .map(|rows| rows > 0)
    .during("plan the delivery of an alert")
}

/// That an alert fires is told once within the throttle.
fn throttled_until(conn: &Connection, planned: &Planned<'_>) -> Result<Millis> {
    let last: Option<Millis> = conn
        .prepare_cached(
            "SELECT max(d.due_ms) FROM runchain_alert_deliveries AS d JOIN runchain_alert_changes AS c ON c.id = d.change_id
             WHERE d.alert_id = ?1 AND d.channel = ?2 AND d.state <> 'dropped' AND c.state = 'firing'",
        )
        .and_then(|mut statement| statement.query_row((planned.alert, planned.channel), |row| row.get(0)))
        .during("look for the last delivery of an alert")?;
    Ok(last.map_or(Millis(i64::MIN), |last| last.plus(planned.throttle_ms)))
}

/// That it fired again waits for the throttle's sake: it is over before, and nobody needs to hear of it.
fn withdraw_throttled(conn: &Connection, planned: &Planned<'_>, now: Millis) -> Result<bool> {
    conn.prepare_cached(
        "UPDATE runchain_alert_deliveries
         SET state = 'dropped', done_ms = ?3, error = 'it was over before the throttle let it through'
         WHERE alert_id = ?1 AND channel = ?2 AND state = 'pending' AND message IS NULL AND due_ms > ?3
           AND EXISTS (SELECT 1 FROM runchain_alert_deliveries AS earlier
                       WHERE earlier.alert_id = ?1 AND earlier.channel = ?2 AND earlier.id < runchain_alert_deliveries.id
                         AND earlier.state <> 'dropped')",
    )
    .and_then(|mut statement| statement.execute((planned.alert, planned.channel, now)))
    .map(|rows| rows > 0)
    .during("withdraw what the throttle held back")
}

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
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                change,
                row.get(9)?,
                row.get(10)?,
            ))
        })
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .during("read a message")?;
    let mut items = Vec::with_capacity(rows.len());
    for (id, digest, attempts, change, alert, fires_since) in rows {
        let Some(alert) = list::find(conn, alert)? else {
            continue;
        };
        items.push(Item {
            id,
            change,
            alert,
            fires_since,
            digest,
            attempts,
        });
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

/// Makes dead deliveries pending again, of one channel or all; how many.
///
/// # Errors
/// Whatever SQLite answers.
pub fn retry(conn: &Connection, channel: Option<&str>, now: Millis) -> Result<usize> {
    conn.execute(
        "UPDATE runchain_alert_deliveries SET state = 'pending', due_ms = ?2, done_ms = NULL, attempts = 0
         WHERE state = 'dead' AND (?1 IS NULL OR channel = ?1)",
        (channel, now),
    )
    .during("deliver again what was given up")
}

/// What waits for, or was given up of, channels that are configured no more is dropped: nobody is there to
/// send it. The channels, and how many deliveries of each.
///
/// # Errors
/// Whatever SQLite answers.
pub fn drop_unknown(conn: &Connection, known: &[&str], now: Millis) -> Result<Vec<(String, usize)>> {
    let mut dropped = Vec::new();
    for channel in unknown(conn, known)? {
        let count = conn
            .execute(
                "UPDATE runchain_alert_deliveries
                 SET state = 'dropped', done_ms = ?2, error = 'the channel is configured no more'
                 WHERE channel = ?1 AND (state = 'pending' OR state = 'dead')",
                (&channel, now),
            )
            .during("drop what nobody sends any more")?;
        dropped.push((channel, count));
    }
    Ok(dropped)
}

/// Channels that have something to send and are none of these.
///
/// # Errors
/// Whatever SQLite answers.
pub fn unknown(conn: &Connection, known: &[&str]) -> Result<Vec<String>> {
    let standing = standing(conn)?.into_iter().map(|one| one.channel);
    Ok(standing.filter(|one| !known.contains(&one.as_str())).collect())
}

/// How a channel stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Its name.
    pub channel: String,
    /// Deliveries that wait.
    pub pending: i64,
    /// Deliveries that were given up.
    pub dead: i64,
    /// The newest error among them.
    pub error: Option<String>,
}

/// How the channels stand that have anything that is not sent.
///
/// # Errors
/// Whatever SQLite answers.
pub fn standing(conn: &Connection) -> Result<Vec<Standing>> {
    if !schema::table_exists(conn, "runchain_alert_deliveries")? {
        return Ok(Vec::new());
    }
    let mut statement = conn
        .prepare_cached(
            "SELECT channel, sum(state = 'pending'), sum(state = 'dead'),
                    (SELECT error FROM runchain_alert_deliveries AS e
                     WHERE e.channel = u.channel AND e.state IN ('pending', 'dead') AND e.error IS NOT NULL
                     ORDER BY e.id DESC LIMIT 1)
             FROM (SELECT channel, state FROM runchain_alert_deliveries WHERE state = 'pending'
                   UNION ALL SELECT channel, state FROM runchain_alert_deliveries WHERE state = 'dead') AS u
             GROUP BY channel ORDER BY channel",
        )
        .during("look how the channels stand")?;
    let rows = statement
        .query_map([], |row| {
            Ok(Standing {
                channel: row.get(0)?,
                pending: row.get(1)?,
                dead: row.get(2)?,
                error: row.get(3)?,
            })
        })
        .during("look how the channels stand")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("look how the channels stand")
}

/// A delivery, for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Delivered {
    /// Its channel.
    pub channel: String,
    /// The state of the alert that it tells.
    pub tells: State,
    /// How it stands: pending, sent, dead, dropped.
    pub state: String,
    /// Attempts so far.
    pub attempts: i64,
    /// When it is, or was, due.
    #[serde(serialize_with = "list::iso")]
    pub due_at: Millis,
    /// When it was through.
    #[serde(serialize_with = "list::iso_or_null")]
    pub done_at: Option<Millis>,
    /// Why it isn't sent.
    pub error: Option<String>,
}

/// What channels were told of an alert, oldest first.
///
/// # Errors
/// Whatever SQLite answers.
pub fn of_alert(conn: &Connection, alert: i64) -> Result<Vec<Delivered>> {
    let mut statement = conn
        .prepare_cached(
            "SELECT d.channel, c.state, d.state, d.attempts, d.due_ms, d.done_ms, d.error
             FROM runchain_alert_deliveries AS d JOIN runchain_alert_changes AS c ON c.id = d.change_id
             WHERE d.alert_id = ?1 ORDER BY d.id",
        )
        .during("read the deliveries of an alert")?;
    let rows = statement
        .query_map([alert], |row| {
            Ok(Delivered {
                channel: row.get(0)?,
                tells: list::state(&row.get::<_, String>(1)?),
                state: row.get(2)?,
                attempts: row.get(3)?,
                due_at: row.get(4)?,
                done_at: row.get(5)?,
                error: row.get(6)?,
            })
        })
        .during("read the deliveries of an alert")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("read the deliveries of an alert")
}

/// An alert that a channel keeps hearing of while it is open.
#[derive(Debug, Clone)]
pub struct Open {
    /// The alert.
    pub alert: Entry,
    /// Since when it has been firing this time.
    pub since: Millis,
}

/// The open alerts, oldest first, from a row on: a bounded number.
///
/// # Errors
/// Whatever SQLite answers.
pub fn open_alerts(conn: &Connection, after: i64, limit: usize) -> Result<Vec<Open>> {
    let mut statement = conn
        .prepare_cached(
            "SELECT a.id, coalesce((SELECT max(c.at_ms) FROM runchain_alert_changes AS c
                                    WHERE c.alert_id = a.id AND c.state = 'firing'), a.first_at_ms)
             FROM runchain_alerts AS a WHERE a.state <> 'resolved' AND a.id > ?1 ORDER BY a.id LIMIT ?2",
        )
        .during("read the open alerts")?;
    let rows = statement
        .query_map((after, i64::try_from(limit).unwrap_or(i64::MAX)), |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Millis>(1)?))
        })
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .during("read the open alerts")?;
    let mut open = Vec::with_capacity(rows.len());
    for (id, since) in rows {
        if let Some(alert) = list::find(conn, id)?.filter(|alert| alert.state != State::Resolved) {
            open.push(Open { alert, since });
        }
    }
    Ok(open)
}

#[cfg(test)]
mod tests {
    use super::super::{Alarm, Own, raise, resolve};
    use super::*;

    #[test]
    fn that_an_alert_is_over_is_never_told_before_that_it_fires() {
        let conn = schema::in_memory();
        let alarm = Alarm {
            own: Own::RunFailed,
            of: &[Some("r")],
            run_id: None,
            subject: "r",
            message: "it broke",
        };
        let plan_newest = |state: State, now: Millis| {
            let change = super::super::announce::newest(&conn).unwrap();
            let planned = Planned {
                channel: "ops",
                change,
                alert: 1,
                state,
                digest: false,
                throttle_ms: 0,
                due: now,
            };
            assert!(plan(&conn, &planned, now).unwrap());
        };
        let told = |now: i64| {
            let message = take(&conn, "ops", Millis(now)).unwrap()?;
            let states = message
                .items
                .iter()
                .map(|item| item.change.state)
                .collect::<Vec<_>>();
            Some((message.id, states))
        };
        raise(&conn, &alarm, Millis(1)).unwrap();
        plan_newest(State::Firing, Millis(1));
        assert_eq!(told(1), Some((1, vec![State::Firing])));
        let again = Outcome::Again {
            at: Millis(1_000),
            error: "down".to_owned(),
        };
        settle(&conn, "ops", 1, &again, Millis(2)).unwrap();
        resolve(&conn, Own::RunFailed, &[Some("r")], Millis(3)).unwrap();
        plan_newest(State::Resolved, Millis(3));
        assert_eq!(told(999), None);
        assert_eq!(next_due(&conn, "ops").unwrap(), Some(Millis(1_000)));
        assert_eq!(told(1_000), Some((1, vec![State::Firing])));
        settle(&conn, "ops", 1, &Outcome::Sent, Millis(1_001)).unwrap();
        assert_eq!(told(1_001), Some((2, vec![State::Resolved])));
    }
}
