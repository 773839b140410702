//! A database in memory and a folder for logs, used again and again: making the schema costs more than
//! a case. What does not belong here: what must hold.

use runchain_core::ingest::{IngestOptions, IngestReport, ingest_path};
use runchain_core::{Millis, Result, schema};
use rusqlite::Connection;
use std::path::Path;

/// Tables that ingesting fills.
const TABLES: [&str; 8] = [
    "runchain_ingested",
    "runchain_ingest_rejects",
    "runchain_ingest_files",
    "runchain_ingest_readings",
    "runchain_derived",
    "runchain_alerts",
    "uet_tasks",
    "uet_executions",
];

pub(super) const NOW: Millis = Millis(1_800_000_000_000);

/// An installed database.
pub(super) struct Store {
    pub(super) conn: Connection,
}

impl Store {
    pub(super) fn new() -> Self {
        let conn = Connection::open_in_memory().unwrap();
        conn.set_prepared_statement_cache_capacity(256);
        conn.execute_batch(schema::SCHEMA_SQL).unwrap();
        conn.execute_batch(schema::VIEWS_SQL).unwrap();
        Self { conn }
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        for table in TABLES {
            self.conn.execute(&format!("DELETE FROM {table}"), []).unwrap();
        }
    }

    /// Ingests, and checks what holds after every call.
    pub(super) fn ingest(&self, path: &Path, options: &IngestOptions) -> Result<IngestReport> {
        let report = ingest_path(&self.conn, path, NOW, options);
        self.balances();
        report
    }

    /// Bytes read = stored + rejected, and no file is read beyond its end.
    pub(super) fn balances(&self) {
        assert_eq!(
            self.number("SELECT count(*) FROM runchain_ingest_balance WHERE unaccounted_bytes <> 0 OR pending_bytes < 0"),
            0
        );
        assert_eq!(
            self.number("SELECT coalesce(sum(rejected), 0) FROM runchain_ingest_files"),
            self.number("SELECT count(*) FROM runchain_ingest_rejects")
        );
        assert_eq!(
            self.number("SELECT coalesce(sum(stored), 0) FROM runchain_ingest_files"),
            self.number("SELECT count(*) FROM runchain_ingested")
        );
    }

    pub(super) fn number(&self, sql: &str) -> i64 {
        self.conn
            .prepare_cached(sql)
            .unwrap()
            .query_row([], |row| row.get(0))
            .unwrap()
    }

    pub(super) fn texts(&self, sql: &str) -> Vec<String> {
        let mut statement = self.conn.prepare_cached(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(rusqlite::Result::unwrap).collect()
    }
}
