-- Version 3: what a database in production needs.

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
