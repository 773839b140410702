//! SQLite libraries that aren't the executor's, each behind a program that runs SQL.

use super::build::{old_sqlite_3_24, old_sqlite_3_31};
use super::programs::{Finished, run, sqlite3};
use std::path::Path;
use std::process::Command;

/// One of the SQLite versions that writers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sqlite {
    /// 3.24.0, the oldest that runchain's stored objects must be readable for.
    V3_24,
    /// 3.31.1
    V3_31,
    /// The machine's own shell.
    Stock,
}

impl Sqlite {
    pub(crate) const OLD: [Self; 2] = [Self::V3_24, Self::V3_31];
    pub(crate) const ALL: [Self; 3] = [Self::V3_24, Self::V3_31, Self::Stock];

    /// Runs SQL; after a failure the next statement runs. `success` is false after any failure.
    pub(crate) fn run(self, database: &Path, sql: &str) -> Finished {
        match self {
            Self::V3_24 => old(old_sqlite_3_24(), database, sql),
            Self::V3_31 => old(old_sqlite_3_31(), database, sql),
            Self::Stock => stock(database, sql),
        }
    }
}

/// The stock shell, whose first failure fails the test: for preparing databases and looking at them.
#[track_caller]
pub(crate) fn stock_sqlite3(database: &Path, sql: &str) -> String {
    Sqlite::Stock.run(database, sql).output()
}

fn old(program: &Path, database: &Path, sql: &str) -> Finished {
    let mut finished = run(Command::new(program).arg(database), sql);
    finished.success &= !finished.stdout.lines().any(|line| line.starts_with("error: "));
    finished
}

fn stock(database: &Path, sql: &str) -> Finished {
    let mut shell = Command::new(sqlite3());
    // No ~/.sqliterc of whoever runs the tests.
    shell
        .args(["-batch", "-list", "-noheader"])
        .arg(database)
        .env("HOME", "/nonexistent");
    let mut finished = run(&mut shell, sql);
    finished.success &= finished.stderr.is_empty();
    finished
}
