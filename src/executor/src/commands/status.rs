//! `runchain status`: what runs, what waits, what failed, and what to do next, on one screen.

use super::open;
use crate::config::Settings;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::open::OpenMode;
use crate::output::{self, Output};
use runchain_core::alert::delivery::{self, Standing};
use runchain_core::error::During;
use runchain_core::steps::EVERY_KIND;
use runchain_core::{Mapping, Millis, Result, RunId, validate};
use rusqlite::Connection;
use serde::Serialize;
use serde_json::{Value, json};

/// Runs that are listed, newest first.
const RUNS_SHOWN: usize = 20;
/// Problems that are listed.
const PROBLEMS_SHOWN: i64 = 10;

pub(super) fn status(settings: &Settings, output: &Output) -> Outcome<Exit> {
    let conn = open(settings, OpenMode::ReadOnly)?;
    Mapping::require(&conn)?;
    let now = Millis::now();
    let counts = validate::status(&conn, now)?;
    let runs = newest_runs(&conn)?;
    let problems = problems(&conn)?;
    let channels = delivery::standing(&conn)?;
    if output.json {
        let mut object = counts;
        if let Some(fields) = object.as_object_mut() {
            fields.insert("newest_runs".to_owned(), json!(runs));
            fields.insert("problems".to_owned(), json!(problems));
            fields.insert("channels".to_owned(), json!(channels));
        }
        output.print_json(&object)?;
        return Ok(Exit::Ok);
    }
    for line in summary(&counts)
        .into_iter()
        .chain(channels.iter().map(channel_line))
    {
        output.line(&line)?;
    }
    if !runs.is_empty() {
        output.line("")?;
        let rows = runs.iter().map(|run| run.cells(now));
        output.table(
            &["RUN", "STATUS", "PHASE", "SINCE", "MONITOR", "ARCHIVE", "REPORT"],
            rows,
        )?;
    }
    if !problems.is_empty() {
        output.line("")?;
        output.table(
            &["PROBLEM", "OF", "MESSAGE", "REMEDY"],
            problems.iter().map(Problem::cells),
        )?;
    }
    Ok(Exit::Ok)
}

/// `channel   ops: 3 messages wait, 2 are given up: HTTP 404; try again: runchain alerts retry ops`
fn channel_line(channel: &Standing) -> String {
    let error = channel
        .error
        .as_ref()
        .map_or_else(String::new, |error| format!(": {error}"));
    let name = &channel.channel;
    let remedy = if channel.dead > 0 {
        format!("; try again: runchain alerts retry {name}")
    } else {
        String::new()
    };
    format!(
        "channel   {name}: {} alerts wait to be sent, {} are given up{error}{remedy}",
        channel.pending, channel.dead
    )
}

fn summary(counts: &Value) -> Vec<String> {
    let number = |pointer: &str| counts.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let executor = match counts.pointer("/executor/alive").and_then(Value::as_bool) {
        Some(true) => "alive",
        Some(false) => "NONE is alive; start one: runchain drain",
        None => "it can't be told whether one is alive",
    };
    let oldest = counts.get("oldest_ready_age_ms").and_then(Value::as_i64);
    let oldest = oldest.map_or_else(String::new, |age_ms| {
        format!(" (the oldest for {})", output::duration(age_ms))
    });
    let mut lines = vec![
        format!("executor  {executor}"),
        format!(
            "runs      {} active, {} writes not looked at yet",
            number("/runs/active"),
            number("/queue_rows")
        ),
        format!(
            "steps     {} ready{oldest}, {} running, {} waiting, {} dead",
            number("/steps/ready"),
            number("/steps/running"),
            number("/steps/waiting"),
            number("/steps/dead"),
        ),
        format!("alerts    {} firing", number("/alerts_firing")),
    ];
    if let Some(found) = counts.pointer("/triggers/found").and_then(Value::as_str) {
        lines.push(format!(
            "triggers  LOST: {found}; put them back: runchain install --repair"
        ));
    }
    let paused = counts.get("paused").and_then(Value::as_array);
    lines.extend(paused.into_iter().flatten().map(pause_line));
    lines
}

/// `paused    archive, 2 h ago by ann: disk full; resume it: runchain resume archive`
fn pause_line(pause: &Value) -> String {
    let text = |key: &str| pause.get(key).and_then(Value::as_str);
    let age_ms = pause.get("age_ms").and_then(Value::as_i64).unwrap_or(0);
    let (what, resume) = match text("step") {
        Some(EVERY_KIND) | None => ("every kind of steps", "runchain resume".to_owned()),
        Some(step) => (step, format!("runchain resume {step}")),
    };
    let actor = text("actor").unwrap_or("an unknown actor");
    let why = text("reason").map_or_else(String::new, |why| format!(": {why}"));
    format!(
        "paused    {what}, {} ago by {actor}{why}; resume it: {resume}",
        output::age(age_ms)
    )
}

#[derive(Debug, Serialize)]
struct NewestRun {
    run_id: RunId,
    status: Option<String>,
    phase: String,
    generation: i64,
    since_ms: i64,
    monitor: String,
    archive: Option<String>,
    report: Option<String>,
}

impl NewestRun {
    fn cells(&self, now: Millis) -> [String; 7] {
        let step = |state: &Option<String>| state.clone().unwrap_or_else(|| "-".to_owned());
        [
            self.run_id.to_string(),
            step(&self.status),
            self.phase.clone(),
            format!("{} ago", output::age(now.since(Millis(self.since_ms)))),
            self.monitor.clone(),
            step(&self.archive),
            step(&self.report),
        ]
    }
}

/// The newest of each phase by its index, then the newest of all: never a scan of history.
fn newest_runs(conn: &Connection) -> Result<Vec<NewestRun>> {
    let newest_of = |phase: &str| {
        format!(
            "SELECT * FROM (SELECT run_id, phase_since_ms FROM runchain_runs WHERE phase = '{phase}' \
             ORDER BY phase_since_ms DESC LIMIT {RUNS_SHOWN})"
        )
    };
    let newest = ["active", "completed", "failed", "cancelled", "deleted"]
        .map(newest_of)
        .join(" UNION ALL ");
    let sql = format!(
        "SELECT c.run_id, c.status, c.phase, c.generation, newest.phase_since_ms, c.monitor, c.archive, c.report
         FROM ({newest}) AS newest JOIN runchain_chains AS c ON c.run_id = newest.run_id
         ORDER BY newest.phase_since_ms DESC, c.run_id LIMIT {RUNS_SHOWN}"
    );
    let mut statement = conn.prepare(&sql).during("read the newest runs")?;
    let rows = statement
        .query_map([], |row| {
            Ok(NewestRun {
                run_id: row.get(0)?,
                status: row.get(1)?,
                phase: row.get(2)?,
                generation: row.get(3)?,
                since_ms: row.get(4)?,
                monitor: row.get(5)?,
                archive: row.get(6)?,
                report: row.get(7)?,
            })
        })
        .during("read the newest runs")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("read the newest runs")
}

#[derive(Debug, Serialize)]
struct Problem {
    problem: String,
    run_id: Option<RunId>,
    subject: Option<String>,
    message: Option<String>,
    remedy: Option<String>,
}

impl Problem {
    fn cells(&self) -> [String; 4] {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let run = self.run_id.as_ref().map(ToString::to_string);
        let of: Vec<String> = run.into_iter().chain(self.subject.clone()).collect();
        [
            self.problem.clone(),
            of.join(" "),
            text(&self.message),
            text(&self.remedy),
        ]
    }
}

fn problems(conn: &Connection) -> Result<Vec<Problem>> {
    // What fails and is tried again by itself stands last; the newest failures are enough to look at.
    let mut statement = conn
        .prepare(
            "SELECT * FROM (SELECT problem, run_id, subject, message, remedy FROM runchain_problems LIMIT ?1)
             UNION ALL
             SELECT 'failing step', run_id, step, error,
                    CASE state WHEN 'ready'
                      THEN 'tried again at ' || strftime('%Y-%m-%dT%H:%M:%SZ', ready_at_ms / 1000, 'unixepoch')
                      ELSE 'being tried again' END
             FROM runchain_steps
             WHERE state IN ('ready', 'leased', 'running') AND error IS NOT NULL
               AND id IN (SELECT step_id FROM runchain_failures ORDER BY id DESC LIMIT 100)
             LIMIT ?1",
        )
        .during("read the problems")?;
    let rows = statement
        .query_map([PROBLEMS_SHOWN], |row| {
            Ok(Problem {
                problem: row.get(0)?,
                run_id: row.get(1)?,
                subject: row.get(2)?,
                message: row.get(3)?,
                remedy: row.get(4)?,
            })
        })
        .during("read the problems")?;
    rows.collect::<rusqlite::Result<_>>().during("read the problems")
}
