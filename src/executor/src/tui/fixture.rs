//! A project in the middle of its night, for tests: one run is under way, one stands still, one
//! failed, one has a dead step, others are through.

use super::model::{
    Alert, Cause, ChainStep, Event, Executor, Failure, LastError, Need, Origin, Overview, Progress,
    QueuedStep, RunCounts, RunLine, RunView, Snapshot, StepCounts, StepView, Task,
};
use runchain_core::validate::{Finding, Severity};
use runchain_core::{Millis, RunId, StepId};

/// 2026-01-31 12:00:00 UTC.
pub(crate) const NOW: Millis = Millis(1_769_860_800_000);

/// So many seconds before [`NOW`].
pub(crate) fn ago(seconds: i64) -> Millis {
    NOW.plus(-seconds * 1_000)
}

pub(crate) fn step(name: &str, state: &str, attempts: i64) -> ChainStep {
    ChainStep {
        step: name.to_owned(),
        state: state.to_owned(),
        attempts,
        max_attempts: 5,
        ready_at: NOW.plus(8_000),
        is_deferred: false,
    }
}

pub(crate) fn line(run_id: &str, status: &str, phase: &str, since: Millis) -> RunLine {
    RunLine {
        run_id: RunId(run_id.to_owned()),
        status: Some(status.to_owned()),
        phase: phase.to_owned(),
        since,
        generation: i64::from(phase != "active"),
        monitor: if phase == "active" { "on" } else { "off" }.to_owned(),
        stalled_since: None,
        need: None,
        progress: Vec::new(),
        heartbeat: None,
        chain: match phase {
            "active" => vec![step("archive", "pending", 0), step("report", "pending", 0)],
            _ => vec![step("archive", "done", 1), step("report", "done", 1)],
        },
    }
}

fn list() -> Vec<RunLine> {
    let steps = |done, failed| {
        vec![Progress {
            what: "steps".to_owned(),
            total: 12,
            done,
            failed,
        }]
    };
    vec![
        RunLine {
            need: Some(Need::DeadStep),
            chain: vec![
                step("archive", "done", 1),
                step("upload", "dead", 5),
                step("report", "done", 1),
            ],
            ..line("nightly-41", "COMPLETED", "completed", ago(3_900))
        },
        RunLine {
            need: Some(Need::Failed),
            ..line("nightly-43", "FAILED", "failed", ago(180))
        },
        RunLine {
            need: Some(Need::Stalled),
            stalled_since: Some(ago(600)),
            progress: steps(2, 1),
            heartbeat: Some(ago(4)),
            ..line("import-7", "RUNNING", "active", ago(7_260))
        },
        RunLine {
            progress: steps(7, 0),
            heartbeat: Some(ago(4)),
            ..line("nightly-44", "RUNNING", "active", ago(95))
        },
        RunLine {
            chain: vec![
                step("archive", "done", 1),
                step("upload", "ready", 1),
                step("report", "running", 1),
            ],
            ..line("nightly-42", "COMPLETED", "completed", ago(12))
        },
        line("nightly-40", "CANCELLED", "cancelled", ago(90_000)),
    ]
}

/// The run that failed: its own tables say why, and its report was tried three times.
pub(crate) fn failed_run() -> RunView {
    let chain = vec![step("archive", "done", 1), step("report", "ready", 2)];
    let view = |brief: ChainStep| StepView {
        id: StepId(7),
        brief,
        created: ago(180),
        started: Some(ago(178)),
        finished: None,
        needs: Vec::new(),
        files: Vec::new(),
        failures: Vec::new(),
    };
    let task = |name: &str, status: &str, phase: &str, started: Option<i64>, ended: Option<i64>| Task {
        table: "step_attempts".to_owned(),
        name: name.to_owned(),
        status: status.to_owned(),
        phase: Some(phase.to_owned()),
        started: started.map(ago),
        ended: ended.map(ago),
    };
    RunView {
        line: RunLine {
            chain: chain.clone(),
            ..line("nightly-43", "FAILED", "failed", ago(180))
        },
        is_followed: false,
        first_seen: ago(300),
        causes: vec![
            Cause {
                source: "step report".to_owned(),
                text: "write /srv/etl/reports/nightly-43_summary.json: no space left on device".to_owned(),
            },
            Cause {
                source: "runs".to_owned(),
                text: "[2] step load failed".to_owned(),
            },
            Cause {
                source: "step_attempts load".to_owned(),
                text: "column \"price\" of relation \"orders\" does not exist".to_owned(),
            },
        ],
        steps: vec![
            StepView {
                finished: Some(ago(176)),
                files: vec!["/srv/etl/.archive/nightly-43".to_owned()],
                ..view(chain[0].clone())
            },
            StepView {
                failures: [(1, 170), (2, 20)]
                    .map(|(attempt, at)| Failure {
                        attempt,
                        started: Some(ago(at + 1)),
                        ended: ago(at),
                        error: "write /srv/etl/reports/nightly-43_summary.json: no space left on device"
                            .to_owned(),
                        output: Vec::new(),
                    })
                    .to_vec(),
                ..view(chain[1].clone())
            },
        ],
        tasks: vec![
            task("extract", "COMPLETED", "completed", Some(300), Some(240)),
            task("transform", "COMPLETED", "completed", Some(240), Some(200)),
            task("load", "FAILED", "failed", Some(200), Some(180)),
            task("publish", "PENDING", "active", None, None),
        ],
        left_out: vec!["measurements".to_owned()],
        events: events(),
    }
}

fn events() -> Vec<Event> {
    let event = |id, seconds, kind: &str, text: &str| Event {
        origin: if kind.contains('.') {
            Origin::Log
        } else {
            Origin::Lifecycle
        },
        id,
        at: Some(ago(seconds)),
        kind: kind.to_owned(),
        run_id: Some("nightly-43".to_owned()),
        text: text.to_owned(),
    };
    vec![
        event(1, 300, "RUN_CREATED", "status RUNNING"),
        event(2, 300, "MONITOR_STARTED", "heartbeat_ms 10000"),
        event(
            3,
            181,
            "pattern.execution.failed",
            "column \"price\" of relation \"orders\" does not exist, exit_code 2",
        ),
        event(3, 180, "RUN_COMPLETED", "status FAILED, phase failed"),
        event(
            4,
            176,
            "RUN_ARCHIVED",
            "archive: path .archive/nightly-43, size_bytes 20480",
        ),
        event(5, 20, "STEP_FAILED", "report: no space left on device, attempt 2"),
    ]
}

/// What all screens show.
pub(crate) fn snapshot() -> Snapshot {
    let mut minutes = vec![0; 60];
    for (minute, ends) in [(10, 1), (35, 3), (40, 8), (41, 5), (57, 2), (59, 1)] {
        minutes[minute] = ends;
    }
    Snapshot {
        at: NOW,
        database: "/srv/etl/.state/orchestration.db".to_owned(),
        root: "/srv/etl".to_owned(),
        trouble: None,
        overview: Some(Overview {
            executor: Executor::Alive("executor etl-1".to_owned()),
            runs: RunCounts {
                active: 2,
                stalled: 1,
                completed: 12_044,
                failed: 31,
                cancelled: 4,
            },
            steps: StepCounts {
                running: 1,
                ready: 2,
                waiting: 0,
                dead: 1,
            },
            oldest_due: Some(ago(42)),
            ended_per_minute: minutes,
            last_error: Some(LastError {
                run_id: RunId("nightly-43".to_owned()),
                step: "report".to_owned(),
                state: "ready".to_owned(),
                attempt: 2,
                max_attempts: 5,
                at: ago(20),
                error: "write reports/nightly-43_summary.json: no space left on device".to_owned(),
            }),
            alerts_firing: 1,
            list: list(),
            ..Overview::default()
        }),
        run: Some(failed_run()),
        preview: None,
        queue: queue(),
        events: events(),
        alerts: alerts(),
        health: Some(health()),
    }
}

fn queue() -> Vec<QueuedStep> {
    let queued = |id, run: &str, brief: ChainStep, error: Option<&str>| QueuedStep {
        id: StepId(id),
        run_id: RunId(run.to_owned()),
        brief,
        error: error.map(str::to_owned),
    };
    vec![
        queued(
            3,
            "nightly-41",
            step("upload", "dead", 5),
            Some("\"rclone\" ended with exit code 1: 403 Forbidden"),
        ),
        queued(9, "nightly-42", step("report", "running", 1), None),
        queued(
            7,
            "nightly-43",
            step("report", "ready", 2),
            Some("no space left on device"),
        ),
        queued(
            8,
            "nightly-42",
            step("upload", "ready", 1),
            Some("\"rclone\" ended with exit code 1"),
        ),
    ]
}

fn alerts() -> Vec<Alert> {
    let alert = |id, state: &str, rule: &str, subject: &str, message: &str| Alert {
        id,
        rule: rule.to_owned(),
        severity: "error".to_owned(),
        state: state.to_owned(),
        run_id: None,
        subject: subject.to_owned(),
        message: message.to_owned(),
        count: 3,
        first: ago(4_000),
        last: ago(20),
    };
    vec![
        alert(
            2,
            "firing",
            "disk_low",
            "reports",
            "12 MiB are left on the disk of /srv/etl/reports; steps that write there fail until there is room",
        ),
        alert(
            1,
            "resolved",
            "triggers_lost",
            "runs",
            "the capture triggers are gone",
        ),
    ]
}

fn health() -> Vec<Finding> {
    let finding = |check, severity, found: &str, remedy: Option<&str>| Finding {
        check,
        severity,
        found: found.to_owned(),
        meaning: "what follows from it".to_owned(),
        remedy: remedy.map(str::to_owned),
    };
    vec![
        finding("triggers", Severity::Ok, "3 capture triggers on runs", None),
        finding(
            "journal_mode",
            Severity::Warning,
            "delete",
            Some("PRAGMA journal_mode = WAL;"),
        ),
        finding(
            "dead_steps",
            Severity::Error,
            "1 dead step: upload of nightly-41",
            Some("SELECT runchain_retry(3);"),
        ),
    ]
}
