//! `monitor_checks()`: the findings of [`crate::validate`] as a table-valued function.
//!
//! ```sql
//! SELECT check_name, found, remedy FROM monitor_checks() WHERE severity <> 'ok';
//! ```

use crate::Millis;
use crate::error::{During, Result};
use crate::validate::{self, Finding, ValidateOptions};
use rusqlite::vtab::{
    Context, Filters, IndexInfo, Module, VTab, VTabConfig, VTabConnection, VTabCursor, sqlite3_vtab,
    sqlite3_vtab_cursor,
};
use rusqlite::{Connection, ffi};
use std::borrow::Cow;
use std::ffi::CStr;
use std::marker::PhantomData;

/// Registers the table-valued function on a connection.
///
/// # Errors
/// Whatever SQLite answers.
pub(crate) fn register(conn: &Connection) -> Result<()> {
    const MODULE: Module<'_, ChecksTable> = Module::eponymous_only_module();
    conn.create_module(c"monitor_checks", &MODULE, None)
        .during("register monitor_checks")
}

#[repr(C)]
struct ChecksTable {
    base: sqlite3_vtab,
    db: *mut ffi::sqlite3,
}

// SAFETY: `#[repr(C)]` with `sqlite3_vtab` as the first field, as SQLite asks.
unsafe impl<'vtab> VTab<'vtab> for ChecksTable {
    type Aux = ();
    type Cursor = ChecksCursor<'vtab>;

    fn connect(
        db: &mut VTabConnection,
        _aux: Option<&()>,
        _module: &[u8],
        _database: &[u8],
        _table: &[u8],
        _args: &[&[u8]],
    ) -> rusqlite::Result<(Cow<'static, CStr>, Self)> {
        // It looks at files, so no view or trigger may call it.
        db.config(VTabConfig::DirectOnly)?;
        // SAFETY: the handle outlives the virtual table, which SQLite drops before it closes.
        let db = unsafe { db.handle() };
        let schema =
            c"CREATE TABLE checks(check_name TEXT, severity TEXT, found TEXT, meaning TEXT, remedy TEXT)";
        let base = sqlite3_vtab::default();
        Ok((schema.into(), Self { base, db }))
    }

    fn best_index(&self, info: &mut IndexInfo) -> rusqlite::Result<bool> {
        info.set_estimated_cost(1_000.0);
        Ok(true)
    }

    fn open(&'vtab mut self) -> rusqlite::Result<ChecksCursor<'vtab>> {
        Ok(ChecksCursor {
            base: sqlite3_vtab_cursor::default(),
            db: self.db,
            findings: Vec::new(),
            row: 0,
            table: PhantomData,
        })
    }
}

#[repr(C)]
struct ChecksCursor<'vtab> {
    base: sqlite3_vtab_cursor,
    db: *mut ffi::sqlite3,
    findings: Vec<Finding>,
    row: usize,
    table: PhantomData<&'vtab ChecksTable>,
}

// SAFETY: `#[repr(C)]` with `sqlite3_vtab_cursor` as the first field, as SQLite asks.
unsafe impl VTabCursor for ChecksCursor<'_> {
    fn filter(
        &mut self,
        _index: std::ffi::c_int,
        _name: Option<&str>,
        _args: &Filters<'_>,
    ) -> rusqlite::Result<()> {
        // SAFETY: SQLite calls this from a statement of that very connection; the borrowed
        // connection doesn't close the handle when it is dropped.
        let conn = unsafe { Connection::from_handle(self.db) }?;
        self.findings = validate::checks(&conn, &ValidateOptions::default(), Millis::now())
            .map_err(|error| rusqlite::Error::ModuleError(error.to_string()))?;
        self.row = 0;
        Ok(())
    }

    fn next(&mut self) -> rusqlite::Result<()> {
        self.row += 1;
        Ok(())
    }

    fn eof(&self) -> bool {
        self.row >= self.findings.len()
    }

    fn column(&self, context: &mut Context, column: std::ffi::c_int) -> rusqlite::Result<()> {
        let Some(finding) = self.findings.get(self.row) else {
            return Ok(());
        };
        match column {
            0 => context.set_result(&finding.check),
            1 => context.set_result(&finding.severity.as_str()),
            2 => context.set_result(&finding.found),
            3 => context.set_result(&finding.meaning),
            _ => context.set_result(&finding.remedy),
        }
    }

    fn rowid(&self) -> rusqlite::Result<i64> {
        Ok(i64::try_from(self.row).unwrap_or(i64::MAX))
    }
}
