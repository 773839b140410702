//! `archival_log` has one row for each bag, whatever was killed between the bag and its row.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test states what must hold; a panic is how it fails"
)]

use runchain_core::chain::Chain;
use runchain_core::install::{InstallOptions, install};
use runchain_core::steps::{self, Archival, Backoff, Outcome, Settled, Success, Wanted};
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
        let (conn, executor) = (&self.conn, ExecutorId("executor-1".to_owned()));
        let run_id = RunId("run-1".to_owned());
        let wanted = Wanted::OfRun {
            run_id: &run_id,
            step: Some("archive"),
        };
        let claims = steps::lease_and_start(conn, &executor, wanted, ONE, NOW).unwrap();
        let claim = claims.first().unwrap();
        let outcome = Outcome::Done(Success {
            result: json!({ "path": PLACE, "digest": digest }),
            output_tail: None,
            archival: Some(Archival {
                archive_path: PLACE.to_owned(),
                size_bytes: 1,
                digest: digest.to_owned(),
                unchanged,
            }),
        });
        let backoff = Backoff {
            base_ms: 1,
            cap_ms: 1,
        };
        let settled = steps::settle(conn, claim, &outcome, backoff, 0.0, NOW).unwrap();
        assert_eq!(settled, Settled::Done);
        steps::ready_again(conn, claim.step_id, NOW).unwrap();
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
