//! Waiting for somebody's commit without asking for it: what `wait`, `--follow` and a screen are driven by.
//!
//! The watcher's hint comes at the write, before the commit is visible, and may concern something else; so
//! `data_version` is asked a few times with growing pauses (a commit may take as long as its disk) before
//! the next sleep. Where the system has no watch to give, or misses something, a slow poll repairs it.
//! What does not belong here: what changed.

use crate::config::Settings;
use crate::wake::{self, Watch};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use runchain_core::error::{During, Result};
use rusqlite::Connection;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Between two looks that nothing has asked for.
const POLL: Duration = Duration::from_secs(60);
/// The same where nothing watches.
const POLL_UNWATCHED: Duration = Duration::from_millis(500);
/// Pauses between a hint and the commit that it announces; another hint begins anew. Together 8 s cover
/// a slow disk, whose commit makes no event of its own.
const PAUSES_MS: [u64; 14] = [1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096];

/// Tells when the database has changed.
#[derive(Debug)]
pub(crate) struct Changes {
    watch: Option<Watch>,
    hints: Receiver<()>,
    /// Keeps the channel open where nothing watches.
    hint: Sender<()>,
    /// The version of the database that was looked at last.
    seen: Option<i64>,
    /// Another folder, and whether something in it has changed.
    folder: Option<(RecommendedWatcher, Arc<AtomicBool>)>,
}

/// Why a wait is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    /// Look again.
    Look,
    /// The time that was given is up.
    TimeIsUp,
}

impl Changes {
    /// Begins to watch. What is committed from now on ends the next wait.
    pub(crate) fn start(settings: &Settings) -> Self {
        let (hint, hints) = channel();
        let writes = hint.clone();
        let watch = Watch::calling(&settings.state_db_path, wake::is_write, move || {
            let _ = writes.send(());
        });
        Self {
            // Without a watch there is the poll.
            watch: watch.ok(),
            hints,
            hint,
            seen: None,
            folder: None,
        }
    }

    /// From now on a change in this folder ends a wait, too. One that can't be watched doesn't.
    pub(crate) fn watch_folder(&mut self, folder: &Path) {
        let has_changed = Arc::new(AtomicBool::new(false));
        let (flag, hint) = (Arc::clone(&has_changed), self.hint.clone());
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let is_change = event.is_ok_and(|event| !matches!(event.kind, notify::EventKind::Access(_)));
            if is_change && !flag.swap(true, Ordering::AcqRel) {
                let _ = hint.send(());
            }
        });
        self.folder = watcher
            .and_then(|mut watcher| {
                watcher.watch(folder, RecursiveMode::NonRecursive)?;
                Ok((watcher, has_changed))
            })
            .ok();
    }

    /// Waits until somebody has committed, or until a moment. `conn` is outside any transaction.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub(crate) fn wait(&mut self, conn: &Connection, until: Option<Instant>) -> Result<Woken> {
        let poll = if self.watch.is_some() {
            POLL
        } else {
            POLL_UNWATCHED
        };
        let poll_at = Instant::now() + poll;
        if self.has_changed(conn)? {
            return Ok(Woken::Look);
        }
        loop {
            let now = Instant::now();
            if until.is_some_and(|until| now >= until) {
                return Ok(Woken::TimeIsUp);
            }
            if now >= poll_at {
                return Ok(Woken::Look);
            }
            let wake_at = until.map_or(poll_at, |until| until.min(poll_at));
            if self.hints.recv_timeout(wake_at - now).is_ok() && self.changes_soon(conn, wake_at)? {
                return Ok(Woken::Look);
            }
        }
    }

    /// After a hint; not for longer than `until`.
    fn changes_soon(&mut self, conn: &Connection, until: Instant) -> Result<bool> {
        let mut pauses = PAUSES_MS.iter();
        loop {
            if let Some(watch) = &self.watch {
                watch.rearm();
            }
            if self.has_changed(conn)? {
                return Ok(true);
            }
            let left = until.saturating_duration_since(Instant::now());
            let Some(&pause_ms) = pauses.next().filter(|_| !left.is_zero()) else {
                return Ok(false);
            };
            let pause = Duration::from_millis(pause_ms).min(left);
            if self.hints.recv_timeout(pause).is_ok() {
                pauses = PAUSES_MS.iter();
            }
        }
    }

    fn has_changed(&mut self, conn: &Connection) -> Result<bool> {
        let version: i64 = conn
            .pragma_query_value(None, "data_version", |row| row.get(0))
            .during("ask whether the database has changed")?;
        let in_folder = self
            .folder
            .as_ref()
            .is_some_and(|(_, has_changed)| has_changed.swap(false, Ordering::AcqRel));
        // The first time it is not known what came before.
        Ok(self.seen.replace(version) != Some(version) || in_folder)
    }
}
