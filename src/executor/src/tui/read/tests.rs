//! Rows → model, and what it costs.

use super::{all, events, overview, pace::Paced, queue, run, sql};
use crate::tui::model::{Need, Standing};
use runchain_core::{Millis, RunId, schema};
use rusqlite::{Connection, StatementStatus};
use std::path::Path;

const NOW: Millis = Millis(1_769_860_800_000);

fn database() -> Connection {
    let conn = Connection::open_in_memory().unwrap();
    schema::migrate(&conn).unwrap();
    conn
}

/// A small night: one run is under way, one is through, one failed and its report is dead.
fn night() -> Connection {
    let conn = database();
    conn.execute_batch(&format!(
        "INSERT INTO runchain_runs(run_id, phase, status, generation, first_seen_ms, phase_since_ms, monitor) VALUES
           ('active', 'active', 'RUNNING', 0, {now} - 60000, {now} - 50000, 'on'),
           ('through', 'completed', 'DONE', 1, {now} - 90000, {now} - 80000, 'off'),
           ('broken', 'failed', 'FAILED', 2, {now} - 99000, {now} - 70000, 'off');
         INSERT INTO runchain_steps(id, run_id, generation, step, state, ready_at_ms, attempts, max_attempts, created_ms,
                                    started_ms, finished_ms, result, error, note, output_tail) VALUES
           (1, 'through', 1, 'archive', 'done', 0, 1, 5, 0, 0, 1, '{{\"path\":\"/p/.archive/through\"}}', NULL, NULL, NULL),
           (2, 'through', 1, 'report', 'ready', {now} + 8000, 1, 5, 0, 0, NULL, NULL, 'no', NULL, NULL),
           (3, 'broken', 1, 'archive', 'done', 0, 1, 5, 0, 0, 1, NULL, NULL, NULL, NULL),
           (4, 'broken', 2, 'archive', 'dead', 0, 5, 5, 0, 0, NULL, NULL, 'disk full', NULL, 'one\n\ntwo\n');
         INSERT INTO runchain_failures(step_id, attempt, ended_ms, error, output_tail) VALUES
           (4, 4, {now} - 4000, 'earlier', NULL), (4, 5, {now} - 3000, 'disk full', 'one\n\ntwo\n'), (2, 1, {now} - 2000, 'no', NULL);
         INSERT INTO runchain_events(at_ms, type, run_id, step, data) VALUES
           ({now} - 70000, 'RUN_COMPLETED', 'broken', NULL, '{{\"phase\":\"failed\"}}'),
           ({now} - 3000, 'STEP_DEAD', 'broken', 'archive', '{{\"path\":\"/p/x\",\"error\":\"disk full\",\"none\":null}}');
         INSERT INTO runchain_ingested(event_id, type, at_ms, run_id, details, file_id, line, offset_bytes) VALUES
           ('e', 'pattern.execution.failed', {now} - 71000, 'broken', '{{\"error_message\":\"segfault\",\"exit_code\":139}}', 1, 1, 0);",
        now = NOW.0
    ))
    .unwrap();
    conn
}

#[test]
fn runs_that_need_somebody_stand_first_then_active_ones_then_the_newest() {
    let conn = night();
    let overview = overview::read(&conn, &mut Paced::default(), NOW).unwrap();
    let listed: Vec<_> = overview
        .list
        .iter()
        .map(|line| (line.run_id.as_str(), line.need))
        .collect();
    assert_eq!(
        listed,
        [
            ("broken", Some(Need::DeadStep)),
            ("active", None),
            ("through", None)
        ]
    );
    let runs = overview.runs;
    assert_eq!(
        (runs.active, runs.completed, runs.failed, runs.cancelled),
        (1, 1, 1, 0)
    );
    let error = overview.last_error.unwrap();
    assert_eq!((error.run_id.as_str(), error.error.as_str()), ("through", "no"));
    assert_eq!(overview.ended_per_minute.iter().sum::<u64>(), 2);
}

#[test]
fn the_chain_of_the_newest_end_counts_and_an_active_run_has_none_yet() {
    let conn = night();
    let view = |id: &str| {
        run::view(&conn, Path::new("/p"), &RunId(id.to_owned()))
            .unwrap()
            .unwrap()
    };
    let standing = |id: &str| -> Vec<_> {
        let steps = view(id).line.chain;
        steps
            .iter()
            .map(|step| (step.step.clone(), step.standing()))
            .collect()
    };
    assert_eq!(standing("broken"), [("archive".to_owned(), Standing::Dead)]);
    assert_eq!(
        standing("through"),
        [
            ("archive".to_owned(), Standing::Done),
            (
                "report".to_owned(),
                Standing::Retrying {
                    attempt: 2,
                    at: NOW.plus(8_000)
                }
            )
        ]
    );
    assert_eq!(
        standing("active"),
        [
            ("archive".to_owned(), Standing::Pending),
            ("report".to_owned(), Standing::Pending)
        ]
    );
    assert!(
        run::view(&conn, Path::new("/p"), &RunId("none".to_owned()))
            .unwrap()
            .is_none()
    );
}

#[test]
fn a_run_tells_every_attempt_its_cause_and_both_kinds_of_events_in_order() {
    let conn = night();
    let view = run::view(&conn, Path::new("/p"), &RunId("broken".to_owned()))
        .unwrap()
        .unwrap();
    let attempts: Vec<_> = view.steps[0]
        .failures
        .iter()
        .map(|one| (one.attempt, one.output.len()))
        .collect();
    assert_eq!(attempts, [(4, 0), (5, 2)]);
    assert_eq!(view.causes.len(), 1);
    assert_eq!(view.causes[0].text, "disk full: two");
    let told: Vec<_> = view
        .events
        .iter()
        .map(|event| (event.kind.as_str(), event.text.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("pattern.execution.failed", "segfault, exit_code 139"),
            ("RUN_COMPLETED", "phase failed"),
            ("STEP_DEAD", "archive: disk full, path x"),
        ]
    );
    assert_eq!(events::causes(&view.events)[0].text, "segfault, exit_code 139");
}

#[test]
fn the_queue_shows_dead_steps_first_and_only_what_fits_the_filter() {
    let conn = night();
    let ids = |filter: &str| -> Vec<i64> {
        let steps = queue::read(&conn, filter, 10).unwrap();
        steps.iter().map(|step| step.id.0).collect()
    };
    assert_eq!(ids(""), [4, 2]);
    let told = queue::read(&conn, "", 10).unwrap();
    let told: Vec<_> = told.iter().map(|step| step.error.as_deref()).collect();
    assert_eq!(told, [Some("disk full: two"), Some("no")]);
    assert_eq!(ids("REPORT"), [2]);
    assert_eq!(ids("broken"), [4]);
    assert_eq!(queue::held_up_by_pause(&conn, "*").unwrap(), 1);
    assert_eq!(queue::held_up_by_pause(&conn, "archive").unwrap(), 0);
}

#[test]
fn data_that_is_no_text_and_no_json_is_no_failure() {
    let conn = database();
    conn.execute_batch(
        "INSERT INTO runchain_events(at_ms, type, run_id, data) VALUES (1, 'X', CAST(x'ff' AS TEXT), 'no json'), (2, 'Y', 7, '[1]');
         INSERT INTO runchain_ingested(event_id, type, details, file_id, line, offset_bytes) VALUES ('e', 'a.b', x'00', 1, 1, 0);",
    )
    .unwrap();
    let found = events::newest(&conn, Path::new("/p"), "", 10).unwrap();
    assert_eq!(found.len(), 3);
}

/// So many rows of everything that grows.
fn history(rows: i64) -> Connection {
    let conn = database();
    conn.execute_batch(&format!(
        "CREATE TEMP TABLE n(i INTEGER PRIMARY KEY);
         INSERT INTO n WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < {rows}) SELECT i FROM c;
         INSERT INTO runchain_runs(run_id, phase, status, generation, first_seen_ms, phase_since_ms, monitor, stalled_since_ms)
           SELECT 'run-' || i, CASE i % 4 WHEN 0 THEN 'active' WHEN 1 THEN 'failed' WHEN 2 THEN 'cancelled' ELSE 'completed' END,
                  'X', 1, i, i, CASE i % 4 WHEN 0 THEN 'on' ELSE 'off' END, NULL FROM n;
         INSERT INTO runchain_steps(run_id, generation, step, state, ready_at_ms, max_attempts, created_ms, finished_ms)
           SELECT 'run-' || i, 1, 'archive', CASE i % 3 WHEN 0 THEN 'done' WHEN 1 THEN 'dead' ELSE 'ready' END, i, 5, i,
                  CASE i % 3 WHEN 0 THEN i END FROM n;
         INSERT INTO runchain_failures(step_id, attempt, ended_ms, error) SELECT i, 1, i, 'no' FROM n;
         INSERT INTO runchain_events(at_ms, type, run_id) SELECT i, 'X', 'run-' || i FROM n;
         INSERT INTO runchain_events(at_ms, type, run_id) SELECT i, 'X', 'run-4' FROM n WHERE i <= 300;
         INSERT INTO runchain_ingested(event_id, type, run_id, job_id, file_id, line, offset_bytes)
           SELECT 'e' || i, 'x', 'run-' || i, 'job-' || i, 1, i, i FROM n;
         INSERT INTO runchain_alerts(fingerprint, rule, severity, state, subject, count, first_at_ms, last_at_ms)
           SELECT i, 'r', 'error', CASE i % 2 WHEN 0 THEN 'firing' ELSE 'resolved' END, 's', 1, i, i FROM n;"
    ))
    .unwrap();
    conn
}

/// What each parameter is; all others are the limit.
fn parameters(name: &str) -> Vec<rusqlite::types::Value> {
    use rusqlite::types::Value::{Integer, Text};
    let text = |text: &str| Text(text.to_owned());
    match name {
        "NEWEST_OF_PHASE" => vec![text("failed"), Integer(40)],
        "RUN" => vec![text("run-4")],
        "CHAIN" => vec![text("run-4"), Integer(1)],
        "FAILURES" => vec![Integer(4)],
        "QUEUE" => vec![text("ready"), text("not there"), Integer(200)],
        "HELD_UP_BY_PAUSE" => vec![text("archive")],
        "EVENTS" | "LOG_EVENTS" => vec![text("not there"), Integer(200)],
        "EVENTS_OF_RUN" | "LOG_EVENTS_OF_RUN" => vec![text("run-4"), Integer(200)],
        "LOG_EVENTS_OF_JOB" => vec![text("job-4"), Integer(200)],
        "FIRING" | "QUIET_ALERTS" => vec![Integer(200)],
        _ => Vec::new(),
    }
}

#[test]
fn no_question_costs_more_when_there_is_more_history() {
    let (small, large) = (history(90_000), history(180_000));
    // Counts grow with the runs and are therefore paced: see `pace`.
    let paced = ["COUNT_PHASE", "ENDED"];
    for (name, question) in sql::ALL.iter().filter(|(name, _)| !paced.contains(name)) {
        let steps = |conn: &Connection| {
            let mut statement = conn.prepare(question).unwrap();
            let given = rusqlite::params_from_iter(parameters(name));
            let mut rows = statement.query(given).unwrap();
            while rows.next().unwrap().is_some() {}
            drop(rows);
            statement.get_status(StatementStatus::VmStep)
        };
        let (few, many) = (steps(&small), steps(&large));
        assert!(
            many <= few + few / 50 + 50,
            "{name} takes {few} steps, and {many} with twice the rows"
        );
    }
}

#[test]
fn no_table_is_scanned_but_from_its_newest_row() {
    let conn = database();
    for (name, question) in sql::ALL {
        let plan: Vec<String> = all(
            &conn,
            &format!("EXPLAIN QUERY PLAN {question}"),
            rusqlite::params_from_iter(vec![
                rusqlite::types::Null;
                conn.prepare(question).unwrap().parameter_count()
            ]),
            |row| row.get(3),
        )
        .unwrap();
        for line in plan.iter().filter(|line| line.starts_with("SCAN runchain_")) {
            let from_the_newest = question.contains("ORDER BY id DESC LIMIT");
            assert!(
                line.contains("USING") || from_the_newest,
                "{name}: {line} of {plan:?}"
            );
        }
    }
}
