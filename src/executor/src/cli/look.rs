//! Options of what only looks.

use clap::{Args, ValueEnum};
use std::fmt;
use std::path::PathBuf;

/// `show`
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The run's id; after -- it may look like an option
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

/// `explain`
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The run's id [else the whole database]; after -- it may look like an option
    #[arg(value_name = "ID")]
    pub(crate) id: Option<String>,
    /// Read the whole bag, not only look whether it is there
    #[arg(long)]
    pub(crate) verify: bool,
}

/// `audit`
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Only of this run
    #[arg(long = "run", value_name = "ID", allow_hyphen_values = true)]
    pub(crate) run_id: Option<String>,
    /// Only by this actor: a login, a uid, or the whole text
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub(crate) actor: Option<String>,
    /// Not before this: an age (2h, 7d), a date, or a timestamp; UTC where it names no offset
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Not after this
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Only this verb: retry, pause, uninstall, config_reload, executor_start, ...
    #[arg(long, value_name = "WORD")]
    pub(crate) action: Option<String>,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: usize,
}

/// `ls`
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Only in this phase; can be given again
    #[arg(long, value_name = "PHASE")]
    pub(crate) phase: Vec<PhaseArg>,
    /// Only those whose phase began after this: an age (2h, 7d), a date, or a timestamp; UTC where it
    /// names no offset
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = limit())]
    pub(crate) limit: u32,
}

/// A phase that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PhaseArg {
    /// Not over
    Active,
    /// Over, as it should be
    Completed,
    /// Over, and not as it should be
    Failed,
    /// Over, because somebody wanted it so
    Cancelled,
    /// Its row is gone
    Deleted,
}

/// `logs`
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The run's id; after -- it may look like an option
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Go on with what comes, until interrupted; with --json one object a line
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Heartbeats, too
    #[arg(long)]
    pub(crate) heartbeats: bool,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = limit())]
    pub(crate) limit: u32,
}

/// `events`
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Go on with what comes, until interrupted; with --json one object a line
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only types that this pattern fits, such as RUN_* or *.failed; can be given again
    #[arg(long = "type", value_name = "GLOB")]
    pub(crate) types: Vec<String>,
    /// Only of this run
    #[arg(long = "run", value_name = "ID", allow_hyphen_values = true)]
    pub(crate) run_id: Option<String>,
    /// Not before this: an age (2h, 7d), a date, or a timestamp; UTC where it names no offset
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = limit())]
    pub(crate) limit: u32,
}

/// `queue`
#[derive(Debug, Args)]
pub(crate) struct QueueArgs {
    /// Only in this state; can be given again
    #[arg(long, value_name = "STATE")]
    pub(crate) state: Vec<StateArg>,
    /// Only steps of this name
    #[arg(long, value_name = "STEP")]
    pub(crate) step: Option<String>,
    /// At most so many of each state
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = limit())]
    pub(crate) limit: u32,
}

/// A state of a step that is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StateArg {
    /// Used up its attempts
    Dead,
    /// At work
    Running,
    /// Taken by an executor, not started yet
    Leased,
    /// Can start, when its time comes and a place is free
    Ready,
    /// For other steps of its chain
    Waiting,
}

impl StateArg {
    /// All, what needs somebody first.
    pub(crate) const ALL: [Self; 5] = [
        Self::Dead,
        Self::Running,
        Self::Leased,
        Self::Ready,
        Self::Waiting,
    ];
}

impl fmt::Display for StateArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dead => "dead",
            Self::Running => "running",
            Self::Leased => "leased",
            Self::Ready => "ready",
            Self::Waiting => "waiting",
        })
    }
}

/// `wait`
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// The run's id; after -- it may look like an option
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Give up after this long: 30s, 10min, 2h [else never]
    #[arg(long, value_name = "SPAN")]
    pub(crate) timeout: Option<String>,
}

/// `health`
#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// How old the oldest due step, or the oldest write that nobody looked at, may be
    #[arg(long, value_name = "SPAN", default_value = "5min")]
    pub(crate) max_age: String,
}

/// `verify`
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct VerifyArgs {
    /// The bags of this run
    #[arg(long = "run", value_name = "ID", allow_hyphen_values = true)]
    pub(crate) run_id: Option<String>,
    /// Every bag that the database knows
    #[arg(long)]
    pub(crate) all: bool,
}

fn limit() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=1_000_000)
}

/// `monitor`
#[derive(Debug, Args)]
pub(crate) struct MonitorArgs {
    /// Follow the newest active run, and the next one when it ends [this is the default]
    #[arg(long, conflicts_with = "run_id")]
    pub(crate) auto: bool,
    /// Keep this run in view
    #[arg(long = "run", value_name = "ID", allow_hyphen_values = true)]
    pub(crate) run_id: Option<String>,
    /// Do what the run's chain lacks as soon as it is over, and exit with its outcome
    #[arg(long, requires = "run_id")]
    pub(crate) complete: bool,
    /// Follow this event log while no executor does: a file, a folder (its *.jsonl, up to 8 levels below),
    /// or a glob; repeatable; with --once and --json it is read to its end first [else none is followed]
    #[arg(long, value_name = "PATH")]
    pub(crate) ingest_events: Vec<PathBuf>,
    /// Print the screen as text and exit; COLUMNS and LINES say how large it is in a pipe
    #[arg(long, conflicts_with = "complete")]
    pub(crate) once: bool,
    /// Draw with ASCII only [so does a locale without UTF-8]
    #[arg(long)]
    pub(crate) ascii: bool,
}
