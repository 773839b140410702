//! The lines of both logs, rotated ones included, that are later than anything a restored database
//! holds, in the order of their numbers.
//!
//! Invariant: one line of each log is held in memory at a time. A line that is no JSON of ours is passed
//! over; the logs are read as they are, nothing is mended.

use super::Identity;
use crate::projector;
use runchain_core::adopt::{LogEvent, Outside};
use runchain_core::error::{Error, Result};
use runchain_core::event::Log;
use runchain_core::{Millis, RunId};
use serde::Deserialize;
use serde_json::Value;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// What the logs in this folder know beyond the database.
///
/// # Errors
/// When a log can't be read.
pub(crate) fn outside(logs_dir: &Path, identity: &Identity) -> Result<Outside> {
    let mut outside = Outside {
        epoch: identity.epoch,
        ..Outside::default()
    };
    let mut logs = Vec::new();
    for log in Log::ALL {
        let mut lines = Lines::of(logs_dir, log, identity)?;
        if let Some(first) = lines.next_later()? {
            logs.push((first, lines));
        }
    }
    // Each log is in order: the least of the foremost lines is the next.
    while let Some(index) = (0..logs.len()).min_by_key(|&index| (logs[index].0.epoch, logs[index].0.seq)) {
        let (front, lines) = &mut logs[index];
        match lines.next_later()? {
            Some(next) => outside.take(std::mem::replace(front, next)),
            None => outside.take(logs.remove(index).0),
        }
    }
    Ok(outside)
}

#[derive(Deserialize)]
struct Line {
    seq: i64,
    epoch: i64,
    db: String,
    ts: String,
    event: String,
    run_id: Option<RunId>,
    generation: Option<i64>,
    step: Option<String>,
    #[serde(default)]
    data: Value,
}

/// The later lines of one log, oldest file first.
struct Lines<'a> {
    identity: &'a Identity,
    files: VecDeque<PathBuf>,
    open: Option<(PathBuf, BufReader<File>)>,
    text: Vec<u8>,
}

impl<'a> Lines<'a> {
    fn of(logs_dir: &Path, log: Log, identity: &'a Identity) -> Result<Self> {
        Ok(Self {
            identity,
            files: projector::files_of(logs_dir, log)?.into(),
            open: None,
            text: Vec::new(),
        })
    }

    fn next_later(&mut self) -> Result<Option<LogEvent>> {
        loop {
            let Some((path, reader)) = &mut self.open else {
                let Some(path) = self.files.pop_front() else {
                    return Ok(None);
                };
                let file = File::open(&path).map_err(|error| Error::io("read the log", &path, error))?;
                self.open = Some((path, BufReader::new(file)));
                continue;
            };
            self.text.clear();
            let read = reader
                .read_until(b'\n', &mut self.text)
                .map_err(|error| Error::io("read the log", path.as_path(), error))?;
            if read == 0 {
                self.open = None;
                continue;
            }
            if let Some(event) = later(&self.text, self.identity) {
                return Ok(Some(event));
            }
        }
    }
}

fn later(text: &[u8], identity: &Identity) -> Option<LogEvent> {
    let head = projector::LineHead::parse(&text[..text.len().min(projector::HEAD_BYTES)])?;
    if (head.origin.epoch, head.seq) <= (identity.epoch, identity.newest) {
        return None;
    }
    // A header repeats the number of the line before it, and has no `seq`.
    let line: Line = serde_json::from_slice(text).ok()?;
    (line.db == identity.uuid).then(|| LogEvent {
        seq: line.seq,
        epoch: line.epoch,
        at: Millis::parse_iso(&line.ts),
        event: line.event,
        run_id: line.run_id,
        generation: line.generation,
        step: line.step,
        data: line.data,
    })
}
