//! `events` and `logs`: what was said, and what is being said.

use super::{end, project};
use crate::support::{Project, eventually, runchain};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// A command that goes on printing; killed when it is dropped.
struct Follower {
    child: Child,
    lines: Receiver<String>,
}

impl Follower {
    fn start(project: &Project, arguments: &[&str]) -> Self {
        let mut child = runchain(project.root())
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// The next line that is wanted.
    #[track_caller]
    fn until(&self, wanted: &str) -> String {
        eventually(&format!("a line with {wanted}"), || {
            let line = self
                .lines
                .recv_timeout(Duration::from_secs(5))
                .map_err(|error| error.to_string())?;
            if line.contains(wanted) {
                Ok(line)
            } else {
                Err(line)
            }
        })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn event_line(id: &str, kind: &str, job: &str) -> String {
    format!(
        r#"{{"event_id":"EVT-{id}","event_type":"{kind}","timestamp":"2025-11-26T14:46:52+00:00","job_id":"{job}","pattern_run_id":"PRUN-1","pattern_id":"PAT-1","status":"failed","details":{{"error_message":"no such template"}}}}"#
    ) + "\n"
}

fn types(json: &Value) -> Vec<String> {
    let events = json["events"].as_array().unwrap().iter();
    events
        .map(|event| event["type"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn events_of_both_kinds_are_chosen_by_type_run_and_time() {
    let project = project();
    end(&project, &["r", "x-bad"]);
    fs::write(
        project.path("e.jsonl"),
        event_line("1", "pattern.execution.failed", "r"),
    )
    .unwrap();
    project.runchain(&["ingest", "e.jsonl"]).exits(0);
    let events = |arguments: &[&str]| {
        let words = [&["events", "--json"], arguments].concat();
        project.runchain(&words).exits(0).json()
    };
    assert_eq!(
        types(&events(&["--type", "*.failed"])),
        ["pattern.execution.failed"]
    );
    assert_eq!(
        types(&events(&["--type", "RUN_*", "--run", "r"])),
        ["RUN_CREATED", "RUN_COMPLETED", "RUN_ARCHIVED"]
    );
    assert!(types(&events(&["--run", "r"])).contains(&"pattern.execution.failed".to_owned()));
    assert_eq!(types(&events(&["--limit", "2"])).len(), 2);
    let recent = types(&events(&["--since", "1h"]));
    assert!(
        recent.contains(&"STEP_DEAD".to_owned()) && !recent.contains(&"pattern.execution.failed".to_owned())
    );
    assert_eq!(types(&events(&["--since", "2999-01-01"])), [""; 0]);
    project.runchain(&["events", "--type", "["]).exits(2);
    project.runchain(&["events", "--since", "yesterday"]).exits(2);
    let red = project
        .runchain(&["events", "--color", "always", "--type", "*.failed"])
        .exits(0)
        .stdout;
    assert!(
        red.contains("\u{1b}[31mpattern.execution.failed\u{1b}[0m"),
        "{red:?}"
    );
}

#[test]
fn events_are_followed_as_they_come() {
    let project = project();
    let _service = project.service();
    let follower = Follower::start(&project, &["events", "--follow", "--json", "--run", "r"]);
    let failed = Follower::start(&project, &["events", "--follow", "--type", "*.failed"]);
    // Something stands there before: both have looked once it is told.
    project.sql("INSERT INTO runs(run_id, status) VALUES ('other', 'RUNNING'), ('r', 'RUNNING');");
    follower.until("RUN_CREATED");
    project.sql("UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'r';");
    let line = follower.until("REPORT_GENERATED");
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&event["run_id"], &event["source"]),
        (&"r".into(), &"lifecycle".into())
    );
    fs::write(
        project.path("e.jsonl"),
        event_line("1", "pattern.execution.failed", "r"),
    )
    .unwrap();
    project.runchain(&["ingest", "e.jsonl"]).exits(0);
    assert!(
        failed
            .until("pattern.execution.failed")
            .contains("no such template")
    );
    follower.until("pattern.execution.failed");
}

#[test]
fn a_follower_whose_reader_went_away_ends_with_the_next_line() {
    let project = project();
    let _service = project.service();
    let mut child = runchain(project.root())
        .args(["events", "--follow", "--limit", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    project.sql("INSERT INTO runs(run_id, status) VALUES ('r', 'RUNNING');");
    let status = eventually("the follower to end", || {
        child.try_wait().unwrap().ok_or_else(|| "it runs".to_owned())
    });
    assert_eq!(status.code(), Some(0));
}

#[test]
fn logs_hold_log_lines_what_steps_printed_and_ingested_events_in_order_also_from_rotated_files() {
    let project = project();
    project.configure(&format!("{}\n[logs]\nrotate_bytes = 300\n", super::OWN_STEP));
    end(&project, &["a", "x-bad", "b"]);
    fs::write(
        project.path("e.jsonl"),
        event_line("1", "pattern.execution.failed", "x-bad"),
    )
    .unwrap();
    project.runchain(&["ingest", "e.jsonl"]).exits(0);
    let rotated = fs::read_dir(project.path("logs")).unwrap().count();
    assert!(rotated > 3, "nothing was rotated");
    let json = project.runchain(&["logs", "--json", "x-bad"]).exits(0).json();
    let lines = json["lines"].as_array().unwrap();
    let told: Vec<&str> = lines.iter().map(|line| line["what"].as_str().unwrap()).collect();
    for wanted in [
        "RUN_CREATED",
        "RUN_COMPLETED",
        "RUN_ARCHIVED",
        "STEP_FAILED",
        "STEP_DEAD",
        "REPORT_GENERATED",
    ] {
        assert_eq!(
            told.iter().filter(|what| **what == wanted).count(),
            1,
            "{wanted} in {told:?}"
        );
    }
    let outputs: Vec<&str> = lines
        .iter()
        .filter(|line| line["source"] == "output")
        .map(|line| line["text"].as_str().unwrap())
        .collect();
    assert_eq!(outputs.len(), 2);
    assert!(
        outputs[0].contains("uploading x-bad") && outputs[0].contains("connection refused"),
        "{outputs:?}"
    );
    assert_eq!(told[0], "pattern.execution.failed", "the oldest by its own time");
    let times: Vec<&str> = lines.iter().map(|line| line["at"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert!(
        lines
            .iter()
            .all(|line| line["data"]["run_id"].as_str().is_none_or(|id| id == "x-bad"))
    );
    let text = project.runchain(&["logs", "x-bad"]).exits(0).stdout;
    assert!(
        text.lines()
            .any(|line| line.ends_with("upload #1         connection refused")),
        "{text}"
    );
    assert_eq!(
        project
            .runchain(&["logs", "--limit", "3", "a"])
            .exits(0)
            .stdout
            .lines()
            .count(),
        3
    );
    project.runchain(&["logs", "nobody"]).exits(13);
}

#[test]
fn logs_are_followed_as_they_come() {
    let project = project();
    let _service = project.service();
    project.sql("INSERT INTO runs(run_id, status) VALUES ('x-bad', 'RUNNING');");
    project.until("SELECT count(*) FROM runchain_runs", "1");
    let follower = Follower::start(&project, &["logs", "--follow", "x-bad"]);
    follower.until("RUN_CREATED");
    project.sql("UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'x-bad';");
    follower.until("RUN_COMPLETED");
    let mut missing = vec!["connection refused", "STEP_DEAD", "REPORT_GENERATED"];
    eventually("the rest", || {
        let line = follower
            .lines
            .recv_timeout(Duration::from_secs(5))
            .map_err(|error| error.to_string())?;
        missing.retain(|wanted| !line.contains(wanted));
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("{missing:?}"))
        }
    });
}
