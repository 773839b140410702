//! The work of a follower: looks which files there are, reads one slice of one of them at a time, and
//! notices what was rotated, refused or held.
//!
//! A log that is rotated by rename within its folder is known by its inode: what is left of it is read
//! under its new name, whatever that is, last line included. Core makes sure that it is that log and
//! not another file with a reused number.

use super::files::{Files, HeldLine, Job};
use super::held::{self, Quiet, Verdict};
use super::inbox::{Changes, Inbox};
use super::named::{NamedFile, find, last_known};
use super::places::Places;
use super::scan::{Scan, Stamp};
use super::watch::Watch;
use crate::config::Settings;
use runchain_core::error::{Error, Result};
use runchain_core::ingest::{Format, IngestOptions, IngestReport};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Looking at everything takes at most one part in this many of the time.
const SCAN_SHARE: u32 = 20;
/// However long it took.
const LONGEST_SCAN_PAUSE: Duration = Duration::from_secs(5);
/// Files of which more than a slice is left that are held open, so that one that is deleted or moved away
/// meanwhile is read to its end.
const HELD_OPEN: usize = 64;
/// Looks until the watches fit what is there; what moves on after that is told.
const SCANS: usize = 4;

/// What a turn did.
pub(super) enum Turn {
    /// It read a slice.
    Read(IngestReport),
    /// There is nothing to do before then, unless something changes.
    Nothing(Instant),
}

/// How files are read.
#[derive(Debug, Clone)]
pub(crate) struct How {
    /// Mappings and limits.
    pub(crate) settings: Arc<Settings>,
    /// What a person has said of all files.
    pub(crate) format: Option<Arc<Format>>,
}

impl How {
    fn options(&self, path: &Path) -> IngestOptions {
        let configured = self.settings.ingest_options(path);
        IngestOptions {
            format: self.format.clone().or(configured.format),
            ..configured
        }
    }
}

/// How often is looked unasked, and how long a line is held.
#[derive(Debug, Clone, Copy)]
struct Times {
    quiet: Quiet,
    poll: Duration,
    poll_unwatched: Duration,
}

impl Times {
    fn of(settings: &Settings) -> Self {
        let duration = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        Self {
            quiet: Quiet {
                whole: duration(settings.archive_settle_ms),
                half: duration(settings.archive_settle_limit_ms),
            },
            poll: duration(settings.poll_ms),
            poll_unwatched: duration(settings.poll_ms.min(settings.poll_unwatched_ms)),
        }
    }
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
    /// Files of which more is left, as they were opened.
    open: BTreeMap<PathBuf, NamedFile>,
    /// Those of them that have lost their names.
    orphans: Vec<NamedFile>,
    /// What was said of each file that can't be read.
    said: BTreeMap<PathBuf, String>,
    unsaid: Vec<(PathBuf, String)>,
    counts: Vec<(PathBuf, Option<usize>)>,
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
            orphans: Vec::new(),
            said: BTreeMap::new(),
            unsaid,
            counts: Vec::new(),
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
        let mut scan = Scan::of(&self.places);
        for _ in 1..SCANS {
            let unwatched = self.watch.set(&scan.folders);
            self.inbox.expect(&scan);
            let again = Scan::of(&self.places);
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
        // The old one is finished before the new one is begun.
        let rotated = self.files.renew(&scan.files);
        for (path, was) in rotated {
            let open = self.open.remove(&path);
            match (find(&path, was.inode), open) {
                (Some(now_at), _) => self.files.finish(now_at),
                (None, Some(open)) => self.orphans.push(open),
                (None, None) => {}
            }
        }
        self.counts = scan.counts;
    }

    /// The places and how many files each has; `None`: it isn't there.
    pub(super) fn places(&self) -> &[(PathBuf, Option<usize>)] {
        &self.counts
    }

    /// Reads the next slice, if there is one.
    pub(super) fn turn(&mut self, conn: &Connection) -> Result<Turn> {
        self.judge(conn)?;
        if let Some(report) = self.finish_orphan(conn)? {
            return Ok(Turn::Read(report));
        }
        while let Some(job) = self.files.next() {
            if let Some(report) = self.attempt(conn, job)? {
                return Ok(Turn::Read(report));
            }
        }
        Ok(Turn::Nothing(self.due()))
    }

    /// Whether the database is needed now.
    pub(super) fn has_work(&self) -> bool {
        let judges = self.judge_held || self.judge_at.is_some_and(|at| Instant::now() >= at);
        !self.files.is_idle() || !self.orphans.is_empty() || (judges && self.files.held().next().is_some())
    }

    /// When it wants to be called next.
    pub(super) fn due(&self) -> Instant {
        let scan = self.rescan.then_some(self.scan_after);
        let others = scan.into_iter().chain(self.judge_at);
        others.fold(self.poll_at, Instant::min)
    }

    fn attempt(&mut self, conn: &Connection, job: Job) -> Result<Option<IngestReport>> {
        let (path, finishes) = match &job {
            Job::Read(path) => (path.clone(), false),
            Job::Finish(path) => (path.clone(), true),
        };
        match self.read(conn, &path, finishes) {
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

    fn read(&mut self, conn: &Connection, path: &Path, finishes: bool) -> Result<Option<IngestReport>> {
        let named = NamedFile::below(&self.roots, path)?;
        // Before it is read: what is appended meanwhile is new.
        let stamp = named.stamp()?;
        if !finishes {
            self.find_predecessor(conn, path, &stamp)?;
        }
        let report = named.read_slice(conn, self.how.options(path), finishes)?;
        if finishes {
            if report.left > 0 {
                self.files.finish(path.to_owned());
            } else if let Some(file) = self.files.get_mut(path) {
                file.held = None;
            }
            return Ok(Some(report));
        }
        if let Some(file) = self.files.get_mut(path) {
            file.read = Some(stamp);
            file.held = hold(file.held, &report);
            if file.held.is_some() {
                self.judge_held = true;
            }
        }
        if report.left > 0 {
            self.files.left(path);
            if self.open.len() < HELD_OPEN {
                self.open.insert(path.to_owned(), named);
            }
        } else {
            self.open.remove(path);
        }
        self.inbox.minds_database(self.files.held().next().is_some());
        Ok(Some(report))
    }

    /// Reads on in a file that was deleted or moved away.
    fn finish_orphan(&mut self, conn: &Connection) -> Result<Option<IngestReport>> {
        let Some(named) = self.orphans.pop() else {
            return Ok(None);
        };
        match named.read_slice(conn, self.how.options(&named.path), true) {
            Ok(report) => {
                if report.left > 0 {
                    self.orphans.push(named);
                }
                Ok(Some(report))
            }
            Err(error @ (Error::Io { .. } | Error::Refused { .. })) => {
                self.unsaid.push((named.path, error.to_string()));
                Ok(None)
            }
            Err(error) => {
                self.orphans.push(named);
                Err(error)
            }
        }
    }

    /// Before a file is read for the first time, or after another has taken its name: what became of the
    /// one that had it?
    fn find_predecessor(&mut self, conn: &Connection, path: &Path, stamp: &Stamp) -> Result<()> {
        let was = match self.files.get(path).and_then(|file| file.read) {
            Some(was) => Some(was.inode),
            None => last_known(conn, path)?,
        };
        let moved = was.filter(|inode| *inode != stamp.inode);
        if let Some(now_at) = moved.and_then(|inode| find(path, inode)) {
            self.files.finish(now_at);
        }
        Ok(())
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
            match held::judge(conn, held, self.times.quiet, || {
                self.last_bytes(&path, held.bytes)
            })? {
                Verdict::Wait => {}
                Verdict::WaitUntil(at) => {
                    self.judge_at = Some(self.judge_at.map_or(at, |other| other.min(at)));
                }
                Verdict::Finalise => self.files.finish(path),
            }
        }
        Ok(())
    }

    /// The last bytes of a file that was read before: another one is not opened.
    fn last_bytes(&self, path: &Path, bytes: u64) -> Option<Vec<u8>> {
        let named = NamedFile::below(&self.roots, path).ok()?;
        let is_same = self.files.get(path)?.read?.is_file_of(&named.stamp().ok()?);
        held::last_bytes(&is_same.then(|| named.open())?.ok()?, bytes)
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
