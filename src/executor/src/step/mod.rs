//! One call of a configured command: what it gets, and what its end means.
//!
//! Invariant: a call is made from the database and the configuration alone, so that `exec --dry-run`
//! shows what the executor would do; a second attempt gets the same but for its number and what the
//! run's row says by then. What does not belong here: starting the command (`command`), and when
//! (`drain`).

mod call;
mod document;
mod environment;
mod inherited;
mod outcome;

pub(crate) use call::{Call, Subject};
pub(crate) use environment::Variable;
pub(crate) use inherited::Inherited;
pub(crate) use outcome::{Circumstances, outcome};

use crate::command;
use crate::config::CommandStep;
use serde_json::Value;
use std::path::PathBuf;

/// A command with everything filled in.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
    /// Its whole environment.
    pub(crate) env: Vec<Variable>,
    /// Its working directory.
    pub(crate) cwd: PathBuf,
    /// What stands on its standard input.
    pub(crate) document: Value,
}

/// Fills a configured command in; some variables come from `inherited`.
///
/// # Errors
/// The reason why this run can't be handed to it; trying again doesn't help.
pub(crate) fn prepare(call: &Call, command: &CommandStep, inherited: &Inherited) -> Result<Prepared, String> {
    let values = [
        ("run_id", call.subject.run_id.0.clone()),
        ("generation", call.subject.generation.to_string()),
        ("step", call.subject.step.clone()),
    ];
    Ok(Prepared {
        argv: command::fill(&command.command, &values)?,
        env: environment::environment(call, command, &values, inherited)?,
        cwd: command.cwd.clone(),
        document: document::document(call),
    })
}
