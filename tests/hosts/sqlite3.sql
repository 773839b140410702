-- The stock shell. After a failure it goes on with the next line.
.load ./librunchain
.load ./librunchain
.print host sqlite3 shell
SELECT 'sqlite ' || sqlite_version();
SELECT 'validate ' || monitor_validate();
SELECT 'ingest ' || ingest_events('pattern_events.jsonl');
SELECT 'enqueue ' || enqueue_chain('run-1');

.connection 1
.open .state/orchestration.db
.load ./librunchain
SELECT 'second ' || runchain_version();
BEGIN IMMEDIATE;

.connection 0
.print error
SELECT ingest_events('missing.jsonl');
.print busy
SELECT enqueue_chain('run-1');

.connection 1
ROLLBACK;
.connection 0
SELECT 'after ' || enqueue_chain('run-1');
