//! Whether the capture triggers stand as this version writes them, and the alert when they don't.
//!
//! A migration tool that rebuilds a table drops its triggers; a rename takes them along or rewrites
//! them. Nobody's write fails by that, and nobody tells us: so the text of the three triggers is
//! compared with what the mapping asks for. Invariant: while they are lost there is one firing alert,
//! which is resolved in the transaction that puts them back or sees them back.
//!
//! What does not belong here: putting them back (`install`), and deciding when to look.

use crate::Millis;
use crate::alert::{self, Alarm, Own};
use crate::capture::{self, Capture};
use crate::error::{During, Result};
use crate::event::{self, EventType, NewEvent};
use crate::mapping::{Mapping, TRIGGERS};
use rusqlite::{Connection, OptionalExtension};
use serde_json::json;
use std::fmt;

/// How a person puts them back; `runchain_problems` says the same.
pub const REMEDY: &str = "runchain install --repair, or SELECT runchain_install('{\"repair\":true}');";

/// One capture trigger that isn't as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Its name.
    pub trigger: &'static str,
    /// What became of it.
    pub what: Harm,
}

/// What became of a capture trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Harm {
    /// It is gone, as after a table rebuild.
    Missing,
    /// It stands on another table, as after `ALTER TABLE ... RENAME TO`.
    Elsewhere {
        /// That table.
        on: String,
        /// The table that it should stand on.
        not_on: String,
    },
    /// Its text is another, as after `ALTER TABLE ... RENAME COLUMN`.
    Altered,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            Harm::Missing => write!(f, "{} is missing", self.trigger),
            Harm::Elsewhere { on, not_on } => {
                write!(f, "{} stands on {on}, not on {not_on}", self.trigger)
            }
            Harm::Altered => write!(f, "{} was altered", self.trigger),
        }
    }
}

/// The faults in one sentence.
#[must_use]
pub fn sentence(faults: &[Fault]) -> String {
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    faults.join("; ")
}

/// A trigger as the database has it.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    /// The table that it stands on.
    pub(crate) table: String,
    /// Its text.
    pub(crate) sql: String,
}

/// The trigger of this name in the main database.
pub(crate) fn stored(conn: &Connection, name: &str) -> Result<Option<Stored>> {
    conn.prepare_cached(
        "SELECT tbl_name, sql FROM main.sqlite_master WHERE type = 'trigger' AND name = ?1 COLLATE NOCASE",
    )
    .and_then(|mut statement| {
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Stored {
                table: row.get(0)?,
                sql: row.get(1)?,
            })
        };
        statement.query_row([name], read).optional()
    })
    .during("read the capture triggers")
}

/// Whether any of the capture triggers is there.
pub(crate) fn any(conn: &Connection) -> Result<bool> {
    for name in TRIGGERS {
        if stored(conn, name)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What is wrong with the triggers of this mapping; nothing when every write is captured, and nothing
/// where none is wanted.
///
/// # Errors
/// Whatever SQLite answers.
pub fn faults(conn: &Connection, mapping: &Mapping) -> Result<Vec<Fault>> {
    if capture::known(conn)? == Some(Capture::Sweep) {
        return Ok(Vec::new());
    }
    let mut faults = Vec::new();
    for (trigger, wanted) in mapping.triggers() {
        let what = match stored(conn, trigger)? {
            None => Harm::Missing,
            Some(found) if !found.table.eq_ignore_ascii_case(&mapping.table) => Harm::Elsewhere {
                on: found.table,
                not_on: mapping.table.clone(),
            },
            Some(found) if found.sql != wanted => Harm::Altered,
            Some(_) => continue,
        };
        faults.push(Fault { trigger, what });
    }
    Ok(faults)
}

/// The number that SQLite changes with every change of the schema, by whomever.
///
/// # Errors
/// Whatever SQLite answers.
pub fn schema_cookie(conn: &Connection) -> Result<i64> {
    conn.prepare_cached("PRAGMA main.schema_version")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .during("look whether the schema changed")
}

/// Raises the alert, and the event TRIGGERS_LOST with it; `true` when it was not firing before. An
/// alert that somebody has acknowledged stays so.
///
/// # Errors
/// Whatever SQLite answers.
pub fn alarm(conn: &Connection, mapping: &Mapping, faults: &[Fault], now: Millis) -> Result<bool> {
    let message = sentence(faults);
    let is_new = !is_alarmed(conn)?;
    let alarm = Alarm {
        own: Own::TriggersLost,
        of: &[],
        run_id: None,
        subject: &mapping.table,
        message: &message,
    };
    alert::raise_or_renew(conn, &alarm, now)?;
    if is_new {
        let data = json!({ "mapping": mapping, "faults": message, "remedy": REMEDY });
        event::append(
            conn,
            &NewEvent::of_database(EventType::TriggersLost, now, None, data),
        )?;
    }
    Ok(is_new)
}

/// Whether the alert fires or is acknowledged.
///
/// # Errors
/// Whatever SQLite answers.
pub fn is_alarmed(conn: &Connection) -> Result<bool> {
    alert::is_open(conn, Own::TriggersLost, &[])
}

/// The triggers are back: resolves the alert, and says so by TRIGGERS_RESTORED if it was firing or
/// somebody has just put them back (`mended` is what was wrong then).
///
/// # Errors
/// Whatever SQLite answers.
pub fn restored(conn: &Connection, mapping: &Mapping, mended: &[Fault], by: &str, now: Millis) -> Result<()> {
    let resolved = alert::resolve(conn, Own::TriggersLost, &[], now)?;
    if !resolved && mended.is_empty() {
        return Ok(());
    }
    let data = json!({ "mapping": mapping, "mended": sentence(mended), "by": by });
    event::append(
        conn,
        &NewEvent::of_database(EventType::TriggersRestored, now, None, data),
    )
    .map(drop)
}
