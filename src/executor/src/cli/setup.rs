//! Options of what is set up and taken away: `install`, `uninstall`, `adopt`.

use super::Why;
use clap::{Args, ValueEnum};
use std::ffi::OsString;

/// `install`
#[derive(Debug, Args)]
pub(crate) struct InstallArgs {
    /// The table that holds the runs [else runs]
    #[arg(long, value_name = "NAME")]
    pub(crate) table: Option<String>,
    /// Its column with the run's id [else run_id, id, or the primary key]
    #[arg(long, value_name = "NAME")]
    pub(crate) id_column: Option<String>,
    /// Its column with the status word [else status or state]
    #[arg(long, value_name = "NAME")]
    pub(crate) status_column: Option<String>,
    /// How writes become known: triggers, or sweep where none may stand on the table [else the key
    /// capture, else as it is installed]
    #[arg(long, value_name = "HOW")]
    pub(crate) capture: Option<OsString>,
    /// Which runs that are already there to follow
    #[arg(long, value_name = "WHICH", default_value = "active")]
    pub(crate) backfill: Backfill,
    /// Print the SQL and what it would touch; change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Put lost triggers back (also under a new name of the table) and queue what was missed
    #[arg(long, conflicts_with_all = ["backfill", "capture"])]
    pub(crate) repair: bool,
    /// Why.
    #[command(flatten)]
    pub(crate) why: Why,
}

/// Which of the runs that are there at install are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backfill {
    /// None of them
    None,
    /// Active ones younger than a day
    Active,
    /// All: those that have ended are archived and reported
    All,
}

/// `uninstall`
#[derive(Debug, Args)]
pub(crate) struct UninstallArgs {
    /// Also drop what runchain recorded; archives, reports and logs on disk stay
    #[arg(long)]
    pub(crate) purge: bool,
    /// Why.
    #[command(flatten)]
    pub(crate) why: Why,
}

/// `adopt`
#[derive(Debug, Args)]
pub(crate) struct AdoptArgs {
    /// What the database is
    #[arg(long = "as", value_name = "WHAT")]
    pub(crate) kind: AdoptAs,
    /// Why.
    #[command(flatten)]
    pub(crate) why: Why,
}

/// What a database can be adopted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AdoptAs {
    /// Another database, made from the original, which is still in use
    Copy,
    /// This database, from a backup
    Restored,
    /// This database, at another place; the original is out of use
    Moved,
}
