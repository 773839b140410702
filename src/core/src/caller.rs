//! Who called a SQL function: a statement that names it, or the schema that a statement meets.
//!
//! SQLITE_DIRECTONLY is meant to tell that, and does for views, triggers and DEFAULT. But SQLite marks
//! a CHECK as coming from the schema only where the function is deterministic, and no part of the
//! schema where it was read before the function existed (seen with 3.40 and 3.54): a hostile CHECK in a
//! database would run `enqueue_chain` at its user's next INSERT. So a call that no running statement
//! names by its text is refused here.
//!
//! TEMP objects are exempt, as they are for SQLite: only the connection's own user makes them.

use crate::error::{During, Error, Result};
use rusqlite::{Connection, ffi};
use std::ffi::CStr;
use std::ptr::null_mut;

/// Refuses a call of the function `name` that came from the schema.
pub(crate) fn require_direct(conn: &Connection, name: &str) -> Result<()> {
    if named_by_a_running_statement(conn, name) || named_by_a_temp_object(conn, name)? {
        return Ok(());
    }
    Err(Error::refused(
        format!(
            "unsafe use of {name}(): the schema called it (a CHECK, a column or an index), not the statement"
        ),
        format!("look at the schema for {name}; call it in a SELECT of its own"),
    ))
}

fn named_by_a_running_statement(conn: &Connection, name: &str) -> bool {
    // SAFETY: the handle is that of an open connection, used on its own thread while `conn` lives.
    let db = unsafe { conn.handle() };
    let mut statement = null_mut();
    loop {
        // SAFETY: `db` is open; `statement` is null or one of its own, and none is finalised here.
        statement = unsafe { ffi::sqlite3_next_stmt(db, statement) };
        if statement.is_null() {
            return false;
        }
        // SAFETY: `statement` is a statement of `db`.
        let (running, sql) = unsafe {
            (
                ffi::sqlite3_stmt_busy(statement) != 0,
                ffi::sqlite3_sql(statement),
            )
        };
        if !running {
            continue;
        }
        // No text: who prepared it so can't be told from the schema, and is not to be punished.
        if sql.is_null() {
            return true;
        }
        // SAFETY: a text that ends with a NUL and lives as long as its statement.
        if mentions(unsafe { CStr::from_ptr(sql) }.to_bytes(), name) {
            return true;
        }
    }
}

fn named_by_a_temp_object(conn: &Connection, name: &str) -> Result<bool> {
    conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM sqlite_temp_master WHERE instr(lower(sql), ?1) > 0)")
        .and_then(|mut statement| statement.query_row([name], |row| row.get(0)))
        .during("look who calls a function")
}

fn mentions(sql: &[u8], name: &str) -> bool {
    sql.windows(name.len())
        .any(|part| part.eq_ignore_ascii_case(name.as_bytes()))
}
