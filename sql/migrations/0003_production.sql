-- Version 3: what a database in production needs.

-- Forgotten runs: who they were only who knows the id can tell.
--   digests  of the bags that were erased, a JSON array
CREATE TABLE IF NOT EXISTS runchain_forgotten (
  run_sha256 TEXT PRIMARY KEY NOT NULL,
  at_ms INTEGER NOT NULL,
  actor TEXT,
  reason TEXT,
  digests TEXT NOT NULL DEFAULT '[]'
) WITHOUT ROWID;
