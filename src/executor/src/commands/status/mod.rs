//! `runchain status`: what runs, what waits, what failed, and what to do next, on one screen.

mod next;
mod summary;

use super::open;
use super::suggest;
use crate::config::Settings;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::open::OpenMode;
use crate::output::{self, Cell, Column, Output, paint};
use next::{Next, next, remedy};
use runchain_core::alert::delivery::{self, Standing};
use runchain_core::look::problems::{Problem, ProblemKind, problems};
use runchain_core::look::runs::{PHASES, RunLine, RunQuery, StepLine, runs};
use runchain_core::steps::EVERY_KIND;
use runchain_core::{Mapping, Millis, Result, validate};
use rusqlite::Connection;
use serde::Serialize;
use serde_json::{Value, json};
use summary::{summary, told_of};

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
        let is_paused = pauses()
            .any(|pause| paused_kind(pause).is_none_or(|step| Some(step) == problem.subject.as_deref()));
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
        let stands_still = problem.kind == ProblemKind::StalledRun;
        let message = problem
            .message
            .clone()
            .or_else(|| stands_still.then(|| "nothing of it has changed since then".to_owned()));
        let what: Vec<String> = message.into_iter().chain(again).collect();
        vec![
            Cell::styled(kind, style),
            of.join(" ").into(),
            format!("{} ago", output::age(now.since(problem.at))).into(),
            what.join("; ").into(),
        ]
    }
}

/// The kind of steps that a pause is about; none when it is about all.
fn paused_kind(pause: &Value) -> Option<&str> {
    let step = pause.get("step").and_then(Value::as_str);
    step.filter(|step| *step != EVERY_KIND)
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
