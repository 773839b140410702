//! When the list of reports is written anew: after reports came or went, at most once a second, and before
//! the executor leaves. What it says is `report`'s.

use crate::config::Settings;
use crate::report;
use runchain_core::Millis;
use runchain_core::error::Result;
use rusqlite::Connection;

/// A list of hundreds of runs is not written for each of a stream of reports.
const EVERY_MS: i64 = 1_000;

/// What is known of the list.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// It doesn't say everything yet.
    is_behind: bool,
    rests_until: Millis,
}

impl Listing {
    /// Something changed that the list should say.
    pub(super) fn note(&mut self) {
        self.is_behind = true;
    }

    /// When it wants to be written.
    pub(super) fn due(&self) -> Option<Millis> {
        self.is_behind.then_some(self.rests_until)
    }

    /// Writes the list if it is due.
    ///
    /// # Errors
    /// Whatever SQLite or the file system answers; it stays due.
    pub(super) fn go_on(&mut self, settings: &Settings, conn: &Connection) -> Result<()> {
        match self.due() {
            Some(at) if at <= Millis::now() => self.catch_up(settings, conn),
            _ => Ok(()),
        }
    }

    /// Writes the list if it doesn't say everything yet.
    ///
    /// # Errors
    /// As [`Listing::go_on`].
    pub(super) fn catch_up(&mut self, settings: &Settings, conn: &Connection) -> Result<()> {
        // No report was ever made here, or the folder is a link and the next report says so.
        let is_there = std::fs::symlink_metadata(&settings.reports_dir).is_ok_and(|found| found.is_dir());
        if self.is_behind && is_there {
            self.rests_until = Millis::now().plus(EVERY_MS);
            report::write_index(conn, &settings.reports_dir)?;
        }
        self.is_behind = false;
        Ok(())
    }
}
