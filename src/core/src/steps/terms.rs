//! Terms: what a step keeps of the definition that its chain began with, for who runs it.

use crate::StepId;
use crate::error::{During, Result};
use rusqlite::Connection;

/// What a step's row says about its execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How long its command may run; `None` for a built-in step, and for a chain that an older
    /// executor has begun.
    pub timeout_ms: Option<i64>,
    /// Whether the steps after it wait until it is done.
    pub required: bool,
}

/// The terms of a step.
///
/// # Errors
/// Whatever SQLite answers.
pub fn terms_of(conn: &Connection, step_id: StepId) -> Result<Terms> {
    conn.prepare_cached("SELECT timeout_ms, required FROM runchain_steps WHERE id = ?1")
        .and_then(|mut statement| {
            statement.query_row([step_id], |row| {
                Ok(Terms {
                    timeout_ms: row.get(0)?,
                    required: row.get(1)?,
                })
            })
        })
        .during("read a step's terms")
}
