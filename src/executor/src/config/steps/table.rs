//! One `[steps.NAME]` table: read, checked by itself, and completed with defaults.

use super::super::error::Problem;
use super::super::file::{File, Located};
use super::super::reading::Reading;
use super::super::shape::{self, Field, Kind};
use super::choice::{self, Where};
use super::{Action, Choice, CommandStep, PLACEHOLDERS, Rules, Step};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// `[steps.NAME]` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    command: Option<Vec<String>>,
    env: Option<BTreeMap<String, String>>,
    pass_env: Option<Vec<String>>,
    cwd: Option<PathBuf>,
    timeout_ms: Option<i64>,
    output_bytes: Option<usize>,
    max_attempts: Option<u32>,
    after: Option<Vec<String>>,
    on: Option<Vec<String>>,
    #[serde(rename = "where")]
    conditions: Option<Where>,
    require: Option<bool>,
    priority: Option<i64>,
    delay_ms: Option<i64>,
    deadline_ms: Option<i64>,
    concurrency: Option<usize>,
}

const FIELDS: &[Field] = &[
    Field::new("command", Kind::Texts, "program and arguments, never a shell; `{run_id}`, `{generation}` and `{step}` are filled in, but not in the program's own name").or("built in for `archive` and `report`; else required"),
    Field::new("env", Kind::TextTable, "variables to set; placeholders are filled in"),
    Field::new("pass_env", Kind::Texts, "variables to hand on from the executor's environment"),
    Field::new("cwd", Kind::Text, "working directory").or("the file's folder"),
    Field::new("timeout_ms", Kind::Integer(1, LONGEST_TIMEOUT_MS), "how long the command may run; then it is ended with everything that it started").or("600000"),
    Field::new("output_bytes", Kind::Integer(0, MOST_OUTPUT_BYTES), "how much of the end of its output is kept").or("65536"),
    Field::new("max_attempts", Kind::Integer(1, 1_000), "how often it may start before it is dead").or("`retry.max_attempts`"),
    Field::new("after", Kind::Texts, "steps that come before this one").or("none; `report`: `archive`"),
    Field::new("on", Kind::Texts, "how a run must have ended: completed, failed, cancelled, or status words of your own").or("every end"),
    Field::new("where", Kind::Conditions, "what the run's row must say, by column: all of it").or("anything"),
    Field::new("require", Kind::Bool, "whether the steps after it wait until it is done").or("true"),
    Field::new("priority", Kind::Integer(-1_000_000, 1_000_000), "lower goes first").or("100"),
    Field::new("delay_ms", Kind::Integer(0, LONGEST_DELAY_MS), "pause before it is due").or("0"),
    Field::new("deadline_ms", Kind::Integer(1, LONGEST_DELAY_MS), "time from the end of the run to when it must be done; later it is dead"),
    Field::new("concurrency", Kind::Integer(1, 10_000), "how many of it run at once, over all executors").or("no limit"),
];

/// The same for the reference.
pub(in crate::config) const SHAPE: shape::Table = shape::Table {
    heading: "[steps.NAME]",
    doc: "What is done when a run has ended; [docs/steps.md](steps.md) says more. `archive` and `report` are built in and take \
          the keys that are not about a command; with a `command` they are replaced.",
    fields: FIELDS,
};

/// Reads and checks one table.
pub(super) fn read(
    file: &File<'_>,
    name: &str,
    value: &Located<'_>,
    base: Option<&Step>,
    root: &Path,
    max_attempts: u32,
) -> Result<Step, Problem> {
    let reading = Reading {
        file,
        shape: &SHAPE,
        page: "docs/steps.md",
        name: format!("steps.{name}"),
        value,
    };
    let problem = |what: String, remedy: &str| Problem::new(file.place(&value.span()), what, remedy);
    if !is_name(name) {
        return Err(problem(
            format!("step name {name:?} can't be used"),
            "use a lower-case letter, then lower-case letters, digits, _ and -",
        ));
    }
    let table: Table = reading.table()?;
    check(name, &table, base).map_err(|(what, remedy)| problem(what, remedy))?;
    let action = match (table.command, base) {
        (Some(command), _) => Action::Command(CommandStep {
            command,
            env: table.env.unwrap_or_default(),
            pass_env: table.pass_env.unwrap_or_default(),
            cwd: table.cwd.map_or_else(|| root.to_owned(), |cwd| root.join(cwd)),
            timeout_ms: table.timeout_ms.unwrap_or(600_000),
            output_bytes: table.output_bytes.unwrap_or(65_536),
        }),
        (None, Some(base)) => base.action.clone(),
        (None, None) => return Err(problem(format!("step {name} has no command"), NO_COMMAND)),
    };
    Ok(Step {
        name: name.to_owned(),
        after: table
            .after
            .unwrap_or_else(|| base.map(|step| step.after.clone()).unwrap_or_default()),
        max_attempts: table.max_attempts.unwrap_or(max_attempts),
        choice: Choice {
            on: table.on.unwrap_or_default(),
            conditions: table.conditions.map(choice::conditions).unwrap_or_default(),
        },
        required: table.require.unwrap_or(true),
        rules: Rules {
            priority: table.priority.unwrap_or(Rules::default().priority),
            delay_ms: table.delay_ms.unwrap_or_default(),
            deadline_ms: table.deadline_ms,
            concurrency: table.concurrency,
        },
        action,
    })
}

/// 31 days.
const LONGEST_DELAY_MS: i64 = 31 * 24 * 60 * 60 * 1000;
/// A week.
const LONGEST_TIMEOUT_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// 16 MiB.
const MOST_OUTPUT_BYTES: i64 = 16 * 1024 * 1024;

const NO_COMMAND: &str = "give it command = [\"program\", \"argument\"]";

/// What is wrong with a step by itself, and the remedy.
fn check(name: &str, table: &Table, base: Option<&Step>) -> Result<(), (String, &'static str)> {
    match &table.command {
        Some(command) => check_command(name, command)?,
        None if base.is_none() => return Err((format!("step {name} has no command"), NO_COMMAND)),
        None => {
            let idle = [
                ("env", table.env.is_some()),
                ("pass_env", table.pass_env.is_some()),
                ("cwd", table.cwd.is_some()),
                ("timeout_ms", table.timeout_ms.is_some()),
                ("output_bytes", table.output_bytes.is_some()),
            ];
            if let Some((key, _)) = idle.iter().find(|&&(_, given)| given) {
                let what = format!("steps.{name}.{key} has no meaning without steps.{name}.command");
                return Err((
                    what,
                    "leave it out, or give a command that replaces the built-in step",
                ));
            }
        }
    }
    if let Some(words) = &table.on {
        choice::check_on(name, words)?;
    }
    if let Some(conditions) = &table.conditions {
        choice::check_where(name, conditions)?;
    }
    for (variable, text) in table.env.iter().flatten() {
        if variable.is_empty() || variable.contains(['=', '\0']) || text.contains('\0') {
            return Err((
                format!("steps.{name}.env: {variable:?} can't be a variable"),
                "rename it",
            ));
        }
        check_placeholders(&format!("steps.{name}.env.{variable}"), text)?;
    }
    let numbers = [
        ("timeout_ms", table.timeout_ms),
        (
            "output_bytes",
            table.output_bytes.and_then(|bytes| bytes.try_into().ok()),
        ),
        ("max_attempts", table.max_attempts.map(i64::from)),
        ("priority", table.priority),
        ("delay_ms", table.delay_ms),
        ("deadline_ms", table.deadline_ms),
        (
            "concurrency",
            table.concurrency.and_then(|count| count.try_into().ok()),
        ),
    ];
    for (key, number) in numbers {
        let limits = SHAPE.limits(key);
        if let Some(number) = number.filter(|number| !limits.contains(number)) {
            let (low, high) = limits.into_inner();
            return Err((
                format!("steps.{name}.{key} is {number}, outside {low} to {high}"),
                "choose one inside",
            ));
        }
    }
    Ok(())
}

fn check_command(name: &str, command: &[String]) -> Result<(), (String, &'static str)> {
    let Some((program, arguments)) = command.split_first().filter(|(program, _)| !program.is_empty()) else {
        return Err((format!("steps.{name}.command is empty"), NO_COMMAND));
    };
    if command.iter().any(|word| word.contains('\0')) {
        return Err((
            format!("steps.{name}.command has a NUL byte in it"),
            "take it out",
        ));
    }
    if program.contains('{') {
        let what = format!("steps.{name}.command: the program {program:?} must not depend on the run");
        return Err((what, "name the program; placeholders belong into arguments"));
    }
    for argument in arguments {
        check_placeholders(&format!("steps.{name}.command"), argument)?;
    }
    let shell = Path::new(program)
        .file_name()
        .and_then(|file| file.to_str())
        .unwrap_or("");
    let script = arguments
        .iter()
        .skip_while(|word| !(word.starts_with('-') && word.ends_with('c')))
        .nth(1);
    if ["sh", "bash", "dash", "zsh", "ksh", "fish"].contains(&shell)
        && script.is_some_and(|script| script.contains("{run_id}"))
    {
        let what = format!("steps.{name}.command: the run id would become shell text, and so a command");
        return Err((
            what,
            "hand it over as an argument: [\"sh\", \"-c\", \"upload \\\"$1\\\"\", \"sh\", \"{run_id}\"]",
        ));
    }
    Ok(())
}

/// `{word}` must be one of ours; `${word}` and everything else in braces is left alone.
fn check_placeholders(key: &str, text: &str) -> Result<(), (String, &'static str)> {
    for (at, _) in text.match_indices('{') {
        let Some((word, _)) = text[at + 1..].split_once('}') else {
            break;
        };
        let ours = !text[..at].ends_with('$')
            && !word.is_empty()
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if ours && !PLACEHOLDERS.contains(&word) {
            return Err((
                format!("{key}: {{{word}}} stands for nothing"),
                "use {run_id}, {generation} or {step}",
            ));
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}
