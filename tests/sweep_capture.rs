//! Where nobody allows a trigger on their table: the same, by comparing.

use crate::support::{Project, SHAPE_A, stock_sqlite3};

fn project() -> Project {
    let project = Project::new(SHAPE_A, "capture = 'sweep'\n");
    project.runchain(&["install"]).exits(0);
    project
}

fn drain(project: &Project) {
    project.runchain(&["drain", "--until-idle"]).exits(0);
}

#[test]
fn no_trigger_stands_anywhere_and_validate_is_content() {
    let project = project();
    let triggers = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger';";
    assert_eq!(project.lines(triggers), ["0"]);
    let _service = project.service();
    let checks = project.runchain(&["validate", "--json"]).exits(0).json();
    let about = |name: &str| {
        let found = checks["checks"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["check"] == name);
        found.unwrap()["severity"].clone()
    };
    assert_eq!(about("triggers"), "ok");
    assert_eq!(about("mapping"), "ok");
    // Asked for nothing in particular, what is installed is what is meant; also in SQL.
    project.configure("");
    project.runchain(&["install"]).exits(0);
    assert_eq!(project.lines(triggers), ["0"]);
    // Another way is another install, and back.
    project.runchain(&["install", "--capture", "triggers"]).exits(0);
    assert_eq!(project.lines(triggers), ["3"]);
    project.runchain(&["install", "--capture", "sweep"]).exits(0);
    assert_eq!(project.lines(triggers), ["0"]);
    project.runchain(&["uninstall"]).exits(0);
    project.runchain(&["install"]).exits(0);
    assert_eq!(project.lines(triggers), ["3"]);
    project.runchain(&["install", "--capture", "magic"]).exits(3);
}

#[test]
fn a_service_sees_new_runs_and_ends_after_the_commit() {
    let project = project();
    let _service = project.service();
    project.sql("INSERT INTO runs(run_id, status) VALUES ('a', 'RUNNING'), ('b', 'COMPLETED');");
    project.until(
        "SELECT count(*) FROM runchain_steps WHERE step = 'report' AND state = 'done'",
        "1",
    );
    project.until(
        "SELECT phase || monitor FROM runchain_runs WHERE run_id = 'a'",
        "activeon",
    );
    project.sql("UPDATE runs SET status = 'FAILED' WHERE run_id = 'a';");
    project.until(
        "SELECT count(*) FROM runchain_steps WHERE step = 'report' AND state = 'done'",
        "2",
    );
    // What a glance doesn't see, the whole comparison does.
    project
        .sql("UPDATE runs SET status = 'RUNNING' WHERE run_id = 'b'; DELETE FROM runs WHERE run_id = 'a';");
    project.until(
        "SELECT group_concat(phase) FROM (SELECT phase FROM runchain_runs ORDER BY run_id)",
        "deleted,active",
    );
}

#[test]
fn what_happened_while_nobody_looked_is_found_and_a_storm_is_held() {
    let project = project();
    drain(&project);
    project.sql("INSERT INTO runs(run_id, status) VALUES ('a', 'COMPLETED'), ('b', 'RUNNING');");
    drain(&project);
    assert_eq!(
        project.lines("SELECT run_id, phase, generation FROM runchain_runs ORDER BY run_id;"),
        ["a|completed|1", "b|active|0"]
    );
    project.configure("storm.max_transitions = 5\n");
    project.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)
         INSERT INTO runs(run_id, status) SELECT 'old-' || i, 'COMPLETED' FROM n;",
    );
    drain(&project);
    assert_eq!(project.lines("SELECT held FROM runchain_held_batches;"), ["40"]);
    assert_eq!(
        project.lines("SELECT count(DISTINCT run_id) FROM runchain_steps;"),
        ["1"]
    );
}

#[test]
fn a_table_without_rowids_is_swept_too() {
    let project = Project::new(
        "CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT) WITHOUT ROWID;",
        "capture = 'sweep'\n",
    );
    project.runchain(&["install"]).exits(0);
    let _service = project.service();
    project.sql("INSERT INTO runs VALUES ('a', 'RUNNING');");
    project.until("SELECT phase FROM runchain_runs", "active");
    project.sql("UPDATE runs SET status = 'DONE';");
    project.until("SELECT state FROM runchain_steps WHERE step = 'report'", "done");
}

#[test]
fn triggers_that_somebody_adds_are_said_and_do_no_harm() {
    let project = project();
    let triggers = include_str!("../sql/triggers.sql");
    stock_sqlite3(&project.database(), triggers);
    let _service = project.service();
    project.sql("INSERT INTO runs(run_id, status) VALUES ('a', 'COMPLETED');");
    project.until(
        "SELECT count(*) FROM runchain_steps WHERE step = 'report' AND state = 'done'",
        "1",
    );
    let told = project.runchain(&["validate"]).stdout;
    assert!(
        told.contains("capture is by sweep, but there are capture triggers"),
        "{told}"
    );
    assert_eq!(project.lines("SELECT generation FROM runchain_runs;"), ["1"]);
}

#[test]
fn a_repair_puts_no_trigger_back_and_says_so() {
    let project = project();
    let told = project.runchain(&["install", "--repair"]).exits(0).stdout;
    assert!(told.contains("none is wanted (capture = sweep)"), "{told}");
    // What is another install is not taken for a repair.
    project
        .runchain(&["install", "--repair", "--capture", "triggers"])
        .exits(2);
    let triggers = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger';";
    assert_eq!(project.lines(triggers), ["0"]);
}

#[test]
fn the_installed_capture_is_shown_where_it_differs_from_the_configured_one() {
    let project = project();
    let shown = || {
        let ran = project.runchain(&["config", "show"]).exits(0);
        format!("{}{}", ran.stdout, ran.stderr)
    };
    assert!(!shown().contains("installed"), "{}", shown());
    project.configure("required_tables = ['runs']\n");
    let told = shown();
    assert!(
        told.contains("capture is triggers by configuration, and sweep is installed"),
        "{told}"
    );
    let json = project.runchain(&["config", "show", "--json"]).exits(0).json();
    assert_eq!(json["installed"]["capture"], "sweep");
    project.runchain(&["install", "--capture", "triggers"]).exits(0);
    assert!(!shown().contains("installed"), "{}", shown());
}

#[test]
fn a_word_for_capture_that_nobody_knows_is_mended_as_suggested() {
    let project = project();
    project.sql("UPDATE runchain_meta SET value = 'magic' WHERE key = 'capture';");
    project.configure("required_tables = ['runs']\n");
    let refused = project.runchain(&["install"]).exits(1).stderr;
    assert!(
        refused.contains("runchain install --capture triggers"),
        "{refused}"
    );
    let told = project.runchain(&["validate"]).stdout;
    assert!(told.contains("runchain install --capture triggers"), "{told}");
    project.runchain(&["install", "--capture", "triggers"]).exits(0);
    project.runchain(&["validate"]).exits(0);
    project.sql("INSERT INTO runs(run_id, status) VALUES ('a', 'COMPLETED');");
    assert_eq!(project.lines("SELECT action FROM runchain_queue;"), ["insert"]);
}
