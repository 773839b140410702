"""Taking and settling work: in batches and one at a time; and whether finished rows slow it down."""

import json
import subprocess
import time

from measure import SETTINGS, p50_p99
from peers import HonkerPython, HonkerSql, Huey, LiteQueue, PersistQueue

REPEATS = 5
BATCHED, SINGLE = "lease+start+settle, batches of 128", "lease+start+settle, one at a time"


def ours(bench, results, *arguments):
    """Runs the example queue_bench of runchain-core in a folder of its own and returns what it measured."""
    kind, *rest = map(str, arguments)
    with results.scratch("steps") as folder:
        done = subprocess.run([bench.example, kind, folder, *rest], check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def throughput(bench, results):
    for journal, synchronous in SETTINGS:
        durable = synchronous == "FULL"
        many = bench.size(128 * 160, 128 * 40)
        few = bench.size(1_000 if durable else 5_000, 300 if durable else 2_000)
        measured = ours(bench, results, "steps", journal, synchronous, 128, many, REPEATS)
        results.rates(BATCHED, "runchain", journal, synchronous, "steps/s", measured["per_second"], many, parts(measured))
        measured = ours(bench, results, "steps", journal, synchronous, 1, few, REPEATS)
        results.rates(SINGLE, "runchain", journal, synchronous, "steps/s", measured["per_second"], few, parts(measured))

        has_extension = bench.peers.honker_extension is not None
        if has_extension:
            peer(bench, results, BATCHED, "honker 0.5.0 (SQL)", HonkerSql, journal, synchronous, 128, many)
            peer(bench, results, SINGLE, "honker 0.5.0 (SQL)", HonkerSql, journal, synchronous, 1, few)
        else:
            results.missing(SINGLE, "honker 0.5.0 (SQL)", bench.peers.missing["honker-extension"])
        if (journal, synchronous) == ("WAL", "NORMAL"):
            peer(bench, results, BATCHED, "honker 0.2.4 (Python)", HonkerPython, journal, synchronous, 128, many)
            peer(bench, results, SINGLE, "honker 0.2.4 (Python)", HonkerPython, journal, synchronous, 1, few)
            peer(bench, results, SINGLE, "huey 3.5.4, nothing to settle", Huey, journal, "OFF", 1, few,
                 "its fsync=False; a crash loses the job that was taken")
        peer(bench, results, SINGLE, "huey 3.5.4, nothing to settle", Huey, journal, synchronous, 1, few,
             "one transaction where the others have two; a crash loses the job that was taken")
        peer(bench, results, SINGLE, "litequeue 0.9", LiteQueue, journal, synchronous, 1, few)
        if (journal, synchronous) == ("WAL", "FULL"):
            peer(bench, results, SINGLE, "persist-queue 1.1.0", PersistQueue, journal, synchronous, 1, few)


def parts(measured):
    return "us a step: " + ", ".join(f"{name} {value:.1f}" for name, value in measured["parts_us"].items())


def peer(bench, results, measure, system, queue_type, journal, synchronous, batch, count, note=""):
    rates = []
    try:
        with results.scratch("peer") as folder:
            queue = queue_type(bench.peers, folder, journal, synchronous)
            for _ in range(REPEATS):
                queue.fill(count)
                begun, settled = time.perf_counter(), 0
                while settled < count:
                    settled += queue.cycle(batch)
                rates.append(count / (time.perf_counter() - begun))
    except Exception as error:  # A peer that fails must not take the other figures with it.
        name = queue_type.__name__
        results.missing(measure, system, bench.peers.missing.get(system.split()[0], f"{name}: {error!r}"))
        return
    results.rates(measure, system, journal, synchronous, "steps/s", rates, count, note)


def history(bench, results):
    small, large = 10_000, bench.size(10_000_000, 1_000_000)
    samples = bench.size(5_000, 1_000)
    for measured in ours(bench, results, "history", "WAL", "NORMAL", samples, small, large):
        label = f"{measured['rows']:,} finished steps"
        # The first tenth fills the page cache; a service has been there before.
        warm = samples // 10
        for what, key in [("lease one step", "lease_us"), ("lease+start+settle one step", "cycle_us")]:
            figure = p50_p99(measured[key][warm:])
            results.add(what, f"runchain, {label}", "WAL", "NORMAL", "us", figure, samples - warm, True)
    if not bench.quick:
        leases = [row["figure"]["p50"] for row in results.rows if row["measure"] == "lease one step"]
        print(f"   growth: {leases[-1] / leases[0]:.2f} x", flush=True)
