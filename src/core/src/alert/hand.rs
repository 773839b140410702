//! What people do with alerts: at once, by the command line, or through the queue, by SQL.
//!
//! Either way the change names who and why, and one entry of the audit trail tells the state before and after.

use super::life::note_change;
use super::{Entry, State};
use crate::audit::{self, Action, By};
use crate::error::{During, Error, Result};
use crate::{Mapping, Millis, schema};
use rusqlite::Connection;
use serde_json::json;

/// What a person does with an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByHand {
    /// They know.
    Acknowledge,
    /// They say that it is over.
    Resolve,
}

impl ByHand {
    /// By its verb.
    pub(crate) fn from_action(action: &str) -> Option<Self> {
        [Self::Acknowledge, Self::Resolve]
            .into_iter()
            .find(|one| one.action() == action)
    }

    /// The verb in the audit trail, and the action of a request.
    #[must_use]
    pub fn action(self) -> &'static str {
        match self {
            Self::Acknowledge => "acknowledge_alert",
            Self::Resolve => "resolve_alert",
        }
    }

    fn state(self) -> State {
        match self {
            Self::Acknowledge => State::Acknowledged,
            Self::Resolve => State::Resolved,
        }
    }

    /// What of the open states it changes.
    fn changes(self, state: State) -> bool {
        match self {
            Self::Acknowledge => state == State::Firing,
            Self::Resolve => state != State::Resolved,
        }
    }
}

/// Acknowledges or resolves an alert by hand, with an entry in the audit trail; whether that is news.
///
/// # Errors
/// A refusal where there is no such alert, or where it is over and can't be acknowledged; whatever SQLite
/// answers.
pub fn by_hand(conn: &Connection, alert: i64, what: ByHand, by: &By, now: Millis) -> Result<bool> {
    let entry = require(conn, alert)?;
    if !change_by_hand(conn, &entry, what, by, now)? {
        return Ok(false);
    }
    let shown = |state: State| json!({ "alert": alert, "rule": entry.rule, "subject": entry.subject, "state": state });
    let action = Action {
        name: what.action(),
        run_id: entry.run_id.as_ref(),
        by,
        before: shown(entry.state),
        after: shown(what.state()),
    };
    audit::record(conn, &action, now)?;
    Ok(true)
}

/// The same without the entry, for who writes one of its own; `false` where it stands so already.
pub(crate) fn change_by_hand(
    conn: &Connection,
    entry: &Entry,
    what: ByHand,
    by: &By,
    now: Millis,
) -> Result<bool> {
    schema::check_writer(conn)?;
    if !may_change(entry, what)? {
        return Ok(false);
    }
    conn.execute(
        "UPDATE runchain_alerts SET state = ?2 WHERE id = ?1",
        (entry.id, what.state().as_str()),
    )
    .during("change an alert by hand")?;
    note_change(conn, entry.id, Some(entry.state), what.state(), Some(by), now)?;
    Ok(true)
}

/// Asks for it, through the queue; an executor does it. Nothing is queued where it stands so already.
///
/// # Errors
/// As [`by_hand`].
pub fn ask(
    conn: &Connection,
    alert: i64,
    what: ByHand,
    actor: &str,
    reason: Option<&str>,
) -> Result<serde_json::Value> {
    Mapping::require(conn)?;
    let entry = require(conn, alert)?;
    let is_news = may_change(&entry, what)?;
    if is_news {
        conn.execute(
            "INSERT INTO runchain_queue(action, step_id, actor, reason) VALUES (?1, ?2, ?3, ?4)",
            (what.action(), alert, actor, reason),
        )
        .during("queue a request")?;
    }
    let answer = if is_news { "queued" } else { "nothing_to_do" };
    Ok(json!({
        "action": what.action(), "alert": alert, "rule": entry.rule, "subject": entry.subject, "answer": answer,
        "queued": is_news,
    }))
}

fn require(conn: &Connection, alert: i64) -> Result<Entry> {
    super::find(conn, alert)?
        .ok_or_else(|| Error::refused(format!("there is no alert {alert}"), "list them: runchain alerts"))
}

fn may_change(entry: &Entry, what: ByHand) -> Result<bool> {
    if what == ByHand::Acknowledge && entry.state == State::Resolved {
        return Err(Error::refused(
            format!("alert {} is resolved", entry.id),
            "acknowledge one that fires: runchain alerts",
        ));
    }
    Ok(what.changes(entry.state))
}
