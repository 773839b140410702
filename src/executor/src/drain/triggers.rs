//! The leader's eye on the capture triggers: notices that somebody's migration has lost them, tells,
//! and with `auto_repair` puts them back.
//!
//! Every commit of somebody else's wakes the loop; the schema's own number tells whether it was a
//! change of the schema, for one pragma. Only then the triggers are read. Repairing waits until the
//! schema has been still for a moment: tools that commit each statement leave tables half built or
//! under other names in between, and a sweep of a table that is still empty would take every run for
//! deleted.

use crate::door;
use runchain_core::error::{Error, Result};
use runchain_core::{Mapping, Millis, install, triggers};
use rusqlite::Connection;

/// How long the schema must not have changed before it is repaired.
const STILL_MS: i64 = 2_000;

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
    schema: Option<i64>,
    lost: bool,
    repair_at: Option<Millis>,
}

impl Triggers {
    pub(super) fn new(auto_repair: bool) -> Self {
        Self {
            auto_repair,
            schema: None,
            lost: false,
            repair_at: None,
        }
    }

    /// Takes a new configuration over.
    pub(super) fn use_auto_repair(&mut self, auto_repair: bool) {
        self.auto_repair = auto_repair;
        // Asked anew at the next look, also where nothing changes.
        self.schema = None;
    }

    /// When a repair is due.
    pub(super) fn due(&self) -> Option<Millis> {
        self.repair_at
    }

    /// Looks at the triggers if the schema has changed since the last look, and repairs when it is due.
    pub(super) fn look(
        &mut self,
        conn: &mut Connection,
        mapping: &Mapping,
        now: Millis,
    ) -> Result<Option<News>> {
        let schema = door::patiently(|| triggers::schema_cookie(conn))?;
        if self.schema != Some(schema) {
            let news = self.compare(conn, mapping, now)?;
            // Only what was told counts as seen.
            self.schema = Some(schema);
            return Ok(news);
        }
        if self.repair_at.is_some_and(|at| now >= at) {
            self.repair_at = None;
            return self.repair(conn, now);
        }
        Ok(None)
    }

    fn compare(&mut self, conn: &mut Connection, mapping: &Mapping, now: Millis) -> Result<Option<News>> {
        let (faults, alarmed) = door::patiently(|| {
            let faults = triggers::faults(conn, mapping)?;
            Ok((faults, triggers::is_alarmed(conn)?))
        })?;
        if faults.is_empty() {
            let were_lost = std::mem::take(&mut self.lost) || alarmed;
            self.repair_at = None;
            if alarmed {
                door::write(conn, |conn| {
                    triggers::restored(conn, mapping, &[], "somebody else", now)
                })?;
            }
            return Ok(were_lost.then(|| {
                News::Back("the capture triggers are back; looking for what was missed".to_owned())
            }));
        }
        self.repair_at = self.auto_repair.then(|| now.plus(STILL_MS));
        let is_new = door::write(conn, |conn| triggers::alarm(conn, mapping, &faults, now))?;
        let was_lost = std::mem::replace(&mut self.lost, true);
        Ok((is_new || !was_lost).then(|| {
            let next = if self.auto_repair {
                "repairing when the schema is still".to_owned()
            } else {
                format!("writes to {} are missed; {}", mapping.table, triggers::REMEDY)
            };
            News::Lost(format!("{}; {next}", triggers::sentence(&faults)))
        }))
    }

    fn repair(&mut self, conn: &mut Connection, now: Millis) -> Result<Option<News>> {
        match door::write(conn, |conn| install::auto_repair(conn, now)) {
            Ok(mapping) => {
                self.lost = false;
                // Our own change is seen already.
                self.schema = Some(door::patiently(|| triggers::schema_cookie(conn))?);
                Ok(Some(News::Back(format!(
                    "put the capture triggers back on table {} (auto_repair); looking for what was missed",
                    mapping.table
                ))))
            }
            Err(error @ Error::WrongMapping { .. }) => Ok(Some(News::Stuck(error.to_string()))),
            Err(error) => {
                self.repair_at = Some(now.plus(STILL_MS));
                Err(error)
            }
        }
    }
}
