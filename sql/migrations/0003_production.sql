-- Version 3: what a database in production needs.

-- Steps: what a chain keeps of its definition.
ALTER TABLE runchain_steps ADD COLUMN required INTEGER NOT NULL DEFAULT 1;
ALTER TABLE runchain_steps ADD COLUMN timeout_ms INTEGER;
