//! How writes to the user's table become known: by three triggers, or, where somebody allows none on
//! their table, by comparing.
//!
//! The answer stands in the database (`runchain_meta`), so that install, validate, uninstall and every
//! executor know it. Triggers are what stands there when nothing is said.

use crate::error::{During, Error, Result};
use crate::{Mapping, schema};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

/// How writes are captured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Capture {
    /// Each write appends to the queue, in its own transaction.
    #[default]
    Triggers,
    /// The executor compares after every commit: later, and what flips back between two looks is
    /// never seen.
    Sweep,
}

impl Capture {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Triggers, Self::Sweep];

    /// The word in configuration and database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Triggers => "triggers",
            Self::Sweep => "sweep",
        }
    }

    /// The statements that make it so for a table.
    #[must_use]
    pub fn sql(self, mapping: &Mapping) -> String {
        match self {
            Self::Triggers => mapping.triggers_sql(),
            Self::Sweep => mapping.without_triggers_sql(),
        }
    }

    /// The way that a word means.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|capture| capture.as_str() == word)
    }
}

/// Key in `runchain_meta`; absent means triggers.
const KEY: &str = "capture";

/// As it is installed.
///
/// # Errors
/// Whatever SQLite answers, and a word that this build doesn't know.
pub fn installed(conn: &Connection) -> Result<Capture> {
    let word = schema::meta(conn, KEY)?;
    from_meta(word.as_deref()).ok_or_else(|| {
        Error::refused(
            format!(
                "runchain_meta.capture is {:?}, which is neither triggers nor sweep",
                word.unwrap_or_default()
            ),
            "install again: runchain install --capture triggers",
        )
    })
}

/// The same; `None` for a word that this build doesn't know, to whom that is no obstacle.
///
/// # Errors
/// Whatever SQLite answers.
pub fn known(conn: &Connection) -> Result<Option<Capture>> {
    Ok(from_meta(schema::meta(conn, KEY)?.as_deref()))
}

fn from_meta(word: Option<&str>) -> Option<Capture> {
    word.map_or(Some(Capture::default()), Capture::from_word)
}

/// Notes the way; the caller makes or drops the triggers.
pub(crate) fn note(conn: &Connection, capture: Capture) -> Result<()> {
    match capture {
        Capture::Triggers => conn.execute("DELETE FROM runchain_meta WHERE key = ?1", [KEY]),
        Capture::Sweep => conn.execute(
            "INSERT OR REPLACE INTO runchain_meta(key, value) VALUES (?1, ?2)",
            [KEY, capture.as_str()],
        ),
    }
    .map(|_| ())
    .during("note how writes are captured")
}
