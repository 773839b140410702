//! Before a pass: bags of archivings that began and that nobody settles any more get their rows in
//! `archival_log`, so that the pass sees them like all others.

use crate::archive;
use crate::config::Settings;
use crate::door;
use crate::identity::Guard;
use runchain_core::error::{During, Result};
use runchain_core::steps::{self, Unsettled};
use runchain_core::{Millis, StepId, schema};
use rusqlite::Connection;
use std::path::PathBuf;

/// Ids of steps that are looked through by one statement.
const IDS_AT_ONCE: i64 = 2_000;

/// Looks through all steps once, some at a call.
#[derive(Debug)]
pub(super) struct Unlogged {
    archive_dir: PathBuf,
    database_uuid: String,
    after: StepId,
    newest: StepId,
    found: Vec<Unsettled>,
}

impl Unlogged {
    pub(super) fn begin(settings: &Settings, database_uuid: String, conn: &Connection) -> Result<Self> {
        let (before, newest) = conn
            .query_row(
                "SELECT coalesce(min(id) - 1, 0), coalesce(max(id), 0) FROM runchain_steps",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .during("look for the first and the last step")?;
        Ok(Self {
            archive_dir: settings.archive_dir.clone(),
            database_uuid,
            after: before,
            newest,
            found: Vec::new(),
        })
    }

    pub(super) fn is_through(&self) -> bool {
        self.found.is_empty() && self.after >= self.newest
    }

    /// The next steps, or the bags of the next run.
    pub(super) fn go_on(&mut self, conn: &Connection, guard: &Guard) -> Result<()> {
        let Some(next) = self.found.last() else {
            self.found = steps::unsettled(conn, self.after, IDS_AT_ONCE)?;
            self.after = StepId(self.after.0 + IDS_AT_ONCE);
            return Ok(());
        };
        let bags = archive::unlogged(conn, &self.archive_dir, &next.run_id, &self.database_uuid, None)?;
        if !bags.is_empty() {
            door::write_now(conn, |conn| {
                guard.verify(conn)?;
                schema::check_writer(conn)?;
                for bag in &bags {
                    let now = Millis::now();
                    steps::log_missing(conn, &next.run_id, bag.generation, &bag.archival, now)?;
                }
                Ok(())
            })?;
        }
        self.found.pop();
        Ok(())
    }
}
