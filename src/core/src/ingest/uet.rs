//! Executions and tasks as existing dashboards read them: `uet_executions` and `uet_tasks`.
//!
//! The tables may be the user's own, with other columns and without a key. So a row is looked for by
//! UPDATE and inserted if there is none, only columns that exist are named, and a row that the
//! user's constraints refuse is counted and left, because the events matter more than the view of
//! them. A JSON column keeps whatever else stands in it.

use super::IngestReport;
use super::object::Object;
use super::progress::{Entry, Progress};
use crate::Millis;
use crate::error::{During, Error, Result};
use crate::schema;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OptionalExtension};

/// Where the error of a failed execution stands in `metadata`.
const LAST_ERROR: &str = "last_error";

/// What a failed task's error may consist of (`progress.rs`).
const ERROR_PARTS: [&str; 4] = ["error_type", "error_message", "exit_code", "details"];

/// A column that we fill.
#[derive(Debug, Clone, Copy)]
enum Fill {
    Status,
    StartedAt,
    CompletedAt,
    /// Like `StartedAt`, unless an earlier time stands there.
    CreatedAt,
    Execution,
    TaskType,
}

/// What we know of one of the tables before looking at it.
struct Shape {
    name: &'static str,
    key: &'static str,
    columns: &'static [(&'static str, Fill)],
    json_column: &'static str,
    /// The error is one field of the JSON, or its fields stand in it directly.
    error_field: Option<&'static str>,
}

const EXECUTIONS: Shape = Shape {
    name: "uet_executions",
    key: "execution_id",
    columns: &[
        ("status", Fill::Status),
        ("started_at", Fill::StartedAt),
        ("completed_at", Fill::CompletedAt),
    ],
    json_column: "metadata",
    error_field: Some(LAST_ERROR),
};

const TASKS: Shape = Shape {
    name: "uet_tasks",
    key: "task_id",
    columns: &[
        ("execution_id", Fill::Execution),
        ("task_type", Fill::TaskType),
        ("status", Fill::Status),
        ("created_at", Fill::CreatedAt),
        ("started_at", Fill::StartedAt),
        ("completed_at", Fill::CompletedAt),
    ],
    json_column: "result",
    error_field: None,
};

/// Both tables as this database has them.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) executions: Table,
    pub(super) tasks: Table,
}

impl Tables {
    /// Looks once for each call.
    pub(super) fn inspect(conn: &Connection) -> Result<Self> {
        Ok(Self {
            executions: Table::inspect(conn, &EXECUTIONS)?,
            tasks: Table::inspect(conn, &TASKS)?,
        })
    }
}

/// One of the tables; without statements where it is missing or has no key column.
#[derive(Debug)]
pub(super) struct Table {
    statements: Option<Statements>,
    fills: Vec<Fill>,
    error_field: Option<&'static str>,
}

#[derive(Debug)]
struct Statements {
    update: String,
    insert: String,
    json: Option<JsonStatements>,
}

#[derive(Debug)]
struct JsonStatements {
    select: String,
    update: String,
}

impl Table {
    fn inspect(conn: &Connection, shape: &Shape) -> Result<Self> {
        let mut table = Self {
            statements: None,
            fills: Vec::new(),
            error_field: shape.error_field,
        };
        let existing = columns(conn, shape.name)?;
        let has = |name: &str| existing.iter().any(|column| column.eq_ignore_ascii_case(name));
        if !schema::table_exists(conn, shape.name)? || !has(shape.key) {
            return Ok(table);
        }
        let present: Vec<_> = shape.columns.iter().filter(|(name, _)| has(name)).collect();
        table.fills = present.iter().map(|(_, fill)| *fill).collect();
        table.statements = Some(Statements::new(shape, &present, has(shape.json_column)));
        Ok(table)
    }

    /// Brings the row of one execution or task up to date.
    pub(super) fn show(&self, conn: &Connection, entry: &Entry, report: &mut IngestReport) -> Result<()> {
        let Some(statements) = &self.statements else {
            return Ok(());
        };
        match self.write(conn, statements, entry) {
            // A constraint of the user's, unless it took the transaction with it.
            Err(Error::Sqlite { source, .. })
                if source.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
                    && !conn.is_autocommit() =>
            {
                report.underived += 1;
                report
                    .underived_reason
                    .get_or_insert_with(|| format!("{}: {source}", entry.id));
                Ok(())
            }
            other => other,
        }
    }

    fn write(&self, conn: &Connection, statements: &Statements, entry: &Entry) -> Result<()> {
        let values = || {
            let key = Value::Text(entry.id.clone());
            let columns = self.fills.iter().map(|fill| value(*fill, entry));
            rusqlite::params_from_iter(std::iter::once(key).chain(columns))
        };
        let changed = conn
            .prepare_cached(&statements.update)
            .and_then(|mut statement| statement.execute(values()))
            .during("update a row of the uet tables")?;
        if changed == 0 {
            conn.prepare_cached(&statements.insert)
                .and_then(|mut statement| statement.execute(values()))
                .during("insert a row into the uet tables")?;
        }
        if entry.progress.failed() || entry.had_failed {
            self.write_error(conn, statements, entry)?;
        }
        Ok(())
    }

    fn write_error(&self, conn: &Connection, statements: &Statements, entry: &Entry) -> Result<()> {
        let Some(json) = &statements.json else {
            return Ok(());
        };
        let old: Value = conn
            .prepare_cached(&json.select)
            .and_then(|mut statement| statement.query_row([&entry.id], |row| row.get(0)).optional())
            .during("read the error of an execution or task")?
            .unwrap_or(Value::Null);
        let new = self.with_error(&old, &entry.progress);
        if let Some(new) = new.filter(|new| *new != old) {
            conn.prepare_cached(&json.update)
                .and_then(|mut statement| statement.execute((&entry.id, new)))
                .during("write the error of an execution or task")?;
        }
        Ok(())
    }

    /// What the JSON column is to hold: the error of the event that decided, or none. `None` where no
    /// object stands there: it is left alone.
    fn with_error(&self, old: &Value, progress: &Progress) -> Option<Value> {
        let mut object = match old {
            Value::Null => Object::default(),
            Value::Text(text) => Object::parse(text)?,
            _ => return None,
        };
        let error = progress
            .verdict
            .as_ref()
            .and_then(|verdict| verdict.error.as_deref());
        let parts;
        match (self.error_field, error) {
            (Some(field), None) => object.remove(field),
            (Some(field), Some(error)) => object.set(field, error),
            (None, error) => {
                parts = error.and_then(|error| Object::parse_some(error, |key| ERROR_PARTS.contains(&key)));
                for part in ERROR_PARTS {
                    match parts.as_ref().and_then(|parts| parts.get(part)) {
                        None => object.remove(part),
                        Some(value) => object.set(part, value),
                    }
                }
            }
        }
        Some(if object.is_empty() {
            Value::Null
        } else {
            Value::Text(object.to_string())
        })
    }
}

impl Statements {
    fn new(shape: &Shape, present: &[&(&str, Fill)], has_json: bool) -> Self {
        let Shape {
            name,
            key,
            json_column,
            ..
        } = shape;
        let mut assignments = vec![format!("{key} = ?1")];
        let mut names = vec![*key];
        let mut places = vec!["?1".to_owned()];
        for (index, (column, fill)) in present.iter().enumerate() {
            let place = format!("?{}", index + 2);
            assignments.push(match fill {
                Fill::Status | Fill::StartedAt | Fill::CompletedAt => format!("{column} = {place}"),
                Fill::CreatedAt => format!("{column} = coalesce(min({column}, {place}), {column}, {place})"),
                Fill::Execution | Fill::TaskType => format!("{column} = coalesce({place}, {column})"),
            });
            names.push(column);
            places.push(place);
        }
        Self {
            update: format!(
                "UPDATE main.{name} SET {} WHERE {key} = ?1",
                assignments[1..].join(", ")
            ),
            insert: format!(
                "INSERT INTO main.{name}({}) VALUES ({})",
                names.join(", "),
                places.join(", ")
            ),
            json: has_json.then(|| JsonStatements {
                select: format!("SELECT {json_column} FROM main.{name} WHERE {key} = ?1 LIMIT 1"),
                update: format!("UPDATE main.{name} SET {json_column} = ?2 WHERE {key} = ?1"),
            }),
        }
    }
}

fn columns(conn: &Connection, table: &str) -> Result<Vec<String>> {
    conn.prepare_cached("SELECT name FROM pragma_table_info(?1, 'main')")
        .and_then(|mut statement| {
            let names = statement.query_map([table], |row| row.get(0))?;
            names.collect()
        })
        .during("look at the columns of the uet tables")
}

fn value(fill: Fill, entry: &Entry) -> Value {
    let progress = &entry.progress;
    let time = |at: Option<Millis>| at.map_or(Value::Null, |at| Value::Text(at.iso()));
    let text = |text: &Option<String>| text.clone().map_or(Value::Null, Value::Text);
    match fill {
        Fill::Status => {
            let verdict = progress.verdict.as_ref().filter(|_| !entry.goes_on);
            let word = verdict.map_or("running", |verdict| verdict.outcome.word());
            Value::Text(word.to_owned())
        }
        Fill::StartedAt | Fill::CreatedAt => time(progress.started),
        Fill::CompletedAt => time(progress.ended.filter(|_| !entry.goes_on)),
        Fill::Execution => text(&progress.execution_id),
        Fill::TaskType => text(&progress.task_type),
    }
}
