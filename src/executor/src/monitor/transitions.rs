//! Which monitors start and which stop: `runchain_runs.monitor` follows its phase, and each change
//! is one event in the same transaction. Two partial indexes hold exactly the runs to look at, so
//! asking costs the same with a million runs as with none.

use super::{MonitorOptions, MonitoredRun};
use runchain_core::alert::{self, Own};
use runchain_core::error::{During, Result};
use runchain_core::event::{self, EventType, NewEvent};
use runchain_core::vocabulary::Phase;
use runchain_core::{Millis, RunId, schema};
use rusqlite::{Connection, OptionalExtension};
use serde_json::json;

/// What was changed.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Runs whose monitor is on now.
    pub(super) started: Vec<MonitoredRun>,
    /// Runs whose monitor is off now.
    pub(super) stopped: Vec<RunId>,
    /// Whether the limit was reached, so that others may be waiting.
    pub(super) more: bool,
}

impl Changes {
    /// Whether there is anything to tell.
    pub(super) fn any(&self) -> bool {
        !self.started.is_empty() || !self.stopped.is_empty()
    }
}

struct EndedRun {
    run_id: RunId,
    generation: i64,
    phase: Phase,
}

/// Brings a bounded number of monitors in line with the phases, inside the caller's transaction.
/// `heartbeats_of` says how many heartbeats this executor wrote for a run.
pub(super) fn apply(
    conn: &Connection,
    options: &MonitorOptions,
    now: Millis,
    heartbeats_of: impl Fn(&RunId) -> u64,
) -> Result<Changes> {
    schema::check_writer(conn)?;
    let limit = options.transitions_per_tick;
    let ended = runs_to_stop(conn, limit)?;
    for run in &ended {
        stop(conn, run, heartbeats_of(&run.run_id), now)?;
    }
    let started = runs_to_start(conn, limit)?;
    for run in &started {
        start(conn, run, options, now)?;
    }
    Ok(Changes {
        more: ended.len().max(started.len()) >= limit as usize,
        started,
        stopped: ended.into_iter().map(|run| run.run_id).collect(),
    })
}

/// Whether a monitor is to be started or stopped.
pub(super) fn any_waiting(conn: &Connection) -> Result<bool> {
    conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM runchain_runs INDEXED BY runchain_runs_to_start
                        WHERE phase = 'active' AND monitor = 'off')
             OR EXISTS (SELECT 1 FROM runchain_runs INDEXED BY runchain_runs_to_stop
                        WHERE phase <> 'active' AND monitor = 'on')",
    )
    .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
    .during("look for monitors to start or stop")
}

fn runs_to_start(conn: &Connection, limit: u32) -> Result<Vec<MonitoredRun>> {
    let mut statement = conn
        .prepare_cached(
            "SELECT run_id, status, generation, phase_since_ms
             FROM runchain_runs INDEXED BY runchain_runs_to_start
             WHERE phase = 'active' AND monitor = 'off' LIMIT ?1",
        )
        .during("read the runs to monitor")?;
    let rows = statement
        .query_map([limit], |row| {
            Ok(MonitoredRun {
                run_id: row.get(0)?,
                is_active: true,
                status: row.get(1)?,
                generation: row.get(2)?,
                active_since: row.get(3)?,
                stalled_since: None,
            })
        })
        .during("read the runs to monitor")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("read the runs to monitor")
}

fn runs_to_stop(conn: &Connection, limit: u32) -> Result<Vec<EndedRun>> {
    let mut statement = conn
        .prepare_cached(
            "SELECT run_id, generation, phase
             FROM runchain_runs INDEXED BY runchain_runs_to_stop
             WHERE phase <> 'active' AND monitor = 'on' LIMIT ?1",
        )
        .during("read the runs that ended")?;
    let rows = statement
        .query_map([limit], |row| {
            Ok(EndedRun {
                run_id: row.get(0)?,
                generation: row.get(1)?,
                phase: row.get(2)?,
            })
        })
        .during("read the runs that ended")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("read the runs that ended")
}

fn start(conn: &Connection, run: &MonitoredRun, options: &MonitorOptions, now: Millis) -> Result<()> {
    switch(conn, &run.run_id, "on")?;
    let data = json!({
        "status": run.status,
        "heartbeat_ms": options.heartbeat_ms,
        "stall_after_ms": options.stall_after_ms,
    });
    let event = NewEvent::of_run(EventType::MonitorStarted, now, &run.run_id, run.generation, data);
    event::append(conn, &event)?;
    Ok(())
}

/// `duration_ms` counts from MONITOR_STARTED, also across restarts of the executor; `heartbeats` are
/// those of this executor.
fn stop(conn: &Connection, run: &EndedRun, heartbeats: u64, now: Millis) -> Result<()> {
    switch(conn, &run.run_id, "off")?;
    alert::resolve(conn, Own::RunStalled, &[Some(run.run_id.as_str())], now)?;
    let data = json!({
        "phase": run.phase,
        "duration_ms": started_at(conn, &run.run_id)?.map(|started| now.since(started)),
        "heartbeats": heartbeats,
    });
    let event = NewEvent::of_run(EventType::MonitorStopped, now, &run.run_id, run.generation, data);
    event::append(conn, &event)?;
    Ok(())
}

fn switch(conn: &Connection, run_id: &RunId, monitor: &str) -> Result<()> {
    conn.prepare_cached("UPDATE runchain_runs SET monitor = ?2, stalled_since_ms = NULL WHERE run_id = ?1")
        .and_then(|mut statement| statement.execute((run_id, monitor)))
        .map(|_| ())
        .during("switch a run's monitor")
}

fn started_at(conn: &Connection, run_id: &RunId) -> Result<Option<Millis>> {
    conn.prepare_cached(
        "SELECT at_ms FROM runchain_events WHERE run_id = ?1 AND type = ?2 ORDER BY id DESC LIMIT 1",
    )
    .and_then(|mut statement| {
        statement
            .query_row((run_id, EventType::MonitorStarted.as_str()), |row| row.get(0))
            .optional()
    })
    .during("look when a monitor started")
}
