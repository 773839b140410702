//! An executor's row: one lease for all the steps that it holds.

use crate::error::{During, Result};
use crate::{ExecutorId, Millis, schema};
use rusqlite::Connection;

/// An executor's row: its lease covers all the steps that it holds.
#[derive(Debug, Clone)]
pub struct Executor {
    /// Its key.
    pub id: ExecutorId,
    /// Host name, for people.
    pub host: String,
    /// Process id, for people.
    pub pid: u32,
}

impl Executor {
    /// Registers or renews: one row, whatever the number of steps.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub fn renew(&self, conn: &Connection, lease_ms: i64, now: Millis) -> Result<()> {
        conn.prepare_cached(
            "INSERT INTO runchain_executors(executor_id, host, pid, version, schema_version, started_ms, beat_ms, lease_until_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7)
             ON CONFLICT(executor_id) DO UPDATE SET beat_ms = excluded.beat_ms, lease_until_ms = excluded.lease_until_ms",
        )
        .and_then(|mut statement| {
            statement.execute((
                &self.id,
                &self.host,
                self.pid,
                env!("CARGO_PKG_VERSION"),
                schema::VERSION,
                now,
                now.plus(lease_ms),
            ))
        })
        .during("renew the executor's lease")?;
        Ok(())
    }

    /// Takes the row away. What it runs must be settled before.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub fn leave(&self, conn: &Connection) -> Result<()> {
        conn.execute(
            "DELETE FROM runchain_executors WHERE executor_id = ?1",
            [&self.id],
        )
        .map(|_| ())
        .during("take the executor off the list")
    }
}
