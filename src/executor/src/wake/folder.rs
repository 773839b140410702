//! A watch on the database's folder that whoever sleeps reads by himself (Linux).
//!
//! The folder, not the database: a descriptor of the database itself, once closed, would drop SQLite's locks.

use super::is_ours;
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Room for some hundred events; what doesn't fit is read by the next round.
const BUFFER_BYTES: usize = 16 * 1_024;

/// A watched folder.
#[derive(Debug)]
pub(super) struct Folder {
    inotify: OwnedFd,
    database: OsString,
}

impl Folder {
    /// Watches the folder of a database.
    pub(super) fn watch(database: &Path) -> io::Result<Self> {
        // SQLite puts its journals beside the real file.
        let database = std::fs::canonicalize(database).unwrap_or_else(|_| database.to_owned());
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let wanted = WatchFlags::MODIFY
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF;
        inotify::add_watch(&inotify, database.parent().unwrap_or(Path::new(".")), wanted)?;
        Ok(Self {
            inotify,
            database: database.file_name().unwrap_or_default().to_os_string(),
        })
    }

    /// Reads every event that waits; whether one of them may be a commit.
    pub(super) fn has_changed(&self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut events = Reader::new(&self.inotify, &mut buffer);
        let mut changed = false;
        // An error: nothing waits any more.
        while let Ok(event) = events.next() {
            changed |= match event.file_name() {
                Some(name) => is_ours(&self.database, OsStr::from_bytes(name.to_bytes())),
                // The folder itself, or an overflow, which names nothing.
                None => true,
            };
        }
        changed
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
