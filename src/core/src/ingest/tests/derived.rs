//! Executions, tasks and alerts, the same for every order of the events.

use super::*;

const EXECUTIONS: &str =
    "SELECT execution_id, status, started_at, completed_at, metadata FROM uet_executions ORDER BY 1";
const TASKS: &str = "SELECT task_id, execution_id, task_type, status, created_at, started_at, completed_at, result FROM uet_tasks ORDER BY 1";
const ALERTS: &str = "SELECT fingerprint, state, subject, message, count, first_at_ms, last_at_ms FROM runchain_alerts ORDER BY fingerprint";

fn failed(id: &str, kind: &str, second: u32, job: &str, task: &str, message: &str) -> String {
    event(id, kind, second, job, task).replace(
        "\"details\": {}",
        &format!(r#""details": {{"error_type": "Timeout", "error_message": "{message}", "exit_code": 124, "other": 1}}"#),
    )
}

#[test]
fn a_job_is_an_execution_and_a_pattern_run_a_task() {
    let bench = Bench::new();
    bench.append(
        "log.jsonl",
        event("1", "pattern.selection.started", 0, "JOB-1", "PRUN-1"),
    );
    bench.ingest_bytes(event("2", "pattern.execution.started", 1, "JOB-1", "PRUN-1"));
    assert_eq!(
        bench.text(EXECUTIONS),
        "JOB-1|running|2026-03-01T12:00:00.000+00:00|-|-"
    );
    bench.ingest_bytes(event("3", "pattern.execution.completed", 5, "JOB-1", "PRUN-1"));
    assert_eq!(
        bench.text(EXECUTIONS),
        "JOB-1|completed|2026-03-01T12:00:00.000+00:00|2026-03-01T12:00:05.000+00:00|-"
    );
    assert_eq!(
        bench.text(TASKS),
        "PRUN-1|JOB-1|PAT-1|completed|2026-03-01T12:00:00.000+00:00|2026-03-01T12:00:00.000+00:00|2026-03-01T12:00:05.000+00:00|-"
    );
}

#[test]
fn a_failure_leaves_its_error_and_a_later_completion_takes_it_away() {
    let bench = Bench::new();
    bench.ingest_bytes(failed(
        "1",
        "pattern.execution.failed",
        3,
        "JOB-1",
        "PRUN-1",
        "too slow",
    ));
    let error = r#"{"error_type":"Timeout","error_message":"too slow","exit_code":124}"#;
    assert_eq!(
        bench.text("SELECT status, metadata FROM uet_executions"),
        format!("failed|{{\"last_error\":{error}}}")
    );
    assert_eq!(
        bench.text("SELECT status, result FROM uet_tasks"),
        format!("failed|{error}")
    );
    bench.ingest_bytes(event("2", "pattern.execution.completed", 9, "JOB-1", "PRUN-1"));
    assert_eq!(
        bench.text("SELECT status, metadata FROM uet_executions"),
        "completed|-"
    );
    assert_eq!(bench.text("SELECT status, result FROM uet_tasks"), "completed|-");
}

/// Status and end of one job after each event, told in the order of their times.
fn told_of_a_job(events: &[(&str, &str)]) -> Vec<String> {
    let bench = Bench::new();
    let mut told = Vec::new();
    for (second, (task, kind)) in (1..).zip(events) {
        bench.ingest_bytes(event(
            &format!("{second}"),
            &format!("pattern.{kind}"),
            second,
            "JOB-1",
            task,
        ));
        told.push(
            bench.text(
                "SELECT status || coalesce(' ' || substr(completed_at, 18, 2), '') FROM uet_executions",
            ),
        );
    }
    told
}

#[test]
fn a_job_is_running_while_one_of_its_tasks_has_not_ended() {
    let two = told_of_a_job(&[
        ("A", "selection.started"),
        ("A", "execution.completed"),
        ("B", "selection.started"),
        ("B", "execution.started"),
        ("B", "execution.completed"),
    ]);
    assert_eq!(
        two,
        ["running", "completed 02", "running", "running", "completed 05"]
    );
    let side_by_side = told_of_a_job(&[
        ("A", "execution.started"),
        ("B", "execution.started"),
        ("A", "execution.completed"),
        ("B", "execution.completed"),
    ]);
    assert_eq!(side_by_side, ["running", "running", "running", "completed 04"]);
}

#[test]
fn a_failed_job_is_running_again_only_when_a_task_begins_after_the_failure() {
    let told = told_of_a_job(&[
        ("A", "execution.started"),
        ("B", "execution.started"),
        ("A", "execution.failed"),
        ("B", "validation.completed"),
        ("C", "selection.started"),
        ("C", "execution.completed"),
        ("B", "execution.completed"),
    ]);
    assert_eq!(
        told,
        [
            "running",
            "running",
            "failed 03",
            "failed 03",
            "running",
            "running",
            "completed 07"
        ]
    );
}

#[test]
fn a_task_that_ends_without_naming_its_job_ends_it_all_the_same() {
    let bench = Bench::new();
    bench.append(
        "log.jsonl",
        event("1", "pattern.execution.started", 1, "JOB-1", "A"),
    );
    bench.append(
        "log.jsonl",
        event("2", "pattern.execution.completed", 2, "JOB-1", "B"),
    );
    bench.ingest("log.jsonl");
    assert_eq!(bench.text("SELECT status FROM uet_executions"), "running");
    let nameless =
        event("3", "pattern.execution.completed", 3, "JOB-1", "A").replace("\"job_id\": \"JOB-1\", ", "");
    bench.ingest_bytes(nameless);
    assert_eq!(bench.text("SELECT status FROM uet_executions"), "completed");
}

#[test]
fn a_completion_with_the_status_failed_is_a_failure() {
    let bench = Bench::new();
    bench.ingest_bytes(
        event("1", "pattern.execution.completed", 1, "JOB-1", "A").replace("in_progress", "failed"),
    );
    assert_eq!(bench.text("SELECT status FROM uet_tasks"), "failed");
}

#[test]
fn a_failed_selection_or_validation_fails_the_task() {
    for kind in ["pattern.selection.failed", "pattern.validation.failed"] {
        let bench = Bench::new();
        bench.ingest_bytes(event("1", kind, 3, "JOB-1", "PRUN-1"));
        assert_eq!(
            bench.text("SELECT status, result FROM uet_tasks"),
            "failed|{\"details\":{}}",
            "{kind}"
        );
    }
}

#[test]
fn events_of_other_formats_make_no_executions() {
    let bench = Bench::new();
    bench.ingest_bytes("{\"id\":\"1\",\"type\":\"log\",\"job_id\":\"JOB-1\",\"pattern_run_id\":\"P\"}\n");
    assert_eq!(bench.text(EXECUTIONS), "");
    assert_eq!(bench.text(TASKS), "");
}

#[test]
fn every_order_and_repetition_gives_the_same_rows() {
    let mut lines = Vec::new();
    for task in 0..4u32 {
        let (job, task_id) = (format!("JOB-{}", task % 2), format!("PRUN-{task}"));
        let id = |number: u32| format!("EVT-{task}-{number}");
        lines.push(event(&id(0), "pattern.selection.started", task, &job, &task_id));
        lines.push(failed(
            &id(1),
            "pattern.validation.failed",
            5 + task,
            &job,
            &task_id,
            "first",
        ));
        lines.push(failed(
            &id(2),
            "pattern.execution.failed",
            10,
            &job,
            &task_id,
            "second",
        ));
        // Two terminal events in one moment: the ids decide.
        lines.push(event(&id(3), "pattern.execution.completed", 10, &job, &task_id));
        lines.push(failed(
            &id(4),
            "pattern.execution.failed",
            10 + task % 3,
            &job,
            &task_id,
            "third",
        ));
        if task > 1 {
            lines.push(event(&id(5), "pattern.execution.completed", 30, &job, &task_id));
        }
        lines.push(event(
            &id(6),
            "pattern.execution.started",
            40 + task,
            &job,
            &task_id,
        ));
        // Without a readable time.
        lines.push(
            event(&id(7), "pattern.execution.completed", 50, &job, &task_id).replace("2026-03-01T", "soon "),
        );
    }
    let run = |order: &[String], rng: &mut fastrand::Rng| {
        let bench = Bench::new();
        let mut rest = order;
        while !rest.is_empty() {
            let (part, left) = rest.split_at(rng.usize(1..=rest.len()));
            bench.ingest_bytes(part.concat());
            rest = left;
        }
        [EXECUTIONS, TASKS, ALERTS].map(|sql| bench.text(sql))
    };
    let wanted = run(&lines, &mut fastrand::Rng::with_seed(0));
    for seed in 1..40 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut shuffled = lines.clone();
        shuffled.extend(lines.iter().filter(|_| rng.bool()).cloned().collect::<Vec<_>>());
        rng.shuffle(&mut shuffled);
        assert_eq!(run(&shuffled, &mut rng), wanted, "seed {seed}");
    }
    // Not only the same, but right: the completion at second 30 decides.
    assert!(
        wanted[0].contains("JOB-0|completed|2026-03-01T12:00:00.000+00:00|2026-03-01T12:00:30.000+00:00|-")
    );
    assert!(
        wanted[1].contains("PRUN-0|JOB-0|PAT-1|failed|"),
        "EVT-0-4 is greater than EVT-0-3: {}",
        wanted[1]
    );
}

#[test]
fn a_table_of_the_users_own_keeps_its_columns_and_rows() {
    let bench = Bench::new();
    bench
        .conn
        .execute_batch(
            "DROP TABLE uet_tasks; DROP TABLE uet_executions;
             CREATE TABLE uet_executions(execution_id TEXT, owner TEXT DEFAULT 'me', STATUS TEXT, metadata TEXT);
             CREATE TABLE uet_tasks(name TEXT);
             INSERT INTO uet_executions VALUES ('JOB-1', 'you', 'pending', '{\"keep\":1}');",
        )
        .unwrap();
    bench.append(
        "log.jsonl",
        failed("1", "pattern.execution.failed", 1, "JOB-1", "PRUN-1", "x"),
    );
    let report = bench.ingest_bytes(event("2", "pattern.execution.started", 1, "JOB-2", "PRUN-2"));
    assert_eq!((report.stored, report.underived), (2, 0));
    assert_eq!(
        bench.text("SELECT * FROM uet_executions ORDER BY 1"),
        r#"JOB-1|you|failed|{"keep":1,"last_error":{"error_type":"Timeout","error_message":"x","exit_code":124}};JOB-2|me|running|-"#
    );
    bench.ingest_bytes(event("3", "pattern.execution.completed", 9, "JOB-1", "PRUN-1"));
    assert_eq!(
        bench.text("SELECT metadata FROM uet_executions WHERE execution_id = 'JOB-1'"),
        "{\"keep\":1}"
    );
    assert_eq!(bench.text("SELECT count(*) FROM uet_tasks"), "0");
}

#[test]
fn a_constraint_of_the_users_stops_one_row_and_not_the_events() {
    let bench = Bench::new();
    bench
        .conn
        .execute_batch(
            "DROP TABLE uet_executions;
             CREATE TABLE uet_executions(execution_id TEXT PRIMARY KEY, status TEXT, phase_name TEXT NOT NULL);",
        )
        .unwrap();
    bench.conn.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    let report = bench.ingest_bytes(event("1", "pattern.execution.started", 1, "JOB-1", "PRUN-1"));
    assert_eq!((report.stored, report.underived), (1, 1));
    let reason = report.underived_reason.unwrap();
    assert!(
        reason.contains("JOB-1") && reason.contains("phase_name"),
        "{reason}"
    );
    assert_eq!(bench.text("SELECT task_id FROM uet_tasks"), "PRUN-1");
}

#[test]
fn foreign_keys_find_the_execution_before_its_tasks() {
    let bench = Bench::new();
    bench.conn.execute_batch("PRAGMA foreign_keys = ON").unwrap();
    let report = bench.ingest_bytes(event("1", "pattern.execution.started", 1, "JOB-1", "PRUN-1"));
    assert_eq!(report.underived, 0);
    assert_eq!(bench.text("SELECT execution_id FROM uet_tasks"), "JOB-1");
}

#[test]
fn a_failure_is_one_alert_however_often_it_happens_and_never_counts_twice() {
    let bench = Bench::new();
    let first = failed("1", "pattern.execution.failed", 1, "JOB-1", "PRUN-1", "first");
    assert_eq!(bench.ingest_bytes(&first).alerts, 1);
    bench.append("log.jsonl", &first);
    let report = bench.ingest_bytes(failed(
        "2",
        "pattern.execution.failed",
        4,
        "JOB-1",
        "PRUN-1",
        "second",
    ));
    assert_eq!((report.duplicate, report.alerts), (1, 0), "it fires already");
    assert_eq!(
        bench.text("SELECT rule, severity, state, subject, message, count, last_at_ms - first_at_ms FROM runchain_alerts"),
        "event.failed|error|firing|PRUN-1|second|2|3000"
    );
}

#[test]
fn a_later_completion_resolves_the_alerts_of_its_own_task_only() {
    let bench = Bench::new();
    for (id, task) in [("1", "PRUN-1"), ("2", "PRUN-10"), ("3", "PRUN-1\\\"")] {
        bench.append(
            "log.jsonl",
            failed(id, "pattern.execution.failed", 5, "JOB-1", task, "x"),
        );
    }
    bench.append(
        "log.jsonl",
        event("4", "pattern.execution.completed", 4, "JOB-1", "PRUN-1"),
    );
    bench.ingest("log.jsonl");
    assert_eq!(
        bench.text("SELECT DISTINCT state FROM runchain_alerts"),
        "firing",
        "4 was before 5"
    );
    bench.ingest_bytes(event("5", "pattern.execution.completed", 6, "JOB-1", "PRUN-1"));
    assert_eq!(
        bench.text("SELECT subject, state FROM runchain_alerts ORDER BY subject"),
        "PRUN-1|resolved;PRUN-1\"|firing;PRUN-10|firing"
    );
    let report = bench.ingest_bytes(failed(
        "6",
        "pattern.execution.failed",
        7,
        "JOB-1",
        "PRUN-1",
        "again",
    ));
    assert_eq!(report.alerts, 1, "it fires again");
}

#[test]
fn an_acknowledged_alert_stays_acknowledged() {
    let bench = Bench::new();
    bench.ingest_bytes(failed("1", "pattern.execution.failed", 1, "JOB-1", "PRUN-1", "x"));
    bench
        .conn
        .execute("UPDATE runchain_alerts SET state = 'acknowledged'", [])
        .unwrap();
    bench.ingest_bytes(failed("2", "pattern.execution.failed", 2, "JOB-1", "PRUN-1", "x"));
    assert_eq!(
        bench.text("SELECT state, count FROM runchain_alerts"),
        "acknowledged|2"
    );
}

#[test]
fn an_error_as_deep_as_a_line_may_be_comes_and_goes() {
    let bench = Bench::new();
    let deep = format!("{}1{}", "[".repeat(127), "]".repeat(127));
    bench.ingest_bytes(
        event("1", "pattern.execution.failed", 1, "JOB-1", "PRUN-1")
            .replace("\"details\": {}", &format!("\"details\": {deep}")),
    );
    assert_eq!(
        bench.text("SELECT metadata, result FROM uet_executions, uet_tasks"),
        format!("{{\"last_error\":{{\"details\":{deep}}}}}|{{\"details\":{deep}}}")
    );
    bench.ingest_bytes(event("2", "pattern.execution.completed", 2, "JOB-1", "PRUN-1"));
    assert_eq!(
        bench.text("SELECT metadata, result FROM uet_executions, uet_tasks"),
        "-|-"
    );
}
