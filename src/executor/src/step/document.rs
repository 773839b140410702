//! The one JSON document on a command's standard input.

use super::Call;
use serde_json::{Value, json};

/// What a command can read about the run. Members are only ever added.
pub(super) fn document(call: &Call) -> Value {
    json!({
        "run_id": call.subject.run_id,
        "generation": call.subject.generation,
        "status": call.status,
        "phase": call.phase,
        "ended_at": call.ended_at.iso(),
        "step": call.subject.step,
        "attempt": call.subject.attempt,
        "idempotency_key": call.idempotency_key(),
        "database": { "path": call.database.to_string_lossy(), "uuid": call.database_uuid, "epoch": call.epoch },
        "run": call.row,
        "results": call.results,
    })
}
