//! What the orchestrator says that it did. Every expected value comes from here or from the test.

use chrono::DateTime;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The whole account.
#[derive(Debug, Deserialize)]
pub(crate) struct Ledger {
    pub(crate) runs: Vec<Run>,
}

/// One run.
#[derive(Debug, Deserialize)]
pub(crate) struct Run {
    pub(crate) run_id: String,
    /// What the orchestrator meant to do with it.
    pub(crate) fate: Fate,
    /// The word that was written last.
    pub(crate) status: String,
    /// Its rows are still there.
    pub(crate) exists: bool,
    /// How often it ended.
    pub(crate) ends: i64,
    pub(crate) created_at: String,
    pub(crate) started_at: Option<String>,
    pub(crate) ended_at: Option<String>,
    /// By table.
    pub(crate) rows: BTreeMap<String, usize>,
    pub(crate) steps: Steps,
    pub(crate) events: Events,
    pub(crate) job: Job,
}

/// See FATES in orchestrator.py.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fate {
    Completed,
    Retried,
    Failed,
    Cancelled,
    Partial,
    Deleted,
    Imported,
    Rerun,
    Reopened,
    Discarded,
}

/// Rows of `step_attempts` by what their words mean.
#[derive(Debug, Deserialize)]
pub(crate) struct Steps {
    pub(crate) total: u64,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
}

/// Rows of `events` or `run_events`.
#[derive(Debug, Deserialize)]
pub(crate) struct Events {
    pub(crate) total: u64,
    pub(crate) errors: u64,
}

/// What went to the event files.
#[derive(Debug, Deserialize)]
pub(crate) struct Job {
    pub(crate) job_id: String,
    pub(crate) status: String,
    pub(crate) event_ids: Vec<String>,
    pub(crate) failed_events: usize,
    pub(crate) tasks: Vec<Task>,
}

/// One pattern run.
#[derive(Debug, Deserialize)]
pub(crate) struct Task {
    pub(crate) pattern_run_id: String,
    pub(crate) pattern_id: String,
    pub(crate) status: String,
}

impl Ledger {
    /// The runs that must have a bag and reports.
    pub(crate) fn finished(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(|run| run.exists)
    }

    /// The runs that wrote event files.
    pub(crate) fn jobs(&self) -> impl Iterator<Item = &Job> {
        let jobs = self.runs.iter().map(|run| &run.job);
        jobs.filter(|job| !job.event_ids.is_empty())
    }
}

impl Run {
    /// The phase that its last word means.
    pub(crate) fn phase(&self) -> &'static str {
        match self.fate {
            Fate::Completed | Fate::Retried | Fate::Imported | Fate::Rerun | Fate::Reopened => "completed",
            Fate::Failed | Fate::Partial => "failed",
            Fate::Cancelled => "cancelled",
            Fate::Deleted | Fate::Discarded => "deleted",
        }
    }

    /// Its lifecycle events in order, but for the monitor's.
    pub(crate) fn lifecycle(&self) -> &'static [&'static str] {
        match self.fate {
            Fate::Completed
            | Fate::Retried
            | Fate::Failed
            | Fate::Cancelled
            | Fate::Partial
            | Fate::Imported => &["RUN_CREATED", "RUN_COMPLETED", "RUN_ARCHIVED", "REPORT_GENERATED"],
            // Sealed only after the second end: it wasn't quiet for long enough in between.
            Fate::Rerun => &[
                "RUN_CREATED",
                "RUN_COMPLETED",
                "RUN_RESTARTED",
                "RUN_COMPLETED",
                "RUN_ARCHIVED",
                "REPORT_GENERATED",
            ],
            Fate::Reopened => &[
                "RUN_CREATED",
                "RUN_COMPLETED",
                "RUN_ARCHIVED",
                "REPORT_GENERATED",
                "RUN_RESTARTED",
                "RUN_COMPLETED",
                "RUN_ARCHIVED",
                "REPORT_GENERATED",
            ],
            Fate::Deleted => &["RUN_CREATED", "RUN_DELETED"],
            Fate::Discarded => &["RUN_CREATED", "RUN_COMPLETED", "RUN_DELETED"],
        }
    }
}

/// A time of Python's as milliseconds since 1970.
pub(crate) fn millis(text: &str) -> i64 {
    DateTime::parse_from_rfc3339(text)
        .unwrap_or_else(|error| panic!("{text:?}: {error}"))
        .timestamp_millis()
}
