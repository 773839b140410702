//! `runchain drain`: the service, and the two ways of running it to an end.

use super::{named, open_checked, open_to_serve};
use crate::cli::DrainArgs;
use crate::config::{self, ConfigError, Known, Settings};
use crate::door;
use crate::drain::{self, Ended, Goal, Reload};
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::identity;
use crate::log::Log;
use crate::open::{self, OpenMode};
use crate::output::Output;
use runchain_core::Millis;
use rusqlite::Connection;
use signal_hook::consts::SIGINT;
use std::sync::Arc;

pub(super) fn drain(
    arguments: &DrainArgs,
    settings: &Arc<Settings>,
    reload: &dyn Fn() -> Result<Settings, ConfigError>,
    output: &Output,
) -> Outcome<Exit> {
    let goal = match arguments {
        DrainArgs { once: true, .. } => Goal::Once,
        DrainArgs { until_idle: true, .. } => Goal::UntilIdle,
        _ => Goal::Forever,
    };
    let reload = || reload().map_err(|error| error.to_string());
    if goal != Goal::Forever {
        return until(&goal, settings, &reload, output);
    }
    let log = Log::of_service(settings, output.quiet);
    match work(&goal, settings, &reload, &log).map_err(|failure| named(settings, failure)) {
        // Who collects its log reads there why it ended.
        Err(failure) if log.is_for_machines() && !output.json => {
            log.error(&failure.message);
            Ok(failure.exit)
        }
        ended => ended,
    }
}

/// Runs the loop to its goal, for a command that somebody waits for.
pub(super) fn until(
    goal: &Goal,
    settings: &Arc<Settings>,
    reload: Reload<'_>,
    output: &Output,
) -> Outcome<Exit> {
    work(goal, settings, reload, &Log::of_command(settings, output.quiet))
}

/// The exit code says how it ended.
fn work(goal: &Goal, settings: &Arc<Settings>, reload: Reload<'_>, log: &Log) -> Outcome<Exit> {
    let conn = match goal {
        Goal::Forever => open_to_serve(settings)?,
        _ => open_checked(settings)?,
    };
    if *goal == Goal::Forever {
        log.info(&format!("draining {}", settings.state_db_path.display()));
        say_misfits(settings, &conn, log);
    }
    drop(conn);
    let reload = || {
        let new = reload()?;
        if let Ok(conn) = open::open_state(&new.state_db_path, OpenMode::ReadOnly) {
            say_misfits(&new, &conn, log);
        }
        Ok(new)
    };
    let ended = drain::run(settings, goal, log, &reload)
        .inspect_err(|error| identity::log(settings, error, Millis::now()))?;
    Ok(match ended {
        Ended::Reached | Ended::Stopped => Exit::Ok,
        Ended::Forced(SIGINT) => Exit::Interrupted,
        Ended::Forced(_) => Exit::Terminated,
    })
}

/// Says what in the configuration means nothing on this machine or in this database. It may be mended
/// while the service runs.
fn say_misfits(settings: &Settings, conn: &Connection, log: &Log) {
    let mut misfits = config::programs(settings);
    // A table that is being rebuilt has no columns to compare with.
    if let Ok(known) = door::patiently(|| Known::of(conn)) {
        misfits.extend(config::unknown_words(settings, &known));
    }
    for misfit in misfits {
        log.warn(&format!("configuration: {misfit}"));
    }
}
