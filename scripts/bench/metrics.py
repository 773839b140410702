"""What a scrape of /metrics costs beside a long history and a backlog, and what it costs a writer.

python3 scripts/bench/metrics.py [RUNS [PROGRAM]]     1,000,000 runs and target/release/runchain by default

Runs, their steps, events and rows in archival_log are written as runchain leaves them; besides there are
20,000 ready and 20,000 waiting steps of paused kinds, 1,000 dead ones, 500 firing alerts and 2,000 event logs.
"""

import http.client
import os
import pathlib
import sqlite3
import subprocess
import sys
import tempfile
import time

SCRAPES = 500
SETTINGS = {"RUNCHAIN_REQUIRED_TABLES": "runs", "RUNCHAIN_SWEEP_MS": "2000000000", "RUNCHAIN_RETENTION_EVERY_MS": "2000000000",
            "RUNCHAIN_BALLAST_BYTES": "0", "RUNCHAIN_INSTANCE": "bench"}
NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"

HISTORY = [
    "INSERT INTO runs {n} SELECT 'run-' || i, CASE i % 10 WHEN 0 THEN 'FAILED' ELSE 'COMPLETED' END FROM n",
    "INSERT INTO runchain_runs(run_id, phase, status, generation, first_seen_ms, phase_since_ms) {n} "
    "SELECT 'run-' || i, CASE i % 10 WHEN 0 THEN 'failed' ELSE 'completed' END, "
    "CASE i % 10 WHEN 0 THEN 'FAILED' ELSE 'COMPLETED' END, 1, i, i FROM n",
    "INSERT INTO runchain_steps(run_id, generation, step, state, ready_at_ms, max_attempts, created_ms, finished_ms) {n} "
    "SELECT 'run-' || i, 1, step, 'done', i, 5, i, i FROM n, (SELECT 'archive' AS step UNION ALL SELECT 'report')",
    "INSERT INTO runchain_events(at_ms, type, run_id, generation, step, data) {n} SELECT i, kind, 'run-' || i, 1, step, "
    "CASE kind WHEN 'RUN_COMPLETED' THEN CASE i % 10 WHEN 0 THEN '{{\"phase\":\"failed\"}}' ELSE '{{\"phase\":\"completed\"}}' END "
    "ELSE '{{\"size_bytes\":1000}}' END FROM n, (SELECT 'RUN_COMPLETED' AS kind, NULL AS step "
    "UNION ALL SELECT 'RUN_ARCHIVED', 'archive' UNION ALL SELECT 'REPORT_GENERATED', 'report')",
    "INSERT INTO archival_log(run_id, archive_path, size_bytes) {n} SELECT 'run-' || i, '/x', 1000 FROM n",
]
BACKLOG = [
    ("INSERT INTO runchain_steps(run_id, generation, step, state, ready_at_ms, max_attempts, created_ms) {n} "
     "SELECT 'late-' || i, 1, step, state, i, 5, i FROM n, (SELECT 'upload' AS step, 'ready' AS state UNION ALL SELECT 'page', 'waiting')", 20_000),
    ("INSERT INTO runchain_steps(run_id, generation, step, state, ready_at_ms, max_attempts, created_ms) {n} "
     "SELECT 'dead-' || i, 1, 'upload', 'dead', i, 5, i FROM n", 1_000),
    ("INSERT INTO runchain_alerts(fingerprint, rule, severity, state, subject, count, first_at_ms, last_at_ms) {n} "
     "SELECT i, 'r', 'error', 'firing', 's', 1, i, i FROM n", 500),
    ("INSERT INTO runchain_ingest_files(path, inode, device, head_bytes, head_sha256, size_bytes, first_read_ms, last_read_ms) {n} "
     "SELECT i, i, 1, 1, '', 100, i, i FROM n", 2_000),
    ("INSERT INTO runchain_pauses(step, since_ms) SELECT 'upload', ?", 1),
]


def prepare(folder, runs, program):
    database = folder / ".state" / "orchestration.db"
    database.parent.mkdir()
    connection = sqlite3.connect(database, isolation_level=None)
    connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;"
                             "CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT NOT NULL);")
    subprocess.run([program, "install", "--json", "--db", database], check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, **SETTINGS})
    connection.execute("BEGIN")
    for sql in HISTORY:
        connection.execute(sql.format(n=NUMBERS), (runs,))
    for sql, count in BACKLOG:
        connection.execute(sql.format(n=NUMBERS), (count,))
    connection.execute("DELETE FROM runchain_queue")
    # The logs have told of all of it already.
    for name in ("monitor", "archival"):
        connection.execute("INSERT OR REPLACE INTO runchain_cursors(name, event_id) SELECT ?, max(id) FROM runchain_events", (name,))
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return database


def scrape(port):
    begun = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/metrics")
    page = connection.getresponse().read().decode()
    connection.close()
    return time.perf_counter() - begun, page


def cpu_s(pid):
    """Seconds of a core that a process has used."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def until_counted(port, runs):
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        try:
            page = scrape(port)[1]
            total = sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith("runchain_steps_done_total"))
            if total >= 2 * runs:
                return
        except OSError:
            pass
        time.sleep(0.2)
    sys.exit("the history was not counted in ten minutes")


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    program = pathlib.Path(sys.argv[2]).resolve() if len(sys.argv) > 2 else root / "target" / "release" / "runchain"
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        database = prepare(folder, runs, program)
        print(f"{runs:,} runs, {database.stat().st_size / 1e6:,.0f} MB")
        port = 19_464
        begun = time.perf_counter()
        service = subprocess.Popen([program, "drain", "--quiet"], cwd=folder,
                                   env={**os.environ, **SETTINGS, "RUNCHAIN_METRICS_LISTEN": f"127.0.0.1:{port}"})
        try:
            until_counted(port, runs)
            print(f"history counted, once, {time.perf_counter() - begun:.1f} s after the start")
            before = cpu_s(service.pid)
            times = sorted(scrape(port)[0] for _ in range(SCRAPES))
            used = (cpu_s(service.pid) - before) / SCRAPES
            p50, p99 = times[len(times) // 2], times[int(len(times) * 0.99)]
            print(f"{SCRAPES} scrapes, connection and all: p50 {p50 * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms, {len(scrape(port)[1])} bytes; "
                  f"{used * 1e3:.2f} ms of a core each")
        finally:
            service.terminate()
            service.wait()


if __name__ == "__main__":
    main()
