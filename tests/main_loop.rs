//! What the main loop promises whatever happens around it: nobody who writes, renames a table, holds a
//! lock or takes the logs away keeps steps, leases and signals waiting.

use crate::support::{Project, Service, disk_shim, eventually};
use rusqlite::Connection;
use rustix::process::Signal;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

/// Nothing is due by itself for an hour: what happens was woken by a write.
const NO_POLL: &str = "poll_ms = 3600000\nmonitor.heartbeat_ms = 3600000\nmonitor.stall_after_ms = 3600000\nsweep_ms = 3600000\n";

/// An archive step that waits for the file `go`.
const WAITS: &str = r#"
workers = 1
[steps.archive]
command = ["sh", "-c", 'until test -e go; do sleep 0.02; done']
"#;

const RUNNING: &str = "SELECT count(*) FROM runchain_steps WHERE state = 'running'";

fn end(project: &Project, run_id: &str) {
    project.sql(&format!(
        "INSERT INTO runs(run_id, status) VALUES ('{run_id}', 'COMPLETED');"
    ));
}

fn go(project: &Project) {
    fs::write(project.path("go"), "").unwrap();
}

#[track_caller]
fn until_told(service: &Service, part: &str) {
    eventually(part, || {
        let told = service.told();
        if told.contains(part) { Ok(()) } else { Err(told) }
    });
}

/// A queue that is never empty: each turn takes a thousand rows, and there are hundreds of turns.
#[test]
fn a_long_queue_keeps_neither_finished_steps_nor_signals_waiting() {
    let project = Project::installed(WAITS);
    let mut service = project.service();
    end(&project, "r");
    project.until(RUNNING, "1");
    project.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400000)
         INSERT INTO runchain_queue(action, run_id, old_status, new_status) SELECT 'update', 'r', 'COMPLETED', 'COMPLETED' FROM n;",
    );
    go(&project);
    until_told(&service, "r: archive done");
    service.signal(Signal::TERM);
    assert_eq!(service.ended(), Some(0), "{}", service.told());
    assert_eq!(project.sql("SELECT count(*) > 0 FROM runchain_queue;"), "1\n");
}

#[test]
fn a_queue_that_can_t_be_expanded_keeps_no_step_waiting_and_is_expanded_when_it_can() {
    let project = Project::installed(WAITS);
    let service = project.service();
    end(&project, "r");
    project.until(RUNNING, "1");
    project.sql("ALTER TABLE runs RENAME TO being_rebuilt; INSERT INTO runchain_queue(action, run_id) VALUES ('delete', 'r');");
    until_told(&service, "the queue is kept and tried again");
    go(&project);
    project.until("SELECT state FROM runchain_steps WHERE step = 'archive'", "done");
    assert_eq!(project.sql("SELECT count(*) FROM runchain_queue;"), "1\n");
    project.sql("ALTER TABLE being_rebuilt RENAME TO runs;");
    project.until("SELECT count(*) FROM runchain_queue", "0");
}

/// Two executors with one place each: the leader's is taken, the other holds a step when the leader dies.
#[test]
fn a_lease_is_kept_and_renewed_while_the_logs_can_t_be_written() {
    const LEASE_MS: i64 = 16_000;
    let project = Project::installed(&format!("lease_ms = {LEASE_MS}\n{WAITS}"));
    let leader = project.service();
    end(&project, "first");
    project.until(RUNNING, "1");
    let other = project.service();
    end(&project, "second");
    project.until(RUNNING, "2");
    // Nobody can lead.
    project.take_logs_away();
    leader.kill();
    until_told(&other, "trying again");
    let pid = other.pid();
    let lease = format!("SELECT lease_until_ms FROM runchain_executors WHERE pid = {pid}");
    let until: i64 = project.sql(&format!("{lease};")).trim().parse().unwrap();
    // Renewed several times: the lease that was there has run out by then.
    project.until(&format!("SELECT ({lease}) > {}", until + LEASE_MS), "1");
    assert_eq!(
        project.sql(
            "SELECT state, attempts, lost FROM runchain_steps WHERE run_id = 'second' AND step = 'archive';"
        ),
        "running|1|0\n"
    );
    project.bring_logs_back();
    go(&project);
    project.until("SELECT count(*) FROM runchain_steps WHERE state = 'done'", "4");
    assert_eq!(
        project.sql("SELECT attempts FROM runchain_steps WHERE run_id = 'second' AND step = 'archive';"),
        "1\n"
    );
}

#[test]
fn a_database_behind_a_symbolic_link_is_watched_where_it_is() {
    for journal in ["delete", "wal"] {
        let project = Project::installed(NO_POLL);
        fs::create_dir(project.path("elsewhere")).unwrap();
        let real = project.path("elsewhere/real.db");
        fs::rename(project.database(), &real).unwrap();
        std::os::unix::fs::symlink(&real, project.database()).unwrap();
        project.sql(&format!("PRAGMA journal_mode = {journal};"));
        let _service = project.service();
        // What comes within its last looks would prove nothing.
        std::thread::sleep(Duration::from_secs(4));
        end(&project, "r");
        project.until("SELECT count(*) FROM runchain_steps WHERE state = 'done'", "2");
    }
}

/// In WAL the last event is that of the write; the commit follows the sync, and makes none. A machine
/// that holds the writer up for longer than anybody looks again must do so three times to fail this.
#[test]
fn a_commit_that_a_slow_disk_delays_is_seen_without_another_event() {
    let project = Project::installed(NO_POLL);
    project.sql("PRAGMA journal_mode = WAL;");
    let _service = project.service();
    let seen = (0..3).any(|number| {
        let run = format!("r{number}");
        project.sql(&format!(
            "INSERT INTO runs(run_id, status) VALUES ('{run}', 'RUNNING');"
        ));
        project.until(
            &format!("SELECT monitor FROM runchain_runs WHERE run_id = '{run}'"),
            "on",
        );
        std::thread::sleep(Duration::from_secs(4));
        end_on_a_slow_disk(&project, &run);
        // Not asked in the database: whoever opens it may wake the loop.
        let report = project.path(&format!("reports/{run}_summary.json"));
        let deadline = Instant::now() + Duration::from_secs(25);
        while !report.exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        report.exists()
    });
    assert!(seen, "no report came without another event");
}

fn end_on_a_slow_disk(project: &Project, run: &str) {
    let write = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None); \
                 c.execute('PRAGMA synchronous = FULL'); \
                 c.execute(\"UPDATE runs SET status = 'COMPLETED' WHERE run_id = ?\", sys.argv[2:])";
    let wrote = Command::new(crate::support::python_program())
        .args(["-c", write])
        .arg(project.database())
        .arg(run)
        .env("LD_PRELOAD", disk_shim())
        .env("DISK_SHIM_ROOT", project.root())
        .env("DISK_SHIM_SLOW_MS", "1000")
        .status()
        .unwrap();
    assert!(wrote.success());
}

#[test]
fn a_second_signal_ends_it_within_two_seconds_also_while_it_waits_for_a_lock() {
    let project = Project::installed("");
    let mut service = project.service();
    let holder = Connection::open(project.database()).unwrap();
    holder.busy_timeout(Duration::from_secs(90)).unwrap();
    // Not committed: the loop wakes by the journal and waits for the lock.
    holder
        .execute_batch("BEGIN EXCLUSIVE; INSERT INTO runs(run_id, status) VALUES ('r', 'RUNNING')")
        .unwrap();
    eventually("the end", || {
        if !service.is_running() {
            return Ok(());
        }
        service.signal(Signal::TERM);
        Err(service.told())
    });
    assert_eq!(service.ended(), Some(143), "{}", service.told());
    assert!(!holder.is_autocommit(), "the lock was held all the time");
}

/// An archive step that waits for a file of its run's own, and fails the first time it is asked to.
const WAITS_FOR_ITS_RUN: &str = r#"
workers = 1
retry.base_ms = 5000
retry.cap_ms = 5000
[steps.archive]
command = ["sh", "-c", 'until test -e "go.$RUNCHAIN_RUN_ID"; do sleep 0.02; done; if test -e fail; then rm fail; exit 1; fi']
"#;

/// Nobody writes and nothing polls: what was put off is done at its time, by a timer.
#[test]
fn a_retry_comes_at_its_time_without_a_write_or_a_poll() {
    let project = Project::installed(&format!("{NO_POLL}{WAITS_FOR_ITS_RUN}"));
    fs::write(project.path("fail"), "").unwrap();
    fs::write(project.path("go.r"), "").unwrap();
    let _service = project.service();
    end(&project, "r");
    project.until("SELECT count(*) FROM runchain_steps WHERE state = 'done'", "2");
    assert_eq!(
        project.sql("SELECT attempts FROM runchain_steps WHERE step = 'archive';"),
        "2\n"
    );
}

/// The leader is idle when the other one dies, and nobody writes that.
#[test]
fn an_idle_executor_takes_back_what_a_dead_one_held_without_a_write_or_a_poll() {
    let project = Project::installed(&format!("{NO_POLL}lease_ms = 16000\n{WAITS_FOR_ITS_RUN}"));
    let _leader = project.service();
    end(&project, "first");
    project.until(RUNNING, "1");
    let other = project.service();
    end(&project, "second");
    project.until(RUNNING, "2");
    fs::write(project.path("go.first"), "").unwrap();
    project.until("SELECT count(*) FROM runchain_steps WHERE state = 'done'", "2");
    other.kill();
    fs::write(project.path("go.second"), "").unwrap();
    project.until("SELECT count(*) FROM runchain_steps WHERE state = 'done'", "4");
    assert_eq!(
        project
            .sql("SELECT attempts, lost FROM runchain_steps WHERE run_id = 'second' AND step = 'archive';"),
        "2|1\n"
    );
}

/// Duties that failed rest, while steps go on, and are taken up again by a timer.
#[test]
fn logs_that_could_not_be_written_are_written_later_without_a_write_to_the_database_or_a_poll() {
    let project = Project::installed(&format!("{NO_POLL}archive.settle_ms = 0\n"));
    let service = project.service();
    project.until("SELECT count(*) FROM runchain_cursors", "2");
    project.take_logs_away();
    end(&project, "r");
    project.until("SELECT count(*) FROM runchain_steps WHERE state = 'done'", "2");
    until_told(&service, "trying again");
    project.bring_logs_back();
    eventually("the last line of the log", || {
        let log = project.log("archival.jsonl");
        if log.iter().any(|line| line["event"] == "REPORT_GENERATED") {
            Ok(())
        } else {
            Err(format!("{log:?}"))
        }
    });
}
