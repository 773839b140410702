//! Lines of lists: a run, the steps of its chain in brief, a step of the queue.

use super::{iso, maybe_iso};
use runchain_core::{Millis, RunId, StepId};
use serde::Serialize;

/// Why a run stands at the top of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Need {
    /// A step of its chain is dead.
    DeadStep,
    /// It stands still.
    Stalled,
    /// It failed lately.
    Failed,
}

/// A run as the list has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RunLine {
    /// Its id.
    pub(crate) run_id: RunId,
    /// The user's word.
    pub(crate) status: Option<String>,
    /// What that means: active, completed, failed, cancelled, deleted.
    pub(crate) phase: String,
    /// Since when.
    #[serde(serialize_with = "iso")]
    pub(crate) since: Millis,
    /// How often it has ended.
    pub(crate) generation: i64,
    /// on, off, abandoned.
    pub(crate) monitor: String,
    /// Since when nothing of it has changed, where that is too long.
    #[serde(serialize_with = "maybe_iso")]
    pub(crate) stalled_since: Option<Millis>,
    /// Why it needs somebody.
    pub(crate) need: Option<Need>,
    /// How far it is, as its own tables say.
    pub(crate) progress: Vec<Progress>,
    /// Its newest heartbeat in the log.
    #[serde(serialize_with = "maybe_iso")]
    pub(crate) heartbeat: Option<Millis>,
    /// The steps of its newest chain.
    pub(crate) chain: Vec<ChainStep>,
}

impl RunLine {
    /// Whether it is under way.
    pub(crate) fn is_active(&self) -> bool {
        self.phase == "active"
    }
}

/// Rows of one table of the user's that belong to a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Progress {
    /// steps, tasks, workstreams.
    pub(crate) what: String,
    /// All.
    pub(crate) total: i64,
    /// Done.
    pub(crate) done: i64,
    /// Failed.
    pub(crate) failed: i64,
}

/// A step of a chain, as far as the list and the footer need it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ChainStep {
    /// Its name.
    pub(crate) step: String,
    /// As it stands in the database; `pending` where the chain isn't begun.
    pub(crate) state: String,
    /// Starts so far.
    pub(crate) attempts: i64,
    /// Starts that it may have.
    pub(crate) max_attempts: i64,
    /// When it can start.
    #[serde(serialize_with = "iso")]
    pub(crate) ready_at: Millis,
    /// It waits for the run to settle.
    pub(crate) is_deferred: bool,
}

/// Where a step stands, in the words of the footer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Not begun.
    Pending,
    /// Looks again then whether the run is quiet.
    Settling(Millis),
    /// An attempt runs.
    Running {
        /// Which.
        attempt: i64,
    },
    /// An attempt failed; another follows.
    Retrying {
        /// Which.
        attempt: i64,
        /// When.
        at: Millis,
    },
    /// Through.
    Done,
    /// Attempts used up.
    Dead,
    /// Called off.
    Cancelled,
}

impl ChainStep {
    /// Where it stands.
    pub(crate) fn standing(&self) -> Standing {
        match self.state.as_str() {
            "leased" | "running" => Standing::Running {
                attempt: self.attempts.max(1),
            },
            "ready" if self.is_deferred => Standing::Settling(self.ready_at),
            "ready" if self.attempts > 0 => Standing::Retrying {
                attempt: self.attempts + 1,
                at: self.ready_at,
            },
            "done" => Standing::Done,
            "dead" => Standing::Dead,
            "cancelled" => Standing::Cancelled,
            _ => Standing::Pending,
        }
    }
}

/// A step that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct QueuedStep {
    /// Its id.
    pub(crate) id: StepId,
    /// Its run.
    pub(crate) run_id: RunId,
    /// Its kind and standing.
    pub(crate) brief: ChainStep,
    /// Its last error.
    pub(crate) error: Option<String>,
}
