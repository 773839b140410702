//! Event logs (JSON lines) into the database: rows, what follows from them, and a checkpoint.
//!
//! ```text
//! file.rs        opens the log safely and says which file it is
//! lines.rs       cuts it into lines in bounded memory
//! fields.rs      one line -> one event (which key is which column)
//! checkpoint.rs  how far each file was read
//! batch.rs       stores a batch of lines: events, rejects, and below:
//!   progress.rs  what the events say about executions and tasks
//!   uet.rs       shows that in uet_executions and uet_tasks
//!   alert.rs     failures that a person must see
//! scope.rs       whose transaction this is
//! ```
//!
//! Invariant: a batch's events, rejects, derived rows, alerts and checkpoint are committed together
//! or not at all, and bytes read = bytes stored + bytes rejected, per file, always. An event that
//! was there already (a duplicate) and an empty line count as stored bytes: nothing of them is lost.
//! The rows that come out don't depend on how the file grew between calls, on the order of the
//! events, or on how often one is repeated.
//!
//! Two things are decided quietly: of a key that stands twice in one object the last value wins, and
//! fields without a column are kept as JSON in `extra`.
//!
//! What does not belong here: finding log files, watching them, or deciding when a run has ended.

mod alert;
mod batch;
mod checkpoint;
mod fields;
mod file;
#[cfg(feature = "bench")]
pub mod floor;
mod lines;
mod progress;
mod scope;
#[cfg(test)]
mod tests;
mod uet;

use crate::error::Result;
use crate::{Millis, schema};
use batch::Batch;
use checkpoint::Checkpoint;
use file::LogFile;
use lines::LineReader;
use rusqlite::Connection;
use scope::Scope;
use serde::Serialize;
use std::path::Path;

/// How a log is read.
#[derive(Debug, Clone)]
pub struct IngestOptions {
    /// A longer line is skipped in bounded memory and counted as rejected.
    pub max_line_bytes: usize,
    /// At most so many lines go into one transaction (in the caller's own transaction there is one).
    pub batch_lines: usize,
    /// Take a last line without newline as whole. Otherwise it waits, pending, until it grows.
    pub finalise: bool,
}

impl Default for IngestOptions {
    fn default() -> Self {
        Self {
            max_line_bytes: 1 << 20,
            batch_lines: 5_000,
            finalise: false,
        }
    }
}

/// What one call did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct IngestReport {
    /// The file, symbolic links resolved.
    pub path: String,
    /// Its row in `runchain_ingest_files`.
    pub file_id: i64,
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
    /// Alerts that are new or fire again.
    pub alerts: u64,
    /// Rows that constraints of the user's own `uet_*` tables refused. The events are stored.
    pub underived: u64,
    /// The first such refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub underived_reason: Option<String>,
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
    let log = LogFile::open(conn, path)?;
    let mut scope = Scope::enter(conn)?;
    let mut reader = LineReader::new(log.handle()?, &log, options);
    let mut report = IngestReport {
        path: log.path.clone(),
        ..IngestReport::default()
    };
    let tables = uet::Tables::inspect(conn)?;
    let mut known = None;
    loop {
        scope.begin()?;
        schema::check_writer(conn)?;
        let mut checkpoint = Checkpoint::locate(conn, &log, known, now)?;
        // The first batch, or somebody else has read this file since our last one.
        if known.is_none() || checkpoint.row.offset_bytes != reader.offset() {
            reader.seek(checkpoint.row.offset_bytes)?;
            reader.fill()?;
        }
        known = Some(checkpoint.id);
        let mut batch = Batch::begin(conn, &log, &tables, now)?;
        let mut drained = false;
        for _ in 0..options.batch_lines.max(1) {
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
        checkpoint.save(conn, now)?;
        scope.commit()?;
        if end {
            break;
        }
        if drained {
            // Between the transactions: a slow disk must not hold the write lock.
            reader.fill()?;
        }
    }
    scope.leave()?;
    report.file_id = known.unwrap_or_default();
    report.pending = reader.pending();
    Ok(report)
}
