//! What a log and its folder say before anybody has locked them: whose they are, and how far they go.
//!
//! Invariant: nothing is created, mended or locked; a line without its newline doesn't count.

use super::backwards::{Backwards, head};
use super::line::{HEAD_BYTES, LINE_PREFIX, LineHead};
use runchain_core::error::{Error, Result};
use runchain_core::event::Log;
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A UUID and a newline.
const OWNER_BYTES: u64 = 256;

/// The last numbered line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewestLine {
    /// Its epoch.
    pub(crate) epoch: i64,
    /// Its number, or that of the line before a header.
    pub(crate) seq: i64,
    /// The word of its event; `None` for a header.
    pub(crate) event: Option<String>,
}

/// The database that the logs in a folder belong to, where somebody has claimed it.
pub(crate) fn owner_of(folder: &Path) -> Option<String> {
    let file = open(&folder.join(".runchain.lock")).ok()?;
    let mut text = String::new();
    file.take(OWNER_BYTES).read_to_string(&mut text).ok()?;
    let owner = text.trim();
    (!owner.is_empty()).then(|| owner.to_owned())
}

/// The last whole numbered line of a database in a log.
///
/// # Errors
/// When the log is there and can't be read.
pub(crate) fn newest_line(folder: &Path, log: Log, uuid: &str) -> Result<Option<NewestLine>> {
    let path = folder.join(log.file_name());
    let found = open(&path).and_then(|file| newest_of(&file, uuid));
    match found {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        // A symlink: whoever opens the log to append refuses it.
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => Ok(None),
        found => found.map_err(|error| Error::io("read the end of the log", path, error)),
    }
}

/// A pipe or a link of that name is not opened.
fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    File::options().read(true).custom_flags(flags).open(path)
}

fn newest_of(file: &File, uuid: &str) -> io::Result<Option<NewestLine>> {
    let found = file.metadata()?;
    if !found.is_file() {
        return Ok(None);
    }
    let mut walk = Backwards::new(file, found.len());
    walk.next_line()?;
    while let Some(place) = walk.next_line()? {
        let start = head(file, place, HEAD_BYTES)?;
        if let Some(line) = LineHead::parse(&start).filter(|line| line.origin.uuid == uuid) {
            return Ok(Some(NewestLine {
                epoch: line.origin.epoch,
                seq: line.seq,
                event: event_of(&start),
            }));
        }
    }
    Ok(None)
}

fn event_of(start: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(start);
    let (_, rest) = text.strip_prefix(LINE_PREFIX)?.split_once(",\"event\":\"")?;
    rest.split_once('"').map(|(event, _)| event.to_owned())
}
