//! Options of what does the work: `drain`, `ingest`, and `service`, which makes units of it.

use super::Why;
use clap::{Args, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// `drain`
#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// Execute what is ready now, then exit
    #[arg(long, conflicts_with = "until_idle")]
    pub(crate) once: bool,
    /// Exit when nothing is queued, runnable or running; an active run does not hold it
    #[arg(long)]
    pub(crate) until_idle: bool,
    /// Least urgent lines of its log: error, warn, info, debug [else the key log_level]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<OsString>,
    /// Steps to execute at once [else the key workers]
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<OsString>,
    /// An event log to follow: a file, a folder (its *.jsonl, up to 8 levels below), or a glob; repeatable
    /// [else the key ingest.events, else state/events, state_manager/src/state/events, .state/events]
    #[arg(long, value_name = "PATH")]
    pub(crate) ingest_events: Vec<PathBuf>,
}

/// `ingest`
#[derive(Debug, Args)]
pub(crate) struct IngestArgs {
    /// JSONL files, folders of them, globs
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Go on with what is appended, until SIGINT or SIGTERM
    #[arg(long, conflicts_with = "finalise")]
    pub(crate) follow: bool,
    /// The files have ended: take a last line without a newline too
    #[arg(long, alias = "finalize")]
    pub(crate) finalise: bool,
    /// How the lines are understood: pattern, cloudevents, generic, or a mapping of the configuration
    /// [else as before; a new file by its mapping, or as its first event tells]
    #[arg(long, value_name = "NAME")]
    pub(crate) preset: Option<String>,
    /// Why.
    #[command(flatten)]
    pub(crate) why: Why,
}

/// `service`
#[derive(Debug, Args)]
pub(crate) struct ServiceArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: ServiceCommand,
}

/// The commands below `service`.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Print the files that install would write
    #[command(before_help = "Examples:
  runchain service print
  runchain service print --instance orders --database /srv/orders/.state/orchestration.db")]
    Print(UnitArgs),
    /// Write them, and say which command starts the service; a file that differs is kept, unless --force
    #[command(before_help = "Examples:
  runchain service install && systemctl enable --now runchain.service
  runchain service install --user && systemctl --user enable --now runchain.service")]
    Install(InstallUnitArgs),
}

/// `service print`
#[derive(Debug, Clone, Args)]
pub(crate) struct UnitArgs {
    /// For the caller's own service manager (systemctl --user)
    #[arg(long)]
    pub(crate) user: bool,
    /// One of many databases: the template runchain@.service, and what is this instance's own
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: Option<String>,
    /// Its database [else the one that the configuration names]
    #[arg(long, value_name = "PATH")]
    pub(crate) database: Option<PathBuf>,
}

/// `service install`
#[derive(Debug, Clone, Args)]
pub(crate) struct InstallUnitArgs {
    /// Which.
    #[command(flatten)]
    pub(crate) unit: UnitArgs,
    /// Write below this folder instead of /, for packages and images
    #[arg(long, value_name = "FOLDER")]
    pub(crate) root: Option<PathBuf>,
    /// Replace files that differ
    #[arg(long)]
    pub(crate) force: bool,
}
