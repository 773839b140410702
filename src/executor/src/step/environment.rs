//! A command's environment: a few variables of the executor's, ours, and what the step lists.
//!
//! Invariant: nothing of the executor's environment reaches a step but what stands in [`PASSED`] or in
//! the step's own `pass_env`.

use super::{Call, Inherited};
use crate::command;
use crate::config::CommandStep;

/// Variables that every program expects; everything else has to be listed.
const PASSED: [&str; 6] = ["PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR"];

/// One variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    /// Its name.
    pub(crate) name: String,
    /// Its value.
    pub(crate) value: String,
    /// Who wants it there.
    pub(crate) origin: Origin,
}

/// Who wants a variable there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Every program: it is the executor's own.
    Passed,
    /// The step's `pass_env`.
    PassEnv,
    /// We.
    Runchain,
    /// The step's `env`.
    Env,
}

impl Origin {
    /// Whether the value may be a secret.
    pub(crate) fn may_be_secret(self) -> bool {
        matches!(self, Self::PassEnv | Self::Env)
    }
}

/// The whole environment; each name once, the step's own words last.
pub(super) fn environment(
    call: &Call,
    command: &CommandStep,
    values: &[(&str, String)],
    source: &Inherited,
) -> Result<Vec<Variable>, String> {
    let mut all = Vec::new();
    let pass_env = command.pass_env.iter().map(String::as_str);
    let inherited = PASSED.into_iter().map(|name| (name, Origin::Passed));
    for (name, origin) in inherited.chain(pass_env.map(|name| (name, Origin::PassEnv))) {
        if let Some(value) = source.get(name) {
            set(&mut all, name, value, origin);
        }
    }
    for (name, value) in ours(call) {
        if value.contains('\0') {
            return Err(format!(
                "{name} would hold a NUL character, which no environment can carry"
            ));
        }
        set(&mut all, name, value, Origin::Runchain);
    }
    for (name, value) in &command.env {
        set(&mut all, name, command::fill_word(value, values)?, Origin::Env);
    }
    Ok(all)
}

fn set(all: &mut Vec<Variable>, name: &str, value: String, origin: Origin) {
    all.retain(|variable| variable.name != name);
    all.push(Variable {
        name: name.to_owned(),
        value,
        origin,
    });
}

/// Bag and report are there only where the step comes after one that left them: an empty value would
/// be a path, too.
fn ours(call: &Call) -> Vec<(&'static str, String)> {
    let subject = &call.subject;
    let mut ours = vec![
        ("RUNCHAIN_DATABASE", call.database.to_string_lossy().into_owned()),
        ("RUNCHAIN_RUN_ID", subject.run_id.0.clone()),
        ("RUNCHAIN_GENERATION", subject.generation.to_string()),
        ("RUNCHAIN_STATUS", call.status.clone().unwrap_or_default()),
        ("RUNCHAIN_PHASE", call.phase.to_owned()),
        ("RUNCHAIN_STEP", subject.step.clone()),
        ("RUNCHAIN_ATTEMPT", subject.attempt.to_string()),
        ("RUNCHAIN_IDEMPOTENCY_KEY", call.idempotency_key()),
    ];
    let bag = call.earlier("archive", "path");
    let report = call.earlier("report", "summary");
    for (name, path) in [("RUNCHAIN_BAG", bag), ("RUNCHAIN_REPORT", report)] {
        ours.extend(path.map(|path| (name, path.to_owned())));
    }
    ours
}
