//! What wakes the main loop: a write to the database, a finished step, a signal, a timer.
//!
//! Wake is a hint, the queue is the truth: a missed event costs a poll interval, a false one a look
//! at an empty queue. The watcher watches the database's *folder* (a descriptor of the database
//! itself, once closed, would drop SQLite's locks), and lets through only what concerns the database
//! file, its `-wal` and its `-journal`.

#[cfg(target_os = "linux")]
mod folder;
mod mailbox;

use crate::drain::worker::Finished;
use crate::follow::News;
pub(crate) use mailbox::{Mailbox, Sleep, Waker};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Why the main loop wakes.
#[derive(Debug)]
pub(crate) enum Wake {
    /// Something was written to the database, perhaps.
    Changed,
    /// A worker is through with a step.
    Finished(Box<Finished>),
    /// A thread has something to say to a person.
    Told(String),
    /// A follower of event logs has something to tell.
    Followed(Box<News>),
    /// Somebody asks us to stop; a second time means at once.
    Stop(i32),
    /// Somebody asks us to read the configuration again.
    Reload,
}

/// Calls from a thread of its own, for as long as it lives, when something is written: for whoever waits
/// for other things as well. One unread hint is enough, so a storm of writes can't fill a channel:
/// [`Watch::rearm`] lets the next one through.
#[derive(Debug)]
pub(crate) struct Watch {
    _watcher: RecommendedWatcher,
    hinted: Arc<AtomicBool>,
}

impl Watch {
    /// Watches the folder of the database.
    ///
    /// # Errors
    /// When the system has no watch to give; the caller polls instead.
    pub(crate) fn calling(
        database: &Path,
        concerns: fn(&std::ffi::OsStr, &notify::Event) -> bool,
        wake: impl Fn() + Send + 'static,
    ) -> notify::Result<Self> {
        let hinted = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&hinted);
        // SQLite puts its journals beside the real file.
        let database = std::fs::canonicalize(database).unwrap_or_else(|_| database.to_owned());
        let name = database.file_name().unwrap_or_default().to_os_string();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // After an overflow the event names nothing.
            let concerns_us = event.is_ok_and(|event| event.need_rescan() || concerns(&name, &event));
            if concerns_us && !flag.swap(true, Ordering::AcqRel) {
                wake();
            }
        })?;
        let folder = database.parent().unwrap_or(Path::new("."));
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(Self {
            _watcher: watcher,
            hinted,
        })
    }

    /// The hint was read: the next write sends another.
    pub(crate) fn rearm(&self) {
        self.hinted.store(false, Ordering::Release);
    }
}

/// A write to the database, perhaps.
pub(crate) fn is_write(database: &std::ffi::OsStr, event: &notify::Event) -> bool {
    let mut names = event.paths.iter().filter_map(|path| path.file_name());
    names.any(|name| is_ours(database, name)) && !matches!(event.kind, EventKind::Access(_))
}

/// A write to the database, or an executor that comes or goes: its end, however it ends, closes the
/// lock file that it has written.
pub(crate) fn is_write_or_executor(database: &std::ffi::OsStr, event: &notify::Event) -> bool {
    use notify::event::{AccessKind, AccessMode};
    let is_lock = |name: &std::ffi::OsStr| {
        let rest = name.as_encoded_bytes().strip_prefix(database.as_encoded_bytes());
        rest == Some(b".runchain-lock")
    };
    let closed = EventKind::Access(AccessKind::Close(AccessMode::Write));
    let concerns_lock = event.kind == closed || !matches!(event.kind, EventKind::Access(_));
    let mut names = event.paths.iter().filter_map(|path| path.file_name());
    is_write(database, event) || (concerns_lock && names.any(is_lock))
}

/// The database, its write-ahead log and its rollback journal; not the `-shm`, which readers touch.
fn is_ours(database: &std::ffi::OsStr, changed: &std::ffi::OsStr) -> bool {
    let (database, changed) = (database.as_encoded_bytes(), changed.as_encoded_bytes());
    changed
        .strip_prefix(database)
        .is_some_and(|rest| matches!(rest, b"" | b"-wal" | b"-journal"))
}

/// How long after a second signal the main loop may take to end by itself.
const FORCED_AFTER: Duration = Duration::from_secs(2);

/// Turns SIGTERM, SIGINT and SIGHUP into wakes, until `send` answers that nobody takes them any more. A
/// second request to stop ends the process in any case.
///
/// # Errors
/// When the handlers can't be set.
pub(crate) fn signals(send: impl Fn(Wake) -> bool + Send + 'static) -> std::io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let mut stops = 0;
            for signal in signals.forever() {
                let why = if signal == SIGHUP {
                    Wake::Reload
                } else {
                    Wake::Stop(signal)
                };
                stops += u32::from(signal != SIGHUP);
                if !send(why) {
                    break;
                }
                if stops == 2 {
                    // The loop ends by itself, unless it waits for somebody's lock.
                    std::thread::sleep(FORCED_AFTER);
                    signal_hook::low_level::exit(128 + signal);
                }
            }
        })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn only_the_database_and_its_journals_wake() {
        for (changed, wakes) in [
            ("orchestration.db", true),
            ("orchestration.db-wal", true),
            ("orchestration.db-journal", true),
            ("orchestration.db-shm", false),
            ("orchestration.db.runchain-lock", false),
            ("other.db-wal", false),
        ] {
            assert_eq!(
                is_ours("orchestration.db".as_ref(), changed.as_ref()),
                wakes,
                "{changed}"
            );
        }
    }
}
