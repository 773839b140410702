-- 0002 event_logs: ingested events, their checkpoints and rejects, alerts. Frozen: released migrations never change.

CREATE TABLE runchain_ingest_files (
  id INTEGER PRIMARY KEY,
  path TEXT NOT NULL,
  inode INTEGER NOT NULL,
  device INTEGER NOT NULL,
  head_bytes INTEGER NOT NULL,
  head_sha256 TEXT NOT NULL,
  size_bytes INTEGER NOT NULL,
  offset_bytes INTEGER NOT NULL DEFAULT 0,
  lines INTEGER NOT NULL DEFAULT 0,
  stored INTEGER NOT NULL DEFAULT 0,
  duplicates INTEGER NOT NULL DEFAULT 0,
  rejected INTEGER NOT NULL DEFAULT 0,
  stored_bytes INTEGER NOT NULL DEFAULT 0,
  rejected_bytes INTEGER NOT NULL DEFAULT 0,
  first_read_ms INTEGER NOT NULL,
  last_read_ms INTEGER NOT NULL
);
CREATE INDEX runchain_ingest_files_by_inode ON runchain_ingest_files(inode);
CREATE INDEX runchain_ingest_files_by_path ON runchain_ingest_files(path);

CREATE TABLE runchain_ingested (
  id INTEGER PRIMARY KEY,
  event_id TEXT NOT NULL UNIQUE,
  type TEXT NOT NULL,
  at TEXT,
  at_ms INTEGER,
  run_id TEXT,
  job_id TEXT,
  step_id TEXT,
  pattern_run_id TEXT,
  pattern_id TEXT,
  status TEXT,
  details TEXT,
  extra TEXT,
  file_id INTEGER NOT NULL,
  line INTEGER NOT NULL,
  offset_bytes INTEGER NOT NULL
);
CREATE INDEX runchain_ingested_by_job ON runchain_ingested(job_id, id);
CREATE INDEX runchain_ingested_by_run ON runchain_ingested(run_id, id) WHERE run_id IS NOT NULL;

CREATE TABLE runchain_ingest_rejects (
  id INTEGER PRIMARY KEY,
  file_id INTEGER NOT NULL,
  line INTEGER NOT NULL,
  offset_bytes INTEGER NOT NULL,
  length_bytes INTEGER NOT NULL,
  reason TEXT NOT NULL,
  start TEXT NOT NULL,
  at_ms INTEGER NOT NULL
);
CREATE INDEX runchain_ingest_rejects_by_file ON runchain_ingest_rejects(file_id, offset_bytes);

CREATE TABLE runchain_derived (
  kind TEXT NOT NULL CHECK (kind IN ('execution', 'task')),
  id TEXT NOT NULL,
  execution_id TEXT,
  task_type TEXT,
  started_ms INTEGER,
  ended_ms INTEGER,
  succeeded_ms INTEGER,
  outcome TEXT,
  decided_ms INTEGER,
  decided_by TEXT,
  error TEXT,
  PRIMARY KEY (kind, id)
) WITHOUT ROWID;

CREATE TABLE runchain_alerts (
  id INTEGER PRIMARY KEY,
  fingerprint TEXT NOT NULL UNIQUE,
  rule TEXT NOT NULL,
  severity TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('firing', 'acknowledged', 'resolved')),
  run_id TEXT,
  subject TEXT NOT NULL,
  message TEXT,
  count INTEGER NOT NULL,
  first_at_ms INTEGER NOT NULL,
  last_at_ms INTEGER NOT NULL
);
CREATE INDEX runchain_alerts_firing ON runchain_alerts(last_at_ms) WHERE state = 'firing';

INSERT OR IGNORE INTO runchain_meta(key, value)
SELECT 'owns.' || name, NOT EXISTS (SELECT 1 FROM sqlite_master AS m WHERE m.name = shared.name COLLATE NOCASE)
FROM (SELECT 'uet_executions' AS name UNION ALL SELECT 'uet_tasks') AS shared;

CREATE TABLE IF NOT EXISTS uet_executions (
  execution_id TEXT PRIMARY KEY,
  phase_name TEXT,
  started_at TEXT,
  completed_at TEXT,
  status TEXT,
  metadata JSON
);

CREATE TABLE IF NOT EXISTS uet_tasks (
  task_id TEXT PRIMARY KEY,
  execution_id TEXT REFERENCES uet_executions(execution_id),
  task_type TEXT,
  dependencies JSON,
  status TEXT,
  created_at TEXT,
  started_at TEXT,
  completed_at TEXT,
  result JSON
);
