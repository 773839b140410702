//! The database as a file that may be missing, wrong, replaced or locked: opened again whenever that
//! changes.

use super::Asked;
use crate::commands;
use crate::config::Settings;
use crate::exit::Exit;
use crate::identity::WatchedFile;
use crate::open::{self, OpenError, OpenMode, Problem};
use crate::tui::model::Trouble;
use runchain_core::{Error, Mapping, mapping, schema};
use rusqlite::Connection;
use std::time::Duration;

/// How long a look waits for somebody else's lock: the screen must not stand still.
const BUSY_TIMEOUT: Duration = Duration::from_millis(200);

/// Why nothing was read.
#[derive(Debug)]
pub(super) enum Miss {
    /// Somebody holds the lock: the next look will do.
    Busy,
    /// Something that somebody has to mend.
    Trouble(Trouble),
}

/// An open database.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) conn: Connection,
    file: WatchedFile,
    version: Option<i64>,
}

impl Source {
    /// Opens the database.
    pub(super) fn open(settings: &Settings) -> Result<Self, Miss> {
        let path = &settings.state_db_path;
        let file = WatchedFile::of(path);
        let conn = open::open_state(path, OpenMode::ReadOnly).map_err(|error| of_open(&error))?;
        // Nothing waits for longer with a connection that could not be told so.
        let _ = conn.busy_timeout(BUSY_TIMEOUT);
        conn.set_prepared_statement_cache_capacity(64);
        Ok(Self {
            conn,
            file,
            version: None,
        })
    }

    /// Whether the path still leads to the file that is open.
    pub(super) fn is_current(&self) -> bool {
        self.file.is_current()
    }

    /// Whether anybody has committed since the last call. A busy database counts as changed.
    pub(super) fn changed(&mut self) -> bool {
        let version = self
            .conn
            .prepare_cached("PRAGMA data_version")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .ok();
        let changed = version.is_none() || version != self.version;
        self.version = version;
        changed
    }

    /// What must be there before anything is read.
    pub(super) fn check(&self, asked: &Asked) -> Result<Mapping, Miss> {
        let explain = |error| of_core(&error, asked, Some(&self.conn));
        let mapping = Mapping::require(&self.conn).map_err(explain)?;
        let version = schema::version(&self.conn).map_err(explain)?;
        if version < schema::VERSION {
            return Err(Miss::Trouble(Trouble {
                looked_for: format!("runchain's tables, schema version {}", schema::VERSION),
                found: format!("schema version {version} in {}", asked.path()),
                remedy: asked.command("install"),
                exit: Exit::NotInstalled,
            }));
        }
        let required = commands::required(&self.conn, &asked.settings).map_err(|failure| {
            Miss::Trouble(Trouble {
                looked_for: format!("runchain's tables in {}", asked.path()),
                found: failure.message,
                remedy: asked.command("validate"),
                exit: failure.exit,
            })
        })?;
        open::required_tables(&self.conn, &required).map_err(|error| of_open(&error))?;
        Ok(mapping)
    }
}

fn of_open(error: &OpenError) -> Miss {
    let path = error.path.display();
    let looked_for = match &error.problem {
        Problem::Locked => return Miss::Busy,
        Problem::MissingTables { missing, .. } => format!("the tables {} in {path}", missing.join(", ")),
        _ => format!("the orchestrator's database {path}"),
    };
    Miss::Trouble(Trouble {
        looked_for,
        found: error.what(),
        remedy: error.remedy(),
        exit: error.exit(),
    })
}

/// What an answer of the core means here.
pub(super) fn of_core(error: &Error, asked: &Asked, conn: Option<&Connection>) -> Miss {
    if error.is_busy() {
        return Miss::Busy;
    }
    let tables = || {
        let found = conn
            .and_then(|conn| mapping::user_tables(conn).ok())
            .unwrap_or_default();
        match found.as_slice() {
            [] => "no tables".to_owned(),
            found => format!("the tables {}", found.join(", ")),
        }
    };
    let text = error.to_string();
    let (looked_for, found, remedy) = match error {
        Error::NotInstalled => (
            format!("runchain's tables in {}", asked.path()),
            format!("{}, none of them runchain's", tables()),
            asked.command("install"),
        ),
        Error::Refused { what, remedy }
        | Error::WrongMapping { what, remedy }
        | Error::OtherIdentity { what, remedy } => (
            format!("the tables in {}", asked.path()),
            what.clone(),
            remedy.clone(),
        ),
        _ if text.contains("no such table: runchain_") || text.contains("no such column") => (
            format!("runchain's tables in {}", asked.path()),
            text,
            asked.command("install"),
        ),
        _ if error.is_corrupt() => (
            format!("a sound database {}", asked.path()),
            text,
            format!(
                "restore it from a backup, or try: sqlite3 {} .recover",
                asked.path()
            ),
        ),
        _ => (
            format!("the tables in {}", asked.path()),
            text,
            asked.command("validate"),
        ),
    };
    Miss::Trouble(Trouble {
        looked_for,
        found,
        remedy,
        exit: Exit::from(error),
    })
}
