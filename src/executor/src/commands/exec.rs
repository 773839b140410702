//! `runchain exec STEP --run ID`: one step of one run now, through the queue like every other; with
//! `--dry-run` what it would be called with, and nothing is written.

use super::membership::{self, Standing, StepNow};
use super::{open, run};
use crate::cli::ExecArgs;
use crate::config::{Action, Settings, Step, suggest_step};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::open::OpenMode;
use crate::output::Output;
use crate::step::{self, Call, Inherited, Prepared, Subject, Variable};
use runchain_core::audit;
use runchain_core::error::{During, Result};
use runchain_core::request;
use runchain_core::{Mapping, RunId};
use rusqlite::Connection;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// In place of a value that may be a secret.
const MASK: &str = "***";

pub(super) fn exec(arguments: &ExecArgs, settings: &Arc<Settings>, output: &Output) -> Outcome<Exit> {
    let name = &arguments.step;
    let Some(configured) = settings.step(name) else {
        return Err(Failure::new(
            Exit::NoSuchStep,
            format!("no step {name} is configured; {}", suggest_step(settings, name)),
        ));
    };
    if arguments.dry_run {
        return dry_run(&RunId(arguments.run.run_id.clone()), configured, settings, output);
    }
    run::step(&arguments.run, name, settings, output)
}

/// Prints the call; the exit code is that of the refusal where the step would not run.
fn dry_run(run_id: &RunId, configured: &Step, settings: &Settings, output: &Output) -> Outcome<Exit> {
    let conn = open(settings, OpenMode::ReadOnly)?;
    let mapping = Mapping::require(&conn)?;
    run::require_over(&conn, &mapping, run_id)?;
    let Some(ended) = membership::ended(&conn, &mapping, run_id)? else {
        return Err(run::not_over(run_id));
    };
    let standing = membership::standing(&conn, settings, &mapping, run_id, &ended, &configured.name)?;
    let attempt = match &standing {
        // What has ended begins to count anew.
        Standing::In(StepNow { state, attempts }) if !ENDED.contains(&state.as_str()) => attempts + 1,
        _ => 1,
    };
    let subject = Subject {
        run_id: run_id.clone(),
        generation: ended.run.generation,
        step: configured.name.clone(),
        attempt,
    };
    let verdict = Verdict::of(&standing, run_id, &configured.name);
    let call = Call::gather(&conn, &mapping, settings, &ended.run, subject)?;
    let inherited = inherited(&conn)?;
    let prepared = match &configured.action {
        Action::Archive | Action::Report => None,
        Action::Command(command) => Some((
            command,
            step::prepare(&call, command, &inherited).map_err(|error| Failure::new(Exit::Failed, error))?,
        )),
    };
    let prepared = prepared.as_ref().map(|(command, prepared)| Shown {
        prepared,
        timeout_ms: command.timeout_ms,
        inherited: &inherited,
    });
    if output.json {
        output.print_json(&as_json(configured, run_id, &verdict, prepared))?;
    } else {
        print(configured, run_id, &verdict, prepared, output)?;
    }
    match verdict.refusal {
        Some(refusal) => Err(refusal),
        None => Ok(Exit::Ok),
    }
}

const ENDED: [&str; 3] = ["done", "dead", "cancelled"];

/// Whether the step would run, in words.
struct Verdict {
    sentence: String,
    refusal: Option<Failure>,
}

impl Verdict {
    fn of(standing: &Standing, run_id: &RunId, step: &str) -> Self {
        if let Err(refusal) = standing.require_in_chain(run_id, step) {
            return Self {
                sentence: format!("no: {}", refusal.message),
                refusal: Some(refusal),
            };
        }
        let yes = |sentence: String| Self {
            sentence,
            refusal: None,
        };
        match standing {
            Standing::In(StepNow { state, .. }) if state == "waiting" => {
                let error = request::waits_for_others(run_id, step);
                Self {
                    sentence: format!("no: {error}"),
                    refusal: Some(error.into()),
                }
            }
            Standing::In(StepNow { state, .. }) if ENDED.contains(&state.as_str()) => {
                yes(format!("yes: it is {state}, and would be done again"))
            }
            Standing::In(StepNow { state, .. }) => yes(format!("yes: it is {state}")),
            _ => yes("yes: with the run's chain, which is not begun yet".to_owned()),
        }
    }
}

/// The environment of the service that would execute it; this process's where there is none, or where it
/// may not be read.
fn inherited(conn: &Connection) -> Result<Inherited> {
    let pids: Vec<u32> = conn
        .prepare("SELECT pid FROM runchain_executors WHERE host = ?1 ORDER BY started_ms DESC")
        .and_then(|mut statement| {
            let rows = statement.query_map([audit::host()], |row| row.get(0))?;
            rows.collect()
        })
        .during("look for a service")?;
    Ok(pids
        .into_iter()
        .find_map(Inherited::of_service)
        .unwrap_or(Inherited::Own))
}

/// A call, as it is shown.
#[derive(Clone, Copy)]
struct Shown<'a> {
    prepared: &'a Prepared,
    timeout_ms: i64,
    inherited: &'a Inherited,
}

impl Shown<'_> {
    /// Whose `PATH` and `HOME` these are.
    fn environment_of(&self) -> String {
        match self.inherited {
            Inherited::Own => "this command's, where it executes the step itself".to_owned(),
            Inherited::Service { pid, .. } => format!("the service's (pid {pid})"),
        }
    }
}

fn as_json(configured: &Step, run_id: &RunId, verdict: &Verdict, shown: Option<Shown<'_>>) -> Value {
    let mut all = json!({
        "step": configured.name, "run_id": run_id,
        "would_run": verdict.refusal.is_none(), "why": verdict.sentence,
    });
    if let (Some(shown), Some(members)) = (shown, all.as_object_mut()) {
        let prepared = shown.prepared;
        let env: Map<String, Value> = (prepared.env.iter())
            .map(|variable| (variable.name.clone(), json!(masked(variable))))
            .collect();
        members.insert("argv".to_owned(), json!(prepared.argv));
        members.insert("cwd".to_owned(), json!(prepared.cwd.to_string_lossy()));
        members.insert("timeout_ms".to_owned(), json!(shown.timeout_ms));
        members.insert("env_of".to_owned(), json!(shown.environment_of()));
        members.insert("env".to_owned(), Value::Object(env));
        members.insert("stdin".to_owned(), prepared.document.clone());
    }
    all
}

fn print(
    configured: &Step,
    run_id: &RunId,
    verdict: &Verdict,
    shown: Option<Shown<'_>>,
    output: &Output,
) -> Outcome<()> {
    output.line(&format!("step {} of run {run_id}", configured.name))?;
    output.line(&format!("would it run: {}", verdict.sentence))?;
    let Some(shown) = shown else {
        output.line("command: built in")?;
        return Ok(());
    };
    let prepared = shown.prepared;
    output.line(&format!("command: {}", json!(prepared.argv)))?;
    output.line(&format!("folder: {}", prepared.cwd.display()))?;
    output.line(&format!("timeout: {} ms", shown.timeout_ms))?;
    output.line(&format!(
        "environment (what isn't set for the step is {}):",
        shown.environment_of()
    ))?;
    for variable in &prepared.env {
        output.line(&format!("  {}={}", variable.name, masked(variable)))?;
    }
    output.line("standard input:")?;
    for line in format!("{:#}", prepared.document).lines() {
        output.line(&format!("  {line}"))?;
    }
    Ok(())
}

fn masked(variable: &Variable) -> &str {
    if variable.origin.may_be_secret() {
        MASK
    } else {
        &variable.value
    }
}
