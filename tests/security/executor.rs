//! The executor reads and writes a schema that others made. Functions that reach outside SQLite don't
//! run from it, and one that is damaged is refused before anything is done.

use super::Theirs;
use crate::support::{Project, SHAPE_A};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use std::fs;

/// A library that leaves a file when it is loaded would be the proof; a name that can't be loaded
/// shows in the message whether it was tried.
const REACHES_OUT: &str = "load_extension('/nonexistent/evil.so')";

/// Prepares a database with stubs for what a stock build refuses to name.
fn author(project: &Project) -> Connection {
    let conn = Connection::open(project.database()).unwrap();
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false)
        .unwrap();
    conn
}

fn installed() -> Project {
    let project = Project::new(SHAPE_A, "retry.max_attempts = 1");
    project.runchain(&["install"]).exits(0);
    project
}

#[test]
fn views_that_reach_outside_are_never_read() {
    let project = installed();
    author(&project)
        .execute_batch(&format!(
            "CREATE VIEW tasks AS SELECT 'run-1' AS run_id, {REACHES_OUT} AS status;
             CREATE VIEW step_attempts AS
               WITH RECURSIVE forever(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM forever)
               SELECT 'run-1' AS run_id, n AS status FROM forever;
             CREATE VIEW workstreams AS SELECT 'run-1' AS run_id, ingest_events('/etc/passwd') AS status;
             INSERT INTO runs(run_id, status) VALUES ('run-1', 'COMPLETED');"
        ))
        .unwrap();
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert!(project.path(".archive/run-1/bagit.txt").is_file());
    assert_eq!(
        fs::read_dir(project.path(".archive/run-1/data")).unwrap().count(),
        3
    );
    assert_eq!(project.sql("SELECT count(*) FROM runchain_ingest_files"), "0\n");
}

#[test]
fn a_trigger_on_our_tables_that_reaches_outside_fails_what_it_rides_on_in_a_sentence() {
    for call in [
        REACHES_OUT,
        "ingest_events('secret')",
        "runchain_uninstall('purge')",
        "enqueue_chain('run-1')",
    ] {
        let project = installed();
        let theirs = Theirs::new();
        author(&project)
            .execute_batch(&format!(
                "CREATE TRIGGER hostile AFTER INSERT ON runchain_events BEGIN SELECT {call}; END;
                 INSERT INTO runs(run_id, status) VALUES ('run-1', 'COMPLETED');"
            ))
            .unwrap();
        let events = project.sql("SELECT count(*) FROM runchain_events");
        let ran = project.runchain(&["drain", "--until-idle"]);
        let name = call.split('(').next().unwrap();
        assert!(
            ran.stderr.contains(&format!("unsafe use of {name}")),
            "{}{}",
            ran.stdout,
            ran.stderr
        );
        assert_ne!(ran.code, Some(0));
        assert_eq!(project.sql("SELECT count(*) FROM runchain_events"), events);
        assert_eq!(project.sql("SELECT count(*) FROM runchain_queue"), "1\n");
        theirs.is_untouched(project.root());
        // Without it the work is done: nothing was lost.
        project.sql("DROP TRIGGER hostile;");
        project.runchain(&["drain", "--until-idle"]).exits(0);
        assert!(project.path(".archive/run-1/bagit.txt").is_file());
    }
}

#[test]
fn a_schema_that_was_damaged_by_hand_is_refused_before_anything_is_done() {
    let damage = [
        "UPDATE sqlite_master SET sql = 'CREATE TABLE runs(' WHERE name = 'runs'",
        "UPDATE sqlite_master SET sql = 'CREATE TABLE other(x)' WHERE name = 'runchain_steps'",
        "UPDATE sqlite_master SET rootpage = 99999 WHERE name = 'runs'",
        "UPDATE sqlite_master SET sql = replace(sql, 'BEGIN', 'BEGIN SELEKT 1;') WHERE type = 'trigger'",
    ];
    for statement in damage {
        let project = installed();
        author(&project)
            .execute_batch(&format!(
                "INSERT INTO runs(run_id, status) VALUES ('run-1', 'COMPLETED');
                 PRAGMA writable_schema = ON; {statement};"
            ))
            .unwrap();
        let ran = project.runchain(&["drain", "--until-idle"]);
        assert!(
            matches!(ran.code, Some(code) if code != 0),
            "{statement}: {:?}",
            ran.code
        );
        let said = ran.stderr.to_lowercase();
        let names = said.contains("malformed") || said.contains("damaged") || said.contains("corrupt");
        assert!(
            names && said.contains("orchestration.db"),
            "{statement}: {}",
            ran.stderr
        );
        assert!(!project.path(".archive").exists(), "{statement}");
    }
}
