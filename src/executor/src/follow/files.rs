//! Each followed file: what of it was read, and which is next.
//!
//! Order of catching up: what was written to just now comes first, and of what was found at the start
//! the newest, because that is what somebody waits for. A file with more to read than one slice goes to
//! the end of a second queue, where every file gets one slice in its turn; after [`FRESH_IN_A_ROW`]
//! fresh files one of those has its turn. So a log of 10 GB delays a new line by one slice, and a
//! thousand busy logs can't keep it from being read.

use super::scan::Stamp;
use runchain_core::ingest::Unended;
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Instant;

const FRESH_IN_A_ROW: u32 = 16;

/// A last line without a newline.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeldLine {
    /// Row in `runchain_ingest_files`.
    pub(super) file_id: i64,
    /// Since when nothing was added to it.
    pub(super) since: Instant,
    pub(super) bytes: u64,
}

/// What is known of a file.
#[derive(Debug, Default)]
pub(super) struct File {
    /// As it was when it was last read; `None`: not yet.
    pub(super) read: Option<Stamp>,
    pub(super) held: Option<HeldLine>,
    /// A line over the limit that has no end yet.
    pub(super) unended: Option<Unended>,
    /// The inode that was under this name when was looked what became of the one before it.
    pub(super) sought_for: Option<u64>,
    /// In one of the queues.
    queued: bool,
    /// More is left than one slice.
    pub(super) behind: bool,
}

/// What is to be read next.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Job {
    /// What is new in a file.
    Read(PathBuf),
    /// What is left of a file that was rotated away, and is here now.
    Rotated(PathBuf),
    /// The same of one that nobody had read before.
    Missed(PathBuf),
    /// The last line of a file as it is, without its newline.
    Finish(PathBuf),
}

/// All files, and the order.
#[derive(Debug, Default)]
pub(super) struct Files {
    known: BTreeMap<PathBuf, File>,
    first: VecDeque<Job>,
    fresh: VecDeque<PathBuf>,
    behind: VecDeque<PathBuf>,
    fresh_in_a_row: u32,
}

impl Files {
    pub(super) fn get_mut(&mut self, path: &Path) -> Option<&mut File> {
        self.known.get_mut(path)
    }

    pub(super) fn get(&self, path: &Path) -> Option<&File> {
        self.known.get(path)
    }

    /// Takes over what is there now; answers what was read and is gone, or has lost its name to another.
    pub(super) fn renew(&mut self, found: &BTreeMap<PathBuf, Stamp>) -> Vec<(PathBuf, Stamp)> {
        let read = self
            .known
            .iter()
            .filter_map(|(path, file)| Some((path, file.read?)));
        let rotated = read.filter(|(path, was)| found.get(*path).is_none_or(|now| !now.is_file_of(was)));
        let rotated: Vec<_> = rotated.map(|(path, was)| (path.clone(), was)).collect();
        self.known.retain(|path, _| found.contains_key(path));
        for queue in [&mut self.fresh, &mut self.behind] {
            queue.retain(|path| found.contains_key(path));
        }
        let mut changed: Vec<(&PathBuf, &Stamp)> = found
            .iter()
            .filter(|(path, stamp)| {
                self.known
                    .get(*path)
                    .is_none_or(|file| file.read != Some(**stamp))
            })
            .collect();
        // The last one that is put in front is the first to be read.
        changed.sort_by_key(|(_, stamp)| stamp.modified_ns);
        for (path, _) in changed {
            self.known.entry(path.clone()).or_default();
            self.changed(path);
        }
        rotated
    }

    /// A file was written to.
    pub(super) fn changed(&mut self, path: &Path) {
        if let Some(file) = self.known.get_mut(path).filter(|file| !file.queued) {
            file.queued = true;
            self.fresh.push_front(path.to_owned());
        }
    }

    /// A slice was read, and more is left.
    pub(super) fn left(&mut self, path: &Path) {
        if let Some(file) = self.known.get_mut(path) {
            (file.queued, file.behind) = (true, true);
            self.behind.push_back(path.to_owned());
        }
    }

    /// Reading failed in a way that passes: the same again.
    pub(super) fn again(&mut self, job: Job) {
        match job {
            Job::Rotated(_) | Job::Missed(_) | Job::Finish(_) => self.first.push_front(job),
            Job::Read(path) => {
                if let Some(file) = self.known.get_mut(&path) {
                    file.queued = true;
                    self.fresh.push_front(path);
                }
            }
        }
    }

    /// This comes before everything else.
    pub(super) fn first(&mut self, job: Job) {
        if !self.first.contains(&job) {
            self.first.push_back(job);
        }
    }

    /// A file that was rotated away is followed under the name that it has now.
    pub(super) fn adopt(&mut self, path: &Path) {
        self.known.entry(path.to_owned()).or_default();
    }

    /// What is next.
    pub(super) fn next(&mut self) -> Option<Job> {
        if let Some(job) = self.first.pop_front() {
            return Some(job);
        }
        let is_turn_of_fresh = self.fresh_in_a_row < FRESH_IN_A_ROW || self.behind.is_empty();
        let fresh = if is_turn_of_fresh {
            self.fresh.pop_front()
        } else {
            None
        };
        let path = match fresh {
            Some(path) => {
                self.fresh_in_a_row += 1;
                path
            }
            None => {
                self.fresh_in_a_row = 0;
                self.behind.pop_front()?
            }
        };
        if let Some(file) = self.known.get_mut(&path) {
            (file.queued, file.behind) = (false, false);
        }
        Some(Job::Read(path))
    }

    /// Whether nothing waits to be read.
    pub(super) fn is_idle(&self) -> bool {
        self.first.is_empty() && self.fresh.is_empty() && self.behind.is_empty()
    }

    /// Files with a last line without newline.
    pub(super) fn held(&self) -> impl Iterator<Item = (&PathBuf, HeldLine)> {
        self.known
            .iter()
            .filter_map(|(path, file)| Some((path, file.held?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(modified_ns: i128) -> Stamp {
        Stamp {
            inode: 1,
            device: 1,
            size_bytes: 1,
            modified_ns,
        }
    }

    fn files(found: &[(&str, i128)]) -> Files {
        let mut files = Files::default();
        let found = found.iter().map(|&(path, at)| (PathBuf::from(path), stamp(at)));
        files.renew(&found.collect());
        files
    }

    fn next(files: &mut Files) -> String {
        match files.next() {
            Some(Job::Read(path)) => path.display().to_string(),
            Some(Job::Rotated(path)) => format!("rotated {}", path.display()),
            Some(Job::Missed(path)) => format!("missed {}", path.display()),
            Some(Job::Finish(path)) => format!("finish {}", path.display()),
            None => "-".to_owned(),
        }
    }

    #[test]
    fn the_newest_file_is_read_first_and_what_is_written_now_before_it() {
        let mut files = files(&[("old", 1), ("new", 3), ("middle", 2)]);
        assert_eq!(next(&mut files), "new");
        files.changed(Path::new("new"));
        files.changed(Path::new("old"));
        files.first(Job::Rotated("away".into()));
        let order = [(); 5].map(|()| next(&mut files));
        assert_eq!(order, ["rotated away", "new", "middle", "old", "-"]);
    }

    #[test]
    fn a_large_file_and_busy_ones_take_turns() {
        let mut files = files(&[("large", 2), ("busy", 1)]);
        assert_eq!(next(&mut files), "large");
        files.left(Path::new("large"));
        files.changed(Path::new("large"));
        let mut reads = Vec::new();
        for _ in 0..40 {
            let path = next(&mut files);
            if path == "large" {
                files.left(Path::new("large"));
            }
            // It is written to all the time.
            files.changed(Path::new("busy"));
            reads.push(path);
        }
        let large = reads.iter().filter(|path| *path == "large").count();
        assert_eq!((large, reads.len() - large), (2, 38));
    }
}
