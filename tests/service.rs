//! The executor as a service: how it starts, wakes, stops, shares, and what it does when something
//! is pulled away under it.

use crate::support::{Project, SHAPE_A, Service, eventually};
use rustix::process::{Pid, Signal, test_kill_process_group};
use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn end(project: &Project, run_id: &str) {
    project.sql(&format!(
        "INSERT INTO runs(run_id, status) VALUES ('{run_id}', 'COMPLETED');"
    ));
}

/// An archive step that says that it has begun and waits for the file `go`. The lease outlasts every stall
/// of a busy machine: [`let_leases_end`] ends it.
const WAITS: &str = r#"
lease_ms = 120000
[steps.archive]
command = ["sh", "-c", 'echo $$ > group; until test -e go; do sleep 0.02; done; echo "$RUNCHAIN_ATTEMPT" >> through']
"#;

/// As if the time of every lease had passed.
fn let_leases_end(project: &Project) {
    project.sql("UPDATE runchain_executors SET lease_until_ms = 1;");
}

/// The process group of the command that is waiting now.
fn begun(project: &Project) -> Pid {
    eventually("the command to begin", || {
        let text = fs::read_to_string(project.path("group")).map_err(|error| error.to_string())?;
        let pid = text.strip_suffix('\n').and_then(|pid| pid.parse().ok());
        pid.and_then(Pid::from_raw).ok_or(text)
    })
}

fn go(project: &Project) {
    fs::write(project.path("go"), "").unwrap();
}

fn until_told(service: &Service, part: &str) {
    eventually(part, || {
        let told = service.told();
        if told.contains(part) { Ok(()) } else { Err(told) }
    });
}

const ARCHIVE: &str = "SELECT state FROM runchain_steps WHERE step = 'archive'";
const REPORT: &str = "SELECT state FROM runchain_steps WHERE step = 'report'";

#[test]
fn a_database_that_can_t_be_drained_has_its_code_and_a_line_in_the_log() {
    type Damage = fn(&Project);
    let broken: [(&str, i32, Damage); 6] = [
        ("missing", 4, |project| {
            fs::remove_file(project.database()).unwrap();
        }),
        ("empty", 5, |project| {
            fs::write(project.database(), "").unwrap();
        }),
        ("no database", 6, |project| {
            fs::write(project.database(), "a note\n".repeat(99)).unwrap();
        }),
        ("a folder", 7, |project| {
            fs::remove_file(project.database()).unwrap();
            fs::create_dir(project.database()).unwrap();
        }),
        ("no runs", 10, |project| {
            project.sql("ALTER TABLE runs RENAME TO jobs;");
        }),
        ("no tasks", 10, |project| {
            project.configure("required_tables = ['runs', 'tasks']");
        }),
    ];
    for (name, code, damage) in broken {
        let project = Project::installed("");
        damage(&project);
        for arguments in [&["drain"][..], &["drain", "--once"]] {
            let ran = project.runchain(arguments).exits(code);
            let path = project.database().display().to_string();
            assert!(ran.stderr.contains(&path), "{name}: {}", ran.stderr);
        }
        let log = project.log("monitor.jsonl");
        assert_eq!(log.len(), 2, "{name}");
        for line in log {
            assert_eq!(line["event"], "STATE_DB_INVALID", "{name}");
            assert!(line["error"].is_string() && line["remedy"].is_string(), "{name}");
        }
        assert!(
            !project.path(".archive").exists() && !project.path("reports").exists(),
            "{name}"
        );
    }
}

#[test]
fn a_database_that_stays_locked_has_its_code_and_a_line_in_the_log() {
    let project = Project::installed("");
    let holder = rusqlite::Connection::open(project.database()).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    project.runchain(&["drain", "--once"]).exits(8);
    assert_eq!(project.log("monitor.jsonl")[0]["event"], "STATE_DB_INVALID");
}

#[test]
fn not_installed_mapping_gone_and_too_old_have_their_codes() {
    let project = Project::new(SHAPE_A, "");
    project.runchain(&["drain", "--once"]).exits(9);
    project.runchain(&["install"]).exits(0);
    project.sql("UPDATE runchain_meta SET value = '99' WHERE key = 'min_writer_version';");
    for arguments in [&["drain"][..], &["drain", "--once"], &["install"]] {
        let ran = project.runchain(arguments).exits(11);
        assert!(
            ran.stderr
                .contains("asks for 99 or newer; install a newer runchain"),
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn once_leaves_what_is_delayed_and_until_idle_waits_for_it_but_not_for_active_runs() {
    let project = Project::installed("archive.settle_ms = 60000");
    project.sql("INSERT INTO runs(run_id, status) VALUES ('active', 'RUNNING');");
    end(&project, "over");
    project.runchain(&["drain", "--once"]).exits(0);
    assert_eq!(project.sql(&format!("{ARCHIVE};")), "ready\n");
    assert!(!project.path(".archive/over").exists());
    // A minute passes, but for a moment.
    project.configure("archive.settle_ms = 300");
    project.sql("UPDATE runchain_steps SET ready_at_ms = ready_at_ms - 60000 + 1000 WHERE step = 'archive';");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(project.sql(&format!("{REPORT};")), "done\n");
    assert_eq!(
        project.sql("SELECT phase, monitor FROM runchain_runs WHERE run_id = 'active';"),
        "active|on\n"
    );
    assert_eq!(project.sql("SELECT count(*) FROM runchain_queue;"), "0\n");
    assert_eq!(project.sql("SELECT count(*) FROM runchain_executors;"), "0\n");
}

#[test]
fn sigterm_while_idle_ends_it_in_order() {
    let project = Project::installed("");
    let mut service = project.service();
    service.signal(Signal::TERM);
    assert_eq!(service.ended(), Some(0));
    assert_eq!(project.sql("SELECT count(*) FROM runchain_executors;"), "0\n");
}

#[test]
fn sigterm_lets_a_running_command_finish_and_starts_nothing_more() {
    let project = Project::installed(WAITS);
    let mut service = project.service();
    end(&project, "r");
    begun(&project);
    service.signal(Signal::TERM);
    until_told(&service, "stopping when 1 running steps are through");
    assert!(service.is_running());
    go(&project);
    assert_eq!(service.ended(), Some(0));
    assert_eq!(project.sql(&format!("{ARCHIVE}; {REPORT};")), "done\nready\n");
    assert_eq!(fs::read_to_string(project.path("through")).unwrap(), "1\n");
}

#[test]
fn a_second_signal_ends_it_at_once_with_its_commands() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let project = Project::installed(WAITS);
        let mut service = project.service();
        end(&project, "r");
        let group = begun(&project);
        service.signal(signal);
        until_told(&service, "again to stop at once");
        service.signal(signal);
        assert_eq!(service.ended(), Some(code));
        eventually("the command to be gone", || {
            match test_kill_process_group(group) {
                Err(_) => Ok(()),
                Ok(()) => Err("it lives".to_owned()),
            }
        });
        // Its lease runs out and the step is done by the next executor.
        let_leases_end(&project);
        go(&project);
        project.runchain(&["drain", "--until-idle"]).exits(0);
        assert_eq!(project.sql(&format!("{ARCHIVE}; {REPORT};")), "done\ndone\n");
    }
}

#[test]
fn an_outdated_executor_settles_what_runs_then_stops_and_says_why() {
    let project = Project::installed(WAITS);
    let mut service = project.service();
    end(&project, "r");
    begun(&project);
    project.sql("UPDATE runchain_meta SET value = '99' WHERE key = 'min_writer_version';");
    end(&project, "later");
    until_told(&service, "asks for 99 or newer");
    assert!(service.is_running());
    go(&project);
    assert_eq!(service.ended(), Some(11));
    assert_eq!(project.sql(&format!("{ARCHIVE};")), "done\n");
    assert_eq!(
        project.sql("SELECT count(*) FROM runchain_queue;"),
        "1\n",
        "it expanded what it must not"
    );
    assert!(
        service.told().ends_with("install a newer runchain\"}\n"),
        "{}",
        service.told()
    );
}

#[test]
fn two_executors_do_each_step_once() {
    const RUNS: usize = 40;
    let project = Project::installed(
        "[steps.archive]\ncommand = ['sh', '-c', 'echo \"$RUNCHAIN_RUN_ID\" >> archived']\n\
         [steps.report]\ncommand = ['sh', '-c', 'echo \"$RUNCHAIN_RUN_ID\" >> reported']\n",
    );
    let services = [project.service(), project.service()];
    for half in 0..2 {
        let rows: Vec<String> = (0..RUNS / 2)
            .map(|n| format!("('r{half}-{n}', 'COMPLETED')"))
            .collect();
        project.sql(&format!(
            "INSERT INTO runs(run_id, status) VALUES {};",
            rows.join(", ")
        ));
    }
    project.until(
        "SELECT count(*) FROM runchain_steps WHERE state = 'done'",
        &(2 * RUNS).to_string(),
    );
    for name in ["archived", "reported"] {
        let mut times: BTreeMap<String, u32> = BTreeMap::new();
        for line in fs::read_to_string(project.path(name)).unwrap().lines() {
            *times.entry(line.to_owned()).or_default() += 1;
        }
        assert_eq!(times.len(), RUNS, "{name}");
        assert!(times.values().all(|count| *count == 1), "{name}: {times:?}");
    }
    assert_eq!(project.sql("SELECT count(*) FROM runchain_failures;"), "0\n");
    for mut service in services {
        service.signal(Signal::TERM);
        assert_eq!(service.ended(), Some(0), "{}", service.told());
    }
    let seq: Vec<i64> = project
        .log("monitor.jsonl")
        .iter()
        .filter_map(|line| line["seq"].as_i64())
        .collect();
    assert!(
        seq.is_sorted_by(|a, b| a < b),
        "an event stands twice or out of order"
    );
}

#[test]
fn a_step_of_a_killed_executor_runs_again_when_its_lease_is_over() {
    let project = Project::installed(WAITS);
    let mut first = project.service();
    end(&project, "r");
    let group = begun(&project);
    first.signal(Signal::KILL);
    assert_eq!(first.ended(), None);
    eventually(
        "the command to end with its executor",
        || match test_kill_process_group(group) {
            Ok(()) => Err("it still runs".to_owned()),
            Err(_) => Ok(()),
        },
    );
    let_leases_end(&project);
    go(&project);
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(
        project.sql("SELECT state, attempts FROM runchain_steps WHERE step = 'archive';"),
        "done|2\n"
    );
    assert_eq!(fs::read_to_string(project.path("through")).unwrap(), "2\n");
    let history = project.sql("SELECT attempt, error FROM runchain_failures;");
    assert!(history.starts_with("1|executor "), "{history}");
    assert!(
        history.contains(" disappeared while it ran this step\n"),
        "{history}"
    );
}

#[test]
fn a_second_executor_takes_the_lead_over_when_the_first_stops() {
    let project = Project::installed("monitor.heartbeat_ms = 600000");
    for signal in [Signal::TERM, Signal::KILL] {
        let mut first = project.service();
        let mut second = project.service();
        first.signal(signal);
        first.ended();
        let run_id = format!("{signal:?}");
        end(&project, &run_id);
        eventually("the second to write the log", || {
            let log = project.log("archival.jsonl");
            if log.iter().any(|line| line["run_id"] == *run_id) {
                Ok(())
            } else {
                Err(second.told())
            }
        });
        assert!(second.is_running(), "{}", second.told());
    }
}

#[test]
fn a_database_that_was_replaced_is_not_written_to() {
    let project = Project::installed("");
    let other = Project::new(SHAPE_A, "");
    other.runchain(&["install"]).exits(0);
    end(&other, "not ours");
    let before = fs::read(other.database()).unwrap();
    let mut service = project.service();
    fs::rename(other.database(), project.database()).unwrap();
    assert_eq!(service.ended(), Some(12));
    assert!(
        service
            .told()
            .contains("was replaced or deleted while runchain had it open"),
        "{}",
        service.told()
    );
    assert!(
        fs::read(project.database()).unwrap() == before,
        "something was written into it"
    );
}

#[test]
fn the_commands_of_a_database_that_was_deleted_end_with_the_executor() {
    let project = Project::installed(WAITS);
    let mut service = project.service();
    end(&project, "r");
    let group = begun(&project);
    fs::remove_file(project.database()).unwrap();
    assert_eq!(service.ended(), Some(12));
    eventually("the command to be gone", || {
        match test_kill_process_group(group) {
            Err(_) => Ok(()),
            Ok(()) => Err("it lives".to_owned()),
        }
    });
    assert!(!project.database().exists());
}

#[test]
fn logs_of_another_database_are_not_written_to() {
    let project = Project::installed("");
    end(&project, "r");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    fs::remove_file(project.database()).unwrap();
    project.sql(SHAPE_A);
    project.runchain(&["install"]).exits(0);
    end(&project, "s");
    let before = project.tree("logs");
    for arguments in [&["drain"][..], &["drain", "--once"], &["finish", "--run", "s"]] {
        let ran = project.runchain(arguments).exits(12);
        assert!(ran.stderr.contains("belong to database"), "{}", ran.stderr);
    }
    assert!(project.tree("logs") == before);
}

#[test]
fn a_quiet_run_is_said_to_stall_and_then_to_resume() {
    let project = Project::installed("monitor.heartbeat_ms = 100\nmonitor.stall_after_ms = 300\n");
    let _service = project.service();
    project.sql("INSERT INTO runs(run_id, status) VALUES ('r', 'RUNNING');");
    let count = |kind: &str| format!("SELECT count(*) FROM runchain_events WHERE type = '{kind}'");
    project.until(&count("RUN_STALLED"), "1");
    project.sql("UPDATE runs SET updated_at = 'now';");
    project.until(&count("RUN_RESUMED"), "1");
    // Whoever hears of alerts hears of both.
    project.until(
        "SELECT group_concat(state, ' ') FROM (
           SELECT c.state FROM runchain_alert_changes AS c JOIN runchain_alerts AS a ON a.id = c.alert_id
           WHERE a.rule = 'run_stalled' AND a.run_id = 'r' ORDER BY c.id LIMIT 2)",
        "firing resolved",
    );
    project.sql("UPDATE runs SET status = 'COMPLETED';");
    eventually("the events in the log", || {
        let log = project.log("monitor.jsonl");
        let events: Vec<&str> = log
            .iter()
            .filter(|line| line["seq"].is_i64())
            .filter_map(|line| line["event"].as_str())
            .collect();
        let wanted = [
            "INSTALLED",
            "RUN_CREATED",
            "MONITOR_STARTED",
            "RUN_STALLED",
            "RUN_RESUMED",
            "RUN_COMPLETED",
            "MONITOR_STOPPED",
        ];
        // It may have stalled once more meanwhile.
        if wanted.iter().all(|event| events.contains(event)) {
            Ok(())
        } else {
            Err(format!("{events:?}"))
        }
    });
}

#[test]
fn a_write_wakes_it_without_polling_in_both_journal_modes() {
    for journal in ["delete", "wal"] {
        let project = Project::installed(
            "poll_ms = 3600000\nmonitor.heartbeat_ms = 3600000\nmonitor.stall_after_ms = 3600000\n",
        );
        project.sql(&format!(
            "PRAGMA journal_mode = {journal}; INSERT INTO runs(run_id, status) VALUES ('r', 'RUNNING');"
        ));
        let _service = project.service();
        project.until("SELECT monitor FROM runchain_runs", "on");
        for status in ["COMPLETED", "RUNNING", "FAILED"] {
            // Asleep it tells nobody: what comes within its last looks would prove nothing.
            std::thread::sleep(Duration::from_millis(250));
            project.sql(&format!("UPDATE runs SET status = '{status}';"));
            // By itself it would look after an hour.
            project.until(&format!("SELECT status = '{status}' FROM runchain_runs"), "1");
        }
    }
}

#[test]
fn a_writer_that_never_rests_keeps_neither_steps_nor_signals_waiting() {
    // One worker, and it is busy: whatever is expanded finds no place.
    let project = Project::installed(&WAITS.replace("lease_ms", "workers = 1\nlease_ms"));
    project.sql("PRAGMA journal_mode = WAL; INSERT INTO runs(run_id, status) VALUES ('busy', 'RUNNING');");
    let mut service = project.service();
    end(&project, "first");
    begun(&project);
    let (database, resting) = (project.database(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let _rest = Rest(&resting);
        scope.spawn(|| {
            let conn = rusqlite::Connection::open(&database).unwrap();
            conn.busy_timeout(Duration::from_secs(60)).unwrap();
            while !resting.load(Ordering::Relaxed) {
                for status in ["PENDING", "RUNNING"] {
                    conn.execute("UPDATE runs SET status = ?1 WHERE run_id = 'busy'", [status])
                        .unwrap();
                }
            }
        });
        go(&project);
        project.until("SELECT count(*) FROM runchain_steps WHERE state = 'done'", "2");
        service.signal(Signal::TERM);
        assert_eq!(service.ended(), Some(0), "{}", service.told());
    });
}

/// The writer rests when the test is over, also where it fails: it would be waited for.
struct Rest<'a>(&'a AtomicBool);

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
