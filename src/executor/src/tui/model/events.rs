//! What happened, and what somebody must see.

use super::{iso, maybe_iso};
use runchain_core::{Millis, RunId};
use serde::Serialize;

/// Where an event comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Origin {
    /// A lifecycle event of runchain's.
    Lifecycle,
    /// An event log of the user's.
    Log,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Event {
    /// Where it comes from.
    pub(crate) origin: Origin,
    /// Its number there.
    pub(crate) id: i64,
    /// When.
    #[serde(serialize_with = "maybe_iso")]
    pub(crate) at: Option<Millis>,
    /// What.
    pub(crate) kind: String,
    /// Of which run.
    pub(crate) run_id: Option<String>,
    /// Everything else, in words.
    pub(crate) text: String,
}

impl Event {
    /// Whether it tells of something that went wrong.
    pub(crate) fn is_bad(&self) -> bool {
        const BAD: [&str; 6] = [
            "STEP_FAILED",
            "STEP_DEAD",
            "RUN_STALLED",
            "TRIGGERS_LOST",
            "ALERT_FIRING",
            "DISK_LOW",
        ];
        self.kind.ends_with(".failed") || BAD.contains(&self.kind.as_str())
    }
}

/// An alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Alert {
    /// Its number.
    pub(crate) id: i64,
    /// The rule that it broke.
    pub(crate) rule: String,
    /// How bad it is.
    pub(crate) severity: String,
    /// firing, acknowledged, resolved.
    pub(crate) state: String,
    /// Of which run.
    pub(crate) run_id: Option<RunId>,
    /// What it is about.
    pub(crate) subject: String,
    /// What was said.
    pub(crate) message: String,
    /// How often.
    pub(crate) count: i64,
    /// Since when.
    #[serde(serialize_with = "iso")]
    pub(crate) first: Millis,
    /// When last.
    #[serde(serialize_with = "iso")]
    pub(crate) last: Millis,
}
