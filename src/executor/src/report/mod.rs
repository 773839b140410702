//! The built-in step `report`: what became of a run, as two JSON files that dashboards read and a page that
//! people read.
//!
//! ```text
//! count.rs, times.rs                                   what the JSON files say
//! timeline.rs, event_types.rs, history.rs, compare.rs  what only the page says
//! page.rs, templates/                                  the page
//! index.rs                                             the list of the newest pages
//! ```
//!
//! Promises: the same run and the same `generated_at` give the same bytes; a reader never sees half a
//! file. Counts are taken from the user's tables as they are named in the field, and a table that is
//! not there counts nothing. What does not belong here: totals over many runs.

mod cells;
mod compare;
mod count;
mod event_types;
mod history;
mod index;
mod page;
mod timeline;
mod times;

use crate::archive::{Ended, folder_name, place, refer};
use crate::folder::Folder;
use crate::redact::Redactor;
use compare::Comparison;
pub(crate) use count::text;
use count::{Counts, ErrorLine, EventCounts, Words};
use event_types::EventTypes;
pub(crate) use index::write_index;
use page::{Files, Story};
use refer::Source;
use runchain_core::error::{Error, Result};
use runchain_core::{Mapping, Millis, schema};
use rusqlite::Connection;
use rustix::fs::RenameFlags;
use serde::Serialize;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use timeline::Timeline;
use times::Timestamps;
pub(crate) use times::moment;

/// The list of the newest runs, beside their pages.
pub(crate) const INDEX: &str = "index.html";

/// The name of a run's page. The index has a name that a run could have.
pub(crate) fn page_name(folder: &str) -> String {
    let name = format!("{folder}.html");
    if name.eq_ignore_ascii_case(INDEX) {
        return format!("{folder}_report.html");
    }
    name
}

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
    /// `<run>.html`.
    pub page: PathBuf,
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

/// Writes the reports of an ended run. A file that already says the same is left untouched. `still_ours` is
/// asked right before each file is placed, after everything that takes time: an executor that was held up
/// must not put an older report in the place of a newer one.
///
/// # Errors
/// A reports folder that is a symlink or no folder; a lease that was lost; whatever SQLite and the file
/// system answer.
pub(crate) fn report(
    conn: &Connection,
    mapping: &Mapping,
    options: &ReportOptions,
    run: &Ended<'_>,
    generated_at: Millis,
    bag: Option<ReportedBag<'_>>,
    still_ours: &dyn Fn() -> bool,
) -> Result<Reports> {
    let reports_folder = place::open_folder(&options.reports_dir)?;
    let asked = Asked {
        conn,
        mapping,
        options,
        run,
        words: Words::load(conn)?,
        tables: refer::referring(conn, mapping)?,
        ingested: ingested(conn)?,
    };
    let summary = asked.summary(generated_at, bag)?;
    let story = asked.story()?;
    let folder = folder_name(run.run_id);
    let write = |name: String, bytes: io::Result<Vec<u8>>| -> Result<PathBuf> {
        let path = options.reports_dir.join(&name);
        bytes
            .and_then(|bytes| write_whole(&reports_folder, &name, &bytes, still_ours))
            .map_err(|error| Error::io("write", &path, error))?;
        Ok(path)
    };
    let files = Files {
        summary: format!("{folder}_summary.json"),
        metrics: format!("{folder}_metrics.json"),
    };
    let page = page::render(&summary, &story, bag, files.clone(), &options.reports_dir);
    let reports = Reports {
        metrics: write(files.metrics, Ok(pretty(&Metrics::of(&summary))))?,
        summary: write(files.summary, Ok(pretty(&summary)))?,
        page: write(page_name(&folder), page.map_err(io::Error::other))?,
    };
    reports_folder
        .sync()
        .map_err(|error| Error::io("write", &options.reports_dir, error))?;
    Ok(reports)
}

/// The ingested event logs, where the database has such a table.
fn ingested(conn: &Connection) -> Result<Option<Source>> {
    if !schema::table_exists(conn, "runchain_ingested")? {
        return Ok(None);
    }
    refer::own(conn, "runchain_ingested", &["run_id", "job_id"], "").map(Some)
}

/// One run, and where its rows stand.
struct Asked<'a> {
    conn: &'a Connection,
    mapping: &'a Mapping,
    options: &'a ReportOptions,
    run: &'a Ended<'a>,
    words: Words,
    tables: Vec<Source>,
    ingested: Option<Source>,
}

impl<'a> Asked<'a> {
    /// Those of the user's tables that are there.
    fn named<'s>(&'s self, names: &'s [&'s str]) -> impl Iterator<Item = &'s Source> {
        names.iter().filter_map(|name| {
            self.tables
                .iter()
                .find(|source| source.table.eq_ignore_ascii_case(name))
        })
    }

    fn events(&self) -> impl Iterator<Item = &Source> {
        self.named(&["events", "run_events"]).chain(&self.ingested)
    }

    fn counts(&self, table: &str) -> Result<Option<Counts>> {
        self.named(&[table])
            .next()
            .map(|source| Counts::of(self.conn, source, self.run.run_id, &self.words))
            .transpose()
    }

    fn summary(&self, generated_at: Millis, bag: Option<ReportedBag<'a>>) -> Result<Summary<'a>> {
        let (conn, run, redactor) = (self.conn, self.run, &self.options.redactor);
        let tasks = self.counts("tasks")?;
        let attempts = self
            .counts("step_attempts")?
            .filter(|attempts| attempts.total > 0);
        let mut events = EventCounts::default();
        for source in self.events() {
            events.add(conn, source, run.run_id, &self.words)?;
        }
        let mut errors = Vec::new();
        for source in self.named(&["step_attempts", "errors"]) {
            errors.extend(count::last_errors(
                conn,
                source,
                run.run_id,
                &self.words,
                redactor,
            )?);
        }
        let row = times::run_row(conn, self.mapping, run.run_id, redactor)?;
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
            workstreams: self.counts("workstreams")?,
            bag: bag.map(|bag| BagEntry {
                path: bag
                    .path
                    .strip_prefix(&self.options.root)
                    .unwrap_or(bag.path)
                    .to_string_lossy()
                    .into_owned(),
                digest: bag.digest,
                size_bytes: bag.size_bytes,
            }),
            errors,
        })
    }

    fn story(&self) -> Result<Story> {
        let (conn, run) = (self.conn, self.run);
        let mut timeline = Timeline::of_run(run.ended_at);
        for source in self.named(&["step_attempts", "tasks", "uet_tasks"]) {
            timeline.add(conn, source, run.run_id, &self.words, &self.options.redactor)?;
        }
        let mut types = EventTypes::default();
        for source in self.events() {
            types.add(conn, source, run.run_id)?;
        }
        let (history, history_left_out) =
            history::history(conn, run.run_id, run.generation, run.ended_event_id)?;
        Ok(Story {
            timeline,
            types: types.sorted(&self.words),
            history,
            history_left_out,
            comparison: Comparison::of(conn, run.run_id, run.ended_at)?,
        })
    }
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

/// Replaces a file at once: written beside it, brought to the disk, renamed over it if it is `still_ours`
/// to write.
fn write_whole(folder: &Folder, name: &str, bytes: &[u8], still_ours: &dyn Fn() -> bool) -> io::Result<()> {
    let stands = folder.open_file(Path::new(name), |_| Ok(()));
    if stands.is_ok_and(|file| says(file, bytes)) {
        return Ok(());
    }
    let (fresh, mut file) = new_file(folder)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| match still_ours() {
            true => Ok(()),
            false => Err(io::Error::other(
                "reporting is no longer ours: whoever holds the step now does it",
            )),
        })
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
