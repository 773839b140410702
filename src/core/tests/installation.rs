//! Installs over what is there already: other tables, renamed columns, lost triggers, tables of the user's
//! under our names. No harm is done, and what happened meanwhile counts.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test states what must hold; a panic is how it fails"
)]

mod support;

use runchain_core::chain::Chain;
use runchain_core::install::{InstallOptions, install};
use runchain_core::{Millis, functions, queue};
use rusqlite::Connection;
use support::{expand_all, installed, rows};

fn phases(conn: &Connection) -> Vec<(String, String)> {
    rows(
        conn,
        "SELECT run_id, phase FROM runchain_runs ORDER BY 1",
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

#[test]
fn an_install_reads_whatever_the_table_holds() {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(
        "CREATE TABLE runs(run_id PRIMARY KEY, status, created_at); \
         INSERT INTO runs VALUES ('a', x'ff', x'ff'), (CAST(x'ff' AS TEXT), 'RUNNING', NULL), (1.5, 'RUNNING', 7), (2, 'DONE', NULL)",
    )
    .unwrap();
    let installed = install(&conn, &InstallOptions::default(), Millis(1_000)).unwrap();
    assert_eq!(
        (installed.history.queued, installed.history.finished_left_alone),
        (3, 1)
    );
    expand_all(&conn, &installed.mapping, 1_000);
    let runs = rows(
        &conn,
        "SELECT run_id, phase FROM runchain_runs WHERE run_id <> '\u{fffd}' ORDER BY 1",
        |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)),
    );
    let wanted = [("1.5", "active"), ("2", "completed"), ("a", "active")];
    assert_eq!(
        runs,
        wanted.map(|(run, phase)| (run.to_owned(), phase.to_owned()))
    );
}

#[test]
fn a_renamed_id_column_deletes_no_run() {
    let (conn, mapping) = installed();
    conn.execute_batch(
        "ALTER TABLE runs RENAME COLUMN run_id TO rid; INSERT INTO runs VALUES ('a', 'COMPLETED')",
    )
    .unwrap();
    let transaction = conn.unchecked_transaction().unwrap();
    let error = queue::expand(&transaction, &mapping, &Chain::builtin(1), 10, Millis(2_000)).unwrap_err();
    assert!(error.to_string().contains("no such column"), "{error}");
    transaction.rollback().unwrap();
    let renamed = InstallOptions::from_json(r#"{"id":"rid"}"#).unwrap();
    install(&conn, &renamed, Millis(1_000)).unwrap();
    expand_all(&conn, &mapping, 1_000);
    assert_eq!(phases(&conn), [("a".to_owned(), "completed".to_owned())]);
}

#[test]
fn an_install_on_another_table_counts_at_once_for_who_drains() {
    let (conn, before) = installed();
    conn.execute_batch("CREATE TABLE jobs(id TEXT PRIMARY KEY, state TEXT)")
        .unwrap();
    let other = InstallOptions::from_json(r#"{"table":"jobs"}"#).unwrap();
    install(&conn, &other, Millis(1_000)).unwrap();
    conn.execute_batch("INSERT INTO jobs VALUES ('a', 'COMPLETED')")
        .unwrap();
    expand_all(&conn, &before, 1_000);
    assert_eq!(phases(&conn), [("a".to_owned(), "completed".to_owned())]);
}

#[test]
fn what_happened_while_the_triggers_were_away_counts_when_they_are_back() {
    let (conn, mapping) = installed();
    conn.execute_batch("INSERT INTO runs VALUES ('ends', 'RUNNING'), ('goes', 'RUNNING'), ('stays', 'RUNNING'), ('was', 'DONE')")
        .unwrap();
    expand_all(&conn, &mapping, 1_000);
    conn.execute_batch(
        "DROP TRIGGER runchain_capture_insert; DROP TRIGGER runchain_capture_update; DROP TRIGGER runchain_capture_delete; \
         UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'ends'; DELETE FROM runs WHERE run_id = 'goes'; \
         INSERT INTO runs VALUES ('new', 'RUNNING'), ('old', 'DONE')",
    )
    .unwrap();
    let again = install(&conn, &InstallOptions::default(), Millis(1_000)).unwrap();
    assert_eq!((again.history.queued, again.history.finished_left_alone), (3, 1));
    expand_all(&conn, &mapping, 1_000);
    let wanted = [
        ("ends", "completed"),
        ("goes", "deleted"),
        ("new", "active"),
        ("old", "completed"),
        ("stays", "active"),
        ("was", "completed"),
    ];
    assert_eq!(
        phases(&conn),
        wanted.map(|(run, phase)| (run.to_owned(), phase.to_owned()))
    );
    let chains: Vec<String> = rows(
        &conn,
        "SELECT DISTINCT run_id FROM runchain_steps ORDER BY 1",
        |row| row.get(0),
    );
    assert_eq!(chains, ["ends", "was"]);
}

#[test]
fn a_purge_keeps_a_table_of_the_user_s_whatever_the_case_of_its_name() {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch("CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT); CREATE TABLE Archival_Log(precious); CREATE VIEW uet_tasks AS SELECT 1")
        .unwrap();
    install(&conn, &InstallOptions::default(), Millis(1_000)).unwrap();
    runchain_core::install::uninstall(&conn, true, &runchain_core::audit::By::default(), Millis(1)).unwrap();
    let left: Vec<String> = rows(
        &conn,
        "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite%' ORDER BY 1",
        |row| row.get(0),
    );
    assert_eq!(left, ["Archival_Log", "runs", "uet_tasks"]);
}

#[test]
fn a_temp_table_of_the_same_name_does_not_get_the_triggers() {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(
        "CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT); CREATE TEMP TABLE Runs(run_id, status)",
    )
    .unwrap();
    let refused = install(&conn, &InstallOptions::default(), Millis(1_000)).unwrap_err();
    assert!(
        refused.to_string().contains("TEMP table or view Runs"),
        "{refused}"
    );
    conn.execute_batch("DROP TABLE temp.Runs").unwrap();
    install(&conn, &InstallOptions::default(), Millis(1_000)).unwrap();
}

#[test]
fn a_function_that_writes_says_so_inside_a_write_also_in_the_caller_s_transaction() {
    let conn = Connection::open_in_memory().unwrap();
    functions::register(&conn, functions::Surface::Full).unwrap();
    conn.execute_batch("CREATE TABLE answers(answer)").unwrap();
    for begin in ["SELECT 1", "BEGIN; INSERT INTO answers VALUES (1)"] {
        conn.execute_batch(begin).unwrap();
        let error = conn
            .execute("INSERT INTO answers SELECT runchain_uninstall()", [])
            .unwrap_err();
        assert!(
            error.to_string().contains("call it in a plain SELECT"),
            "{begin}: {error}"
        );
    }
    conn.execute_batch("COMMIT").unwrap();
    assert_eq!(
        rows(&conn, "SELECT answer FROM answers", |row| row.get::<_, i64>(0)),
        [1]
    );
}

#[test]
fn a_case_insensitive_id_that_changes_its_case_is_a_renamed_run() {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch("CREATE TABLE runs(run_id TEXT PRIMARY KEY COLLATE NOCASE, status TEXT)")
        .unwrap();
    let mapping = install(&conn, &InstallOptions::default(), Millis(1_000))
        .unwrap()
        .mapping;
    for write in [
        "INSERT INTO runs VALUES ('run-a', 'RUNNING')",
        "UPDATE runs SET run_id = 'RUN-A'",
        "UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'run-a'",
    ] {
        conn.execute_batch(write).unwrap();
        expand_all(&conn, &mapping, 1_000);
    }
    let wanted = [("RUN-A", "completed"), ("run-a", "deleted")];
    assert_eq!(
        phases(&conn),
        wanted.map(|(run, phase)| (run.to_owned(), phase.to_owned()))
    );
}
