//! `runchain drain`: the service, and the two ways of running it to an end.

use super::open_checked;
use crate::cli::DrainArgs;
use crate::config::{ConfigError, Settings};
use crate::drain::{self, Ended, Goal, Reload};
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::identity;
use crate::output::Output;
use runchain_core::Millis;
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
    until(&goal, settings, &reload, output)
}

/// Runs the loop to its goal; the exit code says how it ended.
pub(super) fn until(
    goal: &Goal,
    settings: &Arc<Settings>,
    reload: Reload<'_>,
    output: &Output,
) -> Outcome<Exit> {
    drop(open_checked(settings)?);
    let say = |text: &str| {
        // A service whose standard error is gone still drains.
        let _ = output.progress(&format!("{} {text}", Millis::now().iso()));
    };
    if *goal == Goal::Forever {
        say(&format!("draining {}", settings.state_db_path.display()));
    }
    let ended = drain::run(settings, goal, &say, reload)
        .inspect_err(|error| identity::log(settings, error, Millis::now()))?;
    Ok(match ended {
        Ended::Reached | Ended::Stopped => Exit::Ok,
        Ended::Forced(SIGINT) => Exit::Interrupted,
        Ended::Forced(_) => Exit::Terminated,
    })
}
