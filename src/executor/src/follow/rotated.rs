//! Logs that have lost their names: rotated within their folder, moved elsewhere, deleted.
//!
//! A program that has a log open goes on writing into it when it is renamed, and one that opens it for each
//! line may do so at that very moment. So a rotated log is followed on under its new name, for as long as
//! it keeps that; one whose name is nowhere to be found is read through its descriptor until nothing has
//! come for [`QUIET`]. Which of both a file is, core says, which knows its beginning: a name or a reused
//! inode number proves nothing.

use super::named::NamedFile;
use super::scan::{Scan, Stamp};
use runchain_core::error::{During, Result};
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// So many are followed under their new names, the newest.
const FOLLOWED: usize = 256;
/// Nothing more is expected of a file without a name when nothing has come for so long.
const QUIET: Duration = Duration::from_secs(2);
/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// At a start, a log that was rotated within this time is followed on though nothing was added to it.
const RECENT: Duration = Duration::from_secs(24 * 60 * 60);

/// Logs that are followed under the names that rotation gave them.
#[derive(Debug, Default)]
pub(super) struct Rotated {
    files: VecDeque<(PathBuf, u64)>,
}

impl Rotated {
    /// This one, too.
    pub(super) fn add(&mut self, path: &Path, inode: u64) {
        self.files.retain(|(known, _)| known != path);
        self.files.push_back((path.to_owned(), inode));
        if self.files.len() > FOLLOWED {
            self.files.pop_front();
        }
    }

    /// Whether a file gets no more lines by its own name.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.files.iter().any(|(known, _)| known == path)
    }

    /// Adds those that still have their names to what was found.
    pub(super) fn add_to(&mut self, scan: &mut Scan) {
        self.files.retain(|(path, inode)| {
            let found = std::fs::symlink_metadata(path).ok();
            let found = found.filter(|found| found.is_file() && found.ino() == *inode);
            if let Some(found) = &found {
                scan.files.entry(path.clone()).or_insert_with(|| Stamp::of(found));
            }
            found.is_some()
        });
    }
}

/// A file whose name is gone.
#[derive(Debug)]
struct Orphan {
    file: NamedFile,
    /// As it was when it was read to its end.
    read: Option<Stamp>,
    changed: Instant,
}

/// What is to be done with an orphan.
pub(super) enum Due {
    /// There is something to read.
    Read(NamedFile),
    /// Nothing has come for long: its last line is taken as it is.
    Finish(NamedFile),
}

/// Files that can only be reached by their descriptors.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    files: Vec<Orphan>,
    look_at: Option<Instant>,
}

impl Orphans {
    pub(super) fn add(&mut self, file: NamedFile) {
        self.files.push(Orphan {
            file,
            read: None,
            changed: Instant::now(),
        });
        self.look_at = Some(Instant::now());
    }

    /// When one is to be looked at.
    pub(super) fn due(&self) -> Option<Instant> {
        self.look_at
    }

    /// Takes the next one out that has something to do.
    pub(super) fn next(&mut self) -> Option<Due> {
        let now = Instant::now();
        if self.look_at.is_none_or(|at| at > now) {
            return None;
        }
        let index = self.files.iter().position(Orphan::has_something_to_do);
        let Some(index) = index else {
            self.look_at = (!self.files.is_empty()).then_some(now + LOOK_EVERY);
            return None;
        };
        let orphan = self.files.swap_remove(index);
        Some(if orphan.is_quiet() {
            Due::Finish(orphan.file)
        } else {
            Due::Read(orphan.file)
        })
    }

    /// One was read as far as it was at `read`; `None`: something is left of it.
    pub(super) fn put_back(&mut self, file: NamedFile, read: Option<Stamp>) {
        let changed = Instant::now();
        self.files.push(Orphan { file, read, changed });
        self.look_at = Some(changed);
    }
}

impl Orphan {
    fn is_quiet(&self) -> bool {
        self.changed.elapsed() >= QUIET && !self.has_grown()
    }

    fn has_grown(&self) -> bool {
        self.read.is_none() || self.file.stamp().ok() != self.read
    }

    fn has_something_to_do(&self) -> bool {
        self.is_quiet() || self.has_grown()
    }
}

/// Logs that were read before, have other names now or have grown under names that nobody has named: they
/// were rotated, and whoever followed them ended before they were read to their ends.
pub(super) fn left_behind(conn: &Connection, scan: &Scan) -> Result<Vec<PathBuf>> {
    let mut folders: BTreeMap<PathBuf, BTreeMap<u64, PathBuf>> = BTreeMap::new();
    let mut found = BTreeSet::new();
    for row in rows(conn)? {
        let Some(folder) = row.path.parent().filter(|_| scan.means_log(&row.path)) else {
            continue;
        };
        let entries = folders
            .entry(folder.to_owned())
            .or_insert_with_key(|folder| entries(folder));
        let Some(path) = entries
            .get(&row.inode)
            .filter(|path| !scan.files.contains_key(*path))
        else {
            continue;
        };
        let metadata = std::fs::symlink_metadata(path).ok();
        if metadata.is_some_and(|metadata| row.may_go_on_in(&metadata)) {
            found.insert(path.clone());
        }
    }
    Ok(found.into_iter().collect())
}

/// A checkpoint.
struct Row {
    path: PathBuf,
    inode: u64,
    offset_bytes: u64,
}

impl Row {
    fn may_go_on_in(&self, file: &Metadata) -> bool {
        let is_recent = || {
            let age = file.modified().map(|at| SystemTime::now().duration_since(at));
            // In the future: as recent as can be.
            age.is_ok_and(|age| age.unwrap_or_default() < RECENT)
        };
        file.is_file() && file.ino() == self.inode && (file.len() > self.offset_bytes || is_recent())
    }
}

fn rows(conn: &Connection) -> Result<Vec<Row>> {
    conn.prepare("SELECT path, inode, offset_bytes FROM runchain_ingest_files WHERE offset_bytes > 0")
        .and_then(|mut statement| {
            let rows = statement.query_map([], |row| {
                Ok(Row {
                    path: PathBuf::from(row.get::<_, String>(0)?),
                    // Core keeps the bits in SQLite's signed numbers.
                    inode: row.get::<_, i64>(1)? as u64,
                    offset_bytes: row.get::<_, i64>(2)?.unsigned_abs(),
                })
            })?;
            rows.collect()
        })
        .during("look which event logs were read")
}

fn entries(folder: &Path) -> BTreeMap<u64, PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let entries = entries.filter_map(std::result::Result::ok);
    entries.map(|entry| (entry.ino(), entry.path())).collect()
}

/// The names that a log may have had before it was rotated, `x.jsonl` for `x.jsonl.1`, and its own.
pub(super) fn names_before(path: &Path) -> impl Iterator<Item = PathBuf> {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let ends = name.iter().enumerate().skip(1);
    let dots = ends.filter_map(|(at, byte)| (*byte == b'.').then_some(at));
    dots.chain([name.len()])
        .map(|end| path.with_file_name(std::ffi::OsStr::from_bytes(&name[..end])))
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
}
