//! Floods: of one rule, so many new alerts in an hour have a row each; what comes beyond counts in one
//! alert of the rule. So a hundred thousand failures are a bounded number of rows and messages.
//!
//! An alert that is there already is no part of this: it counts by itself. One that is over before anybody
//! has heard of it takes no place from those that aren't, and never makes a flood: nobody is called for it.

use super::own::Severity;
use super::{State, fingerprint, note_change};
use crate::Millis;
use crate::error::{During, Result};
use rusqlite::{Connection, OptionalExtension};

/// New alerts of a rule that have a row each, in one slot.
pub(super) const ADMITTED: i64 = 100;
/// The slot.
pub(super) const SLOT_MS: i64 = 3_600_000;
/// What stands for new alerts in `runchain_alert_counts`.
pub(super) const NEW: &str = "new";
/// What stands there for alerts that were over when they were new.
const OVER: &str = "over";
/// The last part of the fingerprint of a flood, where others have a task, a run or null.
pub(super) const FLOOD: &str = "*flood*";

/// Whether a new alert has a row of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It has.
    Admitted,
    /// It hasn't. The flood's alert has counted it, unless it is over.
    Flooded,
}

/// Admits a new alert of a rule, or lets the flood's alert count its `events`.
pub(crate) fn admit(
    conn: &Connection,
    rule: &str,
    severity: Severity,
    events: i64,
    message: &str,
    now: Millis,
) -> Result<Admission> {
    let admission = take_place(conn, rule, NEW, now)?;
    if admission == Admission::Flooded {
        count_in(conn, rule, severity, events, message, now)?;
    }
    Ok(admission)
}

/// Admits a new alert of a rule that is over already: as many as others, beside them.
pub(crate) fn admit_over(conn: &Connection, rule: &str, now: Millis) -> Result<Admission> {
    take_place(conn, rule, OVER, now)
}

fn take_place(conn: &Connection, rule: &str, what: &str, now: Millis) -> Result<Admission> {
    let slot = now.0.div_euclid(SLOT_MS) * SLOT_MS;
    let counted: Option<i64> = conn
        .prepare_cached(
            "SELECT events FROM runchain_alert_counts WHERE rule = ?1 AND what = ?2 AND slot_ms = ?3",
        )
        .and_then(|mut statement| {
            statement
                .query_row((rule, what, slot), |row| row.get(0))
                .optional()
        })
        .during("count the new alerts of a rule")?;
    if counted.unwrap_or(0) >= ADMITTED {
        return Ok(Admission::Flooded);
    }
    if counted.is_none() {
        conn.prepare_cached(
            "DELETE FROM runchain_alert_counts WHERE rule = ?1 AND what = ?2 AND slot_ms < ?3",
        )
        .and_then(|mut statement| statement.execute((rule, what, slot)))
        .during("forget older counts of a rule")?;
    }
    conn.prepare_cached(
        "INSERT INTO runchain_alert_counts(rule, what, slot_ms, events) VALUES (?1, ?2, ?3, 1)
         ON CONFLICT(rule, what, slot_ms) DO UPDATE SET events = events + 1",
    )
    .and_then(|mut statement| statement.execute((rule, what, slot)))
    .during("count the new alerts of a rule")?;
    Ok(Admission::Admitted)
}

fn count_in(
    conn: &Connection,
    rule: &str,
    severity: Severity,
    events: i64,
    message: &str,
    now: Millis,
) -> Result<()> {
    let key = fingerprint(rule, &[Some(FLOOD)]);
    let was: Option<String> = conn
        .prepare_cached("SELECT state FROM runchain_alerts WHERE fingerprint = ?1")
        .and_then(|mut statement| statement.query_row([&key], |row| row.get(0)).optional())
        .during("look for the alert of a flood")?;
    let message =
        format!("more than {ADMITTED} different alerts within an hour; one of those beyond: {message}");
    conn.prepare_cached(
        "INSERT INTO runchain_alerts(fingerprint, rule, severity, state, subject, message, count, first_at_ms, last_at_ms)
         VALUES (?1, ?2, ?3, 'firing', 'a flood', ?4, ?5, ?6, ?6)
         ON CONFLICT(fingerprint) DO UPDATE SET
           count = CASE state WHEN 'resolved' THEN 0 ELSE count END + ?5,
           first_at_ms = CASE state WHEN 'resolved' THEN ?6 ELSE first_at_ms END,
           state = CASE state WHEN 'acknowledged' THEN state ELSE 'firing' END, last_at_ms = ?6",
    )
    .and_then(|mut statement| statement.execute((&key, rule, severity.as_str(), message, events, now)))
    .during("count an alert in its flood")?;
    let was = was.as_deref().and_then(State::from_word);
    if matches!(was, None | Some(State::Resolved)) {
        let id: i64 = conn
            .query_row(
                "SELECT id FROM runchain_alerts WHERE fingerprint = ?1",
                [&key],
                |row| row.get(0),
            )
            .during("look for the alert of a flood")?;
        note_change(conn, id, was, State::Firing, None, now)?;
    }
    Ok(())
}
