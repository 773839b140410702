//! The life of an alert: it fires, somebody acknowledges it, it is resolved, and it may fire again.
//!
//! An acknowledged alert stays acknowledged however often its cause is repeated; one that is resolved
//! fires again. Every change leaves a row, in the same transaction.

use super::own::Own;
use super::{Admission, State, admit, fingerprint};
use crate::audit::By;
use crate::error::{During, Result};
use crate::{Millis, RunId, schema};
use rusqlite::{Connection, OptionalExtension};

/// One of our own alerts, about to be raised.
#[derive(Debug, Clone)]
pub struct Alarm<'a> {
    /// Which.
    pub own: Own,
    /// What follows the rule in the fingerprint.
    pub of: &'a [Option<&'a str>],
    /// The run that it concerns.
    pub run_id: Option<&'a RunId>,
    /// What it is about, for people.
    pub subject: &'a str,
    /// What happened, and what to do.
    pub message: &'a str,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Raised {
    /// It fires, and did not before.
    Fires,
    /// It fires or is acknowledged already; it counts once more.
    Known,
    /// It was one of too many: the alert of the flood has counted it.
    Flooded,
    /// The rule is switched off.
    Off,
}

struct Known {
    id: i64,
    state: State,
}

/// Raises an alert of our own, inside the caller's transaction.
///
/// # Errors
/// Whatever SQLite answers.
pub fn raise(conn: &Connection, alarm: &Alarm<'_>, now: Millis) -> Result<Raised> {
    let Some(severity) = alarm.own.in_force(conn)? else {
        return Ok(Raised::Off);
    };
    let rule = alarm.own.name();
    let key = fingerprint(rule, alarm.of);
    let known = known(conn, &key)?;
    if known.is_none() && admit(conn, rule, severity, 1, alarm.message, now)? == Admission::Flooded {
        return Ok(Raised::Flooded);
    }
    conn.prepare_cached(
        "INSERT INTO runchain_alerts(fingerprint, rule, severity, state, run_id, subject, message, count, first_at_ms, last_at_ms)
         VALUES (?1, ?2, ?3, 'firing', ?4, ?5, ?6, 1, ?7, ?7)
         ON CONFLICT(fingerprint) DO UPDATE SET
           state = CASE state WHEN 'acknowledged' THEN state ELSE 'firing' END,
           severity = ?3, run_id = ?4, subject = ?5, message = ?6, count = count + 1, last_at_ms = max(last_at_ms, ?7)",
    )
    .and_then(|mut statement| {
        statement.execute((&key, rule, severity.as_str(), alarm.run_id, alarm.subject, alarm.message, now))
    })
    .during("raise an alert")?;
    let was = known.map(|known| known.state);
    if matches!(was, Some(State::Firing | State::Acknowledged)) {
        return Ok(Raised::Known);
    }
    let id = id_of(conn, &key)?;
    note_change(conn, id, was, State::Firing, None, now)?;
    Ok(Raised::Fires)
}

/// Whether an alert of our own is open.
///
/// # Errors
/// Whatever SQLite answers.
pub fn is_open(conn: &Connection, own: Own, of: &[Option<&str>]) -> Result<bool> {
    if !schema::table_exists(conn, "runchain_alerts")? {
        return Ok(false);
    }
    let known = known(conn, &fingerprint(own.name(), of))?;
    Ok(known.is_some_and(|known| known.state != State::Resolved))
}

/// Renews what an open alert says, without counting; raises it where it isn't open.
///
/// # Errors
/// Whatever SQLite answers.
pub fn raise_or_renew(conn: &Connection, alarm: &Alarm<'_>, now: Millis) -> Result<Raised> {
    if !is_open(conn, alarm.own, alarm.of)? {
        return raise(conn, alarm, now);
    }
    conn.prepare_cached(
        "UPDATE runchain_alerts SET subject = ?2, message = ?3, last_at_ms = ?4 WHERE fingerprint = ?1",
    )
    .and_then(|mut statement| {
        let key = fingerprint(alarm.own.name(), alarm.of);
        statement.execute((key, alarm.subject, alarm.message, now))
    })
    .map(|_| Raised::Known)
    .during("renew an alert")
}

/// Resolves one alert of our own whose cause is gone; `false` where it wasn't open.
///
/// # Errors
/// Whatever SQLite answers.
pub fn resolve(conn: &Connection, own: Own, of: &[Option<&str>], now: Millis) -> Result<bool> {
    if !schema::table_exists(conn, "runchain_alert_changes")? {
        return Ok(false);
    }
    let key = fingerprint(own.name(), of);
    let Some(open) = known(conn, &key)?.filter(|known| known.state != State::Resolved) else {
        return Ok(false);
    };
    set_resolved(conn, open.id, open.state, now)?;
    Ok(true)
}

/// Resolves every open alert of a run by one of our rules: a bounded range of the index. `true` when there
/// was one.
///
/// # Errors
/// Whatever SQLite answers.
pub fn resolve_all_of(conn: &Connection, own: Own, run_id: &RunId, now: Millis) -> Result<bool> {
    let prefix = fingerprint(own.name(), &[Some(run_id.as_str())]);
    let prefix = prefix.trim_end_matches(']');
    let mut statement = conn
        .prepare_cached(
            // '-' is the character after ',', and '^' the one after ']'.
            "SELECT id, state FROM runchain_alerts
             WHERE ((fingerprint > ?1 || ',' AND fingerprint < ?1 || '-') OR fingerprint = ?1 || ']') AND state <> 'resolved'",
        )
        .during("look for the alerts of a run")?;
    let open = statement
        .query_map([prefix], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
        })
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .during("look for the alerts of a run")?;
    for (id, state) in &open {
        set_resolved(conn, *id, State::from_word(state).unwrap_or(State::Firing), now)?;
    }
    Ok(!open.is_empty())
}

/// Resolves an alert by its row.
pub(super) fn set_resolved(conn: &Connection, id: i64, was: State, now: Millis) -> Result<()> {
    conn.prepare_cached("UPDATE runchain_alerts SET state = 'resolved' WHERE id = ?1")
        .and_then(|mut statement| statement.execute([id]))
        .during("resolve an alert")?;
    note_change(conn, id, Some(was), State::Resolved, None, now)
}

/// Keeps a change of state, for who announces it.
pub(crate) fn note_change(
    conn: &Connection,
    alert: i64,
    was: Option<State>,
    state: State,
    by: Option<&By>,
    now: Millis,
) -> Result<()> {
    let change = conn
        .prepare_cached(
            "INSERT INTO runchain_alert_changes(alert_id, was, state, at_ms, actor, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )
        .and_then(|mut statement| {
            statement.execute((
                alert,
                was.map(State::as_str),
                state.as_str(),
                now,
                by.and_then(|by| by.actor.as_deref()),
                by.and_then(|by| by.reason.as_deref()),
            ))
        });
    match change {
        // A database that only the previous version has written to: nobody there to announce it.
        Err(error) if error.to_string().starts_with("no such table") => Ok(()),
        change => change.map(drop).during("keep the change of an alert"),
    }
}

fn known(conn: &Connection, fingerprint: &str) -> Result<Option<Known>> {
    let row: Option<(i64, String)> = conn
        .prepare_cached("SELECT id, state FROM runchain_alerts WHERE fingerprint = ?1")
        .and_then(|mut statement| {
            statement
                .query_row([fingerprint], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
        })
        .during("look an alert up")?;
    Ok(row.map(|(id, word)| Known {
        id,
        state: State::from_word(&word).unwrap_or(State::Firing),
    }))
}

fn id_of(conn: &Connection, fingerprint: &str) -> Result<i64> {
    conn.prepare_cached("SELECT id FROM runchain_alerts WHERE fingerprint = ?1")
        .and_then(|mut statement| statement.query_row([fingerprint], |row| row.get(0)))
        .during("look an alert up")
}

/// The run that an event is about. A job is an execution; an orchestrator that calls its runs jobs has a
/// run of that id, and any other would show the alert beside a run that doesn't exist.
pub(crate) fn run_of<'a>(
    conn: &Connection,
    run_id: Option<&'a str>,
    job: Option<&'a str>,
) -> Result<Option<&'a str>> {
    let Some(job) = job.filter(|_| run_id.is_none()) else {
        return Ok(run_id);
    };
    let is_run: bool = conn
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM runchain_runs WHERE run_id = ?1)")
        .and_then(|mut statement| statement.query_row([job], |row| row.get(0)))
        .during("look whether a job is a run")?;
    Ok(is_run.then_some(job))
}
