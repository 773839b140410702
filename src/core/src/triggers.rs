//! Whether the capture triggers stand as this version writes them, and the alert when they don't.
//!
//! A migration tool that rebuilds a table drops its triggers; a rename takes them along or rewrites
//! them. Nobody's write fails by that, and nobody tells us: so the text of the three triggers is
//! compared with what the mapping asks for. Invariant: while they are lost there is one firing alert,
//! which is resolved in the transaction that puts them back or sees them back.
//!
//! What does not belong here: putting them back (`install`), and deciding when to look.

use crate::capture::{self, Capture};
use crate::error::{During, Result};
use crate::event::{self, EventType, NewEvent};
use crate::mapping::{Mapping, TRIGGERS};
use crate::{Millis, schema};
use rusqlite::{Connection, OptionalExtension};
use serde_json::json;
use std::fmt;

/// The rule of the alert, and the whole of its fingerprint: there is one table to capture.
pub const RULE: &str = "triggers_lost";

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
    conn.execute(
        "INSERT INTO runchain_alerts(fingerprint, rule, severity, state, subject, message, count, first_at_ms, last_at_ms)
         VALUES (?1, ?1, 'error', 'firing', ?2, ?3, 1, ?4, ?4)
         ON CONFLICT(fingerprint) DO UPDATE SET
           state = CASE state WHEN 'resolved' THEN 'firing' ELSE state END,
           count = count + (state = 'resolved'),
           subject = ?2, message = ?3, last_at_ms = ?4",
        (RULE, &mapping.table, &message, now),
    )
    .during("raise the alert of lost triggers")?;
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
    if !schema::table_exists(conn, "runchain_alerts")? {
        return Ok(false);
    }
    conn.query_row(
        "SELECT EXISTS (SELECT 1 FROM runchain_alerts WHERE fingerprint = ?1 AND state <> 'resolved')",
        [RULE],
        |row| row.get(0),
    )
    .during("look for the alert of lost triggers")
}

/// The triggers are back: resolves the alert, and says so by TRIGGERS_RESTORED if it was firing or
/// somebody has just put them back (`mended` is what was wrong then).
///
/// # Errors
/// Whatever SQLite answers.
pub fn restored(conn: &Connection, mapping: &Mapping, mended: &[Fault], by: &str, now: Millis) -> Result<()> {
    let resolved = conn
        .execute(
            "UPDATE runchain_alerts SET state = 'resolved', last_at_ms = ?2
             WHERE fingerprint = ?1 AND state <> 'resolved'",
            (RULE, now),
        )
        .during("resolve the alert of lost triggers")?;
    if resolved == 0 && mended.is_empty() {
        return Ok(());
    }
    let data = json!({ "mapping": mapping, "mended": sentence(mended), "by": by });
    event::append(
        conn,
        &NewEvent::of_database(EventType::TriggersRestored, now, None, data),
    )
    .map(drop)
}
