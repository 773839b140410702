//! `archival_log` has one row for each bag, whatever was killed between the bag and its row.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test states what must hold; a panic is how it fails"
)]

use runchain_core::chain::Chain;
use runchain_core::install::{InstallOptions, install};
use runchain_core::steps::{self, Archival, Backoff, BagBeside, Claim, Outcome, Settled, Success, Wanted};
use runchain_core::{ExecutorId, Mapping, Millis, RunId, queue};
use rusqlite::Connection;
use serde_json::json;

const ONE: steps::Capacity<'static> = steps::Capacity {
    free: 1,
    running: 0,
    concurrency: &std::collections::BTreeMap::new(),
};

const NOW: Millis = Millis(10_000);
/// Every generation's newest bag stands in the same place.
const PLACE: &str = "/archive/run-1";

struct Database {
    conn: Connection,
    mapping: Mapping,
}

impl Database {
    fn new() -> Self {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT)")
            .unwrap();
        let installed = install(&conn, &InstallOptions::default(), Millis(1_000)).unwrap();
        Self {
            conn,
            mapping: installed.mapping,
        }
    }

    fn write(&self, sql: &str) {
        self.conn.execute_batch(sql).unwrap();
        queue::expand(&self.conn, &self.mapping, &Chain::builtin(3), 100, NOW).unwrap();
    }

    /// Executes the step `archive` of run-1; `unchanged`: the bag stood there already.
    fn archive(&self, digest: &str, unchanged: bool) {
        self.archive_beside(digest, unchanged, &[]);
    }

    /// The same, where bags of these generations stand beside it that have no row.
    fn archive_beside(&self, digest: &str, unchanged: bool, beside: &[(i64, &str)]) {
        let claim = self.start();
        assert_eq!(self.settle(&claim, digest, unchanged, beside), Settled::Done);
        steps::ready_again(&self.conn, claim.step_id, NOW).unwrap();
    }

    fn start(&self) -> Claim {
        let run_id = RunId("run-1".to_owned());
        let wanted = Wanted::OfRun {
            run_id: &run_id,
            step: Some("archive"),
        };
        let executor = ExecutorId("executor-1".to_owned());
        let claims = steps::lease_and_start(&self.conn, &executor, wanted, ONE, NOW).unwrap();
        claims.into_iter().next().unwrap()
    }

    fn settle(&self, claim: &Claim, digest: &str, unchanged: bool, beside: &[(i64, &str)]) -> Settled {
        let outcome = Outcome::Done(Success {
            result: json!({ "path": PLACE, "digest": digest }),
            archival: Some(bag(digest, unchanged)),
            beside: beside
                .iter()
                .map(|(generation, digest)| BagBeside {
                    generation: *generation,
                    archival: bag(digest, true),
                })
                .collect(),
            ..Success::default()
        });
        let backoff = Backoff {
            base_ms: 1,
            cap_ms: 1,
        };
        steps::settle(&self.conn, claim, &outcome, backoff, 0.0, NOW).unwrap()
    }

    fn logged(&self) -> Vec<(i64, String)> {
        let mut statement = self
            .conn
            .prepare("SELECT generation, digest FROM archival_log ORDER BY id")
            .unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.unwrap().map(Result::unwrap).collect()
    }
}

fn bag(digest: &str, unchanged: bool) -> Archival {
    Archival {
        archive_path: PLACE.to_owned(),
        size_bytes: 1,
        digest: digest.to_owned(),
        unchanged,
    }
}

#[test]
fn a_bag_that_was_placed_before_a_crash_is_logged_once_in_each_generation() {
    let database = Database::new();
    let first = [(1, "sha256:aa".to_owned())];
    let both = [(1, "sha256:aa".to_owned()), (2, "sha256:bb".to_owned())];
    database.write("INSERT INTO runs VALUES ('run-1', 'COMPLETED')");
    // Placed, then killed: who settles it finds the bag in its place.
    database.archive("sha256:aa", true);
    assert_eq!(database.logged(), first);
    database.archive("sha256:aa", true);
    assert_eq!(database.logged(), first, "a repeat is no new bag");

    database.write("UPDATE runs SET status = 'RUNNING'; UPDATE runs SET status = 'COMPLETED'");
    database.archive("sha256:bb", true);
    assert_eq!(database.logged(), both);
}

#[test]
fn a_bag_that_a_killed_attempt_left_aside_is_logged_once_under_its_own_generation() {
    let database = Database::new();
    database.write("INSERT INTO runs VALUES ('run-1', 'COMPLETED')");
    // The first attempt placed aa and was killed; the second found more rows, and moved aa aside.
    database.archive_beside("sha256:bb", false, &[(1, "sha256:aa")]);
    let both = [(1, "sha256:aa".to_owned()), (1, "sha256:bb".to_owned())];
    assert_eq!(database.logged(), both);
    database.archive_beside("sha256:bb", true, &[(1, "sha256:aa")]);
    assert_eq!(database.logged(), both, "a repeat is no new bag");

    // Of the second end nothing was ever settled; the third finds its bag.
    database.write("UPDATE runs SET status = 'RUNNING'; UPDATE runs SET status = 'COMPLETED'");
    database.write("UPDATE runs SET status = 'RUNNING'; UPDATE runs SET status = 'COMPLETED'");
    database.archive_beside("sha256:dd", false, &[(1, "sha256:bb"), (2, "sha256:cc")]);
    assert_eq!(
        database.logged()[2..],
        [(2, "sha256:cc".to_owned()), (3, "sha256:dd".to_owned())]
    );
}

#[test]
fn a_bag_whose_step_was_taken_away_meanwhile_is_logged_once() {
    let database = Database::new();
    database.write("INSERT INTO runs VALUES ('run-1', 'COMPLETED')");
    let claim = database.start();
    database.write("UPDATE runs SET status = 'RUNNING'; UPDATE runs SET status = 'COMPLETED'");
    // Placed before its generation was cancelled, settled after that.
    assert_eq!(database.settle(&claim, "sha256:aa", false, &[]), Settled::Fenced);
    assert_eq!(database.logged(), [(1, "sha256:aa".to_owned())]);
    database.archive_beside("sha256:bb", false, &[(1, "sha256:aa")]);
    assert_eq!(
        database.logged(),
        [(1, "sha256:aa".to_owned()), (2, "sha256:bb".to_owned())]
    );
}

/// Two executors made the same bag: the one that placed it is about to settle when the other, which had
/// lost the step to it, comes with what it found in the place.
#[test]
fn a_bag_that_a_late_attempt_finds_is_logged_by_who_has_the_step() {
    let database = Database::new();
    database.write("INSERT INTO runs VALUES ('run-1', 'COMPLETED')");
    let late = database.start();
    database
        .conn
        .execute_batch("UPDATE runchain_steps SET state = 'ready', lost = 0")
        .unwrap();
    let claim = database.start();
    assert_eq!(database.settle(&late, "sha256:aa", true, &[]), Settled::Fenced);
    assert_eq!(database.logged(), []);
    assert_eq!(database.settle(&claim, "sha256:aa", false, &[]), Settled::Done);
    assert_eq!(database.logged(), [(1, "sha256:aa".to_owned())]);
    assert_eq!(database.settle(&late, "sha256:aa", true, &[]), Settled::Fenced);
    assert_eq!(database.logged(), [(1, "sha256:aa".to_owned())]);
}

/// It looks through the bags of a run because an older generation was cancelled.
#[test]
fn a_pass_of_retention_leaves_the_bag_of_a_step_under_way_to_it() {
    let database = Database::new();
    database.write("INSERT INTO runs VALUES ('run-1', 'COMPLETED')");
    let cancelled = database.start();
    database.write("UPDATE runs SET status = 'RUNNING'; UPDATE runs SET status = 'COMPLETED'");
    assert_eq!(
        database.settle(&cancelled, "sha256:aa", false, &[]),
        Settled::Fenced
    );
    let claim = database.start();
    let run_id = RunId("run-1".to_owned());
    let of = |generation, digest| {
        steps::log_missing(&database.conn, &run_id, generation, &bag(digest, true), NOW).unwrap()
    };
    assert!(!of(1, "sha256:aa"));
    assert!(!of(2, "sha256:bb"));
    assert_eq!(database.settle(&claim, "sha256:bb", false, &[]), Settled::Done);
    let both = [(1, "sha256:aa".to_owned()), (2, "sha256:bb".to_owned())];
    assert_eq!(database.logged(), both);
}

#[test]
fn a_damaged_bag_that_is_made_again_keeps_its_row() {
    let database = Database::new();
    database.write("INSERT INTO runs VALUES ('run-1', 'COMPLETED')");
    database.archive("sha256:aa", false);
    database.archive("sha256:aa", false);
    assert_eq!(database.logged(), [(1, "sha256:aa".to_owned())]);
    // Retention removed the bag and its row.
    database.conn.execute_batch("DELETE FROM archival_log").unwrap();
    database.archive("sha256:aa", false);
    assert_eq!(database.logged(), [(1, "sha256:aa".to_owned())]);
}
