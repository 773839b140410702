//! Space on the database's disk: looked at before it matters, held back, and given up when it is gone.
//!
//! The ballast is a file of real blocks beside the database. When a write of ours fails because the disk
//! is full, or next to nothing is free (then a writer of the user's has failed, or will), it is removed,
//! and in its room the executor says so (event DISK_LOW, alert `disk_low`) and goes
//! on with what matters. Until the ballast can be made again, what takes most and can wait stands still:
//! copies into bags first (already below `archive.min_free_bytes`), then log lines and heartbeats, and
//! `runchain ingest`. Never capture, which is the writers' own, and never the alert.
//!
//! What does not belong here: what a full disk does to a single write (each is tried again).

use crate::config::Settings;
use crate::door;
use runchain_core::alert::{self, Alarm, Own};
use runchain_core::error::{Error, Result};
use runchain_core::event::{self, EventType, NewEvent};
use runchain_core::{Millis, schema, space};
use rusqlite::Connection;
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The ballast's name beside the database.
const NAME: &str = ".runchain-ballast";
/// It is made only where so many times its size is free.
const ROOM_TIMES: u64 = 3;
/// It is given up when less than this part of it is free besides.
const LAST_PART: u64 = 16;
/// How often one looks whether there is room, at most.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Bytes that are free for us on the disk of a folder.
///
/// # Errors
/// Whatever the system answers.
pub(crate) fn free_bytes(folder: &Path) -> Result<u64> {
    let disk =
        statvfs(folder).map_err(|errno| Error::io("ask for the free space of", folder, errno.into()))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Before install and drain: what there is to say about the space, if anything.
pub(crate) fn preflight(settings: &Settings) -> Option<String> {
    let folder = settings.state_db_path.parent()?;
    let free = free_bytes(folder).ok()?;
    let wanted = [settings.ballast_bytes * 3, settings.archive_min_free_bytes]
        .map(|bytes| u64::try_from(bytes).unwrap_or(0))
        .into_iter()
        .max()?;
    (free < wanted).then(|| {
        format!(
            "only {} are free on the disk of {}; below archive.min_free_bytes ({}) no run is archived, and \
             when nothing is left, your own writes fail as well",
            crate::output::size(free),
            settings.state_db_path.display(),
            crate::output::size(u64::try_from(settings.archive_min_free_bytes).unwrap_or(0)),
        )
    })
}

/// Removes the ballast, for an uninstall; a service that still runs does without it.
pub(crate) fn remove_ballast(settings: &Settings) {
    // One that can't be removed is said by who looks at the folder; nothing depends on it.
    let _ = std::fs::remove_file(settings.state_db_path.with_file_name(NAME));
}

/// What a service knows of its disk.
#[derive(Debug)]
pub(crate) struct Space {
    ballast: PathBuf,
    size_bytes: u64,
    /// The ballast was given up, and there is no room for it yet.
    low: bool,
    /// That stands in the database.
    told: bool,
    look_at: Instant,
}

impl Space {
    /// Makes the ballast, unless it stands, is not wanted, or there is no room.
    ///
    /// # Errors
    /// Whatever SQLite answers; a ballast that can't be made is none.
    pub(crate) fn begin(settings: &Settings, conn: &Connection) -> Result<Self> {
        let mut space = Self {
            ballast: settings.state_db_path.with_file_name(NAME),
            size_bytes: u64::try_from(settings.ballast_bytes).unwrap_or(0),
            low: false,
            told: false,
            look_at: Instant::now(),
        };
        let made = space.make();
        if !made && door::patiently(|| space::is_low(conn))? {
            (space.low, space.told) = (true, true);
        }
        // There is room, but whoever ran before could not say so any more.
        space.told |= made && door::patiently(|| space::is_low(conn))?;
        Ok(space)
    }

    /// Whether what can wait has to.
    pub(crate) fn is_low(&self) -> bool {
        self.low
    }

    /// After a failure: gives the ballast up if the disk is full. Answers what is to be said.
    pub(crate) fn failed(&mut self, error: &Error) -> Option<String> {
        if error.is_full() && self.makes_room_for(error) {
            self.release()
        } else {
            None
        }
    }

    /// Logs and bags may lie on another disk: what is free beside the database is no room there.
    fn makes_room_for(&self, error: &Error) -> bool {
        let Error::Io { path, .. } = error else {
            return true;
        };
        let disk_of = |path: &Path| {
            let mut there = path.ancestors().filter_map(|path| std::fs::metadata(path).ok());
            there.next().map(|found| found.dev())
        };
        disk_of(path) == disk_of(self.folder())
    }

    fn release(&mut self) -> Option<String> {
        // It can be released once.
        std::fs::remove_file(&self.ballast).ok()?;
        self.low = true;
        self.look_at = Instant::now() + LOOK_EVERY;
        Some(format!(
            "the disk is full: {} were released by removing {}; bags, log lines and ingest wait until there is room again",
            crate::output::size(self.size_bytes),
            self.ballast.display()
        ))
    }

    /// When there is something to do about it; `None` while all is well.
    pub(crate) fn due(&self) -> Option<Instant> {
        (self.low || self.told).then_some(self.look_at)
    }

    /// Says in the database what has happened, and looks whether there is room again.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub(crate) fn look(&mut self, conn: &mut Connection, now: Millis) -> Result<Option<String>> {
        if self.low && !self.told {
            let message = format!(
                "{} had no room; {} bytes were released",
                self.folder().display(),
                self.size_bytes
            );
            door::write(conn, |conn| raise(conn, &message, now))?;
            self.told = true;
        }
        if Instant::now() < self.look_at {
            return Ok(None);
        }
        self.look_at = Instant::now() + LOOK_EVERY;
        if !(self.low || self.told) {
            let is_out = free_bytes(self.folder()).is_ok_and(|free| free < self.size_bytes / LAST_PART);
            return Ok(if is_out { self.release() } else { None });
        }
        if self.low && !self.make() {
            return Ok(None);
        }
        self.low = false;
        if self.told {
            door::write(conn, |conn| resolve(conn, now))?;
            self.told = false;
        }
        Ok(Some(
            "there is room on the disk again; what waited goes on".to_owned(),
        ))
    }

    fn folder(&self) -> &Path {
        self.ballast.parent().unwrap_or(Path::new("."))
    }

    /// Makes the ballast where there is room; `true` when it stands, or none is wanted.
    fn make(&self) -> bool {
        if self.size_bytes == 0 {
            return true;
        }
        match std::fs::symlink_metadata(&self.ballast) {
            Ok(found) if found.is_file() && found.len() == self.size_bytes => return true,
            // Half made, or of another size.
            Ok(found) if found.is_file() => drop(std::fs::remove_file(&self.ballast)),
            Ok(_) => return false,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(_) => return false,
        }
        let has_room = free_bytes(self.folder()).is_ok_and(|free| free / ROOM_TIMES >= self.size_bytes);
        let made = has_room && self.fill().is_ok();
        if has_room && !made {
            let _ = std::fs::remove_file(&self.ballast);
        }
        made
    }

    fn fill(&self) -> std::io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&self.ballast)?;
        match fallocate(&file, FallocateFlags::empty(), 0, self.size_bytes) {
            Ok(()) => file.sync_all(),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => self.write_zeros(&mut file),
            Err(errno) => Err(errno.into()),
        }
    }

    /// A file system that reserves nothing: zeros take their room.
    fn write_zeros(&self, file: &mut File) -> std::io::Result<()> {
        let zeros = [0; 64 << 10];
        let mut left = self.size_bytes;
        while left > 0 {
            let part = usize::try_from(left).unwrap_or(zeros.len()).min(zeros.len());
            file.write_all(&zeros[..part])?;
            left -= part as u64;
        }
        file.sync_all()
    }
}

fn raise(conn: &Connection, message: &str, now: Millis) -> Result<()> {
    schema::check_writer(conn)?;
    let alarm = Alarm {
        own: Own::DiskLow,
        of: &[],
        run_id: None,
        subject: "disk",
        message,
    };
    alert::raise(conn, &alarm, now)?;
    let data = json!({ "message": message });
    event::append(conn, &NewEvent::of_database(EventType::DiskLow, now, None, data)).map(drop)
}

fn resolve(conn: &Connection, now: Millis) -> Result<()> {
    schema::check_writer(conn)?;
    alert::resolve(conn, Own::DiskLow, &[], now)?;
    event::append(
        conn,
        &NewEvent::of_database(EventType::DiskRecovered, now, None, json!({})),
    )
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_elsewhere_leaves_the_ballast_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut space = Space {
            ballast: folder.path().join(NAME),
            size_bytes: 1,
            low: false,
            told: false,
            look_at: Instant::now(),
        };
        std::fs::write(&space.ballast, "1").unwrap();
        let full = |path: &Path| Error::io("append to the log file", path, ErrorKind::StorageFull.into());
        // A file system of its own, on every Linux.
        assert_eq!(space.failed(&full(Path::new("/proc/logs/monitor.jsonl"))), None);
        assert!(space.ballast.exists());
        assert!(
            space
                .failed(&full(&folder.path().join("logs/monitor.jsonl")))
                .is_some()
        );
        assert!(!space.ballast.exists());
    }
}
