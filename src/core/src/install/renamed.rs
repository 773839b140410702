//! What the captured table and its columns are called now, after somebody has renamed them.
//!
//! SQLite itself writes the best evidence: a RENAME rewrites the capture triggers, so the mapping
//! whose triggers read exactly as the stored ones is what they were renamed to. After a table rebuild
//! the triggers are gone, and only resemblance is left. Invariant: an answer is given only where
//! exactly one is plausible, and a table that resembles the lost one must hold a run that we know.

use crate::error::{During, Error, Result};
use crate::mapping::{self, Column, Mapping, MappingRequest, TRIGGERS};
use crate::{RunId, triggers};
use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;

/// Why the answer is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// Table and columns are there under the recorded names.
    AsRecorded,
    /// Somebody named them.
    Named,
    /// SQLite rewrote the triggers when it renamed.
    Triggers,
    /// The one table with such columns that holds the runs we know, or the one column of that kind.
    Resemblance,
}

/// The mapping as it reads now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) mapping: Mapping,
    pub(crate) evidence: Evidence,
}

/// Known runs that are looked for in a table that may be the renamed one.
const RUNS_ASKED: i64 = 100;

/// Finds the one plausible mapping.
///
/// # Errors
/// [`Error::WrongMapping`] with the candidates and the command that takes the right one.
pub(crate) fn find(conn: &Connection, recorded: &Mapping) -> Result<Found> {
    let lost = match Mapping::resolve(conn, &MappingRequest::from(recorded)) {
        Ok(mapping) => {
            return Ok(Found {
                mapping,
                evidence: Evidence::AsRecorded,
            });
        }
        Err(Error::WrongMapping { what, .. }) => what,
        Err(other) => return Err(other),
    };
    if let Some(mapping) = by_triggers(conn, recorded)? {
        return Ok(Found {
            mapping,
            evidence: Evidence::Triggers,
        });
    }
    let candidates = by_resemblance(conn, recorded)?;
    if let [only] = candidates.as_slice() {
        return Ok(Found {
            mapping: only.clone(),
            evidence: Evidence::Resemblance,
        });
    }
    Err(refusal(conn, recorded, &lost, &candidates)?)
}

/// The mapping whose triggers are, to the letter, those that stand there.
fn by_triggers(conn: &Connection, recorded: &Mapping) -> Result<Option<Mapping>> {
    let mut found = Vec::new();
    for name in TRIGGERS {
        found.extend(triggers::stored(conn, name)?.map(|trigger| (name, trigger)));
    }
    let Some(table) = found.first().map(|(_, trigger)| trigger.table.clone()) else {
        return Ok(None);
    };
    let columns = mapping::columns(conn, &table)?;
    let fits = |mapping: &Mapping| {
        let wanted = mapping.triggers();
        found.iter().all(|(name, trigger)| {
            wanted
                .iter()
                .any(|(one, text)| one == name && *text == trigger.sql)
        })
    };
    for id_column in could_be(&columns, &recorded.id_column) {
        for status_column in could_be(&columns, &recorded.status_column) {
            let mapping = Mapping {
                table: table.clone(),
                id_column: id_column.clone(),
                status_column,
            };
            if mapping.id_column != mapping.status_column && fits(&mapping) {
                return Ok(Some(mapping));
            }
        }
    }
    Ok(None)
}

/// A column that is still there keeps its name; else any may be the renamed one.
fn could_be(columns: &[Column], recorded: &str) -> Vec<String> {
    let names = columns.iter().map(|column| column.name.clone());
    match names.clone().find(|name| name.eq_ignore_ascii_case(recorded)) {
        Some(same) => vec![same],
        None => names.collect(),
    }
}

fn by_resemblance(conn: &Connection, recorded: &Mapping) -> Result<Vec<Mapping>> {
    let tables = mapping::user_tables(conn)?;
    let same = tables
        .iter()
        .find(|table| table.eq_ignore_ascii_case(&recorded.table));
    let candidates: Vec<Mapping> = match same {
        Some(table) => other_columns(conn, table, recorded)?.into_iter().collect(),
        None => {
            let mut candidates = Vec::new();
            for table in tables {
                candidates.extend(same_columns(conn, &table, recorded)?);
            }
            candidates
        }
    };
    let known = known_runs(conn)?;
    let mut plausible = Vec::new();
    for mapping in candidates {
        if known.is_empty() || holds_any(conn, &mapping, &known)? {
            plausible.push(mapping);
        }
    }
    Ok(plausible)
}

/// The same table: a column that is gone may be found by the names that a fresh install looks for.
fn other_columns(conn: &Connection, table: &str, recorded: &Mapping) -> Result<Option<Mapping>> {
    let columns = mapping::columns(conn, table)?;
    let request = MappingRequest {
        table: Some(table.to_owned()),
        id_column: still_there(&columns, &recorded.id_column),
        status_column: still_there(&columns, &recorded.status_column),
    };
    resolved(conn, &request)
}

/// Another table with columns of both names, whose id is a key. (A table of steps has the run's id,
/// too, and a status, but many rows for each run.)
fn same_columns(conn: &Connection, table: &str, recorded: &Mapping) -> Result<Option<Mapping>> {
    let request = MappingRequest {
        table: Some(table.to_owned()),
        ..MappingRequest::from(recorded)
    };
    match resolved(conn, &request)? {
        Some(mapping) if mapping.is_unique(conn)? => Ok(Some(mapping)),
        _ => Ok(None),
    }
}

fn resolved(conn: &Connection, request: &MappingRequest) -> Result<Option<Mapping>> {
    match Mapping::resolve(conn, request) {
        Ok(mapping) => Ok(Some(mapping)),
        Err(Error::WrongMapping { .. }) => Ok(None),
        Err(other) => Err(other),
    }
}

fn still_there(columns: &[Column], name: &str) -> Option<String> {
    columns
        .iter()
        .find(|column| column.name.eq_ignore_ascii_case(name))
        .map(|column| column.name.clone())
}

/// The runs that we saw last and that were not deleted.
fn known_runs(conn: &Connection) -> Result<Vec<RunId>> {
    let mut statement = conn
        .prepare("SELECT run_id FROM runchain_runs WHERE phase <> 'deleted' ORDER BY rowid DESC LIMIT ?1")
        .during("look for known runs")?;
    let rows = statement
        .query_map([RUNS_ASKED], |row| row.get(0))
        .during("look for known runs")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("look for known runs")
}

fn holds_any(conn: &Connection, mapping: &Mapping, runs: &[RunId]) -> Result<bool> {
    for run_id in runs {
        if mapping.status_of(conn, run_id)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What was lost, what might be it, and the command that says so.
fn refusal(conn: &Connection, recorded: &Mapping, lost: &str, candidates: &[Mapping]) -> Result<Error> {
    let there: Option<String> = conn
        .query_row(
            "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name = ?1 COLLATE NOCASE",
            [&recorded.table],
            |row| row.get(0),
        )
        .optional()
        .during("look for the user's table")?;
    let columns = match &there {
        Some(table) => mapping::columns(conn, table)?,
        None => Vec::new(),
    };
    let or_name = |name: Option<String>| name.unwrap_or_else(|| "NAME".to_owned());
    let (id, status) = if there.is_some() {
        (
            or_name(still_there(&columns, &recorded.id_column)),
            or_name(still_there(&columns, &recorded.status_column)),
        )
    } else {
        (recorded.id_column.clone(), recorded.status_column.clone())
    };
    let what = match candidates {
        [] => format!("{lost}, and nothing here is plainly what it was renamed to"),
        several => {
            let names: Vec<&str> = several.iter().map(|one| one.table.as_str()).collect();
            format!(
                "{lost}, and more than one table could be it now: {}",
                names.join(", ")
            )
        }
    };
    let table = or_name(there);
    let options = serde_json::json!({"repair": true, "table": table, "id": id, "status": status});
    Ok(Error::wrong_mapping(
        what,
        format!(
            "say which it is: runchain install --repair --table {table} --id-column {id} --status-column {status}, \
             or SELECT runchain_install({}); or take runchain off: runchain uninstall",
            mapping::literal(&options.to_string())
        ),
    ))
}
