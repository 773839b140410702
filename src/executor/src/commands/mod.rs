//! One file for each command (or family of commands): opens the database, asks the core, prints.

mod adopt;
mod alerts;
mod audit;
mod brief;
mod check;
mod doctor;
mod drain;
mod events;
mod exec;
mod explain;
mod forget;
mod health;
mod held;
mod ingest;
mod install;
mod logs;
mod ls;
mod manual;
mod membership;
mod moment;
pub(crate) mod monitor;
mod pause;
mod prune;
mod queue;
mod request;
pub(crate) mod run;
mod service;
mod show;
mod status;
mod suggest;
pub(crate) mod validate;
mod verify;
mod wait;

use crate::cli::{Command, ConfigCommand};
use crate::config::{self, ConfigError, Settings, Source};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::identity;
use crate::open::{self, OpenError, OpenMode};
use crate::output::Output;
use runchain_core::capture::{self, Capture};
use runchain_core::request::StepVerb;
use runchain_core::{Error, Mapping, Millis, functions, schema};
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
    dispatch(command, &settings, reload, output).map_err(|failure| named(&settings, failure))
}

fn dispatch(
    command: &Command,
    settings: &Arc<Settings>,
    reload: &dyn Fn() -> Result<Settings, ConfigError>,
    output: &Output,
) -> Outcome<Exit> {
    match command {
        Command::Drain(arguments) => drain::drain(arguments, settings, reload, output),
        Command::Install(arguments) => install::install(arguments, settings, output),
        Command::Uninstall(arguments) => install::uninstall(arguments, settings, output),
        Command::Validate => validate::validate(settings, output),
        Command::Ingest(arguments) => ingest::ingest(arguments, settings, output),
        Command::Adopt(arguments) => adopt::adopt(arguments, settings, output),
        Command::Archive(arguments) => run::step(arguments, "archive", settings, output),
        Command::Report(arguments) => run::step(arguments, "report", settings, output),
        Command::Finish(arguments) => run::finish(arguments, settings, output),
        Command::Explain(arguments) => explain::explain(arguments, settings, output),
        Command::Exec(arguments) => exec::exec(arguments, settings, output),
        Command::Audit(arguments) => audit::audit(arguments, settings, output),
        Command::Status => status::status(settings, output),
        Command::Ls(arguments) => ls::ls(arguments, settings, output),
        Command::Logs(arguments) => logs::logs(arguments, settings, output),
        Command::Events(arguments) => events::events(arguments, settings, output),
        Command::Queue(arguments) => queue::queue(arguments, settings, output),
        Command::Wait(arguments) => wait::wait(arguments, settings, output),
        Command::Health(arguments) => health::health(arguments, settings, output),
        Command::Doctor => doctor::doctor(settings, output),
        Command::Verify(arguments) => verify::verify(arguments, settings, output),
        Command::Completions(arguments) => manual::completions(arguments),
        Command::Man(arguments) => manual::man(arguments, output),
        Command::Show(arguments) => show::show(&arguments.id, settings, output),
        Command::Retry(arguments) => request::request(StepVerb::Retry, arguments, settings, output),
        Command::Cancel(arguments) => request::request(StepVerb::Cancel, arguments, settings, output),
        Command::Pause(arguments) => pause::pause(arguments, settings, output),
        Command::Resume(arguments) => pause::resume(arguments, settings, output),
        Command::Monitor(arguments) => monitor::monitor(arguments, settings, output),
        Command::Held(arguments) => held::held(arguments, settings, output),
        Command::Alerts(arguments) => alerts::alerts(arguments, settings, output),
        Command::Forget(arguments) => forget::forget(arguments, settings, output),
        Command::Prune(arguments) => prune::prune(arguments, settings, output),
        Command::Service(arguments) => service::service(arguments, settings, output),
        Command::Config(arguments) => match arguments.command {
            ConfigCommand::Show => {
                config::show(settings, installed_capture(settings), output)?;
                Ok(Exit::Ok)
            }
            ConfigCommand::Check => check::check(settings, output),
            ConfigCommand::Reference => {
                output.text(&config::reference())?;
                Ok(Exit::Ok)
            }
            ConfigCommand::Schema => {
                output.print_json(&config::schema())?;
                Ok(Exit::Ok)
            }
        },
    }
}

/// What a command does that works also where the configuration is wrong; none for all others.
pub(crate) fn run_without_settings(
    command: &Command,
    error: &ConfigError,
    output: &Output,
) -> Option<Outcome<Exit>> {
    match command {
        Command::Completions(arguments) => Some(manual::completions(arguments)),
        Command::Man(arguments) => Some(manual::man(arguments, output)),
        Command::Doctor => Some(doctor::without_settings(error, output)),
        _ => None,
    }
}

/// What was recorded stays after an uninstall, and can be looked at all the same.
fn require_recorded(conn: &Connection) -> Outcome<()> {
    if schema::table_exists(conn, "runchain_events")? {
        Ok(())
    } else {
        Err(Error::NotInstalled.into())
    }
}

/// How writes are captured, where the database can be asked.
fn installed_capture(settings: &Settings) -> Option<Capture> {
    let conn = open::open_state(&settings.state_db_path, OpenMode::ReadOnly).ok()?;
    Mapping::installed(&conn).ok()??;
    capture::known(&conn).ok()?
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

/// Opens the state database for work, which needs the required tables, and that it is the one that its logs
/// know.
fn open_checked(settings: &Settings) -> Outcome<Connection> {
    let conn = open_with_tables(settings)?;
    identity::require(&conn, settings).inspect_err(|error| identity::log(settings, error, Millis::now()))?;
    Ok(conn)
}

/// The same for a service, which starts also where its logs can't be read.
fn open_to_serve(settings: &Settings) -> Outcome<Connection> {
    let conn = open_with_tables(settings)?;
    identity::require_if_readable(&conn, settings)
        .inspect_err(|error| identity::log(settings, error, Millis::now()))?;
    Ok(conn)
}

fn open_with_tables(settings: &Settings) -> Outcome<Connection> {
    let conn = open(settings, OpenMode::ReadWrite)?;
    open::required_tables(&conn, &required(&conn, settings)?).map_err(|error| logged(settings, error))?;
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

/// SQLite finds damage, a full disk or a lock also after opening: then the failure names the database and
/// the remedy, too.
fn named(settings: &Settings, failure: Failure) -> Failure {
    match OpenError::of_failure(&settings.state_db_path, &failure) {
        Some(error) => logged(settings, error).into(),
        None => failure,
    }
}

fn logged(settings: &Settings, error: OpenError) -> OpenError {
    open::log_failure(settings, &error, Millis::now());
    error
}
