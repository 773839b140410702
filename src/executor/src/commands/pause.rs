//! `runchain pause` and `runchain resume`: requests about a kind of steps, through the queue.

use super::open;
use super::suggest::require_step;
use crate::actor::actor;
use crate::cli::PauseArgs;
use crate::config::Settings;
use crate::door;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::open::OpenMode;
use crate::output::Output;
use runchain_core::request;
use runchain_core::steps::EVERY_KIND;

pub(super) fn pause(arguments: &PauseArgs, settings: &Settings, output: &Output) -> Outcome<Exit> {
    let kind = kind(arguments);
    // A typing error would pause nothing and say that it did.
    if kind != EVERY_KIND {
        require_step(kind, Exit::Usage, settings)?;
    }
    ask(true, arguments, settings, output)
}

/// Any name is accepted: the step may have left the configuration since it was paused.
pub(super) fn resume(arguments: &PauseArgs, settings: &Settings, output: &Output) -> Outcome<Exit> {
    ask(false, arguments, settings, output)
}

fn kind(arguments: &PauseArgs) -> &str {
    arguments.step.as_deref().unwrap_or(EVERY_KIND)
}

fn ask(pause: bool, arguments: &PauseArgs, settings: &Settings, output: &Output) -> Outcome<Exit> {
    let conn = open(settings, OpenMode::ReadWrite)?;
    let (kind, reason) = (kind(arguments), arguments.reason.as_deref());
    let answer =
        door::patiently(|| request::ask_for_pause(&conn, pause, kind, &actor().to_string(), reason))?;
    if output.json {
        output.print_json(&answer)?;
    } else {
        let verb = if pause { "pause" } else { "resume" };
        let what = if kind == EVERY_KIND {
            "every kind of steps"
        } else {
            kind
        };
        output.line(&format!("queued: {verb} {what}"))?;
    }
    Ok(Exit::Ok)
}
