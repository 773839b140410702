//! The leader's eye on the capture triggers: notices that somebody's migration has lost them, tells,
//! and with `auto_repair` puts them back.
//!
//! Every commit of somebody else's wakes the loop; the schema's own number tells whether it was a
//! change of the schema, for one pragma. Only then the triggers are read.
//!
//! Invariant: nothing is written while somebody's migration seems to be under way. Some tools commit
//! each statement, and some wait for no lock: an alert between two of their statements would end them
//! with SQLITE_BUSY and leave tables half built. And in between, tables have other names or are empty:
//! a sweep then would take every run for deleted. So telling waits until the schema has been still for
//! a moment, but never long, and repairing until it has been so for longer.

use crate::{actor, door};
use runchain_core::error::{Error, Result};
use runchain_core::triggers::Fault;
use runchain_core::{Mapping, Millis, install, triggers};
use rusqlite::Connection;

/// How long the schema must not have changed before anything is told.
const TELL_STILL_MS: i64 = 250;
/// Told at the latest, however often the schema changes: within the second that is promised.
const TELL_LATEST_MS: i64 = 750;
/// How long the schema must not have changed before it is repaired.
const REPAIR_STILL_MS: i64 = 2_000;

/// What the loop has to know and to tell.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// They are lost; the text says how, and what to do.
    Lost(String),
    /// They are back: whatever was missed has to be looked for.
    Back(String),
    /// They can't be put back without a person; the text says what to do.
    Stuck(String),
}

/// What was seen last.
#[derive(Debug)]
pub(super) struct Triggers {
    auto_repair: bool,
    /// The schema's number at the last look; none before the first.
    schema: Option<i64>,
    loss: Option<Loss>,
}

/// The triggers are lost.
#[derive(Debug)]
struct Loss {
    faults: Vec<Fault>,
    since: Millis,
    /// The person at the terminal knows.
    told: bool,
    /// None when the alert says what is the case.
    tell_at: Option<Millis>,
    /// None where a person has to do it.
    repair_at: Option<Millis>,
}

impl Triggers {
    pub(super) fn new(auto_repair: bool) -> Self {
        Self {
            auto_repair,
            schema: None,
            loss: None,
        }
    }

    /// Takes a new configuration over.
    pub(super) fn use_auto_repair(&mut self, auto_repair: bool) {
        self.auto_repair = auto_repair;
        // Asked anew at the next look, also where nothing changes.
        self.schema = None;
    }

    /// When there is something to tell or to repair.
    pub(super) fn due(&self) -> Option<Millis> {
        let loss = self.loss.as_ref()?;
        loss.tell_at.into_iter().chain(loss.repair_at).min()
    }

    /// Looks at the triggers if the schema has changed since the last look; tells and repairs what is
    /// due.
    pub(super) fn look(
        &mut self,
        conn: &mut Connection,
        mapping: &Mapping,
        now: Millis,
    ) -> Result<Option<News>> {
        let schema = door::patiently(|| triggers::schema_cookie(conn))?;
        if self.schema != Some(schema) {
            let faults = door::patiently(|| triggers::faults(conn, mapping))?;
            if faults.is_empty() {
                let news = self.found_in_place(conn, mapping, now)?;
                self.schema = Some(schema);
                return Ok(news);
            }
            self.found_lost(faults, now);
            self.schema = Some(schema);
        }
        let Some(loss) = &mut self.loss else {
            return Ok(None);
        };
        if loss.tell_at.is_some_and(|at| now >= at) {
            let is_new = door::write(conn, |conn| triggers::alarm(conn, mapping, &loss.faults, now))?;
            loss.tell_at = None;
            let was_told = std::mem::replace(&mut loss.told, true);
            return Ok((is_new || !was_told).then(|| News::Lost(loss.sentence(mapping))));
        }
        if loss.repair_at.is_some_and(|at| now >= at) {
            return self.repair(conn, now);
        }
        Ok(None)
    }

    fn found_lost(&mut self, faults: Vec<Fault>, now: Millis) {
        let before = self.loss.as_ref();
        let since = before.map_or(now, |loss| loss.since);
        let told = before.is_some_and(|loss| loss.told);
        let still = now.plus(TELL_STILL_MS);
        let tell_at = match self.schema {
            // Where we only begin, nothing was seen to change.
            None => now,
            // The alert's text is renewed: they may be lost in another way now.
            Some(_) if told => still,
            Some(_) => still.min(since.plus(TELL_LATEST_MS)),
        };
        self.loss = Some(Loss {
            faults,
            since,
            told,
            tell_at: Some(tell_at),
            repair_at: self.auto_repair.then(|| now.plus(REPAIR_STILL_MS)),
        });
    }

    /// Also where nobody was told of a loss, something may have been missed while it lasted.
    fn found_in_place(
        &mut self,
        conn: &mut Connection,
        mapping: &Mapping,
        now: Millis,
    ) -> Result<Option<News>> {
        let alarmed = door::patiently(|| triggers::is_alarmed(conn))?;
        if alarmed {
            door::write(conn, |conn| {
                triggers::restored(conn, mapping, &[], "somebody else", now)
            })?;
        }
        let were_lost = self.loss.take().is_some() || alarmed;
        Ok(were_lost
            .then(|| News::Back("the capture triggers are back; looking for what was missed".to_owned())))
    }

    fn repair(&mut self, conn: &mut Connection, now: Millis) -> Result<Option<News>> {
        let repaired = door::write(conn, |conn| {
            install::auto_repair(conn, &actor::by(Some("auto_repair")), now)
        });
        if let Some(loss) = &mut self.loss {
            loss.repair_at = match &repaired {
                Err(error) if !matches!(error, Error::WrongMapping { .. }) => Some(now.plus(REPAIR_STILL_MS)),
                _ => None,
            };
        }
        match repaired {
            Ok(mapping) => {
                self.loss = None;
                // Our own change is seen already.
                self.schema = Some(door::patiently(|| triggers::schema_cookie(conn))?);
                Ok(Some(News::Back(format!(
                    "put the capture triggers back on table {} (auto_repair); looking for what was missed",
                    mapping.table
                ))))
            }
            Err(error @ Error::WrongMapping { .. }) => Ok(Some(News::Stuck(error.to_string()))),
            Err(error) => Err(error),
        }
    }
}

impl Loss {
    fn sentence(&self, mapping: &Mapping) -> String {
        let next = if self.repair_at.is_some() {
            "repairing when the schema is still".to_owned()
        } else {
            format!("writes to {} are missed; {}", mapping.table, triggers::REMEDY)
        };
        format!("{}; {next}", triggers::sentence(&self.faults))
    }
}
