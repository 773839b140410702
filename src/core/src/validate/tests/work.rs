//! Work that waits, fails or stands still.

use super::*;
use crate::liveness::{Liveness, executor_alive};
use crate::validate::backlog::Backlog;
use rustix::fs::FlockOperation;

#[test]
fn a_dead_executor_is_an_error_only_while_work_waits() {
    let project = Project::installed(SHAPE_A);
    assert_says(
        &project.says("executor"),
        Severity::Warning,
        "no executor is alive",
        "runchain drain",
    );
    let mut lock = project.database().into_os_string();
    lock.push(".runchain-lock");
    assert!(!Path::new(&lock).exists(), "asking creates no file");
    let executor = std::fs::File::create(&lock).unwrap();
    assert_eq!(
        executor_alive(&project.database()),
        Liveness::Dead,
        "a file that nobody holds"
    );
    rustix::fs::flock(&executor, FlockOperation::LockExclusive).unwrap();
    assert_says(&project.says("executor"), Severity::Ok, "alive", "");
    assert_eq!(status(&project.conn, NOW).unwrap()["executor"]["alive"], true);
    drop(executor);
    project.run("INSERT INTO runs VALUES ('run-1', 'COMPLETED', '')");
    assert_says(
        &project.says("executor"),
        Severity::Error,
        "no executor is alive",
        "runchain drain",
    );
    assert_eq!(status(&project.conn, NOW).unwrap()["executor"]["alive"], false);
}

const STEP: &str = "INSERT INTO runchain_steps(run_id, generation, step, max_attempts, created_ms, error, state, priority, ready_at_ms) VALUES";

#[test]
fn due_work_is_late_after_a_minute_and_stuck_after_ten() {
    for (age_ms, severity) in [
        (60_000, Severity::Ok),
        (60_001, Severity::Warning),
        (600_000, Severity::Warning),
        (600_001, Severity::Error),
    ] {
        let at = NOW.0 - age_ms;
        let project = Project::installed(SHAPE_A);
        project.run(&format!(
            "INSERT INTO runchain_queue(action, run_id, at_ms) VALUES ('insert', 'a', {at})"
        ));
        // A younger step of a more urgent priority must not hide it, nor must one that is not due.
        project.run(&format!(
            "{STEP} ('a', 1, 'archive', 8, 0, NULL, 'ready', 100, {at}), ('b', 1, 'archive', 8, 0, NULL, 'ready', 1, {}),
             ('c', 1, 'archive', 8, 0, NULL, 'ready', 1, {})",
            NOW.0,
            NOW.0 + 5000
        ));
        for check in ["queue", "ready_steps"] {
            let finding = project.says(check);
            assert_eq!(finding.severity, severity, "{age_ms}: {finding:?}");
            assert_eq!(finding.remedy.is_some(), severity != Severity::Ok, "{finding:?}");
        }
        let status = status(&project.conn, NOW).unwrap();
        assert_eq!(status["oldest_ready_age_ms"], age_ms);
        assert_eq!(status["oldest_queue_age_ms"], age_ms);
        assert_eq!(status["steps"]["ready"], 3);
    }
}

#[test]
fn a_step_that_waits_for_its_time_is_not_late() {
    let project = Project::installed(SHAPE_A);
    project.run(&format!(
        "{STEP} ('a', 1, 'archive', 8, 0, NULL, 'ready', 100, {})",
        NOW.0 + 1
    ));
    assert_says(
        &project.says("ready_steps"),
        Severity::Ok,
        "1 ready step, none due yet",
        "",
    );
    assert_eq!(
        status(&project.conn, NOW).unwrap()["oldest_ready_age_ms"],
        serde_json::Value::Null
    );
}

#[test]
fn a_request_whose_time_is_no_number_is_a_warning() {
    let project = Project::installed(SHAPE_A);
    project.run("INSERT INTO runchain_queue(action, run_id, at_ms) VALUES ('retry', 'a', 'now')");
    assert_says(
        &project.says("queue"),
        Severity::Warning,
        "has no time",
        "runchain drain",
    );
}

#[test]
fn what_needs_a_person_is_a_warning_with_the_sql_that_shows_it() {
    for (break_it, check, found, remedy) in [
        (
            format!("{STEP} ('a\u{1b}[2J', 1, 'archive', 8, 0, 'disk full', 'dead', 100, 0)"),
            "dead_steps",
            "1 dead step; the newest is step 1, archive of run a\\u{1b}[2J: disk full",
            "SELECT runchain_retry(1);",
        ),
        (
            format!("INSERT INTO runchain_runs(run_id, phase, first_seen_ms, phase_since_ms, monitor, stalled_since_ms) VALUES ('a', 'active', 0, 0, 'on', {})", NOW.0 - 7_200_000),
            "stalled_runs",
            "1 stalled run; the longest is a, for 2 h",
            "runchain_problems",
        ),
        (
            "INSERT INTO runchain_alerts(fingerprint, rule, severity, state, subject, message, count, first_at_ms, last_at_ms) VALUES ('f', 'failed', 'error', 'firing', 'PAT-1', 'exit 1', 3, 0, 0)".to_owned(),
            "alerts",
            "error failed on PAT-1: exit 1",
            "runchain_alerts",
        ),
        (
            "INSERT INTO runchain_ingest_files(path, inode, device, head_bytes, head_sha256, size_bytes, offset_bytes, rejected, rejected_bytes, first_read_ms, last_read_ms) VALUES ('e.jsonl', 1, 1, 1, '', 70, 70, 2, 70, 0, 0)".to_owned(),
            "ingest_rejects",
            "2 rejected lines, 70 bytes",
            "runchain_ingest_rejects",
        ),
    ] {
        let project = Project::installed(SHAPE_A);
        project.run(&break_it);
        let finding = project.says(check);
        assert_says(&finding, Severity::Warning, found, remedy);
        assert_eq!(project.complaints(), [check]);
        let remedy = finding.remedy.unwrap();
        if !remedy.contains("runchain_retry") {
            project.conn.prepare(&remedy).unwrap();
        }
    }
}

#[test]
fn a_pause_is_a_warning_with_who_when_why_and_the_sql_that_ends_it() {
    let project = Project::installed(SHAPE_A);
    project.run(&format!(
        "INSERT INTO runchain_pauses VALUES ('archive', {}, 'ann', 'disk full'), ('it''s', {}, NULL, NULL);
         {STEP} ('a', 1, 'archive', 8, 0, NULL, 'ready', 100, 0)",
        NOW.0 - 7_200_000,
        NOW.0 - 5_000
    ));
    let finding = project.says("pauses");
    let resume = "SELECT runchain_resume('archive'), runchain_resume('it''s');";
    assert_says(
        &finding,
        Severity::Warning,
        "archive, by ann for 2 h (disk full); it's, by an unknown actor for 5 s",
        resume,
    );
    // What is paused is not late, and it is no dead executor's fault that it waits.
    assert_eq!(project.complaints(), ["pauses"]);
    assert_eq!(project.says("executor").severity, Severity::Warning);
    project.run("INSERT INTO runchain_pauses VALUES ('*', 0, 'ben', NULL)");
    assert_says(
        &project.says("pauses"),
        Severity::Warning,
        "every kind, by ben for ",
        "SELECT runchain_resume('*'), ",
    );
    let paused = &status(&project.conn, NOW).unwrap()["paused"];
    assert_eq!(
        (
            &paused[0]["step"],
            &paused[1]["actor"],
            &paused[1]["reason"],
            &paused[1]["age_ms"]
        ),
        (&"*".into(), &"ann".into(), &"disk full".into(), &7_200_000.into())
    );
}

#[test]
fn a_byte_that_is_neither_stored_nor_rejected_is_an_error() {
    let project = Project::installed(SHAPE_A);
    project.run("INSERT INTO runchain_ingest_files(path, inode, device, head_bytes, head_sha256, size_bytes, offset_bytes, stored_bytes, first_read_ms, last_read_ms) VALUES ('e.jsonl', 1, 1, 1, '', 70, 70, 69, 0, 0)");
    assert_says(
        &project.says("ingest_balance"),
        Severity::Error,
        "1 bytes of e.jsonl",
        "runchain_ingest_balance",
    );
}

#[test]
fn no_question_about_the_backlog_scans_a_table() {
    let project = Project::installed(SHAPE_A);
    let questions: Vec<String> = Backlog::ALL.iter().map(|backlog| backlog.sql()).collect();
    for sql in questions {
        let mut statement = project
            .conn
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap();
        let plan: Vec<String> = statement
            .query_map([], |row| row.get(3))
            .unwrap()
            .collect::<rusqlite::Result<_>>()
            .unwrap();
        for line in &plan {
            // Through an index is still through all of it.
            let whole = ["later", "first"]
                .iter()
                .any(|name| line.starts_with(&format!("SCAN {name}")));
            assert!(!whole, "{sql}\n{plan:#?}");
            let scan = ["runchain_steps", "runchain_runs", "runchain_alerts"]
                .iter()
                .any(|table| line.starts_with(&format!("SCAN {table}")));
            assert!(!scan || line.contains("INDEX"), "{sql}\n{plan:#?}");
        }
    }
}

#[test]
fn status_counts_stop_at_their_limit() {
    let project = Project::installed(SHAPE_A);
    project.run(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10010)
         INSERT INTO runchain_queue(action, run_id) SELECT 'insert', i FROM n",
    );
    let status = status(&project.conn, NOW).unwrap();
    assert_eq!(
        (&status["queue_rows"], &status["count_limit"]),
        (&10_000.into(), &10_000.into())
    );
    assert!(
        project
            .says("queue")
            .found
            .starts_with("10000 or more queue rows")
    );
}
