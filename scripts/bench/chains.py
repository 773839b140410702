"""Whole built-in chains: from finished runs to bags and reports, and the memory that takes."""

import os
import subprocess
import time

from capture import RUNS
from peers import connect

REPEATS = 5


def prepare(bench, database, journal, runs):
    connection = connect(database, journal, "NORMAL")
    connection.execute(RUNS)
    connection.execute("CREATE TABLE step_attempts(id INTEGER PRIMARY KEY, run_id TEXT, step_name TEXT, status TEXT, "
                       "started_at TEXT, completed_at TEXT, result_json TEXT)")
    connection.execute("CREATE INDEX step_attempts_by_run ON step_attempts(run_id)")
    bench.install(database)
    with connection:
        for number in range(runs):
            run_id = f"run-{number:05}"
            connection.execute("INSERT INTO runs VALUES (?, 'COMPLETED', '2026-01-01T00:00:00Z', '2026-01-01T00:01:00Z', '{}')", (run_id,))
            for step in ("plan", "build", "test"):
                connection.execute("INSERT INTO step_attempts(run_id, step_name, status, started_at, completed_at) VALUES "
                                   "(?, ?, 'COMPLETED', '2026-01-01T00:00:00Z', '2026-01-01T00:01:00Z')", (run_id, step))
    return connection


def drain(bench, database):
    """Seconds and peak memory (MB) of one `runchain drain --until-idle`."""
    begun = time.perf_counter()
    process = subprocess.Popen([bench.runchain, "drain", "--until-idle", "--quiet", "--db", database],
                               env=os.environ | {"RUNCHAIN_REQUIRED_TABLES": "runs", "RUNCHAIN_ARCHIVE_SETTLE_MS": "0",
                                                  "RUNCHAIN_STORM_MAX_TRANSITIONS": "0"})
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"runchain drain ended with {process.returncode}")
    return seconds, usage.ru_maxrss / 1024


def chains(bench, results):
    # With a rollback journal it is slower by so much that a fifth of the runs says the same.
    for journal, runs in [("WAL", bench.size(1_000, 200)), ("DELETE", bench.size(200, 50))]:
        rates, peaks = [], []
        for _ in range(REPEATS):
            with results.scratch("chains") as folder:
                database = folder / ".state" / "orchestration.db"
                database.parent.mkdir()
                connection = prepare(bench, database, journal, runs)
                seconds, peak_mb = drain(bench, database)
                archived = connection.execute("SELECT count(*) FROM archival_log").fetchall()[0][0]
                reported = len(list((folder / "reports").glob("*_summary.json")))
                connection.close()
            if (archived, reported) != (runs, runs):
                raise RuntimeError(f"of {runs} runs, {archived} were archived and {reported} reported")
            rates.append(runs / seconds)
            peaks.append(peak_mb)
        results.rates("built-in chains (finished to archived and reported)", "runchain", journal, "FULL", "runs/s", rates, runs,
                      "no peer does this; 4 workers")
        figure = {"median": sorted(peaks)[len(peaks) // 2], "max": max(peaks)}
        results.add("peak memory of the executor in that", "runchain", journal, "FULL", "MB", figure, runs, True)
