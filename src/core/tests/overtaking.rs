//! What is captured behind a rush needn't wait for it, and a slice may end early: nothing but the time
//! differs.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a test states what must hold; a panic is how it fails"
)]

use runchain_core::chain::Chain;
use runchain_core::install::{InstallOptions, install};
use runchain_core::queue::{self, Rush};
use runchain_core::storm::StormLimit;
use runchain_core::{Mapping, Millis};
use rusqlite::Connection;
use std::cell::RefCell;

const SLICE: usize = 10;
const NOW: Millis = Millis(100_000);
const STORM: StormLimit = StormLimit {
    max_transitions: 20,
    window_ms: 60_000,
};

/// Rows that are read of a rush at once.
const READ_ROWS: usize = 7;

struct Database {
    conn: Connection,
    mapping: Mapping,
    rush: RefCell<Rush>,
}

impl Database {
    /// With 50 active runs, `r00` to `r49`.
    fn new() -> Self {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT)")
            .unwrap();
        let mapping = install(&conn, &InstallOptions::default(), Millis(1_000))
            .unwrap()
            .mapping;
        let database = Self {
            conn,
            mapping,
            rush: RefCell::default(),
        };
        database.write(
            0,
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 49)
             INSERT INTO runs SELECT printf('r%02d', i), 'RUNNING' FROM n",
        );
        while database.expand(StormLimit::OFF) {}
        database
    }

    /// Writes at a time of its own.
    fn write(&self, at_ms: i64, sql: &str) {
        let newest: i64 = self
            .conn
            .query_row("SELECT coalesce(max(id), 0) FROM runchain_queue", [], |row| {
                row.get(0)
            })
            .unwrap();
        self.conn.execute_batch(sql).unwrap();
        self.conn
            .execute(
                "UPDATE runchain_queue SET at_ms = ?1 WHERE id > ?2",
                (at_ms, newest),
            )
            .unwrap();
    }

    fn expand(&self, storm: StormLimit) -> bool {
        queue::expand_within(&self.conn, &self.mapping, &Chain::builtin(3), SLICE, storm, NOW)
            .unwrap()
            .more
    }

    /// Takes one row, as if there were no time for another, and the last slice whole.
    fn expand_one(&self, storm: StormLimit) -> bool {
        let chain = Chain::builtin(3);
        let (conn, mapping) = (&self.conn, &self.mapping);
        let expanded = queue::expand_while(conn, mapping, &chain, SLICE, storm, &|| false, NOW).unwrap();
        assert!(expanded.rows == 1 || !expanded.more);
        expanded.more
    }

    fn overtake(&self, storm: StormLimit) -> usize {
        while self.read_on() {}
        self.overtake_what_was_read(storm)
    }

    fn read_on(&self) -> bool {
        let mut rush = self.rush.borrow_mut();
        rush.read_on(&self.conn, SLICE, READ_ROWS).unwrap()
    }

    fn overtake_what_was_read(&self, storm: StormLimit) -> usize {
        let (chain, mut rush) = (Chain::builtin(3), self.rush.borrow_mut());
        queue::overtake(
            &self.conn,
            &self.mapping,
            &chain,
            &mut rush,
            SLICE,
            storm,
            &|| true,
            NOW,
        )
        .unwrap()
    }

    fn lines(&self, sql: &str) -> Vec<String> {
        let mut statement = self.conn.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn queued(&self) -> Vec<String> {
        self.lines(
            "SELECT coalesce(run_id, action) FROM runchain_queue WHERE run_id IS NULL OR run_id NOT LIKE 'r%' ORDER BY id",
        )
    }

    /// Everything that is known of each run, in its order.
    fn state(&self) -> Vec<String> {
        self.lines(
            "SELECT run_id || ' ' || phase || ' ' || coalesce(status, '') || ' ' || generation FROM runchain_runs
             UNION ALL SELECT run_id || ' step ' || generation || ' ' || step || ' ' || state FROM runchain_steps
             UNION ALL SELECT run_id || ' events ' || group_concat(type) FROM
               (SELECT run_id, type FROM runchain_events WHERE run_id IS NOT NULL ORDER BY run_id, id) GROUP BY run_id
             UNION ALL SELECT 'held ' || run_id FROM runchain_held
             ORDER BY 1",
        )
    }
}

#[test]
fn rows_of_other_runs_needn_t_wait_behind_a_rush() {
    let database = Database::new();
    database.write(10_000, "UPDATE runs SET status = 'EXPIRED'");
    // Within the gap: a part of the rush, by what anybody can tell.
    database.write(10_040, "INSERT INTO runs VALUES ('at once', 'COMPLETED')");
    database.write(10_200, "INSERT INTO runs VALUES ('other', 'COMPLETED')");
    database.write(10_300, "UPDATE runs SET run_id = 'was r37' WHERE run_id = 'r37'");
    database.write(10_400, "INSERT INTO runs VALUES ('one', 'RUNNING')");
    database.write(10_500, "INSERT INTO runchain_queue(action) VALUES ('pause')");
    database.write(
        10_600,
        "UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'was r37'",
    );
    assert!(database.expand(STORM));
    assert_eq!(database.overtake(STORM), 2);
    assert_eq!(
        database.lines("SELECT run_id || ' ' || step || ' ' || state FROM runchain_steps ORDER BY id"),
        ["other archive ready", "other report waiting"]
    );
    assert_eq!(database.queued(), ["at once", "was r37", "pause", "was r37"]);
    assert_eq!(database.overtake(STORM), 0);
    while database.expand(STORM) {}
    assert_eq!(
        database.lines("SELECT CAST(count(*) AS TEXT) FROM runchain_held"),
        ["50"],
        "the 50 of the rush and one within its gap, but for the one that was written again"
    );
}

#[test]
fn without_a_rush_in_front_the_queue_is_taken_in_order() {
    let database = Database::new();
    for number in 0..15 {
        let sql = format!("UPDATE runs SET status = 'EXPIRED' WHERE run_id = 'r{number:02}'");
        database.write(10_000 + number * 100, &sql);
    }
    database.write(20_000, "INSERT INTO runs VALUES ('other', 'COMPLETED')");
    assert_eq!(database.overtake(STORM), 0);
}

#[test]
fn what_has_no_end_yet_is_not_overtaken_in_its_middle() {
    let database = Database::new();
    database.write(10_000, "UPDATE runs SET status = 'EXPIRED'");
    database.write(10_100, "UPDATE runs SET status = 'FAILED'");
    assert_eq!(database.overtake(STORM), 0, "the second is as much of a rush");
    database.write(10_200, "INSERT INTO runs VALUES ('other', 'COMPLETED')");
    assert_eq!(database.overtake(STORM), 1);
}

#[test]
fn what_was_read_of_a_rush_counts_only_while_its_last_row_stands() {
    let database = Database::new();
    database.write(10_000, "UPDATE runs SET status = 'EXPIRED'");
    database.write(10_200, "INSERT INTO runs VALUES ('other', 'RUNNING')");
    while database.read_on() {}
    while database.expand(STORM) {}
    // Ids begin anew: the rows of the next rush stand where those of the last one stood.
    database.write(90_000, "UPDATE runs SET status = 'FAILED' WHERE run_id < 'r40'");
    database.write(90_200, "UPDATE runs SET status = 'FAILED' WHERE run_id = 'r05'");
    database.write(90_400, "INSERT INTO runs VALUES ('one', 'RUNNING')");
    assert_eq!(database.overtake_what_was_read(STORM), 0);
    assert_eq!(
        database.overtake(STORM),
        1,
        "'one', and not 'r05' before its row in the rush"
    );
}

#[test]
fn a_run_may_overtake_what_is_left_of_a_rush_once_its_own_row_was_taken() {
    let database = Database::new();
    database.write(10_000, "UPDATE runs SET status = 'EXPIRED'");
    database.write(10_200, "UPDATE runs SET status = 'RUNNING' WHERE run_id = 'r03'");
    database.write(10_400, "UPDATE runs SET status = 'RUNNING' WHERE run_id = 'r33'");
    assert_eq!(database.overtake(STORM), 0);
    assert!(database.expand(STORM), "r00 to r09 are taken");
    assert_eq!(database.overtake(STORM), 1);
    assert_eq!(
        database.lines(
            "SELECT run_id || ' ' || phase FROM runchain_runs WHERE run_id IN ('r03', 'r33') ORDER BY 1"
        ),
        ["r03 active", "r33 active"]
    );
    assert_eq!(
        database.lines("SELECT run_id FROM runchain_queue WHERE new_status = 'RUNNING'"),
        ["r33"]
    );
}

#[test]
fn a_storm_that_is_taken_row_by_row_is_held_whole() {
    let database = Database::new();
    database.write(10_000, "UPDATE runs SET status = 'EXPIRED'");
    while database.expand_one(STORM) {}
    assert_eq!(
        database.lines("SELECT CAST(count(*) AS TEXT) FROM runchain_held"),
        ["50"]
    );
}

#[test]
fn what_passes_row_by_row_is_counted_once() {
    let database = Database::new();
    database.write(
        10_000,
        "UPDATE runs SET status = 'COMPLETED' WHERE run_id < 'r15'",
    );
    while database.expand_one(STORM) {}
    database.write(
        10_500,
        "UPDATE runs SET status = 'COMPLETED' WHERE run_id BETWEEN 'r15' AND 'r19'",
    );
    while database.expand(STORM) {}
    let held = "SELECT CAST(count(*) AS TEXT) FROM runchain_held";
    assert_eq!(database.lines(held), ["0"], "20 may pass");
    database.write(
        11_000,
        "UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'r20'",
    );
    while database.expand(STORM) {}
    assert_eq!(database.lines(held), ["1"], "and no more");
}

/// One writer's writes, as they might be: rushes, single writes, re-runs, renames, deletes.
fn write_at_random(random: &mut fastrand::Rng, databases: [&Database; 2]) {
    const WORDS: [&str; 4] = ["RUNNING", "COMPLETED", "FAILED", "odd"];
    let mut at_ms = 10_000;
    for number in 0..random.usize(3..25) {
        at_ms += [0, 20, 100, 3_000][random.usize(..4)];
        let word = WORDS[random.usize(..4)];
        let run = format!("r{:02}", random.u32(..50));
        let sql = match random.u32(..8) {
            0 | 1 => format!("UPDATE runs SET status = '{word}'"),
            2 => format!("INSERT INTO runs VALUES ('new {number}', '{word}')"),
            3 => format!("DELETE FROM runs WHERE run_id = '{run}'"),
            4 => format!("UPDATE OR IGNORE runs SET run_id = 'new {number}' WHERE run_id = '{run}'"),
            _ => format!("UPDATE runs SET status = '{word}' WHERE run_id = '{run}'"),
        };
        for database in databases {
            database.write(at_ms, &sql);
        }
    }
}

#[test]
fn overtaking_makes_no_difference_to_any_run() {
    let seed = std::env::var("RUNCHAIN_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..1_000_000));
    println!("RUNCHAIN_TEST_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut taken = 0;
    for _ in 0..60 {
        let (in_order, overtaking) = (Database::new(), Database::new());
        write_at_random(&mut random, [&in_order, &overtaking]);
        while in_order.expand(StormLimit::OFF) {}
        while overtaking.expand(StormLimit::OFF) {
            match random.u32(..5) {
                0 => taken += overtaking.overtake(StormLimit::OFF),
                1 => taken += overtaking.overtake_what_was_read(StormLimit::OFF),
                2 => drop(overtaking.read_on()),
                3 => drop(overtaking.expand_one(StormLimit::OFF)),
                _ => {}
            }
        }
        assert_eq!(in_order.state(), overtaking.state());
    }
    assert!(taken > 20, "only {taken} rows have overtaken anything");
}
