//! Planning: what a change of an alert is to tell a channel, once within its throttle.

use crate::Millis;
use crate::alert::State;
use crate::error::{During, Result};
use rusqlite::Connection;

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
