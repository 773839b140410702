-- runchain: drop what it has recorded. Read sql/uninstall.sql first.
--
-- archival_log, uet_executions and uet_tasks are left alone here: they may be the user's own.
-- `runchain uninstall --purge` knows which of them runchain made, and drops those too.
BEGIN IMMEDIATE;
DROP TABLE IF EXISTS runchain_ending;
DROP TABLE IF EXISTS runchain_counters;
DROP TABLE IF EXISTS runchain_flagged;
DROP TABLE IF EXISTS runchain_flag_cursors;
DROP TABLE IF EXISTS runchain_pace;
DROP TABLE IF EXISTS runchain_held;
DROP TABLE IF EXISTS runchain_held_batches;
DROP TABLE IF EXISTS runchain_forgotten;
DROP TABLE IF EXISTS runchain_alert_deliveries;
DROP TABLE IF EXISTS runchain_alert_heard;
DROP TABLE IF EXISTS runchain_alert_counts;
DROP TABLE IF EXISTS runchain_alert_changes;
DROP TABLE IF EXISTS runchain_alert_rules;
DROP TABLE IF EXISTS runchain_alerts;
DROP TABLE IF EXISTS runchain_derived;
DROP TABLE IF EXISTS runchain_ingest_rejects;
DROP TABLE IF EXISTS runchain_ingested;
DROP TABLE IF EXISTS runchain_ingest_readings;
DROP TABLE IF EXISTS runchain_ingest_files;
DROP TABLE IF EXISTS runchain_epochs;
DROP TABLE IF EXISTS runchain_cursors;
DROP TABLE IF EXISTS runchain_executors;
DROP TABLE IF EXISTS runchain_events;
DROP TABLE IF EXISTS runchain_failures;
DROP TABLE IF EXISTS runchain_pauses;
DROP TABLE IF EXISTS runchain_steps;
DROP TABLE IF EXISTS runchain_runs;
DROP TABLE IF EXISTS runchain_vocabulary;
DROP TABLE IF EXISTS runchain_queue;
DROP TABLE IF EXISTS runchain_meta;
COMMIT;
