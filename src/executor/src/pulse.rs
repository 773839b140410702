//! Whether the executor drains: not that its process lives, but that its loop comes past, that its passes
//! succeed and that what is due is begun.
//!
//! The loop writes down what it knows; the watchdog (by the loop itself) and `/healthz` (by another
//! thread, which can also see a loop that hangs) judge by the same rules: [`Facts::trouble`]. What does
//! not belong here: whom it is told to.

use runchain_core::error::{During, Result};
use runchain_core::{Millis, steps};
use rusqlite::Connection;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long something may stand still where no watchdog says otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Something wrong, and since when.
#[derive(Debug, Clone)]
pub(crate) struct Since {
    /// Since then, without a pause.
    pub(crate) at: Instant,
    /// What it is.
    pub(crate) what: String,
}

/// What the loop knows of itself.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// It came past, or will by then.
    pub(crate) awake_until: Instant,
    /// Passes fail.
    pub(crate) failing: Option<Since>,
    /// The queue has rows and can't be expanded.
    pub(crate) unexpanded: Option<Since>,
    /// Something of the queue or of a step was done.
    pub(crate) moved: Instant,
    /// It was asked to stop: it begins nothing more.
    pub(crate) is_stopping: bool,
}

/// What the database says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Since when the oldest ready step is due that isn't paused.
    pub(crate) oldest_due: Option<Millis>,
    /// A step is leased or running, by whomever: limits may hold others up.
    pub(crate) is_working: bool,
}

impl Waiting {
    /// Asks the database: two questions to an index.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub(crate) fn look(conn: &Connection, now: Millis) -> Result<Self> {
        let is_working = conn
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM runchain_steps
                                WHERE finished_ms IS NULL AND state IN ('leased', 'running'))",
            )
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .during("look whether a step runs")?;
        Ok(Self {
            oldest_due: steps::next_due(conn)?.filter(|due| *due <= now),
            is_working,
        })
    }
}

impl Facts {
    /// What stands still for longer than `patience`, if anything does.
    pub(crate) fn trouble(&self, waiting: Waiting, patience: Duration, now: Instant) -> Option<String> {
        if self.is_stopping {
            return None;
        }
        let late = |at: Instant| now.saturating_duration_since(at) >= patience;
        if late(self.awake_until) {
            let late_ms = now.saturating_duration_since(self.awake_until).as_millis();
            return Some(format!("the main loop should have come past {late_ms} ms ago"));
        }
        let failing = [&self.failing, &self.unexpanded].into_iter().flatten();
        if let Some(since) = failing.into_iter().find(|since| late(since.at)) {
            return Some(since.what.clone());
        }
        let due = waiting.oldest_due?;
        (!waiting.is_working && late(self.moved))
            .then(|| format!("a step is due since {}, and nothing is begun", due.iso()))
    }
}

/// The facts, shared between threads.
#[derive(Debug)]
pub(crate) struct Pulse(Mutex<Facts>);

impl Pulse {
    /// At the start everything is well.
    pub(crate) fn new(now: Instant) -> Self {
        Self(Mutex::new(Facts {
            awake_until: now,
            failing: None,
            unexpanded: None,
            moved: now,
            is_stopping: false,
        }))
    }

    /// To read or to change.
    pub(crate) fn facts(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);
    const IDLE: Waiting = Waiting {
        oldest_due: None,
        is_working: false,
    };
    const DUE: Waiting = Waiting {
        oldest_due: Some(Millis(0)),
        is_working: false,
    };

    fn facts(now: Instant) -> Facts {
        Pulse::new(now).facts().clone()
    }

    fn trouble_after(seconds: u64, change: impl Fn(&mut Facts, Instant), waiting: Waiting) -> Option<String> {
        let began = Instant::now();
        let now = began + Duration::from_secs(seconds);
        let mut facts = facts(began);
        facts.awake_until = now;
        change(&mut facts, began);
        facts.trouble(waiting, PATIENCE, now)
    }

    #[test]
    fn idle_is_well_for_ever_and_a_due_step_that_nobody_begins_isn_t() {
        assert_eq!(trouble_after(100_000, |_, _| {}, IDLE), None);
        assert_eq!(trouble_after(9, |_, _| {}, DUE), None);
        assert_eq!(
            trouble_after(10, |_, _| {}, DUE).unwrap(),
            "a step is due since 1970-01-01T00:00:00.000+00:00, and nothing is begun"
        );
        let limited = Waiting {
            is_working: true,
            ..DUE
        };
        assert_eq!(trouble_after(10, |_, _| {}, limited), None);
    }

    #[test]
    fn a_loop_that_hangs_or_fails_is_in_trouble_and_one_that_stops_isn_t() {
        let hangs = |facts: &mut Facts, began| facts.awake_until = began;
        assert_eq!(
            trouble_after(11, hangs, IDLE).unwrap(),
            "the main loop should have come past 11000 ms ago"
        );
        let fails = |facts: &mut Facts, at| {
            let what = "no".to_owned();
            facts.failing = Some(Since { at, what });
        };
        assert_eq!(trouble_after(9, fails, IDLE), None);
        assert_eq!(trouble_after(10, fails, IDLE).unwrap(), "no");
        let stops = |facts: &mut Facts, began| {
            fails(facts, began);
            facts.is_stopping = true;
        };
        assert_eq!(trouble_after(10, stops, DUE), None);
    }
}
