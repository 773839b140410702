//! One file for each command (or family of commands): opens the database, asks the core, prints.

mod adopt;
mod audit;
mod check;
mod drain;
mod exec;
mod explain;
mod forget;
mod held;
mod ingest;
mod install;
mod membership;
#[cfg(feature = "tui")]
pub(crate) mod monitor;
mod pause;
mod prune;
mod request;
pub(crate) mod run;
mod show;
mod status;
pub(crate) mod validate;

use crate::cli::{Command, ConfigCommand};
use crate::config::{self, ConfigError, Settings, Source};
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::identity;
use crate::open::{self, OpenError, OpenMode};
use crate::output::Output;
use runchain_core::request::StepVerb;
use runchain_core::{Mapping, Millis, functions};
use rusqlite::Connection;
use std::sync::Arc;

/// Does what the command line asks for.
pub(crate) fn run(
    command: &Command,
    settings: Settings,
    reload: &dyn Fn() -> Result<Settings, ConfigError>,
    output: &Output,
) -> Outcome<Exit> {
    let settings = Arc::new(settings);
    match command {
        Command::Drain(arguments) => drain::drain(arguments, &settings, reload, output),
        Command::Install(arguments) => install::install(arguments, &settings, output),
        Command::Uninstall(arguments) => install::uninstall(arguments, &settings, output),
        Command::Validate => validate::validate(&settings, output),
        Command::Ingest(arguments) => ingest::ingest(arguments, &settings, output),
        Command::Adopt(arguments) => adopt::adopt(arguments, &settings, output),
        Command::Archive(arguments) => run::step(arguments, "archive", &settings, output),
        Command::Report(arguments) => run::step(arguments, "report", &settings, output),
        Command::Finish(arguments) => run::finish(arguments, &settings, output),
        Command::Explain(arguments) => explain::explain(arguments, &settings, output),
        Command::Exec(arguments) => exec::exec(arguments, &settings, output),
        Command::Audit(arguments) => audit::audit(arguments, &settings, output),
        Command::Status => status::status(&settings, output),
        Command::Show(arguments) => show::show(&arguments.id, &settings, output),
        Command::Retry(arguments) => request::request(StepVerb::Retry, arguments, &settings, output),
        Command::Cancel(arguments) => request::request(StepVerb::Cancel, arguments, &settings, output),
        Command::Pause(arguments) => pause::pause(arguments, &settings, output),
        Command::Resume(arguments) => pause::resume(arguments, &settings, output),
        #[cfg(feature = "tui")]
        Command::Monitor(arguments) => monitor::monitor(arguments, &settings, output),
        Command::Held(arguments) => held::held(arguments, &settings, output),
        Command::Forget(arguments) => forget::forget(arguments, &settings, output),
        Command::Prune(arguments) => prune::prune(arguments, &settings, output),
        Command::Config(arguments) => match arguments.command {
            ConfigCommand::Show => {
                config::show(&settings, output)?;
                Ok(Exit::Ok)
            }
            ConfigCommand::Check => check::check(&settings, output),
        },
    }
}

/// Opens the state database; what is wrong with it also stands in `logs/monitor.jsonl` then.
pub(crate) fn open(settings: &Settings, mode: OpenMode) -> Outcome<Connection> {
    let ground = |conn| match mode {
        OpenMode::ReadWrite => open::ground::refuse_unsafe_wal(settings, conn),
        OpenMode::ReadOnly => Ok(()),
    };
    let path = &settings.state_db_path;
    let proved = ground(None).and_then(|()| match mode {
        OpenMode::ReadWrite => open::prove_shared(path),
        OpenMode::ReadOnly => Ok(()),
    });
    let opened = proved.and_then(|()| open::open_state(path, mode));
    let conn = opened.map_err(|error| logged(settings, error))?;
    ground(Some(&conn)).map_err(|error| logged(settings, error))?;
    functions::register(&conn, functions::Surface::Full)?;
    Ok(conn)
}

/// Opens the state database for work, which needs the required tables.
fn open_checked(settings: &Settings) -> Outcome<Connection> {
    let conn = open(settings, OpenMode::ReadWrite)?;
    open::required_tables(&conn, &required(&conn, settings)?).map_err(|error| logged(settings, error))?;
    identity::require(&conn, settings).inspect_err(|error| identity::log(settings, error, Millis::now()))?;
    Ok(conn)
}

/// The required tables: as configured, or by default the contract's three, with the captured table in
/// the place of `runs` where another one is captured.
pub(crate) fn required(conn: &Connection, settings: &Settings) -> Outcome<Vec<String>> {
    let mut tables = settings.required_tables.clone();
    let is_default = settings.source_of("required_tables") == Some(&Source::Default);
    if is_default && let Some(mapping) = Mapping::installed(conn)? {
        for table in tables.iter_mut().filter(|table| *table == "runs") {
            table.clone_from(&mapping.table);
        }
    }
    Ok(tables)
}

fn logged(settings: &Settings, error: OpenError) -> OpenError {
    open::log_failure(settings, &error, Millis::now());
    error
}
