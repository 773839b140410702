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
use crate::error::{During, Error, Result};
use crate::ingest::{Found, IngestOptions, Look, LookedAt, LookedAtEvent};
use rusqlite::types::Value;
use rusqlite::vtab::{
    Context, Filters, IndexConstraintOp, IndexInfo, Module, VTab, VTabConfig, VTabConnection, VTabCursor,
    sqlite3_vtab, sqlite3_vtab_cursor,
};
use rusqlite::{Connection, ffi};
use std::borrow::Cow;
use std::ffi::{CStr, c_int};
use std::marker::PhantomData;
use std::path::Path;

const NAME: &str = "read_events";

/// The hidden columns, which are the arguments, stand last.
const SCHEMA: &CStr = c"CREATE TABLE events(
    line INTEGER, offset_bytes INTEGER, length_bytes INTEGER,
    event_id TEXT, event_type TEXT, timestamp TEXT, at TEXT,
    run_id TEXT, job_id TEXT, step_id TEXT, pattern_run_id TEXT, pattern_id TEXT,
    status TEXT, error TEXT, details TEXT, extra TEXT, raw TEXT, reason TEXT, format TEXT,
    path TEXT HIDDEN, options TEXT HIDDEN)";

const PATH: c_int = 19;
const OPTIONS: c_int = 20;

/// Registers the table-valued function on a connection.
///
/// # Errors
/// Whatever SQLite answers.
pub(crate) fn register(conn: &Connection) -> Result<()> {
    const MODULE: Module<'_, EventsTable> = Module::eponymous_only_module();
    conn.create_module(c"read_events", &MODULE, None)
        .during("register read_events")
}

#[repr(C)]
struct EventsTable {
    base: sqlite3_vtab,
    db: *mut ffi::sqlite3,
}

// SAFETY: `#[repr(C)]` with `sqlite3_vtab` as the first field, as SQLite asks.
unsafe impl<'vtab> VTab<'vtab> for EventsTable {
    type Aux = ();
    type Cursor = EventsCursor<'vtab>;

    fn connect(
        db: &mut VTabConnection,
        _aux: Option<&()>,
        _module: &[u8],
        _database: &[u8],
        _table: &[u8],
        _args: &[&[u8]],
    ) -> rusqlite::Result<(Cow<'static, CStr>, Self)> {
        db.config(VTabConfig::DirectOnly)?;
        // SAFETY: the handle outlives the virtual table, which SQLite drops before it closes.
        let db = unsafe { db.handle() };
        let base = sqlite3_vtab::default();
        Ok((SCHEMA.into(), Self { base, db }))
    }

    /// The number of the plan says which arguments there are: 1 the path, 2 the options.
    fn best_index(&self, info: &mut IndexInfo) -> rusqlite::Result<bool> {
        let mut places = [None, None];
        for (index, constraint) in info.constraints().enumerate() {
            let argument = match constraint.column() {
                PATH => 0,
                OPTIONS => 1,
                _ => continue,
            };
            if constraint.operator() != IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_EQ {
                continue;
            }
            // It comes from a table that this plan would read later.
            if !constraint.is_usable() {
                return Ok(false);
            }
            places[argument] = Some(index);
        }
        let mut given: c_int = 0;
        for (argument, place) in places.into_iter().enumerate() {
            if let Some(place) = place {
                given |= 1 << argument;
                let mut usage = info.constraint_usage(place);
                usage.set_argv_index(given.count_ones() as c_int);
                usage.set_omit(true);
            }
        }
        info.set_idx_num(given);
        info.set_estimated_cost(1_000_000.0);
        Ok(true)
    }

    fn open(&'vtab mut self) -> rusqlite::Result<EventsCursor<'vtab>> {
        Ok(EventsCursor {
            base: sqlite3_vtab_cursor::default(),
            db: self.db,
            arguments: Vec::new(),
            look: None,
            current: None,
            rows: 0,
            table: PhantomData,
        })
    }
}

#[repr(C)]
struct EventsCursor<'vtab> {
    base: sqlite3_vtab_cursor,
    db: *mut ffi::sqlite3,
    arguments: Vec<Value>,
    look: Option<Look>,
    current: Option<LookedAt>,
    rows: i64,
    table: PhantomData<&'vtab EventsTable>,
}

impl EventsCursor<'_> {
    fn advance(&mut self) -> rusqlite::Result<()> {
        self.rows += 1;
        self.current = match &mut self.look {
            Some(look) => look.next_line().map_err(|error| into_sql_error(&error))?,
            None => None,
        };
        Ok(())
    }
}

// SAFETY: `#[repr(C)]` with `sqlite3_vtab_cursor` as the first field, as SQLite asks.
unsafe impl VTabCursor for EventsCursor<'_> {
    fn filter(&mut self, given: c_int, _name: Option<&str>, args: &Filters<'_>) -> rusqlite::Result<()> {
        // SAFETY: SQLite calls this from a statement of that very connection; the borrowed
        // connection doesn't close the handle when it is dropped.
        let conn = unsafe { Connection::from_handle(self.db) }?;
        caller::require_direct(&conn, NAME).map_err(|error| into_sql_error(&error))?;
        let mut values = args.iter().map(Value::try_from);
        let mut next = |argument: c_int| match given & argument {
            0 => Ok(Value::Null),
            _ => values.next().unwrap_or(Ok(Value::Null)),
        };
        self.arguments = vec![next(1)?, next(2)?];
        self.look = Some(open(&conn, &self.arguments).map_err(|error| into_sql_error(&error))?);
        self.rows = 0;
        self.advance()
    }

    fn next(&mut self) -> rusqlite::Result<()> {
        self.advance()
    }

    fn eof(&self) -> bool {
        self.current.is_none()
    }

    fn column(&self, context: &mut Context, column: c_int) -> rusqlite::Result<()> {
        if let PATH | OPTIONS = column {
            let argument = self.arguments.get((column - PATH) as usize);
            return context.set_result(argument.unwrap_or(&Value::Null));
        }
        let Some(current) = &self.current else {
            return Ok(());
        };
        match column {
            0 => context.set_result(&(current.line as i64)),
            1 => context.set_result(&(current.offset as i64)),
            2 => context.set_result(&(current.length as i64)),
            16 => context.set_result(&current.raw),
            18 => context.set_result(&self.look.as_ref().and_then(Look::format)),
            _ => match &current.found {
                Found::Event(event) => context.set_result(&event_column(event, column)),
                Found::Reason(reason) => context.set_result(&(column == 17).then_some(reason)),
            },
        }
    }

    fn rowid(&self) -> rusqlite::Result<i64> {
        Ok(self.rows)
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

/// A NUL of the caller's own argument can't stand in a message.
fn into_sql_error(error: &Error) -> rusqlite::Error {
    rusqlite::Error::ModuleError(format!("{NAME}: {error}").replace('\0', "\\0"))
}
