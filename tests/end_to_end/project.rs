//! A folder as a user has it: the orchestrator's database, a configuration, an executor beside it.

use super::ledger::Ledger;
use crate::support::{Service, eventually, python, repository, run, runchain};
use rusqlite::{Connection, OpenFlags};
use serde::de::DeserializeOwned;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Far more than anything here takes; a machine may be busy.
const PATIENCE: Duration = Duration::from_secs(90);

/// Which tables the orchestrator has.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    A,
    B,
}

impl Shape {
    fn word(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// The folder; it goes with its last user.
pub(crate) struct Project {
    folder: TempDir,
    pub(crate) shape: Shape,
}

impl Project {
    /// Tables by the orchestrator, then `runchain install`.
    pub(crate) fn new(shape: Shape) -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join(".state")).unwrap();
        let project = Self { folder, shape };
        let required = match shape {
            Shape::A => "",
            Shape::B => "required_tables = ['runs']\n",
        };
        // The retries don't bound how often an executor may be killed here. The event logs are read at the
        // end, by command: following them has tests of its own.
        // A run that runs again right after its end, or is deleted, must not have been quiet for so long.
        let settings = "lease_ms = 1000\n\
            [archive]\nsettle_ms = 5000\nfiles = ['jobs/{run_id}/**']\n\
            [ingest]\nevents = []\n\
            [retry]\nmax_attempts = 100\nbase_ms = 50\ncap_ms = 200\n";
        fs::write(project.path("runchain.toml"), format!("{required}{settings}")).unwrap();
        project.orchestrate(&["--init"]);
        run(runchain(project.root()).arg("install"), "").output();
        project
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// The database, to look at. Opened to write: what a killed executor left in the middle of a
    /// transaction has to be rolled back by whoever comes first.
    pub(crate) fn database(&self) -> Connection {
        let path = self.path(".state/orchestration.db");
        let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
        conn.busy_timeout(PATIENCE).unwrap();
        conn
    }

    /// Executes runs to their end. A single error of SQLite at the writer fails the test, with the
    /// statement that met it. The run that is reopened waits for its report for `patience_seconds`.
    pub(crate) fn execute_runs(&self, pace: &str, patience_seconds: &str) -> Ledger {
        let ledger = self.orchestrate(&["--runs", "10", "--pace", pace, "--read-reports", patience_seconds]);
        serde_json::from_str(&ledger).unwrap()
    }

    fn orchestrate(&self, arguments: &[&str]) -> String {
        let script = fs::read_to_string(repository().join("tests/orchestrator/orchestrator.py")).unwrap();
        let database = self.path(".state/orchestration.db");
        let mut all = vec!["--db", database.to_str().unwrap()];
        all.extend([
            "--shape",
            self.shape.word(),
            "--root",
            self.root().to_str().unwrap(),
        ]);
        all.extend(["--timeout", "90"]);
        all.extend(arguments);
        python(&script, &all).output()
    }

    /// A `runchain` command's JSON.
    pub(crate) fn answer<T: DeserializeOwned>(&self, arguments: &[&str]) -> T {
        let answer = run(runchain(self.root()).arg("--json").args(arguments), "").output();
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    /// Waits until the service works: before that it sees no run, and a signal would be its end.
    pub(crate) fn wait_until_it_works(&self, service: &mut Service) {
        let conn = self.database();
        let works = format!(
            "SELECT EXISTS (SELECT 1 FROM runchain_executors WHERE pid = {})",
            service.pid()
        );
        eventually("the service to work", || {
            service.assert_alive();
            match conn.query_row(&works, [], |row| row.get(0)) {
                Ok(true) => Ok(()),
                found => Err(format!("{found:?}")),
            }
        });
    }

    /// Waits until nothing is queued, nothing is left of any chain, no run is monitored, and the logs
    /// hold every event.
    pub(crate) fn wait_until_through(&self, service: &mut Service) {
        const LEFT: &str = "SELECT
            (SELECT count(*) FROM runchain_queue) AS queued,
            (SELECT count(*) FROM runchain_steps WHERE state IN ('waiting', 'ready', 'leased', 'running')) AS steps,
            (SELECT count(*) FROM runchain_runs WHERE monitor = 'on') AS monitored,
            (SELECT max(id) FROM runchain_events) - (SELECT min(event_id) FROM runchain_cursors) AS unlogged";
        let conn = self.database();
        let started = Instant::now();
        loop {
            service.assert_alive();
            let left: [Option<i64>; 4] = conn
                .query_row(LEFT, [], |row| {
                    Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?])
                })
                .unwrap();
            if left == [Some(0); 4] {
                return;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "[queued, steps, monitored, unlogged] is still {left:?}; the executor said:\n{}",
                fs::read_to_string(self.path("drain.log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
