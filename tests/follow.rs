//! Following event logs: what is appended is in the database and in the log soon after, each event once,
//! whatever happens to the files meanwhile.
//!
//! Nothing is timed but by waiting; where the time is of interest, it is printed.

mod files;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod on_screen;
mod once;
mod places;
mod typed;

use crate::support::{Project, Service, eventually};
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::ops::Range;
use std::path::Path;

const EVENTS: &str = "state/events/pattern_events.jsonl";

/// A service that leads and follows these places.
fn follows(project: &Project, places: &[&str]) -> Service {
    let mut arguments = vec!["drain"];
    for place in places {
        arguments.extend(["--ingest-events", place]);
    }
    let service = Service::of(&mut project.command(&arguments));
    says(&service, "following event logs");
    service
}

/// Waits until the service has said this.
#[track_caller]
fn says(service: &Service, words: &str) {
    eventually(&format!("the service to say {words}"), || {
        let told = service.told();
        if told.contains(words) { Ok(()) } else { Err(told) }
    });
}

/// One line as orchestrators write it.
fn line(number: u32, kind: &str) -> String {
    let failed = kind.ends_with(".failed");
    let status = if failed { "failed" } else { "in_progress" };
    let details = if failed {
        r#"{"error_type": "exit", "error_message": "disk on fire", "exit_code": 3}"#
    } else {
        r#"{"operation_kind": "scan"}"#
    };
    format!(
        r#"{{"event_id": "EVT-{number:026}", "event_type": "{kind}", "timestamp": "2025-11-26T14:46:52.742613+00:00", "job_id": "JOB-1", "pattern_run_id": "PRUN-{number}", "pattern_id": "PAT-SEMGRP-001", "status": "{status}", "details": {details}, "step_id": "STEP-003"}}"#
    ) + "\n"
}

fn lines(numbers: Range<u32>) -> String {
    numbers.fold(String::new(), |mut text, number| {
        write!(text, "{}", line(number, "pattern.execution.started")).unwrap();
        text
    })
}

/// Appends as `open("a")` does; the folders are made.
fn append(project: &Project, file: &str, text: &str) {
    let path = project.path(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    append_to(&path, text);
}

fn append_to(path: &Path, text: &str) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Waits until the database holds so many events, and checks that no byte is unaccounted for.
#[track_caller]
fn until_stored(project: &Project, events: usize) {
    project.until("SELECT count(*) FROM runchain_ingested", &events.to_string());
    assert_eq!(
        project.sql(
            "SELECT count(*) FROM runchain_ingest_balance WHERE unaccounted_bytes <> 0 OR pending_bytes < 0"
        ),
        "0\n"
    );
}

/// Waits until all lines of a file are accounted for.
#[track_caller]
fn until_read(project: &Project, file: &str) {
    let size = fs::metadata(project.path(file)).unwrap().len();
    let path = project.path(file);
    project.until(
        &format!(
            "SELECT max(offset_bytes) FROM runchain_ingest_files WHERE path = '{}'",
            path.display()
        ),
        &size.to_string(),
    );
}
