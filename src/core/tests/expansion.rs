//! Every way in which a status can arrive, as statements in and runs, steps and events out.
//!
//! The writer's side of the same table runs on old SQLite versions in the top-level suite; here the
//! judgement is what is tested. Each case begins on a fresh database with runchain installed.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test states what must hold; a panic is how it fails"
)]

use runchain_core::chain::Chain;
use runchain_core::install::{InstallOptions, install};
use runchain_core::{Mapping, Millis, functions, queue};
use rusqlite::Connection;

const CHAIN_ATTEMPTS: u32 = 3;

struct Case {
    promise: &'static str,
    /// Each entry is expanded before the next one runs.
    writes: &'static [&'static str],
    /// run_id, phase, generation.
    runs: &'static [(&'static str, &'static str, i64)],
    /// run_id, generation, step, state.
    steps: &'static [(&'static str, i64, &'static str, &'static str)],
    /// Lifecycle events in order: TYPE, run_id.
    events: &'static [(&'static str, &'static str)],
}

const CREATED: (&str, &str) = ("RUN_CREATED", "a");
const COMPLETED: (&str, &str) = ("RUN_COMPLETED", "a");
const CANCELLED: (&str, &str) = ("CHAIN_CANCELLED", "a");

const CASES: &[Case] = &[
    Case {
        promise: "a run that begins has no steps yet",
        writes: &["INSERT INTO runs VALUES ('a', 'RUNNING')"],
        runs: &[("a", "active", 0)],
        steps: &[],
        events: &[CREATED],
    },
    Case {
        promise: "a finished row that is inserted is created and ended at once",
        writes: &["INSERT INTO runs VALUES ('a', 'COMPLETED')"],
        runs: &[("a", "completed", 1)],
        steps: &[("a", 1, "archive", "ready"), ("a", 1, "report", "waiting")],
        events: &[CREATED, COMPLETED],
    },
    Case {
        promise: "an UPDATE to a terminal word ends the run, whatever its case",
        writes: &[
            "INSERT INTO runs VALUES ('a', 'running')",
            "UPDATE runs SET status = 'completed'",
        ],
        runs: &[("a", "completed", 1)],
        steps: &[("a", 1, "archive", "ready"), ("a", 1, "report", "waiting")],
        events: &[CREATED, COMPLETED],
    },
    Case {
        promise: "all of it in one transaction and one expansion is the same",
        writes: &[
            "BEGIN; INSERT INTO runs VALUES ('a', 'PENDING'); UPDATE runs SET status = 'RUNNING'; \
                   UPDATE runs SET status = 'FAILED'; COMMIT",
        ],
        runs: &[("a", "failed", 1)],
        steps: &[("a", 1, "archive", "ready"), ("a", 1, "report", "waiting")],
        events: &[CREATED, COMPLETED],
    },
    Case {
        promise: "what is rolled back leads to nothing",
        writes: &["BEGIN; INSERT INTO runs VALUES ('a', 'COMPLETED'); ROLLBACK"],
        runs: &[],
        steps: &[],
        events: &[],
    },
    Case {
        promise: "five identical INSERT OR REPLACE are one event",
        writes: &[
            "INSERT OR REPLACE INTO runs VALUES ('a', 'COMPLETED'); INSERT OR REPLACE INTO runs VALUES ('a', 'COMPLETED')",
            "INSERT OR REPLACE INTO runs VALUES ('a', 'COMPLETED'); INSERT OR REPLACE INTO runs VALUES ('a', 'COMPLETED')",
            "INSERT OR REPLACE INTO runs VALUES ('a', 'COMPLETED')",
        ],
        runs: &[("a", "completed", 1)],
        steps: &[("a", 1, "archive", "ready"), ("a", 1, "report", "waiting")],
        events: &[CREATED, COMPLETED],
    },
    Case {
        promise: "OR REPLACE that fires delete triggers is judged by looking",
        writes: &[
            "PRAGMA recursive_triggers = ON; INSERT INTO runs VALUES ('a', 'RUNNING')",
            "INSERT OR REPLACE INTO runs VALUES ('a', 'COMPLETED')",
        ],
        runs: &[("a", "completed", 1)],
        steps: &[("a", 1, "archive", "ready"), ("a", 1, "report", "waiting")],
        events: &[CREATED, COMPLETED],
    },
    Case {
        promise: "an UPSERT ends the run",
        writes: &[
            "INSERT INTO runs VALUES ('a', 'RUNNING')",
            "INSERT INTO runs VALUES ('a', 'DONE') ON CONFLICT(run_id) DO UPDATE SET status = excluded.status",
        ],
        runs: &[("a", "completed", 1)],
        steps: &[("a", 1, "archive", "ready"), ("a", 1, "report", "waiting")],
        events: &[CREATED, COMPLETED],
    },
    Case {
        promise: "an INSERT OR IGNORE that is ignored is nothing",
        writes: &[
            "INSERT INTO runs VALUES ('a', 'RUNNING')",
            "INSERT OR IGNORE INTO runs VALUES ('a', 'COMPLETED')",
        ],
        runs: &[("a", "active", 0)],
        steps: &[],
        events: &[CREATED],
    },
    Case {
        promise: "an UPDATE of many rows ends each of them once",
        writes: &[
            "INSERT INTO runs VALUES ('a', 'RUNNING'), ('b', 'RUNNING'), ('c', 'COMPLETED')",
            "UPDATE runs SET status = 'COMPLETED'",
        ],
        runs: &[
            ("a", "completed", 1),
            ("b", "completed", 1),
            ("c", "completed", 1),
        ],
        steps: &[
            ("a", 1, "archive", "ready"),
            ("a", 1, "report", "waiting"),
            ("b", 1, "archive", "ready"),
            ("b", 1, "report", "waiting"),
            ("c", 1, "archive", "ready"),
            ("c", 1, "report", "waiting"),
        ],
        events: &[
            CREATED,
            ("RUN_CREATED", "b"),
            ("RUN_CREATED", "c"),
            ("RUN_COMPLETED", "c"),
            COMPLETED,
            ("RUN_COMPLETED", "b"),
        ],
    },
    Case {
        promise: "a re-run is a new generation and cancels what the older one had not done",
        writes: &[
            "INSERT INTO runs VALUES ('a', 'COMPLETED')",
            "UPDATE runs SET status = 'RUNNING'",
            "UPDATE runs SET status = 'COMPLETED'",
        ],
        runs: &[("a", "completed", 2)],
        steps: &[
            ("a", 1, "archive", "cancelled"),
            ("a", 1, "report", "cancelled"),
            ("a", 2, "archive", "ready"),
            ("a", 2, "report", "waiting"),
        ],
        events: &[CREATED, COMPLETED, ("RUN_RESTARTED", "a"), CANCELLED, COMPLETED],
    },
    Case {
        promise: "flapping within one expansion gives each entry its generation",
        writes: &[
            "INSERT INTO runs VALUES ('a', 'COMPLETED'); UPDATE runs SET status = 'RUNNING'; \
                   UPDATE runs SET status = 'FAILED'",
        ],
        runs: &[("a", "failed", 2)],
        steps: &[
            ("a", 1, "archive", "cancelled"),
            ("a", 1, "report", "cancelled"),
            ("a", 2, "archive", "ready"),
            ("a", 2, "report", "waiting"),
        ],
        events: &[CREATED, COMPLETED, ("RUN_RESTARTED", "a"), CANCELLED, COMPLETED],
    },
    Case {
        promise: "from one terminal phase to another is a new generation, to a synonym is not",
        writes: &[
            "INSERT INTO runs VALUES ('a', 'COMPLETED')",
            "UPDATE runs SET status = 'SUCCEEDED'",
            "UPDATE runs SET status = 'FAILED'",
        ],
        runs: &[("a", "failed", 2)],
        steps: &[
            ("a", 1, "archive", "cancelled"),
            ("a", 1, "report", "cancelled"),
            ("a", 2, "archive", "ready"),
            ("a", 2, "report", "waiting"),
        ],
        events: &[CREATED, COMPLETED, CANCELLED, COMPLETED],
    },
    Case {
        promise: "an unknown word never moves a run out of a terminal phase",
        writes: &[
            "INSERT INTO runs VALUES ('a', 'COMPLETED')",
            "UPDATE runs SET status = 'Zwischenlager'",
        ],
        runs: &[("a", "completed", 1)],
        steps: &[("a", 1, "archive", "ready"), ("a", 1, "report", "waiting")],
        events: &[CREATED, COMPLETED, ("STATUS_UNKNOWN", "a")],
    },
    Case {
        promise: "a run that begins with an unknown word, or none, is active",
        writes: &["INSERT INTO runs VALUES ('a', 'Anlauf'), ('b', NULL)"],
        runs: &[("a", "active", 0), ("b", "active", 0)],
        steps: &[],
        events: &[
            CREATED,
            ("STATUS_UNKNOWN", "a"),
            ("RUN_CREATED", "b"),
            ("STATUS_UNKNOWN", "b"),
        ],
    },
    Case {
        promise: "a word that the DBA has added counts at once",
        writes: &[
            "INSERT INTO runchain_vocabulary VALUES ('fertig', 'completed'); INSERT INTO runs VALUES ('a', 'FERTIG')",
        ],
        runs: &[("a", "completed", 1)],
        steps: &[("a", 1, "archive", "ready"), ("a", 1, "report", "waiting")],
        events: &[CREATED, COMPLETED],
    },
    Case {
        promise: "the words of the field are in the vocabulary from the start",
        writes: &[
            "INSERT INTO runs VALUES ('a', 'PARTIAL'), ('b', 'quarantined'), ('c', 'canceled'), ('d', 'succeeded'), ('e', 'pending')",
        ],
        runs: &[
            ("a", "failed", 1),
            ("b", "failed", 1),
            ("c", "cancelled", 1),
            ("d", "completed", 1),
            ("e", "active", 0),
        ],
        steps: &[
            ("a", 1, "archive", "ready"),
            ("a", 1, "report", "waiting"),
            ("b", 1, "archive", "ready"),
            ("b", 1, "report", "waiting"),
            ("c", 1, "archive", "ready"),
            ("c", 1, "report", "waiting"),
            ("d", 1, "archive", "ready"),
            ("d", 1, "report", "waiting"),
        ],
        events: &[
            CREATED,
            COMPLETED,
            ("RUN_CREATED", "b"),
            ("RUN_COMPLETED", "b"),
            ("RUN_CREATED", "c"),
            ("RUN_COMPLETED", "c"),
            ("RUN_CREATED", "d"),
            ("RUN_COMPLETED", "d"),
            ("RUN_CREATED", "e"),
        ],
    },
    Case {
        promise: "the delete of a run with live steps cancels them",
        writes: &["INSERT INTO runs VALUES ('a', 'COMPLETED')", "DELETE FROM runs"],
        runs: &[("a", "deleted", 1)],
        steps: &[("a", 1, "archive", "cancelled"), ("a", 1, "report", "cancelled")],
        events: &[CREATED, COMPLETED, ("RUN_DELETED", "a"), CANCELLED],
    },
    Case {
        promise: "the delete of an active run is said",
        writes: &["INSERT INTO runs VALUES ('a', 'RUNNING')", "DELETE FROM runs"],
        runs: &[("a", "deleted", 0)],
        steps: &[],
        events: &[CREATED, ("RUN_DELETED", "a")],
    },
    Case {
        promise: "a run that comes back after its delete goes on with the next generation",
        writes: &[
            "INSERT INTO runs VALUES ('a', 'COMPLETED')",
            "DELETE FROM runs",
            "INSERT INTO runs VALUES ('a', 'FAILED')",
        ],
        runs: &[("a", "failed", 2)],
        steps: &[
            ("a", 1, "archive", "cancelled"),
            ("a", 1, "report", "cancelled"),
            ("a", 2, "archive", "ready"),
            ("a", 2, "report", "waiting"),
        ],
        events: &[
            CREATED,
            COMPLETED,
            ("RUN_DELETED", "a"),
            CANCELLED,
            CREATED,
            COMPLETED,
        ],
    },
    Case {
        promise: "a run that changes its id takes its phase along, and its live chain begins anew",
        writes: &[
            "INSERT INTO runs VALUES ('a', 'COMPLETED')",
            "UPDATE runs SET run_id = 'b'",
        ],
        runs: &[("a", "deleted", 1), ("b", "completed", 1)],
        steps: &[
            ("a", 1, "archive", "cancelled"),
            ("a", 1, "report", "cancelled"),
            ("b", 1, "archive", "ready"),
            ("b", 1, "report", "waiting"),
        ],
        events: &[CREATED, COMPLETED, ("RUN_RENAMED", "b"), CANCELLED],
    },
    Case {
        promise: "a run takes its chain along, also where another run has its old id by then",
        writes: &[
            "INSERT INTO runs VALUES ('a', 'COMPLETED')",
            "UPDATE runs SET run_id = 'b'; INSERT INTO runs VALUES ('a', 'RUNNING')",
        ],
        runs: &[("a", "active", 1), ("b", "completed", 1)],
        steps: &[
            ("a", 1, "archive", "cancelled"),
            ("a", 1, "report", "cancelled"),
            ("b", 1, "archive", "ready"),
            ("b", 1, "report", "waiting"),
        ],
        events: &[CREATED, COMPLETED, ("RUN_RENAMED", "b"), CANCELLED, CREATED],
    },
    Case {
        promise: "a run that is renamed and gets its id back before anybody looks keeps a chain",
        writes: &[
            "INSERT INTO runs VALUES ('a', 'COMPLETED')",
            "UPDATE runs SET run_id = 'b'; UPDATE runs SET run_id = 'a'",
        ],
        runs: &[("a", "completed", 2), ("b", "deleted", 1)],
        steps: &[
            ("a", 1, "archive", "cancelled"),
            ("a", 1, "report", "cancelled"),
            ("a", 2, "archive", "ready"),
            ("a", 2, "report", "waiting"),
            ("b", 1, "archive", "cancelled"),
            ("b", 1, "report", "cancelled"),
        ],
        events: &[
            CREATED,
            COMPLETED,
            ("RUN_RENAMED", "b"),
            CANCELLED,
            ("RUN_RENAMED", "a"),
            ("CHAIN_CANCELLED", "b"),
        ],
    },
    Case {
        promise: "what the sweep asks for does not judge writes that wait behind it",
        writes: &[
            "INSERT INTO runs VALUES ('a', 'RUNNING'), ('b', 'COMPLETED')",
            "INSERT INTO runchain_queue(action, run_id) VALUES ('look', 'a'), ('look', 'b');
             UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'a'; UPDATE runs SET status = 'FAILED' WHERE run_id = 'a';
             UPDATE runs SET run_id = 'c' WHERE run_id = 'b'",
        ],
        runs: &[("a", "failed", 2), ("b", "deleted", 1), ("c", "completed", 1)],
        steps: &[
            ("a", 1, "archive", "cancelled"),
            ("a", 1, "report", "cancelled"),
            ("a", 2, "archive", "ready"),
            ("a", 2, "report", "waiting"),
            ("b", 1, "archive", "cancelled"),
            ("b", 1, "report", "cancelled"),
            ("c", 1, "archive", "ready"),
            ("c", 1, "report", "waiting"),
        ],
        events: &[
            CREATED,
            ("RUN_CREATED", "b"),
            ("RUN_COMPLETED", "b"),
            COMPLETED,
            CANCELLED,
            COMPLETED,
            ("RUN_RENAMED", "c"),
            ("CHAIN_CANCELLED", "b"),
        ],
    },
    Case {
        promise: "a run that takes the id of one that was deleted gets its chain, too",
        writes: &[
            "INSERT INTO runs VALUES ('a', 'COMPLETED'), ('b', 'COMPLETED')",
            "UPDATE runchain_steps SET state = 'done' WHERE run_id = 'b'; DELETE FROM runs WHERE run_id = 'b'",
            "UPDATE runs SET run_id = 'b' WHERE run_id = 'a'",
        ],
        runs: &[("a", "deleted", 1), ("b", "completed", 2)],
        steps: &[
            ("a", 1, "archive", "cancelled"),
            ("a", 1, "report", "cancelled"),
            ("b", 1, "archive", "done"),
            ("b", 1, "report", "done"),
            ("b", 2, "archive", "ready"),
            ("b", 2, "report", "waiting"),
        ],
        events: &[
            CREATED,
            COMPLETED,
            ("RUN_CREATED", "b"),
            ("RUN_COMPLETED", "b"),
            ("RUN_DELETED", "b"),
            ("RUN_RENAMED", "b"),
            CANCELLED,
        ],
    },
    Case {
        promise: "an active run that replaces a finished one under its id ends that one's chain",
        writes: &[
            "INSERT INTO runs VALUES ('a', 'RUNNING'), ('b', 'COMPLETED')",
            "UPDATE OR REPLACE runs SET run_id = 'b' WHERE run_id = 'a'",
        ],
        runs: &[("a", "deleted", 0), ("b", "active", 2)],
        steps: &[("b", 1, "archive", "cancelled"), ("b", 1, "report", "cancelled")],
        events: &[
            CREATED,
            ("RUN_CREATED", "b"),
            ("RUN_COMPLETED", "b"),
            ("CHAIN_CANCELLED", "b"),
            ("RUN_RENAMED", "b"),
        ],
    },
    Case {
        promise: "id and status may change in one UPDATE",
        writes: &[
            "INSERT INTO runs VALUES ('a', 'RUNNING')",
            "UPDATE runs SET run_id = 'b', status = 'COMPLETED'",
        ],
        runs: &[("a", "deleted", 0), ("b", "completed", 1)],
        steps: &[("b", 1, "archive", "ready"), ("b", 1, "report", "waiting")],
        events: &[CREATED, ("RUN_RENAMED", "b"), ("RUN_COMPLETED", "b")],
    },
    Case {
        promise: "a NULL id is not followed and a BLOB id is refused, without harm to anybody",
        writes: &[
            "INSERT INTO runs VALUES (NULL, 'COMPLETED'), (x'00ff', 'COMPLETED'), ('a', 'RUNNING'); \
                   UPDATE runs SET status = 'FAILED' WHERE run_id IS NULL",
        ],
        runs: &[("a", "active", 0)],
        steps: &[],
        events: &[("REQUEST", ""), CREATED],
    },
    Case {
        promise: "a status that is no text, and a word in the vocabulary that is none, stop nobody's work",
        writes: &[
            "INSERT INTO runchain_vocabulary VALUES (x'ff', 'completed')",
            "INSERT INTO runs VALUES ('a', x'ff'), ('b', CAST(x'ff' AS TEXT)), ('c', 'COMPLETED')",
            "UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'a'",
        ],
        runs: &[("a", "completed", 1), ("b", "active", 0), ("c", "completed", 1)],
        steps: &[
            ("a", 1, "archive", "ready"),
            ("a", 1, "report", "waiting"),
            ("c", 1, "archive", "ready"),
            ("c", 1, "report", "waiting"),
        ],
        events: &[
            CREATED,
            ("STATUS_UNKNOWN", "a"),
            ("RUN_CREATED", "b"),
            ("STATUS_UNKNOWN", "b"),
            ("RUN_CREATED", "c"),
            ("RUN_COMPLETED", "c"),
            COMPLETED,
        ],
    },
    Case {
        promise: "a run id may be anything",
        writes: &[
            "INSERT INTO runs VALUES ('', 'COMPLETED'), ('--help', 'RUNNING'), ('../x', 'RUNNING'), ('a' || char(10) || char(0) || '🦀', 'RUNNING')",
        ],
        runs: &[
            ("", "completed", 1),
            ("--help", "active", 0),
            ("../x", "active", 0),
            ("a\n\0🦀", "active", 0),
        ],
        steps: &[("", 1, "archive", "ready"), ("", 1, "report", "waiting")],
        events: &[
            ("RUN_CREATED", ""),
            ("RUN_COMPLETED", ""),
            ("RUN_CREATED", "--help"),
            ("RUN_CREATED", "../x"),
            ("RUN_CREATED", "a\n\0🦀"),
        ],
    },
    Case {
        promise: "enqueue_chain by plain INSERT of a run without a chain begins one",
        writes: &[
            "DROP TRIGGER runchain_capture_insert; INSERT INTO runs VALUES ('a', 'COMPLETED')",
            "INSERT INTO runchain_queue(action, run_id, actor) VALUES ('enqueue_chain', 'a', 'dba')",
        ],
        runs: &[("a", "completed", 1)],
        steps: &[("a", 1, "archive", "ready"), ("a", 1, "report", "waiting")],
        events: &[COMPLETED, ("REQUEST", "a")],
    },
    Case {
        promise: "enqueue_chain of an active, an unknown or a NULL run, or of a chain under way, changes nothing but is answered",
        writes: &[
            "INSERT INTO runs VALUES ('a', 'RUNNING'), ('b', 'COMPLETED')",
            "INSERT INTO runchain_queue(action, run_id) VALUES ('enqueue_chain', 'a'), ('enqueue_chain', 'no-such-run'), \
             ('enqueue_chain', NULL), ('enqueue_chain', 'b'), ('make_coffee', 'a'), (NULL, NULL), ('retry', NULL)",
        ],
        runs: &[("a", "active", 0), ("b", "completed", 1)],
        steps: &[("b", 1, "archive", "ready"), ("b", 1, "report", "waiting")],
        events: &[
            CREATED,
            ("RUN_CREATED", "b"),
            ("RUN_COMPLETED", "b"),
            ("REQUEST", "a"),
            ("REQUEST", "no-such-run"),
            ("REQUEST", ""),
            ("REQUEST", "b"),
            ("REQUEST", "a"),
            ("REQUEST", ""),
            ("REQUEST", ""),
        ],
    },
    Case {
        promise: "enqueue_chain of a chain that is through does it again in the same generation",
        writes: &[
            "INSERT INTO runs VALUES ('a', 'COMPLETED')",
            "UPDATE runchain_steps SET state = 'done'; INSERT INTO runchain_queue(action, run_id) VALUES ('enqueue_chain', 'a')",
        ],
        runs: &[("a", "completed", 1)],
        steps: &[("a", 1, "archive", "ready"), ("a", 1, "report", "waiting")],
        events: &[CREATED, COMPLETED, ("REQUEST", "a")],
    },
    Case {
        promise: "enqueue_chain of a run that was renamed after its chain was through begins one under the new id",
        writes: &[
            "INSERT INTO runs VALUES ('a', 'COMPLETED')",
            "UPDATE runchain_steps SET state = 'done'; UPDATE runs SET run_id = 'b'",
            "INSERT INTO runchain_queue(action, run_id) VALUES ('enqueue_chain', 'b')",
        ],
        runs: &[("a", "deleted", 1), ("b", "completed", 1)],
        steps: &[
            ("a", 1, "archive", "done"),
            ("a", 1, "report", "done"),
            ("b", 1, "archive", "ready"),
            ("b", 1, "report", "waiting"),
        ],
        events: &[CREATED, COMPLETED, ("RUN_RENAMED", "b"), ("REQUEST", "b")],
    },
    Case {
        promise: "retry brings a dead step back, cancel ends one and what waits for it; both by plain INSERT",
        writes: &[
            "INSERT INTO runs VALUES ('a', 'COMPLETED'), ('b', 'COMPLETED')",
            "UPDATE runchain_steps SET state = 'dead' WHERE step = 'archive'; \
             INSERT INTO runchain_queue(action, run_id, reason) VALUES ('retry', 'a', 'disk is back'); \
             INSERT INTO runchain_queue(action, step_id) SELECT 'cancel', id FROM runchain_steps WHERE run_id = 'b' AND step = 'archive'",
        ],
        runs: &[("a", "completed", 1), ("b", "completed", 1)],
        steps: &[
            ("a", 1, "archive", "ready"),
            ("a", 1, "report", "waiting"),
            ("b", 1, "archive", "cancelled"),
            ("b", 1, "report", "cancelled"),
        ],
        events: &[
            CREATED,
            COMPLETED,
            ("RUN_CREATED", "b"),
            ("RUN_COMPLETED", "b"),
            ("STEP_RETRIED", "a"),
            ("REQUEST", "a"),
            ("REQUEST", "b"),
        ],
    },
    Case {
        promise: "a user's trigger that ends a run in the very write that begins it leaves one live chain",
        writes: &[
            "CREATE TRIGGER finish AFTER INSERT ON runs BEGIN UPDATE runs SET status = 'COMPLETED' WHERE run_id = NEW.run_id; END; \
             INSERT INTO runs VALUES ('a', 'RUNNING')",
        ],
        runs: &[("a", "completed", 2)],
        steps: &[
            ("a", 1, "archive", "cancelled"),
            ("a", 1, "report", "cancelled"),
            ("a", 2, "archive", "ready"),
            ("a", 2, "report", "waiting"),
        ],
        events: &[CREATED, COMPLETED, ("RUN_RESTARTED", "a"), CANCELLED, COMPLETED],
    },
    Case {
        promise: "a user's trigger that starts a run again in the very write that ends it leaves an active run",
        writes: &[
            "INSERT INTO runs VALUES ('a', 'RUNNING'); \
             CREATE TRIGGER again AFTER UPDATE OF status ON runs WHEN NEW.status = 'FAILED' \
             BEGIN UPDATE runs SET status = 'RETRYING' WHERE run_id = NEW.run_id; END",
            "UPDATE runs SET status = 'FAILED'",
        ],
        runs: &[("a", "active", 1)],
        steps: &[("a", 1, "archive", "cancelled"), ("a", 1, "report", "cancelled")],
        events: &[CREATED, COMPLETED, ("RUN_RESTARTED", "a"), CANCELLED],
    },
    Case {
        promise: "no step of a run that was started again, ended again or deleted is done again",
        writes: &[
            "INSERT INTO runs VALUES ('a', 'COMPLETED'), ('b', 'COMPLETED')",
            "UPDATE runchain_steps SET state = 'done' WHERE step = 'archive'; \
             UPDATE runs SET status = 'RUNNING' WHERE run_id = 'a'; DELETE FROM runs WHERE run_id = 'b'",
            "INSERT INTO runchain_queue(action, step_id) SELECT 'redo', id FROM runchain_steps ORDER BY id; \
             INSERT INTO runchain_queue(action, run_id) VALUES ('redo', 'a')",
        ],
        runs: &[("a", "active", 1), ("b", "deleted", 1)],
        steps: &[
            ("a", 1, "archive", "done"),
            ("a", 1, "report", "cancelled"),
            ("b", 1, "archive", "done"),
            ("b", 1, "report", "cancelled"),
        ],
        events: &[
            CREATED,
            COMPLETED,
            ("RUN_CREATED", "b"),
            ("RUN_COMPLETED", "b"),
            ("RUN_RESTARTED", "a"),
            CANCELLED,
            ("RUN_DELETED", "b"),
            ("CHAIN_CANCELLED", "b"),
            ("REQUEST", ""),
            ("REQUEST", ""),
            ("REQUEST", ""),
            ("REQUEST", ""),
            ("REQUEST", "a"),
        ],
    },
    Case {
        promise: "a user's trigger that deletes the row again leaves a deleted run, not an error",
        writes: &[
            "CREATE TRIGGER strict AFTER INSERT ON runs BEGIN DELETE FROM runs WHERE run_id = NEW.run_id; END; \
                   INSERT INTO runs VALUES ('a', 'RUNNING')",
        ],
        runs: &[("a", "deleted", 0)],
        steps: &[],
        events: &[CREATED, ("RUN_DELETED", "a")],
    },
];

fn installed() -> (Connection, Mapping) {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch("CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT)")
        .unwrap();
    let installed = install(&conn, &InstallOptions::default(), Millis(1_000)).unwrap();
    conn.execute("DELETE FROM runchain_events", []).unwrap();
    (conn, installed.mapping)
}

fn expand_all(conn: &Connection, mapping: &Mapping, limit: usize) {
    let chain = Chain::builtin(CHAIN_ATTEMPTS);
    loop {
        let transaction = conn.unchecked_transaction().unwrap();
        let expanded = queue::expand(&transaction, mapping, &chain, limit, Millis(2_000)).unwrap();
        transaction.commit().unwrap();
        if !expanded.more {
            break;
        }
    }
    let left: i64 = conn
        .query_row("SELECT count(*) FROM runchain_queue", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0, "expanded rows leave the queue");
}

fn rows<T>(conn: &Connection, sql: &str, read: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
    let mut statement = conn.prepare(sql).unwrap();
    statement
        .query_map([], |row| read(row))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

#[test]
fn every_way_in_which_a_status_arrives_leads_to_exactly_its_chain() {
    // A limit of one puts each queue row into an expansion of its own: it must make no difference.
    for limit in [1_000, 1] {
        for case in CASES {
            let (conn, mapping) = installed();
            for write in case.writes {
                conn.execute_batch(write).unwrap();
                expand_all(&conn, &mapping, limit);
            }
            let text = |row: &rusqlite::Row<'_>, index: usize| -> rusqlite::Result<String> {
                Ok(row.get::<_, Option<String>>(index)?.unwrap_or_default())
            };
            let runs = rows(
                &conn,
                "SELECT run_id, phase, generation FROM runchain_runs ORDER BY 1",
                |row| Ok((text(row, 0)?, text(row, 1)?, row.get(2)?)),
            );
            let steps = rows(
                &conn,
                "SELECT run_id, generation, step, state FROM runchain_steps ORDER BY 1, 2, 3",
                |row| Ok((text(row, 0)?, row.get(1)?, text(row, 2)?, text(row, 3)?)),
            );
            let events = rows(
                &conn,
                "SELECT type, run_id FROM runchain_events ORDER BY id",
                |row| Ok((text(row, 0)?, text(row, 1)?)),
            );
            let owned = |pair: &(&str, &str)| (pair.0.to_owned(), pair.1.to_owned());
            let wanted_runs: Vec<_> = case
                .runs
                .iter()
                .map(|(run, phase, n)| ((*run).to_owned(), (*phase).to_owned(), *n))
                .collect();
            let wanted_steps: Vec<_> = case
                .steps
                .iter()
                .map(|(run, generation, step, state)| {
                    (
                        (*run).to_owned(),
                        *generation,
                        (*step).to_owned(),
                        (*state).to_owned(),
                    )
                })
                .collect();
            assert_eq!(runs, wanted_runs, "runs: {} (limit {limit})", case.promise);
            assert_eq!(steps, wanted_steps, "steps: {} (limit {limit})", case.promise);
            assert_eq!(
                events,
                case.events.iter().map(owned).collect::<Vec<_>>(),
                "events: {} (limit {limit})",
                case.promise
            );
        }
    }
}

#[test]
fn an_expansion_that_is_rolled_back_leaves_the_queue_as_it_was() {
    let (conn, mapping) = installed();
    conn.execute_batch("INSERT INTO runs VALUES ('a', 'COMPLETED')")
        .unwrap();
    let transaction = conn.unchecked_transaction().unwrap();
    queue::expand(&transaction, &mapping, &Chain::builtin(1), 10, Millis(2_000)).unwrap();
    transaction.rollback().unwrap();
    let counts: Vec<i64> = rows(
        &conn,
        "SELECT (SELECT count(*) FROM runchain_queue), (SELECT count(*) FROM runchain_steps), (SELECT count(*) FROM runchain_events)",
        |row| Ok(vec![row.get(0)?, row.get(1)?, row.get(2)?]),
    )
    .remove(0);
    assert_eq!(counts, [1, 0, 0]);
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

fn phases(conn: &Connection) -> Vec<(String, String)> {
    rows(
        conn,
        "SELECT run_id, phase FROM runchain_runs ORDER BY 1",
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
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
