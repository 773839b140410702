//! One log file: opened safely, mended at its end, appended to in whole batches.
//!
//! A file that was torn by a kill or by power loss is mended when it is opened:
//! - A tail without newline that is whole JSON only lacks its newline, and gets it. One that begins
//!   as our lines do (or holds NULs only) is torn, and is cut off: its event is written again.
//!   Anything else is somebody else's line: it stays, closed with a newline.
//! - A line with NUL bytes after the last line that the cursor confirms is a hole that power loss
//!   left: the file is cut there, and what followed is written again.
//!
//! What does not belong here: which events exist, and where the cursors stand in the database.

use super::backwards::{Backwards, LinePlace, head};
use super::line::{HEAD_BYTES, HEADER_PREFIX, HEARTBEAT_PREFIX, LINE_PREFIX, LineHead, Origin};
use crate::folder::Folder;
use runchain_core::Millis;
use runchain_core::error::{Error, Result};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A log file that is open for appending.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
}

/// What a file says about how far it was written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// The last whole line with a sequence number of this database in its current epoch or a later
    /// one; `None` when the file has none.
    pub(crate) last: Option<LineHead>,
}

impl LogFile {
    /// Opens the file, created where it is missing. A symlink or anything else that is no plain
    /// file is refused: whoever can write the folder must not choose what we append to.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(not_a_file(path));
        };
        let folder =
            Folder::open(parent).map_err(|source| Error::io("open the log folder", parent, source))?;
        let file = folder
            .open_to_append(name)
            .map_err(|source| match std::fs::symlink_metadata(path) {
                Ok(found) if !found.is_file() => not_a_file(path),
                _ => Error::io("open the log file", path, source),
            })?;
        // Durable lines in a file whose name is not durable would be lost with it. Also for a file
        // that was there: who made it may have been killed before this.
        folder
            .sync()
            .map_err(|source| Error::io("sync the log folder", parent, source))?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Mends the end of the file and finds how far it was written. `confirmed` is the cursor: lines
    /// up to it are durable and are not looked at again.
    pub(crate) fn recover(&mut self, origin: &Origin, confirmed: i64) -> Result<Recovered> {
        self.try_recover(origin, confirmed)
            .map_err(|source| Error::io("mend the end of the log file", &self.path, source))
    }

    /// Appends whole lines with one write; `durable` lines are synced before this returns.
    pub(crate) fn append(&mut self, lines: &str, durable: bool) -> Result<()> {
        self.file
            .write_all(lines.as_bytes())
            .and_then(|()| if durable { self.file.sync_data() } else { Ok(()) })
            .map_err(|source| Error::io("append to the log file", &self.path, source))
    }

    /// Brings what was appended to the disk.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file
            .sync_data()
            .map_err(|source| Error::io("sync the log file", &self.path, source))
    }

    /// Its size now.
    pub(crate) fn size_bytes(&self) -> Result<u64> {
        self.file
            .metadata()
            .map(|found| found.len())
            .map_err(|source| Error::io("look at the log file", &self.path, source))
    }

    /// The time of its first line, where that is one of ours.
    pub(crate) fn began(&self) -> Result<Option<Millis>> {
        let mut start = [0; HEAD_BYTES];
        let length = self
            .file
            .read_at(&mut start, 0)
            .map_err(|source| Error::io("read the log file", &self.path, source))?;
        let text = String::from_utf8_lossy(&start[..length]);
        let time = text
            .split_once("\"ts\":\"")
            .and_then(|(_, rest)| rest.split('"').next());
        Ok(time.and_then(Millis::parse_iso))
    }

    /// Whether the path still names this file, or somebody has rotated or removed it.
    pub(crate) fn is_current(&self) -> bool {
        match (std::fs::symlink_metadata(&self.path), self.file.metadata()) {
            (Ok(named), Ok(held)) => (named.dev(), named.ino()) == (held.dev(), held.ino()),
            _ => false,
        }
    }

    fn try_recover(&mut self, origin: &Origin, confirmed: i64) -> io::Result<Recovered> {
        self.mend_tail()?;
        let mut walk = Backwards::new(&self.file, self.file.metadata()?.len());
        walk.next_line()?; // the tail is empty now
        let mut last = None;
        let mut cut_at = None;
        while let Some(place) = walk.next_line()? {
            if place.has_nul {
                cut_at = Some(place.start);
                last = None;
                continue;
            }
            let Some(found) = LineHead::parse(&head(&self.file, place, HEAD_BYTES)?) else {
                continue;
            };
            if found.origin.uuid != origin.uuid {
                continue;
            }
            let (epoch, seq) = (found.origin.epoch, found.seq);
            if last.is_none() && epoch >= origin.epoch {
                last = Some(found);
            }
            if epoch != origin.epoch || seq <= confirmed {
                break;
            }
        }
        if let Some(len_bytes) = cut_at {
            self.file.set_len(len_bytes)?;
        }
        // What a killed process wrote may not be on the disk yet, and a cursor is about to rely on it.
        self.file.sync_all()?;
        Ok(Recovered { last })
    }

    fn mend_tail(&mut self) -> io::Result<()> {
        let len_bytes = self.file.metadata()?.len();
        let Some(tail) = Backwards::new(&self.file, len_bytes).next_line()? else {
            return Ok(());
        };
        if tail.start == tail.end {
            return Ok(());
        }
        if self.tail_is_torn(tail)? {
            self.file.set_len(tail.start)
        } else {
            self.file.write_all(b"\n")
        }
    }

    fn tail_is_torn(&mut self, tail: LinePlace) -> io::Result<bool> {
        if tail.has_nul {
            let mut first = [0];
            self.file.read_exact_at(&mut first, tail.start)?;
            return Ok(first[0] == 0 || self.begins_as_ours(tail)?);
        }
        if !self.begins_as_ours(tail)? {
            return Ok(false);
        }
        self.file.seek(SeekFrom::Start(tail.start))?;
        let reader = io::BufReader::new((&self.file).take(tail.end - tail.start));
        Ok(serde_json::from_reader::<_, serde::de::IgnoredAny>(reader).is_err())
    }

    fn begins_as_ours(&self, tail: LinePlace) -> io::Result<bool> {
        let start = head(&self.file, tail, HEADER_PREFIX.len())?;
        Ok([LINE_PREFIX, HEADER_PREFIX, HEARTBEAT_PREFIX]
            .iter()
            .any(|prefix| start.starts_with(prefix.as_bytes()) || prefix.as_bytes().starts_with(&start)))
    }
}

fn not_a_file(path: &Path) -> Error {
    Error::refused(
        format!(
            "{} is not a plain file; runchain appends to no other",
            path.display()
        ),
        "remove it or move it away, or name another folder for the logs",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin {
            uuid: "ours".into(),
            epoch: 2,
        }
    }

    fn line(seq: i64, epoch: i64, db: &str) -> String {
        format!(
            "{{\"seq\":{seq},\"epoch\":{epoch},\"db\":\"{db}\",\"ts\":\"\",\"event\":\"X\",\"data\":{{}}}}\n"
        )
    }

    const BEAT: &str = "{\"ts\":\"\",\"event\":\"HEARTBEAT\"}\n";

    /// Recovers a file of this content: what is left of it, and the seq that is found.
    fn recovered(content: &[u8], confirmed: i64) -> (String, Option<(i64, i64)>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("monitor.jsonl");
        std::fs::write(&path, content).unwrap();
        let found = LogFile::open(&path)
            .unwrap()
            .recover(&origin(), confirmed)
            .unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        (text, found.last.map(|head| (head.origin.epoch, head.seq)))
    }

    #[test]
    fn the_last_line_of_our_epoch_is_found_behind_heartbeats_and_foreign_lines() {
        let content = line(7, 2, "ours") + &line(9, 2, "theirs") + "plain text\n" + BEAT;
        assert_eq!(recovered(content.as_bytes(), 3), (content, Some((2, 7))));
    }

    #[test]
    fn an_older_epoch_says_nothing_and_a_later_one_is_reported() {
        let older = line(90, 1, "ours");
        assert_eq!(recovered(older.as_bytes(), 0).1, None);
        let later = line(7, 2, "ours") + &line(1, 3, "ours");
        assert_eq!(recovered(later.as_bytes(), 0).1, Some((3, 1)));
        assert_eq!(recovered(b"", 0), (String::new(), None));
    }

    #[test]
    fn a_torn_line_is_cut_a_whole_one_closed_a_foreign_one_kept() {
        let whole = line(1, 2, "ours");
        let torn = &line(2, 2, "ours")[..20];
        let unclosed = line(2, 2, "ours").trim_end().to_owned();
        for (tail, left) in [
            (torn, String::new()),
            ("{\"s", String::new()),
            ("{\"ts\":\"2025", String::new()),
            ("\0\0\0", String::new()),
            ("{\"seq\":2,\"ep\0\0", String::new()),
            (unclosed.as_str(), format!("{unclosed}\n")),
            (BEAT.trim_end(), BEAT.to_owned()),
            ("somebody else's line", "somebody else's line\n".to_owned()),
            ("{\"message\":\"cut", "{\"message\":\"cut\n".to_owned()),
        ] {
            let content = whole.clone() + tail;
            assert_eq!(
                recovered(content.as_bytes(), 0).0,
                whole.clone() + &left,
                "{tail:?}"
            );
        }
    }

    #[test]
    fn a_hole_left_by_power_loss_takes_back_what_follows_it() {
        let hole = line(5, 2, "ours").replace("\"X\"", "\0\0\0");
        let content = line(4, 2, "ours") + &hole + &line(6, 2, "ours");
        assert_eq!(
            recovered(content.as_bytes(), 4),
            (line(4, 2, "ours"), Some((2, 4)))
        );
        // Confirmed by the cursor: not ours to judge any more.
        assert_eq!(recovered(content.as_bytes(), 6), (content, Some((2, 6))));
    }

    #[test]
    fn a_symlink_in_place_of_a_log_is_refused_and_its_target_untouched() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("precious");
        let path = folder.path().join("monitor.jsonl");
        std::fs::write(&target, "text").unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        let error = LogFile::open(&path).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "text");
    }
}
