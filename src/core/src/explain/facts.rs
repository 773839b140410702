//! What can be known about a run and its database: plain data, so that each judgement is a function of
//! it.

use crate::liveness::Liveness;
use crate::mapping::Mapping;
use crate::vocabulary::Phase;
use crate::{Millis, RunId, StepId};
use std::collections::BTreeMap;

/// Everything, at one time.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The time.
    pub now: Millis,
    /// The table that is followed.
    pub mapping: Mapping,
    /// The database as a whole.
    pub database: DatabaseFacts,
    /// The run that was asked about.
    pub run: Option<RunFacts>,
    /// What only the binary can see.
    pub outside: Outside,
}

/// The database as a whole.
#[derive(Debug, Clone)]
pub struct DatabaseFacts {
    /// The followed table can be read.
    pub table_is_there: bool,
    /// The table that it seems to be now, where it isn't.
    pub renamed_to: Option<Mapping>,
    /// What is wrong with the three triggers.
    pub trigger_faults: Vec<String>,
    /// Whether an executor works on it.
    pub executor: Liveness,
    /// The executor that was heard of last.
    pub last_executor: Option<String>,
    /// Writes and requests that nobody has looked at yet.
    pub queue: Queue,
    /// Since when (or from when on) the first ready step of an unpaused kind is due.
    pub next_due: Option<Millis>,
    /// What is paused.
    pub pauses: Vec<Pause>,
    /// Live steps by state, and runs.
    pub counts: Counts,
    /// The newest dead step.
    pub dead: Option<DeadStep>,
    /// Steps that are held now.
    pub held: Vec<Held>,
    /// A suspect that is due: nothing else is begun before it where it has waited long enough.
    pub suspect: Option<Suspect>,
    /// The oldest batch of ends in a rush that nobody has decided about.
    pub held_batch: Option<HeldBatch>,
    /// Errors that `monitor_validate()` finds and that are told by nothing else here.
    pub complaints: Vec<Complaint>,
}

/// Rows of `runchain_queue`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Queue {
    /// How many; counted up to a limit.
    pub rows: i64,
    /// When the oldest was written.
    pub oldest: Option<Millis>,
}

/// A kind of steps that is not started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// The kind, or [`crate::steps::EVERY_KIND`].
    pub kind: String,
    /// Since when.
    pub since: Millis,
    /// By whom.
    pub actor: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

/// How much there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Steps that can start, now or later.
    pub ready: i64,
    /// Steps that wait for others.
    pub waiting: i64,
    /// Steps that are held or run.
    pub held: i64,
    /// Steps whose attempts are used up.
    pub dead: i64,
    /// Runs that are not over.
    pub active: i64,
    /// Of those, how many stand still.
    pub stalled: i64,
}

/// Runs that ended in a rush, whose chains are held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBatch {
    /// Its number.
    pub id: i64,
    /// `held`, `releasing` or `discarding`.
    pub state: String,
    /// Since when.
    pub since: Millis,
    /// Runs that are left in it.
    pub runs: i64,
}

/// A step whose attempts are used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadStep {
    /// Its run.
    pub run_id: RunId,
    /// Its name.
    pub step: String,
    /// Its last error.
    pub error: Option<String>,
}

/// A step that an executor holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its run.
    pub run_id: RunId,
    /// Its name.
    pub step: String,
}

/// A step whose executor disappeared while it ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspect {
    /// Its run.
    pub run_id: RunId,
    /// Its name.
    pub step: String,
    /// Since when it is due.
    pub since: Millis,
}

/// A finding of `monitor_validate()`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Name of the check.
    pub check: &'static str,
    /// What it found.
    pub found: String,
    /// What mends it.
    pub remedy: Option<String>,
}

/// One run.
#[derive(Debug, Clone)]
pub struct RunFacts {
    /// Its id.
    pub run_id: RunId,
    /// Its row in the user's table: the status word, if there is a row.
    pub row: Option<Option<String>>,
    /// What the word means.
    pub row_phase: Option<Phase>,
    /// Ids that look alike, where neither a row nor a memory of this one is there.
    pub nearest: Vec<RunId>,
    /// What was last acted on.
    pub known: Option<Known>,
    /// Somebody had it forgotten: only a digest of its id is left.
    pub is_forgotten: bool,
    /// Its rows in the queue.
    pub queued: Queue,
    /// The steps of its newest generation.
    pub steps: Vec<StepFacts>,
    /// Cancelled steps of it that whoever executes them has still to end: nothing of it begins before.
    pub ending: Vec<String>,
    /// The batch that holds its chain.
    pub held: Option<HeldBatch>,
    /// Why its chain was cancelled, where it was.
    pub cancelled: Option<Cancelled>,
}

/// What was last acted on for a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its phase.
    pub phase: Phase,
    /// The user's word for it.
    pub status: Option<String>,
    /// Entries into a terminal phase so far.
    pub generation: i64,
    /// When the phase began.
    pub since: Millis,
    /// `off`, `on` or `abandoned`.
    pub monitor: String,
    /// Since when nothing of it has changed, where that is too long.
    pub stalled_since: Option<Millis>,
}

/// One step of the newest chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepFacts {
    /// Its id.
    pub id: StepId,
    /// Its name.
    pub step: String,
    /// Its state.
    pub state: String,
    /// The steps that must be done first.
    pub needs: Vec<String>,
    /// When it can start.
    pub ready_at: Millis,
    /// Whether the chain stops when it is dead.
    pub required: bool,
    /// Starts so far.
    pub attempts: i64,
    /// Starts that it may have.
    pub max_attempts: i64,
    /// When it started last.
    pub started: Option<Millis>,
    /// When it ended.
    pub finished: Option<Millis>,
    /// Who holds it.
    pub holder: Option<Holder>,
    /// What a deferred step remembers.
    pub is_deferred: bool,
    /// Its last error.
    pub error: Option<String>,
    /// Executors that disappeared while they ran it.
    pub lost: i64,
    /// The pause between being ready and being due.
    pub delay_ms: i64,
    /// When it must be done.
    pub deadline: Option<Millis>,
    /// Files that it left, as its result names them.
    pub files: Vec<String>,
    /// Failed attempts, the oldest first; the newest of them where there are many.
    pub failures: Vec<FailedAttempt>,
}

/// An executor that holds a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its id.
    pub executor: String,
    /// Where and what it is; unknown once its row is gone.
    pub process: Option<String>,
    /// When its lease ends.
    pub lease_until: Option<Millis>,
}

/// An attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedAttempt {
    /// Its number.
    pub attempt: i64,
    /// When.
    pub ended: Millis,
    /// Why.
    pub error: String,
    /// The last line that its command printed.
    pub last_line: Option<String>,
}

/// Why a chain, or a step of it, was cancelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancelled {
    /// When.
    pub at: Millis,
    /// The reason: runchain's own, or the asker's.
    pub reason: Option<String>,
    /// Who asked; nobody where runchain did it by itself.
    pub actor: Option<String>,
}

/// What only the binary can see. SQL leaves it empty.
#[derive(Debug, Clone, Default)]
pub struct Outside {
    /// The configured kinds of steps; none: not known.
    pub kinds: Option<Vec<String>>,
    /// How many of a kind may be held at once.
    pub limits: BTreeMap<String, usize>,
    /// Files that a step left and that are not there any more, or are damaged: why.
    pub lost_files: BTreeMap<String, String>,
    /// The disk of the bags.
    pub disk: Option<Disk>,
}

/// Free space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Where.
    pub folder: String,
    /// What is free.
    pub free_bytes: u64,
    /// What must stay free.
    pub reserve_bytes: u64,
}
