//! The kinds of rows that retention knows.

/// What a pass goes through, in this order: what others refer to comes after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Bags of chains that are over, by their rows in `archival_log`.
    Bags,
    /// Reports of runs whose chains are over.
    Reports,
    /// Steps of chains that are over, with their failed attempts.
    Steps,
    /// Lifecycle and audit events.
    Events,
    /// Events kept from event logs.
    Ingested,
    /// Lines of event logs that could not be kept.
    Rejects,
    /// Ended tasks (`uet_tasks`).
    Tasks,
    /// Ended executions without tasks (`uet_executions`).
    Executions,
    /// Resolved alerts.
    Alerts,
    /// Rows of executors that are gone.
    Executors,
    /// Runs whose row the user deleted.
    Runs,
}

impl Kind {
    /// Every kind, in the order of a pass.
    pub const ALL: &'static [Self] = &[
        Self::Bags,
        Self::Reports,
        Self::Steps,
        Self::Events,
        Self::Ingested,
        Self::Rejects,
        Self::Tasks,
        Self::Executions,
        Self::Alerts,
        Self::Executors,
        Self::Runs,
    ];

    /// As it stands in events and in `prune --json`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bags => "bags",
            Self::Reports => "reports",
            Self::Steps => "steps",
            Self::Events => "events",
            Self::Ingested => "ingested",
            Self::Rejects => "rejects",
            Self::Tasks => "tasks",
            Self::Executions => "executions",
            Self::Alerts => "alerts",
            Self::Executors => "executors",
            Self::Runs => "runs",
        }
    }
}
