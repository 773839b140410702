"""The books of a day: what was committed against what is in the database, on the disk and at the receivers.

Every check reads both sides by itself; none of the executor's code or commands takes part.
"""

import collections
import hashlib
import json
import re
import time

from orchestrator import changes_of_alert

ONE = re.compile(r"^\[(FIRING|RESOLVED)(?: by [^\]]*)?\] \w+ ([\w.]+): ")
MANY = re.compile(r"^(\d+) (firing|resolved) ([\w.]+): ")
WITHDRAWN = "it was over before the throttle let it through"


class Books:
    """`complaints` is what doesn't balance, `entries` is what was counted."""

    def __init__(self, world, orchestrator, receiver):
        self.world, self.orchestrator, self.receiver = world, orchestrator, receiver
        self.complaints = []
        self.entries = {}

    def ask(self, sql, *arguments):
        return self.world.database.execute(sql, arguments).fetchall()

    def must_be(self, what, found, wanted):
        if found == wanted:
            return
        if isinstance(found, dict) and isinstance(wanted, dict):
            names = sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))
            found, wanted = ({name: side.get(name) for name in names[:5]} for side in (found, wanted))
        self.complaints.append(f"{what}: {found!r} where {wanted!r} was right")

    def close(self):
        self.runs_and_chains()
        self.bags_and_reports()
        self.logs()
        self.event_logs()
        self.alerts()
        self.deliveries()
        self.pager()
        self.webhook()
        self.alertmanager()

    def ends(self):
        return {run_id: [status for status in statuses if status != "RUNNING"]
                for run_id, statuses in self.orchestrator.statuses.items()}

    def runs_and_chains(self):
        """Every end is a generation; the last one's chain is through, and nothing else is left."""
        wanted = {run_id: (len(ends), ends[-1].lower()) for run_id, ends in self.ends().items()}
        found = {run_id: (generation, phase)
                 for run_id, generation, phase in self.ask("SELECT run_id, generation, phase FROM runchain_runs")}
        self.must_be("runs", found, wanted)
        done = collections.Counter(
            run_id for run_id, in self.ask("SELECT s.run_id FROM runchain_steps s JOIN runchain_runs r USING (run_id, generation) "
                                           "WHERE s.state = 'done'"))
        self.must_be("steps done of each run's chain (archive, report, notify)", dict(done), dict.fromkeys(wanted, 3))
        # One that was dead and overtaken by a later end of its run is over, too.
        other = self.ask("SELECT run_id, generation, step, state FROM runchain_steps WHERE state NOT IN ('done', 'cancelled') "
                         "AND NOT (state = 'dead' AND finished_ms IS NOT NULL)")
        self.must_be("steps that are neither done nor cancelled", other, [])
        noticed = self.world.folder / "noticed"
        missing = [run_id for run_id, (generation, _) in wanted.items() if not (noticed / f"{run_id}.{generation}").exists()]
        self.must_be("ends that the step of ours didn't see", missing, [])
        self.entries["runs"] = len(wanted)
        self.entries["ends of runs"] = sum(len(ends) for ends in self.ends().values())
        self.entries["attempts of steps that failed"] = self.ask("SELECT count(*) FROM runchain_events WHERE type = 'STEP_FAILED'")[0][0]

    def bags_and_reports(self):
        for run_id, ends in self.ends().items():
            bag = self.world.folder / ".archive" / run_id
            for name in ("manifest-sha256.txt", "tagmanifest-sha256.txt"):
                for line in (bag / name).read_text().splitlines():
                    digest, _, member = line.partition("  ")
                    self.must_be(f"SHA-256 of {bag / member}", hashlib.sha256((bag / member).read_bytes()).hexdigest(), digest)
            summary = json.loads((self.world.folder / "reports" / f"{run_id}_summary.json").read_text())
            self.must_be(f"the report of {run_id}", (summary["run_id"], summary["status"]), (run_id, ends[-1]))

    def logs(self):
        """Every event stands in its log once, in order, over all rotated files."""
        told = collections.Counter()
        for name in ("monitor", "archival"):
            folder = self.world.folder / "logs"
            files = sorted(folder.glob(f"{name}.*-*.jsonl")) + [folder / f"{name}.jsonl"]
            lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
            numbers = [line["seq"] for line in lines if "seq" in line]
            self.must_be(f"numbers in the log {name} that are out of order or double", numbers, sorted(set(numbers)))
            told.update((line["run_id"], line["generation"]) for line in lines if line["event"] == "RUN_COMPLETED")
            self.must_be(f"lines of the log {name} without the instance", [line for line in lines if line["instance"] != "day"], [])
            self.entries[f"rotated files of {name}.jsonl"] = len(files) - 1
        wanted = {(run_id, generation + 1): 1 for run_id, ends in self.ends().items() for generation in range(len(ends))}
        self.must_be("ends that the log tells", dict(told), wanted)

    def event_logs(self):
        files = [file.stat().st_size for file in (self.world.folder / "events").iterdir()]
        lines = self.orchestrator.lines
        found = self.ask("SELECT count(*), sum(size_bytes), sum(read_bytes), sum(stored_bytes + rejected_bytes), sum(stored), sum(rejected), "
                         "sum(duplicates) FROM runchain_ingest_balance")
        self.must_be("event logs (files, bytes, read, accounted for, stored, rejected, duplicate)", found,
                     [(len(files), sum(files), sum(files), sum(files), lines["event"], lines["nonsense"], 0)])
        self.must_be("events that were kept", self.ask("SELECT count(*) FROM runchain_ingested")[0][0], lines["event"])
        self.entries["event logs"] = len(files)
        self.entries["events in them"] = lines["event"]
        self.entries["lines that are none"] = lines["nonsense"]

    def over_when_read(self):
        """Alerts of tasks whose failure and whose success were read from their log in one batch: kept, and told to nobody."""
        return self.ask("SELECT id, subject, fingerprint FROM runchain_alerts a WHERE rule = 'event.failed' AND state = 'resolved' "
                        "AND NOT EXISTS (SELECT 1 FROM runchain_alert_changes c WHERE c.alert_id = a.id)")

    def expected_changes(self):
        """By rule and what it is about."""
        runs = {("run_failed", run_id): changes_of_alert(ends) for run_id, ends in self.ends().items()}
        tasks = {("event.failed", task): changes_of_alert(kinds) for task, kinds in self.orchestrator.task_events.items()}
        for _, _, fingerprint in self.over_when_read():
            task = "event.failed", about(fingerprint)
            if tasks.get(task) == ["firing", "resolved"]:
                del tasks[task]
        return {what: changes for what, changes in (runs | tasks).items() if changes}

    def alerts(self):
        """Every failure is one change to firing, every success after it one to resolved."""
        found = collections.defaultdict(list)
        for rule, fingerprint, state in self.ask(
                "SELECT rule, fingerprint, c.state FROM runchain_alert_changes c JOIN runchain_alerts a ON a.id = c.alert_id ORDER BY c.id"):
            found[rule, about(fingerprint)].append(state)
        wanted = self.expected_changes()
        self.must_be("changes of alerts", {what: found[what] for what in found if what[0] in ("run_failed", "event.failed")}, wanted)
        mended = {what: changes for what, changes in found.items() if what[0] not in ("run_failed", "event.failed")}
        self.must_be("other alerts that are not over", {what: changes for what, changes in mended.items() if changes[-1] != "resolved"}, {})
        self.entries["alerts that fired"] = sum(changes.count("firing") for changes in found.values())
        self.entries["of them runs that failed"] = sum(changes.count("firing") for what, changes in wanted.items() if what[0] == "run_failed")
        self.entries["of them dead steps, mended later"] = len(mended)

    def deliveries(self):
        """Each change was planned for each channel, and is sent; or withdrawn, where it was over while the channel was down."""
        self.must_be("deliveries that are not sent",
                     self.ask("SELECT channel, state, error, count(*) FROM runchain_alert_deliveries WHERE state <> 'sent' AND NOT "
                              "(state = 'dropped' AND error = ?) GROUP BY 1, 2, 3", WITHDRAWN), [])
        for channel in ("hook", "am", "pager"):
            told = collections.defaultdict(list)
            for alert, state in self.ask("SELECT d.alert_id, c.state FROM runchain_alert_deliveries d JOIN runchain_alert_changes c "
                                         "ON c.id = d.change_id WHERE channel = ? AND d.state = 'sent' ORDER BY c.id", channel):
                told[alert].append(state)
            stands = dict(self.ask("SELECT id, state FROM runchain_alerts"))
            for alert, _, _ in self.over_when_read():
                del stands[alert]
            self.must_be(f"alerts whose state {channel} was told last", {alert: states[-1] for alert, states in told.items()}, stands)
            double = {alert: states for alert, states in told.items() if any(a == b for a, b in zip(states, states[1:]))}
            self.must_be(f"alerts of which {channel} heard the same twice", double, {})
        self.entries["deliveries"] = self.ask("SELECT count(*) FROM runchain_alert_deliveries WHERE state = 'sent'")[0][0]
        self.entries["withdrawn while a channel was down"] = self.ask(
            "SELECT count(*) FROM runchain_alert_deliveries WHERE state = 'dropped'")[0][0]
        self.entries["attempts of deliveries"] = self.ask("SELECT sum(attempts) FROM runchain_alert_deliveries")[0][0]

    def sent(self, channel):
        """What the database says was sent: rule, what it is about, state."""
        rows = self.ask("SELECT a.rule, a.fingerprint, c.state FROM runchain_alert_deliveries d JOIN runchain_alert_changes c ON c.id = d.change_id "
                        "JOIN runchain_alerts a ON a.id = d.alert_id WHERE d.channel = ? AND d.state = 'sent'", channel)
        return collections.Counter((rule, about(fingerprint), state) for rule, fingerprint, state in rows)

    def pager(self):
        """The command hears everything, word by word."""
        messages, attempts = {}, 0
        for file in (self.world.folder / "paged").glob("[0-9]*"):
            message = json.loads(file.read_text())
            messages[message["message"]] = message
            attempts += 1
        heard = collections.Counter((alert["rule"], about(alert["fingerprint"]), alert["state"])
                                    for message in messages.values() for alert in message["alerts"])
        self.must_be("what the pager heard", dict(heard), dict(self.sent("pager")))
        self.must_be("the instance in the pager's messages", {message["instance"] for message in messages.values()}, {"day"})
        self.entries["messages to the pager"] = len(messages)
        self.entries["of them heard again"] = attempts - len(messages)

    def webhook(self):
        """Slack's shape tells how many of each rule; of many not each by name."""
        heard = collections.Counter()
        for body in self.receiver.boxes["/hook"].values():
            for text in [part["text"] for part in body["attachments"]] or [body["text"]]:
                one, many = ONE.match(text), MANY.match(text)
                if many:
                    heard[many[3], many[2]] += int(many[1])
                elif one:
                    heard[one[2], one[1].lower()] += 1
                else:
                    self.complaints.append(f"the webhook heard {text!r}")
        wanted = collections.Counter()
        for (rule, _, state), count in self.sent("hook").items():
            wanted[rule, state] += count
        self.must_be("what the webhook heard", dict(heard), dict(wanted))
        self.numbers("hook", "/hook")
        self.entries["messages to the webhook"] = len(self.receiver.boxes["/hook"])

    def alertmanager(self):
        """What Alertmanager was told last of each alert is how it stands."""
        told = list(self.receiver.told_last.values())
        found = {(one.labels["alertname"], one.labels["subject"]): one.is_over for one in told}
        wanted = {(rule, subject): state == "resolved" for rule, subject, state in self.ask("SELECT rule, subject, state FROM runchain_alerts")}
        for _, subject, _ in self.over_when_read():
            del wanted["event.failed", subject]
        self.must_be("alerts that are over, to Alertmanager", found, wanted)
        self.must_be("the instance in Alertmanager's labels", {one.labels["instance"] for one in told}, {"day"})
        self.numbers("am", "/api/v2/alerts")
        self.entries["messages to Alertmanager"] = len(self.receiver.boxes["/api/v2/alerts"])
        self.entries["repeated over HTTP, under their number"] = self.receiver.repeated

    def numbers(self, channel, path):
        """The ids that let a receiver tell repetitions are one for each message that was sent."""
        found = sorted(int(number.rsplit("/")[-1]) for number in self.receiver.boxes[path])
        wanted = [number for number, in self.ask(
            "SELECT DISTINCT message FROM runchain_alert_deliveries WHERE channel = ? AND state = 'sent' ORDER BY 1", channel)]
        self.must_be(f"numbers of messages that {channel} has heard", found, wanted)

    def totals(self, scrape, patience_s):
        """`/metrics` counts the same, as soon as the newest events are counted."""
        ends = collections.Counter(end for ends in self.ends().values() for end in ends)
        wanted = {"runs_completed": ends["COMPLETED"], "runs_failed": ends["FAILED"], "runs_created": len(self.ends())}
        deadline = time.monotonic() + patience_s
        found = {}
        while found != wanted and time.monotonic() < deadline:
            page = scrape()
            values = {name: re.search(rf"^runchain_{name}_total\{{[^}}]*\}} (\S+)$", page, re.MULTILINE) for name in wanted}
            found = {name: value and int(float(value[1])) for name, value in values.items()}
        self.must_be("totals in /metrics", found, wanted)

    def weight(self, samples):
        """Of the time in which nobody killed it: the first quarter against the last."""
        if len(samples) < 40:
            return
        quarter = len(samples) // 4
        first, last = (sorted(part)[quarter // 2] for part in (samples[:quarter], samples[-quarter:]))
        self.entries["memory of its own, first quarter, kB"] = first
        self.entries["memory of its own, last quarter, kB"] = last
        if last > first * 1.1 + 1024:
            self.complaints.append(f"the executor grew from {first} kB to {last} kB")


def about(fingerprint):
    """The task or run of a fingerprint: a JSON array that begins with the rule."""
    parts = json.loads(fingerprint)
    return parts[1] if len(parts) == 2 or parts[0] in ("run_failed", "event.failed") else json.dumps(parts[1:])
