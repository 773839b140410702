"""What an orchestrator writes in a day: runs and event logs. It remembers what it has committed: the ledger.

It loads nothing of runchain's and asks nothing of it.
"""

import datetime
import itertools
import json

# Beyond a hundred new alerts of a rule within an hour one row counts for all: a flood is another test.
MOST_FAILING = 90


class Orchestrator:
    """Every status that was committed of each run, in order, and every line of the event logs."""

    def __init__(self, world, random):
        self.world = world
        self.random = random
        self.statuses = {}
        self.failed_at = {}
        self.failing_runs = set()
        self.task_events = {}
        self.lines = {"event": 0, "nonsense": 0}
        self.numbers = itertools.count(1)
        self.rotations = 0

    def begin_run(self):
        run_id = f"run-{next(self.numbers)}"
        folder = self.world.folder / "artifacts" / run_id
        folder.mkdir()
        (folder / "result.txt").write_text(f"{run_id} {self.random.random()}\n" * 20)
        self.world.database.execute("INSERT INTO runs(run_id, status) VALUES (?, 'RUNNING')", (run_id,))
        self.statuses[run_id] = ["RUNNING"]
        return run_id

    def end_run(self, run_id, now):
        """Ends it somehow: `failed` when it failed."""
        may_fail = run_id in self.failing_runs or len(self.failing_runs) < MOST_FAILING
        status = self.random.choices(("COMPLETED", "FAILED", "CANCELLED"), (60, 35 if may_fail else 0, 5))[0]
        if status == "FAILED":
            self.failing_runs.add(run_id)
            self.failed_at.setdefault(run_id, now)
        self.set_status(run_id, status)
        return status

    def set_status(self, run_id, status):
        self.world.database.execute(
            "UPDATE runs SET status = ?, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ') WHERE run_id = ?", (status, run_id))
        self.statuses[run_id].append(status)

    def write_event(self, task, kind):
        line = {
            "event_id": f"EVT-{next(self.numbers):026}", "event_type": f"pattern.execution.{kind}",
            "timestamp": datetime.datetime.now(datetime.timezone.utc).isoformat(), "job_id": "JOB-DAY", "step_id": None,
            "pattern_run_id": task, "pattern_id": "PAT-1", "status": {"failed": "failed", "completed": "success"}.get(kind, "in_progress"),
            "details": {"error_message": f"{task} broke"} if kind == "failed" else {},
        }
        self._append(json.dumps(line))
        self.lines["event"] += 1
        self.task_events.setdefault(task, []).append(kind)

    def write_nonsense(self):
        self._append('{"event_id": ')
        self.lines["nonsense"] += 1

    def _append(self, line):
        with open(self.world.folder / "events" / "pattern_events.jsonl", "a", encoding="utf-8") as log:
            log.write(line + "\n")

    def rotate(self):
        """As logrotate does without copytruncate."""
        log = self.world.folder / "events" / "pattern_events.jsonl"
        if log.exists():
            self.rotations += 1
            log.rename(log.with_name(f"pattern_events.{self.rotations}.jsonl"))


def changes_of_alert(ends):
    """What an alert does whose causes and cures happened in this order."""
    changes = []
    for end in ends:
        is_firing = bool(changes) and changes[-1] == "firing"
        if end in ("FAILED", "failed") and not is_firing:
            changes.append("firing")
        if end in ("COMPLETED", "completed") and is_firing:
            changes.append("resolved")
    return changes
