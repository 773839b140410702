//! The database as a file: how it is opened, and whether anybody has committed. And who we are, as its
//! rows name us.

use crate::open::{self, OpenMode};
use runchain_core::ExecutorId;
use runchain_core::error::{During, Error, Result};
use runchain_core::steps::Executor;
use rusqlite::Connection;
use std::path::Path;
use std::time::Duration;

/// A connection for work.
pub(crate) fn connect(database: &Path) -> Result<Connection> {
    open::open_state(database, OpenMode::ReadWrite)
        .map_err(|error| Error::refused(error.what(), error.remedy()))
}

/// A connection for looking, which waits for no lock for long: whoever asks has a deadline.
pub(crate) fn connect_to_look(database: &Path) -> Result<Connection> {
    let conn = open::open_state(database, OpenMode::ReadOnly)
        .map_err(|error| Error::refused(error.what(), error.remedy()))?;
    conn.busy_timeout(Duration::from_secs(1))
        .during("look at the database")?;
    Ok(conn)
}

/// A name that no executor had before.
pub(super) fn identity() -> Executor {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let pid = std::process::id();
    let id = ExecutorId(format!("{host}-{pid}-{:08x}", fastrand::u32(..)));
    Executor { id, host, pid }
}

/// Whether others write. `PRAGMA data_version` ignores the commits of the connection that is asked:
/// asked on the one that we write by, it tells of all others.
#[derive(Debug, Default)]
pub(super) struct OthersWrote {
    seen: Option<i64>,
}

impl OthersWrote {
    /// Since the last call, by what the connection answers now (nothing, where the database is busy:
    /// somebody is at it); the first one answers no.
    pub(super) fn wrote(&mut self, data_version: Option<i64>) -> bool {
        let now = data_version.unwrap_or(i64::MIN);
        self.seen.replace(now).is_some_and(|seen| seen != now)
    }
}

pub(super) fn data_version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("PRAGMA data_version")?
        .query_row([], |row| row.get(0))
}

/// `PRAGMA data_version` on a connection that never writes: it ignores the connection's own commits.
pub(super) struct Version {
    conn: Connection,
    seen: Option<i64>,
}

impl Version {
    /// Asking must not wait for a lock: a finished step or a signal may come meanwhile.
    pub(super) fn new(conn: Connection) -> Result<Self> {
        conn.busy_timeout(Duration::ZERO).during("watch the database")?;
        Ok(Self { conn, seen: None })
    }

    /// The next call answers that somebody has committed: there is something to decide.
    pub(super) fn forget(&mut self) {
        self.seen = None;
    }

    /// Whether anybody has committed since the last call. A busy database counts as changed.
    pub(super) fn changed(&mut self) -> bool {
        let now = data_version(&self.conn).ok();
        let changed = now.is_none() || now != self.seen;
        self.seen = now;
        changed
    }
}
