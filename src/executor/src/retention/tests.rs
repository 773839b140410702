//! A pass belongs to the database that it began with: whatever takes that one's place, or becomes of it,
//! loses nothing.

use super::*;
use crate::config::Surroundings;
use runchain_core::install::{InstallOptions, install};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// So many old events stand in a database.
const OLD_EVENTS: i64 = 5;

struct Project {
    folder: TempDir,
    settings: Settings,
    mapping: Mapping,
}

impl Project {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(".state")).unwrap();
        let around = Surroundings {
            folder: folder.path().to_owned(),
            variables: BTreeMap::new(),
        };
        let settings = Settings::load(&[], None, &around).unwrap();
        let mapping = make(&settings.state_db_path);
        Self {
            folder,
            settings,
            mapping,
        }
    }

    fn database(&self) -> &Path {
        &self.settings.state_db_path
    }

    fn elsewhere(&self) -> PathBuf {
        self.folder.path().join("elsewhere.db")
    }

    /// A pass that has found what it is about to remove.
    fn pass_with_a_batch(&self) -> Work {
        let conn = Connection::open(self.database()).unwrap();
        let mut work = Work::begin(&self.settings, &conn, Millis::now()).unwrap();
        while !work.has_batch() {
            assert_eq!(work.go_on(&self.mapping).unwrap(), Moved::On);
        }
        work
    }

    /// Every further motion is refused.
    fn is_refused(&self, work: &mut Work) {
        for _ in 0..2 {
            let refused = work.go_on(&self.mapping);
            assert!(matches!(refused, Err(Error::OtherIdentity { .. })), "{refused:?}");
        }
    }
}

/// A database with old events, and a new one after them, that every log cursor has passed.
fn make(path: &Path) -> Mapping {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch("CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT)")
        .unwrap();
    let mapping = install(&conn, &InstallOptions::default(), Millis::now())
        .unwrap()
        .mapping;
    for _ in 0..OLD_EVENTS {
        conn.execute(
            "INSERT INTO runchain_events(at_ms, type) VALUES (0, 'REQUEST')",
            [],
        )
        .unwrap();
    }
    conn.execute(
        "INSERT INTO runchain_events(at_ms, type) VALUES (?1, 'REQUEST')",
        [Millis::now()],
    )
    .unwrap();
    conn.execute(
        "INSERT INTO runchain_cursors SELECT 'log.monitor', max(id) FROM runchain_events",
        [],
    )
    .unwrap();
    mapping
}

fn old_events(path: &Path) -> i64 {
    Connection::open(path)
        .unwrap()
        .query_row(
            "SELECT count(*) FROM runchain_events WHERE at_ms = 0",
            [],
            |row| row.get(0),
        )
        .unwrap()
}

#[test]
fn what_is_old_goes_from_the_database_that_the_pass_began_with() {
    let project = Project::new();
    let mut work = project.pass_with_a_batch();
    while work.has_batch() {
        work.go_on(&project.mapping).unwrap();
    }
    assert_eq!(old_events(project.database()), 0);
}

#[test]
fn nothing_goes_from_a_database_that_was_replaced_nor_from_the_one_in_its_place() {
    let project = Project::new();
    let mut work = project.pass_with_a_batch();
    std::fs::rename(project.database(), project.elsewhere()).unwrap();
    project.is_refused(&mut work);
    make(project.database());
    project.is_refused(&mut work);
    assert_eq!(old_events(&project.elsewhere()), OLD_EVENTS);
    assert_eq!(old_events(project.database()), OLD_EVENTS);
}

#[test]
fn nothing_goes_from_a_database_that_was_adopted_or_restored_meanwhile() {
    for became in [
        "UPDATE runchain_meta SET value = value + 1 WHERE key = 'epoch'",
        "UPDATE runchain_meta SET value = 'another' WHERE key = 'database_uuid'",
        "DELETE FROM runchain_events WHERE id = (SELECT max(id) FROM runchain_events);
         UPDATE sqlite_sequence SET seq = seq - 1 WHERE name = 'runchain_events'",
    ] {
        let project = Project::new();
        let mut work = project.pass_with_a_batch();
        let conn = Connection::open(project.database()).unwrap();
        conn.execute_batch(became).unwrap();
        drop(conn);
        project.is_refused(&mut work);
        assert_eq!(old_events(project.database()), OLD_EVENTS, "{became}");
    }
}

#[test]
fn no_pass_begins_on_a_database_that_took_the_place_of_the_callers() {
    let project = Project::new();
    let callers = Connection::open(project.database()).unwrap();
    // As somebody who has read it long ago.
    std::fs::rename(project.database(), project.elsewhere()).unwrap();
    make(project.database());
    let begun = Work::begin(&project.settings, &callers, Millis::now());
    assert!(matches!(begun.map(drop), Err(Error::OtherIdentity { .. })));
}
