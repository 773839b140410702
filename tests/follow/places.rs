//! Which files are followed: folders, globs, the usual places, what may not be read.

use super::*;
use crate::support::Project;
use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::Value;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

#[test]
fn a_failure_in_a_real_event_folder_is_an_alert_in_the_log_soon_after() {
    let project = Project::installed("");
    append(&project, EVENTS, &lines(0..3));
    append(&project, "jobs/JOB-1/pattern_events.jsonl", &lines(0..3));
    let _service = follows(&project, &["state/events", "jobs"]);
    until_stored(&project, 3);
    project.until("SELECT sum(duplicates) FROM runchain_ingest_files", "3");
    let written = Instant::now();
    append(&project, EVENTS, &line(3, "pattern.execution.failed"));
    let alert = eventually("ALERT_FIRING in logs/monitor.jsonl", || {
        let log = project.log("monitor.jsonl");
        let found = log.iter().find(|line| line["event"] == "ALERT_FIRING");
        found.cloned().ok_or_else(|| format!("{log:?}"))
    });
    println!("from the line to its alert in the log: {:?}", written.elapsed());
    assert_eq!(alert["data"]["subject"], "PRUN-3");
    assert_eq!(alert["data"]["message"], "disk on fire");
    project.until("SELECT status FROM uet_tasks WHERE task_id = 'PRUN-3'", "failed");
    // Each new event stands in the log once, too.
    let told = || -> Vec<Value> {
        let log = project.log("monitor.jsonl");
        let told = log.iter().filter(|line| line["event"] == "EVENT_INGESTED");
        told.map(|line| line["data"]["event_id"].clone()).collect()
    };
    let wanted: Vec<Value> = (0..4).map(|number| format!("EVT-{number:026}").into()).collect();
    eventually("every event to stand in the log", || {
        let told = told();
        if told == wanted {
            Ok(())
        } else {
            Err(format!("{told:?}"))
        }
    });
}

/// From the line to the row, as it was this time: under load that says nothing, so that nothing is asserted.
#[test]
fn a_real_event_folder_is_found_by_itself_and_each_failure_is_an_alert() {
    let project = Project::installed("");
    let own = |number: u32| format!("state/events/jobs/JOB-{number}/pattern_events.jsonl");
    append(&project, EVENTS, &lines(0..3));
    append(&project, &own(1), &lines(0..3));
    let _service = project.service();
    until_stored(&project, 3);
    let conn = Connection::open(project.database()).unwrap();
    let mut took: Vec<Duration> = (3..53)
        .map(|number| {
            let failed = line(number, "pattern.execution.failed");
            let written = Instant::now();
            append(&project, EVENTS, &failed);
            let subject = format!("PRUN-{number}");
            let took = eventually(&format!("the alert of {subject}"), || {
                let sql = "SELECT message FROM runchain_alerts WHERE subject = ?1 AND state = 'firing'";
                // The answer is asked for more often than `eventually` does.
                for _ in 0..20 {
                    let message = conn.query_row(sql, [&subject], |row| row.get::<_, String>(0));
                    if message.as_deref() == Ok("disk on fire") {
                        return Ok(written.elapsed());
                    }
                    std::thread::sleep(Duration::from_micros(250));
                }
                Err("none".to_owned())
            });
            append(&project, &own(number % 3), &failed);
            took
        })
        .collect();
    took.sort_unstable();
    println!(
        "from the written line to its alert: p50 {:?}, p99 {:?}",
        took[25], took[49]
    );
    // The jobs' own files hold the same.
    project.until("SELECT sum(duplicates) FROM runchain_ingest_files", "53");
    until_stored(&project, 53);
    project.until("SELECT count(*) FROM uet_tasks WHERE status = 'failed'", "50");
    assert_eq!(
        project.sql("SELECT count(*), sum(count) FROM runchain_alerts"),
        "50|50\n"
    );
}

#[test]
fn a_flood_of_events_is_a_few_lines_in_the_log() {
    let project = Project::installed("");
    append(&project, EVENTS, &lines(0..20_000));
    let _service = follows(&project, &["state/events"]);
    until_stored(&project, 20_000);
    let told = "SELECT sum(coalesce(json_extract(data, '$.events'), 1)) FROM runchain_events
                WHERE type IN ('EVENT_INGESTED', 'EVENTS_INGESTED')";
    project.until(told, "20000");
    let rows: u32 = project
        .sql("SELECT count(*) FROM runchain_events WHERE type LIKE 'EVENT%_INGESTED'")
        .trim()
        .parse()
        .unwrap();
    println!("20,000 events are told by {rows} lines");
    assert!(rows <= 200, "{rows}");
    let last =
        "SELECT max(json_extract(data, '$.last_id')) FROM runchain_events WHERE type = 'EVENTS_INGESTED'";
    assert!(project.sql(last).trim().parse::<u32>().unwrap() <= 20_000);
}

#[test]
fn the_usual_places_are_named_and_followed_when_they_come_to_be() {
    let project = Project::installed("");
    append(&project, EVENTS, &lines(0..1));
    let service = project.service();
    says(&service, "in the usual places");
    for place in [
        "/state/events (1 file)",
        "/state_manager/src/state/events (not there yet)",
        "/.state/events (not there yet)",
    ] {
        says(&service, place);
    }
    append(&project, ".state/events/a.jsonl", &lines(1..2));
    until_stored(&project, 2);
    // Several folders at once, one in the other.
    append(
        &project,
        "state_manager/src/state/events/jobs/JOB-2/b.jsonl",
        &lines(2..3),
    );
    until_stored(&project, 3);
}

#[test]
fn a_folder_that_is_made_later_removed_and_made_again_is_followed() {
    let project = Project::installed("");
    let service = follows(&project, &["far/below/events"]);
    says(&service, "far/below/events (not there yet)");
    append(&project, "far/below/events/a.jsonl", &lines(0..2));
    until_stored(&project, 2);
    fs::remove_dir_all(project.path("far")).unwrap();
    append(&project, "far/below/events/a.jsonl", &lines(2..4));
    until_stored(&project, 4);
}

#[test]
fn a_glob_takes_what_matches_now_and_later_and_nothing_else() {
    let project = Project::installed("");
    append(&project, "jobs/a/events.jsonl", &lines(0..1));
    append(&project, "jobs/a/other.jsonl", &lines(10..11));
    append(&project, "jobs/a/deep/events.jsonl", &lines(11..12));
    let _service = follows(&project, &["jobs/*/events.jsonl"]);
    until_stored(&project, 1);
    append(&project, "jobs/b/events.jsonl", &lines(1..2));
    until_stored(&project, 2);
    append(&project, "jobs/a/events.jsonl", &lines(2..3));
    until_stored(&project, 3);
    assert_eq!(project.sql("SELECT count(*) FROM runchain_ingest_files"), "2\n");
}

#[test]
fn a_thousand_files_are_followed_by_one_process() {
    let project = Project::installed("");
    for number in 0..1_000 {
        append(
            &project,
            &format!("state/events/jobs/JOB-{number}/events.jsonl"),
            &lines(number..number + 1),
        );
    }
    let service = follows(&project, &["state/events"]);
    says(&service, "(1000 files)");
    until_stored(&project, 1_000);
    for number in [0, 500, 999] {
        let file = format!("state/events/jobs/JOB-{number}/events.jsonl");
        append(&project, &file, &lines(2_000 + number..2_001 + number));
    }
    until_stored(&project, 1_003);
    append(
        &project,
        "state/events/jobs/JOB-1000/events.jsonl",
        &lines(1_000..1_001),
    );
    until_stored(&project, 1_004);
    println!("{} KiB resident", resident_kib(&service));
}

fn resident_kib(service: &Service) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", service.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap().trim().trim_end_matches(" kB").to_owned()
}

#[test]
fn what_lies_outside_the_roots_or_is_no_file_is_refused_once_in_a_sentence_and_the_rest_goes_on() {
    let project = Project::installed("");
    let elsewhere = tempfile::tempdir().unwrap();
    append_to(&elsewhere.path().join("secret.jsonl"), &lines(50..51));
    append(&project, EVENTS, &lines(0..1));
    append(&project, "inside/real.jsonl", &lines(1..2));
    let events = project.path("state/events");
    symlink(elsewhere.path().join("secret.jsonl"), events.join("out.jsonl")).unwrap();
    symlink("../../inside/real.jsonl", events.join("in.jsonl")).unwrap();
    symlink(project.path("inside"), events.join("folder.jsonl")).unwrap();
    symlink(project.database(), events.join("database.jsonl")).unwrap();
    let fifo = events.join("pipe.jsonl");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let service = follows(&project, &["state/events"]);
    until_stored(&project, 2);
    for words in [
        "secret.jsonl lies outside the folders that the service reads",
        "add its folder to ingest.roots",
        "pipe.jsonl is a FIFO, no event log; name a regular file",
        "orchestration.db is a file of this database",
        "folder.jsonl: it is a symlink to a folder",
    ] {
        says(&service, words);
    }
    // A symlink's file is followed where it lies.
    append(&project, "inside/real.jsonl", &lines(2..3));
    until_stored(&project, 3);
    append(&project, "state/events/new.jsonl", &lines(3..4));
    until_stored(&project, 4);
    let refused = "SELECT count(*) FROM runchain_events WHERE type = 'INGEST_REFUSED'";
    project.until(refused, "4");
    assert_eq!(service.told().matches("pipe.jsonl is a FIFO").count(), 1);
    eventually("the refusal to stand in the log", || {
        let log = project.log("monitor.jsonl");
        let mut refusals = log.iter().filter(|line| line["event"] == "INGEST_REFUSED");
        let found = refusals.any(|line| line["data"]["why"].as_str().unwrap().contains("ingest.roots"));
        if found { Ok(()) } else { Err(format!("{log:?}")) }
    });
    drop(service);
    // Where that folder is named, it is read.
    project.configure(&format!(
        "[ingest]\nroots = ['.', '{}']\n",
        elsewhere.path().display()
    ));
    let _service = follows(&project, &["state/events"]);
    until_stored(&project, 5);
}

#[test]
fn what_runchain_writes_itself_is_never_an_event_log() {
    let project = Project::installed("");
    append(&project, "logs/app.jsonl", &lines(0..1));
    let service = follows(&project, &["logs/*.jsonl", "**/*.jsonl"]);
    until_stored(&project, 1);
    project.sql("INSERT INTO runs(run_id, status) VALUES ('r', 'COMPLETED');");
    project.until("SELECT count(*) FROM runchain_steps WHERE state = 'done'", "2");
    append(&project, "logs/app.jsonl", &lines(1..2));
    until_stored(&project, 2);
    assert!(project.path(".archive/r").exists());
    assert_eq!(project.sql("SELECT count(*) FROM runchain_ingest_files"), "1\n");
    drop(service);
    let service = follows(&project, &["logs/monitor.jsonl"]);
    says(&service, "it is runchain's own");
}

#[test]
fn the_configuration_names_places_and_is_read_again_by_sighup() {
    let project = Project::installed("[ingest]\nevents = []\n");
    append(&project, EVENTS, &lines(0..1));
    append(&project, "other/a.jsonl", &lines(1..2));
    let service = project.service();
    project.sql("INSERT INTO runs(run_id, status) VALUES ('r', 'COMPLETED');");
    project.until("SELECT count(*) FROM runchain_steps WHERE state = 'done'", "2");
    assert_eq!(project.sql("SELECT count(*) FROM runchain_ingested"), "0\n");
    project.configure("[ingest]\nevents = ['other']\n");
    service.signal(Signal::HUP);
    until_stored(&project, 1);
    let shown = project.runchain(&["config", "show", "--json"]).exits(0).stdout;
    assert!(shown.contains("/other"), "{shown}");
    assert!(!service.told().contains("usual places"));
    project.configure("[ingest]\nevents = ['a[b']\n");
    let wrong = project.runchain(&["config", "check"]).exits(3).stderr;
    assert!(
        wrong.contains("ingest.events") && wrong.contains("a[b is no glob"),
        "{wrong}"
    );
}

#[test]
fn who_follows_and_has_nothing_to_read_sleeps() {
    let project = Project::installed("");
    append(&project, EVENTS, &lines(0..3));
    let service = follows(&project, &["state/events"]);
    until_stored(&project, 3);
    let switches = || -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", service.pid())).unwrap();
        // Other threads may end at any moment.
        let of_follower = tasks
            .filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok())
            .find(|status| status.starts_with("Name:\tfollow\n"))
            .unwrap();
        let counts = of_follower.lines().filter(|line| line.contains("ctxt_switches"));
        counts
            .map(|line| line.split('\t').nth(1).unwrap().parse::<u64>().unwrap())
            .sum()
    };
    // Its last duties may still be under way.
    let mut before = switches();
    eventually("the follower to sleep for a second", || {
        std::thread::sleep(Duration::from_secs(1));
        let now = switches();
        if std::mem::replace(&mut before, now) == now {
            Ok(())
        } else {
            Err(now.to_string())
        }
    });
}
