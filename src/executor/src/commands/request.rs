//! `runchain retry` and `runchain cancel`: requests about a run's steps, through the queue.

use super::open;
use crate::actor::actor;
use crate::cli::RequestArgs;
use crate::config::Settings;
use crate::door;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::open::OpenMode;
use crate::output::Output;
use runchain_core::request::{self, StepVerb};
use runchain_core::{RunId, queue};
use serde_json::json;

pub(super) fn request(
    verb: StepVerb,
    arguments: &RequestArgs,
    settings: &Settings,
    output: &Output,
) -> Outcome<Exit> {
    let conn = open(settings, OpenMode::ReadWrite)?;
    let run_id = RunId(arguments.id.clone());
    runchain_core::Mapping::require(&conn)?;
    if queue::known_run(&conn, &run_id)?.is_none() {
        return Err(Failure::new(
            Exit::NoSuchRun,
            format!("runchain knows no run {run_id}; runchain status lists the newest"),
        ));
    }
    let reason = arguments.reason.as_deref();
    let steps =
        door::patiently(|| request::ask_about_run(&conn, verb, &run_id, &actor().to_string(), reason))?;
    if output.json {
        output.print_json(&json!({ "run_id": run_id, "steps": steps }))?;
    } else if steps == 0 {
        output.line(&format!("nothing to do: run {run_id} {}", verb.has_none()))?;
    } else {
        output.line(&format!("queued for {steps} steps of run {run_id}"))?;
    }
    Ok(Exit::Ok)
}
