//! `runchain show ID`: one run with its steps, every failed attempt, and its events.

use super::brief::{below, brief, brief_event};
use super::open;
use super::suggest::no_such_run;
use crate::config::Settings;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::open::OpenMode;
use crate::output::{Output, paint};
use runchain_core::error::During;
use runchain_core::{Mapping, Millis, Result, RunId, StepId, queue, schema};
use rusqlite::Connection;
use serde::Serialize;
use serde_json::{Value, json};
use std::path::Path;

/// Events that are listed, the newest.
const EVENTS_SHOWN: i64 = 50;
/// Lines of what a failed attempt printed, the last.
const OUTPUT_LINES: usize = 20;

pub(super) fn show(id: &str, settings: &Settings, output: &Output) -> Outcome<Exit> {
    let conn = open(settings, OpenMode::ReadOnly)?;
    let mapping = Mapping::require(&conn)?;
    let run_id = RunId(id.to_owned());
    let Some(run) = queue::known_run(&conn, &run_id)? else {
        return Err(no_such_run(&conn, &mapping, &run_id)?);
    };
    let steps = steps(&conn, &run_id)?;
    let failures = failures(&conn, &run_id)?;
    let events = events(&conn, &run_id)?;
    if output.json {
        output.print_json(&json!({
            "run_id": run_id, "status": run.status, "phase": run.phase, "generation": run.generation,
            "since": run.since.iso(), "steps": steps, "failures": failures, "events": events,
        }))?;
        return Ok(Exit::Ok);
    }
    let status = run.status.as_deref().unwrap_or("no status");
    let phase = run.phase.to_string();
    let meaning = if phase.eq_ignore_ascii_case(status) {
        String::new()
    } else {
        format!(" ({phase})")
    };
    output.line(&format!(
        "run {run_id}: {status}{meaning} since {} UTC, generation {}",
        utc(run.since),
        run.generation
    ))?;
    for (label, path) in files(&steps) {
        output.file(
            &format!("{label:<8}"),
            below(&settings.root, path),
            &settings.root.join(path),
        )?;
    }
    output.line("")?;
    output.table(
        &["ID", "GEN", "STEP", "STATE", "ATTEMPTS", "RESULT OR ERROR"],
        steps.iter().map(|step| step.cells(&settings.root)),
    )?;
    if !failures.is_empty() {
        output.line("")?;
        output.table(
            &["STEP", "ATTEMPT", "ENDED", "ERROR"],
            failures.iter().map(FailedAttempt::cells),
        )?;
        for attempt in &failures {
            attempt.print_output(output)?;
        }
    }
    output.line("")?;
    output.table(
        &["EVENT", "AT (UTC)", "TYPE", "DATA"],
        events.iter().map(|event| event.cells(&settings.root)),
    )?;
    Ok(Exit::Ok)
}

#[derive(Debug, Serialize)]
struct Step {
    id: StepId,
    generation: i64,
    step: String,
    state: String,
    attempts: i64,
    max_attempts: i64,
    result: Option<Value>,
    error: Option<String>,
    output_tail: Option<String>,
    required: bool,
}

impl Step {
    fn cells(&self, root: &Path) -> [String; 6] {
        let place = |key: &str| {
            let result = self.result.as_ref()?;
            Some(below(root, result.get(key)?.as_str()?))
        };
        let files = || place("path").or(place("summary")).map(str::to_owned);
        let whole = || Some(brief(self.result.as_ref()?, root)).filter(|text| text != "null");
        let is_optional = self.state == "dead" && !self.required;
        [
            self.id.to_string(),
            self.generation.to_string(),
            self.step.clone(),
            format!(
                "{}{}",
                self.state,
                if is_optional { ", not required" } else { "" }
            ),
            format!("{} of {}", self.attempts, self.max_attempts),
            self.error
                .clone()
                .or_else(files)
                .or_else(whole)
                .unwrap_or_default(),
        ]
    }
}

/// What the newest chain left for people: the report's page, then the bag.
fn files(steps: &[Step]) -> Vec<(&'static str, &str)> {
    let newest = steps.iter().map(|step| step.generation).max();
    let of = |name: &str, key: &str| {
        let mut done = steps
            .iter()
            .filter(|step| step.step == name && Some(step.generation) == newest);
        done.next()?.result.as_ref()?.get(key)?.as_str()
    };
    [("report", of("report", "page")), ("bag", of("archive", "path"))]
        .into_iter()
        .filter_map(|(label, path)| Some((label, path?)))
        .collect()
}

fn steps(conn: &Connection, run_id: &RunId) -> Result<Vec<Step>> {
    // Looking migrates nothing, so the schema may be an older one.
    let required = if schema::version(conn)? < 3 {
        "1"
    } else {
        "required"
    };
    let mut statement = conn
        .prepare(&format!(
            "SELECT id, generation, step, state, attempts, max_attempts, result, error, output_tail, {required}
             FROM runchain_steps WHERE run_id = ?1 ORDER BY generation, id"
        ))
        .during("read the run's steps")?;
    let rows = statement
        .query_map([run_id], |row| {
            Ok(Step {
                id: row.get(0)?,
                generation: row.get(1)?,
                step: row.get(2)?,
                state: row.get(3)?,
                attempts: row.get(4)?,
                max_attempts: row.get(5)?,
                result: row
                    .get::<_, Option<String>>(6)?
                    .and_then(|text| serde_json::from_str(&text).ok()),
                error: row.get(7)?,
                output_tail: row.get(8)?,
                required: row.get(9)?,
            })
        })
        .during("read the run's steps")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("read the run's steps")
}

#[derive(Debug, Serialize)]
struct FailedAttempt {
    step: String,
    attempt: i64,
    ended_at: String,
    error: String,
    output_tail: Option<String>,
}

impl FailedAttempt {
    fn cells(&self) -> [String; 4] {
        [
            self.step.clone(),
            self.attempt.to_string(),
            self.ended_at.clone(),
            self.error.clone(),
        ]
    }

    /// The last lines that its command printed: what stands there is why it failed.
    fn print_output(&self, output: &Output) -> std::io::Result<()> {
        let told = self.output_tail.as_deref().unwrap_or_default();
        let lines: Vec<&str> = told.lines().filter(|line| !line.trim().is_empty()).collect();
        let from = lines.len().saturating_sub(OUTPUT_LINES);
        if !lines.is_empty() {
            output.line("")?;
            let attempt = self.attempt;
            output.line(&format!("{} attempt {attempt} said:", self.step))?;
        }
        for line in &lines[from..] {
            output.labelled("", paint::FAINT, 2, line)?;
        }
        Ok(())
    }
}

fn failures(conn: &Connection, run_id: &RunId) -> Result<Vec<FailedAttempt>> {
    let mut statement = conn
        .prepare(
            "SELECT s.step, f.attempt, f.ended_ms, f.error, f.output_tail FROM runchain_steps AS s JOIN runchain_failures AS f ON f.step_id = s.id
             WHERE s.run_id = ?1 ORDER BY f.id",
        )
        .during("read the failed attempts")?;
    let rows = statement
        .query_map([run_id], |row| {
            Ok(FailedAttempt {
                step: row.get(0)?,
                attempt: row.get(1)?,
                ended_at: row.get::<_, Millis>(2)?.iso(),
                error: row.get(3)?,
                output_tail: row.get(4)?,
            })
        })
        .during("read the failed attempts")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("read the failed attempts")
}

#[derive(Debug, Serialize)]
struct Event {
    id: i64,
    #[serde(serialize_with = "as_iso")]
    at: Millis,
    r#type: String,
    data: Value,
}

fn as_iso<S: serde::Serializer>(at: &Millis, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.iso())
}

impl Event {
    fn cells(&self, root: &Path) -> [String; 4] {
        [
            self.id.to_string(),
            utc(self.at),
            self.r#type.clone(),
            brief_event(&self.r#type, &self.data, root),
        ]
    }
}

/// A time as a column has room for it: `2026-01-31 12:00:00.000`.
fn utc(at: Millis) -> String {
    at.iso().trim_end_matches("+00:00").replacen('T', " ", 1)
}

fn events(conn: &Connection, run_id: &RunId) -> Result<Vec<Event>> {
    let mut statement = conn
        .prepare(
            "SELECT id, at_ms, type, data FROM (SELECT * FROM runchain_events WHERE run_id = ?1 ORDER BY id DESC LIMIT ?2) ORDER BY id",
        )
        .during("read the run's events")?;
    let rows = statement
        .query_map((run_id, EVENTS_SHOWN), |row| {
            Ok(Event {
                id: row.get(0)?,
                at: row.get(1)?,
                r#type: row.get(2)?,
                data: serde_json::from_str(&row.get::<_, String>(3)?).unwrap_or(Value::Null),
            })
        })
        .during("read the run's events")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("read the run's events")
}
