//! After a time without any executor: what waited is expanded first, in order, before anything else is
//! made of it.
//!
//! Until then no monitor starts and no heartbeat is written, so that a run that began and ended meanwhile
//! gets neither, and every stall clock starts when it is over. Alerts wait, too, and leave as one digest
//! of each rule. It belongs to the executor that takes the lead when it starts.

use super::Drain;
use crate::courier::cut;
use crate::redact::Redactor;
use crate::{door, fault};
use runchain_core::Millis;
use runchain_core::alert::announce;
use runchain_core::downtime::{self, Backlog};
use runchain_core::error::Result;

/// Of what an alert says, so much stands in a line of the service's log.
const SHOWN_CHARS: usize = 1_000;

/// What is being caught up with.
#[derive(Debug, Clone, Copy)]
pub(super) struct CatchUp {
    backlog: Backlog,
    /// It waited for so long that alerts leave as digests.
    was_down: bool,
}

impl Drain<'_> {
    /// The lead was just taken: what waits is looked at, and said where it waited for long.
    pub(super) fn begin_to_catch_up(&mut self) -> Result<()> {
        let Some(backlog) = self.backlog.take() else {
            return Ok(());
        };
        let was_down = backlog.seen.since(backlog.since) >= self.settings.down_after_ms;
        if was_down {
            door::write(&self.conn, |conn| downtime::say(conn, &backlog, Millis::now()))?;
            (self.say)(&format!(
                "nobody drained since {}; {} writes wait",
                backlog.since.iso(),
                backlog.queue_rows
            ));
        }
        self.catch_up = Some(CatchUp { backlog, was_down });
        Ok(())
    }

    /// After the turns of a pass: whether that is over now.
    pub(super) fn go_on_catching_up(&mut self) -> Result<()> {
        let Some(catch_up) = self.catch_up else {
            return self.announce(false);
        };
        if !door::patiently(|| downtime::is_caught_up(&self.conn, &catch_up.backlog))? {
            return Ok(());
        }
        self.catch_up = None;
        if catch_up.was_down {
            door::write(&self.conn, |conn| downtime::over(conn, Millis::now()))?;
        }
        self.announce(catch_up.was_down)
    }

    fn announce(&mut self, digest: bool) -> Result<()> {
        if door::patiently(|| announce::newest(&self.conn))? == self.announced {
            return Ok(());
        }
        self.announce_now(digest)
    }

    fn announce_now(&mut self, digest: bool) -> Result<()> {
        let newest = door::patiently(|| announce::newest(&self.conn))?;
        let announced = door::write(&self.conn, |conn| self.announce_with_plan(conn, digest))?;
        if let Some(couriers) = self.couriers.as_ref().filter(|_| announced.planned > 0) {
            fault::point("alert-planned");
            couriers.look();
        }
        let redactor = Redactor::checked(&self.settings);
        for mut line in announced.lines {
            let message = |text: String| cut(&redactor.alert_message(&line.rule, &text), SHOWN_CHARS);
            line.message = line.message.map(message);
            for subject in &mut line.subjects {
                *subject = cut(&redactor.alert_subject(subject), SHOWN_CHARS);
            }
            (self.say)(&line.to_string());
        }
        self.announced = announced.more_after.unwrap_or(newest);
        Ok(())
    }
}
