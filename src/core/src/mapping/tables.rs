//! What is asked of the user's tables by everybody: names, columns, values of any type.

use crate::RunId;
use crate::error::{During, Result};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row};

/// One column of a user's table.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its name as declared.
    pub name: String,
    /// 1-based place in the primary key, 0 outside it.
    pub key_position: i64,
}

/// The values under which a run's key may be stored: a column without affinity keeps integers as
/// integers, and `= '7'` doesn't find those.
#[must_use]
pub fn keys(run_id: &RunId) -> Vec<Value> {
    let mut keys = vec![Value::Text(run_id.0.clone())];
    if let Ok(number) = run_id.0.parse::<i64>()
        && number.to_string() == run_id.0
    {
        keys.push(Value::Integer(number));
    } else if let Ok(number) = run_id.0.parse::<f64>()
        && number.to_string() == run_id.0
    {
        keys.push(Value::Real(number));
    }
    keys
}

/// A value of any type; TEXT that is no UTF-8 is read with replacement characters. Whatever a user's
/// table holds must not make reading fail, because that would stop the work on every other run.
pub(crate) fn value(row: &Row<'_>, index: usize) -> rusqlite::Result<Value> {
    Ok(match row.get_ref(index)? {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Text(bytes) => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    })
}

/// The text of a value, as the capture triggers' rows are read; `None` for NULL and BLOB.
pub(crate) fn text(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<String>> {
    Ok(RunId::from_value(&value(row, index)?).map(|text| text.0))
}

/// A name as a quoted SQL identifier.
#[must_use]
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as a quoted SQL literal.
#[must_use]
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The columns of a table in the main database, in order; empty when there is no such table.
///
/// # Errors
/// Whatever SQLite answers.
pub fn columns(conn: &Connection, table: &str) -> Result<Vec<Column>> {
    let mut statement = conn
        .prepare_cached("SELECT name, pk FROM pragma_table_info(?1, 'main')")
        .during("read a table's columns")?;
    let rows = statement
        .query_map([table], |row| {
            Ok(Column {
                name: row.get(0)?,
                key_position: row.get(1)?,
            })
        })
        .during("read a table's columns")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("read a table's columns")
}

/// Whether a table of the main database has rowids.
///
/// # Errors
/// Whatever SQLite answers.
pub fn has_rowid(conn: &Connection, table: &str) -> Result<bool> {
    // A WITHOUT ROWID table is its own primary key's index, and has no other object of that kind.
    conn.prepare_cached(
        "SELECT NOT EXISTS (
           SELECT 1 FROM pragma_index_list(?1, 'main') AS i
           WHERE i.origin = 'pk' AND NOT EXISTS (SELECT 1 FROM main.sqlite_master AS m WHERE m.type = 'index' AND m.name = i.name))",
    )
    .and_then(|mut statement| statement.query_row([table], |row| row.get(0)))
    .during("look whether a table has rowids")
}

/// The tables of the main database that are neither SQLite's nor ours.
///
/// # Errors
/// Whatever SQLite answers.
pub fn user_tables(conn: &Connection) -> Result<Vec<String>> {
    let mut statement = conn
        .prepare_cached(
            "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
             AND name NOT LIKE 'runchain\\_%' ESCAPE '\\' ORDER BY name",
        )
        .during("list the tables")?;
    let rows = statement
        .query_map([], |row| row.get(0))
        .during("list the tables")?;
    rows.collect::<rusqlite::Result<_>>().during("list the tables")
}

/// A table or view, by its name as it is stored, and which of them it is.
pub(super) fn object_named(conn: &Connection, name: &str) -> Result<Option<(String, String)>> {
    conn.query_row(
        "SELECT name, CASE WHEN type = 'table' AND sql LIKE 'CREATE VIRTUAL%' THEN 'virtual table' ELSE type END \
         FROM main.sqlite_master WHERE type IN ('table', 'view') AND name = ?1 COLLATE NOCASE",
        [name],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
    .optional()
    .during("look for the user's table")
}
