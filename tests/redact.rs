//! Redaction from outside: no byte of a secret in anything that leaves the database.

use crate::support::{Project, SHAPE_A};

const SECRETS: [&str; 7] = [
    "hunter2-result",
    "hunter2-col",
    "hunter2-path",
    "hunter2-key",
    "hunter2-err",
    "hunter2-ingested",
    "hunter2-blob",
];

const CONFIG: &str = r#"
[redact]
columns = ["errors.message", "step_attempts.error_log"]
json_paths = ["$.auth.token", "$.status_note"]
keys = ["*password*", "*_secret"]

[steps.first]
after = ["archive"]
command = ["echo", '{"upload_secret": "hunter2-result"}']

[steps.tell]
after = ["first"]
command = ["sh", "-c", "cat > told.json"]
"#;

#[test]
fn no_byte_of_a_secret_is_in_bags_reports_logs_or_the_input_of_commands() {
    let project = Project::new(SHAPE_A, CONFIG);
    project.sql(&format!(
        "CREATE TABLE errors(id INTEGER PRIMARY KEY, run_id TEXT, message TEXT, error_code TEXT);
         CREATE TABLE credentials(id INTEGER PRIMARY KEY, run_id TEXT, client_secret TEXT, raw BLOB);
         INSERT INTO runs(run_id, status, metadata_json) VALUES ('r', 'RUNNING',
           '{{\"auth\": {{\"token\": \"{path}\", \"user\": \"visible-user\"}}, \"db\": {{\"DB_PASSWORD\": \"{key}\"}}}}');
         INSERT INTO errors(run_id, message, error_code) VALUES ('r', 'can not log in with {err}', 'E-visible');
         INSERT INTO credentials(run_id, client_secret, raw) VALUES ('r', '{col}', CAST('{{\"password\":\"{blob}\"}}' AS BLOB));",
        path = SECRETS[2],
        key = SECRETS[3],
        err = SECRETS[4],
        col = SECRETS[1],
        blob = SECRETS[6],
    ));
    project.runchain(&["install"]).exits(0);
    let events = project.path("events.jsonl");
    std::fs::write(
        &events,
        format!(
            "{{\"event_id\":\"e1\",\"event_type\":\"pattern.execution.started\",\"timestamp\":\"2026-01-01T00:00:00Z\",\
             \"job_id\":\"r\",\"pattern_run_id\":\"p\",\"details\":{{\"nested\":[{{\"api_secret\":\"{}\"}}]}}}}\n",
            SECRETS[5]
        ),
    )
    .unwrap();
    project.runchain(&["ingest", "events.jsonl"]).exits(0);
    // What somebody says in the data of an event goes to the log.
    project.sql(&format!(
        "UPDATE runs SET status = 'FAILED' WHERE run_id = 'r';
         INSERT INTO runchain_events(at_ms, type, run_id, data) VALUES (0, 'REQUEST', 'r', '{{\"password\":\"{}\"}}');",
        SECRETS[3]
    ));
    project.runchain(&["drain", "--until-idle"]).exits(0);
    // What is left is projected.
    project.runchain(&["drain", "--until-idle"]).exits(0);

    let mut looked_at = 0;
    let told = project.path("told.json");
    let text = std::fs::read_to_string(&told).unwrap();
    assert!(
        text.contains("visible-user") && text.contains("upload_secret"),
        "{text}"
    );
    let told = vec![("told.json".to_owned(), std::fs::read(told).unwrap())];
    for (name, bytes) in [
        project.tree(".archive"),
        project.tree("reports"),
        project.tree("logs"),
        told,
    ]
    .concat()
    {
        looked_at += 1;
        let text = String::from_utf8_lossy(&bytes);
        for secret in SECRETS {
            assert!(!text.contains(secret), "{secret} stands in {name}:\n{text}");
        }
    }
    assert!(looked_at > 10, "{looked_at} files");

    let run = std::fs::read_to_string(project.path(".archive/r/data/run.json")).unwrap();
    assert!(
        run.contains("visible-user") && run.contains("[redacted]"),
        "{run}"
    );
    let summary = std::fs::read_to_string(project.path("reports/r_summary.json")).unwrap();
    assert!(
        summary.contains("E-visible") && summary.contains("[redacted]"),
        "{summary}"
    );
    let log = std::fs::read_to_string(project.path("logs/monitor.jsonl")).unwrap();
    assert!(log.contains("{\"password\":\"[redacted]\"}"), "{log}");
    // The bag says itself what is not as it was.
    let names = std::fs::read_to_string(project.path(".archive/r/data/names.json")).unwrap();
    let names: serde_json::Value = serde_json::from_str(&names).unwrap();
    assert_eq!(names["redacted"]["data/run.json"], 2);
    assert_eq!(names["redacted"]["data/tables/credentials.jsonl"], 2);
    assert_eq!(names["redacted"]["data/events/ingested.jsonl"], 1);
}

#[test]
fn a_wrong_rule_is_an_error_of_the_configuration_and_not_a_rule_less() {
    let project = Project::new(
        SHAPE_A,
        "redact.columns = ['metadata_json']\nredact.json_paths = ['token']\n",
    );
    let refused = project.runchain(&["config", "check"]).exits(3).stderr;
    assert!(refused.contains("table.column"), "{refused}");
    assert!(refused.contains("$.key"), "{refused}");
}
