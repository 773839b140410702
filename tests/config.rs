//! Which configuration holds, and what the binary says of a database that it can't use.

use serde_json::Value;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// `runchain` in a folder, without the caller's own variables.
fn runchain(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runchain"));
    command.current_dir(folder).args(arguments);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RUNCHAIN_")) {
        command.env_remove(name);
    }
    command
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// `config show --json` as (value, layer) of one key.
fn shown(command: &mut Command, key: &str) -> (Value, String) {
    let output = command.output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = all["settings"].as_array().unwrap();
    let row = rows.iter().find(|row| row["key"] == key).unwrap();
    (
        row["value"].clone(),
        row["from"]["layer"].as_str().unwrap().to_owned(),
    )
}

/// Every path below a folder.
fn contents(folder: &Path) -> Vec<String> {
    let entries = walkdir::WalkDir::new(folder).sort_by_file_name();
    entries
        .into_iter()
        .map(|entry| entry.unwrap().path().display().to_string())
        .collect()
}

fn database(path: &Path, sql: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    rusqlite::Connection::open(path)
        .unwrap()
        .execute_batch(sql)
        .unwrap();
}

const CONTRACT: &str = "CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT);
                        CREATE TABLE tasks(id); CREATE TABLE workstreams(id)";

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let project = TempDir::new().unwrap();
    let root = project.path().canonicalize().unwrap();
    let show = || runchain(&root, &["config", "show", "--json"]);
    let at = |name: &str| Value::from(root.join(name).display().to_string());

    assert_eq!(
        shown(&mut show(), "state_db_path"),
        (at(".state/orchestration.db"), "default".into())
    );
    fs::write(root.join("runchain.toml"), "state_db_path = 'file.db'\n").unwrap();
    assert_eq!(
        shown(&mut show(), "state_db_path"),
        (at("file.db"), "file".into())
    );
    let mut environment = show();
    environment.env("RUNCHAIN_STATE_DB_PATH", "environment.db");
    assert_eq!(
        shown(&mut environment, "state_db_path"),
        (at("environment.db"), "environment".into())
    );
    environment.args(["--db", "flag.db"]);
    assert_eq!(
        shown(&mut environment, "state_db_path"),
        (at("flag.db"), "flag".into())
    );
    assert_eq!(contents(&root).len(), 2, "config show created something");
}

#[test]
fn config_show_is_a_plain_table_in_a_pipe() {
    let project = TempDir::new().unwrap();
    fs::write(project.path().join("runchain.toml"), "# mine\nworkers = 2\n").unwrap();
    let output = runchain(project.path(), &["config", "show"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let row = text.lines().find(|line| line.starts_with("workers ")).unwrap();
    assert_eq!(
        row.split_whitespace().collect::<Vec<_>>(),
        ["workers", "2", "runchain.toml:2"]
    );
    assert!(
        text.contains("\nkey ") && !text.contains(['\u{1b}', '│', '|', '+']),
        "{text}"
    );
    let output = runchain(project.path(), &["config", "show", "--color", "always"])
        .output()
        .unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains('\u{1b}'));
}

#[test]
fn a_wrong_configuration_exits_3_with_place_and_suggestion() {
    let project = TempDir::new().unwrap();
    for (text, says) in [
        (
            "workers = 1\nwrokers = 2\n",
            "runchain.toml:2:1: unknown key wrokers; did you mean workers?",
        ),
        ("workers = = 2\n", "runchain.toml:1:11: "),
        (
            "[steps.archive]\nafter = ['report']\n",
            "archive -> report -> archive",
        ),
    ] {
        fs::write(project.path().join("runchain.toml"), text).unwrap();
        for command in ["check", "show"] {
            let output = runchain(project.path(), &["config", command]).output().unwrap();
            assert_eq!(code(&output), 3);
            assert!(
                stderr(&output).contains(says),
                "{says} is not in {}",
                stderr(&output)
            );
        }
    }
    let output = runchain(project.path(), &["config", "check", "--config", "no.toml"])
        .output()
        .unwrap();
    assert_eq!(code(&output), 3);
    assert!(stderr(&output).contains("no.toml"));
}

#[test]
fn a_database_that_can_t_be_used_is_named_and_nothing_is_created() {
    let project = TempDir::new().unwrap();
    let at = |name: &str| project.path().join(name);
    database(&at("sound.db"), CONTRACT);
    database(
        &at("other.db"),
        "CREATE TABLE runs(run_id TEXT PRIMARY KEY, state TEXT)",
    );
    fs::write(at("empty.db"), "").unwrap();
    fs::write(at("text.db"), "just a note\n".repeat(100)).unwrap();
    let mut broken = fs::read(at("sound.db")).unwrap();
    broken[..15].copy_from_slice(b"SQLite format X");
    fs::write(at("header.db"), broken).unwrap();
    fs::create_dir(at("folder.db")).unwrap();
    let before = contents(project.path());
    for (name, exit) in [
        // Sound, with the required tables; only runchain is not there yet.
        ("sound.db", 9),
        ("missing.db", 4),
        ("empty.db", 5),
        ("text.db", 6),
        ("header.db", 6),
        ("folder.db", 7),
        ("other.db", 10),
    ] {
        let output = runchain(project.path(), &["validate", "--db", name])
            .output()
            .unwrap();
        assert_eq!(code(&output), exit, "{name}: {}", stderr(&output));
        assert!(
            exit == 9 || stderr(&output).contains(&at(name).display().to_string()),
            "{name}"
        );
    }
    assert_eq!(contents(project.path()), before);
}

#[test]
fn a_locked_database_exits_8() {
    let project = TempDir::new().unwrap();
    let path = project.path().join("x.db");
    database(&path, CONTRACT);
    let holder = rusqlite::Connection::open(&path).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let output = runchain(project.path(), &["validate", "--db", "x.db", "--json"])
        .output()
        .unwrap();
    assert_eq!(code(&output), 8);
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["exit_code"], 8);
}

/// By cp: a file that this process has open for writing can't be executed while a child that another
/// test has just started still holds the descriptor (ETXTBSY).
fn copy_binary(to: &Path) {
    let copied = Command::new("cp")
        .args([Path::new(env!("CARGO_BIN_EXE_runchain")), to])
        .status();
    assert!(copied.unwrap().success());
}

/// As root no permission is refused, so the binary is copied and run as another user.
#[test]
fn a_database_that_the_user_may_not_read_exits_7() {
    let project = TempDir::new().unwrap();
    let path = project.path().join("x.db");
    database(&path, CONTRACT);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    let copy = project.path().join("runchain");
    copy_binary(&copy);
    fs::set_permissions(project.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(copy);
    command
        .current_dir(project.path())
        .args(["validate", "--db", "x.db"]);
    if rustix::process::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    let output = command.output().unwrap();
    assert_eq!(code(&output), 7, "{}", stderr(&output));
    assert!(stderr(&output).contains("x.db"));
}

/// Only root can give a file away; elsewhere the rule has its unit test.
#[test]
fn a_user_whose_files_would_lock_the_owner_out_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let project = TempDir::new().unwrap();
    let path = project.path().join("x.db");
    database(&path, CONTRACT);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
    chown(&path, Some(1_234), Some(1_234)).unwrap();
    let copy = project.path().join("runchain");
    copy_binary(&copy);
    fs::set_permissions(project.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let output = Command::new(copy)
        .current_dir(project.path())
        .args(["validate", "--db", "x.db"])
        .uid(65_534)
        .gid(65_534)
        .output()
        .unwrap();
    assert_eq!(code(&output), 7, "{}", stderr(&output));
    assert!(stderr(&output).contains("chgrp 1234"), "{}", stderr(&output));
}

#[test]
fn a_project_s_monitor_log_says_that_the_database_is_invalid() {
    let project = TempDir::new().unwrap();
    let root = project.path().canonicalize().unwrap();
    fs::create_dir(root.join(".state")).unwrap();
    let output = runchain(&root, &["validate"]).output().unwrap();
    assert_eq!(code(&output), 4);
    // A torn line of somebody else's stays apart from ours.
    let log = root.join("logs/monitor.jsonl");
    let mut text = fs::read_to_string(&log).unwrap();
    text.push_str("{\"torn\":");
    fs::write(&log, text).unwrap();
    runchain(&root, &["validate"]).output().unwrap();
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines[1]), (3, "{\"torn\":"));
    for line in [lines[0], lines[2]] {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["event"], "STATE_DB_INVALID");
        assert_eq!(
            line["path"],
            root.join(".state/orchestration.db").display().to_string()
        );
        assert!(line["ts"].is_string() && line["error"].is_string() && line["remedy"].is_string());
    }
    let made: Vec<String> = contents(&root).into_iter().skip(1).collect();
    let expected = [".state", "logs", "logs/monitor.jsonl"].map(|name| root.join(name).display().to_string());
    assert_eq!(made, expected);
}

/// Its first page is sound: only who reads on finds out.
#[test]
fn a_database_that_is_damaged_further_inside_is_named_with_the_remedy_and_logged() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(".state/orchestration.db");
    database(&path, CONTRACT);
    let installed = runchain(folder.path(), &["install"]).output().unwrap();
    assert_eq!(code(&installed), 0, "{}", stderr(&installed));
    let (root_page, page_bytes): (i64, i64) = rusqlite::Connection::open(&path)
        .unwrap()
        .query_row(
            "SELECT rootpage, page_size FROM sqlite_master, pragma_page_size WHERE name = 'runchain_meta'",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    let at = usize::try_from((root_page - 1) * page_bytes).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[at..at + 512].fill(0xff);
    fs::write(&path, bytes).unwrap();
    for arguments in [&["drain", "--once"][..], &["status"], &["finish", "--run", "r"]] {
        let _ = fs::remove_dir_all(folder.path().join("logs"));
        let output = runchain(folder.path(), arguments).output().unwrap();
        let told = stderr(&output);
        assert_eq!(code(&output), 6, "{arguments:?}: {told}");
        let damaged = format!("the state database {} is damaged: ", path.display());
        let recover = format!("try: sqlite3 {} .recover", path.display());
        assert!(
            told.contains(&damaged) && told.contains(&recover),
            "{arguments:?}: {told}"
        );
        let log = fs::read_to_string(folder.path().join("logs/monitor.jsonl")).unwrap();
        let line: Value = serde_json::from_str(log.trim_end()).unwrap();
        assert_eq!(line["event"], "STATE_DB_INVALID");
        assert_eq!(line["path"], path.display().to_string());
    }
}

#[test]
fn help_and_usage_errors_have_their_codes() {
    let folder = TempDir::new().unwrap();
    let output = runchain(folder.path(), &["--help"]).output().unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(code(&output), 0);
    assert!(text.find("Examples:") < text.find("Usage:"), "{text}");
    assert!(text.contains("  14  a step of the run's chain is dead"), "{text}");
    let output = runchain(folder.path(), &["instal"]).output().unwrap();
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("install"));
}

#[test]
fn text_of_others_can_t_act_on_the_terminal() {
    let folder = TempDir::new().unwrap();
    let output = runchain(folder.path(), &["validate", "--db", "a\u{1b}[2Jb.db"])
        .output()
        .unwrap();
    assert!(stderr(&output).contains("a\\u{1b}[2Jb.db"), "{}", stderr(&output));
}
