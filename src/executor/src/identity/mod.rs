//! Whether the database is the one that its logs and its own record know: before anything is written,
//! and for as long as it is open.
//!
//! Three things can be wrong, and each is told before a step is leased or a line is written:
//! - It is at another place than on record (`runchain_core::identity` judges that): a *copy*.
//! - The logs, or the [`witness`] beside them, know later events than it has: it was *restored*.
//! - The file that is open is no longer the one of that name, or an older state was written into it
//!   while it was open: [`guard`].
//!
//! The way on is `runchain adopt`. Invariant: nothing here changes the database. What does not belong
//! here: what adopting does (`runchain_core::adopt`).
//!
//! | file | holds |
//! | --- | --- |
//! | `guard` | the checks while it runs |
//! | `witness` | the small file beside the logs |
//! | `later` | the lines that a restored database doesn't know |

mod guard;
mod later;
mod refusal;
pub(crate) mod witness;

pub(crate) use guard::{Guard, WatchedFile, open_pinned};
pub(crate) use later::outside;
pub(crate) use refusal::{log, require, require_if_readable, unadopted};

use crate::config::Settings;
use crate::projector::{self, NewestLine};
use runchain_core::error::{During, Result};
use runchain_core::event::Log;
use runchain_core::identity::{self, FileId, Place, Standing};
use runchain_core::{event, schema};
use rusqlite::{Connection, OptionalExtension};
use std::path::Path;
use witness::Witness;

/// Who the database says that it is, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// `database_uuid` of `runchain_meta`.
    pub(crate) uuid: String,
    /// `epoch` of `runchain_meta`.
    pub(crate) epoch: i64,
    /// The newest event that it has given out.
    pub(crate) newest: i64,
}

impl Identity {
    /// `None` where runchain is not installed.
    pub(crate) fn of(conn: &Connection) -> Result<Option<Self>> {
        let Some(uuid) = schema::meta(conn, "database_uuid")? else {
            return Ok(None);
        };
        Ok(Some(Self {
            uuid,
            epoch: schema::epoch(conn)?,
            newest: event::newest_id(conn)?,
        }))
    }

    /// Whether both are of one database in one epoch.
    pub(crate) fn is_of_one_database(&self, other: &Self) -> bool {
        self.uuid == other.uuid && self.epoch == other.epoch
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It is the one that it was.
    Itself,
    /// The same, at another place, where nothing was left behind.
    Moved {
        /// The path on record.
        from: String,
    },
    /// The log folder is another database's.
    ForeignLogs {
        /// Whose.
        owner: String,
    },
    /// Something still stands where the original lived.
    Copy {
        /// The path on record.
        original: String,
    },
    /// It comes from a place that can't be looked at.
    Stranger {
        /// The path on record.
        from: String,
    },
    /// The logs know later events, or others.
    Behind {
        /// The newest that they know.
        epoch: i64,
        /// The newest that they know.
        seq: i64,
    },
}

/// Compares the database with its own record, the witness and the logs.
///
/// # Errors
/// Whatever SQLite or the system answers.
pub(crate) fn examine(conn: &Connection, settings: &Settings) -> Result<Finding> {
    let Some(identity) = Identity::of(conn)? else {
        return Ok(Finding::Itself);
    };
    let owner = projector::owner_of(&settings.logs_dir);
    if let Some(owner) = owner.filter(|owner| *owner != identity.uuid) {
        return Ok(Finding::ForeignLogs { owner });
    }
    let witness = Witness::read(&settings.logs_dir).filter(|witness| witness.database_uuid == identity.uuid);
    let here = Place::of(&settings.state_db_path)?;
    let recorded = match &witness {
        Some(witness) => Some(witness.place.clone()),
        None => Place::recorded(conn)?,
    };
    let standing = recorded.as_ref().map_or(Standing::AtHome, |recorded| {
        let file = FileId::of(&settings.state_db_path);
        identity::standing(recorded, &here, file, |path| FileId::of(Path::new(path)))
    });
    let from = recorded.map(|place| place.path).unwrap_or_default();
    match standing {
        Standing::Copy => return Ok(Finding::Copy { original: from }),
        Standing::Unknown => return Ok(Finding::Stranger { from }),
        Standing::AtHome | Standing::Moved => {}
    }
    Ok(match ahead(conn, settings, &identity, witness.as_ref())? {
        Some((epoch, seq)) => Finding::Behind { epoch, seq },
        None if standing == Standing::Moved => Finding::Moved { from },
        None => Finding::Itself,
    })
}

/// The same, wherever the database is.
///
/// # Errors
/// Whatever SQLite or the system answers.
pub(crate) fn examine_time(conn: &Connection, settings: &Settings) -> Result<Finding> {
    let Some(identity) = Identity::of(conn)? else {
        return Ok(Finding::Itself);
    };
    let witness = Witness::read(&settings.logs_dir).filter(|witness| witness.database_uuid == identity.uuid);
    Ok(ahead(conn, settings, &identity, witness.as_ref())?
        .map_or(Finding::Itself, |(epoch, seq)| Finding::Behind { epoch, seq }))
}

/// The newest that the world outside knows, where the database can't have written it.
fn ahead(
    conn: &Connection,
    settings: &Settings,
    identity: &Identity,
    witness: Option<&Witness>,
) -> Result<Option<(i64, i64)>> {
    let mut lines = Vec::new();
    for log in Log::ALL {
        lines.extend(projector::newest_line(&settings.logs_dir, log, &identity.uuid)?);
    }
    // Asked after the logs were read: another executor may be writing both.
    let ours = (schema::epoch(conn)?, event::newest_id(conn)?);
    let mut newest = witness.map(|witness| (witness.epoch, witness.seq));
    for line in lines {
        let told = (line.epoch, line.seq);
        // A restored database may have given the same number to something else since.
        if told <= ours && line.epoch == ours.0 && !is_of(conn, &line)? {
            return Ok(Some(told));
        }
        newest = newest.max(Some(told));
    }
    Ok(newest.filter(|newest| *newest > ours))
}

/// Whether the database's event of this number is the one of the line, as far as it is still there.
fn is_of(conn: &Connection, line: &NewestLine) -> Result<bool> {
    let Some(event) = &line.event else {
        return Ok(true);
    };
    let kind: Option<String> = conn
        .query_row(
            "SELECT type FROM runchain_events WHERE id = ?1",
            [line.seq],
            |row| row.get(0),
        )
        .optional()
        .during("compare the newest log line")?;
    Ok(kind.is_none_or(|kind| kind == *event))
}
