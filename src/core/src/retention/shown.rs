//! Executions and tasks: their rows stand in `runchain_derived` and in tables that other tools read, which
//! may be the user's, or be referred to by the user's.

use super::Kind;
use super::statements::Statements;
use crate::error::{During, Result};
use crate::mapping::quote;
use crate::schema;
use rusqlite::Connection;

const EXECUTIONS_EXPIRED: &str = "
  r.ended_ms < {age}
  AND NOT ({live})
  AND NOT EXISTS (
    SELECT 1 FROM main.uet_tasks AS t LEFT JOIN runchain_derived AS d ON d.kind = 'task' AND d.id = t.task_id
    WHERE t.execution_id = r.id AND coalesce(d.ended_ms, {age}) >= {age})";
/// Executions and tasks, where both tables that show them are ours and nothing stands in the way.
pub(super) fn shown(conn: &Connection, kind: Kind) -> Result<Option<Statements>> {
    if !is_ours(conn, "uet_tasks")? || !is_ours(conn, "uet_executions")? {
        return Ok(None);
    }
    let table = if kind == Kind::Tasks {
        "uet_tasks"
    } else {
        "uet_executions"
    };
    let Some(unreferenced) = unreferenced(conn, table)? else {
        return Ok(None);
    };
    let (of_kind, expired, ready, with): (_, _, _, &'static [&'static str]) = if kind == Kind::Tasks {
        (
            "r.kind = 'task'",
            "r.ended_ms < {age}",
            "1",
            &["DELETE FROM main.uet_tasks WHERE task_id = ?1"],
        )
    } else {
        (
            "r.kind = 'execution'",
            EXECUTIONS_EXPIRED,
            "NOT EXISTS (SELECT 1 FROM main.uet_tasks AS t WHERE t.execution_id = r.id)",
            &["DELETE FROM main.uet_executions WHERE execution_id = ?1"],
        )
    };
    Ok(Some(Statements {
        table: "runchain_derived",
        key: "id",
        of_kind,
        old: "1".to_owned(),
        size: "120 + 2 * length(r.id) + coalesce(length(r.error), 0)",
        expired: format!("{expired} AND {unreferenced}"),
        ready: ready.to_owned(),
        with,
        goes: true,
    }))
}

pub(super) fn is_ours(conn: &Connection, table: &str) -> Result<bool> {
    Ok(
        schema::meta(conn, &format!("owns.{table}"))?.as_deref() == Some("1")
            && schema::table_exists(conn, table)?,
    )
}

/// Whether our own `uet_tasks` has no index on the execution.
pub(super) fn lacks_index(conn: &Connection) -> Result<bool> {
    if !is_ours(conn, "uet_tasks")? {
        return Ok(false);
    }
    conn.query_row(
        "SELECT NOT EXISTS (SELECT 1 FROM pragma_index_list('uet_tasks') AS l, pragma_index_info(l.name) AS c
                            WHERE l.partial = 0 AND c.seqno = 0 AND c.name = 'execution_id')",
        [],
        |row| row.get(0),
    )
    .during("look at the indexes of uet_tasks")
}

/// A condition that no row of the user's refers to the row by a foreign key. `None` where that can't
/// be told without reading a whole table: then nothing of the kind goes.
fn unreferenced(conn: &Connection, table: &str) -> Result<Option<String>> {
    let mut statement = conn
        .prepare_cached(
            r#"SELECT m.name, k."from",
                      EXISTS (SELECT 1 FROM pragma_index_list(m.name) AS l, pragma_index_info(l.name) AS c
                              WHERE l.partial = 0 AND c.seqno = 0 AND c.name = k."from" COLLATE NOCASE)
               FROM main.sqlite_master AS m, pragma_foreign_key_list(m.name) AS k
               WHERE m.type = 'table' AND k."table" = ?1 COLLATE NOCASE"#,
        )
        .during("look for foreign keys")?;
    let found = statement
        .query_map([table], |row| <(String, String, bool)>::try_from(row))
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .during("look for foreign keys")?;
    let mut condition = "1".to_owned();
    for (child, column, is_indexed) in found {
        // Deleting a parent makes SQLite look for children as well, by the same index.
        if !is_indexed {
            return Ok(None);
        }
        if child.eq_ignore_ascii_case("uet_tasks") {
            continue;
        }
        let (child, column) = (quote(&child), quote(&column));
        condition += &format!(" AND NOT EXISTS (SELECT 1 FROM main.{child} AS c WHERE c.{column} = r.id)");
    }
    Ok(Some(condition))
}
