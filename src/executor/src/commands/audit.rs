//! `runchain audit`: who asked for or did what, when, why, and what it changed.

use super::open;
use crate::cli::AuditArgs;
use crate::config::Settings;
use crate::door;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::open::OpenMode;
use crate::output::Output;
use chrono::NaiveDate;
use runchain_core::audit::{self, Change, Entry, Query};
use runchain_core::{Error, Millis, RunId, schema};
use serde_json::Value;

pub(super) fn audit(arguments: &AuditArgs, settings: &Settings, output: &Output) -> Outcome<Exit> {
    let now = Millis::now();
    let time = |text: &Option<String>, option: &str| {
        match text {
        None => Ok(None),
        Some(text) => moment(text, now).map(Some).ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                format!("{option} {text:?} is no time; give an age such as 2h or 7d, a date, or 2026-01-31T12:00:00Z"),
            )
        }),
    }
    };
    let query = Query {
        run_id: arguments.run_id.clone().map(RunId),
        actor: arguments.actor.clone(),
        action: arguments.action.clone(),
        since: time(&arguments.since, "--since")?,
        until: time(&arguments.until, "--until")?,
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
    output.table(
        &["AT (UTC)", "ACTOR", "ACTION", "OF", "CAME OF IT", "REASON"],
        entries.iter().map(cells),
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

/// `2026-01-31 12:00:00`
fn utc(at: Millis) -> String {
    at.iso()
        .chars()
        .take(19)
        .collect::<String>()
        .replacen('T', " ", 1)
}

/// A time that a person types: an age (`90s`, `30min`, `2h`, `7d`), a date, or a timestamp. Without an
/// offset it is UTC, as everything that is printed.
fn moment(text: &str, now: Millis) -> Option<Millis> {
    const UNITS: [(&str, i64); 6] = [
        ("ms", 1),
        ("min", 60_000),
        ("s", 1_000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ];
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if let Some((_, unit_ms)) = UNITS.iter().find(|(name, _)| *name == unit.trim()) {
        return Some(now.plus(-number.parse::<i64>().ok()?.checked_mul(*unit_ms)?));
    }
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Some(Millis(date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis()));
    }
    Millis::parse_iso(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_an_age_a_date_or_a_timestamp() {
        let now = Millis(1_764_168_412_742);
        for (text, expected) in [
            ("2h", now.plus(-7_200_000)),
            ("30 min", now.plus(-1_800_000)),
            ("90s", now.plus(-90_000)),
            ("7d", now.plus(-604_800_000)),
            ("2025-11-26", Millis(1_764_115_200_000)),
            ("2025-11-26T14:46:52.742Z", now),
            ("2025-11-26 15:46:52.742+01:00", now),
        ] {
            assert_eq!(moment(text, now), Some(expected), "{text}");
        }
        for text in [
            "",
            "h",
            "yesterday",
            "2 fortnights",
            "99999999999999999999d",
            "-2h",
        ] {
            assert_eq!(moment(text, now), None, "{text}");
        }
    }
}
