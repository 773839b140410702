//! `runchain audit`: who asked for or did what, when, why, and what it changed.

use super::moment::{time, utc};
use super::open;
use crate::cli::AuditArgs;
use crate::config::Settings;
use crate::door;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::open::OpenMode;
use crate::output::{Cell, Column, Output};
use runchain_core::audit::{self, Change, Entry, Query};
use runchain_core::{Error, Millis, RunId, schema};
use serde_json::Value;

pub(super) fn audit(arguments: &AuditArgs, settings: &Settings, output: &Output) -> Outcome<Exit> {
    let now = Millis::now();
    let query = Query {
        run_id: arguments.run_id.clone().map(RunId),
        actor: arguments.actor.clone(),
        action: arguments.action.clone(),
        since: time("--since", arguments.since.as_deref(), now)?,
        until: time("--until", arguments.until.as_deref(), now)?,
        limit: arguments.limit,
    };
    let conn = open(settings, OpenMode::ReadOnly)?;
    // What was recorded stays after an uninstall, and is read all the same.
    if !schema::table_exists(&conn, "runchain_events")? {
        return Err(Error::NotInstalled.into());
    }
    let entries = door::patiently(|| audit::entries(&conn, &query))?;
    if output.json {
        output.print_json(&entries)?;
        return Ok(Exit::Ok);
    }
    if entries.is_empty() {
        output.line("nothing of that kind was asked for or done")?;
        return Ok(Exit::Ok);
    }
    let full = entries.len() == query.limit;
    const COLUMNS: [Column; 6] = [
        Column::word("AT (UTC)"),
        Column::word("ACTOR"),
        Column::word("ACTION"),
        Column::word("OF"),
        Column::text("CAME OF IT"),
        Column::text("REASON"),
    ];
    output.rows(
        &COLUMNS,
        entries.iter().map(|entry| cells(entry).map(Cell::from).to_vec()),
    )?;
    if full {
        output.note(&format!(
            "the newest {} entries; --limit N shows more",
            query.limit
        ))?;
    }
    Ok(Exit::Ok)
}

fn cells(entry: &Entry) -> [String; 6] {
    let run = entry.run_id.as_ref().map(ToString::to_string);
    [
        utc(entry.at),
        entry.actor.clone().unwrap_or_else(|| "-".to_owned()),
        entry.action.clone(),
        run.or_else(|| entry.step.clone())
            .or_else(|| entry.batch.map(|batch| format!("batch {batch}")))
            .unwrap_or_else(|| "-".to_owned()),
        came_of_it(entry),
        entry.reason.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}

/// `retried: archive dead -> ready`, or why it changed nothing.
fn came_of_it(entry: &Entry) -> String {
    let changes = audit::changes(&entry.before, &entry.after);
    if changes.is_empty() {
        return match &entry.message {
            Some(message) if entry.answer != "done" => format!("{}: {message}", entry.answer),
            _ => entry.answer.clone(),
        };
    }
    let told: Vec<String> = match (&entry.before["paused"], &entry.after["paused"]) {
        (Value::Null, Value::Object(_)) => vec!["paused".to_owned()],
        (Value::Object(_), Value::Null) => vec!["resumed".to_owned()],
        _ => changes.iter().map(told).collect(),
    };
    format!("{}: {}", entry.answer, told.join(", "))
}

fn told(change: &Change) -> String {
    let path = short(&change.path).unwrap_or(&change.path);
    match (plain(&change.before), plain(&change.after)) {
        (None, Some(after)) => format!("{path} {after}"),
        (before, after) => format!(
            "{path} {} -> {}",
            before.as_deref().unwrap_or("none"),
            after.as_deref().unwrap_or("none")
        ),
    }
}

/// `archive` of `steps.archive`, `table` of `table.table`; a configuration key is told whole.
fn short(path: &str) -> Option<&str> {
    let (head, rest) = path.split_once('.')?;
    (matches!(head, "steps" | "table") && !rest.contains('.')).then_some(rest)
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
