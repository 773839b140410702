//! `runchain monitor --ingest-events`: a person looks, and the logs are followed meanwhile.

use super::*;
use crate::support::{Project, Screen};

fn monitor(project: &Project, place: &str) -> Screen {
    let mut command = project.command(&["monitor"]);
    Screen::start(command.args(["--ingest-events", place]), 160, 24)
}

#[test]
fn a_failure_appears_on_the_screen_while_nobody_drains() {
    let project = Project::installed("");
    append(&project, EVENTS, &lines(0..2));
    let mut terminal = monitor(&project, "state/events/*.jsonl");
    terminal.until(&["following event logs", "NO EXECUTOR"]);
    until_stored(&project, 2);
    terminal.types("4");
    terminal.until(&["pattern.execution.started"]);
    append(&project, EVENTS, &line(2, "pattern.execution.failed"));
    terminal.until(&["pattern.execution.failed", "disk on fire"]);
    terminal.types("5");
    terminal.until(&["PRUN-2", "disk on fire"]);
    // What can't be understood is said, with where to look.
    append(&project, EVENTS, "broken\n");
    terminal.until(&["1 lines rejected", "runchain_ingest_rejects"]);
    terminal.types("q");
    assert_eq!(terminal.ended(), Some(0));
    terminal.assert_restored();
    assert_eq!(project.sql("SELECT pid FROM runchain_executors"), "");
}

#[test]
fn what_a_service_follows_is_left_to_it_until_it_ends() {
    let project = Project::installed("");
    append(&project, EVENTS, &lines(0..1));
    let service = follows(&project, &["state/events"]);
    until_stored(&project, 1);
    let terminal = monitor(&project, "state/events");
    terminal.until(&["event logs are followed by executor"]);
    service.kill();
    terminal.until(&["NO EXECUTOR", "following event logs"]);
    append(&project, EVENTS, &lines(1..3));
    until_stored(&project, 3);
    // Another service comes, and follows something else.
    let service = follows(&project, &["elsewhere"]);
    terminal.until(&["executor alive"]);
    append(&project, EVENTS, &lines(3..4));
    until_stored(&project, 4);
    assert!(service.terminate().success());
}

#[test]
fn as_text_and_as_json_a_log_is_read_to_its_end_first() {
    let project = Project::installed("");
    append(&project, EVENTS, &lines(0..20_000));
    append(&project, EVENTS, &line(20_000, "pattern.execution.failed"));
    let place = ["--ingest-events", "state/events"];
    let once = project.runchain(&[&["monitor", "--once"], &place[..]].concat());
    assert!(once.exits(0).stdout.contains("alerts (1)"));
    until_stored(&project, 20_001);
    append(&project, EVENTS, &line(20_001, "pattern.execution.failed"));
    let all = project.runchain(&[&["--json", "monitor"], &place[..]].concat());
    let all = all.exits(0).json();
    let subjects = all["alerts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|alert| &alert["subject"]);
    assert_eq!(subjects.collect::<Vec<_>>(), ["PRUN-20001", "PRUN-20000"]);
    until_stored(&project, 20_002);
    // Without the option nothing is read.
    append(&project, EVENTS, &lines(20_002..20_003));
    project.runchain(&["monitor", "--once"]).exits(0);
    until_stored(&project, 20_002);
}
