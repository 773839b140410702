//! What the monitor shows, as plain data: rows are read into it, frames are drawn from it, `--json`
//! prints it. Ages are no part of it: a moment stands as it is, and who draws says what time it is.

mod events;
mod list;
mod overview;
mod run;

pub(crate) use events::{Alert, Event, Origin};
pub(crate) use list::{ChainStep, Need, Progress, QueuedStep, RunLine, Standing};
pub(crate) use overview::{Executor, LastError, Overview, Pause, RunCounts, StepCounts};
pub(crate) use run::{Cause, Failure, RunView, StepView, Task};

use crate::exit::Exit;
use runchain_core::validate::Finding;
use runchain_core::{Millis, RunId};
use serde::{Serialize, Serializer};

/// Everything that was read at one time.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Snapshot {
    /// When.
    #[serde(serialize_with = "iso")]
    pub(crate) at: Millis,
    /// The database's path.
    pub(crate) database: String,
    /// The project's folder: paths are shown from there.
    pub(crate) root: String,
    /// Why there is nothing to show.
    pub(crate) trouble: Option<Trouble>,
    /// The whole.
    pub(crate) overview: Option<Overview>,
    /// The run in view.
    pub(crate) run: Option<RunView>,
    /// The run that the cursor is on, where there is room for it beside the list.
    #[serde(skip)]
    pub(crate) preview: Option<RunView>,
    /// Steps that have not ended.
    pub(crate) queue: Vec<QueuedStep>,
    /// The newest events, the oldest of them first.
    pub(crate) events: Vec<Event>,
    /// Alerts, those that fire first.
    pub(crate) alerts: Vec<Alert>,
    /// What `monitor_checks()` found, once it was asked.
    pub(crate) health: Option<Vec<Finding>>,
}

impl Snapshot {
    /// Before anything was read.
    pub(crate) fn nothing() -> Self {
        Self {
            at: Millis(0),
            database: String::new(),
            root: String::new(),
            trouble: None,
            overview: None,
            run: None,
            preview: None,
            queue: Vec::new(),
            events: Vec::new(),
            alerts: Vec::new(),
            health: None,
        }
    }

    /// No run was ever seen; not so where it can't be told, or where another was asked for.
    pub(crate) fn has_no_run(&self) -> bool {
        self.overview
            .as_ref()
            .is_some_and(|overview| overview.list.is_empty())
    }

    /// The chain of a run that is listed or in view.
    pub(crate) fn chain_of(&self, run_id: &RunId) -> Option<&[ChainStep]> {
        let listed = self.overview.iter().flat_map(|overview| &overview.list);
        let views = self.run.iter().chain(&self.preview).map(|view| &view.line);
        let mut lines = views.chain(listed);
        lines
            .find(|line| line.run_id == *run_id)
            .map(|line| line.chain.as_slice())
    }
}

/// A database that can't be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Trouble {
    /// What was looked for.
    pub(crate) looked_for: String,
    /// What was found in its place.
    pub(crate) found: String,
    /// What mends it.
    pub(crate) remedy: String,
    /// How a command ends because of it.
    #[serde(skip)]
    pub(crate) exit: Exit,
}

fn iso<S: Serializer>(at: &Millis, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.iso())
}

fn maybe_iso<S: Serializer>(at: &Option<Millis>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => iso(at, serializer),
        None => serializer.serialize_none(),
    }
}
