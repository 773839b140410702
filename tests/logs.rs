//! The logs as somebody else reads them.

use crate::support::{Project, SHAPE_A, eventually};
use serde_json::Value;
use std::fs;
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
    let away = || {
        fs::rename(project.path("logs"), project.path("logs.away")).unwrap();
        fs::write(project.path("logs"), "").unwrap();
    };
    let back = || {
        fs::remove_file(project.path("logs")).unwrap();
        fs::rename(project.path("logs.away"), project.path("logs")).unwrap();
    };
    let leader = project.service();
    project.until("SELECT count(*) > 0 FROM runchain_cursors", "1");
    let service = project.service();
    // The other one can't lead.
    away();
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
    back();
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
