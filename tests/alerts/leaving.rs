//! What leaves the machine with an alert, and what never does: secrets of the channels, redacted data.

use super::channels::{asked, fail, webhook};
use super::server::{Reply, Server};
use super::{event, ingest};
use crate::support::{Project, Service, eventually};

#[test]
fn a_secret_comes_from_a_file_a_credential_or_a_variable_and_is_never_shown() {
    let server = Server::start(&[Reply::Status(500, "")]);
    let config = "[alerts.channels.f]\nkind = 'webhook'\nurl_file = 'url'\ngroup_ms = 0\n\
                  [alerts.channels.c]\nkind = 'webhook'\nurl_credential = 'ops-url'\ngroup_ms = 0\n\
                  [alerts.channels.v]\nkind = 'webhook'\nurl_env = 'OPS_URL'\ngroup_ms = 0\n";
    let project = Project::installed(config);
    let secret = |name: &str| format!("{}/hunter2-{name}\n", server.url());
    std::fs::write(project.path("url"), secret("file")).unwrap();
    std::fs::create_dir(project.path("credentials")).unwrap();
    std::fs::write(project.path("credentials/ops-url"), secret("credential")).unwrap();
    let service = Service::of(
        project
            .command(&["drain"])
            .env("CREDENTIALS_DIRECTORY", project.path("credentials"))
            .env("OPS_URL", secret("variable").trim()),
    );
    fail(&project, "r");
    project.until(
        "SELECT count(*) FROM runchain_alert_deliveries WHERE state = 'sent'",
        "3",
    );
    let mut paths: Vec<String> = server.asked().into_iter().map(|one| one.path).collect();
    paths.sort();
    paths.dedup();
    assert_eq!(
        paths,
        ["/hunter2-credential", "/hunter2-file", "/hunter2-variable"]
    );
    let told = service.told();
    service.terminate();
    let dump = project.sql(".dump");
    let show = project.runchain(&["config", "show"]).exits(0).stdout;
    let logs = std::fs::read_to_string(project.path("logs/monitor.jsonl")).unwrap();
    for (place, text) in [
        ("told", told),
        ("the database", dump),
        ("config show", show),
        ("the log", logs),
    ] {
        assert!(!text.contains("hunter2"), "{place}: {text}");
    }
}

#[test]
fn a_channel_that_repeats_its_url_and_token_shows_neither() {
    let server = Server::start(&[Reply::Repeat; 99]);
    let project = Project::installed(&webhook(&server, "token = 'hunter3'\nmax_attempts = 1"));
    let service = project.service();
    fail(&project, "r");
    project.until(
        "SELECT error FROM runchain_alert_deliveries",
        "HTTP 500: no hook at [redacted] for Bearer [redacted]",
    );
    let test = project.runchain(&["alerts", "test", "ops"]).exits(1);
    let told = eventually("the service to say that it gave up", || {
        let told = service.told();
        if told.contains("could not be delivered to ops") {
            Ok(told)
        } else {
            Err(told)
        }
    });
    service.terminate();
    let logs = std::fs::read_to_string(project.path("logs/monitor.jsonl")).unwrap();
    let status = project.runchain(&["status"]).exits(0).stdout;
    for (place, text) in [
        ("told", told),
        ("the database", project.sql(".dump")),
        ("alerts test", test.stderr),
        ("status", status),
        ("the log", logs),
    ] {
        assert!(!text.contains("hunter"), "{place}: {text}");
    }
}

#[test]
fn a_command_that_prints_its_secret_shows_it_to_nobody() {
    let project = Project::installed(
        "[alerts.channels.pager]\nkind = 'command'\ncommand = ['sh', '-c', 'echo wrong key $KEY; exit 3']\n\
         env = { KEY = 'hunter2' }\nmax_attempts = 1\n",
    );
    fail(&project, "r");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(
        project.lines("SELECT state, error FROM runchain_alert_deliveries"),
        ["dead|the command ended with exit code 3: wrong key [redacted]"]
    );
}

#[test]
fn what_must_not_leave_the_database_leaves_with_no_alert() {
    let server = Server::start(&[]);
    let config = format!(
        "{}[alerts.channels.am]\nkind = 'alertmanager'\nurl = '{}'\n\
         [alerts.channels.pager]\nkind = 'command'\ncommand = ['sh', '-c', 'cat >> heard']\n\
         [steps.up]\ncommand = ['sh', '-c', 'echo hunter2-step >&2; exit 1']\nmax_attempts = 1\n\
         [redact]\nkeys = ['error_message']\ncolumns = ['runchain_steps.error', 'runchain_alerts.subject']\n",
        webhook(&server, ""),
        server.url()
    );
    let project = Project::installed(&config);
    let failure = event("E1", "x.failed", 1, "hunter2-task").replace("E1 broke", "hunter2-event broke");
    ingest(&project, "a.jsonl", &failure);
    fail(&project, "r");
    let told = project.runchain(&["drain", "--until-idle"]).exits(0).stderr;
    assert_eq!(
        project.lines("SELECT group_concat(rule, ' ') FROM (SELECT rule FROM runchain_alerts ORDER BY rule)"),
        ["event.failed run_failed step_dead"]
    );
    let heard = std::fs::read_to_string(project.path("heard")).unwrap();
    let bodies: Vec<String> = asked(&server, 2).iter().map(|one| one.body.to_string()).collect();
    let log = std::fs::read_to_string(project.path("logs/monitor.jsonl")).unwrap();
    for text in bodies.iter().chain([&heard, &told, &log]) {
        assert!(text.contains("[redacted]"), "{text}");
        // The task stands in the log with its event, too, and of that no rule was told.
        let secrets = ["hunter2-step", "hunter2-event", "hunter2-task"];
        let secrets = &secrets[..if *text == log { 2 } else { 3 }];
        assert!(!secrets.iter().any(|secret| text.contains(secret)), "{text}");
    }
    // Those that differ in nothing that may leave are still two.
    let alerts: Vec<serde_json::Value> = serde_json::Deserializer::from_str(&heard)
        .into_iter::<serde_json::Value>()
        .flat_map(|message| message.unwrap()["alerts"].as_array().unwrap().clone())
        .collect();
    let mut fingerprints: Vec<String> = alerts.iter().map(|one| one["fingerprint"].to_string()).collect();
    fingerprints.sort();
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), alerts.len(), "{fingerprints:?}");
}

/// A log's line may have a megabyte, and a letter a hundred alerts.
#[test]
fn of_texts_without_end_the_beginning_leaves_and_whoever_lists_them_sees_a_table() {
    let project = Project::installed(
        "[alerts.channels.pager]\nkind = 'command'\ncommand = ['sh', '-c', 'cat >> heard']\n",
    );
    let endless = event("E1", "x.failed", 1, &"T".repeat(70_000)).replace("E1 broke", &"M".repeat(500_000));
    ingest(&project, "a.jsonl", &endless);
    let told = project.runchain(&["drain", "--until-idle"]).exits(0).stderr;
    let heard = std::fs::read_to_string(project.path("heard")).unwrap();
    let message: serde_json::Value = serde_json::from_str(&heard).unwrap();
    let alert = &message["alerts"][0];
    assert_eq!(alert["subject"], "T".repeat(500) + "...");
    assert_eq!(alert["message"], "M".repeat(4_000) + "...");
    assert!(
        told.contains(&format!(": {}...", "M".repeat(1_000))),
        "{}",
        told.len()
    );
    assert!(!told.contains(&"M".repeat(1_001)));
    let listed = project.runchain(&["alerts"]).exits(0).stdout;
    assert!(listed.contains(&"T".repeat(70_000)), "{}", listed.len());
}
