//! `runchain status`: what runs, what waits, what failed, and what to do next, on one screen.

use super::open;
use super::suggest;
use crate::config::Settings;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::open::OpenMode;
use crate::output::{self, Cell, Column, Output, paint};
use runchain_core::alert::delivery::{self, Standing};
use runchain_core::explain::count;
use runchain_core::look::problems::{Problem, ProblemKind, problems};
use runchain_core::look::runs::{PHASES, RunLine, RunQuery, StepLine, runs};
use runchain_core::steps::EVERY_KIND;
use runchain_core::{Mapping, Millis, Result, RunId, held, schema, validate};
use rusqlite::Connection;
use serde::Serialize;
use serde_json::{Value, json};

/// Runs that are listed where there is room, newest first.
const RUNS: u32 = 20;
/// Problems of each kind that are looked for.
const PROBLEMS: u32 = 10;
/// On a terminal: at least so many runs, and at most so many problems and remedies.
const LEAST_RUNS: usize = 3;
const MOST_PROBLEMS: usize = 5;
const MOST_NEXT: usize = 3;
/// Where what a label says begins.
const LABEL: usize = 10;

pub(super) fn status(settings: &Settings, output: &Output) -> Outcome<Exit> {
    let conn = open(settings, OpenMode::ReadOnly)?;
    Mapping::require(&conn)?;
    let now = Millis::now();
    let screen = Screen::read(&conn, settings, now)?;
    if output.json {
        output.print_json(&screen.to_json())?;
    } else {
        screen.print(settings, output, now)?;
    }
    Ok(Exit::Ok)
}

struct Screen {
    counts: Value,
    runs: Vec<RunLine>,
    problems: Vec<Shown>,
    next: Vec<Next>,
    channels: Vec<Standing>,
}

/// A problem, with what mends it.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    problem: Problem,
    remedy: Option<String>,
}

/// What to do next, the most urgent first.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Next {
    command: String,
    why: String,
}

impl Screen {
    fn read(conn: &Connection, settings: &Settings, now: Millis) -> Result<Self> {
        let query = RunQuery {
            phases: PHASES.to_vec(),
            since: None,
            limit: RUNS,
        };
        let counts = validate::status(conn, now)?;
        let problems = problems(conn, PROBLEMS)?;
        let next = next(conn, &counts, &problems, settings)?;
        Ok(Self {
            runs: runs(conn, &query)?,
            problems: problems
                .into_iter()
                .map(|problem| Shown {
                    remedy: remedy(&problem, settings),
                    problem,
                })
                .collect(),
            counts,
            next,
            channels: delivery::standing(conn)?,
        })
    }

    fn to_json(&self) -> Value {
        let mut object = self.counts.clone();
        if let Some(fields) = object.as_object_mut() {
            fields.insert("newest_runs".to_owned(), json!(self.runs));
            fields.insert("problems".to_owned(), json!(self.problems));
            fields.insert("next".to_owned(), json!(self.next));
            fields.insert("channels".to_owned(), json!(self.channels));
        }
        object
    }

    fn print(&self, settings: &Settings, output: &Output, now: Millis) -> std::io::Result<()> {
        let mut summary = summary(&self.counts, settings);
        summary.extend(
            self.channels
                .iter()
                .map(|channel| ("channel", told_of(channel, settings))),
        );
        let mut runs: Vec<Vec<Cell>> = self.runs.iter().map(|run| cells(run, now)).collect();
        let mut problems: Vec<Vec<Cell>> = self
            .problems
            .iter()
            .take(MOST_PROBLEMS)
            .map(|shown| shown.cells(&self.counts, now))
            .collect();
        let next: Vec<String> = self
            .next
            .iter()
            .take(MOST_NEXT)
            .map(|next| format!("{}  ({})", next.command, next.why))
            .collect();
        if let Some(lines) = output::lines_of_terminal() {
            let said = summary.iter().map(|(_, text)| text).chain(&next);
            let taken: usize = said.map(|text| output.height_of_paragraph(LABEL, text)).sum();
            // A blank line before each part, the prompt, and perhaps a note.
            fit(output, &mut runs, &mut problems, lines.saturating_sub(taken + 5));
        }
        for (label, text) in &summary {
            output.paragraph(label, LABEL, text)?;
        }
        if !runs.is_empty() {
            output.line("")?;
            output.rows(&COLUMNS, runs)?;
        }
        let told = problems.len();
        if told > 0 {
            output.line("")?;
            output.rows(&PROBLEM_COLUMNS, problems)?;
        }
        if !next.is_empty() {
            output.line("")?;
        }
        for (nth, text) in next.iter().enumerate() {
            output.paragraph(if nth == 0 { "next" } else { "" }, LABEL, text)?;
        }
        let untold = self.problems.len() - told;
        if untold > 0 {
            let all = suggest::command(settings, &["status", "--json"], None);
            output.note(&format!("{untold} more like that: {all}"))?;
        }
        Ok(())
    }
}

/// Leaves out the oldest runs, then the last problems, until both fit.
fn fit(output: &Output, runs: &mut Vec<Vec<Cell>>, problems: &mut Vec<Vec<Cell>>, lines: usize) {
    loop {
        let of_problems = match problems.len() {
            0 => 0,
            _ => output.height_of_rows(&PROBLEM_COLUMNS, problems),
        };
        if output.height_of_rows(&COLUMNS, runs) + of_problems <= lines {
            return;
        }
        if runs.len() > LEAST_RUNS {
            runs.pop();
        } else if problems.len() > 1 {
            problems.pop();
        } else {
            return;
        }
    }
}

const COLUMNS: [Column; 5] = [
    Column::word("RUN"),
    Column::word("STATUS"),
    Column::word("SINCE"),
    Column::word("GEN"),
    Column::text("CHAIN"),
];

const PROBLEM_COLUMNS: [Column; 4] = [
    Column::word("PROBLEM"),
    Column::word("OF"),
    Column::word("SINCE"),
    Column::text("WHAT"),
];

/// The same for `runchain ls`.
pub(super) const RUN_COLUMNS: [Column; 5] = COLUMNS;

/// A run as a row of [`RUN_COLUMNS`].
pub(super) fn cells(run: &RunLine, now: Millis) -> Vec<Cell> {
    let status = run.status.clone().unwrap_or_else(|| "-".to_owned());
    let phase = run.phase.as_str();
    let told = if status.eq_ignore_ascii_case(phase) || status == "-" && phase == "active" {
        status
    } else {
        format!("{status} ({phase})")
    };
    let mut chain = chain(&run.steps);
    if let Some(since) = run.stalled_since {
        chain = format!("stalled for {}", output::age(now.since(since)));
    }
    vec![
        run.run_id.to_string().into(),
        Cell::styled(told, paint::phase(phase)),
        format!("{} ago", output::age(now.since(run.since))).into(),
        run.generation.to_string().into(),
        Cell::styled(chain, paint::chain(run)),
    ]
}

/// `archive done, upload dead (5 of 5)`, or `done` where all are.
fn chain(steps: &[StepLine]) -> String {
    if steps.is_empty() {
        return "-".to_owned();
    }
    if steps.iter().all(|step| step.state == "done") {
        let names: Vec<&str> = steps.iter().map(|step| step.step.as_str()).collect();
        return format!("done: {}", names.join(", "));
    }
    let told = steps.iter().map(|step| {
        let tried = step.attempts > 1 || step.state == "dead";
        let attempts = if tried && step.state != "done" {
            format!(" ({} of {})", step.attempts, step.max_attempts)
        } else {
            String::new()
        };
        format!("{} {}{attempts}", step.step, step.state)
    });
    told.collect::<Vec<_>>().join(", ")
}

impl Shown {
    fn cells(&self, counts: &Value, now: Millis) -> Vec<Cell> {
        let problem = &self.problem;
        let pauses = || counts["paused"].as_array().into_iter().flatten();
        let is_paused =
            pauses().any(|pause| kind(pause).is_none_or(|step| Some(step) == problem.subject.as_deref()));
        let (kind, style) = match problem.kind {
            ProblemKind::DeadStep => ("dead step", paint::BAD),
            ProblemKind::StalledRun => ("stalled run", paint::BAD),
            ProblemKind::Alert => ("alert", paint::BAD),
            ProblemKind::FailingStep => ("failing step", paint::WARN),
        };
        let run = problem.run_id.as_ref().map(ToString::to_string);
        // What an alert is about often is the run itself.
        let subject = problem
            .subject
            .clone()
            .filter(|subject| Some(subject) != run.as_ref());
        let of: Vec<String> = run.into_iter().chain(subject).collect();
        let again = problem.again_at.map(|at| {
            if is_paused {
                "tried again when it is resumed".to_owned()
            } else if at <= now {
                "tried again now".to_owned()
            } else {
                format!("tried again in {}", output::age(at.since(now)))
            }
        });
        let message = problem.message.clone();
        let what: Vec<String> = message.into_iter().chain(again).collect();
        vec![
            Cell::styled(kind, style),
            of.join(" ").into(),
            format!("{} ago", output::age(now.since(problem.at))).into(),
            what.join("; ").into(),
        ]
    }
}

/// What mends a problem, where a command does.
fn remedy(problem: &Problem, settings: &Settings) -> Option<String> {
    let of_run = |word: &str| {
        Some(suggest::command(
            settings,
            &[word],
            Some(problem.run_id.as_ref()?),
        ))
    };
    match problem.kind {
        ProblemKind::DeadStep => of_run("retry"),
        ProblemKind::StalledRun => of_run("explain"),
        ProblemKind::FailingStep => None,
        ProblemKind::Alert => match problem.rule.as_deref() {
            Some("triggers_lost") => Some(suggest::command(settings, &["install", "--repair"], None)),
            _ => of_run("explain").or_else(|| Some(suggest::command(settings, &["alerts"], None))),
        },
    }
}

/// `ops: 3 alerts wait to be sent, 2 are given up: HTTP 404; try again: runchain alerts retry ops`
fn told_of(channel: &Standing, settings: &Settings) -> String {
    let error = channel
        .error
        .as_ref()
        .map_or_else(String::new, |error| format!(": {error}"));
    let name = &channel.channel;
    let remedy = if channel.dead > 0 {
        let command = suggest::command(settings, &["alerts", "retry", name], None);
        format!("; try again: {command}")
    } else {
        String::new()
    };
    format!(
        "{name}: {} alerts wait to be sent, {} are given up{error}{remedy}",
        channel.pending, channel.dead
    )
}

fn summary(counts: &Value, settings: &Settings) -> Vec<(&'static str, String)> {
    let number = |pointer: &str| counts.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let executor = match counts.pointer("/executor/alive").and_then(Value::as_bool) {
        Some(true) => {
            let who = counts.pointer("/executor/who").and_then(Value::as_str);
            let who = who.and_then(|who| who.split_once(", ")).map(|(_, who)| who);
            who.map_or_else(|| "alive".to_owned(), |who| format!("alive ({who})"))
        }
        Some(false) => format!(
            "NONE is alive; start one: {}",
            suggest::command(settings, &["drain"], None)
        ),
        None => "it can't be told whether one is alive".to_owned(),
    };
    let oldest = counts.get("oldest_ready_age_ms").and_then(Value::as_i64);
    let oldest = oldest.map_or_else(String::new, |age_ms| {
        format!(" (the oldest for {})", output::duration(age_ms))
    });
    let stalled = match number("/runs/stalled") {
        0 => String::new(),
        number => format!(" ({number} stalled)"),
    };
    let mut lines = vec![
        ("executor", executor),
        (
            "runs",
            format!(
                "{} active{stalled}, {} not looked at yet",
                number("/runs/active"),
                count(number("/queue_rows"), "write")
            ),
        ),
        (
            "steps",
            format!(
                "{} ready{oldest}, {} running, {} waiting, {} dead",
                number("/steps/ready"),
                number("/steps/running") + number("/steps/leased"),
                number("/steps/waiting"),
                number("/steps/dead"),
            ),
        ),
        ("alerts", format!("{} firing", number("/alerts_firing"))),
    ];
    if let Some(found) = counts.pointer("/triggers/found").and_then(Value::as_str) {
        let mend = suggest::command(settings, &["install", "--repair"], None);
        lines.push(("triggers", format!("LOST: {found}; put them back: {mend}")));
    }
    let paused = counts.get("paused").and_then(Value::as_array);
    lines.extend(
        paused
            .into_iter()
            .flatten()
            .map(|pause| ("paused", paused_text(pause, settings))),
    );
    lines
}

/// `archive, 2 h ago by ann: disk full; resume it: runchain resume archive`
fn paused_text(pause: &Value, settings: &Settings) -> String {
    let text = |key: &str| pause.get(key).and_then(Value::as_str);
    let age_ms = pause.get("age_ms").and_then(Value::as_i64).unwrap_or(0);
    let what = kind(pause).unwrap_or("every kind of steps");
    let actor = text("actor").unwrap_or("an unknown actor");
    let why = text("reason").map_or_else(String::new, |why| format!(": {why}"));
    format!(
        "{what}, {} ago by {actor}{why}; resume it: {}",
        output::age(age_ms),
        resume(pause, settings)
    )
}

/// The kind of steps that a pause is about; none when it is about all.
fn kind(pause: &Value) -> Option<&str> {
    let step = pause.get("step").and_then(Value::as_str);
    step.filter(|step| *step != EVERY_KIND)
}

fn resume(pause: &Value, settings: &Settings) -> String {
    let words: Vec<&str> = std::iter::once("resume").chain(kind(pause)).collect();
    suggest::command(settings, &words, None)
}

/// What to do, the most urgent first.
fn next(conn: &Connection, counts: &Value, problems: &[Problem], settings: &Settings) -> Result<Vec<Next>> {
    let mut next = Vec::new();
    let mut add = |words: &[&str], run_id: Option<&RunId>, why: &str| {
        let command = suggest::command(settings, words, run_id);
        let why = why.to_owned();
        next.push(Next { command, why });
    };
    if counts.pointer("/triggers/in_place") == Some(&Value::Bool(false)) {
        add(&["install", "--repair"], None, "writes are missed");
    }
    if counts.pointer("/executor/alive") == Some(&Value::Bool(false)) {
        add(&["drain"], None, "nobody does the work");
    }
    for pause in counts["paused"].as_array().into_iter().flatten() {
        let words: Vec<&str> = std::iter::once("resume").chain(kind(pause)).collect();
        add(&words, None, "it is paused");
    }
    if schema::table_exists(conn, "runchain_held_batches")?
        && held::batches(conn, 1)?
            .iter()
            .any(|batch| batch.state.as_str() == "held")
    {
        add(
            &["held"],
            None,
            "chains of runs that ended in a rush wait for you",
        );
    }
    let mut seen: Vec<&RunId> = Vec::new();
    let of_kind = |wanted| problems.iter().filter(move |problem| problem.kind == wanted);
    for problem in of_kind(ProblemKind::DeadStep) {
        let Some(run_id) = problem.run_id.as_ref().filter(|run_id| !seen.contains(run_id)) else {
            continue;
        };
        if seen.is_empty() {
            add(&["explain"], Some(run_id), "why it is dead");
        }
        add(&["retry"], Some(run_id), "when its cause is mended");
        seen.push(run_id);
    }
    for problem in of_kind(ProblemKind::StalledRun) {
        add(&["explain"], problem.run_id.as_ref(), "it doesn't move");
    }
    if of_kind(ProblemKind::Alert).next().is_some() {
        add(&["alerts"], None, "they are firing");
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: &str, state: &str, attempts: i64) -> StepLine {
        StepLine {
            step: step.to_owned(),
            state: state.to_owned(),
            attempts,
            max_attempts: 5,
        }
    }

    #[test]
    fn a_chain_tells_each_of_its_steps_unless_all_are_done() {
        let steps = [step("archive", "done", 1), step("upload", "done", 3)];
        assert_eq!(chain(&steps), "done: archive, upload");
        let steps = [
            step("archive", "done", 2),
            step("upload", "dead", 5),
            step("ticket", "waiting", 0),
            step("mail", "ready", 2),
        ];
        assert_eq!(
            chain(&steps),
            "archive done, upload dead (5 of 5), ticket waiting, mail ready (2 of 5)"
        );
        assert_eq!(chain(&[]), "-");
    }
}
