//! The numbers behind `runchain_status()`: is anybody draining, and how much is there to drain?

use super::backlog::{self, Backlog, COUNT_LIMIT};
use super::database_path;
use crate::error::Result;
use crate::liveness::{Liveness, executor_alive};
use crate::{Mapping, Millis, schema, triggers};
use rusqlite::Connection;
use serde_json::{Value, json};

/// What runs, what waits and for how long. Counts stop at `count_limit`; steps that are done or
/// cancelled are not counted, because only a scan of all history could.
///
/// `executor.alive` is null where it can't be known; `executor.reason` then says why.
///
/// # Errors
/// Whatever SQLite answers. Before install it is no error: `installed` is false.
pub fn status(conn: &Connection, now: Millis) -> Result<Value> {
    let executor = executor(conn)?;
    if !schema::table_exists(conn, "runchain_meta")? {
        return Ok(json!({"installed": false, "executor": executor}));
    }
    let count = |backlog: Backlog| backlog.count(conn);
    let queue_oldest = backlog::oldest_queue_row(conn)?.and_then(|row| row.at);
    Ok(json!({
        "installed": Mapping::installed(conn)?.is_some(),
        "executor": executor,
        "queue_rows": count(Backlog::QueueRows)?,
        "oldest_queue_age_ms": queue_oldest.map(|at| now.since(at)),
        "steps": {
            "waiting": count(Backlog::WaitingSteps)?,
            "ready": count(Backlog::ReadySteps)?,
            "leased": count(Backlog::LeasedSteps)?,
            "running": count(Backlog::RunningSteps)?,
            "dead": count(Backlog::DeadSteps)?,
        },
        "oldest_ready_age_ms": backlog::oldest_due_step(conn, now)?.map(|at| now.since(at)),
        "paused": paused(conn, now)?,
        "runs": {
            "active": count(Backlog::ActiveRuns)?,
            "monitored": count(Backlog::MonitoredRuns)?,
            "stalled": count(Backlog::StalledRuns)?,
        },
        "alerts_firing": count(Backlog::FiringAlerts)?,
        "triggers": triggers(conn)?,
        "count_limit": COUNT_LIMIT,
    }))
}

/// Whether every write is captured; also told where no executor has raised an alert. Null where no
/// table is captured.
fn triggers(conn: &Connection) -> Result<Value> {
    let Some(mapping) = Mapping::installed(conn)? else {
        return Ok(Value::Null);
    };
    let faults = triggers::faults(conn, &mapping)?;
    Ok(if faults.is_empty() {
        json!({"in_place": true})
    } else {
        json!({"in_place": false, "found": triggers::sentence(&faults), "remedy": triggers::REMEDY})
    })
}

/// Who paused what, since when, and why.
fn paused(conn: &Connection, now: Millis) -> Result<Vec<Value>> {
    let shown = |pause: backlog::Pause| {
        json!({
            "step": pause.step, "since": pause.since.iso(), "age_ms": now.since(pause.since),
            "actor": pause.actor, "reason": pause.reason,
        })
    };
    Ok(backlog::pauses(conn)?.into_iter().map(shown).collect())
}

fn executor(conn: &Connection) -> Result<Value> {
    let liveness = match database_path(conn)? {
        Some(path) => executor_alive(&path),
        None => Liveness::Unknown("this database has no file".to_owned()),
    };
    Ok(match liveness {
        Liveness::Alive { who } => json!({"alive": true, "who": who}),
        Liveness::Dead => json!({"alive": false, "last": backlog::last_executor(conn)?}),
        Liveness::Unknown(reason) => json!({"alive": null, "reason": reason}),
    })
}
