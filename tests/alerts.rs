//! Alerts: what makes one, how it ends, who hears of it, and what a channel's failure holds up: nothing
//! but itself.

mod alertmanager;
mod asked;
mod channels;
mod leaving;
mod rules;
mod server;
mod tls;

use crate::support::{Project, eventually};
use serde_json::Value;

/// A line of an event log.
fn event(id: &str, kind: &str, second: u32, task: &str) -> String {
    let status = if kind.ends_with("completed") {
        "success"
    } else {
        "failed"
    };
    let line = serde_json::json!({
        "event_id": id, "event_type": kind, "timestamp": format!("2026-03-01T12:00:{second:02}+00:00"),
        "job_id": "JOB-1", "pattern_run_id": task, "status": status,
        "details": { "error_message": format!("{id} broke"), "exit_code": second },
    });
    format!("{line}\n")
}

fn ingest(project: &Project, name: &str, lines: &str) {
    std::fs::write(project.path(name), lines).unwrap();
    project.runchain(&["ingest", name]).exits(0);
}

/// The events about alerts that `logs/monitor.jsonl` has, each as its type and rule.
fn told(project: &Project) -> Vec<String> {
    let lines = project.log("monitor.jsonl");
    let about = lines.iter().filter(|line| {
        line["event"]
            .as_str()
            .is_some_and(|kind| kind.starts_with("ALERT_"))
    });
    about
        .map(|line| {
            format!(
                "{} {}",
                line["event"].as_str().unwrap(),
                line["data"]["rule"].as_str().unwrap_or("?")
            )
        })
        .collect()
}

/// Waits until the log tells this.
#[track_caller]
fn until_told(project: &Project, wanted: &[&str]) {
    eventually(&format!("the log to tell {wanted:?}"), || {
        let found = told(project);
        if found == wanted {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    });
}

fn alerts(project: &Project) -> Value {
    project
        .runchain(&["alerts", "list", "--all", "--json"])
        .exits(0)
        .json()
}
