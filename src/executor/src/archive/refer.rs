//! Which rows of a database belong to a run: the tables that refer to it, and by which columns.
//!
//! Invariant: a source covers what `SELECT *` shows of a table, and its key orders the rows
//! completely, so that they can be read in pages. What does not belong here: reading the rows.

use runchain_core::error::{During, Error, Result};
use runchain_core::{Mapping, mapping};
use rusqlite::Connection;

/// A table and how a run's rows are found in it.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Table in the main database.
    pub(crate) table: String,
    /// What to read, in the table's order.
    pub(crate) columns: Vec<String>,
    /// Columns any of which can hold the run's id.
    pub(crate) refs: Vec<String>,
    /// What orders the rows completely.
    pub(crate) key: Vec<KeyColumn>,
    /// One more condition, or nothing.
    pub(crate) condition: String,
    /// No index leads to the run's rows: the table is scanned, a window at a time.
    pub(crate) scanned: bool,
}

/// One part of a key, ready to stand in SQL.
#[derive(Debug, Clone)]
pub(crate) struct KeyColumn {
    /// Quoted name, or an alias of the rowid.
    pub(crate) name: String,
    /// ` COLLATE "..."` as the key's index has it, or nothing.
    pub(crate) collate: String,
}

impl Source {
    /// The same rows with one column only; `None` when the table has no such column.
    pub(crate) fn only(&self, names: &[&str]) -> Option<Self> {
        let columns: Vec<String> = names
            .iter()
            .filter_map(|name| find(&self.columns, name))
            .collect();
        (!columns.is_empty()).then(|| Self {
            columns,
            ..self.clone()
        })
    }
}

/// The user's own row of a run. The id is not always unique there; then it is several rows.
///
/// # Errors
/// Whatever SQLite answers.
pub(crate) fn run_row(conn: &Connection, mapping: &Mapping) -> Result<Source> {
    under_one_lock(conn, || {
        describe(conn, &mapping.table, vec![mapping.id_column.clone()])
    })
}

/// One of runchain's own tables, by columns that have an index.
///
/// # Errors
/// Whatever SQLite answers.
pub(crate) fn own(conn: &Connection, table: &str, refs: &[&str], condition: &str) -> Result<Source> {
    let refs = refs.iter().map(|&name| name.to_owned()).collect();
    Ok(Source {
        condition: condition.to_owned(),
        scanned: false,
        ..under_one_lock(conn, || describe(conn, table, refs))?
    })
}

/// Every other table of the user's that refers to runs: by a foreign key to the id column, or by a
/// column with the id's name. In order of name.
///
/// The table of the runs itself is left out (a child run has a bag of its own), and so is
/// `archival_log`, which grows with every archiving. Virtual tables are left out too: their modules
/// may be missing here, and reading them may write.
///
/// # Errors
/// Whatever SQLite answers.
pub(crate) fn referring(conn: &Connection, mapping: &Mapping) -> Result<Vec<Source>> {
    under_one_lock(conn, || find_referring(conn, mapping))
}

fn find_referring(conn: &Connection, mapping: &Mapping) -> Result<Vec<Source>> {
    let parent_key = key_columns(conn, &mapping.table)?;
    let mut sources = Vec::new();
    for table in tables(conn)? {
        if table.eq_ignore_ascii_case(&mapping.table) || table.eq_ignore_ascii_case("archival_log") {
            continue;
        }
        let columns = column_names(conn, &table)?;
        let mut refs = foreign_keys(conn, &table, mapping, &parent_key)?;
        for name in id_names(&table, mapping) {
            refs.extend(find(&columns, &name));
        }
        refs.sort();
        refs.dedup();
        if !refs.is_empty() {
            sources.push(describe(conn, &table, refs)?);
        }
    }
    Ok(sources)
}

/// Asks a dozen questions about the schema in one short read. With a rollback journal a writer that
/// commits waits, and everybody with it, for whoever reads at that moment: a lock for each question
/// would be a dozen times the chance.
fn under_one_lock<T>(conn: &Connection, ask: impl FnOnce() -> Result<T>) -> Result<T> {
    let reading = conn.unchecked_transaction().during("read the schema")?;
    let answer = ask()?;
    reading.finish().during("read the schema")?;
    Ok(answer)
}

/// The column names that mean "id of a run" in `table`.
fn id_names(table: &str, mapping: &Mapping) -> Vec<String> {
    if table.eq_ignore_ascii_case("uet_executions") || table.eq_ignore_ascii_case("uet_tasks") {
        return vec!["execution_id".to_owned()];
    }
    let mut names = vec!["run_id".to_owned()];
    if mapping.id_column.eq_ignore_ascii_case("id") {
        names.push(format!("{}_id", mapping.table));
        // jobs.id is job_id elsewhere.
        names.extend(
            mapping
                .table
                .strip_suffix(['s', 'S'])
                .map(|one| format!("{one}_id")),
        );
    } else {
        names.push(mapping.id_column.clone());
    }
    names
}

fn tables(conn: &Connection) -> Result<Vec<String>> {
    let sql = r"SELECT name FROM pragma_table_list
        WHERE schema = 'main' AND type = 'table'
          AND name NOT LIKE 'sqlite\_%' ESCAPE '\' AND name NOT LIKE 'runchain\_%' ESCAPE '\'
        ORDER BY name";
    strings(conn, sql, []).during("list the tables")
}

/// What `SELECT *` shows: stored and generated columns.
fn column_names(conn: &Connection, table: &str) -> Result<Vec<String>> {
    let sql = "SELECT name FROM pragma_table_xinfo(?1, 'main') WHERE hidden <> 1 ORDER BY cid";
    strings(conn, sql, [table]).during("read a table's columns")
}

/// The primary key's columns in order.
fn key_columns(conn: &Connection, table: &str) -> Result<Vec<String>> {
    let sql = "SELECT name FROM pragma_table_info(?1, 'main') WHERE pk > 0 ORDER BY pk";
    strings(conn, sql, [table]).during("read a table's key")
}

/// Columns of `table` that a foreign key ties to the id of a run. A key without named parent
/// columns means the parent's primary key, part by part.
fn foreign_keys(
    conn: &Connection,
    table: &str,
    mapping: &Mapping,
    parent_key: &[String],
) -> Result<Vec<String>> {
    let mut statement = conn
        .prepare_cached(
            r#"SELECT seq, "from", "to" FROM pragma_foreign_key_list(?1, 'main')
               WHERE "table" = ?2 COLLATE NOCASE"#,
        )
        .during("read a table's foreign keys")?;
    let rows = statement
        .query_map([table, &mapping.table], |row| {
            let part = usize::try_from(row.get::<_, i64>(0)?).unwrap_or(usize::MAX);
            let to: Option<String> = row.get(2)?;
            let to = to.or_else(|| parent_key.get(part).cloned());
            let ours = to.is_some_and(|name| name.eq_ignore_ascii_case(&mapping.id_column));
            Ok(ours.then_some(row.get::<_, String>(1)?))
        })
        .during("read a table's foreign keys")?;
    let found: Vec<Option<String>> = rows
        .collect::<rusqlite::Result<_>>()
        .during("read a table's foreign keys")?;
    let columns = column_names(conn, table)?;
    // The spelling of the table, not of the foreign key: they may differ in case.
    Ok(found
        .into_iter()
        .flatten()
        .filter_map(|name| find(&columns, &name))
        .collect())
}

fn describe(conn: &Connection, table: &str, refs: Vec<String>) -> Result<Source> {
    let columns = column_names(conn, table)?;
    let key = row_key(conn, table, &columns)?;
    let mut scanned = false;
    for name in &refs {
        scanned |= !is_indexed(conn, table, name)?;
    }
    Ok(Source {
        table: table.to_owned(),
        columns,
        refs,
        key,
        condition: String::new(),
        scanned,
    })
}

/// The rowid under a name that no column has taken, or the primary key of a WITHOUT ROWID table.
fn row_key(conn: &Connection, table: &str, columns: &[String]) -> Result<Vec<KeyColumn>> {
    let without_rowid: bool = conn
        .prepare_cached("SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1 COLLATE NOCASE")
        .and_then(|mut statement| statement.query_row([table], |row| row.get(0)))
        .during("read a table's kind")?;
    if without_rowid {
        return primary_key(conn, table);
    }
    ["rowid", "oid", "_rowid_"]
        .into_iter()
        .find(|alias| find(columns, alias).is_none())
        .map(|alias| {
            vec![KeyColumn {
                name: alias.to_owned(),
                collate: String::new(),
            }]
        })
        .ok_or_else(|| {
            Error::refused(
                format!(
                    "table {table} has columns called rowid, oid and _rowid_, so its rows can't be paged"
                ),
                "rename one of those columns",
            )
        })
}

/// The key of a WITHOUT ROWID table with its index's collations, which can differ from the columns'.
fn primary_key(conn: &Connection, table: &str) -> Result<Vec<KeyColumn>> {
    let mut statement = conn
        .prepare_cached(
            "SELECT part.name, part.coll
             FROM pragma_index_list(?1, 'main') AS list
             JOIN pragma_index_xinfo(list.name, 'main') AS part
             WHERE list.origin = 'pk' AND part.key = 1 ORDER BY part.seqno",
        )
        .during("read a table's key")?;
    let rows = statement
        .query_map([table], |row| {
            Ok(KeyColumn {
                name: mapping::quote(&row.get::<_, String>(0)?),
                collate: format!(" COLLATE {}", mapping::quote(&row.get::<_, String>(1)?)),
            })
        })
        .during("read a table's key")?;
    rows.collect::<rusqlite::Result<_>>().during("read a table's key")
}

fn is_indexed(conn: &Connection, table: &str, column: &str) -> Result<bool> {
    if let [only] = key_columns(conn, table)?.as_slice()
        && only.eq_ignore_ascii_case(column)
    {
        return Ok(true);
    }
    conn.prepare_cached(
        "SELECT EXISTS (
           SELECT 1 FROM pragma_index_list(?1, 'main') AS list
           JOIN pragma_index_xinfo(list.name, 'main') AS part
           WHERE list.partial = 0 AND part.seqno = 0 AND part.name = ?2 COLLATE NOCASE
         )",
    )
    .and_then(|mut statement| statement.query_row([table, column], |row| row.get(0)))
    .during("read a table's indexes")
}

fn find(columns: &[String], name: &str) -> Option<String> {
    columns
        .iter()
        .find(|column| column.eq_ignore_ascii_case(name))
        .cloned()
}

fn strings(conn: &Connection, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<Vec<String>> {
    conn.prepare_cached(sql)?
        .query_map(params, |row| row.get(0))?
        .collect()
}
