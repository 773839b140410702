//! The rules of the queue, seen from outside: what runs first, how much at once, what is held back,
//! and what happens when a step or a leader dies.

use crate::support::{Project, SHAPE_A, Service, Sqlite, eventually, extension};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::time::{Duration, Instant};

/// Ends runs, all in one statement.
fn end(project: &Project, runs: &[&str]) {
    let rows: Vec<String> = runs.iter().map(|run| format!("('{run}', 'COMPLETED')")).collect();
    project.sql(&format!(
        "INSERT INTO runs(run_id, status) VALUES {};",
        rows.join(", ")
    ));
}

/// A command that writes step and run to the file `order`.
const NOTED: &str = "command = ['sh', '-c', 'echo \"$RUNCHAIN_STEP $RUNCHAIN_RUN_ID\" >> order']";

fn order(project: &Project) -> Vec<String> {
    let text = fs::read_to_string(project.path("order")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn until_told(service: &Service, part: &str, times: usize) {
    eventually(part, || {
        let told = service.told();
        if told.matches(part).count() >= times {
            Ok(())
        } else {
            Err(told)
        }
    });
}

#[test]
fn the_lower_priority_number_goes_first_then_the_older_step() {
    let project = Project::installed(&format!(
        "workers = 1\n[steps.archive]\n{NOTED}\n[steps.report]\n{NOTED}\n\
         [steps.low]\npriority = 200\n{NOTED}\n[steps.high]\npriority = 1\n{NOTED}\n"
    ));
    end(&project, &["a", "b"]);
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(
        order(&project),
        [
            "high a",
            "high b",
            "archive a",
            "archive b",
            "report a",
            "report b",
            "low a",
            "low b"
        ]
    );
}

#[test]
fn a_delayed_step_waits_its_time_and_is_not_forgotten() {
    let delayed =
        |delay_ms: i64| format!("[steps.later]\ndelay_ms = {delay_ms}\nafter = ['archive']\n{NOTED}\n");
    let project = Project::installed(&delayed(3_600_000));
    end(&project, &["r"]);
    project.runchain(&["drain", "--once"]).exits(0);
    assert_eq!(order(&project), [""; 0]);

    let project = Project::installed(&delayed(1_200));
    end(&project, &["r"]);
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(order(&project), ["later r"]);
    let waited = project.sql(
        "SELECT later.started_ms - archive.finished_ms FROM runchain_steps AS later JOIN runchain_steps AS archive
         WHERE later.step = 'later' AND archive.step = 'archive';",
    );
    assert!(waited.trim().parse::<i64>().unwrap() >= 1200, "{waited}");
}

#[test]
fn a_step_is_not_started_after_its_deadline() {
    const STEP: &str = "SELECT state, attempts, error FROM runchain_steps WHERE step = 'late';";
    let project = Project::installed(&format!(
        "[steps.late]\ndelay_ms = 300\ndeadline_ms = 100\n{NOTED}\n"
    ));
    end(&project, &["r"]);
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(order(&project), [""; 0]);
    assert_eq!(
        project.lines(STEP),
        ["dead|1|its deadline had passed before it could start"]
    );
    // Who asks again means now: the end of the run is long past.
    project.sql("INSERT INTO runchain_queue(action, run_id) VALUES ('cancel', 'r');");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    project.sql(
        "INSERT INTO runchain_queue(action, step_id) SELECT 'redo', id FROM runchain_steps WHERE step = 'late';",
    );
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(order(&project), ["late r"]);
}

/// The deadline counts from the run's end: one that is held up for longer before it starts gets a later one.
#[test]
fn a_step_that_runs_at_its_deadline_is_ended() {
    for deadline_ms in [1_000, 5_000, 25_000] {
        let project = Project::installed(&format!(
            "[steps.long]\ndeadline_ms = {deadline_ms}\ncommand = ['sh', '-c', 'exec sleep 600']\n"
        ));
        end(&project, &["r"]);
        let began = Instant::now();
        project.runchain(&["drain", "--until-idle"]).exits(0);
        assert!(
            began.elapsed() < Duration::from_secs(300),
            "{:?}",
            began.elapsed()
        );
        let ended = project.lines("SELECT state, attempts, error FROM runchain_steps WHERE step = 'long';");
        if ended == ["dead|1|its deadline had passed before it could start"] {
            continue;
        }
        assert_eq!(ended, ["dead|1|\"sh\" was ended at the step's deadline"]);
        return;
    }
    panic!("it was never started before its deadline");
}

#[test]
fn a_concurrency_limit_holds_over_two_executors() {
    const RUNS: usize = 16;
    const LIMIT: i32 = 2;
    let project = Project::installed(
        "[steps.archive]\nconcurrency = 2\n\
         command = ['sh', '-c', 'echo begin >> witness; sleep 0.05; echo end >> witness']\n",
    );
    let _services = [project.service(), project.service()];
    let names: Vec<String> = (0..RUNS).map(|n| format!("r{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for part in names.chunks(RUNS / 4) {
        end(&project, part);
    }
    let done = "SELECT count(*) FROM runchain_steps WHERE step = 'archive' AND state = 'done'";
    project.until(done, &RUNS.to_string());
    let (mut at_once, mut most) = (0, 0);
    for mark in fs::read_to_string(project.path("witness")).unwrap().lines() {
        at_once += if mark == "begin" { 1 } else { -1 };
        most = most.max(at_once);
    }
    assert_eq!((at_once, most), (0, LIMIT));
}

/// How one pauses and resumes: the words are the action and the kind.
type Ask = fn(&Project, &str, Option<&str>);

fn by_command_line(project: &Project, action: &str, kind: Option<&str>) {
    let mut arguments = vec![action, "--reason", "disk full"];
    arguments.extend(kind);
    project.runchain(&arguments).exits(0);
}

fn by_function(project: &Project, action: &str, kind: Option<&str>) {
    let kind = kind.unwrap_or("*");
    let sql = format!(
        ".load {}\nSELECT runchain_{action}('{kind}', 'disk full');\n",
        extension().display()
    );
    let answer = Sqlite::Stock.run(&project.database(), &sql).output();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["queued"], true, "{answer}");
}

fn by_insert(project: &Project, action: &str, kind: Option<&str>) {
    let kind = kind.map_or_else(|| "NULL".to_owned(), |kind| format!("'{kind}'"));
    project.sql(&format!(
        "INSERT INTO runchain_queue(action, step, actor, reason) VALUES ('{action}', {kind}, 'ann', 'disk full');"
    ));
}

#[test]
fn a_pause_holds_a_kind_or_everything_however_it_is_asked_for_until_it_is_resumed() {
    let ways: [(&str, Ask); 3] = [
        ("command line", by_command_line),
        ("function", by_function),
        ("plain INSERT", by_insert),
    ];
    for (way, ask) in ways {
        for (kind, held) in [(Some("report"), "done|ready"), (None, "ready|waiting")] {
            let project = Project::installed("");
            ask(&project, "pause", kind);
            end(&project, &["r"]);
            // What is paused is not waited for.
            project.runchain(&["drain", "--until-idle"]).exits(0);
            let states =
                "SELECT group_concat(state, '|') FROM (SELECT state FROM runchain_steps ORDER BY id);";
            assert_eq!(project.sql(states), format!("{held}\n"), "{way}, {kind:?}");

            let status = project.runchain(&["status"]).exits(0).stdout;
            let line = status
                .lines()
                .find(|line| line.starts_with("paused "))
                .expect(&status);
            let wanted = kind.map_or("every kind of steps, ".to_owned(), |kind| format!("{kind}, "));
            let resume = kind.map_or("runchain resume".to_owned(), |kind| {
                format!("runchain resume {kind}")
            });
            assert!(line.contains(&wanted) && line.contains(": disk full; "), "{line}");
            assert!(line.ends_with(&resume), "{line}");
            let checks = project.runchain(&["validate", "--json"]).json();
            let checks = checks["checks"].as_array().unwrap();
            let check = checks.iter().find(|check| check["check"] == "pauses").unwrap();
            let remedy = format!("SELECT runchain_resume('{}');", kind.unwrap_or("*"));
            assert_eq!(
                (&check["severity"], &check["remedy"]),
                (&"warning".into(), &remedy.into())
            );

            ask(&project, "resume", kind);
            project.runchain(&["drain", "--until-idle"]).exits(0);
            assert_eq!(project.sql(states), "done|done\n", "{way}, {kind:?}");
            let audit = project.lines(
                "SELECT json_extract(data, '$.action') || ' ' || json_extract(data, '$.step') || ' ' || json_extract(data, '$.answer')
                 FROM runchain_events WHERE type = 'REQUEST' ORDER BY id;",
            );
            let kind = kind.unwrap_or("*");
            assert_eq!(
                audit,
                [format!("pause {kind} done"), format!("resume {kind} done")],
                "{way}"
            );
        }
    }
}

#[test]
fn a_pause_of_no_step_is_refused_and_what_runs_goes_on() {
    let project = Project::installed(
        "[steps.archive]\ncommand = ['sh', '-c', 'touch begun; until test -e go; do sleep 0.02; done']\n",
    );
    let refused = project.runchain(&["pause", "archiv"]).exits(2);
    assert!(refused.stderr.contains("archive, report"), "{}", refused.stderr);
    let _service = project.service();
    end(&project, &["r"]);
    eventually("the archive to begin", || {
        if project.path("begun").exists() {
            Ok(())
        } else {
            Err("it has not".to_owned())
        }
    });
    project.runchain(&["pause"]).exits(0);
    project.until("SELECT count(*) FROM runchain_pauses", "1");
    fs::write(project.path("go"), "").unwrap();
    let states = "SELECT group_concat(state, '|') FROM (SELECT state FROM runchain_steps ORDER BY id)";
    project.until(states, "done|ready");
    project.runchain(&["resume"]).exits(0);
    project.until(states, "done|done");
}

/// Kills the executor: the command's parent is its supervisor, and whose parent that is.
const POISON: &str = r#"
workers = 16
[steps.archive]
command = ["sh", "-c", 'test "$RUNCHAIN_RUN_ID" != poison || kill -9 $(cut -d" " -f4 /proc/$PPID/stat)']
max_attempts = 4
[steps.report]
command = ["true"]
"#;

#[test]
fn a_step_that_kills_its_executor_takes_no_other_along() {
    const GOOD: usize = 127;
    let project = Project::installed(POISON);
    let mut names: Vec<String> = (0..GOOD).map(|n| format!("r{n}")).collect();
    names.insert(7, "poison".to_owned());
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut service = Service::start(project.root());
    end(&project, &names);
    let poison = "SELECT state FROM runchain_steps WHERE run_id = 'poison' AND step = 'archive'";
    let done = "SELECT count(*) FROM runchain_steps WHERE run_id <> 'poison' AND state = 'done'";
    let mut restarts = 0;
    let through = format!("dead\n{}\n", 2 * GOOD);
    let mut found = String::new();
    // However slow the machine is, each of its deaths has a patience of its own.
    while found != through && restarts <= 4 {
        eventually("127 chains and the end of the poison, or of the service", || {
            found = project.sql(&format!("{poison}; {done};"));
            if found == through || !service.is_running() {
                Ok(())
            } else {
                Err(found.clone())
            }
        });
        if !service.is_running() {
            restarts += 1;
            // As if the lease of the dead one had run out.
            project.sql("UPDATE runchain_executors SET lease_until_ms = 0;");
            service = Service::start(project.root());
        }
    }
    // One for each of its attempts, no more: it never came back a fifth time.
    assert_eq!(restarts, 4);
    let history = project.lines(
        "SELECT f.attempt, f.error FROM runchain_failures AS f JOIN runchain_steps AS s ON s.id = f.step_id
         WHERE s.run_id = 'poison' ORDER BY f.id;",
    );
    assert_eq!(history.len(), 4, "{history:?}");
    for (number, line) in history.iter().enumerate() {
        assert!(line.starts_with(&format!("{}|executor ", number + 1)), "{line}");
        assert!(line.ends_with(" disappeared while it ran this step"), "{line}");
    }
    // Only the first time were others beside it.
    assert_eq!(
        project.sql(
            "SELECT max(attempts), count(*) <= 15 FROM runchain_steps WHERE run_id <> 'poison' AND lost > 0;"
        ),
        "2|1\n"
    );
}

#[test]
fn sighup_takes_new_values_and_keeps_the_old_ones_when_the_file_is_wrong() {
    let archive = |word: &str| format!("[steps.archive]\ncommand = ['sh', '-c', 'echo {word} >> words']\n");
    let project = Project::installed(&archive("first"));
    let mut service = project.service();
    let through = |run: &str| {
        end(&project, &[run]);
        project.until(
            &format!("SELECT state FROM runchain_steps WHERE run_id = '{run}' AND step = 'report'"),
            "done",
        );
        fs::read_to_string(project.path("words")).unwrap()
    };
    assert_eq!(through("a"), "first\n");
    project.configure(&archive("second"));
    service.signal(Signal::HUP);
    until_told(&service, "the configuration was read again", 1);
    assert_eq!(through("b"), "first\nsecond\n");
    for wrong in ["workers = 'many'\n", "[steps.archive\n", "wokers = 3\n"] {
        let before = service.told().matches("so the old one stays").count();
        project.configure(&format!("{wrong}{}", archive("wrong")));
        service.signal(Signal::HUP);
        until_told(
            &service,
            "the configuration is wrong, so the old one stays",
            before + 1,
        );
    }
    assert_eq!(through("c"), "first\nsecond\nsecond\n");
    assert!(service.is_running());
}

#[test]
fn another_leads_within_seconds_of_the_leader_s_death_and_projects_on() {
    // What makes them look is the death of the leader and the write, no poll.
    let project =
        Project::installed("monitor.heartbeat_ms = 3600000\npoll_ms = 3600000\nsweep_ms = 3600000\n");
    let mut services: Vec<Service> = (0..3).map(|_| project.service()).collect();
    for left in (1..3).rev() {
        let who = || project.runchain(&["status", "--json"]).exits(0).json()["executor"]["who"].to_string();
        let leader = eventually("one of them to lead", || {
            let who = who();
            let leads = |service: &Service| who.contains(&format!("-{}-", service.pid()));
            services.iter().position(leads).ok_or(who)
        });
        services.remove(leader).kill();
        assert_eq!(services.len(), left);
        let run = format!("after-{left}");
        end(&project, &[&run]);
        eventually("the run's events in both logs", || {
            let has = |log: &str| project.log(log).iter().any(|line| line["run_id"] == *run);
            if has("monitor.jsonl") && has("archival.jsonl") {
                Ok(())
            } else {
                Err(who())
            }
        });
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

const WITHOUT_TRIGGERS: &str = "DROP TRIGGER runchain_capture_insert; DROP TRIGGER runchain_capture_update; DROP TRIGGER runchain_capture_delete;";

#[test]
fn the_sweep_finds_what_no_trigger_saw() {
    let project = Project::installed("sweep_ms = 1000\n");
    project.sql("INSERT INTO runs(run_id, status) VALUES ('ends', 'RUNNING'), ('goes', 'RUNNING');");
    let _service = project.service();
    project.until("SELECT count(*) FROM runchain_runs WHERE phase = 'active'", "2");
    project.sql(&format!(
        "{WITHOUT_TRIGGERS} UPDATE runs SET status = 'FAILED' WHERE run_id = 'ends'; DELETE FROM runs WHERE run_id = 'goes';
         INSERT INTO runs(run_id, status) VALUES ('new', 'COMPLETED');"
    ));
    project.until(
        "SELECT group_concat(run_id || ' ' || phase, ', ') FROM (SELECT * FROM runchain_runs ORDER BY run_id)",
        "ends failed, goes deleted, new completed",
    );
    project.until(
        "SELECT group_concat(run_id || ' ' || step || ' ' || state, ', ') FROM (SELECT * FROM runchain_steps ORDER BY run_id, id)",
        "ends archive done, ends report done, new archive done, new report done",
    );
}

#[test]
fn until_idle_has_looked_at_every_row_before_it_exits() {
    let project = Project::new(SHAPE_A, "");
    project.sql(
        "INSERT INTO runs(run_id, status)
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT 'r' || i, 'COMPLETED' FROM n;",
    );
    project.runchain(&["install"]).exits(0);
    project.sql(&format!(
        "{WITHOUT_TRIGGERS} UPDATE runs SET status = 'FAILED' WHERE run_id = 'r20000';
         DELETE FROM runs WHERE run_id = 'r19999';"
    ));
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(
        project.sql(
            "SELECT group_concat(run_id || ' ' || step || ' ' || state, ', ') FROM (SELECT * FROM runchain_steps ORDER BY run_id, id);
             SELECT phase FROM runchain_runs WHERE run_id = 'r19999';"
        ),
        "r20000 archive done, r20000 report done\ndeleted\n"
    );
}
