//! Many runs that end in a rush: held, said, released or discarded, while other runs go on.

use crate::support::{Project, SHAPE_A, extension};
use serde_json::Value;

/// Ends beyond this are a storm here.
const LIMIT: &str = "storm.max_transitions = 20\n";
/// As many active runs as a storm needs, `r001` on.
const MANY: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50)
    INSERT INTO runs(run_id, status) SELECT printf('r%03d', i), 'RUNNING' FROM n;";
const STORM: &str = "UPDATE runs SET status = 'EXPIRED' WHERE run_id LIKE 'r%';";

fn project(config: &str) -> Project {
    let project = Project::new(SHAPE_A, &format!("{LIMIT}{config}"));
    project.runchain(&["install"]).exits(0);
    project.sql(MANY);
    project.runchain(&["drain", "--until-idle"]).exits(0);
    project
}

/// The storm, a minute ago: what comes later has nothing to do with it.
fn storm_a_minute_ago(project: &Project) {
    project.sql(&format!(
        "{STORM} UPDATE runchain_queue SET at_ms = at_ms - 60000;"
    ));
    drain(project);
}

fn drain(project: &Project) {
    project.runchain(&["drain", "--until-idle"]).exits(0);
}

fn count(project: &Project, sql: &str) -> i64 {
    project
        .sql(&format!("SELECT count(*) FROM {sql};"))
        .trim()
        .parse()
        .unwrap()
}

fn batches(project: &Project) -> Vec<Value> {
    let listed = project.runchain(&["held", "--json"]).exits(0).json();
    listed.as_array().unwrap().clone()
}

#[test]
fn a_storm_is_held_whole_and_said_once_while_other_runs_go_on() {
    let project = project("");
    project.sql(STORM);
    // A moment later: what is captured together with the last of a storm is taken for part of it.
    project.sql(
        "INSERT INTO runs(run_id, status) VALUES ('other', 'COMPLETED');
         UPDATE runchain_queue SET at_ms = at_ms + 100 WHERE run_id = 'other';",
    );
    drain(&project);
    assert_eq!(
        project.lines("SELECT run_id, step, state FROM runchain_steps ORDER BY id;"),
        ["other|archive|done", "other|report|done"]
    );
    assert_eq!(count(&project, "runchain_events WHERE type = 'STORM_HELD'"), 1);
    assert_eq!(
        project.lines("SELECT rule, state, subject, count FROM runchain_alerts;"),
        ["storm|firing|batch 1|50"]
    );
    let listed = batches(&project);
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0]["left"], &listed[0]["state"]),
        (&50.into(), &"held".into())
    );
    assert_eq!(listed[0]["first_run_id"], "r001");
    assert_eq!(listed[0]["last_run_id"], "r050");
    assert_eq!(listed[0]["statuses"][0]["status"], "EXPIRED");
    let told = project.log("monitor.jsonl");
    assert_eq!(
        told.iter().filter(|line| line["event"] == "STORM_HELD").count(),
        1
    );
    // Their monitors end all the same: the runs are over.
    assert_eq!(count(&project, "runchain_runs WHERE monitor = 'on'"), 0);
    assert_eq!(
        project
            .runchain(&["held"])
            .exits(0)
            .stdout
            .matches("held release 1")
            .count(),
        1
    );
}

#[test]
fn chains_of_other_runs_don_t_wait_until_a_storm_is_taken_in() {
    let project = Project::new(SHAPE_A, &format!("{LIMIT}archive.settle_ms = 0\n"));
    project.runchain(&["install"]).exits(0);
    project.sql(
        "PRAGMA journal_mode = wal;
         CREATE TABLE begun(step, behind);
         CREATE TRIGGER begins AFTER UPDATE OF state ON runchain_steps
         WHEN new.run_id = 'other' AND new.state = 'running'
         BEGIN
           INSERT INTO begun SELECT new.step, count(*) FROM runchain_queue;
         END;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
         INSERT INTO runchain_queue(action, run_id, old_run_id, old_status, new_status)
         SELECT 'update', 'r' || i, 'r' || i, 'RUNNING', 'EXPIRED' FROM n;
         INSERT INTO runs(run_id, status) VALUES ('other', 'COMPLETED');
         UPDATE runchain_queue SET at_ms = at_ms + 1000 WHERE run_id = 'other';",
    );
    let service = project.service();
    project.until(
        "SELECT count(*) FROM runchain_steps WHERE run_id = 'other' AND step = 'report' AND state = 'done'",
        "1",
    );
    // What it has overtaken is held like any other storm.
    project.until("SELECT held FROM runchain_held_batches", "60000");
    assert_eq!(count(&project, "runchain_steps WHERE run_id <> 'other'"), 0);
    // Its first step began in the turn that took its end from behind the rush.
    let begun = project.lines("SELECT step || ' ' || (behind > 40000) FROM begun LIMIT 1;");
    assert_eq!(begun, ["archive 1"], "{}", project.sql("SELECT * FROM begun;"));
    assert!(service.terminate().success());
}

#[test]
fn single_updates_of_one_transaction_are_the_same_storm() {
    let project = project("");
    let updates: String = (1..=50)
        .map(|number| format!("UPDATE runs SET status = 'FAILED' WHERE run_id = 'r{number:03}';\n"))
        .collect();
    project.sql(&format!("BEGIN IMMEDIATE; {updates} COMMIT;"));
    drain(&project);
    assert_eq!(count(&project, "runchain_steps"), 0);
    assert_eq!(batches(&project)[0]["left"], 50);
}

#[test]
fn an_import_of_finished_rows_and_a_mistaken_backfill_are_storms() {
    let import = project("");
    import.sql("INSERT INTO runs(run_id, status) SELECT 'old-' || run_id, 'COMPLETED' FROM runs;");
    drain(&import);
    assert_eq!(count(&import, "runchain_steps"), 0);
    assert_eq!(batches(&import)[0]["left"], 50);

    let backfill = Project::new(SHAPE_A, LIMIT);
    backfill.sql(MANY);
    backfill.sql(STORM);
    backfill.runchain(&["install", "--backfill", "all"]).exits(0);
    drain(&backfill);
    assert_eq!(count(&backfill, "runchain_steps"), 0);
    assert_eq!(batches(&backfill)[0]["left"], 50);

    let requests = Project::new(SHAPE_A, LIMIT);
    requests.sql(MANY);
    requests.sql(STORM);
    requests.runchain(&["install"]).exits(0);
    requests.sql("INSERT INTO runchain_queue(action, run_id) SELECT 'enqueue_chain', run_id FROM runs;");
    drain(&requests);
    assert_eq!(count(&requests, "runchain_steps"), 0);
    assert_eq!(
        requests.lines(
            "SELECT json_extract(data, '$.answer'), count(*) FROM runchain_events WHERE type = 'REQUEST' GROUP BY 1;"
        ),
        ["held|50"]
    );
}

#[test]
fn what_no_trigger_saw_is_held_by_the_sweep_too() {
    let project = project("");
    project.sql(&format!("DROP TRIGGER runchain_capture_update; {STORM}"));
    drain(&project);
    assert_eq!(count(&project, "runchain_steps"), 0);
    assert_eq!(batches(&project)[0]["left"], 50);
}

#[test]
fn a_backlog_of_a_weekend_is_no_storm() {
    let project = Project::new(SHAPE_A, LIMIT);
    project.runchain(&["install"]).exits(0);
    project.sql(MANY);
    project.sql(STORM);
    // As if each had been captured an hour after the one before it.
    project.sql("UPDATE runchain_queue SET at_ms = at_ms - 3600000 * (200 - id);");
    drain(&project);
    assert_eq!(
        count(
            &project,
            "runchain_steps WHERE step = 'report' AND state = 'done'"
        ),
        50
    );
    assert!(batches(&project).is_empty());
}

#[test]
fn a_trickle_never_lets_more_than_the_limit_through() {
    let project = project("storm.window_ms = 600000\n");
    for number in 1..=30 {
        project.sql(&format!(
            "UPDATE runs SET status = 'FAILED' WHERE run_id = 'r{number:03}';"
        ));
        drain(&project);
    }
    assert_eq!(count(&project, "runchain_steps WHERE step = 'report'"), 20);
    let listed = batches(&project);
    assert_eq!(listed.len(), 1, "one batch: {listed:?}");
    assert_eq!(listed[0]["left"], 10);
    assert_eq!(count(&project, "runchain_events WHERE type = 'STORM_HELD'"), 1);
}

#[test]
fn a_released_batch_runs_in_order_and_is_audited() {
    let project = project(
        "workers = 1\nstorm.release_ahead = 3\n[steps.archive]\n\
         command = ['sh', '-c', 'echo $RUNCHAIN_RUN_ID >> order']\n[steps.report]\ncommand = ['true']\n",
    );
    project.sql(STORM);
    drain(&project);
    project
        .runchain(&["held", "release", "1", "--reason", "it was meant"])
        .exits(0);
    drain(&project);
    let order = std::fs::read_to_string(project.path("order")).unwrap();
    let wanted: Vec<String> = (1..=50).map(|number| format!("r{number:03}")).collect();
    assert_eq!(order.lines().collect::<Vec<_>>(), wanted);
    assert_eq!(
        project
            .lines("SELECT state, held, released, discarded, taken_back, reason FROM runchain_held_batches;"),
        ["released|50|50|0|0|it was meant"]
    );
    assert_eq!(
        project.lines("SELECT state FROM runchain_alerts WHERE rule = 'storm';"),
        ["resolved"]
    );
    assert_eq!(
        project.lines(
            "SELECT type, json_extract(data, '$.reason'), json_extract(data, '$.actor') LIKE '%(%)@%'
             FROM runchain_events WHERE type IN ('REQUEST', 'STORM_ENDED') ORDER BY id;"
        ),
        ["REQUEST|it was meant|1", "STORM_ENDED|it was meant|1"]
    );
    // One end for each run, told with the time at which it was captured.
    assert_eq!(
        count(&project, "runchain_events WHERE type = 'RUN_COMPLETED'"),
        50
    );
    project.runchain(&["held", "release", "1"]).exits(1);
}

#[test]
fn a_discarded_batch_has_no_chains_and_single_runs_can_still_be_asked_for() {
    let project = project("");
    project.sql(STORM);
    drain(&project);
    project.sql(
        "INSERT INTO runchain_queue(action, step_id, actor, reason) VALUES ('discard_held', 1, 'ann', 'wrong WHERE');",
    );
    drain(&project);
    assert_eq!(count(&project, "runchain_steps"), 0);
    assert_eq!(
        project.lines("SELECT state, held, discarded, actor, reason FROM runchain_held_batches;"),
        ["discarded|50|50|ann|wrong WHERE"]
    );
    assert_eq!(
        project.lines("SELECT phase, count(*) FROM runchain_runs GROUP BY phase;"),
        ["failed|50"]
    );
    project.runchain(&["finish", "--run", "r007"]).exits(0);
    assert_eq!(
        project.lines("SELECT DISTINCT run_id, generation FROM runchain_steps;"),
        ["r007|1"]
    );
}

#[test]
fn a_mistake_that_is_undone_leaves_every_run_as_it_was() {
    let project = project("");
    project.sql("UPDATE runs SET status = 'COMPLETED' WHERE run_id < 'r006';");
    drain(&project);
    let before = project.lines("SELECT run_id, phase, status, generation FROM runchain_runs;");
    let chains = project.lines("SELECT run_id, generation, step, state FROM runchain_steps;");
    storm_a_minute_ago(&project);
    assert_eq!(batches(&project)[0]["left"], 50);
    project.sql(
        "UPDATE runs SET status = CASE WHEN run_id < 'r006' THEN 'COMPLETED' ELSE 'RUNNING' END WHERE run_id LIKE 'r%';",
    );
    drain(&project);
    assert_eq!(
        project.lines("SELECT run_id, phase, status, generation FROM runchain_runs;"),
        before
    );
    assert_eq!(
        project.lines("SELECT run_id, generation, step, state FROM runchain_steps;"),
        chains
    );
    assert_eq!(
        project.lines("SELECT state, taken_back FROM runchain_held_batches;"),
        ["taken_back|50"]
    );
    // And the next end of each is an ordinary one.
    project.sql("UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'r050';");
    drain(&project);
    assert_eq!(
        project.lines("SELECT step, state FROM runchain_steps WHERE run_id = 'r050' ORDER BY id;"),
        ["archive|done", "report|done"]
    );
}

#[test]
fn later_writes_of_a_held_run_count_and_repeats_do_not() {
    let project = project("");
    storm_a_minute_ago(&project);
    project.sql(
        "INSERT OR REPLACE INTO runs(run_id, status) VALUES ('r001', 'EXPIRED');
         UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'r002';
         DELETE FROM runs WHERE run_id = 'r003';
         UPDATE runs SET run_id = 's004' WHERE run_id = 'r004';
         INSERT INTO runchain_queue(action, run_id) VALUES ('enqueue_chain', 'r005');",
    );
    drain(&project);
    assert_eq!(
        project.lines("SELECT DISTINCT run_id FROM runchain_steps ORDER BY run_id;"),
        ["r002", "r005"]
    );
    assert_eq!(
        project.lines(
            "SELECT run_id FROM runchain_held WHERE run_id < 'r006' OR run_id LIKE 's%' ORDER BY run_id;"
        ),
        ["r001", "s004"]
    );
    assert_eq!(
        project.lines("SELECT held, released, taken_back FROM runchain_held_batches;"),
        ["50|1|2"]
    );
    project.sql("INSERT INTO runchain_queue(action, step_id) VALUES ('release_held', 1);");
    drain(&project);
    assert_eq!(
        count(
            &project,
            "runchain_steps WHERE step = 'report' AND state = 'done'"
        ),
        49
    );
    assert_eq!(count(&project, "runchain_held"), 0);
}

#[test]
fn a_release_keeps_to_its_pace() {
    let project = project("");
    project.sql(STORM);
    drain(&project);
    project
        .runchain(&["held", "release", "1", "--per-minute", "1"])
        .exits(0);
    project.runchain(&["drain", "--once"]).exits(0);
    assert_eq!(count(&project, "runchain_steps WHERE step = 'report'"), 1);
    // Who can't wait discards the rest.
    project.runchain(&["held", "discard", "1"]).exits(0);
    drain(&project);
    assert_eq!(
        project.lines("SELECT state, released, discarded FROM runchain_held_batches;"),
        ["discarded|1|49"]
    );
}

#[test]
fn sql_releases_and_discards_what_is_held() {
    let project = project("");
    let call = |sql: &str| {
        let ran = with_extension(&project.database(), sql);
        serde_json::from_str::<Value>(&ran).unwrap_or_else(|error| panic!("{error}: {ran}"))
    };
    storm_a_minute_ago(&project);
    let answer = call("SELECT runchain_held_discard(1, 'wrong WHERE');");
    assert_eq!(
        answer,
        serde_json::json!({ "action": "discard_held", "batch": 1, "left": 50, "answer": "queued", "queued": true })
    );
    drain(&project);
    assert_eq!(batches(&project)[0]["state"], "discarded");
    project.sql(MANY.replace("'r%03d'", "'s%03d'").as_str());
    drain(&project);
    project.sql("UPDATE runs SET status = 'EXPIRED' WHERE run_id LIKE 's%';");
    drain(&project);
    call("SELECT runchain_held_release(2, 'it was meant');");
    drain(&project);
    assert_eq!(batches(&project)[0]["released"], 50);
    let asked = "SELECT json_extract(data, '$.action', '$.reason') FROM runchain_events
                 WHERE type = 'REQUEST' ORDER BY id;";
    assert_eq!(
        project.lines(asked),
        [
            r#"["discard_held","wrong WHERE"]"#,
            r#"["release_held","it was meant"]"#
        ]
    );
    let refused = with_extension(&project.database(), "SELECT runchain_held_release(7);");
    assert!(refused.contains("there is no held batch 7"), "{refused}");
}

/// What the machine's own sqlite3 says with the extension loaded, errors included.
fn with_extension(database: &std::path::Path, sql: &str) -> String {
    let ran = std::process::Command::new("sqlite3")
        .arg(database)
        .arg(format!(".load {}", extension().display()))
        .arg(sql)
        .output()
        .unwrap();
    String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned()
}
