"""What the commands that people type cost on a large database.

    python3 scripts/bench/commands.py                       100,000 runs, 10,000,000 events
    python3 scripts/bench/commands.py --runs 1000 --events 100000
    python3 scripts/bench/commands.py --database FILE       used again if it is there, else kept there

Generates the database once (no executor could in the time): a user's table of runs, the chain of each with
its failures and lifecycle events (12 a run), a bag that the database knows, alerts, audit entries, and event
logs for the rest of the events. Then it runs each command five times and prints the median of its wall
clock, and of its CPU time. One run has a real bag, of which verify reads every byte. Needs target/release/runchain, or --binary.
"""

import argparse
import os
import pathlib
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIFECYCLE_OF_RUN = 12
SLOW_MS = 100
SETTINGS = {
    "RUNCHAIN_REQUIRED_TABLES": "runs",
    "RUNCHAIN_ARCHIVE_SETTLE_MS": "0",
    # What was generated comes in one piece, which is no storm.
    "RUNCHAIN_STORM_MAX_TRANSITIONS": "0",
    "NO_COLOR": "1",
}
REAL, FAILED = "real-run", "run-0000050"

# One run in 50 failed; of one in 1,000 a step is dead; the newest 20 are active. Times go back from now.
GENERATED = """
INSERT INTO runs
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :runs)
SELECT printf('run-%07d', i),
       CASE WHEN i > :runs - 20 THEN 'RUNNING' WHEN i % 50 = 0 THEN 'FAILED' ELSE 'COMPLETED' END,
       strftime('%Y-%m-%dT%H:%M:%SZ', (:now - (:runs - i) * 60000) / 1000, 'unixepoch') FROM n;

INSERT INTO runchain_runs(run_id, phase, status, generation, first_seen_ms, phase_since_ms, ended_event_id, monitor)
SELECT run_id, CASE status WHEN 'RUNNING' THEN 'active' WHEN 'FAILED' THEN 'failed' ELSE 'completed' END, status,
       status <> 'RUNNING', :now - (:runs - rowid) * 60000 - 30000, :now - (:runs - rowid) * 60000, NULL,
       CASE status WHEN 'RUNNING' THEN 'on' ELSE 'off' END
FROM runs;

INSERT INTO runchain_steps(run_id, generation, step, state, needs, ready_at_ms, attempts, max_attempts, created_ms,
                           started_ms, finished_ms, result, error)
SELECT r.run_id, 1, s.step,
       CASE WHEN r.rowid % 1000 = 0 AND s.step = 'report' THEN 'dead' ELSE 'done' END, s.needs, r.phase_since_ms,
       1, 5, r.phase_since_ms, r.phase_since_ms + 10,
       CASE WHEN r.rowid % 1000 = 0 AND s.step = 'report' THEN NULL ELSE r.phase_since_ms + 30 END,
       json_object('path', '.archive/' || r.run_id), NULL
FROM runchain_runs AS r
JOIN (SELECT 'archive' AS step, '[]' AS needs UNION ALL SELECT 'report', '["archive"]') AS s
WHERE r.phase <> 'active' ORDER BY r.rowid;

INSERT INTO runchain_failures(step_id, attempt, started_ms, ended_ms, error)
SELECT id, 1, started_ms, started_ms + 5, 'the disk was full' FROM runchain_steps WHERE id % 100 = 0 OR state = 'dead';

INSERT INTO archival_log(run_id, archive_path, archived_at, size_bytes, generation, digest)
SELECT run_id, '.archive/' || run_id, '2026-01-01T00:00:00+00:00', 20480, 1, 'sha256:' || run_id FROM runchain_runs
WHERE phase <> 'active' ORDER BY rowid;

INSERT INTO runchain_events(at_ms, type, run_id, generation, step, data)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :lifecycle)
SELECT :now - (:lifecycle - i) * (60000 / :of_run),
       CASE WHEN i % 1000 = 0 THEN 'REQUEST'
            ELSE CASE i % :of_run WHEN 0 THEN 'RUN_CREATED' WHEN 1 THEN 'MONITOR_STARTED' WHEN 2 THEN 'RUN_COMPLETED'
                                  WHEN 3 THEN 'MONITOR_STOPPED' WHEN 4 THEN 'RUN_ARCHIVED' WHEN 5 THEN 'REPORT_GENERATED'
                                  ELSE 'STEP_STARTED' END END,
       printf('run-%07d', 1 + i / :of_run), 1, NULL,
       CASE WHEN i % 1000 = 0 THEN '{"action":"retry","actor":"ann","answer":"done","reason":"again"}'
            ELSE '{"status":"COMPLETED","phase":"completed"}' END
FROM n;

INSERT INTO runchain_ingest_files(path, inode, device, head_bytes, head_sha256, size_bytes, offset_bytes, first_read_ms,
                                  last_read_ms)
VALUES ('state/events/pattern_events.jsonl', 1, 1, 1, 'x', 1, 1, 1, 1);

INSERT INTO runchain_ingested(event_id, type, at, at_ms, run_id, job_id, step_id, pattern_run_id, pattern_id, status,
                              details, file_id, line, offset_bytes)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :ingested)
SELECT printf('EVT-%010d', i), CASE WHEN i % 500 = 0 THEN 'pattern.execution.failed' ELSE 'pattern.execution.completed' END,
       NULL, :now - (:ingested - i) * 600, CASE WHEN i % 3 = 0 THEN printf('run-%07d', 1 + (i / 90) % :runs) END,
       printf('JOB-%07d', i / 90), 'load', printf('PRUN-%09d', i / 3), 'PAT-LOAD', 'success',
       '{"exit_code":0,"duration_seconds":1.5}', 1, i, i * 200
FROM n;

INSERT INTO runchain_alerts(fingerprint, rule, severity, state, run_id, subject, message, count, first_at_ms, last_at_ms)
SELECT 'run_failed:' || run_id, 'run_failed', 'error',
       CASE WHEN rowid > :runs - 2000 THEN 'firing' ELSE 'resolved' END, run_id, run_id, 'it failed', 1,
       phase_since_ms, phase_since_ms
FROM runchain_runs WHERE phase = 'failed' ORDER BY rowid;

INSERT INTO runchain_alert_changes(alert_id, was, state, at_ms) SELECT id, NULL, state, first_at_ms FROM runchain_alerts;

INSERT OR REPLACE INTO runchain_cursors(name, event_id)
SELECT name, (SELECT max(id) FROM runchain_events) FROM runchain_cursors;
UPDATE runchain_meta SET value = (SELECT max(id) FROM runchain_ingested) WHERE key = 'ingested_told';
DELETE FROM runchain_queue;
ANALYZE;
"""

COMMANDS = [
    ["status"], ["ls"], ["ls", "--phase", "failed"], ["ls", "--phase", "active"], ["ls", "--since", "1h"],
    ["show", FAILED], ["explain", FAILED], ["explain"], ["logs", FAILED], ["queue"],
    ["events"], ["events", "--type", "*.failed"], ["events", "--type", "NEVER_SEEN"], ["events", "--run", FAILED],
    ["alerts"], ["alerts", "list", "--all"], ["health"], ["doctor"], ["validate"],
    ["audit"], ["audit", "--run", FAILED], ["held"], ["verify", "--run", REAL], ["wait", REAL],
    ["monitor", "--once"], ["monitor", "--once", "--run", FAILED], ["monitor", "--json"],
]


class Project:
    """A folder with the database, and the binary that is asked."""

    def __init__(self, binary, database):
        self.binary, self.database = binary, database
        self.environment = os.environ | SETTINGS

    def runchain(self, *words):
        return subprocess.run([self.binary, *words, "--db", self.database], env=self.environment,
                              cwd=self.database.parent.parent, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)

    def generate(self, runs, events):
        self.database.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.database, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT NOT NULL, created_at TEXT NOT NULL)")
        connection.close()
        checked(self.runchain("install", "--capture", "sweep"))
        connection = sqlite3.connect(self.database, isolation_level=None)
        # Nothing is lost that could not be generated again.
        connection.executescript("PRAGMA synchronous = OFF; PRAGMA cache_size = -500000;")
        lifecycle = min(events, runs * LIFECYCLE_OF_RUN)
        values = {"runs": runs, "of_run": LIFECYCLE_OF_RUN, "lifecycle": lifecycle, "ingested": events - lifecycle,
                  "now": int(time.time() * 1000)}
        connection.execute("BEGIN IMMEDIATE")
        for statement in GENERATED.split(";\n"):
            named = {name: value for name, value in values.items() if f":{name}" in statement}
            connection.execute(statement, named)
        connection.execute("COMMIT")
        connection.execute("INSERT INTO runs VALUES (?, 'COMPLETED', '2026-01-01T00:00:00Z')", (REAL,))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        checked(self.runchain("finish", "--run", REAL))

    def size_mb(self):
        return self.database.stat().st_size / 1e6


def checked(finished):
    if finished.returncode:
        sys.exit(f"{finished.args} ended with {finished.returncode}: {finished.stderr}")


def measure(project, command, times):
    """Medians of wall clock and of CPU time (which a busy machine stretches less) in ms, and how it ended:
    several tell what they found by their exit code."""
    wall, cpu = [], []
    for _ in range(times):
        begun, spent = time.perf_counter(), cpu_of_children()
        finished = project.runchain(*command)
        wall.append((time.perf_counter() - begun) * 1e3)
        cpu.append((cpu_of_children() - spent) * 1e3)
    if finished.returncode == 2 or "panicked" in finished.stderr:
        sys.exit(f"{command} ended with {finished.returncode}: {finished.stderr}")
    return statistics.median(wall), statistics.median(cpu), finished.returncode


def cpu_of_children():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "target" / "release" / "runchain")
    parser.add_argument("--database", type=pathlib.Path, help="kept, and used again")
    parser.add_argument("--only", help="commands that begin with this word")
    options = parser.parse_args()
    if not options.binary.exists():
        sys.exit(f"{options.binary} is missing; run scripts/build first")
    with tempfile.TemporaryDirectory() as folder:
        database = (options.database or pathlib.Path(folder, ".state", "orchestration.db")).absolute()
        project = Project(options.binary.absolute(), database)
        if not database.exists():
            begun = time.perf_counter()
            project.generate(options.runs, options.events)
            print(f"generated in {time.perf_counter() - begun:.0f} s", flush=True)
        print(f"{options.runs:,} runs, {options.events:,} events, {project.size_mb():.0f} MB; "
              f"median of {options.times}, whole processes, load {os.getloadavg()[0]:.1f}\n")
        print("| command | ms | CPU ms | exit |\n| --- | --- | --- | --- |")
        slow = []
        for command in COMMANDS:
            if options.only and command[0] != options.only:
                continue
            took_ms, cpu_ms, code = measure(project, command, options.times)
            print(f"| `{' '.join(command)}` | {took_ms:.0f} | {cpu_ms:.0f} | {code} |", flush=True)
            if took_ms > SLOW_MS:
                slow.append(" ".join(command))
        print(f"\nslower than {SLOW_MS} ms: {', '.join(slow) or 'none'}")


if __name__ == "__main__":
    main()
