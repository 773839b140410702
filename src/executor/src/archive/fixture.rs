//! Databases as orchestrators of the field leave them, for the tests of archive and report.

use super::{ArchiveOptions, Archived, Bag, Ended, archive};
use runchain_core::error::Result;
use runchain_core::{Mapping, Millis, RunId, schema};
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

pub(crate) const UUID: &str = "6f1f3c1e-0000-4000-8000-000000000001";
/// 2026-01-31T12:00:05.250Z.
pub(crate) const ENDED_AT: Millis = Millis(1_769_860_805_250);

pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) conn: Connection,
    pub(crate) mapping: Mapping,
    pub(crate) options: ArchiveOptions,
}

impl Fixture {
    /// An output root with a database in `.state`, in which `ddl` was run.
    pub(crate) fn new(ddl: &str, status_column: &str) -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join(".state")).unwrap();
        let conn = Connection::open(dir.path().join(".state/orchestration.db")).unwrap();
        schema::migrate(&conn).unwrap();
        conn.execute_batch(ddl).unwrap();
        let options = ArchiveOptions {
            archive_dir: dir.path().join(".archive"),
            root: dir.path().to_owned(),
            settle_ms: 0,
            settle_limit_ms: 10_000,
            files: Vec::new(),
            excluded: vec![dir.path().join("reports")],
            redactor: crate::redact::Redactor::default(),
            min_free_bytes: 0,
        };
        Self {
            dir,
            conn,
            mapping: Mapping {
                table: "runs".into(),
                id_column: "run_id".into(),
                status_column: status_column.into(),
            },
            options,
        }
    }

    /// Shape A: `runs.status` in upper case, with workstreams, step_attempts, errors and events.
    pub(crate) fn shape_a() -> Self {
        Self::new(SHAPE_A, "status")
    }

    /// Shape B: `runs.state`, with step_attempts and run_events.
    pub(crate) fn shape_b() -> Self {
        Self::new(SHAPE_B, "state")
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    pub(crate) fn write(&self, relative: &str, content: &[u8]) {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn sql(&self, sql: &str) {
        self.conn.execute_batch(sql).unwrap();
    }

    pub(crate) fn try_archive(&self, run: &Ended<'_>, note: Option<&str>, now: i64) -> Result<Archived> {
        let now = Millis(now);
        archive(
            &self.conn,
            &self.mapping,
            UUID,
            &self.options,
            run,
            note,
            now,
            &|| true,
        )
    }

    /// At the beginning of time, under a lease that `still_ours` is asked for.
    pub(crate) fn archive_while(&self, run: &Ended<'_>, still_ours: &dyn Fn() -> bool) -> Result<Archived> {
        archive(
            &self.conn,
            &self.mapping,
            UUID,
            &self.options,
            run,
            None,
            Millis(0),
            still_ours,
        )
    }

    /// Archives a run that is expected to be quiet.
    pub(crate) fn seal(&self, run: &Ended<'_>) -> Bag {
        match self.try_archive(run, None, 0).unwrap() {
            Archived::Sealed(bag) => bag,
            Archived::Settling { note, .. } => panic!("not quiet: {note}"),
        }
    }

    /// What a refused archiving says.
    pub(crate) fn refusal(&self, run: &Ended<'_>) -> String {
        self.try_archive(run, None, 0).unwrap_err().to_string()
    }
}

/// The first end of a run, after event 3.
pub(crate) fn ended(run_id: &RunId) -> Ended<'_> {
    Ended {
        run_id,
        generation: 1,
        status: Some("COMPLETED".into()),
        phase: "completed".into(),
        ended_at: ENDED_AT,
        ended_event_id: 3,
    }
}

pub(crate) fn run(id: &str) -> RunId {
    RunId(id.into())
}

/// `sha256sum -c` as a person would run it.
pub(crate) fn sha256sum(bag: &Path, manifest: &str) -> Output {
    Command::new("sha256sum")
        .args(["--check", "--strict", manifest])
        .current_dir(bag)
        .output()
        .unwrap()
}

/// Every file below a folder, with its content; a symlink by where it leads.
pub(crate) fn tree(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    walkdir::WalkDir::new(folder)
        .sort_by_file_name()
        .into_iter()
        .map(std::result::Result::unwrap)
        .filter(|entry| !entry.file_type().is_dir())
        .map(|entry| {
            let content = std::fs::read(entry.path()).unwrap_or_default();
            (entry.path().strip_prefix(folder).unwrap().to_owned(), content)
        })
        .collect()
}

const SHAPE_A: &str = r#"
CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT NOT NULL, created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL, metadata_json TEXT);
CREATE TABLE workstreams(ws_id TEXT PRIMARY KEY, run_id TEXT REFERENCES runs, status TEXT, depends_on TEXT);
CREATE TABLE step_attempts(id INTEGER PRIMARY KEY, run_id TEXT REFERENCES runs(run_id) ON DELETE CASCADE,
  ws_id TEXT, step_name TEXT, status TEXT, started_at TEXT, completed_at TEXT, result_json TEXT);
CREATE TABLE errors(id INTEGER PRIMARY KEY, run_id TEXT, ws_id TEXT, step_name TEXT, error_code TEXT,
  message TEXT, count INTEGER, first_seen_at TEXT, last_seen_at TEXT);
CREATE TABLE events(id INTEGER PRIMARY KEY, timestamp TEXT, run_id TEXT, event_type TEXT, payload_json TEXT);
CREATE TABLE settings(name TEXT, value TEXT);
INSERT INTO runs VALUES
  ('run-1', 'COMPLETED', '2026-01-31T12:00:00+00:00', '2026-01-31T12:00:05.25+00:00', '{"who":"ünï"}'),
  ('run-2', 'RUNNING', '2026-01-31T12:00:01+00:00', '2026-01-31T12:00:01+00:00', NULL);
INSERT INTO workstreams VALUES ('ws-1', 'run-1', 'COMPLETED', NULL), ('ws-2', 'run-2', 'RUNNING', NULL);
INSERT INTO step_attempts VALUES
  (1, 'run-1', 'ws-1', 'plan', 'COMPLETED', '2026-01-31T12:00:00Z', '2026-01-31T12:00:01Z', '{}'),
  (2, 'run-2', 'ws-2', 'plan', 'RUNNING', '2026-01-31T12:00:01Z', NULL, NULL),
  (3, 'run-1', 'ws-1', 'build', 'failed', '2026-01-31T12:00:01Z', '2026-01-31T12:00:02Z', '{}'),
  (4, 'run-1', 'ws-1', 'build', 'success', '2026-01-31T12:00:02Z', '2026-01-31T12:00:04Z', '{}');
INSERT INTO errors VALUES (1, 'run-1', 'ws-1', 'build', 'E42', 'no such file', 1,
  '2026-01-31T12:00:02Z', '2026-01-31T12:00:02Z');
INSERT INTO events VALUES
  (1, '2026-01-31T12:00:00Z', 'run-1', 'step_started', '{}'),
  (2, '2026-01-31T12:00:02Z', 'run-1', 'step_failed', '{}'),
  (3, '2026-01-31T12:00:02Z', 'run-2', 'step_failed', '{}');
INSERT INTO settings VALUES ('run-1', 'not a reference');
INSERT INTO runchain_events(id, at_ms, type, run_id, generation) VALUES
  (1, 1769860800000, 'RUN_CREATED', 'run-1', 0),
  (2, 1769860800100, 'MONITOR_STARTED', 'run-1', 0),
  (3, 1769860805250, 'RUN_COMPLETED', 'run-1', 1),
  (4, 1769860805300, 'MONITOR_STOPPED', 'run-1', 1);
INSERT INTO runchain_ingested(id, event_id, type, job_id, run_id, status, details, file_id, line, offset_bytes) VALUES
  (1, 'EVT-1', 'pattern.execution.started', 'run-1', NULL, 'in_progress', '{}', 1, 1, 0),
  (2, 'EVT-2', 'pattern.execution.failed', 'run-1', 'run-1', 'failed', '{}', 1, 2, 100),
  (3, 'EVT-3', 'pattern.execution.failed', 'other', NULL, 'failed', '{}', 1, 3, 200);
INSERT INTO uet_executions(execution_id, status) VALUES ('run-1', 'failed'), ('other', 'failed');
INSERT INTO archival_log(run_id, archive_path) VALUES ('run-1', 'somewhere');
"#;

const SHAPE_B: &str = r#"
CREATE TABLE runs(run_id TEXT PRIMARY KEY, project_id TEXT NOT NULL, phase_id TEXT NOT NULL, workstream_id TEXT,
  execution_request_id TEXT, created_at TEXT NOT NULL, started_at TEXT, ended_at TEXT,
  state TEXT NOT NULL CHECK (state IN ('pending', 'running', 'succeeded', 'failed', 'quarantined', 'canceled')),
  exit_code INTEGER, error_message TEXT, metadata TEXT);
CREATE TABLE step_attempts(step_attempt_id TEXT PRIMARY KEY, run_id TEXT NOT NULL REFERENCES runs(run_id),
  sequence INTEGER, tool_id TEXT, started_at TEXT, ended_at TEXT, state TEXT, exit_code INTEGER, error_log TEXT,
  metadata TEXT);
CREATE TABLE run_events(event_id TEXT PRIMARY KEY, run_id TEXT, timestamp TEXT, event_type TEXT, data TEXT);
INSERT INTO runs VALUES ('run-1', 'p', 'ph', NULL, NULL, '2026-01-31T12:00:00Z', '2026-01-31T12:00:01Z',
  '2026-01-31T12:00:05.25Z', 'quarantined', 3, 'tool crashed', NULL);
INSERT INTO step_attempts VALUES
  ('SA-1', 'run-1', 1, 'lint', '2026-01-31T12:00:01Z', '2026-01-31T12:00:02Z', 'succeeded', 0, NULL, NULL),
  ('SA-2', 'run-1', 2, 'test', '2026-01-31T12:00:02Z', '2026-01-31T12:00:05Z', 'failed', 3, 'boom', NULL);
INSERT INTO run_events VALUES
  ('E1', 'run-1', '2026-01-31T12:00:01Z', 'run_started', '{}'),
  ('E2', 'run-1', '2026-01-31T12:00:05Z', 'tool_error', '{}');
"#;
