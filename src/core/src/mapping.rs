//! Which table of the user's holds the runs, and the capture triggers on it.
//!
//! The text of the triggers stands in `sql/triggers.sql` on the default mapping; another mapping is
//! filled in for the quoted names there, so that there is one copy of it.

use crate::error::{During, Error, Result};
use crate::{RunId, schema};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};

/// The three capture triggers, as they are named in the database.
pub const TRIGGERS: [&str; 3] = [
    "runchain_capture_insert",
    "runchain_capture_update",
    "runchain_capture_delete",
];

/// The user's table and the two columns of it that runchain reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// Table in the main database.
    pub table: String,
    /// Column with the run's id.
    pub id_column: String,
    /// Column with the status word.
    pub status_column: String,
}

/// What a caller asks for; what is not given is detected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappingRequest {
    /// Table in the main database.
    pub table: Option<String>,
    /// Column with the run's id.
    #[serde(rename = "id")]
    pub id_column: Option<String>,
    /// Column with the status word.
    #[serde(rename = "status")]
    pub status_column: Option<String>,
}

impl From<&Mapping> for MappingRequest {
    fn from(mapping: &Mapping) -> Self {
        Self {
            table: Some(mapping.table.clone()),
            id_column: Some(mapping.id_column.clone()),
            status_column: Some(mapping.status_column.clone()),
        }
    }
}

/// One column of a user's table.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its name as declared.
    pub name: String,
    /// 1-based place in the primary key, 0 outside it.
    pub key_position: i64,
}

impl Mapping {
    /// The mapping that is installed in this database, if one is.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub fn installed(conn: &Connection) -> Result<Option<Self>> {
        if !schema::table_exists(conn, "runchain_mapping")? {
            return Ok(None);
        }
        conn.prepare_cached("SELECT table_name, id_column, status_column FROM runchain_mapping LIMIT 1")
            .and_then(|mut statement| {
                statement
                    .query_row([], |row| {
                        Ok(Self {
                            table: row.get(0)?,
                            id_column: row.get(1)?,
                            status_column: row.get(2)?,
                        })
                    })
                    .optional()
            })
            .during("read the mapping")
    }

    /// The installed mapping, or a refusal that says how to install.
    ///
    /// # Errors
    /// [`Error::NotInstalled`], and whatever SQLite answers.
    pub fn require(conn: &Connection) -> Result<Self> {
        Self::installed(conn)?.ok_or(Error::NotInstalled)
    }

    /// Completes a request with what the database shows: the table `runs`, its column `run_id` (or
    /// `id`, or a single-column primary key) and its column `status` (or `state`).
    ///
    /// # Errors
    /// A refusal that names what was looked for, what was found instead and the option to give.
    pub fn resolve(conn: &Connection, request: &MappingRequest) -> Result<Self> {
        let wanted = request.table.as_deref().unwrap_or("runs");
        let Some((table, kind)) = object_named(conn, wanted)? else {
            return Err(Error::wrong_mapping(
                format!(
                    "there is no table {wanted} in this database (it has: {})",
                    list(&user_tables(conn)?)
                ),
                "name the table that holds the runs: runchain install --table NAME, or runchain_install('{\"table\":\"NAME\"}')",
            ));
        };
        if kind != "table" {
            return Err(Error::wrong_mapping(
                format!("{table} is a {kind}; triggers can only follow a table"),
                "name the table below it",
            ));
        }
        if table.to_ascii_lowercase().starts_with("runchain_") {
            return Err(Error::wrong_mapping(
                format!("{table} is runchain's own table"),
                "name the table that holds the runs",
            ));
        }
        let columns = columns(conn, &table)?;
        let named = |name: &str| {
            columns
                .iter()
                .find(|column| column.name.eq_ignore_ascii_case(name))
                .map(|c| c.name.clone())
        };
        let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        let missing = |role: &str, looked_for: &str, option: &str| {
            Error::wrong_mapping(
                format!(
                    "table {table} has no {role} column {looked_for} (it has: {})",
                    list(&names)
                ),
                format!(
                    "name it: runchain install --{option}-column NAME, or runchain_install('{{\"{option}\":\"NAME\"}}')"
                ),
            )
        };
        let id_column = match &request.id_column {
            Some(name) => named(name).ok_or_else(|| missing("id", name, "id"))?,
            None => named("run_id")
                .or_else(|| named("id"))
                .or_else(|| single_key(&columns))
                .ok_or_else(|| missing("id", "run_id", "id"))?,
        };
        let status_column = match &request.status_column {
            Some(name) => named(name).ok_or_else(|| missing("status", name, "status"))?,
            None => named("status")
                .or_else(|| named("state"))
                .ok_or_else(|| missing("status", "status or state", "status"))?,
        };
        if id_column == status_column {
            return Err(Error::wrong_mapping(
                format!("{table}.{id_column} can't be both the id and the status"),
                "name two different columns",
            ));
        }
        Ok(Self {
            table,
            id_column,
            status_column,
        })
    }

    /// The statements of `sql/triggers.sql` (without its transaction) for this mapping.
    #[must_use]
    pub fn triggers_sql(&self) -> String {
        fill(schema::body(schema::TRIGGERS_SQL), self)
    }

    /// The statements that follow this table without triggers: the mapping, and those of an earlier
    /// install dropped.
    #[must_use]
    pub fn without_triggers_sql(&self) -> String {
        let drops: String = TRIGGERS
            .iter()
            .map(|name| format!("DROP TRIGGER IF EXISTS {name};\n"))
            .collect();
        format!(
            "{drops}DELETE FROM runchain_mapping;\n\
             INSERT INTO runchain_mapping(table_name, id_column, status_column) VALUES ({}, {}, {});\n",
            literal(&self.table),
            literal(&self.id_column),
            literal(&self.status_column)
        )
    }

    /// Name and text of each trigger, exactly as SQLite stores them in `sqlite_master.sql`.
    #[must_use]
    pub fn triggers(&self) -> Vec<(&'static str, String)> {
        let all = self.triggers_sql();
        TRIGGERS
            .iter()
            .filter_map(|name| {
                let start = all.find(&format!("CREATE TRIGGER {name} "))?;
                let end = start + all[start..].find("\nEND;")? + "\nEND".len();
                Some((*name, all[start..end].to_owned()))
            })
            .collect()
    }

    /// The status of one run as it stands in the user's table now; the outer `None` means that
    /// there is no such row.
    ///
    /// # Errors
    /// Whatever SQLite answers, for example when the table is gone.
    pub fn status_of(&self, conn: &Connection, run_id: &RunId) -> Result<Option<Option<String>>> {
        // Compared twice: by the column's own collation, which its index has, and to the letter, since
        // 'a' that became 'A' under NOCASE is another id. Qualified, because SQLite reads a quoted name without a column as a string: after a RENAME
        // COLUMN no run would be found, and each taken for deleted.
        let sql = format!(
            "SELECT r.{status} FROM main.{table} AS r WHERE r.{id} = ?1 AND r.{id} = ?1 COLLATE BINARY",
            status = quote(&self.status_column),
            table = quote(&self.table),
            id = quote(&self.id_column),
        );
        let mut statement = conn.prepare_cached(&sql).during("look at the user's run")?;
        for key in keys(run_id) {
            let found = statement
                .query_row([key], |row| text(row, 0))
                .optional()
                .during("look at the user's run")?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
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

fn object_named(conn: &Connection, name: &str) -> Result<Option<(String, String)>> {
    conn.query_row(
        "SELECT name, CASE WHEN type = 'table' AND sql LIKE 'CREATE VIRTUAL%' THEN 'virtual table' ELSE type END \
         FROM main.sqlite_master WHERE type IN ('table', 'view') AND name = ?1 COLLATE NOCASE",
        [name],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
    .optional()
    .during("look for the user's table")
}

fn single_key(columns: &[Column]) -> Option<String> {
    let mut keys = columns.iter().filter(|column| column.key_position > 0);
    let first = keys.next()?;
    keys.next().is_none().then(|| first.name.clone())
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// Replaces the quoted names of the default mapping in one pass, so that a table called `status`
/// isn't replaced again by what stands in the status column.
fn fill(text: &str, mapping: &Mapping) -> String {
    let places = [
        ("\"runs\"", quote(&mapping.table)),
        ("\"run_id\"", quote(&mapping.id_column)),
        ("\"status\"", quote(&mapping.status_column)),
        ("'runs'", literal(&mapping.table)),
        ("'run_id'", literal(&mapping.id_column)),
        ("'status'", literal(&mapping.status_column)),
    ];
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, (from, to))) = places
        .iter()
        .filter_map(|place| rest.find(place.0).map(|at| (at, place)))
        .min_by_key(|(at, _)| *at)
    {
        filled.push_str(&rest[..at]);
        filled.push_str(to);
        rest = &rest[at + from.len()..];
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored_triggers(conn: &Connection) -> Vec<(String, String)> {
        let mut statement = conn
            .prepare("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name")
            .unwrap();
        let rows = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    }

    #[test]
    fn trigger_texts_are_exactly_what_sqlite_stores() {
        for (table, id, status) in [
            ("runs", "run_id", "status"),
            ("status", "run_id", "runs"),
            ("my \"jobs\"", "the id", "it's"),
        ] {
            let mapping = Mapping {
                table: table.into(),
                id_column: id.into(),
                status_column: status.into(),
            };
            let conn = Connection::open_in_memory().unwrap();
            conn.execute_batch(&format!(
                "CREATE TABLE {}({} TEXT, {} TEXT)",
                quote(table),
                quote(id),
                quote(status)
            ))
            .unwrap();
            conn.execute_batch(&mapping.triggers_sql()).unwrap();
            let mut expected: Vec<_> = mapping
                .triggers()
                .into_iter()
                .map(|(name, sql)| (name.to_owned(), sql))
                .collect();
            expected.sort();
            assert_eq!(stored_triggers(&conn), expected);
            assert_eq!(Mapping::installed(&conn).unwrap(), Some(mapping));
        }
    }

    #[test]
    fn both_shapes_of_the_field_are_detected() {
        for (ddl, status) in [
            (
                "CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT NOT NULL, created_at TEXT)",
                "status",
            ),
            (
                "CREATE TABLE runs(run_id TEXT PRIMARY KEY, project_id TEXT, state TEXT NOT NULL)",
                "state",
            ),
        ] {
            let conn = Connection::open_in_memory().unwrap();
            conn.execute_batch(ddl).unwrap();
            let mapping = Mapping::resolve(&conn, &MappingRequest::default()).unwrap();
            assert_eq!(
                (mapping.id_column.as_str(), mapping.status_column.as_str()),
                ("run_id", status)
            );
        }
    }

    #[test]
    fn a_wrong_mapping_names_what_was_found_instead() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(
            "CREATE TABLE jobs(id INTEGER PRIMARY KEY, phase TEXT); CREATE VIEW runs AS SELECT * FROM jobs",
        )
        .unwrap();
        let says = |request: MappingRequest| Mapping::resolve(&conn, &request).unwrap_err().to_string();
        assert!(says(MappingRequest::default()).contains("runs is a view"));
        let jobs = MappingRequest {
            table: Some("jobs".into()),
            ..MappingRequest::default()
        };
        assert!(says(jobs.clone()).contains("it has: id, phase"));
        assert!(
            says(MappingRequest {
                status_column: Some("state".into()),
                ..jobs
            })
            .contains("state")
        );
        assert!(
            says(MappingRequest {
                table: Some("nope".into()),
                ..MappingRequest::default()
            })
            .contains("it has: jobs")
        );
    }

    #[test]
    fn a_run_is_found_whatever_the_affinity_of_its_id() {
        for declared in ["TEXT", "INTEGER", ""] {
            let conn = Connection::open_in_memory().unwrap();
            conn.execute_batch(&format!("CREATE TABLE runs(run_id {declared} PRIMARY KEY, status TEXT); INSERT INTO runs VALUES (7, 'DONE')")).unwrap();
            let mapping = Mapping::resolve(&conn, &MappingRequest::default()).unwrap();
            assert_eq!(
                mapping.status_of(&conn, &RunId("7".into())).unwrap(),
                Some(Some("DONE".into())),
                "{declared}"
            );
            assert_eq!(
                mapping.status_of(&conn, &RunId("07".into())).unwrap().is_some(),
                declared == "INTEGER",
                "{declared}"
            );
        }
    }
}
