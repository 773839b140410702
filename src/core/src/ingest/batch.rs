//! A batch of lines inside its transaction: events and rejects are stored line by line, what follows
//! from them is gathered and written once at the end.

use super::alert::Alerts;
use super::checkpoint::Checkpoint;
use super::fields::{self, Event};
use super::file::LogFile;
use super::format::{Format, detect};
use super::lines::{Chunk, Content, Extent};
use super::progress::Gathered;
use super::reading::{Chosen, ChosenBy};
use super::{IngestReport, uet};
use crate::error::{During, Result};
use crate::{Millis, alert};
use rusqlite::{CachedStatement, Connection};
use std::sync::Arc;

/// So much of a rejected line is kept.
const REJECT_START_CHARS: usize = 200;

/// Where a chunk stands.
struct Place {
    file_id: i64,
    line: u64,
    offset: u64,
    length: u64,
}

/// What became of an event.
enum Stored {
    New,
    Duplicate,
}

/// A batch under way.
pub(super) struct Batch<'a> {
    conn: &'a Connection,
    log: &'a LogFile,
    tables: &'a uet::Tables,
    now: Millis,
    /// `None` until the first event tells.
    format: Option<Arc<Format>>,
    /// Held: looking for it in the cache costs as much as reading a line.
    insert: CachedStatement<'a>,
    progress: Gathered,
    alerts: Alerts,
    rejected: u64,
}

const INSERT: &str = "
    INSERT INTO runchain_ingested(event_id, type, at, at_ms, run_id, job_id, step_id, pattern_run_id,
                                  pattern_id, status, details, extra, file_id, line, offset_bytes)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
    ON CONFLICT(event_id) DO NOTHING";

impl<'a> Batch<'a> {
    /// An empty batch in a transaction that has begun.
    pub(super) fn new(
        conn: &'a Connection,
        log: &'a LogFile,
        tables: &'a uet::Tables,
        format: Option<Arc<Format>>,
        now: Millis,
    ) -> Result<Self> {
        Ok(Self {
            conn,
            log,
            tables,
            now,
            format,
            insert: conn.prepare_cached(INSERT).during("prepare to store events")?,
            progress: Gathered::default(),
            alerts: Alerts::begin(conn)?,
            rejected: 0,
        })
    }

    /// Stores or rejects one chunk and moves the checkpoint past it.
    pub(super) fn take(
        &mut self,
        chunk: &Chunk<'_>,
        checkpoint: &mut Checkpoint,
        report: &mut IngestReport,
    ) -> Result<()> {
        let extent = &chunk.extent;
        match chunk.content {
            // NUL bytes stand before a line; they are none.
            Content::Nuls => return self.record(Err("NUL bytes"), b"", extent, checkpoint, report),
            Content::TooLong(start) => {
                self.record(
                    Err("longer than the limit of a line"),
                    start,
                    extent,
                    checkpoint,
                    report,
                )?;
            }
            Content::Line(line) => {
                let format = match self.format.take() {
                    Some(format) => format,
                    None => Format::preset(detect(line)),
                };
                let parsed = fields::parse(line, &format);
                let is_event = matches!(parsed, Ok(Some(_)));
                let parsed = parsed.as_ref().map(Option::as_ref).map_err(String::as_str);
                self.record(parsed, line, extent, checkpoint, report)?;
                if is_event || checkpoint.reading.chosen.is_some() {
                    self.keep(format, checkpoint);
                }
            }
        }
        checkpoint.row.lines += 1;
        Ok(())
    }

    fn keep(&mut self, format: Arc<Format>, checkpoint: &mut Checkpoint) {
        if checkpoint.reading.chosen.is_none() {
            checkpoint.reading.chosen = Some(Chosen {
                format: Arc::clone(&format),
                by: ChosenBy::Detected,
            });
        }
        self.format = Some(format);
    }

    /// Stores or rejects what was parsed from `text`.
    pub(super) fn record(
        &mut self,
        parsed: std::result::Result<Option<&Event<'_>>, &str>,
        text: &[u8],
        extent: &Extent,
        checkpoint: &mut Checkpoint,
        report: &mut IngestReport,
    ) -> Result<()> {
        let row = &mut checkpoint.row;
        let place = Place {
            file_id: checkpoint.id,
            line: row.lines + 1,
            offset: extent.offset,
            length: extent.length,
        };
        match parsed {
            Err(reason) => {
                self.reject(reason, text, &place)?;
                row.rejected += 1;
                row.rejected_bytes += extent.length;
                report.rejected += 1;
                self.rejected += 1;
            }
            Ok(event) => {
                if let Some(event) = event {
                    match self.store(event, text, &place)? {
                        Stored::New => {
                            (row.stored, report.stored) = (row.stored + 1, report.stored + 1);
                            let unread = u64::from(event.has_unread_time());
                            checkpoint.reading.unread_times += unread;
                            report.unread_times += unread;
                        }
                        Stored::Duplicate => {
                            (row.duplicates, report.duplicate) = (row.duplicates + 1, report.duplicate + 1);
                        }
                    }
                }
                row.stored_bytes += extent.length;
            }
        }
        row.offset_bytes += extent.length;
        report.bytes += extent.length;
        Ok(())
    }

    fn store(&mut self, event: &Event<'_>, line: &[u8], place: &Place) -> Result<Stored> {
        let generated;
        let id = match &event.id {
            Some(id) => id.as_ref(),
            None => {
                generated = self.log.generated_id(place.offset, line);
                &generated
            }
        };
        let inserted = self
            .insert
            .execute((
                id,
                &event.kind,
                &event.at,
                event.at_ms,
                &event.run_id,
                &event.job_id,
                &event.step_id,
                &event.pattern_run_id,
                &event.pattern_id,
                &event.status,
                event.details,
                &event.extra,
                place.file_id,
                place.line as i64,
                place.offset as i64,
            ))
            .during("store an event")?;
        if inserted == 0 {
            return Ok(Stored::Duplicate);
        }
        self.progress.add(id, event);
        self.alerts.add(event, self.now);
        Ok(Stored::New)
    }

    fn reject(&self, reason: &str, line: &[u8], place: &Place) -> Result<()> {
        // At most four bytes a character, so the rest needs no decoding.
        let start = &line[..line.len().min(REJECT_START_CHARS * 4)];
        let start: String = String::from_utf8_lossy(start)
            .chars()
            .take(REJECT_START_CHARS)
            .collect();
        self.conn
            .prepare_cached(
                "INSERT INTO runchain_ingest_rejects(file_id, line, offset_bytes, length_bytes, reason, start, at_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )
            .and_then(|mut statement| {
                statement.execute((
                    place.file_id,
                    place.line as i64,
                    place.offset as i64,
                    place.length as i64,
                    reason,
                    start,
                    self.now,
                ))
            })
            .during("record a rejected line")
            .map(drop)
    }

    /// Writes what follows from the batch's new events.
    pub(super) fn finish(self, report: &mut IngestReport) -> Result<()> {
        let merged = self.progress.merge_into(self.conn)?;
        for entry in &merged.executions {
            self.tables.executions.show(self.conn, entry, report)?;
        }
        for entry in &merged.tasks {
            self.tables.tasks.show(self.conn, entry, report)?;
        }
        report.alerts += self.alerts.write(self.conn, &merged.tasks, self.now)?;
        alert::rejects::count(self.conn, &self.log.path, self.rejected, self.now)?;
        Ok(())
    }
}
