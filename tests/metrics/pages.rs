//! What stands on the pages.

use super::http::{Address, Answer};
use super::{end, listening, of, project, samples, until};
use crate::support::eventually;
use rusqlite::Connection;
use serde_json::Value;
use std::fs;
use std::time::Duration;

#[test]
fn the_series_of_the_contract_count_what_has_happened() {
    let project = project("");
    let (_service, address) = listening(&project);
    end(&project, "good", "COMPLETED");
    end(&project, "bad", "FAILED");
    project.sql("INSERT INTO runs(run_id, status) VALUES ('on', 'RUNNING');");
    until(&address, "runchain_runs_active", 1.0);
    eventually("a heartbeat", || {
        let heartbeat = of("runchain_heartbeat_age_seconds");
        samples(&address)
            .contains_key(&heartbeat)
            .then_some(())
            .ok_or_else(String::new)
    });
    let found = until(&address, "runchain_artifacts_archived_total", 2.0);
    let bytes: f64 = project
        .sql("SELECT sum(size_bytes) FROM archival_log;")
        .trim()
        .parse()
        .unwrap();
    for (name, wanted) in [
        ("runchain_runs_completed_total", 1.0),
        ("runchain_runs_failed_total", 1.0),
        ("runchain_runs_cancelled_total", 0.0),
        ("runchain_archive_size_bytes", bytes),
        ("runchain_healthy", 1.0),
        ("runchain_leading", 1.0),
        ("runchain_queue_rows", 0.0),
        ("runchain_oldest_ready_step_age_seconds", 0.0),
        ("runchain_ingest_lag_bytes", 0.0),
        ("runchain_ingest_rejects_total", 0.0),
    ] {
        assert_eq!(found.get(&of(name)), Some(&wanted), "{name}");
    }
    // The run that failed.
    let firing = "runchain_alerts_firing{runchain_instance=\"orders\",severity=\"error\"}";
    assert_eq!(found.get(firing), Some(&1.0));
    for name in [
        "runchain_wake_latency_seconds_count",
        "runchain_heartbeat_age_seconds",
        "runchain_executor_beat_age_seconds",
        "runchain_busy_retries_total",
        "runchain_start_time_seconds",
    ] {
        assert!(found.contains_key(&of(name)), "{name}");
    }
    for name in [
        "runchain_steps{runchain_instance=\"orders\",step=\"archive\",state=\"ready\"}",
        "runchain_steps{runchain_instance=\"orders\",step=\"report\",state=\"dead\"}",
        "runchain_step_retries_total{runchain_instance=\"orders\",step=\"archive\"}",
    ] {
        assert_eq!(found.get(name), Some(&0.0), "{name}");
    }
    let firing = "runchain_alerts_firing{runchain_instance=\"orders\",severity=\"error\"}";
    assert_eq!(found.get(firing), Some(&1.0), "of the run that failed");
    let of_archive = "{runchain_instance=\"orders\",step=\"archive\"}";
    assert_eq!(
        found[&format!("runchain_step_duration_seconds_count{of_archive}")],
        2.0
    );
    assert_eq!(found[&format!("runchain_steps_done_total{of_archive}")], 2.0);
    assert!(found.keys().any(|name| name.starts_with("runchain_build_info{")));
    assert!(
        found
            .keys()
            .any(|name| name.starts_with("runchain_dashboard_requests_total{"))
    );
    // Neither runs nor paths.
    let page = address.get("/metrics").unwrap().body;
    assert!(!page.contains("good") && !page.contains(project.root().to_str().unwrap()));
}

#[test]
fn what_waits_dies_and_fires_is_told_by_kind() {
    let project = project("[steps.upload]\nmax_attempts = 2\ncommand = ['false']\n");
    project.runchain(&["pause", "report"]).exits(0);
    let (_service, address) = listening(&project);
    project.sql("INSERT INTO runs(run_id, status) VALUES ('a', 'COMPLETED'), ('b', 'COMPLETED');");
    project.until(
        "SELECT count(*) FROM runchain_steps WHERE step = 'upload' AND state = 'dead'",
        "2",
    );
    project.until(
        "SELECT count(*) FROM runchain_steps WHERE step = 'report' AND state = 'ready'",
        "2",
    );
    eventually("the counts", || {
        let found = samples(&address);
        let one = |name: &str| found.get(name).copied();
        let steps = |step: &str, state: &str| {
            one(&format!(
                "runchain_steps{{runchain_instance=\"orders\",step=\"{step}\",state=\"{state}\"}}"
            ))
        };
        let total = |name: &str| one(&format!("{name}{{runchain_instance=\"orders\",step=\"upload\"}}"));
        let told = [
            steps("upload", "dead"),
            steps("report", "ready"),
            total("runchain_step_retries_total"),
            total("runchain_steps_dead_total"),
            one(&of("runchain_paused_kinds")),
            // What is paused is not due.
            one(&of("runchain_oldest_ready_step_age_seconds")),
        ];
        if told == [2.0, 2.0, 2.0, 2.0, 1.0, 0.0].map(Some) {
            Ok(())
        } else {
            Err(format!("{told:?}"))
        }
    });
    project.sql(
        "INSERT INTO runchain_alerts(fingerprint, rule, severity, state, subject, count, first_at_ms, last_at_ms)
         VALUES ('f', 'r', 'warning', 'firing', 's', 1, 1, 1), ('g', 'r', 'warning', 'resolved', 's', 1, 1, 1);",
    );
    let found = until(&address, "runchain_database_reachable", 1.0);
    assert_eq!(
        found["runchain_alerts_firing{runchain_instance=\"orders\",severity=\"warning\"}"],
        1.0
    );
}

#[test]
fn what_a_channel_never_took_is_told_by_channel() {
    let project = project(
        "[alerts.channels.ops]\nkind = 'command'\ncommand = ['false']\nmax_attempts = 1\n\
         [alerts.channels.quiet]\nkind = 'command'\ncommand = ['true']\nrules = ['none']\n",
    );
    let (_service, address) = listening(&project);
    end(&project, "bad", "FAILED");
    project.until("SELECT state FROM runchain_alert_deliveries", "dead");
    let found = until(&address, "runchain_database_reachable", 1.0);
    let of = |channel: &str, state: &str| {
        let labels = format!("runchain_instance=\"orders\",channel=\"{channel}\",state=\"{state}\"");
        found[&format!("runchain_alert_deliveries{{{labels}}}")]
    };
    assert_eq!([of("ops", "pending"), of("ops", "dead")], [0.0, 1.0]);
    assert_eq!([of("quiet", "pending"), of("quiet", "dead")], [0.0, 0.0]);
}

/// Of two executors one counts; when it is killed, the other goes on with the same numbers.
#[test]
fn totals_count_once_over_two_executors_a_kill_and_a_restart() {
    let project = project("");
    let (first, first_address) = listening(&project);
    until(&first_address, "runchain_leading", 1.0);
    let (second, second_address) = listening(&project);
    for number in 0..5 {
        end(&project, &format!("r{number}"), "COMPLETED");
    }
    until(&first_address, "runchain_runs_completed_total", 5.0);
    let of_second = samples(&second_address);
    assert_eq!(of_second[&of("runchain_leading")], 0.0);
    assert!(!of_second.contains_key(&of("runchain_runs_completed_total")));
    // Steps were executed by either, and each counts its own.
    let count = |samples: &super::Samples| {
        let name = "runchain_step_duration_seconds_count{runchain_instance=\"orders\",step=\"report\"}";
        samples.get(name).copied().unwrap_or(0.0)
    };
    eventually("all attempts", || {
        let both = count(&samples(&first_address)) + count(&samples(&second_address));
        if both == 5.0 {
            Ok(())
        } else {
            Err(both.to_string())
        }
    });
    first.kill();
    until(&second_address, "runchain_leading", 1.0);
    until(&second_address, "runchain_runs_completed_total", 5.0);
    end(&project, "last", "FAILED");
    until(&second_address, "runchain_runs_failed_total", 1.0);
    assert_eq!(second.terminate().code(), Some(0));
    assert_eq!(
        project.sql("SELECT value FROM runchain_counters WHERE name = 'runs_completed';"),
        "5\n",
        "a leader that stops in order has saved them"
    );
    let (_third, third_address) = listening(&project);
    until(&third_address, "runchain_runs_completed_total", 5.0);
}

#[test]
fn health_says_what_stands_still() {
    let project = project("");
    let (_service, address) = listening(&project);
    let answer = healthy(&address);
    assert!(
        answer.head.contains("Content-Type: application/json"),
        "{}",
        answer.head
    );
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(
        (&body["status"], &body["instance"]),
        (&Value::from("ok"), &Value::from("orders"))
    );
    // In rollback mode this keeps readers out, too.
    let holder = Connection::open(project.database()).unwrap();
    holder.busy_timeout(Duration::from_secs(60)).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let answer = address.get("/healthz").unwrap();
    assert_eq!(answer.code, 503);
    assert!(answer.body.contains("locked"), "{}", answer.body);
    let found = samples(&address);
    assert_eq!(found[&of("runchain_database_reachable")], 0.0);
    holder.execute_batch("ROLLBACK").unwrap();
    healthy(&address);
}

/// Waits for the answer that all is well.
fn healthy(address: &Address) -> Answer {
    eventually("health", || {
        let answer = address.get("/healthz").unwrap();
        if answer.code == 200 {
            Ok(answer)
        } else {
            Err(answer.body)
        }
    })
}

#[test]
fn without_an_address_nothing_listens_and_nothing_is_counted() {
    let project = project("");
    let service = project.service();
    end(&project, "r", "COMPLETED");
    let sockets = fs::read_to_string(format!("/proc/{}/net/tcp", service.pid())).unwrap();
    let own: Vec<String> = fs::read_dir(format!("/proc/{}/fd", service.pid()))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .filter_map(|link| {
            Some(
                link.to_str()?
                    .strip_prefix("socket:[")?
                    .trim_end_matches(']')
                    .to_owned(),
            )
        })
        .collect();
    let listens = sockets.lines().any(|line| {
        own.iter()
            .any(|inode| line.split_whitespace().any(|word| word == inode))
    });
    assert!(!listens);
    assert_eq!(service.terminate().code(), Some(0));
    assert_eq!(project.sql("SELECT count(*) FROM runchain_counters;"), "0\n");
}
