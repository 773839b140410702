//! Options of what does the work: `drain`, `ingest`.

use super::Why;
use clap::Args;
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
