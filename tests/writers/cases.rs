//! The ways in which a status reaches the user's table, and what each appends to the queue. Written
//! by hand; the runs 'a' (RUNNING), 'b' (RUNNING) and 'c' (PENDING) are there before.

pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) statements: &'static str,
    /// In order: action | run_id | old_run_id | old_status | new_status.
    pub(super) queue: &'static [&'static str],
}

pub(super) const CASES: &[Case] = &[
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
