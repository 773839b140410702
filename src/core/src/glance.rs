//! A glance: what most likely changed, looked at after every commit where no trigger tells.
//!
//! It costs as much as there are new rows and active runs, not as there are rows: rows whose rowid is
//! beyond the newest one seen, and the rows of the runs that were active. What else can change (a
//! finished run that is started again, a row that is gone, an id that is reused) is left to the whole
//! sweep. Like that, it only asks to look; a table without rowids has no new rows for it.

use crate::error::{During, Result};
use crate::mapping::{self, quote};
use crate::sweep::user_rows;
use crate::{Mapping, Millis, RunId, flags};
use rusqlite::Connection;
use rusqlite::types::Value;

/// Where a glance is.
#[derive(Debug, Clone, Default)]
pub struct Glance {
    /// The newest rowid that was seen; kept from one glance to the next.
    newest: Option<i64>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, Default)]
enum Stage {
    #[default]
    NewRows,
    /// Through the active runs, past this one.
    Active(Option<Place>),
    Over,
}

/// In the order of the index on phases.
#[derive(Debug, Clone, Copy)]
struct Place {
    since: Millis,
    rowid: i64,
}

impl Glance {
    /// Begins a new one, past the rows that the last one saw.
    pub fn again(&mut self) {
        self.stage = Stage::NewRows;
    }

    /// Whether everything was looked at.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }
}

/// Looks at the next `limit` rows and returns the runs that have to be looked at closely. The first
/// glance of all takes the rows that are there for seen: a whole sweep goes with it.
///
/// # Errors
/// Whatever SQLite answers, for example when the user's table is gone.
pub fn chunk(conn: &Connection, mapping: &Mapping, glance: &mut Glance, limit: u32) -> Result<Vec<RunId>> {
    match glance.stage {
        Stage::Over => Ok(Vec::new()),
        Stage::NewRows => new_rows(conn, mapping, glance, limit),
        Stage::Active(after) => active_runs(conn, mapping, glance, after, limit),
    }
}

fn new_rows(conn: &Connection, mapping: &Mapping, glance: &mut Glance, limit: u32) -> Result<Vec<RunId>> {
    if !mapping::has_rowid(conn, &mapping.table)? {
        glance.stage = Stage::Active(None);
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT coalesce(max(rowid), 0) FROM main.{}",
        quote(&mapping.table)
    );
    let newest: i64 = conn
        .prepare_cached(&sql)
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .during("look for new runs")?;
    // Less than it was: the newest rows are gone, and their rowids are given again.
    let after = glance.newest.unwrap_or(newest).min(newest);
    let found = user_rows(conn, mapping, Some(Value::Integer(after)), limit)?;
    match found.last {
        Some(Value::Integer(last)) => glance.newest = Some(last),
        _ => {
            glance.newest = Some(newest);
            glance.stage = Stage::Active(None);
        }
    }
    Ok(found.differ)
}

fn active_runs(
    conn: &Connection,
    mapping: &Mapping,
    glance: &mut Glance,
    after: Option<Place>,
    limit: u32,
) -> Result<Vec<RunId>> {
    let sql = format!(
        "SELECT k.phase_since_ms, k.rowid, k.run_id, NOT EXISTS (
           SELECT 1 FROM main.{table} AS r LEFT JOIN runchain_vocabulary AS v ON v.status = CAST(r.{status} AS TEXT)
           WHERE r.{id} IN (k.run_id,
               CASE WHEN CAST(CAST(k.run_id AS INTEGER) AS TEXT) = k.run_id THEN CAST(k.run_id AS INTEGER) ELSE k.run_id END)
             AND (v.phase IS NULL OR v.phase = 'active')) AND NOT {alone}
         FROM runchain_runs AS k
         WHERE k.phase = 'active' AND (k.phase_since_ms, k.rowid) > (?1, ?2)
         ORDER BY k.phase_since_ms, k.rowid LIMIT {limit}",
        table = quote(&mapping.table),
        id = quote(&mapping.id_column),
        status = quote(&mapping.status_column),
        alone = flags::STANDS_ALONE,
    );
    let after = after.unwrap_or(Place {
        since: Millis(i64::MIN),
        rowid: 0,
    });
    let mut select = conn.prepare_cached(&sql).during("look at the active runs")?;
    let mut rows = select
        .query((after.since, after.rowid))
        .during("look at the active runs")?;
    let (mut differ, mut seen, mut last) = (Vec::new(), 0, None);
    while let Some(row) = rows.next().during("look at the active runs")? {
        let (since, rowid, run_id, differs): (Millis, i64, RunId, bool) =
            row.try_into().during("look at the active runs")?;
        seen += 1;
        last = Some(Place { since, rowid });
        if differs {
            differ.push(run_id);
        }
    }
    glance.stage = if seen == limit {
        Stage::Active(last)
    } else {
        Stage::Over
    };
    Ok(differ)
}
