//! Options of what keeps house: `prune`, `forget`, `config`, `completions`,
//! `man`.

use super::Why;
use clap::{Args, Subcommand};
use clap_complete::Shell;
use std::path::PathBuf;

/// `prune`
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Only say what would go
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) why: Why,
}

/// `forget`
#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    /// The run's id; after -- it may look like an option
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Only say what would go
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Why; it stands in the tombstone and in the audit event
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) reason: Option<String>,
    /// Rewrite the database file afterwards, so that no free page holds an older copy
    #[arg(long)]
    pub(crate) vacuum: bool,
}

/// `config`
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

/// The commands below `config`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Every key, its value, and where that comes from
    #[command(before_help = "Examples:
  runchain config show
  runchain --db other.db config show --json")]
    Show,
    /// Say what is wrong with the configuration; a database that is there is only read
    #[command(before_help = "Examples:
  runchain config check              exits 3 when something is wrong")]
    Check,
}

/// `completions`
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

/// `man`
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write a page for each command into this folder [else print the page of runchain]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}
