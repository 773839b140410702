//! A rule that hears nothing for too long.
//!
//! The alert stands with the time of what was heard last before it, so that whatever is heard later ends it.

use super::{Look, Verdict, open_of};
use crate::Millis;
use crate::alert::rule::Rule;
use crate::alert::{State, fingerprint, list, note_change};
use crate::error::{During, Result};
use rusqlite::{Connection, OptionalExtension};

/// A rule begins to listen; what it heard before stays.
pub(in crate::alert) fn heard_first(conn: &Connection, rule: &str, now: Millis) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO runchain_alert_heard(rule, at_ms) VALUES (?1, ?2) ON CONFLICT(rule) DO NOTHING",
    )
    .and_then(|mut statement| statement.execute((rule, now)))
    .map(drop)
    .during("begin to listen for a rule")
}

/// A rule heard of a matching event.
pub(crate) fn heard(conn: &Connection, rule: &str, now: Millis) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO runchain_alert_heard(rule, at_ms) VALUES (?1, ?2)
         ON CONFLICT(rule) DO UPDATE SET at_ms = max(at_ms, excluded.at_ms)",
    )
    .and_then(|mut statement| statement.execute((rule, now)))
    .map(drop)
    .during("note what a rule heard")
}

pub(super) fn look(
    conn: &Connection,
    rule: Rule,
    silence_ms: i64,
    since: Millis,
    now: Millis,
    look: &mut Look,
) -> Result<()> {
    let heard: Option<Millis> = conn
        .prepare_cached("SELECT at_ms FROM runchain_alert_heard WHERE rule = ?1")
        .and_then(|mut statement| statement.query_row([&rule.name], |row| row.get(0)).optional())
        .during("read what a rule heard")?;
    let due = heard.unwrap_or(since).max(since).plus(silence_ms);
    let open = open_of(conn, &rule.name)?;
    // An alert stands with the time of what was heard last before it.
    let over = open
        .iter()
        .filter(|alert| heard.is_some_and(|heard| heard > alert.last_at));
    look.verdicts.extend(over.map(|alert| Verdict::Over {
        alert: alert.id,
        state: alert.state,
    }));
    if due > now {
        look.at(due);
    } else if open.is_empty() {
        look.verdicts.push(Verdict::Silent {
            heard: heard.unwrap_or(since),
            rule,
        });
    }
    Ok(())
}

pub(super) fn raise(conn: &Connection, rule: &Rule, heard: Millis, now: Millis) -> Result<()> {
    let key = fingerprint(&rule.name, &[None, None, None]);
    let message = format!(
        "nothing was heard since {} (expected every {} s)",
        heard.iso(),
        rule.silence_ms.unwrap_or(0) / 1_000
    );
    let was: Option<String> = conn
        .prepare_cached("SELECT state FROM runchain_alerts WHERE fingerprint = ?1")
        .and_then(|mut statement| statement.query_row([&key], |row| row.get(0)).optional())
        .during("look an alert up")?;
    conn.prepare_cached(
        "INSERT INTO runchain_alerts(fingerprint, rule, severity, state, subject, message, count, first_at_ms, last_at_ms)
         VALUES (?1, ?2, ?3, 'firing', ?4, ?5, 1, ?6, ?6)
         ON CONFLICT(fingerprint) DO UPDATE SET state = 'firing', severity = ?3, message = ?5, count = count + 1, last_at_ms = ?6",
    )
    .and_then(|mut statement| {
        let subject = rule.kind.as_deref().unwrap_or("any event");
        statement.execute((&key, &rule.name, rule.severity.as_str(), subject, message, heard))
    })
    .during("raise the alert of a silence")?;
    let id: i64 = conn
        .query_row(
            "SELECT id FROM runchain_alerts WHERE fingerprint = ?1",
            [&key],
            |row| row.get(0),
        )
        .during("look an alert up")?;
    note_change(
        conn,
        id,
        was.as_deref().map(list::state),
        State::Firing,
        None,
        now,
    )
}
