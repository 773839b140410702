//! What a person can ask for from the screen, and how it is asked: through the queue, as the commands
//! do it, with the person as its actor and the reason that was typed. Alerts alone are changed at once: no
//! executor has to act on them.

use crate::actor::{actor, by};
use crate::commands;
use crate::config::Settings;
use crate::door;
use crate::open::OpenMode;
use runchain_core::alert::{self, ByHand};
use runchain_core::request::{self, StepVerb};
use runchain_core::steps::EVERY_KIND;
use runchain_core::{Error, Millis, RunId, StepId};
use rusqlite::Connection;
use std::time::Duration;

/// What can be asked about steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Dead steps once more.
    Retry,
    /// No more of what has not ended.
    Cancel,
}

impl Verb {
    /// Whether it means anything for a step in this state.
    pub(crate) fn applies_to(self, state: &str) -> bool {
        match self {
            Self::Retry => state == "dead",
            Self::Cancel => !matches!(state, "done" | "cancelled" | "pending"),
        }
    }

    fn core(self) -> StepVerb {
        match self {
            Self::Retry => StepVerb::Retry,
            Self::Cancel => StepVerb::Cancel,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Retry => "Retry",
            Self::Cancel => "Cancel",
        }
    }
}

/// Something that changes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// About these steps.
    Steps(Verb, Vec<StepId>),
    /// About every step of a run's newest chain to which the verb applies.
    Run(Verb, RunId),
    /// Start no more steps of a kind.
    Pause(String),
    /// Start them again.
    Resume(String),
    /// Somebody has seen the alert, or it is over.
    Alert(ByHand, i64),
}

impl Request {
    /// The question, with the number of rows that it hits.
    pub(crate) fn question(&self, hits: i64) -> String {
        match self {
            Self::Steps(verb, _) => format!("{} {}?", verb.word(), steps(hits)),
            Self::Run(verb, run_id) => format!("{} {} of run {run_id}?", verb.word(), steps(hits)),
            Self::Pause(kind) => format!("Pause {}? {} would wait.", kind_words(kind), steps(hits)),
            Self::Resume(kind) => format!("Resume {}? {} could start.", kind_words(kind), steps(hits)),
            Self::Alert(ByHand::Acknowledge, _) => format!("Acknowledge {hits} alert?"),
            Self::Alert(ByHand::Resolve, _) => format!("Resolve {hits} alert?"),
        }
    }

    /// What happens after a yes.
    pub(crate) fn consequence(&self) -> &'static str {
        match self {
            Self::Alert(..) => "It is done at once, and logged with your name.",
            _ => "It is queued, and logged with your name.",
        }
    }

    /// What is said where it hits nothing.
    pub(crate) fn nothing(&self) -> String {
        match self {
            Self::Steps(verb, _) | Self::Run(verb, _) => match verb {
                Verb::Retry => "nothing to retry: no step is dead here".to_owned(),
                Verb::Cancel => "nothing to cancel: no step is left here".to_owned(),
            },
            _ => "nothing to do".to_owned(),
        }
    }

    /// A pause also counts for what comes later.
    pub(crate) fn works_without_rows(&self) -> bool {
        matches!(self, Self::Pause(_) | Self::Resume(_))
    }
}

/// Whether a person can do this with an alert in this state.
pub(crate) fn can_change_alert(change: ByHand, state: &str) -> bool {
    match change {
        ByHand::Acknowledge => state == "firing",
        ByHand::Resolve => state != "resolved",
    }
}

fn steps(number: i64) -> String {
    if number == 1 {
        "1 step".to_owned()
    } else {
        format!("{number} steps")
    }
}

fn kind_words(kind: &str) -> String {
    if kind == EVERY_KIND {
        "every kind of steps".to_owned()
    } else {
        format!("the steps {kind}")
    }
}

/// How long a request waits for somebody else's lock: the keyboard waits with it.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// Queues a confirmed request; answers what was queued, in words.
pub(crate) fn queue(settings: &Settings, what: &Request, reason: Option<&str>) -> Result<String, String> {
    let conn = commands::open(settings, OpenMode::ReadWrite).map_err(|failure| failure.message)?;
    // A connection that could not be told so waits for longer.
    let _ = conn.busy_timeout(BUSY_TIMEOUT);
    let actor = actor().to_string();
    let asked = match what {
        Request::Steps(verb, ids) => about_steps(&conn, *verb, ids, &actor, reason),
        Request::Run(verb, run_id) => door::write_now(&conn, |conn| {
            request::ask_about_run(conn, verb.core(), run_id, &actor, reason)
        })
        .map(|asked| format!("queued for {}", steps(asked as i64))),
        Request::Pause(kind) => door::write_now(&conn, |conn| {
            request::ask_for_pause(conn, true, kind, &actor, reason)
        })
        .map(|_| format!("queued: pause {}", kind_words(kind))),
        Request::Resume(kind) => door::write_now(&conn, |conn| {
            request::ask_for_pause(conn, false, kind, &actor, reason)
        })
        .map(|_| format!("queued: resume {}", kind_words(kind))),
        Request::Alert(change, id) => change_alert(&conn, *change, *id, reason),
    };
    asked.map_err(|error| {
        if error.is_busy() {
            "nothing was changed: another process holds the database's lock; try again".to_owned()
        } else {
            error.to_string()
        }
    })
}

/// Done at once; it stands in the audit trail.
fn change_alert(
    conn: &Connection,
    change: ByHand,
    id: i64,
    reason: Option<&str>,
) -> runchain_core::Result<String> {
    let by = by(reason);
    let is_done = door::write_now(conn, |conn| alert::by_hand(conn, id, change, &by, Millis::now()))?;
    let said = match (is_done, change) {
        (true, ByHand::Acknowledge) => "acknowledged",
        (true, ByHand::Resolve) => "resolved",
        (false, _) => "it had changed meanwhile",
    };
    Ok(said.to_owned())
}

/// Each step is asked about by itself; one that has gone on meanwhile is left alone.
fn about_steps(
    conn: &Connection,
    verb: Verb,
    ids: &[StepId],
    actor: &str,
    reason: Option<&str>,
) -> runchain_core::Result<String> {
    let queued = door::write_now(conn, |conn| {
        let mut queued = 0;
        for &id in ids {
            match request::ask_about_step(conn, verb.core(), id, actor, reason) {
                Ok(_) => queued += 1,
                Err(Error::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(queued)
    })?;
    let gone = ids.len() as i64 - queued;
    Ok(match gone {
        0 => format!("queued for {}", steps(queued)),
        _ => format!(
            "queued for {}; {} had gone on meanwhile",
            steps(queued),
            steps(gone)
        ),
    })
}
