//! `status`, `ls`, `queue`, `health`: what runs, what waits, what failed, and what to do next.

use super::{end, project};
use crate::support::{Project, SHAPE_A, eventually, run};
use serde_json::Value;
use std::fs;

fn strings<'a>(rows: &'a Value, key: &str) -> Vec<&'a str> {
    rows.as_array()
        .unwrap()
        .iter()
        .map(|row| row[key].as_str().unwrap())
        .collect()
}

/// Types a line as a person would, with the binary under its own name.
fn typed(project: &Project, line: &str) -> (bool, String) {
    let finished = run(&mut project.shell(line), "");
    (finished.success, finished.stdout + &finished.stderr)
}

#[test]
fn status_tells_what_failed_with_a_remedy_that_mends_it() {
    let project = project();
    end(&project, &["good", "it's-bad"]);
    let status = project.runchain(&["status"]).exits(0).stdout;
    assert!(!status.contains("SELECT"), "{status}");
    for says in [
        "1 dead",
        "0 writes not looked at yet",
        "done: archive, report, upload",
        "upload dead (2 of 2)",
        "NONE is alive",
        "\"sh\" ended with exit code 1: connection refused",
    ] {
        assert!(status.contains(says), "{says} is not in\n{status}");
    }
    let json = project.runchain(&["status", "--json"]).exits(0).json();
    let problem = &json["problems"][0];
    assert_eq!(
        (&problem["kind"], &problem["subject"]),
        (&"dead_step".into(), &"upload".into())
    );
    let remedy = problem["remedy"].as_str().unwrap();
    assert!(strings(&json["next"], "command").contains(&remedy), "{json:#}");
    assert_eq!(strings(&json["next"], "command")[0], "runchain drain");
    // The cause is mended, then the remedy typed.
    project.configure("[steps.upload]\nafter = ['archive']\ncommand = ['true']\n");
    let (success, told) = typed(&project, remedy);
    assert!(success, "{remedy}: {told}");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    let json = project.runchain(&["status", "--json"]).exits(0).json();
    assert_eq!(json["problems"], serde_json::json!([]));
    assert_eq!(
        strings(&json["newest_runs"][0]["steps"], "state"),
        ["done", "done", "done"]
    );
}

#[test]
fn what_the_command_of_a_failed_step_said_is_never_far() {
    let project = project();
    end(&project, &["x-bad"]);
    let show = project.runchain(&["show", "x-bad"]).exits(0).stdout;
    for attempt in ["upload attempt 1", "upload attempt 2"] {
        let said = format!("{attempt} said:\n  uploading x-bad\n  connection refused\n");
        assert!(show.contains(&said), "{said} is not in\n{show}");
    }
    let json = project.runchain(&["show", "x-bad", "--json"]).exits(0).json();
    assert!(
        json["failures"][1]["output_tail"]
            .as_str()
            .unwrap()
            .ends_with("connection refused\n"),
        "{json:#}"
    );
    let queue = project.runchain(&["queue"]).exits(0).stdout;
    let why = "\"sh\" ended with exit code 1: connection refused";
    assert!(queue.contains(why), "{queue}");
}

#[test]
fn one_is_one_and_two_are_several() {
    let project = project();
    project.sql("INSERT INTO runs(run_id, status) VALUES ('r', 'RUNNING');");
    let status = project.runchain(&["status"]).exits(0).stdout;
    assert!(status.contains("1 write not looked at yet"), "{status}");
}

#[test]
fn runs_are_listed_newest_first_by_phase_time_and_number() {
    let project = project();
    end(&project, &["a", "b"]);
    project.sql("INSERT INTO runs(run_id, status) VALUES ('c', 'RUNNING'), ('d', 'FAILED');");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    project.sql("UPDATE runchain_runs SET phase_since_ms = phase_since_ms - 7200000 WHERE run_id = 'a';");
    let ls = |arguments: &[&str]| {
        let words = [&["ls", "--json"], arguments].concat();
        let json = project.runchain(&words).exits(0).json();
        let ids = json["runs"].as_array().unwrap().iter();
        ids.map(|run| run["run_id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let all = ls(&[]);
    assert_eq!((all.len(), all[3].as_str()), (4, "a"));
    assert_eq!(ls(&["--phase", "completed"]), ["b", "a"]);
    assert_eq!(ls(&["--phase", "failed", "--phase", "active"]).len(), 2);
    assert_eq!(ls(&["--phase", "completed", "--since", "1h"]), ["b"]);
    assert_eq!(ls(&["--limit", "1"]), [all[0].clone()]);
    assert_eq!(
        project.runchain(&["ls", "--since", "2999-01-01"]).exits(0).stdout,
        "no such runs\n"
    );
    project.runchain(&["ls", "--limit", "0"]).exits(2);
}

#[test]
fn the_queue_shows_what_is_not_over_by_state_and_step() {
    let project = project();
    end(&project, &["x-bad"]);
    project.runchain(&["pause"]).exits(0);
    project.sql(
        "INSERT INTO runs(run_id, status) VALUES ('r', 'RUNNING'); UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'r';",
    );
    project.runchain(&["drain", "--once"]).exits(0);
    let queue = |arguments: &[&str]| {
        let words = [&["queue", "--json"], arguments].concat();
        let json = project.runchain(&words).exits(0).json();
        let steps = json["steps"].as_array().unwrap().iter();
        steps
            .map(|step| {
                format!(
                    "{} {}",
                    step["state"].as_str().unwrap(),
                    step["step"].as_str().unwrap()
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(
        queue(&[]),
        ["dead upload", "ready archive", "waiting report", "waiting upload"]
    );
    assert_eq!(queue(&["--state", "dead"]), ["dead upload"]);
    assert_eq!(queue(&["--step", "upload"]), ["dead upload", "waiting upload"]);
    assert_eq!(queue(&["--step", "upload", "--state", "ready"]), [""; 0]);
    let text = project.runchain(&["queue"]).exits(0);
    assert!(text.stdout.contains("after archive"), "{}", text.stdout);
    assert!(
        text.stderr
            .contains("1 dead, 0 running, 0 leased, 1 ready, 2 waiting"),
        "{}",
        text.stderr
    );
}

#[test]
fn health_is_one_line_and_a_code() {
    let project = project();
    let without = project.runchain(&["health"]).exits(33);
    assert_eq!(without.stdout, "unhealthy: no executor is alive\n");
    let service = project.service();
    // It is counted among the executors a moment before it takes the lead.
    let well = eventually("health to be good", || {
        let said = project.runchain(&["health"]);
        if said.code == Some(0) {
            Ok(said)
        } else {
            Err(said.stdout)
        }
    });
    assert_eq!(well.stdout, "healthy: an executor is alive, nothing is late\n");
    let json = project.runchain(&["health", "--json"]).exits(0);
    assert_eq!(json.stdout.lines().count(), 1);
    assert_eq!(json.json()["healthy"], true);
    service.terminate();

    project.sql("INSERT INTO runs(run_id, status) VALUES ('r', 'RUNNING'); UPDATE runchain_queue SET at_ms = at_ms - 3600000;");
    let late = project.runchain(&["health"]).exits(33).stdout;
    assert!(
        late.contains("the oldest write that nobody looked at waits for 1 h"),
        "{late}"
    );
    let patient = project
        .runchain(&["health", "--max-age", "2h", "--json"])
        .exits(33)
        .json();
    let wrong: Vec<&Value> = patient["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["ok"] == false)
        .collect();
    assert_eq!(wrong.len(), 1, "{wrong:?}");

    project.sql("DROP TRIGGER runchain_capture_insert;");
    let lost = project.runchain(&["health"]).exits(33).stdout;
    assert!(lost.contains("writes are missed"), "{lost}");
    assert_eq!(lost.lines().count(), 1);
}

#[test]
fn health_of_a_database_that_is_not_there_is_an_answer_too() {
    let project = Project::new(SHAPE_A, "");
    let ran = project.runchain(&["--db", "nowhere.db", "health"]).exits(33);
    assert!(ran.stdout.contains("nowhere.db does not exist"), "{}", ran.stdout);
    assert!(!fs::exists(project.path("nowhere.db")).unwrap());
    assert!(
        !fs::exists(project.path("logs")).unwrap(),
        "a probe leaves nothing behind"
    );
}
