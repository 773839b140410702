//! What is right and wrong with a database, its installation and its surroundings, and the SQL or
//! command that mends it: everything behind `monitor_validate()`, `monitor_checks()`,
//! `runchain_status()` and `runchain validate`.
//!
//! Invariants: nothing is written, so a read-only connection will do; every query is bounded or
//! answered by an index; a check that can't be made is itself a finding and never hides the others;
//! files are stated or listed, never opened (but for the executor's own lock file).
//!
//! Doesn't belong here: mending anything, and deciding what an exit code or a screen makes of it.

pub(crate) mod backlog;
mod checklist;
mod database;
mod files;
mod identity;
mod installation;
mod nearby;
mod status;
#[cfg(test)]
mod tests;
mod vocabulary;
pub(crate) mod wording;
mod work;

pub use status::status;

use crate::error::{During, Error, Result};
use crate::{Mapping, Millis, schema};
use checklist::{CHECKS, Check, Needs};
use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Works, but somebody should look.
    Warning,
    /// Something that was promised doesn't hold.
    Error,
}

impl Severity {
    /// The word that stands in JSON and in `monitor_checks()`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Name of the check; stable, for tools.
    pub check: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was found, with names and numbers.
    pub found: String,
    /// What follows from it.
    pub meaning: String,
    /// The SQL or the command that mends it.
    pub remedy: Option<String>,
}

/// What to look at.
#[derive(Debug, Clone)]
pub struct ValidateOptions {
    /// Tables that must exist, unless `runchain_meta` has a list of its own (key `required_tables`).
    pub required_tables: Vec<String>,
    /// Whether the database's surroundings are looked at: file system, files beside it, lock file.
    pub look_at_files: bool,
}

impl Default for ValidateOptions {
    fn default() -> Self {
        Self {
            required_tables: ["runs", "tasks", "workstreams"].map(str::to_owned).to_vec(),
            look_at_files: true,
        }
    }
}

/// Makes every check that applies to this database, in a fixed order. While another connection keeps
/// the database locked there is one finding, which says that.
///
/// # Errors
/// None today: what a check can't find out is a finding.
pub fn checks(conn: &Connection, options: &ValidateOptions, now: Millis) -> Result<Vec<Finding>> {
    // Each question would wait for the lock anew, for as long as the host's busy timeout says.
    if let Err(error) = schema::table_exists(conn, "runchain_meta")
        && error.is_busy()
    {
        return Ok(vec![unmade(&CHECKS[0], &error)]);
    }
    let context = Context::of(conn, options, now);
    Ok(CHECKS
        .iter()
        .filter(|check| context.allows(check.needs))
        .map(|check| match (check.run)(&context) {
            Ok(verdict) => verdict.into_finding(check),
            Err(error) => unmade(check, &error),
        })
        .collect())
}

/// The findings as `monitor_validate()` answers them.
#[must_use]
pub fn to_json(findings: &[Finding]) -> serde_json::Value {
    let count = |severity| {
        findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
    };
    let errors = count(Severity::Error);
    serde_json::json!({
        "ok": errors == 0,
        "errors": errors,
        "warnings": count(Severity::Warning),
        "checks": findings,
    })
}

/// What all checks look at.
struct Context<'a> {
    conn: &'a Connection,
    options: &'a ValidateOptions,
    now: Millis,
    database: Option<PathBuf>,
    mapping: Option<Mapping>,
    has_tables: bool,
}

impl<'a> Context<'a> {
    /// What can't be read counts as absent here; the checks `database_file` and `installed` ask
    /// again and say why.
    fn of(conn: &'a Connection, options: &'a ValidateOptions, now: Millis) -> Self {
        Self {
            conn,
            options,
            now,
            database: database_path(conn).ok().flatten(),
            mapping: Mapping::installed(conn).ok().flatten(),
            has_tables: schema::table_exists(conn, "runchain_meta").unwrap_or(false)
                || schema::table_exists(conn, "runchain_mapping").unwrap_or(false),
        }
    }

    fn allows(&self, needs: Needs) -> bool {
        let files = self.options.look_at_files && self.database.is_some();
        match needs {
            Needs::Nothing => true,
            Needs::Tables => self.has_tables,
            Needs::Mapping => self.mapping.is_some(),
            Needs::Files => files,
            Needs::FilesAndTables => files && self.has_tables,
        }
    }

    /// The mapping, for the checks with [`Needs::Mapping`].
    fn mapping(&self) -> Result<&Mapping> {
        self.mapping.as_ref().ok_or(Error::NotInstalled)
    }

    /// The database's path, for the checks with [`Needs::Files`].
    fn file(&self) -> Result<&Path> {
        self.database
            .as_deref()
            .ok_or_else(|| Error::refused("this database has no file", "open the state database by its path"))
    }
}

/// Where the main database lies; `None` when it is in memory or temporary.
pub(crate) fn database_path(conn: &Connection) -> Result<Option<PathBuf>> {
    // Bytes, because a path needs not be UTF-8.
    let path = conn
        .query_row(
            "SELECT CAST(file AS BLOB) FROM pragma_database_list WHERE name = 'main'",
            [],
            |row| row.get::<_, Option<Vec<u8>>>(0),
        )
        .optional()
        .during("ask for the database's path")?
        .flatten()
        .filter(|path| !path.is_empty());
    Ok(path.map(|path| PathBuf::from(OsStr::from_bytes(&path))))
}

/// What a check says; its row in [`CHECKS`] adds the rest.
struct Verdict {
    severity: Severity,
    found: String,
    meaning: Option<String>,
    remedy: Option<String>,
}

impl Verdict {
    fn ok(found: impl Into<String>) -> Self {
        Self {
            severity: Severity::Ok,
            found: found.into(),
            meaning: None,
            remedy: None,
        }
    }

    fn warning(found: impl Into<String>, meaning: impl Into<String>) -> Self {
        Self::bad(Severity::Warning, found, meaning)
    }

    fn error(found: impl Into<String>, meaning: impl Into<String>) -> Self {
        Self::bad(Severity::Error, found, meaning)
    }

    fn bad(severity: Severity, found: impl Into<String>, meaning: impl Into<String>) -> Self {
        Self {
            severity,
            found: found.into(),
            meaning: Some(meaning.into()),
            remedy: None,
        }
    }

    fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    fn into_finding(self, check: &Check) -> Finding {
        Finding {
            check: check.name,
            severity: self.severity,
            found: wording::escaped(&self.found),
            meaning: self.meaning.unwrap_or_else(|| check.promise.to_owned()),
            remedy: self.remedy,
        }
    }
}

/// The finding of a check that could not be made.
fn unmade(check: &Check, error: &Error) -> Finding {
    let unknown = format!("it is not known whether {}", check.promise);
    let verdict = if error.is_busy() {
        Verdict::error(format!("another connection holds the lock: {error}"), unknown)
            .remedy("SELECT monitor_validate(); -- again, in a moment")
    } else if error.is_corrupt() {
        Verdict::error(
            error.to_string(),
            "the database is damaged, or no SQLite database at all",
        )
        .remedy(
            "PRAGMA integrity_check; -- then restore a backup, or `sqlite3 DAMAGED .recover | sqlite3 NEW`",
        )
    } else {
        match error {
            Error::Refused { what, remedy } | Error::WrongMapping { what, remedy } => {
                Verdict::error(what, unknown).remedy(remedy)
            }
            other => Verdict::error(format!("the check failed: {other}"), unknown),
        }
    };
    verdict.into_finding(check)
}
