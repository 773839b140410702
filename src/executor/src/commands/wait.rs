//! `runchain wait ID`: until the run's chain is through; the exit code says what came of it.
//!
//! Driven by commits, not by asking again and again. It only looks: whoever drains does the work.

use super::moment::span_ms;
use super::open;
use super::suggest::no_such_run;
use crate::changes::{Changes, Woken};
use crate::cli::WaitArgs;
use crate::config::Settings;
use crate::door;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::open::OpenMode;
use crate::output::Output;
use runchain_core::liveness::{Liveness, executor_alive};
use runchain_core::look::chain::{NoChain, Standing, standing};
use runchain_core::vocabulary::Phase;
use runchain_core::{Mapping, RunId};
use serde_json::json;
use std::time::{Duration, Instant};

pub(super) fn wait(arguments: &WaitArgs, settings: &Settings, output: &Output) -> Outcome<Exit> {
    let timeout_ms = match &arguments.timeout {
        Some(text) => Some(span_ms("--timeout", text)?),
        None => None,
    };
    let deadline =
        timeout_ms.map(|span_ms| Instant::now() + Duration::from_millis(u64::try_from(span_ms).unwrap_or(0)));
    let conn = open(settings, OpenMode::ReadOnly)?;
    let mapping = Mapping::require(&conn)?;
    let run_id = RunId(arguments.id.clone());
    // Before the first look, so that nothing falls between.
    let mut changes = Changes::start(settings);
    let look = || door::patiently(|| standing(&conn, &mapping, &run_id));
    let mut found = look()?;
    if found == Standing::NoSuchRun {
        return Err(no_such_run(&conn, &mapping, &run_id)?);
    }
    if found.goes_on() && executor_alive(&settings.state_db_path) == Liveness::Dead {
        output.note("no executor is alive: nothing happens until one runs; start one: runchain drain")?;
    }
    let mut is_up = false;
    while found.goes_on() && !is_up {
        is_up = changes.wait(&conn, deadline)? == Woken::TimeIsUp;
        found = look()?;
    }
    answer(&run_id, &found, output)
}

fn answer(run_id: &RunId, found: &Standing, output: &Output) -> Outcome<Exit> {
    let told = told(run_id, found);
    if output.json {
        output.print_json(&json!({
            "run_id": run_id, "outcome": told.word, "exit_code": told.exit.code(), "message": told.text,
        }))?;
        return Ok(told.exit);
    }
    match told.exit {
        Exit::Ok => {
            output.line(&told.text)?;
            Ok(told.exit)
        }
        exit => Err(Failure::new(exit, told.text)),
    }
}

struct Told {
    exit: Exit,
    /// For tools.
    word: &'static str,
    text: String,
}

fn told(run_id: &RunId, found: &Standing) -> Told {
    let (exit, word, text) = match found {
        Standing::Through {
            phase: Phase::Completed,
        } => (
            Exit::Ok,
            "through",
            format!("run {run_id} completed, and its chain is through"),
        ),
        Standing::Through { phase } => (
            Exit::RunFailed,
            "run_failed",
            format!("the chain of run {run_id} is through, but the run is {phase}"),
        ),
        Standing::Dead { step, error } => (
            Exit::ChainDead,
            "dead",
            format!(
                "step {step} of run {run_id} is dead: {}; runchain explain tells more, runchain retry tries it again",
                error.as_deref().unwrap_or("no error was kept")
            ),
        ),
        Standing::NoChain(why) => (Exit::NoChain, no_chain_word(*why), no_chain(run_id, *why)),
        Standing::NoSuchRun => (
            Exit::NoSuchRun,
            "no_such_run",
            format!("run {run_id} is not there any more"),
        ),
        Standing::Unseen | Standing::Active | Standing::UnderWay => (
            Exit::TimedOut,
            "timed_out",
            format!("the time is up; run {run_id} {}", on_its_way(found)),
        ),
    };
    Told { exit, word, text }
}

fn on_its_way(found: &Standing) -> &'static str {
    match found {
        Standing::Unseen => "was written, and no executor has looked at it yet",
        Standing::Active => "is not over",
        _ => "is over, and its chain is on its way",
    }
}

fn no_chain_word(why: NoChain) -> &'static str {
    match why {
        NoChain::Cancelled => "cancelled",
        NoChain::Held => "held",
        NoChain::Deleted => "deleted",
        NoChain::LeftAlone => "left_alone",
    }
}

fn no_chain(run_id: &RunId, why: NoChain) -> String {
    match why {
        NoChain::Cancelled => format!("the chain of run {run_id} was cancelled; runchain explain tells why"),
        NoChain::Held => {
            format!(
                "the chain of run {run_id} is held: many runs ended in a rush; runchain held lists the batches"
            )
        }
        NoChain::Deleted => format!("the row of run {run_id} is gone, and its chain was cancelled"),
        NoChain::LeftAlone => format!(
            "run {run_id} was over before runchain came, or its batch was discarded: it has no chain; begin one: \
             runchain finish"
        ),
    }
}
