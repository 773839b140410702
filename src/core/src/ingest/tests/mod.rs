//! Ingest, as a caller sees it.
//!
//! - `broken`: each kind of damage ends stored or rejected, and the bytes balance
//! - `files`: which file is which: rotation, truncation, copies, what must not be opened
//! - `formats`: presets, mappings, what the first event decides, times that nobody can read
//! - `derived`: executions, tasks and alerts, the same for every order
//! - `transactions`: whose transaction it is, and what is left after an error
//! - `partition`: how a file grew between calls changes nothing

mod broken;
mod derived;
mod files;
mod formats;
mod partition;
mod transactions;

use super::{Identity, IngestOptions, IngestReport, ingest_path};
use crate::{Millis, Result, schema};
use rusqlite::Connection;
use rusqlite::types::Value;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const NOW: Millis = Millis(1_800_000_000_000);

/// An installed database and a folder for logs.
struct Bench {
    conn: Connection,
    folder: TempDir,
    options: IngestOptions,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let conn = Connection::open(folder.path().join("state.db")).unwrap();
        conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF")
            .unwrap();
        conn.execute_batch(schema::SCHEMA_SQL).unwrap();
        conn.execute_batch(schema::VIEWS_SQL).unwrap();
        Self {
            conn,
            folder,
            options: IngestOptions::default(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn append(&self, name: &str, bytes: impl AsRef<[u8]>) {
        append(&self.path(name), bytes.as_ref());
    }

    fn try_ingest(&self, name: &str) -> Result<IngestReport> {
        ingest_path(&self.conn, &self.path(name), NOW, &self.options)
    }

    /// Ingests, and checks the invariant that holds after every call.
    fn ingest(&self, name: &str) -> IngestReport {
        let report = self.try_ingest(name).unwrap();
        assert_eq!(
            self.rows(
                "SELECT path FROM runchain_ingest_balance WHERE unaccounted_bytes <> 0 OR pending_bytes < 0"
            ),
            Vec::<Vec<Value>>::new(),
            "bytes read = stored + rejected"
        );
        report
    }

    /// Ingests a file of its own with these bytes.
    fn ingest_bytes(&self, bytes: impl AsRef<[u8]>) -> IngestReport {
        self.append("log.jsonl", bytes);
        self.ingest("log.jsonl")
    }

    fn rows(&self, sql: &str) -> Vec<Vec<Value>> {
        rows(&self.conn, sql)
    }

    /// All values of a query as text, `-` for NULL, rows by `;`.
    fn text(&self, sql: &str) -> String {
        let rows = self.rows(sql);
        let rows: Vec<String> = rows
            .iter()
            .map(|row| row.iter().map(show).collect::<Vec<_>>().join("|"))
            .collect();
        rows.join(";")
    }

    fn refusal(&self, name: &str) -> String {
        self.try_ingest(name).unwrap_err().to_string()
    }
}

fn append(path: &Path, bytes: &[u8]) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

fn rows(conn: &Connection, sql: &str) -> Vec<Vec<Value>> {
    let mut statement = conn.prepare(sql).unwrap();
    let width = statement.column_count();
    let rows = statement
        .query_map([], |row| (0..width).map(|index| row.get(index)).collect())
        .unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}

fn show(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::Blob(_) => "blob".to_owned(),
    }
}

/// A line in the format of the pattern events, at so many seconds after noon.
fn event(id: &str, kind: &str, second: u32, job: &str, task: &str) -> String {
    format!(
        r#"{{"event_id": "{id}", "event_type": "{kind}", "timestamp": "2026-03-01T12:00:{second:02}.000000+00:00", "job_id": "{job}", "pattern_run_id": "{task}", "pattern_id": "PAT-1", "status": "in_progress", "details": {{}}, "step_id": null}}"#
    ) + "\n"
}

#[test]
fn an_event_is_kept_field_by_field() {
    let bench = Bench::new();
    let line = r#"{"event_id": "EVT-1", "event_type": "pattern.execution.started", "timestamp": "2026-03-01T12:00:00.250000+00:00", "job_id": "JOB-1", "step_id": "STEP-1", "pattern_run_id": "PRUN-1", "pattern_id": "PAT-1", "status": "in_progress", "details": {"tool": "x",  "n": 1}, "host": "a", "tags": [1, 2]}"#;
    let report = bench.ingest_bytes(format!("{line}\n"));
    assert_eq!(
        (report.stored, report.duplicate, report.rejected, report.pending),
        (1, 0, 0, 0)
    );
    assert_eq!(report.bytes, line.len() as u64 + 1);
    assert_eq!(
        bench.text(
            "SELECT event_id, type, at, at_ms, run_id, job_id, step_id, pattern_run_id, pattern_id, status, details, extra, line, offset_bytes
             FROM runchain_ingested"
        ),
        "EVT-1|pattern.execution.started|2026-03-01T12:00:00.250000+00:00|1772366400250|-|JOB-1|STEP-1|PRUN-1|PAT-1|in_progress|{\"tool\": \"x\",  \"n\": 1}|{\"host\":\"a\",\"tags\":[1, 2]}|1|0"
    );
}

#[test]
fn the_report_is_json_with_the_promised_keys() {
    let bench = Bench::new();
    let report = bench.ingest_bytes("{\"type\":\"a\"}\n{");
    let json = serde_json::to_value(&report).unwrap();
    for (key, value) in [
        ("bytes", 13),
        ("stored", 1),
        ("duplicate", 0),
        ("rejected", 0),
        ("pending", 1),
    ] {
        assert_eq!(json[key], value, "{key}");
    }
}
