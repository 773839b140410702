//! What ingest is measured against: the same SQL statements, fed with rows that are already parsed.
//!
//! Only with the feature `bench`. What does not belong here: anything that a product calls.

use super::batch::Batch;
use super::checkpoint::Checkpoint;
use super::fields;
use super::file::LogFile;
use super::format::{Format, Preset};
use super::lines::Extent;
use super::{IngestOptions, IngestReport, uet};
use crate::error::{Error, Result};
use crate::{Millis, transaction};
use rusqlite::Connection;
use std::path::Path;
use std::time::{Duration, Instant};

/// Parses a whole log into memory, then stores its events in batches, and says how long the storing took.
///
/// # Errors
/// A file that can't be read; whatever SQLite answers.
pub fn store_parsed(conn: &Connection, path: &Path, now: Millis) -> Result<(Duration, IngestReport)> {
    let bytes = std::fs::read(path).map_err(|error| Error::io("read", path.display().to_string(), error))?;
    let log = LogFile::open(conn, path, None)?;
    let format = Format::preset(Preset::Pattern);
    let mut offset = 0;
    let rows: Vec<_> = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .map(|text| {
            let length = text.len() as u64;
            offset += length;
            let extent = Extent {
                offset: offset - length,
                length,
            };
            (extent, text, fields::parse(text, &format))
        })
        .collect();
    let mut report = IngestReport::default();
    let began = Instant::now();
    for batch in rows.chunks(IngestOptions::default().batch_lines) {
        transaction::atomically(conn, true, || {
            let tables = uet::Tables::inspect(conn)?;
            let mut checkpoint = Checkpoint::locate(conn, &log, None, now)?;
            let mut storing = Batch::new(conn, &log, &tables, None, now)?;
            for (extent, text, parsed) in batch {
                let parsed = parsed.as_ref().map(Option::as_ref).map_err(String::as_str);
                storing.record(parsed, text, extent, &mut checkpoint, &mut report)?;
                checkpoint.row.lines += 1;
            }
            storing.finish(&mut report)?;
            checkpoint.save(conn, now)
        })?;
    }
    Ok((began.elapsed(), report))
}
