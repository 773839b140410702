//! `runchain monitor`: the real binary in a pseudo-terminal, beside a real executor, on a real database.

use crate::support::{Project, SHAPE_A, Screen, eventually};
use rustix::process::Signal;
use std::fs;

/// A step that fails until a file is there.
const UPLOAD: &str = "
retry.max_attempts = 1
[steps.upload]
after = ['archive']
command = ['sh', '-c', \"test -e allowed || { echo '403 Forbidden: the key has expired' >&2; exit 1; }\"]
";

const RUNNING: &str = "INSERT INTO runs(run_id, status) VALUES ('run-1', 'RUNNING')";
const COMPLETED: &str = "UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'run-1'";

fn installed(config: &str) -> Project {
    let project = Project::new(SHAPE_A, config);
    project.runchain(&["install"]).exits(0);
    project
}

/// A run that has ended, through but for its upload, which is dead. No executor is alive.
fn with_a_dead_upload() -> Project {
    let project = installed(UPLOAD);
    project.sql(RUNNING);
    project.sql(COMPLETED);
    project.runchain(&["drain", "--until-idle"]);
    project
}

fn monitor(project: &Project, arguments: &[&str]) -> Screen {
    let mut command = project.command(&["monitor"]);
    Screen::start(command.args(arguments), 80, 24)
}

#[test]
fn a_run_appears_fails_is_explained_in_two_keys_and_is_retried_from_the_screen() {
    let project = installed(UPLOAD);
    let service = project.service();
    let mut terminal = monitor(&project, &[]);
    terminal.until(&["no run yet", "executor alive", "0 active"]);
    project.sql(RUNNING);
    terminal.until(&["run-1 (newest)", "RUNNING", "monitor ● running", "1 active"]);
    project.sql(COMPLETED);
    terminal.until(&["upload dead", "waiting for the next", "1 dead"]);
    // First key: the run that needs somebody most is under the cursor.
    terminal.types("\r");
    terminal.until(&[
        "WHAT WENT WRONG",
        "step upload",
        "403 Forbidden: the key has expired",
    ]);

    fs::write(project.path("allowed"), "").unwrap();
    terminal.types("r");
    terminal.until(&["Retry 1 step of run run-1?", "y yes"]);
    terminal.types("y");
    terminal.until(&["queued for 1 step", "upload ✓ done"]);
    assert_eq!(
        project.sql(
            "SELECT run_id, json_extract(data, '$.action'), json_extract(data, '$.actor') LIKE 'uid %' OR
               json_extract(data, '$.actor') LIKE '%@%' FROM runchain_events WHERE type = 'REQUEST'"
        ),
        "run-1|retry|1\n"
    );
    terminal.types("q");
    assert_eq!(terminal.ended(), Some(0));
    terminal.assert_restored();
    assert!(service.terminate().success());
}

#[test]
fn the_cause_of_a_failed_run_is_at_most_two_keys_from_the_first_screen() {
    let project = installed("");
    let service = project.service();
    project.sql(
        "CREATE TABLE step_attempts(id INTEGER PRIMARY KEY, run_id TEXT, step_name TEXT, status TEXT, error_message TEXT);
         CREATE INDEX attempts_by_run ON step_attempts(run_id);
         INSERT INTO runs(run_id, status) VALUES ('good', 'RUNNING'), ('early', 'RUNNING'), ('late', 'RUNNING');
         INSERT INTO step_attempts(run_id, step_name, status, error_message) VALUES
           ('early', 'extract', 'FAILED', 'no route to host'), ('late', 'load', 'FAILED', 'column \"price\" does not exist');
         UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'good';",
    );
    for run_id in ["early", "late"] {
        project.sql(&format!(
            "UPDATE runs SET status = 'FAILED' WHERE run_id = '{run_id}'"
        ));
        project.until(
            &format!("SELECT count(*) FROM runchain_steps WHERE run_id = '{run_id}' AND state = 'done'"),
            "2",
        );
    }
    let mut terminal = monitor(&project, &[]);
    terminal.until(&["2 failed", "early", "late"]);
    // The newest that needs somebody: one key.
    terminal.types("\r");
    terminal.until(&["WHAT WENT WRONG", "load", "column \"price\" does not exist"]);
    terminal.types("q");
    assert_eq!(terminal.ended(), Some(0));
    // The one below it: two.
    let mut terminal = monitor(&project, &[]);
    terminal.until(&["2 failed", "early", "late"]);
    terminal.types("j\r");
    terminal.until(&["WHAT WENT WRONG", "extract", "no route to host"]);
    terminal.types("q");
    assert_eq!(terminal.ended(), Some(0));
    assert!(service.terminate().success());
}

#[test]
fn what_was_not_confirmed_changes_nothing() {
    let project = with_a_dead_upload();
    let mut terminal = monitor(&project, &[]);
    terminal.until(&["upload dead", "NO EXECUTOR"]);
    terminal.types("3");
    terminal.until(&["steps that have not ended"]);
    terminal.types("c");
    terminal.until(&["Cancel 1 step?"]);
    terminal.types("n");
    terminal.until(&["nothing was changed"]);
    // Nobody drains, so that a request would still be there.
    assert_eq!(project.sql("SELECT count(*) FROM runchain_queue"), "0\n");
    terminal.types("p");
    terminal.until(&["Pause the steps upload? 0 steps would wait."]);
    terminal.types("y");
    terminal.until(&["queued: pause the steps upload"]);
    assert_eq!(
        project.sql("SELECT action, step FROM runchain_queue"),
        "pause|upload\n"
    );
    terminal.types("\u{3}");
    assert_eq!(terminal.ended(), Some(0));
}

/// Keys that arrive together are taken one by one: each means what it would have meant had the person
/// waited for the screen.
#[test]
fn what_is_typed_ahead_means_what_it_does_on_the_screen_it_leads_to() {
    let project = with_a_dead_upload();
    let mut terminal = monitor(&project, &[]);
    terminal.until(&["upload dead", "NO EXECUTOR"]);
    terminal.types("3131313131313c");
    terminal.until(&["Cancel 1 step?"]);
    terminal.types("n/nowhere\rc");
    terminal.until(&["no step fits the filter", "nothing to cancel"]);
    // Escape and the next key in one go, as over a slow line: both count, and no filter is left.
    terminal.types("/abc\u{1b}c");
    terminal.until(&["Cancel 1 step?"]);
    terminal.types("n");
    terminal.types("q");
    assert_eq!(terminal.ended(), Some(0));
}

/// The lock that a long transaction holds is somebody else's; the keyboard is the person's.
#[test]
fn a_request_that_finds_the_database_locked_says_so_and_changes_nothing() {
    let project = with_a_dead_upload();
    project.sql("PRAGMA journal_mode = WAL");
    let mut terminal = monitor(&project, &["--run", "run-1"]);
    terminal.until(&["upload ✗ dead"]);
    let holder = rusqlite::Connection::open(project.database()).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    terminal.types("ry");
    terminal.until(&["nothing was changed: another process holds"]);
    holder.execute_batch("ROLLBACK").unwrap();
    terminal.types("ry");
    terminal.until(&["queued for 1 step"]);
    terminal.types("q");
    assert_eq!(terminal.ended(), Some(0));
    assert_eq!(project.sql("SELECT action FROM runchain_queue"), "retry\n");
}

/// With a rollback journal whoever holds the lock keeps everybody from reading.
#[test]
fn what_can_t_be_read_for_a_while_is_no_news_and_said_to_be_none() {
    let project = installed("");
    let mut terminal = monitor(&project, &[]);
    terminal.until(&["no run yet"]);
    let holder = rusqlite::Connection::open(project.database()).unwrap();
    holder.busy_timeout(std::time::Duration::from_secs(60)).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    // Something is to be read for another screen; nothing is written that would tell of it.
    terminal.types("4");
    terminal.until(&["LOCKED by another process for "]);
    holder.execute_batch("ROLLBACK").unwrap();
    eventually("the lock to be forgotten", || {
        let screen = terminal.text();
        if screen.contains("LOCKED") {
            Err(screen)
        } else {
            Ok(())
        }
    });
    terminal.types("q");
    assert_eq!(terminal.ended(), Some(0));
}

#[test]
fn the_terminal_is_restored_after_sigterm_and_after_a_panic() {
    let project = installed("");
    let mut terminal = monitor(&project, &[]);
    terminal.until(&["no run yet"]);
    terminal.signal(Signal::TERM);
    assert_eq!(terminal.ended(), Some(0));
    terminal.assert_restored();

    let mut command = project.command(&["monitor"]);
    let mut terminal = Screen::start(
        command
            .env("RUNCHAIN_PANIC_AT", "monitor-key")
            .env("RUST_BACKTRACE", "0"),
        80,
        24,
    );
    terminal.until(&["no run yet"]);
    terminal.types("j");
    assert_eq!(terminal.ended(), Some(101));
    terminal.assert_restored();
    terminal.until(&["a test asked for this panic"]);

    // By the thread that does what a chain lacks, behind the screen.
    project.sql(RUNNING);
    let mut command = project.command(&["monitor", "--complete", "--run", "run-1"]);
    let mut terminal = Screen::start(
        command
            .env("RUNCHAIN_PANIC_AT", "monitor-complete")
            .env("RUST_BACKTRACE", "0"),
        80,
        24,
    );
    assert_eq!(terminal.ended(), Some(1));
    terminal.assert_restored();
    terminal.until(&["completing the chain failed"]);
}

#[test]
fn a_database_that_is_missing_or_loses_a_table_is_said_with_what_mends_it_and_shown_when_it_is_mended() {
    let project = Project::new(SHAPE_A, "");
    let database = project.database();
    fs::remove_file(&database).unwrap();
    let mut terminal = monitor(&project, &[]);
    terminal.until(&["looked for", "does not exist", "mend it"]);
    fs::write(&database, "").unwrap();
    terminal.until(&["empty file"]);
    fs::write(&database, "not a database, and long enough to be taken for one").unwrap();
    terminal.until(&["not an SQLite"]);
    fs::remove_file(&database).unwrap();
    project.sql(SHAPE_A);
    terminal.until(&["none of them runchain's", "runchain install"]);
    project.runchain(&["install"]).exits(0);
    terminal.until(&["no run yet"]);
    project.sql("ALTER TABLE runs RENAME TO runs_old");
    terminal.until(&["lacks required", "runs_old"]);
    project.sql("ALTER TABLE runs_old RENAME TO runs");
    terminal.until(&["no run yet"]);
    // Its folder goes, and comes back with another file.
    fs::rename(project.path(".state"), project.path("gone")).unwrap();
    terminal.until(&["does not exist"]);
    fs::rename(project.path("gone"), project.path(".state")).unwrap();
    terminal.until(&["no run yet"]);
    terminal.types("q");
    assert_eq!(terminal.ended(), Some(0));
}

#[test]
fn an_executor_that_is_killed_is_missed_at_once() {
    let project = installed("");
    let service = project.service();
    let terminal = monitor(&project, &[]);
    terminal.until(&["executor alive"]);
    service.kill();
    terminal.until(&["NO EXECUTOR: runchain drain"]);
    let service = project.service();
    terminal.until(&["executor alive"]);
    service.kill();
}

#[test]
fn a_terminal_that_grows_shows_more_and_one_that_shrinks_less() {
    let project = installed("");
    project.sql(RUNNING);
    project.runchain(&["drain", "--once"]).exits(0);
    let mut terminal = monitor(&project, &["--run", "run-1"]);
    terminal.until(&["TIMELINE", "run-1"]);
    terminal.resize(200, 60);
    // Beside the timeline now, on the same line as the run's name.
    eventually("events beside the run", || {
        let screen = terminal.text();
        let line = screen.lines().find(|line| line.contains("EVENTS")).unwrap_or("");
        if line.contains("run-1") {
            Ok(())
        } else {
            Err(screen)
        }
    });
    terminal.resize(40, 10);
    terminal.until(&["run-1 monitor ● running"]);
    terminal.types("q");
    assert_eq!(terminal.ended(), Some(0));
}

#[test]
fn colours_and_signs_follow_the_environment() {
    let project = installed("");
    let terminal = monitor(&project, &[]);
    terminal.until(&["─── ", "✗ NO EXECUTOR"]);
    assert!(terminal.has_colours());
    let mut command = project.command(&["monitor"]);
    let terminal = Screen::start(command.env("NO_COLOR", "1").env("LANG", "C"), 80, 24);
    terminal.until(&["--- ", "x NO EXECUTOR"]);
    assert!(!terminal.has_colours());
    assert!(terminal.text().is_ascii());
}

#[test]
fn auto_goes_on_to_the_next_run_when_one_ends() {
    let project = installed("");
    let service = project.service();
    project.sql(RUNNING);
    let mut terminal = monitor(&project, &["--auto"]);
    terminal.until(&["run-1 (newest)"]);
    project.sql(COMPLETED);
    terminal.until(&["run-1 (waiting for the next)", "report ✓ done"]);
    project.sql("INSERT INTO runs(run_id, status) VALUES ('run-2', 'RUNNING')");
    terminal.until(&["run-2 (newest)"]);
    terminal.types("q");
    assert_eq!(terminal.ended(), Some(0));
    assert!(service.terminate().success());
}

#[test]
fn complete_does_what_the_chain_lacks_shows_it_and_ends_with_its_outcome() {
    let project = installed(UPLOAD);
    project.sql(RUNNING);
    let mut terminal = monitor(&project, &["--complete", "--run", "run-1"]);
    terminal.until(&["RUNNING", "monitor"]);
    // No executor: it does the chain itself as soon as the run is over.
    project.sql(COMPLETED);
    assert_eq!(terminal.ended(), Some(14), "{}", terminal.text());
    terminal.assert_restored();
    terminal.until(&["step upload of run run-1 is dead"]);
    fs::write(project.path("allowed"), "").unwrap();
    project
        .runchain(&["monitor", "--complete", "--run", "run-1"])
        .exits(0);
    let upload = "SELECT state, attempts FROM runchain_steps WHERE step = 'upload'";
    let archived = "SELECT count(*) FROM runchain_events WHERE type = 'RUN_ARCHIVED'";
    assert_eq!(project.sql(archived), "1\n");
    let done = project.sql(upload);
    // Nothing is lacking any more: nothing is done again.
    project
        .runchain(&["monitor", "--complete", "--run", "run-1"])
        .exits(0);
    assert_eq!(
        (project.sql(upload), project.sql(archived)),
        (done, "1\n".to_owned())
    );
    project
        .runchain(&["monitor", "--complete", "--run", "nobody"])
        .exits(13);
}

#[test]
fn once_prints_the_screen_as_text_and_json_all_screens() {
    let project = with_a_dead_upload();
    let once = project.runchain(&["monitor", "--once"]).exits(0).stdout;
    assert_eq!(once.lines().count(), 24);
    assert!(once.lines().all(|line| line.chars().count() <= 80), "{once}");
    assert!(once.contains("upload dead") && !once.contains('\u{1b}'), "{once}");
    let run = project
        .runchain(&["monitor", "--once", "--run", "run-1"])
        .exits(0)
        .stdout;
    assert!(run.contains("403 Forbidden"), "{run}");

    let nobody = project
        .runchain(&["monitor", "--once", "--run", "nobody"])
        .exits(13);
    assert!(nobody.stdout.contains("knows no run nobody"), "{}", nobody.stdout);
    project
        .runchain(&["monitor", "--json", "--run", "nobody"])
        .exits(13);

    let all = project.runchain(&["monitor", "--json"]).exits(0).json();
    assert_eq!(all["overview"]["list"][0]["need"], "dead_step");
    assert_eq!(all["overview"]["executor"]["state"], "none");
    assert_eq!(all["queue"][0]["brief"]["state"], "dead");
    assert_eq!(all["run"]["line"]["run_id"], "run-1");
    assert!(all["run"]["causes"][0]["text"].as_str().unwrap().contains("403"));
    assert!(
        all["events"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["kind"] == "STEP_DEAD")
    );
    assert!(
        all["health"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["check"] == "dead_steps")
    );

    let none = project
        .runchain(&["monitor", "--json", "--db", "nowhere.db"])
        .exits(4);
    assert!(
        none.json()["trouble"]["found"]
            .as_str()
            .unwrap()
            .contains("does not exist")
    );
    // A pipe is no screen.
    let piped = project.runchain(&["monitor"]).exits(2);
    assert!(piped.stderr.contains("--once"), "{}", piped.stderr);
}

#[test]
fn an_alert_that_fires_stands_out_and_is_acknowledged_by_whoever_says_yes() {
    let project = installed("");
    project.sql(
        "INSERT INTO runchain_alerts(fingerprint, rule, severity, state, subject, message, count, first_at_ms, last_at_ms)
         VALUES ('f', 'too_slow', 'error', 'firing', 'orders', 'an hour late', 1, 1, 1)",
    );
    let mut terminal = monitor(&project, &[]);
    terminal.until(&["5 alerts (1)", "1 firing: too_slow orders an hour late"]);
    terminal.types("5a");
    terminal.until(&["Acknowledge 1 alert?"]);
    terminal.types("y");
    terminal.until(&["acknowledged  error"]);
    assert_eq!(project.sql("SELECT state FROM runchain_alerts"), "acknowledged\n");
    terminal.types("r");
    terminal.until(&["Resolve 1 alert?", "y yes   n no   r yes, with a reason"]);
    terminal.types("rthe orders came\r");
    terminal.until(&["resolved", "5 alerts  6 health"]);
    assert_eq!(project.sql("SELECT state FROM runchain_alerts"), "resolved\n");
    assert_eq!(
        audited(&project),
        ["acknowledge_alert -", "resolve_alert the orders came"]
    );
    terminal.types("q");
    assert_eq!(terminal.ended(), Some(0));
}

/// What was asked for or done, and why, in order.
fn audited(project: &Project) -> Vec<String> {
    project.lines(
        "SELECT json_extract(data, '$.action') || ' ' || coalesce(json_extract(data, '$.reason'), '-')
         FROM runchain_events WHERE json_extract(data, '$.action') NOT IN ('install', 'executor_start') ORDER BY id",
    )
}

#[test]
fn a_reason_that_was_typed_stands_in_the_audit() {
    let project = installed(UPLOAD);
    let service = project.service();
    project.sql(RUNNING);
    project.sql(COMPLETED);
    let mut terminal = monitor(&project, &["--run", "run-1"]);
    terminal.until(&["upload ✗ dead"]);
    fs::write(project.path("allowed"), "").unwrap();
    terminal.types("r");
    terminal.until(&["Retry 1 step of run run-1?", "r yes, with a reason"]);
    terminal.types("r");
    terminal.until(&["reason: _", "enter yes   esc back"]);
    terminal.types("a new key, by q");
    terminal.until(&["reason: a new key, by q_"]);
    terminal.types("\r");
    terminal.until(&["upload ✓ done"]);
    terminal.types("3");
    // The report, too, has ended by then: p finds no kind of steps under the cursor.
    terminal.until(&["nothing waits"]);
    terminal.types("pP");
    terminal.until(&["Pause every kind of steps?"]);
    terminal.types("rdisk is changed\r");
    terminal.until(&["PAUSED: *"]);
    terminal.types("u");
    terminal.until(&["Resume every kind of steps?"]);
    terminal.types("ry\r");
    eventually("the pause to end", || {
        match project.sql("SELECT count(*) FROM runchain_pauses").as_str() {
            "0\n" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    assert_eq!(
        audited(&project),
        ["retry a new key, by q", "pause disk is changed", "resume y"]
    );
    terminal.types("q");
    assert_eq!(terminal.ended(), Some(0));
    assert!(service.terminate().success());
}

/// Begins a hyperlink to a file of the project.
fn link_to(project: &Project, path: &str) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("\u{1b}]8;;file://{host}{}\u{1b}\\", project.path(path).display())
}

#[test]
fn bag_and_report_are_hyperlinks_where_the_terminal_takes_them_and_nowhere_else() {
    let project = installed("");
    project.sql(RUNNING);
    project.sql(COMPLETED);
    project.runchain(&["drain", "--until-idle"]).exits(0);
    let (bag, page) = (
        link_to(&project, ".archive/run-1"),
        link_to(&project, "reports/run-1.html"),
    );
    let known = ("VTE_VERSION", "7600");
    for (variables, options, linked) in [
        (vec![("TERM", "xterm-kitty")], &[][..], true),
        (vec![known], &[], true),
        (vec![known, ("TERM", "linux")], &[], false),
        (vec![known, ("TERM", "dumb")], &[], false),
        (vec![known, ("FORCE_HYPERLINK", "0")], &[], false),
        (vec![known], &["--hyperlink", "never"], false),
        (vec![("TERM", "linux")], &["--hyperlink", "always"], true),
    ] {
        let mut command = project.command(&["monitor", "--run", "run-1"]);
        let mut terminal = Screen::start(command.args(options).envs(variables.clone()), 80, 24);
        terminal.until(&["bag      .archive/run-1", "report   reports/run-1.html"]);
        // A key later every frame before it is through.
        terminal.types("y");
        terminal.until(&["copied: "]);
        let printed = terminal.printed();
        assert_eq!(
            (printed.contains(&bag), printed.contains(&page)),
            (linked, linked),
            "{variables:?} {options:?}"
        );
        terminal.types("q");
        assert_eq!(terminal.ended(), Some(0));
        let mut command = project.command(&["show", "run-1"]);
        let mut terminal = Screen::start(command.args(options).envs(variables.clone()), 80, 24);
        assert_eq!(terminal.ended(), Some(0));
        terminal.until(&["report  reports/run-1.html", "bag     .archive/run-1"]);
        let printed = terminal.printed();
        assert_eq!(
            (printed.contains(&bag), printed.contains(&page)),
            (linked, linked),
            "show: {variables:?} {options:?}"
        );
    }
    let piped = project.runchain(&["show", "run-1"]).exits(0).stdout;
    assert!(
        piped.contains("report  reports/run-1.html\nbag     .archive/run-1\n") && !piped.contains('\u{1b}'),
        "{piped}"
    );
}
