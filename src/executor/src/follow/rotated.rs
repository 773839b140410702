//! Logs that have lost their names: rotated within their folder, moved elsewhere, deleted.
//!
//! A program that has a log open goes on writing into it when it is renamed, and one that opens it for each
//! line may do so at that very moment. So a rotated log is followed on under its new name, for as long as
//! it keeps that; one whose name is nowhere to be found is read through its descriptor until nothing has
//! come for [`QUIET`]. Which of both a file is, core says, which knows its beginning: a name or a reused
//! inode number proves nothing.

use super::named::NamedFile;
use super::scan::{Scan, Stamp};
use std::collections::VecDeque;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// So many are followed under their new names, the newest.
const FOLLOWED: usize = 256;
/// Nothing more is expected of a file without a name when nothing has come for so long.
const QUIET: Duration = Duration::from_secs(2);
/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(100);

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
