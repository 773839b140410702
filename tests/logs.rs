//! The logs as somebody else reads them.

use crate::support::{Project, SHAPE_A, eventually};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};

/// `tail -F`; dropped, it is killed.
struct Tail(Child);

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_reader_with_tail_follows_across_rotations_and_misses_nothing() {
    let project = Project::new(SHAPE_A, "logs.rotate_bytes = 1500\nlogs.keep_files = 1000\n");
    project.runchain(&["install"]).exits(0);
    let service = project.service();
    let (log, followed) = (project.path("logs/monitor.jsonl"), project.path("followed"));
    eventually("the log to begin", || {
        if log.exists() {
            Ok(())
        } else {
            Err("no log".to_owned())
        }
    });
    let tail = Command::new("tail")
        .args(["-F", "-n", "+1", "--"])
        .arg(&log)
        .stdout(fs::File::create(&followed).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .expect("the test needs tail (coreutils)");
    let _tail = Tail(tail);
    // The first file may have been rotated before tail came: what it has to show begins here.
    let seqs = || -> Vec<i64> {
        let text = fs::read_to_string(&followed).unwrap();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_i64())
            .collect()
    };
    eventually("tail to show the beginning", || {
        if seqs().is_empty() {
            Err(String::new())
        } else {
            Ok(())
        }
    });
    let first = seqs()[0];
    // tail needs a moment to notice a new file; two rotations within it are more than it can follow,
    // so each run waits until its end is shown.
    for number in 0..30 {
        project.sql(&format!(
            "INSERT INTO runs(run_id, status) VALUES ('r{number}', 'RUNNING');
             UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'r{number}';"
        ));
        eventually("tail to show the run's end", || {
            let text = fs::read_to_string(&followed).unwrap();
            let shown = text.lines().any(|line| {
                line.contains("\"RUN_COMPLETED\"") && line.contains(&format!("\"run_id\":\"r{number}\""))
            });
            if shown { Ok(()) } else { Err(text) }
        });
    }
    project.until("SELECT count(*) FROM runchain_steps WHERE state = 'done'", "60");
    let wanted: Vec<i64> = project
        .lines(&format!(
            "SELECT id FROM runchain_events WHERE id >= {first} AND type NOT IN ('RUN_ARCHIVED', 'REPORT_GENERATED') ORDER BY id;"
        ))
        .iter()
        .map(|id| id.parse().unwrap())
        .collect();
    eventually("tail to show every event once and in order", || {
        let shown = seqs();
        if shown == wanted {
            Ok(())
        } else {
            Err(format!("{shown:?} in place of {wanted:?}"))
        }
    });
    let rotated = fs::read_dir(project.path("logs"))
        .unwrap()
        .filter(|entry| {
            entry
                .as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .starts_with("monitor.0")
        })
        .count();
    assert!(rotated > 3, "only {rotated} rotations");
    drop(service);
}

#[test]
fn logs_that_can_t_be_written_are_told_in_the_database_until_they_can() {
    let project = Project::new(SHAPE_A, "archive.settle_ms = 0\n");
    project.runchain(&["install"]).exits(0);
    let alert = "SELECT state FROM runchain_alerts WHERE rule = 'logs_unwritable'";
    let leader = project.service();
    project.until("SELECT count(*) > 0 FROM runchain_cursors", "1");
    let service = project.service();
    // The other one can't lead.
    project.take_logs_away();
    leader.kill();
    project.until(alert, "firing");
    let checks = project.runchain(&["validate", "--json"]).json();
    let told = checks["checks"].as_array().unwrap().iter();
    let told = told
        .clone()
        .find(|check| check["check"] == "alerts")
        .unwrap()
        .to_string();
    assert!(told.contains("logs_unwritable"), "{told}");
    project.bring_logs_back();
    project.until(alert, "resolved");
    project.sql("INSERT INTO runs(run_id, status) VALUES ('r', 'COMPLETED');");
    project.until("SELECT count(*) FROM runchain_steps WHERE state = 'done'", "2");
    assert!(service.terminate().success());
    let logged = project.log("monitor.jsonl");
    assert!(
        logged
            .iter()
            .any(|line| line["data"]["rule"] == "logs_unwritable"),
        "{logged:?}"
    );
}

const ALERT: &str = "SELECT state FROM runchain_alerts WHERE rule = 'logs_unwritable'";

/// A heartbeat of the run, and its end, stand in the log.
#[track_caller]
fn is_logged(project: &Project, active: &str, ended: &str) {
    let stands = |event: &str, run: &str| {
        let lines = project.log("monitor.jsonl");
        lines
            .iter()
            .any(|line| line["event"] == event && line["run_id"] == run)
    };
    eventually("the log to tell of both runs", || {
        if stands("HEARTBEAT", active) && stands("RUN_COMPLETED", ended) {
            Ok(())
        } else {
            Err(format!("{:?}", project.log("monitor.jsonl")))
        }
    });
}

#[test]
fn a_service_starts_where_no_logs_can_be_kept_says_so_and_works_when_they_can() {
    for what in ["a file", "a symlink"] {
        let project = Project::new(SHAPE_A, "monitor.heartbeat_ms = 100\n");
        project.runchain(&["install"]).exits(0);
        project.sql("INSERT INTO runs(run_id, status) VALUES ('ended', 'COMPLETED'), ('active', 'RUNNING');");
        match what {
            "a file" => fs::write(project.path("logs"), "").unwrap(),
            _ => symlink("nowhere", project.path("logs")).unwrap(),
        }
        let mut service = project.service();
        project.until(ALERT, "firing");
        assert_eq!(
            project.lines("SELECT count(*) FROM runchain_steps;"),
            ["0"],
            "nothing begins behind {what} in the place of the logs"
        );
        service.assert_alive();
        fs::remove_file(project.path("logs")).unwrap();
        project.until(ALERT, "resolved");
        is_logged(&project, "active", "ended");
        project.until("SELECT count(*) FROM runchain_steps WHERE state = 'done'", "2");
        assert!(service.terminate().success());
    }
}

/// Whoever is there for a moment waits for nobody to mend them.
#[test]
fn a_command_ends_where_no_logs_can_be_kept() {
    let project = Project::new(SHAPE_A, "");
    project.runchain(&["install"]).exits(0);
    fs::write(project.path("logs"), "").unwrap();
    let ran = project.runchain(&["drain", "--until-idle"]).exits(1);
    let logs = project.path("logs");
    assert!(ran.stderr.contains(&logs.display().to_string()), "{}", ran.stderr);
}

#[test]
fn what_the_logs_know_of_an_older_database_counts_as_soon_as_they_can_be_read() {
    let project = Project::new(SHAPE_A, "");
    project.runchain(&["install"]).exits(0);
    let backup = project.path("tuesday.db");
    project.sql(&format!(".backup {}", backup.display()));
    project.sql("INSERT INTO runs(run_id, status) VALUES ('lost', 'COMPLETED');");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    project.sql(&format!(".restore {}", backup.display()));
    project.sql("INSERT INTO runs(run_id, status) VALUES ('later', 'COMPLETED');");
    project.take_logs_away();
    let mut service = project.service();
    project.until(ALERT, "firing");
    project.bring_logs_back();
    assert_eq!(service.ended(), Some(12), "{}", service.told());
    assert!(
        service.told().contains("runchain adopt --as restored"),
        "{}",
        service.told()
    );
    assert_eq!(project.lines("SELECT count(*) FROM runchain_steps;"), ["0"]);
}
