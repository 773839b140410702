"""Measures runchain beside its peers, in one run on one disk.

    python3 scripts/bench queue             all of it, about ten minutes
    python3 scripts/bench queue --quick     less of each, about two minutes
    python3 scripts/bench queue --only wake --only idle
    python3 scripts/bench ingest
    python3 scripts/bench ingest --only resume --resume-gb 10   also one line after 10 GB of events (on the disk)

Writes results/queue.json and results/queue.md beside this file (with --quick or --only, and wherever
--out says, elsewhere); of ingest the same. Peers are installed into target/bench, never globally; one that can't be had is
named in the table with the reason. Build first: scripts/build. Rates of lease, start and settle are those of the
example queue_bench of runchain-core, which opens its connection by itself: what the executor sets on its
own connection must be set there too.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True

from capture import capture  # noqa: E402
from chains import chains  # noqa: E402
from ingest import ingest, resume  # noqa: E402
from measure import Results  # noqa: E402
from peers import Peers  # noqa: E402
from steps import history, throughput  # noqa: E402
from table import markdown  # noqa: E402
from waiting import idle, wake  # noqa: E402

QUEUE = {
    "wake": ("Wake latency", wake),
    "idle": ("Waiting without work", idle),
    "capture": ("What capture adds to a write", capture),
    "steps": ("Taking and settling", throughput),
    "chains": ("Whole chains", chains),
    "history": ("With history", history),
}
INGEST = {
    "logs": ("A log into the database", ingest),
    "resume": ("Going on where it was", resume),
}
SECTIONS = {"queue": QUEUE, "ingest": INGEST}


class Bench:
    """What is measured, and how much of it."""

    def __init__(self, target, quick, resume_gb):
        self.quick, self.resume_gb = quick, resume_gb
        release = target / "release"
        self.runchain, self.extension = release / "runchain", release / "librunchain"
        if not self.runchain.exists():
            sys.exit(f"{self.runchain} is missing; run scripts/build first")
        self.peers = Peers(target / "bench")
        for name, why in self.peers.missing.items():
            print(f"missing: {name}: {why}", flush=True)
        subprocess.run(["cargo", "build", "--quiet", "--locked", "--release", "-p", "runchain-core", "--examples",
                        "--features", "bench", "--target-dir", target], cwd=ROOT, check=True)
        self.example, self.floor = release / "examples" / "queue_bench", release / "examples" / "ingest_floor"

    def install(self, database):
        subprocess.run([self.runchain, "install", "--json", "--db", database], check=True, stdout=subprocess.DEVNULL)

    def size(self, full, quick):
        return quick if self.quick else full


def machine(quick):
    cpu = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "commit": commit or "unknown", "quick": quick,
        "cpus": os.cpu_count(), "cpu": cpu[0] if cpu else platform.machine(), "kernel": platform.release(),
        "python": platform.python_version(), "load_1m": os.getloadavg()[0],
    }


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=SECTIONS)
    parser.add_argument("--quick", action="store_true", help="less of each")
    parser.add_argument("--resume-gb", type=int, default=0, metavar="GB", help="ingest: also a log of so many GB of events")
    parser.add_argument("--only", action="append", choices=[*QUEUE, *INGEST], help="only this section; may be repeated")
    parser.add_argument("--dir", type=Path, help="where the databases are made, which decides the disk [target/bench/work]")
    parser.add_argument("--out", type=Path, help="folder of the results")
    arguments = parser.parse_args()

    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    partial = arguments.quick or arguments.only
    out = arguments.out or (target / "bench/results" if partial else Path(__file__).parent / "results")
    folder = arguments.dir or target / "bench/work"
    folder.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    meta, bench, results = machine(arguments.quick), Bench(target, arguments.quick, arguments.resume_gb), Results(folder)
    for key, (title, measure) in SECTIONS[arguments.what].items():
        if not arguments.only or key in arguments.only:
            with results.section(title):
                measure(bench, results)
    name = arguments.what
    (out / f"{name}.json").write_text(json.dumps({"machine": meta, "rows": results.rows}, indent=1) + "\n")
    (out / f"{name}.md").write_text(markdown(name, meta, results.rows))
    print(f"\n{out / name}.md")


if __name__ == "__main__":
    main()
