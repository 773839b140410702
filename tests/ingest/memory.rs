//! Memory stays below a bound whatever the file: its size, the length of its lines, what stands in them.
//!
//! The inputs are small enough for every day; `RUNCHAIN_MEMORY_MB` makes the large ones larger.
#![allow(clippy::print_stdout, reason = "the peaks are worth reading")]

use super::*;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::process::Stdio;
use std::time::Duration;

/// What the README promises for any input with the default limit of a line.
const BOUND_MB: u64 = 64;

/// A line may have so many bytes; the worst that one can hold stands in fewer.
const LINE_BYTES: usize = 1_000_000;

fn size_mb() -> usize {
    std::env::var("RUNCHAIN_MEMORY_MB").map_or(64, |text| text.parse().unwrap())
}

/// Ingests the log that `write` writes, and returns the report and the most memory that it took.
fn ingest(write: impl Fn(&mut dyn Write)) -> (Value, u64) {
    // Whoever is kept from looking until the reader has ended has seen nothing, and does it again.
    for _ in 0..20 {
        let (report, peak_kb) = watched(&write);
        if peak_kb > 0 {
            return (report, peak_kb / 1024);
        }
    }
    panic!("nothing was measured");
}

/// The same once: the report and the most kilobytes that were seen.
fn watched(write: impl Fn(&mut dyn Write)) -> (Value, u64) {
    let project = installed();
    let mut log = BufWriter::new(File::create(project.path("log.jsonl")).unwrap());
    write(&mut log);
    log.flush().unwrap();
    let mut reader = project
        .command(&["--json", "ingest", "log.jsonl"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The high-water mark that the kernel keeps; what wait4 says would include this process.
    let mut peak_kb = 0;
    while reader.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", reader.id())).unwrap_or_default();
        let mark = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let mark = mark.and_then(|mark| mark.split_whitespace().next()?.parse().ok());
        peak_kb = peak_kb.max(mark.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(1));
    }
    let output = reader.wait_with_output().unwrap();
    assert!(output.status.success());
    balances(&project);
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    (reports[0].clone(), peak_kb)
}

#[track_caller]
fn stays_bounded(what: &str, wanted: Counts, write: impl Fn(&mut dyn Write)) {
    let (report, peak_mb) = ingest(write);
    println!("{what}: {peak_mb} MB");
    assert_eq!(Counts::of(&report), wanted, "{what}");
    assert!(peak_mb <= BOUND_MB, "{what} took {peak_mb} MB");
}

/// A failure: what its details say is kept three times, in the event, the task and the execution.
fn failure(number: usize, details: &str) -> String {
    format!(
        "{{\"event_id\":\"EVT-{number}\",\"event_type\":\"pattern.execution.failed\",\"timestamp\":\"2026-03-01T12:00:00Z\",\
         \"job_id\":\"JOB-{number}\",\"pattern_run_id\":\"PRUN-{number}\",\"details\":{details}}}\n"
    )
}

/// Something again and again, as long as a line may be.
fn many(one: impl Fn(usize) -> String) -> String {
    let (mut text, mut number) = (String::with_capacity(LINE_BYTES), 0);
    while text.len() < LINE_BYTES - 500 {
        text.push_str(&one(number));
        number += 1;
    }
    text
}

#[test]
fn a_single_line_without_end() {
    let block = vec![b'x'; 1 << 20];
    let (length, wanted) = (
        size_mb(),
        Counts {
            pending: (size_mb() << 20) as u64,
            ..Counts::default()
        },
    );
    stays_bounded("a line that has no end yet", wanted, |log| {
        for _ in 0..length {
            log.write_all(&block).unwrap();
        }
    });
    let wanted = Counts {
        rejected: 1,
        ..stored(1)
    };
    stays_bounded("a line that ends after all", wanted, |log| {
        for _ in 0..length {
            log.write_all(&block).unwrap();
        }
        log.write_all(b"\n{\"type\":\"a\"}\n").unwrap();
    });
}

#[test]
fn a_large_ordinary_log() {
    let count = size_mb() * 600;
    stays_bounded("ordinary events", stored(count as u64), |log| {
        for number in 0..count {
            let details = format!("{{\"tool\":\"t\",\"text\":\"{number:1500}\"}}");
            let line = failure(number, &details).replace(".failed", ".started");
            log.write_all(line.as_bytes()).unwrap();
        }
    });
}

#[test]
fn short_lines_and_broken_ones() {
    let count = size_mb() * 500;
    let wanted = Counts {
        rejected: count as u64,
        ..Counts::default()
    };
    stays_bounded("short broken lines", wanted, |log| {
        for _ in 0..count {
            log.write_all(b"x\n\n\n\n\n").unwrap();
        }
    });
}

#[test]
fn the_worst_that_a_line_can_hold() {
    let flat = format!("[{}0]", many(|_| "0,".to_owned()));
    let objects = format!("[{}0]", many(|_| "{},".to_owned()));
    let keys = format!("{{{}\"z\":0}}", many(|number| format!("\"{number:x}\":0,")));
    let nested = format!(
        "[{}0]",
        many(|_| format!("{}{},", "[".repeat(100), "]".repeat(100)))
    );
    let escapes = format!("\"{}\"", many(|_| "\\u0001".to_owned()));
    let error = format!("{{\"error_message\":{escapes}}}");
    for (what, details) in [
        ("numbers", &flat),
        ("objects", &objects),
        ("keys", &keys),
        ("nesting", &nested),
        ("escapes", &escapes),
        ("an error of escapes", &error),
    ] {
        stays_bounded(&format!("failures whose details are {what}"), stored(12), |log| {
            for number in 0..12 {
                log.write_all(
                    failure(number % 4, details)
                        .replace("EVT-", &format!("EVT-{number}-"))
                        .as_bytes(),
                )
                .unwrap();
            }
        });
        stays_bounded(&format!("fields that are {what}"), stored(6), |log| {
            for number in 0..6 {
                writeln!(log, "{{\"id\":{number},\"type\":\"a\",\"field\":{details}}}").unwrap();
            }
        });
    }
    let fields = many(|number| format!(",\"{number:x}\":0"));
    stays_bounded("many fields without a column", stored(6), |log| {
        for number in 0..6 {
            writeln!(log, "{{\"id\":{number},\"type\":\"a\"{fields}}}").unwrap();
        }
    });
    let bomb = "[".repeat(LINE_BYTES);
    let wanted = Counts {
        rejected: 12,
        ..Counts::default()
    };
    stays_bounded("nesting bombs", wanted, |log| {
        for _ in 0..12 {
            writeln!(log, "{bomb}").unwrap();
        }
    });
}
