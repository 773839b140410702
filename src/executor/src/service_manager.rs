//! What a service manager is told (sd_notify): ready, what is being done, stopping, reloading, and that
//! the watchdog may wait. Where none listens, nothing is sent.
//!
//! What does not belong here: when any of it is true.

use sd_notify::NotifyState;
use std::time::{Duration, Instant};

/// Between two texts.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// The manager that started us.
#[derive(Debug)]
pub(crate) struct Manager {
    listens: bool,
    watchdog: Option<Duration>,
    fed: Option<Instant>,
    is_ready: bool,
    status: String,
    told: Instant,
}

impl Manager {
    /// As the environment says.
    pub(crate) fn of_environment(now: Instant) -> Self {
        Self {
            listens: std::env::var_os("NOTIFY_SOCKET").is_some(),
            watchdog: sd_notify::watchdog_enabled(),
            fed: None,
            is_ready: false,
            status: String::new(),
            told: now,
        }
    }

    /// Nobody: for what is no service.
    pub(crate) fn nobody(now: Instant) -> Self {
        Self {
            listens: false,
            watchdog: None,
            ..Self::of_environment(now)
        }
    }

    /// How long the watchdog waits.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The work has begun; a second time says nothing.
    pub(crate) fn ready(&mut self) {
        if !std::mem::replace(&mut self.is_ready, true) {
            self.send(&[NotifyState::Ready]);
        }
    }

    /// What is being done, where that is news. A manager is told once a second at most.
    pub(crate) fn status(&mut self, text: &str, now: Instant) {
        if self.listens && self.status != text && now >= self.told + STATUS_EVERY {
            self.send(&[NotifyState::Status(text)]);
            text.clone_into(&mut self.status);
            self.told = now;
        }
    }

    /// The configuration is being read; [`Manager::reloaded`] follows.
    pub(crate) fn reloading(&self) {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            self.send(&[NotifyState::Reloading, now]);
        }
    }

    /// It was read, or refused.
    pub(crate) fn reloaded(&self, text: &str) {
        self.send(&[NotifyState::Ready, NotifyState::Status(text)]);
    }

    /// Nothing new is begun.
    pub(crate) fn stopping(&self, text: &str) {
        self.send(&[NotifyState::Stopping, NotifyState::Status(text)]);
    }

    /// When the watchdog wants to be fed next: at half of its time, as sd_watchdog_enabled(3) asks.
    pub(crate) fn feeding(&self, now: Instant) -> Option<Instant> {
        let watchdog = self.watchdog?;
        Some(self.fed.map_or(now, |fed| fed + watchdog / 2))
    }

    /// The watchdog's time begins anew.
    pub(crate) fn feed(&mut self, now: Instant) {
        self.send(&[NotifyState::Watchdog]);
        self.fed = Some(now);
    }

    /// It is not fed; the next try is half of its time later.
    pub(crate) fn starve(&mut self, now: Instant) {
        self.fed = Some(now);
    }

    fn send(&self, states: &[NotifyState<'_>]) {
        if self.listens {
            // A manager that is being restarted misses a word; it asks for nothing twice.
            let _ = sd_notify::notify(states);
        }
    }
}
