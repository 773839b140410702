//! One run: its line, its chain, every attempt that failed, its events.

use super::{all, events, one, sql};
use crate::tui::model::{Cause, ChainStep, Failure, RunLine, RunView, StepView};
use runchain_core::error::Result;
use runchain_core::vocabulary::{Phase, Vocabulary};
use runchain_core::{Mapping, Millis, RunId, StepId};
use rusqlite::{Connection, Row};
use serde_json::Value;
use std::path::Path;

/// Events of a run that are shown.
const EVENTS_SHOWN: usize = 200;
/// Lines of a command's output that are shown for each attempt.
const OUTPUT_LINES: usize = 5;
/// Every chain has these, whatever the configuration adds.
const BUILT_IN: [&str; 2] = ["archive", "report"];

/// A run as the list has it, its chain still empty, and when it was first seen.
pub(super) fn line(row: &Row<'_>) -> rusqlite::Result<(RunLine, Millis)> {
    let line = RunLine {
        run_id: row.get(0)?,
        status: row.get(1)?,
        phase: row.get(2)?,
        since: row.get(3)?,
        generation: row.get(4)?,
        monitor: row.get(5)?,
        stalled_since: row.get(6)?,
        need: None,
        progress: Vec::new(),
        heartbeat: None,
        chain: Vec::new(),
    };
    Ok((line, row.get(7)?))
}

/// The steps of a run's newest chain; where it isn't begun, those that every chain has.
pub(super) fn brief_chain(conn: &Connection, line: &RunLine) -> Result<Vec<ChainStep>> {
    Ok(chain(conn, line)?.into_iter().map(|step| step.brief).collect())
}

fn chain(conn: &Connection, line: &RunLine) -> Result<Vec<StepView>> {
    let mut steps = all(conn, sql::CHAIN, (&line.run_id, line.generation), step)?;
    if line.is_active() || steps.is_empty() {
        // The chain of an earlier end says nothing about the next one.
        steps = BUILT_IN.iter().map(|name| pending(name)).collect();
    }
    Ok(steps)
}

fn pending(name: &str) -> StepView {
    StepView {
        id: StepId(0),
        brief: ChainStep {
            step: name.to_owned(),
            state: "pending".to_owned(),
            attempts: 0,
            max_attempts: 0,
            ready_at: Millis(0),
            is_deferred: false,
        },
        created: Millis(0),
        started: None,
        finished: None,
        needs: Vec::new(),
        files: Vec::new(),
        failures: Vec::new(),
    }
}

/// A step in brief, from the six columns that begin with its name.
pub(super) fn brief(row: &Row<'_>, first: usize) -> rusqlite::Result<ChainStep> {
    Ok(ChainStep {
        step: row.get(first)?,
        state: row.get(first + 1)?,
        attempts: row.get(first + 2)?,
        max_attempts: row.get(first + 3)?,
        ready_at: row.get(first + 4)?,
        is_deferred: row.get(first + 5)?,
    })
}

fn step(row: &Row<'_>) -> rusqlite::Result<StepView> {
    let json = |text: Option<String>| -> Value {
        text.and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default()
    };
    let result = json(row.get(11)?);
    let files = ["path", "page", "summary", "metrics"].iter();
    let files = files.filter_map(|key| result.get(key)?.as_str().map(str::to_owned));
    let needs = json(row.get(10)?);
    let needs = needs.as_array().into_iter().flatten();
    Ok(StepView {
        id: row.get(0)?,
        brief: brief(row, 1)?,
        created: row.get(7)?,
        started: row.get(8)?,
        finished: row.get(9)?,
        needs: needs.filter_map(Value::as_str).map(str::to_owned).collect(),
        files: files.collect(),
        failures: Vec::new(),
    })
}

/// Everything about a run but for what stands in the user's tables; `None`: runchain doesn't know it.
pub(super) fn view(conn: &Connection, root: &Path, run_id: &RunId) -> Result<Option<RunView>> {
    let Some((mut line, first_seen)) = one(conn, sql::RUN, [run_id], line)? else {
        return Ok(None);
    };
    let mut steps = chain(conn, &line)?;
    for step in &mut steps {
        step.failures = failures(conn, step.id)?;
    }
    line.chain = steps.iter().map(|step| step.brief.clone()).collect();
    Ok(Some(RunView {
        causes: steps.iter().filter_map(cause).collect(),
        events: events::of_run(conn, root, run_id, EVENTS_SHOWN)?,
        line,
        is_followed: false,
        first_seen,
        steps,
        tasks: Vec::new(),
        left_out: Vec::new(),
    }))
}

/// A run that has a row but that no executor has looked at yet; `None`: it has no row either.
pub(super) fn unseen(
    conn: &Connection,
    mapping: &Mapping,
    run_id: &RunId,
    now: Millis,
) -> Result<Option<RunView>> {
    let Some(status) = mapping.status_of(conn, run_id)? else {
        return Ok(None);
    };
    let phase = Vocabulary::load(conn)?.phase(status.as_deref());
    let mut line = RunLine {
        run_id: run_id.clone(),
        status,
        phase: phase.unwrap_or(Phase::Active).as_str().to_owned(),
        since: now,
        generation: 0,
        monitor: "unseen".to_owned(),
        stalled_since: None,
        need: None,
        progress: Vec::new(),
        heartbeat: None,
        chain: Vec::new(),
    };
    line.chain = BUILT_IN.iter().map(|name| pending(name).brief).collect();
    Ok(Some(RunView {
        steps: BUILT_IN.iter().map(|name| pending(name)).collect(),
        line,
        is_followed: false,
        first_seen: now,
        causes: Vec::new(),
        tasks: Vec::new(),
        left_out: Vec::new(),
        events: Vec::new(),
    }))
}

/// Why a step stands in the way of its chain, or may yet.
fn cause(step: &StepView) -> Option<Cause> {
    if matches!(step.brief.state.as_str(), "done" | "cancelled" | "pending") {
        return None;
    }
    let last = step.failures.last()?;
    Some(Cause {
        source: format!("step {}", step.brief.step),
        text: said(last.error.clone(), &last.output),
    })
}

fn failures(conn: &Connection, step: StepId) -> Result<Vec<Failure>> {
    let mut failures = all(conn, sql::FAILURES, [step], |row| {
        Ok(Failure {
            attempt: row.get(0)?,
            started: row.get(1)?,
            ended: row.get(2)?,
            error: row.get(3)?,
            output: last_lines(row.get(4)?),
        })
    })?;
    failures.reverse();
    Ok(failures)
}

/// The last lines of what a command printed.
pub(super) fn last_lines(output: Option<String>) -> Vec<String> {
    let output = output.unwrap_or_default();
    let lines = output.lines().map(str::trim_end).filter(|line| !line.is_empty());
    let lines: Vec<String> = lines.map(str::to_owned).collect();
    lines[lines.len().saturating_sub(OUTPUT_LINES)..].to_vec()
}

/// An error with the last line that its command printed: an exit code alone tells nobody anything.
pub(super) fn said(error: String, output: &[String]) -> String {
    match output.last() {
        Some(line) => format!("{error}: {line}"),
        None => error,
    }
}
