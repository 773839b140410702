//! Which table of the user's holds the runs, and the capture triggers on it.
//!
//! The text of the triggers stands in `sql/triggers.sql` on the default mapping; another mapping is
//! filled in for the quoted names there, so that there is one copy of it.

mod tables;
#[cfg(test)]
mod tests;

use crate::error::{During, Error, Result};
use crate::{RunId, schema};
use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};
use tables::object_named;
pub use tables::{Column, columns, has_rowid, keys, literal, quote, user_tables};
pub(crate) use tables::{text, value};

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

    /// Whether the table itself says that no two rows have one id: the id column alone is its primary key,
    /// or unique.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub fn is_unique(&self, conn: &Connection) -> Result<bool> {
        conn.query_row(
            "SELECT (SELECT count(*) = 1 AND max(name = ?2 COLLATE NOCASE)
                     FROM pragma_table_info(?1, 'main') WHERE pk > 0)
                 OR EXISTS (
                   SELECT 1 FROM pragma_index_list(?1, 'main') AS i
                   WHERE i.\"unique\" AND NOT i.partial
                     AND (SELECT count(*) = 1 AND max(name = ?2 COLLATE NOCASE) FROM pragma_index_info(i.name, 'main')))",
            (&self.table, &self.id_column),
            |row| row.get(0),
        )
        .during("look whether the id is unique")
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
