//! The command line: what can be asked, with examples first in every `--help`.
//!
//! Invariant: a run id is data. Whatever it looks like (`--help`, `-x`, the empty string), it is
//! accepted as the value of `--run` and after `--`. What does not belong here: doing anything.

use crate::config::Flag;
use crate::exit::Exit;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
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
  runchain status                    runs, steps, and whether an executor is alive"
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

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the steps of finished runs: as a service, once, or until nothing is left
    #[command(before_help = "Examples:
  runchain drain                     as a service; SIGTERM stops it in order
  runchain drain --once              what is ready now, then exit
  runchain drain --until-idle        until nothing is queued, runnable or running")]
    Drain(DrainArgs),
    /// Create runchain's tables and the capture triggers
    #[command(before_help = "Examples:
  runchain install
  runchain install --table jobs --id-column job_id --status-column state
  runchain install --dry-run         print the SQL and what it would touch")]
    Install(InstallArgs),
    /// Take triggers and views away; keep what was recorded, unless --purge
    #[command(before_help = "Examples:
  runchain uninstall                 the user's tables are as before; our data stays
  runchain uninstall --purge         our data goes too")]
    Uninstall(UninstallArgs),
    /// Check the database and say what to mend
    #[command(before_help = "Examples:
  runchain validate
  runchain validate --json | jq '.checks[] | select(.ok | not)'")]
    Validate,
    /// Store the events of JSONL files, each exactly once
    #[command(before_help = "Examples:
  runchain ingest pattern_events.jsonl
  runchain ingest --finalise jobs/*/pattern_events.jsonl")]
    Ingest(IngestArgs),
    /// Archive one run now
    #[command(before_help = "Examples:
  runchain archive --run run-42
  runchain archive --run=--odd-id    any id is accepted as it is")]
    Archive(RunArgs),
    /// Write the reports of one run now
    #[command(before_help = "Examples:
  runchain report --run run-42")]
    Report(RunArgs),
    /// Archive one run, then write its reports
    #[command(before_help = "Examples:
  runchain finish --run run-42       exits 14 when a step of the chain is dead")]
    Finish(RunArgs),
    /// Say what a copied, restored or moved database is, so that it is drained again
    #[command(before_help = "Examples:
  runchain adopt --as copy           a database of its own; the original's work is left to the original
  runchain adopt --as restored       go on after a backup was restored; nothing is done twice unasked
  runchain adopt --as moved          the same database; the original is out of use")]
    Adopt(AdoptArgs),
    /// Why it isn't archived: the causes in words, what happens next, what you can do
    #[command(before_help = "Examples:
  runchain explain run-42            exits 15 when it needs somebody, 13 when there is no such run
  runchain explain                   why nothing happens at all
  runchain explain --verify run-42   also reads its whole bag")]
    Explain(ExplainArgs),
    /// Who asked for or did what, when, why, and what it changed
    #[command(before_help = "Examples:
  runchain audit                     the newest 50 entries; times are UTC
  runchain audit --run run-42 --since 2h
  runchain audit --actor ann --action pause --json")]
    Audit(AuditArgs),
    /// Do one step of one run now, or show what it would be called with
    #[command(before_help = "Examples:
  runchain exec upload --run run-42 --dry-run    command, environment, standard input; nothing runs
  runchain exec upload --run run-42              through the queue, also when it was done before")]
    Exec(ExecArgs),
    /// Runs and steps by state, and whether an executor is alive
    #[command(before_help = "Examples:
  runchain status
  runchain status --json | jq .executor.alive")]
    Status,
    /// Watch it in the terminal: what runs, what failed and why, and what can be done
    #[cfg(feature = "tui")]
    #[command(before_help = "Examples:
  runchain monitor                   follows the newest active run; ? shows the keys
  runchain monitor --run run-42      one run: what went wrong, its timeline, its events
  runchain monitor --complete --run run-42   do what its chain lacks, watch, exit with its outcome
  runchain monitor --once            the screen as text
  runchain monitor --json | jq .overview.runs")]
    Monitor(crate::commands::monitor::MonitorArgs),
    /// One run: its phase, its steps, its events
    #[command(before_help = "Examples:
  runchain show run-42
  runchain show -- --odd-id          an id that looks like an option")]
    Show(ShowArgs),
    /// Make dead steps ready again
    #[command(before_help = "Examples:
  runchain retry run-42              every dead step of the run
  runchain retry --reason 'disk was full' run-42")]
    Retry(RequestArgs),
    /// Cancel what has not ended of a run's chain
    #[command(before_help = "Examples:
  runchain cancel run-42
  runchain cancel --reason 'wrong project' -- --odd-id")]
    Cancel(RequestArgs),
    /// Start no more steps of a kind, or of any; what runs goes on
    #[command(before_help = "Examples:
  runchain pause upload              no upload is started until it is resumed
  runchain pause --reason 'disk is being changed'")]
    Pause(PauseArgs),
    /// Start steps again that were paused
    #[command(before_help = "Examples:
  runchain resume upload
  runchain resume                    ends the pause of everything, not those of single kinds")]
    Resume(PauseArgs),
    /// Chains that a storm of ending runs left waiting: list, release, discard
    #[command(before_help = "Examples:
  runchain held                      batches: how many runs, which statuses, what would happen
  runchain held release 3            begin their chains, in order, as fast as they are done
  runchain held release 3 --per-minute 60
  runchain held discard 3 --reason 'wrong WHERE'   no chains; single runs: runchain finish --run ID")]
    Held(HeldArgs),
    /// Remove now what retention would remove by and by
    #[command(before_help = "Examples:
  runchain prune --dry-run           what would go, by kind, with rows and bytes
  runchain prune")]
    Prune(PruneArgs),
    /// Erase everything of a run but a tombstone that doesn't tell its id
    #[command(before_help = "Examples:
  runchain forget --dry-run run-42   what would go
  runchain forget --reason 'asked by the customer' run-42
  runchain forget --vacuum run-42    also what SQLite left in free pages; keeps writers out meanwhile")]
    Forget(ForgetArgs),
    /// The configuration: what holds and where it comes from
    #[command(before_help = "Examples:
  runchain config show
  runchain config check --config deploy/runchain.toml")]
    Config(ConfigArgs),
}

/// The option of every command that changes something.
#[derive(Debug, Args)]
pub(crate) struct Why {
    /// Why; it stands in the audit trail
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) reason: Option<String>,
}

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
}

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

/// `ingest`
#[derive(Debug, Args)]
pub(crate) struct IngestArgs {
    /// JSONL files
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// The files have ended: take a last line without a newline too
    #[arg(long, alias = "finalize")]
    pub(crate) finalise: bool,
    /// Why.
    #[command(flatten)]
    pub(crate) why: Why,
}

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

/// `show`
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The run's id; after -- it may look like an option
    #[arg(value_name = "ID")]
    pub(crate) id: String,
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

/// `prune`
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Only say what would go
    #[arg(long)]
    pub(crate) dry_run: bool,
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

impl Cli {
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
        let db = self.global.db.as_ref().map(|path| Flag {
            name: "--db",
            key: "state_db_path",
            text: path.clone().into_os_string(),
        });
        let workers = match &self.command {
            Command::Drain(arguments) => arguments.workers.as_ref(),
            _ => None,
        };
        let workers = workers.map(|text| Flag {
            name: "--workers",
            key: "workers",
            text: text.clone(),
        });
        let capture = match &self.command {
            Command::Install(arguments) => arguments.capture.as_ref(),
            _ => None,
        };
        let capture = capture.map(|text| Flag {
            name: "--capture",
            key: "capture",
            text: text.clone(),
        });
        db.into_iter().chain(workers).chain(capture).collect()
    }
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

#[cfg(test)]
mod tests;
