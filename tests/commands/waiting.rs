//! `wait`: the exit code is the outcome, and it comes with the end.

use super::{end, project};
use crate::support::{Project, runchain};
use std::process::{Child, Stdio};
use std::time::Instant;

fn waiting(project: &Project, run_id: &str) -> Child {
    runchain(project.root())
        .args(["wait", "--", run_id])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn wait_exits_with_what_came_of_the_chain() {
    let project = project();
    project.sql("INSERT INTO runs(run_id, status) VALUES ('lost', 'FAILED'), ('old', 'COMPLETED');");
    end(&project, &["good", "more-bad"]);
    for (run_id, code, says) in [
        ("good", 0, "run good completed, and its chain is through"),
        (
            "lost",
            31,
            "the chain of run lost is through, but the run is failed",
        ),
        (
            "more-bad",
            14,
            "step upload of run more-bad is dead: \"sh\" ended with exit code 1",
        ),
        ("nobody", 13, "runchain knows no run nobody"),
    ] {
        let ran = project.runchain(&["wait", run_id]).exits(code);
        let told = ran.stdout + &ran.stderr;
        assert!(told.contains(says), "{told}");
    }
    let json = project.runchain(&["wait", "--json", "more-bad"]).exits(14).json();
    assert_eq!(
        (&json["outcome"], &json["exit_code"]),
        (&"dead".into(), &14.into())
    );
    project.runchain(&["wait", "--timeout", "soon", "good"]).exits(2);
}

#[test]
fn what_will_never_be_through_by_itself_is_not_waited_for() {
    let project = project();
    end(&project, &["was-deleted"]);
    project.sql("INSERT INTO runs(run_id, status) VALUES ('was-cancelled', 'RUNNING');");
    project.runchain(&["pause"]).exits(0);
    project.sql(
        "DELETE FROM runs WHERE run_id = 'was-deleted'; UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'was-cancelled';",
    );
    project.runchain(&["drain", "--once"]).exits(0);
    project.runchain(&["cancel", "was-cancelled"]).exits(0);
    project.runchain(&["drain", "--once"]).exits(0);
    for (run_id, outcome) in [("was-deleted", "deleted"), ("was-cancelled", "cancelled")] {
        let json = project.runchain(&["wait", "--json", run_id]).exits(32).json();
        assert_eq!(json["outcome"], outcome);
    }
}

#[test]
fn the_time_that_was_given_is_kept_and_told_apart() {
    let project = project();
    project.sql("INSERT INTO runs(run_id, status) VALUES ('r', 'RUNNING');");
    let began = Instant::now();
    let ran = project.runchain(&["wait", "--timeout", "50ms", "r"]).exits(30);
    assert!(began.elapsed().as_millis() >= 50);
    assert!(ran.stderr.contains("no executor is alive"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("no executor has looked at it yet"),
        "{}",
        ran.stderr
    );
}

/// Each page that a long transaction spills is a hint at a commit that doesn't come.
#[test]
fn the_time_that_was_given_is_kept_while_somebody_writes_and_writes() {
    let project = project();
    project.sql("INSERT INTO runs(run_id, status) VALUES ('r', 'RUNNING'); CREATE TABLE pages(page);");
    let writer = rusqlite::Connection::open(project.database()).unwrap();
    writer
        .execute_batch("PRAGMA cache_size = 2; BEGIN IMMEDIATE")
        .unwrap();
    let mut child = runchain(project.root())
        .args(["wait", "--timeout", "100ms", "r"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = crate::support::eventually("wait to end", || {
        writer
            .execute_batch("INSERT INTO pages VALUES (zeroblob(9000))")
            .unwrap();
        child.try_wait().unwrap().ok_or("still waiting".to_owned())
    });
    assert_eq!(status.code(), Some(30));
}

/// The fallback poll comes after a minute: an end that is seen before was seen by the watcher.
#[test]
fn wait_ends_within_a_moment_of_the_chain_s_end() {
    let project = project();
    let _service = project.service();
    project.sql("INSERT INTO runs(run_id, status) VALUES ('r', 'RUNNING');");
    project.until("SELECT count(*) FROM runchain_runs WHERE run_id = 'r'", "1");
    let mut child = waiting(&project, "r");
    // It has looked, and sleeps: it watches the folder of the database.
    crate::support::eventually("wait to watch", || {
        let watches = std::fs::read_dir(format!("/proc/{}/fd", child.id()))
            .map_err(|error| error.to_string())?
            .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
            .any(|link| link.to_string_lossy().contains("inotify"));
        if watches {
            Ok(())
        } else {
            Err("no watch yet".to_owned())
        }
    });
    assert_eq!(child.try_wait().unwrap(), None);
    project.sql("UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'r';");
    project.until(
        "SELECT count(*) FROM runchain_steps WHERE run_id = 'r' AND state = 'done'",
        "3",
    );
    let ended = Instant::now();
    let status = crate::support::eventually("wait to end", || {
        child.try_wait().unwrap().ok_or("still waiting".to_owned())
    });
    assert_eq!(status.code(), Some(0));
    assert!(ended.elapsed().as_secs() < 45, "the watcher's hint was missed");
}
