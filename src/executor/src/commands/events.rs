//! `runchain events`: lifecycle and ingested events, the newest last; with `--follow` also what comes.

use super::brief::{brief, brief_event};
use super::moment::time;
use super::open;
use crate::changes::Changes;
use crate::cli::EventsArgs;
use crate::config::Settings;
use crate::door;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::open::OpenMode;
use crate::output::{Output, paint};
use globset::{Glob, GlobSet, GlobSetBuilder};
use runchain_core::look::events::{Event, EventQuery, LOOKED_THROUGH, Source, after, tail};
use runchain_core::{Millis, RunId};
use serde_json::json;
use std::path::Path;

pub(super) fn events(arguments: &EventsArgs, settings: &Settings, output: &Output) -> Outcome<Exit> {
    let now = Millis::now();
    let types = globs(&arguments.types)?;
    let keep = |kind: &str| types.is_empty() || types.is_match(kind);
    let query = EventQuery {
        run_id: arguments.run_id.clone().map(RunId),
        since: time("--since", arguments.since.as_deref(), now)?,
        limit: arguments.limit as usize,
        keep: &keep,
    };
    let conn = open(settings, OpenMode::ReadOnly)?;
    super::require_recorded(&conn)?;
    // Before the first look, so that nothing falls between.
    let mut changes = arguments.follow.then(|| Changes::start(settings));
    let found = door::patiently(|| tail(&conn, &query))?;
    let printer = Printer {
        settings,
        output,
        each: arguments.follow,
    };
    if output.json && !arguments.follow {
        output.print_json(&json!({ "events": found.events, "gave_up": found.gave_up }))?;
        return Ok(Exit::Ok);
    }
    for event in &found.events {
        printer.print(event)?;
    }
    if found.gave_up {
        output.note(&format!(
            "only the newest {LOOKED_THROUGH} events were looked through; --run or --since finds older ones"
        ))?;
    }
    if found.events.is_empty() && !arguments.follow {
        output.line("no such events")?;
    }
    let mut cursor = found.cursor;
    while let Some(changes) = &mut changes {
        changes.wait(&conn, None)?;
        loop {
            let came = door::patiently(|| after(&conn, &query, &mut cursor))?;
            if came.is_empty() {
                break;
            }
            for event in &came {
                printer.print(event)?;
            }
            if output.reader_is_gone() {
                return Ok(Exit::Ok);
            }
        }
    }
    Ok(Exit::Ok)
}

fn globs(patterns: &[String]) -> Outcome<GlobSet> {
    let wrong = |error: globset::Error| {
        Failure::new(
            Exit::Usage,
            format!("--type: {error}; give a pattern such as RUN_* or *.failed"),
        )
    };
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern).map_err(wrong)?);
    }
    set.build().map_err(wrong)
}

struct Printer<'a> {
    settings: &'a Settings,
    output: &'a Output,
    /// As a line of JSON, where JSON is asked for.
    each: bool,
}

impl Printer<'_> {
    fn print(&self, event: &Event) -> Outcome<()> {
        if self.output.json && self.each {
            self.output.json_line(event)?;
        } else {
            self.output.entry(
                &stamp(event.at),
                &format!("{:WORD$}", event.kind),
                paint::event(&event.kind),
                &told(event, &self.settings.root),
            )?;
        }
        Ok(())
    }
}

/// So that most types end at one column.
pub(super) const WORD: usize = 16;

/// `2026-01-31 12:00:00.123`
pub(super) fn stamp(at: Option<Millis>) -> String {
    let Some(at) = at else {
        return format!("{:23}", "-");
    };
    at.iso().trim_end_matches("+00:00").replacen('T', " ", 1)
}

/// `run-42 upload: error disk full`
fn told(event: &Event, root: &Path) -> String {
    let mut of: Vec<String> = event.run_id.iter().map(ToString::to_string).collect();
    of.extend(event.step.clone());
    let data = told_data(event, root);
    match (of.is_empty(), data.is_empty()) {
        (true, _) => data,
        (_, true) => of.join(" "),
        _ => format!("{}: {data}", of.join(" ")),
    }
}

/// What is beside the run and the step; of an ingested event its status and details.
pub(super) fn told_data(event: &Event, root: &Path) -> String {
    if event.source == Source::Lifecycle {
        return brief_event(&event.kind, &event.data, root);
    }
    let text = |key: &str| event.data[key].as_str().map(str::to_owned);
    let details = Some(&event.data["details"]).filter(|details| details.is_object());
    let told = [
        text("pattern_id"),
        text("status"),
        details.map(|details| brief(details, root)),
    ];
    let told: Vec<String> = told
        .into_iter()
        .flatten()
        .filter(|part| !part.is_empty())
        .collect();
    told.join(", ")
}
