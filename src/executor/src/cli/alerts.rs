//! `runchain alerts`: its options.

use super::Why;
use clap::{Args, Subcommand, ValueEnum};

/// `alerts`
#[derive(Debug, Args)]
pub(crate) struct AlertsArgs {
    /// What to do [else list those that are open].
    #[command(subcommand)]
    pub(crate) command: Option<AlertsCommand>,
}

/// The commands below `alerts`.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum AlertsCommand {
    /// Alerts that are open, the newest first
    #[command(before_help = "Examples:
  runchain alerts list --rule step_dead
  runchain alerts list --all --run run-42 --json")]
    List(AlertsListArgs),
    /// One alert: what happened, how often, who did what about it, who was told
    #[command(before_help = "Examples:
  runchain alerts show 17")]
    Show {
        /// Its number
        #[arg(value_name = "ID")]
        id: i64,
    },
    /// Say that you know: it stays open, and fires no more
    #[command(before_help = "Examples:
  runchain alerts ack 17 --reason 'the disk is being changed'
  runchain alerts ack --rule event.failed")]
    Ack(AlertsChoice),
    /// Say that it is over; it fires again when it happens again
    #[command(before_help = "Examples:
  runchain alerts resolve 17
  runchain alerts resolve --all --reason 'after the maintenance'")]
    Resolve(AlertsChoice),
    /// Send a test message to a channel, and say what came of it
    #[command(before_help = "Examples:
  runchain alerts test ops")]
    Test {
        /// Its name, as in [alerts.channels.NAME]
        #[arg(value_name = "CHANNEL")]
        channel: String,
    },
    /// Deliver again what a channel did not take
    #[command(before_help = "Examples:
  runchain alerts retry              every channel
  runchain alerts retry ops")]
    Retry {
        /// Its name [else every channel]
        #[arg(value_name = "CHANNEL")]
        channel: Option<String>,
        /// Why.
        #[command(flatten)]
        why: Why,
    },
}

/// `alerts list`
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct AlertsListArgs {
    /// Only in this state [else those that are open]
    #[arg(long, value_name = "STATE", conflicts_with = "all")]
    pub(crate) state: Option<AlertState>,
    /// Also those that are resolved
    #[arg(long)]
    pub(crate) all: bool,
    /// Only of this rule
    #[arg(long, value_name = "NAME")]
    pub(crate) rule: Option<String>,
    /// Only of this run
    #[arg(long = "run", value_name = "ID", allow_hyphen_values = true)]
    pub(crate) run_id: Option<String>,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: usize,
}

/// A state of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AlertState {
    /// It fires, and nobody has said that they know
    Firing,
    /// Somebody knows
    Acknowledged,
    /// Over
    Resolved,
}

/// Which alerts are meant.
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("which").required(true))]
pub(crate) struct AlertsChoice {
    /// Numbers of alerts
    #[arg(value_name = "ID", group = "which")]
    pub(crate) ids: Vec<i64>,
    /// Every open alert of this rule
    #[arg(long, value_name = "NAME", group = "which")]
    pub(crate) rule: Option<String>,
    /// The alert with this fingerprint
    #[arg(long, value_name = "TEXT", group = "which", allow_hyphen_values = true)]
    pub(crate) fingerprint: Option<String>,
    /// Every open alert
    #[arg(long, group = "which")]
    pub(crate) all: bool,
    /// Why.
    #[command(flatten)]
    pub(crate) why: Why,
}
