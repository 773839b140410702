-- 0001 runs_and_steps: capture, chains, lifecycle events. Frozen: released migrations never change.

CREATE TABLE runchain_meta (
  key TEXT PRIMARY KEY NOT NULL,
  value TEXT
) WITHOUT ROWID;

CREATE TABLE runchain_queue (
  id INTEGER PRIMARY KEY,
  action,
  run_id,
  old_run_id,
  old_status,
  new_status,
  step_id,
  step,
  actor,
  reason,
  at_ms DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 + 0.5 AS INTEGER))
);

CREATE TABLE runchain_mapping (
  table_name TEXT NOT NULL,
  id_column TEXT NOT NULL,
  status_column TEXT NOT NULL
);

CREATE TABLE runchain_vocabulary (
  status TEXT PRIMARY KEY NOT NULL COLLATE NOCASE,
  phase TEXT NOT NULL CHECK (phase IN ('active', 'completed', 'failed', 'cancelled'))
) WITHOUT ROWID;

CREATE TABLE runchain_runs (
  run_id TEXT PRIMARY KEY NOT NULL,
  phase TEXT NOT NULL CHECK (
    phase = 'active' OR phase = 'completed' OR phase = 'failed' OR phase = 'cancelled' OR phase = 'deleted'),
  status TEXT,
  generation INTEGER NOT NULL DEFAULT 0,
  first_seen_ms INTEGER NOT NULL,
  phase_since_ms INTEGER NOT NULL,
  ended_event_id INTEGER,
  monitor TEXT NOT NULL DEFAULT 'off' CHECK (monitor = 'off' OR monitor = 'on' OR monitor = 'abandoned'),
  stalled_since_ms INTEGER
);
CREATE INDEX runchain_runs_by_phase ON runchain_runs(phase, phase_since_ms);
CREATE INDEX runchain_runs_monitored ON runchain_runs(run_id) WHERE monitor = 'on';
CREATE INDEX runchain_runs_to_start ON runchain_runs(run_id) WHERE phase = 'active' AND monitor = 'off';
CREATE INDEX runchain_runs_to_stop ON runchain_runs(run_id) WHERE phase <> 'active' AND monitor = 'on';

CREATE TABLE runchain_steps (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  run_id TEXT NOT NULL,
  generation INTEGER NOT NULL,
  step TEXT NOT NULL,
  state TEXT NOT NULL CHECK (
    state = 'waiting' OR state = 'ready' OR state = 'leased' OR state = 'running'
    OR state = 'done' OR state = 'dead' OR state = 'cancelled'),
  needs TEXT NOT NULL DEFAULT '[]',
  priority INTEGER NOT NULL DEFAULT 100,
  ready_at_ms INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  max_attempts INTEGER NOT NULL,
  token INTEGER NOT NULL DEFAULT 0,
  executor_id TEXT,
  created_ms INTEGER NOT NULL,
  started_ms INTEGER,
  finished_ms INTEGER,
  note TEXT,
  result TEXT,
  error TEXT,
  output_tail TEXT,
  lost INTEGER NOT NULL DEFAULT 0,
  delay_ms INTEGER NOT NULL DEFAULT 0,
  deadline_ms INTEGER,
  UNIQUE (run_id, generation, step)
);
CREATE INDEX runchain_steps_live ON runchain_steps(state, step, priority, ready_at_ms, id) WHERE finished_ms IS NULL;
CREATE INDEX runchain_steps_suspect ON runchain_steps(ready_at_ms) WHERE lost > 0;

CREATE TABLE runchain_pauses (
  step TEXT PRIMARY KEY NOT NULL,
  since_ms INTEGER NOT NULL,
  actor TEXT,
  reason TEXT
) WITHOUT ROWID;

CREATE TABLE runchain_failures (
  id INTEGER PRIMARY KEY,
  step_id INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  executor_id TEXT,
  started_ms INTEGER,
  ended_ms INTEGER NOT NULL,
  error TEXT NOT NULL,
  output_tail TEXT
);
CREATE INDEX runchain_failures_by_step ON runchain_failures(step_id, attempt);

CREATE TABLE runchain_events (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ms INTEGER NOT NULL,
  type TEXT NOT NULL,
  run_id TEXT,
  generation INTEGER,
  step TEXT,
  data TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX runchain_events_by_run ON runchain_events(run_id, id);

CREATE TABLE runchain_executors (
  executor_id TEXT PRIMARY KEY NOT NULL,
  host TEXT NOT NULL,
  pid INTEGER NOT NULL,
  version TEXT NOT NULL,
  schema_version INTEGER NOT NULL,
  started_ms INTEGER NOT NULL,
  beat_ms INTEGER NOT NULL,
  lease_until_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE runchain_cursors (
  name TEXT PRIMARY KEY NOT NULL,
  event_id INTEGER NOT NULL
) WITHOUT ROWID;

INSERT OR IGNORE INTO runchain_meta(key, value)
SELECT 'owns.' || name, NOT EXISTS (SELECT 1 FROM sqlite_master AS m WHERE m.name = shared.name COLLATE NOCASE)
FROM (SELECT 'archival_log' AS name) AS shared;

CREATE TABLE IF NOT EXISTS archival_log (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  run_id TEXT,
  archive_path TEXT,
  archived_at TEXT,
  size_bytes INTEGER,
  generation INTEGER,
  digest TEXT
);

INSERT OR IGNORE INTO runchain_vocabulary(status, phase) VALUES
  ('CREATED', 'active'), ('PENDING', 'active'), ('QUEUED', 'active'), ('SCHEDULED', 'active'),
  ('READY', 'active'), ('WAITING', 'active'), ('BLOCKED', 'active'), ('PAUSED', 'active'),
  ('STARTING', 'active'), ('STARTED', 'active'), ('ACTIVE', 'active'), ('RUNNING', 'active'),
  ('IN_PROGRESS', 'active'), ('EXECUTING', 'active'), ('PROCESSING', 'active'), ('RETRYING', 'active'),
  ('COMPLETED', 'completed'), ('COMPLETE', 'completed'), ('SUCCEEDED', 'completed'),
  ('SUCCESS', 'completed'), ('DONE', 'completed'), ('FINISHED', 'completed'), ('PASSED', 'completed'),
  ('FAILED', 'failed'), ('FAILURE', 'failed'), ('ERROR', 'failed'), ('ERRORED', 'failed'),
  ('PARTIAL', 'failed'), ('QUARANTINED', 'failed'), ('CRASHED', 'failed'), ('TIMEOUT', 'failed'),
  ('TIMED_OUT', 'failed'), ('EXPIRED', 'failed'), ('REJECTED', 'failed'),
  ('CANCELLED', 'cancelled'), ('CANCELED', 'cancelled'), ('ABORTED', 'cancelled'),
  ('STOPPED', 'cancelled'), ('TERMINATED', 'cancelled'), ('KILLED', 'cancelled'),
  ('SKIPPED', 'cancelled');

INSERT OR IGNORE INTO runchain_meta(key, value) VALUES
  ('schema_version', '1'),
  ('min_writer_version', '1'),
  ('epoch', '1'),
  ('database_uuid', lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2)
    || '-' || substr('89AB', 1 + (abs(random()) % 4), 1) || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6))));
