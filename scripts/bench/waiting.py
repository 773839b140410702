"""How soon a commit is seen in another process, and what it costs to wait for one.

Every system has a database in a folder of its own and a process that waits; the writer is this process,
which goes from one to the next, so that all are measured in the same minutes and one at a time.
"""

import os
import random
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from capture import HONKER, RUNS
from measure import SETTINGS, Cost, p50_p99
from peers import connect

SEEN = "commit to claim attempt, across processes"
STARTED = "commit to started step, across processes"
EXECUTOR = {"RUNCHAIN_REQUIRED_TABLES": "runs", "RUNCHAIN_ARCHIVE_SETTLE_MS": "0",
            "RUNCHAIN_MONITOR_HEARTBEAT_MS": "1000000000"}
ROLES = {"bare inotify (floor)": "inotify", "honker 0.5.0 (SQL)": "honker-sql", "honker 0.2.4 (Python)": "honker-python"}
END = "UPDATE runs SET status = 'COMPLETED' WHERE run_id = ?"


class Waiting:
    """A system that waits, and the connection that writes for it."""

    def __init__(self, bench, system, folder, journal, synchronous, runs):
        self.system, self.folder = system, folder
        self.marks, self.written = folder.parent / f"{folder.name}.marks", []
        database = folder / "queue.db"
        if system == "honker 0.2.4 (Python)":
            self.honker = bench.peers.module("honker").open(str(database))
            self.connection = connect(database, "", "")
        else:
            self.honker = None
            with_honker = system.startswith("honker")
            self.connection = (bench.peers.connect_with_honker if with_honker else connect)(database, journal, synchronous)
        self.connection.execute(RUNS)
        if system == "honker 0.5.0 (SQL)":
            self.connection.execute("SELECT honker_bootstrap()").fetchall()
        for number in range(runs):
            row = (f"run-{number}", "RUNNING", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "{}")
            self.connection.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?)", row)
        if system == "runchain":
            bench.install(database)
            self.process = subprocess.Popen(
                [bench.runchain, "drain", "--quiet", "--db", database],
                env=os.environ | EXECUTOR | {"RUNCHAIN_TRACE_WAKES": str(self.marks)},
            )
            while not self.connection.execute("SELECT 1 FROM runchain_executors").fetchall():
                if self.process.poll() is not None:
                    raise RuntimeError(f"runchain drain ended with {self.process.returncode}")
                time.sleep(0.05)
        else:
            if system == "honker 0.5.0 (SQL)":
                self.connection.execute(HONKER)
            roles = Path(__file__).with_name("roles.py")
            self.process = subprocess.Popen(
                [sys.executable, roles, ROLES[system], bench.peers.folder, database, self.marks], stdout=subprocess.PIPE
            )
            if self.process.stdout.readline() != b"ready\n":
                raise RuntimeError("its process ended before it listened")

    def end_run(self, number):
        run_id = (f"run-{number}",)
        begun = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        if self.honker:
            with self.honker.transaction() as transaction:
                transaction.execute(END, list(run_id))
                transaction.notify("runs", "ended")
        else:
            self.connection.execute(END, run_id)
        self.written.append((begun, time.clock_gettime_ns(time.CLOCK_MONOTONIC)))

    def latencies_ms(self, word):
        """From the return of each commit to the first mark after its beginning."""
        marks = [int(line.split()[1]) for line in self.marks.read_text().splitlines() if line.startswith(word)]
        ends = [begun for begun, _ in self.written[1:]] + [float("inf")]
        firsts = [
            (next((mark for mark in marks if begun < mark < end), None), returned)
            for (begun, returned), end in zip(self.written, ends)
        ]
        return [(mark - returned) / 1e6 for mark, returned in firsts if mark is not None]

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.connection.close()
        if self.honker:
            self.honker.close()


@contextmanager
def all_systems(bench, results, measure, journal, synchronous, runs=0):
    systems = ["runchain", "bare inotify (floor)"]
    if bench.peers.honker_extension:
        systems.append("honker 0.5.0 (SQL)")
    if (journal, synchronous) == ("WAL", "NORMAL"):  # It opens nothing else.
        systems.append("honker 0.2.4 (Python)")
    waiting = []
    with results.scratch("waiting") as folder:
        try:
            for number, system in enumerate(systems):
                place = folder / str(number)
                place.mkdir()
                try:
                    waiting.append(Waiting(bench, system, place, journal, synchronous, runs))
                except Exception as error:
                    results.missing(measure, system, bench.peers.missing.get(system.split()[0], repr(error)))
            time.sleep(2)
            yield waiting
        finally:
            for one in waiting:
                one.stop()


def wake(bench, results):
    samples = bench.size(250, 60)
    for journal, synchronous in SETTINGS:
        with all_systems(bench, results, SEEN, journal, synchronous, samples) as waiting:
            for number in range(samples):
                for one in waiting:
                    one.end_run(number)
                    # Long enough for the executor to archive, report and go to sleep again.
                    time.sleep(0.08 + random.random() / 50 if one.system == "runchain" else 0.01 + random.random() / 50)
            time.sleep(1)
            for one in waiting:
                for measure, word in [(SEEN, "seen"), (STARTED, "started")]:
                    if word == "seen" or one.system == "runchain":
                        say(results, measure, one, word, journal, synchronous)


def say(results, measure, one, word, journal, synchronous):
    latencies = one.latencies_ms(word)
    missed = len(one.written) - len(latencies)
    if len(latencies) < len(one.written) / 2:
        results.missing(measure, one.system, f"in {journal}/{synchronous} it saw {len(latencies)} of {len(one.written)} commits")
        return
    note = f"{missed} of {len(one.written)} were not seen before the next" if missed else ""
    results.add(measure, one.system, journal, synchronous, "ms", p50_p99(latencies), len(latencies), True, note)


def idle(bench, results):
    seconds = bench.size(30, 10)
    with all_systems(bench, results, "waiting idle", "WAL", "NORMAL") as waiting:
        costs = [Cost(one.process.pid) for one in waiting]
        time.sleep(seconds)
        for one, cost in zip(waiting, costs):
            results.add("waiting idle", one.system, "WAL", "NORMAL", "% of a core; 1/s; MB", cost.spent(), 1, True,
                        f"over {seconds} s, all at once")
