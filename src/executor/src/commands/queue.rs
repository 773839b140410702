//! `runchain queue`: the steps that are not over, what needs somebody first.

use super::open;
use super::suggest::require_step;
use crate::cli::{QueueArgs, StateArg};
use crate::config::Settings;
use crate::door;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::open::OpenMode;
use crate::output::{self, Cell, Column, Output, paint};
use runchain_core::look::live::{LiveStep, steps};
use runchain_core::{Mapping, Millis, validate};
use serde_json::{Value, json};

const COLUMNS: [Column; 6] = [
    Column::word("STATE"),
    Column::word("STEP"),
    Column::word("RUN"),
    Column::word("ATTEMPT"),
    Column::word("WHEN"),
    Column::text("WHY"),
];

pub(super) fn queue(arguments: &QueueArgs, settings: &Settings, output: &Output) -> Outcome<Exit> {
    let conn = open(settings, OpenMode::ReadOnly)?;
    Mapping::require(&conn)?;
    let now = Millis::now();
    let states: Vec<StateArg> = StateArg::ALL
        .into_iter()
        .filter(|state| arguments.state.is_empty() || arguments.state.contains(state))
        .collect();
    let name = arguments.step.as_deref();
    let mut found = Vec::new();
    for state in states {
        found.extend(door::patiently(|| {
            steps(&conn, &state.to_string(), name, arguments.limit)
        })?);
    }
    if let Some(name) = name.filter(|_| found.is_empty()) {
        // One that left the configuration may still be in the queue.
        require_step(name, Exit::NoSuchStep, settings)?;
    }
    let counts = validate::status(&conn, now)?;
    if output.json {
        output.print_json(&json!({
            "steps": found, "counts": counts["steps"], "count_limit": counts["count_limit"],
            "queue_rows": counts["queue_rows"],
        }))?;
        return Ok(Exit::Ok);
    }
    if found.is_empty() {
        output.line("no such steps: nothing of that kind waits, runs or is dead")?;
    } else {
        output.rows(&COLUMNS, found.iter().map(|step| cells(step, now)))?;
    }
    output.note(&summary(&counts))?;
    Ok(Exit::Ok)
}

fn cells(step: &LiveStep, now: Millis) -> Vec<Cell> {
    vec![
        Cell::styled(step.state.as_str(), paint::state(&step.state)),
        step.step.as_str().into(),
        step.run_id.to_string().into(),
        format!("{} of {}", step.attempts, step.max_attempts).into(),
        when(step, now).into(),
        why(step).into(),
    ]
}

/// When it starts, or since when it is as it is.
fn when(step: &LiveStep, now: Millis) -> String {
    let ago = |at: Millis| format!("for {}", output::age(now.since(at)));
    match step.state.as_str() {
        "ready" if step.ready_at > now => format!("in {}", output::age(step.ready_at.since(now))),
        "ready" => ago(step.ready_at),
        "running" | "leased" | "dead" => step.started_at.map_or_else(|| "-".to_owned(), ago),
        _ => "-".to_owned(),
    }
}

fn why(step: &LiveStep) -> String {
    let needs: Vec<String> = serde_json::from_str(&step.needs).unwrap_or_default();
    match step.state.as_str() {
        "waiting" => format!("after {}", needs.join(", ")),
        _ => step.told.clone().unwrap_or_default(),
    }
}

/// Of everything, whatever was asked for.
fn summary(counts: &Value) -> String {
    let limit = counts["count_limit"].as_i64().unwrap_or(i64::MAX);
    let told = StateArg::ALL.map(|state| {
        let number = counts["steps"][state.to_string()].as_i64().unwrap_or(0);
        let more = if number >= limit { "+" } else { "" };
        format!("{number}{more} {state}")
    });
    format!("altogether {}", told.join(", "))
}
