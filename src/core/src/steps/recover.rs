//! Recover: what brings steps back from an executor that is gone, or that doesn't know of them.

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
    let running = running(conn, GONE, [now])?;
    for held in &running {
        let executor = &held.executor;
        let error = format!("executor {executor} disappeared while it ran this step");
        held.take_back(conn, error, backoff, jitter, now)?;
        conn.prepare_cached("UPDATE runchain_steps SET token = token + 1, lost = lost + 1 WHERE id = ?1")
            .and_then(|mut statement| statement.execute([held.claim.step_id]))
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

/// Takes back what an executor holds by the table and doesn't know of, as failed attempts: a commit
/// that was answered by an error and is there all the same (in rollback mode the folder's sync comes
/// after the journal's end, which is the commit). `knows` is asked about each of its running steps;
/// only the executor itself can tell. Returns how many that were.
///
/// # Errors
/// Whatever SQLite answers.
pub fn take_strays(
    conn: &Connection,
    executor: &ExecutorId,
    knows: impl Fn(&Claim) -> bool,
    backoff: Backoff,
    jitter: f64,
    now: Millis,
) -> Result<usize> {
    let strays = strays(conn, executor, knows)?;
    for stray in &strays {
        let error = "the commit that started this step was answered by an error, so nobody ran it".to_owned();
        stray.take_back(conn, error, backoff, jitter, now)?;
    }
    Ok(strays.len())
}

/// Whether [`take_strays`] would find any.
///
/// # Errors
/// Whatever SQLite answers.
pub fn has_strays(conn: &Connection, executor: &ExecutorId, knows: impl Fn(&Claim) -> bool) -> Result<bool> {
    strays(conn, executor, knows).map(|strays| !strays.is_empty())
}

fn strays(conn: &Connection, executor: &ExecutorId, knows: impl Fn(&Claim) -> bool) -> Result<Vec<Held>> {
    let mut held = running(conn, "finished_ms IS NULL AND executor_id = ?1", [executor])?;
    held.retain(|held| !knows(&held.claim));
    Ok(held)
}

/// A running step and who runs it.
struct Held {
    claim: Claim,
    executor: ExecutorId,
}

fn running(conn: &Connection, condition: &str, params: impl rusqlite::Params) -> Result<Vec<Held>> {
    let sql = format!(
        "SELECT {}, executor_id FROM runchain_steps WHERE state = 'running' AND {condition}",
        Claim::COLUMNS
    );
    let mut select = conn.prepare_cached(&sql).during("find abandoned steps")?;
    select
        .query_map(params, |row| {
            Ok(Held {
                claim: Claim::of_row(row)?,
                executor: row.get("executor_id")?,
            })
        })
        .and_then(Iterator::collect)
        .during("find abandoned steps")
}

impl Held {
    fn take_back(
        &self,
        conn: &Connection,
        error: String,
        backoff: Backoff,
        jitter: f64,
        now: Millis,
    ) -> Result<()> {
        let failure = Failure {
            error,
            ..Failure::default()
        };
        settle_failed(
            conn,
            &self.claim,
            Some(&self.executor),
            &failure,
            backoff,
            jitter,
            now,
        )
        .map(|_| ())
    }
}
