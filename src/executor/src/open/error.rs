//! What is wrong with the state database: the path, the finding, the remedy, the exit code.

use crate::exit::Exit;
use crate::failure::Failure;
use rusqlite::ErrorCode;
use std::fmt;
use std::path::{Path, PathBuf};

/// A database that can't be used.
#[derive(Debug, Clone)]
pub(crate) struct OpenError {
    /// Absolute path.
    pub(crate) path: PathBuf,
    /// What is wrong with it.
    pub(crate) problem: Problem,
}

/// What can be wrong.
#[derive(Debug, Clone)]
pub(crate) enum Problem {
    /// There is no such file.
    Missing {
        /// The path is a link that leads there.
        link_to: Option<PathBuf>,
        /// Databases that may be meant.
        nearby: Vec<PathBuf>,
    },
    /// No bytes.
    Empty {
        /// Databases that may be meant.
        nearby: Vec<PathBuf>,
    },
    /// A folder, a pipe, a device.
    NotAFile {
        /// With its article: "a folder".
        kind: &'static str,
    },
    /// Not SQLite's format.
    NotADatabase,
    /// SQLite's format, but damaged.
    Corrupt {
        /// SQLite's words.
        reason: String,
    },
    /// The system refuses to read.
    Unreadable {
        /// The system's words.
        reason: String,
    },
    /// The system refuses to write the file, or to create files beside it.
    NotWritable {
        /// The file or folder.
        what: PathBuf,
    },
    /// Files that we create beside it would lock its owner out.
    LocksOwnerOut {
        /// User id of the owner.
        owner: u32,
        /// Group id of the file.
        group: u32,
    },
    /// Files beside it that its owner, or we, can't write.
    ForeignSidecars {
        /// Their paths.
        files: Vec<PathBuf>,
        /// User id of the owner.
        owner: u32,
        /// Group id of the database.
        group: u32,
        /// Permission bits of the database.
        mode: u32,
    },
    /// WAL on a file system without memory that all processes share.
    WalOnShared {
        /// The kind of file system.
        name: String,
    },
    /// It was opened, and then the system refused a read or a write, or had no room.
    Failing {
        /// What was being done, and SQLite's words.
        reason: String,
    },
    /// Somebody else holds the lock for longer than we wait.
    Locked,
    /// Required tables are not there.
    MissingTables {
        /// Their names, each with what stands in its place.
        missing: Vec<String>,
        /// The tables that are there.
        found: Vec<String>,
        /// What the followed one seems to be called now.
        renamed_to: Option<String>,
    },
}

impl Problem {
    /// Sorts SQLite's answer to an open or a first read.
    pub(super) fn of_sqlite(error: &rusqlite::Error) -> Self {
        let reason = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::NotADatabase,
            Some(ErrorCode::DatabaseCorrupt) => Self::Corrupt { reason },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked,
            _ => Self::Unreadable { reason },
        }
    }
}

impl OpenError {
    /// What SQLite answered in the middle of a command, as what is wrong with this database; `None` where
    /// it isn't the file that is wrong.
    pub(crate) fn of_failure(path: &Path, failure: &Failure) -> Option<Self> {
        let reason = failure.message.clone();
        let problem = match failure.exit {
            Exit::DatabaseCorrupt => Problem::Corrupt { reason },
            Exit::DatabaseUnreadable => Problem::Failing { reason },
            Exit::DatabaseLocked => Problem::Locked,
            _ => return None,
        };
        failure.is_of_sqlite.then(|| Self {
            path: path.to_owned(),
            problem,
        })
    }

    /// The exit code of the process that stops because of it.
    pub(crate) fn exit(&self) -> Exit {
        match self.problem {
            Problem::Missing { .. } => Exit::DatabaseMissing,
            Problem::Empty { .. } => Exit::DatabaseEmpty,
            Problem::NotADatabase | Problem::Corrupt { .. } => Exit::DatabaseCorrupt,
            Problem::NotAFile { .. }
            | Problem::Unreadable { .. }
            | Problem::Failing { .. }
            | Problem::NotWritable { .. }
            | Problem::LocksOwnerOut { .. }
            | Problem::ForeignSidecars { .. }
            | Problem::WalOnShared { .. } => Exit::DatabaseUnreadable,
            Problem::Locked => Exit::DatabaseLocked,
            Problem::MissingTables { .. } => Exit::SchemaInvalid,
        }
    }

    /// What is wrong, with the path.
    pub(crate) fn what(&self) -> String {
        let path = self.path.display();
        match &self.problem {
            Problem::Missing {
                link_to: Some(target),
                ..
            } => {
                format!(
                    "the state database {path} does not exist: it is a link to {}",
                    target.display()
                )
            }
            Problem::Missing { .. } => format!("the state database {path} does not exist"),
            Problem::Empty { .. } => format!("the state database {path} is an empty file"),
            Problem::NotAFile { kind } => format!("{path} is {kind}, not a database file"),
            Problem::NotADatabase => format!("{path} is not an SQLite database"),
            Problem::Corrupt { reason } => format!("the state database {path} is damaged: {reason}"),
            Problem::Unreadable { reason } => format!("can't read the state database {path}: {reason}"),
            Problem::Failing { reason } => format!("can't go on with the state database {path}: {reason}"),
            Problem::NotWritable { what } if *what == self.path => {
                format!("the state database {path} can't be written")
            }
            Problem::NotWritable { what } => format!(
                "the state database {path} can't be written: SQLite has to create files in {}",
                what.display()
            ),
            Problem::LocksOwnerOut { owner, .. } => format!(
                "opening {path} as another user would lock its owner (user id {owner}) out: files that SQLite creates beside it would be ours"
            ),
            Problem::ForeignSidecars { files, owner, .. } => format!(
                "{} can't be written by the owner of {path} (user id {owner}) or by us: writes fail with \"attempt to write a readonly database\"",
                listed(files, ", ")
            ),
            Problem::WalOnShared { name } => format!(
                "the state database {path} is in WAL mode on {name}, where processes of other machines don't see its shared memory: it would be damaged"
            ),
            Problem::Locked => format!("the state database {path} stayed locked by another process"),
            Problem::MissingTables { missing, found, .. } => format!(
                "the state database {path} lacks required tables: {} (it has: {})",
                missing.join(", "),
                if found.is_empty() {
                    "no tables".to_owned()
                } else {
                    found.join(", ")
                }
            ),
        }
    }

    /// What to do.
    pub(crate) fn remedy(&self) -> String {
        let path = self.path.display();
        match &self.problem {
            Problem::Missing { nearby, .. } | Problem::Empty { nearby } => {
                let found: Vec<String> = nearby.iter().map(|found| found.display().to_string()).collect();
                let found = match found.as_slice() {
                    [] => String::new(),
                    found => format!(" (found nearby: {})", found.join(", ")),
                };
                format!(
                    "let the orchestrator create it, or name another with --db, RUNCHAIN_STATE_DB_PATH or state_db_path in runchain.toml{found}"
                )
            }
            Problem::NotAFile { .. } | Problem::NotADatabase => {
                "name the orchestrator's database with --db, RUNCHAIN_STATE_DB_PATH or state_db_path in runchain.toml".into()
            }
            Problem::Corrupt { .. } => format!("restore it from a backup, or try: sqlite3 {path} .recover"),
            Problem::Unreadable { .. } => format!(
                "check with ls -l that user id {} may read it, the files beside it with its name, and every folder above (in WAL mode its folder must be writable too, unless a process has it open)",
                rustix::process::geteuid().as_raw()
            ),
            Problem::Failing { .. } => {
                "look whether its disk is full (df -h) or fails (dmesg), and with ls -l whether we may write it and its folder".into()
            }
            Problem::NotWritable { what } => {
                format!(
                    "run as its owner, or let its group in: as root, usermod -aG GROUP USER for user id {}, then chmod g+rw {path} && chmod g+rwxs {}; now {} is not for us to write",
                    rustix::process::geteuid().as_raw(),
                    self.path.parent().unwrap_or(&self.path).display(),
                    what.display()
                )
            }
            Problem::LocksOwnerOut { owner, group } => {
                let folder = self.path.parent().unwrap_or(&self.path).display();
                format!(
                    "run as user id {owner}, or share the group {group}, as the owner or root: chgrp {group} {folder} && chmod g+rwxs {folder} && chmod g+rw {path}"
                )
            }
            Problem::ForeignSidecars {
                files,
                owner,
                group,
                mode,
            } => {
                let files = listed(files, " ");
                format!("as root: chown {owner}:{group} {files} && chmod {mode:o} {files}")
            }
            Problem::WalOnShared { .. } => format!(
                "move it to a local disk; or, while nobody uses it, sqlite3 {path} 'PRAGMA journal_mode=DELETE'; or, if no other machine ever opens it, allow_shared_wal = true in runchain.toml"
            ),
            Problem::Locked => {
                format!("see which process holds it with fuser {path}, let that end its transaction, and try again")
            }
            Problem::MissingTables {
                renamed_to: Some(now), ..
            } => format!(
                "the followed table looks like {now} now: runchain install --repair follows it there, and says what it found"
            ),
            Problem::MissingTables { .. } => {
                "name the tables that your orchestrator has in required_tables (runchain.toml), or another database with --db".into()
            }
        }
    }
}

fn listed(files: &[PathBuf], between: &str) -> String {
    let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    files.join(between)
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what(), self.remedy())
    }
}

impl std::error::Error for OpenError {}
