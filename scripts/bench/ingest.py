"""Event logs into a database: ours in a stock shell and in our binary, its floor, and what people use instead."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import events

REPEATS = 3
LOOP = """
import json, sqlite3, sys
database, log = sys.argv[1:]
connection = sqlite3.connect(database)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("PRAGMA synchronous = NORMAL")
connection.execute("CREATE TABLE events(event_id TEXT PRIMARY KEY, type TEXT, at TEXT, job TEXT, run TEXT, pattern TEXT, status TEXT, step TEXT, details TEXT)")
batch = []
def store():
    connection.executemany("INSERT INTO events VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING", batch)
    connection.commit()
    batch.clear()
for line in open(log):
    try:
        e = json.loads(line)
    except ValueError:
        continue
    batch.append((e["event_id"], e["event_type"], e["timestamp"], e["job_id"], e["pattern_run_id"], e["pattern_id"], e["status"], e["step_id"], json.dumps(e["details"])))
    if len(batch) == 5000:
        store()
store()
"""
DUCKDB = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1])
connection.execute("CREATE TABLE events AS SELECT * FROM read_json(?, format = 'newline_delimited', ignore_errors = true)", [sys.argv[2]])
"""


def run(command, **options):
    """Wall time in seconds and peak memory in MB of one process, and its output.

    The peak is asked of the process as it runs: what wait4 says includes the memory of who started it.
    """
    begun, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, **options)
        while process.poll() is None:
            peak = max(peak, peak_kb(process.pid))
            try:
                process.wait(0.01)
            except subprocess.TimeoutExpired:
                pass
        took = time.perf_counter() - begun
        if process.returncode:
            raise RuntimeError(f"{command[0]} ended with {process.returncode}")
        output.seek(0)
        return took, peak / 1024, output.read()


def peak_kb(pid):
    try:
        return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0])
    except (OSError, IndexError):  # It has just ended.
        return 0


class Ingest:
    """Who takes a log in. Each method takes a folder and a log, and returns seconds and peak memory."""

    def __init__(self, bench):
        self.bench = bench
        self.packages = {**os.environ, "PYTHONPATH": str(bench.peers.folder), "PYTHONDONTWRITEBYTECODE": "1"}

    def database(self, folder):
        """A state database as an orchestrator has it, installed, in WAL."""
        path = folder / "orchestration.db"
        sql = "PRAGMA journal_mode=WAL; CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT);"
        subprocess.run(["sqlite3", path, sql], check=True, stdout=subprocess.DEVNULL)
        (folder / "runchain.toml").write_text('required_tables = ["runs"]\n')
        subprocess.run([self.bench.runchain, "install", "--db", path], check=True, cwd=folder, stdout=subprocess.DEVNULL)
        return path

    def extension(self, folder, log):
        load = f".load {self.bench.extension}"
        sql = f"PRAGMA synchronous = NORMAL; SELECT ingest_events('{log}');"
        return run(["sqlite3", self.database(folder), load, sql])[:2]

    def binary(self, folder, log):
        return run([self.bench.runchain, "ingest", "--db", self.database(folder), log], cwd=folder)[:2]

    def floor(self, folder, log):
        _, memory, output = run([self.bench.floor, self.database(folder), log])
        return json.loads(output)["seconds"], memory

    def duckdb(self, folder, log):
        return run([sys.executable, "-c", DUCKDB, folder / "duck.db", log], env=self.packages)[:2]

    def sqlite_utils(self, folder, log):
        return run([sys.executable, "-m", "sqlite_utils", "insert", "--nl", "--ignore", "--pk", "event_id",
                    folder / "utils.db", "events", log], env=self.packages)[:2]

    def loop(self, folder, log):
        return run([sys.executable, "-c", LOOP, folder / "loop.db", log])[:2]


SYSTEMS = [
    ("runchain, ingest_events() in sqlite3", "extension", "synchronous NORMAL", events.KINDS),
    ("runchain ingest", "binary", "the process's start included", events.KINDS),
    ("floor: the same SQL statements, rows already parsed", "floor", "without reading and parsing", events.KINDS),
    ("DuckDB 2.0.0 read_json into a table", "duckdb", "columnar, no duplicates found, no derived rows", ("ulid", "broken")),
    ("Python loop, sqlite3 + json", "loop", "one table, duplicates found, no derived rows, no checkpoint", events.KINDS),
    ("sqlite-utils 4.2.1 insert --nl", "sqlite_utils", "one table, duplicates found, no derived rows, no checkpoint", ("ulid",)),
]


def ingest(bench, results):
    count = bench.size(500_000, 50_000)
    systems = Ingest(bench)
    with results.scratch("logs") as logs:
        for kind in events.KINDS:
            log = logs / f"{kind}.jsonl"
            events.write(log, kind, count)
            measure = f"{count:,} events, {log.stat().st_size / 1e6:.0f} MB, {kind}"
            took = {system: [] for system, _, _, kinds in SYSTEMS if kind in kinds}
            memory = dict.fromkeys(took, 0)
            # In turns, so that a slow minute of the machine is everybody's.
            for _ in range(REPEATS):
                for system, method, _, kinds in SYSTEMS:
                    if kind in kinds and (one := once(systems, method, log, results, measure, system)):
                        took[system].append(one[0])
                        memory[system] = max(memory[system], one[1])
            for system, _, note, kinds in SYSTEMS:
                if kind in kinds and took[system]:
                    figure = {"median": statistics.median(took[system]), "min": min(took[system]),
                              "max": max(took[system]), "peak_mb": memory[system]}
                    results.add(measure, system, "WAL", "NORMAL", "s; MB", figure, len(took[system]), True, note)
            log.unlink()


def once(systems, method, log, results, measure, system):
    try:
        with results.scratch("into") as folder:
            return getattr(systems, method)(folder, log)
    except Exception as error:  # A peer that fails must not take the other figures with it.
        results.missing(measure, system, repr(error)[:200])
        return None


def resume(bench, results):
    """One line appended to a large log that was read before: to one that is a hole (which reads as NUL bytes), and
    with --resume-gb to one of events all through."""
    size = bench.size(10 << 30, 1 << 30)
    resumed(bench, results, f"{size >> 30} GB of NUL bytes", lambda log, line: write_hole(log, line, size))
    if bench.resume_gb:
        size = bench.resume_gb << 30
        resumed(bench, results, f"{bench.resume_gb} GB of events, the same again and again", lambda log, _: write_events(log, size))


def write_hole(log, line, size):
    log.write_text(line)
    os.truncate(log, size)
    with log.open("a") as file:
        file.write("\n")


def write_events(log, size):
    block = "".join(json.dumps(event) + "\n" for event in events.events(100_000, "ulid"))
    with log.open("w") as file:
        while file.tell() < size:
            file.write(block)


def resumed(bench, results, what, write):
    systems = Ingest(bench)
    with results.scratch("resume") as folder:
        log, database = folder / "large.jsonl", systems.database(folder)
        line = json.dumps(next(events.events(1, "ulid"))) + "\n"
        write(log, line)
        command = [bench.runchain, "ingest", "--db", database, log]
        seconds, peak_mb = run(command, cwd=folder)[:2]
        print(f"   {what}: the first time {seconds:.1f} s, {peak_mb:.0f} MB", flush=True)
        took = []
        for number in range(bench.size(50, 10)):
            with log.open("a") as file:
                file.write(line.replace("EVT-", f"EVT-{number}-", 1))
            begun = time.perf_counter()
            subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
            took.append((time.perf_counter() - begun) * 1e3)
        results.add(f"one line appended to {what}", "runchain ingest", "WAL", "EXTRA", "ms",
                    {"p50": statistics.median(took), "max": max(took)}, len(took), True, "a process each time")
