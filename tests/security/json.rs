//! JSON that breaks readers: as metadata of a run it is text to us, in an event log it is a line that
//! is stored or rejected, and everything that we write afterwards is JSON.

use crate::support::{Project, SHAPE_A};
use rusqlite::Connection;
use serde_json::Value;
use std::fs;

fn hostile() -> Vec<String> {
    vec![
        "[".repeat(100_000),
        format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000)),
        "1e999".to_owned(),
        "-1e999".to_owned(),
        "123456789012345678901234567890".to_owned(),
        r#"{"a":1,"a":2,"run_id":"other","run_id":"run-0"}"#.to_owned(),
        r#"{"a":"\ud800"}"#.to_owned(),
        r#"{"\udc00\ud800":1}"#.to_owned(),
        r#"{"a":"\u0000"}"#.to_owned(),
        "{\"a\":\"\u{2028}\u{0}\"}".to_owned(),
        "NaN".to_owned(),
        "{'a': 1}".to_owned(),
        "\u{feff}{}".to_owned(),
        String::new(),
        "x".repeat(2_000_000),
    ]
}

#[test]
fn hostile_json_in_a_metadata_column_comes_through_the_chain_as_text() {
    let project = Project::new(SHAPE_A, "");
    project.runchain(&["install"]).exits(0);
    let conn = Connection::open(project.database()).unwrap();
    for (number, text) in hostile().iter().enumerate() {
        conn.execute(
            "INSERT INTO runs(run_id, status, metadata_json) VALUES (?1, 'COMPLETED', ?2)",
            (format!("run-{number}"), text),
        )
        .unwrap();
    }
    project.runchain(&["drain", "--until-idle"]).exits(0);
    for (number, text) in hostile().iter().enumerate() {
        let bag = project.path(&format!(".archive/run-{number}/data/run.json"));
        let row: Value = serde_json::from_str(&fs::read_to_string(bag).unwrap()).unwrap();
        assert!(row["metadata_json"] == text.as_str(), "run-{number}");
        let summary = project.path(&format!("reports/run-{number}_summary.json"));
        let summary: Value = serde_json::from_str(&fs::read_to_string(summary).unwrap()).unwrap();
        assert_eq!(summary["run_id"], format!("run-{number}"));
    }
    assert!(project.log("monitor.jsonl").len() >= 2 * hostile().len());
}

#[test]
fn hostile_lines_of_an_event_log_are_stored_or_rejected_and_every_byte_is_accounted_for() {
    let project = Project::new(SHAPE_A, "");
    project.runchain(&["install"]).exits(0);
    project.sql("INSERT INTO runs(run_id, status) VALUES ('JOB-1', 'running');");
    let mut lines: Vec<String> = hostile();
    for details in hostile() {
        lines.push(format!(
            r#"{{"event_id":"EVT-{}","event_type":"pattern.execution.failed","timestamp":"2025-01-01T00:00:00+00:00","job_id":"JOB-1","pattern_run_id":"PRUN-1","pattern_id":"PAT-1","status":"failed","details":{details}}}"#,
            lines.len()
        ));
    }
    let good = r#"{"event_id":"EVT-last","event_type":"pattern.execution.completed","timestamp":"2025-01-01T00:00:09+00:00","job_id":"JOB-1","pattern_run_id":"PRUN-1","pattern_id":"PAT-1","status":"success","details":{}}"#;
    lines.push(good.to_owned());
    let text = lines.join("\n") + "\n";
    fs::write(project.path("events.jsonl"), &text).unwrap();
    project.runchain(&["ingest", "events.jsonl"]);
    let balance = project.lines(
        "SELECT offset_bytes = stored_bytes + rejected_bytes, offset_bytes FROM runchain_ingest_files",
    );
    assert_eq!(balance, [format!("1|{}", text.len())]);
    assert_eq!(
        project.sql("SELECT count(*) FROM runchain_ingested WHERE event_id = 'EVT-last'"),
        "1\n"
    );
    project.sql("UPDATE runs SET status = 'COMPLETED'");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    let ingested = fs::read_to_string(project.path(".archive/JOB-1/data/events/ingested.jsonl")).unwrap();
    for line in ingested.lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
    assert!(ingested.contains("EVT-last"));
}
