//! Rejected lines of event logs: an alert where they are many, and more than before.
//!
//! That none came for a while, so that it is over, is the clock's to say: see `due`.

use super::{Alarm, Own, fingerprint, raise};
use crate::error::{During, Result};
use crate::{Millis, schema};
use rusqlite::Connection;

/// How long rejected lines are counted for.
pub(super) const WINDOW_MS: i64 = 600_000;

/// Rejected lines were read: raises the alert where they are many, and more than before.
pub(crate) fn count(conn: &Connection, path: &str, lines: u64, now: Millis) -> Result<()> {
    const SLOT_MS: i64 = 60_000;
    const LEAST: i64 = 100;
    const TIMES: i64 = 3;
    const KEPT_MS: i64 = 3_600_000;
    let lines = i64::try_from(lines).unwrap_or(i64::MAX);
    if lines == 0 || !schema::table_exists(conn, "runchain_alert_counts")? {
        return Ok(());
    }
    let (rule, slot) = (Own::IngestRejects.name(), now.0.div_euclid(SLOT_MS) * SLOT_MS);
    conn.prepare_cached(
        "INSERT INTO runchain_alert_counts(rule, what, slot_ms, events) VALUES (?1, 'lines', ?2, ?3)
         ON CONFLICT(rule, what, slot_ms) DO UPDATE SET events = events + excluded.events",
    )
    .and_then(|mut statement| statement.execute((rule, slot, lines)))
    .during("count rejected lines")?;
    conn.prepare_cached(
        "DELETE FROM runchain_alert_counts WHERE rule = ?1 AND what = 'lines' AND slot_ms < ?2",
    )
    .and_then(|mut statement| statement.execute((rule, slot - KEPT_MS)))
    .during("forget older counts of rejected lines")?;
    let (lately, before): (i64, i64) = conn
        .prepare_cached(
            "SELECT coalesce(sum(CASE WHEN slot_ms > ?2 THEN events END), 0), coalesce(sum(CASE WHEN slot_ms <= ?2 THEN events END), 0)
             FROM runchain_alert_counts WHERE rule = ?1 AND what = 'lines'",
        )
        .and_then(|mut statement| statement.query_row((rule, slot - WINDOW_MS), |row| row.try_into()))
        .during("count rejected lines")?;
    let usual = before * WINDOW_MS / (KEPT_MS - WINDOW_MS);
    if lately < LEAST || lately < usual * TIMES {
        return Ok(());
    }
    let message = format!(
        "{lately} lines within ten minutes could not be kept, the newest of {path}: SELECT * FROM runchain_ingest_rejects ORDER BY id DESC"
    );
    let alarm = Alarm {
        own: Own::IngestRejects,
        of: &[],
        run_id: None,
        subject: "event logs",
        message: &message,
    };
    raise(conn, &alarm, now)?;
    // It counts lines, not batches.
    conn.prepare_cached("UPDATE runchain_alerts SET count = ?2 WHERE fingerprint = ?1")
        .and_then(|mut statement| statement.execute((fingerprint(rule, &[]), lately)))
        .map(drop)
        .during("count rejected lines in their alert")
}
