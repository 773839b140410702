//! What to do next, as commands that can be typed.

use super::super::suggest;
use super::paused_kind;
use crate::config::Settings;
use runchain_core::look::problems::{Problem, ProblemKind};
use runchain_core::{Result, RunId, held, schema};
use rusqlite::Connection;
use serde::Serialize;
use serde_json::Value;

/// What to do next, the most urgent first.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Next {
    pub(super) command: String,
    pub(super) why: String,
}

/// What to do, the most urgent first.
pub(super) fn next(
    conn: &Connection,
    counts: &Value,
    problems: &[Problem],
    settings: &Settings,
) -> Result<Vec<Next>> {
    let mut next = Vec::new();
    let mut add = |words: &[&str], run_id: Option<&RunId>, why: &str| {
        let command = suggest::command(settings, words, run_id);
        let why = why.to_owned();
        next.push(Next { command, why });
    };
    if counts.pointer("/triggers/in_place") == Some(&Value::Bool(false)) {
        add(&["install", "--repair"], None, "writes are missed");
    }
    if counts.pointer("/executor/alive") == Some(&Value::Bool(false)) {
        add(&["drain"], None, "nobody does the work");
    }
    for pause in counts["paused"].as_array().into_iter().flatten() {
        let words: Vec<&str> = std::iter::once("resume").chain(paused_kind(pause)).collect();
        add(&words, None, "it is paused");
    }
    if schema::table_exists(conn, "runchain_held_batches")?
        && held::batches(conn, 1)?
            .iter()
            .any(|batch| batch.state.as_str() == "held")
    {
        add(
            &["held"],
            None,
            "chains of runs that ended in a rush wait for you",
        );
    }
    let mut seen: Vec<&RunId> = Vec::new();
    let of_kind = |wanted| problems.iter().filter(move |problem| problem.kind == wanted);
    for problem in of_kind(ProblemKind::DeadStep) {
        let Some(run_id) = problem.run_id.as_ref().filter(|run_id| !seen.contains(run_id)) else {
            continue;
        };
        if seen.is_empty() {
            add(&["explain"], Some(run_id), "why it is dead");
        }
        add(&["retry"], Some(run_id), "when its cause is mended");
        seen.push(run_id);
    }
    for problem in of_kind(ProblemKind::StalledRun) {
        add(&["explain"], problem.run_id.as_ref(), "it doesn't move");
    }
    if of_kind(ProblemKind::Alert).next().is_some() {
        add(&["alerts"], None, "they are firing");
    }
    Ok(next)
}

/// What mends a problem, where a command does.
pub(super) fn remedy(problem: &Problem, settings: &Settings) -> Option<String> {
    let of_run = |word: &str| {
        Some(suggest::command(
            settings,
            &[word],
            Some(problem.run_id.as_ref()?),
        ))
    };
    match problem.kind {
        ProblemKind::DeadStep => of_run("retry"),
        ProblemKind::StalledRun => of_run("explain"),
        ProblemKind::FailingStep => None,
        ProblemKind::Alert => match problem.rule.as_deref() {
            Some("triggers_lost") => Some(suggest::command(settings, &["install", "--repair"], None)),
            _ => of_run("explain").or_else(|| Some(suggest::command(settings, &["alerts"], None))),
        },
    }
}
