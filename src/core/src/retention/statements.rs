//! What is asked of one kind in one pass, as SQL, and asking it. Which rows a kind has and when they are
//! over stands in `criteria`.

use super::Limits;
use crate::error::{During, Result};
use rusqlite::Connection;
use rusqlite::types::Value;

/// What is asked of one kind in one pass; the row is `r`.
#[derive(Debug, Clone)]
pub(super) struct Statements {
    pub(super) table: &'static str,
    pub(super) key: &'static str,
    /// Which rows of the table are of this kind.
    pub(super) of_kind: &'static str,
    /// Size of a row.
    pub(super) size: &'static str,
    /// Whether it is old or too much. Where keys grow with time, a chunk without such a row ends the
    /// kind: what has just been written need not be read to be kept.
    pub(super) old: String,
    /// Whether its time has come.
    pub(super) expired: String,
    /// What must hold besides when it is removed; a dry run foresees it.
    pub(super) ready: String,
    /// Removed before it, by its key.
    pub(super) with: &'static [&'static str],
    /// Whether the row goes, and not only files that it names.
    pub(super) goes: bool,
}

impl Statements {
    /// Of a table with ids, whose rows are over where `expired` says so.
    pub(super) fn simple(table: &'static str, size: &'static str, expired: &str) -> Self {
        Self {
            table,
            key: "id",
            of_kind: "1",
            size,
            old: "1".to_owned(),
            expired: expired.to_owned(),
            ready: "1".to_owned(),
            with: &[],
            goes: true,
        }
    }

    /// Of a table whose ids grow with time.
    pub(super) fn growing(mut self, old: &str) -> Self {
        self.old = old.to_owned();
        self
    }

    /// Whose rows go after others that refer to them.
    pub(super) fn after(mut self, with: &'static [&'static str]) -> Self {
        self.with = with;
        self
    }

    /// Looks at the next rows in the order of the key.
    pub(super) fn look_sql(&self, has_after: bool, limit: u32) -> String {
        let Self {
            table,
            key,
            of_kind,
            size,
            old,
            expired,
            ..
        } = self;
        let after = if has_after {
            format!("AND r.{key} > ?1")
        } else {
            String::new()
        };
        format!(
            "SELECT r.{key}, {size}, ({old}), ({old}) AND ({expired}) FROM {table} AS r
             WHERE {of_kind} {after} ORDER BY r.{key} LIMIT {limit}"
        )
    }

    /// Whether a row's time has come, as of now.
    pub(super) fn judge(&self, conn: &Connection, key: &Value) -> Result<bool> {
        let Self {
            table,
            key: column,
            of_kind,
            old,
            expired,
            ready,
            ..
        } = self;
        let condition = format!("r.{column} = ?1 AND {of_kind} AND ({old}) AND ({expired}) AND ({ready})");
        conn.prepare_cached(&format!(
            "SELECT EXISTS (SELECT 1 FROM {table} AS r WHERE {condition})"
        ))
        .and_then(|mut statement| statement.query_row([key], |row| row.get(0)))
        .during("judge an old row")
    }

    /// Removes one row, if its time has still come; `false` when it stays.
    pub(super) fn remove(&self, conn: &Connection, key: &Value) -> Result<bool> {
        let Self {
            table,
            key: column,
            of_kind,
            ..
        } = self;
        if !self.judge(conn, key)? {
            return Ok(false);
        }
        if !self.goes {
            return Ok(true);
        }
        for first in self.with {
            conn.prepare_cached(first)
                .and_then(|mut statement| statement.execute([key]))
                .during("remove what goes with an old row")?;
        }
        conn.prepare_cached(&format!(
            "DELETE FROM {table} AS r WHERE r.{column} = ?1 AND {of_kind}"
        ))
        .and_then(|mut statement| statement.execute([key]))
        .during("remove an old row")?;
        Ok(true)
    }

    /// The newest id that goes because of number or size. Ids grow by one with every row, so that
    /// nothing has to be counted.
    pub(super) fn id_cutoff(&self, conn: &Connection, limits: Limits) -> Result<i64> {
        let newest: i64 = conn
            .prepare_cached(&format!("SELECT coalesce(max(id), 0) FROM {}", self.table))
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .during("look for the newest row")?;
        let mut cutoff = i64::MIN;
        if limits.rows > 0 {
            cutoff = newest - limits.rows;
        }
        if limits.size_bytes > 0
            && let Some(mean_bytes) = self.mean_bytes(conn, newest)?
        {
            cutoff = cutoff.max(newest - limits.size_bytes / mean_bytes);
        }
        Ok(cutoff)
    }

    /// The mean size of some rows from everywhere in the table.
    fn mean_bytes(&self, conn: &Connection, newest: i64) -> Result<Option<i64>> {
        const PLACES: i64 = 64;
        const ROWS_EACH: i64 = 8;
        let Self { table, size, .. } = self;
        let oldest: i64 = conn
            .prepare_cached(&format!("SELECT coalesce(min(id), 0) FROM {table}"))
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .during("look for the oldest row")?;
        let mut sample = conn
            .prepare_cached(&format!(
                "SELECT count(*), coalesce(sum(size), 0)
                 FROM (SELECT {size} AS size FROM {table} AS r WHERE r.id >= ?1 ORDER BY r.id LIMIT {ROWS_EACH})"
            ))
            .during("sample the size of rows")?;
        let (mut rows, mut size_bytes) = (0, 0);
        for place in 0..PLACES {
            let from = oldest + (newest - oldest) / PLACES * place;
            let (more, larger): (i64, i64) = sample
                .query_row([from], |row| row.try_into())
                .during("sample the size of rows")?;
            rows += more;
            size_bytes += larger;
        }
        Ok((rows > 0).then(|| (size_bytes / rows).max(1)))
    }
}
