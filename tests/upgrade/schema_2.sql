-- A database as release 0.1.0 (schema version 2) leaves it: `.dump` of what its own binary made, with
-- live steps in every state, an executor that was killed, and rows in every table. Never edit it.
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT NOT NULL, created_at TEXT, updated_at TEXT, metadata_json TEXT);
INSERT INTO runs VALUES('before','COMPLETED','2026-01-01T00:00:00Z','2026-01-01T00:00:00Z',NULL);
INSERT INTO runs VALUES('through','COMPLETED',NULL,NULL,NULL);
INSERT INTO runs VALUES('again','COMPLETED',NULL,NULL,NULL);
INSERT INTO runs VALUES('active','RUNNING',NULL,NULL,NULL);
INSERT INTO runs VALUES('running','COMPLETED',NULL,NULL,NULL);
INSERT INTO runs VALUES('leased','COMPLETED',NULL,NULL,NULL);
INSERT INTO runs VALUES('ready','COMPLETED',NULL,NULL,NULL);
INSERT INTO runs VALUES('dead','COMPLETED',NULL,NULL,NULL);
INSERT INTO runs VALUES('cancelled','FAILED',NULL,NULL,NULL);
INSERT INTO runs VALUES('queued','COMPLETED',NULL,NULL,NULL);
CREATE TABLE events(id INTEGER PRIMARY KEY, run_id TEXT, event_type TEXT);
INSERT INTO events VALUES(1,'through','BEGIN');
CREATE TABLE runchain_meta (
  key TEXT PRIMARY KEY NOT NULL,
  value TEXT
) WITHOUT ROWID;
INSERT INTO runchain_meta VALUES('baseline_of','runs.run_id');
INSERT INTO runchain_meta VALUES('database_uuid','6f1d2c3b-4a59-4768-8776-655443322110');
INSERT INTO runchain_meta VALUES('epoch','1');
INSERT INTO runchain_meta VALUES('min_writer_version','1');
INSERT INTO runchain_meta VALUES('owns.archival_log','1');
INSERT INTO runchain_meta VALUES('owns.uet_executions','1');
INSERT INTO runchain_meta VALUES('owns.uet_tasks','1');
INSERT INTO runchain_meta VALUES('schema_version','2');
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
INSERT INTO runchain_queue VALUES(1,'insert','queued',NULL,NULL,'COMPLETED',NULL,NULL,NULL,NULL,1735689720416);
INSERT INTO runchain_queue VALUES(2,'insert','deleted',NULL,NULL,'RUNNING',NULL,NULL,NULL,NULL,1735689720416);
INSERT INTO runchain_queue VALUES(3,'delete','deleted',NULL,'RUNNING',NULL,NULL,NULL,NULL,NULL,1735689720424);
INSERT INTO runchain_queue VALUES(4,'enqueue_chain','before',NULL,NULL,NULL,NULL,NULL,'nightly','wanted after all',1735689720458);
CREATE TABLE runchain_mapping (
  table_name TEXT NOT NULL,
  id_column TEXT NOT NULL,
  status_column TEXT NOT NULL
);
INSERT INTO runchain_mapping VALUES('runs','run_id','status');
CREATE TABLE runchain_vocabulary (
  status TEXT PRIMARY KEY NOT NULL COLLATE NOCASE,
  phase TEXT NOT NULL CHECK (phase IN ('active', 'completed', 'failed', 'cancelled'))
) WITHOUT ROWID;
INSERT INTO runchain_vocabulary VALUES('ABORTED','cancelled');
INSERT INTO runchain_vocabulary VALUES('ACTIVE','active');
INSERT INTO runchain_vocabulary VALUES('BLOCKED','active');
INSERT INTO runchain_vocabulary VALUES('CANCELED','cancelled');
INSERT INTO runchain_vocabulary VALUES('CANCELLED','cancelled');
INSERT INTO runchain_vocabulary VALUES('COMPLETE','completed');
INSERT INTO runchain_vocabulary VALUES('COMPLETED','completed');
INSERT INTO runchain_vocabulary VALUES('CRASHED','failed');
INSERT INTO runchain_vocabulary VALUES('CREATED','active');
INSERT INTO runchain_vocabulary VALUES('DONE','completed');
INSERT INTO runchain_vocabulary VALUES('ERROR','failed');
INSERT INTO runchain_vocabulary VALUES('ERRORED','failed');
INSERT INTO runchain_vocabulary VALUES('EXECUTING','active');
INSERT INTO runchain_vocabulary VALUES('EXPIRED','failed');
INSERT INTO runchain_vocabulary VALUES('FAILED','failed');
INSERT INTO runchain_vocabulary VALUES('FAILURE','failed');
INSERT INTO runchain_vocabulary VALUES('FINISHED','completed');
INSERT INTO runchain_vocabulary VALUES('IN_PROGRESS','active');
INSERT INTO runchain_vocabulary VALUES('KILLED','cancelled');
INSERT INTO runchain_vocabulary VALUES('PARTIAL','failed');
INSERT INTO runchain_vocabulary VALUES('PASSED','completed');
INSERT INTO runchain_vocabulary VALUES('PAUSED','active');
INSERT INTO runchain_vocabulary VALUES('PENDING','active');
INSERT INTO runchain_vocabulary VALUES('PROCESSING','active');
INSERT INTO runchain_vocabulary VALUES('QUARANTINED','failed');
INSERT INTO runchain_vocabulary VALUES('QUEUED','active');
INSERT INTO runchain_vocabulary VALUES('READY','active');
INSERT INTO runchain_vocabulary VALUES('REJECTED','failed');
INSERT INTO runchain_vocabulary VALUES('RETRYING','active');
INSERT INTO runchain_vocabulary VALUES('RUNNING','active');
INSERT INTO runchain_vocabulary VALUES('SCHEDULED','active');
INSERT INTO runchain_vocabulary VALUES('SKIPPED','cancelled');
INSERT INTO runchain_vocabulary VALUES('STARTED','active');
INSERT INTO runchain_vocabulary VALUES('STARTING','active');
INSERT INTO runchain_vocabulary VALUES('STOPPED','cancelled');
INSERT INTO runchain_vocabulary VALUES('SUCCEEDED','completed');
INSERT INTO runchain_vocabulary VALUES('SUCCESS','completed');
INSERT INTO runchain_vocabulary VALUES('TERMINATED','cancelled');
INSERT INTO runchain_vocabulary VALUES('TIMED_OUT','failed');
INSERT INTO runchain_vocabulary VALUES('TIMEOUT','failed');
INSERT INTO runchain_vocabulary VALUES('WAITING','active');
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
INSERT INTO runchain_runs VALUES('before','completed','COMPLETED',0,1735689697187,1735689697187,NULL,'off',NULL);
INSERT INTO runchain_runs VALUES('through','completed','COMPLETED',1,1735689697228,1735689697228,3,'off',NULL);
INSERT INTO runchain_runs VALUES('again','completed','COMPLETED',2,1735689697228,1735689697782,13,'off',NULL);
INSERT INTO runchain_runs VALUES('active','active','RUNNING',0,1735689697228,1735689697228,NULL,'on',NULL);
INSERT INTO runchain_runs VALUES('running','completed','COMPLETED',1,1735689698033,1735689698033,17,'off',NULL);
INSERT INTO runchain_runs VALUES('leased','completed','COMPLETED',1,1735689698033,1735689698033,19,'off',NULL);
INSERT INTO runchain_runs VALUES('ready','completed','COMPLETED',1,1735689698033,1735689698033,21,'off',NULL);
INSERT INTO runchain_runs VALUES('dead','completed','COMPLETED',1,1735689698033,1735689698033,23,'off',NULL);
INSERT INTO runchain_runs VALUES('cancelled','failed','FAILED',1,1735689698033,1735689698033,25,'off',NULL);
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
INSERT INTO runchain_steps VALUES(1,'through',1,'archive','done','[]',100,1735689697352,1,5,1,NULL,1735689697352,1735689697352,1735689697472,NULL,'{"path":"/srv/project/.archive/through","digest":"sha256:d3c8314631d52408339f4272e49bfe259c603187572504f03c5f5371210c0da1","size_bytes":1596,"payload_files":5,"settled":true,"replaced":null}',NULL,NULL,0,0,NULL);
INSERT INTO runchain_steps VALUES(2,'through',1,'report','done','["archive"]',100,1735689697472,1,5,1,NULL,1735689697352,1735689697472,1735689697506,NULL,'{"summary":"/srv/project/reports/through_summary.json","metrics":"/srv/project/reports/through_metrics.json"}',NULL,NULL,0,0,NULL);
INSERT INTO runchain_steps VALUES(3,'again',1,'archive','done','[]',100,1735689697352,1,5,1,NULL,1735689697352,1735689697352,1735689697506,NULL,'{"path":"/srv/project/.archive/again","digest":"sha256:8c980cc4975a6bc0b33073343c35132681fb811b2c6e18930003fb78e9720578","size_bytes":1346,"payload_files":4,"settled":true,"replaced":null}',NULL,NULL,0,0,NULL);
INSERT INTO runchain_steps VALUES(4,'again',1,'report','done','["archive"]',100,1735689697506,1,5,1,NULL,1735689697352,1735689697506,1735689697578,NULL,'{"summary":"/srv/project/reports/again_summary.json","metrics":"/srv/project/reports/again_metrics.json"}',NULL,NULL,0,0,NULL);
INSERT INTO runchain_steps VALUES(5,'again',2,'archive','done','[]',100,1735689697865,1,5,1,NULL,1735689697865,1735689697865,1735689697959,NULL,'{"path":"/srv/project/.archive/again","digest":"sha256:f3f1e9c4b68c3d8e497bf3bbd62aafacbc914afcea35c0375242bbb1166243a2","size_bytes":2212,"payload_files":4,"settled":true,"replaced":"/srv/project/.archive/again~g1-8c980cc4"}',NULL,NULL,0,0,NULL);
INSERT INTO runchain_steps VALUES(6,'again',2,'report','done','["archive"]',100,1735689697959,1,5,1,NULL,1735689697865,1735689697959,1735689697979,NULL,'{"summary":"/srv/project/reports/again_summary.json","metrics":"/srv/project/reports/again_metrics.json"}',NULL,NULL,0,0,NULL);
INSERT INTO runchain_steps VALUES(7,'running',1,'archive','running','[]',100,1735689698110,1,5,1,'host-1-00000001',1735689698110,1735689698110,NULL,NULL,NULL,NULL,NULL,0,0,NULL);
INSERT INTO runchain_steps VALUES(8,'running',1,'report','waiting','["archive"]',100,1735689698110,0,5,0,NULL,1735689698110,NULL,NULL,NULL,NULL,NULL,NULL,0,0,NULL);
INSERT INTO runchain_steps VALUES(9,'leased',1,'archive','leased','[]',100,1735689698110,0,5,1,'host-1-00000001',1735689698110,NULL,NULL,NULL,NULL,NULL,NULL,0,0,NULL);
INSERT INTO runchain_steps VALUES(10,'leased',1,'report','waiting','["archive"]',100,1735689698110,0,5,0,NULL,1735689698110,NULL,NULL,NULL,NULL,NULL,NULL,0,0,NULL);
INSERT INTO runchain_steps VALUES(11,'ready',1,'archive','ready','[]',100,1735689698110,0,5,1,NULL,1735689698110,NULL,NULL,NULL,NULL,NULL,NULL,0,0,NULL);
INSERT INTO runchain_steps VALUES(12,'ready',1,'report','waiting','["archive"]',100,1735689698110,0,5,0,NULL,1735689698110,NULL,NULL,NULL,NULL,NULL,NULL,0,0,NULL);
INSERT INTO runchain_steps VALUES(13,'dead',1,'archive','dead','[]',100,1735689698110,5,5,1,NULL,1735689698110,1735689698110,NULL,NULL,NULL,'it broke',NULL,0,0,NULL);
INSERT INTO runchain_steps VALUES(14,'dead',1,'report','waiting','["archive"]',100,1735689698110,0,5,0,NULL,1735689698110,NULL,NULL,NULL,NULL,NULL,NULL,0,0,NULL);
INSERT INTO runchain_steps VALUES(15,'cancelled',1,'archive','cancelled','[]',100,1735689698110,0,5,0,NULL,1735689698110,NULL,1735689698111,NULL,NULL,NULL,NULL,0,0,NULL);
INSERT INTO runchain_steps VALUES(16,'cancelled',1,'report','cancelled','["archive"]',100,1735689698110,0,5,0,NULL,1735689698110,NULL,1735689698111,NULL,NULL,NULL,NULL,0,0,NULL);
CREATE TABLE runchain_pauses (
  step TEXT PRIMARY KEY NOT NULL,
  since_ms INTEGER NOT NULL,
  actor TEXT,
  reason TEXT
) WITHOUT ROWID;
INSERT INTO runchain_pauses VALUES('upload',1,'operator','the store is down');
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
INSERT INTO runchain_failures VALUES(1,13,5,'host-1-00000001',1735689698110,1735689698111,'it broke',NULL);
CREATE TABLE runchain_events (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ms INTEGER NOT NULL,
  type TEXT NOT NULL,
  run_id TEXT,
  generation INTEGER,
  step TEXT,
  data TEXT NOT NULL DEFAULT '{}'
);
INSERT INTO runchain_events VALUES(1,1735689697187,'INSTALLED',NULL,NULL,NULL,'{"mapping":{"table":"runs","id_column":"run_id","status_column":"status"},"migrations":["0001_runs_and_steps","0002_event_logs"],"history":{"rows":1,"finished_left_alone":1,"queued":0,"abandoned":0,"abandoned_ids":[]}}');
INSERT INTO runchain_events VALUES(2,1735689697228,'RUN_CREATED','through',0,NULL,'{"status":"COMPLETED"}');
INSERT INTO runchain_events VALUES(3,1735689697228,'RUN_COMPLETED','through',1,NULL,'{"status":"COMPLETED","phase":"completed"}');
INSERT INTO runchain_events VALUES(4,1735689697228,'RUN_CREATED','again',0,NULL,'{"status":"FAILED"}');
INSERT INTO runchain_events VALUES(5,1735689697228,'RUN_COMPLETED','again',1,NULL,'{"status":"FAILED","phase":"failed"}');
INSERT INTO runchain_events VALUES(6,1735689697228,'RUN_CREATED','active',0,NULL,'{"status":"RUNNING"}');
INSERT INTO runchain_events VALUES(7,1735689697391,'MONITOR_STARTED','active',0,NULL,'{"status":"RUNNING","heartbeat_ms":3600000,"stall_after_ms":300000}');
INSERT INTO runchain_events VALUES(8,1735689697472,'RUN_ARCHIVED','through',1,'archive','{"path":"/srv/project/.archive/through","digest":"sha256:d3c8314631d52408339f4272e49bfe259c603187572504f03c5f5371210c0da1","size_bytes":1596,"payload_files":5,"settled":true,"replaced":null}');
INSERT INTO runchain_events VALUES(9,1735689697506,'RUN_ARCHIVED','again',1,'archive','{"path":"/srv/project/.archive/again","digest":"sha256:8c980cc4975a6bc0b33073343c35132681fb811b2c6e18930003fb78e9720578","size_bytes":1346,"payload_files":4,"settled":true,"replaced":null}');
INSERT INTO runchain_events VALUES(10,1735689697506,'REPORT_GENERATED','through',1,'report','{"summary":"/srv/project/reports/through_summary.json","metrics":"/srv/project/reports/through_metrics.json"}');
INSERT INTO runchain_events VALUES(11,1735689697578,'REPORT_GENERATED','again',1,'report','{"summary":"/srv/project/reports/again_summary.json","metrics":"/srv/project/reports/again_metrics.json"}');
INSERT INTO runchain_events VALUES(12,1735689697759,'RUN_RESTARTED','again',1,NULL,'{"status":"RUNNING","was":"failed"}');
INSERT INTO runchain_events VALUES(13,1735689697782,'RUN_COMPLETED','again',2,NULL,'{"status":"COMPLETED","phase":"completed"}');
INSERT INTO runchain_events VALUES(14,1735689697959,'RUN_ARCHIVED','again',2,'archive','{"path":"/srv/project/.archive/again","digest":"sha256:f3f1e9c4b68c3d8e497bf3bbd62aafacbc914afcea35c0375242bbb1166243a2","size_bytes":2212,"payload_files":4,"settled":true,"replaced":"/srv/project/.archive/again~g1-8c980cc4"}');
INSERT INTO runchain_events VALUES(15,1735689697979,'REPORT_GENERATED','again',2,'report','{"summary":"/srv/project/reports/again_summary.json","metrics":"/srv/project/reports/again_metrics.json"}');
INSERT INTO runchain_events VALUES(16,1735689698033,'RUN_CREATED','running',0,NULL,'{"status":"COMPLETED"}');
INSERT INTO runchain_events VALUES(17,1735689698033,'RUN_COMPLETED','running',1,NULL,'{"status":"COMPLETED","phase":"completed"}');
INSERT INTO runchain_events VALUES(18,1735689698033,'RUN_CREATED','leased',0,NULL,'{"status":"COMPLETED"}');
INSERT INTO runchain_events VALUES(19,1735689698033,'RUN_COMPLETED','leased',1,NULL,'{"status":"COMPLETED","phase":"completed"}');
INSERT INTO runchain_events VALUES(20,1735689698033,'RUN_CREATED','ready',0,NULL,'{"status":"COMPLETED"}');
INSERT INTO runchain_events VALUES(21,1735689698033,'RUN_COMPLETED','ready',1,NULL,'{"status":"COMPLETED","phase":"completed"}');
INSERT INTO runchain_events VALUES(22,1735689698033,'RUN_CREATED','dead',0,NULL,'{"status":"COMPLETED"}');
INSERT INTO runchain_events VALUES(23,1735689698033,'RUN_COMPLETED','dead',1,NULL,'{"status":"COMPLETED","phase":"completed"}');
INSERT INTO runchain_events VALUES(24,1735689698033,'RUN_CREATED','cancelled',0,NULL,'{"status":"FAILED"}');
INSERT INTO runchain_events VALUES(25,1735689698033,'RUN_COMPLETED','cancelled',1,NULL,'{"status":"FAILED","phase":"failed"}');
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
INSERT INTO runchain_executors VALUES('host-1-00000001','host',12630,'0.1.0',2,1735689698064,1735689698110,1735689728110);
CREATE TABLE runchain_cursors (
  name TEXT PRIMARY KEY NOT NULL,
  event_id INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO runchain_cursors VALUES('log.archival',15);
INSERT INTO runchain_cursors VALUES('log.monitor',15);
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
INSERT INTO runchain_ingest_files VALUES(1,'/srv/project/state/events/pattern_events.jsonl',11214851,65024,856,'d1ede47b185ba5fae18d8c3e247cdb59f15dcb05718881f732e6ab60ff58ca3d',856,856,5,4,0,1,840,16,1735689697724,1735689829894);
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
INSERT INTO runchain_ingested VALUES(1,'01J000000000000000000000A1','pattern.execution.started','2026-01-01T00:00:01Z',1767225601000,'through',NULL,NULL,NULL,NULL,NULL,'{}','{"execution_id":"x1","severity":"INFO"}',1,1,0);
INSERT INTO runchain_ingested VALUES(2,'01J000000000000000000000A2','pattern.execution.failed','2026-01-01T00:00:02Z',1767225602000,'through',NULL,NULL,NULL,NULL,NULL,'{"error":"it broke"}','{"execution_id":"x1","severity":"ERROR"}',1,2,185);
INSERT INTO runchain_ingested VALUES(3,'01J000000000000000000000B1','pattern.execution.started','2026-01-01T00:00:03Z',1767225603000,NULL,'JOB-1',NULL,'PRUN-1','PAT-1',NULL,'{}','{"severity":"INFO"}',1,4,404);
INSERT INTO runchain_ingested VALUES(4,'01J000000000000000000000B2','pattern.execution.failed','2026-01-01T00:00:04Z',1767225604000,NULL,'JOB-1',NULL,'PRUN-1','PAT-1',NULL,'{"error_message":"too slow"}','{"severity":"ERROR"}',1,5,617);
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
INSERT INTO runchain_ingest_rejects VALUES(1,1,3,388,16,'not a JSON object: expected ident at line 1 column 2','this is no JSON',1735689697724);
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
INSERT INTO runchain_derived VALUES('execution','JOB-1',NULL,NULL,1767225603000,1767225604000,NULL,'failed',1767225604000,'01J000000000000000000000B2','{"error_message":"too slow"}');
INSERT INTO runchain_derived VALUES('task','PRUN-1','JOB-1','PAT-1',1767225603000,1767225604000,NULL,'failed',1767225604000,'01J000000000000000000000B2','{"error_message":"too slow"}');
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
INSERT INTO runchain_alerts VALUES(1,'["event.failed",null,null,"pattern.execution.failed"]','event.failed','error','firing','through','pattern.execution.failed','pattern.execution.failed',1,1767225602000,1767225602000);
INSERT INTO runchain_alerts VALUES(2,'["event.failed","PRUN-1","JOB-1","pattern.execution.failed"]','event.failed','error','firing','JOB-1','PRUN-1','too slow',1,1767225604000,1767225604000);
CREATE TABLE archival_log (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  run_id TEXT,
  archive_path TEXT,
  archived_at TEXT,
  size_bytes INTEGER,
  generation INTEGER,
  digest TEXT
);
INSERT INTO archival_log VALUES(1,'through','/srv/project/.archive/through','2025-01-01T00:01:17.472+00:00',1596,1,'sha256:d3c8314631d52408339f4272e49bfe259c603187572504f03c5f5371210c0da1');
INSERT INTO archival_log VALUES(2,'again','/srv/project/.archive/again','2025-01-01T00:01:17.506+00:00',1346,1,'sha256:8c980cc4975a6bc0b33073343c35132681fb811b2c6e18930003fb78e9720578');
INSERT INTO archival_log VALUES(3,'again','/srv/project/.archive/again','2025-01-01T00:01:17.959+00:00',2212,2,'sha256:f3f1e9c4b68c3d8e497bf3bbd62aafacbc914afcea35c0375242bbb1166243a2');
CREATE TABLE uet_executions (
  execution_id TEXT PRIMARY KEY,
  phase_name TEXT,
  started_at TEXT,
  completed_at TEXT,
  status TEXT,
  metadata JSON
);
INSERT INTO uet_executions VALUES('JOB-1',NULL,'2026-01-01T00:00:03.000+00:00','2026-01-01T00:00:04.000+00:00','failed','{"last_error":{"error_message":"too slow"}}');
CREATE TABLE uet_tasks (
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
INSERT INTO uet_tasks VALUES('PRUN-1','JOB-1','PAT-1',NULL,'failed','2026-01-01T00:00:03.000+00:00','2026-01-01T00:00:03.000+00:00','2026-01-01T00:00:04.000+00:00','{"error_message":"too slow"}');
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('runchain_events',25);
INSERT INTO sqlite_sequence VALUES('runchain_steps',16);
INSERT INTO sqlite_sequence VALUES('archival_log',3);
CREATE INDEX runchain_runs_by_phase ON runchain_runs(phase, phase_since_ms);
CREATE INDEX runchain_runs_monitored ON runchain_runs(run_id) WHERE monitor = 'on';
CREATE INDEX runchain_runs_to_start ON runchain_runs(run_id) WHERE phase = 'active' AND monitor = 'off';
CREATE INDEX runchain_runs_to_stop ON runchain_runs(run_id) WHERE phase <> 'active' AND monitor = 'on';
CREATE INDEX runchain_steps_live ON runchain_steps(state, step, priority, ready_at_ms, id) WHERE finished_ms IS NULL;
CREATE INDEX runchain_steps_suspect ON runchain_steps(ready_at_ms) WHERE lost > 0;
CREATE INDEX runchain_failures_by_step ON runchain_failures(step_id, attempt);
CREATE INDEX runchain_events_by_run ON runchain_events(run_id, id);
CREATE INDEX runchain_ingest_files_by_inode ON runchain_ingest_files(inode);
CREATE INDEX runchain_ingest_files_by_path ON runchain_ingest_files(path);
CREATE INDEX runchain_ingested_by_job ON runchain_ingested(job_id, id);
CREATE INDEX runchain_ingested_by_run ON runchain_ingested(run_id, id) WHERE run_id IS NOT NULL;
CREATE INDEX runchain_ingest_rejects_by_file ON runchain_ingest_rejects(file_id, offset_bytes);
CREATE INDEX runchain_alerts_firing ON runchain_alerts(last_at_ms) WHERE state = 'firing';
CREATE VIEW runchain_chains AS
SELECT r.run_id, r.status, r.phase, r.generation, r.monitor,
       (SELECT s.state FROM runchain_steps AS s
        WHERE s.run_id = r.run_id AND s.generation = r.generation AND s.step = 'archive') AS archive,
       (SELECT s.state FROM runchain_steps AS s
        WHERE s.run_id = r.run_id AND s.generation = r.generation AND s.step = 'report') AS report,
       strftime('%Y-%m-%dT%H:%M:%SZ', r.phase_since_ms / 1000, 'unixepoch') AS since
FROM runchain_runs AS r;
CREATE VIEW runchain_problems AS
SELECT 'dead step' AS problem, run_id, step AS subject, error AS message,
       'SELECT runchain_retry(' || id || ');' AS remedy
FROM runchain_steps WHERE state = 'dead' AND finished_ms IS NULL
UNION ALL
SELECT 'stalled run', run_id, status, 'nothing of it changed since '
       || strftime('%Y-%m-%dT%H:%M:%SZ', stalled_since_ms / 1000, 'unixepoch'), 'look at the orchestrator'
FROM runchain_runs WHERE monitor = 'on' AND stalled_since_ms IS NOT NULL
UNION ALL
SELECT 'alert', run_id, subject, message, CASE count WHEN 1 THEN 'seen once' ELSE 'seen ' || count || ' times' END
FROM runchain_alerts WHERE state = 'firing';
CREATE VIEW runchain_ingest_balance AS
SELECT path, size_bytes, offset_bytes AS read_bytes, stored_bytes, rejected_bytes,
       size_bytes - offset_bytes AS pending_bytes,
       offset_bytes - stored_bytes - rejected_bytes AS unaccounted_bytes,
       lines, stored, duplicates, rejected
FROM runchain_ingest_files;
CREATE TRIGGER runchain_capture_insert AFTER INSERT ON "runs"
WHEN NEW."run_id" IS NOT NULL
BEGIN
  INSERT INTO runchain_queue(action, run_id, new_status)
  VALUES ('insert', NEW."run_id", NEW."status");
END;
CREATE TRIGGER runchain_capture_update AFTER UPDATE OF "run_id", "status" ON "runs"
WHEN (OLD."status" IS NOT NEW."status" OR OLD."run_id" IS NOT NEW."run_id" COLLATE BINARY)
  AND (OLD."run_id" IS NOT NULL OR NEW."run_id" IS NOT NULL)
BEGIN
  INSERT INTO runchain_queue(action, run_id, old_run_id, old_status, new_status)
  VALUES ('update', NEW."run_id", OLD."run_id", OLD."status", NEW."status");
END;
CREATE TRIGGER runchain_capture_delete AFTER DELETE ON "runs"
WHEN OLD."run_id" IS NOT NULL
BEGIN
  INSERT INTO runchain_queue(action, run_id, old_status)
  VALUES ('delete', OLD."run_id", OLD."status");
END;
COMMIT;
