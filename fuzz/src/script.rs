//! Any bytes as a script of what happens to a log between and during reads: lines, halves of lines and
//! rubbish are appended, it is cut, rotated, copied, rewritten, removed, read, and a read breaks off.
//!
//! What must hold, against a model that knows nothing of inodes and checkpoints: every line of ours that
//! stood whole in a file when it was read to its end is stored, once; bytes read = stored + rejected;
//! and a fresh database that reads what is left at the end finds no event that the old one lacks.

use super::store::Store;
use runchain_core::ingest::IngestOptions;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Steps of a script; longer ones are cut.
const MAX_STEPS: usize = 64;
const MAX_LINE_BYTES: usize = 300;

/// Longer than what identifies a file's beginning, and the same each time. Its lines are no events.
const BANNER_LINES: usize = 12;

/// One of our lines, by its number.
type Number = u32;

/// A log as the model has it.
struct Log {
    path: PathBuf,
    content: Vec<u8>,
    /// Up to here the lines are cut, finalised ends included.
    cut_to: usize,
}

impl Log {
    fn write(&mut self, bytes: &[u8]) {
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)
            .unwrap();
        file.write_all(bytes).unwrap();
        self.content.extend_from_slice(bytes);
    }

    /// Cuts the file in place, as `truncate` does.
    fn truncate(&mut self, length: usize) {
        if self.content.is_empty() {
            return;
        }
        let file = fs::OpenOptions::new().write(true).open(&self.path).unwrap();
        file.set_len(length as u64).unwrap();
        self.content.truncate(length);
        if length < self.cut_to {
            self.cut_to = 0;
        }
    }

    /// The lines that a read to the end makes of what is new.
    fn new_lines(&mut self, finalise: bool) -> Vec<Vec<u8>> {
        let rest = &self.content[self.cut_to..];
        let end = match rest.iter().rposition(|byte| *byte == b'\n') {
            _ if finalise => rest.len(),
            Some(last) => last + 1,
            None => 0,
        };
        let lines = rest[..end]
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect();
        self.cut_to += end;
        lines
    }
}

/// A run of a script.
struct Run<'a> {
    bytes: &'a [u8],
    store: &'a Store,
    folder: &'a Path,
    current: Log,
    rotated: Vec<Log>,
    next: Number,
    rest_of_line: Vec<u8>,
    must: BTreeSet<Number>,
    finalised: bool,
}

/// Checks one input.
pub fn check(bytes: &[u8]) {
    thread_local! {
        static STORES: RefCell<Option<(Store, Store)>> = const { RefCell::new(None) };
    }
    STORES.with_borrow_mut(|stores| {
        let (store, fresh) = stores.get_or_insert_with(|| (Store::new(), Store::new()));
        store.clear();
        fresh.clear();
        // Where inodes are used again.
        let folder = tempfile::tempdir().unwrap();
        let mut run = Run {
            bytes,
            store,
            folder: folder.path(),
            current: Log {
                path: folder.path().join("log.jsonl"),
                content: Vec::new(),
                cut_to: 0,
            },
            rotated: Vec::new(),
            next: 0,
            rest_of_line: Vec::new(),
            must: BTreeSet::new(),
            finalised: false,
        };
        for _ in 0..MAX_STEPS {
            if run.bytes.is_empty() {
                break;
            }
            run.step();
        }
        run.finish(fresh);
    });
}

/// Two lines in three have an id; the others are known by their number only.
fn line(number: Number) -> String {
    let fields = format!(
        r#""event_type":"pattern.execution.{}","timestamp":"2026-03-01T12:00:{:02}Z","job_id":"JOB-{}","pattern_run_id":"PRUN-{}","number":{number}"#,
        ["started", "failed", "completed"][number as usize % 3],
        number % 60,
        number % 2,
        number % 5,
    );
    if number % 3 == 2 {
        format!("{{{fields}}}\n")
    } else {
        format!(r#"{{"event_id":"EVT-{number}",{fields}}}"#) + "\n"
    }
}

/// The number of a line that is exactly one of ours, damage in front of it aside.
fn number_of(bytes: &[u8]) -> Option<Number> {
    let start = bytes.iter().position(|byte| *byte != 0)?;
    let text = std::str::from_utf8(&bytes[start..]).ok()?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_ascii_end();
    let (_, number) = text.rsplit_once("\"number\":")?;
    let number = number.strip_suffix('}')?.parse().ok()?;
    (text == line(number).trim_end() && bytes.len() - start <= MAX_LINE_BYTES).then_some(number)
}

impl Run<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else {
            return 0;
        };
        self.bytes = rest;
        *first
    }

    fn step(&mut self) {
        match self.byte() % 24 {
            0..3 => {
                for _ in 0..=self.byte() % 16 {
                    let line = self.fresh_line();
                    self.current.write(line.as_bytes());
                }
            }
            3 => {
                let at = usize::from(self.byte());
                let line = self.fresh_line();
                let (half, rest) = line.as_bytes().split_at(at.min(line.len()));
                self.current.write(half);
                self.rest_of_line = rest.to_vec();
            }
            4 => {
                let rest = std::mem::take(&mut self.rest_of_line);
                self.current.write(&rest);
            }
            5 => {
                let length = usize::from(self.byte()).min(self.bytes.len());
                let (raw, rest) = self.bytes.split_at(length);
                self.bytes = rest;
                self.current.write(raw);
            }
            6 => {
                let damage = [&b"\n"[..], b"\r\n", b"\xEF\xBB\xBF", b"\0"];
                let which = usize::from(self.byte()) % damage.len();
                self.current.write(damage[which]);
            }
            7 => {
                let nuls = vec![0; usize::from(self.byte())];
                self.current.write(&nuls);
            }
            8 => {
                let (number, length) = (self.next, usize::from(self.byte()) * 4);
                self.next += 1;
                self.current
                    .write(format!("{number}{}", "x".repeat(length)).as_bytes());
            }
            9 => {
                let number = Number::from(self.byte()) % self.next.max(1);
                // One without id at another place is another event.
                if number % 3 != 2 && self.next > 0 {
                    self.current.write(line(number).as_bytes());
                }
            }
            10..13 => self.read_current(false),
            13 => {
                self.read_rotated();
                self.read_current(false);
            }
            14 => self.roll_back(),
            15 => self.break_off(),
            16 => {
                let finalise = self.byte().is_multiple_of(4);
                self.finalised |= finalise;
                self.read_current(finalise);
            }
            17 => self.current.truncate(0),
            18 => {
                let kept = usize::from(self.byte()) * self.current.content.len() / 256;
                self.current.truncate(kept);
            }
            19 => self.rotate(),
            20 => self.copy_truncate(),
            21 => self.rewrite_with_banner(),
            22 => self.remove(),
            _ => self.read_rotated(),
        }
    }

    fn fresh_line(&mut self) -> String {
        self.next += 1;
        line(self.next - 1)
    }

    fn options(&mut self, finalise: bool) -> IngestOptions {
        IngestOptions {
            max_line_bytes: MAX_LINE_BYTES,
            batch_lines: usize::from(self.byte() % 8) + 1,
            finalise,
            ..IngestOptions::default()
        }
    }

    fn read_current(&mut self, finalise: bool) {
        let options = self.options(finalise);
        read(self.store, &mut self.current, &options, &mut self.must);
    }

    fn read_rotated(&mut self) {
        let options = self.options(false);
        for log in &mut self.rotated {
            read(self.store, log, &options, &mut self.must);
        }
    }

    /// The caller's transaction, rolled back: as good as a kill before the commit.
    fn roll_back(&mut self) {
        let options = self.options(false);
        if !self.current.path.exists() {
            return;
        }
        self.store.conn.execute_batch("BEGIN").unwrap();
        self.store.ingest(&self.current.path, &options).unwrap();
        self.store.conn.execute_batch("ROLLBACK").unwrap();
        self.store.balances();
    }

    /// Fails in the middle: some batches are committed, the rest is not.
    fn break_off(&mut self) {
        let (options, events) = (self.options(false), self.byte() % 32);
        let (table, verb) = [
            ("runchain_ingested", "INSERT"),
            ("runchain_ingest_files", "UPDATE"),
        ][usize::from(events % 2)];
        if !self.current.path.exists() {
            return;
        }
        self.store
            .conn
            .execute_batch(&format!(
                "CREATE TEMP TRIGGER broken BEFORE {verb} ON main.{table}
                 WHEN (SELECT count(*) FROM main.runchain_ingested) >= {events}
                 BEGIN SELECT RAISE(ABORT, 'broken off'); END"
            ))
            .unwrap();
        if let Err(error) = self.store.ingest(&self.current.path, &options) {
            assert!(error.to_string().contains("broken off"), "{error}");
        }
        assert!(self.store.conn.is_autocommit());
        self.store.conn.execute_batch("DROP TRIGGER broken").unwrap();
    }

    fn rotated_path(&self) -> PathBuf {
        self.folder.join(format!("log.jsonl.{}", self.rotated.len() + 1))
    }

    fn rotate(&mut self) {
        if !self.current.path.exists() {
            return;
        }
        let path = self.rotated_path();
        fs::rename(&self.current.path, &path).unwrap();
        let content = std::mem::take(&mut self.current.content);
        let cut_to = std::mem::take(&mut self.current.cut_to);
        self.rotated.push(Log {
            path,
            content,
            cut_to,
        });
        self.rest_of_line.clear();
    }

    fn copy_truncate(&mut self) {
        if !self.current.path.exists() {
            return;
        }
        let path = self.rotated_path();
        fs::copy(&self.current.path, &path).unwrap();
        self.rotated.push(Log {
            path,
            content: self.current.content.clone(),
            cut_to: 0,
        });
        self.current.truncate(0);
    }

    /// Cut and written anew with the same beginning, as a program does that opens its log anew.
    fn rewrite_with_banner(&mut self) {
        self.current.truncate(0);
        for number in 0..BANNER_LINES {
            let banner = format!("banner {number} {}\n", "-".repeat(120));
            self.current.write(banner.as_bytes());
        }
    }

    fn remove(&mut self) {
        if self.current.path.exists() {
            fs::remove_file(&self.current.path).unwrap();
        }
        self.current.content.clear();
        self.current.cut_to = 0;
    }

    fn finish(mut self, fresh: &Store) {
        self.bytes = &[7];
        self.read_rotated();
        self.bytes = &[7];
        self.read_current(false);
        let stored = self.store.texts(
            // Halves of two lines can make a third, with the id of one and the number of another.
            "SELECT substr(event_id, 5) FROM runchain_ingested WHERE event_id LIKE 'EVT-%'
             UNION ALL
             SELECT CAST(json_extract(extra, '$.number') AS TEXT) FROM runchain_ingested
             WHERE event_id LIKE 'gen-%' AND json_type(extra, '$.number') = 'integer'
               AND json_extract(extra, '$.number') % 3 = 2",
        );
        let mut counts: BTreeMap<Number, u32> = BTreeMap::new();
        for number in stored.iter().filter_map(|number| number.parse().ok()) {
            *counts.entry(number).or_default() += 1;
        }
        for number in &self.must {
            let count = counts.get(number).copied().unwrap_or(0);
            // Who finalises half a line says that it won't go on; one that does is lost in two halves.
            let lost_on_request = self.finalised && count == 0;
            assert!(
                count == 1 || lost_on_request,
                "line {number} is stored {count} times"
            );
        }
        if self.finalised {
            return;
        }
        let mut all = BTreeSet::new();
        self.bytes = &[255];
        let options = self.options(false);
        for log in self.rotated.iter_mut().chain([&mut self.current]) {
            log.cut_to = 0;
            read(fresh, log, &options, &mut all);
        }
        const IDS: &str = "SELECT event_id FROM runchain_ingested ORDER BY 1";
        let known: BTreeSet<String> = self.store.texts(IDS).into_iter().collect();
        for id in fresh.texts(IDS) {
            assert!(known.contains(&id), "{id} is in a file and not in the database");
        }
    }
}

/// Reads a log to its end; what of it is ours must then be stored.
fn read(store: &Store, log: &mut Log, options: &IngestOptions, must: &mut BTreeSet<Number>) {
    if !log.path.exists() {
        return;
    }
    let report = store.ingest(&log.path, options).unwrap();
    let lines = log.new_lines(options.finalise);
    must.extend(lines.iter().filter_map(|line| number_of(line)));
    let whole = store.number(&format!(
        "SELECT size_bytes FROM runchain_ingest_files WHERE id = {}",
        report.file_id
    ));
    assert_eq!(whole, log.content.len() as i64, "read + pending is the file");
}
