//! Events: runchain's own and those of the user's logs, as one stream.

use super::{all, sql};
use crate::tui::model::{Cause, Event, Origin};
use runchain_core::error::Result;
use runchain_core::{Millis, RunId};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use serde_json::Value;
use std::path::Path;

/// Events of a run that are taken for causes.
const CAUSES: usize = 3;
/// Where events say what went wrong.
const FIRST: [&str; 3] = ["error_message", "error", "message"];

/// The newest events with a text in them, the oldest of them first.
pub(super) fn newest(conn: &Connection, root: &Path, filter: &str, limit: usize) -> Result<Vec<Event>> {
    let filter = filter.to_lowercase();
    let ask = |sql, origin| all(conn, sql, (&filter, limit as i64), |row| event(row, origin, root));
    let mut events = ask(sql::EVENTS, Origin::Lifecycle)?;
    events.extend(ask(sql::LOG_EVENTS, Origin::Log)?);
    Ok(in_order(events, limit))
}

/// The newest events of a run, the oldest of them first.
pub(super) fn of_run(conn: &Connection, root: &Path, run_id: &RunId, limit: usize) -> Result<Vec<Event>> {
    let ask = |sql, origin| all(conn, sql, (run_id, limit as i64), |row| event(row, origin, root));
    let mut events = ask(sql::EVENTS_OF_RUN, Origin::Lifecycle)?;
    let mut told = ask(sql::LOG_EVENTS_OF_RUN, Origin::Log)?;
    told.extend(ask(sql::LOG_EVENTS_OF_JOB, Origin::Log)?);
    told.sort_by_key(|event| event.id);
    told.dedup_by_key(|event| event.id);
    events.extend(told);
    Ok(in_order(events, limit))
}

fn in_order(mut events: Vec<Event>, limit: usize) -> Vec<Event> {
    events.sort_by_key(|event| (event.at, event.origin == Origin::Log, event.id));
    events.split_off(events.len().saturating_sub(limit))
}

fn event(row: &Row<'_>, origin: Origin, root: &Path) -> rusqlite::Result<Event> {
    let step: Option<String> = lossy(row, 4)?;
    let data = lossy(row, 5)?.and_then(|text| serde_json::from_str(&text).ok());
    let text = words(&data.unwrap_or_default(), root);
    Ok(Event {
        origin,
        id: row.get(0)?,
        at: row.get::<_, Option<Millis>>(1)?,
        kind: lossy(row, 2)?.unwrap_or_default(),
        run_id: lossy(row, 3)?,
        text: match step {
            Some(step) if text.is_empty() => step,
            Some(step) => format!("{step}: {text}"),
            None => text,
        },
    })
}

fn lossy(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<String>> {
    Ok(match row.get_ref(index)? {
        ValueRef::Text(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        ValueRef::Integer(number) => Some(number.to_string()),
        _ => None,
    })
}

/// What an event says went wrong, then everything else; paths from the project's folder.
fn words(data: &Value, root: &Path) -> String {
    let Value::Object(fields) = data else {
        return match data {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
    };
    let told = FIRST
        .iter()
        .find_map(|key| fields.get(*key)?.as_str())
        .map(str::to_owned);
    let rest = fields
        .iter()
        .filter(|(key, value)| !FIRST.contains(&key.as_str()) && !value.is_null());
    let rest = rest.map(|(key, value)| match value {
        Value::String(text) => format!("{key} {}", below(root, text)),
        other => format!("{key} {other}"),
    });
    told.into_iter().chain(rest).collect::<Vec<_>>().join(", ")
}

/// A path from the project's folder, where it lies below that.
fn below<'a>(root: &Path, text: &'a str) -> &'a str {
    let relative = Path::new(text).strip_prefix(root).ok();
    relative.and_then(Path::to_str).unwrap_or(text)
}

/// What the newest events that tell of a failure say.
pub(super) fn causes(events: &[Event]) -> Vec<Cause> {
    let bad = events
        .iter()
        .rev()
        .filter(|event| event.origin == Origin::Log && event.is_bad() && !event.text.is_empty());
    bad.take(CAUSES)
        .map(|event| Cause {
            source: format!("event {}", event.kind),
            text: event.text.clone(),
        })
        .collect()
}
