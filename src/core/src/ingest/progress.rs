//! What events say about executions and tasks.
//!
//! A job (`job_id`) is an execution, a pattern run (`pattern_run_id`) a task of it, its type the
//! pattern. Started is the earliest time seen, ended the latest of a terminal event, and the latest
//! terminal event decides between completed and failed. Every part of a [`Progress`] is the least or
//! the greatest of something, so that merging doesn't depend on order, on repetition or on how the
//! events fall into batches. It is kept in `runchain_derived`, because the user's tables have no
//! room for the event that decided.
//!
//! A job says nothing of its own end: its tasks do. While one of them has not ended it is running, unless
//! another has failed since that one began. So it is not completed in the middle, and a failure is
//! seen at once; the same events give the same answer in every order.

use super::fields::{Event, quote};
use super::object::Object;
use crate::Millis;
use crate::error::{During, Result};
use rusqlite::{Connection, OptionalExtension, Row};
use std::collections::HashMap;

/// Events of other types say nothing about executions and tasks.
const TYPE_PREFIX: &str = "pattern.";

/// The status word of a task that has failed, whatever the type of its last event says.
const FAILED_STATUS: &str = "failed";

/// The types that end a task and its execution.
const TERMINAL: [(&str, Outcome); 4] = [
    ("pattern.execution.completed", Outcome::Completed),
    ("pattern.execution.failed", Outcome::Failed),
    ("pattern.selection.failed", Outcome::Failed),
    ("pattern.validation.failed", Outcome::Failed),
];

/// What a failed event's details say of the error.
const ERROR_FIELDS: [&str; 3] = ["error_type", "error_message", "exit_code"];

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Completed,
    Failed,
}

impl Outcome {
    /// The status word that dashboards count.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// The event that decided. The order of the fields is the order of events: by time, those without a
/// readable time first, then by id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Verdict {
    at: Option<Millis>,
    event_id: String,
    pub(super) outcome: Outcome,
    /// Of a failure: a JSON object.
    pub(super) error: Option<String>,
}

/// All that is known of one execution or task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Of a task: its execution.
    pub(super) execution_id: Option<String>,
    /// Of a task: its pattern.
    pub(super) task_type: Option<String>,
    pub(super) started: Option<Millis>,
    pub(super) ended: Option<Millis>,
    /// The latest completion, also where a later failure decided.
    pub(super) succeeded: Option<Millis>,
    pub(super) verdict: Option<Verdict>,
}

impl Progress {
    fn merge(&mut self, other: Self) {
        self.execution_id = least(self.execution_id.take(), other.execution_id);
        self.task_type = least(self.task_type.take(), other.task_type);
        self.started = least(self.started, other.started);
        self.ended = self.ended.max(other.ended);
        self.succeeded = self.succeeded.max(other.succeeded);
        self.verdict = self.verdict.take().max(other.verdict);
    }

    /// Whether the last word is a failure.
    pub(super) fn failed(&self) -> bool {
        self.verdict
            .as_ref()
            .is_some_and(|verdict| verdict.outcome == Outcome::Failed)
    }
}

/// `None` is no value here, where `Option`'s own order would make it the least.
fn least<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// What a batch has said so far.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    executions: HashMap<String, Progress>,
    tasks: HashMap<String, Progress>,
}

/// An execution or task that a batch touched, merged with what was known before.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) progress: Progress,
    /// The user's row carries an error that may have to go.
    pub(super) had_failed: bool,
    /// Of an execution: what ended it is not the last word, because a task of it goes on.
    pub(super) goes_on: bool,
}

/// What a batch touched, in order of id.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) executions: Vec<Entry>,
    pub(super) tasks: Vec<Entry>,
}

impl Gathered {
    /// Adds one event that is newly stored.
    pub(super) fn add(&mut self, event_id: &str, event: &Event<'_>) {
        if !event.kind.starts_with(TYPE_PREFIX) {
            return;
        }
        let verdict = verdict(event_id, event);
        let ended = verdict.is_some();
        let succeeded = matches!(&verdict, Some(verdict) if verdict.outcome == Outcome::Completed);
        let said = Progress {
            started: event.at_ms,
            ended: event.at_ms.filter(|_| ended),
            succeeded: event.at_ms.filter(|_| succeeded),
            verdict,
            ..Progress::default()
        };
        if let Some(task) = &event.pattern_run_id {
            let task_said = Progress {
                execution_id: event.job_id.as_deref().map(str::to_owned),
                task_type: event.pattern_id.as_deref().map(str::to_owned),
                ..said.clone()
            };
            gather(&mut self.tasks, task, task_said);
        }
        if let Some(job) = &event.job_id {
            gather(&mut self.executions, job, said);
        }
    }

    /// Merges the batch with what is known, and keeps that.
    pub(super) fn merge_into(self, conn: &Connection) -> Result<Merged> {
        let tasks = merge_all(conn, "task", self.tasks)?;
        let mut executions = merge_all(conn, "execution", self.executions)?;
        // A task may have said something without naming its job.
        for task in &tasks {
            let Some(id) = &task.progress.execution_id else {
                continue;
            };
            let place = executions.binary_search_by(|entry| entry.id.cmp(id));
            if let (Err(place), Some(progress)) = (place, load(conn, "execution", id)?) {
                executions.insert(place, Entry::unchanged(id, progress));
            }
        }
        for execution in &mut executions {
            execution.goes_on = goes_on(conn, execution)?;
        }
        Ok(Merged { executions, tasks })
    }
}

impl Entry {
    fn unchanged(id: &str, progress: Progress) -> Self {
        Self {
            id: id.to_owned(),
            had_failed: progress.failed(),
            progress,
            goes_on: false,
        }
    }
}

/// Whether a task of an execution has not ended; after a failure, only one that began later counts.
fn goes_on(conn: &Connection, execution: &Entry) -> Result<bool> {
    let Some(verdict) = &execution.progress.verdict else {
        return Ok(false);
    };
    let after = match verdict.outcome {
        Outcome::Completed => None,
        Outcome::Failed => Some(verdict.at.unwrap_or(Millis(i64::MIN))),
    };
    conn.prepare_cached(
        "SELECT EXISTS (
           SELECT 1 FROM runchain_derived
           WHERE kind = 'task' AND outcome IS NULL AND execution_id = ?1 AND (?2 IS NULL OR started_ms > ?2))",
    )
    .and_then(|mut statement| statement.query_row((&execution.id, after), |row| row.get(0)))
    .during("look whether an execution goes on")
}

fn gather(map: &mut HashMap<String, Progress>, id: &str, said: Progress) {
    match map.get_mut(id) {
        Some(progress) => progress.merge(said),
        None => drop(map.insert(id.to_owned(), said)),
    }
}

fn verdict(event_id: &str, event: &Event<'_>) -> Option<Verdict> {
    let (_, outcome) = TERMINAL.into_iter().find(|(kind, _)| *kind == event.kind)?;
    let outcome = match event.status.as_deref() {
        Some(FAILED_STATUS) => Outcome::Failed,
        _ => outcome,
    };
    Some(Verdict {
        at: event.at_ms,
        event_id: event_id.to_owned(),
        outcome,
        error: (outcome == Outcome::Failed).then(|| error_of(event.details)),
    })
}

/// The error fields of a failed event's details; all of the details where there are none.
fn error_of(details: Option<&str>) -> String {
    let Some(details) = details else {
        return "{}".to_owned();
    };
    let fields = Object::parse_some(details, |key| ERROR_FIELDS.contains(&key)).unwrap_or_default();
    let known: Vec<String> = ERROR_FIELDS
        .iter()
        .filter_map(|name| Some(format!("{}:{}", quote(name), fields.get(name)?)))
        .collect();
    if known.is_empty() {
        return format!("{{\"details\":{details}}}");
    }
    format!("{{{}}}", known.join(","))
}

fn merge_all(conn: &Connection, kind: &str, gathered: HashMap<String, Progress>) -> Result<Vec<Entry>> {
    let mut gathered: Vec<_> = gathered.into_iter().collect();
    // In order of the key, for the pages' sake and to be the same every time.
    gathered.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let mut entries = Vec::with_capacity(gathered.len());
    for (id, said) in gathered {
        let known = load(conn, kind, &id)?;
        let had_failed = known.as_ref().is_some_and(Progress::failed);
        let mut progress = known.clone().unwrap_or_default();
        progress.merge(said);
        if known.as_ref() != Some(&progress) {
            save(conn, kind, &id, &progress)?;
        }
        entries.push(Entry {
            id,
            progress,
            had_failed,
            goes_on: false,
        });
    }
    Ok(entries)
}

fn load(conn: &Connection, kind: &str, id: &str) -> Result<Option<Progress>> {
    conn.prepare_cached(
        "SELECT execution_id, task_type, started_ms, ended_ms, succeeded_ms, outcome, decided_ms, decided_by, error
         FROM runchain_derived WHERE kind = ?1 AND id = ?2",
    )
    .and_then(|mut statement| statement.query_row((kind, id), read).optional())
    .during("read what is known of an execution")
}

/// The latest completion of a task, if it is known.
pub(super) fn task_succeeded(conn: &Connection, task: &str) -> Result<Option<Millis>> {
    load(conn, "task", task).map(|known| known.and_then(|progress| progress.succeeded))
}

fn read(row: &Row<'_>) -> rusqlite::Result<Progress> {
    let word: Option<String> = row.get(5)?;
    let outcome = [Outcome::Completed, Outcome::Failed]
        .into_iter()
        .find(|outcome| Some(outcome.word()) == word.as_deref());
    let verdict = match outcome {
        None => None,
        Some(outcome) => Some(Verdict {
            at: row.get(6)?,
            event_id: row.get(7)?,
            outcome,
            error: row.get(8)?,
        }),
    };
    Ok(Progress {
        execution_id: row.get(0)?,
        task_type: row.get(1)?,
        started: row.get(2)?,
        ended: row.get(3)?,
        succeeded: row.get(4)?,
        verdict,
    })
}

fn save(conn: &Connection, kind: &str, id: &str, progress: &Progress) -> Result<()> {
    let verdict = progress.verdict.as_ref();
    conn.prepare_cached(
        "INSERT OR REPLACE INTO runchain_derived(kind, id, execution_id, task_type, started_ms, ended_ms,
                                                 succeeded_ms, outcome, decided_ms, decided_by, error)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )
    .and_then(|mut statement| {
        statement.execute((
            kind,
            id,
            &progress.execution_id,
            &progress.task_type,
            progress.started,
            progress.ended,
            progress.succeeded,
            verdict.map(|verdict| verdict.outcome.word()),
            verdict.and_then(|verdict| verdict.at),
            verdict.map(|verdict| verdict.event_id.as_str()),
            verdict.and_then(|verdict| verdict.error.as_deref()),
        ))
    })
    .during("keep what is known of an execution")
    .map(drop)
}
