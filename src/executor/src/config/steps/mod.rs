//! `[steps]`: what a run's chain consists of, in an order in which it can run.
//!
//! Invariant: a run id can become an argument or a variable of a step, never the program, never
//! shell text. What does not belong here: running anything.

mod choice;
mod order;
mod table;

pub(super) use table::SHAPE as TABLE;

use super::error::suggest;
use super::layers::{Gathered, Layers};
use super::{Row, Settings, Source};
use runchain_core::chain::{Chain, Condition, StepSpec};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Names that `{name}` may stand for in a step's arguments and environment.
pub(crate) const PLACEHOLDERS: [&str; 3] = ["run_id", "generation", "step"];

/// One step that a chain can have.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    /// Its name in the database.
    pub(crate) name: String,
    /// Steps that must be done first.
    pub(crate) after: Vec<String>,
    /// Attempts before it is dead.
    pub(crate) max_attempts: u32,
    /// Which runs it is for.
    pub(crate) choice: Choice,
    /// Whether the steps after it wait until it is done.
    pub(crate) required: bool,
    /// When it goes.
    pub(crate) rules: Rules,
    /// What it does.
    pub(crate) action: Action,
}

impl Step {
    /// What the core has to know of it.
    fn spec(&self) -> StepSpec {
        StepSpec {
            name: self.name.clone(),
            after: self.after.clone(),
            max_attempts: self.max_attempts,
            priority: self.rules.priority,
            delay_ms: self.rules.delay_ms,
            deadline_ms: self.rules.deadline_ms,
            timeout_ms: match &self.action {
                Action::Archive | Action::Report => None,
                Action::Command(command) => Some(command.timeout_ms),
            },
            required: self.required,
            on: self.choice.on.clone(),
            conditions: self.choice.conditions.clone(),
        }
    }
}

impl Settings {
    /// The chain that the configuration names.
    pub(crate) fn chain(&self) -> Chain {
        Chain(self.steps.iter().map(Step::spec).collect())
    }

    /// The configured step of a name.
    pub(crate) fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == name)
    }
}

/// The remedy for a name that no step has.
pub(crate) fn suggest_step(settings: &Settings, name: &str) -> String {
    let names: Vec<&str> = settings.steps.iter().map(|step| step.name.as_str()).collect();
    suggest(name, &names).replace("known keys", "known steps")
}

/// Which runs a step is for.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Choice {
    /// Phases and status words; none: every run that is over.
    pub(crate) on: Vec<String>,
    /// What the run's row must say: all of it.
    pub(crate) conditions: Vec<Condition>,
}

/// When a step goes, among others that could.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Lower goes first.
    pub(crate) priority: i64,
    /// Pause before it is due.
    pub(crate) delay_ms: i64,
    /// Time from the end of the run to when it must be done.
    pub(crate) deadline_ms: Option<i64>,
    /// How many of it run at once, over all executors.
    pub(crate) concurrency: Option<usize>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            priority: StepSpec::PRIORITY,
            delay_ms: 0,
            deadline_ms: None,
            concurrency: None,
        }
    }
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// The built-in bag.
    Archive,
    /// The built-in reports.
    Report,
    /// A program of the user's.
    Command(CommandStep),
}

/// A program of the user's, started without a shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommandStep {
    /// Program and arguments; placeholders are not filled in yet.
    pub(crate) command: Vec<String>,
    /// Variables to set.
    pub(crate) env: BTreeMap<String, String>,
    /// Variables to hand on from the executor's environment.
    pub(crate) pass_env: Vec<String>,
    /// Working directory, absolute.
    pub(crate) cwd: PathBuf,
    /// How long it may run.
    pub(crate) timeout_ms: i64,
    /// How much of its output's end is kept.
    pub(crate) output_bytes: usize,
}

/// The built-in steps, the file's changes to them and its own, each after those that it needs.
pub(super) fn resolve(layers: &Layers<'_>, max_attempts: u32, gathered: &mut Gathered) -> Vec<Step> {
    let built_in = |name: &str, after: &[&str], action: Action| Step {
        name: name.to_owned(),
        after: after.iter().map(|&step| step.to_owned()).collect(),
        max_attempts,
        choice: Choice::default(),
        required: true,
        rules: Rules::default(),
        action,
    };
    let mut steps = vec![
        built_in("archive", &[], Action::Archive),
        built_in("report", &["archive"], Action::Report),
    ];
    let mut places: BTreeMap<String, Option<String>> = BTreeMap::new();
    let file_steps = layers
        .file
        .iter()
        .flat_map(|file| file.steps.iter().map(move |step| (*file, step)));
    for (file, (name, value)) in file_steps {
        let place = file.place(&value.span());
        places.insert(name.clone(), place.clone());
        let base = steps.iter().position(|step| step.name == *name);
        match table::read(
            file,
            name,
            value,
            base.map(|at| &steps[at]),
            layers.root,
            max_attempts,
        ) {
            Ok(step) => {
                let source = Source::File {
                    path: file.path().to_owned(),
                    line: file.line(&value.span()),
                };
                gathered.rows.extend(rows(&step, &source));
                match base {
                    Some(at) => steps[at] = step,
                    None => steps.push(step),
                }
            }
            Err(problem) => {
                gathered.problems.push(problem);
                // The name is taken all the same: others may stand after it.
                if base.is_none() {
                    steps.push(built_in(name, &[], Action::Archive));
                }
            }
        }
    }
    for step in steps.iter().filter(|step| !places.contains_key(&step.name)) {
        gathered.rows.extend(rows(step, &Source::Default));
    }
    order::in_order(steps, &places, &mut gathered.problems)
}

/// For `config show`. Values of variables may be secrets: only their names are shown.
fn rows(step: &Step, source: &Source) -> Vec<Row> {
    let row = |key: &str, value: Value| Row {
        key: format!("steps.{}.{key}", step.name),
        value,
        source: source.clone(),
    };
    let mut rows = vec![
        row("after", json!(step.after)),
        row("on", json!(step.choice.on)),
        row("where", choice::shown(&step.choice.conditions)),
        row("require", json!(step.required)),
        row("max_attempts", json!(step.max_attempts)),
        row("priority", json!(step.rules.priority)),
        row("delay_ms", json!(step.rules.delay_ms)),
        row("deadline_ms", json!(step.rules.deadline_ms)),
        row("concurrency", json!(step.rules.concurrency)),
    ];
    match &step.action {
        Action::Archive | Action::Report => rows.insert(0, row("command", json!("built in"))),
        Action::Command(it) => {
            rows.insert(0, row("command", json!(it.command)));
            rows.push(row("env", json!(it.env.keys().collect::<Vec<_>>())));
            rows.push(row("pass_env", json!(it.pass_env)));
            rows.push(row("cwd", json!(it.cwd.to_string_lossy())));
            rows.push(row("timeout_ms", json!(it.timeout_ms)));
            rows.push(row("output_bytes", json!(it.output_bytes)));
        }
    }
    rows
}

#[cfg(test)]
mod tests;
