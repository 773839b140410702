//! Who hears of an alert, and what happens when they can't.

use super::server::{Asked, Reply, Server};
use super::{event, ingest};
use crate::support::{Project, Service, eventually};
use rustix::process::Signal;
use std::time::Duration;

/// Unless a test says otherwise, an answer may take long: what is tried again for a stall's sake would
/// count.
pub(super) fn webhook(server: &Server, more: &str) -> String {
    let patience = if more.contains("timeout_ms") {
        ""
    } else {
        "timeout_ms = 60000\n"
    };
    format!(
        "[alerts.channels.ops]\nkind = 'webhook'\nurl = '{}/hunter2'\ngroup_ms = 0\n{patience}{more}",
        server.url()
    )
}

/// Waits until a server was asked so often.
#[track_caller]
pub(super) fn asked(server: &Server, times: usize) -> Vec<Asked> {
    eventually(&format!("the channel to be asked {times} times"), || {
        let asked = server.asked();
        if asked.len() >= times {
            Ok(asked)
        } else {
            Err(format!("{asked:?}"))
        }
    })
}

pub(super) fn fail(project: &Project, run_id: &str) {
    project.sql(&format!(
        "INSERT INTO runs(run_id, status) VALUES ('{run_id}', 'FAILED');"
    ));
}

const DELIVERIES: &str =
    "SELECT group_concat(state, ' ') FROM (SELECT state FROM runchain_alert_deliveries ORDER BY id)";

#[test]
fn a_webhook_hears_that_an_alert_fires_and_that_it_is_over() {
    let server = Server::start(&[]);
    let project = Project::installed(&webhook(&server, "token = 'hunter3'"));
    let _service = project.service();
    fail(&project, "run-<1>");
    let first = &asked(&server, 1)[0];
    let text = first.body["text"].as_str().unwrap();
    assert!(
        text.starts_with("[FIRING] error run_failed: run-&lt;1&gt;: "),
        "{text}"
    );
    assert_eq!(
        (first.path.as_str(), first.authorization.as_str()),
        ("/hunter2", "Bearer hunter3")
    );
    project.sql("UPDATE runs SET status = 'RUNNING'; UPDATE runs SET status = 'COMPLETED';");
    let both = asked(&server, 2);
    assert!(
        both[1].body["text"].as_str().unwrap().starts_with("[RESOLVED] "),
        "{both:?}"
    );
    assert_ne!(both[0].key, both[1].key);
    project.until(DELIVERIES, "sent sent");
}

#[test]
fn what_a_channel_can_t_take_now_is_tried_again_under_the_same_number() {
    let replies = [
        Reply::Status(500, ""),
        Reply::Reset,
        Reply::Status(429, "retry-after: 2\r\n"),
    ];
    let server = Server::start(&replies);
    let project = Project::installed(&webhook(&server, ""));
    let _service = project.service();
    fail(&project, "r");
    project.until(DELIVERIES, "sent");
    let asked = server.asked();
    assert_eq!(asked.len(), 4, "{asked:?}");
    assert!(
        asked
            .iter()
            .all(|one| one.key == asked[0].key && !one.key.is_empty()),
        "{asked:?}"
    );
    let waited = asked[3].at - asked[2].at;
    assert!(
        waited >= Duration::from_secs(2),
        "Retry-After asked for more than {waited:?}"
    );
    let attempts = project.lines("SELECT attempts FROM runchain_alert_deliveries;");
    assert_eq!(attempts, ["4"]);
}

#[test]
fn a_channel_that_answers_a_byte_at_a_time_is_given_up_after_its_time_and_tried_again() {
    let server = Server::start(&[Reply::Drip]);
    let project = Project::installed(&webhook(&server, "timeout_ms = 1000"));
    let _service = project.service();
    fail(&project, "r");
    project.until(DELIVERIES, "sent");
    let asked = server.asked();
    assert!(asked.len() >= 2, "{asked:?}");
    assert!(asked.iter().all(|one| one.key == asked[0].key), "{asked:?}");
}

#[test]
fn what_a_channel_will_never_take_is_dead_and_seen_and_delivered_when_somebody_asks() {
    let server = Server::start(&[
        Reply::Status(302, "location: http://127.0.0.1:9/\r\n"),
        Reply::Status(404, ""),
    ]);
    let project = Project::installed(&webhook(&server, ""));
    let _service = project.service();
    fail(&project, "r");
    project.until(DELIVERIES, "dead");
    fail(&project, "s");
    project.until(DELIVERIES, "dead dead");
    assert_eq!(server.asked().len(), 2, "no redirect was followed");
    let status = project.runchain(&["status"]).exits(0).stdout;
    assert!(
        status.contains("channel   ops: 0 alerts wait to be sent, 2 are given up: HTTP 404: said; try again: runchain alerts retry ops"),
        "{status}"
    );
    project.runchain(&["alerts", "retry", "ops"]).exits(0);
    project.until(DELIVERIES, "sent sent");
}

#[test]
fn a_channel_that_hangs_holds_up_nothing_else() {
    let (hanging, quick) = (Server::start(&[Reply::Hang; 9]), Server::start(&[]));
    let config = format!(
        "{}\n[alerts.channels.quick]\nkind = 'webhook'\nurl = '{}'\ngroup_ms = 0\n",
        webhook(&hanging, "timeout_ms = 600000"),
        quick.url()
    );
    let project = Project::installed(&config);
    let mut service = project.service();
    for number in 0..5 {
        fail(&project, &format!("r{number}"));
        asked(&quick, number + 1);
    }
    project.until(
        "SELECT count(*) FROM runchain_steps WHERE step = 'report' AND state = 'done'",
        "5",
    );
    project.until(
        "SELECT group_concat(state, ' ') FROM (SELECT DISTINCT state FROM runchain_alert_deliveries WHERE channel = 'ops')",
        "pending",
    );
    asked(&hanging, 1);
    // And it doesn't keep the service from stopping.
    service.signal(Signal::TERM);
    assert_eq!(service.ended(), Some(0));
    assert_eq!(hanging.asked().len(), 1);
}

#[test]
fn a_crash_after_the_commit_loses_no_delivery_and_one_after_the_request_repeats_its_number() {
    let server = Server::start(&[]);
    // Time for the crash before anything is due.
    let project = Project::installed(&webhook(&server, "").replace("group_ms = 0", "group_ms = 1000"));
    for (point, before, after) in [("alert-planned", 0, 1), ("alert-sent", 2, 3)] {
        let mut crashing = Service::of(project.command(&["drain"]).env("RUNCHAIN_CRASH_AT", point));
        fail(&project, point);
        assert_eq!(crashing.ended(), None, "{point}: {}", crashing.told());
        assert_eq!(server.asked().len(), before, "{point}");
        let _service = project.service();
        asked(&server, after);
        project.until(
            "SELECT count(*) FROM runchain_alert_deliveries WHERE state <> 'sent'",
            "0",
        );
        assert_eq!(server.asked().len(), after, "{point}");
    }
    let keys: Vec<String> = server.asked().into_iter().map(|one| one.key).collect();
    assert_eq!(keys[1], keys[2]);
    assert_ne!(keys[0], keys[1]);
}

#[test]
fn a_restart_while_a_channel_is_down_loses_nothing() {
    let server = Server::start(&[Reply::Status(503, "")]);
    let project = Project::installed(&webhook(&server, ""));
    {
        let service = project.service();
        fail(&project, "r");
        asked(&server, 1);
        service.kill();
    }
    let _service = project.service();
    assert_eq!(asked(&server, 2)[1].key, server.asked()[0].key);
    project.until(DELIVERIES, "sent");
}

#[test]
fn a_channel_hears_of_its_own_rules_and_severities_only() {
    let (dead, bad) = (Server::start(&[]), Server::start(&[]));
    let config = format!(
        "{}rules = ['step_*']\n[alerts.channels.bad]\nkind = 'webhook'\nurl = '{}'\nmin_severity = 'critical'\n\
         [alerts.rules.step_dead]\nseverity = 'critical'\n[steps.up]\ncommand = ['false']\nmax_attempts = 1\n",
        webhook(&dead, ""),
        bad.url()
    );
    let project = Project::installed(&config);
    fail(&project, "r");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    for server in [&dead, &bad] {
        let texts: Vec<String> = server
            .asked()
            .iter()
            .map(|one| one.body["text"].to_string())
            .collect();
        assert!(
            texts.len() == 1 && texts[0].contains("[FIRING] critical step_dead: up of r"),
            "{texts:?}"
        );
    }
}

#[test]
fn who_flaps_is_heard_of_once_within_the_throttle() {
    let server = Server::start(&[]);
    let project = Project::installed(&webhook(&server, "throttle_ms = 3600000"));
    let _service = project.service();
    fail(&project, "r");
    asked(&server, 1);
    for changes in [2, 4] {
        project.sql("UPDATE runs SET status = 'RUNNING'; UPDATE runs SET status = 'COMPLETED';");
        project.until(
            "SELECT count(*) FROM runchain_alert_changes",
            &changes.to_string(),
        );
        asked(&server, 2);
        project.sql("UPDATE runs SET status = 'RUNNING'; UPDATE runs SET status = 'FAILED';");
        project.until(
            "SELECT count(*) FROM runchain_alert_changes",
            &(changes + 1).to_string(),
        );
    }
    project.until(DELIVERIES, "sent sent dropped pending");
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn alerts_of_a_downtime_are_one_message() {
    let server = Server::start(&[]);
    let project = Project::installed(&webhook(&server, ""));
    project.runchain(&["drain", "--until-idle"]).exits(0);
    for number in 0..20 {
        fail(&project, &format!("r{number}"));
    }
    project.sql("UPDATE runchain_queue SET at_ms = at_ms - 172800000;");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    let asked = server.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    let body = asked[0].body.to_string();
    assert!(
        body.contains("while nobody drained") && body.contains("20 firing run_failed"),
        "{body}"
    );
}

#[test]
fn a_command_gets_the_alert_on_its_standard_input_and_its_exit_code_counts() {
    let project = Project::installed(
        "[alerts.channels.pager]\nkind = 'command'\ncommand = ['sh', '-c', 'cat >> heard; echo \"$RUNCHAIN_MESSAGE\" >> numbers; test -e fine']\n",
    );
    let _service = project.service();
    fail(&project, "r");
    project.until("SELECT max(attempts) FROM runchain_alert_deliveries", "1");
    std::fs::write(project.path("fine"), "").unwrap();
    project.until(DELIVERIES, "sent");
    let heard = std::fs::read_to_string(project.path("heard")).unwrap();
    let first: serde_json::Value = serde_json::Deserializer::from_str(&heard)
        .into_iter()
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(first["alerts"][0]["rule"], "run_failed");
    assert_eq!(first["alerts"][0]["run_id"], "r");
    let numbers = std::fs::read_to_string(project.path("numbers")).unwrap();
    let numbers: Vec<&str> = numbers.lines().collect();
    assert!(
        numbers.len() == 2 && numbers[0] == numbers[1] && numbers[0] == first["message"],
        "{numbers:?}"
    );
}

#[test]
fn a_test_message_says_whether_a_channel_works() {
    let server = Server::start(&[Reply::Status(403, "")]);
    let project = Project::installed(&webhook(&server, ""));
    let refused = project.runchain(&["alerts", "test", "ops"]).exits(1);
    assert!(
        refused
            .stderr
            .contains("ops did not take the test message: HTTP 403: said"),
        "{}",
        refused.stderr
    );
    let taken = project.runchain(&["alerts", "test", "ops", "--json"]).exits(0);
    assert_eq!(taken.json()["taken"], true);
    project.runchain(&["alerts", "test", "other"]).exits(1);
    assert_eq!(project.lines("SELECT count(*) FROM runchain_alerts;"), ["0"]);
}

#[test]
fn a_sign_of_life_is_sent_while_the_service_works_and_not_after() {
    let server = Server::start(&[]);
    let project = Project::installed(&format!(
        "[deadman]\nurl = '{}/ping'\nevery_ms = 200\n",
        server.url()
    ));
    let mut service = project.service();
    assert_eq!(asked(&server, 3)[2].path, "/ping");
    // Stopped, not dead: a process that hangs gives no sign.
    service.signal(Signal::STOP);
    let before = server.asked().len();
    std::thread::sleep(Duration::from_millis(700));
    let after = server.asked().len();
    assert!(
        after <= before + 1,
        "one may have been under way: {before} {after}"
    );
    service.signal(Signal::CONT);
    asked(&server, after + 2);
    service.assert_alive();
}

#[test]
fn an_event_log_s_failures_reach_a_channel_once_whatever_is_read_again() {
    let server = Server::start(&[]);
    let project = Project::installed(&webhook(&server, ""));
    let _service = project.service();
    for name in ["a.jsonl", "b.jsonl", "c.jsonl"] {
        ingest(&project, name, &event("E1", "x.failed", 1, "T"));
    }
    asked(&server, 1);
    ingest(&project, "d.jsonl", &event("E2", "x.failed", 2, "U"));
    let texts: Vec<String> = asked(&server, 2)
        .iter()
        .map(|one| one.body["text"].to_string())
        .collect();
    assert!(
        texts[0].contains("E1 broke") && texts[1].contains("E2 broke"),
        "{texts:?}"
    );
}

#[test]
fn what_waits_for_a_channel_that_is_removed_is_dropped_and_said_once() {
    let server = Server::start(&[Reply::Status(503, ""); 99]);
    let project = Project::installed(&webhook(&server, ""));
    let service = project.service();
    fail(&project, "r");
    asked(&server, 1);
    project.until(DELIVERIES, "pending");
    project.configure("");
    service.signal(Signal::HUP);
    project.until(DELIVERIES, "dropped");
    assert_eq!(
        project.lines("SELECT error FROM runchain_alert_deliveries"),
        ["the channel is configured no more"]
    );
    eventually("the service to say so", || {
        let told = service.told();
        let times = told
            .matches("1 messages about alerts were dropped: the channel ops")
            .count();
        if times == 1 { Ok(()) } else { Err(told) }
    });
    let status = project.runchain(&["status"]).exits(0).stdout;
    assert!(!status.contains("channel"), "{status}");
    assert!(service.terminate().success());
    // What was given up counts as well, also for who starts without the channel.
    project.sql("UPDATE runchain_alert_deliveries SET state = 'dead';");
    let ran = project.runchain(&["drain", "--until-idle"]).exits(0);
    assert!(
        ran.stderr.contains("the channel ops is configured no more")
            || ran.stdout.contains("the channel ops is configured no more"),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
    assert_eq!(project.lines(DELIVERIES), ["dropped"]);
}
