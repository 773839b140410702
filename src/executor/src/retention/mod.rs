//! Retention as a duty of the leader: a pass now and then, in batches that nobody feels.
//!
//! A batch has a connection of its own that never waits for a lock, holds the lock for a few
//! milliseconds, and is followed by a longer pause; while somebody's writes wait in the queue, it
//! waits as well. What goes is judged in the core; here stands when, and the files.

mod files;
#[cfg(test)]
mod tests;
mod unlogged;

use files::Folders;
pub(crate) use files::{files_of, remove_files};
use unlogged::Unlogged;

use crate::config::Settings;
use crate::door;
use crate::identity::{Guard, Identity, open_pinned};
use runchain_core::error::{During, Error, Result};
use runchain_core::retention::{self, Batch, Kind, Limits, Pass, Policy};
use runchain_core::{Mapping, Millis, schema};
use rusqlite::Connection;
use std::time::{Duration, Instant};

/// Rows that are looked at by one statement.
const LOOK_ROWS: u32 = 200;
/// How long one transaction removes rows.
const BATCH: Duration = Duration::from_millis(4);
/// A pause after a batch is this many times as long as it took, and at least [`LEAST_PAUSE_MS`].
const PAUSE_TIMES: i64 = 10;
const LEAST_PAUSE_MS: i64 = 20;
/// Pause while others write.
const STORM_PAUSE_MS: i64 = 1_000;
/// A pass rests this many times as long as it took: a thousandth of a core at most.
const REST_TIMES: i64 = 1_000;
/// The first pass of a leader.
const FIRST_MS: i64 = 60_000;

const DAY_MS: i64 = 86_400_000;

/// The limits, as they are configured.
pub(crate) fn policy(settings: &Settings) -> Policy {
    let limits = |days: i64, rows, size_bytes| Limits {
        age_ms: days * DAY_MS,
        rows,
        size_bytes,
    };
    let s = settings;
    Policy {
        bags: limits(
            s.retention_bags_days,
            s.retention_bags_count,
            s.retention_bags_bytes,
        ),
        reports_age_ms: s.retention_reports_days * DAY_MS,
        steps: limits(
            s.retention_steps_days,
            s.retention_steps_rows,
            s.retention_steps_bytes,
        ),
        dead_steps_age_ms: s.retention_dead_steps_days * DAY_MS,
        events: limits(
            s.retention_events_days,
            s.retention_events_rows,
            s.retention_events_bytes,
        ),
        ingested: limits(
            s.retention_ingested_days,
            s.retention_ingested_rows,
            s.retention_ingested_bytes,
        ),
        rejects: limits(
            s.retention_rejects_days,
            s.retention_rejects_rows,
            s.retention_rejects_bytes,
        ),
        executions_age_ms: s.retention_executions_days * DAY_MS,
        alerts: limits(s.retention_alerts_days, s.retention_alerts_rows, 0),
        executors_age_ms: s.retention_executors_days * DAY_MS,
        runs_age_ms: s.retention_runs_days * DAY_MS,
    }
}

/// A pass under way, with its own connection and its batch.
pub(crate) struct Work {
    conn: Connection,
    guard: Guard,
    /// First of all, where something is to be removed.
    unlogged: Unlogged,
    pass: Pass,
    batch: Option<Batch>,
    folders: Folders,
}

/// What came of one motion of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    /// More is to do.
    On,
    /// Somebody else writes.
    Busy,
    /// Everything was looked at.
    Through,
}

impl Work {
    /// Before a pass that removes: the index that it needs.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub(crate) fn prepare(settings: &Settings, conn: &mut Connection) -> Result<()> {
        if settings.retention_executions_days == 0 {
            return Ok(());
        }
        door::write(conn, retention::prepare)
    }

    /// Begins a pass on the database that the caller has open.
    ///
    /// # Errors
    /// Whatever opening the database gives; a refusal where another one stands there by now.
    pub(crate) fn begin(settings: &Settings, callers: &Connection, now: Millis) -> Result<Self> {
        let (conn, file) = open_pinned(&settings.state_db_path)?;
        conn.busy_timeout(Duration::ZERO)
            .during("begin a pass of retention")?;
        let guard = Guard::of(&conn, file)?;
        let ours = Identity::of(callers)?.ok_or(Error::NotInstalled)?;
        if !ours.is_of_one_database(guard.identity()) {
            return Err(Error::other_identity(
                format!("{} is another database by now", settings.state_db_path.display()),
                "start runchain again",
            ));
        }
        guard.only_way(&conn)?;
        let uuid = &guard.identity().uuid;
        Ok(Self {
            pass: Pass::new(policy(settings), now),
            unlogged: Unlogged::begin(settings, uuid.clone(), &conn)?,
            folders: Folders::of(settings, uuid.clone()),
            conn,
            guard,
            batch: None,
        })
    }

    /// Whether something is found and not removed yet.
    pub(crate) fn has_batch(&self) -> bool {
        self.batch.is_some()
    }

    /// What was removed, or in a dry run found.
    pub(crate) fn pass(&self) -> &Pass {
        &self.pass
    }

    /// Looks at some rows, or removes for some milliseconds.
    ///
    /// # Errors
    /// Whatever SQLite and the file system answer, but for "busy".
    pub(crate) fn go_on(&mut self, mapping: &Mapping) -> Result<Moved> {
        match self.try_to(mapping) {
            Err(error) if error.is_busy() => Ok(Moved::Busy),
            moved => moved,
        }
    }

    /// The same, but only counts.
    ///
    /// # Errors
    /// Whatever SQLite answers, but for "busy".
    pub(crate) fn count(&mut self, mapping: &Mapping) -> Result<Moved> {
        match self.look(mapping) {
            Err(error) if error.is_busy() => Ok(Moved::Busy),
            Ok(true) => {
                if let Some(batch) = self.batch.take() {
                    self.pass.count(&batch);
                }
                Ok(Moved::On)
            }
            Ok(false) => Ok(Moved::Through),
            Err(error) => Err(error),
        }
    }

    fn try_to(&mut self, mapping: &Mapping) -> Result<Moved> {
        if !self.unlogged.is_through() {
            self.unlogged.go_on(&self.conn, &self.guard)?;
            return Ok(Moved::On);
        }
        if self.batch.is_none() {
            let more = self.look(mapping)?;
            return Ok(if more { Moved::On } else { Moved::Through });
        }
        let Some(batch) = &mut self.batch else {
            return Ok(Moved::On);
        };
        let outside = matches!(batch.kind(), Kind::Bags | Kind::Reports);
        if outside && let Some(key) = batch.next(&self.conn)? {
            // Before its row: what a crash leaves in between is a row without files, which goes next time.
            self.guard.file.check()?;
            files::remove(&self.conn, batch.kind(), key, &self.folders)?;
        }
        let until = Instant::now() + BATCH;
        // Files go one by one, and so do their rows.
        let go_on = || !outside && Instant::now() < until;
        let guard = &self.guard;
        let gone = door::write_now(&self.conn, |conn| {
            guard.verify(conn)?;
            schema::check_writer(conn)?;
            Pass::remove(conn, batch, &go_on)
        })?;
        self.pass.add_up(batch, &gone);
        if batch.is_empty() {
            self.batch = None;
        }
        Ok(Moved::On)
    }

    /// The next rows; `false` when there are none.
    fn look(&mut self, mapping: &Mapping) -> Result<bool> {
        let Some(mut batch) = self.pass.look(&self.conn, mapping, LOOK_ROWS)? else {
            return Ok(false);
        };
        if batch.kind() == Kind::Reports {
            batch.only_those_with(|key| self.folders.size_of_reports(key));
        }
        self.batch = Some(batch).filter(|batch| !batch.is_empty());
        Ok(true)
    }
}

/// The leader's duty.
pub(crate) struct Duty {
    work: Option<Work>,
    began: Millis,
    due: Millis,
}

impl Duty {
    /// The first pass is due soon, not at once: starting has better things to do.
    pub(crate) fn new(settings: &Settings, now: Millis) -> Self {
        Self {
            work: None,
            began: now,
            due: now.plus(settings.retention_every_ms.min(FIRST_MS)),
        }
    }

    /// When it wants to be called next.
    pub(crate) fn due(&self) -> Millis {
        self.due
    }

    /// One motion, if it is due.
    ///
    /// # Errors
    /// Whatever SQLite and the file system answer; the pass is then given up until the next one.
    pub(crate) fn go_on(
        &mut self,
        settings: &Settings,
        conn: &mut Connection,
        mapping: &Mapping,
    ) -> Result<()> {
        let now = Millis::now();
        if now < self.due {
            return Ok(());
        }
        self.due = now.plus(settings.retention_every_ms);
        if writes_wait(conn)? {
            self.due = now.plus(STORM_PAUSE_MS);
            return Ok(());
        }
        let mut work = match self.work.take() {
            Some(work) => work,
            None => {
                self.began = now;
                Work::prepare(settings, conn)?;
                Work::begin(settings, conn, now)?
            }
        };
        let moved = work.go_on(mapping)?;
        let then = Millis::now();
        match moved {
            Moved::On => self.due = then.plus((then.since(now) * PAUSE_TIMES).max(LEAST_PAUSE_MS)),
            Moved::Busy => self.due = then.plus(STORM_PAUSE_MS),
            Moved::Through => {
                let took_ms = then.since(self.began);
                // Most of that were pauses.
                let rest_ms = (took_ms / PAUSE_TIMES).saturating_mul(REST_TIMES);
                self.due = then.plus(settings.retention_every_ms.max(rest_ms));
                return say(conn, work.pass(), then);
            }
        }
        self.work = Some(work);
        Ok(())
    }
}

/// Tells what a pass has removed as an event, if anything.
fn say(conn: &mut Connection, pass: &Pass, now: Millis) -> Result<()> {
    if pass.removed().is_empty() {
        return Ok(());
    }
    door::write(conn, |conn| pass.say(conn, now))
}

fn writes_wait(conn: &Connection) -> Result<bool> {
    door::patiently(|| {
        conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM runchain_queue)")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .during("look at the queue")
    })
}
