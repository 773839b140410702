//! Reads a run's rows a page at a time, and writes a row as JSON.
//!
//! Invariant: no statement stays open while anything but the database is waited for. With a
//! rollback journal a reader blocks every writer, so a page ends after 500 rows or 1 MiB, and a table
//! without a useful index is scanned in windows.

use super::digest::hex;
use super::refer::Source;
use crate::redact::{ColumnRule, MARKER, Redactor};
use runchain_core::RunId;
use runchain_core::error::{During, Result};
use runchain_core::mapping::{keys, quote};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Row, params_from_iter};

const PAGE_ROWS: usize = 500;
const PAGE_BYTES: usize = 1 << 20;
/// Rows that one statement may scan where no index leads to the run's.
const WINDOW_ROWS: usize = 10_000;

/// Takes rows as they are read.
pub(crate) trait Reader {
    /// One row, while the statement is open: keep it, do nothing slow. Answers how many bytes are
    /// kept in memory for it.
    ///
    /// # Errors
    /// Whatever reading a value gives.
    fn row(&mut self, values: Values<'_>) -> rusqlite::Result<usize>;

    /// The statement is closed: time to write out what was kept.
    ///
    /// # Errors
    /// Whatever writing it gives.
    fn page(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The values of one row, in the order of [`Source::columns`].
#[derive(Clone, Copy)]
pub(crate) struct Values<'a> {
    row: &'a Row<'a>,
    first: usize,
}

impl<'a> Values<'a> {
    /// The value of a column.
    ///
    /// # Errors
    /// When there is no such column.
    pub(crate) fn get(&self, index: usize) -> rusqlite::Result<ValueRef<'a>> {
        self.row.get_ref(self.first + index)
    }
}

/// Reads every row of `source` that refers to the run, in order of its key.
///
/// # Errors
/// Whatever SQLite or the reader answers.
pub(crate) fn read(
    conn: &Connection,
    source: &Source,
    run_id: &RunId,
    reader: &mut dyn Reader,
) -> Result<()> {
    let mut after = None;
    loop {
        let until = if source.scanned {
            window_end(conn, source, after.as_deref()).during("scan a table for a run's rows")?
        } else {
            None
        };
        loop {
            let page = read_page(conn, source, run_id, after.as_deref(), until.as_deref(), reader)
                .during("read a run's rows")?;
            reader.page()?;
            after = page.last.or(after);
            if page.complete {
                break;
            }
        }
        match until {
            Some(end) => after = Some(end),
            None => return Ok(()),
        }
    }
}

struct Page {
    /// Key of the last row read.
    last: Option<Vec<Value>>,
    /// Nothing is left between the bounds.
    complete: bool,
}

fn read_page(
    conn: &Connection,
    source: &Source,
    run_id: &RunId,
    after: Option<&[Value]>,
    until: Option<&[Value]>,
    reader: &mut dyn Reader,
) -> rusqlite::Result<Page> {
    let ids = keys(run_id);
    let width = source.key.len();
    // ?1.. is the lower bound, then the upper bound, then the ids; a bound that is not named in
    // the statement is NULL.
    let sql = page_sql(source, ids.len(), after.is_some(), until.is_some());
    let bound = |values: Option<&[Value]>| values.map_or_else(|| vec![Value::Null; width], <[Value]>::to_vec);
    let params = bound(after).into_iter().chain(bound(until)).chain(ids);
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(params))?;
    let mut page = Page {
        last: None,
        complete: false,
    };
    let (mut count, mut bytes) = (0, 0);
    while count < PAGE_ROWS && bytes < PAGE_BYTES {
        let Some(row) = rows.next()? else {
            page.complete = true;
            break;
        };
        bytes += reader.row(Values { row, first: width })?;
        count += 1;
        page.last = Some(key_of(row, width)?);
    }
    Ok(page)
}

/// One arm for each way in which a row can name the run, so that each can use its index and comes
/// in order of the key by itself; UNION drops a row that two arms found.
fn page_sql(source: &Source, ids: usize, has_after: bool, has_until: bool) -> String {
    let width = source.key.len();
    let names = source.key.iter().map(|part| part.name.clone());
    let columns: Vec<String> = names
        .chain(source.columns.iter().map(|name| quote(name)))
        .collect();
    let mut bounds = String::new();
    if has_after {
        bounds.push_str(&format!(" AND {}", compare(source, ">", 1)));
    }
    if has_until {
        bounds.push_str(&format!(" AND {}", compare(source, "<=", width + 1)));
    }
    if !source.condition.is_empty() {
        bounds.push_str(&format!(" AND {}", source.condition));
    }
    let arms: Vec<String> = source
        .refs
        .iter()
        .flat_map(|name| (0..ids).map(move |id| (name, 2 * width + 1 + id)))
        .map(|(name, parameter)| {
            format!(
                "SELECT {columns} FROM main.{table} WHERE {name} = ?{parameter}{bounds} ORDER BY {order} LIMIT {PAGE_ROWS}",
                columns = columns.join(", "),
                table = quote(&source.table),
                name = quote(name),
                order = order(source),
            )
        })
        .collect();
    if let [only] = arms.as_slice() {
        return only.clone();
    }
    let order: Vec<String> = (1..)
        .zip(&source.key)
        .map(|(place, part)| format!("{place}{}", part.collate))
        .collect();
    let arms: Vec<String> = arms.iter().map(|arm| format!("SELECT * FROM ({arm})")).collect();
    format!(
        "{} ORDER BY {} LIMIT {PAGE_ROWS}",
        arms.join(" UNION "),
        order.join(", ")
    )
}

/// Key of the row that ends the next window; `None` when fewer rows are left than a window has.
fn window_end(
    conn: &Connection,
    source: &Source,
    after: Option<&[Value]>,
) -> rusqlite::Result<Option<Vec<Value>>> {
    let condition = after.map_or_else(String::new, |_| format!("WHERE {}", compare(source, ">", 1)));
    let names: Vec<&str> = source.key.iter().map(|part| part.name.as_str()).collect();
    let sql = format!(
        "SELECT {names} FROM main.{table} {condition} ORDER BY {order} LIMIT 1 OFFSET {offset}",
        names = names.join(", "),
        table = quote(&source.table),
        order = order(source),
        offset = WINDOW_ROWS - 1,
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(after.unwrap_or_default()))?;
    rows.next()?.map(|row| key_of(row, source.key.len())).transpose()
}

/// `(a, b) > (?1, ?2)`.
fn compare(source: &Source, operator: &str, first_parameter: usize) -> String {
    let parameters: Vec<String> = (first_parameter..)
        .take(source.key.len())
        .map(|number| format!("?{number}"))
        .collect();
    format!("({}) {operator} ({})", order(source), parameters.join(", "))
}

fn order(source: &Source) -> String {
    let parts: Vec<String> = source
        .key
        .iter()
        .map(|part| format!("{}{}", part.name, part.collate))
        .collect();
    parts.join(", ")
}

fn key_of(row: &Row<'_>, width: usize) -> rusqlite::Result<Vec<Value>> {
    (0..width).map(|index| row.get(index)).collect()
}

/// Writes rows as JSON objects, members in column order, one line each.
pub(super) struct RowEncoder<'a> {
    labels: Vec<String>,
    rules: Vec<ColumnRule<'a>>,
    /// Values that were redacted.
    pub(super) redacted: usize,
}

impl<'a> RowEncoder<'a> {
    /// For rows of a source.
    pub(super) fn new(source: &Source, redactor: &'a Redactor) -> Self {
        let columns = source.columns.iter();
        Self {
            labels: columns.clone().map(|name| format!("{}:", json(name))).collect(),
            rules: columns.map(|name| redactor.column(&source.table, name)).collect(),
            redacted: 0,
        }
    }

    /// Appends one line.
    ///
    /// # Errors
    /// When the row has fewer columns.
    pub(super) fn append(&mut self, values: Values<'_>, out: &mut Vec<u8>) -> rusqlite::Result<()> {
        let mut separator = b'{';
        for (index, (label, rule)) in self.labels.iter().zip(&self.rules).enumerate() {
            out.push(separator);
            out.extend_from_slice(label.as_bytes());
            let value = values.get(index)?;
            let encoded = match redacted(value, rule) {
                Some((text, count)) => {
                    self.redacted += count;
                    json(&text)
                }
                None => encode(value),
            };
            out.extend_from_slice(encoded.as_bytes());
            separator = b',';
        }
        out.extend_from_slice(b"}\n");
        Ok(())
    }
}

/// What stands in the place of a value that must not leave as it is.
fn redacted(value: ValueRef<'_>, rule: &ColumnRule<'_>) -> Option<(String, usize)> {
    match value {
        ValueRef::Null => None,
        _ if rule.is_whole() => Some((MARKER.to_owned(), 1)),
        // JSON is JSON also in a BLOB.
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => rule.json_text(std::str::from_utf8(bytes).ok()?),
        _ => None,
    }
}

/// A value as JSON.
///
/// What JSON can't say becomes an object with one member: a BLOB `{"blob_hex": "00ff"}` (SQL reads
/// it back as `x'00ff'`), text that is not UTF-8 `{"text_hex": "..."}`, an infinite number
/// `{"real": "Infinity"}` or `{"real": "-Infinity"}`. A text stays a string, whatever it looks like.
pub(crate) fn encode(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "null".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) if number.is_finite() => serde_json::Value::from(number).to_string(),
        // SQLite stores NaN as NULL, so what is left is infinite.
        ValueRef::Real(number) if number > 0.0 => r#"{"real":"Infinity"}"#.to_owned(),
        ValueRef::Real(_) => r#"{"real":"-Infinity"}"#.to_owned(),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => json(text),
            Err(_) => format!(r#"{{"text_hex":"{}"}}"#, hex(bytes)),
        },
        ValueRef::Blob(bytes) => format!(r#"{{"blob_hex":"{}"}}"#, hex(bytes)),
    }
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
