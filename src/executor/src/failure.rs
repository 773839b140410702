//! How a command fails: what a person reads, and the exit code that a script reads.

use crate::config::ConfigError;
use crate::exit::Exit;
use crate::open::OpenError;
use runchain_core::Error;
use std::fmt;

/// A failure on its way out.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The code for the script.
    pub(crate) exit: Exit,
    /// The sentence for the person: what, where, and what to do.
    pub(crate) message: String,
    /// SQLite's own answer in the middle of a command: it names no file yet.
    pub(crate) is_of_sqlite: bool,
}

/// Result of every command.
pub(crate) type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// A failure with a code of its own.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            is_of_sqlite: false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::ConfigInvalid, error.to_string())
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        Self::new(error.exit(), error.to_string())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            is_of_sqlite: error.sqlite_code().is_some(),
            ..Self::new(Exit::from(&error), error.to_string())
        }
    }
}

impl From<std::io::Error> for Failure {
    /// Only printing fails this way; everything else says which file.
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Failed, format!("can't print: {error}"))
    }
}
