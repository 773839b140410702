//! What the monitor promises, on a real database beside a user's tables.

use super::*;
use crate::projector::Rotation;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::fs;
use tempfile::TempDir;

const USER_TABLES: &str = "
    CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT NOT NULL, updated_at TEXT);
    CREATE TABLE step_attempts(id INTEGER PRIMARY KEY, run_id TEXT REFERENCES runs, status TEXT);
    CREATE TABLE tasks(id INTEGER PRIMARY KEY, run_id TEXT, state TEXT);";

struct Fixture {
    folder: TempDir,
    conn: Connection,
    projector: Projector,
    monitor: Monitor,
}

fn options() -> MonitorOptions {
    MonitorOptions {
        heartbeat_ms: 1_000,
        stall_after_ms: 5_000,
        ..MonitorOptions::default()
    }
}

impl Fixture {
    fn new(user_tables: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let conn = Connection::open(folder.path().join("state.db")).unwrap();
        conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF")
            .unwrap();
        conn.execute_batch(user_tables).unwrap();
        runchain_core::schema::migrate(&conn).unwrap();
        let projector = Projector::open(
            &folder.path().join("logs"),
            Rotation {
                bytes: 0,
                after_ms: 0,
                keep_files: 1,
                keep_days: 0,
                keep_bytes: 0,
            },
            &conn,
        )
        .unwrap();
        Self {
            folder,
            conn,
            projector,
            monitor: Monitor::new(options()),
        }
    }

    fn sql(&self, sql: &str) {
        self.conn.execute_batch(sql).unwrap();
    }

    /// A run as its owner writes it, and as the expansion records it.
    fn run(&self, run_id: &str) {
        self.conn
            .execute(
                "INSERT INTO runs(run_id, status) VALUES (?1, 'RUNNING')",
                [run_id],
            )
            .unwrap();
        self.recorded(run_id);
    }

    fn recorded(&self, run_id: &str) {
        self.conn
            .execute(
                "INSERT INTO runchain_runs(run_id, phase, status, first_seen_ms, phase_since_ms)
                 VALUES (?1, 'active', 'RUNNING', 0, 0)",
                [run_id],
            )
            .unwrap();
    }

    fn tick(&mut self, now_ms: i64) -> Option<i64> {
        let mapping = Mapping {
            table: "runs".into(),
            id_column: "run_id".into(),
            status_column: "status".into(),
        };
        let next = self
            .monitor
            .tick(&self.conn, &mapping, &mut self.projector, Millis(now_ms))
            .unwrap();
        next.map(|at| at.0)
    }

    fn restart(&mut self) {
        self.monitor = Monitor::new(options());
    }

    fn log(&self) -> Vec<Value> {
        fs::read_to_string(self.folder.path().join("logs/monitor.jsonl"))
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// What stands in the log, in order: "EVENT run".
    fn said(&self) -> Vec<String> {
        self.log()
            .iter()
            .map(|line| {
                format!(
                    "{} {}",
                    line["event"].as_str().unwrap(),
                    line["run_id"].as_str().unwrap()
                )
            })
            .collect()
    }

    fn last_heartbeat(&self) -> Value {
        self.log()
            .into_iter()
            .rfind(|line| line["event"] == "HEARTBEAT")
            .unwrap()
    }

    /// Types of the stored events, oldest first.
    fn events(&self) -> Vec<String> {
        let mut statement = self
            .conn
            .prepare("SELECT type FROM runchain_events ORDER BY id")
            .unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    }
}

#[test]
fn a_tick_projects_a_bounded_part_of_a_backlog_and_no_heartbeat_before_its_start() {
    let mut fixture = Fixture::new(USER_TABLES);
    fixture
        .conn
        .execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)
             INSERT INTO runchain_events(at_ms, type, data) SELECT 0, 'STATUS_UNKNOWN', '{}' FROM n",
        )
        .unwrap();
    fixture.run("r");
    assert_eq!(fixture.tick(0), Some(0), "there is more");
    assert_eq!(fixture.log().len(), 10_000);
    assert_eq!(fixture.tick(1), Some(1_001));
    let events: Vec<Value> = fixture.log()[12_000..]
        .iter()
        .map(|line| line["event"].clone())
        .collect();
    assert_eq!(events, ["MONITOR_STARTED", "HEARTBEAT"]);
}

#[test]
fn a_monitor_starts_beats_and_stops_with_its_run() {
    let mut fixture = Fixture::new(USER_TABLES);
    assert_eq!(fixture.tick(0), None, "nothing to watch");
    fixture.run("a");
    assert_eq!(fixture.tick(10), Some(1_010));
    assert_eq!(fixture.tick(500), Some(1_010), "early: nothing is due");
    assert_eq!(fixture.tick(1_010), Some(2_010));
    fixture.sql("UPDATE runchain_runs SET phase = 'failed', generation = 1");
    assert_eq!(fixture.tick(1_500), None, "idle again");
    assert_eq!(
        fixture.said(),
        [
            "MONITOR_STARTED a",
            "HEARTBEAT a",
            "HEARTBEAT a",
            "MONITOR_STOPPED a"
        ]
    );
    let stopped = fixture.log().pop().unwrap();
    assert_eq!(
        stopped["data"],
        json!({"phase": "failed", "duration_ms": 1_490, "heartbeats": 2})
    );
    assert_eq!(stopped["generation"], 1);
}

#[test]
fn a_monitor_goes_on_after_a_restart_without_starting_again() {
    let mut fixture = Fixture::new(USER_TABLES);
    fixture.run("a");
    fixture.tick(0);
    fixture.restart();
    assert_eq!(fixture.tick(100), Some(1_100));
    fixture.sql("UPDATE runchain_runs SET phase = 'completed'");
    fixture.tick(200);
    assert_eq!(
        fixture.said(),
        [
            "MONITOR_STARTED a",
            "HEARTBEAT a",
            "HEARTBEAT a",
            "MONITOR_STOPPED a"
        ]
    );
    assert_eq!(fixture.log().pop().unwrap()["data"]["duration_ms"], 200);
}

#[test]
fn abandoned_runs_are_not_monitored() {
    let mut fixture = Fixture::new(USER_TABLES);
    fixture.run("old");
    fixture.sql("UPDATE runchain_runs SET monitor = 'abandoned'");
    assert_eq!(fixture.tick(0), None);
    assert_eq!(fixture.events(), [""; 0]);
}

#[test]
fn a_heartbeat_counts_progress_by_the_vocabulary_and_names_the_last_event() {
    let mut fixture = Fixture::new(USER_TABLES);
    fixture.run("a");
    fixture.run("b");
    fixture.sql(
        "INSERT INTO step_attempts(run_id, status) VALUES ('a', 'succeeded'), ('a', 'Done'), ('a', 'quarantined'),
           ('a', 'running'), ('a', 'no such word'), ('b', 'DONE');
         INSERT INTO tasks(run_id, state) VALUES ('a', 'COMPLETED');
         INSERT INTO runchain_ingested(event_id, type, at, run_id, job_id, file_id, line, offset_bytes) VALUES
           ('e1', 'first', '2026-01-01T00:00:00+00:00', 'a', NULL, 1, 1, 0),
           ('e2', 'second', '2026-01-01T00:00:01+00:00', NULL, 'a', 1, 2, 9),
           ('e3', 'other', '2026-01-01T00:00:02+00:00', NULL, 'c', 1, 3, 18);",
    );
    fixture.tick(0);
    let beats: Vec<Value> = fixture
        .log()
        .into_iter()
        .filter(|l| l["event"] == "HEARTBEAT")
        .collect();
    assert_eq!(beats.len(), 2);
    assert_eq!(
        beats[0]["progress"],
        json!({"steps": {"total": 5, "done": 2, "failed": 1}, "tasks": {"total": 1, "done": 1, "failed": 0}})
    );
    assert_eq!(
        beats[0]["last_event"],
        json!({"type": "second", "at": "2026-01-01T00:00:01+00:00"})
    );
    assert_eq!(
        beats[1]["progress"],
        json!({"steps": {"total": 1, "done": 1, "failed": 0}})
    );
    assert_eq!(beats[1].get("last_event"), None);
}

#[test]
fn runs_with_a_number_for_an_id_are_seen_whatever_the_affinity() {
    for declared in ["TEXT", "INTEGER", ""] {
        let mut fixture = Fixture::new(&format!(
            "CREATE TABLE runs(run_id {declared} PRIMARY KEY, status TEXT);
             CREATE TABLE tasks(run_id {declared}, status TEXT);
             INSERT INTO runs VALUES (7, 'STARTING'); INSERT INTO tasks VALUES (7, 'done')"
        ));
        fixture.recorded("7");
        fixture.tick(0);
        let beat = fixture.last_heartbeat();
        assert_eq!(beat["status"], "STARTING", "{declared}");
        assert_eq!(beat["progress"]["tasks"]["done"], 1, "{declared}");
    }
}

#[test]
fn a_run_stalls_once_and_resumes_once_also_across_restarts() {
    let mut fixture = Fixture::new(USER_TABLES);
    fixture.run("a");
    for now_ms in [0, 1_000, 4_999] {
        fixture.tick(now_ms);
    }
    assert_eq!(fixture.events(), ["MONITOR_STARTED"]);
    fixture.tick(6_000);
    assert_eq!(fixture.last_heartbeat()["stalled"], true);
    assert_eq!(fixture.last_heartbeat()["quiet_ms"], 6_000);
    fixture.tick(20_000);
    fixture.restart();
    for now_ms in [30_000, 31_000, 40_000] {
        fixture.tick(now_ms);
    }
    assert_eq!(fixture.events(), ["MONITOR_STARTED", "RUN_STALLED"]);

    fixture.sql("INSERT INTO step_attempts(run_id, status) VALUES ('a', 'RUNNING')");
    fixture.tick(41_000);
    fixture.tick(42_000);
    assert_eq!(
        fixture.events(),
        ["MONITOR_STARTED", "RUN_STALLED", "RUN_RESUMED"]
    );
    assert_eq!(fixture.last_heartbeat()["stalled"], false);
    let stalled: Option<i64> = fixture
        .conn
        .query_row("SELECT stalled_since_ms FROM runchain_runs", [], |row| row.get(0))
        .unwrap();
    assert_eq!(stalled, None);
}

#[test]
fn every_sign_of_life_counts_as_activity() {
    for sign in [
        "UPDATE runs SET status = 'RETRYING'",
        "UPDATE runs SET updated_at = '2026-01-01T00:00:00Z'",
        "INSERT INTO tasks(run_id, state) VALUES ('a', 'pending')",
        "INSERT INTO runchain_ingested(event_id, type, job_id, file_id, line, offset_bytes)
         VALUES ('e', 't', 'a', 1, 1, 0)",
    ] {
        let mut fixture = Fixture::new(USER_TABLES);
        fixture.run("a");
        fixture.tick(0);
        fixture.sql(sign);
        fixture.tick(4_000);
        fixture.tick(8_999);
        assert_eq!(fixture.events(), ["MONITOR_STARTED"], "{sign}");
        assert_eq!(fixture.last_heartbeat()["quiet_ms"], 4_999, "{sign}");
    }
}

#[test]
fn a_user_table_that_vanished_is_no_error_of_the_tick() {
    let mut fixture = Fixture::new(USER_TABLES);
    fixture.run("a");
    fixture.tick(0);
    fixture.sql("DROP TABLE step_attempts");
    fixture.tick(1_000);
    fixture.sql("DROP TABLE runs; DROP TABLE tasks");
    fixture.tick(2_000);
    let beat = fixture.last_heartbeat();
    assert_eq!(
        (beat["status"].as_str(), beat.get("progress")),
        (Some("RUNNING"), None)
    );
}

#[test]
fn many_runs_are_spread_over_ticks_and_each_beats_once_a_round() {
    let mut fixture = Fixture::new(USER_TABLES);
    fixture.monitor = Monitor::new(MonitorOptions {
        runs_per_tick: 4,
        transitions_per_tick: 5,
        ..options()
    });
    for number in 0..10 {
        fixture.run(&format!("run-{number}"));
    }
    let mut now_ms = 0;
    while fixture.tick(now_ms) == Some(now_ms) {}
    assert_eq!(fixture.events().len(), 10);

    // Whatever the first ticks have done, a whole interval shows every run at least once.
    let before = fixture.log().len();
    while now_ms < 1_100 {
        now_ms = fixture.tick(now_ms).unwrap();
        assert!(now_ms > 0);
    }
    let said = &fixture.said()[before..];
    for number in 0..10 {
        let beats = said
            .iter()
            .filter(|line| **line == format!("HEARTBEAT run-{number}"))
            .count();
        assert!((1..=2).contains(&beats), "run-{number}: {beats}");
    }
}

#[test]
fn nothing_is_ever_written_to_the_tables_of_the_user() {
    let mut fixture = Fixture::new(USER_TABLES);
    fixture.sql(
        "CREATE TRIGGER watch_u AFTER UPDATE ON runs BEGIN SELECT RAISE(ABORT, 'written'); END;
         CREATE TRIGGER watch_d BEFORE DELETE ON runs BEGIN SELECT RAISE(ABORT, 'written'); END;",
    );
    fixture.run("a");
    for now_ms in [0, 6_000, 12_000] {
        fixture.tick(now_ms);
    }
    assert!(
        fixture.conn.is_autocommit(),
        "no transaction stays open behind a tick"
    );
    assert_eq!(fixture.events(), ["MONITOR_STARTED", "RUN_STALLED"]);
}

#[test]
fn a_tick_that_met_a_writer_says_everything_later() {
    let mut fixture = Fixture::new(USER_TABLES);
    fixture.run("a");
    fixture.conn.busy_timeout(std::time::Duration::ZERO).unwrap();
    let writer = Connection::open(fixture.folder.path().join("state.db")).unwrap();
    let mapping = Mapping {
        table: "runs".into(),
        id_column: "run_id".into(),
        status_column: "status".into(),
    };
    for now_ms in [0, 6_000] {
        writer.execute_batch("BEGIN IMMEDIATE").unwrap();
        let met = fixture
            .monitor
            .tick(&fixture.conn, &mapping, &mut fixture.projector, Millis(now_ms));
        assert!(met.unwrap_err().is_busy());
        writer.execute_batch("COMMIT").unwrap();
        fixture.tick(now_ms + 1);
    }
    assert_eq!(fixture.events(), ["MONITOR_STARTED", "RUN_STALLED"]);
}
