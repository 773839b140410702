//! `read_events(path [, options_json])`: an event log as a table-valued function, nothing stored.
//!
//! ```sql
//! SELECT line, event_type, error FROM read_events('events.jsonl') WHERE status = 'failed';
//! SELECT line, offset_bytes, reason, raw FROM read_events('events.jsonl') WHERE reason IS NOT NULL;
//! ```
//!
//! A row for each line that is not empty: an event, or the reason for which it is none. The options are
//! those of `ingest_events`. It reads files, so nothing in a schema may call it, and it is not
//! registered where no function may read files. Reading itself is `ingest::look`.

use crate::caller;
use crate::error::{Error, Result};
use crate::ingest::{Found, IngestOptions, Look, LookedAt, LookedAtEvent};
use crate::table_function::TableFunction;
use rusqlite::Connection;
use rusqlite::types::Value;
use rusqlite::vtab::Context;
use std::ffi::{CStr, c_int};
use std::path::Path;

/// A log, and the line that is next.
pub(crate) struct Events {
    look: Look,
    current: Option<LookedAt>,
}

impl TableFunction for Events {
    const NAME: &'static CStr = c"read_events";
    const SCHEMA: &'static CStr = c"CREATE TABLE events(
        line INTEGER, offset_bytes INTEGER, length_bytes INTEGER,
        event_id TEXT, event_type TEXT, timestamp TEXT, at TEXT,
        run_id TEXT, job_id TEXT, step_id TEXT, pattern_run_id TEXT, pattern_id TEXT,
        status TEXT, error TEXT, details TEXT, extra TEXT, raw TEXT, reason TEXT, format TEXT,
        path TEXT HIDDEN, options TEXT HIDDEN)";
    const COLUMNS: c_int = 19;
    const ARGUMENTS: c_int = 2;
    const COST: f64 = 1_000_000.0;

    fn begin(conn: &Connection, arguments: &[Value]) -> Result<Self> {
        caller::require_direct(conn, "read_events")?;
        let mut look = open(conn, arguments)?;
        let current = look.next_line()?;
        Ok(Self { look, current })
    }

    fn advance(&mut self) -> Result<()> {
        self.current = self.look.next_line()?;
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.current.is_none()
    }

    fn column(&self, context: &mut Context, column: c_int) -> rusqlite::Result<()> {
        let Some(current) = &self.current else {
            return Ok(());
        };
        match column {
            0 => context.set_result(&(current.line as i64)),
            1 => context.set_result(&(current.offset as i64)),
            2 => context.set_result(&(current.length as i64)),
            16 => context.set_result(&current.raw),
            18 => context.set_result(&self.look.format()),
            _ => match &current.found {
                Found::Event(event) => context.set_result(&event_column(event, column)),
                Found::Reason(reason) => context.set_result(&(column == 17).then_some(reason)),
            },
        }
    }
}

fn event_column(event: &LookedAtEvent, column: c_int) -> Option<&str> {
    let text = match column {
        3 => return Some(&event.event_id),
        4 => return Some(&event.kind),
        5 => &event.timestamp,
        6 => &event.at,
        7 => &event.run_id,
        8 => &event.job_id,
        9 => &event.step_id,
        10 => &event.pattern_run_id,
        11 => &event.pattern_id,
        12 => &event.status,
        13 => &event.error,
        14 => &event.details,
        15 => &event.extra,
        _ => return None,
    };
    text.as_deref()
}

fn open(conn: &Connection, arguments: &[Value]) -> Result<Look> {
    let Some(Value::Text(path)) = arguments.first() else {
        return Err(Error::refused(
            "the path is missing or not text",
            "give the path of a JSONL event log: SELECT * FROM read_events('events.jsonl')",
        ));
    };
    let options = IngestOptions::from_argument(arguments.get(1))?;
    Look::open(conn, Path::new(path), &options)
}
