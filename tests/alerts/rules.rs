//! What is an alert, and how it ends.

use super::{alerts, event, ingest, told, until_told};
use crate::support::{Project, Sqlite, everybodys_runchain, extension};
use std::os::unix::process::CommandExt;
use std::process::Command;

const ROWS: &str = "SELECT rule, state, subject, count FROM runchain_alerts ORDER BY id;";

#[test]
fn a_failure_in_a_log_is_an_alert_until_its_task_succeeds_and_the_log_says_both() {
    let project = Project::installed("");
    // This orchestrator calls its runs jobs.
    project.sql("INSERT INTO runs(run_id, status) VALUES ('JOB-1', 'RUNNING');");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    ingest(
        &project,
        "a.jsonl",
        &event("E1", "pattern.execution.failed", 1, "T1"),
    );
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(project.lines(ROWS), ["event.failed|firing|T1|1"]);
    assert_eq!(told(&project), ["ALERT_FIRING event.failed"]);
    let status = project.runchain(&["status"]).exits(0).stdout;
    assert!(
        status.contains("alerts    1 firing") && status.contains("E1 broke"),
        "{status}"
    );
    assert_eq!(
        project.lines("SELECT last_error FROM runchain_chains WHERE run_id = 'JOB-1';"),
        ["E1 broke"]
    );
    ingest(
        &project,
        "b.jsonl",
        &event("E2", "pattern.execution.completed", 2, "T1"),
    );
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(project.lines(ROWS), ["event.failed|resolved|T1|1"]);
    assert_eq!(
        told(&project),
        ["ALERT_FIRING event.failed", "ALERT_RESOLVED event.failed"]
    );
    // The same events once more, in another file, say nothing new.
    ingest(
        &project,
        "c.jsonl",
        &event("E1", "pattern.execution.failed", 1, "T1"),
    );
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(told(&project).len(), 2);
}

/// Of an old log that is read for the first time nobody wants to be called for what was mended long ago.
#[test]
fn a_failure_that_was_over_when_its_log_was_read_is_kept_and_told_to_nobody() {
    let project = Project::installed("[alerts.channels.pager]\nkind = \"command\"\ncommand = [\"true\"]\n");
    let mended = event("E1", "pattern.execution.failed", 1, "T1")
        + &event("E2", "pattern.execution.completed", 2, "T1")
        + &event("E3", "pattern.execution.failed", 3, "T2");
    ingest(&project, "a.jsonl", &mended);
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(
        project.lines(ROWS),
        ["event.failed|resolved|T1|1", "event.failed|firing|T2|1"]
    );
    assert_eq!(told(&project), ["ALERT_FIRING event.failed"]);
    assert_eq!(
        project.lines("SELECT alert_id FROM runchain_alert_deliveries;"),
        ["2"]
    );
}

/// They make no flood, and take no place in one from what nobody has mended.
#[test]
fn however_many_failures_of_an_old_log_were_mended_only_the_others_are_told() {
    let project = Project::installed("");
    let mut log: String = (0..1_000)
        .map(|number| {
            let task = format!("T{number}");
            event(&format!("F{number}"), "pattern.execution.failed", 1, &task)
                + &event(&format!("S{number}"), "pattern.execution.completed", 2, &task)
        })
        .collect();
    log += &event("E", "pattern.execution.failed", 3, "open");
    ingest(&project, "old.jsonl", &log);
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(
        project.lines("SELECT state, count(*), max(subject) FROM runchain_alerts GROUP BY state;"),
        ["firing|1|open", "resolved|100|T99"]
    );
    assert_eq!(told(&project), ["ALERT_FIRING event.failed"]);
}

#[test]
fn a_failed_run_is_an_alert_until_it_succeeds() {
    let project = Project::installed("");
    project.sql("INSERT INTO runs(run_id, status) VALUES ('r', 'FAILED');");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(project.lines(ROWS), ["run_failed|firing|r|1"]);
    project.sql("UPDATE runs SET status = 'RUNNING'; UPDATE runs SET status = 'COMPLETED';");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(project.lines(ROWS), ["run_failed|resolved|r|1"]);
}

#[test]
fn a_dead_step_is_an_alert_until_it_is_tried_again() {
    let project = Project::installed("[steps.up]\ncommand = ['false']\nmax_attempts = 1\n");
    project.sql("INSERT INTO runs(run_id, status) VALUES ('r', 'COMPLETED');");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(project.lines(ROWS), ["step_dead|firing|up of r|1"]);
    assert_eq!(
        project.lines("SELECT last_error LIKE '%exit code 1%runchain retry r%' FROM runchain_chains;"),
        ["1"]
    );
    project.configure("[steps.up]\ncommand = ['true']\n");
    project.runchain(&["retry", "r"]).exits(0);
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(project.lines(ROWS), ["step_dead|resolved|up of r|1"]);
}

#[test]
fn a_flood_of_a_hundred_thousand_failures_is_a_hundred_alerts_and_one_that_counts_the_rest() {
    let project = Project::installed("");
    let lines: String = (0..100_000)
        .map(|number| event(&format!("E{number}"), "x.failed", 1, &format!("T{number}")))
        .collect();
    ingest(&project, "flood.jsonl", &lines);
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(
        project.lines("SELECT count(*), sum(count), max(count) FROM runchain_alerts;"),
        ["101|100000|99900"]
    );
    assert_eq!(told(&project), ["ALERT_DIGEST event.failed"]);
    let again: String = (0..1_000)
        .map(|number| event(&format!("F{number}"), "x.failed", 2, "T1"))
        .collect();
    ingest(&project, "again.jsonl", &again);
    assert_eq!(
        project.lines("SELECT count FROM runchain_alerts WHERE subject = 'T1';"),
        ["1001"]
    );
}

#[test]
fn rules_of_the_configuration_and_of_a_dba_hold_for_who_ingests_by_sql() {
    let project = Project::installed(
        "[alerts.rules.exit]\nfield = 'details.exit_code'\nop = '>='\nvalue = 30\nseverity = 'critical'\nper = 'job'\n\
         [alerts.rules.\"event.failed\"]\nenabled = false\n",
    );
    project.runchain(&["drain", "--once"]).exits(0);
    project.sql("INSERT INTO runchain_alert_rules(name, type, status, severity) VALUES ('mine', 'tool.*', 'failed', 'info');");
    let lines = [
        event("E1", "pattern.execution.failed", 3, "T1"),
        event("E2", "tool.end", 3, "T2"),
        event("E3", "any", 30, "T3"),
        event("E4", "any", 31, "T4"),
    ];
    std::fs::write(project.path("log.jsonl"), lines.concat()).unwrap();
    let load = format!(
        ".load '{}'\nSELECT json_extract(ingest_events('{}'), '$.alerts');\n",
        extension().display(),
        project.path("log.jsonl").display()
    );
    assert_eq!(Sqlite::Stock.run(&project.database(), &load).output(), "2\n");
    assert_eq!(
        project.lines("SELECT rule, severity, subject, count, message FROM runchain_alerts ORDER BY rule;"),
        ["exit|critical|JOB-1|2|E4 broke", "mine|info|T2|1|E2 broke"]
    );
    // The configuration's go when they are gone from it; the DBA's stay.
    project.configure("");
    project.runchain(&["drain", "--once"]).exits(0);
    assert_eq!(project.lines("SELECT name FROM runchain_alert_rules;"), ["mine"]);
}

#[test]
fn so_many_events_within_a_window_are_an_alert_and_fewer_are_none() {
    let project = Project::installed(
        "[alerts.rules.\"event.failed\"]\nenabled = false\n\
         [alerts.rules.burst]\ntype = 'x.*'\ncount = 3\nwindow_ms = 10000\n",
    );
    let spread: String = [0, 10, 20, 30, 40]
        .map(|second| event(&format!("S{second}"), "x.end", second, "T"))
        .concat();
    ingest(&project, "spread.jsonl", &spread);
    assert_eq!(project.lines(ROWS), [""; 0]);
    ingest(&project, "near.jsonl", &event("N1", "x.end", 41, "T"));
    assert_eq!(project.lines(ROWS), [""; 0]);
    ingest(&project, "full.jsonl", &event("N2", "x.end", 42, "T"));
    assert_eq!(project.lines(ROWS), ["burst|firing|burst|3"]);
    // By the events' own time the window has passed long ago; that the clock decides.
    project.runchain(&["drain", "--once"]).exits(0);
    assert_eq!(project.lines(ROWS), ["burst|resolved|burst|3"]);
}

#[test]
fn silence_is_an_alert_until_something_is_heard() {
    let project = Project::installed(
        "[alerts.rules.nightly]\ntype = 'nightly.*'\nsilence_ms = 400\nseverity = 'critical'\n",
    );
    let _service = project.service();
    project.until(
        "SELECT state FROM runchain_alerts WHERE rule = 'nightly'",
        "firing",
    );
    until_told(&project, &["ALERT_FIRING nightly"]);
    ingest(&project, "n.jsonl", &event("N", "nightly.done", 1, "T"));
    // And again, when nothing follows.
    project.until(
        "SELECT group_concat(state, ' ') FROM (SELECT state FROM runchain_alert_changes ORDER BY id LIMIT 3)",
        "firing resolved firing",
    );
}

#[test]
fn acknowledging_and_resolving_are_audited_with_who_and_why() {
    let project = Project::installed("");
    ingest(&project, "a.jsonl", &event("E1", "x.failed", 1, "T1"));
    let id = alerts(&project)[0]["id"].to_string();
    // Another user of the machine, who may write the database.
    std::fs::set_permissions(
        project.root(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    for path in [project.path(".state"), project.database()] {
        nix_chown(&path);
    }
    let acked = Command::new(everybodys_runchain())
        .args(["alerts", "ack", &id, "--reason", "on it", "--json"])
        .current_dir(project.root())
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    assert!(
        acked.status.success(),
        "{}",
        String::from_utf8_lossy(&acked.stderr)
    );
    ingest(&project, "b.jsonl", &event("E2", "x.failed", 2, "T1"));
    assert_eq!(project.lines(ROWS), ["event.failed|acknowledged|T1|2"]);
    project
        .runchain(&[
            "alerts",
            "resolve",
            "--rule",
            "event.failed",
            "--reason",
            "mended",
        ])
        .exits(0);
    ingest(&project, "c.jsonl", &event("E3", "x.failed", 3, "T1"));
    assert_eq!(
        project.lines(ROWS),
        ["event.failed|firing|T1|3"],
        "it fires again"
    );
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(
        told(&project),
        [
            "ALERT_ACKNOWLEDGED event.failed",
            "ALERT_FIRING event.failed",
            "ALERT_FIRING event.failed",
            "ALERT_RESOLVED event.failed"
        ]
    );
    let audit = project.runchain(&["audit", "--json"]).exits(0).json();
    let of = |action: &str| {
        let entries = audit.as_array().unwrap();
        entries
            .iter()
            .find(|entry| entry["action"] == action)
            .unwrap_or_else(|| panic!("{audit}"))
            .clone()
    };
    let ack = of("acknowledge_alert");
    assert_eq!(ack["who"]["uid"], 65534);
    assert_eq!(
        (&ack["reason"], &ack["after"]["state"]),
        (&"on it".into(), &"acknowledged".into())
    );
    assert_eq!(of("resolve_alert")["who"]["uid"], 0);
    let shown = project
        .runchain(&["alerts", "show", &id, "--json"])
        .exits(0)
        .json();
    assert_eq!(shown["changes"].as_array().unwrap().len(), 4, "{shown}");
    project.runchain(&["alerts", "ack", "99"]).exits(1);
}

/// Gives a file to the user nobody.
fn nix_chown(path: &std::path::Path) {
    std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
}
