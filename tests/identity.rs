//! The database that is copied, restored, moved, replaced or deleted: it is noticed before anything is
//! done, and goes on as the operator says.

use crate::support::{Project, Service, eventually, runchain, stock_sqlite3};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A third step, which leaves a mark outside each time that it is executed.
const UPLOAD: &str = r#"
[steps.upload]
after = ["report"]
command = ["sh", "-c", 'echo "$RUNCHAIN_RUN_ID $RUNCHAIN_IDEMPOTENCY_KEY" >> uploads']
"#;

/// An archive step that says that it has begun and waits for the file `go`.
const WAITS: &str = r#"
[steps.archive]
command = ["sh", "-c", 'touch begun; until test -e go; do sleep 0.02; done; touch through']
"#;

fn end_runs(project: &Project, ids: impl Iterator<Item = String>) {
    let rows: Vec<String> = ids.map(|id| format!("('{id}', 'COMPLETED')")).collect();
    project.sql(&format!(
        "INSERT INTO runs(run_id, status) VALUES {};",
        rows.join(", ")
    ));
}

fn drain(project: &Project) {
    project.runchain(&["drain", "--until-idle"]).exits(0);
}

/// Numbered lines as (epoch, seq).
fn numbers(lines: &[Value]) -> Vec<(i64, i64)> {
    lines
        .iter()
        .filter_map(|line| Some((line["epoch"].as_i64()?, line["seq"].as_i64()?)))
        .collect()
}

fn uploads(project: &Project) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in fs::read_to_string(project.path("uploads")).unwrap().lines() {
        let (run, key) = line.split_once(' ').unwrap();
        let is_new = found.entry(run.to_owned()).or_default().insert(key.to_owned());
        assert!(is_new, "{line} stands twice");
    }
    found
}

/// Everything below a folder, so that a write anywhere is seen.
fn copy_of(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

fn at(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = runchain(folder).args(arguments).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), said)
}

fn sql_at(folder: &Path, sql: &str) -> String {
    stock_sqlite3(&folder.join(".state/orchestration.db"), sql)
}

const IDENTITY: &str = "SELECT group_concat(value, ' ') FROM (SELECT value FROM runchain_meta WHERE key IN ('database_uuid', 'epoch') ORDER BY key);";

#[test]
fn backup_100_runs_restore_100_runs_and_no_line_is_lost_and_no_effect_repeated_unasked() {
    let project = Project::installed(UPLOAD);
    let backup = project.path("tuesday.db");
    // At the time of the backup five chains wait for their upload, one run is active, and the end of
    // another is captured, but nobody has looked at it.
    project.runchain(&["pause", "upload"]).exits(0);
    end_runs(&project, (0..5).map(|n| format!("before-{n}")));
    project.sql("INSERT INTO runs(run_id, status) VALUES ('active', 'RUNNING');");
    project.runchain(&["drain", "--once"]).exits(0);
    drain_reports(&project, 5);
    end_runs(&project, std::iter::once("captured".to_owned()));
    project.sql(&format!(".backup {}", backup.display()));

    project.runchain(&["resume", "upload"]).exits(0);
    end_runs(&project, (0..100).map(|n| format!("lost-{n}")));
    project.sql("UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'active';");
    drain(&project);
    let logs_before = [project.log("monitor.jsonl"), project.log("archival.jsonl")];
    let uploads_before = uploads(&project);
    assert_eq!(uploads_before.len(), 5 + 1 + 1 + 100);

    project.sql(&format!(".restore {}", backup.display()));
    end_runs(&project, (0..50).map(|n| format!("after-{n}")));
    let database = fs::read(project.database()).unwrap();
    for arguments in [&["drain", "--once"][..], &["finish", "--run", "before-0"]] {
        let ran = project.runchain(arguments).exits(12);
        assert!(
            ran.stderr.contains("runchain adopt --as restored"),
            "{}",
            ran.stderr
        );
    }
    assert!(
        fs::read(project.database()).unwrap() == database,
        "it was written to"
    );
    assert_eq!(uploads(&project), uploads_before);
    let told = project.log("monitor.jsonl");
    assert_eq!(told.last().unwrap()["event"], "STATE_DB_IDENTITY");
    let found = project.runchain(&["validate", "--json"]).json();
    assert!(
        found["checks"]
            .as_array()
            .unwrap()
            .iter()
            .any(|check| { check["check"] == "identity" && check["severity"] == "error" }),
        "{found}"
    );

    for arguments in [&["explain", "--json"][..], &["explain", "captured", "--json"]] {
        let why = project.runchain(arguments).exits(15).json();
        assert!(
            why["causes"].to_string().contains("runchain adopt --as restored"),
            "{why}"
        );
        assert!(!why["you_can"].to_string().contains("drain"), "{why}");
        assert_eq!(
            why["next"]["text"],
            "nothing, until runchain adopt says what this database is"
        );
    }

    let adopted = project
        .runchain(&[
            "adopt",
            "--as",
            "restored",
            "--reason",
            "the disk broke",
            "--json",
        ])
        .exits(0)
        .json();
    assert_eq!(adopted["adopted"]["epoch"], 2);
    // The uploads of five; archive, report and upload of the captured one.
    assert_eq!(adopted["adopted"]["settled_steps"], 5 + 3);
    assert_eq!(adopted["adopted"]["open_steps"], 3 * 50);
    assert_eq!(adopted["adopted"]["ended_before"], serde_json::json!(["active"]));
    project.runchain(&["resume", "upload"]).exits(0);
    end_runs(&project, (50..100).map(|n| format!("after-{n}")));
    drain(&project);

    for (name, before) in ["monitor.jsonl", "archival.jsonl"].iter().zip(&logs_before) {
        let lines = project.log(name);
        assert_eq!(&lines[..before.len()], &before[..], "{name}");
        let numbers = numbers(&lines);
        assert!(
            numbers.is_sorted_by(|a, b| a < b),
            "{name}: a number stands twice or out of order"
        );
    }
    let monitor = project.log("monitor.jsonl");
    let opening = monitor.iter().find(|line| line["epoch"] == 2).unwrap();
    assert_eq!(
        (&opening["event"], &opening["data"]["as"]),
        (&"EPOCH_STARTED".into(), &"restored".into())
    );
    // Every one once; those of before have no second mark.
    let marks = uploads(&project);
    assert_eq!(marks.len(), 107 + 100);
    for (run, keys) in &marks {
        let epoch = if run.starts_with("after-") { 2 } else { 1 };
        assert_eq!(keys.len(), 1, "{run}: {keys:?}");
        assert!(
            keys.first()
                .unwrap()
                .contains(&format!(".{epoch}.1.upload.{run}")),
            "{keys:?}"
        );
    }
    assert_eq!(
        project.sql("SELECT run_id, count(*) FROM archival_log WHERE run_id = 'captured' GROUP BY 1;"),
        "captured|1\n"
    );
    assert_eq!(
        project.sql("SELECT epoch, adopted_as, reason FROM runchain_epochs;"),
        "2|restored|the disk broke\n"
    );

    // What the orchestrator ends again is asked for, and is not mistaken for the end of before.
    project.sql("UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'active';");
    end_runs(&project, std::iter::once("lost-7".to_owned()));
    drain(&project);
    let marks = uploads(&project);
    for run in ["active", "lost-7"] {
        let keys = &marks[run];
        assert_eq!(keys.len(), 2, "{keys:?}");
        assert!(
            keys.iter()
                .any(|key| key.ends_with(&format!(".2.2.upload.{run}"))),
            "{keys:?}"
        );
    }
}

/// Drains until so many runs are reported.
fn drain_reports(project: &Project, runs: usize) {
    let service = project.service();
    project.until(
        "SELECT count(*) FROM runchain_steps WHERE step = 'report' AND state = 'done'",
        &runs.to_string(),
    );
    project.until(
        "SELECT min(event_id) = (SELECT max(id) FROM runchain_events) FROM runchain_cursors",
        "1",
    );
    assert!(service.terminate().success());
}

#[test]
fn a_restore_under_a_running_executor_ends_it_before_it_does_anything_more() {
    // `cp` over a WAL database that is in use damages it, with or without runchain.
    for (journal, by) in [("delete", ".restore"), ("wal", ".restore"), ("delete", "cp")] {
        let project = Project::installed(UPLOAD);
        project.sql(&format!("PRAGMA journal_mode = {journal};"));
        let backup = project.path("tuesday.db");
        project.sql(&format!(".backup {}", backup.display()));
        end_runs(&project, (0..10).map(|n| format!("lost-{n}")));
        let mut service = project.service();
        project.until(
            "SELECT count(*) FROM runchain_steps WHERE step = 'upload' AND state = 'done'",
            "10",
        );
        // The commit that settled the last one may not have been followed by another look yet.
        project.until(
            "SELECT min(event_id) = (SELECT max(id) FROM runchain_events) FROM runchain_cursors",
            "1",
        );
        match by {
            "cp" => {
                fs::copy(&backup, project.database()).unwrap();
            }
            command => {
                project.sql(&format!("{command} {}", backup.display()));
            }
        }
        assert_eq!(service.ended(), Some(12), "{journal}, {by}: {}", service.told());
        assert!(
            service.told().contains("an older state was written into"),
            "{}",
            service.told()
        );
        assert_eq!(
            project.sql("SELECT count(*) FROM runchain_executors; SELECT count(*) FROM runchain_steps;"),
            "0\n0\n",
            "{journal}: something was written into the restored database"
        );
        project.runchain(&["drain", "--once"]).exits(12);
        project.runchain(&["adopt", "--as", "restored"]).exits(0);
        end_runs(&project, (0..10).map(|n| format!("after-{n}")));
        drain(&project);
        assert_eq!(uploads(&project).len(), 20);
    }
}

#[test]
fn nothing_is_settled_into_a_file_that_lost_its_name() {
    type Loss = fn(&Project);
    let losses: [(&str, Loss); 4] = [
        ("replaced by a backup", |project| {
            fs::rename(project.path("tuesday.db"), project.database()).unwrap();
        }),
        ("deleted", |project| fs::remove_file(project.database()).unwrap()),
        ("deleted and made anew, empty", |project| {
            fs::remove_file(project.database()).unwrap();
            fs::write(project.database(), "").unwrap();
        }),
        ("moved away", |project| {
            fs::rename(project.database(), project.path("moved.db")).unwrap();
        }),
    ];
    for (what, lose) in losses {
        let project = Project::installed(WAITS);
        project.sql(&format!(".backup {}", project.path("tuesday.db").display()));
        let mut service = project.service();
        end_runs(&project, std::iter::once("r".to_owned()));
        eventually("the command to begin", || {
            project
                .path("begun")
                .exists()
                .then_some(())
                .ok_or_else(String::new)
        });
        // Who has it open can still read what is in the file without a name.
        let held = rusqlite::Connection::open(project.database()).unwrap();
        let mut state = held
            .prepare("SELECT state FROM runchain_steps WHERE step = 'archive'")
            .unwrap();
        let mut ask = || state.query_row([], |row| row.get::<_, String>(0)).unwrap();
        assert_eq!(ask(), "running");
        lose(&project);
        fs::write(project.path("go"), "").unwrap();
        assert_eq!(service.ended(), Some(12), "{what}: {}", service.told());
        let told = service.told();
        assert!(!told.contains("archive done"), "{what}: {told}");
        let how = match what {
            "moved away" => "moved.db while runchain had it open",
            _ => "was replaced or deleted",
        };
        assert!(told.contains(how), "{what}: {told}");
        assert_eq!(
            ask(),
            "running",
            "{what}: something was written into the dead file"
        );
        let log = project.log("monitor.jsonl");
        assert_eq!(log.last().unwrap()["event"], "STATE_DB_IDENTITY", "{what}");
    }
}

#[test]
fn a_database_that_is_moved_under_an_idle_service_is_said_at_once() {
    let project =
        Project::installed("poll_ms = 3600000\nmonitor.heartbeat_ms = 3600000\nsweep_ms = 3600000\n");
    let mut service = project.service();
    project.until("SELECT count(*) > 0 FROM runchain_cursors", "1");
    fs::rename(project.database(), project.path("moved.db")).unwrap();
    assert_eq!(service.ended(), Some(12), "{}", service.told());
    let told = service.told();
    assert!(
        told.contains("was moved to") && told.contains("moved.db"),
        "{told}"
    );
    assert!(told.contains("--db"), "{told}");
}

#[test]
fn what_only_looks_like_a_copy_stops_nobody() {
    let project = Project::installed("");
    end_runs(&project, std::iter::once("r1".to_owned()));
    drain(&project);
    let identity = project.sql(IDENTITY);

    // Rewritten and renamed into its place, as a DBA shrinks a database.
    let small = project.path(".state/small.db");
    project.sql(&format!("VACUUM INTO '{}';", small.display()));
    fs::rename(&small, project.database()).unwrap();
    end_runs(&project, std::iter::once("r2".to_owned()));
    drain(&project);

    // Its logs are gone, and so is what lies beside them.
    fs::remove_dir_all(project.path("logs")).unwrap();
    end_runs(&project, std::iter::once("r3".to_owned()));
    drain(&project);

    // Renamed with its folder, and carried to another disk: nothing is left where it was.
    let elsewhere = tempfile::tempdir().unwrap();
    let renamed = elsewhere.path().join("renamed");
    copy_of(project.root(), &renamed);
    fs::remove_dir_all(project.path(".state")).unwrap();
    sql_at(
        &renamed,
        "INSERT INTO runs(run_id, status) VALUES ('r4', 'COMPLETED');",
    );
    let (code, said) = at(&renamed, &["drain", "--until-idle"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the database was moved here from"), "{said}");
    let again = elsewhere.path().join("again");
    fs::rename(&renamed, &again).unwrap();
    sql_at(
        &again,
        "INSERT INTO runs(run_id, status) VALUES ('r5', 'COMPLETED');",
    );
    assert_eq!(at(&again, &["drain", "--until-idle"]).0, Some(0));
    assert!(again.join(".archive/r5").exists());
    assert_eq!(sql_at(&again, IDENTITY), identity);
}

/// A project with everything that a copy could do twice, and its copy.
fn copied(elsewhere: &Path) -> (Project, PathBuf) {
    let project = Project::installed(UPLOAD);
    project.runchain(&["pause", "upload"]).exits(0);
    end_runs(&project, (0..3).map(|n| format!("r{n}")));
    project.sql("INSERT INTO runs(run_id, status) VALUES ('active', 'RUNNING');");
    drain_reports(&project, 3);
    project.runchain(&["resume", "upload"]).exits(0);
    end_runs(&project, std::iter::once("captured".to_owned()));
    let copy = elsewhere.join("staging");
    copy_of(project.root(), &copy);
    (project, copy)
}

#[test]
fn a_copy_is_not_drained_until_it_is_adopted_and_leaves_the_original_its_work() {
    let elsewhere = tempfile::tempdir().unwrap();
    let (project, copy) = copied(elsewhere.path());
    let database = fs::read(copy.join(".state/orchestration.db")).unwrap();
    for arguments in [
        &["drain", "--once"][..],
        &["drain", "--until-idle"],
        &["finish", "--run", "r0"],
    ] {
        let (code, said) = at(&copy, arguments);
        assert_eq!(code, Some(12), "{said}");
        assert!(said.contains("runchain adopt --as copy"), "{said}");
    }
    let (code, why) = at(&copy, &["explain"]);
    assert_eq!(code, Some(15), "{why}");
    assert!(why.contains("until runchain adopt says"), "{why}");
    assert!(!why.contains("runchain drain"), "{why}");
    assert!(fs::read(copy.join(".state/orchestration.db")).unwrap() == database);
    let (_, found) = at(&copy, &["validate", "--json"]);
    let found: Value = serde_json::from_str(found.trim()).unwrap();
    let identity = found["checks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|check| check["check"] == "identity")
        .unwrap();
    assert_eq!(identity["severity"], "error", "{identity}");

    let original = project.sql(IDENTITY);
    let (code, said) = at(&copy, &["adopt", "--as", "copy", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    let adopted: Value = serde_json::from_str(&said).unwrap();
    // Three uploads, and the whole chain of the run whose end nobody had looked at.
    assert_eq!(adopted["adopted"]["cancelled_steps"], 3 + 3);
    assert_ne!(sql_at(&copy, IDENTITY), original);
    assert!(sql_at(&copy, IDENTITY).ends_with(" 1\n"));

    // Here only what is new here; there what was there.
    sql_at(
        &copy,
        "INSERT INTO runs(run_id, status) VALUES ('new', 'COMPLETED'); UPDATE runs SET status = 'FAILED' WHERE run_id = 'active';",
    );
    let (code, said) = at(&copy, &["drain", "--until-idle"]);
    assert_eq!(code, Some(0), "{said}");
    let marks = fs::read_to_string(copy.join("uploads")).unwrap();
    let mut runs: Vec<&str> = marks
        .lines()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    runs.sort_unstable();
    assert_eq!(runs, ["active", "new"]);
    // Asked for, a chain is done here, too.
    assert_eq!(at(&copy, &["finish", "--run", "captured"]).0, Some(0));
    drain(&project);
    let marks = uploads(&project);
    assert_eq!(marks.keys().collect::<Vec<_>>(), ["captured", "r0", "r1", "r2"]);
    assert_eq!(project.sql(IDENTITY), original);

    // The log that came along goes on with lines of the new database.
    let log = fs::read_to_string(copy.join("logs/monitor.jsonl")).unwrap();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let own: Vec<&Value> = lines
        .iter()
        .filter(|line| line["seq"].is_i64() && line["db"] != lines[0]["db"])
        .collect();
    assert_eq!(own[0]["event"], "EPOCH_STARTED");
    assert!(
        own.iter()
            .any(|line| line["event"] == "OPERATOR_ACTION" && line["data"]["after"]["as"] == "copy")
    );
}

#[test]
fn a_copy_beside_the_original_needs_an_output_root_of_its_own() {
    let project = Project::installed("");
    end_runs(&project, std::iter::once("r".to_owned()));
    drain(&project);
    let copy = project.path(".state/copy.db");
    fs::copy(project.database(), &copy).unwrap();
    let before = project.tree("logs");
    let named = ["--db", ".state/copy.db"];
    let ran = project
        .runchain(&[&["drain", "--once"][..], &named].concat())
        .exits(12);
    assert!(ran.stderr.contains("is a copy"), "{}", ran.stderr);
    let ran = project
        .runchain(&[&["adopt", "--as", "copy"][..], &named].concat())
        .exits(12);
    assert!(ran.stderr.contains("are the original's"), "{}", ran.stderr);
    let line = project.log("monitor.jsonl").pop().unwrap();
    assert_eq!(line["event"], "STATE_DB_IDENTITY");
    assert_eq!(project.tree("logs").len(), before.len());
    let own = [&named[..], &["--config", "copy.toml"]].concat();
    fs::write(
        project.path("copy.toml"),
        "required_tables = ['runs']\nlogs_dir = 'c/logs'\narchive_dir = 'c/bags'\nreports_dir = 'c/reports'\n",
    )
    .unwrap();
    project
        .runchain(&[&["adopt", "--as", "copy"][..], &own].concat())
        .exits(0);
    project
        .runchain(&[&["drain", "--until-idle"][..], &own].concat())
        .exits(0);
    drain(&project);
}

#[test]
fn a_database_is_not_adopted_while_an_executor_works_on_it() {
    let project = Project::installed("");
    let service: Service = project.service();
    // It leads.
    project.until("SELECT count(*) > 0 FROM runchain_cursors", "1");
    let ran = project.runchain(&["adopt", "--as", "restored"]).exits(1);
    assert!(
        ran.stderr.contains("an executor works on this database"),
        "{}",
        ran.stderr
    );
    assert!(service.terminate().success());
    project.runchain(&["adopt", "--as", "restored"]).exits(0);
    assert!(
        project.sql(IDENTITY).starts_with(
            &project
                .sql("SELECT value FROM runchain_meta WHERE key = 'database_uuid';")
                .trim()
                .to_owned()
        )
    );
    drain(&project);
}
