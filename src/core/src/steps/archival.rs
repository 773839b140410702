//! `archival_log`: one row for each bag that stands in the archive folder.
//!
//! A row is written with the settling of the step that placed its bag. Who placed one may have been killed
//! before that, or have lost its step meanwhile; so whoever finds a bag of a run without a row, and whose
//! step is over, writes it then: the next archiving of the run, the settling that came too late, the next
//! pass of retention.
//! `archival_log` may be the user's own, with fewer columns than ours: what it has is filled, and where it
//! can't tell bags apart, nothing is added to it afterwards.
//!
//! What does not belong here: looking at folders.

use super::Claim;
use crate::error::{During, Result};
use crate::event::EventType;
use crate::{Millis, RunId, StepId, forget, mapping};
use rusqlite::{Connection, ToSql};

/// A row for `archival_log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archival {
    /// Where the bag stands.
    pub archive_path: String,
    /// Bytes of the whole bag.
    pub size_bytes: i64,
    /// Digest of the bag, with its algorithm.
    pub digest: String,
    /// The same bag stood there already; the log may have its row.
    pub unchanged: bool,
}

/// A bag of an earlier attempt or generation that stands beside the newest one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BagBeside {
    /// The generation that it is of.
    pub generation: i64,
    /// The bag.
    pub archival: Archival,
}

/// Where a killed attempt may have left a bag that nobody settles any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsettled {
    /// The step.
    pub step_id: StepId,
    /// Its run.
    pub run_id: RunId,
}

/// The bag of a step that is done.
pub(super) fn settled(conn: &Connection, claim: &Claim, archival: &Archival, now: Millis) -> Result<()> {
    let was_archived = archived_already(conn, claim, archival)?;
    let is_logged = || Ok(is_logged(conn, &claim.run_id, &archival.digest)? == Some(true));
    let has_row = if archival.unchanged {
        was_archived || is_logged()?
    } else {
        // A damaged bag that was made again. Only then, because the log has no index.
        was_archived && is_logged()?
    };
    if has_row {
        return Ok(());
    }
    log_archival(conn, &claim.run_id, claim.generation, archival, now)
}

/// A bag that stands and may have no row: it gets one, but never a second one. While its generation's step
/// may still be settled, the row is that step's to write: it doesn't look for one of a bag that it has
/// placed itself, and finds what an earlier attempt placed.
///
/// # Errors
/// Whatever SQLite answers.
pub fn log_missing(
    conn: &Connection,
    run_id: &RunId,
    generation: i64,
    archival: &Archival,
    now: Millis,
) -> Result<bool> {
    if will_be_settled(conn, run_id, generation)?
        || !lacks_row(conn, run_id, &archival.digest)?
        || forget::is_forgotten(conn, run_id)?
    {
        return Ok(false);
    }
    log_archival(conn, run_id, generation, archival, now)?;
    Ok(true)
}

fn will_be_settled(conn: &Connection, run_id: &RunId, generation: i64) -> Result<bool> {
    conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM runchain_steps
                        WHERE run_id = ?1 AND generation = ?2 AND step = 'archive'
                          AND state NOT IN ('done', 'cancelled', 'dead'))",
    )
    .and_then(|mut statement| statement.query_row((run_id, generation), |row| row.get(0)))
    .during("look whether the bag's step is under way")
}

/// Archivings among the steps with ids in `after+1 ..= after+ids` that began and will not be settled:
/// cancelled or dead.
///
/// # Errors
/// Whatever SQLite answers.
pub fn unsettled(conn: &Connection, after: StepId, ids: i64) -> Result<Vec<Unsettled>> {
    let mut statement = conn
        .prepare_cached(
            "SELECT id, run_id FROM runchain_steps
             WHERE id > ?1 AND id <= ?1 + ?2 AND step = 'archive' AND state IN ('cancelled', 'dead')
               AND started_ms IS NOT NULL
             ORDER BY id",
        )
        .during("look for archivings that nobody settled")?;
    let found = statement
        .query_map((after, ids), |row| {
            Ok(Unsettled {
                step_id: row.get(0)?,
                run_id: row.get(1)?,
            })
        })
        .during("look for archivings that nobody settled")?;
    found
        .collect::<rusqlite::Result<_>>()
        .during("look for archivings that nobody settled")
}

/// Whether this very bag has its row. Asked of our own event, which is written with that row: a
/// path is the same for every generation, and the log may have no other columns.
fn archived_already(conn: &Connection, claim: &Claim, archival: &Archival) -> Result<bool> {
    conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM runchain_events
                        WHERE run_id = ?1 AND generation = ?2 AND type = ?3 AND json_extract(data, '$.digest') = ?4)",
    )
    .and_then(|mut statement| {
        let kind = EventType::RunArchived.as_str();
        statement.query_row((&claim.run_id, claim.generation, kind, &archival.digest), |row| row.get(0))
    })
    .during("look for the bag's event")
}

/// Whether the log can tell bags apart and has no row of this one.
///
/// # Errors
/// Whatever SQLite answers.
pub fn lacks_row(conn: &Connection, run_id: &RunId, digest: &str) -> Result<bool> {
    Ok(is_logged(conn, run_id, digest)? == Some(false))
}

/// Whether the log has a row of this bag; `None` where it can't tell.
fn is_logged(conn: &Connection, run_id: &RunId, digest: &str) -> Result<Option<bool>> {
    let present = mapping::columns(conn, "archival_log")?;
    if ["run_id", "digest"].iter().any(|name| !has(&present, name)) {
        return Ok(None);
    }
    conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM archival_log WHERE run_id = ?1 AND digest = ?2)")
        .and_then(|mut statement| statement.query_row((run_id, digest), |row| row.get(0)))
        .map(Some)
        .during("look a bag up in archival_log")
}

fn has(present: &[mapping::Column], name: &str) -> bool {
    present
        .iter()
        .any(|column| column.name.eq_ignore_ascii_case(name))
}

/// Writes a row.
pub(crate) fn log_archival(
    conn: &Connection,
    run_id: &RunId,
    generation: i64,
    archival: &Archival,
    now: Millis,
) -> Result<()> {
    let values: [(&str, &dyn ToSql); 6] = [
        ("run_id", run_id),
        ("archive_path", &archival.archive_path),
        ("archived_at", &now.iso()),
        ("size_bytes", &archival.size_bytes),
        ("generation", &generation),
        ("digest", &archival.digest),
    ];
    let present = mapping::columns(conn, "archival_log")?;
    let (names, values): (Vec<&str>, Vec<&dyn ToSql>) = values
        .iter()
        .filter(|(name, _)| has(&present, name))
        .copied()
        .unzip();
    if names.is_empty() {
        return Ok(());
    }
    let places = vec!["?"; names.len()].join(", ");
    conn.prepare_cached(&format!(
        "INSERT INTO archival_log({}) VALUES ({places})",
        names.join(", ")
    ))
    .and_then(|mut statement| statement.execute(&values[..]))
    .during("write archival_log")?;
    Ok(())
}
