//! `runchain logs ID`: everything a run has said, in order of time: its lines in the logs (rotated ones
//! included), what its steps printed, its ingested events. With `--follow` also what comes.
//!
//! | file | holds |
//! | --- | --- |
//! | `files` | lines of one run in the log files, and those that are appended |
//! | `printed` | what the steps of a run printed, as far as it is kept |

mod files;
mod printed;

use super::brief::{brief, brief_event};
use super::events::{WORD, stamp, told_data};
use super::open;
use super::suggest::no_such_run;
use crate::changes::Changes;
use crate::cli::LogsArgs;
use crate::config::Settings;
use crate::door;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::open::OpenMode;
use crate::output::{Output, paint};
use files::{Reader, Wanted};
use printed::Printed;
use runchain_core::look::events::{Cursor, Event, EventQuery, Source, after, tail};
use runchain_core::{Mapping, Millis, Result, RunId, queue};
use rusqlite::Connection;
use serde::Serialize;
use serde_json::{Value, json};

/// What a run has said at a moment.
#[derive(Debug, Serialize)]
struct Said {
    /// `log`, `output` or `ingested`.
    source: &'static str,
    #[serde(serialize_with = "runchain_core::look::as_iso_or_null")]
    at: Option<Millis>,
    /// The event's type; of output the step and the attempt.
    what: String,
    /// Of output what was printed; else the data in a line.
    text: String,
    /// The whole line, or the whole event; of output null.
    data: Value,
}

pub(super) fn logs(arguments: &LogsArgs, settings: &Settings, output: &Output) -> Outcome<Exit> {
    let conn = open(settings, OpenMode::ReadOnly)?;
    let mapping = Mapping::require(&conn)?;
    let run_id = RunId(arguments.id.clone());
    let Some(run) = queue::known_run(&conn, &run_id)? else {
        return Err(no_such_run(&conn, &mapping, &run_id)?);
    };
    let wanted = Wanted {
        run_id: run_id.clone(),
        first_seen: door::patiently(|| files::first_seen(&conn, &run_id))?,
        // What came after its newest event stands in no older file.
        newest: (!run.phase.eq(&runchain_core::vocabulary::Phase::Active))
            .then(|| door::patiently(|| files::newest_event(&conn, &run_id)))
            .transpose()?
            .flatten(),
        heartbeats: arguments.heartbeats,
    };
    let mut follow = arguments.follow.then(|| {
        let mut changes = Changes::start(settings);
        changes.watch_folder(&settings.logs_dir);
        changes
    });
    let limit = arguments.limit as usize;
    let mut following = Following::start(&conn, settings, wanted, limit)?;
    let said = std::mem::take(&mut following.said);
    if output.json && follow.is_none() {
        output.print_json(&json!({ "run_id": run_id, "lines": said }))?;
        return Ok(Exit::Ok);
    }
    for one in &said {
        print(one, output)?;
    }
    if said.is_empty() && follow.is_none() {
        output.line(&format!("run {run_id} has said nothing that is kept"))?;
    }
    if said.len() == limit {
        output.note(&format!("the newest {limit}; --limit N shows more"))?;
    }
    while let Some(changes) = &mut follow {
        changes.wait(&conn, None)?;
        for one in following.next(&conn, settings)? {
            print(&one, output)?;
        }
        if output.reader_is_gone() {
            break;
        }
    }
    Ok(Exit::Ok)
}

fn print(said: &Said, output: &Output) -> Outcome<()> {
    if output.json {
        output.json_line(said)?;
        return Ok(());
    }
    let style = match said.source {
        "output" => paint::FAINT,
        _ => paint::event(&said.what),
    };
    // What a step printed may have several lines.
    for line in said.text.lines().chain(said.text.is_empty().then_some("")) {
        output.entry(&stamp(said.at), &format!("{:WORD$}", said.what), style, line)?;
    }
    Ok(())
}

/// Where everything is read from, and how far it was.
struct Following {
    said: Vec<Said>,
    logs: Reader,
    printed: Printed,
    cursor: Cursor,
    run_id: RunId,
}

impl Following {
    fn start(conn: &Connection, settings: &Settings, wanted: Wanted, limit: usize) -> Outcome<Self> {
        let run_id = wanted.run_id.clone();
        let query = of_run(&run_id, limit);
        let found = door::patiently(|| tail(conn, &query))?;
        let mut said: Vec<Said> = found
            .events
            .into_iter()
            .filter_map(|event| of_event(event, settings))
            .collect();
        let mut printed = Printed::default();
        said.extend(door::patiently(|| printed.new_of(conn, &run_id))?);
        let mut logs = Reader::start(&settings.logs_dir, wanted);
        said.extend(logs.all(limit)?.into_iter().map(|line| of_line(line, settings)));
        said.sort_by_key(|one| one.at);
        let surplus = said.len().saturating_sub(limit);
        said.drain(..surplus);
        Ok(Self {
            said,
            logs,
            printed,
            cursor: found.cursor,
            run_id,
        })
    }

    fn next(&mut self, conn: &Connection, settings: &Settings) -> Result<Vec<Said>> {
        let mut said = Vec::new();
        let query = of_run(&self.run_id, usize::MAX);
        loop {
            let came = door::patiently(|| after(conn, &query, &mut self.cursor))?;
            if came.is_empty() {
                break;
            }
            said.extend(came.into_iter().filter_map(|event| of_event(event, settings)));
        }
        said.extend(door::patiently(|| self.printed.new_of(conn, &self.run_id))?);
        said.extend(
            self.logs
                .appended()?
                .into_iter()
                .map(|line| of_line(line, settings)),
        );
        said.sort_by_key(|one| one.at);
        Ok(said)
    }
}

fn of_run(run_id: &RunId, limit: usize) -> EventQuery<'static> {
    EventQuery {
        run_id: Some(run_id.clone()),
        since: None,
        limit,
        keep: &|_| true,
    }
}

/// Lifecycle events are told by their lines in the logs.
fn of_event(event: Event, settings: &Settings) -> Option<Said> {
    (event.source == Source::Ingested).then(|| Said {
        source: "ingested",
        at: event.at,
        what: event.kind.clone(),
        text: told_data(&event, &settings.root),
        data: event.data,
    })
}

fn of_line(line: Value, settings: &Settings) -> Said {
    let text = |key: &str| line[key].as_str();
    let step = text("step").map_or_else(String::new, |step| format!("{step}: "));
    let told = match line.get("data") {
        Some(data) => brief_event(text("event").unwrap_or_default(), data, &settings.root),
        None => brief(&heartbeat(&line), &settings.root),
    };
    Said {
        source: "log",
        at: text("ts").and_then(Millis::parse_iso),
        what: text("event").unwrap_or("-").to_owned(),
        text: format!("{step}{told}"),
        data: line,
    }
}

/// What a heartbeat tells besides its head.
fn heartbeat(line: &Value) -> Value {
    let mut rest = line.clone();
    if let Some(fields) = rest.as_object_mut() {
        for key in ["ts", "event", "db", "run_id"] {
            fields.shift_remove(key);
        }
    }
    rest
}
