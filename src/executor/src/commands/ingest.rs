//! `runchain ingest PATH...`: event logs into the database, each event once.

use super::open;
use crate::actor;
use crate::cli::IngestArgs;
use crate::config::Settings;
use crate::door;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::open::OpenMode;
use crate::output::Output;
use runchain_core::audit::{self, Action};
use runchain_core::ingest::{self, IngestOptions, IngestReport};
use runchain_core::{Millis, Result, space};
use rusqlite::Connection;
use serde_json::{Value, json};

pub(super) fn ingest(arguments: &IngestArgs, settings: &Settings, output: &Output) -> Outcome<Exit> {
    let mut conn = open(settings, OpenMode::ReadWrite)?;
    space::refuse_while_low(&conn)?;
    let format = arguments
        .preset
        .as_deref()
        .map(|name| settings.format_named(name));
    let format = format.transpose()?;
    let mut reports = Vec::new();
    let mut failed = 0_usize;
    for path in &arguments.paths {
        let configured = settings.ingest_options(path);
        let options = IngestOptions {
            finalise: arguments.finalise,
            format: format.clone().or_else(|| configured.format.clone()),
            ..configured
        };
        match door::patiently(|| ingest::ingest_path(&conn, path, Millis::now(), &options)) {
            Ok(report) => {
                remember(&mut conn, &report, arguments)?;
                reports.push(report);
            }
            Err(error) => {
                failed += 1;
                output.error(&error, Exit::Failed.code())?;
            }
        }
    }
    if output.json {
        output.print_json(&reports)?;
    } else {
        let rows = reports.iter().map(|report| {
            let counts = [report.stored, report.duplicate, report.rejected, report.pending];
            let names = [report.path.clone(), report.format.clone().unwrap_or_default()];
            names.into_iter().chain(counts.map(|count| count.to_string()))
        });
        output.table(
            &[
                "FILE",
                "FORMAT",
                "STORED",
                "DUPLICATE",
                "REJECTED",
                "PENDING BYTES",
            ],
            rows,
        )?;
        for report in reports.iter().filter(|report| report.unread_times > 0) {
            output.note(&format!(
                "{}: the times of {} events can't be read; they are kept as text",
                report.path, report.unread_times
            ))?;
        }
    }
    Ok(if failed == 0 { Exit::Ok } else { Exit::Failed })
}

/// What was taken in stands in the audit trail; a look that found nothing doesn't.
fn remember(conn: &mut Connection, report: &IngestReport, arguments: &IngestArgs) -> Result<()> {
    if report.bytes == 0 {
        return Ok(());
    }
    let action = Action {
        name: "ingest",
        run_id: None,
        by: &actor::by(arguments.why.reason.as_deref()),
        before: Value::Null,
        after: json!({
            "path": report.path, "stored": report.stored, "duplicate": report.duplicate, "rejected": report.rejected,
        }),
    };
    door::write(conn, |conn| audit::record(conn, &action, Millis::now())).map(|_| ())
}
