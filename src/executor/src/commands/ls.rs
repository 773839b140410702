//! `runchain ls`: runs, the newest first.

use super::moment::time;
use super::open;
use super::status::{RUN_COLUMNS, cells};
use crate::cli::{LsArgs, PhaseArg};
use crate::config::Settings;
use crate::door;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::open::OpenMode;
use crate::output::Output;
use runchain_core::look::runs::{PHASES, RunQuery, runs};
use runchain_core::vocabulary::Phase;
use runchain_core::{Mapping, Millis};
use serde_json::json;

pub(super) fn ls(arguments: &LsArgs, settings: &Settings, output: &Output) -> Outcome<Exit> {
    let now = Millis::now();
    let query = RunQuery {
        phases: phases(&arguments.phase),
        since: time("--since", arguments.since.as_deref(), now)?,
        limit: arguments.limit,
    };
    let conn = open(settings, OpenMode::ReadOnly)?;
    Mapping::require(&conn)?;
    let runs = door::patiently(|| runs(&conn, &query))?;
    if output.json {
        output.print_json(&json!({ "runs": runs }))?;
        return Ok(Exit::Ok);
    }
    if runs.is_empty() {
        output.line("no such runs")?;
        return Ok(Exit::Ok);
    }
    output.rows(&RUN_COLUMNS, runs.iter().map(|run| cells(run, now)))?;
    if runs.len() == query.limit as usize {
        output.note(&format!("the newest {}; --limit N shows more", query.limit))?;
    }
    Ok(Exit::Ok)
}

fn phases(asked: &[PhaseArg]) -> Vec<Phase> {
    let meant = |phase: &PhaseArg| match phase {
        PhaseArg::Active => Phase::Active,
        PhaseArg::Completed => Phase::Completed,
        PhaseArg::Failed => Phase::Failed,
        PhaseArg::Cancelled => Phase::Cancelled,
        PhaseArg::Deleted => Phase::Deleted,
    };
    if asked.is_empty() {
        return PHASES.to_vec();
    }
    let asked: Vec<Phase> = asked.iter().map(meant).collect();
    // Each once, however often it is named.
    PHASES.into_iter().filter(|phase| asked.contains(phase)).collect()
}
