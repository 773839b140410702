//! Retention from outside: what goes, what stays, and that nobody is held up.

use crate::support::{Outside, Project, SHAPE_A, eventually};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

/// A project in which these runs have ended and have been archived and reported.
fn finished(config: &str, runs: &[&str]) -> Project {
    let project = Project::new(SHAPE_A, config);
    project.runchain(&["install"]).exits(0);
    for run in runs {
        project.sql(&format!(
            "INSERT INTO runs(run_id, status) VALUES ('{run}', 'COMPLETED');"
        ));
    }
    project.runchain(&["drain", "--until-idle"]).exits(0);
    // The last lines are written when it ends.
    assert_eq!(
        project
            .sql("SELECT min(event_id) = (SELECT max(id) FROM runchain_events) FROM runchain_cursors;")
            .trim(),
        "1"
    );
    project
}

/// As if everything about a run had happened this many days ago.
fn age(project: &Project, run: &str, days: u32) {
    let ms = format!("{days} * 86400000");
    project.sql(&format!(
        "UPDATE runchain_events SET at_ms = at_ms - {ms} WHERE run_id = '{run}';
         UPDATE runchain_runs SET phase_since_ms = phase_since_ms - {ms} WHERE run_id = '{run}';
         UPDATE runchain_steps SET created_ms = created_ms - {ms}, started_ms = started_ms - {ms},
           finished_ms = finished_ms - {ms} WHERE run_id = '{run}';
         UPDATE archival_log SET archived_at = strftime('%Y-%m-%dT%H:%M:%S.000+00:00', 'now', '-{days} days')
           WHERE run_id = '{run}';"
    ));
}

fn removed(answer: &Value, kind: &str) -> Value {
    answer["removed"][kind]["rows"].clone()
}

#[test]
fn prune_says_what_would_go_and_then_removes_just_that() {
    let project = finished("", &["old", "young"]);
    age(&project, "old", 400);
    let before = project.sql("SELECT count(*) FROM runchain_events WHERE run_id = 'old';");
    let told = project
        .runchain(&["prune", "--dry-run", "--json"])
        .exits(0)
        .json();
    assert_eq!(removed(&told, "steps"), json!(2));
    assert_eq!(removed(&told, "events").to_string(), before.trim());
    assert_eq!(told["removed"].as_object().unwrap().len(), 2, "{told}");
    assert_eq!(
        project.sql("SELECT count(*) FROM runchain_events WHERE run_id = 'old';"),
        before,
        "a dry run removes nothing"
    );

    let reason = "--reason=disk is small";
    let done = project.runchain(&["prune", "--json", reason]).exits(0).json();
    assert_eq!(done["removed"], told["removed"]);
    assert_eq!(
        project.lines("SELECT DISTINCT run_id FROM runchain_steps;"),
        ["young"]
    );
    assert_eq!(
        project
            .sql("SELECT count(*) FROM runchain_events WHERE run_id = 'old';")
            .trim(),
        "0"
    );
    // What was acted on stays known, and the bag is not old enough.
    assert_eq!(
        project.lines("SELECT run_id FROM runchain_runs ORDER BY 1;"),
        ["old", "young"]
    );
    assert!(project.path(".archive/old/bagit.txt").exists());
    let said = project.sql("SELECT data FROM runchain_events WHERE type = 'OPERATOR_ACTION';");
    let said: Value = serde_json::from_str(said.trim()).unwrap();
    assert_eq!(said["action"], "prune");
    assert_eq!(said["reason"], "disk is small");
    assert_eq!(said["after"], told["removed"]);
    assert!(said["actor"].as_str().unwrap().contains(")@"), "{said}");
    let nothing = project.runchain(&["prune"]).exits(0).stdout;
    assert!(nothing.contains("nothing is old enough"), "{nothing}");

    // Nothing begins anew, and the log has no gap.
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(
        project.lines("SELECT DISTINCT run_id FROM runchain_steps;"),
        ["young"]
    );
    let seqs: Vec<i64> = ["monitor.jsonl", "archival.jsonl"]
        .iter()
        .flat_map(|name| project.log(name))
        .filter_map(|line| line["seq"].as_i64())
        .collect();
    let newest: i64 = project
        .sql("SELECT max(id) FROM runchain_events;")
        .trim()
        .parse()
        .unwrap();
    assert_eq!(seqs.len(), usize::try_from(newest).unwrap());
}

#[test]
fn the_leader_prunes_by_itself_and_never_a_dead_step_an_active_run_or_what_is_not_projected() {
    let project = finished(
        "retention.every_ms = 100\n[steps.upload]\nafter = ['archive']\ncommand = ['false']\nmax_attempts = 1\n",
        &["dead"],
    );
    assert_eq!(
        project
            .sql("SELECT state FROM runchain_steps WHERE step = 'upload';")
            .trim(),
        "dead"
    );
    project.sql("INSERT INTO runs(run_id, status) VALUES ('active', 'RUNNING');");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    age(&project, "dead", 4_000);
    age(&project, "active", 4_000);
    // Old, of no run, and projected: this one goes.
    project.sql("UPDATE runchain_events SET at_ms = 0 WHERE type = 'INSTALLED';");
    let kept = "SELECT group_concat(id) FROM (SELECT id FROM runchain_events WHERE run_id IN ('dead', 'active') ORDER BY id)";
    let before = project.sql(kept);
    let service = project.service();
    project.until(
        "SELECT count(*) FROM runchain_events WHERE type = 'INSTALLED'",
        "0",
    );
    project.until(
        "SELECT count(*) FROM runchain_events WHERE type = 'RETENTION'",
        "1",
    );
    assert!(service.terminate().success());
    assert!(
        project.sql(kept).starts_with(before.trim()),
        "{}",
        project.sql(kept)
    );
    assert_eq!(
        project.lines("SELECT step || ' ' || state FROM runchain_steps ORDER BY step;"),
        ["archive done", "report done", "upload dead"]
    );
    assert!(project.path(".archive/dead/bagit.txt").exists());
    assert!(project.path("reports/dead_summary.json").exists());
}

#[test]
fn bags_and_reports_go_when_their_chain_is_over_and_nothing_refers_to_them_then() {
    let project = finished(
        "retention.bags_days = 100\nretention.reports_days = 100\n",
        &["old", "redone", "foreign", "young"],
    );
    for run in ["old", "redone", "foreign"] {
        age(&project, run, 200);
    }
    // A chain that is not over, and something else in a bag's place.
    project.sql("UPDATE runchain_steps SET state = 'ready', finished_ms = NULL, ready_at_ms = 9e15 WHERE run_id = 'redone' AND step = 'report';");
    fs::remove_dir_all(project.path(".archive/foreign")).unwrap();
    fs::create_dir(project.path(".archive/foreign")).unwrap();
    fs::write(project.path(".archive/foreign/mine.txt"), "mine").unwrap();
    let done = project.runchain(&["prune", "--json"]).exits(0).json();
    assert_eq!(removed(&done, "bags"), json!(2));
    assert_eq!(removed(&done, "reports"), json!(2));
    let names = |folder: &str| {
        let mut names: Vec<String> = fs::read_dir(project.path(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(".archive"), ["foreign", "redone", "young"]);
    assert!(project.path(".archive/foreign/mine.txt").exists());
    assert_eq!(
        names("reports"),
        [
            "index.html",
            "redone.html",
            "redone_metrics.json",
            "redone_summary.json",
            "young.html",
            "young_metrics.json",
            "young_summary.json"
        ]
    );
    assert_eq!(
        project.lines("SELECT run_id FROM archival_log ORDER BY 1;"),
        ["redone", "young"]
    );
    fs::remove_dir_all(project.path(".archive/foreign")).unwrap();
    Outside::of(project.root()).nothing_refers_to_what_is_not_there();
}

#[test]
fn a_bag_that_a_killed_attempt_left_and_nobody_settles_goes_when_it_is_old_enough() {
    let project = Project::new(
        SHAPE_A,
        "archive.settle_ms = 0\nlease_ms = 1000\nretention.bags_days = 100\n",
    );
    project.runchain(&["install"]).exits(0);
    project.sql("INSERT INTO runs(run_id, status) VALUES ('r', 'COMPLETED');");
    let mut killed = project.command(&["drain", "--until-idle"]);
    let killed = killed
        .env("RUNCHAIN_CRASH_AT", "archive-after-place")
        .status()
        .unwrap();
    assert!(!killed.success(), "{killed}");
    assert!(project.path(".archive/r/bagit.txt").exists());
    // The run is gone before anybody tries again.
    project.sql("DELETE FROM runs;");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    let row = "SELECT run_id, generation, digest LIKE 'sha256:%' FROM archival_log;";
    assert_eq!(project.sql(row), "");

    project.runchain(&["prune"]).exits(0);
    assert_eq!(project.sql(row).trim(), "r|1|1");
    project.runchain(&["prune"]).exits(0);
    assert_eq!(project.sql(row).trim(), "r|1|1", "one row, however often");
    assert!(project.path(".archive/r/bagit.txt").exists());

    age(&project, "r", 101);
    let done = project.runchain(&["prune", "--json"]).exits(0).json();
    assert_eq!(removed(&done, "bags"), json!(1));
    assert!(!project.path(".archive/r").exists());
    assert_eq!(project.sql(row), "");
}

#[test]
fn a_run_whose_steps_are_gone_can_be_asked_for_again() {
    let project = finished("", &["r"]);
    age(&project, "r", 400);
    project.runchain(&["prune"]).exits(0);
    assert_eq!(project.sql("SELECT count(*) FROM runchain_steps;").trim(), "0");
    project.runchain(&["finish", "--run", "r"]).exits(0);
    assert_eq!(
        project.lines("SELECT generation || ' ' || step || ' ' || state FROM runchain_steps ORDER BY id;"),
        ["1 archive done", "1 report done"]
    );
}

/// A prune batch holds the lock for milliseconds, however much there is to remove: a writer gets in
/// between, and sees a part of it gone.
#[test]
fn a_writer_beside_a_large_prune_is_never_refused() {
    let project = finished("retention.events_rows = 1000\n", &["r"]);
    project.sql("PRAGMA journal_mode = wal;");
    let writer = Connection::open(project.database()).unwrap();
    // What it would wait for in vain is the whole; a slow disk may hold up any single commit.
    writer.busy_timeout(Duration::from_secs(60)).unwrap();
    let requests = "SELECT count(*) FROM runchain_events WHERE type = 'REQUEST'";
    // Whoever is not scheduled while it prunes sees nothing of it, and looks again.
    eventually("a write between two batches", || {
        project.sql(
            "INSERT INTO runchain_events(at_ms, type, run_id)
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000)
             SELECT 0, 'REQUEST', 'run-' || i FROM n;",
        );
        // Nothing goes that is not projected, and projecting six thousand events is no test of this.
        project.sql("UPDATE runchain_cursors SET event_id = (SELECT max(id) FROM runchain_events);");
        let full: i64 = writer.query_row(requests, [], |row| row.get(0)).unwrap();
        let mut prune = project.command(&["prune", "--json"]).spawn().unwrap();
        let mut seen = BTreeSet::new();
        let ended = loop {
            writer
                .execute_batch(
                    "BEGIN IMMEDIATE; UPDATE runs SET updated_at = updated_at || 'x' WHERE run_id = 'r'",
                )
                .unwrap();
            seen.insert(
                writer
                    .query_row(requests, [], |row| row.get::<_, i64>(0))
                    .unwrap(),
            );
            writer.execute_batch("COMMIT").unwrap();
            if let Some(status) = prune.try_wait().unwrap() {
                break status;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        assert!(ended.success(), "{ended}");
        let left: i64 = writer.query_row(requests, [], |row| row.get(0)).unwrap();
        assert!(left <= 1001, "{left}");
        if seen.iter().any(|count| *count < full && *count > left) {
            Ok(())
        } else {
            Err(format!("{seen:?} of {full}"))
        }
    });
}
