//! Options of what acts on one run or one kind of steps: `archive`, `report`, `finish`, `exec`, `retry`,
//! `cancel`, `pause`, `resume`, `held`.

use super::Why;
use clap::{Args, Subcommand};

/// `archive`, `report`, `finish`
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The run's id, whatever it looks like
    #[arg(long = "run", value_name = "ID", allow_hyphen_values = true)]
    pub(crate) run_id: String,
    /// Why.
    #[command(flatten)]
    pub(crate) why: Why,
}

/// `exec`
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// The step's name, as in [steps.NAME]
    #[arg(value_name = "STEP")]
    pub(crate) step: String,
    /// Of which run, and why.
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Print what would be done, and whether it would; secrets are masked, nothing is written
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `retry`, `cancel`
#[derive(Debug, Args)]
pub(crate) struct RequestArgs {
    /// The run's id; after -- it may look like an option
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Why; it stands in the audit event
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) reason: Option<String>,
}

/// `pause`, `resume`
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// The step's name, as in [steps.NAME] [else every kind]
    #[arg(value_name = "STEP")]
    pub(crate) step: Option<String>,
    /// Why; it stands in the audit event
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) reason: Option<String>,
}

/// `held`
#[derive(Debug, Args)]
pub(crate) struct HeldArgs {
    /// What to do [else list them].
    #[command(subcommand)]
    pub(crate) command: Option<HeldCommand>,
}

/// The commands below `held`.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum HeldCommand {
    /// Begin the chains of a batch, in the order in which the runs ended
    #[command(before_help = "Examples:
  runchain held release 3 --reason 'it was meant'
  runchain held release 3 --per-minute 600")]
    Release {
        /// The batch's number, as runchain held lists it
        #[arg(value_name = "BATCH")]
        batch: i64,
        /// Begin no more than this many a minute [else as fast as they are done]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
        per_minute: Option<i64>,
        /// Why; it stands in the audit event
        #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
        reason: Option<String>,
    },
    /// Begin no chains; the runs stay recorded as over
    #[command(before_help = "Examples:
  runchain held discard 3 --reason 'backfill by mistake'")]
    Discard {
        /// The batch's number, as runchain held lists it
        #[arg(value_name = "BATCH")]
        batch: i64,
        /// Why; it stands in the audit event
        #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
        reason: Option<String>,
    },
}
