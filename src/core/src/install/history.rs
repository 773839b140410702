//! The runs that were in the table before anybody captured it, or while nobody did.
//!
//! Invariant: history is recorded once for each captured table (the baseline), so that a later
//! `INSERT OR REPLACE` of an old row is no news. Nothing that was finished before is archived unless
//! asked. What does not belong here: triggers, and which table it is.

use crate::error::{During, Result};
use crate::mapping::{self, Mapping, quote};
use crate::vocabulary::Phase;
use crate::{Millis, RunId, flags, schema};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

/// What happens to the runs that are in the table already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backfill {
    /// Nothing is followed; only what changes from now on.
    None,
    /// Active runs younger than [`YOUNG_MS`] are monitored; older ones are listed as abandoned.
    #[default]
    Active,
    /// As `active`, and every finished run gets its chain; also when asked for at a later install.
    All,
}

/// Active runs older than this at install are taken for abandoned: 24 hours.
pub const YOUNG_MS: i64 = 24 * 60 * 60 * 1000;

/// How many abandoned runs the answer names; it counts them all.
const ABANDONED_NAMED: usize = 100;

/// The runs that were in the table at install.
#[derive(Debug, Clone, Default, Serialize)]
pub struct History {
    /// Rows of the user's table that were recorded or queued.
    pub rows: i64,
    /// Finished runs that are left as they are.
    pub finished_left_alone: i64,
    /// Runs that were queued: active and young, and with `all` the finished ones.
    pub queued: i64,
    /// Active runs that are too old to be believed.
    pub abandoned: i64,
    /// The first of those.
    pub abandoned_ids: Vec<RunId>,
}

/// Key in `runchain_meta`: the table whose history is recorded.
const BASELINE: &str = "baseline_of";

fn baseline_of(mapping: &Mapping) -> String {
    format!("{}.{}", mapping.table, mapping.id_column)
}

pub(super) fn is_baseline_of(conn: &Connection, mapping: &Mapping) -> Result<bool> {
    Ok(schema::meta(conn, BASELINE)? == Some(baseline_of(mapping)))
}

/// While the triggers were away (uninstalled, or lost in a table rebuild) nobody captured what known
/// runs did: what their rows say differently now is queued, as if it were written now.
pub(super) fn catch_up(conn: &Connection, mapping: &Mapping) -> Result<i64> {
    let table = quote(&mapping.table);
    let (id, status) = (quote(&mapping.id_column), quote(&mapping.status_column));
    let moved = conn
        .execute(
            &format!(
                "INSERT INTO runchain_queue(action, run_id, new_status, actor, reason)
                 SELECT 'insert', r.{id}, r.{status}, 'install', 'not captured'
                 FROM main.{table} AS r JOIN runchain_runs AS k ON k.run_id = CAST(r.{id} AS TEXT)
                 WHERE (k.phase = 'deleted' OR k.status IS NOT CAST(r.{status} AS TEXT)) AND NOT {stands}",
                stands = flags::stands_for(&format!("CAST(r.{status} AS TEXT)")),
            ),
            [],
        )
        .during("queue what was not captured")?;
    let gone = conn
        .execute(
            &format!(
                "INSERT INTO runchain_queue(action, run_id, actor, reason)
                 SELECT 'delete', k.run_id, 'install', 'not captured' FROM runchain_runs AS k
                 WHERE k.phase <> 'deleted' AND NOT {alone} AND k.run_id NOT IN (
                   SELECT CAST(r.{id} AS TEXT) FROM main.{table} AS r WHERE r.{id} IS NOT NULL)",
                alone = flags::STANDS_ALONE,
            ),
            [],
        )
        .during("queue what was deleted")?;
    Ok(count(moved) + count(gone))
}

pub(super) fn baseline_once(
    conn: &Connection,
    mapping: &Mapping,
    backfill: Backfill,
    now: Millis,
) -> Result<History> {
    if is_baseline_of(conn, mapping)? {
        return match backfill {
            Backfill::All => ask_for_what_was_left_alone(conn),
            Backfill::None | Backfill::Active => Ok(History::default()),
        };
    }
    let history = baseline(conn, mapping, backfill, now)?;
    note_baseline(conn, mapping)?;
    Ok(history)
}

/// After a repair the history is still recorded, under whatever name the table has now.
pub(super) fn carry_over(conn: &Connection, before: &Mapping, mapping: &Mapping, now: Millis) -> Result<()> {
    if is_baseline_of(conn, before)? {
        return note_baseline(conn, mapping);
    }
    baseline_once(conn, mapping, Backfill::default(), now).map(drop)
}

fn note_baseline(conn: &Connection, mapping: &Mapping) -> Result<()> {
    conn.execute(
        "INSERT OR REPLACE INTO runchain_meta(key, value) VALUES (?1, ?2)",
        (BASELINE, baseline_of(mapping)),
    )
    .during("note that the history is recorded")
    .map(drop)
}

/// Asks for the chain of every finished run that never had one: the history is recorded already,
/// and now somebody wants all of it.
fn ask_for_what_was_left_alone(conn: &Connection) -> Result<History> {
    let queued = conn
        .execute(
            "INSERT INTO runchain_queue(action, run_id, actor, reason)
             SELECT 'enqueue_chain', run_id, 'install', 'backfill' FROM runchain_runs AS r
             WHERE generation = 0 AND phase IN ('completed', 'failed', 'cancelled')
               AND NOT EXISTS (SELECT 1 FROM runchain_queue AS q WHERE q.run_id = r.run_id)
             ORDER BY run_id",
            [],
        )
        .during("queue the finished runs")?;
    Ok(History {
        rows: count(queued),
        queued: count(queued),
        ..History::default()
    })
}

/// Records the runs that are there already, those that wait in the queue excepted: their capture is
/// what counts.
pub(super) fn baseline(
    conn: &Connection,
    mapping: &Mapping,
    backfill: Backfill,
    now: Millis,
) -> Result<History> {
    let table = quote(&mapping.table);
    let (id, status) = (quote(&mapping.id_column), quote(&mapping.status_column));
    let source = format!(
        "main.{table} AS r LEFT JOIN runchain_vocabulary AS v ON v.status = CAST(r.{status} AS TEXT)
         WHERE r.{id} IS NOT NULL AND typeof(r.{id}) <> 'blob'
           AND NOT EXISTS (SELECT 1 FROM runchain_queue AS q WHERE q.run_id = CAST(r.{id} AS TEXT))
           AND NOT EXISTS (SELECT 1 FROM runchain_runs AS k WHERE k.run_id = CAST(r.{id} AS TEXT))"
    );
    let finished = "v.phase IN ('completed', 'failed', 'cancelled')";
    let mut history = History::default();
    if backfill == Backfill::All {
        let sql = format!(
            "INSERT INTO runchain_queue(action, run_id, new_status, actor, reason)
             SELECT 'insert', r.{id}, r.{status}, 'install', 'backfill' FROM {source} AND {finished} ORDER BY r.{id}"
        );
        let queued = conn.execute(&sql, []).during("queue the finished runs")?;
        history.queued += count(queued);
    } else {
        let sql = format!(
            "INSERT OR IGNORE INTO runchain_runs(run_id, phase, status, first_seen_ms, phase_since_ms)
             SELECT CAST(r.{id} AS TEXT), v.phase, CAST(r.{status} AS TEXT), ?1, ?1 FROM {source} AND {finished}"
        );
        let left = conn.execute(&sql, [now]).during("record the finished runs")?;
        history.finished_left_alone += count(left);
    }
    for run in active_runs(conn, mapping, &source)? {
        let young = run.seen.is_none_or(|seen| now.since(seen) < YOUNG_MS);
        if backfill != Backfill::None && young {
            conn.execute(
                "INSERT INTO runchain_queue(action, run_id, new_status, actor, reason) VALUES ('insert', ?1, ?2, 'install', 'backfill')",
                (&run.run_id, &run.status),
            )
            .during("queue an active run")?;
            history.queued += 1;
        } else {
            conn.execute(
                "INSERT OR IGNORE INTO runchain_runs(run_id, phase, status, first_seen_ms, phase_since_ms, monitor)
                 VALUES (?1, ?2, ?3, ?4, ?5, 'abandoned')",
                (&run.run_id, Phase::Active, &run.status, now, run.seen.unwrap_or(now)),
            )
            .during("record an abandoned run")?;
            history.abandoned += 1;
            if history.abandoned_ids.len() < ABANDONED_NAMED {
                history.abandoned_ids.push(run.run_id);
            }
        }
    }
    history.rows = history.finished_left_alone + history.queued + history.abandoned;
    Ok(history)
}

struct ActiveRun {
    run_id: RunId,
    status: Option<String>,
    /// The latest time that its row names, where it has such a column.
    seen: Option<Millis>,
}

/// Times that say how old a run is, the most telling first: a run that was updated an hour ago is
/// not abandoned, whenever it was created.
const TIME_COLUMNS: [&str; 4] = ["updated_at", "started_at", "created_at", "timestamp"];

fn active_runs(conn: &Connection, mapping: &Mapping, source: &str) -> Result<Vec<ActiveRun>> {
    let columns = mapping::columns(conn, &mapping.table)?;
    let times: Vec<String> = TIME_COLUMNS
        .iter()
        .filter_map(|wanted| {
            columns
                .iter()
                .find(|column| column.name.eq_ignore_ascii_case(wanted))
        })
        .map(|column| format!("CAST(r.{} AS TEXT)", quote(&column.name)))
        .collect();
    let time = if times.is_empty() {
        "NULL".to_owned()
    } else {
        format!("coalesce({}, NULL)", times.join(", "))
    };
    let sql = format!(
        "SELECT r.{id}, r.{status}, {time} FROM {source} AND (v.phase IS NULL OR v.phase = 'active')",
        id = quote(&mapping.id_column),
        status = quote(&mapping.status_column),
    );
    let mut statement = conn.prepare(&sql).during("read the active runs")?;
    let rows = statement
        .query_map([], |row| {
            let time = mapping::text(row, 2)?;
            Ok(ActiveRun {
                // Neither NULL nor BLOB: the source leaves those out.
                run_id: RunId(mapping::text(row, 0)?.unwrap_or_default()),
                status: mapping::text(row, 1)?,
                seen: time.as_deref().and_then(Millis::parse_iso),
            })
        })
        .during("read the active runs")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("read the active runs")
}

fn count(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
