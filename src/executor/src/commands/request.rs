//! `runchain retry` and `runchain cancel`: requests about a run's steps, through the queue.

use super::open;
use super::suggest::no_such_run;
use crate::actor::actor;
use crate::cli::RequestArgs;
use crate::config::Settings;
use crate::door;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::open::OpenMode;
use crate::output::Output;
use runchain_core::explain::count;
use runchain_core::request::{self, StepVerb};
use runchain_core::{Mapping, RunId, queue};
use serde_json::json;

pub(super) fn request(
    verb: StepVerb,
    arguments: &RequestArgs,
    settings: &Settings,
    output: &Output,
) -> Outcome<Exit> {
    let conn = open(settings, OpenMode::ReadWrite)?;
    let run_id = RunId(arguments.id.clone());
    let mapping = Mapping::require(&conn)?;
    if queue::known_run(&conn, &run_id)?.is_none() {
        return Err(no_such_run(&conn, &mapping, &run_id)?);
    }
    let reason = arguments.reason.as_deref();
    let steps =
        door::patiently(|| request::ask_about_run(&conn, verb, &run_id, &actor().to_string(), reason))?;
    if output.json {
        output.print_json(&json!({ "run_id": run_id, "steps": steps }))?;
    } else if steps == 0 {
        output.line(&format!("nothing to do: run {run_id} {}", verb.has_none()))?;
    } else {
        let steps = i64::try_from(steps).unwrap_or(i64::MAX);
        output.line(&format!("queued for {} of run {run_id}", count(steps, "step")))?;
    }
    Ok(Exit::Ok)
}
