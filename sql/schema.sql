-- runchain: every table that it keeps in the orchestrator's own database, schema version 3.
--
-- For a stock shell: sqlite3 .state/orchestration.db ".read sql/schema.sql" ".read sql/triggers.sql"
-- Safe to read again: nothing that exists is touched.
--
-- This file is the sum of sql/migrations/ (a test compares them). Nothing in it may be newer than
-- SQLite 3.24: one object that an older writer can't parse makes the whole database "malformed"
-- to it. Times are `_ms`: milliseconds since 1970-01-01T00:00:00Z.
BEGIN IMMEDIATE;

-- Versions and identity: schema_version, min_writer_version (the oldest schema version whose
-- binary may still write), database_uuid, epoch, owns.<table> (1: we created it, purge may drop it).
CREATE TABLE IF NOT EXISTS runchain_meta (
  key TEXT PRIMARY KEY NOT NULL,
  value TEXT
) WITHOUT ROWID;

-- What the capture triggers and requests append, in order; rows leave when they are expanded.
-- It stands on the path of somebody else's write: no constraint that can fail, no index but the
-- rowid, no type that converts.
--   action      insert, update, delete: from the triggers
--               flag: what a row of a [[flags]] table says (new_status the phase, step its word)
--               enqueue_chain, retry, cancel, redo, pause, resume, release_held, discard_held,
--               acknowledge_alert, resolve_alert: requests, by a function, the CLI or a plain INSERT
--               look: compare the run's row with what was last acted on (the sweep)
--   run_id      the run; old_run_id where an UPDATE changed it
--   step_id     retry and cancel: the step meant (else every step of run_id);
--               release_held and discard_held: the batch; acknowledge_alert and resolve_alert: the alert
--   step        pause and resume: the kind of steps, or '*' (also NULL) for every kind;
--               release_held: how many runs a minute at most (NULL: as fast as they are done)
--   actor, reason  who asked and why; they stand in the audit event
CREATE TABLE IF NOT EXISTS runchain_queue (
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

-- The user's table that is captured. One row while installed; uninstall drops the table.
CREATE TABLE IF NOT EXISTS runchain_mapping (
  table_name TEXT NOT NULL,
  id_column TEXT NOT NULL,
  status_column TEXT NOT NULL
);

-- Status word -> phase. Add your own: INSERT INTO runchain_vocabulary VALUES ('ARCHIVABLE','completed').
CREATE TABLE IF NOT EXISTS runchain_vocabulary (
  status TEXT PRIMARY KEY NOT NULL COLLATE NOCASE,
  phase TEXT NOT NULL CHECK (phase IN ('active', 'completed', 'failed', 'cancelled'))
) WITHOUT ROWID;

-- What was last acted on for each run; a row stays while the user's row exists.
--   generation      entries into a terminal phase so far
--   ended_event_id  the event RUN_COMPLETED of that generation
--   monitor         off, on, abandoned (active at install, but older than the backfill's limit)
CREATE TABLE IF NOT EXISTS runchain_runs (
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
CREATE INDEX IF NOT EXISTS runchain_runs_by_phase ON runchain_runs(phase, phase_since_ms);
CREATE INDEX IF NOT EXISTS runchain_runs_monitored ON runchain_runs(run_id) WHERE monitor = 'on';
CREATE INDEX IF NOT EXISTS runchain_runs_to_start ON runchain_runs(run_id) WHERE phase = 'active' AND monitor = 'off';
CREATE INDEX IF NOT EXISTS runchain_runs_to_stop ON runchain_runs(run_id) WHERE phase <> 'active' AND monitor = 'on';

-- The work: one row for each step of each generation's chain.
--   needs   JSON array of the steps that must be done first (state waiting until they are)
--   token   the fence: grows with every lease, is never reset
--   attempts counts starts, not leases
--   finished_ms is set when done or cancelled: history stays out of the index of what is live
--   note    what a deferred step remembers until it runs again
--   lost    how often its executor disappeared while it ran; such a step then runs alone
--   required 0: dead or cancelled, it holds nothing up that comes after it
--   timeout_ms of the command, as it was configured when the chain began
CREATE TABLE IF NOT EXISTS runchain_steps (
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
  required INTEGER NOT NULL DEFAULT 1,
  timeout_ms INTEGER,
  UNIQUE (run_id, generation, step)
);
CREATE INDEX IF NOT EXISTS runchain_steps_live ON runchain_steps(state, step, priority, ready_at_ms, id) WHERE finished_ms IS NULL;
CREATE INDEX IF NOT EXISTS runchain_steps_suspect ON runchain_steps(ready_at_ms) WHERE lost > 0;

-- Kinds of steps that are not leased for now; '*' is every kind.
CREATE TABLE IF NOT EXISTS runchain_pauses (
  step TEXT PRIMARY KEY NOT NULL,
  since_ms INTEGER NOT NULL,
  actor TEXT,
  reason TEXT
) WITHOUT ROWID;

-- Every attempt that did not succeed, kept whole also when the step is dead.
CREATE TABLE IF NOT EXISTS runchain_failures (
  id INTEGER PRIMARY KEY,
  step_id INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  executor_id TEXT,
  started_ms INTEGER,
  ended_ms INTEGER NOT NULL,
  error TEXT NOT NULL,
  output_tail TEXT
);
CREATE INDEX IF NOT EXISTS runchain_failures_by_step ON runchain_failures(step_id, attempt);

-- Lifecycle and audit; the projector writes each once, in order of id, to the logs.
CREATE TABLE IF NOT EXISTS runchain_events (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ms INTEGER NOT NULL,
  type TEXT NOT NULL,
  run_id TEXT,
  generation INTEGER,
  step TEXT,
  data TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX IF NOT EXISTS runchain_events_by_run ON runchain_events(run_id, id);
-- The audit trail among them, however many others there are.
CREATE INDEX IF NOT EXISTS runchain_events_audit ON runchain_events(at_ms)
  WHERE type = 'REQUEST' OR type = 'OPERATOR_ACTION' OR type = 'INSTALLED';

-- One row for each executor; its lease covers all the steps that it holds.
CREATE TABLE IF NOT EXISTS runchain_executors (
  executor_id TEXT PRIMARY KEY NOT NULL,
  host TEXT NOT NULL,
  pid INTEGER NOT NULL,
  version TEXT NOT NULL,
  schema_version INTEGER NOT NULL,
  started_ms INTEGER NOT NULL,
  beat_ms INTEGER NOT NULL,
  lease_until_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- How far the events are projected, by log.
CREATE TABLE IF NOT EXISTS runchain_cursors (
  name TEXT PRIMARY KEY NOT NULL,
  event_id INTEGER NOT NULL
) WITHOUT ROWID;

-- Event logs: one row for each file that was ever read (identity: inode and hash of its head; the
-- device number changes over reboots and is a hint only).
CREATE TABLE IF NOT EXISTS runchain_ingest_files (
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
CREATE INDEX IF NOT EXISTS runchain_ingest_files_by_inode ON runchain_ingest_files(inode);
CREATE INDEX IF NOT EXISTS runchain_ingest_files_by_path ON runchain_ingest_files(path);

-- Kept events. `details` and `extra` (fields without a column) are the JSON as it was written.
CREATE TABLE IF NOT EXISTS runchain_ingested (
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
CREATE INDEX IF NOT EXISTS runchain_ingested_by_job ON runchain_ingested(job_id, id);
CREATE INDEX IF NOT EXISTS runchain_ingested_by_run ON runchain_ingested(run_id, id) WHERE run_id IS NOT NULL;

CREATE TABLE IF NOT EXISTS runchain_ingest_rejects (
  id INTEGER PRIMARY KEY,
  file_id INTEGER NOT NULL,
  line INTEGER NOT NULL,
  offset_bytes INTEGER NOT NULL,
  length_bytes INTEGER NOT NULL,
  reason TEXT NOT NULL,
  start TEXT NOT NULL,
  at_ms INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS runchain_ingest_rejects_by_file ON runchain_ingest_rejects(file_id, offset_bytes);

-- Event logs: what else is known of a file. No row: an earlier version has begun it.
--   format, chosen_by  preset or mapping by which its lines are understood; detected, or given
--   mapping            where it is a mapping: its JSON
--   unread_times       events whose time nobody could read; it is kept as text
--   tail_*             hash of what stood before the checkpoint: a rewritten file has other bytes there
CREATE TABLE IF NOT EXISTS runchain_ingest_readings (
  file_id INTEGER PRIMARY KEY,
  format TEXT,
  chosen_by TEXT,
  mapping TEXT,
  unread_times INTEGER NOT NULL DEFAULT 0,
  tail_end_bytes INTEGER,
  tail_bytes INTEGER,
  tail_sha256 TEXT
);

-- What the kept events say about executions (jobs) and tasks (pattern runs), to be shown in the uet_*
-- tables. Each value is a least or a greatest, so that the order of the events doesn't matter.
--   succeeded_ms         the latest completion, also where a later failure decided
--   decided_ms, decided_by  time and event_id of the terminal event that decided the outcome
CREATE TABLE IF NOT EXISTS runchain_derived (
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

-- Tasks that have not ended: while there is one, its execution has not either.
CREATE INDEX IF NOT EXISTS runchain_derived_open ON runchain_derived(execution_id)
  WHERE kind = 'task' AND outcome IS NULL;

-- What people must see: one row for each fingerprint, however often it happens.
CREATE TABLE IF NOT EXISTS runchain_alerts (
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
CREATE INDEX IF NOT EXISTS runchain_alerts_firing ON runchain_alerts(last_at_ms) WHERE state = 'firing';

-- Storms: more runs than storm.max_transitions ended in a rush. Their phases are recorded, their chains
-- wait for a person: `runchain held`.
--   state      held, then releasing or discarding (asked for, done bit by bit), then released or discarded;
--              taken_back: the runs' rows were written again before anybody decided
--   held       runs that it ever held; what is left is held - released - discarded - taken_back
CREATE TABLE IF NOT EXISTS runchain_held_batches (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  state TEXT NOT NULL DEFAULT 'held' CHECK (
    state = 'held' OR state = 'releasing' OR state = 'discarding' OR state = 'released'
    OR state = 'discarded' OR state = 'taken_back'),
  since_ms INTEGER NOT NULL,
  first_at_ms INTEGER NOT NULL,
  last_at_ms INTEGER NOT NULL,
  first_run_id TEXT NOT NULL,
  last_run_id TEXT NOT NULL,
  held INTEGER NOT NULL DEFAULT 0,
  released INTEGER NOT NULL DEFAULT 0,
  discarded INTEGER NOT NULL DEFAULT 0,
  taken_back INTEGER NOT NULL DEFAULT 0,
  asked_ms INTEGER,
  actor TEXT,
  reason TEXT,
  per_minute INTEGER,
  released_before INTEGER NOT NULL DEFAULT 0,
  ended_ms INTEGER
);

-- The runs of batches that are not decided yet, in the order in which they ended; was_: what was last
-- acted on before, all NULL where the run was never seen.
CREATE TABLE IF NOT EXISTS runchain_held (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  batch_id INTEGER NOT NULL,
  run_id TEXT NOT NULL UNIQUE,
  was_phase TEXT,
  was_status TEXT,
  was_since_ms INTEGER,
  was_ended_event_id INTEGER
);
CREATE INDEX IF NOT EXISTS runchain_held_by_batch ON runchain_held(batch_id);

-- How many ends were let through lately, by capture time in slots of a tenth of storm.window_ms.
CREATE TABLE IF NOT EXISTS runchain_pace (
  slot_ms INTEGER PRIMARY KEY,
  ends INTEGER NOT NULL
);

-- Flags: how far each table that the configuration names under [[flags]] was read, by rowid.
CREATE TABLE IF NOT EXISTS runchain_flag_cursors (
  source TEXT PRIMARY KEY NOT NULL,
  after_rowid INTEGER NOT NULL
) WITHOUT ROWID;

-- Runs whose phase a flag decided while their row said something else (or there was none): as long as
-- the row says the same, it is no news.
CREATE TABLE IF NOT EXISTS runchain_flagged (
  run_id TEXT PRIMARY KEY NOT NULL,
  has_row INTEGER NOT NULL,
  row_status TEXT,
  source TEXT NOT NULL,
  at_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- Forgotten runs: who they were only who knows the id can tell.
--   digests  of the bags that were erased, a JSON array
CREATE TABLE IF NOT EXISTS runchain_forgotten (
  run_sha256 TEXT PRIMARY KEY NOT NULL,
  at_ms INTEGER NOT NULL,
  actor TEXT,
  reason TEXT,
  digests TEXT NOT NULL DEFAULT '[]'
) WITHOUT ROWID;

-- Epochs: a copied or restored database begins a new one when it is adopted (`runchain adopt`). A log
-- line, a bag and an idempotency key belong to (database_uuid, epoch); where there is no row, it is 1.
--   began_event_id  the event EPOCH_STARTED; what has a smaller id belongs to an earlier epoch
--   adopted_as      copy, restored
CREATE TABLE IF NOT EXISTS runchain_epochs (
  database_uuid TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  began_event_id INTEGER NOT NULL,
  began_ms INTEGER NOT NULL,
  adopted_as TEXT NOT NULL,
  actor TEXT,
  reason TEXT,
  PRIMARY KEY (database_uuid, epoch)
) WITHOUT ROWID;

-- Alerts: the rules that people wrote, beside the built-in ones. `runchain drain` keeps the rules of its
-- configuration here (origin config), so that also those who ingest by SQL judge by them; a DBA adds one by
-- INSERT. One of the configuration beats one of the same name; either beats the built-in one.
--   type      GLOB with * and ?; NULL: any
--   field, op, value  such as 'details.exit_code', '>=', '3'
--   per       what one alert is of: a task, a job, a type, or the whole rule
--   count     so many matching events within window_ms; 1: each
--   silence_ms  fires when no matching event came for so long
CREATE TABLE IF NOT EXISTS runchain_alert_rules (
  name TEXT NOT NULL,
  origin TEXT NOT NULL DEFAULT 'sql' CHECK (origin = 'sql' OR origin = 'config'),
  enabled INTEGER NOT NULL DEFAULT 1,
  severity TEXT NOT NULL DEFAULT 'error' CHECK (
    severity = 'info' OR severity = 'warning' OR severity = 'error' OR severity = 'critical'),
  type TEXT,
  status TEXT,
  field TEXT,
  op TEXT CHECK (
    op IS NULL OR op = '=' OR op = '!=' OR op = '<' OR op = '<=' OR op = '>' OR op = '>=' OR op = 'contains'),
  value TEXT,
  per TEXT NOT NULL DEFAULT 'task' CHECK (per = 'task' OR per = 'job' OR per = 'type' OR per = 'rule'),
  count INTEGER NOT NULL DEFAULT 1,
  window_ms INTEGER,
  silence_ms INTEGER,
  PRIMARY KEY (name, origin)
) WITHOUT ROWID;

-- Every change of an alert's state, in order: what is announced and sent. actor: by hand.
CREATE TABLE IF NOT EXISTS runchain_alert_changes (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  alert_id INTEGER NOT NULL,
  was TEXT,
  state TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  actor TEXT,
  reason TEXT
);
CREATE INDEX IF NOT EXISTS runchain_alert_changes_by_alert ON runchain_alert_changes(alert_id, id);

-- What rules count, by slots of time: matching events (what: the fingerprint) for a window, new alerts
-- (what: new) against floods, rejected lines (what: lines).
CREATE TABLE IF NOT EXISTS runchain_alert_counts (
  rule TEXT NOT NULL,
  what TEXT NOT NULL,
  slot_ms INTEGER NOT NULL,
  events INTEGER NOT NULL,
  PRIMARY KEY (rule, what, slot_ms)
) WITHOUT ROWID;

-- When a rule with silence_ms last heard of a matching event.
CREATE TABLE IF NOT EXISTS runchain_alert_heard (
  rule TEXT PRIMARY KEY NOT NULL,
  at_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- What is to be sent to a channel: a row for each change and channel. Channels are the configuration's.
--   state    pending, sent, dead (attempts used up), dropped (no such channel or alert any more)
--   message  rows that left, or leave, as one message: its number for who receives it
CREATE TABLE IF NOT EXISTS runchain_alert_deliveries (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  channel TEXT NOT NULL,
  change_id INTEGER NOT NULL,
  alert_id INTEGER NOT NULL,
  state TEXT NOT NULL DEFAULT 'pending' CHECK (
    state = 'pending' OR state = 'sent' OR state = 'dead' OR state = 'dropped'),
  digest INTEGER NOT NULL DEFAULT 0,
  message INTEGER,
  attempts INTEGER NOT NULL DEFAULT 0,
  due_ms INTEGER NOT NULL,
  done_ms INTEGER,
  error TEXT,
  UNIQUE (change_id, channel)
);
CREATE INDEX IF NOT EXISTS runchain_alert_deliveries_pending ON runchain_alert_deliveries(channel, due_ms, id) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS runchain_alert_deliveries_begun ON runchain_alert_deliveries(channel, message) WHERE state = 'pending' AND message IS NOT NULL;
CREATE INDEX IF NOT EXISTS runchain_alert_deliveries_dead ON runchain_alert_deliveries(channel, id) WHERE state = 'dead';
CREATE INDEX IF NOT EXISTS runchain_alert_deliveries_by_alert ON runchain_alert_deliveries(alert_id, channel, id);

-- The alerts that are not over, by rule.
CREATE INDEX IF NOT EXISTS runchain_alerts_open ON runchain_alerts(rule, id) WHERE state <> 'resolved';
CREATE INDEX IF NOT EXISTS runchain_alerts_by_run ON runchain_alerts(run_id, last_at_ms) WHERE run_id IS NOT NULL;

-- Counters for /metrics: sums over lifecycle events, as far as the event that the row 'upto' names.
--   label   the kind of steps, where there is one sum for each; else ''
CREATE TABLE IF NOT EXISTS runchain_counters (
  name TEXT NOT NULL,
  label TEXT NOT NULL,
  value INTEGER NOT NULL,
  PRIMARY KEY (name, label)
) WITHOUT ROWID;

-- Steps that were cancelled while somebody executed them, and haven't ended yet. Until then nothing of
-- their run is leased.
--   token     the fence by which they were executed
--   until_ms  nobody is waited for longer
CREATE TABLE IF NOT EXISTS runchain_ending (
  step_id INTEGER PRIMARY KEY,
  token INTEGER NOT NULL,
  until_ms INTEGER NOT NULL
);

-- Three tables that existing tools read by name. A database may have had them before us; then they
-- stay as they are, and purge leaves them.
INSERT OR IGNORE INTO runchain_meta(key, value)
SELECT 'owns.' || name, NOT EXISTS (SELECT 1 FROM sqlite_master AS m WHERE m.name = shared.name COLLATE NOCASE)
FROM (SELECT 'archival_log' AS name UNION ALL SELECT 'uet_executions' UNION ALL SELECT 'uet_tasks') AS shared;

CREATE TABLE IF NOT EXISTS archival_log (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  run_id TEXT,
  archive_path TEXT,
  archived_at TEXT,
  size_bytes INTEGER,
  generation INTEGER,
  digest TEXT
);

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

INSERT OR IGNORE INTO runchain_meta(key, value)
SELECT 'ingested_told', coalesce(max(id), 0) FROM runchain_ingested;

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
  ('schema_version', '3'),
  ('min_writer_version', '1'),
  ('epoch', '1'),
  ('database_uuid', lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2)
    || '-' || substr('89AB', 1 + (abs(random()) % 4), 1) || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6))));

COMMIT;
