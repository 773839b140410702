//! Event logs (JSON lines) into the database: rows, what follows from them, and a checkpoint.
//!
//! ```text
//! file.rs        opens the log safely and says which file it is
//! lines.rs       cuts it into lines in bounded memory
//!   unended.rs   one that has no end yet: where it was left
//! format/        which key is which field: presets, mappings, what a file's first event tells
//! fields.rs      one line -> one event
//!   scan.rs      an ordinary line's keys and values, fast
//!   when.rs      the many ways to write a moment
//! checkpoint.rs  how far each file was read
//!   reading.rs   how it is understood, what stood before the checkpoint
//! batch.rs       stores a batch of lines: events, rejects, and below:
//!   progress.rs  what the events say about executions and tasks
//!   uet.rs       shows that in uet_executions and uet_tasks; object.rs: a JSON object, edited as text
//!   alert.rs     failures that a person must see
//! scope.rs       whose transaction this is
//! options.rs     how a log is read
//! look.rs        the same file as a table, nothing stored: read_events(path)
//! ```
//!
//! Invariant: a batch's events, rejects, derived rows, alerts and checkpoint are committed together
//! or not at all, and bytes read = bytes stored + bytes rejected, per file, always. An event that
//! was there already (a duplicate) and an empty line count as stored bytes: nothing of them is lost.
//! The rows that come out don't depend on how the file grew between calls, on the order of the
//! events, or on how often one is repeated.
//!
//! Two things are decided quietly: of a key that stands twice in one object the last value wins, and
//! fields without a column are kept as JSON in `extra`. What is decided aloud stands in the report and
//! with the file: its format, and how many times nobody could read.
//!
//! What does not belong here: finding log files, watching them, or deciding when a run has ended.

mod alert;
mod batch;
mod checkpoint;
mod fields;
mod file;
#[cfg(feature = "bench")]
pub mod floor;
mod format;
mod lines;
mod look;
mod object;
mod options;
mod progress;
mod reading;
mod scan;
mod scope;
#[cfg(test)]
mod tests;
mod uet;
mod unended;
mod when;

pub use checkpoint::Identity;
pub use format::{Field, Format, MAPPING_KEYS, PRESETS, Preset};
pub use look::{Found, Look, LookedAt, LookedAtEvent};
pub use options::IngestOptions;
pub use reading::ChosenBy;
pub use unended::Unended;

use crate::error::{Error, Result};
use crate::{Millis, schema};
use batch::Batch;
use checkpoint::{Checkpoint, Known};
use file::LogFile;
use lines::LineReader;
use rusqlite::Connection;
use scope::Scope;
use serde::Serialize;
use std::path::Path;

/// What one call did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct IngestReport {
    /// The file, symbolic links resolved.
    pub path: String,
    /// Its row in `runchain_ingest_files`.
    pub file_id: i64,
    /// Whether it goes on where it was, or why it was read from its beginning.
    pub identity: Identity,
    /// Bytes read by this call: of whole lines, stored or rejected.
    pub bytes: u64,
    /// Events that are new.
    pub stored: u64,
    /// Events that were there already, from this file or another.
    pub duplicate: u64,
    /// Lines, and runs of NUL bytes, that are now rows of `runchain_ingest_rejects`.
    pub rejected: u64,
    /// Bytes that wait for the end of their line.
    pub pending: u64,
    /// A line over the limit that they are of: for [`IngestOptions::unended`] of the next call.
    #[serde(skip)]
    pub unended: Option<Unended>,
    /// Bytes that were left for a further call.
    #[serde(skip_serializing_if = "is_zero")]
    pub left: u64,
    /// Of the new events, those whose time nobody can read; it is kept as text.
    pub unread_times: u64,
    /// Preset or mapping by which the file is understood; none before its first event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Who said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format_by: Option<ChosenBy>,
    /// Alerts that are new or fire again.
    pub alerts: u64,
    /// Rows that constraints of the user's own `uet_*` tables refused. The events are stored.
    pub underived: u64,
    /// The first such refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub underived_reason: Option<String>,
}

impl IngestReport {
    /// This and a later call on the same file as one.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        Self {
            identity: self.identity,
            bytes: self.bytes + later.bytes,
            stored: self.stored + later.stored,
            duplicate: self.duplicate + later.duplicate,
            rejected: self.rejected + later.rejected,
            unread_times: self.unread_times + later.unread_times,
            format: later.format.or(self.format),
            format_by: later.format_by.or(self.format_by),
            alerts: self.alerts + later.alerts,
            underived: self.underived + later.underived,
            underived_reason: self.underived_reason.or(later.underived_reason),
            ..later
        }
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Reads what is new in an event log, from its checkpoint to the end that it has now.
///
/// In autocommit each batch is a transaction of its own, so a failure leaves everything before that
/// batch committed. In the caller's transaction all of it joins, and rolls back with it.
///
/// # Errors
/// [`crate::Error::NotInstalled`]; a refusal for a file that can't be a log (missing, a folder, a
/// FIFO, the database itself) and inside a statement that writes (`INSERT ... SELECT`);
/// what the system says of the file and SQLite of the database, busy included.
pub fn ingest_path(
    conn: &Connection,
    path: &Path,
    now: Millis,
    options: &IngestOptions,
) -> Result<IngestReport> {
    loop {
        let log = LogFile::open(conn, path, options.recorded_as.as_deref())?;
        if let Some(report) = ingest_log(conn, &log, now, options)? {
            return Ok(report);
        }
    }
}

/// `None`, and nothing is done: somebody else has read the file meanwhile, further than it reached when it
/// was opened.
fn ingest_log(
    conn: &Connection,
    log: &LogFile,
    now: Millis,
    options: &IngestOptions,
) -> Result<Option<IngestReport>> {
    let mut scope = Scope::enter(conn)?;
    let mut reader = LineReader::new(log.handle()?, log, options);
    let mut report = IngestReport {
        path: log.path.clone(),
        ..IngestReport::default()
    };
    check_schema(conn)?;
    let read_to = match Checkpoint::find(conn, log)? {
        Known::Row(found) => Some(found.row.offset_bytes),
        Known::Nothing => None,
        Known::Ahead => {
            scope.leave()?;
            return Ok(None);
        }
    };
    if options.resume_only && read_to.is_none() {
        scope.leave()?;
        return Ok(Some(report));
    }
    let tables = uet::Tables::inspect(conn)?;
    let mut known = None;
    // The file is read between the transactions only: neither a slow disk nor a line without end may
    // hold the write lock.
    reader.start(log, read_to.unwrap_or(0))?;
    loop {
        scope.begin()?;
        check_schema(conn)?;
        let Some(mut checkpoint) = Checkpoint::locate(conn, log, known, now)? else {
            scope.roll_back()?;
            scope.leave()?;
            return Ok(None);
        };
        let offset = checkpoint.row.offset_bytes;
        if offset != reader.offset() {
            // Somebody else has read this file meanwhile, and got further.
            scope.roll_back()?;
            reader.start(log, offset)?;
            continue;
        }
        if known.replace(checkpoint.id).is_none() {
            report.identity = checkpoint.identity;
        }
        let format = checkpoint.choose(options.format.as_ref());
        let mut batch = Batch::new(conn, log, &tables, format, now)?;
        let began_at = checkpoint.row.offset_bytes;
        let mut drained = false;
        for _ in 0..options.batch_lines.max(1) {
            if report.bytes >= options.at_most_bytes {
                break;
            }
            let Some(chunk) = reader.next_chunk() else {
                drained = true;
                break;
            };
            batch.take(&chunk, &mut checkpoint, &mut report)?;
        }
        batch.finish(&mut report)?;
        let end = drained && reader.at_end();
        checkpoint.row.size_bytes = if end {
            reader.offset() + reader.pending()
        } else {
            log.size_bytes.max(reader.offset())
        };
        if checkpoint.row.offset_bytes > began_at {
            checkpoint
                .reading
                .mark(checkpoint.row.offset_bytes, reader.tail());
        }
        checkpoint.save(conn, now)?;
        scope.commit()?;
        if let Some(chosen) = &checkpoint.reading.chosen {
            report.format = Some(chosen.format.name().to_owned());
            report.format_by = Some(chosen.by);
        }
        if end {
            report.pending = reader.pending();
            report.unended = reader.unended(log)?;
            break;
        }
        if report.bytes >= options.at_most_bytes || reader.has_skipped_enough() {
            report.unended = reader.unended(log)?;
            report.left = log.size_bytes.saturating_sub(reader.offset());
            break;
        }
        if drained || reader.is_low() {
            // Also where something is left, so that no batch is smaller than it may be: a commit costs as
            // much as a thousand lines.
            reader.fill()?;
        }
    }
    scope.leave()?;
    report.file_id = known.unwrap_or_default();
    Ok(Some(report))
}

/// The table of readings came with version 3.
fn check_schema(conn: &Connection) -> Result<()> {
    schema::check_writer(conn)?;
    if schema::version(conn)? < 3 {
        return Err(Error::refused(
            "the tables of this database are of an earlier version of runchain",
            "run `runchain install`, or SELECT runchain_install(): it adds what is new",
        ));
    }
    Ok(())
}
