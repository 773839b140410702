//! The executor leases and starts in one write; the model of the queue is tested on the two verbs.
//! So what the one write leaves must be what the two leave.
#![allow(clippy::unwrap_used, reason = "a test: a panic is how it fails")]

use runchain_core::chain::{Chain, StepSpec};
use runchain_core::install::{InstallOptions, install};
use runchain_core::steps::{self, Capacity, Claim, Wanted};
use runchain_core::{ExecutorId, Millis, RunId};
use rusqlite::Connection;
use std::collections::BTreeMap;

const NOW: Millis = Millis(1_000);

/// Two kinds of two priorities, one delayed, one a suspect, one tried before.
fn queue() -> Connection {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch("CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT)")
        .unwrap();
    install(&conn, &InstallOptions::default(), NOW).unwrap();
    let urgent = StepSpec {
        priority: 1,
        ..StepSpec::new("urgent", &[], 3)
    };
    let later = StepSpec {
        delay_ms: 5_000,
        ..StepSpec::new("later", &[], 3)
    };
    let chain = Chain(vec![StepSpec::new("work", &[], 3), urgent, later]);
    for run in ["a", "b", "c"] {
        chain.begin(&conn, &RunId(run.to_owned()), 1, NOW).unwrap();
    }
    conn.execute_batch(
        "UPDATE runchain_steps SET attempts = 2, token = 7 WHERE run_id = 'b' AND step = 'work';
         UPDATE runchain_steps SET lost = 1 WHERE run_id = 'c' AND step = 'work'",
    )
    .unwrap();
    conn
}

fn rows(conn: &Connection) -> Vec<String> {
    let sql =
        "SELECT id || ' ' || state || ' ' || attempts || ' ' || token || ' ' || coalesce(executor_id, '-')
                 || ' ' || coalesce(started_ms, '-') || ' ' || ready_at_ms FROM runchain_steps ORDER BY id";
    let mut statement = conn.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}

#[test]
fn one_write_leaves_what_lease_and_then_start_leave() {
    let executor = ExecutorId("e".to_owned());
    let limits = BTreeMap::from([("work".to_owned(), 1)]);
    for (free, running) in [(0, 0), (1, 0), (2, 1), (3, 1), (9, 1), (9, 0)] {
        let capacity = Capacity {
            free,
            running,
            concurrency: &limits,
        };
        let (one, two) = (queue(), queue());
        let at_once: Vec<Claim> =
            steps::lease_and_start(&one, &executor, Wanted::Due, capacity, NOW).unwrap();
        let mut in_turn = steps::lease(&two, &executor, Wanted::Due, capacity, NOW).unwrap();
        for claim in &mut in_turn {
            assert!(steps::start(&two, claim, &executor, NOW).unwrap());
        }
        assert_eq!(at_once, in_turn, "{free} places, {running} running");
        assert_eq!(rows(&one), rows(&two), "{free} places, {running} running");
        assert_eq!(at_once.is_empty(), free == 0);
    }
}
