//! Between two passes: whether it is over, how long nothing is known to happen, and the sleep that a
//! hint cuts short.

use super::lead::Lead;
use super::{Drain, Ended, Goal, LEAD_EVERY, millis};
use crate::disk::Space;
use crate::door;
use crate::wake::{Sleep, Wake};
use runchain_core::error::{Error, Result};
use runchain_core::{Millis, steps};
use rusqlite::Connection;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

impl Drain<'_> {
    pub(super) fn over(&mut self) -> Result<Option<Ended>> {
        if self.running == 0
            && let Some(error) = self.outdated.take()
        {
            return Err(error);
        }
        if self.stopping.is_some() {
            return Ok((self.running == 0).then_some(Ended::Stopped));
        }
        if self.running > 0 || self.more || self.backlog_rests() {
            return Ok(None);
        }
        let left = |run_id, step| door::patiently(|| steps::work_left(&self.conn, run_id, step));
        let reached = match self.goal {
            Goal::Forever => false,
            Goal::Once => {
                self.has_followed()
                    && (self.lease_after.is_some() || !door::read(&self.conn, |conn| self.is_due(conn))?)
            }
            // What no trigger saw is work, too: whoever leads has looked at every row once.
            Goal::UntilIdle => {
                self.lead.as_ref().is_none_or(Lead::has_swept)
                    && self.has_followed()
                    && !left(None, None)?
                    && !self.carries_out()?
            }
            Goal::Run { run_id, step } => !left(Some(run_id), step.as_deref())?,
        };
        Ok(reached.then_some(Ended::Reached))
    }

    pub(super) fn is_due(&self, conn: &Connection) -> Result<bool> {
        Ok(self.next_due(conn)?.is_some_and(|due| due <= Millis::now()))
    }

    fn next_due(&self, conn: &Connection) -> Result<Option<Millis>> {
        match self.goal {
            Goal::Run { run_id, step } => steps::next_due_of(conn, run_id, step.as_deref()),
            _ => steps::next_due(conn),
        }
    }

    /// Between two looks that nothing has asked for.
    fn poll_ms(&self) -> i64 {
        match self.is_reported && self.mailbox.watches() {
            true => self.settings.poll_ms,
            false => self.settings.poll_ms.min(self.settings.poll_unwatched_ms),
        }
    }

    /// How long nothing is known to happen: the next timer, or the fallback poll.
    pub(super) fn until_next(&self) -> Result<Duration> {
        if self.more {
            return Ok(Duration::ZERO);
        }
        let mut timeout = millis(self.poll_ms());
        let now = Millis::now();
        let until = |at: Millis| millis(at.since(now).max(1));
        let begins = self.stopping.is_none() && self.outdated.is_none();
        if begins && self.running < self.settings.workers && !self.suspect {
            let held_back = self
                .lease_after
                .map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
            timeout = door::read(&self.conn, |conn| self.next_due(conn))?
                .map_or(timeout, |due| timeout.min(until(due).max(held_back)));
        }
        match &self.lead {
            Some(_) if !begins => {}
            Some(lead) => timeout = lead.next_duty().map_or(timeout, |due| timeout.min(until(due))),
            None => timeout = timeout.min(LEAD_EVERY),
        }
        if self.running > 0 {
            // From the last renewal, not from now: a busy machine needs what is left of the lease.
            let renew_at = self.renewed + self.lease_part();
            timeout = timeout.min(renew_at.saturating_duration_since(Instant::now()));
        } else if door::read(&self.conn, |conn| self.others_hold(conn))? {
            timeout = timeout.min(self.lease_part());
        }
        if let Some(at) = self.space.as_ref().and_then(Space::due) {
            timeout = timeout.min(at.saturating_duration_since(Instant::now()));
        }
        if let Some(sign) = self.sign_of_life.as_ref().filter(|_| begins) {
            timeout = timeout.min(sign.due().saturating_duration_since(Instant::now()));
        }
        if let Some(at) = self.carry_out_at {
            timeout = timeout.min(until(at));
        }
        let backlog_rest = self.pace.backlog_rest(Instant::now());
        if !backlog_rest.is_zero() {
            timeout = timeout.min(backlog_rest);
        }
        if let Some(at) = self.expanding.after {
            timeout = timeout.min(at.saturating_duration_since(Instant::now()));
        }
        if let Some(stop) = &self.stopping {
            let left = stop.deadline.saturating_duration_since(Instant::now());
            timeout = timeout.min(left.max(Duration::from_millis(50)));
        }
        Ok(timeout)
    }

    /// Waits for a wake or the timeout, and takes everything that has arrived.
    pub(super) fn sleep(&mut self, timeout: Duration, sleep: Sleep) -> Result<Option<Ended>> {
        let wakes = (self.mailbox.sleep(timeout, sleep))
            .map_err(|error| Error::io("wait for", "what wakes the executor", error))?;
        for wake in wakes {
            match wake {
                Wake::Changed => self.looks = 0,
                Wake::Finished(finished) => self.finished.push(*finished),
                Wake::Told(text) => (self.say)(&text),
                Wake::Followed(news) => self.hear(&news),
                Wake::Reload => self.reload_settings(),
                Wake::Stop(signal) => {
                    if let Some(ended) = self.stop(signal) {
                        return Ok(Some(ended));
                    }
                }
            }
        }
        if self
            .stopping
            .as_ref()
            .is_some_and(|stop| Instant::now() >= stop.deadline)
        {
            self.workshop.stop.store(true, Ordering::Release);
        }
        Ok(None)
    }
}
