//! The reconciling sweep: what no trigger saw, found by comparing the user's rows with what was last
//! acted on.
//!
//! Triggers can be lost in a table rebuild, disabled on a connection, or skipped by a user's own
//! RAISE(IGNORE). The sweep reads in chunks, each one short statement, and only appends `look` rows to
//! the queue: the judgement happens there, in order, by the row as it then stands. So a sweep that
//! reads stale rows does no harm.

use crate::error::{During, Result};
use crate::forget;
use crate::mapping::{self, quote};
use crate::{Mapping, Millis, RunId, flags};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

/// Where a sweep is. Begin with [`Sweep::default`], call [`chunk`] until it is over.
#[derive(Debug, Clone, Default)]
pub struct Sweep {
    stage: Stage,
    /// Rows that were compared.
    pub compared: u64,
    /// Rows that differ.
    pub found: u64,
}

#[derive(Debug, Clone, Default)]
enum Stage {
    /// Through the user's table, past this rowid (or key).
    #[default]
    Begin,
    Rows(Value),
    /// Through what we know, past this run: is its row still there?
    Known(String),
    Over,
}

impl Sweep {
    /// Whether everything was compared.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }
}

/// Compares the next `limit` rows and returns the runs that have to be looked at, for
/// [`ask_to_look`]. Reads only.
///
/// # Errors
/// Whatever SQLite answers, for example when the user's table is gone.
pub fn chunk(conn: &Connection, mapping: &Mapping, sweep: &mut Sweep, limit: u32) -> Result<Vec<RunId>> {
    let mut found = match &sweep.stage {
        Stage::Begin => user_rows(conn, mapping, None, limit)?,
        Stage::Rows(after) => user_rows(conn, mapping, Some(after.clone()), limit)?,
        Stage::Known(after) => known_rows(conn, mapping, after, limit)?,
        Stage::Over => return Ok(Vec::new()),
    };
    let mut differ = Vec::new();
    for run_id in found.differ {
        if !forget::is_forgotten(conn, &run_id)? {
            differ.push(run_id);
        }
    }
    found.differ = differ;
    sweep.compared += found.compared;
    sweep.found += found.differ.len() as u64;
    sweep.stage = match (&sweep.stage, found.last) {
        (Stage::Begin | Stage::Rows(_), Some(last)) => Stage::Rows(last),
        (Stage::Begin | Stage::Rows(_), None) => Stage::Known(String::new()),
        (_, Some(Value::Text(last))) => Stage::Known(last),
        _ => Stage::Over,
    };
    Ok(found.differ)
}

/// Queues the runs for a look. `captured` is when the whole sweep began: what it finds was found at once,
/// however long it took.
///
/// # Errors
/// Whatever SQLite answers.
pub fn ask_to_look(conn: &Connection, runs: &[RunId], captured: Millis) -> Result<()> {
    let mut insert = conn
        .prepare_cached(
            "INSERT INTO runchain_queue(action, run_id, actor, at_ms) VALUES ('look', ?1, 'sweep', ?2)",
        )
        .during("queue what the sweep found")?;
    for run_id in runs {
        insert
            .execute((run_id, captured))
            .during("queue what the sweep found")?;
    }
    Ok(())
}

pub(crate) struct Chunk {
    pub(crate) differ: Vec<RunId>,
    pub(crate) compared: u64,
    /// Where the next chunk goes on; `None` when this was the last.
    pub(crate) last: Option<Value>,
}

/// A table without rowids is walked by its id column, which only the primary key makes quick.
pub(crate) fn user_rows(
    conn: &Connection,
    mapping: &Mapping,
    after: Option<Value>,
    limit: u32,
) -> Result<Chunk> {
    let id = format!("r.{}", quote(&mapping.id_column));
    let key = if mapping::has_rowid(conn, &mapping.table)? {
        "r.rowid".to_owned()
    } else {
        id.clone()
    };
    let sql = format!(
        "SELECT {key}, CAST({id} AS TEXT), k.run_id IS NULL OR k.phase = 'deleted' OR (v.phase IS NOT NULL AND v.phase <> k.phase AND NOT {stands})
         FROM main.{table} AS r
         LEFT JOIN runchain_runs AS k ON k.run_id = CAST({id} AS TEXT)
         LEFT JOIN runchain_vocabulary AS v ON v.status = CAST(r.{status} AS TEXT)
         WHERE {id} IS NOT NULL AND typeof({id}) <> 'blob' {past}
         ORDER BY {key} LIMIT {limit}",
        table = quote(&mapping.table),
        status = quote(&mapping.status_column),
        stands = flags::stands_for(&format!("CAST(r.{} AS TEXT)", quote(&mapping.status_column))),
        past = if after.is_some() { format!("AND {key} > ?1") } else { String::new() },
    );
    let mut select = conn.prepare_cached(&sql).during("compare the user's runs")?;
    let mut rows = select
        .query(params_from_iter(after))
        .during("compare the user's runs")?;
    let mut chunk = Chunk {
        differ: Vec::new(),
        compared: 0,
        last: None,
    };
    while let Some(row) = rows.next().during("compare the user's runs")? {
        let (last, run_id, differs): (Value, RunId, bool) =
            row.try_into().during("compare the user's runs")?;
        chunk.compared += 1;
        chunk.last = Some(last);
        if differs {
            chunk.differ.push(run_id);
        }
    }
    chunk.last = chunk.last.filter(|_| chunk.compared == u64::from(limit));
    Ok(chunk)
}

fn known_rows(conn: &Connection, mapping: &Mapping, after: &str, limit: u32) -> Result<Chunk> {
    // A column without affinity keeps integers, which our text never equals: see mapping::keys.
    let sql = format!(
        "SELECT k.run_id, k.phase <> 'deleted' AND NOT {alone} AND NOT EXISTS (
           SELECT 1 FROM main.{table} AS r WHERE r.{id} IN (k.run_id,
             CASE WHEN CAST(CAST(k.run_id AS INTEGER) AS TEXT) = k.run_id THEN CAST(k.run_id AS INTEGER) ELSE k.run_id END))
         FROM runchain_runs AS k WHERE k.run_id > ?1 ORDER BY k.run_id LIMIT {limit}",
        table = quote(&mapping.table),
        id = quote(&mapping.id_column),
        alone = flags::STANDS_ALONE,
    );
    let mut select = conn.prepare_cached(&sql).during("compare the known runs")?;
    let mut rows = select.query([after]).during("compare the known runs")?;
    let mut chunk = Chunk {
        differ: Vec::new(),
        compared: 0,
        last: None,
    };
    while let Some(row) = rows.next().during("compare the known runs")? {
        let (run_id, gone): (RunId, bool) = row.try_into().during("compare the known runs")?;
        chunk.compared += 1;
        chunk.last = Some(Value::Text(run_id.0.clone()));
        if gone {
            chunk.differ.push(run_id);
        }
    }
    chunk.last = chunk.last.filter(|_| chunk.compared == u64::from(limit));
    Ok(chunk)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Chain;
    use crate::install::{InstallOptions, install};
    use crate::queue;

    fn sweep_all(conn: &Connection, mapping: &Mapping, limit: u32) -> (Vec<String>, u64) {
        let (mut sweep, mut found) = (Sweep::default(), Vec::new());
        while !sweep.is_over() {
            found.extend(chunk(conn, mapping, &mut sweep, limit).unwrap());
        }
        let mut names: Vec<String> = found.into_iter().map(|run| run.0).collect();
        names.sort();
        (names, sweep.compared)
    }

    #[test]
    fn what_no_trigger_saw_is_found_once_and_acted_on() {
        for ddl in [
            "CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT)",
            "CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT) WITHOUT ROWID",
            "CREATE TABLE runs(run_id INTEGER PRIMARY KEY, status TEXT)",
            "CREATE TABLE runs(run_id UNIQUE, status TEXT)",
        ] {
            let conn = Connection::open_in_memory().unwrap();
            conn.execute_batch(ddl).unwrap();
            let mapping = install(&conn, &InstallOptions::default(), Millis(1))
                .unwrap()
                .mapping;
            let expand = || queue::expand(&conn, &mapping, &Chain::builtin(1), 1_000, Millis(5)).unwrap();
            conn.execute_batch(
                "INSERT INTO runs VALUES (1, 'RUNNING'), (2, 'RUNNING'), (3, 'COMPLETED'), (4, 'RUNNING')",
            )
            .unwrap();
            expand();
            for limit in [1, 2, 1_000] {
                assert_eq!(sweep_all(&conn, &mapping, limit), (Vec::new(), 8), "{ddl}");
            }
            for trigger in mapping::TRIGGERS {
                conn.execute_batch(&format!("DROP TRIGGER {trigger}")).unwrap();
            }
            conn.execute_batch(
                "UPDATE runs SET status = 'FAILED' WHERE run_id = 1; DELETE FROM runs WHERE run_id = 2;
                 UPDATE runs SET status = 'DONE' WHERE run_id = 3; INSERT INTO runs VALUES (5, 'COMPLETED')",
            )
            .unwrap();
            for limit in [1, 3, 1_000] {
                assert_eq!(sweep_all(&conn, &mapping, limit).0, ["1", "2", "5"], "{ddl}");
            }
            let runs: Vec<RunId> = ["1", "2", "5"].map(|id| RunId(id.to_owned())).into();
            ask_to_look(&conn, &runs, Millis(5)).unwrap();
            expand();
            assert_eq!(sweep_all(&conn, &mapping, 1_000).0, Vec::<String>::new(), "{ddl}");
            let phases: String = conn
                .query_row("SELECT group_concat(run_id || phase, ' ') FROM (SELECT * FROM runchain_runs ORDER BY run_id)", [], |row| row.get(0))
                .unwrap();
            assert_eq!(phases, "1failed 2deleted 3completed 4active 5completed");
        }
    }
}
