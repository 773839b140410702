//! `--json`: what is printed is what docs/json.schema.json says, and nothing else.

use super::{end, project};
use crate::support::{Project, repository};
use serde_json::{Value, json};
use std::fs;

/// The schema, with what it doesn't name forbidden: readers must bear new fields, this test must not.
fn schema(of: &str) -> jsonschema::Validator {
    let text = fs::read_to_string(repository().join("docs/json.schema.json")).unwrap();
    let mut schema: Value = serde_json::from_str(&text).unwrap();
    close(&mut schema);
    assert!(schema["$defs"].get(of).is_some(), "the schema has no {of}");
    schema["$ref"] = json!(format!("#/$defs/{of}"));
    jsonschema::validator_for(&schema).unwrap()
}

fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.contains_key("properties") && !fields.contains_key("additionalProperties") {
                fields.insert("additionalProperties".to_owned(), json!(false));
            }
            fields.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

#[track_caller]
fn valid(of: &str, value: &Value) {
    let wrong: Vec<String> = schema(of)
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(wrong.is_empty(), "{of}: {wrong:#?}\n{value:#}");
}

/// Something of everything: dead steps, held runs, pauses, ingested events, requests.
fn rich() -> Project {
    let project = project();
    end(&project, &["good", "x-bad"]);
    project.configure(&format!(
        "{}\n[storm]\nmax_transitions = 2\n[alerts.channels.echo]\nkind = 'command'\ncommand = ['true']\n",
        super::OWN_STEP
    ));
    project.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6)
         INSERT INTO runs(run_id, status) SELECT 'rush-' || i, 'COMPLETED' FROM n;
         INSERT INTO runs(run_id, status) VALUES ('active', 'RUNNING');",
    );
    project.runchain(&["drain", "--until-idle"]).exits(0);
    fs::write(
        project.path("e.jsonl"),
        r#"{"event_id":"EVT-1","event_type":"pattern.execution.failed","timestamp":"2025-11-26T14:46:52+00:00","job_id":"good","status":"failed","details":{"exit_code":1}}
"#,
    )
    .unwrap();
    project.runchain(&["ingest", "e.jsonl"]).exits(0);
    project
        .runchain(&["pause", "upload", "--reason", "why not"])
        .exits(0);
    project.runchain(&["drain", "--once"]).exits(0);
    project
}

#[test]
fn what_is_printed_is_what_the_schema_says() {
    let project = rich();
    let cases: [(&str, &[&str]); 22] = [
        ("status", &["status"]),
        ("ls", &["ls"]),
        ("ls", &["ls", "--phase", "deleted"]),
        ("show", &["show", "x-bad"]),
        ("explain", &["explain", "x-bad"]),
        ("explain", &["explain"]),
        ("logs", &["logs", "x-bad"]),
        ("logs", &["logs", "good"]),
        ("events", &["events"]),
        ("queue", &["queue"]),
        ("wait", &["wait", "good"]),
        ("wait", &["wait", "x-bad"]),
        ("wait", &["wait", "--timeout", "1ms", "active"]),
        ("health", &["health"]),
        ("doctor", &["doctor"]),
        ("verify", &["verify", "--all"]),
        ("verify", &["verify", "--run", "good"]),
        ("audit", &["audit"]),
        ("held", &["held"]),
        ("validate", &["validate"]),
        ("requested", &["retry", "x-bad"]),
        ("paused", &["resume", "upload"]),
    ];
    for (of, arguments) in cases {
        let mut words = arguments.to_vec();
        words.push("--json");
        valid(of, &project.runchain(&words).json());
    }
}

/// Commands that do something, in an order in which each has something to do.
#[test]
fn what_is_printed_by_those_that_act_is_what_the_schema_says() {
    let project = rich();
    let cases: [(&str, i32, &[&str]); 28] = [
        ("monitor", 0, &["monitor"]),
        ("monitor", 0, &["monitor", "--run", "x-bad"]),
        ("alerts", 0, &["alerts"]),
        ("alert_shown", 0, &["alerts", "show", "1"]),
        ("alerts_changed", 0, &["alerts", "ack", "1", "--reason", "seen"]),
        ("alerts_changed", 0, &["alerts", "resolve", "1"]),
        ("alert_shown", 0, &["alerts", "show", "1"]),
        ("deliveries_again", 0, &["alerts", "retry"]),
        ("channel_test", 0, &["alerts", "test", "echo"]),
        ("paused", 0, &["resume", "upload"]),
        ("finish", 0, &["finish", "--run", "good"]),
        ("finish", 0, &["archive", "--run", "good"]),
        ("finish", 14, &["finish", "--run", "x-bad"]),
        (
            "exec_dry_run",
            0,
            &["exec", "upload", "--run", "good", "--dry-run"],
        ),
        (
            "exec_dry_run",
            0,
            &["exec", "archive", "--run", "good", "--dry-run"],
        ),
        ("ingest", 0, &["ingest", "e.jsonl"]),
        ("config_show", 0, &["config", "show", "--quiet"]),
        ("config_check", 0, &["config", "check"]),
        ("units", 0, &["service", "print"]),
        ("rehearsed", 0, &["install", "--dry-run"]),
        ("installed", 0, &["install"]),
        ("installed", 0, &["install", "--repair"]),
        ("prune", 0, &["prune", "--dry-run"]),
        ("forget", 0, &["forget", "rush-1", "--dry-run"]),
        ("forget", 0, &["forget", "rush-1"]),
        ("adopted", 0, &["adopt", "--as", "moved"]),
        ("uninstalled", 0, &["uninstall"]),
        ("installed", 0, &["install"]),
    ];
    for (of, code, arguments) in cases {
        let mut words = arguments.to_vec();
        words.push("--json");
        valid(of, &project.runchain(&words).exits(code).json());
    }
    let nothing = project.runchain(&["monitor", "--json", "--db", "nowhere.db"]);
    valid("monitor", &nothing.json());
}

#[test]
fn a_damaged_bag_and_a_failure_are_in_the_schema_too() {
    let project = rich();
    fs::remove_file(project.path(".archive/good/bagit.txt")).unwrap();
    valid(
        "verify",
        &project.runchain(&["verify", "--all", "--json"]).exits(34).json(),
    );
    let failed = project.runchain(&["show", "--json", "nobody"]).exits(13);
    valid("error", &serde_json::from_str(&failed.stderr).unwrap());
}

#[test]
fn a_field_that_the_schema_doesn_t_know_is_noticed() {
    let project = rich();
    let mut health = project.runchain(&["health", "--json"]).json();
    health["mood"] = json!("good");
    assert!(!schema("health").is_valid(&health));
    health["mood"].take();
    assert!(!schema("health").is_valid(&json!({})));
}

/// The page names every definition, and every command that prints JSON.
#[test]
fn the_page_and_the_schema_name_the_same() {
    let page = fs::read_to_string(repository().join("docs/json.md")).unwrap();
    let schema: Value =
        serde_json::from_str(&fs::read_to_string(repository().join("docs/json.schema.json")).unwrap())
            .unwrap();
    for name in schema["$defs"].as_object().unwrap().keys() {
        assert!(
            page.contains(&format!("`{name}`")),
            "docs/json.md doesn't name {name}"
        );
    }
}
