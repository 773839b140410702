//! What goes and what stays, by hand-written tables.

use super::*;
use crate::schema;

const DAY_MS: i64 = 86_400_000;
const NOW: Millis = Millis(1_000 * DAY_MS);
const OLD: i64 = NOW.0 - 400 * DAY_MS;
const YOUNG: i64 = NOW.0 - DAY_MS;

fn policy() -> Policy {
    let year = Limits::of_age(365 * DAY_MS);
    Policy {
        bags: year,
        reports_age_ms: 365 * DAY_MS,
        steps: year,
        dead_steps_age_ms: 0,
        events: year,
        ingested: year,
        rejects: year,
        executions_age_ms: 365 * DAY_MS,
        alerts: year,
        executors_age_ms: 30 * DAY_MS,
        runs_age_ms: 365 * DAY_MS,
    }
}

fn database() -> (Connection, Mapping) {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch("CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT)")
        .unwrap();
    schema::migrate(&conn).unwrap();
    let mapping = Mapping {
        table: "runs".into(),
        id_column: "run_id".into(),
        status_column: "status".into(),
    };
    (conn, mapping)
}

fn run(conn: &Connection, id: &str, phase: &str, since: i64) {
    conn.execute(
        "INSERT INTO runchain_runs(run_id, phase, first_seen_ms, phase_since_ms) VALUES (?1, ?2, ?3, ?3)",
        (id, phase, since),
    )
    .unwrap();
}

fn step(conn: &Connection, run_id: &str, step: &str, state: &str, finished: Option<i64>) {
    conn.execute(
        "INSERT INTO runchain_steps(run_id, generation, step, state, ready_at_ms, max_attempts, created_ms, started_ms, finished_ms)
         VALUES (?1, 1, ?2, ?3, 0, 5, ?4, ?4, ?5)",
        (run_id, step, state, OLD, finished),
    )
    .unwrap();
    conn.execute(
        "INSERT INTO runchain_failures(step_id, attempt, ended_ms, error) VALUES (last_insert_rowid(), 1, ?1, 'no')",
        [OLD],
    )
    .unwrap();
}

fn event(conn: &Connection, run_id: Option<&str>, at: i64) {
    conn.execute(
        "INSERT INTO runchain_events(at_ms, type, run_id) VALUES (?1, 'RUN_CREATED', ?2)",
        (at, run_id),
    )
    .unwrap();
}

fn cursors(conn: &Connection, monitor: i64, archival: i64) {
    conn.execute(
        "INSERT INTO runchain_cursors VALUES ('log.monitor', ?1), ('log.archival', ?2)",
        (monitor, archival),
    )
    .unwrap();
}

/// A whole pass in batches of this many rows.
fn prune(conn: &Connection, mapping: &Mapping, policy: Policy, limit: u32) -> Vec<(Kind, u64)> {
    let mut pass = Pass::new(policy, NOW);
    prepare(conn).unwrap();
    while let Some(mut batch) = pass.look(conn, mapping, limit).unwrap() {
        if batch.kind() == Kind::Reports {
            continue;
        }
        while !batch.is_empty() {
            // One row for each transaction: no time for more.
            let gone = Pass::remove(conn, &batch, &|| false).unwrap();
            pass.add_up(&mut batch, &gone);
        }
    }
    pass.removed()
        .iter()
        .map(|(kind, sum)| (*kind, sum.rows))
        .collect()
}

fn texts(conn: &Connection, sql: &str) -> Vec<String> {
    let mut statement = conn.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    rows.map(std::result::Result::unwrap).collect()
}

#[test]
fn a_chain_goes_whole_and_never_while_one_of_its_steps_is_live_dead_or_young() {
    let (conn, mapping) = database();
    for (id, other, finished) in [
        ("old", "done", Some(OLD)),
        ("cancelled", "cancelled", Some(OLD)),
        ("waiting", "waiting", None),
        ("running", "running", None),
        ("dead", "dead", None),
        ("young", "done", Some(YOUNG)),
    ] {
        step(&conn, id, "archive", "done", Some(OLD));
        step(&conn, id, "report", other, finished);
    }
    assert_eq!(prune(&conn, &mapping, policy(), 3), [(Kind::Steps, 4)]);
    assert_eq!(
        texts(&conn, "SELECT DISTINCT run_id FROM runchain_steps ORDER BY id"),
        ["waiting", "running", "dead", "young"]
    );
    let failures = texts(&conn, "SELECT 'x' FROM runchain_failures");
    assert_eq!(failures.len(), 8, "those of the steps that stay");
    let resolved = Policy {
        dead_steps_age_ms: 100 * DAY_MS,
        ..policy()
    };
    assert_eq!(prune(&conn, &mapping, resolved, 100), [(Kind::Steps, 2)]);
}

#[test]
fn no_event_goes_that_a_cursor_has_not_passed_or_whose_run_is_live() {
    let (conn, mapping) = database();
    run(&conn, "active", "active", OLD);
    run(&conn, "ended", "completed", OLD);
    run(&conn, "stuck", "completed", OLD);
    step(&conn, "stuck", "archive", "dead", None);
    for run_id in [Some("active"), Some("ended"), Some("stuck"), None, Some("ended")] {
        event(&conn, run_id, OLD);
    }
    event(&conn, None, YOUNG);
    assert_eq!(
        prune(&conn, &mapping, policy(), 2),
        [],
        "nothing is projected yet"
    );
    cursors(&conn, 6, 4);
    assert_eq!(prune(&conn, &mapping, policy(), 2), [(Kind::Events, 2)]);
    assert_eq!(
        texts(&conn, "SELECT CAST(id AS TEXT) FROM runchain_events ORDER BY id"),
        ["1", "3", "5", "6"]
    );
}

#[test]
fn number_and_size_are_limits_as_well_and_zero_is_never() {
    let (conn, mapping) = database();
    cursors(&conn, 1_000, 1_000);
    for _ in 0..100 {
        event(&conn, None, YOUNG);
    }
    let of = |limits| Policy {
        events: limits,
        ..Policy::default()
    };
    assert_eq!(prune(&conn, &mapping, of(Limits::default()), 7), []);
    let rows = Limits {
        rows: 60,
        ..Limits::default()
    };
    assert_eq!(prune(&conn, &mapping, of(rows), 7), [(Kind::Events, 40)]);
    assert_eq!(prune(&conn, &mapping, of(rows), 7), []);
    // A row counts as 80 bytes, its type as 11 and its data as 2.
    let bytes = Limits {
        size_bytes: 93 * 50,
        ..Limits::default()
    };
    assert_eq!(prune(&conn, &mapping, of(bytes), 7), [(Kind::Events, 10)]);
    assert_eq!(
        texts(&conn, "SELECT CAST(min(id) AS TEXT) FROM runchain_events"),
        ["51"]
    );
}

#[test]
fn a_run_stays_known_while_the_users_row_is_there() {
    let (conn, mapping) = database();
    conn.execute_batch("INSERT INTO runs VALUES ('here', 'DONE'), ('back', 'DONE')")
        .unwrap();
    run(&conn, "here", "completed", OLD);
    run(&conn, "back", "deleted", OLD);
    run(&conn, "gone", "deleted", OLD);
    run(&conn, "just gone", "deleted", YOUNG);
    run(&conn, "has steps", "deleted", OLD);
    step(&conn, "has steps", "archive", "cancelled", Some(YOUNG));
    assert_eq!(prune(&conn, &mapping, policy(), 10), [(Kind::Runs, 1)]);
    assert_eq!(
        texts(&conn, "SELECT run_id FROM runchain_runs ORDER BY rowid"),
        ["here", "back", "just gone", "has steps"]
    );
}

const SHOWN: &str = "
  INSERT INTO uet_executions(execution_id) VALUES ('job-1'), ('job-2'), ('job-3');
  INSERT INTO uet_tasks(task_id, execution_id) VALUES ('t-1', 'job-1'), ('t-2', 'job-2'), ('t-3', 'job-3');
  INSERT INTO runchain_derived(kind, id, execution_id, ended_ms) VALUES
    ('execution', 'job-1', NULL, 1), ('task', 't-1', 'job-1', 1),
    ('execution', 'job-2', NULL, 1), ('task', 't-2', 'job-2', NULL),
    ('execution', 'job-3', NULL, 1), ('task', 't-3', 'job-3', 1);";

#[test]
fn executions_go_after_their_tasks_and_none_that_the_user_refers_to() {
    let (conn, mapping) = database();
    conn.execute_batch("PRAGMA foreign_keys = ON").unwrap();
    conn.execute_batch(SHOWN).unwrap();
    conn.execute_batch(
        "CREATE TABLE notes(id INTEGER PRIMARY KEY, task TEXT REFERENCES uet_tasks(task_id) ON DELETE CASCADE);
         CREATE INDEX notes_by_task ON notes(task);
         INSERT INTO notes(task) VALUES ('t-3');",
    )
    .unwrap();
    let removed = prune(&conn, &mapping, policy(), 1);
    assert_eq!(removed, [(Kind::Tasks, 1), (Kind::Executions, 1)]);
    assert_eq!(
        texts(&conn, "SELECT task_id FROM uet_tasks ORDER BY 1"),
        ["t-2", "t-3"]
    );
    assert_eq!(
        texts(&conn, "SELECT execution_id FROM uet_executions ORDER BY 1"),
        ["job-2", "job-3"]
    );
    assert_eq!(texts(&conn, "SELECT task FROM notes"), ["t-3"]);
}

#[test]
fn tables_that_the_user_had_before_us_are_left_alone() {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(
        "CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT);
         CREATE TABLE uet_tasks(task_id TEXT PRIMARY KEY, execution_id TEXT)",
    )
    .unwrap();
    schema::migrate(&conn).unwrap();
    conn.execute_batch(SHOWN).unwrap();
    let (_, mapping) = database();
    assert_eq!(prune(&conn, &mapping, policy(), 10), []);
    assert_eq!(texts(&conn, "SELECT task_id FROM uet_tasks").len(), 3);
}

#[test]
fn alerts_go_when_resolved_executors_when_they_hold_nothing_ingested_events_by_their_reading() {
    let (conn, mapping) = database();
    conn.execute_batch(&format!(
        "INSERT INTO runchain_alerts(fingerprint, rule, severity, state, subject, count, first_at_ms, last_at_ms) VALUES
           ('a', 'r', 'error', 'firing', 's', 1, {OLD}, {OLD}), ('b', 'r', 'error', 'resolved', 's', 1, {OLD}, {OLD}),
           ('c', 'r', 'error', 'acknowledged', 's', 1, {OLD}, {OLD});
         INSERT INTO runchain_executors VALUES ('gone', 'h', 1, '0', 1, {OLD}, {OLD}, {OLD}),
           ('holds', 'h', 1, '0', 1, {OLD}, {OLD}, {OLD}), ('here', 'h', 1, '0', 1, {OLD}, {YOUNG}, {YOUNG});
         INSERT INTO runchain_ingest_files(id, path, inode, device, head_bytes, head_sha256, size_bytes, first_read_ms, last_read_ms)
           VALUES (1, 'old', 1, 1, 0, '', 0, {OLD}, {YOUNG}), (2, 'new', 2, 1, 0, '', 0, {YOUNG}, {YOUNG});
         INSERT INTO runchain_ingested(event_id, type, at_ms, job_id, file_id, line, offset_bytes) VALUES
           ('old', 't', {OLD}, 'j', 1, 1, 0), ('young', 't', {YOUNG}, 'j', 1, 2, 0), ('timeless', 't', NULL, 'j', 1, 3, 0),
           ('old, just read', 't', {OLD}, 'j', 2, 1, 0), ('old, live', 't', {OLD}, 'live', 1, 4, 0);
         INSERT INTO runchain_ingest_rejects(file_id, line, offset_bytes, length_bytes, reason, start, at_ms) VALUES
           (1, 9, 0, 1, 'old', '', {OLD}), (1, 9, 0, 1, 'young', '', {YOUNG});",
    ))
    .unwrap();
    run(&conn, "live", "active", OLD);
    step(&conn, "held", "archive", "running", None);
    conn.execute("UPDATE runchain_steps SET executor_id = 'holds'", [])
        .unwrap();
    let removed = prune(&conn, &mapping, policy(), 2);
    let wanted = [Kind::Ingested, Kind::Rejects, Kind::Alerts, Kind::Executors].map(|kind| (kind, 1));
    assert_eq!(removed, wanted);
    assert_eq!(
        texts(&conn, "SELECT event_id FROM runchain_ingested ORDER BY id"),
        ["young", "timeless", "old, just read", "old, live"]
    );
    assert_eq!(
        texts(&conn, "SELECT executor_id FROM runchain_executors"),
        ["here", "holds"]
    );
}

#[test]
fn a_bag_goes_by_age_or_size_and_not_while_its_run_is_live() {
    let (conn, mapping) = database();
    for (run_id, at) in [("old", OLD), ("redone", OLD), ("young", YOUNG), ("theirs", OLD)] {
        let digest = (run_id != "theirs").then_some("sha256:00");
        conn.execute(
            "INSERT INTO archival_log(run_id, archive_path, archived_at, size_bytes, generation, digest) VALUES (?1, 'p', ?2, 1000, 1, ?3)",
            (run_id, Millis(at).iso(), digest),
        )
        .unwrap();
    }
    step(&conn, "redone", "archive", "ready", None);
    step(&conn, "old", "page", "dead", None);
    assert_eq!(
        prune(&conn, &mapping, policy(), 10),
        [],
        "a dead step that is required"
    );
    conn.execute("UPDATE runchain_steps SET required = 0 WHERE step = 'page'", [])
        .unwrap();
    assert_eq!(prune(&conn, &mapping, policy(), 10), [(Kind::Bags, 1)]);
    let size = Policy {
        bags: Limits {
            size_bytes: 1_500,
            ..Limits::default()
        },
        ..Policy::default()
    };
    assert_eq!(prune(&conn, &mapping, size, 10), [(Kind::Bags, 1)]);
    assert_eq!(
        texts(&conn, "SELECT run_id FROM archival_log ORDER BY id"),
        ["redone", "theirs"]
    );
}

#[test]
fn what_changed_since_it_was_looked_at_stays() {
    let (conn, mapping) = database();
    cursors(&conn, 9, 9);
    run(&conn, "r", "completed", OLD);
    event(&conn, Some("r"), OLD);
    let mut pass = Pass::new(policy(), NOW);
    let batch = std::iter::repeat_with(|| pass.look(&conn, &mapping, 10).unwrap().unwrap())
        .find(|batch| !batch.is_empty())
        .unwrap();
    conn.execute("UPDATE runchain_runs SET phase = 'active'", [])
        .unwrap();
    let gone = Pass::remove(&conn, &batch, &|| true).unwrap();
    assert_eq!(gone.removed.rows, 0);
    assert_eq!(texts(&conn, "SELECT type FROM runchain_events").len(), 1);
}

#[test]
fn every_statement_of_a_batch_finds_its_rows_by_key() {
    let (conn, mapping) = database();
    prepare(&conn).unwrap();
    for kind in Kind::ALL {
        let statements = criteria::statements(&conn, &mapping, *kind, &policy(), NOW)
            .unwrap()
            .unwrap();
        let sql = format!("EXPLAIN QUERY PLAN {}", statements.look_sql(true, 10));
        let mut plan = conn.prepare(&sql).unwrap();
        let lines = plan.query_map([1], |row| row.get::<_, String>(3)).unwrap();
        for line in lines.map(std::result::Result::unwrap) {
            // The two tables that have a row for each executor or log.
            let small = line.contains("runchain_cursors") || line.contains("runchain_executors");
            assert!(!line.contains("SCAN") || small, "{kind:?}: {line}");
            assert!(!line.contains("TEMP B-TREE"), "{kind:?}: {line}");
        }
    }
}
