//! `runchain monitor`: the terminal screen.
//!
//! Rows → model (`read`, `model`), keys → state (`keys`, `app`), model and state → frame (`screens`,
//! `theme`) are apart, and only `run` and `heard` know a terminal. Reading is all that it does by itself; what
//! changes something is asked about first and then goes through the queue (`ask`). Event logs, where a
//! person named some, are followed by `follow` on a thread and a connection of their own.
//!
//! What does not belong here: reading event logs, executing steps.

pub(crate) mod app;
pub(crate) mod ask;
#[cfg(test)]
mod fixture;
mod heard;
mod keys;
pub(crate) mod links;
pub(crate) mod model;
pub(crate) mod read;
pub(crate) mod run;
pub(crate) mod screens;
pub(crate) mod still;
pub(crate) mod theme;

/// What can be on the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Screen {
    /// The whole.
    #[default]
    Dashboard,
    /// One run.
    Run,
    /// Steps that have not ended.
    Queue,
    /// What happens.
    Events,
    /// Alerts.
    Alerts,
    /// The checks.
    Health,
}

impl Screen {
    /// In the order of their digits.
    pub(crate) const ALL: [Self; 6] = [
        Self::Dashboard,
        Self::Run,
        Self::Queue,
        Self::Events,
        Self::Alerts,
        Self::Health,
    ];

    /// As it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dashboard => "dashboard",
            Self::Run => "run",
            Self::Queue => "queue",
            Self::Events => "events",
            Self::Alerts => "alerts",
            Self::Health => "health",
        }
    }

    /// The one so many places further, around the end.
    fn after(self, places: usize) -> Self {
        let index = Self::ALL.iter().position(|&one| one == self).unwrap_or(0);
        Self::ALL[(index + places) % Self::ALL.len()]
    }
}
