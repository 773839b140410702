//! What the database says at the moment of a scrape.
//!
//! Invariant: every question is answered by an index and stops at a bound, so that a scrape costs the same
//! with a thousand runs and with a million. One short read transaction.

use crate::pulse::Waiting;
use runchain_core::error::{During, Result};
use runchain_core::{Millis, queue};
use rusqlite::{Connection, OptionalExtension};

/// Counts stop here, as those of `runchain_status()` do.
const COUNT_LIMIT: i64 = 10_000;
/// Event logs that are summed: the newest.
const MOST_FILES: i64 = 5_000;
/// Kinds of steps that are told apart in one state.
const MOST_KINDS: usize = 64;

/// States of a delivery that has not reached its channel.
pub(super) const UNDELIVERED: [&str; 2] = ["pending", "dead"];

/// States of what is live.
pub(super) const STATES: [&str; 5] = ["waiting", "ready", "leased", "running", "dead"];

/// Everything that is a gauge.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) queue_rows: i64,
    pub(super) oldest_queued: Option<Millis>,
    /// Kind, state, number.
    pub(super) steps: Vec<StepsOf>,
    pub(super) oldest_due: Option<Millis>,
    pub(super) is_working: bool,
    pub(super) runs_active: i64,
    pub(super) runs_stalled: i64,
    pub(super) runs_held: i64,
    pub(super) paused_kinds: i64,
    pub(super) alerts_firing: Vec<(String, i64)>,
    pub(super) deliveries: Vec<DeliveriesOf>,
    pub(super) executors: i64,
    pub(super) newest_beat: Option<Millis>,
    pub(super) ingest: Ingest,
}

/// Live steps of one kind in one state.
#[derive(Debug)]
pub(super) struct StepsOf {
    pub(super) step: String,
    pub(super) state: &'static str,
    pub(super) count: i64,
}

/// Alerts that one channel has not been told of.
#[derive(Debug)]
pub(super) struct DeliveriesOf {
    pub(super) channel: String,
    pub(super) state: &'static str,
    pub(super) count: i64,
}

/// Sums over the event logs that were read last.
#[derive(Debug, Default)]
pub(super) struct Ingest {
    pub(super) pending_bytes: i64,
    pub(super) stored: i64,
    pub(super) rejected: i64,
}

/// Looks at everything.
pub(super) fn look(conn: &Connection, now: Millis) -> Result<Seen> {
    conn.execute_batch("BEGIN").during("look at the database")?;
    let seen = look_inside(conn, now);
    // A read transaction has nothing to lose.
    let ended = conn.execute_batch("ROLLBACK").during("look at the database");
    seen.and_then(|seen| ended.map(|()| seen))
}

fn look_inside(conn: &Connection, now: Millis) -> Result<Seen> {
    let waiting = Waiting::look(conn, now)?;
    Ok(Seen {
        queue_rows: count(conn, "runchain_queue")?,
        oldest_queued: queue::oldest_write(conn)?,
        steps: steps(conn)?,
        oldest_due: waiting.oldest_due,
        is_working: waiting.is_working,
        runs_active: count(conn, "runchain_runs WHERE phase = 'active'")?,
        runs_stalled: count(conn, "runchain_runs WHERE monitor = 'on' AND stalled_since_ms IS NOT NULL")?,
        runs_held: count(conn, "runchain_held")?,
        paused_kinds: count(conn, "runchain_pauses")?,
        alerts_firing: alerts(conn)?,
        deliveries: deliveries(conn)?,
        executors: one(
            conn,
            &format!(
                "SELECT count(*) FROM (SELECT 1 FROM runchain_executors WHERE lease_until_ms >= {} LIMIT {COUNT_LIMIT})",
                now.0
            ),
        )?
        .unwrap_or(0),
        newest_beat: one(conn, "SELECT max(beat_ms) FROM runchain_executors")?.map(Millis),
        ingest: ingest(conn)?,
    })
}

fn one(conn: &Connection, sql: &str) -> Result<Option<i64>> {
    conn.prepare_cached(sql)
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)).optional())
        .map(Option::flatten)
        .during("look at the database")
}

fn count(conn: &Connection, rows: &str) -> Result<i64> {
    let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {rows} LIMIT {COUNT_LIMIT})");
    Ok(one(conn, &sql)?.unwrap_or(0))
}

/// By hops from kind to kind in the index of what is live, never over all its rows.
fn steps(conn: &Connection) -> Result<Vec<StepsOf>> {
    let mut next = conn
        .prepare_cached(
            "SELECT min(step) FROM runchain_steps WHERE finished_ms IS NULL AND state = ?1 AND step > ?2",
        )
        .during("look for kinds of steps")?;
    let mut number = conn
        .prepare_cached(&format!(
            "SELECT count(*) FROM (SELECT 1 FROM runchain_steps
                                   WHERE finished_ms IS NULL AND state = ?1 AND step = ?2 LIMIT {COUNT_LIMIT})"
        ))
        .during("count steps")?;
    let mut found = Vec::new();
    for state in STATES {
        let mut after = String::new();
        for _ in 0..MOST_KINDS {
            let step: Option<String> = next
                .query_row((state, &after), |row| row.get(0))
                .during("look for kinds of steps")?;
            let Some(step) = step else {
                break;
            };
            let count = number
                .query_row((state, &step), |row| row.get(0))
                .during("count steps")?;
            after.clone_from(&step);
            found.push(StepsOf { step, state, count });
        }
    }
    Ok(found)
}

fn alerts(conn: &Connection) -> Result<Vec<(String, i64)>> {
    let mut statement = conn
        .prepare_cached(&format!(
            "SELECT severity, count(*) FROM (SELECT severity FROM runchain_alerts WHERE state = 'firing' LIMIT {COUNT_LIMIT})
             GROUP BY severity LIMIT {MOST_KINDS}"
        ))
        .during("count alerts")?;
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .during("count alerts")?;
    rows.collect::<rusqlite::Result<_>>().during("count alerts")
}

/// By hops from channel to channel. Each state has a partial index, which only a literal finds.
fn deliveries(conn: &Connection) -> Result<Vec<DeliveriesOf>> {
    const WHAT: &str = "count alerts that wait to be sent";
    let mut found = Vec::new();
    for state in UNDELIVERED {
        let of_state = format!("runchain_alert_deliveries WHERE state = '{state}'");
        let mut next = conn
            .prepare_cached(&format!("SELECT min(channel) FROM {of_state} AND channel > ?1"))
            .during(WHAT)?;
        let mut number = conn
            .prepare_cached(&format!(
                "SELECT count(*) FROM (SELECT 1 FROM {of_state} AND channel = ?1 LIMIT {COUNT_LIMIT})"
            ))
            .during(WHAT)?;
        let mut after = String::new();
        for _ in 0..MOST_KINDS {
            let channel: Option<String> = next.query_row([&after], |row| row.get(0)).during(WHAT)?;
            let Some(channel) = channel else {
                break;
            };
            let count = number.query_row([&channel], |row| row.get(0)).during(WHAT)?;
            after.clone_from(&channel);
            found.push(DeliveriesOf {
                channel,
                state,
                count,
            });
        }
    }
    Ok(found)
}

/// Of the newest files, by their rows' ids.
fn ingest(conn: &Connection) -> Result<Ingest> {
    conn.prepare_cached(&format!(
        "SELECT coalesce(sum(max(size_bytes - offset_bytes, 0)), 0), coalesce(sum(stored), 0), coalesce(sum(rejected), 0)
         FROM (SELECT size_bytes, offset_bytes, stored, rejected FROM runchain_ingest_files ORDER BY id DESC LIMIT {MOST_FILES})"
    ))
    .and_then(|mut statement| {
        statement.query_row([], |row| {
            Ok(Ingest {
                pending_bytes: row.get(0)?,
                stored: row.get(1)?,
                rejected: row.get(2)?,
            })
        })
    })
    .during("look at the event logs")
}
