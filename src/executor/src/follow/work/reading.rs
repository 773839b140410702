//! A slice of one file: of one that has its name, or of one that has lost it.

use super::super::files::{HeldLine, Job};
use super::super::named::{Extent, NamedFile, last_known};
use super::super::rotated::Due;
use super::super::scan::Stamp;
use super::{HELD_OPEN, Work};
use runchain_core::error::{Error, Result};
use runchain_core::ingest::{Identity, IngestOptions, IngestReport};
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::time::Instant;

impl Work {
    pub(super) fn read(&mut self, conn: &Connection, job: &Job, path: &Path) -> Result<Option<IngestReport>> {
        let named = NamedFile::below(&self.roots, path)?;
        // Before it is read: what is appended meanwhile is new.
        let stamp = named.stamp()?;
        if matches!(job, Job::Read(_)) && self.follows_another(conn, path, &stamp)? {
            self.files.again(Job::Read(path.to_owned()));
            return Ok(None);
        }
        let file = self.files.get(path);
        // A line to which something was added meanwhile is judged anew.
        let has_grown = file.is_some_and(|file| file.read != Some(stamp));
        let extent = match job {
            Job::Rotated(_) => Extent::KnownLines,
            Job::Finish(_) if !has_grown => Extent::KnownToItsEnd,
            Job::Read(_) | Job::Missed(_) | Job::Finish(_) => Extent::Lines,
        };
        let report = named.read_slice(conn, self.options(path), extent)?;
        if extent != Extent::Lines && report.file_id == 0 {
            // Another log, which only has that one's number.
            return Ok(None);
        }
        if matches!(job, Job::Rotated(_) | Job::Missed(_)) && !self.rotated.has(path) {
            self.rotated.add(path, stamp.inode);
            self.files.adopt(path);
            // So that it is watched.
            self.rescan = true;
        }
        if matches!(report.identity, Identity::Truncated | Identity::Rewritten) {
            // A copy may hold what it had.
            self.recovered = false;
        }
        if let Some(file) = self.files.get_mut(path) {
            file.read = Some(stamp);
            file.held = hold(file.held, &report);
            file.unended.clone_from(&report.unended);
            self.judge_held |= file.held.is_some();
        }
        if report.left > 0 {
            self.files.left(path);
        }
        self.keep(path, named);
        self.inbox.minds_database(self.files.held().next().is_some());
        Ok(Some(report))
    }

    fn options(&self, path: &Path) -> IngestOptions {
        let mut options = self.how.options(path);
        if options.format.is_none() {
            // A rotated log is understood as the one whose name it had.
            let log = self.seen.log_of(path);
            options.format = log.and_then(|log| self.how.options(&log).format);
        }
        IngestOptions {
            unended: self.files.get(path).and_then(|file| file.unended.clone()),
            ..options
        }
    }

    /// Holds a file for the case that it loses its name; rather one of which something is left.
    fn keep(&mut self, path: &Path, named: NamedFile) {
        if self.open.len() >= HELD_OPEN && !self.open.contains_key(path) {
            let is_read = |path: &&PathBuf| self.files.get(path).is_none_or(|file| !file.behind);
            let Some(read) = self.open.keys().find(is_read).cloned() else {
                return;
            };
            self.open.remove(&read);
        }
        self.open.insert(path.to_owned(), named);
    }

    /// Reads on in a file that was deleted or moved away.
    pub(super) fn read_orphan(&mut self, conn: &Connection) -> Result<Option<IngestReport>> {
        let (named, extent) = match self.orphans.next() {
            Some(Due::Read(named)) => (named, Extent::KnownLines),
            Some(Due::Finish(named)) => (named, Extent::KnownToItsEnd),
            None => return Ok(None),
        };
        let stamp = named.stamp()?;
        match named.read_slice(conn, self.how.options(&named.path), extent) {
            Ok(report) => {
                if report.left > 0 {
                    self.orphans.put_back(named, None);
                } else if extent == Extent::KnownLines {
                    self.orphans.put_back(named, Some(stamp));
                }
                Ok(Some(report))
            }
            Err(error @ (Error::Io { .. } | Error::Refused { .. })) => {
                self.unsaid.push((named.path, error.to_string()));
                Ok(None)
            }
            Err(error) => {
                self.orphans.put_back(named, None);
                Err(error)
            }
        }
    }

    /// Before a file is read for the first time, or after another has taken its name: what became of the
    /// one that had it? Answers whether that is to be read first.
    fn follows_another(&mut self, conn: &Connection, path: &Path, stamp: &Stamp) -> Result<bool> {
        let Some(file) = self.files.get_mut(path) else {
            return Ok(false);
        };
        let was = match file.read {
            Some(was) => Some(was.inode),
            None if file.sought_for == Some(stamp.inode) => None,
            None => last_known(conn, path)?,
        };
        file.sought_for = Some(stamp.inode);
        let Some(was) = was.filter(|was| *was != stamp.inode) else {
            return Ok(false);
        };
        (file.read, file.held, file.unended) = (None, None, None);
        Ok(self.depart(path, was))
    }
}

/// What is held of a file after it was read.
fn hold(before: Option<HeldLine>, report: &IngestReport) -> Option<HeldLine> {
    let same = before.filter(|held| held.bytes == report.pending && held.file_id == report.file_id);
    let new = || HeldLine {
        file_id: report.file_id,
        since: Instant::now(),
        bytes: report.pending,
    };
    (report.pending > 0).then(|| same.unwrap_or_else(new))
}
