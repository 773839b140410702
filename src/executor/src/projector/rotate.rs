//! Rotation: a log that is large or old is renamed, and a new one begins with a header.
//!
//! Only the projector rotates, and only when the cursor in the database covers every line: whatever
//! is killed between rename, header and cursor, the cursor alone then says where to go on. Nothing
//! is ever appended to a file once it is renamed, so that a reader with `tail -F` misses nothing.
//! Renamed files are `monitor.EEEE-SSSSSSSSSSSS-NNNN.jsonl`: epoch, last seq and a number, which sort by age.
//!
//! What does not belong here: bags and reports, and their retention.

use super::line::Origin;
use super::logfile::LogFile;
use crate::fault;
use runchain_core::Millis;
use runchain_core::error::{Error, Result};
use runchain_core::event::Log;
use serde_json::json;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// When a log is rotated, and how many renamed files of each log are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rotation {
    /// A log of this size is rotated; 0: never for its size.
    pub(crate) bytes: u64,
    /// A log whose first line is this old is rotated; 0: never for its age.
    pub(crate) after_ms: i64,
    /// Renamed files of each log that stay; the oldest go first.
    pub(crate) keep_files: usize,
    /// Renamed files older than this go; 0: never for their age.
    pub(crate) keep_days: i64,
    /// Renamed files of each log have at most this size together; 0: any.
    pub(crate) keep_bytes: u64,
}

impl Rotation {
    /// Whether this file has had its time. An empty one never has.
    pub(super) fn is_due(self, file: &LogFile, now: Millis) -> Result<bool> {
        let size_bytes = file.size_bytes()?;
        if size_bytes == 0 {
            return Ok(false);
        }
        if self.bytes > 0 && size_bytes >= self.bytes {
            return Ok(true);
        }
        Ok(self.after_ms > 0
            && file
                .began()?
                .is_some_and(|began| now.since(began) >= self.after_ms))
    }
}

/// Renames the log and begins a new one. `position` is the event up to which the cursor stands.
pub(super) fn rotate(
    log: Log,
    old: &LogFile,
    path: &Path,
    origin: &Origin,
    position: i64,
    now: Millis,
) -> Result<LogFile> {
    // Heartbeats at its end may not be on the disk yet, and nobody mends a renamed file.
    old.sync()?;
    let renamed = free_name(log, path, origin, position);
    fault::point("rotate-before-rename");
    fs::rename(path, &renamed).map_err(|source| Error::io("rotate the log", path, source))?;
    fault::point("rotate-after-rename");
    let mut file = LogFile::open(path)?;
    let header = json!({
        "after_seq": position, "epoch": origin.epoch, "db": origin.uuid, "ts": now.iso(), "event": "LOG_OPENED",
        "previous": renamed.file_name().unwrap_or_default().to_string_lossy(),
    });
    file.append(&format!("{header}\n"), true)?;
    Ok(file)
}

/// A log of heartbeats alone can be rotated twice at one position.
fn free_name(log: Log, path: &Path, origin: &Origin, position: i64) -> PathBuf {
    let name = |number: u32| {
        let (prefix, epoch) = (prefix(log), origin.epoch);
        path.with_file_name(format!("{prefix}{epoch:04}-{position:012}-{number:04}.jsonl"))
    };
    (0..)
        .map(name)
        .find(|path| !path.exists())
        .unwrap_or_else(|| name(0))
}

fn prefix(log: Log) -> String {
    format!("{}.", log.file_name().trim_end_matches(".jsonl"))
}

/// Removes the oldest renamed files beyond number, size and age.
pub(super) fn retain(log: Log, folder: &Path, rotation: Rotation, now: Millis) -> Result<()> {
    let mut surplus = 0;
    let mut files = renamed(log, folder)?;
    files.reverse();
    let (mut newer_bytes, mut is_over) = (0, false);
    for (newer, path) in files.iter().enumerate() {
        let found = fs::metadata(path).map_err(|source| Error::io("look at the old log", path, source))?;
        newer_bytes += found.len();
        let age_ms = now.since(Millis(found.mtime().saturating_mul(1_000)));
        is_over |= newer >= rotation.keep_files
            || (rotation.keep_bytes > 0 && newer_bytes > rotation.keep_bytes)
            || (rotation.keep_days > 0 && age_ms / 86_400_000 >= rotation.keep_days);
        if is_over {
            fs::remove_file(path).map_err(|source| Error::io("remove the old log", path, source))?;
            surplus += 1;
        }
    }
    if surplus > 0 {
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| Error::io("sync the log folder", folder, source))?;
    }
    Ok(())
}

/// The files of a log that are there, the oldest first, the current one last.
pub(crate) fn files_of(folder: &Path, log: Log) -> Result<Vec<PathBuf>> {
    let mut files = match renamed(log, folder) {
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        files => files?,
    };
    files.push(folder.join(log.file_name()));
    files.retain(|path| path.is_file());
    Ok(files)
}

/// The renamed files of a log, the oldest first.
pub(crate) fn renamed(log: Log, folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|source| Error::io("list the logs in", folder, source))?;
    let mut renamed: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| is_renamed(log, path))
        .collect();
    renamed.sort();
    Ok(renamed)
}

/// Whether a file of this name in the log folder is one of our logs.
pub(crate) fn is_log(path: &Path) -> bool {
    let is_current = |log: Log| path.file_name() == Some(log.file_name().as_ref());
    Log::ALL
        .into_iter()
        .any(|log| is_current(log) || is_renamed(log, path))
}

fn is_renamed(log: Log, path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.strip_prefix(&prefix(log))
        .and_then(|rest| rest.strip_suffix(".jsonl"))
        .is_some_and(|middle| {
            middle.contains('-') && middle.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_renamed_files_are_removed_the_oldest_first() {
        let folder = tempfile::tempdir().unwrap();
        let names = [
            "monitor.0001-000000000010-0000.jsonl",
            "monitor.0001-000000000010-0001.jsonl",
            "monitor.0001-000000000200-0000.jsonl",
            "monitor.0002-000000000005-0000.jsonl",
            "archival.0001-000000000010-0000.jsonl",
            "monitor.jsonl",
            "monitor.backup.jsonl",
            "monitor.0001-x.jsonl",
        ];
        for name in names {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        let rotation = Rotation {
            bytes: 0,
            after_ms: 0,
            keep_files: 3,
            keep_days: 0,
            keep_bytes: 0,
        };
        retain(Log::Monitor, folder.path(), rotation, Millis::now()).unwrap();
        let mut left: Vec<String> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(
            left,
            [
                "archival.0001-000000000010-0000.jsonl",
                "monitor.0001-000000000010-0001.jsonl",
                "monitor.0001-000000000200-0000.jsonl",
                "monitor.0001-x.jsonl",
                "monitor.0002-000000000005-0000.jsonl",
                "monitor.backup.jsonl",
                "monitor.jsonl",
            ]
        );
    }
}
