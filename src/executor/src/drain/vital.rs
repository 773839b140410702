//! The loop's signs of life: what it tells the service manager, and what it writes down for `/healthz`.
//!
//! The watchdog is fed where the loop itself comes past, at half of its time, and only if nothing stands
//! still: see [`Facts::trouble`](crate::pulse::Facts::trouble). A loop that hangs in a lock doesn't come
//! past; one whose passes fail, whose queue can't be expanded or whose due steps aren't begun comes past
//! and doesn't feed. An idle one wakes for it, asks two questions of an index and sleeps again.

use super::Drain;
use crate::door;
use crate::pulse::{Pulse, Since, Waiting};
use crate::service_manager::Manager;
use runchain_core::Millis;
use runchain_core::error::Result;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Whom the loop shows that it lives.
pub(super) struct Vital {
    pub(super) manager: Manager,
    pub(super) health: Arc<Pulse>,
    /// What stands still was said.
    complained: bool,
}

impl Vital {
    pub(super) fn new(manager: Manager, health: Arc<Pulse>) -> Self {
        Self {
            manager,
            health,
            complained: false,
        }
    }
}

impl Drain<'_> {
    /// A pass is over.
    pub(super) fn passed(&mut self, failure: Option<&str>) {
        let now = Instant::now();
        let unexpanded = self.expanding.after.is_some();
        {
            let mut facts = self.vital.health.facts();
            facts.failing = failure.map(|what| since(facts.failing.take(), what, now));
            facts.unexpanded = unexpanded.then(|| {
                since(
                    facts.unexpanded.take(),
                    "the queue has rows that can't be expanded",
                    now,
                )
            });
        }
        if failure.is_none() {
            self.vital.manager.ready();
        }
        let text = self.doing(failure);
        self.vital.manager.status(&text, now);
    }

    /// Something was done: a queue row expanded, a step begun or settled.
    pub(super) fn moved(&self) {
        self.vital.health.facts().moved = Instant::now();
    }

    /// The loop comes past. How long it may sleep at most until it has to come past again.
    pub(super) fn come_past(&mut self, pause: Duration) -> Duration {
        let now = Instant::now();
        {
            let mut facts = self.vital.health.facts();
            facts.awake_until = now;
            facts.is_stopping = self.stopping.is_some();
        }
        let due = self.vital.manager.feeding(now).is_some_and(|at| now >= at);
        if due {
            self.feed_if_well(now);
        }
        let until_fed = self.vital.manager.feeding(now);
        let pause = until_fed.map_or(pause, |at| pause.min(at.saturating_duration_since(now)));
        self.vital.health.facts().awake_until = now + pause;
        pause
    }

    fn feed_if_well(&mut self, now: Instant) {
        let Some(watchdog) = self.vital.manager.watchdog() else {
            return;
        };
        let trouble = match self.waiting() {
            Ok(waiting) => self.vital.health.facts().trouble(waiting, watchdog, now),
            Err(error) => Some(error.to_string()),
        };
        match trouble {
            None => {
                self.vital.manager.feed(now);
                self.vital.complained = false;
            }
            Some(trouble) => {
                self.vital.manager.starve(now);
                if !std::mem::replace(&mut self.vital.complained, true) {
                    self.log
                        .error(&format!("{trouble}; the watchdog is not fed until that is over"));
                }
            }
        }
    }

    fn waiting(&self) -> Result<Waiting> {
        door::patiently(|| Waiting::look(&self.conn, Millis::now()))
    }

    /// One line for `systemctl status`.
    fn doing(&self, failure: Option<&str>) -> String {
        if let Some(failure) = failure {
            return format!("waiting: {failure}");
        }
        let role = if self.catch_up.is_some() {
            "catching up"
        } else if self.lead.is_some() {
            "leading"
        } else {
            "another executor leads"
        };
        let trouble = self
            .complaints
            .last()
            .map_or_else(String::new, |text| format!("; {text}"));
        match self.running {
            0 => format!("{role}, no step runs{trouble}"),
            1 => format!("{role}, 1 step runs{trouble}"),
            count => format!("{role}, {count} steps run{trouble}"),
        }
    }
}

/// The same as before since then, or something new since now.
fn since(before: Option<Since>, what: &str, now: Instant) -> Since {
    Since {
        at: before.map_or(now, |since| since.at),
        what: what.to_owned(),
    }
}
