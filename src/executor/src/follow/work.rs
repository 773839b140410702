//! The work of a follower: looks which files there are, reads one slice of one of them at a time, and
//! notices what was rotated, refused or held.
//!
//! A log that is rotated by rename within its folder is known by its inode: what is left of it is read
//! under its new name, whatever that is, before the new one is begun, and it is followed on there. Core
//! makes sure that it is that log and not another file with a reused number.

use super::files::{Files, HeldLine, Job};
use super::held::{self, Verdict};
use super::how::{How, Times};
use super::inbox::{Changes, Inbox};
use super::left_behind::left_behind;
use super::named::{NamedFile, find};
use super::places::Places;
use super::rotated::{Orphans, Rotated};
use super::scan::Scan;
use super::watch::Watch;
use runchain_core::error::{Error, Result};
use runchain_core::ingest::IngestReport;
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

mod reading;

/// Looking at everything takes at most one part in this many of the time.
const SCAN_SHARE: u32 = 20;
/// However long it took.
const LONGEST_SCAN_PAUSE: Duration = Duration::from_secs(5);
/// Files that are held, those first of which more than a slice is left, so that one that is deleted or moved
/// away is read to its end.
const HELD_OPEN: usize = 128;
/// Looks until the watches fit what is there; what moves on after that is told.
const SCANS: usize = 4;

/// What a turn did.
pub(super) enum Turn {
    /// It read a slice.
    Read(Box<IngestReport>),
    /// There is nothing to do before then, unless something changes.
    Nothing(Instant),
}

/// The state of a follower.
pub(super) struct Work {
    places: Places,
    how: How,
    times: Times,
    inbox: Arc<Inbox>,
    watch: Watch,
    roots: Vec<PathBuf>,
    files: Files,
    /// Files as they were when they were last read.
    open: BTreeMap<PathBuf, NamedFile>,
    /// Those of them that have lost their names.
    orphans: Orphans,
    /// Logs that have other names now.
    rotated: Rotated,
    /// What was rotated while nobody followed was looked for, since the last rotation.
    recovered: bool,
    /// What was said of each file that can't be read.
    said: BTreeMap<PathBuf, String>,
    unsaid: Vec<(PathBuf, String)>,
    /// What the last look found.
    seen: Scan,
    /// Everything is to be looked at, not before `scan_after`.
    rescan: bool,
    scan_after: Instant,
    /// The fallback.
    poll_at: Instant,
    judge_held: bool,
    judge_at: Option<Instant>,
}

impl Work {
    pub(super) fn new(places: Places, how: How, inbox: Arc<Inbox>) -> Self {
        let now = Instant::now();
        let watch = Watch::new(Arc::clone(&inbox));
        let mut unsaid = Vec::new();
        let watch = watch.unwrap_or_else(|error| {
            unsaid.push((
                PathBuf::from("event logs"),
                format!("can't be watched ({error}); looking instead"),
            ));
            Watch::none()
        });
        Self {
            times: Times::of(&how.settings),
            places,
            how,
            inbox,
            watch,
            roots: Vec::new(),
            files: Files::default(),
            open: BTreeMap::new(),
            orphans: Orphans::default(),
            rotated: Rotated::default(),
            recovered: false,
            said: BTreeMap::new(),
            unsaid,
            seen: Scan::default(),
            rescan: true,
            scan_after: now,
            poll_at: now,
            judge_held: false,
            judge_at: None,
        }
    }

    /// Takes over what has changed.
    pub(super) fn take_in(&mut self, changes: Changes) {
        for path in changes.files {
            self.files.changed(&path);
        }
        self.rescan |= changes.rescan;
        self.judge_held |= changes.database;
    }

    /// Looks which files there are, where that is due.
    pub(super) fn look(&mut self) {
        let now = Instant::now();
        if now >= self.poll_at || (self.rescan && now >= self.scan_after) {
            self.scan();
            let took = now.elapsed();
            let now = Instant::now();
            self.scan_after = now + (took * SCAN_SHARE).min(LONGEST_SCAN_PAUSE);
            self.poll_at = now + self.poll();
        }
    }

    /// What can't be read, and was not said yet.
    pub(super) fn refused(&mut self) -> Vec<(PathBuf, String)> {
        let mut refused = std::mem::take(&mut self.unsaid);
        refused.retain(|(path, why)| self.said.get(path) != Some(why));
        self.said.extend(refused.iter().cloned());
        refused
    }

    /// Whether something was refused that was not said yet.
    pub(super) fn has_unsaid(&self) -> bool {
        self.unsaid
            .iter()
            .any(|(path, why)| self.said.get(path) != Some(why))
    }

    fn poll(&self) -> Duration {
        if self.watch.reports_all() {
            self.times.poll
        } else {
            self.times.poll_unwatched
        }
    }

    /// What came between a look and its watches is seen by another look.
    fn scan(&mut self) {
        self.rescan = false;
        let mut scan = self.look_around();
        for _ in 1..SCANS {
            let unwatched = self.watch.set(&scan.folders);
            self.inbox.expect(&scan);
            let again = self.look_around();
            let fits = again.folders == scan.folders && again.files.keys().eq(scan.files.keys());
            scan = again;
            if fits {
                self.unsaid.extend(unwatched.into_iter().map(|(folder, error)| {
                    let why = format!("can't be watched ({error}); looking now and then instead");
                    (folder, why)
                }));
                break;
            }
        }
        self.said
            .retain(|path, _| scan.refused.contains_key(path) || scan.files.contains_key(path));
        self.unsaid.extend(std::mem::take(&mut scan.refused));
        self.roots = std::mem::take(&mut scan.roots);
        // The old one is read to its end before the new one is begun.
        let rotated = self.files.renew(&scan.files);
        for (path, was) in rotated {
            self.depart(&path, was.inode);
        }
        self.seen = scan;
    }

    /// What of the places is there now, and what was rotated away.
    fn look_around(&mut self) -> Scan {
        let mut scan = Scan::of(&self.places);
        self.rotated.add_to(&mut scan);
        scan
    }

    /// A log has lost its name. Answers whether it is to be had.
    fn depart(&mut self, path: &Path, inode: u64) -> bool {
        // Perhaps not for the first time since somebody looked.
        self.recovered = false;
        match (find(path, inode), self.open.remove(path)) {
            (Some(now_at), _) => self.files.first(Job::Rotated(now_at)),
            (None, Some(open)) => self.orphans.add(open),
            (None, None) => return false,
        }
        true
    }

    /// The places and how many files each has; `None`: it isn't there.
    pub(super) fn places(&self) -> &[(PathBuf, Option<usize>)] {
        &self.seen.counts
    }

    /// Reads the next slice, if there is one.
    pub(super) fn turn(&mut self, conn: &Connection) -> Result<Turn> {
        self.recover(conn)?;
        self.judge(conn)?;
        if let Some(report) = self.read_orphan(conn)? {
            return Ok(Turn::Read(Box::new(report)));
        }
        while let Some(job) = self.files.next() {
            if let Some(report) = self.attempt(conn, job)? {
                return Ok(Turn::Read(Box::new(report)));
            }
        }
        Ok(Turn::Nothing(self.due()))
    }

    /// Whether the database is needed now.
    pub(super) fn has_work(&self) -> bool {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| Instant::now() >= at);
        let judges = self.judge_held || is_due(self.judge_at);
        !self.files.is_idle()
            || is_due(self.orphans.due())
            || self.must_recover()
            || (judges && self.files.held().next().is_some())
    }

    /// When it wants to be called next.
    pub(super) fn due(&self) -> Instant {
        let scan = self.rescan.then_some(self.scan_after);
        let others = scan.into_iter().chain(self.judge_at).chain(self.orphans.due());
        others.fold(self.poll_at, Instant::min)
    }

    fn must_recover(&self) -> bool {
        !self.recovered && (!self.seen.bases.is_empty() || !self.seen.files.is_empty())
    }

    /// What was rotated while nobody followed, or was rotated and not read to its end.
    fn recover(&mut self, conn: &Connection) -> Result<()> {
        if self.must_recover() {
            for job in left_behind(conn, &self.seen)? {
                self.files.first(job);
            }
            self.recovered = true;
        }
        Ok(())
    }

    fn attempt(&mut self, conn: &Connection, job: Job) -> Result<Option<IngestReport>> {
        let (Job::Read(path) | Job::Rotated(path) | Job::Missed(path) | Job::Finish(path)) = &job;
        let path = path.clone();
        match self.read(conn, &job, &path) {
            Ok(report) => {
                self.said.remove(&path);
                Ok(report)
            }
            Err(error) if error.is_busy() || error.is_full() => {
                self.files.again(job);
                Err(error)
            }
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                self.rescan = true;
                Ok(None)
            }
            Err(error @ (Error::Io { .. } | Error::Refused { .. })) => {
                self.unsaid.push((path, error.to_string()));
                Ok(None)
            }
            Err(error) => {
                self.files.left(&path);
                Err(error)
            }
        }
    }

    /// Decides about the lines that are held.
    fn judge(&mut self, conn: &Connection) -> Result<()> {
        let due = self.judge_at.is_some_and(|at| Instant::now() >= at);
        if !std::mem::take(&mut self.judge_held) && !due {
            return Ok(());
        }
        self.judge_at = None;
        let held: Vec<(PathBuf, HeldLine)> = self
            .files
            .held()
            .map(|(path, held)| (path.clone(), held))
            .collect();
        for (path, held) in held {
            let is_over = self.rotated.has(&path);
            let line = || self.last_bytes(&path, held.bytes);
            match held::judge(conn, held, self.times.quiet, is_over, line)? {
                Verdict::Wait => {}
                Verdict::WaitUntil(at) => {
                    self.judge_at = Some(self.judge_at.map_or(at, |other| other.min(at)));
                }
                Verdict::Finalise => self.files.first(Job::Finish(path)),
            }
        }
        Ok(())
    }

    /// The last bytes of a file that was read before: another one is not opened. What is longer than a
    /// line may be is no event, and isn't looked at: it may be terabytes.
    fn last_bytes(&self, path: &Path, bytes: u64) -> Option<Vec<u8>> {
        let limit = self.how.options(path).max_line_bytes;
        usize::try_from(bytes).ok().filter(|bytes| *bytes <= limit)?;
        let named = NamedFile::below(&self.roots, path).ok()?;
        let is_same = self.files.get(path)?.read?.is_file_of(&named.stamp().ok()?);
        held::last_bytes(&is_same.then(|| named.open())?.ok()?, bytes)
    }
}
