//! Following event logs: what is appended to them is in the database milliseconds later, each line once.
//!
//! ```text
//! places.rs   which files: paths, folders, globs, the usual places; never our own logs
//! scan.rs     what of them is there now, and which folders to watch for the rest
//! inbox.rs    what has changed, from the watcher and from whoever runs a follower
//! watch.rs    the system's word of changes, into the inbox
//! files.rs    each file: what of it was read, and which is next
//! rotated.rs  what was rotated, moved away or deleted: until nothing more comes
//! left_behind.rs  what was rotated while nobody followed
//! named.rs    a file by its descriptor, below a root
//! how.rs      what the configuration says of it
//! work.rs     one slice of one file, its rotation, its refusal
//! held.rs     last lines without a newline
//! follower.rs the thread, and the handle on it
//! tell.rs     what was stored leaves as lifecycle events (the leader's duty)
//! news.rs     what a follower has to tell, and in which words
//! beside.rs   for somebody who looks, while no service follows the same
//! ```
//!
//! A follower is a thread with a connection of its own. Files of others may lie on disks that hang, and
//! lines take time to parse: neither may keep the main loop from renewing its leases. It sleeps on its
//! inbox, which the system's watcher fills; only the slow fallback looks unasked. What it commits wakes
//! the main loop like every other commit, and that announces alerts and writes the log.
//!
//! Invariants: a slice's rows and its checkpoint are one transaction, so that two followers of one file
//! (a leader and the next one, a service and a command) only share the work; nothing is committed after
//! the follower was told to stop. A slice is small ([`named::SLICE_BYTES`]), and after each one everybody
//! else has a turn at the lock. Only regular files below `ingest.roots` are opened, by names from there
//! and through no symlink.
//!
//! What does not belong here: how a line is understood, and what a file's checkpoint is (both in core).

#[cfg(feature = "tui")]
mod beside;
mod files;
mod follower;
mod held;
mod how;
mod inbox;
mod left_behind;
mod named;
mod news;
mod places;
mod rotated;
mod scan;
mod tell;
mod watch;
mod work;

#[cfg(feature = "tui")]
pub(crate) use beside::Beside;
pub(crate) use follower::Follower;
pub(crate) use how::How;
pub(crate) use named::NamedFile;
pub(crate) use news::{News, rejected};
pub(crate) use places::Places;
pub(crate) use tell::Teller;
