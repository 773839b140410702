//! Why isn't it archived? The binary's answer in each case, its exit code, and every command that it
//! suggests, typed into a shell as it stands there.

use crate::support::{Project, SHAPE_A, Sqlite, extension};
use serde_json::Value;
use std::process::Command;

const NEEDS_SOMEBODY: i32 = 15;
const NO_SUCH_RUN: i32 = 13;

/// The step `upload` fails for a run while a file of its name stands in `broken`.
const CONFIG: &str = "
[steps.upload]
after = ['archive']
command = ['sh', '-c', 'test ! -e \"broken/$RUNCHAIN_RUN_ID\" || { echo no such bucket >&2; exit 1; }']
max_attempts = 2
";

fn project(config: &str) -> Project {
    let project = Project::new(SHAPE_A, config);
    std::fs::create_dir(project.path("broken")).unwrap();
    project.runchain(&["install"]).exits(0);
    project
}

fn ends(project: &Project, run_id: &str) {
    let id = run_id.replace('\'', "''");
    project.sql(&format!(
        "INSERT INTO runs(run_id, status) VALUES ('{id}', 'COMPLETED');"
    ));
}

/// The answer as JSON; text and JSON must exit alike.
#[track_caller]
fn explained(project: &Project, arguments: &[&str], code: i32) -> Value {
    let arguments = |json: &[&'static str]| -> Vec<String> {
        let words = ["explain"].iter().chain(json).chain(arguments);
        words.map(|&word| word.to_owned()).collect()
    };
    let call = |words: Vec<String>| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        project.runchain(&words).exits(code)
    };
    call(arguments(&[]));
    call(arguments(&["--json"])).json()
}

fn codes(answer: &Value) -> Vec<&str> {
    let causes = answer["causes"].as_array().unwrap();
    causes
        .iter()
        .map(|cause| cause["code"].as_str().unwrap())
        .collect()
}

#[track_caller]
fn cause<'a>(answer: &'a Value, code: &str) -> &'a str {
    let causes = answer["causes"].as_array().unwrap();
    let found = causes.iter().find(|cause| cause["code"] == code);
    found.unwrap_or_else(|| panic!("no {code} in {answer:#}"))["text"]
        .as_str()
        .unwrap()
}

fn commands(answer: &Value) -> Vec<String> {
    let remedies = answer["you_can"].as_array().unwrap();
    remedies
        .iter()
        .map(|remedy| remedy["command"].as_str().unwrap().to_owned())
        .collect()
}

/// Types a command into bash in the project's folder, with the binary on the path; `drain` as a service
/// is left out: it has no end.
#[track_caller]
fn typed(project: &Project, command: &str) -> Option<i32> {
    let bin = std::path::Path::new(env!("CARGO_BIN_EXE_runchain"))
        .parent()
        .unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-c", command])
        .current_dir(project.root())
        .env("PATH", path)
        .env_remove("RUNCHAIN_CONFIG")
        .env_remove("RUNCHAIN_STATE_DB_PATH")
        .output()
        .unwrap();
    let code = output.status.code();
    // 2: the command line is wrong; 127: there is no such command. Everything else is an answer.
    assert!(
        !matches!(code, None | Some(1 | 2 | 126 | 127)),
        "{command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    code
}

#[test]
fn without_an_executor_it_says_so_and_the_suggested_one_mends_it() {
    let project = project(CONFIG);
    ends(&project, "run-1");
    let answer = explained(&project, &["run-1"], NEEDS_SOMEBODY);
    assert_eq!(answer["verdict"], "needs_somebody");
    assert_eq!(codes(&answer), ["no_executor", "queued"]);
    assert_eq!(answer["next"]["text"], "nothing, until an executor runs");
    assert_eq!(
        commands(&answer),
        ["runchain drain --until-idle", "runchain drain"]
    );
    let whole = explained(&project, &[], NEEDS_SOMEBODY);
    assert_eq!(codes(&whole), ["no_executor", "queue"]);
    assert_eq!(typed(&project, &commands(&answer)[0]), Some(0));

    let answer = explained(&project, &["run-1"], 0);
    assert_eq!(answer["verdict"], "through");
    assert!(cause(&answer, "done").contains(".archive/run-1"), "{answer:#}");
    assert_eq!(cause(&answer, "through"), "every step of its chain is done");
    assert_eq!(answer["next"]["text"], "nothing");
    assert_eq!(explained(&project, &[], 0)["verdict"], "through");
}

#[test]
fn with_an_executor_what_is_active_is_on_its_way() {
    let project = project(CONFIG);
    project.sql("INSERT INTO runs(run_id, status) VALUES ('r', 'RUNNING');");
    let _service = project.service();
    project.until("SELECT monitor FROM runchain_runs WHERE run_id = 'r'", "on");
    let answer = explained(&project, &["r"], 0);
    assert_eq!(answer["verdict"], "on_its_way");
    assert_eq!(codes(&answer), ["active"]);
    assert_eq!(
        answer["next"]["text"],
        "its chain begins when its orchestrator writes how it ended"
    );
}

#[test]
fn a_pause_names_who_and_why_and_its_resume_works() {
    let project = project(CONFIG);
    ends(&project, "r");
    project
        .runchain(&["pause", "--reason", "bucket moves", "upload"])
        .exits(0);
    let _service = project.service();
    project.until("SELECT state FROM runchain_steps WHERE step = 'report'", "done");
    let answer = explained(&project, &["r"], NEEDS_SOMEBODY);
    let text = cause(&answer, "paused");
    assert!(
        text.starts_with("upload was paused ") && text.ends_with(": bucket moves"),
        "{text}"
    );
    assert_eq!(answer["next"]["text"], "nothing, until upload is resumed");
    assert_eq!(commands(&answer), ["runchain resume upload"]);
    assert_eq!(codes(&explained(&project, &[], NEEDS_SOMEBODY)), ["paused"]);
    assert_eq!(typed(&project, &commands(&answer)[0]), Some(0));
    project.until("SELECT state FROM runchain_steps WHERE step = 'upload'", "done");
    explained(&project, &["r"], 0);
}

#[test]
fn a_dead_step_tells_every_attempt_and_each_command_works_whatever_the_id() {
    for run_id in ["run-1", "--odd id", "it's $HOME", "a\u{1b}[2J", "é\u{202e}x"] {
        let project = project(CONFIG);
        std::fs::write(project.path(&format!("broken/{run_id}")), "").unwrap();
        ends(&project, run_id);
        project.runchain(&["drain", "--until-idle"]).exits(0);
        let answer = explained(&project, &["--", run_id], NEEDS_SOMEBODY);
        let text = cause(&answer, "dead");
        assert!(text.starts_with("upload: dead since attempt 2 of 2 "), "{text}");
        assert!(
            text.contains("; before that attempt 1 ") && text.contains("(it said: no such bucket)"),
            "{text}"
        );
        assert_eq!(
            answer["next"]["text"],
            "nothing: the attempts of upload are used up"
        );
        let suggested = commands(&answer);
        let verbs: Vec<&str> = suggested
            .iter()
            .filter_map(|line| line.split(' ').nth(1))
            .collect();
        assert_eq!(verbs, ["retry", "show", "cancel"]);
        // As a person reads it: the text carries the very same lines.
        let text = project
            .runchain(&["explain", "--", run_id])
            .exits(NEEDS_SOMEBODY)
            .stdout;
        for line in &suggested {
            assert!(text.contains(line.as_str()), "{line} is not in\n{text}");
        }
        std::fs::remove_file(project.path(&format!("broken/{run_id}"))).unwrap();
        for line in suggested.iter().take(2) {
            assert_eq!(typed(&project, line), Some(0), "{line}");
        }
        project.runchain(&["drain", "--until-idle"]).exits(0);
        assert_eq!(
            explained(&project, &["--", run_id], 0)["verdict"],
            "through",
            "{run_id}"
        );
    }
}

#[test]
fn a_chain_that_was_cancelled_names_who_and_why() {
    let project = project(CONFIG);
    std::fs::write(project.path("broken/r"), "").unwrap();
    ends(&project, "r");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    project
        .runchain(&["cancel", "--reason", "wrong project", "r"])
        .exits(0);
    project.runchain(&["drain", "--until-idle"]).exits(0);
    let answer = explained(&project, &["r"], 0);
    let text = cause(&answer, "chain_cancelled");
    assert!(
        text.starts_with("its chain was cancelled ") && text.ends_with(": wrong project"),
        "{text}"
    );
    std::fs::remove_file(project.path("broken/r")).unwrap();
    assert_eq!(commands(&answer), ["runchain finish --run r"]);
    assert_eq!(typed(&project, &commands(&answer)[0]), Some(0));
}

#[test]
fn a_failed_attempt_tells_when_it_is_tried_again() {
    // A month: the jitter draws almost surely more than a test lasts.
    let project = project(&format!(
        "retry.base_ms = 2678400000\nretry.cap_ms = 2678400000\n{CONFIG}"
    ));
    std::fs::write(project.path("broken/r"), "").unwrap();
    ends(&project, "r");
    let _service = project.service();
    // Both begin together when the bag is placed; a report that still runs would be what comes next.
    project.until("SELECT state FROM runchain_steps WHERE step = 'report'", "done");
    project.until("SELECT count(*) FROM runchain_failures", "1");
    let answer = explained(&project, &["r"], 0);
    assert!(
        cause(&answer, "backoff").starts_with("upload: attempt 1 of 2 failed "),
        "{answer:#}"
    );
    assert!(
        answer["next"]["text"]
            .as_str()
            .unwrap()
            .starts_with("upload is tried again in "),
        "{answer:#}"
    );
    assert!(answer["next"]["at"].is_string());
}

#[test]
fn a_word_that_nobody_knows_is_mended_as_suggested() {
    let project = project("sweep_ms = 100");
    project.sql("INSERT INTO runs(run_id, status) VALUES ('r', 'ARCHIVABLE');");
    let _service = project.service();
    project.until(
        "SELECT count(*) FROM runchain_events WHERE type = 'STATUS_UNKNOWN'",
        "1",
    );
    let answer = explained(&project, &["r"], NEEDS_SOMEBODY);
    assert!(
        cause(&answer, "status_unknown")
            .starts_with("its status word \"ARCHIVABLE\" is not in runchain_vocabulary")
    );
    assert_eq!(typed(&project, &commands(&answer)[0]), Some(0));
    project.until("SELECT state FROM runchain_steps WHERE step = 'report'", "done");
    explained(&project, &["r"], 0);
}

#[test]
fn lost_triggers_are_named_and_install_mends_them() {
    let project = project("");
    project.sql("INSERT INTO runs(run_id, status) VALUES ('r', 'RUNNING');");
    project.runchain(&["drain", "--once"]).exits(0);
    project.sql("DROP TRIGGER runchain_capture_update; UPDATE runs SET status = 'COMPLETED';");
    let answer = explained(&project, &["r"], NEEDS_SOMEBODY);
    assert!(codes(&answer).contains(&"triggers_lost"), "{answer:#}");
    assert!(cause(&answer, "unseen").starts_with("its row says COMPLETED, but that write was not captured"));
    let install = commands(&answer)
        .into_iter()
        .find(|line| line == "runchain install --repair")
        .unwrap();
    assert_eq!(typed(&project, &install), Some(0));
    let answer = explained(&project, &["r"], NEEDS_SOMEBODY);
    assert_eq!(codes(&answer), ["no_executor", "queued"]);
}

#[test]
fn a_run_that_nobody_knows_has_neighbours() {
    let project = project("");
    ends(&project, "run-1");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    let answer = explained(&project, &["run-11"], NO_SUCH_RUN);
    assert_eq!(answer["verdict"], "no_such_run");
    assert!(
        cause(&answer, "no_such_run").ends_with("; did you mean run-1?"),
        "{answer:#}"
    );
    for line in commands(&answer) {
        assert_eq!(typed(&project, &line), Some(0), "{line}");
    }
    let other = explained(&project, &["entirely-else"], NO_SUCH_RUN);
    assert!(!cause(&other, "no_such_run").contains("did you mean"));
}

#[test]
fn a_bag_that_is_gone_or_damaged_is_noticed() {
    let project = project("");
    ends(&project, "r");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    explained(&project, &["--verify", "r"], 0);
    let info = project.path(".archive/r/bag-info.txt");
    let text = std::fs::read_to_string(&info).unwrap();
    std::fs::write(&info, format!("{text}x\n")).unwrap();
    explained(&project, &["r"], 0);
    let answer = explained(&project, &["--verify", "r"], NEEDS_SOMEBODY);
    assert!(cause(&answer, "files_lost").contains("is damaged"), "{answer:#}");
    std::fs::remove_dir_all(project.path(".archive/r")).unwrap();
    let answer = explained(&project, &["r"], NEEDS_SOMEBODY);
    assert!(
        cause(&answer, "files_lost").contains("is not there any more"),
        "{answer:#}"
    );
    assert_eq!(commands(&answer), ["runchain archive --run r"]);
    assert_eq!(typed(&project, &commands(&answer)[0]), Some(0));
    explained(&project, &["--verify", "r"], 0);
}

#[test]
fn history_is_left_alone_unless_asked_for_and_deleted_is_deleted() {
    let project = Project::new(SHAPE_A, "");
    ends(&project, "old");
    project.runchain(&["install"]).exits(0);
    let answer = explained(&project, &["old"], 0);
    assert_eq!(codes(&answer), ["history"]);
    assert_eq!(typed(&project, &commands(&answer)[0]), Some(0));
    project.sql("DELETE FROM runs;");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(codes(&explained(&project, &["old"], 0)), ["deleted"]);
}

#[test]
fn suggested_commands_find_the_same_database_and_configuration() {
    let project = project(CONFIG);
    std::fs::write(project.path("broken/r"), "").unwrap();
    ends(&project, "r");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    let elsewhere = tempfile::tempdir().unwrap();
    let database = project.database().display().to_string();
    let answer = project
        .command(&["--db", &database, "explain", "--json", "r"])
        .current_dir(elsewhere.path())
        .output()
        .unwrap();
    let answer: Value = serde_json::from_slice(&answer.stdout).unwrap();
    for line in commands(&answer) {
        assert!(
            line.starts_with(&format!("runchain --db {database} --config ")),
            "{line}"
        );
        assert_eq!(
            typed(&project, &format!("cd {} && {line}", elsewhere.path().display())),
            Some(0)
        );
    }
}

#[test]
fn sql_gets_the_same_judgement_without_the_files() {
    let project = project(CONFIG);
    std::fs::write(project.path("broken/r"), "").unwrap();
    ends(&project, "r");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    let ask = |sql: &str| {
        let sql = format!(".load {}\n{sql}\n", extension().display());
        Sqlite::Stock.run(&project.database(), &sql)
    };
    let answer: Value = serde_json::from_str(&ask("SELECT runchain_explain('r');").output()).unwrap();
    assert!(codes(&answer).contains(&"dead"), "{answer:#}");
    let retry = answer["you_can"][0]["sql"].as_str().unwrap().to_owned();
    assert!(retry.starts_with("SELECT runchain_retry("), "{retry}");
    ask(&retry).output();
    let whole: Value = serde_json::from_str(&ask("SELECT runchain_explain();").output()).unwrap();
    assert_eq!(codes(&whole)[0], "no_executor");
    assert!(
        ask("SELECT runchain_explain(NULL);")
            .stderr
            .contains("the run id is NULL or a BLOB")
    );
    let view = ask("CREATE VIEW v AS SELECT runchain_explain('r'); SELECT * FROM v;");
    assert!(
        view.stderr.contains("unsafe use of runchain_explain"),
        "{}",
        view.stderr
    );
    project.sql("DROP VIEW IF EXISTS v;");
}

#[test]
fn what_is_not_installed_or_not_there_has_the_usual_codes() {
    let project = Project::new(SHAPE_A, "");
    project.runchain(&["explain"]).exits(9);
    project.runchain(&["--db", "nowhere.db", "explain", "r"]).exits(4);
}

#[test]
fn chains_that_a_storm_left_held_name_their_batch() {
    let project = project("[storm]\nmax_transitions = 2");
    project.sql(
        "BEGIN; INSERT INTO runs(run_id, status) VALUES ('a', 'COMPLETED'), ('b', 'COMPLETED'), ('c', 'COMPLETED'),
           ('d', 'COMPLETED'), ('e', 'COMPLETED'); COMMIT;",
    );
    project.runchain(&["drain", "--until-idle"]).exits(0);
    let held = project.sql("SELECT run_id FROM runchain_held ORDER BY id DESC LIMIT 1;");
    let answer = explained(&project, &[held.trim()], NEEDS_SOMEBODY);
    assert!(cause(&answer, "held").contains("ended in a rush"), "{answer:#}");
    let suggested = commands(&answer);
    assert_eq!(suggested[..2], ["runchain held", "runchain held release 1"]);
    assert!(codes(&explained(&project, &[], NEEDS_SOMEBODY)).contains(&"held"));
    for line in &suggested[..2] {
        assert_eq!(typed(&project, line), Some(0), "{line}");
    }
    project.runchain(&["drain", "--until-idle"]).exits(0);
    explained(&project, &[held.trim()], 0);
}

#[test]
fn a_renamed_table_is_offered_to_be_followed_first_of_all() {
    let project = Project::new(
        "CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT);",
        "required_tables = ['runs']\n",
    );
    project.runchain(&["install"]).exits(0);
    project.sql("ALTER TABLE runs RENAME TO jobs;");
    let checks = project.runchain(&["validate", "--json"]);
    assert!(
        checks.stderr.contains("runchain install --repair"),
        "{}",
        checks.stderr
    );
    let checks = checks.json();
    let mut checks = checks["checks"].as_array().unwrap().iter();
    let required = checks.find(|check| check["check"] == "required_tables").unwrap();
    assert!(
        required["found"]
            .as_str()
            .unwrap()
            .contains("runs looks like jobs now"),
        "{required}"
    );
    assert!(
        required["remedy"].as_str().unwrap().contains("repair"),
        "{required}"
    );
    let answer = explained(&project, &[], NEEDS_SOMEBODY);
    assert_eq!(codes(&answer)[0], "table_missing", "{answer}");
    assert!(
        answer["you_can"][0]["command"]
            .as_str()
            .unwrap()
            .ends_with("install --repair"),
        "{answer}"
    );
    assert!(!answer.to_string().contains("required_tables"), "{answer}");
    project.runchain(&["install", "--repair"]).exits(0);
}
