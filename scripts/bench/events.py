"""Event logs to be ingested: 500,000 events of some 520 bytes, in the pattern events' format, made from a seed."""

import json
import random
from datetime import datetime, timedelta, timezone

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
SEED = 20260101
BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)
# A pattern run is one task: what it says, in order. One in eight ends in a failure.
STEPS = [
    ("pattern.selection.started", "in_progress"), ("pattern.selection.resolved", "in_progress"),
    ("pattern.template.expanded", "in_progress"), ("pattern.validation.started", "in_progress"),
    ("pattern.validation.completed", "success"), ("pattern.execution.started", "in_progress"),
    ("pattern.execution.completed", "success"),
]
FAILED = ("pattern.execution.failed", "failed")
TASKS_PER_JOB = 10
KINDS = ("ulid", "random", "duplicates", "broken")


def ulid(rng, milliseconds):
    """48 bits of time, 80 random bits, as https://github.com/ulid/spec has it."""
    number = milliseconds << 80 | rng.getrandbits(80)
    return "".join(CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def events(count, ids):
    rng = random.Random(SEED)
    at, job, made = BEGIN, None, 0
    for task in range(count):
        if task % TASKS_PER_JOB == 0:
            job = "JOB-" + ulid(rng, int(at.timestamp() * 1000))
        run, pattern = "PRUN-" + ulid(rng, int(at.timestamp() * 1000)), f"PAT-TOOL-{rng.randrange(50):03}"
        for kind, status in [*STEPS[:-1], FAILED if rng.randrange(8) == 0 else STEPS[-1]]:
            if made == count:
                return
            made, at = made + 1, at + timedelta(microseconds=rng.randrange(1, 40_000))
            stamp = int(at.timestamp() * 1000) if ids == "ulid" else rng.getrandbits(48)
            details = {
                "operation_kind": "scan", "template_version": "1.2.0", "variables_resolved": rng.randrange(40),
                "generated_artifacts": [f".worktrees/{job}/config.yaml"],
                "command_preview": "scan --config auto --json",
            }
            if status == "failed":
                details |= {"error_type": "ToolError", "error_message": f"exit code 2 in {run}", "exit_code": 2}
            yield {
                "event_id": "EVT-" + ulid(rng, stamp), "event_type": kind, "timestamp": at.isoformat(),
                "job_id": job, "pattern_run_id": run, "pattern_id": pattern, "status": status,
                "details": details, "step_id": f"STEP-{task % TASKS_PER_JOB:03}",
            }


def write(path, kind, count):
    """Writes `count` lines: of `duplicates` 40 % stood before, of `broken` 5 % are no JSON."""
    rng, before = random.Random(SEED + 1), []
    fresh = events(count, "random" if kind == "random" else "ulid")
    with path.open("w") as file:
        for _ in range(count):
            if kind == "duplicates" and before and rng.random() < 0.4:
                file.write(rng.choice(before))
                continue
            line = json.dumps(next(fresh)) + "\n"
            if kind == "duplicates" and len(before) < 200_000:
                before.append(line)
            if kind == "broken" and rng.random() < 0.05:
                line = line[:rng.randrange(20, 200)] + "\n"
            file.write(line)
