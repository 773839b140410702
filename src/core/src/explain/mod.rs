//! Why isn't it archived? The chain of causes in words, what happens next and when, what can be done.
//!
//! Facts first, judgement after: [`gather`] reads (nothing is written, every question is bounded or
//! answered by an index), [`judge`] is a pure function from [`Facts`] to an [`Explanation`]. What only
//! the binary can see (files, limits of the configuration) it adds to the facts in between.
//!
//! | file | holds |
//! | --- | --- |
//! | `facts` | what can be known |
//! | `gather`, `nearest` | how it is read |
//! | `judge`, `whole`, `run`, `chain` | what follows from it: all, the database, a run, its steps |
//! | `words` | how times, spans and commands are worded |
//!
//! What does not belong here: printing, exit codes, looking at files.

mod chain;
pub mod facts;
mod gather;
mod judge;
mod nearest;
mod run;
#[cfg(test)]
mod tests;
mod whole;
mod words;

pub use facts::{Complaint, Disk, Facts, Outside};
pub use gather::gather;
pub use judge::judge;
pub use nearest::nearest as nearest_runs;
pub use words::{age, count, quoted};

use crate::{Millis, RunId};
use serde::Serialize;
use serde_json::{Value as Json, json};
use std::path::Path;

/// How things stand, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing is left to do.
    Through,
    /// It goes on by itself.
    OnItsWay,
    /// It doesn't go on until somebody acts.
    NeedsSomebody,
    /// The run that was asked for is not known.
    NoSuchRun,
}

/// One cause, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// Stable name, for tools.
    pub code: &'static str,
    /// How things stand because of it.
    pub verdict: Verdict,
    /// A sentence without its full stop.
    pub text: String,
}

/// What happens next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Next {
    /// A sentence without its full stop.
    pub text: String,
    /// When, where that is known.
    #[serde(serialize_with = "iso")]
    pub at: Option<Millis>,
}

fn iso<S: serde::Serializer>(at: &Option<Millis>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.serialize_str(&at.iso()),
        None => serializer.serialize_none(),
    }
}

/// Something that can be typed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// Words after `runchain`; empty where there is no such command.
    pub arguments: Vec<String>,
    /// The same in SQL, for who has only that (with the extension loaded, where it calls a function).
    pub sql: Option<String>,
    /// What it does.
    pub does: String,
}

impl Remedy {
    fn command<const N: usize>(arguments: [&str; N], does: &str) -> Self {
        Self {
            arguments: arguments.map(str::to_owned).to_vec(),
            sql: None,
            does: does.to_owned(),
        }
    }

    fn sql(sql: String, does: &str) -> Self {
        Self {
            arguments: Vec::new(),
            sql: Some(sql),
            does: does.to_owned(),
        }
    }

    /// What a person types: `runchain` with these options before its command, or the machine's own
    /// sqlite3 where only SQL does it.
    #[must_use]
    pub fn command_line(&self, options: &[String], database: &Path) -> String {
        let words: Vec<String> = match (&self.sql, self.arguments.as_slice()) {
            (Some(sql), []) => vec![
                "sqlite3".to_owned(),
                // By itself it doesn't wait for a moment in which somebody else writes.
                "-cmd".to_owned(),
                ".timeout 5000".to_owned(),
                database.to_string_lossy().into_owned(),
                sql.clone(),
            ],
            (_, arguments) => std::iter::once("runchain".to_owned())
                .chain(options.iter().cloned())
                .chain(arguments.iter().cloned())
                .collect(),
        };
        words
            .iter()
            .map(|word| quoted(word))
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn or_sql(mut self, sql: String) -> Self {
        self.sql = Some(sql);
        self
    }
}

/// One step of the chain, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepLine {
    /// Its name.
    pub step: String,
    /// Its state as it stands in the database.
    pub state: String,
    /// What that means now.
    pub text: String,
}

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The run; none when the whole database was asked about.
    pub run_id: Option<RunId>,
    /// The worst of its causes.
    pub verdict: Verdict,
    /// Who it is about, in one line.
    pub headline: String,
    /// The steps of its newest chain.
    pub steps: Vec<StepLine>,
    /// The causes: first what stands in the way.
    pub causes: Vec<Cause>,
    /// What happens next.
    pub next: Next,
    /// What somebody can do.
    pub you_can: Vec<Remedy>,
}

impl Explanation {
    /// As JSON, each remedy with the line to type.
    #[must_use]
    pub fn to_json(&self, options: &[String], database: &Path) -> Json {
        let mut object = json!(self);
        let remedies = self.you_can.iter().map(|remedy| {
            json!({ "command": remedy.command_line(options, database), "sql": remedy.sql, "does": remedy.does })
        });
        object["you_can"] = remedies.collect();
        object
    }
}
