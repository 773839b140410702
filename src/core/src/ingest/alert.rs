//! Failures that a person must see: what the rules make of the events of a batch.
//!
//! Only events that are new count. A later completion of the same task resolves the task's alerts, also
//! when it was read first. An acknowledged alert stays acknowledged until it is resolved. Rules with a
//! window count (`alert::Windows`); rules of silence only hear.

use super::fields::Event;
use super::progress::{self, Entry};
use crate::Millis;
use crate::alert::rule::{Judged, Per, Rule};
use crate::alert::rulebook;
use crate::alert::{self, Admission, State, fingerprint};
use crate::error::{During, Result};
use rusqlite::{Connection, OptionalExtension};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

/// What one batch says about one fingerprint.
#[derive(Debug)]
struct Raised {
    rule: usize,
    fingerprint: String,
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

/// The alerts of a batch, in the order in which their first events stand in the log.
#[derive(Debug)]
pub(super) struct Alerts {
    rules: Vec<Rule>,
    raised: Vec<Raised>,
    places: HashMap<String, usize>,
    windows: alert::Windows,
    heard: BTreeSet<usize>,
}

impl Alerts {
    /// By the rules that are in force now.
    pub(super) fn begin(conn: &Connection) -> Result<Self> {
        Ok(Self {
            rules: rulebook::in_force(conn)?,
            raised: Vec::new(),
            places: HashMap::new(),
            windows: alert::Windows::default(),
            heard: BTreeSet::new(),
        })
    }

    /// Adds one event that is newly stored. One without a readable time counts as of now.
    pub(super) fn add(&mut self, event: &Event<'_>, now: Millis) {
        for index in 0..self.rules.len() {
            if self.rules[index].matches(event) {
                self.add_matching(index, event, now);
            }
        }
    }

    fn add_matching(&mut self, index: usize, event: &Event<'_>, now: Millis) {
        let rule = &self.rules[index];
        if rule.silence_ms.is_some() {
            self.heard.insert(index);
            return;
        }
        let at = event.at_ms.unwrap_or(now);
        let new = Raised::of(index, rule, event, at);
        if rule.is_windowed() {
            let counted = alert::Counted {
                fingerprint: new.fingerprint,
                subject: new.subject,
                run_id: new.run_id,
                job: new.job,
                message: new.message,
                at,
            };
            self.windows.add(rule, counted);
            return;
        }
        match self.places.get(&new.fingerprint) {
            Some(&place) => self.raised[place].merge(new),
            None => {
                self.places.insert(new.fingerprint.clone(), self.raised.len());
                self.raised.push(new);
            }
        }
    }

    /// Writes the batch's alerts, resolves those of tasks that have completed since, and returns how
    /// many are new or fire again.
    pub(super) fn write(&self, conn: &Connection, tasks: &[Entry], now: Millis) -> Result<u64> {
        let mut raised = self.windows.write(conn, &self.rules, now)?;
        for one in &self.raised {
            raised += u64::from(one.write(conn, &self.rules[one.rule], now)?);
        }
        for task in tasks {
            if let Some(succeeded) = task.progress.succeeded {
                self.resolve(conn, &task.id, succeeded, now)?;
            }
        }
        for &index in &self.heard {
            alert::due::heard(conn, &self.rules[index].name, now)?;
        }
        Ok(raised)
    }

    /// Resolves the alerts of a task that were last seen before it succeeded.
    fn resolve(&self, conn: &Connection, task: &str, succeeded: Millis, now: Millis) -> Result<()> {
        for rule in self.rules.iter().filter(|rule| rule.per == Per::Task) {
            let whole = fingerprint(&rule.name, &[Some(task)]);
            let prefix = whole.trim_end_matches(']');
            let mut statement = conn
                .prepare_cached(
                    // '-' is the character after ','.
                    "SELECT id, state FROM runchain_alerts
                     WHERE fingerprint > ?1 || ',' AND fingerprint < ?1 || '-' AND state <> 'resolved' AND last_at_ms < ?2",
                )
                .during("look for the alerts of a task")?;
            let open = statement
                .query_map((prefix, succeeded), |row| {
                    Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
                })
                .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
                .during("look for the alerts of a task")?;
            for (id, was) in open {
                conn.prepare_cached("UPDATE runchain_alerts SET state = 'resolved' WHERE id = ?1")
                    .and_then(|mut statement| statement.execute([id]))
                    .during("resolve the alerts of a task")?;
                alert::note_change(conn, id, State::from_word(&was), State::Resolved, None, now)?;
            }
        }
        Ok(())
    }
}

impl Raised {
    fn of(index: usize, rule: &Rule, event: &Event<'_>, at: Millis) -> Self {
        let (task, job) = (event.pattern_run_id.as_deref(), event.job_id.as_deref());
        let kind = event.kind.as_ref();
        // The task before the rest, so that all alerts of a task are one range of the unique index.
        let (fingerprint, subject) = match rule.per {
            Per::Task => (
                fingerprint(&rule.name, &[task, job, Some(kind)]),
                task.or(job).unwrap_or(kind),
            ),
            Per::Job => (fingerprint(&rule.name, &[None, job, None]), job.unwrap_or(kind)),
            Per::Type => (fingerprint(&rule.name, &[None, None, Some(kind)]), kind),
            Per::Rule => (fingerprint(&rule.name, &[None, None, None]), rule.name.as_str()),
        };
        Self {
            rule: index,
            fingerprint,
            task: task.filter(|_| rule.per == Per::Task).map(str::to_owned),
            run_id: event.run_id.as_deref().map(str::to_owned),
            job: job.map(str::to_owned),
            subject: subject.to_owned(),
            message: message(event),
            count: 1,
            first_at: at,
            last_at: at,
        }
    }

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

    /// `true` when it fires and did not before.
    fn write(&self, conn: &Connection, rule: &Rule, now: Millis) -> Result<bool> {
        let succeeded = match &self.task {
            Some(task) => progress::task_succeeded(conn, task)?,
            None => None,
        };
        let before = known(conn, &self.fingerprint)?;
        if before.is_none() && self.admit(conn, rule, succeeded, now)? == Admission::Flooded {
            return Ok(false);
        }
        let run_id = alert::run_of(conn, self.run_id.as_deref(), self.job.as_deref())?;
        self.upsert(conn, rule, run_id, succeeded)?;
        let Some(after) = known(conn, &self.fingerprint)? else {
            return Ok(false);
        };
        let was = before.map(|before| before.state);
        // One that is over before anybody has heard of it is no news.
        if was == Some(after.state) || (was.is_none() && after.state == State::Resolved) {
            return Ok(false);
        }
        alert::note_change(conn, after.id, was, after.state, None, now)?;
        Ok(after.state == State::Firing)
    }

    /// Of a new one: whether it has a row. That of one whose task has succeeded is for who looks back.
    fn admit(
        &self,
        conn: &Connection,
        rule: &Rule,
        succeeded: Option<Millis>,
        now: Millis,
    ) -> Result<Admission> {
        if succeeded.is_some_and(|succeeded| succeeded > self.last_at) {
            return alert::admit_over(conn, &rule.name, now);
        }
        alert::admit(conn, &rule.name, rule.severity, self.count, &self.message, now)
    }

    fn upsert(
        &self,
        conn: &Connection,
        rule: &Rule,
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
               severity = ?3,
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
                &self.fingerprint,
                &rule.name,
                rule.severity.as_str(),
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

struct Known {
    id: i64,
    state: State,
}

fn known(conn: &Connection, fingerprint: &str) -> Result<Option<Known>> {
    conn.prepare_cached("SELECT id, state FROM runchain_alerts WHERE fingerprint = ?1")
        .and_then(|mut statement| {
            let read = |row: &rusqlite::Row<'_>| {
                Ok(Known {
                    id: row.get(0)?,
                    state: State::from_word(&row.get::<_, String>(1)?).unwrap_or(State::Firing),
                })
            };
            statement.query_row([fingerprint], read).optional()
        })
        .during("read an alert")
}

impl Judged for Event<'_> {
    fn kind(&self) -> &str {
        &self.kind
    }

    fn status(&self) -> Option<&str> {
        self.status.as_deref()
    }

    fn field(&self, path: &str) -> Option<Value> {
        let (first, rest) = path
            .split_once('.')
            .map_or((path, None), |(first, rest)| (first, Some(rest)));
        let text = |text: Option<&str>| text.map(Value::from);
        let column = match first {
            "type" | "event_type" => text(Some(&self.kind)),
            "status" => text(self.status.as_deref()),
            "run_id" => text(self.run_id.as_deref()),
            "job_id" => text(self.job_id.as_deref()),
            "step_id" => text(self.step_id.as_deref()),
            "pattern_run_id" => text(self.pattern_run_id.as_deref()),
            "pattern_id" => text(self.pattern_id.as_deref()),
            "details" => self
                .details
                .and_then(|details| serde_json::from_str(details).ok()),
            _ => None,
        };
        let whole = match column {
            Some(value) => value,
            None => {
                let extra: Value = serde_json::from_str(self.extra.as_deref()?).ok()?;
                extra.get(first)?.clone()
            }
        };
        match rest {
            None => Some(whole),
            Some(rest) => {
                let mut value = &whole;
                for key in rest.split('.') {
                    value = match value {
                        Value::Array(elements) => elements.get(key.parse::<usize>().ok()?)?,
                        other => other.get(key)?,
                    };
                }
                Some(value.clone())
            }
        }
    }
}

/// What the event says went wrong, else its type.
fn message(event: &Event<'_>) -> String {
    event.error().unwrap_or(Cow::Borrowed(&event.kind)).into_owned()
}
