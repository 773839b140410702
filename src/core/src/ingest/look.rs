//! A log line by line, as ingesting it would understand it, with nothing stored.
//!
//! It holds one line at a time. The format is the caller's, or as the first event tells: what is kept
//! with a file that was ingested isn't asked, because there may be no database of ours at all.

use super::IngestOptions;
use super::fields::{self, Event};
use super::file::LogFile;
use super::format::{Format, detect};
use super::lines::{Chunk, Content, LineReader};
use crate::error::Result;
use rusqlite::Connection;
use std::path::Path;
use std::sync::Arc;

/// A line, or something else that stands between two lines.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LookedAt {
    /// Its number, from 1.
    pub line: u64,
    /// Where it begins.
    pub offset: u64,
    /// Its bytes, newline included.
    pub length: u64,
    /// What it is: an event, or why it is none.
    pub found: Found,
    /// The line as it stands, or the beginning of one over the limit.
    pub raw: String,
}

/// What a line is.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// An event.
    Event(Box<LookedAtEvent>),
    /// The reason for which it would be rejected, or waits.
    Reason(String),
}

impl Default for Found {
    fn default() -> Self {
        Self::Reason(String::new())
    }
}

/// An event as it would be stored.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LookedAtEvent {
    /// Its own id, or the one that it would get.
    pub event_id: String,
    /// What happened.
    pub kind: String,
    /// The time as it was written.
    pub at: Option<String>,
    /// The time where it can be read, in ISO 8601 and UTC.
    pub timestamp: Option<String>,
    /// The orchestrator's run.
    pub run_id: Option<String>,
    /// The job.
    pub job_id: Option<String>,
    /// The step.
    pub step_id: Option<String>,
    /// The pattern run, a task.
    pub pattern_run_id: Option<String>,
    /// The pattern.
    pub pattern_id: Option<String>,
    /// The status word.
    pub status: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
    /// JSON as it was written.
    pub details: Option<String>,
    /// The other fields, a JSON object.
    pub extra: Option<String>,
}

/// A log that is being looked through.
pub struct Look {
    log: LogFile,
    reader: LineReader,
    format: Option<Arc<Format>>,
    lines: u64,
    is_over: bool,
}

impl Look {
    /// Opens a log; the same files are refused as by [`super::ingest_path`].
    ///
    /// # Errors
    /// The refusal, and what the system says of the file.
    pub fn open(conn: &Connection, path: &Path, options: &IngestOptions) -> Result<Self> {
        let log = LogFile::open(conn, path, None)?;
        let mut reader = LineReader::new(log.handle()?, &log, options);
        reader.seek(0, &[])?;
        reader.fill()?;
        Ok(Self {
            log,
            reader,
            format: options.format.clone(),
            lines: 0,
            is_over: false,
        })
    }

    /// The name of the format, once it is known.
    #[must_use]
    pub fn format(&self) -> Option<&str> {
        self.format.as_deref().map(Format::name)
    }

    /// The next line that is not empty; `None` at the end.
    ///
    /// # Errors
    /// What the system says of the file.
    pub fn next_line(&mut self) -> Result<Option<LookedAt>> {
        while !self.is_over {
            if let Some(chunk) = self.reader.next_chunk() {
                let found = read(&chunk, &self.log, self.lines + 1, &mut self.format);
                self.lines += u64::from(!matches!(chunk.content, Content::Nuls));
                if found.is_some() {
                    return Ok(found);
                }
            } else if self.reader.at_end() {
                self.is_over = true;
                return Ok(self.rest());
            } else {
                self.reader.fill()?;
            }
        }
        Ok(None)
    }

    /// What waits for the end of its line.
    fn rest(&self) -> Option<LookedAt> {
        let length = self.reader.pending();
        (length > 0).then(|| LookedAt {
            line: self.lines + 1,
            offset: self.reader.offset(),
            length,
            found: Found::Reason("no newline yet: it waits for the rest of its line".to_owned()),
            raw: text(self.reader.rest()),
        })
    }
}

/// What a chunk is; `None` for an empty line. An event decides the format, where it isn't known.
fn read(chunk: &Chunk<'_>, log: &LogFile, line: u64, known: &mut Option<Arc<Format>>) -> Option<LookedAt> {
    let (found, raw) = match chunk.content {
        Content::Nuls => (Found::Reason("NUL bytes".to_owned()), &b""[..]),
        Content::TooLong(start) => (Found::Reason("longer than the limit of a line".to_owned()), start),
        Content::Line(bytes) => {
            let format = known.clone().unwrap_or_else(|| Format::preset(detect(bytes)));
            let found = match fields::parse(bytes, &format) {
                Ok(None) => return None,
                Err(reason) => Found::Reason(reason),
                Ok(Some(event)) => {
                    known.get_or_insert_with(|| Arc::clone(&format));
                    let generated = || log.generated_id(chunk.extent.offset, bytes);
                    Found::Event(Box::new(LookedAtEvent::of(&event, generated)))
                }
            };
            (found, bytes)
        }
    };
    Some(LookedAt {
        line,
        offset: chunk.extent.offset,
        length: chunk.extent.length,
        found,
        raw: text(raw),
    })
}

impl LookedAtEvent {
    fn of(event: &Event<'_>, generated_id: impl FnOnce() -> String) -> Self {
        let text = |field: &Option<std::borrow::Cow<'_, str>>| field.as_deref().map(str::to_owned);
        Self {
            event_id: text(&event.id).unwrap_or_else(generated_id),
            kind: event.kind.clone().into_owned(),
            at: text(&event.at),
            timestamp: event.at_ms.map(crate::Millis::iso),
            run_id: text(&event.run_id),
            job_id: text(&event.job_id),
            step_id: text(&event.step_id),
            pattern_run_id: text(&event.pattern_run_id),
            pattern_id: text(&event.pattern_id),
            status: text(&event.status),
            error: event.error().map(std::borrow::Cow::into_owned),
            details: event.details.map(str::to_owned),
            extra: event.extra.clone(),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
