//! What is said of a database that is not drained, to a person and in `monitor.jsonl`.

use super::{Finding, Identity, examine};
use crate::config::Settings;
use crate::open;
use runchain_core::Millis;
use runchain_core::error::{Error, Result};
use rusqlite::Connection;
use serde_json::json;

/// The way on after a restore.
pub(super) const ADOPT_RESTORED: &str = "if it was restored from a backup: runchain adopt --as restored goes on from here and repeats no effect \
     that the logs know of; else put the newer database back";

impl Finding {
    /// As an error, where it is none of those that go on by themselves.
    pub(crate) fn refusal(&self, settings: &Settings, identity: Option<&Identity>) -> Option<Error> {
        let path = settings.state_db_path.display();
        let logs = settings.logs_dir.display();
        let (uuid, epoch, newest) = identity.map_or(("", 0, 0), |it| (it.uuid.as_str(), it.epoch, it.newest));
        let (what, remedy) = match self {
            Self::Itself | Self::Moved { .. } => return None,
            Self::ForeignLogs { owner } => (
                format!("the logs in {logs} belong to database {owner}, this one is {uuid}"),
                format!(
                    "name another folder for the logs; where this database has replaced the other for good, remove {}",
                    settings.logs_dir.join(".runchain.lock").display()
                ),
            ),
            Self::Copy { original } => (
                format!(
                    "{path} is a copy: database {uuid} lives at {original}, and a file still stands there"
                ),
                "runchain adopt --as copy makes it a database of its own and leaves the original's work to the original; if \
                 the file there is out of use for good: runchain adopt --as moved"
                    .to_owned(),
            ),
            Self::Stranger { from } => (
                format!(
                    "{path} is a copy or was moved: database {uuid} lived at {from}, on a machine that can't be looked at from here"
                ),
                "runchain adopt --as copy if the original is still in use, --as moved if it isn't, --as restored if this \
                 comes from a backup"
                    .to_owned(),
            ),
            Self::Behind { epoch: seen, seq } => (
                format!(
                    "{path} is older than its logs in {logs}: they know event {seq} of epoch {seen}, it has {newest} of epoch {epoch}"
                ),
                ADOPT_RESTORED.to_owned(),
            ),
        };
        Some(Error::other_identity(what, remedy))
    }
}

/// Refuses a database that must be adopted first.
///
/// # Errors
/// [`Error::OtherIdentity`], and whatever SQLite or the system answers.
pub(crate) fn require(conn: &Connection, settings: &Settings) -> Result<Finding> {
    let finding = examine(conn, settings)?;
    let identity = Identity::of(conn)?;
    match finding.refusal(settings, identity.as_ref()) {
        Some(error) => Err(error),
        None => Ok(finding),
    }
}

/// The same for a service, which starts whether or not its logs can be read, so that it can say so: `None`
/// where they can't. It asks again before it drains anything.
///
/// # Errors
/// As [`require`], but for that.
pub(crate) fn require_if_readable(conn: &Connection, settings: &Settings) -> Result<Option<Finding>> {
    match require(conn, settings) {
        Err(Error::Io { path, .. }) if path.starts_with(&settings.logs_dir) => Ok(None),
        found => found.map(Some),
    }
}

/// Why no executor drains this database, as far as the logs and the system tell, and what mends it.
pub(crate) fn unadopted(conn: &Connection, settings: &Settings) -> Option<Unadopted> {
    match require(conn, settings) {
        Err(Error::OtherIdentity { what, remedy }) => Some(Unadopted { what, remedy }),
        _ => None,
    }
}

/// A database that waits for `runchain adopt`.
pub(crate) struct Unadopted {
    pub(crate) what: String,
    pub(crate) remedy: String,
}

/// Leaves a line in `monitor.jsonl` for who watches the logs, where these are the database's own.
pub(crate) fn log(settings: &Settings, error: &Error, at: Millis) {
    let Error::OtherIdentity { what, remedy } = error else {
        return;
    };
    // The logs of another database are left alone.
    if what.starts_with("the logs in ") {
        return;
    }
    let line = json!({
        "ts": at.iso(), "event": "STATE_DB_IDENTITY", "path": settings.state_db_path.to_string_lossy(),
        "error": what, "remedy": remedy,
    });
    open::log_line(settings, &line);
}
