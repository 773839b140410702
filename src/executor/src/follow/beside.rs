//! Following for somebody who looks (`runchain monitor --ingest-events`): what a service follows already
//! is left to it, and taken over when that ends.
//!
//! A service says in the audit trail what it follows. Whoever doesn't (an earlier release, one whose
//! configuration was read again since) is followed beside: rows and checkpoint are one transaction, so
//! that two only share the work. What does not belong here: showing what was said.

use super::{Follower, How, News, Places};
use crate::config::Settings;
use runchain_core::audit::{self, Query};
use runchain_core::error::{During, Error, Result};
use runchain_core::liveness::{Liveness, executor_alive};
use runchain_core::{Millis, space};
use rusqlite::{Connection, OptionalExtension};
use serde_json::json;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// An executor registers itself and says that it began in one transaction, but reads the clock twice.
const CLOCK_STEP_MS: i64 = 60_000;
/// How often the audit trail is read while somebody else follows: a reload may have changed what.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// A follower that is there while no service does its work.
pub(crate) struct Beside {
    settings: Arc<Settings>,
    places: Places,
    follower: Option<Follower>,
    /// The executor that it was left to.
    left_to: Option<String>,
    /// When an executor that is alive was last asked.
    asked: Option<Instant>,
    tell: Arc<dyn Fn(String) + Send + Sync>,
}

impl Beside {
    /// Follows nothing yet. `tell` is called with each sentence that a person should see, also on the
    /// follower's own thread.
    ///
    /// # Errors
    /// A glob that can't be read.
    pub(crate) fn new(
        settings: &Arc<Settings>,
        tell: impl Fn(String) + Send + Sync + 'static,
    ) -> Result<Self> {
        Ok(Self {
            places: Places::of_service(settings)?,
            settings: Arc::clone(settings),
            follower: None,
            left_to: None,
            asked: None,
            tell: Arc::new(tell),
        })
    }

    /// Something was committed, or an executor may have come or gone: follows, or leaves it to that one.
    ///
    /// # Errors
    /// When the executor can't be asked, or the system has no thread to give.
    pub(crate) fn look(&mut self, conn: &Connection) -> Result<()> {
        let follows = match executor_alive(&self.settings.state_db_path) {
            Liveness::Alive { who } if self.left_to.as_ref() == Some(&who) && self.has_just_asked() => {
                Some(who)
            }
            Liveness::Alive { who } => {
                self.asked = Some(Instant::now());
                Some(who).filter(|who| self.is_followed_by(conn, who).unwrap_or(false))
            }
            Liveness::Dead | Liveness::Unknown(_) => None,
        };
        match follows {
            Some(who) => {
                self.follower = None;
                if self.left_to.as_ref() != Some(&who) {
                    (self.tell)(format!("event logs are followed by {who}"));
                    self.left_to = Some(who);
                }
            }
            None if self.follower.is_none() => {
                self.left_to = None;
                let tell = Arc::clone(&self.tell);
                self.follower = Some(self.start(move |news| {
                    if let Some(sentence) = news.sentence() {
                        tell(sentence);
                    }
                })?);
            }
            None => {}
        }
        if let Some(follower) = &self.follower {
            follower.pause(space::refuse_while_low(conn).is_err());
            follower.database_changed();
        }
        Ok(())
    }

    fn has_just_asked(&self) -> bool {
        self.asked.is_some_and(|asked| asked.elapsed() < ASK_EVERY)
    }

    /// Reads everything that is there now to its end.
    ///
    /// # Errors
    /// What the database refuses; what a file refuses is told.
    pub(crate) fn catch_up(&self) -> Result<()> {
        let (sender, heard) = channel();
        let _follower = self.start(move |news| drop(sender.send(news)))?;
        for news in heard {
            match news {
                News::CaughtUp => return Ok(()),
                News::Failed(error) => return Err(error),
                News::Following { .. } => {}
                news => news
                    .sentence()
                    .into_iter()
                    .for_each(|sentence| (self.tell)(sentence)),
            }
        }
        Err(Error::refused(
            "the follower has ended",
            "report this as a bug of runchain",
        ))
    }

    fn start(&self, tell: impl FnMut(News) + Send + 'static) -> Result<Follower> {
        let how = How {
            settings: Arc::clone(&self.settings),
            format: None,
        };
        Follower::start(how, self.places.clone(), tell)
    }

    /// Whether the executor of this lock says that it follows all of these places.
    fn is_followed_by(&self, conn: &Connection, who: &str) -> Result<bool> {
        let Some(started) = started(conn, who)? else {
            return Ok(false);
        };
        let query = Query {
            since: Some(started.1.plus(-CLOCK_STEP_MS)),
            limit: usize::MAX,
            ..Query::default()
        };
        let mut follows: Vec<String> = Vec::new();
        for entry in audit::entries(conn, &query)? {
            if entry.action == "executor_start" && entry.after["executor"] == json!(started.0) {
                follows = serde_json::from_value(entry.after["follows"].clone()).unwrap_or_default();
            }
            if entry.action == "config_reload" && entry.after.get("ingest.events").is_some() {
                follows.clear();
            }
        }
        Ok(self.places.told().iter().all(|place| follows.contains(place)))
    }
}

/// The executor that a lock names, and since when it is there.
fn started(conn: &Connection, who: &str) -> Result<Option<(String, Millis)>> {
    conn.query_row(
        "SELECT executor_id, started_ms FROM runchain_executors WHERE ?1 LIKE 'executor ' || executor_id || ',%'",
        [who],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
    .optional()
    .during("look which executor is alive")
}
