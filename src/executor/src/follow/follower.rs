//! The thread of a follower, and the handle on it.

use super::how::How;
use super::inbox::Inbox;
use super::news::News;
use super::places::Places;
use super::work::{Turn, Work};
use crate::door;
use crate::identity::{Guard, open_pinned};
use runchain_core::error::{During, Error, Result};
use runchain_core::event::{self, EventType, NewEvent};
use runchain_core::{Millis, schema};
use rusqlite::Connection;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After a slice, where nobody else has written meanwhile: others who wait for the lock ask more often.
const GAP: Duration = Duration::from_millis(1);
/// Where others write, it rests as long as the slice took, at most this long.
const LONGEST_REST: Duration = Duration::from_millis(200);
/// After a failure that may pass; doubled up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// A follower at work. Dropped, it commits nothing any more.
#[derive(Debug)]
pub(crate) struct Follower {
    inbox: Arc<Inbox>,
}

impl Follower {
    /// Follows these places until it is dropped. `tell` is called on the follower's own thread.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub(crate) fn start(how: How, places: Places, tell: impl FnMut(News) + Send + 'static) -> Result<Self> {
        let inbox = Arc::new(Inbox::default());
        let thread = Thread {
            database: how.settings.state_db_path.clone(),
            are_usual: places.are_usual,
            inbox: Arc::clone(&inbox),
            open: None,
            said_places: Vec::new(),
            failed: None,
            caught_up: false,
            tell: Box::new(tell),
        };
        std::thread::Builder::new()
            .name("follow".to_owned())
            .spawn(move || thread.run(places, how))
            .map_err(|error| Error::io("start the thread that follows", "event logs", error))?;
        Ok(Self { inbox })
    }

    /// Reads nothing while this holds: the disk is full.
    pub(crate) fn pause(&self, paused: bool) {
        self.inbox.pause(paused);
    }

    /// Something was committed: a run has ended, perhaps, whose log holds a last line.
    pub(crate) fn database_changed(&self) {
        self.inbox.database_changed();
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // Not waited for: it may hang in a read from somebody's disk. It commits nothing any more.
        self.inbox.stop();
    }
}

/// The database, once there is something to read.
struct Open {
    conn: Connection,
    guard: Guard,
    seen: i64,
}

impl Open {
    fn database(path: &Path, inbox: &Arc<Inbox>) -> Result<Self> {
        let (conn, file) = open_pinned(path)?;
        // Rows and checkpoint go together, also when the power takes them. What is told of them is
        // committed durably by whoever tells it.
        conn.execute_batch("PRAGMA synchronous = NORMAL")
            .during("size the durability of ingest")?;
        conn.set_prepared_statement_cache_capacity(64);
        let guard = Guard::of(&conn, file)?;
        let (watched, stopped) = (guard.file.clone(), Arc::clone(inbox));
        conn.commit_hook(Some(move || stopped.is_stopped() || !watched.is_current()))
            .during("guard the connection")?;
        let seen = data_version(&conn)?;
        Ok(Self { conn, guard, seen })
    }

    /// Whether others have committed since the last call.
    fn others_wrote(&mut self) -> bool {
        // Busy: somebody is at it.
        let now = data_version(&self.conn).unwrap_or(i64::MIN);
        std::mem::replace(&mut self.seen, now) != now
    }
}

fn data_version(conn: &Connection) -> Result<i64> {
    conn.prepare_cached("PRAGMA data_version")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .during("look whether anybody has committed")
}

struct Thread {
    database: PathBuf,
    are_usual: bool,
    inbox: Arc<Inbox>,
    open: Option<Open>,
    /// The places that were told, and which of them were there.
    said_places: Vec<(PathBuf, bool)>,
    /// What the database has refused last, until it works again.
    failed: Option<String>,
    /// That was told.
    caught_up: bool,
    tell: Box<dyn FnMut(News) + Send>,
}

impl Thread {
    fn run(mut self, places: Places, how: How) {
        let mut work = Work::new(places, how, Arc::clone(&self.inbox));
        let mut pause = FIRST_PAUSE;
        while !self.inbox.is_stopped() {
            work.take_in(self.inbox.take());
            if self.inbox.is_paused() {
                self.inbox.wait(work.due());
                continue;
            }
            work.look();
            self.say_places(&work);
            let began = Instant::now();
            match self.turn(&mut work) {
                Ok(Turn::Read(report)) => {
                    (self.failed, pause) = (None, FIRST_PAUSE);
                    self.caught_up = false;
                    let more = report.left > 0 || work.has_work();
                    (self.tell)(News::Read(*report));
                    self.rest(more, began.elapsed());
                }
                Ok(Turn::Nothing(due)) => {
                    (self.failed, pause) = (None, FIRST_PAUSE);
                    if due > Instant::now() && !std::mem::replace(&mut self.caught_up, true) {
                        (self.tell)(News::CaughtUp);
                    }
                    self.inbox.wait(due);
                }
                Err(_) if self.inbox.is_stopped() => {}
                Err(error) => {
                    // A file that was replaced: what is there now is looked at anew.
                    self.open = None;
                    self.say_failure(error);
                    self.inbox.rest(pause);
                    pause = (pause * 2).min(LAST_PAUSE);
                }
            }
        }
    }

    fn turn(&mut self, work: &mut Work) -> Result<Turn> {
        let refused = work.refused();
        if refused.is_empty() && !work.has_work() {
            return Ok(Turn::Nothing(work.due()));
        }
        let open = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(Open::database(&self.database, &self.inbox)?),
        };
        open.guard.verify(&open.conn)?;
        for (path, why) in refused {
            let noted = note_refusal(&open.conn, &path, &why);
            (self.tell)(News::Refused { path, why });
            noted?;
        }
        let turn = work.turn(&open.conn)?;
        // What was refused meanwhile is said before the sleep.
        Ok(match turn {
            Turn::Nothing(_) if work.has_unsaid() => Turn::Nothing(Instant::now()),
            turn => turn,
        })
    }

    /// Everybody else has a turn at the lock.
    fn rest(&mut self, more: bool, took: Duration) {
        let others_wrote = self.open.as_mut().is_some_and(Open::others_wrote);
        match (more, others_wrote) {
            (false, _) => {}
            (true, false) => self.inbox.rest(GAP),
            (true, true) => self.inbox.rest(took.clamp(GAP, LONGEST_REST)),
        }
    }

    fn say_places(&mut self, work: &Work) {
        let places = work.places();
        let said = places
            .iter()
            .map(|(place, files)| (place.clone(), files.is_some()));
        let said: Vec<_> = said.collect();
        if said != self.said_places {
            self.said_places = said;
            (self.tell)(News::Following {
                places: places.to_vec(),
                are_usual: self.are_usual,
            });
        }
    }

    fn say_failure(&mut self, error: Error) {
        let text = error.to_string();
        if self.failed.replace(text.clone()).is_none_or(|said| said != text) {
            (self.tell)(News::Failed(error));
        }
    }
}

/// What can't be read stands in the log, too.
fn note_refusal(conn: &Connection, path: &Path, why: &str) -> Result<()> {
    let data = json!({ "path": path.to_string_lossy(), "why": why });
    let event = NewEvent::of_database(EventType::IngestRefused, Millis::now(), None, data);
    door::write(conn, |conn| {
        schema::check_writer(conn)?;
        event::append(conn, &event).map(drop)
    })
}
