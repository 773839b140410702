//! `runchain archive`, `report`, `exec` and `finish`: a run's chain now, in the foreground.
//!
//! They ask through the queue like everybody else and then drain only that run, so that a service
//! that runs beside them and they never do one step twice.

use super::drain::until;
use super::suggest::{did_you_mean, forgotten};
use super::{membership, open_checked};
use crate::actor::actor;
use crate::cli::RunArgs;
use crate::config::Settings;
use crate::door;
use crate::drain::Goal;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use runchain_core::error::During;
use runchain_core::request::{self, ChainAnswer};
use runchain_core::{Mapping, Millis, Result, RunId, install, queue};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::sync::Arc;

/// Between two looks whether a run is over.
const UNTIL_OVER: std::time::Duration = std::time::Duration::from_millis(200);

pub(super) fn finish(arguments: &RunArgs, settings: &Arc<Settings>, output: &Output) -> Outcome<Exit> {
    let run_id = RunId(arguments.run_id.clone());
    let conn = open_checked(settings)?;
    ask_for_chain(&conn, &run_id, arguments.why.reason.as_deref())?;
    execute(&conn, &run_id, None, settings, output)
}

/// Does what a run's chain lacks, once the run is over; prints nothing. What is done already is not
/// done again.
pub(crate) fn complete(run_id: &RunId, settings: &Arc<Settings>) -> Outcome<Exit> {
    let conn = open_checked(settings)?;
    door::patiently(|| install::prepare(&conn, Millis::now()))?;
    let mapping = Mapping::require(&conn)?;
    let answer = loop {
        match door::patiently(|| request::judge_chain(&conn, &mapping, run_id))? {
            ChainAnswer::RunActive => std::thread::sleep(UNTIL_OVER),
            answer => break answer,
        }
    };
    match answer {
        ChainAnswer::NoSuchRun | ChainAnswer::Forgotten => require_over(&conn, &mapping, run_id)?,
        ChainAnswer::Again => return outcome(&conn, run_id),
        _ => {
            door::patiently(|| request::enqueue_chain(&conn, run_id, &actor().to_string(), None))?;
        }
    }
    let exit = drain_only(run_id, None, settings)?;
    if exit != Exit::Ok {
        return Ok(exit);
    }
    outcome(&conn, run_id)
}

/// How the chain of a run has ended.
fn outcome(conn: &Connection, run_id: &RunId) -> Outcome<Exit> {
    let steps = door::patiently(|| results(conn, run_id))?;
    let stuck = steps.iter().find(|one| one.state != "done" && one.required);
    stuck.map_or(Ok(Exit::Ok), |stuck| Err(stuck.is_stuck(run_id)))
}

pub(super) fn step(
    arguments: &RunArgs,
    step: &str,
    settings: &Arc<Settings>,
    output: &Output,
) -> Outcome<Exit> {
    let run_id = RunId(arguments.run_id.clone());
    let reason = arguments.why.reason.as_deref();
    let conn = open_checked(settings)?;
    // A step of a run that is gone or under way again would work on what is no longer there.
    let mapping = prepare_for(&conn, &run_id)?;
    if let Some(ended) = door::patiently(|| membership::ended(&conn, &mapping, &run_id))? {
        door::patiently(|| membership::standing(&conn, settings, &mapping, &run_id, &ended, step))?
            .require_in_chain(&run_id, step)?;
    }
    let asked =
        door::patiently(|| request::ask_for_step(&conn, &run_id, step, &actor().to_string(), reason))?;
    if !asked {
        ask_for_chain(&conn, &run_id, reason)?;
    }
    execute(&conn, &run_id, Some(step), settings, output)
}

fn ask_for_chain(conn: &Connection, run_id: &RunId, reason: Option<&str>) -> Outcome<()> {
    prepare_for(conn, run_id)?;
    door::patiently(|| request::enqueue_chain(conn, run_id, &actor().to_string(), reason))?;
    Ok(())
}

/// Brings the schema up to date, and refuses for a run that is not there or not over.
fn prepare_for(conn: &Connection, run_id: &RunId) -> Outcome<Mapping> {
    door::patiently(|| install::prepare(conn, Millis::now()))?;
    let mapping = Mapping::require(conn)?;
    require_over(conn, &mapping, run_id)?;
    Ok(mapping)
}

/// Refuses for a run that is not there or not over.
pub(super) fn require_over(conn: &Connection, mapping: &Mapping, run_id: &RunId) -> Outcome<()> {
    let answer = door::patiently(|| request::judge_chain(conn, mapping, run_id))?;
    match answer {
        ChainAnswer::NoSuchRun => Err(Failure::new(
            Exit::NoSuchRun,
            format!(
                "there is no run {run_id} in table {}; {}runchain ls lists the newest",
                mapping.table,
                did_you_mean(conn, run_id)?
            ),
        )),
        ChainAnswer::Forgotten => Err(forgotten(run_id)),
        ChainAnswer::RunActive => Err(not_over(run_id)),
        _ => Ok(()),
    }
}

pub(super) fn not_over(run_id: &RunId) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("run {run_id} is not over; its chain begins by itself when it ends"),
    )
}

/// Drains one run's chain, or one step of it, and says nothing.
fn drain_only(run_id: &RunId, step: Option<&str>, settings: &Arc<Settings>) -> Outcome<Exit> {
    let goal = Goal::Run {
        run_id: run_id.clone(),
        step: step.map(str::to_owned),
    };
    let keep = || Ok(Settings::clone(settings));
    until(&goal, settings, &keep, &Output::SILENT)
}

fn execute(
    conn: &Connection,
    run_id: &RunId,
    step: Option<&str>,
    settings: &Arc<Settings>,
    output: &Output,
) -> Outcome<Exit> {
    let exit = drain_only(run_id, step, settings)?;
    if exit != Exit::Ok {
        return Ok(exit);
    }
    let steps = door::patiently(|| results(conn, run_id))?;
    let meant: Vec<&StepResult> = steps
        .iter()
        .filter(|one| step.is_none_or(|name| name == one.step))
        .collect();
    if output.json {
        output.print_json(&json!({ "run_id": run_id, "steps": meant }))?;
    } else {
        let rows = meant
            .iter()
            .map(|one| [one.step.clone(), one.state.clone(), one.summary()]);
        output.table(&["STEP", "STATE", "RESULT"], rows)?;
    }
    if let Some(waiting) = meant.iter().find(|one| one.state == "waiting" && step.is_some()) {
        return Err(request::waits_for_others(run_id, &waiting.step).into());
    }
    if let Some(stuck) = meant
        .iter()
        .find(|one| one.state != "done" && (one.required || step.is_some()))
    {
        return Err(stuck.is_stuck(run_id));
    }
    Ok(Exit::Ok)
}

#[derive(Debug, serde::Serialize)]
struct StepResult {
    step: String,
    state: String,
    result: Option<Value>,
    error: Option<String>,
    required: bool,
}

impl StepResult {
    /// The chain doesn't go on past this step.
    fn is_stuck(&self, run_id: &RunId) -> Failure {
        Failure::new(
            Exit::ChainDead,
            format!(
                "step {} of run {run_id} is {}: {}; runchain show shows its attempts, runchain retry tries it again",
                self.step,
                self.state,
                self.error.as_deref().unwrap_or("its events say why")
            ),
        )
    }

    /// Where its files are, or what is wrong.
    fn summary(&self) -> String {
        let place = |key: &str| {
            self.result
                .as_ref()
                .and_then(|result| result.get(key))
                .and_then(Value::as_str)
        };
        let files = || place("path").or_else(|| place("summary"));
        // What an earlier execution left still stands in the row of a step that failed since.
        let error = self.error.as_deref().filter(|_| self.state != "done");
        error.or_else(files).unwrap_or_default().to_owned()
    }
}

fn results(conn: &Connection, run_id: &RunId) -> Result<Vec<StepResult>> {
    let generation = queue::known_run(conn, run_id)?.map_or(0, |run| run.generation);
    let mut statement = conn
        .prepare("SELECT step, state, result, error, required FROM runchain_steps WHERE run_id = ?1 AND generation = ?2 ORDER BY id")
        .during("read the run's steps")?;
    let rows = statement
        .query_map((run_id, generation), |row| {
            let result: Option<String> = row.get(2)?;
            Ok(StepResult {
                step: row.get(0)?,
                state: row.get(1)?,
                result: result.and_then(|text| serde_json::from_str(&text).ok()),
                error: row.get(3)?,
                required: row.get(4)?,
            })
        })
        .during("read the run's steps")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("read the run's steps")
}
