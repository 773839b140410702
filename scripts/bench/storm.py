"""A storm: one UPDATE over many runs beside an orchestrator that goes on. What the writer pays for it,
how long holding it takes, and what other runs' chains and writers notice. Of two such writers one moves
the log into the database when it commits, as SQLite does by default, and one never does: what only the
first one waits for is that work, and the disk, and no lock of ours.

python3 scripts/bench/storm.py [RUNS]       needs target/release/runchain; 200,000 runs by default
"""

import os
import pathlib
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

RUNCHAIN = pathlib.Path(__file__).resolve().parents[2] / "target" / "release" / "runchain"
SETTINGS = {"RUNCHAIN_REQUIRED_TABLES": "runs", "RUNCHAIN_ARCHIVE_SETTLE_MS": "0"}
EVERY_S = 0.2
WRITERS = {"checkpoints": 1000, "never": 0}
WORDS = {"checkpoints": "checkpoints", "never": "never checkpoints"}


def connect(database):
    connection = sqlite3.connect(database, timeout=60, isolation_level=None)
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def prepare(folder, runs):
    database = folder / ".state" / "orchestration.db"
    database.parent.mkdir(parents=True)
    connection = connect(database)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT NOT NULL, created_at TEXT NOT NULL)")
    connection.execute("INSERT INTO runs WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
                       "SELECT lower(hex(randomblob(16))), 'RUNNING', '2000-01-01T00:00:00Z' FROM n", (runs,))
    return database, connection


def storm(connection):
    """Seconds of the statement and its commit."""
    begun = time.perf_counter()
    connection.execute("UPDATE runs SET status = 'EXPIRED' WHERE run_id NOT LIKE 'other%'")
    return time.perf_counter() - begun


def others(database, name, checkpoint_pages, stop, waits):
    """An orchestrator that ends a run every 200 ms; what each commit took."""
    connection, number = connect(database), 0
    connection.execute(f"PRAGMA wal_autocheckpoint = {checkpoint_pages}")
    while not stop.is_set():
        begun = time.perf_counter()
        connection.execute("INSERT INTO runs VALUES (?, 'COMPLETED', '2026-01-01T00:00:00Z')", (f"other-{name}-{number:05}",))
        waits.append((time.time(), time.perf_counter() - begun))
        number += 1
        time.sleep(EVERY_S)


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    with tempfile.TemporaryDirectory() as folder:
        bare = storm(prepare(pathlib.Path(folder, "bare"), runs)[1])
        database, connection = prepare(pathlib.Path(folder, "captured"), runs)
        environment = os.environ | SETTINGS
        subprocess.run([RUNCHAIN, "install", "--quiet", "--db", database], env=environment, check=True,
                       stdout=subprocess.DEVNULL)
        service = subprocess.Popen([RUNCHAIN, "drain", "--quiet", "--db", database], env=environment)
        stop, waits = threading.Event(), {name: [] for name in WRITERS}
        writers = [threading.Thread(target=others, args=(database, name, pages, stop, waits[name])) for name, pages in WRITERS.items()]
        for writer in writers:
            writer.start()
        time.sleep(3)
        begun = time.time()
        captured = storm(connection)
        committed = time.time()
        while connection.execute("SELECT coalesce(max(held), 0) FROM runchain_held_batches").fetchall()[0][0] < runs:
            time.sleep(0.02)
        held = time.time()
        time.sleep(3)
        stop.set()
        for writer in writers:
            writer.join()
        last = "SELECT count(*) FROM runs WHERE run_id LIKE 'other%' AND run_id NOT IN (SELECT run_id FROM runchain_steps WHERE step = 'report' AND state = 'done')"
        while connection.execute(last).fetchall()[0][0]:
            time.sleep(0.05)
        rss = [line for line in open(f"/proc/{service.pid}/status") if line.startswith("VmHWM")][0].split()[1]
        service.terminate()
        service.wait()
        ages = connection.execute("SELECT e.at_ms, s.finished_ms - e.at_ms FROM runchain_events AS e JOIN runchain_steps AS s "
                                  "ON s.run_id = e.run_id AND s.step = 'report' WHERE e.type = 'RUN_COMPLETED'").fetchall()
        print(f"{runs} runs in one UPDATE, WAL/NORMAL, SQLite {sqlite3.sqlite_version}")
        print(f"  bare {bare:.2f} s, with capture {captured:.2f} s: {(captured - bare) / runs * 1e6:.1f} us a row")
        print(f"  held {held - committed:.2f} s after the commit; events {connection.execute('SELECT count(*) FROM runchain_events').fetchall()[0][0]}, "
              f"steps of held runs {connection.execute('SELECT count(*) FROM runchain_steps WHERE run_id NOT LIKE ?', ('other%',)).fetchall()[0][0]}, peak memory {int(rss) / 1024:.0f} MB")
        for name, since, until in [("before", 0, begun), ("while it was held", committed, held), ("after", held, 9e9)]:
            chains = [age for at, age in ages if since * 1e3 <= at < until * 1e3]
            print(f"  others, {name}: end to report p50 {percentile(chains, 0.5)} max {max(chains)} ms, {len(chains)} chains")
            for writer, its in waits.items():
                commits = [took * 1e3 for at, took in its if since <= at - took and at < until]
                print(f"    commits of the writer that {WORDS[writer]}: {len(commits)}, p50 {percentile(commits, 0.5):.1f} "
                      f"p99 {percentile(commits, 0.99):.1f} max {max(commits):.1f} ms")


if __name__ == "__main__":
    main()
