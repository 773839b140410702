//! Alerts: what a person must see. One row of `runchain_alerts` for each fingerprint, however often it
//! happens; every change of its state is one row of `runchain_alert_changes`, written in the transaction
//! of its cause.
//!
//! ```text
//! rule.rs      what is an alert: how an event is judged
//! own.rs       our own alerts, and severities
//! rulebook.rs  the rules that are kept in the database
//! life.rs      raise and resolve, by a cause
//! hand.rs      acknowledge and resolve, by a person
//! flood.rs     so many alerts of one rule at once are one
//! window.rs    so many events within a time
//! rejects.rs   lines of event logs that could not be kept
//! due/         what only the clock decides: windows that pass, silence, chains that are late
//! announce.rs  changes leave as events, and as deliveries to channels
//! delivery.rs  what is to be sent, until it is sent or dead
//! list.rs      reading them, for people
//! ```
//!
//! Invariants: nobody but `life` and `hand` (and the ingest, by its rules) writes a state; a change is announced
//! once; a flood of failures is a bounded number of rows. What does not belong here: channels and how
//! one talks to them, configuration, when to look.

pub mod announce;
pub mod delivery;
pub mod due;
mod flood;
mod hand;
mod life;
mod list;
mod own;
pub(crate) mod rejects;
pub mod rule;
pub mod rulebook;
mod window;

pub use flood::Admission;
pub(crate) use flood::{admit, admit_over};
pub(crate) use hand::change_by_hand;
pub use hand::{ByHand, ask, by_hand};
pub use life::{Alarm, Raised, is_open, raise, raise_or_renew, resolve, resolve_all_of};
pub(crate) use life::{note_change, run_of};
pub use list::{Change, Entry, Filter, changes_of, entries, find};
pub use own::{Own, Severity};
pub(crate) use window::{Counted, Windows};

use serde::Serialize;

/// The state of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its cause is there, and nobody has said that they know.
    Firing,
    /// Somebody knows; the cause is there.
    Acknowledged,
    /// Over.
    Resolved,
}

impl State {
    /// As it stands in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Acknowledged => "acknowledged",
            Self::Resolved => "resolved",
        }
    }

    /// The state of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Firing, Self::Acknowledged, Self::Resolved]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

/// A fingerprint: a JSON array, the rule first, so that all alerts of a rule (and of what follows it)
/// are one range of the unique index.
#[must_use]
pub fn fingerprint(rule: &str, parts: &[Option<&str>]) -> String {
    let mut text = format!("[{}", quote(rule));
    for part in parts {
        text.push(',');
        text.push_str(&part.map_or_else(|| "null".to_owned(), quote));
    }
    text.push(']');
    text
}

/// A JSON string.
pub(crate) fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
