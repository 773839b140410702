//! What a central system reads: `/metrics` and `/healthz`, off unless an address is configured.
//!
//! Three sources make a page. [`Meters`]: what this executor itself has seen since it started (how long
//! steps took and waited, how soon a write was taken up); every executor has its own, and they add up.
//! [`Totals`]: what has happened in this database, counted from its events by the leader alone, so that
//! nothing counts twice. And a look at the database, at the moment of the scrape. Labels are bounded: kinds
//! of steps, states, severities, never a run.
//!
//! One thread answers, with a connection of its own; the main loop only counts. What does not belong here:
//! deciding anything by a metric.

mod listen;
mod look;
mod meters;
mod page;
mod server;
mod totals;

pub(crate) use listen::Listen;
pub(crate) use meters::{Meters, busy};
pub(crate) use server::Server;
pub(crate) use totals::Totals;

use crate::config::Settings;
use crate::pulse::Pulse;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the main loop shares with who answers.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The database.
    pub(crate) database: PathBuf,
    /// Its name among others.
    pub(crate) instance: String,
    /// The kinds of steps that were configured at the start.
    pub(crate) steps: Vec<String>,
    /// The channels of alerts that were configured at the start.
    pub(crate) channels: Vec<String>,
    /// How the loop is.
    pub(crate) health: Arc<Pulse>,
    /// How long something may stand still.
    pub(crate) patience: Duration,
    /// What was measured.
    pub(crate) meters: Meters,
    lead: Mutex<LeadSeen>,
}

/// What the leader alone knows.
#[derive(Debug, Clone, Default)]
pub(crate) struct LeadSeen {
    /// Present: this executor leads, and these are the totals.
    pub(crate) totals: Option<runchain_core::counters::Counters>,
    /// When the newest heartbeat was written.
    pub(crate) heartbeat_at: Option<Instant>,
}

impl Shared {
    /// Nothing is measured yet.
    pub(crate) fn new(settings: &Settings, health: Arc<Pulse>, patience: Duration) -> Self {
        Self {
            database: settings.state_db_path.clone(),
            instance: settings.instance.clone(),
            steps: settings.steps.iter().map(|step| step.name.clone()).collect(),
            channels: (settings.alerts.channels.iter())
                .map(|channel| channel.name.clone())
                .collect(),
            health,
            patience,
            meters: Meters::new(&settings.instance),
            lead: Mutex::default(),
        }
    }

    /// What the leader alone knows, to read or to change.
    pub(crate) fn lead(&self) -> MutexGuard<'_, LeadSeen> {
        self.lead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
