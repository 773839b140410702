//! When a run was created, started and ended: by its own row, else by what runchain saw.

use super::count::{ErrorLine, cut, text};
use crate::archive::rows::{Reader, Values, read};
use crate::archive::{Ended, refer};
use crate::redact::Redactor;
use runchain_core::error::{During, Result};
use runchain_core::{Mapping, Millis, RunId};
use rusqlite::{Connection, OptionalExtension};
use serde::{Serialize, Serializer};
use std::collections::HashMap;

/// Numbers from here on are milliseconds since 1970, below they are seconds (1e11 s is the year 5138).
const MILLISECONDS_FROM: f64 = 1e11;

/// The user's row of a run, by column in lower case; empty when it is gone.
#[derive(Debug, Default)]
pub(super) struct RunRow {
    table: String,
    columns: Vec<String>,
    values: HashMap<String, String>,
}

/// Reads the run's row.
pub(super) fn run_row(
    conn: &Connection,
    mapping: &Mapping,
    run_id: &RunId,
    redactor: &Redactor,
) -> Result<RunRow> {
    let source = refer::run_row(conn, mapping)?;
    let mut row = RunRow {
        table: source.table.clone(),
        columns: source.columns.iter().map(|name| name.to_lowercase()).collect(),
        values: HashMap::new(),
    };
    read(conn, &source, run_id, &mut row)?;
    for (column, value) in &mut row.values {
        *value = redactor.column(&row.table, column).text(std::mem::take(value));
    }
    Ok(row)
}

impl Reader for RunRow {
    fn row(&mut self, values: Values<'_>) -> rusqlite::Result<usize> {
        for (index, column) in self.columns.iter().enumerate() {
            if let Some(value) = text(values.get(index)?) {
                self.values.entry(column.clone()).or_insert(value);
            }
        }
        Ok(0)
    }
}

impl RunRow {
    /// The run's own error message, where its table has such a column.
    pub(super) fn error(&self) -> Option<ErrorLine> {
        let message = self.values.get("error_message")?;
        (!message.is_empty()).then(|| ErrorLine {
            source: self.table.clone(),
            step: None,
            code: self.values.get("exit_code").cloned(),
            message: Some(cut(message)),
            at: None,
        })
    }

    fn moment(&self, columns: &[&str]) -> Option<Moment> {
        columns
            .iter()
            .find_map(|column| self.values.get(*column).filter(|text| !text.is_empty()))
            .map(|text| Moment::read(text))
    }
}

/// A moment; one that can't be read stands as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Moment {
    At(Millis),
    Unread(String),
}

impl Moment {
    /// ISO 8601, or a number of seconds or milliseconds since 1970.
    pub(super) fn read(text: &str) -> Self {
        if let Some(at) = Millis::parse_iso(text) {
            return Self::At(at);
        }
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => {
                let ms = if number.abs() < MILLISECONDS_FROM {
                    number * 1_000.0
                } else {
                    number
                };
                Self::At(Millis(ms.round() as i64))
            }
            _ => Self::Unread(text.to_owned()),
        }
    }

    /// When it is, if it could be read.
    pub(super) fn at(&self) -> Option<Millis> {
        match self {
            Self::At(at) => Some(*at),
            Self::Unread(_) => None,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::At(at) => format!("{} UTC", super::page::moment(at)),
            Self::Unread(text) => text.clone(),
        }
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::At(at) => serializer.serialize_str(&at.iso()),
            Self::Unread(text) => serializer.serialize_str(text),
        }
    }
}

/// A moment as tables of the field write it: ISO 8601, or a number of seconds or milliseconds.
pub(crate) fn moment(text: &str) -> Option<Millis> {
    Moment::read(text).at()
}

/// The times of a summary.
#[derive(Debug, Serialize)]
pub(super) struct Timestamps {
    /// Column `created_at`, else when runchain first saw the run.
    created: Option<Moment>,
    /// Column `started_at`, else when its monitoring began.
    started: Option<Moment>,
    /// Column `ended_at` and the like, else `updated_at`, else when the last status was written.
    ended: Moment,
    #[serde(skip)]
    duration_ms: Option<i64>,
}

impl Timestamps {
    /// Of one run.
    pub(super) fn of(conn: &Connection, row: &RunRow, run: &Ended<'_>) -> Result<Self> {
        let created = match row.moment(&["created_at"]) {
            Some(moment) => Some(moment),
            None => first_seen(conn, run.run_id)?.map(Moment::At),
        };
        // An updated_at that still equals created_at was never kept.
        let updated = row
            .moment(&["updated_at"])
            .filter(|moment| Some(moment) != created.as_ref());
        let ended = row
            .moment(&["ended_at", "completed_at", "finished_at"])
            .or(updated)
            .unwrap_or(Moment::At(run.ended_at));
        let started = row.moment(&["started_at"]);
        let begun = [&started, &created]
            .into_iter()
            .find_map(|moment| moment.as_ref()?.at());
        let duration_ms = begun.zip(ended.at()).map(|(begun, ended)| ended.since(begun));
        // Our clock beside the writer's: only where they agree.
        let ours = monitored_since(conn, run)?
            .filter(|at| {
                created
                    .as_ref()
                    .and_then(Moment::at)
                    .is_none_or(|created| created <= *at)
            })
            .filter(|at| ended.at().is_none_or(|ended| *at <= ended))
            .map(Moment::At);
        Ok(Self {
            started: started.or(ours),
            created,
            ended,
            duration_ms,
        })
    }

    /// As the page shows them: read ones to the second.
    pub(super) fn created(&self) -> Option<String> {
        self.created.as_ref().map(Moment::text)
    }

    /// See [`Timestamps::created`].
    pub(super) fn started(&self) -> Option<String> {
        self.started.as_ref().map(Moment::text)
    }

    /// See [`Timestamps::created`].
    pub(super) fn ended(&self) -> String {
        self.ended.text()
    }

    /// From started to ended by the run's own row, else from created to ended.
    pub(super) fn duration_seconds(&self) -> Option<f64> {
        self.duration_ms.map(|ms| ms as f64 / 1_000.0)
    }
}

fn first_seen(conn: &Connection, run_id: &RunId) -> Result<Option<Millis>> {
    conn.prepare_cached("SELECT first_seen_ms FROM runchain_runs WHERE run_id = ?1")
        .and_then(|mut statement| statement.query_row([run_id], |row| row.get(0)).optional())
        .during("read when a run was first seen")
}

/// The beginning of the monitoring that this end belongs to.
fn monitored_since(conn: &Connection, run: &Ended<'_>) -> Result<Option<Millis>> {
    conn.prepare_cached(
        "SELECT at_ms FROM runchain_events
         WHERE run_id = ?1 AND type = 'MONITOR_STARTED' AND id <= ?2 ORDER BY id DESC LIMIT 1",
    )
    .and_then(|mut statement| {
        statement
            .query_row((run.run_id, run.ended_event_id), |row| row.get(0))
            .optional()
    })
    .during("read when a run's monitoring began")
}
