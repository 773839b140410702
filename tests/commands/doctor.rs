//! `doctor`: each planted fault is found, and the line that it gives mends it.

use super::{OWN_STEP, end, project};
use crate::support::{Project, SHAPE_A, Service, eventually};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// A user id that needs no entry in /etc/passwd.
const SOMEBODY: &str = "30001";

fn findings(project: &Project) -> Vec<Value> {
    let ran = project.runchain(&["doctor", "--json"]);
    let json = ran.json();
    let wrong = json["errors"].as_i64().unwrap() > 0;
    assert_eq!(ran.code, Some(if wrong { 33 } else { 0 }), "{json:#}");
    json["findings"].as_array().unwrap().clone()
}

#[track_caller]
fn finding(project: &Project, check: &str) -> Value {
    let all = findings(project);
    let found = all.iter().find(|finding| finding["check"] == check);
    found
        .unwrap_or_else(|| panic!("{check} is not in {all:#?}"))
        .clone()
}

/// The check is not ok, its line is typed, and then it is.
#[track_caller]
fn mends(project: &Project, check: &str) {
    let found = finding(project, check);
    assert_ne!(found["severity"], "ok", "{found:#}");
    let command = found["command"].as_str().unwrap_or_else(|| panic!("{found:#}"));
    let output = project.shell(command).output().unwrap();
    assert!(
        output.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let after = finding(project, check);
    assert_eq!(after["severity"], "ok", "after {command}: {after:#}");
}

#[test]
fn nothing_is_wrong_where_nothing_is() {
    let project = project();
    let _service = project.service();
    let wrong: Vec<Value> = findings(&project)
        .into_iter()
        .filter(|finding| finding["severity"] == "error")
        .collect();
    assert_eq!(wrong, [0; 0], "{wrong:#?}");
    let text = project.runchain(&["doctor"]).exits(0).stdout;
    assert!(text.contains("0 errors"), "{text}");
}

#[test]
fn lost_triggers_are_put_back_by_its_line() {
    let project = project();
    project.sql("DROP TRIGGER runchain_capture_update;");
    mends(&project, "triggers");
}

#[test]
fn a_database_without_runchain_gets_it() {
    let project = Project::new(SHAPE_A, "");
    mends(&project, "installed");
}

#[test]
fn dead_steps_are_retried() {
    let project = project();
    end(&project, &["x-bad", "y-bad"]);
    project.configure("[steps.upload]\nafter = ['archive']\ncommand = ['true']\n");
    let found = finding(&project, "dead_steps");
    let command = found["command"].as_str().unwrap();
    assert!(project.shell(command).status().unwrap().success(), "{command}");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(finding(&project, "dead_steps")["severity"], "ok");
}

#[test]
fn what_is_paused_is_resumed() {
    let project = project();
    project.runchain(&["pause", "upload"]).exits(0);
    project.runchain(&["pause"]).exits(0);
    project.runchain(&["drain", "--once"]).exits(0);
    let found = finding(&project, "pauses");
    let command = found["command"].as_str().unwrap();
    assert!(project.shell(command).status().unwrap().success(), "{command}");
    project.runchain(&["drain", "--once"]).exits(0);
    assert_eq!(finding(&project, "pauses")["severity"], "ok");
}

#[test]
fn no_executor_is_mended_by_one() {
    let project = project();
    project.sql("INSERT INTO runs(run_id, status) VALUES ('r', 'RUNNING');");
    let found = finding(&project, "executor");
    assert_eq!(found["severity"], "error");
    assert_eq!(found["command"], "runchain drain");
    let _service = Service::of(&mut project.shell(&format!("exec {}", found["command"].as_str().unwrap())));
    eventually("an executor", || {
        let found = finding(&project, "executor");
        if found["severity"] == "ok" {
            Ok(())
        } else {
            Err(found.to_string())
        }
    });
}

#[test]
fn the_rollback_journal_becomes_wal() {
    let project = Project::new(SHAPE_A, "");
    project.runchain(&["install"]).exits(0);
    mends(&project, "journal_mode");
}

#[test]
fn a_schema_of_the_future_asks_for_a_newer_runchain() {
    let project = project();
    project
        .sql("UPDATE runchain_meta SET value = '99' WHERE key IN ('schema_version', 'min_writer_version');");
    let found = finding(&project, "min_writer_version");
    assert_eq!(found["severity"], "error");
    assert!(
        found["remedy"].as_str().unwrap().contains("newer runchain"),
        "{found:#}"
    );
    project.runchain(&["drain", "--once"]).exits(11);
}

#[test]
fn a_clock_that_was_set_back_is_noticed() {
    let project = project();
    project.sql("UPDATE runchain_events SET at_ms = at_ms + 7200000;");
    let found = finding(&project, "clock");
    assert_eq!(found["severity"], "error");
    assert!(
        found["found"].as_str().unwrap().contains("ahead of the clock"),
        "{found:#}"
    );
}

#[test]
fn a_full_disk_is_told_before_it_is_full() {
    let project = project();
    project.configure("archive.min_free_bytes = 9000000000000000\n");
    let found = finding(&project, "disk_space");
    assert_eq!(found["severity"], "error");
    assert!(
        found["remedy"].as_str().unwrap().contains("runchain prune"),
        "{found:#}"
    );
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let project = project();
    project.configure("[steps.upload]\ncommand = ['no-such-program']\n");
    let found = finding(&project, "programs");
    assert!(
        found["found"].as_str().unwrap().contains("no-such-program"),
        "{found:#}"
    );
}

#[test]
fn a_database_that_is_not_there_is_a_finding() {
    let project = project();
    let ran = project
        .runchain(&["--db", "nowhere.db", "doctor", "--json"])
        .exits(33)
        .json();
    let found = ran["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["check"] == "database_file")
        .unwrap()
        .clone();
    assert!(
        found["found"]
            .as_str()
            .unwrap()
            .contains("nowhere.db does not exist"),
        "{found:#}"
    );
}

#[test]
fn a_configuration_that_others_can_change_is_mended_by_its_line() {
    let project = project();
    let file = project.path("runchain.toml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    project.runchain(&["status"]).exits(3);
    mends(&project, "configuration");
    project.runchain(&["status"]).exits(0);
    fs::write(&file, format!("{OWN_STEP}\nunknown_key = 1\n")).unwrap();
    let found = finding(&project, "configuration");
    assert!(
        found["found"].as_str().unwrap().contains("unknown_key"),
        "{found:#}"
    );
}

/// As another user: to root every folder can be written.
#[test]
fn folders_that_the_user_can_t_write_are_mended_by_their_lines() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test acts as another user: run it as root"
    );
    let project = project();
    end(&project, &["r"]);
    let program = tempfile::tempdir().unwrap();
    fs::set_permissions(program.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let binary = program.path().join("runchain");
    // By cp: while a child that another test starts holds a descriptor that this process writes to, the
    // file can't be executed (ETXTBSY).
    let copied = Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_runchain"))
        .arg(&binary)
        .status();
    assert!(copied.unwrap().success());
    let somebody = |line: &str| {
        let mut command = Command::new("setpriv");
        command.current_dir(project.root()).args([
            "--reuid",
            SOMEBODY,
            "--regid",
            SOMEBODY,
            "--clear-groups",
            "sh",
            "-c",
            line,
        ]);
        command
    };
    let chown = Command::new("chown")
        .args(["-R", &format!("{SOMEBODY}:{SOMEBODY}")])
        .arg(project.root())
        .status();
    assert!(chown.unwrap().success());
    let look = |check: &str| -> Value {
        let output = somebody(&format!("{} doctor --json", binary.display()))
            .output()
            .unwrap();
        let json: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        json["findings"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["check"] == check)
            .cloned()
            .unwrap_or_default()
    };
    for (check, path, mode) in [
        ("log_folder", "logs", 0o500),
        ("archive_folder", ".archive", 0o500),
        ("reports_folder", "reports", 0o000),
        ("log_files", "logs/monitor.jsonl", 0o400),
    ] {
        fs::set_permissions(project.path(path), fs::Permissions::from_mode(mode)).unwrap();
        let found = look(check);
        assert_eq!(found["severity"], "error", "{check}: {found:#}");
        let command = found["command"].as_str().unwrap();
        assert!(somebody(command).status().unwrap().success(), "{command}");
        assert_ne!(look(check)["severity"], "error", "after {command}");
    }
}
