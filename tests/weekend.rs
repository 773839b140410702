//! Nobody drained for a weekend: what waited is caught up with in order, said once, and alarms nobody
//! about what is long over.

use crate::support::{Project, SHAPE_A, eventually};

const HOUR_MS: i64 = 3_600_000;

fn project(config: &str) -> Project {
    let project = Project::new(SHAPE_A, &format!("monitor.heartbeat_ms = 100\n{config}"));
    project.runchain(&["install"]).exits(0);
    project
}

/// As if everything in the queue had been captured over the last two days.
fn age(project: &Project) {
    project.sql(&format!(
        "UPDATE runchain_queue SET at_ms = at_ms - {} + id * 60000;",
        48 * HOUR_MS
    ));
}

fn events(project: &Project, of: &str) -> Vec<String> {
    project.lines(&format!(
        "SELECT type, run_id FROM runchain_events WHERE type IN ({of}) ORDER BY id;"
    ))
}

#[test]
fn a_weekend_is_caught_up_with_in_order_and_said_once() {
    let project = project("storm.max_transitions = 20\n");
    project.sql("INSERT INTO runs(run_id, status) VALUES ('before', 'RUNNING');");
    {
        let service = project.service();
        project.until("SELECT monitor FROM runchain_runs", "on");
        service.terminate();
    }
    let heartbeats = |run: &str| {
        let log = project.log("monitor.jsonl");
        let beats = log
            .iter()
            .filter(|line| line["event"] == "HEARTBEAT" && line["run_id"] == run);
        beats.count()
    };
    let beats_before = heartbeats("before");
    // Forty runs begin and end, one stays active, and the one of before ends.
    for number in 0..40 {
        project.sql(&format!(
            "INSERT INTO runs(run_id, status) VALUES ('r{number:02}', 'RUNNING');
             UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'r{number:02}';"
        ));
    }
    project.sql(
        "INSERT INTO runs(run_id, status) VALUES ('active', 'RUNNING');
         UPDATE runs SET status = 'FAILED' WHERE run_id = 'before';",
    );
    age(&project);
    let service = project.service();
    project.until(
        "SELECT count(*) FROM runchain_steps WHERE step = 'report' AND state = 'done'",
        "41",
    );
    project.until("SELECT monitor FROM runchain_runs WHERE run_id = 'active'", "on");
    service.terminate();

    let down = events(&project, "'EXECUTOR_WAS_DOWN'");
    assert_eq!(down, ["EXECUTOR_WAS_DOWN|"]);
    let said = project.lines(
        "SELECT json_extract(data, '$.queue_rows'), json_extract(data, '$.waited_ms') > 47 * 3600000
         FROM runchain_events WHERE type = 'EXECUTOR_WAS_DOWN';",
    );
    assert_eq!(said, ["82|1"]);
    assert_eq!(
        events(&project, "'MONITOR_STARTED', 'MONITOR_STOPPED', 'RUN_STALLED'"),
        [
            "MONITOR_STARTED|before",
            "MONITOR_STOPPED|before",
            "MONITOR_STARTED|active"
        ]
    );
    assert_eq!(heartbeats("before"), beats_before);
    assert_eq!(heartbeats("r07"), 0);
    let order = project.lines("SELECT run_id FROM runchain_events WHERE type = 'RUN_COMPLETED' ORDER BY id;");
    let wanted: Vec<String> = (0..40)
        .map(|number| format!("r{number:02}"))
        .chain(["before".into()])
        .collect();
    assert_eq!(order, wanted);

    // A short break is none.
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(events(&project, "'EXECUTOR_WAS_DOWN'").len(), 1);
}

#[test]
fn a_stall_clock_starts_anew_after_a_downtime() {
    let project = project("monitor.stall_after_ms = 3600000\n");
    project.sql("INSERT INTO runs(run_id, status) VALUES ('long', 'RUNNING');");
    age(&project);
    let service = project.service();
    project.until("SELECT monitor FROM runchain_runs", "on");
    let log = eventually("a heartbeat", || {
        let log = project.log("monitor.jsonl");
        let beats = log.iter().any(|line| line["event"] == "HEARTBEAT");
        if beats { Ok(log) } else { Err(format!("{log:?}")) }
    });
    service.terminate();
    // It has been active for two days, and quiet for as long as we look.
    assert_eq!(events(&project, "'RUN_STALLED'"), [""; 0]);
    let quiet = log.iter().filter_map(|line| line["quiet_ms"].as_i64()).max();
    assert!(quiet.is_none_or(|quiet_ms| quiet_ms < HOUR_MS), "{quiet:?}");
}

#[test]
fn alerts_of_a_downtime_leave_as_one_digest_of_each_rule() {
    let project = project("storm.max_transitions = 5\n");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    // Two storms, an hour apart.
    for (run, hours) in [("x", 40), ("y", 30)] {
        project.sql(&format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9)
             INSERT INTO runs(run_id, status) SELECT '{run}' || i, 'FAILED' FROM n;
             UPDATE runchain_queue SET at_ms = at_ms - {hours} * {HOUR_MS} WHERE run_id LIKE '{run}%';"
        ));
    }
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(
        project.lines("SELECT held FROM runchain_held_batches;"),
        ["9", "9"]
    );
    assert_eq!(
        project.lines(
            "SELECT type, json_extract(data, '$.rule'), json_extract(data, '$.alerts') FROM runchain_events
             WHERE type LIKE 'ALERT%';"
        ),
        [
            "ALERT_FIRING|executor_was_down|",
            "ALERT_DIGEST|storm|2",
            "ALERT_RESOLVED|executor_was_down|"
        ]
    );
    // On an ordinary day each one is told by itself.
    project.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9)
         INSERT INTO runs(run_id, status) SELECT 'z' || i, 'FAILED' FROM n;",
    );
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(
        project.lines("SELECT type FROM runchain_events WHERE type LIKE 'ALERT%';"),
        ["ALERT_FIRING", "ALERT_DIGEST", "ALERT_RESOLVED", "ALERT_FIRING"]
    );
}
