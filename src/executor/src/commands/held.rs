//! `runchain held`: what storms left waiting, and what becomes of it.

use super::moment::utc;
use super::open;
use crate::actor::actor;
use crate::cli::{HeldArgs, HeldCommand};
use crate::config::Settings;
use crate::door;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::open::OpenMode;
use crate::output::{Cell, Column, Output};
use runchain_core::held::{self, Batch, BatchId, Decision, StatusCount};
use runchain_core::{Mapping, Result};
use rusqlite::Connection;
use serde::Serialize;
use serde_json::json;

/// Batches that are listed, the newest first.
const SHOWN: usize = 50;

pub(super) fn held(arguments: &HeldArgs, settings: &Settings, output: &Output) -> Outcome<Exit> {
    match &arguments.command {
        None => list(settings, output),
        Some(HeldCommand::Release {
            batch,
            per_minute,
            reason,
        }) => {
            let decision = Decision::Release {
                per_minute: *per_minute,
            };
            decide(BatchId(*batch), decision, reason.as_deref(), settings, output)
        }
        Some(HeldCommand::Discard { batch, reason }) => decide(
            BatchId(*batch),
            Decision::Discard,
            reason.as_deref(),
            settings,
            output,
        ),
    }
}

fn decide(
    batch: BatchId,
    decision: Decision,
    reason: Option<&str>,
    settings: &Settings,
    output: &Output,
) -> Outcome<Exit> {
    let conn = open(settings, OpenMode::ReadWrite)?;
    let found = door::patiently(|| held::ask(&conn, batch, decision, &actor().to_string(), reason))?;
    if output.json {
        output.print_json(&json!({
            "batch": batch, "action": decision.action(), "runs": found.left(), "answer": "queued", "queued": true,
        }))?;
        return Ok(Exit::Ok);
    }
    let what = match decision {
        Decision::Release { .. } => "the chains begin in order",
        Decision::Discard => "the runs stay recorded as over, without chains",
    };
    output.line(&format!(
        "queued for {} runs of batch {batch}: {what}",
        found.left()
    ))?;
    Ok(Exit::Ok)
}

/// A batch, as it is printed.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    batch: Batch,
    left: i64,
    statuses: Vec<StatusCount>,
    next: String,
}

const COLUMNS: [Column; 9] = [
    Column::number("BATCH"),
    Column::word("STATE"),
    Column::number("LEFT"),
    Column::number("OF"),
    Column::text("STATUSES"),
    Column::text("FIRST RUN"),
    Column::text("LAST RUN"),
    Column::text("CAPTURED"),
    Column::text("NEXT"),
];

fn list(settings: &Settings, output: &Output) -> Outcome<Exit> {
    let conn = open(settings, OpenMode::ReadOnly)?;
    Mapping::require(&conn)?;
    let shown = held::batches(&conn, SHOWN)?
        .into_iter()
        .map(|batch| show(&conn, batch, settings))
        .collect::<Result<Vec<_>>>()?;
    if output.json {
        output.print_json(&shown)?;
        return Ok(Exit::Ok);
    }
    if shown.is_empty() {
        output.line("nothing is held, nor ever was")?;
        return Ok(Exit::Ok);
    }
    output.rows(
        &COLUMNS,
        shown.iter().map(|one| one.cells().map(Cell::from).to_vec()),
    )?;
    Ok(Exit::Ok)
}

fn show(conn: &Connection, batch: Batch, settings: &Settings) -> Result<Shown> {
    let (left, id) = (batch.left(), batch.id);
    let chain: Vec<&str> = settings.steps.iter().map(|step| step.name.as_str()).collect();
    let chain = chain.join(", ");
    let next = match batch.state.as_str() {
        "held" => format!(
            "runchain held release {id} begins {left} chains ({chain}), at most {} steps under way; \
             runchain held discard {id} begins none",
            settings.storm_release_ahead
        ),
        "releasing" => match batch.per_minute {
            Some(per_minute) => format!("{left} chains to begin, {per_minute} a minute"),
            None => format!("{left} chains to begin as others are done"),
        },
        "discarding" => format!("{left} to discard"),
        _ => "-".to_owned(),
    };
    Ok(Shown {
        statuses: held::statuses(conn, id)?,
        left,
        next,
        batch,
    })
}

impl Shown {
    fn cells(&self) -> [String; 9] {
        let statuses: Vec<String> = self
            .statuses
            .iter()
            .map(|one| format!("{} {}", one.runs, one.status.as_deref().unwrap_or("NULL")))
            .collect();
        [
            self.batch.id.to_string(),
            self.batch.state.clone(),
            self.left.to_string(),
            self.batch.held.to_string(),
            if statuses.is_empty() {
                "-".to_owned()
            } else {
                statuses.join(", ")
            },
            self.batch.first_run_id.to_string(),
            self.batch.last_run_id.to_string(),
            format!("{} to {} UTC", utc(self.batch.first_at), utc(self.batch.last_at)),
            self.next.clone(),
        ]
    }
}
