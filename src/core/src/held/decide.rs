//! What a person decides about a batch: a request in the queue, noted in the batch when it is taken.

use super::{Batch, BatchId, find};
use crate::error::{During, Result};
use crate::{Mapping, Millis};
use rusqlite::Connection;

/// What a person decided about a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The chains begin, bit by bit, in the order in which the runs ended.
    Release {
        /// At most so many a minute; `None`: as fast as they are done.
        per_minute: Option<i64>,
    },
    /// The runs stay recorded as over, without a chain.
    Discard,
}

impl Decision {
    /// The word of the request.
    #[must_use]
    pub fn action(self) -> &'static str {
        match self {
            Self::Release { .. } => "release_held",
            Self::Discard => "discard_held",
        }
    }
}

/// Queues the decision about a batch; a released one that is under way can still be discarded.
///
/// # Errors
/// A refusal when there is no such batch, or nothing left to decide.
pub fn ask(
    conn: &Connection,
    batch: BatchId,
    decision: Decision,
    actor: &str,
    reason: Option<&str>,
) -> Result<Batch> {
    Mapping::require(conn)?;
    let found = find(conn, batch)?.ok_or_else(|| {
        crate::Error::refused(
            format!("there is no held batch {batch}"),
            "runchain held lists them",
        )
    })?;
    if found.ended.is_some() {
        return Err(crate::Error::refused(
            format!("batch {batch} is {} already", found.state),
            "single runs can still be asked for: runchain finish --run ID",
        ));
    }
    let per_minute = match decision {
        Decision::Release { per_minute } => per_minute,
        Decision::Discard => None,
    };
    conn.execute(
        "INSERT INTO runchain_queue(action, step_id, step, actor, reason) VALUES (?1, ?2, ?3, ?4, ?5)",
        (decision.action(), batch.0, per_minute, actor, reason),
    )
    .during("queue a request")?;
    Ok(found)
}

/// Notes a decision that came through the queue; what it answers stands in the audit event.
pub(crate) fn decide(
    conn: &Connection,
    batch: BatchId,
    decision: Decision,
    actor: Option<&str>,
    reason: Option<&str>,
    now: Millis,
) -> Result<bool> {
    let (state, per_minute) = match decision {
        Decision::Release { per_minute } => ("releasing", per_minute),
        Decision::Discard => ("discarding", None),
    };
    // The pace counts from the request on, whatever was released before it.
    conn.execute(
        "UPDATE runchain_held_batches SET state = ?2, per_minute = ?3, actor = ?4, reason = ?5, asked_ms = ?6,
           released_before = released
         WHERE id = ?1 AND ended_ms IS NULL",
        (batch.0, state, per_minute, actor, reason, now),
    )
    .map(|changed| changed > 0)
    .during("note what becomes of a held batch")
}
