//! What the orchestrator's own tables say of a run: its steps and tasks with their times, and its
//! errors. Which tables those are is found as for a bag.
//!
//! Invariant: a bounded number of rows of each table is read. A table without an index on its run
//! column that is too large to be looked through is left out, and that is said.

use super::COUNTED_AT_MOST;
use crate::archive::refer::{self, Source};
use crate::redact::Redactor;
use crate::report::{moment, text};
use crate::tui::model::{Cause, Task};
use runchain_core::error::{During, Result};
use runchain_core::mapping::{keys, quote};
use runchain_core::vocabulary::{Phase, Vocabulary};
use runchain_core::{Mapping, RunId};
use rusqlite::types::Value;
use rusqlite::{Connection, Row};

/// Rows of a table that are read for a run, the newest.
const ROWS: usize = 200;
/// A table without an index is looked through up to this size.
const SCANNED_ROWS_AT_MOST: i64 = 20_000;
/// Errors that are shown.
const CAUSES: usize = 5;

const NAME: &[&str] = &[
    "step_name",
    "name",
    "task_name",
    "title",
    "task_type",
    "step_id",
    "task_id",
    "tool_id",
    "ws_id",
    "id",
];
const STATUS: &[&str] = &["status", "state"];
const STARTED: &[&str] = &["started_at", "start_time", "started", "created_at"];
const ENDED: &[&str] = &["ended_at", "completed_at", "finished_at", "end_time"];
const MESSAGE: &[&str] = &["error_message", "message", "error_log", "error"];
const CODE: &[&str] = &["error_code", "exit_code"];

/// What was found.
#[derive(Debug, Clone, Default)]
pub(super) struct Own {
    pub(super) tasks: Vec<Task>,
    pub(super) causes: Vec<Cause>,
    pub(super) left_out: Vec<String>,
}

/// Reads what the tables say.
pub(super) fn look(conn: &Connection, mapping: &Mapping, run_id: &RunId, redactor: &Redactor) -> Result<Own> {
    let vocabulary = Vocabulary::load(conn)?;
    let mut own = Own::default();
    let mut sources = vec![refer::run_row(conn, mapping)?];
    sources.extend(refer::referring(conn, mapping)?);
    for (index, source) in sources.iter().enumerate() {
        let is_run = index == 0;
        let is_known = ["uet_executions", "events", "run_events"]
            .iter()
            .any(|name| name.eq_ignore_ascii_case(&source.table));
        if is_known && !is_run {
            continue;
        }
        if source.scanned && size(conn, source)? > SCANNED_ROWS_AT_MOST {
            own.left_out.push(source.table.clone());
            continue;
        }
        for line in lines(conn, source, run_id, redactor)? {
            own.take(&source.table, is_run, line, &vocabulary);
        }
    }
    // They were read from the newest on; of the errors that is the right order.
    own.tasks.reverse();
    own.tasks
        .sort_by_key(|task| (task.started.is_none(), task.started));
    // The newest errors of each table; the run's own row was the first.
    own.causes.truncate(CAUSES);
    Ok(own)
}

/// The telling columns of a row.
struct Line {
    name: Option<String>,
    status: Option<String>,
    started: Option<String>,
    ended: Option<String>,
    message: Option<String>,
    code: Option<String>,
}

impl Own {
    fn take(&mut self, table: &str, is_run: bool, line: Line, vocabulary: &Vocabulary) {
        let phase = vocabulary.phase(line.status.as_deref());
        let is_error = match line.status {
            Some(_) => phase == Some(Phase::Failed),
            None => true,
        };
        let said = line.message.as_deref().filter(|text| !text.trim().is_empty());
        let code = line.code.as_deref().filter(|code| *code != "0");
        if is_error && (said.is_some() || code.is_some()) {
            let code = code.map(|code| format!("[{code}] ")).unwrap_or_default();
            let name = line.name.as_deref().filter(|_| !is_run);
            self.causes.push(Cause {
                source: match name {
                    Some(name) => format!("{table} {name}"),
                    None => table.to_owned(),
                },
                text: format!("{code}{}", said.unwrap_or("no message")),
            });
        }
        if let (false, Some(status), Some(name)) = (is_run, line.status, line.name) {
            self.tasks.push(Task {
                table: table.to_owned(),
                name,
                status,
                phase: phase.map(|phase| phase.as_str().to_owned()),
                started: line.started.as_deref().and_then(moment),
                ended: line.ended.as_deref().and_then(moment),
            });
        }
    }
}

fn size(conn: &Connection, source: &Source) -> Result<i64> {
    let sql = format!(
        "SELECT count(*) FROM (SELECT 1 FROM main.{} LIMIT {COUNTED_AT_MOST})",
        quote(&source.table)
    );
    conn.query_row(&sql, [], |row| row.get(0))
        .during("look how large a table is")
}

fn lines(conn: &Connection, source: &Source, run_id: &RunId, redactor: &Redactor) -> Result<Vec<Line>> {
    let groups = [NAME, STATUS, STARTED, ENDED, MESSAGE, CODE];
    let columns = groups.map(|names| {
        source
            .only(names)
            .and_then(|found| found.columns.into_iter().next())
    });
    if columns[1].is_none() && columns[4].is_none() && columns[5].is_none() {
        return Ok(Vec::new());
    }
    let selected = columns
        .clone()
        .map(|column| column.map_or("NULL".to_owned(), |name| quote(&name)));
    let order: Vec<String> = source
        .key
        .iter()
        .map(|part| format!("{} DESC", part.name))
        .collect();
    let cell = |row: &Row<'_>, index: usize| -> rusqlite::Result<Option<String>> {
        let Some(column) = &columns[index] else {
            return Ok(None);
        };
        let found = text(row.get_ref(index)?);
        Ok(found.map(|text| redactor.column(&source.table, column).text(text)))
    };
    let mut found = Vec::new();
    for reference in &source.refs {
        let sql = format!(
            "SELECT {} FROM main.{} WHERE {} = ?1 ORDER BY {} LIMIT {ROWS}",
            selected.join(", "),
            quote(&source.table),
            quote(reference),
            order.join(", "),
        );
        for key in keys(run_id) {
            found.extend(of_key(conn, &sql, &key, cell)?);
        }
    }
    Ok(found)
}

fn of_key(
    conn: &Connection,
    sql: &str,
    key: &Value,
    cell: impl Fn(&Row<'_>, usize) -> rusqlite::Result<Option<String>>,
) -> Result<Vec<Line>> {
    super::all(conn, sql, [key], |row| {
        Ok(Line {
            name: cell(row, 0)?,
            status: cell(row, 1)?,
            started: cell(row, 2)?,
            ended: cell(row, 3)?,
            message: cell(row, 4)?,
            code: cell(row, 5)?,
        })
    })
}
