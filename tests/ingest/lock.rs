//! Whatever a log holds, nobody waits for long until its reader has committed.

use super::*;
use crate::support::eventually;
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::process::{Child, Stdio};
use std::time::Duration;

/// A fill of the reader's buffer is 8 MiB; what is behind the second one is certainly being skipped.
const TWO_FILLS_BYTES: u64 = 17 << 20;
const LINE_MB: u64 = 192;

/// Whether the process has ended, or can't go on until it is told to.
fn stop(child: &mut Child) -> bool {
    if child.try_wait().unwrap().is_some() {
        return false;
    }
    kill_process(Pid::from_child(child), Signal::STOP).unwrap();
    loop {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        match stat.rsplit(") ").next().unwrap().chars().next() {
            Some('T') => return true,
            Some('Z') => return false,
            _ => std::thread::yield_now(),
        }
    }
}

/// How far a stopped process has read a file that it has open.
fn position(child: &Child, file: &std::path::Path) -> u64 {
    let folder = format!("/proc/{}/fd", child.id());
    let open = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let open = open.filter(|entry| fs::read_link(entry.path()).is_ok_and(|path| path == file));
    open.map(|entry| {
        let name = entry.file_name().into_string().unwrap();
        let info = fs::read_to_string(format!("/proc/{}/fdinfo/{name}", child.id())).unwrap();
        let position = info.lines().find_map(|line| line.strip_prefix("pos:")).unwrap();
        position.trim().parse().unwrap()
    })
    .max()
    .unwrap_or(0)
}

/// Reads the log with the binary, and commits whenever that stands still in the middle of the line.
fn commits_while_reading(project: &Project, writer: &Connection) -> u32 {
    let log = project.path("log.jsonl");
    let size_bytes = fs::metadata(&log).unwrap().len();
    let mut command = project.command(&["ingest", "log.jsonl"]);
    let mut reader = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut commits = 0;
    while stop(&mut reader) {
        let at = position(&reader, &log);
        if (TWO_FILLS_BYTES..size_bytes).contains(&at) {
            let written = writer.execute("INSERT INTO events(run_id) VALUES ('run-1')", []);
            assert_eq!(written, Ok(1), "the reader is at {at}");
            commits += 1;
        }
        kill_process(Pid::from_child(&reader), Signal::CONT).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(reader.wait().unwrap().success());
    commits
}

#[test]
fn others_commit_at_any_moment_while_a_giant_line_is_read() {
    let project = installed();
    let mut log = File::create(project.path("log.jsonl")).unwrap();
    let block = vec![b'x'; 1 << 20];
    for _ in 0..LINE_MB {
        log.write_all(&block).unwrap();
    }
    let writer = Connection::open(project.database()).unwrap();
    // The reader stands still: whoever has to wait for it would do so for ever.
    writer.busy_timeout(Duration::ZERO).unwrap();
    // A line without an end is read from its beginning each time: until it was caught at it often enough.
    let commits = eventually("the reader to be seen within the line", || {
        let commits = commits_while_reading(&project, &writer);
        if commits > 0 {
            Ok(commits)
        } else {
            Err("never".to_owned())
        }
    });
    println!("{commits} commits while the line was read");
    let pending = project.sql("SELECT pending_bytes FROM runchain_ingest_balance");
    assert_eq!(pending, format!("{}\n", LINE_MB << 20));
    log.write_all(b"\n{\"type\":\"a\"}\n").unwrap();
    let report = Door::Binary.ingest(&project, "log.jsonl").unwrap();
    let wanted = Counts {
        rejected: 1,
        ..stored(1)
    };
    assert_eq!(Counts::of(&report), wanted);
    balances(&project);
}
