-- runchain: what people ask, as views over runchain's own tables.
--
-- No view may name the user's table: a stored view on it stops every table rebuild (Alembic's batch
-- mode, Django's migrate). Nothing here may be newer than SQLite 3.24. Safe to read again.
BEGIN IMMEDIATE;

-- Where each run's chain stands, newest generation, and the last error of the run.
DROP VIEW IF EXISTS runchain_chains;
CREATE VIEW runchain_chains AS
SELECT r.run_id, r.status, r.phase, r.generation, r.monitor,
       (SELECT s.state FROM runchain_steps AS s
        WHERE s.run_id = r.run_id AND s.generation = r.generation AND s.step = 'archive') AS archive,
       (SELECT s.state FROM runchain_steps AS s
        WHERE s.run_id = r.run_id AND s.generation = r.generation AND s.step = 'report') AS report,
       strftime('%Y-%m-%dT%H:%M:%SZ', r.phase_since_ms / 1000, 'unixepoch') AS since,
       (SELECT a.message FROM runchain_alerts AS a WHERE a.run_id = r.run_id
        ORDER BY a.rule = 'run_failed', a.last_at_ms DESC, a.id DESC LIMIT 1) AS last_error
FROM runchain_runs AS r;

-- What asks for a person: dead steps, stalled runs, firing alerts.
DROP VIEW IF EXISTS runchain_problems;
CREATE VIEW runchain_problems AS
SELECT 'dead step' AS problem, run_id, step AS subject, error AS message,
       'SELECT runchain_retry(' || id || ');' AS remedy
FROM runchain_steps WHERE state = 'dead' AND finished_ms IS NULL
UNION ALL
SELECT 'stalled run', run_id, status, 'nothing of it changed since '
       || strftime('%Y-%m-%dT%H:%M:%SZ', stalled_since_ms / 1000, 'unixepoch'), 'look at the orchestrator'
FROM runchain_runs WHERE monitor = 'on' AND stalled_since_ms IS NOT NULL
UNION ALL
SELECT 'alert', run_id, subject, message,
       CASE WHEN rule = 'triggers_lost' THEN 'runchain install --repair, or SELECT runchain_install(''{"repair":true}'');'
            WHEN count = 1 THEN 'seen once' ELSE 'seen ' || count || ' times' END
FROM runchain_alerts WHERE state = 'firing' AND rule <> 'step_dead' AND rule <> 'run_stalled';

-- bytes read = stored + rejected, bytes of the file = read + pending; unaccounted_bytes is always 0.
-- unread_times counts events whose time nobody could read.
DROP VIEW IF EXISTS runchain_ingest_balance;
CREATE VIEW runchain_ingest_balance AS
SELECT path, size_bytes, offset_bytes AS read_bytes, stored_bytes, rejected_bytes,
       size_bytes - offset_bytes AS pending_bytes,
       offset_bytes - stored_bytes - rejected_bytes AS unaccounted_bytes,
       lines, stored, duplicates, rejected, format, coalesce(unread_times, 0) AS unread_times
FROM runchain_ingest_files LEFT JOIN runchain_ingest_readings ON file_id = id;

COMMIT;
