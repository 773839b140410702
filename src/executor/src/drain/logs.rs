//! Logs that can't be written are told in the database, where SQL sees it: an alert `logs_unwritable`, until
//! they are written again. The events stay in the database meanwhile and are written then.
//!
//! A service starts whether or not its logs can be used, so that this can be said. What they know of the
//! database (that it is an older one, or a copy) is asked before anything is drained.

use super::Drain;
use crate::config::Settings;
use crate::door;
use crate::identity;
use runchain_core::alert::{self, Alarm, Own};
use runchain_core::error::{Error, Result};
use runchain_core::{Millis, schema};
use rusqlite::Connection;

/// What the database says about the logs, as far as we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// Whatever an earlier executor has left.
    Unknown,
    /// Nothing.
    Fine,
    /// That they can't be written.
    Unwritable,
}

impl Drain<'_> {
    /// What could not be done at the start, because the logs could not be read.
    pub(super) fn compare_with_logs(&mut self) -> Result<()> {
        if self.is_compared {
            return Ok(());
        }
        identity::require(&self.conn, &self.settings)?;
        self.is_compared = true;
        Ok(())
    }

    /// After a failure; what isn't about the logs is none of this.
    pub(super) fn tell_of_logs(&mut self, error: &Error) {
        if self.logs_told == Told::Unwritable || !is_about(error, &self.settings) {
            return;
        }
        let message = error.to_string();
        let told = door::write(&self.conn, |conn| raise(conn, &message, Millis::now()));
        // What can't be told now is told when it fails again.
        if told.is_ok() {
            self.logs_told = Told::Unwritable;
        }
    }

    /// After a round in which everything was written.
    pub(super) fn logs_are_written(&mut self) -> Result<()> {
        if self.logs_told == Told::Fine {
            return Ok(());
        }
        if door::patiently(|| is_open(&self.conn))? {
            door::write(&self.conn, |conn| resolve(conn, Millis::now()))?;
            (self.say)("the logs can be written again");
        }
        self.logs_told = Told::Fine;
        Ok(())
    }
}

fn is_about(error: &Error, settings: &Settings) -> bool {
    match error {
        Error::Io { path, .. } => path.starts_with(&settings.logs_dir),
        Error::Refused { what, .. } => what.starts_with(&settings.logs_dir.display().to_string()),
        _ => false,
    }
}

fn is_open(conn: &Connection) -> Result<bool> {
    alert::is_open(conn, Own::LogsUnwritable, &[])
}

fn raise(conn: &Connection, message: &str, now: Millis) -> Result<()> {
    schema::check_writer(conn)?;
    let alarm = Alarm {
        own: Own::LogsUnwritable,
        of: &[],
        run_id: None,
        subject: "logs",
        message,
    };
    alert::raise(conn, &alarm, now).map(drop)
}

fn resolve(conn: &Connection, now: Millis) -> Result<()> {
    schema::check_writer(conn)?;
    alert::resolve(conn, Own::LogsUnwritable, &[], now).map(drop)
}
