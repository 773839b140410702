"""What every measurement shares: rows of results, percentiles, the disk's own latency, a process's cost."""

import math
import os
import shutil
import statistics
import time
from contextlib import contextmanager
from pathlib import Path


def percentile(values, share):
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def p50_p99(values):
    return {"p50": percentile(values, 0.50), "p99": percentile(values, 0.99)}


def file_system(folder):
    """Type of the file system that `folder` is on."""
    folder, best = os.path.realpath(folder), ("", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        _, point, kind = line.split(" ")[:3]
        inside = folder == point or folder.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best[0]):
            best = (point, kind)
    return best[1]


def fdatasync_ms(folder, samples):
    """Latency of an fdatasync after 4 KiB were appended, which is what a durable commit waits for at least."""
    path, took = Path(folder) / "fdatasync", []
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for _ in range(samples):
        os.write(file, b"\0" * 4096)
        begun = time.perf_counter()
        os.fdatasync(file)
        took.append((time.perf_counter() - begun) * 1e3)
    os.close(file)
    path.unlink()
    return took


class Cost:
    """CPU time and context switches of all threads of a process, from now to `spent()`."""

    def __init__(self, pid):
        self.pid, self.begun = pid, time.monotonic()
        self.cpu_ns, self.switches = self._read()

    def _read(self):
        cpu_ns = switches = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            cpu_ns += int((task / "schedstat").read_text().split()[0])
            for line in (task / "status").read_text().splitlines():
                if "ctxt_switches" in line:
                    switches += int(line.split()[1])
        return cpu_ns, switches

    def spent(self):
        cpu_ns, switches = self._read()
        seconds = time.monotonic() - self.begun
        memory = Path(f"/proc/{self.pid}/status").read_text()
        rss_kb = int(memory.split("VmRSS:")[1].split()[0])
        return {
            "cpu_percent": (cpu_ns - self.cpu_ns) / 1e7 / seconds,
            "switches_per_s": (switches - self.switches) / seconds,
            "rss_mb": rss_kb / 1024,
        }


class Results:
    """Rows of figures, each with the setting under which it was measured."""

    def __init__(self, folder):
        self.folder, self.rows = Path(folder), []
        self.file_system = file_system(folder)

    @contextmanager
    def section(self, name):
        """The disk is measured before and after, so that each figure has the latency of its own minutes."""
        disk = fdatasync_ms(self.folder, 200)
        first = len(self.rows)
        print(f"== {name}", flush=True)
        yield
        disk += fdatasync_ms(self.folder, 200)
        for row in self.rows[first:]:
            row.update(section=name, file_system=self.file_system, fdatasync_ms=p50_p99(disk))

    def add(self, measure, system, journal, synchronous, unit, figure, samples, lower_is_better, note=""):
        """`figure` is a dict of named numbers; the first is the one that ratios are made of."""
        self.rows.append(
            dict(measure=measure, system=system, journal=journal, synchronous=synchronous, unit=unit,
                 figure=figure, samples=samples, lower_is_better=lower_is_better, note=note)
        )
        print(f"   {measure}, {system}, {journal}/{synchronous}: "
              + ", ".join(f"{name} {value:,.3g}" for name, value in figure.items()), flush=True)

    def missing(self, measure, system, why):
        self.rows.append(dict(measure=measure, system=system, missing=why))
        print(f"   {measure}, {system}: not measured: {why}", flush=True)

    def rates(self, measure, system, journal, synchronous, unit, rates, samples, note=""):
        figure = {"median": statistics.median(rates), "min": min(rates), "max": max(rates)}
        self.add(measure, system, journal, synchronous, unit, figure, samples, False, note)

    @contextmanager
    def scratch(self, name):
        """A new folder on the measured disk, gone afterwards."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


# Journal mode and synchronous as SQLite spells them.
SETTINGS = [("WAL", "NORMAL"), ("WAL", "FULL"), ("DELETE", "FULL")]
