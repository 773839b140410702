//! `runchain ingest PATH...`: event logs into the database, each event once; `--follow` goes on with what
//! is appended.
//!
//! A large file goes in slices, so that a person sees how far it is and a disk that fills up is noticed.

mod bar;
mod follow;

use super::open;
use crate::actor;
use crate::cli::IngestArgs;
use crate::config::Settings;
use crate::door;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::follow::{self as followed, NamedFile, Places};
use crate::open::OpenMode;
use crate::output::Output;
use bar::Bar;
use runchain_core::alert::rulebook;
use runchain_core::audit::{self, Action};
use runchain_core::ingest::{self, Identity, IngestOptions, IngestReport};
use runchain_core::{Error, Millis, Result, space};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is read between two looks at the clock and the disk.
const SLICE_BYTES: u64 = 8 << 20;

pub(super) fn ingest(arguments: &IngestArgs, settings: &Arc<Settings>, output: &Output) -> Outcome<Exit> {
    let conn = open(settings, OpenMode::ReadWrite)?;
    space::refuse_while_low(&conn)?;
    adopt_rules(&conn, settings)?;
    let format = arguments
        .preset
        .as_deref()
        .map(|name| settings.format_named(name));
    let format = format.transpose()?;
    if arguments.follow {
        return follow::follow(arguments, settings, format, &conn, output);
    }
    let options = |file: &Path| {
        let configured = settings.ingest_options(file);
        IngestOptions {
            finalise: arguments.finalise,
            at_most_bytes: SLICE_BYTES,
            format: format.clone().or_else(|| configured.format.clone()),
            ..configured
        }
    };
    let mut reports = Vec::new();
    let mut failed = 0_usize;
    for path in &arguments.paths {
        let (files, refused) = files(path, settings)?;
        let done = files.iter().map(|file| {
            let report = whole(&conn, file, &options(file), &mut Bar::of(file, output))?;
            remember(&conn, &report, arguments.why.reason.as_deref())?;
            Ok(report)
        });
        for outcome in refused.into_iter().map(Err).chain(done) {
            match outcome {
                Ok(report) => reports.push(report),
                Err(error) => {
                    failed += 1;
                    output.error(&error, Exit::Failed.code())?;
                }
            }
        }
    }
    if output.json {
        output.print_json(&reports)?;
    } else {
        let rows = reports.iter().map(|report| {
            let counts = [report.stored, report.duplicate, report.rejected, report.pending];
            let names = [
                report.path.clone(),
                recognised(report.identity).to_owned(),
                report.format.clone().unwrap_or_default(),
            ];
            names.into_iter().chain(counts.map(|count| count.to_string()))
        });
        output.table(
            &[
                "FILE",
                "WAS",
                "FORMAT",
                "STORED",
                "DUPLICATE",
                "REJECTED",
                "PENDING BYTES",
            ],
            rows,
        )?;
        for sentence in reports.iter().filter_map(followed::rejected) {
            output.note(&sentence)?;
        }
        for report in reports.iter().filter(|report| report.unread_times > 0) {
            output.note(&format!(
                "{}: the times of {} events can't be read; they are kept as text",
                report.path, report.unread_times
            ))?;
        }
    }
    Ok(if failed == 0 { Exit::Ok } else { Exit::Failed })
}

/// The files that a path means, and what of it can't be read.
fn files(path: &Path, settings: &Settings) -> Result<(Vec<PathBuf>, Vec<Error>)> {
    let places = Places::named(&[path.to_owned()], settings)?;
    // A single file is the core's to refuse.
    if !places.has_glob() && !path.is_dir() {
        return Ok((vec![path.to_owned()], Vec::new()));
    }
    let scan = places.scan();
    let refused = scan
        .refused
        .into_iter()
        .map(|(path, why)| Error::refused(format!("{} is left out", path.display()), why));
    let mut refused: Vec<Error> = refused.collect();
    if scan.files.is_empty() && refused.is_empty() {
        let path_is = match path.is_dir() {
            true => format!(
                "{} is a folder, no event log, and no *.jsonl stands below it",
                path.display()
            ),
            false => format!("there is no event log {}", path.display()),
        };
        refused.push(Error::refused(
            path_is,
            "name a file, a folder with *.jsonl below it, or a glob that matches some",
        ));
    }
    Ok((scan.files.into_keys().collect(), refused))
}

/// Reads a file to the end that it has now, slice by slice; the same file also when it is rotated or
/// deleted meanwhile.
fn whole(conn: &Connection, path: &Path, options: &IngestOptions, bar: &mut Bar) -> Result<IngestReport> {
    let real = path.canonicalize().ok();
    // What can't be named is the core's to refuse.
    let named = real.and_then(|real| NamedFile::below(&[], &real).ok());
    let (path, options) = match &named {
        Some(named) if named.is_plain() => {
            let recorded_as = Some(named.path().to_owned());
            let options = IngestOptions {
                recorded_as,
                ..options.clone()
            };
            (named.reopened(), options)
        }
        _ => (path.to_owned(), options.clone()),
    };
    let slice = || door::patiently(|| ingest::ingest_path(conn, &path, Millis::now(), &options));
    let mut sum = slice()?;
    let total_bytes = sum.bytes + sum.left;
    while sum.left > 0 && sum.bytes < total_bytes {
        bar.show(sum.bytes, total_bytes);
        space::refuse_while_low(conn)?;
        sum = sum.then(slice()?);
    }
    Ok(sum)
}

/// Events are judged by the rules of the configuration, where there is one: also by who comes before the
/// first `drain`.
pub(super) fn adopt_rules(conn: &Connection, settings: &Settings) -> Result<()> {
    let rules = &settings.alerts.rules;
    if settings.file.is_none() || door::patiently(|| rulebook::same_as_config(conn, rules))? {
        return Ok(());
    }
    door::write(conn, |conn| rulebook::adopt(conn, rules, Millis::now())).map(|_| ())
}

/// What a file was taken for, as a person calls it.
fn recognised(identity: Identity) -> &'static str {
    match identity {
        Identity::New => "new",
        Identity::Known => "resumed",
        Identity::Renamed => "rotated",
        Identity::Truncated => "truncated",
        Identity::Rewritten => "rewritten",
        Identity::Replaced => "replaced",
    }
}

/// What was taken in stands in the audit trail; a look that found nothing doesn't.
fn remember(conn: &Connection, report: &IngestReport, reason: Option<&str>) -> Result<()> {
    if report.bytes == 0 {
        return Ok(());
    }
    let after = json!({
        "path": report.path, "stored": report.stored, "duplicate": report.duplicate, "rejected": report.rejected,
    });
    record(conn, "ingest", after, reason)
}

/// Writes into the audit trail what was begun or done.
pub(super) fn record(conn: &Connection, name: &str, after: Value, reason: Option<&str>) -> Result<()> {
    let action = Action {
        name,
        run_id: None,
        by: &actor::by(reason),
        before: Value::Null,
        after,
    };
    door::write(conn, |conn| audit::record(conn, &action, Millis::now())).map(|_| ())
}
