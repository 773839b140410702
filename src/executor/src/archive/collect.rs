//! What goes into a bag, in one fixed order, and its fingerprint.
//!
//! Looking whether a run is quiet and staging its bag walk the same way through the same code, so
//! the fingerprint covers exactly what would be sealed. Nothing here depends on the clock.

use super::Ended;
use super::digest::Hasher;
use super::files::{Candidate, Copied, Found, Search, lossy};
use super::name::PayloadNames;
use super::refer::{self, Source};
use super::rows::{self, Reader, RowEncoder, Values};
use crate::redact::Redactor;
use runchain_core::error::{Error, Result};
use runchain_core::{Mapping, flags, schema};
use rusqlite::Connection;
use serde_json::{Map, Value, json};
use std::os::unix::ffi::OsStrExt;

/// Takes the payload, one file after the other.
pub(super) trait Payload {
    /// A new file, by its path in the bag: `data/...`.
    fn begin(&mut self, path: &str) -> Result<()>;
    /// Its next bytes.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
    /// The file is complete.
    fn end(&mut self) -> Result<()>;
    /// A whole file of the user's; answers its length and what came of it.
    fn file(&mut self, path: &str, found: &Candidate, search: &Search<'_>) -> Result<(u64, Copied)>;
}

/// What a walk saw.
#[derive(Debug)]
pub(super) struct Collected {
    /// Over every row's bytes, and path, size and mtime of every file.
    pub(super) fingerprint: String,
    /// Bytes of the payload.
    pub(super) size_bytes: u64,
    /// A file changed or vanished under the walk.
    pub(super) moving: bool,
}

/// The run and where its things are.
pub(super) struct Subject<'a> {
    /// An autocommit connection.
    pub(super) conn: &'a Connection,
    /// The user's table of runs.
    pub(super) mapping: &'a Mapping,
    /// The run's end.
    pub(super) run: &'a Ended<'a>,
    /// Its files.
    pub(super) search: &'a Search<'a>,
    /// What its rows must not tell.
    pub(super) redactor: &'a Redactor,
}

/// Walks through all that belongs to the run.
pub(super) fn collect(subject: &Subject<'_>, payload: &mut dyn Payload) -> Result<Collected> {
    let mut walk = Walk {
        payload,
        hasher: Hasher::default(),
        size_bytes: 0,
        moving: false,
        redacted: Map::new(),
    };
    let rows = walk.rows(
        subject,
        &refer::run_row(subject.conn, subject.mapping)?,
        "data/run.json",
        false,
    )?;
    if rows == 0 && !flags::is_known_by_flag_only(subject.conn, subject.run.run_id)? {
        return Err(Error::refused(
            format!(
                "run {} has no row in table {} any more",
                subject.run.run_id, subject.mapping.table
            ),
            "nothing is left to archive: cancel its chain",
        ));
    }
    let tables = walk.tables(subject)?;
    walk.events(subject)?;
    let found = subject.search.run(subject.run.run_id)?;
    let files = walk.files(subject.search, &found)?;
    let mut names = json!({ "tables": tables, "files": files, "skipped": found.skipped });
    if !walk.redacted.is_empty() {
        names["redacted"] = Value::Object(std::mem::take(&mut walk.redacted));
    }
    let mut text = serde_json::to_vec_pretty(&names).unwrap_or_default();
    text.push(b'\n');
    walk.begin("data/names.json")?;
    walk.write(&text)?;
    walk.payload.end()?;
    Ok(Collected {
        fingerprint: walk.hasher.finish(),
        size_bytes: walk.size_bytes,
        moving: walk.moving,
    })
}

struct Walk<'a> {
    payload: &'a mut dyn Payload,
    hasher: Hasher,
    size_bytes: u64,
    moving: bool,
    /// How many values are not as they stand in the database, by file.
    redacted: Map<String, Value>,
}

impl Walk<'_> {
    fn begin(&mut self, path: &str) -> Result<()> {
        // A path never holds a newline, so it can't be taken for content.
        self.hasher.update(path.as_bytes());
        self.hasher.update(b"\n");
        self.payload.begin(path)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.size_bytes += bytes.len() as u64;
        self.payload.write(bytes)
    }

    /// The rows of one source as one file; without `always` no file where there is no row. Answers
    /// how many there are.
    fn rows(&mut self, subject: &Subject<'_>, source: &Source, path: &str, always: bool) -> Result<u64> {
        let mut lines = Lines {
            walk: self,
            path,
            encoder: RowEncoder::new(source, subject.redactor),
            buffer: Vec::new(),
            begun: false,
            rows: 0,
        };
        rows::read(subject.conn, source, subject.run.run_id, &mut lines)?;
        let (rows, begun, redacted) = (lines.rows, lines.begun, lines.encoder.redacted);
        if redacted > 0 {
            self.redacted.insert(path.to_owned(), Value::from(redacted));
        }
        if always && !begun {
            self.begin(path)?;
        }
        if always || begun {
            self.payload.end()?;
        }
        Ok(rows)
    }

    fn tables(&mut self, subject: &Subject<'_>) -> Result<Map<String, Value>> {
        let mut names = PayloadNames::default();
        let mut map = Map::new();
        for source in refer::referring(subject.conn, subject.mapping)? {
            let name = names.claim(source.table.as_bytes(), ".jsonl");
            let path = format!("data/tables/{name}");
            let rows = self.rows(subject, &source, &path, false)?;
            if rows > 0 {
                map.insert(path, json!({ "table": source.table, "rows": rows }));
            }
        }
        Ok(map)
    }

    fn events(&mut self, subject: &Subject<'_>) -> Result<()> {
        let conn = subject.conn;
        if schema::table_exists(conn, "runchain_ingested")? {
            let ingested = refer::own(conn, "runchain_ingested", &["run_id", "job_id"], "")?;
            self.rows(subject, &ingested, "data/events/ingested.jsonl", true)?;
        }
        // Later events come from archiving itself.
        let until = format!("id <= {}", subject.run.ended_event_id);
        let lifecycle = refer::own(conn, "runchain_events", &["run_id"], &until)?;
        self.rows(subject, &lifecycle, "data/events/lifecycle.jsonl", true)?;
        Ok(())
    }

    fn files(&mut self, search: &Search<'_>, found: &Found) -> Result<Map<String, Value>> {
        let mut names = PayloadNames::default();
        let mut map = Map::new();
        for (original, candidate) in &found.files {
            let bytes = original.as_os_str().as_bytes();
            let path = format!("data/files/{}", names.claim(bytes, ""));
            let (size_bytes, copied) = self.payload.file(&path, candidate, search)?;
            self.moving |= copied != Copied::Whole;
            if copied == Copied::Gone {
                continue;
            }
            let seen = format!("{path}\n{size_bytes} {}\n", candidate.mtime_ns);
            self.hasher.update(seen.as_bytes());
            self.size_bytes += size_bytes;
            let mut entry = json!({ "path": lossy(original), "size_bytes": size_bytes });
            if original.to_str().is_none() {
                entry["path_hex"] = Value::from(super::digest::hex(bytes));
            }
            map.insert(path, entry);
        }
        Ok(map)
    }
}

/// Keeps a page of encoded rows while its statement is open.
struct Lines<'a, 'b> {
    walk: &'a mut Walk<'b>,
    path: &'a str,
    encoder: RowEncoder<'a>,
    buffer: Vec<u8>,
    begun: bool,
    rows: u64,
}

impl Reader for Lines<'_, '_> {
    fn row(&mut self, values: Values<'_>) -> rusqlite::Result<usize> {
        let before = self.buffer.len();
        self.encoder.append(values, &mut self.buffer)?;
        self.rows += 1;
        Ok(self.buffer.len() - before)
    }

    fn page(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        if !self.begun {
            self.walk.begin(self.path)?;
            self.begun = true;
        }
        self.walk.write(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

/// Only looks: for the fingerprint and the size.
pub(super) struct Look;

impl Payload for Look {
    fn begin(&mut self, _path: &str) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        Ok(())
    }

    fn file(&mut self, _path: &str, found: &Candidate, _search: &Search<'_>) -> Result<(u64, Copied)> {
        Ok((found.size_bytes, Copied::Whole))
    }
}
