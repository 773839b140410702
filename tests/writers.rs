//! Writers that have never heard of runchain, on SQLite 3.24, 3.31 and the machine's own: what each
//! way of writing appends to the queue, and that the writer itself sees no difference.
//!
//! The database is made by the stock shell; only the statements of a case run in the writer. What
//! the executor makes of the queue is not tested here.

use crate::support::{Sqlite, repository, stock_sqlite3};
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

/// Columns of an expected row: action | run_id | old_run_id | old_status | new_status.
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

struct Case {
    name: &'static str,
    statements: &'static str,
    queue: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        name: "insert of a new run",
        statements: "INSERT INTO runs VALUES ('d', 'CREATED', 't1', 't1', '{}');",
        queue: &["insert | 'd' | NULL | NULL | 'CREATED'"],
    },
    Case {
        name: "insert of a finished run",
        statements: "INSERT INTO runs VALUES ('d', 'COMPLETED', 't1', 't1', '{}');",
        queue: &["insert | 'd' | NULL | NULL | 'COMPLETED'"],
    },
    Case {
        name: "insert of many runs in one statement",
        statements: "INSERT INTO runs SELECT run_id || '2', 'FAILED', 't1', 't1', NULL FROM runs ORDER BY run_id;",
        queue: &[
            "insert | 'a2' | NULL | NULL | 'FAILED'",
            "insert | 'b2' | NULL | NULL | 'FAILED'",
            "insert | 'c2' | NULL | NULL | 'FAILED'",
        ],
    },
    Case {
        name: "insert or replace of a run that exists",
        statements: "INSERT OR REPLACE INTO runs VALUES ('a', 'COMPLETED', 't0', 't1', NULL);",
        queue: &["insert | 'a' | NULL | NULL | 'COMPLETED'"],
    },
    Case {
        name: "five identical insert or replace",
        statements: "
            INSERT OR REPLACE INTO runs VALUES ('a', 'COMPLETED', 't0', 't1', NULL);
            INSERT OR REPLACE INTO runs VALUES ('a', 'COMPLETED', 't0', 't1', NULL);
            INSERT OR REPLACE INTO runs VALUES ('a', 'COMPLETED', 't0', 't1', NULL);
            INSERT OR REPLACE INTO runs VALUES ('a', 'COMPLETED', 't0', 't1', NULL);
            INSERT OR REPLACE INTO runs VALUES ('a', 'COMPLETED', 't0', 't1', NULL);",
        queue: &["insert | 'a' | NULL | NULL | 'COMPLETED'"; 5],
    },
    Case {
        name: "insert or replace with recursive triggers is a delete and an insert",
        statements: "
            PRAGMA recursive_triggers = ON;
            REPLACE INTO runs VALUES ('a', 'COMPLETED', 't0', 't1', NULL);",
        queue: &[
            "delete | 'a' | NULL | 'RUNNING' | NULL",
            "insert | 'a' | NULL | NULL | 'COMPLETED'",
        ],
    },
    Case {
        name: "insert or ignore of a run that exists",
        statements: "INSERT OR IGNORE INTO runs VALUES ('a', 'COMPLETED', 't0', 't1', NULL);",
        queue: &[],
    },
    Case {
        name: "insert or ignore of a new run",
        statements: "INSERT OR IGNORE INTO runs VALUES ('d', 'COMPLETED', 't1', 't1', NULL);",
        queue: &["insert | 'd' | NULL | NULL | 'COMPLETED'"],
    },
    Case {
        name: "upsert of a run that exists",
        statements: "
            INSERT INTO runs VALUES ('a', 'COMPLETED', 't0', 't1', NULL)
            ON CONFLICT(run_id) DO UPDATE SET status = excluded.status, updated_at = excluded.updated_at;",
        queue: &["update | 'a' | 'a' | 'RUNNING' | 'COMPLETED'"],
    },
    Case {
        name: "upsert of a new run",
        statements: "
            INSERT INTO runs VALUES ('d', 'COMPLETED', 't1', 't1', NULL)
            ON CONFLICT(run_id) DO UPDATE SET status = excluded.status;",
        queue: &["insert | 'd' | NULL | NULL | 'COMPLETED'"],
    },
    Case {
        name: "upsert that does nothing",
        statements: "INSERT INTO runs VALUES ('a', 'COMPLETED', 't0', 't1', NULL) ON CONFLICT DO NOTHING;",
        queue: &[],
    },
    Case {
        name: "upsert with the same status",
        statements: "
            INSERT INTO runs VALUES ('a', 'RUNNING', 't0', 't1', NULL)
            ON CONFLICT(run_id) DO UPDATE SET status = excluded.status, updated_at = excluded.updated_at;",
        queue: &[],
    },
    Case {
        name: "update of one run",
        statements: "UPDATE runs SET status = 'COMPLETED', updated_at = 't1' WHERE run_id = 'b';",
        queue: &["update | 'b' | 'b' | 'RUNNING' | 'COMPLETED'"],
    },
    Case {
        name: "update of many runs",
        statements: "UPDATE runs SET status = 'FAILED';",
        queue: &[
            "update | 'a' | 'a' | 'RUNNING' | 'FAILED'",
            "update | 'b' | 'b' | 'RUNNING' | 'FAILED'",
            "update | 'c' | 'c' | 'PENDING' | 'FAILED'",
        ],
    },
    Case {
        name: "update or ignore",
        statements: "UPDATE OR IGNORE runs SET status = 'COMPLETED' WHERE run_id = 'a';",
        queue: &["update | 'a' | 'a' | 'RUNNING' | 'COMPLETED'"],
    },
    Case {
        name: "update to the status that it has",
        statements: "UPDATE runs SET status = 'RUNNING', updated_at = 't1' WHERE run_id = 'a';",
        queue: &[],
    },
    Case {
        name: "update of other columns",
        statements: "UPDATE runs SET updated_at = 't1', metadata_json = '{\"done\":1}';",
        queue: &[],
    },
    Case {
        name: "a re-run",
        statements: "
            UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'a';
            UPDATE runs SET status = 'RUNNING' WHERE run_id = 'a';
            UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'a';",
        queue: &[
            "update | 'a' | 'a' | 'RUNNING' | 'COMPLETED'",
            "update | 'a' | 'a' | 'COMPLETED' | 'RUNNING'",
            "update | 'a' | 'a' | 'RUNNING' | 'COMPLETED'",
        ],
    },
    Case {
        name: "update of the id",
        statements: "UPDATE runs SET run_id = 'z' WHERE run_id = 'c';",
        queue: &["update | 'z' | 'c' | 'PENDING' | 'PENDING'"],
    },
    Case {
        name: "update of id and status at once",
        statements: "UPDATE runs SET run_id = 'z', status = 'COMPLETED' WHERE run_id = 'c';",
        queue: &["update | 'z' | 'c' | 'PENDING' | 'COMPLETED'"],
    },
    Case {
        name: "update of the id onto another run",
        statements: "UPDATE OR REPLACE runs SET run_id = 'a' WHERE run_id = 'c';",
        queue: &["update | 'a' | 'c' | 'PENDING' | 'PENDING'"],
    },
    Case {
        name: "update of the id to NULL",
        statements: "UPDATE runs SET run_id = NULL WHERE run_id = 'c';",
        queue: &["update | NULL | 'c' | 'PENDING' | 'PENDING'"],
    },
    Case {
        name: "delete",
        statements: "DELETE FROM runs WHERE run_id = 'c';",
        queue: &["delete | 'c' | NULL | 'PENDING' | NULL"],
    },
    Case {
        name: "delete of all, which SQLite would otherwise do by truncating",
        statements: "PRAGMA foreign_keys = OFF; DELETE FROM runs;",
        queue: &[
            "delete | 'a' | NULL | 'RUNNING' | NULL",
            "delete | 'b' | NULL | 'RUNNING' | NULL",
            "delete | 'c' | NULL | 'PENDING' | NULL",
        ],
    },
    Case {
        name: "NULL id, which can't be followed",
        statements: "
            INSERT INTO runs VALUES (NULL, 'RUNNING', 't1', 't1', NULL);
            INSERT OR IGNORE INTO runs VALUES (NULL, 'COMPLETED', 't1', 't1', NULL);
            DELETE FROM runs WHERE run_id IS NULL;",
        queue: &[],
    },
    Case {
        name: "BLOB id",
        statements: "
            INSERT INTO runs VALUES (x'00FF', 'RUNNING', 't1', 't1', NULL);
            UPDATE runs SET status = 'COMPLETED' WHERE run_id = x'00FF';
            DELETE FROM runs WHERE run_id = x'00FF';",
        queue: &[
            "insert | X'00FF' | NULL | NULL | 'RUNNING'",
            "update | X'00FF' | X'00FF' | 'RUNNING' | 'COMPLETED'",
            "delete | X'00FF' | NULL | 'COMPLETED' | NULL",
        ],
    },
    Case {
        name: "ids that look like something else",
        statements: "
            INSERT INTO runs VALUES ('', 'RUNNING', 't1', 't1', NULL);
            INSERT INTO runs VALUES ('../x', 'RUNNING', 't1', 't1', NULL);
            INSERT INTO runs VALUES (7, 'RUNNING', 't1', 't1', NULL);",
        queue: &[
            "insert | '' | NULL | NULL | 'RUNNING'",
            "insert | '../x' | NULL | NULL | 'RUNNING'",
            "insert | '7' | NULL | NULL | 'RUNNING'",
        ],
    },
    Case {
        name: "a transaction that is rolled back",
        statements: "
            BEGIN;
            INSERT INTO runs VALUES ('d', 'COMPLETED', 't1', 't1', NULL);
            UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'a';
            ROLLBACK;",
        queue: &[],
    },
    Case {
        name: "a savepoint that is rolled back inside a transaction that isn't",
        statements: "
            BEGIN;
            UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'a';
            SAVEPOINT inner;
            UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'b';
            ROLLBACK TO inner;
            COMMIT;",
        queue: &["update | 'a' | 'a' | 'RUNNING' | 'COMPLETED'"],
    },
    Case {
        name: "a schema that the writer doesn't trust",
        statements: "
            PRAGMA trusted_schema = OFF;
            UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'a';",
        queue: &["update | 'a' | 'a' | 'RUNNING' | 'COMPLETED'"],
    },
    Case {
        name: "delete with foreign keys on cascades to the orchestrator's rows as before",
        statements: "PRAGMA foreign_keys = ON; DELETE FROM runs WHERE run_id = 'a';",
        queue: &["delete | 'a' | NULL | 'RUNNING' | NULL"],
    },
    Case {
        name: "insert or replace with foreign keys on",
        statements: "
            PRAGMA foreign_keys = ON;
            INSERT OR REPLACE INTO runs VALUES ('b', 'COMPLETED', 't0', 't1', NULL);",
        queue: &["insert | 'b' | NULL | NULL | 'COMPLETED'"],
    },
    Case {
        name: "an id inserted beside a table of the orchestrator's own keeps last_insert_rowid()",
        statements: "
            INSERT INTO step_attempts(id, run_id, status) VALUES (77, 'a', 'done');
            UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'a';",
        queue: &["update | 'a' | 'a' | 'RUNNING' | 'COMPLETED'"],
    },
];

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
        let queued = stock_sqlite3(
            &database,
            "SELECT action, run_id, actor, reason, at_ms > 0 FROM runchain_queue;",
        );
        assert_eq!(queued, "enqueue_chain|a|dba|late|1\n", "{writer:?}");
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
