//! The leader's part: it counts what is new, hands the sums to who answers, and saves them now and then.

use super::Shared;
use crate::door;
use runchain_core::counters::Counters;
use runchain_core::error::Result;
use rusqlite::Connection;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Events counted at once: some milliseconds of reading.
const AT_ONCE: usize = 5_000;
/// A commit of their own a minute at most; what isn't saved is counted again from the events.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// The totals of one leader.
#[derive(Debug)]
pub(crate) struct Totals {
    shared: Arc<Shared>,
    counters: Counters,
    saved: Instant,
}

impl Totals {
    /// Goes on from what was saved last.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub(crate) fn begin(shared: &Arc<Shared>, conn: &Connection) -> Result<Self> {
        Ok(Self {
            shared: Arc::clone(shared),
            counters: door::patiently(|| Counters::load(conn))?,
            saved: Instant::now(),
        })
    }

    /// Counts what is new; `true` when more is left.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub(crate) fn go_on(&mut self, conn: &Connection, heartbeat_at: Option<Instant>) -> Result<bool> {
        let count = self.counters.add_new(conn, AT_ONCE)?;
        {
            let mut lead = self.shared.lead();
            lead.heartbeat_at = heartbeat_at;
            if count > 0 || lead.totals.is_none() {
                lead.totals = Some(self.counters.clone());
            }
        }
        if !self.counters.is_saved() && self.saved.elapsed() >= SAVE_EVERY {
            self.save(conn)?;
        }
        Ok(count == AT_ONCE)
    }

    /// Saves what isn't.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub(crate) fn save(&mut self, conn: &Connection) -> Result<()> {
        self.saved = Instant::now();
        if !self.counters.is_saved() {
            door::write(conn, |conn| self.counters.save(conn))?;
            self.counters.saved();
        }
        Ok(())
    }
}

impl Drop for Totals {
    /// Another one may lead now: two pages must not tell the same.
    fn drop(&mut self) {
        *self.shared.lead() = super::LeadSeen::default();
    }
}
