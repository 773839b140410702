//! The tables that must be there, as configured.

use super::{OpenError, Problem};
use runchain_core::install;
use rusqlite::Connection;
use std::path::Path;

/// A table or view of the user's.
struct Object {
    kind: String,
    name: String,
}

/// Checks that all of `required` are tables of the main database.
///
/// # Errors
/// The missing ones with what stands in their place, or SQLite's own failure.
pub(crate) fn required_tables(conn: &Connection, required: &[String]) -> Result<(), OpenError> {
    let path = conn
        .path()
        .map_or_else(Default::default, |path| Path::new(path).to_owned());
    let objects = match objects(conn) {
        Ok(objects) => objects,
        Err(error) => {
            return Err(OpenError {
                path,
                problem: Problem::of_sqlite(&error),
            });
        }
    };
    let missing: Vec<String> = required
        .iter()
        .filter_map(|name| {
            match objects
                .iter()
                .find(|object| object.name.eq_ignore_ascii_case(name))
            {
                Some(object) if object.kind == "table" => None,
                Some(object) => Some(format!("{name} (it is a {})", object.kind)),
                None => Some(name.clone()),
            }
        })
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let found = objects
        .into_iter()
        .filter(|object| object.kind == "table")
        .map(|object| object.name)
        .collect();
    // What can't be told is no reason for another error.
    let renamed_to = install::renamed_to(conn).ok().flatten();
    Err(OpenError {
        path,
        problem: Problem::MissingTables {
            missing,
            found,
            renamed_to: renamed_to.map(|mapping| mapping.table),
        },
    })
}

/// Tables and views, without SQLite's and ours.
fn objects(conn: &Connection) -> rusqlite::Result<Vec<Object>> {
    let mut statement = conn.prepare(
        r"SELECT type, name FROM main.sqlite_master
          WHERE type IN ('table', 'view')
            AND name NOT LIKE 'sqlite\_%' ESCAPE '\'
            AND name NOT LIKE 'runchain\_%' ESCAPE '\'
          ORDER BY name",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(Object {
            kind: row.get(0)?,
            name: row.get(1)?,
        })
    })?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn missing_tables_are_named_with_what_is_there_instead() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(
            "CREATE TABLE Runs(run_id TEXT PRIMARY KEY, state TEXT); CREATE TABLE step_attempts(id);
             CREATE VIEW tasks AS SELECT * FROM step_attempts; CREATE TABLE runchain_meta(key)",
        )
        .unwrap();
        let check = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            required_tables(&conn, &names)
        };
        assert!(check(&["runs"]).is_ok() && check(&[]).is_ok());
        let error = check(&["runs", "tasks", "workstreams"]).unwrap_err();
        assert_eq!(error.exit(), Exit::SchemaInvalid);
        let text = error.to_string();
        assert!(
            text.contains(
                "lacks required tables: tasks (it is a view), workstreams (it has: Runs, step_attempts)"
            ),
            "{text}"
        );
    }
}
