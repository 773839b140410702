//! The one door that every write of the executor passes: BEGIN IMMEDIATE, and again when busy. (Event
//! logs are read in by transactions of core's own, on a connection of their own: see `follow`.)
//!
//! Invariant: the executor never dies of a busy database, and never holds a transaction open while
//! it waits. SQLite's own busy timeout covers most waits; what it can't cover (a deadlock answered
//! at once, a checkpoint in the way) is tried again here with growing, jittered pauses. On the
//! connections of the main loop and of retention SQLite itself refuses a commit that came another way:
//! [`only_way`].

use crate::metrics;
use runchain_core::error::{During, Result};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::cell::Cell;
use std::time::Duration;

/// Pauses double from the first to the last; with SQLite's own timeout before each try.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_millis(1_000);
/// Tries before the caller is told. Its own loop then goes on, so nothing is lost by it.
const TRIES: u32 = if cfg!(test) { 4 } else { 20 };

thread_local! {
    /// This thread is inside [`write`].
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// From now on every commit on this connection that didn't come through [`write()`], or that `may` refuses
/// at its last moment, is rolled back.
///
/// # Errors
/// Whatever SQLite answers.
pub(crate) fn only_way(conn: &Connection, may: impl Fn() -> bool + Send + 'static) -> Result<()> {
    conn.commit_hook(Some(move || !(INSIDE.get() && may())))
        .during("guard the connection")
}

/// Runs `work` in a transaction of its own, again from the start whenever the database is busy.
/// `work` must not keep state between tries. Not inside another transaction.
///
/// # Errors
/// The first failure that isn't "busy", or the last busy one.
pub(crate) fn write<T>(conn: &Connection, mut work: impl FnMut(&Connection) -> Result<T>) -> Result<T> {
    patiently(|| write_now(conn, &mut work))
}

/// The same, but tried once: for what gives way to everybody else.
///
/// # Errors
/// The first failure, also "busy".
pub(crate) fn write_now<T>(conn: &Connection, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    let transaction =
        Transaction::new_unchecked(conn, TransactionBehavior::Immediate).during("begin a transaction")?;
    let value = work(&transaction)?;
    INSIDE.set(true);
    let committed = transaction.commit().during("commit");
    INSIDE.set(false);
    committed.map(|()| value)
}

/// Reads several things in one transaction: one lock for all of them, and one state. `work` must be
/// short, and must not keep state between tries.
///
/// # Errors
/// The first failure that isn't "busy", or the last busy one.
pub(crate) fn read<T>(conn: &Connection, mut work: impl FnMut(&Connection) -> Result<T>) -> Result<T> {
    patiently(|| {
        // Rolled back when dropped: there is nothing to commit.
        let reading = conn.unchecked_transaction().during("begin to read")?;
        work(&reading)
    })
}

/// Runs `work` again whenever the database is busy; for statements that are their own transaction
/// and for reads.
///
/// # Errors
/// The first failure that isn't "busy", or the last busy one.
pub(crate) fn patiently<T>(mut work: impl FnMut() -> Result<T>) -> Result<T> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
        match work() {
            Err(error) if error.is_busy() => {
                metrics::busy();
                std::thread::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0));
                pause = (pause * 2).min(LAST_PAUSE);
            }
            settled => return settled,
        }
    }
    work()
}

#[cfg(test)]
mod tests {
    use super::*;
    use runchain_core::Error;

    #[test]
    fn a_write_waits_for_another_writer_and_then_happens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let ours = Connection::open(&path).unwrap();
        ours.busy_timeout(Duration::ZERO).unwrap();
        ours.execute_batch("CREATE TABLE t(x)").unwrap();
        let other = Connection::open(&path).unwrap();
        other
            .execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (1)")
            .unwrap();
        let mut tries = 0;
        let mut other = Some(other);
        patiently(|| {
            tries += 1;
            if tries == 3 {
                other.take().unwrap().execute_batch("COMMIT").unwrap();
            }
            ours.execute("INSERT INTO t VALUES (2)", []).during("insert")
        })
        .unwrap();
        assert_eq!(tries, 3);
    }

    #[test]
    fn nothing_is_committed_past_the_door() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE t(x)").unwrap();
        only_way(&conn, || true).unwrap();
        let insert = "INSERT INTO t VALUES (1)";
        assert!(conn.execute(insert, []).is_err());
        let bare =
            runchain_core::transaction::atomically(&conn, true, || conn.execute(insert, []).during("insert"));
        assert!(bare.is_err());
        let rows = || conn.query_row("SELECT count(*) FROM t", [], |row| row.get(0));
        assert_eq!(rows(), Ok(0));
        write(&conn, |conn| conn.execute(insert, []).during("insert")).unwrap();
        assert_eq!(rows(), Ok(1));
        assert!(conn.execute(insert, []).is_err());
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE t(x)").unwrap();
        let failed: Result<()> = write(&conn, |conn| {
            conn.execute("INSERT INTO t VALUES (1)", []).during("insert")?;
            Err(Error::refused("no", "don't"))
        });
        assert!(failed.is_err());
        let rows: i64 = conn
            .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
            .unwrap();
        assert_eq!(rows, 0);
    }
}
