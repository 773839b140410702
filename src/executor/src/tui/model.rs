//! What the monitor shows, as plain data: rows are read into it, frames are drawn from it, `--json`
//! prints it. Ages are no part of it: a moment stands as it is, and who draws says what time it is.

use crate::exit::Exit;
use runchain_core::validate::Finding;
use runchain_core::{Millis, RunId, StepId};
use serde::{Serialize, Serializer};

/// Everything that was read at one time.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Snapshot {
    /// When.
    #[serde(serialize_with = "iso")]
    pub(crate) at: Millis,
    /// The database's path.
    pub(crate) database: String,
    /// The project's folder: paths are shown from there.
    pub(crate) root: String,
    /// Why there is nothing to show.
    pub(crate) trouble: Option<Trouble>,
    /// The whole.
    pub(crate) overview: Option<Overview>,
    /// The run in view.
    pub(crate) run: Option<RunView>,
    /// The run that the cursor is on, where there is room for it beside the list.
    #[serde(skip)]
    pub(crate) preview: Option<RunView>,
    /// Steps that have not ended.
    pub(crate) queue: Vec<QueuedStep>,
    /// The newest events, the oldest of them first.
    pub(crate) events: Vec<Event>,
    /// Alerts, those that fire first.
    pub(crate) alerts: Vec<Alert>,
    /// What `monitor_checks()` found, once it was asked.
    pub(crate) health: Option<Vec<Finding>>,
}

impl Snapshot {
    /// No run was ever seen; not so where it can't be told, or where another was asked for.
    pub(crate) fn has_no_run(&self) -> bool {
        self.overview
            .as_ref()
            .is_some_and(|overview| overview.list.is_empty())
    }
}

/// A database that can't be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Trouble {
    /// What was looked for.
    pub(crate) looked_for: String,
    /// What was found in its place.
    pub(crate) found: String,
    /// What mends it.
    pub(crate) remedy: String,
    /// How a command ends because of it.
    #[serde(skip)]
    pub(crate) exit: Exit,
}

/// The database as a whole.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Overview {
    /// Whether somebody drains.
    pub(crate) executor: Executor,
    /// Runs by phase.
    pub(crate) runs: RunCounts,
    /// Steps that have not ended.
    pub(crate) steps: StepCounts,
    /// Since when the oldest step has been due.
    #[serde(serialize_with = "maybe_iso")]
    pub(crate) oldest_due: Option<Millis>,
    /// Writes and requests that no executor has looked at yet.
    pub(crate) queue_rows: i64,
    /// When the oldest of those was written.
    #[serde(serialize_with = "maybe_iso")]
    pub(crate) oldest_queued: Option<Millis>,
    /// Kinds of steps that are not started for now.
    pub(crate) paused: Vec<Pause>,
    /// Why not every write is captured.
    pub(crate) triggers_lost: Option<String>,
    /// Runs that ended in each of the last minutes, the newest last.
    pub(crate) ended_per_minute: Vec<u64>,
    /// The newest failure.
    pub(crate) last_error: Option<LastError>,
    /// How many alerts fire.
    pub(crate) alerts_firing: i64,
    /// The runs that are listed.
    pub(crate) list: Vec<RunLine>,
}

/// Whether an executor works on the database.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "what")]
pub(crate) enum Executor {
    /// One does: what it says of itself.
    Alive(String),
    /// None does: the one that was heard of last.
    None(Option<String>),
    /// It can't be told: why.
    #[default]
    Unknown,
}

/// Runs by phase; those that are over are counted up to [`crate::tui::read::COUNTED_AT_MOST`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct RunCounts {
    /// Not over.
    pub(crate) active: i64,
    /// Of those, the ones that stand still.
    pub(crate) stalled: i64,
    /// Over, and well.
    pub(crate) completed: i64,
    /// Over, and not.
    pub(crate) failed: i64,
    /// Called off.
    pub(crate) cancelled: i64,
}

/// Steps that have not ended, by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct StepCounts {
    /// Leased or running.
    pub(crate) running: i64,
    /// Could start, now or later.
    pub(crate) ready: i64,
    /// Wait for others.
    pub(crate) waiting: i64,
    /// Attempts used up.
    pub(crate) dead: i64,
}

/// A kind of steps that is not started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Pause {
    /// The kind, or `*`.
    pub(crate) step: String,
    /// By whom.
    pub(crate) actor: Option<String>,
    /// Why.
    pub(crate) reason: Option<String>,
}

/// The newest attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct LastError {
    /// Of which run.
    pub(crate) run_id: RunId,
    /// Of which step.
    pub(crate) step: String,
    /// In which state that step is now.
    pub(crate) state: String,
    /// Which attempt it was.
    pub(crate) attempt: i64,
    /// Of how many.
    pub(crate) max_attempts: i64,
    /// When.
    #[serde(serialize_with = "iso")]
    pub(crate) at: Millis,
    /// Why.
    pub(crate) error: String,
}

/// Why a run stands at the top of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Need {
    /// A step of its chain is dead.
    DeadStep,
    /// It stands still.
    Stalled,
    /// It failed lately.
    Failed,
}

/// A run as the list has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RunLine {
    /// Its id.
    pub(crate) run_id: RunId,
    /// The user's word.
    pub(crate) status: Option<String>,
    /// What that means: active, completed, failed, cancelled, deleted.
    pub(crate) phase: String,
    /// Since when.
    #[serde(serialize_with = "iso")]
    pub(crate) since: Millis,
    /// How often it has ended.
    pub(crate) generation: i64,
    /// on, off, abandoned.
    pub(crate) monitor: String,
    /// Since when nothing of it has changed, where that is too long.
    #[serde(serialize_with = "maybe_iso")]
    pub(crate) stalled_since: Option<Millis>,
    /// Why it needs somebody.
    pub(crate) need: Option<Need>,
    /// How far it is, as its own tables say.
    pub(crate) progress: Vec<Progress>,
    /// Its newest heartbeat in the log.
    #[serde(serialize_with = "maybe_iso")]
    pub(crate) heartbeat: Option<Millis>,
    /// The steps of its newest chain.
    pub(crate) chain: Vec<ChainStep>,
}

impl RunLine {
    /// Whether it is under way.
    pub(crate) fn is_active(&self) -> bool {
        self.phase == "active"
    }
}

/// Rows of one table of the user's that belong to a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Progress {
    /// steps, tasks, workstreams.
    pub(crate) what: String,
    /// All.
    pub(crate) total: i64,
    /// Done.
    pub(crate) done: i64,
    /// Failed.
    pub(crate) failed: i64,
}

/// A step of a chain, as far as the list and the footer need it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ChainStep {
    /// Its name.
    pub(crate) step: String,
    /// As it stands in the database; `pending` where the chain isn't begun.
    pub(crate) state: String,
    /// Starts so far.
    pub(crate) attempts: i64,
    /// Starts that it may have.
    pub(crate) max_attempts: i64,
    /// When it can start.
    #[serde(serialize_with = "iso")]
    pub(crate) ready_at: Millis,
    /// It waits for the run to settle.
    pub(crate) is_deferred: bool,
}

/// Where a step stands, in the words of the footer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Not begun.
    Pending,
    /// Looks again then whether the run is quiet.
    Settling(Millis),
    /// An attempt runs.
    Running {
        /// Which.
        attempt: i64,
    },
    /// An attempt failed; another follows.
    Retrying {
        /// Which.
        attempt: i64,
        /// When.
        at: Millis,
    },
    /// Through.
    Done,
    /// Attempts used up.
    Dead,
    /// Called off.
    Cancelled,
}

impl ChainStep {
    /// Where it stands.
    pub(crate) fn standing(&self) -> Standing {
        match self.state.as_str() {
            "leased" | "running" => Standing::Running {
                attempt: self.attempts.max(1),
            },
            "ready" if self.is_deferred => Standing::Settling(self.ready_at),
            "ready" if self.attempts > 0 => Standing::Retrying {
                attempt: self.attempts + 1,
                at: self.ready_at,
            },
            "done" => Standing::Done,
            "dead" => Standing::Dead,
            "cancelled" => Standing::Cancelled,
            _ => Standing::Pending,
        }
    }
}

/// One run, with everything that is known of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RunView {
    /// As the list has it.
    pub(crate) line: RunLine,
    /// It is in view because it is the newest active one, not because somebody asked for it.
    pub(crate) is_followed: bool,
    /// When runchain first saw it.
    #[serde(serialize_with = "iso")]
    pub(crate) first_seen: Millis,
    /// What went wrong: first what stands in the way.
    pub(crate) causes: Vec<Cause>,
    /// The steps of its chain.
    pub(crate) steps: Vec<StepView>,
    /// Its own steps and tasks, as the user's tables have them.
    pub(crate) tasks: Vec<Task>,
    /// Tables that were too large to look through for it.
    pub(crate) left_out: Vec<String>,
    /// Its newest events, the oldest of them first.
    pub(crate) events: Vec<Event>,
}

impl RunView {
    /// The report's page, else the bag, as the steps tell it.
    pub(crate) fn page_or_bag(&self) -> Option<&str> {
        let files = || self.steps.iter().flat_map(|step| &step.files);
        let page = files().find(|file| file.ends_with(".html"));
        page.or_else(|| files().next()).map(String::as_str)
    }
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Cause {
    /// Where it stands: `step archive`, `table errors`, `event pattern.execution.failed`.
    pub(crate) source: String,
    /// In its own words.
    pub(crate) text: String,
}

/// A step of the chain, in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct StepView {
    /// Its id.
    pub(crate) id: StepId,
    /// As the footer has it.
    pub(crate) brief: ChainStep,
    /// When the chain began.
    #[serde(serialize_with = "iso")]
    pub(crate) created: Millis,
    /// When it was started last.
    #[serde(serialize_with = "maybe_iso")]
    pub(crate) started: Option<Millis>,
    /// When it ended.
    #[serde(serialize_with = "maybe_iso")]
    pub(crate) finished: Option<Millis>,
    /// Steps that must be done first.
    pub(crate) needs: Vec<String>,
    /// Files that it left.
    pub(crate) files: Vec<String>,
    /// Every attempt that failed, the oldest first; the newest where there are many.
    pub(crate) failures: Vec<Failure>,
}

/// An attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Failure {
    /// Its number.
    pub(crate) attempt: i64,
    /// When it began.
    #[serde(serialize_with = "maybe_iso")]
    pub(crate) started: Option<Millis>,
    /// When it ended.
    #[serde(serialize_with = "iso")]
    pub(crate) ended: Millis,
    /// Why.
    pub(crate) error: String,
    /// The last lines that its command printed.
    pub(crate) output: Vec<String>,
}

/// A step or task of the orchestrator's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Task {
    /// The table that it stands in.
    pub(crate) table: String,
    /// Its name.
    pub(crate) name: String,
    /// Its status word.
    pub(crate) status: String,
    /// What that means; none: the vocabulary doesn't know it.
    pub(crate) phase: Option<String>,
    /// When it began.
    #[serde(serialize_with = "maybe_iso")]
    pub(crate) started: Option<Millis>,
    /// When it ended.
    #[serde(serialize_with = "maybe_iso")]
    pub(crate) ended: Option<Millis>,
}

/// A step that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct QueuedStep {
    /// Its id.
    pub(crate) id: StepId,
    /// Its run.
    pub(crate) run_id: RunId,
    /// Its kind and standing.
    pub(crate) brief: ChainStep,
    /// Its last error.
    pub(crate) error: Option<String>,
}

/// Where an event comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Origin {
    /// A lifecycle event of runchain's.
    Lifecycle,
    /// An event log of the user's.
    Log,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Event {
    /// Where it comes from.
    pub(crate) origin: Origin,
    /// Its number there.
    pub(crate) id: i64,
    /// When.
    #[serde(serialize_with = "maybe_iso")]
    pub(crate) at: Option<Millis>,
    /// What.
    pub(crate) kind: String,
    /// Of which run.
    pub(crate) run_id: Option<String>,
    /// Everything else, in words.
    pub(crate) text: String,
}

impl Event {
    /// Whether it tells of something that went wrong.
    pub(crate) fn is_bad(&self) -> bool {
        const BAD: [&str; 6] = [
            "STEP_FAILED",
            "STEP_DEAD",
            "RUN_STALLED",
            "TRIGGERS_LOST",
            "ALERT_FIRING",
            "DISK_LOW",
        ];
        self.kind.ends_with(".failed") || BAD.contains(&self.kind.as_str())
    }
}

/// An alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Alert {
    /// Its number.
    pub(crate) id: i64,
    /// The rule that it broke.
    pub(crate) rule: String,
    /// How bad it is.
    pub(crate) severity: String,
    /// firing, acknowledged, resolved.
    pub(crate) state: String,
    /// Of which run.
    pub(crate) run_id: Option<RunId>,
    /// What it is about.
    pub(crate) subject: String,
    /// What was said.
    pub(crate) message: String,
    /// How often.
    pub(crate) count: i64,
    /// Since when.
    #[serde(serialize_with = "iso")]
    pub(crate) first: Millis,
    /// When last.
    #[serde(serialize_with = "iso")]
    pub(crate) last: Millis,
}

fn iso<S: Serializer>(at: &Millis, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.iso())
}

fn maybe_iso<S: Serializer>(at: &Option<Millis>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => iso(at, serializer),
        None => serializer.serialize_none(),
    }
}

impl Snapshot {
    /// Before anything was read.
    pub(crate) fn nothing() -> Self {
        Self {
            at: Millis(0),
            database: String::new(),
            root: String::new(),
            trouble: None,
            overview: None,
            run: None,
            preview: None,
            queue: Vec::new(),
            events: Vec::new(),
            alerts: Vec::new(),
            health: None,
        }
    }

    /// The chain of a run that is listed or in view.
    pub(crate) fn chain_of(&self, run_id: &RunId) -> Option<&[ChainStep]> {
        let listed = self.overview.iter().flat_map(|overview| &overview.list);
        let views = self.run.iter().chain(&self.preview).map(|view| &view.line);
        let mut lines = views.chain(listed);
        lines
            .find(|line| line.run_id == *run_id)
            .map(|line| line.chain.as_slice())
    }
}

impl Overview {
    /// Whether something is under way: what is shown changes by the second.
    pub(crate) fn is_busy(&self) -> bool {
        let steps = self.steps;
        self.runs.active > 0 || self.queue_rows > 0 || steps.running + steps.ready > 0
    }
}
