//! The database as a whole.

use super::{RunLine, iso, maybe_iso};
use runchain_core::{Millis, RunId};
use serde::Serialize;

/// The database as a whole.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Overview {
    /// Whether somebody drains.
    pub(crate) executor: Executor,
    /// Runs by phase.
    pub(crate) runs: RunCounts,
    /// Steps that have not ended.
    pub(crate) steps: StepCounts,
    /// Since when the oldest step has been due.
    #[serde(serialize_with = "maybe_iso")]
    pub(crate) oldest_due: Option<Millis>,
    /// Writes and requests that no executor has looked at yet.
    pub(crate) queue_rows: i64,
    /// When the oldest of those was written.
    #[serde(serialize_with = "maybe_iso")]
    pub(crate) oldest_queued: Option<Millis>,
    /// Kinds of steps that are not started for now.
    pub(crate) paused: Vec<Pause>,
    /// Why not every write is captured.
    pub(crate) triggers_lost: Option<String>,
    /// Runs that ended in each of the last minutes, the newest last.
    pub(crate) ended_per_minute: Vec<u64>,
    /// The newest failure.
    pub(crate) last_error: Option<LastError>,
    /// How many alerts fire.
    pub(crate) alerts_firing: i64,
    /// The runs that are listed.
    pub(crate) list: Vec<RunLine>,
}

impl Overview {
    /// Whether something is under way: what is shown changes by the second.
    pub(crate) fn is_busy(&self) -> bool {
        let steps = self.steps;
        self.runs.active > 0 || self.queue_rows > 0 || steps.running + steps.ready > 0
    }
}

/// Whether an executor works on the database.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "what")]
pub(crate) enum Executor {
    /// One does: what it says of itself.
    Alive(String),
    /// None does: the one that was heard of last.
    None(Option<String>),
    /// It can't be told: why.
    #[default]
    Unknown,
}

/// Runs by phase; those that are over are counted up to [`crate::tui::read::COUNTED_AT_MOST`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct RunCounts {
    /// Not over.
    pub(crate) active: i64,
    /// Of those, the ones that stand still.
    pub(crate) stalled: i64,
    /// Over, and well.
    pub(crate) completed: i64,
    /// Over, and not.
    pub(crate) failed: i64,
    /// Called off.
    pub(crate) cancelled: i64,
}

/// Steps that have not ended, by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct StepCounts {
    /// Leased or running.
    pub(crate) running: i64,
    /// Could start, now or later.
    pub(crate) ready: i64,
    /// Wait for others.
    pub(crate) waiting: i64,
    /// Attempts used up.
    pub(crate) dead: i64,
}

/// A kind of steps that is not started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Pause {
    /// The kind, or `*`.
    pub(crate) step: String,
    /// By whom.
    pub(crate) actor: Option<String>,
    /// Why.
    pub(crate) reason: Option<String>,
}

/// The newest attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct LastError {
    /// Of which run.
    pub(crate) run_id: RunId,
    /// Of which step.
    pub(crate) step: String,
    /// In which state that step is now.
    pub(crate) state: String,
    /// Which attempt it was.
    pub(crate) attempt: i64,
    /// Of how many.
    pub(crate) max_attempts: i64,
    /// When.
    #[serde(serialize_with = "iso")]
    pub(crate) at: Millis,
    /// Why.
    pub(crate) error: String,
}
