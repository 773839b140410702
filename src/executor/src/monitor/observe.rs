//! What can be seen of active runs: the user's row, progress in the tables beside it, ingested
//! events. Read-only, and tolerant: a table or column that vanished is left out.
//!
//! A whole slice of runs is looked up by one statement for each table, so that a table without an
//! index on its run column is scanned once for the slice and not once for each run.

use super::MonitoredRun;
use runchain_core::error::{During, Error, Result};
use runchain_core::mapping::{self, quote};
use runchain_core::{Mapping, RunId};
use rusqlite::types::{Value as SqlValue, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Tables whose rows are progress, by the key in the heartbeat; the first that exists is taken.
const PROGRESS_TABLES: [(&str, &[&str]); 3] = [
    ("steps", &["step_attempts", "steps", "run_steps"]),
    ("tasks", &["tasks"]),
    ("workstreams", &["workstreams"]),
];
/// Columns of the user's row that say when it last changed.
const UPDATED_COLUMNS: [&str; 4] = ["updated_at", "last_updated", "modified_at", "heartbeat_at"];
/// A table without an index on its run column is scanned up to this size; beyond, the scan would
/// hold up the orchestrator's writes, and its progress is left out.
const SCANNED_ROWS_AT_MOST: i64 = 100_000;

/// How many rows of one table belong to a run, and how many of them have ended how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub(crate) struct Counts {
    /// All.
    pub(crate) total: i64,
    /// Those whose status word means completed.
    pub(crate) done: i64,
    /// Those whose status word means failed.
    pub(crate) failed: i64,
}

/// Counts by what is counted: steps, tasks, workstreams.
pub(crate) type Progress = BTreeMap<&'static str, Counts>;

/// The newest ingested event of a run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub(crate) struct LastEvent {
    /// Row in `runchain_ingested`.
    #[serde(skip)]
    pub(crate) id: i64,
    /// Its type.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Its time, as it was written.
    pub(crate) at: Option<String>,
}

/// Everything that is seen of a run at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Observation {
    /// The status word in the user's row; where that can't be read, the one last acted on.
    pub(crate) status: Option<String>,
    /// When the user's row last changed, in the user's own words.
    pub(crate) updated: Option<String>,
    /// What is counted.
    pub(crate) progress: Progress,
    /// The newest event.
    pub(crate) last_event: Option<LastEvent>,
}

/// Two equal ones mean that nothing of a run changed between two observations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint(pub(super) u64);

impl Observation {
    /// The observation in eight bytes, for as long as this process lives.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        Fingerprint(hasher.finish())
    }
}

/// Knows which tables and columns there are, and looks again when the schema changes.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    sources: Option<Sources>,
}

#[derive(Debug)]
struct Sources {
    schema_version: i64,
    mapping: Mapping,
    user_row_sql: String,
    progress: Vec<ProgressSource>,
}

#[derive(Debug)]
struct ProgressSource {
    name: &'static str,
    counts_sql: String,
    /// Asks for the size of a table that has to be scanned.
    size_sql: Option<String>,
}

#[derive(Debug)]
struct UserRow {
    status: Option<String>,
    updated: Option<String>,
}

impl Observer {
    /// One observation for each run, in the same order.
    pub(crate) fn observe(
        &mut self,
        conn: &Connection,
        mapping: &Mapping,
        runs: &[MonitoredRun],
    ) -> Result<Vec<Observation>> {
        if runs.is_empty() {
            return Ok(Vec::new());
        }
        let sources = self.sources(conn, mapping)?;
        let keys = keys_json(runs);
        let mut rows = user_rows(conn, &sources.user_row_sql, &keys)?;
        let mut progress: HashMap<String, Progress> = HashMap::new();
        for source in &sources.progress {
            for (run_id, counts) in source.counts(conn, &keys)? {
                progress.entry(run_id).or_default().insert(source.name, counts);
            }
        }
        runs.iter()
            .map(|run| {
                let row = rows.remove(run.run_id.as_str());
                let (status, updated) = row.map_or((None, None), |row| (row.status, row.updated));
                Ok(Observation {
                    status: status.or_else(|| run.status.clone()),
                    updated,
                    progress: progress.remove(run.run_id.as_str()).unwrap_or_default(),
                    last_event: last_event(conn, &run.run_id)?,
                })
            })
            .collect()
    }

    fn sources(&mut self, conn: &Connection, mapping: &Mapping) -> Result<&Sources> {
        let schema_version = conn
            .query_row("PRAGMA main.schema_version", [], |row| row.get(0))
            .during("read the schema's version")?;
        let known = self
            .sources
            .take()
            .filter(|known| known.schema_version == schema_version && known.mapping == *mapping);
        let sources = match known {
            Some(known) => known,
            None => Sources {
                schema_version,
                mapping: mapping.clone(),
                user_row_sql: user_row_sql(conn, mapping)?,
                progress: progress_sources(conn, mapping)?,
            },
        };
        Ok(self.sources.insert(sources))
    }
}

impl ProgressSource {
    fn counts(&self, conn: &Connection, keys: &str) -> Result<Vec<(String, Counts)>> {
        if let Some(size_sql) = &self.size_sql {
            let size: Option<Option<i64>> = unless_vanished(conn.query_row(size_sql, [], |row| row.get(0)))?;
            if size.flatten().unwrap_or(0) > SCANNED_ROWS_AT_MOST {
                return Ok(Vec::new());
            }
        }
        let read = conn.prepare_cached(&self.counts_sql).and_then(|mut statement| {
            statement
                .query_map([keys], |row| {
                    let counts = Counts {
                        total: row.get(1)?,
                        done: row.get(2)?,
                        failed: row.get(3)?,
                    };
                    Ok((text(row, 0)?.unwrap_or_default(), counts))
                })?
                .collect()
        });
        Ok(unless_vanished(read)?.unwrap_or_default())
    }
}

fn user_row_sql(conn: &Connection, mapping: &Mapping) -> Result<String> {
    let columns = mapping::columns(conn, &mapping.table)?;
    let updated = UPDATED_COLUMNS
        .iter()
        .find_map(|name| named(&columns, name))
        .map_or("NULL".to_owned(), |name| quote(&name));
    Ok(format!(
        "SELECT CAST({id} AS TEXT), CAST({status} AS TEXT), CAST({updated} AS TEXT)
         FROM main.{table} WHERE {id} IN (SELECT value FROM json_each(?1))",
        id = quote(&mapping.id_column),
        status = quote(&mapping.status_column),
        table = quote(&mapping.table),
    ))
}

fn user_rows(conn: &Connection, sql: &str, keys: &str) -> Result<HashMap<String, UserRow>> {
    let read = conn.prepare_cached(sql).and_then(|mut statement| {
        statement
            .query_map([keys], |row| {
                let user_row = UserRow {
                    status: text(row, 1)?,
                    updated: text(row, 2)?,
                };
                Ok((text(row, 0)?.unwrap_or_default(), user_row))
            })?
            .collect()
    });
    Ok(unless_vanished(read)?.unwrap_or_default())
}

fn progress_sources(conn: &Connection, mapping: &Mapping) -> Result<Vec<ProgressSource>> {
    let mut sources = Vec::new();
    for (name, tables) in PROGRESS_TABLES {
        for table in tables
            .iter()
            .filter(|table| !table.eq_ignore_ascii_case(&mapping.table))
        {
            if let Some(source) = progress_source(conn, mapping, name, table)? {
                sources.push(source);
                break;
            }
        }
    }
    Ok(sources)
}

fn progress_source(
    conn: &Connection,
    mapping: &Mapping,
    name: &'static str,
    table: &str,
) -> Result<Option<ProgressSource>> {
    let columns = mapping::columns(conn, table)?;
    let status = named(&columns, "status").or_else(|| named(&columns, "state"));
    let (Some(run), Some(status)) = (run_column(conn, mapping, table, &columns)?, status) else {
        return Ok(None);
    };
    let counts_sql = format!(
        "SELECT CAST(t.{run} AS TEXT), count(*),
                count(CASE WHEN v.phase = 'completed' THEN 1 END), count(CASE WHEN v.phase = 'failed' THEN 1 END)
         FROM main.{table} AS t LEFT JOIN main.runchain_vocabulary AS v ON v.status = CAST(t.{status} AS TEXT)
         WHERE t.{run} IN (SELECT value FROM json_each(?1)) GROUP BY t.{run}",
        run = quote(&run),
        status = quote(&status),
        table = quote(table),
    );
    let size_sql = (!is_indexed(conn, table, &run)?)
        .then(|| format!("SELECT max(rowid) FROM main.{table}", table = quote(table)));
    Ok(Some(ProgressSource {
        name,
        counts_sql,
        size_sql,
    }))
}

/// The column with the run's id: a foreign key to the user's table, or one of the same name. A
/// column called `id` is the table's own.
fn run_column(
    conn: &Connection,
    mapping: &Mapping,
    table: &str,
    columns: &[mapping::Column],
) -> Result<Option<String>> {
    let by_key: Option<String> = conn
        .query_row(
            "SELECT \"from\" FROM pragma_foreign_key_list(?1, 'main') WHERE \"table\" = ?2 COLLATE NOCASE LIMIT 1",
            [table, &mapping.table],
            |row| row.get(0),
        )
        .optional()
        .during("read a table's foreign keys")?;
    Ok(by_key
        .or_else(|| named(columns, &mapping.id_column).filter(|name| !name.eq_ignore_ascii_case("id")))
        .or_else(|| named(columns, "run_id")))
}

fn is_indexed(conn: &Connection, table: &str, column: &str) -> Result<bool> {
    conn.query_row(
        "SELECT EXISTS (
           SELECT 1 FROM pragma_index_list(?1, 'main') AS i, pragma_index_info(i.name, 'main') AS c
           WHERE i.partial = 0 AND c.seqno = 0 AND c.name = ?2 COLLATE NOCASE)",
        [table, column],
        |row| row.get(0),
    )
    .during("read a table's indexes")
}

fn last_event(conn: &Connection, run_id: &RunId) -> Result<Option<LastEvent>> {
    conn.prepare_cached(
        "SELECT id, type, at FROM (
           SELECT * FROM (SELECT id, type, at FROM runchain_ingested WHERE run_id = ?1 ORDER BY id DESC LIMIT 1)
           UNION ALL
           SELECT * FROM (SELECT id, type, at FROM runchain_ingested WHERE job_id = ?1 ORDER BY id DESC LIMIT 1))
         ORDER BY id DESC LIMIT 1",
    )
    .and_then(|mut statement| {
        statement
            .query_row([run_id], |row| {
                Ok(LastEvent {
                    id: row.get(0)?,
                    kind: row.get(1)?,
                    at: row.get(2)?,
                })
            })
            .optional()
    })
    .during("read a run's newest event")
}

/// The ids as a JSON array, in every form in which a column may hold them.
fn keys_json(runs: &[MonitoredRun]) -> String {
    let keys: Vec<serde_json::Value> = runs
        .iter()
        .flat_map(|run| mapping::keys(&run.run_id))
        .filter_map(|key| match key {
            SqlValue::Text(text) => Some(text.into()),
            SqlValue::Integer(number) => Some(number.into()),
            _ => None,
        })
        .collect();
    serde_json::Value::from(keys).to_string()
}

fn named(columns: &[mapping::Column], name: &str) -> Option<String> {
    columns
        .iter()
        .find(|column| column.name.eq_ignore_ascii_case(name))
        .map(|column| column.name.clone())
}

/// Text of the user's, which need not be UTF-8.
fn text(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<String>> {
    Ok(match row.get_ref(index)? {
        ValueRef::Text(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    })
}

/// A table or column of the user's that is gone, or a view of theirs that doesn't work any more, is
/// nothing to fail for; a busy or damaged database is.
fn unless_vanished<T>(read: rusqlite::Result<T>) -> Result<Option<T>> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(source) if source.sqlite_error_code() == Some(rusqlite::ErrorCode::Unknown) => Ok(None),
        Err(source) => Err(Error::Sqlite {
            operation: "look at the user's tables",
            source,
        }),
    }
}
