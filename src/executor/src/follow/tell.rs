//! What was ingested leaves as lifecycle events, by whoever leads: at once after quiet, then once in
//! [`TELL_EVERY_MS`], so that a trickle of lines makes few rows and a flood makes digests.

use crate::door;
use runchain_core::error::Result;
use runchain_core::{Millis, ingested};
use rusqlite::Connection;

/// The least time between two tellings.
const TELL_EVERY_MS: i64 = 1_000;
/// Tellings in a row before the main loop goes on.
const TELLINGS_AT_ONCE: usize = 4;

/// The leader's duty to tell.
#[derive(Debug, Default)]
pub(crate) struct Teller {
    told: Option<i64>,
    due: Option<Millis>,
    next: Millis,
}

impl Teller {
    /// Tells what is new, where its time has come or `at_once`.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub(crate) fn tell(&mut self, conn: &Connection, now: Millis, at_once: bool) -> Result<()> {
        let newest = door::patiently(|| ingested::newest(conn))?;
        if self.told == Some(newest) {
            self.due = None;
            return Ok(());
        }
        // A clock that was set back must not silence it.
        if !at_once && now < self.next && self.next.since(now) <= TELL_EVERY_MS {
            self.due = Some(self.next);
            return Ok(());
        }
        self.next = now.plus(TELL_EVERY_MS);
        for _ in 0..TELLINGS_AT_ONCE {
            let told = door::write(conn, |conn| ingested::tell(conn, now))?;
            self.told = Some(told.up_to);
            self.due = told.more.then_some(now);
            if !told.more {
                break;
            }
        }
        if self.due.is_some() {
            self.next = now;
        }
        Ok(())
    }

    /// When there is something to tell.
    pub(crate) fn due(&self) -> Option<Millis> {
        self.due
    }
}
