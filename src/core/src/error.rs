//! One error for the whole core: what was being done, what is wrong, and what to do about it.

use std::path::PathBuf;

/// Result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong. Callers ask [`Error::is_busy`] and friends rather than match on SQLite codes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// SQLite refused a statement.
    #[error("{operation}: {source}")]
    Sqlite {
        /// What was being done, as a verb phrase: "lease steps".
        operation: &'static str,
        /// SQLite's own answer.
        source: rusqlite::Error,
    },
    /// The operating system refused a file operation.
    #[error("{operation} {path}: {source}", path = path.display())]
    Io {
        /// What was being done: "read the event log".
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's own answer.
        source: std::io::Error,
    },
    /// The caller asked for something that can't be done; the text says what and why, the remedy
    /// says what to do instead.
    #[error("{what}; {remedy}")]
    Refused {
        /// The thing, the place, the reason.
        what: String,
        /// What to do, starting with a verb.
        remedy: String,
    },
    /// The user's table or columns are not what the mapping says.
    #[error("{what}; {remedy}")]
    WrongMapping {
        /// What was looked for, and what was found instead.
        what: String,
        /// The option to give.
        remedy: String,
    },
    /// Files that belong to another database, or a database that is not the one it was.
    #[error("{what}; {remedy}")]
    OtherIdentity {
        /// The thing and the two identities.
        what: String,
        /// What to do, starting with a verb.
        remedy: String,
    },
    /// runchain's tables or triggers are not in this database.
    #[error(
        "runchain is not installed in this database; run SELECT runchain_install(); or `runchain install`"
    )]
    NotInstalled,
    /// The database's schema asks for a newer runchain than this one.
    #[error(
        "this runchain writes schema version {ours}, but the database asks for {required} or newer; install a newer runchain"
    )]
    Outdated {
        /// Newest schema version that this build knows.
        ours: i64,
        /// `min_writer_version` of the database.
        required: i64,
    },
}

impl Error {
    /// A refusal: `what` names the thing and the reason, `remedy` what to do instead.
    pub fn refused(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Refused {
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    /// A mapping that doesn't fit the user's tables.
    pub fn wrong_mapping(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::WrongMapping {
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    /// Something that belongs to another database.
    pub fn other_identity(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::OtherIdentity {
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    /// Wraps an I/O error with its operation and path.
    pub fn io(operation: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io {
            operation,
            path: path.into(),
            source,
        }
    }

    /// Another connection holds the lock: trying again later can succeed.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(
            self.sqlite_code(),
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
        )
    }

    /// The disk, or a quota on it, is full: trying again can succeed when there is room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        match self {
            Self::Io { source, .. } => matches!(source.kind(), StorageFull | QuotaExceeded),
            _ => self.sqlite_code() == Some(rusqlite::ErrorCode::DiskFull),
        }
    }

    /// The file is damaged or is no SQLite database.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        matches!(
            self.sqlite_code(),
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase)
        )
    }

    /// SQLite's primary result code, where SQLite was involved.
    #[must_use]
    pub fn sqlite_code(&self) -> Option<rusqlite::ErrorCode> {
        match self {
            Self::Sqlite { source, .. } => source.sqlite_error_code(),
            _ => None,
        }
    }
}

/// Adds the operation to a `rusqlite` result: `stmt.execute([]).during("settle a step")?`.
pub trait During<T> {
    /// `operation` is a verb phrase that completes "failed to ...".
    ///
    /// # Errors
    /// The same failure, as [`Error::Sqlite`].
    fn during(self, operation: &'static str) -> Result<T>;
}

impl<T> During<T> for rusqlite::Result<T> {
    fn during(self, operation: &'static str) -> Result<T> {
        self.map_err(|source| Error::Sqlite { operation, source })
    }
}
