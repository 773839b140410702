//! The command line: what can be asked, with examples first in every `--help`.
//!
//! Invariant: a run id is data. Whatever it looks like (`--help`, `-x`, the empty string), it is
//! accepted as the value of `--run` and after `--`. What does not belong here: doing anything.
//!
//! | file | holds |
//! | --- | --- |
//! | `commands` | every command with its examples |
//! | `service`, `setup`, `act`, `look`, `alerts`, `upkeep` | their options, by topic |

mod act;
mod alerts;
mod commands;
mod look;
mod service;
mod setup;
#[cfg(test)]
mod tests;
mod upkeep;

pub(crate) use act::{ExecArgs, HeldArgs, HeldCommand, PauseArgs, RequestArgs, RunArgs};
pub(crate) use alerts::{AlertState, AlertsArgs, AlertsChoice, AlertsCommand, AlertsListArgs};
pub(crate) use commands::Command;
pub(crate) use look::MonitorArgs;
pub(crate) use look::{
    AuditArgs, EventsArgs, ExplainArgs, HealthArgs, LogsArgs, LsArgs, PhaseArg, QueueArgs, StateArg,
    VerifyArgs, WaitArgs,
};
pub(crate) use service::{DrainArgs, IngestArgs, InstallUnitArgs, ServiceArgs, ServiceCommand, UnitArgs};
pub(crate) use setup::{AdoptArgs, AdoptAs, Backfill, InstallArgs, UninstallArgs};
pub(crate) use upkeep::{CompletionsArgs, ConfigCommand, ForgetArgs, ManArgs, PruneArgs};

use crate::config::Flag;
use crate::exit::Exit;
use clap::{Args, CommandFactory, FromArgMatches, Parser, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

/// Heading of the options that every command takes.
const COMMON: &str = "Options of every command";

/// Makes an orchestrator's own SQLite file act: finished runs are archived, then reported.
#[derive(Debug, Parser)]
#[command(
    name = "runchain",
    version,
    max_term_width = 100,
    before_help = "Examples:
  runchain install                   follow the table runs of .state/orchestration.db
  runchain drain                     archive and report runs as they finish (a service)
  runchain drain --until-idle        do what there is to do, then exit
  runchain finish --run run-42       archive and report one run now
  runchain status                    what runs, what waits, what failed, what to do next
  runchain explain run-42            why it isn't archived, and what you can do"
)]
pub(crate) struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command takes, before or after its name.
#[derive(Debug, Args)]
pub(crate) struct GlobalArgs {
    /// The orchestrator's database [RUNCHAIN_STATE_DB_PATH; else .state/orchestration.db]
    #[arg(long, global = true, help_heading = COMMON, value_name = "PATH")]
    pub(crate) db: Option<PathBuf>,
    /// The configuration file [RUNCHAIN_CONFIG; else runchain.toml, where there is one]
    #[arg(long, global = true, help_heading = COMMON, value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long, global = true, help_heading = COMMON)]
    pub(crate) json: bool,
    /// Print only what was asked for, and errors
    #[arg(long, short, global = true, help_heading = COMMON)]
    pub(crate) quiet: bool,
    /// When to colour [auto: on a terminal, unless NO_COLOR is set]
    #[arg(
        long,
        global = true, help_heading = COMMON,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true
    )]
    pub(crate) color: Color,
    /// When to print files as hyperlinks [auto: on a terminal that is known to take them]
    #[arg(
        long,
        global = true, help_heading = COMMON,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true
    )]
    pub(crate) hyperlink: Hyperlink,
}

/// When to print files as hyperlinks (OSC 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Hyperlink {
    /// On a terminal that is known to take them; FORCE_HYPERLINK=0 or =1 says it for all programs.
    Auto,
    /// Also in a pipe.
    Always,
    /// Never.
    Never,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Also in a pipe.
    Always,
    /// Never.
    Never,
}
/// The option of every command that changes something.
#[derive(Debug, Clone, Args)]
pub(crate) struct Why {
    /// Why; it stands in the audit trail
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) reason: Option<String>,
}

impl Cli {
    /// Whether it is a service that is asked for, whose failures belong into its log.
    pub(crate) fn is_service(&self) -> bool {
        matches!(
            self.command,
            Command::Drain(DrainArgs {
                once: false,
                until_idle: false,
                ..
            })
        )
    }

    /// Reads a command line, the program's name first.
    ///
    /// # Errors
    /// clap's own: `error.exit()` prints it and ends with 2, or with 0 for `--help`.
    pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut command = command();
        let matches = command.try_get_matches_from_mut(arguments)?;
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    }

    /// The options that beat every other layer of the configuration.
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let flag = |name, key, text| Flag { name, key, text };
        let db = (self.global.db.as_ref())
            .map(|path| flag("--db", "state_db_path", path.clone().into_os_string()));
        let (mut workers, mut log_level, mut capture, mut events) = (None, None, None, [].as_slice());
        match &self.command {
            Command::Drain(arguments) => {
                (workers, log_level) = (arguments.workers.clone(), arguments.log_level.clone());
                events = &arguments.ingest_events;
            }
            Command::Install(arguments) => capture.clone_from(&arguments.capture),
            Command::Monitor(arguments) => events = &arguments.ingest_events,
            _ => {}
        }
        let workers = workers.map(|text| flag("--workers", "workers", text));
        let capture = capture.map(|text| flag("--capture", "capture", text));
        let log_level = log_level.map(|text| flag("--log-level", "log_level", text));
        let events =
            (!events.is_empty()).then(|| flag("--ingest-events", "ingest.events", one_a_line(events)));
        let all = [db, workers, capture, log_level, events];
        all.into_iter().flatten().collect()
    }
}

/// An option that was given several times as one text.
fn one_a_line(paths: &[PathBuf]) -> OsString {
    paths.iter().fold(OsString::new(), |mut text, path| {
        text.push(path);
        text.push("\n");
        text
    })
}

/// The whole command line, with the exit codes below the help of the program itself.
pub(crate) fn command() -> clap::Command {
    examples_first(Cli::command()).after_help(Exit::help())
}

/// clap does not hand a template down to subcommands, so it is set on each.
fn examples_first(command: clap::Command) -> clap::Command {
    command
        .help_template("{about-with-newline}\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}")
        .mut_subcommands(examples_first)
}
