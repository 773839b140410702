//! Alerts of our own, whose cause is not an event of a log. Each can be switched off or given another
//! severity by a rule of the same name.

use crate::error::{During, Result};
use crate::schema;
use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// To know.
    Info,
    /// To look at some day.
    Warning,
    /// To look at.
    Error,
    /// To look at now.
    Critical,
}

impl Severity {
    /// All of them, the least first.
    pub const ALL: [Self; 4] = [Self::Info, Self::Warning, Self::Error, Self::Critical];

    /// As it stands in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }

    /// The severity of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str() == word)
    }
}

/// Alerts of our own: their names and severities, unless a rule of that name says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    /// A run ended in the phase failed.
    RunFailed,
    /// The attempts of a step are used up.
    StepDead,
    /// Nothing of an active run changed for long.
    RunStalled,
    /// A chain takes much longer than others did.
    ChainLate,
    /// The capture triggers are gone.
    TriggersLost,
    /// Nobody drained for long.
    ExecutorWasDown,
    /// The database's disk is full.
    DiskLow,
    /// The logs can't be written.
    LogsUnwritable,
    /// Many runs ended in a rush; their chains are held.
    Storm,
    /// Event logs bring more lines that can't be kept than before.
    IngestRejects,
}

impl Own {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::RunFailed,
        Self::StepDead,
        Self::RunStalled,
        Self::ChainLate,
        Self::TriggersLost,
        Self::ExecutorWasDown,
        Self::DiskLow,
        Self::LogsUnwritable,
        Self::Storm,
        Self::IngestRejects,
    ];

    /// The rule's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RunFailed => "run_failed",
            Self::StepDead => "step_dead",
            Self::RunStalled => "run_stalled",
            Self::ChainLate => "chain_late",
            Self::TriggersLost => "triggers_lost",
            Self::ExecutorWasDown => "executor_was_down",
            Self::DiskLow => "disk_low",
            Self::LogsUnwritable => "logs_unwritable",
            Self::Storm => "storm",
            Self::IngestRejects => "ingest_rejects",
        }
    }

    /// How bad it is by default.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::DiskLow | Self::LogsUnwritable => Severity::Critical,
            Self::RunFailed | Self::StepDead | Self::TriggersLost | Self::Storm => Severity::Error,
            Self::RunStalled | Self::ChainLate | Self::ExecutorWasDown | Self::IngestRejects => {
                Severity::Warning
            }
        }
    }

    /// Whether others rely on its row: it can't be switched off.
    #[must_use]
    pub fn is_vital(self) -> bool {
        matches!(
            self,
            Self::TriggersLost | Self::DiskLow | Self::LogsUnwritable | Self::Storm
        )
    }

    /// The severity that holds; `None` where the rule is switched off.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub fn in_force(self, conn: &Connection) -> Result<Option<Severity>> {
        if !schema::table_exists(conn, "runchain_alert_rules")? {
            return Ok(Some(self.severity()));
        }
        let row: Option<(bool, String)> = conn
            .prepare_cached(
                "SELECT enabled, severity FROM runchain_alert_rules WHERE name = ?1 ORDER BY origin LIMIT 1",
            )
            .and_then(|mut statement| {
                statement
                    .query_row([self.name()], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()
            })
            .during("look an alert rule up")?;
        Ok(match row {
            None => Some(self.severity()),
            Some((false, _)) if !self.is_vital() => None,
            Some((_, word)) => Some(Severity::from_word(&word).unwrap_or(self.severity())),
        })
    }
}
