//! One run in full.

use super::{ChainStep, Event, RunLine, iso, maybe_iso};
use runchain_core::{Millis, StepId};
use serde::Serialize;

/// One run, with everything that is known of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RunView {
    /// As the list has it.
    pub(crate) line: RunLine,
    /// It is in view because it is the newest active one, not because somebody asked for it.
    pub(crate) is_followed: bool,
    /// When runchain first saw it.
    #[serde(serialize_with = "iso")]
    pub(crate) first_seen: Millis,
    /// What went wrong: first what stands in the way.
    pub(crate) causes: Vec<Cause>,
    /// The steps of its chain.
    pub(crate) steps: Vec<StepView>,
    /// Its own steps and tasks, as the user's tables have them.
    pub(crate) tasks: Vec<Task>,
    /// Tables that were too large to look through for it.
    pub(crate) left_out: Vec<String>,
    /// Its newest events, the oldest of them first.
    pub(crate) events: Vec<Event>,
}

impl RunView {
    /// The report's page, else the bag, as the steps tell it.
    pub(crate) fn page_or_bag(&self) -> Option<&str> {
        let files = || self.steps.iter().flat_map(|step| &step.files);
        let page = files().find(|file| file.ends_with(".html"));
        page.or_else(|| files().next()).map(String::as_str)
    }
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Cause {
    /// Where it stands: `step archive`, `table errors`, `event pattern.execution.failed`.
    pub(crate) source: String,
    /// In its own words.
    pub(crate) text: String,
}

/// A step of the chain, in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct StepView {
    /// Its id.
    pub(crate) id: StepId,
    /// As the footer has it.
    pub(crate) brief: ChainStep,
    /// When the chain began.
    #[serde(serialize_with = "iso")]
    pub(crate) created: Millis,
    /// When it was started last.
    #[serde(serialize_with = "maybe_iso")]
    pub(crate) started: Option<Millis>,
    /// When it ended.
    #[serde(serialize_with = "maybe_iso")]
    pub(crate) finished: Option<Millis>,
    /// Steps that must be done first.
    pub(crate) needs: Vec<String>,
    /// Files that it left.
    pub(crate) files: Vec<String>,
    /// Every attempt that failed, the oldest first; the newest where there are many.
    pub(crate) failures: Vec<Failure>,
}

/// An attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Failure {
    /// Its number.
    pub(crate) attempt: i64,
    /// When it began.
    #[serde(serialize_with = "maybe_iso")]
    pub(crate) started: Option<Millis>,
    /// When it ended.
    #[serde(serialize_with = "iso")]
    pub(crate) ended: Millis,
    /// Why.
    pub(crate) error: String,
    /// The last lines that its command printed.
    pub(crate) output: Vec<String>,
}

/// A step or task of the orchestrator's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Task {
    /// The table that it stands in.
    pub(crate) table: String,
    /// Its name.
    pub(crate) name: String,
    /// Its status word.
    pub(crate) status: String,
    /// What that means; none: the vocabulary doesn't know it.
    pub(crate) phase: Option<String>,
    /// When it began.
    #[serde(serialize_with = "maybe_iso")]
    pub(crate) started: Option<Millis>,
    /// When it ended.
    #[serde(serialize_with = "maybe_iso")]
    pub(crate) ended: Option<Millis>,
}
