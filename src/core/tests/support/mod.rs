//! A database in memory with runchain installed, and how its queue is expanded.

use runchain_core::chain::Chain;
use runchain_core::install::{InstallOptions, install};
use runchain_core::{Mapping, Millis, queue};
use rusqlite::Connection;

const CHAIN_ATTEMPTS: u32 = 3;

/// A fresh database with runchain installed on an empty table `runs`; nothing has happened yet.
pub(crate) fn installed() -> (Connection, Mapping) {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch("CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT)")
        .unwrap();
    let installed = install(&conn, &InstallOptions::default(), Millis(1_000)).unwrap();
    conn.execute("DELETE FROM runchain_events", []).unwrap();
    (conn, installed.mapping)
}

/// Expands what is queued, so many rows at a time, until nothing is.
pub(crate) fn expand_all(conn: &Connection, mapping: &Mapping, limit: usize) {
    let chain = Chain::builtin(CHAIN_ATTEMPTS);
    loop {
        let transaction = conn.unchecked_transaction().unwrap();
        let expanded = queue::expand(&transaction, mapping, &chain, limit, Millis(2_000)).unwrap();
        transaction.commit().unwrap();
        if !expanded.more {
            break;
        }
    }
    let left: i64 = conn
        .query_row("SELECT count(*) FROM runchain_queue", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0, "expanded rows leave the queue");
}

/// The rows of a query.
pub(crate) fn rows<T>(
    conn: &Connection,
    sql: &str,
    read: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Vec<T> {
    let mut statement = conn.prepare(sql).unwrap();
    statement
        .query_map([], |row| read(row))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}
