//! What runchain did for a run until its report: lifecycle events, as they will always stand there.
//!
//! Invariant: a second execution of the report reads the same events. So it is everything until the run's
//! end, and what its archiving said afterwards until the bag stood; steps that run beside the report are
//! not in it.

use runchain_core::error::{During, Result};
use runchain_core::{Millis, RunId};
use rusqlite::Connection;
use serde_json::Value;

/// The oldest and the newest of a long history are told.
const AT_EITHER_END: i64 = 50;
/// What of an event's data says most, in this order.
const TELLING: [&str; 6] = ["error", "reason", "message", "status", "digest", "word"];

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) at: Millis,
    /// RUN_CREATED, MONITOR_STARTED, ...
    pub(super) what: String,
    pub(super) detail: String,
    pub(super) is_failure: bool,
}

/// The history of a run's end, and how many events in its middle are left out.
///
/// # Errors
/// Whatever SQLite answers.
pub(super) fn history(
    conn: &Connection,
    run_id: &RunId,
    generation: i64,
    ended_event_id: i64,
) -> Result<(Vec<Told>, i64)> {
    // Asked to archive again, it may say more; what was reported stays.
    const OF_THE_RUN: &str = "run_id = ?1 AND (id <= ?2 OR (generation = ?3 AND step = 'archive' AND id <= coalesce(
        (SELECT min(id) FROM runchain_events WHERE run_id = ?1 AND id > ?2 AND generation = ?3 AND type = 'RUN_ARCHIVED'),
        id)))";
    let count: i64 = conn
        .prepare_cached(&format!(
            "SELECT count(*) FROM (SELECT 1 FROM runchain_events WHERE {OF_THE_RUN} LIMIT 100000)"
        ))
        .and_then(|mut statement| statement.query_row((run_id, ended_event_id, generation), |row| row.get(0)))
        .during("count a run's events")?;
    let mut told = Vec::new();
    for (order, limit) in [
        ("ASC", AT_EITHER_END),
        ("DESC", (count - AT_EITHER_END).clamp(0, AT_EITHER_END)),
    ] {
        let mut statement = conn
            .prepare_cached(&format!(
                "SELECT id, at_ms, type, data FROM runchain_events WHERE {OF_THE_RUN} ORDER BY id {order} LIMIT ?4"
            ))
            .during("read a run's events")?;
        let rows = statement
            .query_map((run_id, ended_event_id, generation, limit), |row| {
                let (id, at, what, data): (i64, Millis, String, String) = row.try_into()?;
                Ok((id, told_of(at, what, &data)))
            })
            .during("read a run's events")?;
        told.extend(
            rows.collect::<rusqlite::Result<Vec<_>>>()
                .during("read a run's events")?,
        );
    }
    told.sort_by_key(|(id, _)| *id);
    let told: Vec<Told> = told.into_iter().map(|(_, told)| told).collect();
    let left_out = count - told.len() as i64;
    Ok((told, left_out))
}

fn told_of(at: Millis, what: String, data: &str) -> Told {
    let data: Value = serde_json::from_str(data).unwrap_or_default();
    let detail = TELLING.iter().find_map(|key| match data.get(key)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        _ => None,
    });
    Told {
        at,
        is_failure: matches!(what.as_str(), "STEP_FAILED" | "STEP_DEAD" | "RUN_STALLED"),
        what,
        detail: detail.map(|text| super::count::cut(&text)).unwrap_or_default(),
    }
}
