//! A table-valued function: what SQLite asks of a virtual table, in one place, with all of its `unsafe`.
//!
//! Rows come one after the other from a [`TableFunction`]. Its arguments are hidden columns, which stand
//! last; one that is not given is NULL. No view and no trigger may call it. What does not belong here:
//! what any of them answers.

use crate::error::{During, Error, Result};
use rusqlite::types::Value;
use rusqlite::vtab::{
    Context, Filters, IndexConstraintOp, IndexInfo, Module, VTab, VTabConfig, VTabConnection, VTabCursor,
    sqlite3_vtab, sqlite3_vtab_cursor,
};
use rusqlite::{Connection, ffi};
use std::borrow::Cow;
use std::ffi::{CStr, c_int};
use std::marker::PhantomData;

/// One call of a table-valued function, on one of its rows.
pub(crate) trait TableFunction: Sized + 'static {
    /// Its name in SQL.
    const NAME: &'static CStr;
    /// Its columns as a CREATE TABLE; the arguments last, and hidden.
    const SCHEMA: &'static CStr;
    /// How many columns are none of the arguments.
    const COLUMNS: c_int;
    /// How many arguments there are.
    const ARGUMENTS: c_int;
    /// For the planner.
    const COST: f64;

    /// Begins on the first row.
    fn begin(conn: &Connection, arguments: &[Value]) -> Result<Self>;
    /// Goes on to the next row.
    fn advance(&mut self) -> Result<()>;
    /// Whether it is behind the last row.
    fn is_over(&self) -> bool;
    /// Answers a column that is no argument.
    fn column(&self, context: &mut Context, column: c_int) -> rusqlite::Result<()>;
}

/// Registers a table-valued function on a connection.
///
/// # Errors
/// Whatever SQLite answers.
pub(crate) fn register<F: TableFunction>(conn: &Connection) -> Result<()> {
    conn.create_module(F::NAME, &Table::<F>::MODULE, None)
        .during("register a table-valued function")
}

#[repr(C)]
struct Table<F> {
    base: sqlite3_vtab,
    db: *mut ffi::sqlite3,
    function: PhantomData<F>,
}

impl<F: TableFunction> Table<F> {
    const MODULE: Module<'static, Self> = Module::eponymous_only_module();
}

// SAFETY: `#[repr(C)]` with `sqlite3_vtab` as the first field, as SQLite asks.
unsafe impl<'vtab, F: TableFunction> VTab<'vtab> for Table<F> {
    type Aux = ();
    type Cursor = Cursor<'vtab, F>;

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
        let table = Self {
            base: sqlite3_vtab::default(),
            db,
            function: PhantomData,
        };
        Ok((F::SCHEMA.into(), table))
    }

    /// The number of the plan says which arguments there are, one bit each.
    fn best_index(&self, info: &mut IndexInfo) -> rusqlite::Result<bool> {
        let mut places = vec![None; F::ARGUMENTS as usize];
        for (index, constraint) in info.constraints().enumerate() {
            let argument = usize::try_from(constraint.column() - F::COLUMNS).ok();
            let Some(place) = argument.and_then(|argument| places.get_mut(argument)) else {
                continue;
            };
            if constraint.operator() != IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_EQ {
                continue;
            }
            // It comes from a table that this plan would read later.
            if !constraint.is_usable() {
                return Ok(false);
            }
            *place = Some(index);
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
        info.set_estimated_cost(F::COST);
        Ok(true)
    }

    fn open(&'vtab mut self) -> rusqlite::Result<Cursor<'vtab, F>> {
        Ok(Cursor {
            base: sqlite3_vtab_cursor::default(),
            db: self.db,
            arguments: Vec::new(),
            call: None,
            row: 0,
            table: PhantomData,
        })
    }
}

#[repr(C)]
struct Cursor<'vtab, F: TableFunction> {
    base: sqlite3_vtab_cursor,
    db: *mut ffi::sqlite3,
    arguments: Vec<Value>,
    call: Option<F>,
    row: i64,
    table: PhantomData<&'vtab Table<F>>,
}

// SAFETY: `#[repr(C)]` with `sqlite3_vtab_cursor` as the first field, as SQLite asks.
unsafe impl<F: TableFunction> VTabCursor for Cursor<'_, F> {
    fn filter(&mut self, given: c_int, _name: Option<&str>, args: &Filters<'_>) -> rusqlite::Result<()> {
        // SAFETY: SQLite calls this from a statement of that very connection; the borrowed
        // connection doesn't close the handle when it is dropped.
        let conn = unsafe { Connection::from_handle(self.db) }?;
        let mut values = args.iter().map(Value::try_from);
        let arguments = (0..F::ARGUMENTS).map(|argument| match given & 1 << argument {
            0 => Ok(Value::Null),
            _ => values.next().unwrap_or(Ok(Value::Null)),
        });
        self.arguments = arguments.collect::<std::result::Result<_, _>>()?;
        self.call = Some(F::begin(&conn, &self.arguments).map_err(|error| into_sql_error::<F>(&error))?);
        self.row = 1;
        Ok(())
    }

    fn next(&mut self) -> rusqlite::Result<()> {
        self.row += 1;
        match &mut self.call {
            Some(call) => call.advance().map_err(|error| into_sql_error::<F>(&error)),
            None => Ok(()),
        }
    }

    fn eof(&self) -> bool {
        self.call.as_ref().is_none_or(F::is_over)
    }

    fn column(&self, context: &mut Context, column: c_int) -> rusqlite::Result<()> {
        let argument = usize::try_from(column - F::COLUMNS).ok();
        if let Some(argument) = argument.and_then(|argument| self.arguments.get(argument)) {
            return context.set_result(argument);
        }
        match &self.call {
            Some(call) => call.column(context, column),
            None => Ok(()),
        }
    }

    fn rowid(&self) -> rusqlite::Result<i64> {
        Ok(self.row)
    }
}

/// A NUL of the caller's own argument can't stand in a message.
fn into_sql_error<F: TableFunction>(error: &Error) -> rusqlite::Error {
    let name = F::NAME.to_string_lossy();
    rusqlite::Error::ModuleError(format!("{name}: {error}").replace('\0', "\\0"))
}
