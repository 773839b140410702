//! Recover: what brings steps back from an executor that is gone.

use super::settle::settle_failed;
use super::{Backoff, Claim, Failure};
use crate::error::{During, Result};
use crate::{ExecutorId, Millis};
use rusqlite::Connection;

/// Takes steps from executors whose lease has ended: running ones as a failed attempt, those
/// that another version leased without starting them uncounted. Returns how many that were.
///
/// # Errors
/// Whatever SQLite answers.
pub fn recover(conn: &Connection, backoff: Backoff, jitter: f64, now: Millis) -> Result<usize> {
    const GONE: &str = "finished_ms IS NULL AND executor_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM runchain_executors AS e \
                        WHERE e.executor_id = runchain_steps.executor_id AND e.lease_until_ms > ?1)";
    let running = {
        let sql = format!(
            "SELECT {}, executor_id FROM runchain_steps WHERE state = 'running' AND {GONE}",
            Claim::COLUMNS
        );
        let mut select = conn.prepare_cached(&sql).during("find abandoned steps")?;
        select
            .query_map([now], |row| {
                Ok((Claim::of_row(row)?, row.get::<_, ExecutorId>(11)?))
            })
            .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
            .during("find abandoned steps")?
    };
    for (claim, executor) in &running {
        let failure = Failure {
            error: format!("executor {executor} disappeared while it ran this step"),
            ..Failure::default()
        };
        settle_failed(conn, claim, Some(executor), &failure, backoff, jitter, now)?;
        conn.prepare_cached("UPDATE runchain_steps SET token = token + 1, lost = lost + 1 WHERE id = ?1")
            .and_then(|mut statement| statement.execute([claim.step_id]))
            .during("fence an abandoned step")?;
    }
    let leased = conn
        .prepare_cached(&format!(
            "UPDATE runchain_steps SET state = 'ready', executor_id = NULL, token = token + 1 WHERE state = 'leased' AND {GONE}"
        ))
        .and_then(|mut statement| statement.execute([now]))
        .during("take abandoned leases back")?;
    conn.prepare_cached(
        "DELETE FROM runchain_executors WHERE lease_until_ms <= ?1 AND NOT EXISTS (
           SELECT 1 FROM runchain_steps AS s WHERE s.executor_id = runchain_executors.executor_id AND s.finished_ms IS NULL AND s.state IN ('leased', 'running'))",
    )
    .and_then(|mut statement| statement.execute([now.plus(-86_400_000)]))
    .during("forget executors of yesterday")?;
    Ok(running.len() + leased)
}
