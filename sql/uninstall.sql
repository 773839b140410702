-- runchain: take it off the user's table. For any stock shell, also on a half-dropped schema.
--
-- Triggers go first: a trigger whose table is gone makes every write to the user's table fail.
-- What runchain has recorded stays (sql/purge.sql drops it); the user's own objects are never
-- touched. An empty `sqlite_sequence` may remain: SQLite doesn't let anybody drop it.
BEGIN IMMEDIATE;
DROP TRIGGER IF EXISTS runchain_capture_insert;
DROP TRIGGER IF EXISTS runchain_capture_update;
DROP TRIGGER IF EXISTS runchain_capture_delete;
DROP VIEW IF EXISTS runchain_chains;
DROP VIEW IF EXISTS runchain_problems;
DROP VIEW IF EXISTS runchain_ingest_balance;
DROP TABLE IF EXISTS runchain_mapping;
COMMIT;
