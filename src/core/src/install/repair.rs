//! Putting the capture triggers back after somebody's migration has lost them.
//!
//! Invariants: one transaction for the triggers, then a sweep in short ones, so that whatever ended
//! while nobody captured it gets its chain; nothing counts as history here that a first install would
//! leave alone. What can't be found for certain is refused with the command that names it.

use super::renamed::{self, Evidence, Found};
use super::{History, InstallOptions, Installed, history, refuse_shadows};
use crate::audit::{self, Action, By};
use crate::capture;
use crate::error::{During, Error, Result};
use crate::mapping::{Mapping, MappingRequest};
use crate::sweep::{self, Sweep};
use crate::transaction::atomically;
use crate::triggers::{self, Fault};
use crate::{Millis, schema};
use rusqlite::Connection;
use serde::Serialize;
use serde_json::json;

/// What a repair mended.
#[derive(Debug, Clone, Serialize)]
pub struct Repair {
    /// What was wrong with each trigger; empty when they were in place.
    pub faults: Vec<String>,
    /// The mapping that was recorded before.
    pub before: Mapping,
    /// Why the mapping that holds now is believed.
    pub evidence: Evidence,
}

/// How far a repair goes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Follow {
    /// Wherever exactly one answer is plausible: a person asked and reads the answer.
    Renames,
    /// Only a column that SQLite renamed in the triggers. While a migration is under way, a table has
    /// another name for a moment, and nobody may follow it there.
    Columns,
}

/// Rows of one statement of the sweep that follows.
const SWEEP_ROWS: u32 = 1_000;

/// `install --repair`: puts the triggers back, then queues every run that changed meanwhile.
pub(super) fn repair(conn: &Connection, options: &InstallOptions, now: Millis) -> Result<Installed> {
    let mut installed = atomically(conn, !options.dry_run, || {
        let mended = put_back(conn, &options.mapping, Follow::Renames, "install --repair", now)?;
        let by = By {
            actor: options.actor.clone(),
            reason: options.reason.clone(),
        };
        record(conn, &mended, &by, now)?;
        Ok(mended)
    })?;
    installed.dry_run = options.dry_run;
    if options.dry_run {
        return Ok(installed);
    }
    installed.sql = None;
    installed.history = sweep_all(conn, &installed.mapping, now)?;
    Ok(installed)
}

/// The event in the audit trail, where anything was mended: what stood where, and what was wrong with it.
fn record(conn: &Connection, mended: &Installed, by: &By, now: Millis) -> Result<()> {
    let Some(repair) = mended.repair.as_ref().filter(|_| mended.changed) else {
        return Ok(());
    };
    let action = Action {
        name: "repair",
        run_id: None,
        by,
        before: json!({ "table": repair.before, "faults": repair.faults }),
        after: json!({ "table": mended.mapping, "faults": [] }),
    };
    audit::record(conn, &action, now).map(drop)
}

/// What the leader does with `auto_repair`, in the caller's transaction. It follows a renamed column,
/// but no renamed table. The caller sweeps.
///
/// # Errors
/// [`Error::WrongMapping`] with the command for a person, and whatever SQLite answers.
pub fn auto_repair(conn: &Connection, by: &By, now: Millis) -> Result<Mapping> {
    let request = MappingRequest::default();
    let mended = put_back(conn, &request, Follow::Columns, "auto_repair", now)?;
    record(conn, &mended, by, now)?;
    Ok(mended.mapping)
}

fn put_back(
    conn: &Connection,
    request: &MappingRequest,
    follow: Follow,
    by: &str,
    now: Millis,
) -> Result<Installed> {
    let before = Mapping::require(conn)?;
    let found = which(conn, request, &before)?;
    if follow == Follow::Columns {
        refuse_other_table(&before, &found)?;
    }
    let Found { mapping, evidence } = found;
    refuse_shadows(conn, &mapping)?;
    let migrations = schema::migrate(conn)?;
    // Told as the user knows it: against the names that were recorded.
    let mut faults = triggers::faults(conn, &before)?;
    if before != mapping && faults.is_empty() {
        faults = triggers::faults(conn, &mapping)?;
    }
    let in_place = before == mapping && faults.is_empty();
    let capture = capture::installed(conn)?;
    let sql = capture.sql(&mapping);
    if !in_place {
        conn.execute_batch(&sql).during("put the capture triggers back")?;
    }
    history::carry_over(conn, &before, &mapping, now)?;
    triggers::restored(conn, &mapping, &faults, by, now)?;
    Ok(Installed {
        changed: !in_place || !migrations.is_empty(),
        dry_run: false,
        migrations,
        history: History::default(),
        sql: Some(if in_place { String::new() } else { sql }),
        repair: Some(Repair {
            faults: faults.iter().map(Fault::to_string).collect(),
            before,
            evidence,
        }),
        capture,
        mapping,
    })
}

/// What the caller names, completed by what is recorded and still there; else what is found.
fn which(conn: &Connection, request: &MappingRequest, before: &Mapping) -> Result<Found> {
    if *request == MappingRequest::default() {
        return renamed::find(conn, before);
    }
    let table = request.table.as_ref().unwrap_or(&before.table);
    let columns = crate::mapping::columns(conn, table)?;
    let recorded = |name: &String| {
        let is_there = columns
            .iter()
            .any(|column| column.name.eq_ignore_ascii_case(name));
        is_there.then(|| name.clone())
    };
    let request = MappingRequest {
        table: Some(table.clone()),
        id_column: request.id_column.clone().or_else(|| recorded(&before.id_column)),
        status_column: request
            .status_column
            .clone()
            .or_else(|| recorded(&before.status_column)),
    };
    Ok(Found {
        mapping: Mapping::resolve(conn, &request)?,
        evidence: Evidence::Named,
    })
}

fn refuse_other_table(before: &Mapping, found: &Found) -> Result<()> {
    let table = &found.mapping.table;
    let same = table.eq_ignore_ascii_case(&before.table);
    if same && matches!(found.evidence, Evidence::AsRecorded | Evidence::Triggers) {
        return Ok(());
    }
    Err(Error::wrong_mapping(
        format!(
            "table {} or its columns were renamed: it looks like table {table} (id {}, status {}) now",
            before.table, found.mapping.id_column, found.mapping.status_column
        ),
        "if it is, say so: runchain install --repair",
    ))
}

/// Compares every row, in chunks, and queues what differs from what was last acted on.
fn sweep_all(conn: &Connection, mapping: &Mapping, captured: Millis) -> Result<History> {
    let mut sweep = Sweep::default();
    while !sweep.is_over() {
        let differ = sweep::chunk(conn, mapping, &mut sweep, SWEEP_ROWS)?;
        if !differ.is_empty() {
            atomically(conn, true, || sweep::ask_to_look(conn, &differ, captured))?;
        }
    }
    let differ = i64::try_from(sweep.found).unwrap_or(i64::MAX);
    Ok(History {
        rows: differ,
        queued: differ,
        ..History::default()
    })
}
