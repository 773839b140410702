-- Version 3: what a database in production needs.

-- Steps: what a chain keeps of its definition.
ALTER TABLE runchain_steps ADD COLUMN required INTEGER NOT NULL DEFAULT 1;
ALTER TABLE runchain_steps ADD COLUMN timeout_ms INTEGER;

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

-- Audit: what people asked for and did, found among all other events.
CREATE INDEX IF NOT EXISTS runchain_events_audit ON runchain_events(at_ms)
  WHERE type = 'REQUEST' OR type = 'OPERATOR_ACTION' OR type = 'INSTALLED';

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
-- Event logs: what is there already is told in no lifecycle log any more.
INSERT OR IGNORE INTO runchain_meta(key, value)
SELECT 'ingested_told', coalesce(max(id), 0) FROM runchain_ingested;

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

-- Tasks that have not ended: while there is one, its execution has not either.
CREATE INDEX IF NOT EXISTS runchain_derived_open ON runchain_derived(execution_id)
  WHERE kind = 'task' AND outcome IS NULL;

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
