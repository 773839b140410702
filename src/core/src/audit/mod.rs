//! The audit trail: who did what to this database, when, why, and what it changed.
//!
//! Invariant: whatever a person or a program asks for is one event, written in the transaction that
//! does it (an ingest commits in batches, and is recorded after the last), with actor, reason, and the
//! state before and after. Requests through the queue are events REQUEST (see `request`); everything
//! else that an operator does is an event OPERATOR_ACTION by [`record`] (an install is INSTALLED). They
//! are found by an index of their own, whatever the number of other events. What does not belong here:
//! what an action does.

mod actor;
mod read;

pub use actor::{Account, Actor, host};
pub use read::{Change, Entry, Query, changes, entries};

use crate::error::Result;
use crate::event::{self, EventType, NewEvent};
use crate::{Millis, RunId};
use rusqlite::Connection;
use serde_json::{Map, Value as Json};

/// The types of events that are the audit trail, in the order of the index's condition.
pub const TYPES: [EventType; 3] = [
    EventType::Request,
    EventType::OperatorAction,
    EventType::Installed,
];

/// Who wants it and why: what every command that changes something knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct By {
    /// The text of an [`Actor`].
    pub actor: Option<String>,
    /// Why, in the actor's own words.
    pub reason: Option<String>,
}

impl By {
    /// An actor with a reason.
    #[must_use]
    pub fn new(actor: &Actor, reason: Option<&str>) -> Self {
        Self {
            actor: Some(actor.to_string()),
            reason: reason.map(str::to_owned),
        }
    }
}

/// Something that an operator did and that is no request: `uninstall`, `prune`, `config_reload`.
#[derive(Debug, Clone)]
pub struct Action<'a> {
    /// The verb, lower case with underscores; `runchain audit --action` looks for it.
    pub name: &'a str,
    /// The run that it concerns, if it concerns one.
    pub run_id: Option<&'a RunId>,
    /// Who and why.
    pub by: &'a By,
    /// What it changed, as it was: an object with the same keys as `after`, or null.
    pub before: Json,
    /// The same afterwards.
    pub after: Json,
}

/// Writes an action into the audit trail, inside the transaction that does it; returns the event's id.
///
/// # Errors
/// Whatever SQLite answers.
pub fn record(conn: &Connection, action: &Action<'_>, now: Millis) -> Result<i64> {
    let mut data = signed(
        action.name,
        action.by.actor.as_deref(),
        action.by.reason.as_deref(),
    );
    data.insert("before".to_owned(), action.before.clone());
    data.insert("after".to_owned(), action.after.clone());
    let event = NewEvent::of_database(EventType::OperatorAction, now, action.run_id, Json::Object(data));
    event::append(conn, &event)
}

/// The beginning of every audit event's data: `action`, `actor`, its parts as `who`, `reason`.
#[must_use]
pub(crate) fn signed(action: &str, actor: Option<&str>, reason: Option<&str>) -> Map<String, Json> {
    let who = actor.map_or(Json::Null, |text| Actor::parse(text).parts());
    let text = |text: Option<&str>| text.map_or(Json::Null, Json::from);
    Map::from_iter([
        ("action".to_owned(), Json::from(action)),
        ("actor".to_owned(), text(actor)),
        ("who".to_owned(), who),
        ("reason".to_owned(), text(reason)),
    ])
}
