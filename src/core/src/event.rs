//! Lifecycle and audit events: the one list of what can happen, and how it is appended.
//!
//! An event is inserted in the transaction of its cause and nowhere else; the projector later writes
//! each one once to the log that [`EventType::log`] names.

use crate::error::{During, Result};
use crate::{Millis, RunId};
use rusqlite::Connection;
use serde_json::Value;

/// The file that an event is projected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Log {
    /// `logs/monitor.jsonl`: runs, monitoring, steps that fail, audit.
    Monitor,
    /// `logs/archival.jsonl`: bags and reports.
    Archival,
}

impl Log {
    /// Both logs.
    pub const ALL: [Self; 2] = [Self::Monitor, Self::Archival];

    /// File name below the log folder.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Monitor => "monitor.jsonl",
            Self::Archival => "archival.jsonl",
        }
    }
}

macro_rules! event_types {
    ($($(#[$doc:meta])* $variant:ident = $word:literal in $log:ident,)*) => {
        /// Every event that runchain itself emits.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum EventType { $($(#[$doc])* $variant,)* }

        impl EventType {
            /// Every type, in the order of a run's life.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word that stands in the database and in the logs.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The log that it is projected to.
            #[must_use]
            pub fn log(self) -> Log {
                match self { $(Self::$variant => Log::$log,)* }
            }

            /// The type of a word, if it is one of ours.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| kind.as_str() == word)
            }
        }
    };
}

event_types! {
    /// runchain was installed on a table.
    Installed = "INSTALLED" in Monitor,
    /// The capture triggers are gone or changed: writes are missed until they are back.
    TriggersLost = "TRIGGERS_LOST" in Monitor,
    /// The capture triggers are back; what was missed is being looked for.
    TriggersRestored = "TRIGGERS_RESTORED" in Monitor,
    /// A run was seen for the first time.
    RunCreated = "RUN_CREATED" in Monitor,
    /// Heartbeats of the run begin.
    MonitorStarted = "MONITOR_STARTED" in Monitor,
    /// Nothing of an active run changed for the configured time.
    RunStalled = "RUN_STALLED" in Monitor,
    /// A stalled run moves again.
    RunResumed = "RUN_RESUMED" in Monitor,
    /// A status word is not in the vocabulary; it changed nothing.
    StatusUnknown = "STATUS_UNKNOWN" in Monitor,
    /// A run entered a terminal phase (completed, failed or cancelled: `phase` says which).
    RunCompleted = "RUN_COMPLETED" in Monitor,
    /// Heartbeats of the run end.
    MonitorStopped = "MONITOR_STOPPED" in Monitor,
    /// A finished run became active again; its next end is a new generation.
    RunRestarted = "RUN_RESTARTED" in Monitor,
    /// The id of a run's row was changed.
    RunRenamed = "RUN_RENAMED" in Monitor,
    /// The run's row is gone; live steps were cancelled.
    RunDeleted = "RUN_DELETED" in Monitor,
    /// Steps that had not ended were cancelled.
    ChainCancelled = "CHAIN_CANCELLED" in Monitor,
    /// A step is not in this chain, because what its `where` asks for can't be looked at.
    StepSkipped = "STEP_SKIPPED" in Archival,
    /// The bag is in its place.
    RunArchived = "RUN_ARCHIVED" in Archival,
    /// The reports are in their place.
    ReportGenerated = "REPORT_GENERATED" in Archival,
    /// A step that is neither archive nor report succeeded.
    StepDone = "STEP_DONE" in Archival,
    /// An attempt failed; another follows.
    StepFailed = "STEP_FAILED" in Archival,
    /// An attempt failed and it was the last.
    StepDead = "STEP_DEAD" in Archival,
    /// A dead step was made ready again.
    StepRetried = "STEP_RETRIED" in Archival,
    /// Somebody asked for something through the queue; `answer` says what came of it.
    Request = "REQUEST" in Monitor,
    /// A copied or restored database begins anew: what follows has numbers of its own.
    EpochStarted = "EPOCH_STARTED" in Monitor,
    /// What the logs of an earlier epoch say of a step was taken over; nothing was executed.
    StepAdopted = "STEP_ADOPTED" in Archival,
    /// Nobody drained for long, and something waited: it is being caught up with.
    ExecutorWasDown = "EXECUTOR_WAS_DOWN" in Monitor,
    /// An alert fires: a new one, or one that was resolved.
    AlertFiring = "ALERT_FIRING" in Monitor,
    /// Somebody says that they know of an alert.
    AlertAcknowledged = "ALERT_ACKNOWLEDGED" in Monitor,
    /// An alert is over: by a later success, because its cause is gone, or by hand.
    AlertResolved = "ALERT_RESOLVED" in Monitor,
    /// Many new alerts of one rule, or those that arose while the executor caught up.
    AlertDigest = "ALERT_DIGEST" in Monitor,
    /// An event of an event log is new in the database.
    EventIngested = "EVENT_INGESTED" in Monitor,
    /// Many events of one event log are: how many, of which types.
    EventsIngested = "EVENTS_INGESTED" in Monitor,
    /// An event log, or a part of a folder of them, can't be read; `remedy` says what to do.
    IngestRefused = "INGEST_REFUSED" in Monitor,
    /// A flag in an event table or log decided what the run's own row doesn't say.
    RunFlagged = "RUN_FLAGGED" in Monitor,
    /// Many runs ended in a rush: their chains are held until somebody decides.
    StormHeld = "STORM_HELD" in Monitor,
    /// Nothing of a held batch is left: `outcome` says what became of it.
    StormEnded = "STORM_ENDED" in Monitor,
    /// An operator did something that is no request (`action` says what): see `audit`.
    OperatorAction = "OPERATOR_ACTION" in Monitor,
    /// Retention removed rows or files: how many of each kind.
    Retention = "RETENTION" in Monitor,
    /// Space ran out on the database's disk; the ballast was released.
    DiskLow = "DISK_LOW" in Monitor,
    /// There is room again; the ballast was made anew.
    DiskRecovered = "DISK_RECOVERED" in Monitor,
}

/// An event that is about to be appended.
#[derive(Debug, Clone)]
pub struct NewEvent<'a> {
    /// What happened.
    pub kind: EventType,
    /// When it happened (for a captured write, when that was written).
    pub at: Millis,
    /// The run that it concerns.
    pub run_id: Option<&'a RunId>,
    /// The generation of the run's chain.
    pub generation: Option<i64>,
    /// The step that it concerns.
    pub step: Option<&'a str>,
    /// Everything else, a JSON object.
    pub data: Value,
}

impl<'a> NewEvent<'a> {
    /// An event about a run.
    #[must_use]
    pub fn of_run(kind: EventType, at: Millis, run_id: &'a RunId, generation: i64, data: Value) -> Self {
        Self {
            kind,
            at,
            run_id: Some(run_id),
            generation: Some(generation),
            step: None,
            data,
        }
    }

    /// An event that belongs to no generation, and perhaps to no run.
    #[must_use]
    pub fn of_database(kind: EventType, at: Millis, run_id: Option<&'a RunId>, data: Value) -> Self {
        Self {
            kind,
            at,
            run_id,
            generation: None,
            step: None,
            data,
        }
    }
}

/// The newest id that the database has given out, pruned events included.
///
/// # Errors
/// Whatever SQLite answers.
pub fn newest_id(conn: &Connection) -> Result<i64> {
    conn.prepare_cached(
        "SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'runchain_events'), 0),
                    coalesce((SELECT max(id) FROM runchain_events), 0))",
    )
    .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
    .during("look for the newest event")
}

/// Appends one event inside the caller's transaction and returns its id.
///
/// # Errors
/// Whatever SQLite answers.
pub fn append(conn: &Connection, event: &NewEvent<'_>) -> Result<i64> {
    conn.prepare_cached(
        "INSERT INTO runchain_events(at_ms, type, run_id, generation, step, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )
    .and_then(|mut statement| {
        statement.insert((
            event.at,
            event.kind.as_str(),
            event.run_id,
            event.generation,
            event.step,
            event.data.to_string(),
        ))
    })
    .during("append a lifecycle event")
}
