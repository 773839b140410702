//! The run's own row in the user's table, as it stands now.
//!
//! Read-only, and one short statement each. What does not belong here: what a step makes of it.

use crate::RunId;
use crate::error::{During, Result};
use crate::mapping::{Mapping, keys, quote};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

/// Whether a column of the run's row has one of some values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matched {
    /// It has.
    Yes,
    /// It has another, or NULL.
    No,
    /// The table has no such column.
    NoColumn,
    /// The run has no row (any more).
    NoRow,
}

/// Looks whether `column` of the run's row has one of `wanted`, compared as `column = value` in SQL:
/// with the column's own type and collation.
///
/// # Errors
/// Whatever SQLite answers, for example when the table is gone.
pub fn matches(
    conn: &Connection,
    mapping: &Mapping,
    run_id: &RunId,
    column: &str,
    wanted: &[Value],
) -> Result<Matched> {
    let columns = columns(conn, &mapping.table)?;
    // A table without columns is one that is being rebuilt: the statement says so.
    if !columns.is_empty() && !columns.iter().any(|name| name.eq_ignore_ascii_case(column)) {
        return Ok(Matched::NoColumn);
    }
    let places: Vec<String> = (2..)
        .take(wanted.len())
        .map(|place| format!("?{place}"))
        .collect();
    let what = format!("r.{} IN ({})", quote(column), places.join(", "));
    let found: Option<Option<bool>> = read(conn, mapping, run_id, &what, wanted, |row| row.get(0))?;
    Ok(match found {
        None => Matched::NoRow,
        Some(Some(true)) => Matched::Yes,
        Some(_) => Matched::No,
    })
}

/// Every column of the run's row, as `of_row` reads it; `None` when it is gone.
///
/// # Errors
/// Whatever SQLite answers.
pub fn whole<T>(
    conn: &Connection,
    mapping: &Mapping,
    run_id: &RunId,
    of_row: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>> {
    read(conn, mapping, run_id, "r.*", &[], of_row)
}

/// The names of a table's columns, generated ones too; none when there is no such table.
///
/// # Errors
/// Whatever SQLite answers.
pub fn columns(conn: &Connection, table: &str) -> Result<Vec<String>> {
    let mut statement = conn
        .prepare_cached("SELECT name FROM pragma_table_xinfo(?1, 'main')")
        .during("read a table's columns")?;
    let rows = statement
        .query_map([table], |row| row.get(0))
        .during("read a table's columns")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("read a table's columns")
}

/// `SELECT what` of the run's row; what follows the id are the parameters from ?2 on.
fn read<T>(
    conn: &Connection,
    mapping: &Mapping,
    run_id: &RunId,
    what: &str,
    parameters: &[Value],
    of_row: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>> {
    // Compared twice and qualified for the reasons that `Mapping::status_of` gives.
    let sql = format!(
        "SELECT {what} FROM main.{table} AS r WHERE r.{id} = ?1 AND r.{id} = ?1 COLLATE BINARY",
        table = quote(&mapping.table),
        id = quote(&mapping.id_column),
    );
    let mut statement = conn.prepare_cached(&sql).during("look at the user's run")?;
    for key in keys(run_id) {
        let parameters = std::iter::once(key).chain(parameters.iter().cloned());
        let found = statement
            .query_row(params_from_iter(parameters), &of_row)
            .optional()
            .during("look at the user's run")?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}
