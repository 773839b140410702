//! Logs that were rotated while nobody followed, found by the checkpoints at a start and after a rotation.
//!
//! A log that was read before has another name now, or has grown under one that no place means: its rest
//! is read, and it is followed on. One that was never read has the name of a log with a number or a date
//! behind it, and was written to after that log was first read: it came and went meanwhile, or is the copy
//! of one that was truncated then. What such a copy repeats are duplicates. What is older than that is
//! history, which nobody has asked for.

use super::files::Job;
use super::scan::Scan;
use runchain_core::Millis;
use runchain_core::error::{During, Result};
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A log that was rotated within this time is followed on though nothing was added to it.
const RECENT_MS: i64 = 24 * 60 * 60 * 1_000;
/// The times of files are those of the system's last tick.
const CLOCK_MS: i64 = 20;

/// What is to be read of them.
pub(super) fn left_behind(conn: &Connection, scan: &Scan) -> Result<BTreeSet<Job>> {
    let (mut rows, now) = (rows(conn)?, Millis::now());
    rows.retain(|row| scan.log_of(&row.path).is_some());
    let mut first_read: BTreeMap<PathBuf, Millis> = BTreeMap::new();
    for row in &rows {
        let first = first_read.entry(scan.log_of(&row.path).unwrap_or_default());
        let first = first.or_insert(row.first_read);
        *first = row.first_read.min(*first);
    }
    let folders: BTreeSet<&Path> = first_read.keys().filter_map(|log| log.parent()).collect();
    let known: BTreeMap<u64, &Row> = rows.iter().map(|row| (row.inode, row)).collect();
    let mut left = BTreeSet::new();
    for (inode, path) in folders.into_iter().flat_map(entries) {
        let (row, log) = (known.get(&inode), log_before_rotation(&path, scan));
        if scan.files.contains_key(&path) || (row.is_none() && log.is_none()) {
            continue;
        }
        let Some(file) = metadata(&path).filter(|file| file.ino() == inode) else {
            continue;
        };
        let may_go_on = row.map(|row| row.may_go_on_in(&file, now));
        let first_read = log.and_then(|log| first_read.get(&log));
        if first_read.is_some_and(|first| modified(&file).plus(CLOCK_MS) >= *first) {
            // A number that is used again makes no other file of it: core looks at its beginning.
            left.extend(may_go_on.unwrap_or(true).then_some(Job::Missed(path)));
        } else {
            left.extend(may_go_on.unwrap_or(false).then_some(Job::Rotated(path)));
        }
    }
    Ok(left)
}

/// A checkpoint of a log of which something was read.
struct Row {
    path: PathBuf,
    inode: u64,
    offset_bytes: u64,
    first_read: Millis,
}

impl Row {
    fn may_go_on_in(&self, file: &Metadata, now: Millis) -> bool {
        file.len() > self.offset_bytes || now.since(modified(file)) < RECENT_MS
    }
}

fn rows(conn: &Connection) -> Result<Vec<Row>> {
    conn.prepare(
        "SELECT path, inode, offset_bytes, first_read_ms FROM runchain_ingest_files WHERE offset_bytes > 0",
    )
    .and_then(|mut statement| {
        let rows = statement.query_map([], |row| {
            Ok(Row {
                path: PathBuf::from(row.get::<_, String>(0)?),
                // Core keeps the bits in SQLite's signed numbers.
                inode: row.get::<_, i64>(1)? as u64,
                offset_bytes: row.get::<_, i64>(2)?.unsigned_abs(),
                first_read: row.get(3)?,
            })
        })?;
        rows.collect()
    })
    .during("look which event logs were read")
}

fn entries(folder: &Path) -> Vec<(u64, PathBuf)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let entries = entries.filter_map(std::result::Result::ok);
    entries.map(|entry| (entry.ino(), entry.path())).collect()
}

/// Of a plain file.
fn metadata(path: &Path) -> Option<Metadata> {
    std::fs::symlink_metadata(path).ok().filter(Metadata::is_file)
}

fn modified(file: &Metadata) -> Millis {
    Millis(file.mtime().saturating_mul(1_000) + file.mtime_nsec() / 1_000_000)
}

/// The log whose name a file has, with a number or a date behind it: `x.jsonl.1`, `x.jsonl-20260301`, no
/// `x.jsonl.1.gz`.
fn log_before_rotation(path: &Path, scan: &Scan) -> Option<PathBuf> {
    let log = scan.log_of(path)?;
    let name = path.file_name()?.as_bytes();
    let behind = name.strip_prefix(log.file_name()?.as_bytes())?;
    let is_number = behind.iter().any(u8::is_ascii_digit)
        && behind
            .iter()
            .all(|byte| byte.is_ascii_digit() || b".-_T:".contains(byte));
    is_number.then_some(log)
}

/// The names that a log may have had before it was rotated, `x.jsonl` for `x.jsonl.1`, and its own.
pub(super) fn names_before(path: &Path) -> impl Iterator<Item = PathBuf> {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let ends = name.iter().enumerate().skip(1);
    let ends = ends.filter_map(|(at, byte)| b".-_".contains(byte).then_some(at));
    ends.chain([name.len()])
        .map(|end| path.with_file_name(OsStr::from_bytes(&name[..end])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_log_may_have_had_any_beginning_of_its_name() {
        let names = |path| names_before(Path::new(path)).collect::<Vec<_>>();
        assert_eq!(
            names("/e/x.jsonl.1"),
            ["/e/x", "/e/x.jsonl", "/e/x.jsonl.1"].map(PathBuf::from)
        );
        assert_eq!(names("/e/.x"), ["/e/.x"].map(PathBuf::from));
    }

    #[test]
    fn a_number_or_a_date_behind_a_logs_name_is_of_a_rotation() {
        let mut scan = Scan::default();
        scan.files
            .insert("/e/x.jsonl".into(), super::super::scan::Stamp::default());
        let is_rotated = |name| log_before_rotation(&Path::new("/e").join(name), &scan).is_some();
        for name in [
            "x.jsonl.1",
            "x.jsonl-20260301",
            "x.jsonl.2026-03-01_12",
            "x.jsonl.1.2",
        ] {
            assert!(is_rotated(name), "{name}");
        }
        for name in [
            "x.jsonl",
            "x.jsonl.",
            "x.jsonl.1.gz",
            "x.jsonl.bak",
            "y.jsonl.1",
            "x.jsonl1",
        ] {
            assert!(!is_rotated(name), "{name}");
        }
    }
}
