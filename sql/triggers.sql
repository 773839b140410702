-- runchain: the capture triggers, on the default mapping (table runs, columns run_id and status).
--
-- For a stock shell: sqlite3 .state/orchestration.db ".read sql/schema.sql" ".read sql/triggers.sql"
-- Another table or other columns: SELECT runchain_install('{"table":"runs","id":"run_id","status":"state"}')
-- or `runchain install --table runs --status-column state`; both fill in this same text.
--
-- Each write to the user's table costs one append. Everything else (is this word terminal? is it
-- news?) is judged later, outside the writer's transaction. The triggers run in processes that
-- have never heard of us: built-in functions only, nothing newer than SQLite 3.24, nothing that
-- can fail. An outer INSERT OR REPLACE or OR IGNORE overrides conflict clauses in here, so there is
-- no constraint for it to act on.
BEGIN IMMEDIATE;

-- Tables first: a trigger whose table is missing makes every write to the user's table fail.
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
CREATE TABLE IF NOT EXISTS runchain_mapping (
  table_name TEXT NOT NULL,
  id_column TEXT NOT NULL,
  status_column TEXT NOT NULL
);
DELETE FROM runchain_mapping;
INSERT INTO runchain_mapping(table_name, id_column, status_column) VALUES ('runs', 'run_id', 'status');

DROP TRIGGER IF EXISTS runchain_capture_insert;
DROP TRIGGER IF EXISTS runchain_capture_update;
DROP TRIGGER IF EXISTS runchain_capture_delete;

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

-- guard: only for a stock shell, which goes on after an error. A trigger that names a missing
-- column is accepted and then fails every write, so a wrong mapping takes all of the above back.
CREATE TEMP TABLE runchain_guard(columns INTEGER);
CREATE TEMP TRIGGER runchain_guard_check BEFORE INSERT ON runchain_guard WHEN NEW.columns <> 2
BEGIN
  SELECT RAISE(ROLLBACK, 'runchain: nothing installed: this database has no table runs with the columns run_id and status; name yours with runchain install --table NAME --id-column NAME --status-column NAME');
END;
INSERT INTO runchain_guard SELECT count(*) FROM pragma_table_info('runs') WHERE lower(name) IN ('run_id', 'status');
DROP TABLE temp.runchain_guard;
-- end of guard

COMMIT;
