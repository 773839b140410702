//! Any bytes as a log of a few lines. Each line ends as one event, one reject or nothing (an empty one);
//! what is stored is JSON that SQLite reads, and no field of the line is lost.

use super::store::Store;
use runchain_core::ingest::IngestOptions;
use rusqlite::{OptionalExtension, types::Value as Sql};
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::path::PathBuf;
use tempfile::TempDir;

struct Case {
    store: Store,
    folder: TempDir,
}

impl Case {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// The texts of a stored event, and its two JSON columns.
struct Stored {
    columns: Vec<String>,
    details: Option<String>,
    extra: Option<String>,
}

/// Checks one input.
pub fn check(bytes: &[u8]) {
    thread_local! {
        static CASE: RefCell<Option<Case>> = const { RefCell::new(None) };
    }
    CASE.with_borrow_mut(|case| {
        let case = case.get_or_insert_with(|| Case {
            store: Store::new(),
            folder: tempfile::tempdir().unwrap(),
        });
        case.store.clear();
        check_in(case, bytes);
    });
}

fn check_in(case: &Case, bytes: &[u8]) {
    let (path, copy) = (case.path("log.jsonl"), case.path("copy.jsonl"));
    std::fs::write(&path, bytes).unwrap();
    std::fs::write(&copy, bytes).unwrap();
    if bytes.starts_with(b"SQLite format 3\0") {
        return;
    }
    let options = IngestOptions {
        finalise: true,
        ..IngestOptions::default()
    };
    let report = case.store.ingest(&path, &options).unwrap();
    assert_eq!(
        (report.bytes, report.pending),
        (bytes.len() as u64, 0),
        "all is read"
    );
    let again = case.store.ingest(&path, &options).unwrap();
    assert_eq!((again.bytes, again.file_id), (0, report.file_id), "and only once");
    let copied = case.store.ingest(&copy, &options).unwrap();
    assert_eq!(copied.stored, 0, "a copy has no event of its own");
    assert_eq!(copied.rejected, report.rejected);

    let mut offset = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        check_line(&case.store, report.file_id, line, offset);
        offset += line.len();
    }
}

fn check_line(store: &Store, file_id: i64, line: &[u8], offset: usize) {
    let nuls = line.iter().take_while(|byte| **byte == 0).count();
    if nuls > 0 {
        let reason = reason_at(store, file_id, offset).expect("NUL bytes are rejected");
        assert_eq!(reason, "NUL bytes");
        // A run that goes on behind a newline is still two chunks.
        if nuls < line.len() {
            check_line(store, file_id, &line[nuls..], offset + nuls);
        }
        return;
    }
    let content = line.strip_suffix(b"\n").unwrap_or(line);
    let content = content.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(content);
    let reason = reason_at(store, file_id, offset);
    let json = std::str::from_utf8(content).ok().map(str::trim_ascii);
    if json == Some("") {
        assert_eq!(reason, None, "an empty line is no reject");
        return;
    }
    let parsed: Option<Map<String, Value>> = json.and_then(|json| serde_json::from_str(json).ok());
    match (reason, json) {
        (Some(reason), _) if reason.starts_with("not a JSON object") => {
            assert!(parsed.is_none(), "{reason}: {json:?}");
        }
        (Some(_), _) => {}
        (None, None) => panic!("no UTF-8, and not rejected"),
        (None, Some(json)) => {
            assert!(
                is_object(store, json),
                "SQLite can't read what was accepted: {json}"
            );
            if let Some(stored) = stored_at(store, file_id, offset) {
                check_event(store, &stored, parsed.as_ref());
            }
        }
    }
}

fn reason_at(store: &Store, file_id: i64, offset: usize) -> Option<String> {
    store
        .conn
        .prepare_cached("SELECT reason FROM runchain_ingest_rejects WHERE file_id = ?1 AND offset_bytes = ?2")
        .unwrap()
        .query_row((file_id, offset as i64), |row| row.get(0))
        .optional()
        .unwrap()
}

/// An event that stood before in the same log is stored there.
fn stored_at(store: &Store, file_id: i64, offset: usize) -> Option<Stored> {
    store
        .conn
        .prepare_cached(
            "SELECT details, extra, event_id, type, at, run_id, job_id, step_id, pattern_run_id, pattern_id, status
             FROM runchain_ingested WHERE file_id = ?1 AND offset_bytes = ?2",
        )
        .unwrap()
        .query_row((file_id, offset as i64), |row| {
            let columns = (2..11).map(|index| row.get::<_, Option<String>>(index));
            Ok(Stored {
                details: row.get(0)?,
                extra: row.get(1)?,
                columns: columns.collect::<rusqlite::Result<Vec<_>>>()?.into_iter().flatten().collect(),
            })
        })
        .optional()
        .unwrap()
}

fn is_object(store: &Store, json: &str) -> bool {
    let kind: Sql = store
        .conn
        .prepare_cached("SELECT CASE WHEN json_valid(?1) THEN json_type(?1) END")
        .unwrap()
        .query_row([json], |row| row.get(0))
        .unwrap();
    kind == Sql::Text("object".to_owned())
}

fn check_event(store: &Store, stored: &Stored, line: Option<&Map<String, Value>>) {
    assert!(stored.columns.len() >= 2, "an id and a type");
    assert!(stored.columns.iter().all(|text| !text.is_empty()));
    if let Some(extra) = &stored.extra {
        assert!(is_object(store, extra), "{extra}");
    }
    // serde_json refuses numbers and surrogates that runchain keeps as they are.
    let Some(line) = line else { return };
    let extra: Map<String, Value> = stored
        .extra
        .as_deref()
        .map(|extra| serde_json::from_str(extra).unwrap())
        .unwrap_or_default();
    let details: Option<Value> = stored
        .details
        .as_deref()
        .map(|details| serde_json::from_str(details).unwrap());
    for (key, value) in line {
        let kept = extra.get(key) == Some(value)
            || details.as_ref() == Some(value)
            || match value {
                Value::Null => true,
                // A column may hold more: the id of a CloudEvent has its source in front.
                Value::String(text) => stored.columns.iter().any(|column| column.contains(text)),
                // As it was written, which a parsed number doesn't tell.
                Value::Number(_) | Value::Bool(_) => !extra.contains_key(key),
                Value::Array(_) | Value::Object(_) => false,
            };
        assert!(kept, "{key} is lost: {value}");
    }
}
