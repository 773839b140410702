"""What capture adds to an orchestrator's write: three databases side by side, in alternating blocks.

One connection each: bare, with runchain's triggers, with honker_enqueue called by triggers on the same
events. Between blocks the queues are emptied, as an executor would; that is not timed.
"""

import statistics
import time

from measure import SETTINGS, percentile
from peers import connect

RUNS = ("CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT NOT NULL, created_at TEXT NOT NULL, "
        "updated_at TEXT NOT NULL, metadata_json TEXT)")
WRITES = {
    "INSERT": "INSERT INTO runs VALUES (?, 'RUNNING', '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z', '{\"a\":1}')",
    "UPDATE of the status": "UPDATE runs SET status = 'COMPLETED' WHERE run_id = ?",
    "UPDATE of other columns": "UPDATE runs SET metadata_json = '{\"a\":2}' WHERE run_id = ?",
}
# What honker's documentation shows for an outbox: the enqueue in the transaction of its cause.
HONKER = """
CREATE TEMP TRIGGER peer_insert AFTER INSERT ON runs BEGIN
  SELECT honker_enqueue('q', json_object('run', NEW.run_id, 'status', NEW.status), NULL, NULL, 0, 3, NULL);
END;
CREATE TEMP TRIGGER peer_update AFTER UPDATE OF status ON runs WHEN OLD.status IS NOT NEW.status BEGIN
  SELECT honker_enqueue('q', json_object('run', NEW.run_id, 'status', NEW.status), NULL, NULL, 0, 3, NULL);
END;
"""
BLOCK = 500


def open_all(bench, folder, journal, synchronous):
    opened = {}
    for name in ("bare", "runchain", "honker 0.5.0"):
        path = folder / f"{name.split()[0]}.db"
        if name != "honker 0.5.0":
            connection = connect(path, journal, synchronous)
        elif bench.peers.honker_extension:
            connection = bench.peers.connect_with_honker(path, journal, synchronous)
            connection.execute("SELECT honker_bootstrap()").fetchall()
        else:
            continue
        connection.execute(RUNS)
        opened[name] = connection
    bench.install(folder / "runchain.db")
    if "honker 0.5.0" in opened:
        opened["honker 0.5.0"].execute(HONKER)
    return opened


EMPTY = {"bare": "SELECT 1", "runchain": "DELETE FROM runchain_queue", "honker 0.5.0": "DELETE FROM _honker_live"}


def block_p50(connection, statement, ids):
    took = []
    for run_id in ids:
        begun = time.perf_counter()
        connection.execute(statement, (run_id,))
        took.append(time.perf_counter() - begun)
    return percentile(took, 0.5) * 1e6


def capture(bench, results):
    for journal, synchronous in SETTINGS:
        samples = bench.size({"NORMAL": 20_000, "FULL": 10_000}[synchronous], 2_000)
        if journal == "DELETE":
            samples //= 2
        blocks = samples // BLOCK
        p50s = {}
        with results.scratch("capture") as folder:
            opened = open_all(bench, folder, journal, synchronous)
            for block in range(blocks):
                ids = [f"run-{block:04}-{number:04}" for number in range(BLOCK)]
                for kind, statement in WRITES.items():
                    names = list(opened)
                    for name in names[block % len(names):] + names[: block % len(names)]:
                        p50s.setdefault((kind, name), []).append(block_p50(opened[name], statement, ids))
                for name, connection in opened.items():
                    connection.execute(EMPTY[name])
            for connection in opened.values():
                connection.close()
        say(bench, results, p50s, journal, synchronous, samples)


def say(bench, results, p50s, journal, synchronous, samples):
    for kind in WRITES:
        bare = statistics.median(p50s[kind, "bare"])
        for name in ("runchain", "honker 0.5.0"):
            if (kind, name) not in p50s:
                results.missing(f"{kind}: added to it", name, bench.peers.missing["honker-extension"])
                continue
            added = [with_it - without for with_it, without in zip(p50s[kind, name], p50s[kind, "bare"])]
            figure = {"p50": statistics.median(added), "bare": bare, "with": statistics.median(p50s[kind, name])}
            results.add(f"{kind}: added to it", name, journal, synchronous, "us", figure, samples, True)
