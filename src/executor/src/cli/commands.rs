//! The commands, each with examples that come first in its `--help`. Their options stand by topic beside
//! this file.

use super::{act, alerts, look, service, setup, upkeep};
use clap::Subcommand;

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the steps of finished runs: as a service, once, or until nothing is left
    #[command(before_help = "Examples:
  runchain drain                     as a service; SIGTERM stops it in order
  runchain drain --ingest-events state/events    also follow the event logs there
  runchain drain --once              what is ready now, then exit
  runchain drain --until-idle        until nothing is queued, runnable or running")]
    Drain(service::DrainArgs),
    /// Create runchain's tables and the capture triggers
    #[command(before_help = "Examples:
  runchain install
  runchain install --table jobs --id-column job_id --status-column state
  runchain install --dry-run         print the SQL and what it would touch")]
    Install(setup::InstallArgs),
    /// Take triggers and views away; keep what was recorded, unless --purge
    #[command(before_help = "Examples:
  runchain uninstall                 the user's tables are as before; our data stays
  runchain uninstall --purge         our data goes too")]
    Uninstall(setup::UninstallArgs),
    /// Check the database and say what to mend
    #[command(before_help = "Examples:
  runchain validate
  runchain validate --json | jq '.checks[] | select(.ok | not)'")]
    Validate,
    /// Store the events of JSONL files, each exactly once
    #[command(before_help = "Examples:
  runchain ingest pattern_events.jsonl
  runchain ingest state/events       every *.jsonl below, up to 8 levels
  runchain ingest --follow 'state/events/jobs/*/*.jsonl'    until Ctrl-C
  runchain ingest --preset cloudevents bus.jsonl
  runchain ingest --finalise jobs/*/pattern_events.jsonl")]
    Ingest(service::IngestArgs),
    /// Archive one run now
    #[command(before_help = "Examples:
  runchain archive --run run-42
  runchain archive --run=--odd-id    any id is accepted as it is")]
    Archive(act::RunArgs),
    /// Write the reports of one run now
    #[command(before_help = "Examples:
  runchain report --run run-42")]
    Report(act::RunArgs),
    /// Archive one run, then write its reports
    #[command(before_help = "Examples:
  runchain finish --run run-42       exits 14 when a step of the chain is dead")]
    Finish(act::RunArgs),
    /// Say what a copied, restored or moved database is, so that it is drained again
    #[command(before_help = "Examples:
  runchain adopt --as copy           a database of its own; the original's work is left to the original
  runchain adopt --as restored       go on after a backup was restored; nothing is done twice unasked
  runchain adopt --as moved          the same database; the original is out of use")]
    Adopt(setup::AdoptArgs),
    /// Why it isn't archived: the causes in words, what happens next, what you can do
    #[command(before_help = "Examples:
  runchain explain run-42            exits 15 when it needs somebody, 13 when there is no such run
  runchain explain                   why nothing happens at all
  runchain explain --verify run-42   also reads its whole bag")]
    Explain(look::ExplainArgs),
    /// Who asked for or did what, when, why, and what it changed
    #[command(before_help = "Examples:
  runchain audit                     the newest 50 entries; times are UTC
  runchain audit --run run-42 --since 2h
  runchain audit --actor ann --action pause --json")]
    Audit(look::AuditArgs),
    /// Do one step of one run now, or show what it would be called with
    #[command(before_help = "Examples:
  runchain exec upload --run run-42 --dry-run    command, environment, standard input; nothing runs
  runchain exec upload --run run-42              through the queue, also when it was done before")]
    Exec(act::ExecArgs),
    /// Watch it in the terminal: what runs, what failed and why, and what can be done
    #[command(before_help = "Examples:
  runchain monitor                   follows the newest active run; ? shows the keys
  runchain monitor --run run-42      one run: what went wrong, its timeline, its events
  runchain monitor --complete --run run-42   do what its chain lacks, watch, exit with its outcome
  runchain monitor --ingest-events state/events      also follow the event logs there
  runchain monitor --once            the screen as text
  runchain monitor --json | jq .overview.runs")]
    Monitor(look::MonitorArgs),
    /// What runs, what waits, what failed, what to do next: one screen
    #[command(before_help = "Examples:
  runchain status
  runchain status --json | jq .executor.alive")]
    Status,
    /// Runs, the newest first
    #[command(before_help = "Examples:
  runchain ls                        the newest 50
  runchain ls --phase failed --since 2d
  runchain ls --json | jq -r '.runs[].run_id'")]
    Ls(look::LsArgs),
    /// One run: its phase, its steps, its failed attempts, its events
    #[command(before_help = "Examples:
  runchain show run-42
  runchain show -- --odd-id          an id that looks like an option")]
    Show(look::ShowArgs),
    /// Everything a run has said: log lines, what its steps printed, ingested events
    #[command(before_help = "Examples:
  runchain logs run-42               in order of time; also from rotated logs
  runchain logs --follow run-42      and what comes, until it is interrupted
  runchain logs --json run-42 | jq -r 'select(.source == \"output\") | .text'")]
    Logs(look::LogsArgs),
    /// Lifecycle and ingested events, the newest last
    #[command(before_help = "Examples:
  runchain events                    the newest 50
  runchain events --follow --type '*.failed'
  runchain events --run run-42 --since 2h")]
    Events(look::EventsArgs),
    /// Steps that are not over: what waits, runs, failed for good
    #[command(before_help = "Examples:
  runchain queue
  runchain queue --state dead --step upload
  runchain queue --json | jq '.steps[] | select(.attempts > 1)'")]
    Queue(look::QueueArgs),
    /// Wait until a run's chain is through; the exit code says what came of it
    #[command(before_help = "Examples:
  runchain wait run-42 && deploy     0: completed and through; 14, 31, 32 otherwise
  runchain wait --timeout 10min run-42               30 when the time is up")]
    Wait(look::WaitArgs),
    /// Is it well? One line and an exit code, for probes
    #[command(before_help = "Examples:
  runchain health                    exits 0 when it is well, 33 when it isn't
  runchain health --max-age 5min --json")]
    Health(look::HealthArgs),
    /// Check everything around runchain, and say what mends it
    #[command(before_help = "Examples:
  runchain doctor                    exits 33 when something is wrong
  runchain doctor --json | jq -r '.findings[].command // empty'")]
    Doctor,
    /// Check bags against their manifests and against the database
    #[command(before_help = "Examples:
  runchain verify --run run-42       exits 34 and names each file that is not as it was sealed
  runchain verify --all")]
    Verify(look::VerifyArgs),
    /// Make dead steps ready again
    #[command(before_help = "Examples:
  runchain retry run-42              every dead step of the run
  runchain retry --reason 'disk was full' run-42")]
    Retry(act::RequestArgs),
    /// Cancel what has not ended of a run's chain
    #[command(before_help = "Examples:
  runchain cancel run-42
  runchain cancel --reason 'wrong project' -- --odd-id")]
    Cancel(act::RequestArgs),
    /// Start no more steps of a kind, or of any; what runs goes on
    #[command(before_help = "Examples:
  runchain pause upload              no upload is started until it is resumed
  runchain pause --reason 'disk is being changed'")]
    Pause(act::PauseArgs),
    /// Start steps again that were paused
    #[command(before_help = "Examples:
  runchain resume upload
  runchain resume                    ends the pause of everything, not those of single kinds")]
    Resume(act::PauseArgs),
    /// Chains that a storm of ending runs left waiting: list, release, discard
    #[command(before_help = "Examples:
  runchain held                      batches: how many runs, which statuses, what would happen
  runchain held release 3            begin their chains, in order, as fast as they are done
  runchain held release 3 --per-minute 60
  runchain held discard 3 --reason 'wrong WHERE'   no chains; single runs: runchain finish --run ID")]
    Held(act::HeldArgs),
    /// What asks for a person: list, show, acknowledge, resolve; test a channel
    #[command(before_help = "Examples:
  runchain alerts                    those that are open
  runchain alerts ack 17 --reason 'the disk is being changed'
  runchain alerts test ops           whether a channel can be reached")]
    Alerts(alerts::AlertsArgs),
    /// Remove now what retention would remove by and by
    #[command(before_help = "Examples:
  runchain prune --dry-run           what would go, by kind, with rows and bytes
  runchain prune --reason 'disk is small'")]
    Prune(upkeep::PruneArgs),
    /// Erase everything of a run but a tombstone that doesn't tell its id
    #[command(before_help = "Examples:
  runchain forget --dry-run run-42   what would go
  runchain forget --reason 'asked by the customer' run-42
  runchain forget --vacuum run-42    also what SQLite left in free pages; keeps writers out meanwhile")]
    Forget(upkeep::ForgetArgs),
    /// Units for systemd: print or install them
    #[command(before_help = "Examples:
  runchain service print                       the unit for this project's database
  runchain service install                     write it below /etc/systemd/system; as root
  runchain service install --instance orders --database /srv/orders/.state/orchestration.db
  runchain service install --user              for systemctl --user")]
    Service(service::ServiceArgs),
    /// The configuration: what holds and where it comes from
    #[command(before_help = "Examples:
  runchain config show
  runchain config check --config deploy/runchain.toml")]
    Config(upkeep::ConfigArgs),
    /// Print the completions of a shell
    #[command(before_help = "Examples:
  runchain completions bash > ~/.local/share/bash-completion/completions/runchain
  runchain completions zsh > ~/.zfunc/_runchain
  runchain completions fish > ~/.config/fish/completions/runchain.fish")]
    Completions(upkeep::CompletionsArgs),
    /// Print the manual page, or write one for each command
    #[command(before_help = "Examples:
  runchain man | man -l -
  runchain man --dir ~/.local/share/man/man1")]
    Man(upkeep::ManArgs),
}
