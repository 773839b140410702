//! Installing by every way there is, what happens to runs that were there, and leaving no trace.

use crate::support::{Finished, Project, SHAPE_A, SHAPE_B, Sqlite, extension, repository, tree};
use serde_json::json;

const OURS: &str = "SELECT type, name, tbl_name, sql FROM sqlite_master
  WHERE name LIKE 'runchain%' AND type <> 'view' OR name IN ('archival_log', 'uet_executions', 'uet_tasks') ORDER BY 1, 2;";
const NOT_OURS: &str = "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'runchain%'
  AND name <> 'sqlite_sequence' ORDER BY 1, 2;";
const EVERYTHING: &str = "SELECT type, name, tbl_name, rootpage > 0, sql FROM sqlite_master ORDER BY 1, 2;";

fn read(project: &Project, files: &[&str]) {
    for file in files {
        let path = repository().join("sql").join(file);
        project.sql(&format!(".read '{}'\n", path.display()));
    }
}

/// SQL in a stock shell that has the extension.
fn with_extension(project: &Project, sql: &str) -> Finished {
    let sql = format!(".load {}\n{sql}\n", extension().display());
    Sqlite::Stock.run(&project.database(), &sql)
}

#[test]
fn both_shapes_of_the_field_are_found_and_another_table_is_taken_by_name() {
    let jobs = "CREATE TABLE jobs(job INTEGER PRIMARY KEY, phase TEXT, word TEXT);";
    for (ddl, options, mapping) in [
        (SHAPE_A, vec![], ["runs", "run_id", "status"]),
        (SHAPE_B, vec![], ["runs", "run_id", "state"]),
        (
            jobs,
            vec!["--table", "JOBS", "--status-column", "Word"],
            ["jobs", "job", "word"],
        ),
        (
            jobs,
            vec![
                "--table",
                "jobs",
                "--id-column",
                "phase",
                "--status-column",
                "word",
            ],
            ["jobs", "phase", "word"],
        ),
    ] {
        let project = Project::new(ddl, "");
        let arguments = [vec!["install", "--json"], options].concat();
        let answer = project.runchain(&arguments).exits(0).json();
        let [table, id, status] = mapping;
        assert_eq!(
            answer["mapping"],
            json!({ "table": table, "id_column": id, "status_column": status })
        );
        assert_eq!(
            project.sql("SELECT * FROM runchain_mapping;"),
            format!("{table}|{id}|{status}\n")
        );
        project.sql(&format!(
            "INSERT INTO {table}({id}, {status}) VALUES (7, 'failed');"
        ));
        assert_eq!(
            project.sql("SELECT action, run_id, new_status FROM runchain_queue;"),
            "insert|7|failed\n"
        );
    }
}

#[test]
fn function_binary_and_stock_shell_make_the_same_objects() {
    let by_binary = Project::new(SHAPE_A, "");
    by_binary.runchain(&["install"]).exits(0);
    let by_function = Project::new(SHAPE_A, "");
    let answer = with_extension(&by_function, "SELECT runchain_install('{\"table\":\"runs\"}');");
    assert!(answer.output().contains("\"changed\":true"));
    let by_shell = Project::new(SHAPE_A, "");
    read(&by_shell, &["schema.sql", "triggers.sql"]);
    let wanted = by_shell.sql(OURS);
    assert!(wanted.contains("runchain_capture_delete") && wanted.contains("uet_tasks"));
    assert_eq!(by_binary.sql(OURS), wanted);
    assert_eq!(by_function.sql(OURS), wanted);
    let views = "SELECT name, sql FROM sqlite_master WHERE type = 'view' ORDER BY 1;";
    read(&by_shell, &["views.sql"]);
    assert_eq!(by_function.sql(views), by_binary.sql(views));
    // A shell stores them as the file has them, over several lines.
    let words = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words(by_shell.sql(views)), words(by_binary.sql(views)));
    by_shell.runchain(&["install"]).exits(0);
    assert_eq!(by_shell.sql(views), by_binary.sql(views));
}

#[test]
fn a_second_install_does_not_touch_the_schema() {
    let project = Project::new(SHAPE_A, "");
    read(&project, &["schema.sql", "triggers.sql", "views.sql"]);
    // Makes the views anew, one line each.
    project.runchain(&["install"]).exits(0);
    let cookie = project.sql("PRAGMA schema_version;");
    for _ in 0..2 {
        project.runchain(&["install"]).exits(0);
        assert!(with_extension(&project, "SELECT runchain_install();").success);
    }
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(project.sql("PRAGMA schema_version;"), cookie);
}

/// Six runs of every kind of history.
const HISTORY: &str = "
INSERT INTO runs(run_id, status, created_at, updated_at) VALUES
  ('done-old', 'COMPLETED', '2020-01-01T00:00:00Z', '2020-01-01T00:00:00Z'),
  ('done-new', 'failed', strftime('%Y-%m-%dT%H:%M:%SZ','now'), strftime('%Y-%m-%dT%H:%M:%SZ','now')),
  ('active-old', 'RUNNING', '2020-01-01T00:00:00Z', '2020-01-01T00:00:00Z'),
  ('active-long', 'RUNNING', '2020-01-01T00:00:00Z', strftime('%Y-%m-%dT%H:%M:%SZ','now', '-1 hour')),
  ('active-young', 'RUNNING', strftime('%Y-%m-%dT%H:%M:%SZ','now'), strftime('%Y-%m-%dT%H:%M:%SZ','now'));
";

fn bags(project: &Project) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(project.path(".archive")) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn monitored(project: &Project) -> Vec<String> {
    project.lines("SELECT run_id FROM runchain_runs WHERE monitor = 'on' ORDER BY 1;")
}

#[test]
fn history_is_archived_only_when_asked_and_every_end_after_it_is() {
    for (backfill, bagged, followed, abandoned) in [
        (
            "none",
            vec![],
            vec![],
            vec!["active-long", "active-old", "active-young"],
        ),
        (
            "active",
            vec![],
            vec!["active-long", "active-young"],
            vec!["active-old"],
        ),
        (
            "all",
            vec!["done-new", "done-old"],
            vec!["active-long", "active-young"],
            vec!["active-old"],
        ),
    ] {
        let project = Project::new(SHAPE_A, "");
        project.sql(HISTORY);
        let answer = project
            .runchain(&["install", "--backfill", backfill, "--json"])
            .exits(0)
            .json();
        let mut named: Vec<_> = answer["history"]["abandoned_ids"].as_array().unwrap().clone();
        named.sort_by_key(ToString::to_string);
        assert_eq!(named, abandoned, "{backfill}");
        assert_eq!(answer["history"]["rows"], 5, "{backfill}");
        project.runchain(&["drain", "--until-idle"]).exits(0);
        assert_eq!(bags(&project), bagged, "{backfill}");
        assert_eq!(monitored(&project), followed, "{backfill}");

        // A write that changes nothing is no news; an end is, also of a run that was given up.
        project.sql(
            "UPDATE runs SET updated_at = 'now', status = status;
             INSERT OR REPLACE INTO runs(run_id, status) VALUES ('done-old', 'COMPLETED');
             UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'active-old';",
        );
        project.runchain(&["drain", "--until-idle"]).exits(0);
        let mut expected = bagged.clone();
        expected.push("active-old");
        expected.sort_unstable();
        assert_eq!(bags(&project), expected, "{backfill}");
    }
}

#[test]
fn a_later_backfill_of_all_archives_what_was_left_alone_once() {
    let project = Project::new(SHAPE_A, "");
    project.sql(HISTORY);
    project.runchain(&["install"]).exits(0);
    project.runchain(&["drain", "--until-idle"]).exits(0);
    for _ in 0..2 {
        project.runchain(&["install", "--backfill", "all"]).exits(0);
    }
    project.runchain(&["drain", "--until-idle"]).exits(0);
    project.runchain(&["install", "--backfill", "all"]).exits(0);
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(bags(&project), ["done-new", "done-old"]);
    let archived =
        "SELECT run_id, count(*) FROM runchain_events WHERE type = 'RUN_ARCHIVED' GROUP BY 1 ORDER BY 1;";
    assert_eq!(project.lines(archived), ["done-new|1", "done-old|1"]);
}

#[test]
fn a_drain_after_reading_the_files_treats_history_as_install_does() {
    let project = Project::new(SHAPE_A, "");
    project.sql(HISTORY);
    read(&project, &["schema.sql", "triggers.sql"]);
    // Captured after the triggers came, before anybody looked at the history.
    project.sql("UPDATE runs SET status = 'CANCELLED' WHERE run_id = 'active-young';");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(bags(&project), ["active-young"]);
    assert_eq!(monitored(&project), ["active-long"]);
    let abandoned = "SELECT run_id FROM runchain_runs WHERE monitor = 'abandoned';";
    assert_eq!(project.lines(abandoned), ["active-old"]);
}

#[test]
fn a_dry_run_shows_sql_rows_and_time_and_changes_no_byte() {
    for journal in ["delete", "wal"] {
        let project = Project::new(SHAPE_A, "");
        project.sql(&format!("PRAGMA journal_mode = {journal};{HISTORY}"));
        let before = tree(project.root());
        let text = project
            .runchain(&["install", "--dry-run", "--backfill", "all"])
            .exits(0)
            .stdout;
        for part in [
            "CREATE TABLE IF NOT EXISTS runchain_steps",
            "CREATE TRIGGER runchain_capture_update AFTER UPDATE OF \"run_id\", \"status\" ON \"runs\"",
            "CREATE VIEW runchain_chains",
            "4 queued, 1 abandoned",
            "  abandoned: active-old",
            "write lock held for ",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        let machine = project
            .runchain(&["install", "--dry-run", "--json"])
            .exits(0)
            .json();
        assert!(machine["write_lock_held_ms"].as_f64().unwrap() > 0.0);
        assert_eq!(machine["would"]["history"]["finished_left_alone"], 2);
        assert!(tree(project.root()) == before, "{journal}: the folder changed");
    }
}

/// Objects of a user's that an uninstall could be tempted to touch.
const USERS_OWN: &str = "
CREATE INDEX runs_by_status ON runs(status);
CREATE VIEW finished AS SELECT run_id FROM runs WHERE status = 'COMPLETED';
CREATE TABLE history(run_id TEXT);
CREATE TRIGGER keep_history AFTER DELETE ON runs BEGIN INSERT INTO history VALUES (OLD.run_id); END;
";
const USERS_SHARED: &str = "
CREATE TABLE archival_log(id INTEGER PRIMARY KEY, run_id TEXT, archive_path TEXT);
CREATE TABLE uet_executions(execution_id TEXT PRIMARY KEY, status TEXT);
CREATE TABLE uet_tasks(task_id TEXT PRIMARY KEY, status TEXT);
INSERT INTO archival_log VALUES (1, 'mine', 'somewhere');
";

#[test]
fn uninstalling_leaves_the_user_s_objects_as_they_were() {
    for shared in ["", USERS_SHARED] {
        let project = Project::new(&[SHAPE_A, USERS_OWN, shared].concat(), "");
        let before = project.sql(NOT_OURS);
        project.runchain(&["install"]).exits(0);
        project.sql("INSERT INTO runs(run_id, status) VALUES ('r', 'COMPLETED');");
        project.runchain(&["drain", "--until-idle"]).exits(0);

        project.runchain(&["uninstall"]).exits(0);
        project.sql("INSERT INTO runs(run_id, status) VALUES ('s', 'COMPLETED'); DELETE FROM runs WHERE run_id = 's';");
        let kept =
            "SELECT count(*) FROM sqlite_master WHERE type IN ('trigger', 'view') AND name LIKE 'runchain%';";
        assert_eq!(project.sql(kept), "0\n");
        assert_eq!(project.sql("SELECT count(*) FROM runchain_steps;"), "2\n");
        let again = project.runchain(&["uninstall"]).exits(0);
        assert!(
            again.stdout.contains("nothing of runchain's was there"),
            "{}",
            again.stdout
        );
        project.runchain(&["drain", "--once"]).exits(9);

        project.runchain(&["uninstall", "--purge"]).exits(0);
        assert_eq!(project.sql(NOT_OURS), before);
        let ours =
            "SELECT count(*) FROM sqlite_master WHERE name LIKE 'runchain%' OR tbl_name LIKE 'runchain%';";
        assert_eq!(project.sql(ours), "0\n");
        if !shared.is_empty() {
            assert_eq!(
                project.sql("SELECT run_id FROM archival_log ORDER BY id;"),
                "mine\nr\n"
            );
        }
        project.runchain(&["uninstall", "--purge"]).exits(0);
        assert_eq!(project.sql("PRAGMA integrity_check;"), "ok\n");
    }
}

#[test]
fn what_was_recorded_is_there_again_after_a_new_install() {
    let project = Project::new(SHAPE_A, "");
    project.runchain(&["install"]).exits(0);
    project.sql("INSERT INTO runs(run_id, status) VALUES ('r', 'COMPLETED');");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    project.runchain(&["uninstall"]).exits(0);
    project.runchain(&["install"]).exits(0);
    project.sql("INSERT OR REPLACE INTO runs(run_id, status) VALUES ('r', 'COMPLETED');");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(
        project.sql("SELECT run_id, generation FROM runchain_runs;"),
        "r|1\n"
    );
}

#[test]
fn the_uninstall_file_works_in_a_stock_shell_on_a_half_dropped_schema() {
    for damage in [
        "",
        "DROP TABLE runchain_queue;",
        "DROP TABLE runchain_mapping; DROP TABLE runchain_steps;",
        "DROP TRIGGER runchain_capture_insert; DROP VIEW runchain_problems;",
    ] {
        let project = Project::new(&[SHAPE_A, USERS_OWN].concat(), "");
        let before = project.sql(EVERYTHING);
        project.runchain(&["install"]).exits(0);
        project.sql(damage);
        read(&project, &["uninstall.sql", "uninstall.sql"]);
        project.sql("INSERT INTO runs(run_id, status) VALUES ('r', 'RUNNING'); UPDATE runs SET status = 'DONE'; DELETE FROM runs;");
        read(&project, &["purge.sql", "purge.sql"]);
        project.sql("DROP TABLE archival_log; DROP TABLE uet_tasks; DROP TABLE uet_executions;");
        let after = project.sql(EVERYTHING).replace(
            "table|sqlite_sequence|sqlite_sequence|1|CREATE TABLE sqlite_sequence(name,seq)\n",
            "",
        );
        assert_eq!(after, before, "{damage}");
    }
}

#[test]
fn an_install_that_fails_leaves_nothing() {
    let ddl = [
        SHAPE_A,
        "CREATE VIEW seen AS SELECT run_id, status FROM runs; CREATE TABLE bare(x);",
    ]
    .concat();
    let project = Project::new(&ddl, "");
    let before = tree(project.root());
    for (options, json, says) in [
        (
            vec!["--status-column", "stat"],
            r#"{"status":"stat"}"#,
            "no status column stat (it has: run_id, status,",
        ),
        (vec!["--id-column", "key"], r#"{"id":"key"}"#, "no id column key"),
        (vec!["--table", "seen"], r#"{"table":"seen"}"#, "seen is a view"),
        (
            vec!["--table", "nope"],
            r#"{"table":"nope"}"#,
            "no table nope in this database (it has: bare, events, runs)",
        ),
        (
            vec!["--table", "bare"],
            r#"{"table":"bare"}"#,
            "table bare has no id column",
        ),
        (
            vec!["--table", "sqlite_master"],
            r#"{"table":"sqlite_master"}"#,
            "sqlite_master",
        ),
    ] {
        let ran = project.runchain(&[vec!["install"], options].concat()).exits(10);
        assert!(ran.stderr.contains(says), "{says} is not in {}", ran.stderr);
        let answer = with_extension(&project, &format!("SELECT runchain_install('{json}');"));
        assert!(
            !answer.success && answer.stderr.contains(says),
            "{says} is not in {}",
            answer.stderr
        );
        assert!(tree(project.root()) == before, "{says}: the folder changed");
    }
    let answer = with_extension(&project, "SELECT runchain_install('{\"tabel\":\"runs\"}');");
    assert!(
        answer.stderr.contains("unknown option \"tabel\""),
        "{}",
        answer.stderr
    );
}

#[test]
fn reading_the_files_on_a_database_without_the_default_columns_leaves_no_triggers() {
    let project = Project::new(SHAPE_B, "");
    let before = project.sql(EVERYTHING);
    let triggers = repository().join("sql/triggers.sql");
    let read = Sqlite::Stock.run(&project.database(), &format!(".read '{}'\n", triggers.display()));
    assert!(
        !read.success && read.stderr.contains("runchain install --table NAME"),
        "{}",
        read.stderr
    );
    assert_eq!(project.sql(EVERYTHING), before);
}

#[test]
fn an_install_in_a_transaction_that_is_rolled_back_leaves_nothing() {
    let project = Project::new(SHAPE_A, "");
    project.sql(HISTORY);
    let before = project.sql(EVERYTHING);
    let answer = with_extension(
        &project,
        "BEGIN; SELECT runchain_install(); SELECT count(*) FROM runchain_runs; ROLLBACK;",
    );
    let text = answer.output();
    assert!(
        text.contains("\"changed\":true") && text.ends_with("\n3\n"),
        "{text}"
    );
    assert_eq!(project.sql(EVERYTHING), before);
}
