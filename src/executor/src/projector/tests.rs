//! What the projector promises, on real files and a real database.

use super::*;
use runchain_core::event::{EventType, NewEvent};
use serde_json::json;
use std::fs;
use tempfile::TempDir;

struct Fixture {
    folder: TempDir,
    conn: Connection,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let conn = Connection::open(folder.path().join("state.db")).unwrap();
        conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF")
            .unwrap();
        schema::migrate(&conn).unwrap();
        Self { folder, conn }
    }

    fn logs(&self) -> PathBuf {
        self.folder.path().join("logs")
    }

    fn path(&self, log: Log) -> PathBuf {
        self.logs().join(log.file_name())
    }

    fn open(&self) -> Projector {
        Projector::open(&self.logs(), NEVER, &self.conn).unwrap()
    }

    fn append(&self, kinds: &[EventType]) {
        for kind in kinds {
            let event = NewEvent::of_database(*kind, Millis(0), None, json!({}));
            event::append(&self.conn, &event).unwrap();
        }
    }

    /// As an executor that leaves afterwards.
    fn project_all(&self, projector: &mut Projector) {
        while projector.project(&self.conn, 3).unwrap() == 3 {}
        projector.store_cursors(&self.conn).unwrap();
    }

    /// (epoch, seq) of every line of a log that has one; every line must be whole JSON.
    fn seqs(&self, log: Log) -> Vec<(i64, i64)> {
        fs::read_to_string(self.path(log))
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter_map(|line| Some((line["epoch"].as_i64()?, line["seq"].as_i64()?)))
            .collect()
    }

    fn cursors(&self) -> (i64, i64) {
        let of = |log| Track::new(log, &self.logs(), &self.conn).unwrap().stored;
        (of(Log::Monitor), of(Log::Archival))
    }

    fn set_cursors(&self, event_id: i64) {
        for log in Log::ALL {
            store_cursor(&self.conn, log, event_id).unwrap();
        }
    }
}

const NEVER: Rotation = Rotation {
    bytes: 0,
    after_ms: 0,
    keep_files: 9,
    keep_days: 0,
    keep_bytes: 0,
};

/// Ids 1, 2 and 5 go to the monitor log, 3 and 4 to the archival log.
const MIXED: [EventType; 5] = [
    EventType::RunCreated,
    EventType::RunCompleted,
    EventType::RunArchived,
    EventType::ReportGenerated,
    EventType::RunCreated,
];

fn first_epoch(seqs: &[i64]) -> Vec<(i64, i64)> {
    seqs.iter().map(|seq| (1, *seq)).collect()
}

#[test]
fn every_event_stands_once_in_its_log_and_in_order() {
    let fixture = Fixture::new();
    let mut projector = fixture.open();
    fixture.append(&MIXED);
    assert_eq!(projector.project(&fixture.conn, 2).unwrap(), 2);
    assert_eq!(projector.project(&fixture.conn, 100).unwrap(), 3);
    assert_eq!(projector.project(&fixture.conn, 100).unwrap(), 0);
    projector.store_cursors(&fixture.conn).unwrap();
    assert_eq!(fixture.seqs(Log::Monitor), first_epoch(&[1, 2, 5]));
    assert_eq!(fixture.seqs(Log::Archival), first_epoch(&[3, 4]));
    assert_eq!(fixture.cursors(), (5, 5));
}

#[test]
fn killed_between_append_and_cursor_each_event_still_stands_once() {
    let fixture = Fixture::new();
    fixture.append(&MIXED);
    fixture.project_all(&mut fixture.open());
    fixture.append(&MIXED);
    fixture.project_all(&mut fixture.open());
    fixture.set_cursors(5);

    let mut reopened = fixture.open();
    fixture.append(&MIXED);
    fixture.project_all(&mut reopened);
    assert_eq!(
        fixture.seqs(Log::Monitor),
        first_epoch(&[1, 2, 5, 6, 7, 10, 11, 12, 15])
    );
    assert_eq!(fixture.seqs(Log::Archival), first_epoch(&[3, 4, 8, 9, 13, 14]));
    assert_eq!(fixture.cursors(), (15, 15));
}

#[test]
fn killed_before_the_cursors_rode_on_a_commit_each_event_still_stands_once() {
    let fixture = Fixture::new();
    for _ in 0..2 {
        let mut projector = fixture.open();
        fixture.append(&MIXED);
        assert!(projector.project(&fixture.conn, 100).unwrap() < 100);
        // It is written down later: that is what saves a commit.
        assert_eq!(fixture.cursors(), (0, 0));
        assert!(projector.cursors_due().is_some());
    }
    let mut projector = fixture.open();
    fixture.append(&MIXED);
    assert!(projector.project(&fixture.conn, 100).unwrap() < 100);
    door::write(&fixture.conn, |conn| projector.ride(conn)).unwrap();
    projector.rode();
    assert_eq!(fixture.cursors(), (15, 15));
    assert_eq!(projector.cursors_due(), None);
    assert_eq!(
        fixture.seqs(Log::Monitor),
        first_epoch(&[1, 2, 5, 6, 7, 10, 11, 12, 15])
    );
    assert_eq!(fixture.seqs(Log::Archival), first_epoch(&[3, 4, 8, 9, 13, 14]));
}

#[test]
fn killed_in_the_middle_of_the_write_each_event_still_stands_once() {
    let fixture = Fixture::new();
    fixture.append(&MIXED);
    fixture.project_all(&mut fixture.open());
    for log in Log::ALL {
        let whole = fs::read(fixture.path(log)).unwrap();
        // Every seventh byte, and those around the end.
        let cuts = (0..whole.len()).step_by(7).chain(whole.len() - 3..=whole.len());
        for written in cuts {
            fs::write(fixture.path(log), &whole[..written]).unwrap();
            fixture.set_cursors(0);
            fixture.project_all(&mut fixture.open());
            assert_eq!(
                fs::read(fixture.path(log)).unwrap(),
                whole,
                "{log:?} cut at byte {written}"
            );
        }
    }
}

#[test]
fn a_log_that_is_removed_or_rotated_goes_on_in_a_new_file() {
    let fixture = Fixture::new();
    let mut projector = fixture.open();
    fixture.append(&MIXED);
    fixture.project_all(&mut projector);
    fs::remove_file(fixture.path(Log::Monitor)).unwrap();
    let rotated = fixture.logs().join("archival.jsonl.1");
    fs::rename(fixture.path(Log::Archival), &rotated).unwrap();
    fixture.append(&MIXED);
    fixture.project_all(&mut projector);
    assert_eq!(fixture.seqs(Log::Monitor), first_epoch(&[6, 7, 10]));
    assert_eq!(fixture.seqs(Log::Archival), first_epoch(&[8, 9]));
    assert_eq!(fs::read_to_string(rotated).unwrap().lines().count(), 2);
}

#[test]
fn a_log_folder_that_is_removed_is_made_and_locked_again() {
    let fixture = Fixture::new();
    let mut projector = fixture.open();
    fixture.append(&MIXED);
    fixture.project_all(&mut projector);
    fs::remove_dir_all(fixture.logs()).unwrap();
    fixture.append(&MIXED[..1]);
    fixture.project_all(&mut projector);
    assert_eq!(fixture.seqs(Log::Monitor), first_epoch(&[6]));
    assert!(
        Projector::open(&fixture.logs(), NEVER, &fixture.conn).is_err(),
        "locked"
    );
}

#[test]
fn one_folder_belongs_to_one_database() {
    let first = Fixture::new();
    drop(first.open());
    let second = Fixture::new();
    let error = Projector::open(&first.logs(), NEVER, &second.conn).unwrap_err();
    assert!(matches!(error, Error::OtherIdentity { .. }), "{error}");
    let says = error.to_string();
    assert!(says.contains(&first.logs().display().to_string()), "{says}");
    assert!(says.contains(".runchain.lock"), "{says}");

    let _in_use = first.open();
    let error = Projector::open(&first.logs(), NEVER, &first.conn).unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert!(error.to_string().contains("another process"), "{error}");
}

#[test]
fn a_database_behind_its_logs_is_refused_and_the_logs_stay_as_they_are() {
    let fixture = Fixture::new();
    fixture.append(&MIXED);
    let mut projector = fixture.open();
    fixture.project_all(&mut projector);
    fixture
        .conn
        .execute_batch(
            "DELETE FROM runchain_events WHERE id > 3; UPDATE sqlite_sequence SET seq = 3;
             UPDATE runchain_cursors SET event_id = 3",
        )
        .unwrap();
    let before = fs::read(fixture.path(Log::Monitor)).unwrap();
    // While it is open, and when it is opened.
    projector.monitor.file = None;
    for _ in 0..2 {
        let error = projector.project(&fixture.conn, 10).unwrap_err();
        assert!(matches!(error, Error::OtherIdentity { .. }), "{error}");
    }
    drop(projector);
    let error = Projector::open(&fixture.logs(), NEVER, &fixture.conn).unwrap_err();
    assert!(
        error.to_string().contains("runchain adopt --as restored"),
        "{error}"
    );
    assert_eq!(fs::read(fixture.path(Log::Monitor)).unwrap(), before);
}

#[test]
fn in_a_new_epoch_numbers_that_were_used_before_are_projected_again() {
    let fixture = Fixture::new();
    fixture.append(&MIXED);
    fixture.project_all(&mut fixture.open());
    fixture
        .conn
        .execute_batch(
            "DELETE FROM runchain_events WHERE id > 2; UPDATE sqlite_sequence SET seq = 2;
             UPDATE runchain_cursors SET event_id = 2; UPDATE runchain_meta SET value = 2 WHERE key = 'epoch'",
        )
        .unwrap();
    fixture.append(&[EventType::EpochStarted, EventType::RunArchived]);
    fixture.project_all(&mut fixture.open());
    fixture.project_all(&mut fixture.open());
    assert_eq!(fixture.seqs(Log::Monitor), [(1, 1), (1, 2), (1, 5), (2, 3)]);
    assert_eq!(fixture.seqs(Log::Archival), [(1, 3), (1, 4), (2, 4)]);
}

#[test]
fn an_event_of_a_newer_version_is_projected_to_the_monitor_log() {
    let fixture = Fixture::new();
    let mut projector = fixture.open();
    fixture
        .conn
        .execute(
            "INSERT INTO runchain_events(at_ms, type) VALUES (0, 'FROM_THE_FUTURE')",
            [],
        )
        .unwrap();
    fixture.project_all(&mut projector);
    assert_eq!(fixture.seqs(Log::Monitor), first_epoch(&[1]));
}

#[test]
fn heartbeats_stand_between_events_and_do_not_move_the_cursor() {
    let fixture = Fixture::new();
    let mut projector = fixture.open();
    fixture.append(&MIXED[..1]);
    fixture.project_all(&mut projector);
    let beat = json!({"ts": "x", "event": "HEARTBEAT"});
    projector.heartbeat(&fixture.conn, &[beat.clone(), beat]).unwrap();
    drop(projector);
    fixture.append(&MIXED[..1]);
    fixture.project_all(&mut fixture.open());
    assert_eq!(fixture.seqs(Log::Monitor), first_epoch(&[1, 2]));
    let text = fs::read_to_string(fixture.path(Log::Monitor)).unwrap();
    assert_eq!(text.lines().count(), 4);
}

#[test]
fn a_symlinked_log_is_refused() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.logs()).unwrap();
    std::os::unix::fs::symlink("/dev/null", fixture.path(Log::Monitor)).unwrap();
    let error = Projector::open(&fixture.logs(), NEVER, &fixture.conn).unwrap_err();
    assert!(error.to_string().contains("monitor.jsonl"), "{error}");
}

/// Every file of a log from the oldest to the newest.
fn files_of(fixture: &Fixture, log: Log) -> Vec<PathBuf> {
    let prefix = format!("{}.", log.file_name().trim_end_matches(".jsonl"));
    let mut renamed: Vec<PathBuf> = fs::read_dir(fixture.logs())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            *path != fixture.path(log) && path.file_name().unwrap().to_string_lossy().starts_with(&prefix)
        })
        .collect();
    renamed.sort();
    renamed.push(fixture.path(log));
    renamed
}

#[test]
fn across_rotations_each_event_stands_once_and_in_order() {
    let fixture = Fixture::new();
    let rotation = Rotation { bytes: 400, ..NEVER };
    // A new projector each time, as after a kill: nothing is remembered but files and cursors.
    for _ in 0..8 {
        fixture.append(&MIXED);
        let mut projector = Projector::open(&fixture.logs(), rotation, &fixture.conn).unwrap();
        fixture.project_all(&mut projector);
    }
    for (log, wanted) in [(Log::Monitor, [1, 2, 0].as_slice()), (Log::Archival, &[3, 4])] {
        let files = files_of(&fixture, log);
        assert!(files.len() > 2, "{files:?}");
        let lines: Vec<Value> = files
            .iter()
            .flat_map(|path| {
                fs::read_to_string(path)
                    .unwrap()
                    .lines()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .map(|line| serde_json::from_str(&line).unwrap())
            .collect();
        let seqs: Vec<i64> = lines.iter().filter_map(|line| line["seq"].as_i64()).collect();
        let expected: Vec<i64> = (1..=40).filter(|id| wanted.contains(&(id % 5))).collect();
        assert_eq!(seqs, expected);
        for path in &files[1..] {
            let header: Value =
                serde_json::from_str(fs::read_to_string(path).unwrap().lines().next().unwrap()).unwrap();
            assert_eq!(header["event"], "LOG_OPENED", "{}", path.display());
        }
    }
}

#[test]
fn a_database_restored_right_after_a_rotation_is_still_refused() {
    let fixture = Fixture::new();
    fixture.append(&MIXED);
    let mut projector =
        Projector::open(&fixture.logs(), Rotation { bytes: 1, ..NEVER }, &fixture.conn).unwrap();
    fixture.project_all(&mut projector);
    drop(projector);
    fixture
        .conn
        .execute_batch(
            "DELETE FROM runchain_events; UPDATE sqlite_sequence SET seq = 2; DELETE FROM runchain_cursors",
        )
        .unwrap();
    let newest = newest_line(
        &fixture.logs(),
        Log::Monitor,
        &meta(&fixture.conn, "database_uuid").unwrap(),
    );
    assert_eq!(newest.unwrap().map(|line| (line.epoch, line.seq)), Some((1, 5)));
    assert!(Projector::open(&fixture.logs(), NEVER, &fixture.conn).is_err());
}

#[test]
fn an_old_log_is_rotated_and_a_young_one_is_not() {
    let fixture = Fixture::new();
    fixture.append(&MIXED);
    let mut projector = fixture.open();
    fixture.project_all(&mut projector);
    // The events are of 1970; the header of the new file is of today.
    projector.use_rotation(Rotation {
        after_ms: 86_400_000,
        ..NEVER
    });
    for _ in 0..3 {
        fixture.project_all(&mut projector);
        assert_eq!(files_of(&fixture, Log::Monitor).len(), 2);
    }
}
