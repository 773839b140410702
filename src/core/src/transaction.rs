//! One way to make several statements one: in a transaction of their own, or inside the caller's.

use crate::error::{During, Error, Result};
use rusqlite::Connection;

/// Runs `work` all or nothing, and rolls it back when it fails or when `keep` is false.
///
/// In autocommit it takes BEGIN IMMEDIATE, so that the lock is had or refused at once; inside the
/// caller's transaction it takes a SAVEPOINT, so that everything joins that and rolls back with it.
///
/// # Errors
/// The first failure of `work`; a refusal when called inside a statement that writes
/// (`INSERT ... SELECT f()`), where SQLite allows neither.
pub fn atomically<T>(conn: &Connection, keep: bool, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let own = conn.is_autocommit();
    if own {
        refuse_inside_writes(conn)?;
    }
    let (begin, commit, rollback) = if own {
        ("BEGIN IMMEDIATE", "COMMIT", "ROLLBACK")
    } else {
        (
            "SAVEPOINT runchain",
            "RELEASE runchain",
            "ROLLBACK TO runchain; RELEASE runchain",
        )
    };
    conn.execute_batch(begin).map_err(explain_write)?;
    let outcome = work();
    if outcome.is_ok() && keep {
        match conn.execute_batch(commit).during("commit") {
            Ok(()) => return outcome,
            Err(error) => {
                undo(conn, rollback);
                return Err(error);
            }
        }
    }
    undo(conn, rollback);
    outcome
}

/// The failure that led here is what counts; one of the rollback (after a full disk, SQLite has
/// rolled back by itself) adds nothing.
fn undo(conn: &Connection, rollback: &str) {
    let _ = conn.execute_batch(rollback);
}

/// BEGIN inside a statement that writes would roll the host's statement back; a savepoint only
/// says so.
fn refuse_inside_writes(conn: &Connection) -> Result<()> {
    conn.execute_batch("SAVEPOINT runchain_probe; RELEASE runchain_probe")
        .map_err(explain_write)
}

fn explain_write(error: rusqlite::Error) -> Error {
    if error.to_string().contains("SQL statements in progress") {
        return Error::refused(
            "this function writes, and can't be called inside a statement that writes (INSERT ... SELECT)",
            "call it in a plain SELECT",
        );
    }
    Error::Sqlite {
        operation: "begin a transaction",
        source: error,
    }
}
