//! Storms: the limit that the configuration names, reading a rush before it is taken, and carrying out what
//! somebody decided about a held batch. The leader does that, a bounded part at a time, so that other runs'
//! steps have their turn.

use super::{Drain, expand};
use crate::config::Settings;
use crate::door;
use runchain_core::error::Result;
use runchain_core::storm::StormLimit;
use runchain_core::{Millis, held};
use std::time::{Duration, Instant};

/// Rows of a rush that are read by one statement: some milliseconds, for which a rollback journal keeps
/// writers waiting.
const RUSH_ROWS: usize = 5_000;
/// How long a rush is read in one turn.
const RUSH_TIME: Duration = Duration::from_millis(20);

/// As the configuration says.
pub(super) fn limit(settings: &Settings) -> StormLimit {
    StormLimit {
        max_transitions: settings.storm_max_transitions,
        window_ms: settings.storm_window_ms,
    }
}

impl Drain<'_> {
    /// Before the lock is taken: more of the rush that the queue begins with, if it does.
    pub(super) fn read_of_a_rush(&mut self) -> Result<()> {
        if !self.expanding.has_backlog {
            return Ok(());
        }
        let until = Instant::now() + RUSH_TIME;
        while door::patiently(|| self.expanding.rush.read_on(&self.conn, expand::ROWS, RUSH_ROWS))?
            && Instant::now() < until
        {}
        Ok(())
    }

    /// The next part of a decided batch. Its chains may be due at once: then there is more to do.
    pub(super) fn carry_out(&mut self) -> Result<()> {
        self.carry_out_at = None;
        if self.stopping.is_some() || !door::patiently(|| held::is_under_way(&self.conn))? {
            return Ok(());
        }
        let (mapping, chain, ahead) = (&self.mapping, &self.chain, self.settings.storm_release_ahead);
        let done = door::write(&self.conn, |conn| {
            held::advance(conn, mapping, chain, ahead, Millis::now())
        })?;
        self.carry_out_at = done.next;
        self.more |= done.released > 0 || done.discarded > 0;
        Ok(())
    }

    /// Whether a decision about a held batch is being carried out.
    pub(super) fn carries_out(&self) -> Result<bool> {
        door::patiently(|| held::is_under_way(&self.conn))
    }
}
