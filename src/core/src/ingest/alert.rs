//! Failures that a person must see: one row of `runchain_alerts` for each fingerprint.
//!
//! An event whose type ends in `.failed` raises or renews the alert of its type, job and task; only
//! events that are new count. A later completion of the same task resolves the task's alerts, also
//! when it was read first. An acknowledged alert stays acknowledged until it is resolved.

use super::fields::{Event, quote};
use super::progress::{self, Entry};
use crate::Millis;
use crate::error::{During, Result};
use rusqlite::{Connection, OptionalExtension};
use std::borrow::Cow;
use std::collections::BTreeMap;

const RULE: &str = "event.failed";
const SEVERITY: &str = "error";
const FAILED: &str = ".failed";

/// What one batch says about one fingerprint.
#[derive(Debug)]
struct Raised {
    task: Option<String>,
    /// The run that it names; else its job, which is one only where a run has that id.
    run_id: Option<String>,
    job: Option<String>,
    subject: String,
    message: String,
    count: i64,
    first_at: Millis,
    last_at: Millis,
}

/// The alerts of a batch, by fingerprint.
#[derive(Debug, Default)]
pub(super) struct Alerts(BTreeMap<String, Raised>);

impl Alerts {
    /// Adds one event that is newly stored. One without a readable time counts as of now.
    pub(super) fn add(&mut self, event: &Event<'_>, now: Millis) {
        if !event.kind.ends_with(FAILED) {
            return;
        }
        let at = event.at_ms.unwrap_or(now);
        let (task, job) = (event.pattern_run_id.as_deref(), event.job_id.as_deref());
        let new = Raised {
            task: task.map(str::to_owned),
            run_id: event.run_id.as_deref().map(str::to_owned),
            job: job.map(str::to_owned),
            subject: task.or(job).unwrap_or(&event.kind).to_owned(),
            message: message(event),
            count: 1,
            first_at: at,
            last_at: at,
        };
        let fingerprint = fingerprint(&event.kind, job, task);
        match self.0.get_mut(&fingerprint) {
            Some(old) => old.merge(new),
            None => drop(self.0.insert(fingerprint, new)),
        }
    }

    /// Writes the batch's alerts, resolves those of tasks that have completed since, and returns how
    /// many are new or fire again.
    pub(super) fn write(&self, conn: &Connection, tasks: &[Entry]) -> Result<u64> {
        let mut raised = 0;
        for (fingerprint, alert) in &self.0 {
            let succeeded = match &alert.task {
                Some(task) => progress::task_succeeded(conn, task)?,
                None => None,
            };
            let before = state(conn, fingerprint)?;
            let run_id = alert.run(conn)?;
            alert.upsert(conn, fingerprint, run_id, succeeded)?;
            let after = state(conn, fingerprint)?;
            raised += u64::from(before != after && after.as_deref() == Some("firing"));
        }
        for task in tasks {
            if let Some(succeeded) = task.progress.succeeded {
                resolve(conn, &task.id, succeeded)?;
            }
        }
        Ok(raised)
    }
}

impl Raised {
    /// The later event's message stands; of two at the same time, the greater text, so that the
    /// order of reading decides nothing.
    fn merge(&mut self, new: Self) {
        self.count += new.count;
        self.first_at = self.first_at.min(new.first_at);
        if (new.last_at, &new.message) > (self.last_at, &self.message) {
            self.last_at = new.last_at;
            self.message = new.message;
        }
        self.run_id = self.run_id.take().or(new.run_id);
    }

    /// The run that it is about. A job is an execution; an orchestrator that calls its runs jobs has a run
    /// of that id, and any other would show the alert beside a run that doesn't exist.
    fn run(&self, conn: &Connection) -> Result<Option<&str>> {
        let Some(job) = self.job.as_deref().filter(|_| self.run_id.is_none()) else {
            return Ok(self.run_id.as_deref());
        };
        let is_run: bool = conn
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM runchain_runs WHERE run_id = ?1)")
            .and_then(|mut statement| statement.query_row([job], |row| row.get(0)))
            .during("look whether a job is a run")?;
        Ok(is_run.then_some(job))
    }

    fn upsert(
        &self,
        conn: &Connection,
        fingerprint: &str,
        run_id: Option<&str>,
        succeeded: Option<Millis>,
    ) -> Result<()> {
        conn.prepare_cached(
            "INSERT INTO runchain_alerts(fingerprint, rule, severity, state, run_id, subject, message,
                                         count, first_at_ms, last_at_ms)
             VALUES (?1, ?2, ?3, CASE WHEN ?10 > ?9 THEN 'resolved' ELSE 'firing' END, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT(fingerprint) DO UPDATE SET
               state = CASE
                 WHEN ?10 > max(last_at_ms, ?9) THEN 'resolved'
                 WHEN state = 'acknowledged' THEN 'acknowledged'
                 ELSE 'firing'
               END,
               run_id = coalesce(run_id, ?4),
               message = CASE
                 WHEN ?9 > last_at_ms OR (?9 = last_at_ms AND ?6 > message) THEN ?6
                 ELSE message
               END,
               count = count + ?7,
               first_at_ms = min(first_at_ms, ?8),
               last_at_ms = max(last_at_ms, ?9)",
        )
        .and_then(|mut statement| {
            statement.execute((
                fingerprint,
                RULE,
                SEVERITY,
                run_id,
                &self.subject,
                &self.message,
                self.count,
                self.first_at,
                self.last_at,
                succeeded,
            ))
        })
        .during("raise an alert")
        .map(drop)
    }
}

/// A JSON array with the task before the rest, so that all alerts of a task are one range of the
/// unique index.
fn fingerprint(kind: &str, job: Option<&str>, task: Option<&str>) -> String {
    let or_null = |text: Option<&str>| text.map_or_else(|| "null".to_owned(), quote);
    format!(
        "[{},{},{},{}]",
        quote(RULE),
        or_null(task),
        or_null(job),
        quote(kind)
    )
}

fn resolve(conn: &Connection, task: &str, succeeded: Millis) -> Result<()> {
    let prefix = format!("[{},{}", quote(RULE), quote(task));
    conn.prepare_cached(
        // '-' is the character after ','.
        "UPDATE runchain_alerts SET state = 'resolved'
         WHERE fingerprint > ?1 || ',' AND fingerprint < ?1 || '-' AND state <> 'resolved' AND last_at_ms < ?2",
    )
    .and_then(|mut statement| statement.execute((prefix, succeeded)))
    .during("resolve the alerts of a task")
    .map(drop)
}

fn state(conn: &Connection, fingerprint: &str) -> Result<Option<String>> {
    conn.prepare_cached("SELECT state FROM runchain_alerts WHERE fingerprint = ?1")
        .and_then(|mut statement| statement.query_row([fingerprint], |row| row.get(0)).optional())
        .during("read an alert")
}

/// What the event says went wrong, else its type.
fn message(event: &Event<'_>) -> String {
    event.error().unwrap_or(Cow::Borrowed(&event.kind)).into_owned()
}
