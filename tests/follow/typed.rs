//! `runchain ingest` with folders, globs and `--follow`.

use super::*;
use crate::support::{Project, SHAPE_A};
use rustix::process::Signal;
use serde_json::Value;
use std::process::{Command, Stdio};

#[test]
fn a_folder_and_a_glob_are_their_files() {
    let project = Project::installed("");
    append(&project, "events/a.jsonl", &lines(0..2));
    append(&project, "events/deep/b.jsonl", &lines(2..3));
    append(&project, "events/c.log", &lines(3..4));
    let all = project.runchain(&["ingest", "--json", "events"]).exits(0).json();
    let stored: Vec<_> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|report| report["stored"].clone())
        .collect();
    assert_eq!(stored, [2, 1]);
    let globbed = project
        .runchain(&["ingest", "--json", "events/*.log"])
        .exits(0)
        .json();
    assert_eq!(globbed[0]["stored"], 1);
    for nothing in ["events/*.txt", "nowhere/*.jsonl", "nowhere"] {
        let refused = project.runchain(&["ingest", nothing]).exits(1).stderr;
        assert!(
            refused.contains(&format!("there is no event log {nothing}")),
            "{refused}"
        );
    }
}

#[test]
fn a_followed_file_is_printed_as_it_grows_until_a_signal_and_goes_on_from_there() {
    let project = Project::installed("");
    append(&project, EVENTS, &lines(0..2));
    for (round, signal) in [Signal::TERM, Signal::INT].into_iter().enumerate() {
        let first = 2 + u32::try_from(round).unwrap() * 3;
        let printed = tempfile::NamedTempFile::new().unwrap();
        let mut child = project
            .command(&["ingest", "--follow", "--json", "state/events"])
            .stdout(printed.reopen().unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        append(&project, EVENTS, &lines(first..first + 3));
        let stored = || -> u64 {
            let text = fs::read_to_string(printed.path()).unwrap();
            let reports = text
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            reports.map(|report| report["stored"].as_u64().unwrap()).sum()
        };
        let wanted = if round == 0 { 5 } else { 3 };
        eventually("the events to be printed", || {
            let stored = stored();
            if stored == wanted {
                Ok(())
            } else {
                Err(stored.to_string())
            }
        });
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    until_stored(&project, 8);
    let audit = |action: &str| {
        let ran = project.runchain(&["--json", "audit", "--action", action]);
        ran.exits(0).json().as_array().unwrap().clone()
    };
    let began = audit("ingest_follow_start");
    assert_eq!(began.len(), 2);
    assert_eq!(began[0]["after"]["paths"][0], "state/events");
    let taken = audit("ingest_follow_stop");
    let taken: Vec<_> = taken.iter().map(|entry| &entry["after"]["stored"]).collect();
    assert_eq!(taken, [5, 3]);
}

#[test]
fn the_table_says_what_each_file_was_and_where_its_rejects_are() {
    let project = Project::installed("");
    let row = |file: &str| -> (Vec<String>, String) {
        let ran = project.runchain(&["ingest", file]).exits(0);
        let row = ran.stdout.lines().nth(1).unwrap().split_whitespace().skip(1);
        (row.map(str::to_owned).collect(), ran.stderr)
    };
    append(&project, "x.jsonl", &lines(0..40));
    append(&project, "x.jsonl", "broken\n");
    let (first, said) = row("x.jsonl");
    assert_eq!(first, ["new", "pattern", "40", "0", "1", "0"]);
    assert!(said.contains("1 lines rejected"), "{said}");
    // The sentence has the SQL to look at them.
    let sql = &said[said.find("SELECT").unwrap()..said.rfind(')').unwrap()];
    assert!(project.sql(sql).starts_with("41|"), "{sql}");
    append(&project, "x.jsonl", &lines(40..41));
    let (second, said) = row("x.jsonl");
    assert_eq!((second[0].as_str(), said.as_str()), ("resumed", ""));
    fs::rename(project.path("x.jsonl"), project.path("x.jsonl.1")).unwrap();
    append(&project, "x.jsonl", &lines(41..42));
    assert_eq!(row("x.jsonl").0[0], "replaced");
    append(&project, "x.jsonl.1", &lines(42..43));
    assert_eq!(row("x.jsonl.1").0, ["rotated", "pattern", "1", "0", "0", "0"]);
    fs::write(project.path("x.jsonl"), "{}\n").unwrap();
    assert_eq!(row("x.jsonl").0[0], "truncated");
    fs::write(project.path("x.jsonl"), format!("\n{}", lines(43..44))).unwrap();
    assert_eq!(row("x.jsonl").0[0], "rewritten");
}

#[test]
fn without_a_database_following_ends_with_the_typed_code() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = crate::support::runchain(folder.path());
    let output = command.args(["ingest", "--follow", "x.jsonl"]).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    let project = Project::new(SHAPE_A, "");
    project.runchain(&["ingest", "--follow", "x.jsonl"]).exits(9);
}

#[test]
fn on_a_terminal_a_large_file_has_a_bar_and_in_a_pipe_none() {
    let project = Project::installed("");
    append(&project, EVENTS, &lines(0..60_000));
    // The rules of the configuration are in the database then: nothing is written before the log is read.
    append(&project, "other.jsonl", &lines(70_000..70_001));
    project.runchain(&["ingest", "other.jsonl"]).exits(0);
    // script(1) gives it a terminal. It waits for the lock with the log open until its second is over.
    let run = format!(
        "script --quiet --return --command '{} ingest {EVENTS}' /dev/null",
        env!("CARGO_BIN_EXE_runchain")
    );
    let busy = rusqlite::Connection::open(project.database()).unwrap();
    busy.execute_batch("BEGIN IMMEDIATE; INSERT INTO events(run_id) VALUES ('r')")
        .unwrap();
    let child = Command::new("sh")
        .args(["-c", &run])
        .current_dir(project.root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test needs script (bsdutils)");
    eventually("the log to be open", || {
        if is_open(&project.path(EVENTS)) {
            Ok(())
        } else {
            Err("nobody has it open".to_owned())
        }
    });
    thread_sleep_past_patience();
    busy.execute_batch("COMMIT").unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("MiB/s") && text.contains("left"), "{text}");
    append(&project, EVENTS, &lines(60_000..60_001));
    let piped = project.runchain(&["ingest", EVENTS]).exits(0);
    assert!(piped.stderr.is_empty(), "{}", piped.stderr);
}

/// Whether any process has a file open.
fn is_open(file: &Path) -> bool {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let folders = processes.filter_map(|process| fs::read_dir(process.path().join("fd")).ok());
    let mut open = folders.flatten().filter_map(Result::ok);
    open.any(|entry| fs::read_link(entry.path()).is_ok_and(|path| path == file))
}

/// The bar appears after a second.
fn thread_sleep_past_patience() {
    std::thread::sleep(std::time::Duration::from_millis(1_500));
}

#[test]
fn a_drain_that_ends_reads_what_is_there_first() {
    for (number, until) in ["--once", "--until-idle"].into_iter().enumerate() {
        let project = Project::installed("");
        append(&project, EVENTS, &lines(0..3_000));
        append(&project, EVENTS, &line(3_000, "pattern.execution.failed"));
        let given = ["drain", until, "--ingest-events", EVENTS];
        project.runchain(&given[..2 + 2 * number]).exits(0);
        assert_eq!(
            project.sql("SELECT count(*) FROM runchain_ingested"),
            "3001\n",
            "{until}"
        );
        let log = project.log("monitor.jsonl");
        assert!(
            log.iter().any(|line| line["event"] == "EVENTS_INGESTED"),
            "{until}"
        );
        assert!(log.iter().any(|line| line["event"] == "ALERT_FIRING"), "{until}");
    }
}
