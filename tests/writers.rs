//! Writers that have never heard of runchain, on SQLite 3.24, 3.31 and the machine's own: what each
//! way of writing appends to the queue, and that the writer itself sees no difference.
//!
//! The database is made by the stock shell; only the statements of a case run in the writer. What
//! the executor makes of the queue is not tested here.

mod cases;

use crate::support::{Sqlite, extension, repository, stock_sqlite3};
use cases::CASES;
use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// The orchestrator's own tables, with three runs in them.
const ORCHESTRATOR: &str = "
CREATE TABLE runs(
  run_id TEXT PRIMARY KEY, status TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL, metadata_json TEXT
);
CREATE TABLE step_attempts(
  id INTEGER PRIMARY KEY, run_id TEXT NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE, status TEXT
);
INSERT INTO runs VALUES ('a', 'RUNNING', 't0', 't0', NULL), ('b', 'RUNNING', 't0', 't0', NULL), ('c', 'PENDING', 't0', 't0', NULL);
INSERT INTO step_attempts(id, run_id, status) VALUES (1, 'a', 'running'), (2, 'b', 'running');
";

/// The queue in the words of the cases.
const QUEUE: &str = "
SELECT action || ' | ' || quote(run_id) || ' | ' || quote(old_run_id) || ' | ' || quote(old_status) || ' | '
       || quote(new_status)
FROM runchain_queue ORDER BY id;
";

/// Asked by the writer after its statements, and by everybody who looks.
const WHAT_A_WRITER_SEES: &str = "
SELECT 'last_insert_rowid', last_insert_rowid();
SELECT 'changes', changes();
SELECT quote(run_id), status, created_at, updated_at, quote(metadata_json) FROM runs ORDER BY rowid;
SELECT id, run_id, status FROM step_attempts ORDER BY id;
";

fn sql_file(name: &str) -> PathBuf {
    repository().join("sql").join(name)
}

/// Reads files of `sql/` as a DBA would: `.read` in a stock shell.
fn read_files(database: &Path, names: &[&str]) {
    for name in names {
        stock_sqlite3(database, &format!(".read '{}'\n", sql_file(name).display()));
    }
}

#[test]
fn every_way_of_writing_appends_what_it_changed_and_no_writer_sees_a_difference() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain.db");
    let captured = folder.path().join("captured.db");
    stock_sqlite3(&plain, ORCHESTRATOR);
    stock_sqlite3(&captured, ORCHESTRATOR);
    read_files(&captured, &["schema.sql", "triggers.sql"]);

    let mut wrong = Vec::new();
    for writer in Sqlite::ALL {
        for case in CASES {
            let sql = format!("{}\n{WHAT_A_WRITER_SEES}", case.statements);
            let fresh = |source: &Path| {
                let copy = folder.path().join("case.db");
                std::fs::copy(source, &copy).unwrap();
                copy
            };
            let without = writer.run(&fresh(&plain), &sql).output();
            let database = fresh(&captured);
            let with = writer.run(&database, &sql).output();
            if without != with {
                wrong.push(format!(
                    "{writer:?}, {}: the writer sees\n{with}instead of\n{without}",
                    case.name
                ));
            }
            let queue = stock_sqlite3(&database, QUEUE);
            if queue.lines().ne(case.queue.iter().copied()) {
                let expected = case.queue.join("\n");
                wrong.push(format!(
                    "{writer:?}, {}: queued\n{queue}instead of\n{expected}",
                    case.name
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_queued_row_knows_when_it_was_written() {
    for writer in Sqlite::ALL {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("state.db");
        stock_sqlite3(&database, ORCHESTRATOR);
        read_files(&database, &["schema.sql", "triggers.sql"]);
        let now_ms = || std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
        let before_ms = now_ms();
        writer
            .run(&database, "UPDATE runs SET status = 'DONE' WHERE run_id = 'a';\n")
            .output();
        let after_ms = now_ms();
        let at = stock_sqlite3(&database, "SELECT at_ms FROM runchain_queue;");
        let at_ms: u128 = at.trim().parse().unwrap();
        // SQLite's julian day is exact to a millisecond or so.
        assert!(
            (before_ms - 2..=after_ms + 2).contains(&at_ms),
            "{writer:?}: {at_ms} is not in {before_ms}..={after_ms}"
        );
    }
}

#[test]
fn a_request_by_plain_insert_needs_nothing_loaded() {
    for writer in Sqlite::ALL {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("state.db");
        stock_sqlite3(&database, ORCHESTRATOR);
        read_files(&database, &["schema.sql", "triggers.sql"]);
        let request = "INSERT INTO runchain_queue(action, run_id, actor, reason) VALUES ('enqueue_chain', 'a', 'dba', 'late');\n";
        writer.run(&database, request).output();
        let written = writer.run(
            &database,
            "UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'b';",
        );
        assert!(written.success, "{writer:?}: {}", written.output());
        let captured = "SELECT count(*) FROM runchain_queue WHERE new_status = 'COMPLETED';";
        assert_eq!(stock_sqlite3(&database, captured), "1\n", "{writer:?}");
    }
}

#[test]
fn every_stored_object_is_readable_for_every_writer() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("state.db");
    stock_sqlite3(&database, ORCHESTRATOR);
    read_files(&database, &["schema.sql", "triggers.sql", "views.sql"]);
    let names = stock_sqlite3(
        &database,
        "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name;",
    );
    let objects = stock_sqlite3(&database, "SELECT count(*) FROM sqlite_master;");
    assert!(
        names.contains("runchain_problems") && names.contains("runchain_queue"),
        "{names}"
    );

    for writer in Sqlite::ALL {
        let seen = writer.run(
            &database,
            "SELECT count(*) FROM sqlite_master;\nPRAGMA integrity_check;\n",
        );
        assert_eq!(seen.output(), format!("{objects}ok\n"), "{writer:?}");
        for name in names.lines() {
            let read = writer.run(&database, &format!("SELECT count(*) FROM \"{name}\";\n"));
            assert!(
                read.success,
                "{writer:?} can't read {name}: {}{}",
                read.stdout, read.stderr
            );
        }
    }
}

#[test]
fn every_sql_file_runs_in_every_shell_and_twice() {
    for shell in Sqlite::ALL {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("state.db");
        shell.run(&database, ORCHESTRATOR).output();
        let before = stock_sqlite3(&database, "SELECT name, sql FROM sqlite_master ORDER BY name;");
        for name in [
            "schema.sql",
            "triggers.sql",
            "views.sql",
            "uninstall.sql",
            "purge.sql",
        ] {
            let text = read_to_string(sql_file(name)).unwrap();
            for round in ["first", "second"] {
                let done = shell.run(&database, &text);
                assert!(
                    done.success,
                    "{shell:?}, {name}, {round}: {}{}",
                    done.stdout, done.stderr
                );
            }
        }
        // These three are read by other tools, so purge leaves them; SQLite itself keeps the last.
        let left = "
            SELECT name, sql FROM sqlite_master
            WHERE tbl_name NOT IN ('archival_log', 'uet_executions', 'uet_tasks', 'sqlite_sequence') ORDER BY name;";
        assert_eq!(stock_sqlite3(&database, left), before, "{shell:?}");
    }
}

#[test]
fn triggers_for_columns_that_are_not_there_install_nothing_and_say_so() {
    let shape_b = "CREATE TABLE runs(run_id TEXT PRIMARY KEY, state TEXT NOT NULL);";
    for orchestrator in [shape_b, "CREATE TABLE jobs(id INTEGER PRIMARY KEY, status TEXT);"] {
        for shell in Sqlite::ALL {
            let folder = tempfile::tempdir().unwrap();
            let database = folder.path().join("state.db");
            stock_sqlite3(&database, orchestrator);
            let done = shell.run(&database, &read_to_string(sql_file("triggers.sql")).unwrap());
            assert!(!done.success, "{shell:?} said nothing");
            let said = done.stdout + &done.stderr;
            assert!(said.contains("runchain: nothing installed"), "{shell:?}: {said}");
            let stored = "SELECT count(*) FROM sqlite_master WHERE name LIKE 'runchain%';";
            assert_eq!(stock_sqlite3(&database, stored), "0\n", "{shell:?}");
        }
    }
}

#[test]
fn uninstall_frees_the_writers_of_a_half_dropped_schema() {
    for writer in Sqlite::ALL {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("state.db");
        stock_sqlite3(&database, ORCHESTRATOR);
        read_files(&database, &["schema.sql", "triggers.sql", "views.sql"]);
        stock_sqlite3(&database, "DROP TABLE runchain_queue;");
        let write = "UPDATE runs SET status = 'DONE' WHERE run_id = 'a';\n";
        assert!(
            !writer.run(&database, write).success,
            "{writer:?}: the triggers don't write"
        );
        read_files(&database, &["uninstall.sql"]);
        writer.run(&database, write).output();
    }
}

/// How migration tools change a table of SQLite's: a new one, the rows, the old one's end, the name.
/// (Alembic's batch mode and Django's `_remake_table` do it in this order.)
const REBUILD: &str = "
BEGIN;
CREATE TABLE _tmp_runs(
  run_id TEXT PRIMARY KEY, status TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
  metadata_json TEXT, priority INTEGER
);
INSERT INTO _tmp_runs(run_id, status, created_at, updated_at, metadata_json)
  SELECT run_id, status, created_at, updated_at, metadata_json FROM runs;
DROP TABLE runs;
ALTER TABLE _tmp_runs RENAME TO runs;
COMMIT;
";

#[test]
fn a_table_rebuild_passes_is_noticed_and_mended_by_a_new_install() {
    let triggers = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger';";
    for writer in Sqlite::ALL {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("state.db");
        stock_sqlite3(&database, ORCHESTRATOR);
        read_files(&database, &["schema.sql", "triggers.sql", "views.sql"]);
        let before = stock_sqlite3(&database, "SELECT run_id, status FROM runs ORDER BY run_id;");
        let rebuilt = writer.run(&database, REBUILD);
        assert!(rebuilt.success, "{writer:?}: {}", rebuilt.output());
        assert_eq!(
            stock_sqlite3(&database, "SELECT run_id, status FROM runs ORDER BY run_id;"),
            before
        );
        assert_eq!(
            stock_sqlite3(&database, triggers),
            "0\n",
            "the rebuild drops them, as SQLite does"
        );
        let load = format!(".load {}", extension().display());
        let lost = "SELECT severity FROM monitor_checks() WHERE check_name = 'triggers';";
        assert_eq!(stock_sqlite3(&database, &format!("{load}\n{lost}")), "error\n");
        stock_sqlite3(&database, &format!("{load}\nSELECT runchain_install();"));
        assert_eq!(stock_sqlite3(&database, triggers), "3\n");
        let queued = stock_sqlite3(
            &database,
            "SELECT count(*) FROM runchain_queue WHERE run_id = 'a';",
        );
        assert_eq!(queued, "1\n", "{writer:?}");
    }
}

#[test]
fn a_column_that_is_not_mapped_can_be_dropped_renamed_and_added() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("state.db");
    stock_sqlite3(&database, ORCHESTRATOR);
    read_files(&database, &["schema.sql", "triggers.sql", "views.sql"]);
    let changed = Sqlite::Stock.run(
        &database,
        "ALTER TABLE runs DROP COLUMN metadata_json; ALTER TABLE runs RENAME COLUMN updated_at TO changed_at;
         ALTER TABLE runs ADD COLUMN priority INTEGER; UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'a';",
    );
    assert!(changed.success, "{}", changed.output());
    assert_eq!(
        stock_sqlite3(&database, "SELECT count(*) FROM runchain_queue;"),
        "1\n"
    );
}
