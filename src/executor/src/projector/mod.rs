//! The projector: every lifecycle event stands in `logs/monitor.jsonl` or `logs/archival.jsonl`
//! once, in the order of its id, whatever is killed and whenever.
//!
//! Lines are appended and synced first, the cursors in `runchain_cursors` follow: with the next commit that
//! is made anyway, or a moment later by one of their own. After a crash in between, the file knows more than
//! the cursor: each log resumes at the later of its cursor and its last whole line. Two things must hold for
//! that:
//! - Only the holder of the database's leadership projects, and only the holder of the log folder's
//!   lock appends there. That lock file names the one database whose logs these are.
//! - Events are durable before their lines are written: the executor's connection is
//!   `synchronous=EXTRA`, and what others commit is covered by a commit of its own. Otherwise power
//!   loss could take an event back whose line is written, and give its id to another.
//!
//! A log that is ahead of its database (restored from a backup) is refused: adopting the database
//! begins a new epoch; (epoch, seq) is never used twice. Open the projector before anything else
//! appends events.
//!
//! What does not belong here: deciding what happens, reading files of others.

mod backwards;
mod claim;
pub(crate) mod erase;
mod line;
mod logfile;
mod newest;
mod rotate;
#[cfg(test)]
mod tests;
mod track;

use crate::redact::Redactor;
use crate::{door, fault};
pub(crate) use claim::claim;
pub(crate) use line::HEARTBEAT_PREFIX;
use line::Origin;
pub(crate) use line::{HEAD_BYTES, LineHead};
use logfile::LogFile;
pub(crate) use newest::{NewestLine, newest_line, owner_of};
pub(crate) use rotate::{Rotation, files_of, is_log};
use runchain_core::error::{Error, Result};
use runchain_core::event::{self, Log};
use runchain_core::liveness::FileLock;
use runchain_core::{Millis, schema};
use rusqlite::Connection;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use track::{Track, store_cursor};

/// The cursors follow within this time where no other commit takes them along. Until then retention keeps a
/// few events more than it has to, and a crash costs a look at the end of the file.
const CURSORS_WITHIN: Duration = Duration::from_millis(500);

/// Projects the events of one database to the logs in one folder.
#[derive(Debug)]
pub(crate) struct Projector {
    folder: PathBuf,
    rotation: Rotation,
    redactor: Redactor,
    /// The name of the database among others, for each line.
    instance: String,
    lock: FileLock,
    origin: Origin,
    monitor: Track,
    archival: Track,
    heartbeat_at: Option<Instant>,
    /// When the cursors have to be stored at the latest; none where they are.
    cursors_due: Option<Instant>,
    /// Something was projected that the list of reports doesn't say yet.
    reported: bool,
}

impl Projector {
    /// Locks the folder (created where it is missing) for this database, mends the ends of its logs
    /// and finds where to resume.
    ///
    /// # Errors
    /// A refusal when the folder is another database's or in use, or when a log is no plain file;
    /// whatever SQLite or the system answers.
    pub(crate) fn open(logs_dir: &Path, rotation: Rotation, conn: &Connection) -> Result<Self> {
        let origin = Origin {
            uuid: meta(conn, "database_uuid")?,
            epoch: schema::epoch(conn)?,
        };
        let lock = claim(logs_dir, &origin.uuid)?;
        let mut projector = Self {
            folder: logs_dir.to_owned(),
            rotation,
            redactor: Redactor::default(),
            instance: String::new(),
            lock,
            origin,
            monitor: Track::new(Log::Monitor, logs_dir, conn)?,
            archival: Track::new(Log::Archival, logs_dir, conn)?,
            heartbeat_at: None,
            cursors_due: None,
            // Whoever led before may have ended right before that.
            reported: true,
        };
        projector.reopen_what_moved(conn)?;
        Ok(projector)
    }

    /// The UUID of the database, as it stands in every line.
    pub(crate) fn database_uuid(&self) -> &str {
        &self.origin.uuid
    }

    /// Appends up to `limit` events to their logs and returns how many it went through: fewer than
    /// `limit` means that the logs are complete. Call it outside any transaction.
    ///
    /// # Errors
    /// Whatever SQLite or the system answers. Nothing is lost or doubled by calling it again.
    pub(crate) fn project(&mut self, conn: &Connection, limit: usize) -> Result<usize> {
        self.reopen_what_moved(conn)?;
        let from = self.monitor.position.min(self.archival.position);
        let events = line::events_after(conn, from, limit)?;
        if let Some(last) = events.last() {
            if events.iter().any(line::StoredEvent::is_of_others) {
                self.make_durable(conn)?;
            }
            fault::point("project-before-append");
            for track in [&mut self.monitor, &mut self.archival] {
                let lines: String = events
                    .iter()
                    .filter(|event| event.log() == track.log && event.id > track.position)
                    .map(|event| event.line(&self.origin, &self.instance, &self.redactor))
                    .collect();
                track.append(&lines, true)?;
                track.position = track.position.max(last.id);
            }
        }
        self.reported |= events.iter().any(line::StoredEvent::concerns_reports);
        let any = !events.is_empty();
        if any {
            fault::point("project-after-append");
        }
        self.follow_with_cursors(conn)?;
        self.rotate_what_is_due(conn, Millis::now())?;
        Ok(events.len())
    }

    /// Writes where the cursors have to be, inside a transaction of the caller's that is made anyway;
    /// [`Projector::rode`] when it is committed.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub(crate) fn ride(&self, conn: &Connection) -> Result<()> {
        self.tracks()
            .into_iter()
            .filter(|track| track.position != track.stored)
            .try_for_each(|track| store_cursor(conn, track.log, track.position))
    }

    /// What [`Projector::ride`] wrote is committed.
    pub(crate) fn rode(&mut self) {
        if self.are_cursors_behind() {
            fault::point("project-after-cursor");
        }
        for track in [&mut self.monitor, &mut self.archival] {
            track.stored = track.position;
        }
        self.cursors_due = None;
    }

    /// When the cursors want a commit of their own, if none takes them along before.
    pub(crate) fn cursors_due(&self) -> Option<Instant> {
        self.cursors_due
    }

    /// Every line has this name from now on.
    pub(crate) fn use_instance(&mut self, instance: &str) {
        instance.clone_into(&mut self.instance);
    }

    /// That name.
    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    /// Whether the list of reports is to be written anew; asked once, it is the caller's to do.
    pub(crate) fn take_reported(&mut self) -> bool {
        std::mem::take(&mut self.reported)
    }

    /// Redacts by these rules from now on.
    pub(crate) fn use_redactor(&mut self, redactor: Redactor) {
        self.redactor = redactor;
    }

    /// Rotates by other rules from now on.
    pub(crate) fn use_rotation(&mut self, rotation: Rotation) {
        self.rotation = rotation;
    }

    /// Rotates logs whose every line the stored cursor covers.
    fn rotate_what_is_due(&mut self, conn: &Connection, now: Millis) -> Result<()> {
        let mut is_due = false;
        for file in self.tracks().into_iter().filter_map(|track| track.file.as_ref()) {
            is_due |= self.rotation.is_due(file, now)?;
        }
        if !is_due {
            return Ok(());
        }
        self.store_cursors(conn)?;
        for track in [&mut self.monitor, &mut self.archival] {
            // Taken out, so that a failure leaves the file to be opened anew.
            let Some(file) = track.file.take_if(|_| track.position == track.stored) else {
                continue;
            };
            if !self.rotation.is_due(&file, now)? {
                track.file = Some(file);
            } else {
                track.file = Some(rotate::rotate(
                    track.log,
                    &file,
                    &track.path,
                    &self.origin,
                    &self.instance,
                    track.position,
                    now,
                )?);
                rotate::retain(track.log, &self.folder, self.rotation, now)?;
            }
        }
        Ok(())
    }

    /// Appends heartbeat lines to the monitor log, by one write. They have no sequence number and no
    /// promise: the newest are lost with the power.
    ///
    /// # Errors
    /// Whatever the system answers, or SQLite where the log had to be opened anew.
    pub(crate) fn heartbeat(&mut self, conn: &Connection, lines: &[Value]) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        self.reopen_what_moved(conn)?;
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        self.monitor.append(&text, false)?;
        self.heartbeat_at = Some(Instant::now());
        Ok(())
    }

    /// When the newest heartbeat was written.
    pub(crate) fn heartbeat_at(&self) -> Option<Instant> {
        self.heartbeat_at
    }

    /// Opens what isn't open, and what others removed or rotated since.
    fn reopen_what_moved(&mut self, conn: &Connection) -> Result<()> {
        let reopened = self.try_reopen(conn);
        if reopened.is_err() {
            // Whether the log is ahead of the database was not settled: look again next time.
            self.monitor.file = None;
            self.archival.file = None;
        }
        reopened
    }

    fn try_reopen(&mut self, conn: &Connection) -> Result<()> {
        if !self.lock.is_current() {
            self.lock = claim(&self.folder, &self.origin.uuid)?;
        }
        let mut ahead: Option<LineHead> = None;
        for track in [&mut self.monitor, &mut self.archival] {
            if track.file.as_ref().is_some_and(LogFile::is_current) {
                continue;
            }
            let mut file = LogFile::open(&track.path)?;
            if let Some(last) = file.recover(&self.origin, track.position)?.last {
                if last.origin.epoch == self.origin.epoch {
                    track.position = track.position.max(last.seq);
                }
                let is_later =
                    |seen: &LineHead| (last.origin.epoch, last.seq) > (seen.origin.epoch, seen.seq);
                if ahead.as_ref().is_none_or(is_later) {
                    ahead = Some(last);
                }
            }
            track.file = Some(file);
        }
        match ahead {
            Some(last) => self.refuse_if_behind(conn, &last),
            None => Ok(()),
        }
    }

    /// A log with a line that the database can't have written yet: the database went back in time.
    fn refuse_if_behind(&self, conn: &Connection, last: &LineHead) -> Result<()> {
        let newest = event::newest_id(conn)?;
        if (last.origin.epoch, last.seq) <= (self.origin.epoch, newest) {
            return Ok(());
        }
        Err(Error::other_identity(
            format!(
                "the database is older than its logs in {}: they know event {} of epoch {}, it has {newest} of epoch {}",
                self.folder.display(),
                last.seq,
                last.origin.epoch,
                self.origin.epoch
            ),
            "if it was restored from a backup: runchain adopt --as restored; else put the newer database back",
        ))
    }

    /// The newest event whose line and cursor are on the disk.
    pub(crate) fn covered(&self) -> i64 {
        self.monitor.stored.min(self.archival.stored)
    }

    /// Where the logs are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The epoch that lines are written in.
    pub(crate) fn epoch(&self) -> i64 {
        self.origin.epoch
    }

    /// Whoever commits durably brings what was committed before to the disk as well.
    fn make_durable(&self, conn: &Connection) -> Result<()> {
        let Track { log, stored, .. } = self.monitor;
        door::write(conn, |conn| {
            schema::check_writer(conn)?;
            // There and back: SQLite neither writes nor syncs where nothing changes.
            store_cursor(conn, log, stored + 1)?;
            store_cursor(conn, log, stored)
        })
    }

    fn tracks(&self) -> [&Track; 2] {
        [&self.monitor, &self.archival]
    }

    fn are_cursors_behind(&self) -> bool {
        (self.tracks().iter()).any(|track| track.position != track.stored)
    }

    /// Stores the cursors if it is time.
    fn follow_with_cursors(&mut self, conn: &Connection) -> Result<()> {
        if !self.are_cursors_behind() {
            return Ok(());
        }
        let due = *(self.cursors_due).get_or_insert_with(|| Instant::now() + CURSORS_WITHIN);
        if Instant::now() < due {
            return Ok(());
        }
        self.store_cursors(conn)
    }

    /// Stores the cursors by a commit of their own.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub(crate) fn store_cursors(&mut self, conn: &Connection) -> Result<()> {
        if !self.are_cursors_behind() {
            return Ok(());
        }
        door::write(conn, |conn| {
            schema::check_writer(conn)?;
            self.ride(conn)
        })?;
        self.rode();
        Ok(())
    }
}

fn meta(conn: &Connection, key: &str) -> Result<String> {
    schema::meta(conn, key)?.ok_or(Error::NotInstalled)
}
