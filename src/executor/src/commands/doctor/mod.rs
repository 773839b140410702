//! `runchain doctor`: everything around runchain that can be wrong, each finding with what mends it.
//!
//! Nothing is changed, and nothing keeps it from going on: where the configuration can't be read or the
//! database can't be opened, that is a finding. What it says of folders holds for who runs it: run it as
//! the user of the service.
//!
//! | file | asks |
//! | --- | --- |
//! | `database` | every check of `monitor_checks()`, with lines to type |
//! | `folders` | folders of bags, reports and logs; space |
//! | `versions` | runchain, SQLite, schema, executor; the clock |
//! | `typed` | how a remedy becomes a line to type |

mod database;
mod folders;
mod typed;
mod versions;

use crate::config::{self, ConfigError, Settings};
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::open::{self, OpenMode};
use crate::output::{Output, paint};
use runchain_core::Millis;
use runchain_core::explain::count;
use runchain_core::validate::Severity;
use serde::Serialize;
use serde_json::json;
use typed::in_backticks;

/// Where the text of a finding begins.
const INDENT: usize = 9;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    /// Stable, for tools.
    check: &'static str,
    severity: Severity,
    found: String,
    /// What follows from it; none where all is well.
    meaning: Option<String>,
    /// What to do, in words.
    remedy: Option<String>,
    /// The line to type, where one does it.
    command: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self {
            check,
            severity: Severity::Ok,
            found: found.into(),
            meaning: None,
            remedy: None,
            command: None,
        }
    }

    fn bad(check: &'static str, severity: Severity, found: impl Into<String>, meaning: &str) -> Self {
        Self {
            severity,
            meaning: Some(meaning.to_owned()),
            ..Self::ok(check, found)
        }
    }

    fn remedy(self, remedy: impl Into<String>, command: Option<String>) -> Self {
        Self {
            remedy: Some(remedy.into()),
            command,
            ..self
        }
    }
}

/// With a configuration that holds.
pub(super) fn doctor(settings: &Settings, output: &Output) -> Outcome<Exit> {
    let now = Millis::now();
    let mut findings = vec![configuration(settings)];
    findings.extend(programs(settings));
    findings.push(versions::binary());
    match open::open_state(&settings.state_db_path, OpenMode::ReadOnly) {
        Ok(conn) => {
            findings.extend(database::findings(&conn, settings, now)?);
            findings.extend(versions::findings(&conn, settings, now)?);
        }
        Err(error) => {
            let remedy = error.remedy();
            let command = in_backticks(&remedy);
            findings.push(
                Finding::bad(
                    "database_file",
                    Severity::Error,
                    error.what(),
                    "nothing works without it, and most checks can't be made",
                )
                .remedy(remedy, command),
            );
        }
    }
    findings.extend(folders::findings(settings));
    tell(findings, output)
}

/// With one that doesn't: its faults are the findings.
pub(super) fn without_settings(error: &ConfigError, output: &Output) -> Outcome<Exit> {
    let finding = |problem: &config::Problem| {
        let place = problem
            .place
            .as_ref()
            .map_or_else(String::new, |place| format!("{place}: "));
        Finding::bad(
            "configuration",
            Severity::Error,
            format!("{place}{}", problem.what),
            "no command but this one works, and no executor starts, until it is mended",
        )
        .remedy(problem.remedy.as_str(), in_backticks(&problem.remedy))
    };
    let mut findings: Vec<Finding> = error.problems.iter().map(finding).collect();
    findings.push(versions::binary());
    tell(findings, output)
}

fn configuration(settings: &Settings) -> Finding {
    Finding::ok(
        "configuration",
        match &settings.file {
            Some(file) => format!("{} holds, and nobody else can change it", file.display()),
            None => "no file; every key has its default, or comes from the environment or a flag".to_owned(),
        },
    )
}

/// Programs of steps that aren't there.
fn programs(settings: &Settings) -> Vec<Finding> {
    let finding = |problem: config::Problem| {
        Finding::bad(
            "programs",
            Severity::Error,
            problem.what,
            "the step fails until its attempts are used up",
        )
        .remedy(problem.remedy, None)
    };
    let found: Vec<Finding> = config::programs(settings).into_iter().map(finding).collect();
    if found.is_empty() {
        let own = settings
            .steps
            .iter()
            .filter(|step| !matches!(step.name.as_str(), "archive" | "report"));
        return vec![match own.count() {
            0 => Finding::ok("programs", "no step of your own is configured"),
            _ => Finding::ok("programs", "the program of every step is there"),
        }];
    }
    found
}

fn tell(mut findings: Vec<Finding>, output: &Output) -> Outcome<Exit> {
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let number = |severity| findings.iter().filter(|one| one.severity == severity).count();
    let (errors, warnings) = (number(Severity::Error), number(Severity::Warning));
    if output.json {
        output.print_json(&json!({
            "ok": errors == 0, "errors": errors, "warnings": warnings, "findings": findings,
        }))?;
    } else {
        print(&findings, output)?;
        let as_i64 = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        output.line(&format!(
            "{}, {}, {} passed",
            count(as_i64(errors), "error"),
            count(as_i64(warnings), "warning"),
            count(as_i64(number(Severity::Ok)), "check"),
        ))?;
    }
    Ok(if errors == 0 { Exit::Ok } else { Exit::Unhealthy })
}

fn print(findings: &[Finding], output: &Output) -> std::io::Result<()> {
    for finding in findings {
        let (word, style) = match finding.severity {
            Severity::Ok => ("ok", paint::GOOD),
            Severity::Warning => ("warning", paint::WARN),
            Severity::Error => ("ERROR", paint::BAD),
        };
        output.labelled(
            word,
            style,
            INDENT,
            &format!("{}: {}", finding.check, finding.found),
        )?;
        if let Some(meaning) = &finding.meaning {
            output.labelled("", style, INDENT, meaning)?;
        }
        match (&finding.command, &finding.remedy) {
            (Some(command), remedy) => {
                // What the line alone doesn't say; SQL is for who has only that.
                let in_words =
                    |remedy: &&String| !command.contains(remedy.as_str()) && !typed::is_sql(remedy);
                if let Some(remedy) = remedy.as_ref().filter(in_words) {
                    output.labelled("", style, INDENT, &format!("mend it: {remedy}"))?;
                }
                output.line(&format!("{:INDENT$}$ {command}", ""))?;
            }
            (None, Some(remedy)) => output.labelled("", style, INDENT, &format!("mend it: {remedy}"))?,
            (None, None) => {}
        }
    }
    output.line("")
}
