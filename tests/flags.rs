//! A run's beginning or end that stands in an event table or an ingested log, where its row doesn't say it.

use crate::support::{Project, SHAPE_A, SHAPE_B, eventually};
use std::fs;

const FLAGS: &str = "[[flags]]\ntable = 'events'\n";

fn project(ddl: &str, config: &str) -> Project {
    let project = Project::new(ddl, config);
    project.runchain(&["install"]).exits(0);
    drain(&project);
    project
}

fn drain(project: &Project) {
    project.runchain(&["drain", "--until-idle"]).exits(0);
}

fn phases(project: &Project) -> Vec<String> {
    project.lines("SELECT run_id, phase, generation FROM runchain_runs ORDER BY run_id;")
}

fn reports(project: &Project) -> Vec<String> {
    project.lines("SELECT run_id, generation, state FROM runchain_steps WHERE step = 'report' ORDER BY id;")
}

fn flag(project: &Project, run: &str, word: &str) {
    project.sql(&format!(
        "INSERT INTO events(run_id, event_type) VALUES ('{run}', '{word}');"
    ));
}

#[test]
fn a_flag_ends_a_run_whose_row_says_running_and_nothing_starts_it_again() {
    let project = project(SHAPE_A, &format!("sweep_ms = 100\n{FLAGS}"));
    project.sql("INSERT INTO runs(run_id, status) VALUES ('a', 'RUNNING');");
    drain(&project);
    flag(&project, "a", "run_completed");
    drain(&project);
    assert_eq!(phases(&project), ["a|completed|1"]);
    assert_eq!(reports(&project), ["a|1|done"]);
    assert_eq!(
        project.lines(
            "SELECT json_extract(data, '$.has_row'), json_extract(data, '$.row_status'), json_extract(data, '$.source')
             FROM runchain_events WHERE type = 'RUN_FLAGGED';"
        ),
        ["1|RUNNING|flag:events"]
    );
    // Each of these compares every row, which still says RUNNING; so does a new install.
    drain(&project);
    project.runchain(&["install"]).exits(0);
    project.sql("DROP TRIGGER runchain_capture_insert;");
    project.runchain(&["install"]).exits(0);
    flag(&project, "a", "RUN_COMPLETED");
    flag(&project, "a", "RUN_FAILED");
    drain(&project);
    assert_eq!(phases(&project), ["a|completed|1"]);

    // What the row says later is no news when it says the same.
    project.sql("UPDATE runs SET status = 'COMPLETED';");
    drain(&project);
    assert_eq!(phases(&project), ["a|completed|1"]);
    assert_eq!(reports(&project).len(), 1);
}

#[test]
fn a_captured_write_of_running_starts_a_flagged_run_again() {
    let project = project(SHAPE_A, FLAGS);
    project.sql("INSERT INTO runs(run_id, status) VALUES ('a', 'RUNNING');");
    flag(&project, "a", "RUN_FAILED");
    drain(&project);
    assert_eq!(phases(&project), ["a|failed|1"]);
    project.sql("INSERT OR REPLACE INTO runs(run_id, status) VALUES ('a', 'RUNNING');");
    drain(&project);
    assert_eq!(phases(&project), ["a|active|1"]);
    flag(&project, "a", "RUN_COMPLETED");
    drain(&project);
    assert_eq!(phases(&project), ["a|completed|2"]);
    // A chain that is asked for again is that of the flag's end.
    project.runchain(&["finish", "--run", "a"]).exits(0);
    assert_eq!(phases(&project), ["a|completed|2"]);
}

#[test]
fn a_run_known_by_flags_only_gets_its_chain_and_the_event_says_so() {
    let project = project(SHAPE_B, "sweep_ms = 100\n[[flags]]\ntable = 'run_events'\n");
    project.sql("INSERT INTO run_events VALUES ('e1', 'ghost', 'RUN_CREATED');");
    drain(&project);
    assert_eq!(phases(&project), ["ghost|active|0"]);
    project.sql("INSERT INTO run_events VALUES ('e2', 'ghost', 'RUN_COMPLETED');");
    drain(&project);
    drain(&project);
    assert_eq!(phases(&project), ["ghost|completed|1"]);
    assert_eq!(
        reports(&project),
        ["ghost|1|done"],
        "{}",
        project.sql("SELECT error FROM runchain_steps;")
    );
    assert_eq!(
        project.lines(
            "SELECT DISTINCT json_extract(data, '$.has_row') FROM runchain_events WHERE type = 'RUN_FLAGGED';"
        ),
        ["0"]
    );
    assert!(project.path("reports/ghost_summary.json").exists());
}

#[test]
fn what_stood_in_the_table_before_is_history_and_words_of_ones_own_count() {
    let config = "[[flags]]\ntable = 'events'\nwords = { Finished = 'completed' }\n";
    let project = Project::new(SHAPE_A, config);
    project.runchain(&["install"]).exits(0);
    flag(&project, "old", "Finished");
    drain(&project);
    assert!(phases(&project).is_empty());
    flag(&project, "new", "RUN_COMPLETED");
    flag(&project, "new", "finished");
    flag(&project, "other", "nothing");
    drain(&project);
    assert_eq!(phases(&project), ["new|completed|1"]);
}

#[test]
fn a_flag_of_an_earlier_life_is_none() {
    let config = "[[flags]]\ntable = 'log'\ntype = 'word'\nstatus = 'result'\ntime = 'at'\n";
    let project = project(
        &format!("{SHAPE_A} CREATE TABLE log(run_id, word, result, at);"),
        config,
    );
    project.sql("INSERT INTO runs(run_id, status) VALUES ('a', 'RUNNING'), ('b', 'RUNNING');");
    drain(&project);
    project.sql(
        "INSERT INTO log VALUES ('a', 'RUN_COMPLETED', 'failed', '2001-01-01T00:00:00Z');
         INSERT INTO log SELECT 'b', 'RUN_COMPLETED', 'failed', strftime('%Y-%m-%dT%H:%M:%SZ', 'now');",
    );
    drain(&project);
    assert_eq!(phases(&project), ["a|active|0", "b|failed|1"]);
}

#[test]
fn an_ingested_log_counts_as_a_table_of_flags() {
    let project = project(SHAPE_A, "[[flags]]\ntable = 'runchain_ingested'\n");
    project.sql("INSERT INTO runs(run_id, status) VALUES ('a', 'RUNNING');");
    drain(&project);
    let line = r#"{"event_id":"EVT-1","event_type":"RUN_COMPLETED","timestamp":"NOW","run_id":"a"}"#;
    let now = project.sql("SELECT strftime('%Y-%m-%dT%H:%M:%SZ', 'now');");
    fs::write(project.path("log.jsonl"), line.replace("NOW", now.trim()) + "\n").unwrap();
    project.runchain(&["ingest", "log.jsonl"]).exits(0);
    drain(&project);
    assert_eq!(phases(&project), ["a|completed|1"]);
}

#[test]
fn a_table_that_cannot_be_followed_is_said_and_everything_else_goes_on() {
    let project = Project::new(
        &format!("{SHAPE_A} CREATE TABLE bare(run_id TEXT PRIMARY KEY, event_type TEXT) WITHOUT ROWID;"),
        "[[flags]]\ntable = 'bare'\n",
    );
    project.runchain(&["install"]).exits(0);
    let mut service = project.service();
    project.sql("INSERT INTO runs(run_id, status) VALUES ('a', 'COMPLETED');");
    project.until("SELECT state FROM runchain_steps WHERE step = 'report'", "done");
    eventually("it to be said", || {
        let told = service.told();
        let is_said = told.contains("has no rowids");
        is_said.then_some(()).ok_or(told)
    });
    service.assert_alive();

    project.configure("[[flags]]\ntable = 'events'\nwords = { X = 'finished' }\n");
    let ran = project.runchain(&["config", "check"]).exits(3);
    assert!(
        ran.stderr.contains("X in [[flags]] words is no phase"),
        "{}",
        ran.stderr
    );
    project.configure("[[flags]]\nrun = 'x'\n");
    let ran = project.runchain(&["config", "check"]).exits(3);
    assert!(
        ran.stderr.contains("unknown key run in [[flags]]"),
        "{}",
        ran.stderr
    );
}
