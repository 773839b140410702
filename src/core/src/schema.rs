//! The schema's version and its migrations. The text stands in `sql/`; this module applies it.

use crate::error::{During, Error, Result};
use rusqlite::{Connection, OptionalExtension};

/// One named step from one schema version to the next. Migrations only add (expand-only), so that
/// the previous binary still drains a database that a newer one has migrated.
#[derive(Debug)]
pub struct Migration {
    /// Name of the file in `sql/migrations/`.
    pub name: &'static str,
    /// Its text.
    pub sql: &'static str,
}

/// All migrations in order; the schema version is how many of them are applied.
pub const MIGRATIONS: [Migration; 3] = [
    Migration {
        name: "0001_runs_and_steps",
        sql: include_str!("../../../sql/migrations/0001_runs_and_steps.sql"),
    },
    Migration {
        name: "0002_event_logs",
        sql: include_str!("../../../sql/migrations/0002_event_logs.sql"),
    },
    Migration {
        name: "0003_production",
        sql: include_str!("../../../sql/migrations/0003_production.sql"),
    },
];

/// The schema version that this build writes.
pub const VERSION: i64 = MIGRATIONS.len() as i64;

/// The whole schema, equal to the sum of [`MIGRATIONS`] by test.
pub const SCHEMA_SQL: &str = include_str!("../../../sql/schema.sql");
/// The views, dropped and created anew with every version.
pub const VIEWS_SQL: &str = include_str!("../../../sql/views.sql");
/// The capture triggers on the default mapping.
pub const TRIGGERS_SQL: &str = include_str!("../../../sql/triggers.sql");
/// Takes triggers, views and mapping away, in that order.
pub const UNINSTALL_SQL: &str = include_str!("../../../sql/uninstall.sql");
/// Drops what runchain recorded, but for the tables with names of their own.
pub const PURGE_SQL: &str = include_str!("../../../sql/purge.sql");

/// The statements of one of our SQL files without its own BEGIN, COMMIT and stock-shell guard, so
/// that they join a transaction that is already open.
#[must_use]
pub fn body(file: &str) -> &str {
    let start = file
        .find("BEGIN IMMEDIATE;")
        .map_or(0, |at| at + "BEGIN IMMEDIATE;".len());
    let rest = &file[start..];
    let end = rest
        .find("\n-- guard:")
        .or_else(|| rest.rfind("\nCOMMIT;"))
        .unwrap_or(rest.len());
    &rest[..end]
}

/// The statements of `sql/views.sql`, one line each. SQLite stores a view as it was written, and
/// drizzle-kit (0.31) ends with "Could not process view" at any that spans several lines. A stock shell
/// stores them as the file has them; the next install or drain makes them anew.
#[must_use]
pub fn views_sql() -> String {
    let mut statements = String::new();
    for line in body(VIEWS_SQL).lines().map(str::trim) {
        if line.is_empty() || line.starts_with("--") {
            continue;
        }
        statements.push_str(line);
        statements.push(if line.ends_with(';') { '\n' } else { ' ' });
    }
    statements
}

/// A value of `runchain_meta`; `None` also when the table is not there.
///
/// # Errors
/// Whatever SQLite answers, but for a missing table.
pub fn meta(conn: &Connection, key: &str) -> Result<Option<String>> {
    let read = conn
        .prepare_cached("SELECT value FROM runchain_meta WHERE key = ?1")
        .and_then(|mut statement| statement.query_row([key], |row| row.get(0)).optional());
    match read {
        // Asked at every lease, so that it is not asked first whether there is such a table. The
        // extension's and the executor's SQLite tell it by different variants, but in the same words.
        Err(error) if error.to_string().starts_with("no such table") => Ok(None),
        read => read.map(Option::flatten).during("read runchain_meta"),
    }
}

/// The epoch of the database: it grows when a restored database is adopted.
///
/// # Errors
/// [`Error::NotInstalled`], an `epoch` that is no number, and whatever SQLite answers.
pub fn epoch(conn: &Connection) -> Result<i64> {
    number(conn, "epoch")?.ok_or(Error::NotInstalled)
}

/// Whether the main database has a table of this name.
///
/// # Errors
/// Whatever SQLite answers.
pub fn table_exists(conn: &Connection, name: &str) -> Result<bool> {
    conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM main.sqlite_master WHERE type = 'table' AND name = ?1 COLLATE NOCASE)",
    )
    .and_then(|mut statement| statement.query_row([name], |row| row.get(0)))
    .during("look for a table")
}

/// The schema version of the database; 0 where runchain was never installed.
///
/// # Errors
/// Whatever SQLite answers, and a `schema_version` that is no number.
pub fn version(conn: &Connection) -> Result<i64> {
    number(conn, "schema_version").map(|found| found.unwrap_or(0))
}

/// Refuses when the database asks for a newer writer than this build. Every claim and settle calls
/// it inside its own transaction.
///
/// # Errors
/// [`Error::Outdated`], and whatever SQLite answers.
pub fn check_writer(conn: &Connection) -> Result<()> {
    match number(conn, "min_writer_version")? {
        None => Err(Error::NotInstalled),
        Some(required) if required > VERSION => Err(Error::Outdated {
            ours: VERSION,
            required,
        }),
        Some(_) => Ok(()),
    }
}

fn number(conn: &Connection, key: &str) -> Result<Option<i64>> {
    meta(conn, key)?
        .map(|text| {
            text.parse().map_err(|_| {
                Error::refused(
                    format!("runchain_meta.{key} is {text:?}, which is no number"),
                    "restore it from a backup",
                )
            })
        })
        .transpose()
}

/// Brings the schema to [`VERSION`] inside the caller's transaction and returns the names of the
/// migrations that it applied.
///
/// # Errors
/// [`Error::Outdated`] when the database is newer than this build can write.
pub fn migrate(conn: &Connection) -> Result<Vec<&'static str>> {
    let from = version(conn)?;
    if from > 0 {
        check_writer(conn)?;
    }
    if from == 0 {
        // schema.sql tolerates the two tables that triggers.sql makes by itself.
        conn.execute_batch(body(SCHEMA_SQL))
            .during("create runchain's tables")?;
    }
    let mut applied = Vec::new();
    for (index, migration) in MIGRATIONS.iter().enumerate() {
        let to = index as i64 + 1;
        if to <= from {
            continue;
        }
        if from > 0 {
            conn.execute_batch(migration.sql)
                .during("migrate runchain's tables")?;
            conn.execute(
                "UPDATE runchain_meta SET value = ?1 WHERE key = 'schema_version'",
                [to.to_string()],
            )
            .during("record the schema version")?;
        }
        applied.push(migration.name);
    }
    if from <= VERSION && !views_in_place(conn)? {
        conn.execute_batch(&views_sql())
            .during("create runchain's views")?;
    }
    Ok(applied)
}

/// Whether exactly the views of this version are there; making them anew would change the schema
/// under every other connection for nothing.
fn views_in_place(conn: &Connection) -> Result<bool> {
    let mut statement = conn
        .prepare_cached(
            "SELECT sql FROM main.sqlite_master WHERE type = 'view' AND name LIKE 'runchain\\_%' ESCAPE '\\'",
        )
        .during("look at runchain's views")?;
    let stored = statement
        .query_map([], |row| row.get::<_, String>(0))
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .during("look at runchain's views")?;
    let wanted = views_sql();
    let views = wanted.matches("CREATE VIEW ").count();
    Ok(stored.len() == views && stored.iter().all(|sql| wanted.contains(sql.as_str())))
}

/// A new database in memory, for tests.
#[cfg(test)]
pub(crate) fn in_memory() -> Connection {
    let conn = Connection::open_in_memory().unwrap();
    migrate(&conn).unwrap();
    conn
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(conn: &Connection) -> Vec<(String, Option<String>)> {
        let mut statement = conn
            .prepare("SELECT name, sql FROM sqlite_master ORDER BY name")
            .unwrap();
        // ALTER TABLE leaves the spaces where they were.
        let words = |sql: String| sql.split_whitespace().collect::<Vec<_>>().join(" ");
        let rows = statement
            .query_map([], |row| {
                Ok((row.get(0)?, row.get::<_, Option<String>>(1)?.map(words)))
            })
            .unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    }

    #[test]
    fn the_schema_file_equals_the_sum_of_the_migrations() {
        let whole = Connection::open_in_memory().unwrap();
        whole.execute_batch(SCHEMA_SQL).unwrap();
        let summed = Connection::open_in_memory().unwrap();
        for migration in MIGRATIONS {
            summed.execute_batch(migration.sql).unwrap();
        }
        assert_eq!(objects(&whole), objects(&summed));
        for table in ["runchain_vocabulary", "runchain_meta"] {
            let keys = |conn: &Connection| -> Vec<String> {
                let mut statement = conn.prepare(&format!("SELECT * FROM {table}")).unwrap();
                let rows = statement.query_map([], |row| row.get(0)).unwrap();
                rows.collect::<rusqlite::Result<_>>().unwrap()
            };
            assert_eq!(keys(&whole), keys(&summed), "{table}");
        }
        assert_eq!(version(&whole).unwrap(), VERSION);
    }

    #[test]
    fn a_database_of_each_older_version_migrates_to_the_same_schema() {
        let fresh = Connection::open_in_memory().unwrap();
        migrate(&fresh).unwrap();
        for from in 1..MIGRATIONS.len() {
            let old = Connection::open_in_memory().unwrap();
            for migration in &MIGRATIONS[..from] {
                old.execute_batch(migration.sql).unwrap();
            }
            old.execute(
                "UPDATE runchain_meta SET value = ?1 WHERE key = 'schema_version'",
                [from.to_string()],
            )
            .unwrap();
            let applied = migrate(&old).unwrap();
            assert_eq!(applied.len(), MIGRATIONS.len() - from);
            assert_eq!(objects(&old), objects(&fresh), "from version {from}");
            assert_eq!(version(&old).unwrap(), VERSION);
        }
    }

    #[test]
    fn triggers_sql_makes_the_same_tables_as_the_schema() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT)")
            .unwrap();
        conn.execute_batch(TRIGGERS_SQL).unwrap();
        let whole = Connection::open_in_memory().unwrap();
        whole.execute_batch(SCHEMA_SQL).unwrap();
        let wanted = objects(&whole);
        for (name, sql) in objects(&conn) {
            if name == "runchain_queue" || name == "runchain_mapping" {
                assert!(
                    wanted.contains(&(name.clone(), sql)),
                    "{name} differs between the files"
                );
            }
        }
    }

    #[test]
    fn every_stored_view_is_one_line() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(SCHEMA_SQL).unwrap();
        // As a stock shell leaves them.
        conn.execute_batch(VIEWS_SQL).unwrap();
        migrate(&conn).unwrap();
        let mut statement = conn
            .prepare("SELECT name, sql FROM sqlite_master WHERE type = 'view'")
            .unwrap();
        let views: Vec<(String, String)> = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .and_then(Iterator::collect)
            .unwrap();
        assert!(views.len() >= 3, "{views:?}");
        for (name, sql) in views {
            // A comment behind a line's code would hide the rest of the statement.
            assert!(!sql.contains('\n') && !sql.contains("-- "), "{sql}");
            assert!(
                sql.starts_with(&format!("CREATE VIEW {name} AS SELECT ")),
                "{sql}"
            );
            conn.prepare(&format!("SELECT * FROM {name}")).unwrap();
        }
        assert!(views_in_place(&conn).unwrap());
    }

    #[test]
    fn a_newer_database_refuses_this_writer() {
        let conn = Connection::open_in_memory().unwrap();
        migrate(&conn).unwrap();
        conn.execute(
            "UPDATE runchain_meta SET value = '99' WHERE key = 'min_writer_version'",
            [],
        )
        .unwrap();
        assert!(matches!(
            check_writer(&conn),
            Err(Error::Outdated { required: 99, .. })
        ));
        assert!(matches!(
            migrate(&conn),
            Err(Error::Outdated { required: 99, .. })
        ));
    }
}
