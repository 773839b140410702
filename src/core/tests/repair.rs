//! `install --repair`: which table and columns it finds after a change, when it refuses, and that
//! what ended while nobody captured it gets its chain.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this crate is tests: a panic is how they fail"
)]

use runchain_core::audit::By;
use runchain_core::chain::Chain;
use runchain_core::install::{InstallOptions, Installed, auto_repair, install};
use runchain_core::{Error, Mapping, Millis, Result, queue, triggers};
use rusqlite::Connection;

const NOW: Millis = Millis(1_800_000_000_000);

/// A table of runs with one of its steps, which has a run's id and a status, too.
const ORCHESTRATOR: &str = "
    CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT NOT NULL, note TEXT);
    CREATE TABLE step_attempts(id INTEGER PRIMARY KEY, run_id TEXT, status TEXT);
    INSERT INTO step_attempts(run_id, status) VALUES ('a', 'RUNNING'), ('a', 'RUNNING');";

/// Installed, with one active run `a` that is known.
fn installed() -> Connection {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(ORCHESTRATOR).unwrap();
    install(&conn, &InstallOptions::default(), NOW).unwrap();
    conn.execute_batch("INSERT INTO runs(run_id, status) VALUES ('a', 'RUNNING')")
        .unwrap();
    expand(&conn);
    conn
}

fn expand(conn: &Connection) {
    let mapping = Mapping::require(conn).unwrap();
    queue::expand(conn, &mapping, &Chain::builtin(1), 10_000, NOW).unwrap();
}

fn repair(conn: &Connection, options: &str) -> Result<Installed> {
    install(conn, &InstallOptions::from_json(options).unwrap(), NOW)
}

fn text(conn: &Connection, query: &str) -> String {
    conn.query_row(&format!("SELECT CAST(({query}) AS TEXT)"), [], |row| {
        row.get::<_, Option<String>>(0)
    })
    .unwrap()
    .unwrap_or_default()
}

fn rebuilt_as(table: &str, columns: &str) -> String {
    format!(
        "CREATE TABLE new_runs({columns}); INSERT INTO new_runs SELECT * FROM runs; DROP TABLE runs;
         ALTER TABLE new_runs RENAME TO {table}"
    )
}

#[test]
fn whatever_a_migration_did_the_one_plausible_table_is_found() {
    let key = "run_id TEXT PRIMARY KEY, status TEXT NOT NULL, note TEXT";
    for (migration, table, id, status, evidence) in [
        ("DROP TRIGGER runchain_capture_update".to_owned(), "runs", "run_id", "status", "as_recorded"),
        (rebuilt_as("runs", key), "runs", "run_id", "status", "as_recorded"),
        ("ALTER TABLE runs RENAME TO Runs2".to_owned(), "Runs2", "run_id", "status", "triggers"),
        ("ALTER TABLE runs RENAME COLUMN status TO \"the word\"".to_owned(), "runs", "run_id", "the word", "triggers"),
        ("ALTER TABLE runs RENAME COLUMN run_id TO key".to_owned(), "runs", "key", "status", "triggers"),
        (
            "ALTER TABLE runs RENAME COLUMN run_id TO key; ALTER TABLE runs RENAME COLUMN status TO word; ALTER TABLE runs RENAME TO jobs"
                .to_owned(),
            "jobs", "key", "word", "triggers",
        ),
        // The triggers went along with the old table, and a new one took its name.
        (
            format!("ALTER TABLE runs RENAME TO runs_old; CREATE TABLE runs({key}); INSERT INTO runs SELECT * FROM runs_old"),
            "runs", "run_id", "status", "as_recorded",
        ),
        (
            format!("ALTER TABLE runs RENAME TO runs_old; CREATE TABLE runs({key}); INSERT INTO runs SELECT * FROM runs_old; DROP TABLE runs_old"),
            "runs", "run_id", "status", "as_recorded",
        ),
        // No trigger is left to tell.
        (rebuilt_as("jobs", key), "jobs", "run_id", "status", "resemblance"),
        (rebuilt_as("jobs", "run_id TEXT NOT NULL UNIQUE, status, note"), "jobs", "run_id", "status", "resemblance"),
        (rebuilt_as("runs", "run_id TEXT PRIMARY KEY, state TEXT NOT NULL, note TEXT"), "runs", "run_id", "state", "resemblance"),
        (rebuilt_as("runs", "key TEXT PRIMARY KEY, status TEXT NOT NULL, note TEXT"), "runs", "key", "status", "resemblance"),
    ] {
        let conn = installed();
        conn.execute_batch(&migration).unwrap();
        let done = repair(&conn, r#"{"repair":true}"#).unwrap_or_else(|error| panic!("{migration}: {error}"));
        let found = [&done.mapping.table, &done.mapping.id_column, &done.mapping.status_column];
        assert_eq!(found, [table, id, status], "{migration}");
        let json = serde_json::to_value(&done).unwrap();
        assert_eq!(json["repair"]["evidence"], evidence, "{migration}");
        assert_eq!(triggers::faults(&conn, &done.mapping).unwrap(), [], "{migration}");
        assert_eq!(Mapping::require(&conn).unwrap(), done.mapping, "{migration}");
        // The same runs as before: none is new, none is gone, the next end is one.
        conn.execute_batch(&format!("UPDATE {table} SET \"{status}\" = 'COMPLETED' WHERE \"{id}\" = 'a'")).unwrap();
        expand(&conn);
        assert_eq!(
            text(&conn, "SELECT group_concat(type, ' ') FROM runchain_events WHERE run_id = 'a'"),
            "RUN_CREATED RUN_COMPLETED",
            "{migration}"
        );
    }
}

#[test]
fn what_is_not_plain_is_refused_with_the_command_that_says_it() {
    let rebuilt_without_status = rebuilt_as("runs", "run_id TEXT PRIMARY KEY, word TEXT NOT NULL, note TEXT");
    for (migration, says) in [
        ("DROP TABLE runs".to_owned(), "--table NAME --id-column run_id --status-column status"),
        (rebuilt_without_status, "--table runs --id-column run_id --status-column NAME"),
        (
            "CREATE TABLE jobs(run_id TEXT PRIMARY KEY, status TEXT); CREATE TABLE tasks(run_id TEXT PRIMARY KEY, status TEXT);
             INSERT INTO jobs VALUES ('a', 'RUNNING'); INSERT INTO tasks VALUES ('a', 'RUNNING'); DROP TABLE runs"
                .to_owned(),
            "more than one table could be it now: jobs, tasks",
        ),
        // It looks like it, but holds none of our runs.
        ("CREATE TABLE jobs(run_id TEXT PRIMARY KEY, status TEXT); DROP TABLE runs".to_owned(), "nothing here is plainly"),
    ] {
        let conn = installed();
        conn.execute_batch(&migration).unwrap();
        let before = text(&conn, "SELECT group_concat(sql) FROM sqlite_master");
        let refused = repair(&conn, r#"{"repair":true}"#).unwrap_err();
        assert!(matches!(refused, Error::WrongMapping { .. }), "{migration}: {refused}");
        assert!(refused.to_string().contains(says), "{migration}: {refused}");
        assert_eq!(text(&conn, "SELECT group_concat(sql) FROM sqlite_master"), before, "{migration}");
    }
    let conn = installed();
    conn.execute_batch(&rebuilt_as(
        "runs",
        "run_id TEXT PRIMARY KEY, word TEXT NOT NULL, note TEXT",
    ))
    .unwrap();
    let done = repair(&conn, r#"{"repair":true,"status":"word"}"#).unwrap();
    assert_eq!(
        [done.mapping.id_column, done.mapping.status_column],
        ["run_id", "word"]
    );
    let bare = Connection::open_in_memory().unwrap();
    bare.execute_batch(ORCHESTRATOR).unwrap();
    assert!(matches!(
        repair(&bare, r#"{"repair":true}"#).unwrap_err(),
        Error::NotInstalled
    ));
}

#[test]
fn what_began_or_ended_between_loss_and_repair_gets_its_chain() {
    let conn = installed();
    conn.execute_batch("INSERT INTO runs(run_id, status) VALUES ('goes', 'RUNNING'), ('was', 'DONE')")
        .unwrap();
    expand(&conn);
    conn.execute_batch(&rebuilt_as(
        "runs",
        "run_id TEXT PRIMARY KEY, status TEXT, note TEXT",
    ))
    .unwrap();
    conn.execute_batch(
        "UPDATE runs SET status = 'FAILED' WHERE run_id = 'a'; DELETE FROM runs WHERE run_id = 'goes';
         INSERT INTO runs(run_id, status) VALUES ('begins', 'RUNNING'), ('begins and ends', 'DONE')",
    )
    .unwrap();
    let done = repair(&conn, r#"{"repair":true}"#).unwrap();
    assert_eq!(done.history.queued, 4);
    expand(&conn);
    assert_eq!(
        text(
            &conn,
            "SELECT group_concat(run_id || ' ' || phase || ' ' || generation, ', ') FROM (SELECT * FROM runchain_runs ORDER BY run_id)"
        ),
        "a failed 1, begins active 0, begins and ends completed 1, goes deleted 0, was completed 1"
    );
    let again = repair(&conn, r#"{"repair":true}"#).unwrap();
    assert!(!again.changed && again.history.queued == 0, "{again:?}");
}

#[test]
fn there_is_one_alert_and_one_event_of_each_kind_for_one_loss() {
    let conn = installed();
    let mapping = Mapping::require(&conn).unwrap();
    let alert = "SELECT rule || ' ' || state || ' ' || count FROM runchain_alerts";
    let told = "SELECT group_concat(type, ' ') FROM runchain_events WHERE type LIKE 'TRIGGERS%'";
    for (round, events) in [
        (1, "TRIGGERS_LOST TRIGGERS_RESTORED"),
        (
            2,
            "TRIGGERS_LOST TRIGGERS_RESTORED TRIGGERS_LOST TRIGGERS_RESTORED",
        ),
    ] {
        conn.execute_batch("DROP TRIGGER runchain_capture_delete")
            .unwrap();
        let faults = triggers::faults(&conn, &mapping).unwrap();
        assert!(triggers::alarm(&conn, &mapping, &faults, NOW).unwrap());
        conn.execute_batch("UPDATE runchain_alerts SET state = 'acknowledged'")
            .unwrap();
        assert!(!triggers::alarm(&conn, &mapping, &faults, NOW).unwrap());
        assert_eq!(text(&conn, alert), format!("triggers_lost acknowledged {round}"));
        repair(&conn, r#"{"repair":true}"#).unwrap();
        assert_eq!(text(&conn, alert), format!("triggers_lost resolved {round}"));
        assert_eq!(text(&conn, told), events);
    }
    // A plain install puts them back, too, and says so.
    conn.execute_batch("DROP TRIGGER runchain_capture_delete")
        .unwrap();
    install(&conn, &InstallOptions::default(), NOW).unwrap();
    let last =
        "SELECT type || ' ' || json_extract(data, '$.by') FROM runchain_events ORDER BY id DESC LIMIT 1";
    assert_eq!(text(&conn, last), "TRIGGERS_RESTORED install");
}

#[test]
fn the_leader_follows_a_renamed_column_but_no_table() {
    for (migration, follows) in [
        ("DROP TRIGGER runchain_capture_insert", true),
        ("ALTER TABLE runs RENAME COLUMN status TO word", true),
        ("ALTER TABLE runs RENAME TO jobs", false),
        (
            &rebuilt_as("jobs", "run_id TEXT PRIMARY KEY, status TEXT, note TEXT"),
            false,
        ),
        (
            &rebuilt_as("runs", "run_id TEXT PRIMARY KEY, state TEXT, note TEXT"),
            false,
        ),
    ] {
        let conn = installed();
        conn.execute_batch(migration).unwrap();
        let before = Mapping::require(&conn).unwrap();
        let transaction = conn.unchecked_transaction().unwrap();
        match auto_repair(&transaction, &By::default(), NOW) {
            Ok(mapping) => assert_eq!(
                (triggers::faults(&conn, &mapping).unwrap(), follows),
                (vec![], true),
                "{migration}"
            ),
            Err(error) => {
                assert!(
                    !follows && error.to_string().contains("runchain install --repair"),
                    "{migration}: {error}"
                );
                assert_eq!(Mapping::require(&conn).unwrap(), before, "{migration}");
            }
        }
        transaction.commit().unwrap();
    }
}
