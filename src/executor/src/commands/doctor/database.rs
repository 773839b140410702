//! Every check of `monitor_checks()`, with lines to type: the checks themselves speak SQL to people who
//! have only that.

use super::Finding;
use super::typed::{runchain, sql};
use crate::commands::required;
use crate::commands::suggest;
use crate::commands::validate::ask_the_logs;
use crate::config::Settings;
use crate::failure::Outcome;
use runchain_core::look::problems::{ProblemKind, problems};
use runchain_core::steps::EVERY_KIND;
use runchain_core::validate::{self, Severity, ValidateOptions};
use runchain_core::{Millis, Result, RunId, schema};
use rusqlite::Connection;

/// Runs whose dead steps are named.
const DEAD: u32 = 5;

pub(super) fn findings(conn: &Connection, settings: &Settings, now: Millis) -> Outcome<Vec<Finding>> {
    let options = ValidateOptions {
        required_tables: required(conn, settings)?,
        look_at_files: true,
    };
    let mut found = validate::checks(conn, &options, now)?;
    ask_the_logs(&mut found, conn, settings);
    let mut findings = Vec::new();
    for one in found {
        let is_ok = one.severity == Severity::Ok;
        let command = if is_ok {
            None
        } else {
            command(conn, &one, settings, now)?
        };
        findings.push(Finding {
            check: one.check,
            severity: one.severity,
            found: one.found,
            meaning: (!is_ok).then_some(one.meaning),
            remedy: one.remedy.filter(|_| !is_ok),
            command,
        });
    }
    Ok(findings)
}

fn command(
    conn: &Connection,
    finding: &validate::Finding,
    settings: &Settings,
    now: Millis,
) -> Result<Option<String>> {
    let remedy = finding.remedy.as_deref().unwrap_or_default();
    Ok(match finding.check {
        "installed" => runchain(&["install"], settings),
        "schema_version" if remedy.contains("runchain install") => runchain(&["install"], settings),
        "triggers" | "own_objects" => runchain(&["install", "--repair"], settings),
        "executor" => runchain(&["drain"], settings),
        "queue" | "ready_steps" if is_dead(conn, now)? => runchain(&["drain", "--until-idle"], settings),
        "pauses" => Some(resume(conn, settings, now)?),
        "dead_steps" => retry(conn, settings)?,
        "stalled_runs" => runchain(&["status"], settings),
        "alerts" => runchain(&["alerts"], settings),
        "journal_mode" => sql("PRAGMA journal_mode=WAL;", settings),
        "sidecar_files" => remedy.split("; then").next().map(str::to_owned),
        "identity" | "host_sqlite" | "file_system" | "required_tables" => None,
        _ => sql(remedy, settings),
    })
}

fn is_dead(conn: &Connection, now: Millis) -> Result<bool> {
    Ok(validate::status(conn, now)?.pointer("/executor/alive") == Some(&false.into()))
}

fn resume(conn: &Connection, settings: &Settings, now: Millis) -> Result<String> {
    let status = validate::status(conn, now)?;
    let lines: Vec<String> = status["paused"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|pause| pause["step"].as_str())
        .map(|step| {
            let words: Vec<&str> = std::iter::once("resume")
                .chain((step != EVERY_KIND).then_some(step))
                .collect();
            suggest::command(settings, &words, None)
        })
        .collect();
    Ok(lines.join(" && "))
}

/// Of the newest runs with dead steps.
fn retry(conn: &Connection, settings: &Settings) -> Result<Option<String>> {
    if !schema::table_exists(conn, "runchain_steps")? {
        return Ok(None);
    }
    let mut runs: Vec<RunId> = Vec::new();
    for problem in problems(conn, DEAD)? {
        if let (ProblemKind::DeadStep, Some(run_id)) = (problem.kind, problem.run_id)
            && !runs.contains(&run_id)
        {
            runs.push(run_id);
        }
    }
    let lines: Vec<String> = runs
        .iter()
        .map(|run_id| suggest::command(settings, &["retry"], Some(run_id)))
        .collect();
    Ok((!lines.is_empty()).then(|| lines.join(" && ")))
}
