//! Opens the orchestrator's database as a guest: it must be there, be sound, and stay as it is.
//!
//! Invariant: nothing is left behind, whatever is wrong. The file is looked at with `stat` only and is
//! read by SQLite alone: closing a descriptor of our own would drop SQLite's locks. What does not
//! belong here: what the tables mean.

mod access;
mod error;
mod failure_log;
pub(crate) mod ground;
mod nearby;
mod tables;

pub(crate) use error::{OpenError, Problem};
pub(crate) use failure_log::{log_failure, log_line};
pub(crate) use tables::required_tables;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenMode {
    /// Claiming and settling.
    ReadWrite,
    /// Looking.
    ReadOnly,
}

/// How long a statement waits for somebody else's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens an existing, sound database.
///
/// # Errors
/// What is wrong with the file, with its absolute path and the remedy.
pub(crate) fn open_state(path: &Path, mode: OpenMode) -> Result<Connection, OpenError> {
    // An absolute path also keeps SQLite from reading a name like `file:x?mode=memory` as a URI,
    // which the bundled build would do.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let fails = |problem| OpenError {
        path: path.clone(),
        problem,
    };
    look(&path, mode).map_err(fails)?;
    // A reader opens for writing too, where it may: only so can SQLite roll a dead writer's journal
    // back, and remove its own files at the end. `query_only` then keeps it from writing.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(&path, flags).and_then(|conn| prepare(conn, mode));
    let conn = opened.map_err(|error| fails(Problem::of_sqlite(&error)))?;
    // SQLite falls back to reading when it may not write.
    match conn.is_readonly("main") {
        Ok(true) if mode == OpenMode::ReadWrite => Err(fails(Problem::NotWritable { what: path.clone() })),
        Ok(_) => Ok(conn),
        Err(error) => Err(fails(Problem::of_sqlite(&error))),
    }
}

/// Proves that the owner can still write what SQLite creates for us. Before it is opened: in WAL mode the
/// first read creates files.
///
/// # Errors
/// The commands that mend it.
pub(crate) fn prove_shared(path: &Path) -> Result<(), OpenError> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    look(&path, OpenMode::ReadWrite)
        .and_then(|()| access::prove(&path))
        .map_err(|problem| OpenError { path, problem })
}

/// What `stat` tells.
fn look(path: &Path, mode: OpenMode) -> Result<(), Problem> {
    let found = std::fs::metadata(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Problem::Missing {
            link_to: std::fs::read_link(path).ok(),
            nearby: nearby::databases(path),
        },
        _ => Problem::Unreadable {
            reason: error.to_string(),
        },
    })?;
    if !found.is_file() {
        return Err(Problem::NotAFile {
            kind: nearby::kind(&found),
        });
    }
    if found.len() == 0 {
        return Err(Problem::Empty {
            nearby: nearby::databases(path),
        });
    }
    access::check(path, &found, mode)
}

/// Tries for the lock that follow each other quickly: 0.3 s of them.
const QUICK_TRIES: i32 = 1_000;
/// Pause before a quick try, at least; as much again by chance.
const QUICK_US: u64 = 200;
/// Pause before a later one, likewise.
const SLOW_US: u64 = 1_500;

/// SQLite's own handler sleeps up to 100 ms between two tries, so that a writer without a pause keeps
/// everybody else out for many seconds. This one asks about every 0.3 ms at first and every 2 ms
/// later, for [`BUSY_TIMEOUT`] altogether.
fn wait_for_lock(tries: i32) -> bool {
    let slow_tries = u64::try_from(tries.saturating_sub(QUICK_TRIES)).unwrap_or(0);
    if Duration::from_micros(slow_tries * SLOW_US * 3 / 2) >= BUSY_TIMEOUT {
        return false;
    }
    let least_us = if tries < QUICK_TRIES { QUICK_US } else { SLOW_US };
    std::thread::sleep(Duration::from_micros(least_us + fastrand::u64(..least_us)));
    true
}

/// Settings of the connection, then the first read, which shows whether this is a database.
fn prepare(conn: Connection, mode: OpenMode) -> rusqlite::Result<Connection> {
    conn.busy_handler(Some(wait_for_lock))?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    // The bundled build enforces foreign keys, hosts of the extension mostly don't: the same
    // statement must do the same in both.
    conn.pragma_update(None, "foreign_keys", false)?;
    conn.pragma_update(None, "query_only", mode == OpenMode::ReadOnly)?;
    conn.query_row("SELECT count(*) FROM sqlite_master", [], |row| {
        row.get::<_, i64>(0)
    })?;
    Ok(conn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use std::path::PathBuf;

    fn database(folder: &Path) -> PathBuf {
        let path = folder.join("state.db");
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch("CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT)")
            .unwrap();
        path
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn each_wrong_file_has_its_own_exit_and_nothing_is_created() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let sound = std::fs::read(database(folder.path())).unwrap();
        std::fs::write(at("empty.db"), "").unwrap();
        std::fs::write(at("text.db"), "this is a note, not a database\n".repeat(40)).unwrap();
        std::fs::write(at("short.db"), "note").unwrap();
        let mut header = sound.clone();
        header[..16].copy_from_slice(b"SQLite format 4\0");
        std::fs::write(at("header.db"), header).unwrap();
        let mut page = sound.clone();
        page[100..108].fill(0xff);
        std::fs::write(at("page.db"), page).unwrap();
        std::fs::create_dir(at("folder.db")).unwrap();
        std::os::unix::fs::symlink(at("gone.db"), at("link.db")).unwrap();
        let before = names(folder.path());
        for mode in [OpenMode::ReadOnly, OpenMode::ReadWrite] {
            for (name, exit, says) in [
                ("missing.db", Exit::DatabaseMissing, "does not exist"),
                ("state.db/x.db", Exit::DatabaseMissing, "does not exist"),
                ("link.db", Exit::DatabaseMissing, "gone.db"),
                ("empty.db", Exit::DatabaseEmpty, "empty file"),
                ("text.db", Exit::DatabaseCorrupt, "not an SQLite database"),
                ("short.db", Exit::DatabaseCorrupt, "not an SQLite database"),
                ("header.db", Exit::DatabaseCorrupt, "not an SQLite database"),
                ("page.db", Exit::DatabaseCorrupt, "damaged"),
                ("folder.db", Exit::DatabaseUnreadable, "a folder"),
            ] {
                let error = open_state(&at(name), mode).unwrap_err();
                let text = error.to_string();
                assert_eq!(error.exit(), exit, "{name}: {text}");
                assert!(
                    text.contains(says) && text.contains(&at(name).display().to_string()),
                    "{name}: {text}"
                );
            }
        }
        assert_eq!(names(folder.path()), before);
    }

    #[test]
    fn a_pipe_is_refused_without_waiting_for_its_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe.db");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        let error = open_state(&path, OpenMode::ReadWrite).unwrap_err();
        assert_eq!(error.exit(), Exit::DatabaseUnreadable);
        assert!(error.to_string().contains("a pipe"), "{error}");
    }

    #[test]
    fn a_name_that_looks_like_a_uri_is_a_file_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file:x.db?mode=memory");
        std::fs::copy(database(folder.path()), &path).unwrap();
        let conn = open_state(&path, OpenMode::ReadWrite).unwrap();
        conn.execute("INSERT INTO runs VALUES ('r', 'DONE')", []).unwrap();
        let again = open_state(&path, OpenMode::ReadOnly).unwrap();
        let runs: i64 = again
            .query_row("SELECT count(*) FROM runs", [], |row| row.get(0))
            .unwrap();
        assert_eq!(runs, 1);
    }

    #[test]
    fn looking_at_a_wal_database_leaves_no_files_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = database(folder.path());
        let conn = Connection::open(&path).unwrap();
        conn.pragma_update(None, "journal_mode", "wal").unwrap();
        drop(conn);
        let conn = open_state(&path, OpenMode::ReadOnly).unwrap();
        let runs = conn.query_row("SELECT count(*) FROM runs", [], |row| row.get::<_, i64>(0));
        assert_eq!(runs, Ok(0));
        drop(conn);
        assert_eq!(names(folder.path()), ["state.db"]);
    }

    #[test]
    fn a_missing_database_names_those_nearby() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(".worktrees")).unwrap();
        std::fs::copy(
            database(folder.path()),
            folder.path().join(".worktrees/pipeline_state.db"),
        )
        .unwrap();
        let error =
            open_state(&folder.path().join(".state/orchestration.db"), OpenMode::ReadOnly).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(".worktrees/pipeline_state.db") && text.contains("/state.db"),
            "{text}"
        );
    }

    #[test]
    fn a_reader_can_t_write_and_a_hostile_schema_can_t_reach_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = database(folder.path());
        let reader = open_state(&path, OpenMode::ReadOnly).unwrap();
        assert!(
            reader
                .execute("INSERT INTO runs VALUES ('r', 'DONE')", [])
                .is_err()
        );
        let writer = open_state(&path, OpenMode::ReadWrite).unwrap();
        let on = |config| writer.db_config(config).unwrap();
        assert!(on(DbConfig::SQLITE_DBCONFIG_DEFENSIVE) && !on(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA));
        assert!(!on(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY));
    }
}
