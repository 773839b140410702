//! `runchain ingest` is killed at random moments, again and again, while a program writes the log and
//! rotates it, by rename and by copy-truncate, with halves of lines and broken ones. At the end the
//! database holds each event once, and has counted each failure once.
//!
//! `RUNCHAIN_TEST_SEED` repeats the random choices (not the scheduling), `RUNCHAIN_INGEST_KILLS` says how
//! many kills.
#![allow(
    clippy::print_stdout,
    reason = "the seed repeats a failure; the rest is what it is for"
)]

use super::*;
use fastrand::Rng;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const KILLS: usize = 40;
const LOG: &str = "log.jsonl";

/// What the writer has written.
#[derive(Debug, Default)]
struct Ledger {
    events: u64,
    failures: u64,
    broken: BTreeSet<String>,
    rotations: u32,
}

/// A program that writes a log and rotates it by itself.
struct Writer {
    folder: PathBuf,
    file: File,
    rng: Rng,
    ledger: Ledger,
}

impl Writer {
    fn new(folder: &Path, seed: u64) -> Self {
        Self {
            folder: folder.to_owned(),
            file: open(&folder.join(LOG)),
            rng: Rng::with_seed(seed),
            ledger: Ledger::default(),
        }
    }

    /// Writes until it is told to stop, at least something.
    fn run(mut self, stop: &AtomicBool) -> Ledger {
        loop {
            for _ in 0..self.rng.usize(1..600) {
                self.line();
            }
            match self.rng.u8(..8) {
                0 => self.rename(),
                1 => self.copy_truncate(),
                _ => {}
            }
            if stop.load(Ordering::SeqCst) {
                return self.ledger;
            }
            // Not faster than a debug build can read.
            std::thread::sleep(Duration::from_millis(self.rng.u64(..20)));
        }
    }

    fn line(&mut self) {
        let number = self.ledger.events;
        let line = match self.rng.u8(..40) {
            0 => {
                let broken = format!("broken line {}", self.ledger.broken.len());
                self.ledger.broken.insert(broken.clone());
                broken
            }
            // An old one again.
            1 if number > 0 => event(self.rng.u64(..number) / 3 * 3),
            _ => {
                self.ledger.events += 1;
                self.ledger.failures += u64::from(is_failure(number));
                event(number)
            }
        } + "\n";
        // Sometimes in two pieces.
        let (half, rest) = line.as_bytes().split_at(match self.rng.u8(..20) {
            0 => self.rng.usize(..line.len()),
            _ => line.len(),
        });
        self.file.write_all(half).unwrap();
        self.file.write_all(rest).unwrap();
    }

    fn rotated(&mut self) -> PathBuf {
        self.ledger.rotations += 1;
        self.folder.join(format!("{LOG}.{:04}", self.ledger.rotations))
    }

    fn rename(&mut self) {
        let rotated = self.rotated();
        fs::rename(self.folder.join(LOG), rotated).unwrap();
        self.file = open(&self.folder.join(LOG));
    }

    fn copy_truncate(&mut self) {
        let rotated = self.rotated();
        fs::copy(self.folder.join(LOG), rotated).unwrap();
        self.file.set_len(0).unwrap();
    }
}

fn open(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}

/// One in three has no id: it is known by its first line, its place and its content.
fn event(number: u64) -> String {
    let id = if number % 3 == 1 {
        String::new()
    } else {
        format!("\"event_id\":\"EVT-{number}\",")
    };
    let kind = if is_failure(number) { "failed" } else { "started" };
    format!(
        "{{{id}\"event_type\":\"pattern.execution.{kind}\",\"timestamp\":\"2026-03-01T12:00:00Z\",\"job_id\":\"JOB-{}\",\
         \"pattern_run_id\":\"PRUN-{}\",\"number\":{number}}}",
        number % 7,
        number % 50
    )
}

fn is_failure(number: u64) -> bool {
    number % 10 == 2
}

/// The rotated logs, the oldest first, and the current one.
fn logs(project: &Project) -> Vec<String> {
    let entries = fs::read_dir(project.root()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut logs: Vec<String> = names.filter(|name| name.starts_with("log.jsonl.")).collect();
    logs.sort();
    logs.push(LOG.to_owned());
    logs
}

/// Starts an ingest of everything and kills it, if it is still there by then.
fn start_and_kill(project: &Project, after: Duration) -> bool {
    let logs = logs(project);
    let mut arguments = vec!["ingest"];
    arguments.extend(logs.iter().map(String::as_str));
    let mut reader = project
        .command(&arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + after;
    while Instant::now() < deadline {
        if reader.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    reader.kill().unwrap();
    reader.wait().unwrap().code().is_none()
}

fn kills() -> usize {
    std::env::var("RUNCHAIN_INGEST_KILLS").map_or(KILLS, |text| text.parse().unwrap())
}

fn seed() -> u64 {
    std::env::var("RUNCHAIN_TEST_SEED").map_or_else(|_| fastrand::u64(..), |text| text.parse().unwrap())
}

fn each_event_once_in(journal_mode: &str, seed: u64) {
    println!("seed {seed}, {journal_mode}");
    let mut rng = Rng::with_seed(seed);
    let project = installed();
    project.sql(&format!("PRAGMA journal_mode = {journal_mode}"));
    let writer = Writer::new(project.root(), seed);
    let stop = AtomicBool::new(false);
    let (ledger, killed) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| writer.run(&stop));
        let (mut killed, mut longest_ms) = (0, 200);
        while killed < kills() {
            // One that was through lets the next ones die sooner.
            if start_and_kill(&project, Duration::from_millis(rng.u64(..longest_ms))) {
                killed += 1;
                longest_ms = (longest_ms + 10).min(2_000);
            } else {
                longest_ms = (longest_ms * 3 / 4).max(20);
            }
        }
        stop.store(true, Ordering::SeqCst);
        (writer.join().unwrap(), killed)
    });
    let before = project.sql("SELECT count(*) FROM runchain_ingested");
    let logs = logs(&project);
    let mut arguments = vec!["--json", "ingest"];
    arguments.extend(logs.iter().map(String::as_str));
    let last = project.runchain(&arguments).exits(0).json();
    println!(
        "{killed} kills, {} events, {} rotations, {} stored before the last",
        ledger.events,
        ledger.rotations,
        before.trim_end()
    );

    assert_eq!(project.sql("PRAGMA integrity_check"), "ok\n");
    balances(&project);
    assert_eq!(
        project
            .sql("SELECT count(*), count(DISTINCT json_extract(extra, '$.number')) FROM runchain_ingested"),
        format!("{0}|{0}\n", ledger.events)
    );
    assert_eq!(
        project.sql("SELECT sum(count) FROM runchain_alerts WHERE rule = 'event.failed'"),
        format!("{}\n", ledger.failures)
    );
    // A copy that copy-truncate makes repeats them.
    let broken = project.lines("SELECT DISTINCT start FROM runchain_ingest_rejects");
    assert_eq!(broken.into_iter().collect::<BTreeSet<_>>(), ledger.broken);
    // (Of a log that was cut away under a reader that was killed in the middle, something still is.)
    let current = &last[logs.len() - 1];
    assert_eq!(
        (&current["pending"], &current["left"]),
        (&0.into(), &Value::Null),
        "nothing is pending: {current}"
    );
}

#[test]
fn each_event_is_stored_once_in_wal() {
    each_event_once_in("WAL", seed());
}

#[test]
fn each_event_is_stored_once_in_rollback_mode() {
    each_event_once_in("DELETE", seed());
}
