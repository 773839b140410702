//! Runs that end more than once: each end is a generation with a chain of its own, however quickly they
//! come, and every bag that was placed stays and verifies.

use super::examples::is_valid_bag;
use super::{chain, end_as};
use crate::support::{Project, eventually, python};
use std::fs;
use std::path::PathBuf;

fn bags(project: &Project) -> Vec<PathBuf> {
    let entries = fs::read_dir(project.path(".archive")).unwrap();
    let mut bags: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    bags.retain(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.'));
    bags.sort();
    bags
}

fn count(project: &Project, sql: &str) -> u32 {
    project.sql(sql).trim().parse().unwrap()
}

#[test]
fn a_run_that_flaps_has_one_generation_for_each_end_and_one_live_chain() {
    let project = Project::installed(
        "[steps.count]\ncommand = ['sh', '-c', 'echo $RUNCHAIN_GENERATION >> counted']\nafter = ['archive']\n",
    );
    let _service = project.service();
    // As an orchestrator would: one short transaction for each write, without a pause but now and then.
    let script = r#"
import sqlite3, sys, time
conn = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
conn.execute("INSERT INTO runs(run_id, status) VALUES ('r', 'RUNNING')")
for turn in range(1, 301):
    status = ("COMPLETED", "FAILED", "cancelled")[turn % 3]
    conn.execute("UPDATE runs SET status = ?, updated_at = ? WHERE run_id = 'r'", (status, str(turn)))
    if turn % 100 == 0:
        time.sleep(0.3)
    if turn < 300:
        conn.execute("UPDATE runs SET status = 'RUNNING' WHERE run_id = 'r'")
"#;
    python(script, &[project.database().to_str().unwrap()]).output();
    project.until("SELECT generation FROM runchain_runs WHERE run_id = 'r'", "300");
    project.until(
        "SELECT group_concat(state) FROM runchain_steps WHERE generation = 300",
        "done,done,done",
    );
    let events =
        "SELECT type || ' ' || count(*) FROM runchain_events WHERE type IN ('RUN_COMPLETED', 'RUN_RESTARTED')
                  GROUP BY type ORDER BY type;";
    assert_eq!(project.lines(events), ["RUN_COMPLETED 300", "RUN_RESTARTED 299"]);
    let live =
        "SELECT count(*) FROM runchain_steps WHERE generation < 300 AND state NOT IN ('done', 'cancelled');";
    assert_eq!(count(&project, live), 0);
    assert_eq!(count(&project, "SELECT count(*) FROM runchain_steps;"), 900);
    // Who was cancelled while it ran may have printed already, but nobody counts twice, and the last
    // one always.
    let counted = fs::read_to_string(project.path("counted")).unwrap();
    let counted: Vec<u32> = counted.lines().map(|line| line.parse().unwrap()).collect();
    assert!(counted.windows(2).all(|pair| pair[0] < pair[1]), "{counted:?}");
    assert_eq!(counted.last(), Some(&300));

    let bags = bags(&project);
    let archived = count(&project, "SELECT count(*) FROM archival_log;");
    assert!(bags.len() as u32 >= archived && archived >= 1, "{bags:?}");
    for bag in &bags {
        is_valid_bag(bag);
    }
    let newest = fs::read_to_string(project.path(".archive/r/bag-info.txt")).unwrap();
    assert!(newest.contains("Runchain-Generation: 300\n"), "{newest}");
}

#[test]
fn every_older_bag_stays_beside_the_newest_and_verifies() {
    let project = Project::installed("");
    for turn in 0..5 {
        end_as(&project, "r", if turn % 2 == 0 { "FAILED" } else { "COMPLETED" });
        project.runchain(&["drain", "--until-idle"]).exits(0);
        end_as(&project, "r", "RUNNING");
    }
    let bags = bags(&project);
    let mut generations: Vec<String> = Vec::new();
    for bag in &bags {
        is_valid_bag(bag);
        let info = fs::read_to_string(bag.join("bag-info.txt")).unwrap();
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix("Runchain-Generation: "));
        generations.push(line.unwrap().to_owned());
    }
    generations.sort();
    assert_eq!(generations, ["1", "2", "3", "4", "5"]);
    // The independent check is one: it notices a byte.
    let payload = bags[1].join("data/run.json");
    fs::write(&payload, fs::read_to_string(&payload).unwrap() + " ").unwrap();
    let damaged = std::panic::catch_unwind(|| is_valid_bag(&bags[1]));
    assert!(damaged.is_err());
}

#[test]
fn a_run_that_is_started_again_during_its_report_gets_the_report_of_its_next_end() {
    let project = Project::installed(
        r#"
[steps.report]
command = ["sh", "-c", 'echo "$RUNCHAIN_GENERATION" >> begun; [ "$RUNCHAIN_GENERATION" = 2 ] || exec sleep 600; echo "$RUNCHAIN_GENERATION" > reported']
"#,
    );
    let _service = project.service();
    end_as(&project, "r", "FAILED");
    eventually("the first report to begin", || {
        let begun = fs::read_to_string(project.path("begun")).unwrap_or_default();
        if begun == "1\n" { Ok(()) } else { Err(begun) }
    });
    end_as(&project, "r", "RUNNING");
    project.until(
        "SELECT state FROM runchain_steps WHERE step = 'report'",
        "cancelled",
    );
    end_as(&project, "r", "COMPLETED");
    project.until(
        "SELECT state FROM runchain_steps WHERE step = 'report' AND generation = 2",
        "done",
    );
    assert_eq!(chain(&project, "r"), ["archive done", "report done"]);
    assert_eq!(
        project.sql("SELECT state, result FROM runchain_steps WHERE step = 'report' AND generation = 1;"),
        "cancelled|\n"
    );
    assert_eq!(fs::read_to_string(project.path("reported")).unwrap(), "2\n");
    let bags = bags(&project);
    assert_eq!(bags.len(), 2);
    for bag in &bags {
        is_valid_bag(bag);
    }
}

/// A step that is asked to end in generation 1, and takes a while to do so.
const SLOW_TO_END: &str = r#"
[steps.report]
command = ["sh", "-c", '''echo "begin $RUNCHAIN_GENERATION" >> told
trap "for n in 1 2 3 4 5 6 7 8 9 10; do sleep 0.1; done; echo end $RUNCHAIN_GENERATION >> told; exit 1" TERM
if [ ! -e quick ]; then touch begun; while :; do sleep 0.02; done; fi
echo "end $RUNCHAIN_GENERATION" >> told''']
"#;

fn begun(project: &Project) {
    eventually("the first report to begin", || {
        let is_there = project.path("begun").exists();
        is_there.then_some(()).ok_or_else(String::new)
    });
    fs::write(project.path("quick"), "").unwrap();
}

#[test]
fn what_a_new_generation_has_cancelled_has_ended_before_anything_of_it_begins() {
    let project = Project::installed(SLOW_TO_END);
    let _service = project.service();
    end_as(&project, "r", "FAILED");
    begun(&project);
    end_as(&project, "r", "RUNNING");
    end_as(&project, "r", "COMPLETED");
    project.until(
        "SELECT state FROM runchain_steps WHERE step = 'report' AND generation = 2",
        "done",
    );
    let told = fs::read_to_string(project.path("told")).unwrap();
    assert_eq!(told, "begin 1\nend 1\nbegin 2\nend 2\n");
    assert_eq!(count(&project, "SELECT count(*) FROM runchain_failures;"), 0);
}

#[test]
fn a_cancelled_step_that_is_asked_for_again_begins_when_it_has_ended_whoever_executes_it() {
    let project = Project::installed(SLOW_TO_END);
    let service = project.service();
    end_as(&project, "r", "FAILED");
    begun(&project);
    project.runchain(&["cancel", "r"]).exits(0);
    project.until(
        "SELECT state FROM runchain_steps WHERE step = 'report'",
        "cancelled",
    );
    // By an executor of its own, or by the service.
    project.runchain(&["exec", "report", "--run", "r"]).exits(0);
    let told = fs::read_to_string(project.path("told")).unwrap();
    assert_eq!(told, "begin 1\nend 1\nbegin 1\nend 1\n");
    assert!(service.terminate().success());
    assert_eq!(count(&project, "SELECT count(*) FROM runchain_failures;"), 0);
    assert_eq!(count(&project, "SELECT count(*) FROM runchain_ending;"), 0);
}
