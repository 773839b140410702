"""A day in the life of `runchain drain`, compressed: python3 scripts/day PROGRAM [--seconds N] [--seed S]

Runs begin, end, fail and are repeated; event logs grow and are rotated; a webhook, Alertmanager's API and a
command hear of it, each with outages of its own. In the first half of the time the executor is stopped and
killed again and again; in the second it lives, and its memory is weighed. Then everything calms down, and the
books must balance: see books.py. The folder stays where they don't.
"""

import argparse
import heapq
import http.client
import itertools
import pathlib
import random
import shutil
import signal
import socket
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from books import Books  # noqa: E402
from orchestrator import Orchestrator  # noqa: E402
from receiver import WEATHER, Receiver  # noqa: E402
from world import PATIENCE_S, World  # noqa: E402

# Runs that are begun in a second, lines of event logs, and how many of the runs have a step that is broken.
RUNS_A_SECOND, LINES_A_SECOND, MOST_BROKEN = 2.5, 4, 12


class Day:
    """One queue of what happens when; every entry may put later ones into it."""

    def __init__(self, folder, arguments):
        self.random = random.Random(arguments.seed)
        self.seconds = arguments.seconds
        self.receiver = Receiver(random.Random(self.random.random()), PATIENCE_S)
        self.world = World(folder, arguments.program, self.receiver.port)
        self.orchestrator = Orchestrator(self.world, self.random)
        self.queue, self.order = [], itertools.count()
        self.broken, self.tasks = [], itertools.count(1)
        self.kills = {signal.SIGTERM: 0, signal.SIGKILL: 0}
        self.weights = []
        self.began = time.monotonic()

    def now(self):
        return time.monotonic() - self.began

    def at(self, when, what, *arguments):
        heapq.heappush(self.queue, (when, next(self.order), what, arguments))

    def after(self, least, most, what, *arguments):
        self.at(self.now() + self.random.uniform(least, most), what, *arguments)

    def live(self):
        self.start()
        for what in (self.run, self.line, self.rotate, self.restart, self.http_weather, self.pager_weather, self.weigh):
            self.at(0, what)
        while self.queue and self.queue[0][0] < self.seconds:
            when, _, what, arguments = heapq.heappop(self.queue)
            time.sleep(max(0, when - self.now()))
            what(*arguments)
        self.calm_down()

    def start(self):
        if not self.world.is_running():
            self.world.start()

    def run(self):
        run_id = self.orchestrator.begin_run()
        if len(self.broken) < MOST_BROKEN * self.now() / self.seconds:
            (self.world.folder / "broken" / run_id).touch()
            self.broken.append(run_id)
        self.after(0, 2, self.end, run_id)
        self.after(0, 2 / RUNS_A_SECOND, self.run)

    def end(self, run_id):
        status = self.orchestrator.end_run(run_id, time.monotonic())
        if status == "FAILED" and self.random.random() < 0.5:
            # Somebody looks at it, or a retry begins at once.
            self.after(0, self.random.choice((0.01, 5)), self.again, run_id)

    def again(self, run_id):
        self.orchestrator.set_status(run_id, "RUNNING")
        self.after(0, self.random.choice((0.01, 2)), self.end, run_id)

    def line(self):
        task = f"PRUN-{next(self.tasks)}"
        failing = sum("failed" in kinds for kinds in self.orchestrator.task_events.values())
        kind = "failed" if failing < 90 and self.random.random() < 0.05 else "completed"
        self.orchestrator.write_event(task, "started")
        self.orchestrator.write_event(task, kind)
        if kind == "failed" and self.random.random() < 0.5:
            self.after(0, 3, self.orchestrator.write_event, task, "completed")
        if self.orchestrator.lines["nonsense"] < 50 and self.random.random() < 0.02:
            self.orchestrator.write_nonsense()
        self.after(0, 4 / LINES_A_SECOND, self.line)

    def rotate(self):
        self.orchestrator.rotate()
        self.after(self.seconds / 20, self.seconds / 10, self.rotate)

    def restart(self):
        """In the first half only."""
        pause = min(6, self.seconds / 25)
        if self.now() > self.seconds / 2:
            return
        if self.now() > pause / 2 and self.world.is_running():
            how = self.random.choice(list(self.kills))
            self.world.stop(how)
            self.kills[how] += 1
            self.after(0, min(5, pause / 2), self.start)
        self.after(pause, 2 * pause, self.restart)

    def http_weather(self):
        fine = self.receiver.weather != "fine"
        self.receiver.change("fine" if fine else self.random.choice(WEATHER[1:]))
        self.after(*self.spell(), self.http_weather)

    def pager_weather(self):
        flag = self.world.folder / "pager-is-out"
        flag.unlink() if flag.exists() else flag.touch()
        self.after(*self.spell(), self.pager_weather)

    def spell(self):
        return min(1, self.seconds / 40), min(20, self.seconds / 15)

    def weigh(self):
        if self.now() > self.seconds * 0.55 and self.world.is_running():
            self.weights.append(self.world.weight_kb())
        self.after(0.5, 0.5, self.weigh)

    def calm_down(self):
        """Whatever runs ends, channels are back, somebody mends what was broken; the rest is the executor's."""
        self.start()
        for run_id, statuses in self.orchestrator.statuses.items():
            if statuses[-1] == "RUNNING":
                self.orchestrator.set_status(run_id, "COMPLETED")
        self.receiver.change("fine")
        (self.world.folder / "pager-is-out").unlink(missing_ok=True)
        for run_id in self.broken:
            (self.world.folder / "broken" / run_id).unlink()
        self.world.until_quiet(600)
        for run_id, in self.world.database.execute("SELECT DISTINCT run_id FROM runchain_steps WHERE state = 'dead' AND finished_ms IS NULL").fetchall():
            self.world.run("retry", run_id, "--reason", "mended")
        self.world.until_quiet(300)

    def scrape(self):
        """A page of /metrics."""
        client = http.client.HTTPConnection("localhost")
        client.sock = socket.socket(socket.AF_UNIX)
        client.sock.connect(str(self.world.folder / "metrics"))
        client.request("GET", "/metrics")
        return client.getresponse().read().decode()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    arguments = parser.parse_args()
    print(f"a day in {arguments.seconds} s; seed {arguments.seed}", flush=True)
    folder = tempfile.mkdtemp(prefix="runchain-day-")
    day = Day(folder, arguments)
    try:
        day.live()
        books = Books(day.world, day.orchestrator, day.receiver)
        books.totals(day.scrape, patience_s=300)
        day.world.stop(signal.SIGTERM)
        books.close()
        books.weight(day.weights)
    finally:
        if day.world.executor:
            day.world.executor.kill()
            day.world.executor.wait()
        day.receiver.close()
    entries = books.entries | {
        "ends of the executor by SIGTERM": day.kills[signal.SIGTERM], "by SIGKILL": day.kills[signal.SIGKILL],
        "HTTP requests in each weather": ", ".join(f"{weather} {count}" for weather, count in day.receiver.answers.items()),
    }
    for what, count in entries.items():
        print(f"  {what}: {count}")
    if books.complaints:
        print(f"The books don't balance; see {folder}")
        print("\n".join(f"  {complaint}" for complaint in books.complaints))
        sys.exit(1)
    shutil.rmtree(folder)
    print("The books balance.")


if __name__ == "__main__":
    main()
