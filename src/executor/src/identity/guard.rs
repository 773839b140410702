//! While a database is open: is the file still the one of its name, and is its state still the one that
//! was seen?
//!
//! A file that was replaced or deleted lives on for who has it open, and what is written there is lost.
//! So the commit itself asks: a hook on the executor's connection takes back every commit into a file
//! that has lost its name. What is written into the open file by others (`.restore`, the backup API) is
//! seen in the next transaction, before anything else is read in it.

use crate::door;
use crate::open::{self, OpenMode};
use runchain_core::error::{Error, Result};
use runchain_core::identity::FileId;
use rusqlite::Connection;
use std::cell::Cell;
use std::path::{Path, PathBuf};

use super::Identity;

/// Times that a file is opened anew because it changed hands meanwhile.
const TRIES: usize = 5;

/// A file that is open, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WatchedFile {
    path: PathBuf,
    id: Option<FileId>,
}

impl WatchedFile {
    /// The file that has this name now.
    pub(crate) fn of(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            id: FileId::of(path),
        }
    }

    /// Whether it still has its name.
    pub(crate) fn is_current(&self) -> bool {
        self.id.is_some() && FileId::of(&self.path) == self.id
    }

    /// The same as a result.
    ///
    /// # Errors
    /// A refusal that says what stands there now.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_current() {
            return Ok(());
        }
        let path = self.path.display();
        if let Some(now) = self.id.and_then(name_now) {
            let now = now.display();
            return Err(Error::other_identity(
                format!("{path} was moved to {now} while runchain had it open"),
                format!("start runchain again: with --db {now}, or as before when it is back"),
            ));
        }
        let now = match std::fs::metadata(&self.path) {
            Ok(found) if found.len() == 0 => "an empty file stands there now",
            Ok(_) => "another file stands there now",
            Err(_) => "nothing stands there now",
        };
        Err(Error::other_identity(
            format!("{path} was replaced or deleted while runchain had it open; {now}"),
            "look where it went, then start runchain again: it compares what it finds with the logs, and says whether \
             that needs runchain adopt --as restored or --as copy",
        ))
    }
}

/// Where a file that this process has open is now, by any name; what was deleted has none. Only names are
/// read: opening the file anew would drop SQLite's locks.
fn name_now(id: FileId) -> Option<PathBuf> {
    let open = std::fs::read_dir("/proc/self/fd").ok()?.flatten();
    let names = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    names
        .filter(|name| name.is_absolute())
        .find(|name| FileId::of(name) == Some(id))
}

/// Opens the database for work, so that the connection and the file's identity belong together. (On
/// overlayfs, opening a file for the first time gives it another inode.)
///
/// # Errors
/// What is wrong with the file.
pub(crate) fn open_pinned(path: &Path) -> Result<(Connection, WatchedFile)> {
    for _ in 0..TRIES {
        let before = WatchedFile::of(path);
        let conn = open::open_state(path, OpenMode::ReadWrite)
            .map_err(|error| Error::refused(error.what(), error.remedy()))?;
        if before.is_current() {
            return Ok((conn, before));
        }
    }
    Err(Error::other_identity(
        format!(
            "{} was replaced {TRIES} times while it was opened",
            path.display()
        ),
        "end whatever replaces it",
    ))
}

/// What must hold for as long as a database is worked on.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(crate) file: WatchedFile,
    identity: Identity,
    /// The newest event that was seen.
    seen: Cell<i64>,
}

impl Guard {
    /// From now on.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub(crate) fn of(conn: &Connection, file: WatchedFile) -> Result<Self> {
        let identity = Identity::of(conn)?.ok_or(Error::NotInstalled)?;
        Ok(Self {
            file,
            seen: Cell::new(identity.newest),
            identity,
        })
    }

    /// Lets this connection commit into nothing but this file.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub(crate) fn only_way(&self, conn: &Connection) -> Result<()> {
        let watched = self.file.clone();
        door::only_way(conn, move || watched.is_current())
    }

    /// Who the database is.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether the database is still what it was. In a transaction it holds until that ends.
    ///
    /// # Errors
    /// A refusal, or whatever SQLite answers.
    pub(crate) fn verify(&self, conn: &Connection) -> Result<()> {
        self.file.check()?;
        let now = Identity::of(conn)?.ok_or(Error::NotInstalled)?;
        let path = self.file.path.display();
        if now.uuid != self.identity.uuid || now.epoch != self.identity.epoch {
            return Err(Error::other_identity(
                format!(
                    "{path} became another database while runchain had it open: it was {} in epoch {}, now it is {} in epoch {}",
                    self.identity.uuid, self.identity.epoch, now.uuid, now.epoch
                ),
                "start runchain again",
            ));
        }
        if now.newest < self.seen.get() {
            return Err(Error::other_identity(
                format!(
                    "an older state was written into {path} while runchain had it open: event {} was there, now {} is the newest",
                    self.seen.get(),
                    now.newest
                ),
                super::refusal::ADOPT_RESTORED,
            ));
        }
        self.seen.set(now.newest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runchain_core::error::During;
    use runchain_core::install::{InstallOptions, install};
    use runchain_core::{Millis, event};

    fn guarded(folder: &Path) -> (PathBuf, Connection, Guard) {
        let path = folder.join("state.db");
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch(
            "PRAGMA journal_mode = WAL; CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT)",
        )
        .unwrap();
        install(&conn, &InstallOptions::default(), Millis(1)).unwrap();
        drop(conn);
        let (conn, file) = open_pinned(&path).unwrap();
        let guard = Guard::of(&conn, file).unwrap();
        guard.only_way(&conn).unwrap();
        (path, conn, guard)
    }

    #[test]
    fn a_file_that_loses_its_name_in_the_middle_of_a_transaction_is_not_committed_into() {
        let folder = tempfile::tempdir().unwrap();
        let (path, conn, guard) = guarded(folder.path());
        let elsewhere = folder.path().join("elsewhere.db");
        let insert = |conn: &Connection| {
            guard.verify(conn)?;
            conn.execute("INSERT INTO runs VALUES ('r', 'RUNNING')", [])
                .during("insert")
        };
        let written = door::write(&conn, |conn| {
            insert(conn)?;
            std::fs::rename(&path, &elsewhere).unwrap();
            Ok(())
        });
        assert!(written.is_err());
        let runs: i64 = conn
            .query_row("SELECT count(*) FROM runs", [], |row| row.get(0))
            .unwrap();
        assert_eq!(runs, 0);
        assert!(matches!(guard.verify(&conn), Err(Error::OtherIdentity { .. })));
        // Back under its name, it is itself again.
        std::fs::rename(&elsewhere, &path).unwrap();
        door::write(&conn, insert).unwrap();
    }

    #[test]
    fn an_older_state_and_another_identity_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, _held, guard) = guarded(folder.path());
        // Somebody else's connection.
        let conn = Connection::open(&path).unwrap();
        let newest = event::newest_id(&conn).unwrap();
        conn.execute(
            "UPDATE sqlite_sequence SET seq = seq + 5 WHERE name = 'runchain_events'",
            [],
        )
        .unwrap();
        guard.verify(&conn).unwrap();
        conn.execute(
            "UPDATE sqlite_sequence SET seq = ?1 WHERE name = 'runchain_events'",
            [newest],
        )
        .unwrap();
        let error = guard.verify(&conn).unwrap_err();
        assert!(
            error.to_string().contains("an older state was written"),
            "{error}"
        );
        conn.execute(
            "UPDATE sqlite_sequence SET seq = seq + 5 WHERE name = 'runchain_events'",
            [],
        )
        .unwrap();
        conn.execute("UPDATE runchain_meta SET value = '2' WHERE key = 'epoch'", [])
            .unwrap();
        assert!(guard.verify(&conn).is_err());
    }
}
