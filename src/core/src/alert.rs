//! Alerts leave as events: each new one as ALERT_FIRING, many of one rule at once as one ALERT_DIGEST.
//!
//! An alert is announced once, when its row is new; how it goes on stands in its row. Raising alerts
//! belongs to their rules (`held`, `ingest`), sending them to people to others who read the events.

use crate::error::{During, Result};
use crate::event::{self, EventType, NewEvent};
use crate::{Millis, RunId, schema};
use rusqlite::Connection;
use serde_json::json;
use std::collections::BTreeMap;

/// So many new alerts of one rule are announced one by one; more are one digest.
const ONE_BY_ONE: usize = 10;
/// Subjects that a digest names.
const SUBJECTS_NAMED: usize = 10;
/// Alerts read for one announcement; what is beyond waits for the next.
const AT_ONCE: i64 = 10_000;

/// Key in `runchain_meta`: the newest alert that was announced.
const KEY: &str = "alerts_announced";

/// The newest alert, for asking cheaply whether there is a new one.
///
/// # Errors
/// Whatever SQLite answers.
pub fn newest(conn: &Connection) -> Result<i64> {
    conn.prepare_cached("SELECT coalesce(max(id), 0) FROM runchain_alerts")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .during("look for new alerts")
}

struct New {
    id: i64,
    rule: String,
    severity: String,
    run_id: Option<RunId>,
    subject: String,
    message: Option<String>,
}

/// What was announced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Announced {
    /// The same for a person, a line for each event.
    pub lines: Vec<String>,
    /// The newest alert that was read, where there may be more.
    pub more_after: Option<i64>,
}

/// Announces the alerts that are new and still firing; with `digest` one event for each rule, however
/// few they are. Where nothing was ever announced, what is there is history.
///
/// # Errors
/// Whatever SQLite answers; the caller rolls back.
pub fn announce(conn: &Connection, digest: bool, now: Millis) -> Result<Announced> {
    schema::check_writer(conn)?;
    let announced = schema::meta(conn, KEY)?.and_then(|text| text.parse::<i64>().ok());
    let Some(announced) = announced else {
        remember(conn, newest(conn)?)?;
        return Ok(Announced::default());
    };
    let alerts = read(conn, announced)?;
    let Some(last) = alerts.last().map(|alert| alert.id) else {
        return Ok(Announced::default());
    };
    let mut announced = Announced {
        lines: Vec::new(),
        more_after: (alerts.len() as i64 == AT_ONCE).then_some(last),
    };
    let mut rules: BTreeMap<&str, Vec<&New>> = BTreeMap::new();
    for alert in &alerts {
        rules.entry(&alert.rule).or_default().push(alert);
    }
    for (rule, alerts) in rules {
        if digest || alerts.len() > ONE_BY_ONE {
            let subjects: Vec<&str> = alerts
                .iter()
                .take(SUBJECTS_NAMED)
                .map(|alert| alert.subject.as_str())
                .collect();
            let data = json!({
                "rule": rule, "alerts": alerts.len(), "subjects": subjects, "catching_up": digest,
                "remedy": format!("SELECT * FROM runchain_alerts WHERE rule = '{rule}' AND state = 'firing'"),
            });
            event::append(
                conn,
                &NewEvent::of_database(EventType::AlertDigest, now, None, data),
            )?;
            let line = format!(
                "{} alerts of rule {rule}: {}, ...",
                alerts.len(),
                subjects.join(", ")
            );
            announced.lines.push(line);
            continue;
        }
        for alert in alerts {
            let data = json!({
                "rule": rule, "alert": alert.id, "severity": alert.severity, "subject": alert.subject,
                "message": alert.message,
            });
            let event = NewEvent::of_database(EventType::AlertFiring, now, alert.run_id.as_ref(), data);
            event::append(conn, &event)?;
            let message = alert.message.as_deref().unwrap_or("no message");
            let line = format!("alert {rule}, {}: {message}", alert.subject);
            announced.lines.push(line);
        }
    }
    remember(conn, last)?;
    Ok(announced)
}

fn read(conn: &Connection, after: i64) -> Result<Vec<New>> {
    let mut statement = conn
        .prepare_cached(
            "SELECT id, rule, severity, run_id, subject, message FROM runchain_alerts
             WHERE id > ?1 AND state = 'firing' ORDER BY id LIMIT ?2",
        )
        .during("read new alerts")?;
    let rows = statement
        .query_map((after, AT_ONCE), |row| {
            Ok(New {
                id: row.get(0)?,
                rule: row.get(1)?,
                severity: row.get(2)?,
                run_id: row.get(3)?,
                subject: row.get(4)?,
                message: row.get(5)?,
            })
        })
        .during("read new alerts")?;
    rows.collect::<rusqlite::Result<_>>().during("read new alerts")
}

fn remember(conn: &Connection, last: i64) -> Result<()> {
    conn.execute(
        "INSERT OR REPLACE INTO runchain_meta(key, value) VALUES (?1, ?2)",
        (KEY, last.to_string()),
    )
    .map(|_| ())
    .during("note which alerts were announced")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raise(conn: &Connection, rule: &str, number: i64) {
        conn.execute(
            "INSERT INTO runchain_alerts(fingerprint, rule, severity, state, subject, count, first_at_ms, last_at_ms)
             VALUES (?1 || ?2, ?1, 'error', 'firing', ?1 || ?2, 1, 0, 0)",
            (rule, number),
        )
        .unwrap();
    }

    fn said(conn: &Connection) -> Vec<String> {
        let mut statement = conn
            .prepare("SELECT type || ' ' || json_extract(data, '$.rule') || ' ' || coalesce(json_extract(data, '$.alerts'), 1) FROM runchain_events ORDER BY id")
            .unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    }

    #[test]
    fn few_alerts_leave_one_by_one_and_many_as_one_digest_of_each_rule() {
        let conn = Connection::open_in_memory().unwrap();
        schema::migrate(&conn).unwrap();
        raise(&conn, "old", 1);
        announce(&conn, false, Millis(1)).unwrap();
        assert!(said(&conn).is_empty(), "what was there is history");
        raise(&conn, "a", 1);
        raise(&conn, "b", 1);
        let announced = announce(&conn, false, Millis(2)).unwrap();
        assert_eq!(
            announced.lines,
            ["alert a, a1: no message", "alert b, b1: no message"]
        );
        assert_eq!(announce(&conn, false, Millis(3)).unwrap(), Announced::default());
        assert_eq!(said(&conn), ["ALERT_FIRING a 1", "ALERT_FIRING b 1"]);
        for number in 2..=12 {
            raise(&conn, "a", number);
        }
        raise(&conn, "b", 2);
        announce(&conn, false, Millis(4)).unwrap();
        assert_eq!(said(&conn)[2..], ["ALERT_DIGEST a 11", "ALERT_FIRING b 1"]);
        raise(&conn, "a", 13);
        raise(&conn, "b", 3);
        announce(&conn, true, Millis(5)).unwrap();
        assert_eq!(said(&conn)[4..], ["ALERT_DIGEST a 1", "ALERT_DIGEST b 1"]);
    }
}
