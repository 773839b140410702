-- Version 3: what a database in production needs.

-- Audit: what people asked for and did, found among all other events.
CREATE INDEX IF NOT EXISTS runchain_events_audit ON runchain_events(at_ms)
  WHERE type = 'REQUEST' OR type = 'OPERATOR_ACTION' OR type = 'INSTALLED';
