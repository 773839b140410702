//! Reading alerts, for people: what is open first, by bounded looks into indexes.

use super::State;
use super::own::Severity;
use crate::error::{During, Result};
use crate::{Millis, RunId};
use rusqlite::{Connection, OptionalExtension, Row, ToSql};
use serde::{Serialize, Serializer};

/// One alert.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// Its row.
    pub id: i64,
    /// What makes it this alert and no other.
    pub fingerprint: String,
    /// The rule that raised it.
    pub rule: String,
    /// How bad it is, in a word.
    pub severity: String,
    /// Its state.
    pub state: State,
    /// The run that it concerns.
    pub run_id: Option<RunId>,
    /// What it is about.
    pub subject: String,
    /// What happened last.
    pub message: Option<String>,
    /// How often.
    pub count: i64,
    /// When it first happened.
    #[serde(serialize_with = "iso")]
    pub first_at: Millis,
    /// When it last happened.
    #[serde(serialize_with = "iso")]
    pub last_at: Millis,
}

impl Entry {
    /// How bad it is; an unknown word is an error.
    #[must_use]
    pub fn severity(&self) -> Severity {
        Severity::from_word(&self.severity).unwrap_or(Severity::Error)
    }
}

/// A change of its state.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Its row: changes are numbered in order, over all alerts.
    pub id: i64,
    /// The state before; none for a new alert.
    pub was: Option<State>,
    /// The state since.
    pub state: State,
    /// When.
    #[serde(serialize_with = "iso")]
    pub at: Millis,
    /// By whom, where it was by hand.
    pub actor: Option<String>,
    /// Why, in their words.
    pub reason: Option<String>,
}

pub(super) fn iso<S: Serializer>(at: &Millis, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.iso())
}

pub(super) fn iso_or_null<S: Serializer>(
    at: &Option<Millis>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    at.map(Millis::iso).serialize(serializer)
}

/// Which alerts are wanted; what is `None` doesn't matter.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// In this state; `None`: those that are open.
    pub state: Option<State>,
    /// Of any state.
    pub all: bool,
    /// Of this rule.
    pub rule: Option<String>,
    /// Of this run.
    pub run_id: Option<RunId>,
    /// With this fingerprint.
    pub fingerprint: Option<String>,
}

const COLUMNS: &str =
    "id, fingerprint, rule, severity, state, run_id, subject, message, count, first_at_ms, last_at_ms";

/// The newest alerts that are wanted, newest first.
///
/// # Errors
/// Whatever SQLite answers.
pub fn entries(conn: &Connection, filter: &Filter, limit: usize) -> Result<Vec<Entry>> {
    let mut conditions: Vec<&str> = Vec::new();
    let mut values: Vec<(&str, &dyn ToSql)> = Vec::new();
    let state = filter.state.map(State::as_str);
    match &state {
        Some(state) => {
            conditions.push("state = :state");
            values.push((":state", state));
        }
        None if filter.all => {}
        None => conditions.push("state <> 'resolved'"),
    }
    if let Some(rule) = &filter.rule {
        conditions.push("rule = :rule");
        values.push((":rule", rule));
    }
    if let Some(run_id) = &filter.run_id {
        conditions.push("run_id = :run");
        values.push((":run", run_id));
    }
    if let Some(fingerprint) = &filter.fingerprint {
        conditions.push("fingerprint = :fingerprint");
        values.push((":fingerprint", fingerprint));
    }
    conditions.push("1");
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    values.push((":limit", &limit));
    let sql = format!(
        "SELECT {COLUMNS} FROM runchain_alerts WHERE {} ORDER BY last_at_ms DESC, id DESC LIMIT :limit",
        conditions.join(" AND ")
    );
    let mut statement = conn.prepare(&sql).during("read the alerts")?;
    let rows = statement.query_map(&values[..], read).during("read the alerts")?;
    rows.collect::<rusqlite::Result<_>>().during("read the alerts")
}

/// One alert by its row.
///
/// # Errors
/// Whatever SQLite answers.
pub fn find(conn: &Connection, alert: i64) -> Result<Option<Entry>> {
    conn.prepare_cached(&format!("SELECT {COLUMNS} FROM runchain_alerts WHERE id = ?1"))
        .and_then(|mut statement| statement.query_row([alert], read).optional())
        .during("read an alert")
}

/// What became of an alert, oldest first.
///
/// # Errors
/// Whatever SQLite answers.
pub fn changes_of(conn: &Connection, alert: i64) -> Result<Vec<Change>> {
    let mut statement = conn
        .prepare_cached(
            "SELECT id, was, state, at_ms, actor, reason FROM runchain_alert_changes WHERE alert_id = ?1 ORDER BY id",
        )
        .during("read the changes of an alert")?;
    let rows = statement
        .query_map([alert], |row| {
            let was: Option<String> = row.get(1)?;
            Ok(Change {
                id: row.get(0)?,
                was: was.as_deref().and_then(State::from_word),
                state: state(&row.get::<_, String>(2)?),
                at: row.get(3)?,
                actor: row.get(4)?,
                reason: row.get(5)?,
            })
        })
        .during("read the changes of an alert")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("read the changes of an alert")
}

/// A word that nobody knows asks for a person, too.
pub(super) fn state(word: &str) -> State {
    State::from_word(word).unwrap_or(State::Firing)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        id: row.get(0)?,
        fingerprint: row.get(1)?,
        rule: row.get(2)?,
        severity: row.get(3)?,
        state: state(&row.get::<_, String>(4)?),
        run_id: row.get(5)?,
        subject: row.get(6)?,
        message: row.get(7)?,
        count: row.get(8)?,
        first_at: row.get(9)?,
        last_at: row.get(10)?,
    })
}
