//! Each event once: restarts, changes of the lead, two who follow the same file, a busy database.

use super::*;
use crate::support::Project;
use rusqlite::Connection;
use std::thread;
use std::time::Duration;

#[test]
fn a_follower_that_is_killed_again_and_again_stores_each_event_once() {
    const ROUNDS: u32 = 10;
    const EVENTS_A_ROUND: u32 = 400;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let project = Project::installed("");
    for round in 0..ROUNDS {
        let pause_ms = random.u64(1..120);
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in round * EVENTS_A_ROUND..(round + 1) * EVENTS_A_ROUND {
                    append(&project, EVENTS, &lines(number..number + 1));
                }
                fs::rename(project.path(EVENTS), project.path(&format!("{EVENTS}.{round}"))).unwrap();
            });
            let service = follows(&project, &["state/events/*"]);
            // It dies at any moment.
            thread::sleep(Duration::from_millis(pause_ms));
            service.kill();
        });
    }
    let _service = follows(&project, &["state/events/*"]);
    until_stored(&project, 4_000);
    assert_eq!(
        project.sql("SELECT count(DISTINCT event_id), sum(rejected) FROM runchain_ingested, (SELECT sum(rejected) AS rejected FROM runchain_ingest_files) LIMIT 1"),
        format!("4000|{}\n", 0)
    );
    // And each was told once.
    project.until(
        "SELECT sum(coalesce(json_extract(data, '$.events'), 1)) FROM runchain_events WHERE type IN ('EVENT_INGESTED', 'EVENTS_INGESTED')",
        "4000",
    );
}

#[test]
fn a_follower_that_is_killed_while_logs_are_rotated_out_of_its_sight_finishes_them_all() {
    const ROUNDS: u32 = 8;
    const EVENTS_A_ROUND: u32 = 200;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let project = Project::installed("");
    // A log that it knows.
    append(&project, EVENTS, &lines(1_600..1_601));
    let service = follows(&project, &["state/events"]);
    until_stored(&project, 1);
    service.kill();
    for round in 0..ROUNDS {
        let pause_ms = random.u64(1..120);
        let first = round * EVENTS_A_ROUND;
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in first..first + EVENTS_A_ROUND {
                    append(&project, EVENTS, &lines(number..number + 1));
                    // The rotated ones are none of the folder's logs.
                    if number % 50 == 49 {
                        let rotated = project.path(&format!("{EVENTS}.{number}"));
                        fs::rename(project.path(EVENTS), rotated).unwrap();
                    }
                }
            });
            let service = follows(&project, &["state/events"]);
            // It dies at any moment.
            thread::sleep(Duration::from_millis(pause_ms));
            service.kill();
        });
    }
    let _service = follows(&project, &["state/events"]);
    until_stored(&project, 1_601);
    assert_eq!(
        project.sql("SELECT sum(rejected), sum(duplicates) FROM runchain_ingest_files"),
        "0|0\n"
    );
}

#[test]
fn another_executor_goes_on_when_the_leader_is_gone() {
    let project = Project::installed("");
    append(&project, EVENTS, &lines(0..10));
    let leader = follows(&project, &["state/events"]);
    until_stored(&project, 10);
    let other = Service::of(&mut project.command(&["drain", "--ingest-events", "state/events"]));
    project.until("SELECT count(*) FROM runchain_executors", "2");
    assert!(!other.told().contains("following"), "only the leader follows");
    leader.kill();
    append(&project, EVENTS, &lines(10..20));
    until_stored(&project, 20);
    says(&other, "following event logs");
    assert_eq!(
        project.sql("SELECT sum(duplicates) FROM runchain_ingest_files"),
        "0\n"
    );
}

#[test]
fn a_service_and_a_command_that_follow_one_file_share_the_work() {
    let project = Project::installed("");
    append(&project, EVENTS, &lines(0..5_000));
    let service = follows(&project, &["state/events"]);
    let command = Service::of(&mut project.command(&["ingest", "--follow", EVENTS]));
    // From here on a signal ends it in order.
    says(&command, "following");
    for part in 1..40 {
        append(&project, EVENTS, &lines(4_900 + part * 100..5_000 + part * 100));
    }
    until_stored(&project, 8_900);
    until_read(&project, EVENTS);
    // Nobody has read what the other one had.
    assert_eq!(
        project
            .sql("SELECT count(*), sum(stored), sum(duplicates), sum(rejected) FROM runchain_ingest_files"),
        "1|8900|0|0\n"
    );
    assert!(command.terminate().success());
    assert!(service.terminate().success());
}

#[test]
fn while_the_database_is_locked_nothing_is_lost_and_the_follower_waits() {
    let project = Project::installed("");
    append(&project, EVENTS, &lines(0..1));
    let mut service = follows(&project, &["state/events"]);
    until_stored(&project, 1);
    let conn = Connection::open(project.database()).unwrap();
    conn.busy_timeout(Duration::from_secs(60)).unwrap();
    conn.execute_batch("BEGIN IMMEDIATE; INSERT INTO events(run_id) VALUES ('r')")
        .unwrap();
    append(&project, EVENTS, &lines(1..100));
    // Longer than a statement waits for the lock.
    thread::sleep(Duration::from_secs(7));
    service.assert_alive();
    append(&project, EVENTS, &lines(100..101));
    conn.execute_batch("COMMIT").unwrap();
    until_stored(&project, 101);
}

#[test]
fn a_service_that_stops_commits_nothing_any_more_and_the_next_goes_on() {
    let project = Project::installed("");
    append(&project, EVENTS, &lines(0..40_000));
    let service = follows(&project, &["state/events"]);
    eventually("the first slice to be read", || {
        let stored = project.sql("SELECT count(*) FROM runchain_ingested");
        if stored == "0\n" { Err(stored) } else { Ok(()) }
    });
    assert!(service.terminate().success());
    let stored = project.sql("SELECT count(*) FROM runchain_ingested");
    println!("{} of 40000 events were stored when it stopped", stored.trim());
    let _service = follows(&project, &["state/events"]);
    until_stored(&project, 40_000);
    assert_eq!(
        project.sql("SELECT sum(duplicates) FROM runchain_ingest_files"),
        "0\n"
    );
}
