//! What somebody meant who mistyped, and what can be typed next.

use crate::config::{FILE_NAME, Settings, Source, suggest_step};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use runchain_core::explain::quoted;
use runchain_core::{Mapping, Result, RunId, forget, look};
use rusqlite::Connection;
use std::path::Path;

/// The failure of who names a run that isn't known, with those that look like it.
///
/// # Errors
/// Whatever SQLite answers.
pub(super) fn no_such_run(conn: &Connection, mapping: &Mapping, run_id: &RunId) -> Result<Failure> {
    if forget::is_forgotten(conn, run_id)? {
        return Ok(forgotten(run_id));
    }
    let hint = match mapping.status_of(conn, run_id)? {
        Some(_) => "it stands in the table, but no executor has seen it yet: runchain drain".to_owned(),
        None => format!("{}runchain ls lists the newest", did_you_mean(conn, run_id)?),
    };
    Ok(Failure::new(
        Exit::NoSuchRun,
        format!("runchain knows no run {run_id}; {hint}"),
    ))
}

/// The failure of who names a run that is kept from being known again.
pub(super) fn forgotten(run_id: &RunId) -> Failure {
    Failure::new(
        Exit::NoSuchRun,
        format!(
            "somebody had run {run_id} forgotten, and what is written under its id is not acted on; give what is new a new id"
        ),
    )
}

/// `did you mean run-42 or run-43? `, or nothing.
///
/// # Errors
/// Whatever SQLite answers.
pub(super) fn did_you_mean(conn: &Connection, run_id: &RunId) -> Result<String> {
    let near = look::nearest_runs(conn, run_id)?;
    let near: Vec<String> = near.iter().map(|id| quoted(id.as_str())).collect();
    Ok(match near.as_slice() {
        [] => String::new(),
        [one] => format!("did you mean {one}? "),
        [first @ .., last] => format!("did you mean {} or {last}? ", first.join(", ")),
    })
}

/// Refuses a step that isn't configured, and names the one that was meant.
///
/// # Errors
/// The refusal.
pub(super) fn require_step(name: &str, exit: Exit, settings: &Settings) -> Outcome<()> {
    if settings.step(name).is_some() {
        return Ok(());
    }
    let known: Vec<&str> = settings.steps.iter().map(|step| step.name.as_str()).collect();
    let meant = suggest_step(settings, name);
    let meant = if meant.ends_with('?') {
        meant + " "
    } else {
        String::new()
    };
    Err(Failure::new(
        exit,
        format!(
            "there is no step {name:?}; {meant}known steps: {}",
            known.join(", ")
        ),
    ))
}

/// A line to type: `runchain`, the options that this command was given to find its database, and these
/// words. A run's id is data, whatever it looks like.
pub(super) fn command(settings: &Settings, words: &[&str], run_id: Option<&RunId>) -> String {
    let mut line = vec!["runchain".to_owned()];
    line.extend(options_to_repeat(settings));
    line.extend(words.iter().map(|&word| word.to_owned()));
    if let Some(run_id) = run_id {
        if run_id.as_str().starts_with('-') {
            line.push("--".to_owned());
        }
        line.push(run_id.as_str().to_owned());
    }
    let line: Vec<String> = line.iter().map(|word| quoted(word)).collect();
    line.join(" ")
}

/// What a suggested command needs to find the same database: the options that this one was given.
pub(super) fn options_to_repeat(settings: &Settings) -> Vec<String> {
    let mut options = Vec::new();
    let option = |name: &str, path: &Path| [name.to_owned(), path.to_string_lossy().into_owned()];
    if matches!(settings.source_of("state_db_path"), Some(Source::Flag(_))) {
        options.extend(option("--db", &settings.state_db_path));
    }
    let found_by_itself = std::env::current_dir().map(|folder| folder.join(FILE_NAME)).ok();
    if let Some(file) = settings
        .file
        .as_ref()
        .filter(|file| Some(*file) != found_by_itself.as_ref())
    {
        options.extend(option("--config", file));
    }
    options
}
