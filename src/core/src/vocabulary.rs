//! What a status word means: the phase of a run, as the database's own vocabulary says.

use crate::error::{During, Result};
use rusqlite::Connection;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Where a run is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Not over yet: monitored.
    Active,
    /// Over, and well.
    Completed,
    /// Over, and not (or only partly) well.
    Failed,
    /// Over because somebody ended it.
    Cancelled,
    /// Its row is gone. No word means this; only a delete does.
    Deleted,
}

impl Phase {
    /// The phases that a status word can mean.
    pub const OF_WORDS: [Self; 4] = [Self::Active, Self::Completed, Self::Failed, Self::Cancelled];

    /// The phase of this name in which a run is over, whatever its case.
    #[must_use]
    pub fn terminal(name: &str) -> Option<Self> {
        [Self::Completed, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|phase| phase.as_str().eq_ignore_ascii_case(name))
    }

    /// As it stands in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Deleted => "deleted",
        }
    }

    /// Whether the run is over, with its row still there.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromSql for Phase {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let word = value.as_str()?;
        Self::OF_WORDS
            .into_iter()
            .chain([Self::Deleted])
            .find(|phase| phase.as_str() == word)
            .ok_or(FromSqlError::InvalidType)
    }
}

impl ToSql for Phase {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.as_str()))
    }
}

/// `runchain_vocabulary`, read once for each expansion so that a DBA's INSERT counts at once.
#[derive(Debug, Clone, Default)]
pub struct Vocabulary {
    phases: HashMap<String, Phase>,
}

impl Vocabulary {
    /// Reads the table.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub fn load(conn: &Connection) -> Result<Self> {
        let mut statement = conn
            .prepare_cached("SELECT status, phase FROM runchain_vocabulary")
            .during("read the vocabulary")?;
        let rows = statement
            .query_map([], |row| {
                // A row that is no word (a BLOB) or no phase must not stop the work on every run.
                let word = row.get::<_, String>(0).ok();
                Ok(word.zip(row.get::<_, Phase>(1).ok()))
            })
            .during("read the vocabulary")?;
        let phases = rows
            .filter_map(rusqlite::Result::transpose)
            .map(|row| row.map(|(word, phase)| (word.to_ascii_uppercase(), phase)))
            .collect::<rusqlite::Result<_>>()
            .during("read the vocabulary")?;
        Ok(Self { phases })
    }

    /// The words that end a run, in upper case, in order.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let ending = self.phases.iter().filter(|(_, phase)| phase.is_terminal());
        let mut words: Vec<String> = ending.map(|(word, _)| word.clone()).collect();
        words.sort_unstable();
        words
    }

    /// The phase of a word, whatever its case (ASCII, as SQLite's NOCASE); `None` for an unknown
    /// word and for no word at all.
    #[must_use]
    pub fn phase(&self, status: Option<&str>) -> Option<Phase> {
        self.phases.get(&status?.to_ascii_uppercase()).copied()
    }
}
