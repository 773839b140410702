//! The installation, broken.

use super::*;

#[test]
fn before_install_it_says_how_to_install() {
    let project = Project::bare(SHAPE_A);
    assert_says(
        &project.says("installed"),
        Severity::Error,
        "not installed",
        "SELECT runchain_install();",
    );
    assert_eq!(project.complaints(), ["installed"]);
    let nameless = Project::bare("CREATE TABLE jobs(id INTEGER PRIMARY KEY, status TEXT)");
    assert_says(
        &nameless.says("installed"),
        Severity::Error,
        "it has: jobs",
        "--table NAME",
    );
    assert_eq!(status(&project.conn, NOW).unwrap()["installed"], false);
}

#[test]
fn after_uninstall_it_says_that_nothing_is_followed() {
    let project = Project::installed(SHAPE_A);
    project.run(schema::UNINSTALL_SQL);
    assert_says(
        &project.says("installed"),
        Severity::Error,
        "follows no table",
        "runchain_install",
    );
    assert_eq!(project.complaints(), ["installed"]);
    assert_eq!(status(&project.conn, NOW).unwrap()["installed"], false);
}

#[test]
fn a_missing_required_table_names_what_is_there_instead() {
    let project = Project::installed(SHAPE_B);
    let finding = project.says("required_tables");
    assert_says(
        &finding,
        Severity::Error,
        "missing: tasks, workstreams",
        r#"required_tables = ["runs"]"#,
    );
    assert!(
        finding.found.contains("run_events, runs, step_attempts"),
        "{finding:?}"
    );
    // The remedy, run as it stands, mends it.
    project.run(finding.remedy.as_deref().unwrap());
    assert_says(&project.says("required_tables"), Severity::Ok, "runs", "");
    project.run("UPDATE runchain_meta SET value = 'runs' WHERE key = 'required_tables'");
    assert_says(
        &project.says("required_tables"),
        Severity::Warning,
        "no JSON array",
        "INSERT OR REPLACE",
    );
}

#[test]
fn a_renamed_table_or_column_is_an_error_with_the_mapping_that_mends_it() {
    for (break_it, found, remedy) in [
        (
            "ALTER TABLE runs RENAME COLUMN status TO state",
            "no status column status",
            r#"{"repair":true}"#,
        ),
        (
            "ALTER TABLE runs RENAME COLUMN status TO word",
            "no status column status",
            r#"{"repair":true}"#,
        ),
        (
            "ALTER TABLE runs RENAME TO jobs",
            "no table runs",
            r#"{"repair":true}"#,
        ),
        (
            "ALTER TABLE runs RENAME TO jobs; DROP TABLE jobs",
            "no table runs",
            r#""table":"NAME","id":"run_id","status":"status""#,
        ),
    ] {
        let project = Project::installed(SHAPE_A);
        project.run(break_it);
        assert_says(&project.says("mapping"), Severity::Error, found, remedy);
    }
}

#[test]
fn an_id_that_the_table_lets_two_rows_have_is_a_warning_with_the_index_that_mends_it() {
    const DDL: &str =
        "CREATE TABLE runs(project TEXT, run_id TEXT, status TEXT, PRIMARY KEY(project, run_id))";
    let project = Project::installed(DDL);
    let finding = project.says("mapping");
    assert_says(
        &finding,
        Severity::Warning,
        "runs.run_id is not unique",
        r#"CREATE UNIQUE INDEX "runs_run_id" ON "runs"("run_id");"#,
    );
    project.run(finding.remedy.as_deref().unwrap());
    assert_says(
        &project.says("mapping"),
        Severity::Ok,
        "runs.run_id and .status",
        "",
    );
    for declared in [
        "run_id INTEGER PRIMARY KEY",
        "run_id TEXT UNIQUE",
        "run_id TEXT PRIMARY KEY",
    ] {
        let project = Project::installed(&format!("CREATE TABLE runs({declared}, status TEXT)"));
        assert_says(&project.says("mapping"), Severity::Ok, "runs.run_id", "");
    }
}

#[test]
fn a_missing_or_altered_trigger_is_an_error() {
    for (break_it, found) in [
        (
            "DROP TRIGGER runchain_capture_update",
            "runchain_capture_update is missing",
        ),
        (
            "ALTER TABLE runs RENAME COLUMN status TO state",
            "runchain_capture_insert was altered",
        ),
        (
            "ALTER TABLE runs RENAME TO jobs",
            "runchain_capture_delete stands on jobs, not on runs",
        ),
        (
            "DROP TRIGGER runchain_capture_insert; CREATE TRIGGER runchain_capture_insert AFTER INSERT ON runs BEGIN SELECT 1; END",
            "runchain_capture_insert was altered",
        ),
    ] {
        let project = Project::installed(SHAPE_A);
        project.run(break_it);
        assert_says(
            &project.says("triggers"),
            Severity::Error,
            found,
            "SELECT runchain_install(",
        );
    }
}

#[test]
fn only_an_after_trigger_that_ignores_is_reported() {
    let project = Project::installed(SHAPE_A);
    project
        .run("CREATE TRIGGER \"after hours\" BEFORE INSERT ON runs BEGIN SELECT RAISE(IGNORE) WHERE 0; END");
    assert_says(&project.says("foreign_triggers"), Severity::Ok, "none", "");
    project.run("CREATE TRIGGER quiet AFTER UPDATE ON runs BEGIN SELECT raise ( ignore ) WHERE 0; END");
    assert_says(
        &project.says("foreign_triggers"),
        Severity::Warning,
        "quiet",
        "DROP TRIGGER \"quiet\"",
    );
    assert_eq!(project.complaints(), ["foreign_triggers"]);
}

#[test]
fn a_missing_table_of_ours_is_named_and_hides_no_other_check() {
    let project = Project::installed(SHAPE_A);
    project.run("DROP TABLE runchain_queue");
    let finding = project.says("own_objects");
    assert_says(
        &finding,
        Severity::Error,
        "missing: runchain_queue",
        "sql/schema.sql",
    );
    assert!(finding.meaning.contains("every write"), "{finding:?}");
    assert_says(&project.says("queue"), Severity::Error, "no such table", "");
    assert_eq!(project.findings().len(), CHECKS.len());
    let indexless = Project::installed(SHAPE_A);
    indexless.run("DROP INDEX runchain_steps_live");
    assert_eq!(indexless.complaints(), ["own_objects"]);
}

#[test]
fn an_unknown_status_word_is_named_with_the_insert_that_adds_it() {
    let tables = [
        "run_id TEXT PRIMARY KEY, status TEXT",
        "run_id TEXT PRIMARY KEY, status TEXT, rowid TEXT",
    ];
    for (columns, options) in [(tables[0], ""), (tables[1], ""), (tables[0], "WITHOUT ROWID")] {
        let project = Project::installed(&format!("CREATE TABLE runs({columns}) {options}"));
        project.run(
            "INSERT INTO runs(run_id, status) VALUES ('1', 'completed'), ('2', 'it''s odd'), ('3', 'IT''S ODD'), ('4', NULL)",
        );
        let finding = project.says("status_words");
        assert_says(
            &finding,
            Severity::Warning,
            "IT'S ODD (2 rows)",
            "INSERT INTO runchain_vocabulary",
        );
        let remedy = finding.remedy.unwrap();
        assert!(
            project.conn.execute_batch(&remedy).is_err(),
            "nobody but a person knows the phase"
        );
        project.run(&remedy.replace("PHASE'", "active'"));
        assert_says(&project.says("status_words"), Severity::Ok, "none", "");
    }
}
