//! The exit codes of `runchain`: one typed list that `--help` prints and scripts may rely on.
//!
//! A code, once given, never changes its meaning. What does not belong here: messages. An error
//! says what happened and what to do; the code only lets a script tell the cases apart.

use std::fmt::Write as _;
use std::process::ExitCode;

macro_rules! exits {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $meaning:literal;)*) => {
        /// How the process ends.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) enum Exit { $($(#[$doc])* $variant,)* }

        impl Exit {
            /// Every code, in the order of `--help`.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The number that the shell sees.
            pub(crate) const fn code(self) -> u8 {
                match self { $(Self::$variant => $code,)* }
            }

            /// One line for `--help`.
            pub(crate) const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

exits! {
    /// Done, also when a service was asked once to stop and stopped in order.
    Ok = 0, "done; also a service that was asked to stop and stopped in order";
    /// Anything without a code of its own.
    Failed = 1, "failed for a reason without a code of its own; the message says which";
    /// The command line is wrong. clap uses the same number.
    Usage = 2, "the command line is wrong";
    /// The configuration is wrong.
    ConfigInvalid = 3, "the configuration file, a RUNCHAIN_* variable or an option has a wrong value";
    /// There is no database where one was named.
    DatabaseMissing = 4, "the state database does not exist";
    /// The database file has no bytes.
    DatabaseEmpty = 5, "the state database is an empty file";
    /// The file is not a database, or a damaged one.
    DatabaseCorrupt = 6, "the file is not an SQLite database, or is damaged";
    /// The system refuses to read or write the file.
    DatabaseUnreadable = 7, "the state database can't be read or written (permissions, I/O, not a file)";
    /// Somebody else holds the lock.
    DatabaseLocked = 8, "the state database stayed locked; trying again can succeed";
    /// runchain's tables or triggers are not there.
    NotInstalled = 9, "runchain is not installed in this database";
    /// Required tables or mapped columns are not there.
    SchemaInvalid = 10, "required tables or mapped columns are missing";
    /// The database asks for a newer runchain.
    Outdated = 11, "the database needs a newer runchain than this one";
    /// A copied or restored database, or an output folder of another database.
    OtherIdentity = 12, "a copied or restored database, or output folders that belong to another one";
    /// The id names no run.
    NoSuchRun = 13, "there is no such run";
    /// A chain ended in a dead step.
    ChainDead = 14, "a step of the run's chain is dead: its attempts are used up";
    /// What was explained doesn't go on by itself.
    NeedsSomebody = 15, "explain: it doesn't go on until somebody acts";
    /// The configuration has no step of this name.
    NoSuchStep = 20, "no step of this name is configured";
    /// The step is not for this run.
    NotInChain = 21, "the step is not in the run's chain";
    /// `wait`: the time is up.
    TimedOut = 30, "wait: the time is up, and the chain is not through";
    /// `wait`: the chain is through, of a run that did not complete.
    RunFailed = 31, "wait: the chain is through, but the run itself failed or was cancelled";
    /// `wait`: nothing more comes of itself.
    NoChain = 32, "wait: the run has no chain that could end: cancelled, held, deleted, or over before runchain came";
    /// `health`, `doctor`: something is wrong.
    Unhealthy = 33, "health, doctor: something is wrong; the output says what";
    /// `verify`: a bag is not as it was sealed.
    BagDamaged = 34, "verify: a bag is missing, or not as it was sealed";
    /// Ctrl-C a second time: steps were not waited for.
    Interrupted = 130, "a second SIGINT: stopped at once, leases are left to expire";
    /// SIGTERM a second time: steps were not waited for.
    Terminated = 143, "a second SIGTERM: stopped at once, leases are left to expire";
}

impl Exit {
    /// The section of `--help` that lists every code.
    pub(crate) fn help() -> String {
        let mut text = String::from("Exit codes:\n");
        for exit in Self::ALL {
            // Writing to a string can't fail.
            let _ = writeln!(text, "  {:>3}  {}", exit.code(), exit.meaning());
        }
        text
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl From<&runchain_core::Error> for Exit {
    fn from(error: &runchain_core::Error) -> Self {
        use runchain_core::Error;
        match error {
            Error::NotInstalled => Self::NotInstalled,
            Error::Outdated { .. } => Self::Outdated,
            Error::WrongMapping { .. } => Self::SchemaInvalid,
            Error::OtherIdentity { .. } => Self::OtherIdentity,
            _ if error.is_busy() => Self::DatabaseLocked,
            _ if error.is_corrupt() => Self::DatabaseCorrupt,
            _ => match error.sqlite_code() {
                Some(
                    rusqlite::ErrorCode::CannotOpen
                    | rusqlite::ErrorCode::PermissionDenied
                    | rusqlite::ErrorCode::ReadOnly
                    | rusqlite::ErrorCode::SystemIoFailure
                    | rusqlite::ErrorCode::DiskFull,
                ) => Self::DatabaseUnreadable,
                _ => Self::Failed,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;
    use std::collections::HashSet;

    #[test]
    fn every_code_is_distinct_and_listed_once() {
        let codes: HashSet<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        assert_eq!(codes.len(), Exit::ALL.len());
        assert_eq!(Exit::help().lines().count(), Exit::ALL.len() + 1);
    }

    #[test]
    fn an_error_of_the_core_keeps_its_own_code() {
        use runchain_core::Error;
        assert_eq!(Exit::from(&Error::NotInstalled), Exit::NotInstalled);
        assert_eq!(
            Exit::from(&Error::Outdated { ours: 1, required: 2 }),
            Exit::Outdated
        );
        assert_eq!(Exit::from(&Error::refused("a", "b")), Exit::Failed);
    }
}
