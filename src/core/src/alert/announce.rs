//! Changes of alerts leave as events: each by itself, many of one rule at once as one ALERT_DIGEST.
//!
//! A change is announced once: the cursor moves in the transaction that appends the events. In that
//! transaction the caller plans the deliveries to channels, so that neither can be without the other.

use super::State;
use super::list;
use crate::error::{During, Result};
use crate::event::{self, EventType, NewEvent};
use crate::{Millis, RunId, schema};
use rusqlite::Connection;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// So many changes of one rule to one state are announced one by one; more are one digest.
const ONE_BY_ONE: usize = 10;
/// Subjects that a digest names.
const SUBJECTS_NAMED: usize = 10;
/// Changes read for one announcement; what is beyond waits for the next.
const AT_ONCE: i64 = 10_000;

/// Key in `runchain_meta`: the newest change that was announced.
const KEY: &str = "alert_changes_announced";

/// The newest change, for asking cheaply whether there is a new one.
///
/// # Errors
/// Whatever SQLite answers.
pub fn newest(conn: &Connection) -> Result<i64> {
    conn.prepare_cached("SELECT coalesce(max(id), 0) FROM runchain_alert_changes")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .during("look for changes of alerts")
}

/// A change that is being announced, and its alert as it is now.
#[derive(Debug, Clone)]
pub struct News {
    /// The change.
    pub change: list::Change,
    /// The alert's row.
    pub alert: i64,
    /// Its rule.
    pub rule: String,
    /// How bad it is, in a word.
    pub severity: String,
    /// The run that it concerns.
    pub run_id: Option<RunId>,
    /// What it is about.
    pub subject: String,
    /// What happened.
    pub message: Option<String>,
    /// A JSON array; who and what it is about stands in it.
    pub fingerprint: String,
}

impl News {
    fn fingerprint(&self) -> Value {
        serde_json::from_str(&self.fingerprint).unwrap_or_else(|_| json!(self.fingerprint))
    }
}

/// One announcement, for a person. Its parts are what must not leave as it is, where somebody says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Of which rule.
    pub rule: String,
    /// How many, and what became of them.
    pub what: String,
    /// What they are about: the first few of many.
    pub subjects: Vec<String>,
    /// What happened, where it is one.
    pub message: Option<String>,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, rule, subjects) = (&self.what, &self.rule, self.subjects.join(", "));
        match &self.message {
            Some(message) => write!(f, "{what} {rule}, {subjects}: {message}"),
            None => write!(f, "{what} {rule}: {subjects}, ..."),
        }
    }
}

/// What was announced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Announced {
    /// The same for a person, a line for each event.
    pub lines: Vec<Line>,
    /// The newest change that was read, where there may be more.
    pub more_after: Option<i64>,
    /// Deliveries that were planned.
    pub planned: usize,
}

/// Plans the deliveries of one change; how many.
pub type Plan<'a> = &'a dyn Fn(&Connection, &News, bool) -> Result<usize>;

/// Announces what changed since the last time; with `digest` one event for each rule, where there is more
/// than one change.
///
/// # Errors
/// Whatever SQLite answers; the caller rolls back.
pub fn announce(conn: &Connection, digest: bool, plan: Plan<'_>, now: Millis) -> Result<Announced> {
    schema::check_writer(conn)?;
    let after = schema::meta(conn, KEY)?.and_then(|text| text.parse::<i64>().ok());
    let news = read(conn, after.unwrap_or(0))?;
    let Some(last) = news.last().map(|one| one.change.id) else {
        return Ok(Announced::default());
    };
    let mut announced = Announced {
        more_after: (news.len() as i64 == AT_ONCE).then_some(last),
        ..Announced::default()
    };
    let mut groups: BTreeMap<(&str, &str), Vec<&News>> = BTreeMap::new();
    for one in &news {
        announced.planned += plan(conn, one, digest)?;
        groups
            .entry((one.change.state.as_str(), &one.rule))
            .or_default()
            .push(one);
    }
    for ((_, rule), group) in groups {
        // What a person did is an entry of its own, whenever it was.
        let is_caught_up = digest && group.len() > 1 && group[0].change.state == State::Firing;
        if group.len() > ONE_BY_ONE || is_caught_up {
            announced.lines.push(say_digest(conn, rule, &group, digest, now)?);
            continue;
        }
        for one in group {
            announced.lines.push(say(conn, one, now)?);
        }
    }
    remember(conn, last)?;
    Ok(announced)
}

fn say(conn: &Connection, news: &News, now: Millis) -> Result<Line> {
    let kind = match news.change.state {
        State::Firing => EventType::AlertFiring,
        State::Acknowledged => EventType::AlertAcknowledged,
        State::Resolved => EventType::AlertResolved,
    };
    let mut data = Map::from_iter([
        ("rule".to_owned(), json!(news.rule)),
        ("alert".to_owned(), json!(news.alert)),
        ("severity".to_owned(), json!(news.severity)),
        ("subject".to_owned(), json!(news.subject)),
        ("message".to_owned(), json!(news.message)),
        ("fingerprint".to_owned(), news.fingerprint()),
    ]);
    if let Some(actor) = &news.change.actor {
        data.insert("actor".to_owned(), json!(actor));
        data.insert("reason".to_owned(), json!(news.change.reason));
    }
    let event = NewEvent::of_database(kind, now, news.run_id.as_ref(), Value::Object(data));
    event::append(conn, &event)?;
    let what = match news.change.state {
        State::Firing => "alert",
        State::Acknowledged => "acknowledged alert",
        State::Resolved => "resolved alert",
    };
    Ok(Line {
        rule: news.rule.clone(),
        what: what.to_owned(),
        subjects: vec![news.subject.clone()],
        message: Some(news.message.as_deref().unwrap_or("no message").to_owned()),
    })
}

fn say_digest(conn: &Connection, rule: &str, group: &[&News], digest: bool, now: Millis) -> Result<Line> {
    let subjects: Vec<&str> = group
        .iter()
        .take(SUBJECTS_NAMED)
        .map(|one| one.subject.as_str())
        .collect();
    let fingerprints: Vec<Value> = group
        .iter()
        .take(SUBJECTS_NAMED)
        .map(|one| one.fingerprint())
        .collect();
    let state = group[0].change.state;
    let data = json!({
        "rule": rule, "state": state, "alerts": group.len(), "subjects": subjects, "fingerprints": fingerprints,
        "catching_up": digest,
        "remedy": format!("runchain alerts list --rule {rule}"),
    });
    event::append(
        conn,
        &NewEvent::of_database(EventType::AlertDigest, now, None, data),
    )?;
    let state = match state {
        State::Firing => "",
        other => other.as_str(),
    };
    Ok(Line {
        rule: rule.to_owned(),
        what: format!("{} {state} alerts of rule", group.len()).replace("  ", " "),
        subjects: subjects.into_iter().map(str::to_owned).collect(),
        message: None,
    })
}

fn read(conn: &Connection, after: i64) -> Result<Vec<News>> {
    let mut statement = conn
        .prepare_cached(
            "SELECT c.id, c.was, c.state, c.at_ms, c.actor, c.reason,
                    a.id, a.rule, a.severity, a.run_id, a.subject, a.message, a.fingerprint
             FROM runchain_alert_changes AS c JOIN runchain_alerts AS a ON a.id = c.alert_id
             WHERE c.id > ?1 ORDER BY c.id LIMIT ?2",
        )
        .during("read the changes of alerts")?;
    let rows = statement
        .query_map((after, AT_ONCE), |row| {
            let was: Option<String> = row.get(1)?;
            Ok(News {
                change: list::Change {
                    id: row.get(0)?,
                    was: was.as_deref().map(list::state),
                    state: list::state(&row.get::<_, String>(2)?),
                    at: row.get(3)?,
                    actor: row.get(4)?,
                    reason: row.get(5)?,
                },
                alert: row.get(6)?,
                rule: row.get(7)?,
                severity: row.get(8)?,
                run_id: row.get(9)?,
                subject: row.get(10)?,
                message: row.get(11)?,
                fingerprint: row.get(12)?,
            })
        })
        .during("read the changes of alerts")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("read the changes of alerts")
}

fn remember(conn: &Connection, last: i64) -> Result<()> {
    conn.execute(
        "INSERT OR REPLACE INTO runchain_meta(key, value) VALUES (?1, ?2)",
        (KEY, last.to_string()),
    )
    .map(|_| ())
    .during("note which changes of alerts were announced")
}

#[cfg(test)]
mod tests {
    use super::super::{Alarm, Own, raise, resolve};
    use super::*;

    fn fire(conn: &Connection, own: Own, number: i64) {
        let subject = number.to_string();
        let alarm = Alarm {
            own,
            of: &[Some(&subject)],
            run_id: None,
            subject: &subject,
            message: "it broke",
        };
        raise(conn, &alarm, Millis(1)).unwrap();
    }

    fn said(conn: &Connection) -> Vec<String> {
        let mut statement = conn
            .prepare("SELECT type || ' ' || json_extract(data, '$.rule') || ' ' || coalesce(json_extract(data, '$.alerts'), 1) FROM runchain_events ORDER BY id")
            .unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    }

    #[test]
    fn few_changes_leave_one_by_one_and_many_as_one_digest_of_each_rule() {
        let conn = schema::in_memory();
        let announce = |digest| announce(&conn, digest, &|_, _, _| Ok(0), Millis(2)).unwrap();
        fire(&conn, Own::StepDead, 1);
        fire(&conn, Own::RunFailed, 1);
        let lines = |announced: Announced| -> Vec<String> {
            announced.lines.iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            lines(announce(false)),
            ["alert run_failed, 1: it broke", "alert step_dead, 1: it broke"]
        );
        assert_eq!(announce(false), Announced::default());
        assert_eq!(
            said(&conn),
            ["ALERT_FIRING run_failed 1", "ALERT_FIRING step_dead 1"]
        );
        for number in 2..=12 {
            fire(&conn, Own::StepDead, number);
        }
        fire(&conn, Own::StepDead, 12);
        fire(&conn, Own::RunFailed, 2);
        announce(false);
        assert_eq!(
            said(&conn)[2..],
            ["ALERT_FIRING run_failed 1", "ALERT_DIGEST step_dead 11"]
        );
        assert!(resolve(&conn, Own::StepDead, &[Some("12")], Millis(3)).unwrap());
        assert!(!resolve(&conn, Own::StepDead, &[Some("12")], Millis(3)).unwrap());
        fire(&conn, Own::RunFailed, 3);
        fire(&conn, Own::RunFailed, 4);
        assert_eq!(
            lines(announce(true)),
            [
                "2 alerts of rule run_failed: 3, 4, ...",
                "resolved alert step_dead, 12: it broke"
            ]
        );
        assert_eq!(
            said(&conn)[4..],
            ["ALERT_DIGEST run_failed 2", "ALERT_RESOLVED step_dead 1"]
        );
    }

    #[test]
    fn of_a_flood_a_hundred_have_a_row_each_and_one_counts_the_rest() {
        let conn = schema::in_memory();
        for number in 0..1_000 {
            fire(&conn, Own::RunFailed, number);
        }
        let rows: (i64, i64, i64) = conn
            .query_row(
                "SELECT count(*), max(count), (SELECT count(*) FROM runchain_alert_changes) FROM runchain_alerts",
                [],
                |row| row.try_into(),
            )
            .unwrap();
        assert_eq!(rows, (101, 900, 101));
    }
}
