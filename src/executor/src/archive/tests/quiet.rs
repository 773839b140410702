//! When a bag is sealed.

use crate::archive::fixture::{Fixture, ended, run};
use crate::archive::{Archived, Bag, Ended};
use rusqlite::functions::FunctionFlags;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

fn settling(fixture: &Fixture, run: &Ended<'_>, note: Option<&str>, now: i64) -> (String, i64) {
    match fixture.try_archive(run, note, now).unwrap() {
        Archived::Settling { note, until } => (note, until.0),
        Archived::Sealed(bag) => panic!("sealed at {now}: {bag:?}"),
    }
}

fn sealed(fixture: &Fixture, run: &Ended<'_>, note: &str, now: i64) -> Bag {
    match fixture.try_archive(run, Some(note), now).unwrap() {
        Archived::Sealed(bag) => bag,
        Archived::Settling { note, .. } => panic!("not sealed at {now}: {note}"),
    }
}

fn patient() -> Fixture {
    let mut fixture = Fixture::shape_a();
    fixture.options.settle_ms = 2_000;
    fixture.options.files = vec!["logs/{run_id}/*".into()];
    fixture
}

#[test]
fn late_rows_and_growing_files_put_the_seal_off() {
    let fixture = patient();
    let id = run("run-1");
    let end = ended(&id);
    let (note, until) = settling(&fixture, &end, None, 1_000);
    assert_eq!(until, 3_000);
    // Nothing happened, but it is too early.
    assert_eq!(
        settling(&fixture, &end, Some(&note), 2_000),
        (note.clone(), 3_000)
    );
    fixture.sql("INSERT INTO errors(run_id, message) VALUES ('run-1', 'late')");
    let (note, until) = settling(&fixture, &end, Some(&note), 3_000);
    assert_eq!(until, 5_000);
    fixture.write("logs/run-1/late.log", b"late");
    let (note, until) = settling(&fixture, &end, Some(&note), 5_000);
    assert_eq!(until, 7_000);
    // Another run's rows don't matter.
    fixture.sql("INSERT INTO errors(run_id, message) VALUES ('run-2', 'other')");
    let bag = sealed(&fixture, &end, &note, 7_000);
    assert!(bag.settled);
    let errors = std::fs::read_to_string(bag.path.join("data/tables/errors.jsonl")).unwrap();
    assert_eq!(errors.lines().count(), 2);
    assert!(bag.path.join("data/files/logs_run-1_late.log").is_file());
}

#[test]
fn a_run_that_never_rests_is_sealed_at_the_limit_and_says_so() {
    let fixture = patient();
    let id = run("run-1");
    let end = ended(&id);
    let (mut note, _) = settling(&fixture, &end, None, 0);
    for now in (1_500..10_000).step_by(1_500) {
        fixture.sql("INSERT INTO errors(run_id) VALUES ('run-1')");
        note = settling(&fixture, &end, Some(&note), now).0;
    }
    fixture.sql("INSERT INTO errors(run_id) VALUES ('run-1')");
    let bag = sealed(&fixture, &end, &note, 10_000);
    assert!(!bag.settled);
}

#[test]
fn a_note_that_cannot_be_read_starts_the_wait_anew() {
    let fixture = patient();
    let id = run("run-1");
    assert_eq!(settling(&fixture, &ended(&id), Some("{oops"), 500).1, 2_500);
}

#[test]
fn what_changes_between_the_look_and_the_staging_puts_the_seal_off() {
    let mut fixture = Fixture::shape_a();
    fixture.options.files = vec!["logs/{run_id}/*".into()];
    fixture.write("logs/run-1/out.log", b"1");
    // Reading this table calls the function: first for the look, then for the staging, which comes
    // to the files after it.
    let log = fixture.path("logs/run-1/out.log");
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    fixture
        .conn
        .create_scalar_function("tick", 1, FunctionFlags::SQLITE_DETERMINISTIC, move |_| {
            if counted.fetch_add(1, Ordering::Relaxed) == 1 {
                std::fs::write(&log, b"longer").unwrap();
            }
            Ok(0)
        })
        .unwrap();
    fixture
        .sql("CREATE TABLE watched(run_id TEXT, v AS (tick(run_id))); INSERT INTO watched VALUES ('run-1')");
    calls.store(0, Ordering::Relaxed);
    let id = run("run-1");
    let (note, until) = settling(&fixture, &ended(&id), None, 100);
    assert_eq!(until, 200);
    assert_eq!(
        std::fs::read_dir(&fixture.options.archive_dir).unwrap().count(),
        0
    );
    let bag = sealed(&fixture, &ended(&id), &note, 200);
    assert!(bag.settled);
    assert_eq!(
        std::fs::read(bag.path.join("data/files/logs_run-1_out.log")).unwrap(),
        b"longer"
    );
}
