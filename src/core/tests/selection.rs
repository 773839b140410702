//! Which steps a run's chain gets, in what order, and what holds them up. Expected values by hand.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test states what must hold")]

use runchain_core::chain::{Chain, Condition, StepSpec};
use runchain_core::install::{InstallOptions, install};
use runchain_core::steps::{self, Backoff, Capacity, Failure, Outcome, Success, Wanted};
use runchain_core::{ExecutorId, Mapping, Millis, queue};
use rusqlite::Connection;
use rusqlite::types::Value;
use std::collections::BTreeMap;

const NOW: Millis = Millis(1_700_000_000_000);

fn database(columns: &str) -> Connection {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(&format!(
        "CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT, {columns})"
    ))
    .unwrap();
    install(&conn, &InstallOptions::default(), NOW).unwrap();
    conn
}

fn expand(conn: &Connection, chain: &Chain) {
    let mapping = Mapping::require(conn).unwrap();
    queue::expand(conn, &mapping, chain, 1_000, NOW).unwrap();
}

fn step(name: &str, after: &[&str]) -> StepSpec {
    StepSpec::new(name, after, 1)
}

fn on(words: &[&str], mut spec: StepSpec) -> StepSpec {
    spec.on = words.iter().map(|word| (*word).to_owned()).collect();
    spec
}

fn where_(column: &str, values: &[Value], mut spec: StepSpec) -> StepSpec {
    spec.conditions.push(Condition {
        column: column.to_owned(),
        values: values.to_vec(),
    });
    spec
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// "step state needs" of a run's newest chain.
fn chain_of(conn: &Connection, run: &str) -> Vec<String> {
    let sql = "SELECT step || ' ' || state || ' ' || needs FROM runchain_steps AS s WHERE run_id = ?1
                 AND generation = (SELECT generation FROM runchain_runs WHERE run_id = ?1) ORDER BY id";
    let mut select = conn.prepare(sql).unwrap();
    let rows = select.query_map([run], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

fn names(conn: &Connection, run: &str) -> Vec<String> {
    let first = |line: String| line.split(' ').next().unwrap().to_owned();
    chain_of(conn, run).into_iter().map(first).collect()
}

fn skipped(conn: &Connection) -> Vec<String> {
    let sql = "SELECT run_id || ' ' || step || ': ' || json_extract(data, '$.reason')
               FROM runchain_events WHERE type = 'STEP_SKIPPED' ORDER BY id";
    let mut select = conn.prepare(sql).unwrap();
    let rows = select.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn on_names_phases_and_the_user_s_own_words() {
    let conn = database("x");
    conn.execute_batch(
        "INSERT INTO runchain_vocabulary VALUES ('ARCHIVABLE', 'completed');
         INSERT INTO runs(run_id, status) VALUES ('a', 'ARCHIVABLE'), ('b', 'TIMEOUT'), ('c', 'done'), ('d', 'killed')",
    )
    .unwrap();
    let chain = Chain(vec![
        step("every", &[]),
        on(&["failed"], step("phase", &[])),
        on(&["archivable"], step("own", &[])),
        on(&["FAILED", "Cancelled"], step("two", &[])),
        on(&["DONE", "timeout"], step("words", &[])),
    ]);
    expand(&conn, &chain);
    assert_eq!(names(&conn, "a"), ["every", "own"]);
    assert_eq!(names(&conn, "b"), ["every", "phase", "two", "words"]);
    assert_eq!(names(&conn, "c"), ["every", "words"]);
    assert_eq!(names(&conn, "d"), ["every", "two"]);
    assert_eq!(skipped(&conn), [""; 0], "what doesn't fit is no trouble");
}

#[test]
fn where_compares_as_sql_does() {
    let conn = database(
        "project TEXT COLLATE NOCASE, code INTEGER, ratio REAL, note, flag BOOLEAN, twice AS (code * 2)",
    );
    conn.execute_batch(
        "INSERT INTO runs VALUES ('a', 'DONE', 'X', 7, 0.5, 'n', 1), ('b', 'DONE', 'y', 8, 1, '7', 0),
                                ('c', 'DONE', NULL, NULL, NULL, NULL, NULL)",
    )
    .unwrap();
    let one = |name: &str, column: &str, values: &[Value]| where_(column, values, step(name, &[]));
    let chain = Chain(vec![
        one("text", "project", &[text("x")]),
        one("list", "Project", &[text("nobody"), text("Y")]),
        one("whole", "code", &[Value::Integer(7)]),
        one("as-text", "code", &[text("8")]),
        one("real", "ratio", &[Value::Real(1.0)]),
        one("untyped", "note", &[Value::Integer(7)]),
        one("flag", "flag", &[Value::Integer(1)]),
        one("generated", "twice", &[Value::Integer(16)]),
        where_("code", &[Value::Integer(7)], one("both", "project", &[text("x")])),
        where_(
            "code",
            &[Value::Integer(8)],
            one("one-of-two", "project", &[text("x")]),
        ),
    ]);
    expand(&conn, &chain);
    assert_eq!(names(&conn, "a"), ["text", "whole", "flag", "both"]);
    assert_eq!(names(&conn, "b"), ["list", "as-text", "real", "generated"]);
    assert_eq!(names(&conn, "c"), [""; 0], "NULL equals nothing");
}

#[test]
fn a_column_that_isn_t_there_skips_the_step_with_a_reason_and_the_chain_goes_on() {
    let conn = database("project TEXT");
    conn.execute_batch("INSERT INTO runs VALUES ('a', 'DONE', 'x')")
        .unwrap();
    let chain = Chain(vec![
        step("archive", &[]),
        where_("projekt", &[text("x")], step("upload", &["archive"])),
        step("ticket", &["upload"]),
    ]);
    expand(&conn, &chain);
    assert_eq!(
        chain_of(&conn, "a"),
        ["archive ready []", "ticket waiting [\"archive\"]"]
    );
    assert_eq!(
        skipped(&conn),
        ["a upload: its `where` names the column projekt, which the table of runs has not"]
    );
}

#[test]
fn without_a_step_the_order_of_the_others_stays() {
    let conn = database("x");
    conn.execute_batch("INSERT INTO runs VALUES ('a', 'DONE', NULL), ('b', 'FAILED', NULL)")
        .unwrap();
    let chain = Chain(vec![
        step("archive", &[]),
        on(&["failed"], step("first", &["archive"])),
        on(&["failed"], step("second", &["first", "archive"])),
        step("last", &["second", "archive"]),
        on(&["failed"], step("alone", &[])),
        step("free", &["alone"]),
    ]);
    expand(&conn, &chain);
    assert_eq!(
        chain_of(&conn, "a"),
        ["archive ready []", "last waiting [\"archive\"]", "free ready []"]
    );
    assert_eq!(
        chain_of(&conn, "b"),
        [
            "archive ready []",
            "first waiting [\"archive\"]",
            "second waiting [\"first\",\"archive\"]",
            "last waiting [\"second\",\"archive\"]",
            "alone ready []",
            "free waiting [\"alone\"]"
        ]
    );
}

#[test]
fn a_chain_gets_no_steps_of_a_later_definition() {
    let conn = database("x");
    conn.execute_batch("INSERT INTO runs VALUES ('a', 'DONE', NULL)")
        .unwrap();
    expand(&conn, &Chain(vec![step("archive", &[])]));
    settle(&conn, "archive", true);
    let later = Chain(vec![step("archive", &[]), step("report", &["archive"])]);
    conn.execute_batch("INSERT INTO runchain_queue(action, run_id) VALUES ('enqueue_chain', 'a')")
        .unwrap();
    expand(&conn, &later);
    assert_eq!(
        chain_of(&conn, "a"),
        ["archive ready []"],
        "done again, as it was"
    );
    conn.execute_batch("UPDATE runs SET status = 'RUNNING'; UPDATE runs SET status = 'DONE'")
        .unwrap();
    expand(&conn, &later);
    assert_eq!(names(&conn, "a"), ["archive", "report"], "a new generation");
}

/// Leases and starts everything that is due, settles the one named, gives the others back.
fn settle(conn: &Connection, step: &str, well: bool) {
    let executor = ExecutorId("e".to_owned());
    let (limits, backoff) = (
        BTreeMap::new(),
        Backoff {
            base_ms: 1,
            cap_ms: 1,
        },
    );
    let capacity = Capacity {
        free: 99,
        running: 0,
        concurrency: &limits,
    };
    let wanted = Wanted::OfRun {
        run_id: &runchain_core::RunId("a".to_owned()),
        step: Some(step),
    };
    let claims = steps::lease_and_start(conn, &executor, wanted, capacity, NOW).unwrap();
    assert_eq!(claims.len(), 1, "{step} is ready");
    let outcome = if well {
        Outcome::Done(Success::default())
    } else {
        Outcome::Failed(Failure {
            error: "broken".to_owned(),
            ..Failure::default()
        })
    };
    steps::settle(conn, &claims[0], &outcome, backoff, 0.0, NOW).unwrap();
}

#[test]
fn a_dead_step_that_is_not_required_holds_nothing_up() {
    for (required, after) in [(false, "ready"), (true, "waiting")] {
        let conn = database("x");
        conn.execute_batch("INSERT INTO runs VALUES ('a', 'DONE', NULL)")
            .unwrap();
        let mut upload = step("upload", &["archive"]);
        upload.required = required;
        let chain = Chain(vec![
            step("archive", &[]),
            upload,
            step("ticket", &["upload", "archive"]),
        ]);
        expand(&conn, &chain);
        settle(&conn, "archive", true);
        settle(&conn, "upload", false);
        assert_eq!(
            chain_of(&conn, "a")[1..],
            [
                "upload dead [\"archive\"]".to_owned(),
                format!("ticket {after} [\"upload\",\"archive\"]")
            ],
            "required: {required}"
        );
    }
}

#[test]
fn cancelling_a_step_that_is_not_required_cancels_nothing_else() {
    let conn = database("x");
    conn.execute_batch("INSERT INTO runs VALUES ('a', 'DONE', NULL)")
        .unwrap();
    let mut upload = step("upload", &[]);
    upload.required = false;
    expand(&conn, &Chain(vec![upload, step("ticket", &["upload"])]));
    let id = conn
        .query_row("SELECT id FROM runchain_steps WHERE step = 'upload'", [], |row| {
            row.get(0)
        })
        .unwrap();
    steps::cancel(&conn, id, NOW).unwrap();
    assert_eq!(
        chain_of(&conn, "a"),
        ["upload cancelled []", "ticket ready [\"upload\"]"]
    );
}
