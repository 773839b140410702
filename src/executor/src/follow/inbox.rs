//! What a follower has to look at: written by the watcher and by whoever runs it, read by its thread.
//!
//! It holds names, not events, so a storm of changes can't fill it: a name that stands there already is
//! enough, and beyond [`NAMES`] everything is looked at instead.

use super::places::Place;
use super::scan::Scan;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Names that are remembered one by one.
const NAMES: usize = 4_096;

/// What has happened since the last look.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Files that are followed and have changed.
    pub(super) files: BTreeSet<PathBuf>,
    /// Something came, went or was renamed: look at everything.
    pub(super) rescan: bool,
    /// Something was committed to the database.
    pub(super) database: bool,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.files.is_empty() && !self.rescan && !self.database
    }
}

/// What the watcher lets through.
#[derive(Debug, Default)]
struct Interest {
    files: BTreeSet<PathBuf>,
    wanted: Vec<PathBuf>,
    bases: Vec<(PathBuf, Place)>,
}

impl Interest {
    /// Whether something at this path, new or gone, may change which files there are. `is_folder` is
    /// asked only where the name doesn't decide.
    fn concerns(&self, path: &Path, is_folder: impl FnOnce() -> bool) -> bool {
        if self.files.contains(path) || self.wanted.iter().any(|wanted| wanted.starts_with(path)) {
            return true;
        }
        let mut below = false;
        for (base, place) in &self.bases {
            if let Ok(relative) = path.strip_prefix(base) {
                if relative.as_os_str().is_empty() || place.means(relative) {
                    return true;
                }
                below = true;
            }
        }
        below && is_folder()
    }
}

#[derive(Debug, Default)]
struct State {
    changes: Changes,
    interest: Interest,
    paused: bool,
    stopped: bool,
    /// A commit of others may end a wait.
    minds_database: bool,
}

/// The inbox of one follower.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    bell: Condvar,
}

impl Inbox {
    /// A panic of who held it leaves names that are looked at once more: no reason to stop.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets through what concerns these files and places from now on.
    pub(super) fn expect(&self, scan: &Scan) {
        self.state().interest = Interest {
            files: scan.files.keys().cloned().collect(),
            wanted: scan.wanted.clone(),
            bases: scan.bases.clone(),
        };
    }

    /// A file was written to.
    pub(super) fn written(&self, path: &Path) {
        let mut state = self.state();
        if !state.interest.files.contains(path) || state.changes.files.contains(path) {
            return;
        }
        if state.changes.files.len() < NAMES {
            state.changes.files.insert(path.to_owned());
        } else {
            state.changes.rescan = true;
        }
        self.bell.notify_one();
    }

    /// Something came, went or was renamed.
    pub(super) fn moved(&self, path: &Path, is_folder: impl FnOnce() -> bool) {
        let mut state = self.state();
        if !state.changes.rescan && state.interest.concerns(path, is_folder) {
            state.changes.rescan = true;
            self.bell.notify_one();
        }
    }

    /// Nobody knows what has changed.
    pub(super) fn lost(&self) {
        self.state().changes.rescan = true;
        self.bell.notify_one();
    }

    /// Something was committed to the database; heard only by who waits for it.
    pub(super) fn database_changed(&self) {
        let mut state = self.state();
        if state.minds_database && !state.changes.database {
            state.changes.database = true;
            self.bell.notify_one();
        }
    }

    pub(super) fn minds_database(&self, minds: bool) {
        self.state().minds_database = minds;
    }

    /// Begins nothing while this holds.
    pub(super) fn pause(&self, paused: bool) {
        let mut state = self.state();
        if state.paused != paused {
            state.paused = paused;
            self.bell.notify_one();
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        self.state().paused
    }

    /// Ends the follower.
    pub(super) fn stop(&self) {
        self.state().stopped = true;
        self.bell.notify_all();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    /// What has changed, without waiting.
    pub(super) fn take(&self) -> Changes {
        std::mem::take(&mut self.state().changes)
    }

    /// Waits for a change, the end of a pause, the stop, or until `due`.
    pub(super) fn wait(&self, due: Instant) {
        let mut state = self.state();
        let paused = state.paused;
        while state.changes.is_empty() && !state.stopped && state.paused == paused {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.bell.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for this long, whatever changes; shorter only when it is over.
    pub(super) fn rest(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut state = self.state();
        while !state.stopped {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.bell.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
