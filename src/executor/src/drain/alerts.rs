//! Alerts in the main loop: the clock that decides about some of them, the couriers that carry changes
//! away, and the sign of life.
//!
//! A change is announced and its deliveries are planned in one commit of the main loop; only then the
//! couriers hear of it. They belong to the lead: who loses it lets them go.

use super::{Drain, Goal};
use crate::config::Settings;
use crate::courier::{self, Couriers, SignOfLife};
use crate::door;
use runchain_core::alert::announce::{self, Announced};
use runchain_core::alert::{delivery, due, rulebook};
use runchain_core::error::{During, Result};
use runchain_core::{Millis, steps};
use rusqlite::Connection;
use std::sync::Arc;
use std::time::Duration;

/// How soon after a change the clock is asked: what it decides about takes seconds at least.
const SOON_MS: i64 = 1_000;
/// Who is there for a moment waits so long for couriers.
const FINISH_WITHIN: Duration = Duration::from_secs(15);
/// A due step that has waited for so long while nothing runs: no progress.
const STUCK_MS: i64 = 60_000;

/// When the clock has something to decide about alerts.
pub(super) struct AlertClock {
    /// Nobody's silence from before counts.
    since: Millis,
    /// What there was at the last look.
    seen: Option<Mark>,
    next: Option<Millis>,
}

/// What changes when there may be something new to decide about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    data_version: i64,
    change: i64,
}

impl AlertClock {
    pub(super) fn new(now: Millis) -> Self {
        Self {
            since: now,
            seen: None,
            next: Some(now),
        }
    }

    /// When it wants to be asked.
    pub(super) fn due(&self) -> Option<Millis> {
        self.next
    }

    /// Decides what is due; a transaction only where something is. `true` when it was asked at all.
    pub(super) fn look(&mut self, conn: &mut Connection, now: Millis) -> Result<bool> {
        let mark = door::patiently(|| Mark::of(conn))?;
        if self.seen.replace(mark) != Some(mark) {
            let soon = now.plus(SOON_MS);
            self.next = Some(self.next.map_or(soon, |next| next.min(soon)));
        }
        if self.next.is_none_or(|next| next > now) {
            return Ok(false);
        }
        let mut look = door::patiently(|| due::look(conn, self.since, now))?;
        if look.is_news() {
            look = door::write(conn, |conn| {
                let look = due::look(conn, self.since, now)?;
                due::carry_out(conn, &look, now)?;
                due::look(conn, self.since, now)
            })?;
        }
        self.next = look.next;
        Ok(true)
    }
}

impl Mark {
    fn of(conn: &Connection) -> Result<Self> {
        let data_version = conn
            .prepare_cached("PRAGMA data_version")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .during("look whether anybody has committed")?;
        Ok(Self {
            data_version,
            change: announce::newest(conn)?,
        })
    }
}

impl Drain<'_> {
    /// The lead was just taken.
    pub(super) fn send_couriers(&mut self) {
        if let Err(error) = self.drop_what_nobody_sends() {
            (self.say)(&format!("{error}; what waits for channels that are gone stays"));
        }
        match Couriers::start(&self.settings, &self.workshop, self.mailbox.waker()) {
            Ok(couriers) => self.couriers = Some(couriers),
            Err(error) => (self.say)(&format!("can't start the couriers of alerts: {error}")),
        }
        let deadman = self.settings.alerts.deadman.as_ref();
        if let Some(deadman) = deadman.filter(|_| *self.goal == Goal::Forever) {
            match SignOfLife::start(deadman, self.mailbox.waker()) {
                Ok(sign) => self.sign_of_life = Some(sign),
                Err(error) => (self.say)(&format!("can't start the sign of life: {error}")),
            }
        }
    }

    /// A channel that is configured no more has no courier.
    fn drop_what_nobody_sends(&mut self) -> Result<()> {
        let channels = &self.settings.alerts.channels;
        let known: Vec<&str> = channels.iter().map(|channel| channel.name.as_str()).collect();
        if door::patiently(|| delivery::unknown(&self.conn, &known))?.is_empty() {
            return Ok(());
        }
        let dropped = door::write(&self.conn, |conn| {
            delivery::drop_unknown(conn, &known, Millis::now())
        })?;
        for (channel, count) in dropped {
            (self.say)(&format!(
                "{count} messages about alerts were dropped: the channel {channel} is configured no more"
            ));
        }
        Ok(())
    }

    /// The lead is lost.
    pub(super) fn let_couriers_go(&mut self) {
        (self.couriers, self.sign_of_life) = (None, None);
    }

    /// Nobody may come after us for long: what is due is sent.
    pub(super) fn dismiss_couriers(&mut self) {
        self.sign_of_life = None;
        if let Some(couriers) = self.couriers.take().filter(|_| *self.goal != Goal::Forever) {
            couriers.finish(FINISH_WITHIN);
        }
    }

    /// A new configuration holds.
    pub(super) fn take_over_alerts(&mut self, old: &Arc<Settings>) {
        if old.alerts == self.settings.alerts {
            return;
        }
        let rules = &self.settings.alerts.rules;
        let adopted = door::write(&self.conn, |conn| rulebook::adopt(conn, rules, Millis::now()));
        if let Err(error) = adopted {
            (self.say)(&format!("{error}; the alert rules stay as they were"));
        }
        if self.lead.is_some() {
            self.let_couriers_go();
            self.send_couriers();
        }
    }

    /// What only the clock decides; not while there is something to catch up with.
    pub(super) fn look_at_alerts(&mut self) -> Result<()> {
        if self.catch_up.is_some() || self.stopping.is_some() {
            return Ok(());
        }
        let Some(lead) = &mut self.lead else {
            return Ok(());
        };
        if lead.look_at_alerts(&mut self.conn)?
            && let Some(couriers) = &self.couriers
            && door::patiently(|| delivery::any_due(&self.conn, Millis::now()))?
        {
            // Somebody asked for what was given up.
            couriers.look();
        }
        Ok(())
    }

    /// Announces changes and plans their deliveries, inside the caller's transaction.
    pub(super) fn announce_with_plan(&self, conn: &Connection, digest: bool) -> Result<Announced> {
        let (channels, now) = (&self.settings.alerts.channels, Millis::now());
        let plan = |conn: &Connection, news: &announce::News, digest: bool| {
            courier::plan(conn, channels, news, digest, now)
        };
        announce::announce(conn, digest, &plan, now)
    }

    /// The end of a pass that was led: what it raised is announced in the next one, at once, and who
    /// expects a sign of life gets it.
    pub(super) fn after_duties(&mut self) -> Result<()> {
        if self.catch_up.is_none() && door::patiently(|| announce::newest(&self.conn))? != self.announced {
            self.more = true;
        }
        if self.sign_of_life.as_ref().is_none_or(|sign| !sign.is_due()) {
            return Ok(());
        }
        let is_stuck = self.running == 0 && self.free() > 0 && {
            let due = door::patiently(|| steps::next_due(&self.conn))?;
            due.is_some_and(|due| Millis::now().since(due) > STUCK_MS)
        };
        let is_low = self.space.as_ref().is_some_and(crate::disk::Space::is_low);
        if let Some(sign) = &mut self.sign_of_life {
            sign.pass(!is_stuck && !is_low);
        }
        Ok(())
    }
}
