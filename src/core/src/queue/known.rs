//! What was last acted on for a run (`runchain_runs`), as everybody else asks for it.

use crate::error::{During, Result};
use crate::vocabulary::Phase;
use crate::{Millis, RunId};
use rusqlite::{Connection, OptionalExtension};

/// What was last acted on for a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownRun {
    /// The phase.
    pub phase: Phase,
    /// The user's word for it.
    pub status: Option<String>,
    /// Entries into a terminal phase so far.
    pub generation: i64,
    /// When the phase began.
    pub since: Millis,
    /// The event RUN_COMPLETED of this generation.
    pub ended_event_id: Option<i64>,
}

impl KnownRun {
    /// Over without a chain of its own: finished before runchain came, or held.
    #[must_use]
    pub fn is_left_alone(&self) -> bool {
        self.phase.is_terminal() && self.ended_event_id.is_none()
    }
}

/// The run's row in `runchain_runs`.
///
/// # Errors
/// Whatever SQLite answers.
pub fn known_run(conn: &Connection, run_id: &RunId) -> Result<Option<KnownRun>> {
    conn.prepare_cached("SELECT phase, status, generation, phase_since_ms, ended_event_id FROM runchain_runs WHERE run_id = ?1")
        .and_then(|mut statement| {
            statement
                .query_row([run_id], |row| {
                    Ok(KnownRun {
                        phase: row.get(0)?,
                        status: row.get(1)?,
                        generation: row.get(2)?,
                        since: row.get(3)?,
                        ended_event_id: row.get(4)?,
                    })
                })
                .optional()
        })
        .during("look a run up")
}
