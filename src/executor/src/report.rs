//! The built-in step `report`: what became of a run, as two JSON files that dashboards read.
//!
//! Promises: the same run and the same `generated_at` give the same bytes; a reader never sees half a
//! file. Counts are taken from the user's tables as they are named in the field, and a table that is
//! not there counts nothing. What does not belong here: totals over many runs, HTML.

mod count;
mod times;

use crate::archive::{Ended, folder_name, place, refer};
use crate::folder::Folder;
use crate::redact::Redactor;
#[cfg(feature = "tui")]
pub(crate) use count::text;
use count::{Counts, ErrorLine, EventCounts, Words};
use refer::Source;
use runchain_core::error::{Error, Result};
use runchain_core::{Mapping, Millis, schema};
use rusqlite::Connection;
use rustix::fs::RenameFlags;
use serde::Serialize;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use times::Timestamps;
#[cfg(feature = "tui")]
pub(crate) use times::moment;

/// Where reports go.
#[derive(Debug, Clone)]
pub(crate) struct ReportOptions {
    /// Their folder; made where it is missing.
    pub reports_dir: PathBuf,
    /// Paths in the reports are relative to this folder where they lie below it.
    pub root: PathBuf,
    /// What the reports must not tell.
    pub redactor: Redactor,
}

/// The bag that the run was archived to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReportedBag<'a> {
    /// Its folder.
    pub path: &'a Path,
    /// `sha256:...`.
    pub digest: &'a str,
    /// Bytes of all its files.
    pub size_bytes: u64,
}

/// The files that stand now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reports {
    /// `<run>_summary.json`.
    pub summary: PathBuf,
    /// `<run>_metrics.json`.
    pub metrics: PathBuf,
}

/// `<run>_summary.json`.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    run_id: &'a str,
    generated_at: String,
    status: Option<&'a str>,
    phase: &'a str,
    generation: i64,
    /// From started (else created) to ended.
    duration_seconds: Option<f64>,
    /// Rows of `step_attempts`; where there are none, rows of `tasks`.
    steps: Counts,
    events: EventCounts,
    timestamps: Timestamps,
    #[serde(skip_serializing_if = "Option::is_none")]
    tasks: Option<Counts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workstreams: Option<Counts>,
    bag: Option<BagEntry<'a>>,
    /// The last few, oldest first.
    errors: Vec<ErrorLine>,
}

#[derive(Debug, Serialize)]
struct BagEntry<'a> {
    path: String,
    digest: &'a str,
    size_bytes: u64,
}

/// `<run>_metrics.json`: what this run adds to the totals of the same names, so that a sum over all
/// files is the total.
#[derive(Debug, Serialize)]
struct Metrics<'a> {
    run_id: &'a str,
    generated_at: String,
    generation: i64,
    /// 1 when the run completed.
    runs_completed_total: u64,
    /// 1 when it failed. A cancelled run is in neither.
    runs_failed_total: u64,
    /// 1 when its bag stands in its place.
    artifacts_archived_total: u64,
    /// Bytes of that bag.
    archive_size_bytes: u64,
    /// From started (else created) to ended.
    duration_seconds: Option<f64>,
    /// Its steps, as in the summary.
    steps_total: u64,
    steps_completed_total: u64,
    steps_failed_total: u64,
    /// Its events, as in the summary.
    events_total: u64,
    events_errors_total: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    tasks_total: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workstreams_total: Option<u64>,
}

/// Writes both reports of an ended run. A file that already says the same is left untouched.
///
/// # Errors
/// A reports folder that is a symlink or no folder; whatever SQLite and the file system answer.
pub(crate) fn report(
    conn: &Connection,
    mapping: &Mapping,
    options: &ReportOptions,
    run: &Ended<'_>,
    generated_at: Millis,
    bag: Option<ReportedBag<'_>>,
) -> Result<Reports> {
    let reports_folder = place::open_folder(&options.reports_dir)?;
    let summary = summarise(conn, mapping, options, run, generated_at, bag)?;
    let metrics = Metrics::of(&summary);
    let folder = folder_name(run.run_id);
    let write = |kind: &str, bytes: &[u8]| -> Result<PathBuf> {
        let name = format!("{folder}_{kind}.json");
        let path = options.reports_dir.join(&name);
        write_whole(&reports_folder, &name, bytes).map_err(|error| Error::io("write", &path, error))?;
        Ok(path)
    };
    let reports = Reports {
        summary: write("summary", &pretty(&summary))?,
        metrics: write("metrics", &pretty(&metrics))?,
    };
    reports_folder
        .sync()
        .map_err(|error| Error::io("write", &options.reports_dir, error))?;
    Ok(reports)
}

fn summarise<'a>(
    conn: &Connection,
    mapping: &Mapping,
    options: &ReportOptions,
    run: &'a Ended<'_>,
    generated_at: Millis,
    bag: Option<ReportedBag<'a>>,
) -> Result<Summary<'a>> {
    let words = Words::load(conn)?;
    let sources = refer::referring(conn, mapping)?;
    let table = |name: &str| -> Option<&Source> {
        sources
            .iter()
            .find(|source| source.table.eq_ignore_ascii_case(name))
    };
    let counts = |name: &str| -> Result<Option<Counts>> {
        table(name)
            .map(|source| Counts::of(conn, source, run.run_id, &words))
            .transpose()
    };
    let tasks = counts("tasks")?;
    let attempts = counts("step_attempts")?.filter(|attempts| attempts.total > 0);
    let mut events = EventCounts::default();
    for source in [table("events"), table("run_events")].into_iter().flatten() {
        events.add(conn, source, run.run_id, &words)?;
    }
    if schema::table_exists(conn, "runchain_ingested")? {
        let ingested = refer::own(conn, "runchain_ingested", &["run_id", "job_id"], "")?;
        events.add(conn, &ingested, run.run_id, &words)?;
    }
    let mut errors = Vec::new();
    for source in [table("step_attempts"), table("errors")].into_iter().flatten() {
        errors.extend(count::last_errors(
            conn,
            source,
            run.run_id,
            &words,
            &options.redactor,
        )?);
    }
    let row = times::run_row(conn, mapping, run.run_id, &options.redactor)?;
    errors.extend(row.error());
    let timestamps = Timestamps::of(conn, &row, run)?;
    Ok(Summary {
        run_id: run.run_id.as_str(),
        generated_at: generated_at.iso(),
        status: run.status.as_deref(),
        phase: &run.phase,
        generation: run.generation,
        duration_seconds: timestamps.duration_seconds(),
        steps: attempts.or_else(|| tasks.clone()).unwrap_or_default(),
        events,
        timestamps,
        tasks,
        workstreams: counts("workstreams")?,
        bag: bag.map(|bag| BagEntry {
            path: bag
                .path
                .strip_prefix(&options.root)
                .unwrap_or(bag.path)
                .to_string_lossy()
                .into_owned(),
            digest: bag.digest,
            size_bytes: bag.size_bytes,
        }),
        errors,
    })
}

impl<'a> Metrics<'a> {
    fn of(summary: &'a Summary<'a>) -> Self {
        Self {
            run_id: summary.run_id,
            generated_at: summary.generated_at.clone(),
            generation: summary.generation,
            runs_completed_total: u64::from(summary.phase == "completed"),
            runs_failed_total: u64::from(summary.phase == "failed"),
            artifacts_archived_total: u64::from(summary.bag.is_some()),
            archive_size_bytes: summary.bag.as_ref().map_or(0, |bag| bag.size_bytes),
            duration_seconds: summary.duration_seconds,
            steps_total: summary.steps.total,
            steps_completed_total: summary.steps.completed,
            steps_failed_total: summary.steps.failed,
            events_total: summary.events.total,
            events_errors_total: summary.events.errors,
            tasks_total: summary.tasks.as_ref().map(|counts| counts.total),
            workstreams_total: summary.workstreams.as_ref().map(|counts| counts.total),
        }
    }
}

fn pretty(value: &impl Serialize) -> Vec<u8> {
    // The structs above hold text, numbers and maps with text keys: that can't fail.
    let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
    text.push(b'\n');
    text
}

/// Replaces a file at once: written beside it, brought to the disk, renamed over it.
fn write_whole(folder: &Folder, name: &str, bytes: &[u8]) -> io::Result<()> {
    let stands = folder.open_file(Path::new(name), |_| Ok(()));
    if stands.is_ok_and(|file| says(file, bytes)) {
        return Ok(());
    }
    let (fresh, mut file) = new_file(folder)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| Ok(folder.rename(&fresh, folder, name, RenameFlags::empty())?));
    if written.is_err() {
        // What failed is the error to report.
        let _ = folder.remove_file(Path::new(&fresh));
    }
    written
}

fn says(file: File, bytes: &[u8]) -> bool {
    let mut found = Vec::new();
    // One byte more than expected shows a longer file without reading all of it.
    let read = file.take(bytes.len() as u64 + 1).read_to_end(&mut found);
    read.is_ok() && found == bytes
}

/// A file under a name that nobody has.
fn new_file(folder: &Folder) -> io::Result<(String, File)> {
    const TRIES: u32 = 100;
    for _ in 1..TRIES {
        let name = format!(".report-{:016x}", fastrand::u64(..));
        match folder.create_file(Path::new(&name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|file| (name, file)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests;
