//! Every way in which a status can arrive, as statements in and runs, steps and events out.
//!
//! The writer's side of the same table runs on old SQLite versions in the top-level suite; here the
//! judgement is what is tested. Each case begins on a fresh database with runchain installed.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test states what must hold; a panic is how it fails"
)]

mod support;

use runchain_core::chain::Chain;
use runchain_core::{Millis, queue};
use rusqlite::Connection;
use support::{expand_all, installed, rows};

struct Case {
    promise: &'static str,
    /// Each entry is expanded before the next one runs.
    writes: &'static [&'static str],
    /// run_id, phase, generation.
    runs: &'static [(&'static str, &'static str, i64)],
    /// By run and generation: every chain is archive, then report.
    chains: &'static [Steps],
    /// Lifecycle events in order: TYPE, run_id.
    events: &'static [(&'static str, &'static str)],
}

/// The states of the two steps of one chain.
struct Steps {
    run_id: &'static str,
    generation: i64,
    archive: &'static str,
    report: &'static str,
}

const fn fresh(run_id: &'static str, generation: i64) -> Steps {
    steps(run_id, generation, "ready", "waiting")
}

const fn cancelled(run_id: &'static str, generation: i64) -> Steps {
    steps(run_id, generation, "cancelled", "cancelled")
}

const fn done(run_id: &'static str, generation: i64) -> Steps {
    steps(run_id, generation, "done", "done")
}

const fn steps(run_id: &'static str, generation: i64, archive: &'static str, report: &'static str) -> Steps {
    Steps {
        run_id,
        generation,
        archive,
        report,
    }
}

const CREATED: (&str, &str) = ("RUN_CREATED", "a");
const COMPLETED: (&str, &str) = ("RUN_COMPLETED", "a");
const CANCELLED: (&str, &str) = ("CHAIN_CANCELLED", "a");

const CASES: &[Case] = &[
    Case {
        promise: "a run that begins has no steps yet",
        writes: &["INSERT INTO runs VALUES ('a', 'RUNNING')"],
        runs: &[("a", "active", 0)],
        chains: &[],
        events: &[CREATED],
    },
    Case {
        promise: "a finished row that is inserted is created and ended at once",
        writes: &["INSERT INTO runs VALUES ('a', 'COMPLETED')"],
        runs: &[("a", "completed", 1)],
        chains: &[fresh("a", 1)],
        events: &[CREATED, COMPLETED],
    },
    Case {
        promise: "an UPDATE to a terminal word ends the run, whatever its case",
        writes: &[
            "INSERT INTO runs VALUES ('a', 'running')",
            "UPDATE runs SET status = 'completed'",
        ],
        runs: &[("a", "completed", 1)],
        chains: &[fresh("a", 1)],
        events: &[CREATED, COMPLETED],
    },
    Case {
        promise: "all of it in one transaction and one expansion is the same",
        writes: &[
            "BEGIN; INSERT INTO runs VALUES ('a', 'PENDING'); UPDATE runs SET status = 'RUNNING'; \
                   UPDATE runs SET status = 'FAILED'; COMMIT",
        ],
        runs: &[("a", "failed", 1)],
        chains: &[fresh("a", 1)],
        events: &[CREATED, COMPLETED],
    },
    Case {
        promise: "what is rolled back leads to nothing",
        writes: &["BEGIN; INSERT INTO runs VALUES ('a', 'COMPLETED'); ROLLBACK"],
        runs: &[],
        chains: &[],
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
        chains: &[fresh("a", 1)],
        events: &[CREATED, COMPLETED],
    },
    Case {
        promise: "OR REPLACE that fires delete triggers is judged by looking",
        writes: &[
            "PRAGMA recursive_triggers = ON; INSERT INTO runs VALUES ('a', 'RUNNING')",
            "INSERT OR REPLACE INTO runs VALUES ('a', 'COMPLETED')",
        ],
        runs: &[("a", "completed", 1)],
        chains: &[fresh("a", 1)],
        events: &[CREATED, COMPLETED],
    },
    Case {
        promise: "an UPSERT ends the run",
        writes: &[
            "INSERT INTO runs VALUES ('a', 'RUNNING')",
            "INSERT INTO runs VALUES ('a', 'DONE') ON CONFLICT(run_id) DO UPDATE SET status = excluded.status",
        ],
        runs: &[("a", "completed", 1)],
        chains: &[fresh("a", 1)],
        events: &[CREATED, COMPLETED],
    },
    Case {
        promise: "an INSERT OR IGNORE that is ignored is nothing",
        writes: &[
            "INSERT INTO runs VALUES ('a', 'RUNNING')",
            "INSERT OR IGNORE INTO runs VALUES ('a', 'COMPLETED')",
        ],
        runs: &[("a", "active", 0)],
        chains: &[],
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
        chains: &[fresh("a", 1), fresh("b", 1), fresh("c", 1)],
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
        chains: &[cancelled("a", 1), fresh("a", 2)],
        events: &[CREATED, COMPLETED, ("RUN_RESTARTED", "a"), CANCELLED, COMPLETED],
    },
    Case {
        promise: "flapping within one expansion gives each entry its generation",
        writes: &[
            "INSERT INTO runs VALUES ('a', 'COMPLETED'); UPDATE runs SET status = 'RUNNING'; \
                   UPDATE runs SET status = 'FAILED'",
        ],
        runs: &[("a", "failed", 2)],
        chains: &[cancelled("a", 1), fresh("a", 2)],
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
        chains: &[cancelled("a", 1), fresh("a", 2)],
        events: &[CREATED, COMPLETED, CANCELLED, COMPLETED],
    },
    Case {
        promise: "an unknown word never moves a run out of a terminal phase",
        writes: &[
            "INSERT INTO runs VALUES ('a', 'COMPLETED')",
            "UPDATE runs SET status = 'Zwischenlager'",
        ],
        runs: &[("a", "completed", 1)],
        chains: &[fresh("a", 1)],
        events: &[CREATED, COMPLETED, ("STATUS_UNKNOWN", "a")],
    },
    Case {
        promise: "a run that begins with an unknown word, or none, is active",
        writes: &["INSERT INTO runs VALUES ('a', 'Anlauf'), ('b', NULL)"],
        runs: &[("a", "active", 0), ("b", "active", 0)],
        chains: &[],
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
        chains: &[fresh("a", 1)],
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
        chains: &[fresh("a", 1), fresh("b", 1), fresh("c", 1), fresh("d", 1)],
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
        chains: &[cancelled("a", 1)],
        events: &[CREATED, COMPLETED, ("RUN_DELETED", "a"), CANCELLED],
    },
    Case {
        promise: "the delete of an active run is said",
        writes: &["INSERT INTO runs VALUES ('a', 'RUNNING')", "DELETE FROM runs"],
        runs: &[("a", "deleted", 0)],
        chains: &[],
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
        chains: &[cancelled("a", 1), fresh("a", 2)],
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
        chains: &[cancelled("a", 1), fresh("b", 1)],
        events: &[CREATED, COMPLETED, ("RUN_RENAMED", "b"), CANCELLED],
    },
    Case {
        promise: "a run takes its chain along, also where another run has its old id by then",
        writes: &[
            "INSERT INTO runs VALUES ('a', 'COMPLETED')",
            "UPDATE runs SET run_id = 'b'; INSERT INTO runs VALUES ('a', 'RUNNING')",
        ],
        runs: &[("a", "active", 1), ("b", "completed", 1)],
        chains: &[cancelled("a", 1), fresh("b", 1)],
        events: &[CREATED, COMPLETED, ("RUN_RENAMED", "b"), CANCELLED, CREATED],
    },
    Case {
        promise: "a run that is renamed and gets its id back before anybody looks keeps a chain",
        writes: &[
            "INSERT INTO runs VALUES ('a', 'COMPLETED')",
            "UPDATE runs SET run_id = 'b'; UPDATE runs SET run_id = 'a'",
        ],
        runs: &[("a", "completed", 2), ("b", "deleted", 1)],
        chains: &[cancelled("a", 1), fresh("a", 2), cancelled("b", 1)],
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
        chains: &[cancelled("a", 1), fresh("a", 2), cancelled("b", 1), fresh("c", 1)],
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
        chains: &[cancelled("a", 1), done("b", 1), fresh("b", 2)],
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
        chains: &[cancelled("b", 1)],
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
        chains: &[fresh("b", 1)],
        events: &[CREATED, ("RUN_RENAMED", "b"), ("RUN_COMPLETED", "b")],
    },
    Case {
        promise: "a NULL id is not followed and a BLOB id is refused, without harm to anybody",
        writes: &[
            "INSERT INTO runs VALUES (NULL, 'COMPLETED'), (x'00ff', 'COMPLETED'), ('a', 'RUNNING'); \
                   UPDATE runs SET status = 'FAILED' WHERE run_id IS NULL",
        ],
        runs: &[("a", "active", 0)],
        chains: &[],
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
        chains: &[fresh("a", 1), fresh("c", 1)],
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
        chains: &[fresh("", 1)],
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
        chains: &[fresh("a", 1)],
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
        chains: &[fresh("b", 1)],
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
        chains: &[fresh("a", 1)],
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
        chains: &[done("a", 1), fresh("b", 1)],
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
        chains: &[fresh("a", 1), cancelled("b", 1)],
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
        chains: &[cancelled("a", 1), fresh("a", 2)],
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
        chains: &[cancelled("a", 1)],
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
        chains: &[steps("a", 1, "done", "cancelled"), steps("b", 1, "done", "cancelled")],
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
        chains: &[],
        events: &[CREATED, ("RUN_DELETED", "a")],
    },
];

/// What the database holds after the writes of a case, a row a line.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    runs: Vec<String>,
    steps: Vec<String>,
    events: Vec<String>,
}

impl Outcome {
    fn wanted(case: &Case) -> Self {
        let runs = case.runs.iter();
        let events = case.events.iter();
        let steps = case.chains.iter().flat_map(|chain| {
            [("archive", chain.archive), ("report", chain.report)]
                .map(|(step, state)| step_line(chain.run_id, chain.generation, step, state))
        });
        Self {
            runs: runs
                .map(|&(run_id, phase, n)| run_line(run_id, phase, n))
                .collect(),
            steps: steps.collect(),
            events: events.map(|&(kind, run_id)| event_line(kind, run_id)).collect(),
        }
    }

    fn found(conn: &Connection) -> Self {
        let text = |row: &rusqlite::Row<'_>, index: usize| -> rusqlite::Result<String> {
            Ok(row.get::<_, Option<String>>(index)?.unwrap_or_default())
        };
        Self {
            runs: rows(
                conn,
                "SELECT run_id, phase, generation FROM runchain_runs ORDER BY 1",
                |row| Ok(run_line(&text(row, 0)?, &text(row, 1)?, row.get(2)?)),
            ),
            steps: rows(
                conn,
                "SELECT run_id, generation, step, state FROM runchain_steps ORDER BY 1, 2, 3",
                |row| {
                    Ok(step_line(
                        &text(row, 0)?,
                        row.get(1)?,
                        &text(row, 2)?,
                        &text(row, 3)?,
                    ))
                },
            ),
            events: rows(
                conn,
                "SELECT type, run_id FROM runchain_events ORDER BY id",
                |row| Ok(event_line(&text(row, 0)?, &text(row, 1)?)),
            ),
        }
    }
}

fn run_line(run_id: &str, phase: &str, generation: i64) -> String {
    format!("{run_id:?} {phase} {generation}")
}

fn step_line(run_id: &str, generation: i64, step: &str, state: &str) -> String {
    format!("{run_id:?}/{generation} {step} {state}")
}

fn event_line(kind: &str, run_id: &str) -> String {
    format!("{kind} {run_id:?}")
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
            let promise = case.promise;
            assert_eq!(
                Outcome::found(&conn),
                Outcome::wanted(case),
                "{promise} (limit {limit})"
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
