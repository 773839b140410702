//! Counting a run's rows by what their status words mean.

use super::cells::Cells;
use crate::archive::refer::Source;
use crate::archive::rows::{Reader, Values, read};
use crate::redact::Redactor;
use runchain_core::RunId;
use runchain_core::error::{During, Result};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// How many errors of one table a summary shows.
const LAST_ERRORS: usize = 5;
/// How much of each message.
const MESSAGE_CHARACTERS: usize = 1_000;

// Where tables of the field keep what an error is about; the first that has a value counts.
const STATUS: &[&str] = &["status", "state"];
const STEP: &[&str] = &["step_name", "step_id", "tool_id"];
const CODE: &[&str] = &["error_code", "exit_code"];
const MESSAGE: &[&str] = &["message", "error_message", "error_log", "error"];
const AT: &[&str] = &[
    "last_seen_at",
    "ended_at",
    "completed_at",
    "finished_at",
    "timestamp",
];

/// The vocabulary: status words in lower case, and their phases.
pub(super) struct Words(HashMap<String, String>);

impl Words {
    /// As it stands in the database.
    pub(super) fn load(conn: &Connection) -> Result<Self> {
        let mut statement = conn
            .prepare_cached("SELECT lower(status), phase FROM runchain_vocabulary")
            .during("read the vocabulary")?;
        let rows = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .during("read the vocabulary")?;
        rows.collect::<rusqlite::Result<_>>()
            .map(Self)
            .during("read the vocabulary")
    }

    /// What a word means.
    pub(super) fn phase(&self, word: &str) -> Option<&str> {
        self.0.get(&word.to_lowercase()).map(String::as_str)
    }

    /// Whether a status, an event type or a severity says that something went wrong:
    /// `pattern.execution.failed`, `ERROR`, `STEP_FAILURE`.
    pub(super) fn says_failure(&self, word: &str) -> bool {
        let lower = word.to_lowercase();
        self.phase(word) == Some("failed") || lower.contains("fail") || lower.contains("error")
    }
}

/// Rows of one table.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Counts {
    /// All of them.
    pub(super) total: u64,
    /// Those whose status means completed.
    pub(super) completed: u64,
    /// Those whose status means failed.
    pub(super) failed: u64,
    /// By the word itself, as it was written.
    pub(super) by_status: BTreeMap<String, u64>,
}

impl Counts {
    /// Counts by the column `status` or `state`; without one only the total.
    pub(super) fn of(conn: &Connection, source: &Source, run_id: &RunId, words: &Words) -> Result<Self> {
        let mut counter = StatusWords {
            seen: BTreeMap::new(),
            total: 0,
        };
        let status = source.only(&["status"]).or_else(|| source.only(&["state"]));
        let narrow = status.unwrap_or_else(|| Source {
            columns: Vec::new(),
            ..source.clone()
        });
        read(conn, &narrow, run_id, &mut counter)?;
        let sum = |phase: &str| {
            let of_phase = counter
                .seen
                .iter()
                .filter(|(word, _)| words.phase(word) == Some(phase));
            of_phase.map(|(_, count)| count).sum()
        };
        Ok(Self {
            total: counter.total,
            completed: sum("completed"),
            failed: sum("failed"),
            by_status: counter.seen,
        })
    }
}

/// Counts rows by their only column.
struct StatusWords {
    seen: BTreeMap<String, u64>,
    total: u64,
}

impl Reader for StatusWords {
    fn row(&mut self, values: Values<'_>) -> rusqlite::Result<usize> {
        self.total += 1;
        if let Some(word) = values.get(0).ok().and_then(text) {
            *self.seen.entry(word).or_default() += 1;
        }
        Ok(0)
    }
}

/// The run's events: rows of `events`, `run_events` and of the ingested event logs.
#[derive(Debug, Default, Serialize)]
pub(super) struct EventCounts {
    /// All of them.
    pub(super) total: u64,
    /// Those whose type, status or severity says that something went wrong.
    pub(super) errors: u64,
}

impl EventCounts {
    /// Adds the rows of one table.
    pub(super) fn add(
        &mut self,
        conn: &Connection,
        source: &Source,
        run_id: &RunId,
        words: &Words,
    ) -> Result<()> {
        let telling = source.only(&["event_type", "type", "status", "severity", "level"]);
        let narrow = telling.unwrap_or_else(|| Source {
            columns: Vec::new(),
            ..source.clone()
        });
        let columns = narrow.columns.len();
        let mut reader = Failures {
            counts: self,
            words,
            columns,
        };
        read(conn, &narrow, run_id, &mut reader)
    }
}

struct Failures<'a> {
    counts: &'a mut EventCounts,
    words: &'a Words,
    columns: usize,
}

impl Reader for Failures<'_> {
    fn row(&mut self, values: Values<'_>) -> rusqlite::Result<usize> {
        self.counts.total += 1;
        let failed = (0..self.columns)
            .filter_map(|index| values.get(index).ok().and_then(text))
            .any(|word| self.words.says_failure(&word));
        self.counts.errors += u64::from(failed);
        Ok(0)
    }
}

/// One error as the summary shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ErrorLine {
    /// The table that it stands in.
    pub(super) source: String,
    /// The step or tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) step: Option<String>,
    /// The error's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<String>,
    /// Its first 1,000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
    /// When, as it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) at: Option<String>,
}

/// The last rows that tell of an error: of a table with a status those whose status means failed,
/// else every row.
pub(super) fn last_errors(
    conn: &Connection,
    source: &Source,
    run_id: &RunId,
    words: &Words,
    redactor: &Redactor,
) -> Result<Vec<ErrorLine>> {
    let names = [STATUS, STEP, CODE, MESSAGE, AT].concat();
    let Some(narrow) = source.only(&names) else {
        return Ok(Vec::new());
    };
    let mut reader = Last {
        cells: Cells::new(&narrow, redactor),
        words,
        lines: VecDeque::new(),
    };
    read(conn, &narrow, run_id, &mut reader)?;
    Ok(reader.lines.into())
}

struct Last<'a> {
    cells: Cells<'a>,
    words: &'a Words,
    lines: VecDeque<ErrorLine>,
}

impl Reader for Last<'_> {
    fn row(&mut self, values: Values<'_>) -> rusqlite::Result<usize> {
        let told = |names| self.cells.told(values, names);
        let status = self.cells.word(values, STATUS);
        let failed = status.is_none_or(|word| self.words.phase(&word) == Some("failed"));
        if failed {
            let line = ErrorLine {
                source: self.cells.table().to_owned(),
                step: told(STEP),
                code: told(CODE),
                message: told(MESSAGE).map(|text| cut(&text)),
                at: told(AT),
            };
            self.lines.push_back(line);
        }
        if self.lines.len() > LAST_ERRORS {
            self.lines.pop_front();
        }
        Ok(0)
    }
}

/// The beginning of a long text.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(MESSAGE_CHARACTERS).collect()
}

/// A value as text; `None` for NULL and BLOB.
pub(crate) fn text(value: ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Text(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Null | ValueRef::Blob(_) => None,
    }
}
