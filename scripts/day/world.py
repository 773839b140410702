"""A project in a folder of its own, its configuration, and the executor that is killed and started in it."""

import os
import pathlib
import signal
import sqlite3
import subprocess
import time

PATIENCE_S = 0.5

CONFIGURATION = """
required_tables = ["runs"]
instance = "day"
ballast_bytes = 0
stop_grace_ms = 2000
poll_ms = 1000
monitor.heartbeat_ms = 1000
archive.settle_ms = 50
archive.files = ["artifacts/{{run_id}}/**"]
retry = {{ base_ms = 20, cap_ms = 500, max_attempts = 20 }}
logs = {{ rotate_bytes = 65536, keep_files = 100000 }}
ingest.events = ["events"]
metrics.listen = "unix:{folder}/metrics"

[steps.notify]
after = ["report"]
command = ["./notify"]

[alerts.channels.hook]
kind = "webhook"
url = "http://127.0.0.1:{port}/hook"
group_ms = 200
throttle_ms = 0
timeout_ms = {patience_ms}
max_attempts = 1000

[alerts.channels.am]
kind = "alertmanager"
url = "http://127.0.0.1:{port}"
throttle_ms = 0
timeout_ms = {patience_ms}
max_attempts = 1000
resend_ms = 2000

[alerts.channels.pager]
kind = "command"
command = ["./page"]
throttle_ms = 0
max_attempts = 1000
"""
# The exit code of a step of ours says whether it worked; one of the first attempts of some never does.
NOTIFY = """#!/bin/sh
[ ! -e broken/"$RUNCHAIN_RUN_ID" ] || exit 1
case $RUNCHAIN_ATTEMPT$RUNCHAIN_RUN_ID in 1*[05]) echo 'not yet'; exit 75;; esac
mkdir -p noticed && echo "$RUNCHAIN_STATUS" > noticed/"$RUNCHAIN_RUN_ID.$RUNCHAIN_GENERATION"
"""
# What was begun when somebody was killed is no message: it comes again under its number.
PAGE = """#!/bin/sh
[ ! -e pager-is-out ] || exit 1
mkdir -p paged && cat > paged/.draft.$$ && mv paged/.draft.$$ paged/"${RUNCHAIN_MESSAGE##*/}.$$"
"""
RUNS = """
CREATE TABLE runs(
  run_id TEXT PRIMARY KEY, status TEXT NOT NULL, created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ')),
  updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ')), metadata_json TEXT);
"""


class World:
    """The folder. Nothing of it is removed by this class."""

    def __init__(self, folder, program, port):
        self.folder = pathlib.Path(folder)
        self.program = str(pathlib.Path(program).resolve())
        self.executor = None
        self.told = open(self.folder / "told", "wb")
        self.starts = 0
        for name in (".state", "events", "artifacts", "broken"):
            (self.folder / name).mkdir()
        for name, text in (("notify", NOTIFY), ("page", PAGE)):
            (self.folder / name).write_text(text)
            (self.folder / name).chmod(0o755)
        (self.folder / "runchain.toml").write_text(
            CONFIGURATION.format(folder=self.folder, port=port, patience_ms=int(PATIENCE_S * 1000)))
        self.database = self.connect()
        self.database.executescript("PRAGMA journal_mode = WAL;" + RUNS)
        self.run("install")

    def connect(self):
        return sqlite3.connect(self.folder / ".state" / "orchestration.db", isolation_level=None, timeout=30)

    def environment(self):
        return {name: value for name, value in os.environ.items() if not name.startswith("RUNCHAIN_")}

    def run(self, *arguments):
        subprocess.run([self.program, *arguments], cwd=self.folder, env=self.environment(), check=True,
                       stdout=subprocess.DEVNULL, stderr=self.told)

    def start(self):
        self.starts += 1
        self.executor = subprocess.Popen([self.program, "drain"], cwd=self.folder, env=self.environment(),
                                         stdin=subprocess.DEVNULL, stdout=self.told, stderr=self.told)

    def is_running(self):
        """Nobody but us ends it."""
        if self.executor and self.executor.poll() is not None:
            raise SystemExit(f"the executor ended by itself: {self.executor.returncode}")
        return self.executor is not None

    def stop(self, how):
        self.is_running()
        self.executor.send_signal(how)
        code = self.executor.wait(180)
        # One that has just been started may have no handler yet.
        if how == signal.SIGTERM and code not in (0, -signal.SIGTERM):
            raise SystemExit(f"the executor ended with {code} after SIGTERM")
        self.executor = None

    def weight_kb(self):
        """What is the executor's own of its memory: without files that it has mapped."""
        text = pathlib.Path(f"/proc/{self.executor.pid}/status").read_text()
        return int(text.split("RssAnon:")[1].split()[0])

    def until_quiet(self, patience_s):
        """Waits until nothing is queued, runnable, running or to be sent, and everything is read and said.

        Asked in the order in which work flows, so that what moves on meanwhile is seen further on.
        """
        waiting = {
            "event logs": "SELECT abs({logs} - (SELECT count(*) FROM runchain_ingest_files))",
            "bytes to read": "SELECT abs({size} - (SELECT coalesce(sum(offset_bytes), 0) FROM runchain_ingest_files))",
            "queue rows": "SELECT count(*) FROM runchain_queue",
            "live steps": "SELECT count(*) FROM runchain_steps WHERE finished_ms IS NULL AND state <> 'dead'",
            # A chain that was late on a slow machine: the executor's clock ends that.
            "alerts that end by themselves":
                "SELECT count(*) FROM runchain_alerts WHERE state <> 'resolved' AND rule NOT IN ('run_failed', 'event.failed', 'step_dead')",
            "changes to announce":
                "SELECT (SELECT coalesce(max(id), 0) FROM runchain_alert_changes) - "
                "(SELECT coalesce(max(CAST(value AS INTEGER)), 0) FROM runchain_meta WHERE key = 'alert_changes_announced')",
            "deliveries": "SELECT count(*) FROM runchain_alert_deliveries WHERE state = 'pending'",
            "events to say": "SELECT (SELECT max(id) FROM runchain_events) - (SELECT min(event_id) FROM runchain_cursors)",
        }
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            self.is_running()
            sizes = [log.stat().st_size for log in (self.folder / "events").iterdir()]
            facts = {"logs": len(sizes), "size": sum(sizes)}
            left = {what: self.database.execute(sql.format(**facts)).fetchone()[0] for what, sql in waiting.items()}
            if not any(left.values()):
                return
            time.sleep(0.1)
        raise SystemExit(f"still not quiet after {patience_s} s: {left}")
