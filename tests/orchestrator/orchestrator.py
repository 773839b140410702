#!/usr/bin/env python3
"""A small orchestrator, written as one writes it who has never heard of runchain.

    orchestrator.py --db state.db --shape a --init         creates the tables
    orchestrator.py --db state.db --shape a --runs 9       executes runs; prints a ledger (JSON)

Every write opens a connection of its own with Python's defaults (rollback journal; --timeout instead of
5 s, where a machine is busy), and every run has a thread of its own. Events go to state/events/pattern_events.jsonl and to
jobs/<job_id>/pattern_events.jsonl below --root. The first error of SQLite ends the whole program
with exit code 1 and the statement on standard error.

The ledger says what was written, as the writer knows it: nothing in it is read back.
"""

import argparse
import contextlib
import datetime
import json
import os
import random
import secrets
import sqlite3
import sys
import threading
import time
import traceback

SCHEMA = {
    "a": """
CREATE TABLE runs(
  run_id TEXT PRIMARY KEY, status TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
  metadata_json TEXT);
CREATE TABLE workstreams(
  ws_id TEXT PRIMARY KEY, run_id TEXT NOT NULL REFERENCES runs(run_id), status TEXT NOT NULL,
  depends_on TEXT, created_at TEXT NOT NULL, updated_at TEXT NOT NULL, metadata_json TEXT);
CREATE TABLE tasks(
  task_id TEXT PRIMARY KEY, run_id TEXT NOT NULL REFERENCES runs(run_id), ws_id TEXT, title TEXT,
  status TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
CREATE TABLE step_attempts(
  id INTEGER PRIMARY KEY, run_id TEXT NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE, ws_id TEXT,
  step_name TEXT NOT NULL, status TEXT NOT NULL, started_at TEXT NOT NULL, completed_at TEXT,
  result_json TEXT);
CREATE TABLE errors(
  id INTEGER PRIMARY KEY, run_id TEXT NOT NULL, ws_id TEXT, step_name TEXT, error_code TEXT,
  signature TEXT, message TEXT, context_json TEXT, count INTEGER NOT NULL DEFAULT 1,
  first_seen_at TEXT, last_seen_at TEXT);
CREATE TABLE events(
  id INTEGER PRIMARY KEY, timestamp TEXT NOT NULL, run_id TEXT, ws_id TEXT, event_type TEXT NOT NULL,
  payload_json TEXT);
""",
    "b": """
CREATE TABLE runs(
  run_id TEXT PRIMARY KEY, project_id TEXT NOT NULL, phase_id TEXT NOT NULL, workstream_id TEXT,
  execution_request_id TEXT, created_at TEXT NOT NULL, started_at TEXT, ended_at TEXT,
  state TEXT NOT NULL CHECK (state IN ('pending', 'running', 'succeeded', 'failed', 'quarantined', 'canceled')),
  exit_code INTEGER, error_message TEXT, metadata TEXT);
CREATE TABLE step_attempts(
  step_attempt_id TEXT PRIMARY KEY, run_id TEXT NOT NULL REFERENCES runs(run_id), sequence INTEGER NOT NULL,
  tool_id TEXT NOT NULL, started_at TEXT NOT NULL, ended_at TEXT,
  state TEXT NOT NULL CHECK (state IN ('running', 'succeeded', 'failed', 'canceled')),
  exit_code INTEGER, error_log TEXT, metadata TEXT);
CREATE TABLE run_events(
  event_id TEXT PRIMARY KEY, run_id TEXT NOT NULL REFERENCES runs(run_id), timestamp TEXT NOT NULL,
  event_type TEXT NOT NULL, data TEXT);
CREATE INDEX run_events_by_run ON run_events(run_id);
""",
}

# What becomes of the runs, in turn.
FATES = [
    "completed",
    "retried",  # a step fails once and succeeds then
    "failed",  # a step fails for good
    "cancelled",  # somebody stops it in the middle of a step
    "partial",  # shape A: PARTIAL, shape B: quarantined
    "deleted",  # its rows are deleted while it runs
    "imported",  # one finished row, written at once
    "rerun",  # completed, then at once started again, then completed
    "reopened",  # the same, seconds later, or when its report is there (--read-reports)
    "discarded",  # completed, and deleted right away
]

TOOLS = ["semgrep", "ruff", "mypy", "pytest", "docs"]


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat()


def ulid():
    """26 characters of Crockford's base 32: 48 bits of milliseconds, 80 random bits."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    return "".join(alphabet[number >> shift & 31] for shift in range(125, -1, -5))


class Database:
    """One short connection for each write."""

    def __init__(self, path, foreign_keys, timeout):
        self.path = path
        self.foreign_keys = foreign_keys
        self.timeout = timeout

    def write(self, *statements):
        """Executes (sql, parameters) pairs in one transaction; returns the last rowid."""
        sql = "connect"
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=self.timeout)) as connection:
                if self.foreign_keys:
                    sql = "PRAGMA foreign_keys = ON"
                    connection.execute(sql)
                cursor = None
                for sql, parameters in statements:
                    cursor = connection.execute(sql, parameters)
                sql = "COMMIT after " + sql
                connection.commit()
                return cursor.lastrowid
        except sqlite3.Error as error:
            give_up(f"{type(error).__name__}: {error}, in: {sql}")

    def create(self, script):
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            connection.executescript(script)


def give_up(text):
    print(f"orchestrator: {text}", file=sys.stderr, flush=True)
    os._exit(1)  # from a thread, too


class EventFiles:
    """Appends an event to the global file and to its job's, as two plain appends."""

    def __init__(self, root):
        self.root = root

    def append(self, job_id, event):
        line = json.dumps(event) + "\n"
        for folder in ("state/events", f"jobs/{job_id}"):
            folder = os.path.join(self.root, folder)
            os.makedirs(folder, exist_ok=True)
            with open(os.path.join(folder, "pattern_events.jsonl"), "a") as file:
                file.write(line)


class Job:
    """The events of one run, and the writer's own account of them."""

    def __init__(self, files, job_id):
        self.files = files
        self.job_id = job_id
        self.outcome = "running"
        self.event_ids = []
        self.failed_events = 0
        self.tasks = []

    def start(self, tool, step_id):
        task = {
            "pattern_run_id": f"PRUN-{ulid()}",
            "pattern_id": f"PAT-{tool.upper()}-001",
            "step_id": step_id,
            "status": "running",
        }
        self.tasks.append(task)
        # Who has only the log can't know of a cancellation that stands in the database.
        self.outcome = "running"
        self.say(task, "selection.started", "in_progress", {"operation_kind": f"{tool}_scan"})
        self.say(task, "selection.resolved", "in_progress", {"selection_method": "auto"})
        self.say(task, "template.expanded", "in_progress", {"template_version": "1.2.0"})
        self.say(task, "validation.started", "in_progress", {"rules": ["inputs", "paths"]})
        self.say(task, "validation.completed", "success", {"passed": 2})
        self.say(task, "execution.started", "in_progress", {"command_preview": f"{tool} --config auto ..."})
        return task

    def finish(self, task, error=None):
        if error is None:
            self.say(task, "execution.completed", "success", {"exit_code": 0, "findings": 3})
        else:
            details = {"error_type": "ToolError", "error_message": error, "exit_code": 2}
            self.say(task, "execution.failed", "failed", details)
            self.failed_events += 1
        task["status"] = self.outcome = "completed" if error is None else "failed"

    def say(self, task, kind, status, details):
        event = {
            "event_id": f"EVT-{ulid()}",
            "event_type": f"pattern.{kind}",
            "timestamp": now(),
            "job_id": self.job_id,
            "pattern_run_id": task["pattern_run_id"],
            "pattern_id": task["pattern_id"],
            "status": status,
            "details": details,
            "step_id": task["step_id"],
        }
        self.files.append(self.job_id, event)
        self.event_ids.append(event["event_id"])


class ShapeA:
    """Status words in upper case; foreign keys as Python leaves them: off."""

    WORDS = {
        "pending": "PENDING",
        "running": "RUNNING",
        "completed": "COMPLETED",
        "failed": "FAILED",
        "cancelled": "CANCELLED",
        "partial": "PARTIAL",
    }
    CHILDREN = ["workstreams", "tasks", "step_attempts", "errors", "events"]
    FOREIGN_KEYS = False

    def __init__(self, database, run):
        self.database, self.run = database, run
        self.ws_id = f"WS-{ulid()}"

    def create(self, word):
        self.run.rows["runs"] = 1
        self.database.write((
            "INSERT INTO runs(run_id, status, created_at, updated_at, metadata_json) VALUES (?, ?, ?, ?, ?)",
            (self.run.id, word, self.run.created_at, self.run.created_at, json.dumps({"fate": self.run.fate})),
        ))

    def plan(self):
        at = now()
        self.database.write(
            (
                "INSERT INTO workstreams(ws_id, run_id, status, created_at, updated_at) VALUES (?, ?, 'RUNNING', ?, ?)",
                (self.ws_id, self.run.id, at, at),
            ),
            (
                "INSERT INTO tasks(task_id, run_id, ws_id, title, status, created_at, updated_at)"
                " VALUES (?, ?, ?, 'scan the tree', 'RUNNING', ?, ?)",
                (f"TASK-{ulid()}", self.run.id, self.ws_id, at, at),
            ),
        )
        self.run.wrote("workstreams")
        self.run.wrote("tasks")

    def status(self, word, ended, error):
        self.database.write((
            "UPDATE runs SET status = ?, updated_at = ? WHERE run_id = ?",
            (word, ended or now(), self.run.id),
        ))

    def begin_step(self, tool, _sequence):
        row = self.database.write((
            "INSERT INTO step_attempts(run_id, ws_id, step_name, status, started_at) VALUES (?, ?, ?, 'RUNNING', ?)",
            (self.run.id, self.ws_id, tool, now()),
        ))
        self.run.wrote("step_attempts")
        return row

    def end_step(self, row, word, error):
        result = json.dumps({"error": error, "stdout": "x" * 200})
        self.database.write((
            "UPDATE step_attempts SET status = ?, completed_at = ?, result_json = ? WHERE id = ?",
            (word, now(), result, row),
        ))

    def error(self, tool, message):
        at = now()
        self.database.write((
            "INSERT INTO errors(run_id, ws_id, step_name, error_code, signature, message, first_seen_at, last_seen_at)"
            " VALUES (?, ?, ?, 'E_TOOL', 'tool:exit:2', ?, ?, ?)",
            (self.run.id, self.ws_id, tool, message, at, at),
        ))
        self.run.wrote("errors")

    def event(self, kind, data):
        self.database.write((
            "INSERT INTO events(timestamp, run_id, ws_id, event_type, payload_json) VALUES (?, ?, ?, ?, ?)",
            (now(), self.run.id, self.ws_id, kind, json.dumps(data)),
        ))
        self.run.wrote("events")


class ShapeB:
    """A CHECK on the state, foreign keys on, no workstreams and no tasks."""

    WORDS = {
        "pending": "pending",
        "running": "running",
        "completed": "succeeded",
        "failed": "failed",
        "cancelled": "canceled",
        "partial": "quarantined",
    }
    CHILDREN = ["step_attempts", "run_events"]
    FOREIGN_KEYS = True

    def __init__(self, database, run):
        self.database, self.run = database, run

    def create(self, word):
        self.run.rows["runs"] = 1
        finished = self.run.ended_at is not None
        self.database.write((
            "INSERT INTO runs(run_id, project_id, phase_id, created_at, started_at, ended_at, state, exit_code, metadata)"
            " VALUES (?, 'PRJ-DEMO', 'PH-01', ?, ?, ?, ?, ?, ?)",
            (
                self.run.id,
                self.run.created_at,
                self.run.started_at,
                self.run.ended_at,
                word,
                0 if finished else None,
                json.dumps({"fate": self.run.fate}),
            ),
        ))

    def plan(self):
        self.run.started_at = now()
        self.database.write((
            "UPDATE runs SET started_at = ? WHERE run_id = ?",
            (self.run.started_at, self.run.id),
        ))

    def status(self, word, ended, error):
        code = None if ended is None else 2 if error else 0
        self.database.write((
            "UPDATE runs SET state = ?, ended_at = ?, exit_code = ?, error_message = ? WHERE run_id = ?",
            (word, ended, code, error, self.run.id),
        ))

    def begin_step(self, tool, sequence):
        key = f"SA-{ulid()}"
        self.database.write((
            "INSERT INTO step_attempts(step_attempt_id, run_id, sequence, tool_id, started_at, state)"
            " VALUES (?, ?, ?, ?, ?, 'running')",
            (key, self.run.id, sequence, tool, now()),
        ))
        self.run.wrote("step_attempts")
        return key

    def end_step(self, row, word, error):
        self.database.write((
            "UPDATE step_attempts SET state = ?, ended_at = ?, exit_code = ?, error_log = ? WHERE step_attempt_id = ?",
            (word, now(), 2 if error else 0, error, row),
        ))

    def error(self, tool, message):
        pass  # it stands in the attempt and in the run's own row

    def event(self, kind, data):
        self.database.write((
            "INSERT INTO run_events(event_id, run_id, timestamp, event_type, data) VALUES (?, ?, ?, ?, ?)",
            (f"EV-{ulid()}", self.run.id, now(), kind.upper().replace(".", "_"), json.dumps(data)),
        ))
        self.run.wrote("run_events")


class Run:
    """One run from its first row to its last, and the writer's own account of it."""

    def __init__(self, index, options, database, files):
        self.fate = FATES[index % len(FATES)]
        # The jobs of every other run have the run's own id; the others are known by another.
        own = index % 2 == 0
        job_id = f"JOB-{ulid()}"
        self.id = job_id if own else f"nightly-{options.seed}-{index + 1:02}"
        self.random = random.Random(f"{options.seed}/{index}")
        self.pace = options.pace
        self.patience = options.read_reports
        self.log = os.path.join(options.root, "logs", "archival.jsonl")
        self.shape = {"a": ShapeA, "b": ShapeB}[options.shape](database, self)
        self.database = database
        self.job = Job(files, job_id)
        self.rows = {}
        self.steps = {"total": 0, "completed": 0, "failed": 0}
        self.events = {"total": 0, "errors": 0}
        self.state = None
        self.ends = 0
        self.created_at = self.started_at = self.ended_at = None
        self.error = None

    def wrote(self, table):
        self.rows[table] = self.rows.get(table, 0) + 1

    def execute(self):
        time.sleep(self.random.uniform(0, 0.5) * self.pace)
        self.created_at = now()
        if self.fate == "imported":
            return self.import_finished()
        self.state = "pending"
        self.shape.create(self.word())
        self.become("running")
        self.shape.plan()
        self.say("run.started")
        last = self.work()
        if self.fate == "deleted":
            return self.delete()
        self.end(last)
        if self.fate in ("rerun", "reopened"):
            if self.fate == "rerun":
                self.pause(0.1, 0.4)
            else:
                self.look_at_the_report()
            self.become("running")
            self.say("run.restarted")
            self.step(TOOLS[0], len(TOOLS))
            self.end("completed")
        if self.fate == "discarded":
            return self.delete()
        # The status comes first, the last words after it, as orchestrators do.
        self.pause(0.02, 0.2)
        self.say("run.closed")

    def import_finished(self):
        self.started_at = self.ended_at = self.created_at
        self.state = "completed"
        self.ends = 1
        self.shape.create(self.word())

    def work(self):
        """The run's steps; returns what the run comes to."""
        tools = TOOLS[: self.random.randint(3, len(TOOLS))]
        for sequence, tool in enumerate(tools, 1):
            middle = sequence == 2
            if middle and self.fate == "retried":
                self.step(tool, sequence, "timed out, try again")
                self.step(tool, sequence)
            elif middle and self.fate == "partial":
                self.step(tool, sequence, "2 of 3 targets could not be read")
            elif middle and self.fate == "failed":
                self.step(tool, sequence, f"{tool} exited with 2: no such file: src/engine/")
                return "failed"
            elif middle and self.fate == "cancelled":
                self.step(tool, sequence, cancelled=True)
                return "cancelled"
            elif middle and self.fate == "deleted":
                self.begin(tool, sequence)
                return None
            else:
                self.step(tool, sequence)
        return "partial" if self.fate == "partial" else "completed"

    def begin(self, tool, sequence):
        row = self.shape.begin_step(tool, sequence)
        self.steps["total"] += 1
        self.say("step.started", tool=tool)
        task = self.job.start(tool, f"STEP-{sequence:03}")
        self.pause(0.1, 0.4)
        return row, task

    def step(self, tool, sequence, error=None, cancelled=False):
        row, task = self.begin(tool, sequence)
        if cancelled:
            self.shape.end_step(row, self.shape.WORDS["cancelled"], None)
            return
        outcome = "failed" if error else "completed"
        self.shape.end_step(row, self.shape.WORDS[outcome], error)
        self.steps[outcome] += 1
        self.job.finish(task, error)
        if error:
            self.shape.error(tool, error)
            self.error = error
        self.say(f"step.{outcome}", tool=tool)

    def become(self, state, ended=None, error=None):
        self.state = state
        self.shape.status(self.word(), ended, error)

    def end(self, state):
        self.ended_at = now()
        self.ends += 1
        self.become(state, self.ended_at, self.error if state in ("failed", "partial") else None)

    def delete(self):
        tables = [*self.shape.CHILDREN, "runs"]
        self.database.write(*((f"DELETE FROM {table} WHERE run_id = ?", (self.id,)) for table in tables))
        self.rows = {}

    def say(self, kind, **data):
        self.shape.event(kind, data)
        self.events["total"] += 1
        self.events["errors"] += kind == "step.failed"

    def word(self):
        return self.shape.WORDS[self.state]

    def pause(self, least, most):
        time.sleep(self.random.uniform(least, most) * self.pace)

    def look_at_the_report(self):
        """Somebody reads it and starts the run again."""
        if not self.patience:
            return self.pause(2.5, 2.6)
        give_up_at = time.monotonic() + self.patience
        while not self.is_reported() and time.monotonic() < give_up_at:
            time.sleep(0.05)

    def is_reported(self):
        """The file stands there a moment earlier than its step is done: the log tells of that."""
        with contextlib.suppress(FileNotFoundError), open(self.log) as log:
            return any('"REPORT_GENERATED"' in line and f'"{self.id}"' in line for line in log)
        return False

    def account(self):
        return {
            "run_id": self.id,
            "fate": self.fate,
            "status": self.word(),
            "exists": bool(self.rows),
            "ends": self.ends,
            "created_at": self.created_at,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "rows": self.rows,
            "steps": self.steps,
            "events": self.events,
            "job": {
                "job_id": self.job.job_id,
                "status": self.job.outcome,
                "event_ids": self.job.event_ids,
                "failed_events": self.job.failed_events,
                "tasks": self.job.tasks,
            },
        }


def execute(run):
    try:
        run.execute()
    except BaseException:
        give_up(traceback.format_exc())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--db", required=True)
    parser.add_argument("--shape", choices=["a", "b"], default="a")
    parser.add_argument("--init", action="store_true", help="create the tables, then exit")
    parser.add_argument("--root", default=".", help="where state/events and jobs go")
    parser.add_argument("--runs", type=int, default=len(FATES))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds that a write waits for others")
    parser.add_argument("--read-reports", type=float, default=0.0, metavar="SECONDS",
                        help="a run that is reopened waits for its report for so long at most")
    parser.add_argument("--pace", type=float, default=1.0, help="2: everything takes twice as long")
    options = parser.parse_args()
    shape = {"a": ShapeA, "b": ShapeB}[options.shape]
    database = Database(options.db, shape.FOREIGN_KEYS, options.timeout)
    if options.init:
        database.create(SCHEMA[options.shape])
        return
    files = EventFiles(options.root)
    runs = [Run(index, options, database, files) for index in range(options.runs)]
    threads = [threading.Thread(target=execute, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger = {"shape": options.shape, "seed": options.seed, "runs": [run.account() for run in runs]}
    json.dump(ledger, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
