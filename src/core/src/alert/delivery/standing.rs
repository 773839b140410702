//! How deliveries stand, for people and for `retry`; and the open alerts, for channels that are told again.

use crate::alert::{Entry, State, list};
use crate::error::{During, Result};
use crate::{Millis, schema};
use rusqlite::Connection;
use serde::Serialize;

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
