//! Lines of one run in the log files, the oldest first, and those that are appended afterwards.
//!
//! Only our own lines are looked for: a file whose time is not the run's is not opened. What is rotated
//! while it is followed is read to its end first.

use crate::folder::Folder;
use crate::projector::files_of;
use runchain_core::error::{During, Error, Result};
use runchain_core::event::Log;
use runchain_core::{Millis, RunId};
use rusqlite::{Connection, OptionalExtension};
use serde_json::Value;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A line that is longer is none of ours.
const LINE_MAX_BYTES: u64 = 64 << 20;
/// Clocks and file systems don't agree to the millisecond.
const MARGIN_MS: i64 = 60_000;

/// Which lines.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) run_id: RunId,
    /// Older files have nothing of it.
    pub(super) first_seen: Option<Millis>,
    /// Newer files have nothing of it, where that is known.
    pub(super) newest: Option<Millis>,
    /// Those without a sequence number, too.
    pub(super) heartbeats: bool,
}

/// When a run was first seen.
pub(super) fn first_seen(conn: &Connection, run_id: &RunId) -> Result<Option<Millis>> {
    conn.query_row(
        "SELECT first_seen_ms FROM runchain_runs WHERE run_id = ?1",
        [run_id],
        |row| row.get(0),
    )
    .optional()
    .during("look when the run was first seen")
}

/// When the newest event of a run was.
pub(super) fn newest_event(conn: &Connection, run_id: &RunId) -> Result<Option<Millis>> {
    conn.query_row(
        "SELECT at_ms FROM runchain_events WHERE run_id = ?1 ORDER BY id DESC LIMIT 1",
        [run_id],
        |row| row.get(0),
    )
    .optional()
    .during("look for the newest event of the run")
}

/// Both logs, and how far each was read.
#[derive(Debug)]
pub(super) struct Reader {
    folder: PathBuf,
    wanted: Wanted,
    /// As JSON writes the run's id: a line without it is not parsed.
    needle: String,
    tracks: Vec<Track>,
}

/// The current file of a log.
#[derive(Debug)]
struct Track {
    log: Log,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    inode: u64,
    offset: u64,
}

impl Reader {
    pub(super) fn start(folder: &Path, wanted: Wanted) -> Self {
        Self {
            folder: folder.to_owned(),
            needle: serde_json::json!(wanted.run_id).to_string(),
            wanted,
            tracks: Log::ALL.map(|log| Track { log, open: None }).into(),
        }
    }

    /// The newest lines that stand there, of each log so many at most.
    pub(super) fn all(&mut self, limit: usize) -> Result<Vec<Value>> {
        let mut lines = Vec::new();
        for index in 0..self.tracks.len() {
            let files = files_of(&self.folder, self.tracks[index].log)?;
            let mut newest = VecDeque::new();
            let current = self.folder.join(self.tracks[index].log.file_name());
            for path in files {
                let Some(mut open) = self.open(&path)? else {
                    continue;
                };
                if path != current && self.is_of_another_time(&open, &path)? {
                    continue;
                }
                for line in self.read(&mut open, &path)? {
                    newest.push_back(line);
                    if newest.len() > limit {
                        newest.pop_front();
                    }
                }
                if path == current {
                    self.tracks[index].open = Some(open);
                }
            }
            lines.extend(newest);
        }
        Ok(lines)
    }

    /// What was appended since, also to a file that was rotated meanwhile.
    pub(super) fn appended(&mut self) -> Result<Vec<Value>> {
        let mut lines = Vec::new();
        for index in 0..self.tracks.len() {
            let log = self.tracks[index].log;
            let mut seen = None;
            if let Some(mut open) = self.tracks[index].open.take() {
                let path = self.folder.join(log.file_name());
                lines.extend(self.read(&mut open, &path)?);
                seen = Some(open.inode);
                self.tracks[index].open = Some(open);
            }
            // Those that are newer than the one that is open; all, where none was there before.
            let mut files = Vec::new();
            for path in files_of(&self.folder, log)?.into_iter().rev() {
                let Some(open) = self.open(&path)? else {
                    continue;
                };
                if Some(open.inode) == seen {
                    break;
                }
                files.push((path, open));
            }
            for (path, mut open) in files.into_iter().rev() {
                lines.extend(self.read(&mut open, &path)?);
                self.tracks[index].open = Some(open);
            }
        }
        Ok(lines)
    }

    fn open(&self, path: &Path) -> Result<Option<Open>> {
        let name = path.file_name().unwrap_or_default();
        let opened =
            Folder::open_root(&self.folder).and_then(|folder| folder.open_file(Path::new(name), |_| Ok(())));
        match opened {
            Ok(file) => {
                let found = file
                    .metadata()
                    .map_err(|error| Error::io("look at the log", path, error))?;
                Ok(Some(Open {
                    inode: found.ino(),
                    file,
                    offset: 0,
                }))
            }
            // Renamed or removed between the list and now: its lines are found under its new name.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read the log", path, error)),
        }
    }

    /// Whether a rotated file was closed before the run began, or begun after its newest event.
    fn is_of_another_time(&self, open: &Open, path: &Path) -> Result<bool> {
        let io = |error| Error::io("read the log", path, error);
        let written = Millis(open.file.metadata().map_err(io)?.mtime().saturating_mul(1_000));
        let is_older = self
            .wanted
            .first_seen
            .is_some_and(|first| written.plus(MARGIN_MS) < first);
        if is_older {
            return Ok(true);
        }
        let Some(newest) = self.wanted.newest else {
            return Ok(false);
        };
        let mut first = String::new();
        // Whatever is no text has no time.
        let _ = BufReader::new(&open.file).take(4_096).read_line(&mut first);
        let began = first
            .split_once("\"ts\":\"")
            .and_then(|(_, rest)| Millis::parse_iso(rest.split('"').next()?));
        Ok(began.is_some_and(|began| began > newest.plus(MARGIN_MS)))
    }

    /// Whole lines from where it was read to.
    fn read(&self, open: &mut Open, path: &Path) -> Result<Vec<Value>> {
        let io = |error| Error::io("read the log", path, error);
        let mut lines = Vec::new();
        open.file.seek(SeekFrom::Start(open.offset)).map_err(io)?;
        let mut reader = BufReader::new(&open.file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = (&mut reader)
                .take(LINE_MAX_BYTES)
                .read_until(b'\n', &mut line)
                .map_err(io)?;
            // What is being written has no end yet: it is read when it has.
            if length == 0 || line.last() != Some(&b'\n') && (length as u64) < LINE_MAX_BYTES {
                return Ok(lines);
            }
            open.offset += length as u64;
            lines.extend(self.wanted(&line));
        }
    }

    fn wanted(&self, line: &[u8]) -> Option<Value> {
        let text = std::str::from_utf8(line).ok()?;
        if !text.contains(&self.needle) {
            return None;
        }
        let line: Value = serde_json::from_str(text).ok()?;
        let is_of_run = line["run_id"].as_str() == Some(self.wanted.run_id.as_str());
        let is_heartbeat = line.get("seq").is_none();
        (is_of_run && (self.wanted.heartbeats || !is_heartbeat)).then_some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(heartbeats: bool) -> Wanted {
        Wanted {
            run_id: RunId("r\"1".to_owned()),
            first_seen: None,
            newest: None,
            heartbeats,
        }
    }

    fn line(seq: i64, run_id: &str) -> String {
        serde_json::json!({"seq": seq, "ts": "2025-11-26T14:46:52.742+00:00", "event": "X", "run_id": run_id})
            .to_string()
            + "\n"
    }

    fn seqs(lines: &[Value]) -> Vec<i64> {
        lines.iter().filter_map(|line| line["seq"].as_i64()).collect()
    }

    #[test]
    fn lines_of_the_run_are_found_also_in_rotated_files_and_the_newest_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        write(
            "monitor.0001-000000000002-0000.jsonl",
            line(1, "r\"1") + &line(2, "r"),
        );
        write(
            "monitor.jsonl",
            format!(
                "{}not json r\\\"1\n{{\"ts\":\"x\",\"run_id\":\"r\\\"1\"}}\n",
                line(3, "r\"1")
            ),
        );
        write("archival.jsonl", line(4, "r\"1") + &line(5, "r\"1"));
        let mut reader = Reader::start(folder.path(), wanted(false));
        assert_eq!(seqs(&reader.all(10).unwrap()), [1, 3, 4, 5]);
        assert_eq!(seqs(&reader.all(1).unwrap()), [3, 5]);
        assert_eq!(
            Reader::start(folder.path(), wanted(true)).all(10).unwrap().len(),
            5
        );
    }

    #[test]
    fn what_is_appended_is_read_once_also_around_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("monitor.jsonl");
        let mut reader = Reader::start(folder.path(), wanted(false));
        assert_eq!(reader.all(10).unwrap().len(), 0);
        let half = line(2, "r\"1");
        std::fs::write(&path, line(1, "r\"1") + &half[..10]).unwrap();
        assert_eq!(seqs(&reader.appended().unwrap()), [1]);
        std::fs::write(&path, line(1, "r\"1") + &half).unwrap();
        assert_eq!(seqs(&reader.appended().unwrap()), [2]);
        std::fs::write(&path, line(1, "r\"1") + &half + &line(3, "r\"1")).unwrap();
        std::fs::rename(&path, folder.path().join("monitor.0001-000000000003-0000.jsonl")).unwrap();
        std::fs::write(
            folder.path().join("monitor.0001-000000000004-0000.jsonl"),
            line(4, "r\"1"),
        )
        .unwrap();
        std::fs::write(&path, line(5, "r\"1")).unwrap();
        assert_eq!(seqs(&reader.appended().unwrap()), [3, 4, 5]);
        assert_eq!(seqs(&reader.appended().unwrap()), [0_i64; 0]);
    }
}
