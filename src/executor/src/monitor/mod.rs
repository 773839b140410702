//! The monitor: heartbeat lines for every active run, and the news when one stalls or moves again.
//!
//! It is no leased step: the one executor that leads ticks all active runs. A tick is bounded, so
//! that 100,000 active runs are spread over the heartbeat interval and never hold the caller's
//! loop; without an active run it asks for no tick at all. Nothing is written to the user's tables,
//! and no statement stays open behind a read. What a tick can't read of the user's tables it leaves
//! out of the heartbeat.
//!
//! What does not belong here: judging status words (the expansion does), clocks, sleeping.

mod line;
pub(crate) mod observe;
mod round;
mod stall;
#[cfg(test)]
mod tests;
mod transitions;

use crate::door;
use crate::projector::Projector;
use line::Heartbeat;
use observe::Observer;
use round::Round;
use runchain_core::error::{During, Result};
use runchain_core::{Mapping, Millis, RunId};
use rusqlite::Connection;
use stall::{StallNews, Verdict, Watch};
use std::collections::HashMap;
pub(crate) use transitions::Changes;

/// Events projected at a time, so that MONITOR_STARTED stands in the log before a first heartbeat.
const PROJECTED_AT_ONCE: usize = 1_000;
/// Projections in one tick at most: a backlog must not keep the lease from being renewed.
const PROJECTIONS_AT_ONCE: usize = 10;

/// How often, how patient, and how much at a time.
#[derive(Debug, Clone)]
pub(crate) struct MonitorOptions {
    /// From one heartbeat of a run to the next.
    pub(crate) heartbeat_ms: i64,
    /// How long nothing of a run may change before it is called stalled.
    pub(crate) stall_after_ms: i64,
    /// Heartbeats written in one tick at most.
    pub(crate) runs_per_tick: u32,
    /// Monitors started, and monitors stopped, in one tick at most.
    pub(crate) transitions_per_tick: u32,
}

impl Default for MonitorOptions {
    fn default() -> Self {
        Self {
            heartbeat_ms: 10_000,
            stall_after_ms: 600_000,
            runs_per_tick: 200,
            transitions_per_tick: 500,
        }
    }
}

/// A run whose monitor is on, as `runchain_runs` has it.
#[derive(Debug, Clone)]
pub(crate) struct MonitoredRun {
    /// Its id.
    pub(crate) run_id: RunId,
    /// Whether it is under way.
    pub(crate) is_active: bool,
    /// The word that was last acted on.
    pub(crate) status: Option<String>,
    /// Ends so far.
    pub(crate) generation: i64,
    /// When it became active.
    pub(crate) active_since: Millis,
    /// Since when nothing of it changes.
    pub(crate) stalled_since: Option<Millis>,
}

/// Watches the active runs of one database.
#[derive(Debug)]
pub(crate) struct Monitor {
    options: MonitorOptions,
    observer: Observer,
    round: Round,
    watches: HashMap<RunId, Watch>,
    /// Runs whose monitor is on and that had no heartbeat yet.
    first_beats: Vec<MonitoredRun>,
    /// The log may lack a MONITOR_STARTED: no heartbeat until it stands there.
    behind: bool,
}

impl Monitor {
    /// A monitor that has seen nothing yet: every stall clock starts anew.
    pub(crate) fn new(options: MonitorOptions) -> Self {
        Self {
            round: Round::new(options.heartbeat_ms, options.runs_per_tick),
            observer: Observer::default(),
            watches: HashMap::new(),
            first_beats: Vec::new(),
            behind: false,
            options,
        }
    }

    /// Starts and stops monitors, then writes the heartbeats that are due. Returns when it wants to
    /// be called next (`now`: at once, there is more), or `None` when no run is active: then only a
    /// change of `runchain_runs` is worth a call. Calling it more often does no harm.
    ///
    /// # Errors
    /// Whatever SQLite or the system answers. Calling it again goes on where it failed.
    pub(crate) fn tick(
        &mut self,
        conn: &Connection,
        mapping: &Mapping,
        projector: &mut Projector,
        now: Millis,
    ) -> Result<Option<Millis>> {
        let mut changes = Changes::default();
        if transitions::any_waiting(conn)? {
            changes = door::write(conn, |conn| self.begin_and_end(conn, now))?;
        }
        let more = changes.more;
        self.note(changes);
        if self.behind && !self.catch_up(conn, projector)? {
            return Ok(Some(now));
        }
        let mut first_beats = std::mem::take(&mut self.first_beats);
        if !first_beats.is_empty() {
            self.round.wake(now);
            first_beats.truncate(self.options.runs_per_tick as usize);
            self.beat(conn, mapping, projector, &first_beats, now)?;
        }
        if self.round.is_due(now) {
            self.beat_next_slice(conn, mapping, projector, &first_beats, now)?;
        }
        if more {
            return Ok(Some(now));
        }
        if self.watches.is_empty() && !self.round.is_under_way() {
            self.round.sleep();
        }
        Ok(self.round.next_at())
    }

    /// Starts and stops monitors, a bounded number, inside the caller's transaction; [`Monitor::note`] when
    /// that is committed.
    ///
    /// # Errors
    /// Whatever SQLite answers; the caller rolls back.
    pub(crate) fn begin_and_end(&self, conn: &Connection, now: Millis) -> Result<Changes> {
        transitions::apply(conn, &self.options, now, |run_id| {
            self.watches.get(run_id).map_or(0, |watch| watch.heartbeats)
        })
    }

    /// Which monitors were started and stopped.
    pub(crate) fn note(&mut self, changes: Changes) {
        for run_id in &changes.stopped {
            self.watches.remove(run_id);
            self.first_beats.retain(|run| run.run_id != *run_id);
        }
        if changes.any() {
            self.round.adjust(changes.started.len(), changes.stopped.len());
            self.first_beats.extend(changes.started);
            self.behind = true;
        }
    }

    /// Brings the log up to date; `false` when that takes longer than a tick may.
    fn catch_up(&mut self, conn: &Connection, projector: &mut Projector) -> Result<bool> {
        for _ in 0..PROJECTIONS_AT_ONCE {
            if projector.project(conn, PROJECTED_AT_ONCE)? < PROJECTED_AT_ONCE {
                self.behind = false;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn beat_next_slice(
        &mut self,
        conn: &Connection,
        mapping: &Mapping,
        projector: &mut Projector,
        beaten: &[MonitoredRun],
        now: Millis,
    ) -> Result<()> {
        if !self.round.is_under_way() {
            self.round.begin(now, count_monitored(conn)?);
        }
        let limit = self.options.runs_per_tick;
        let mut runs = monitored_from(conn, self.round.from(), limit + 1)?;
        let has_more = runs.len() > limit as usize;
        runs.truncate(limit as usize);
        let last = runs.last().map(|run| run.run_id.clone());
        for run in &runs {
            if let Some(watch) = self.watches.get_mut(&run.run_id) {
                watch.round = self.round.number();
            }
        }
        runs.retain(|run| run.is_active && beaten.iter().all(|first| first.run_id != run.run_id));
        self.beat(conn, mapping, projector, &runs, now)?;
        match last.filter(|_| has_more) {
            Some(last) => self.round.go_on_after(&last, now),
            None => {
                let number = self.round.number();
                self.watches.retain(|_, watch| watch.round == number);
                self.round.end(now);
            }
        }
        Ok(())
    }

    /// Observes the runs, says who stalls or moves again, and writes one heartbeat line for each.
    fn beat(
        &mut self,
        conn: &Connection,
        mapping: &Mapping,
        projector: &mut Projector,
        runs: &[MonitoredRun],
        now: Millis,
    ) -> Result<()> {
        let observations = self.observer.observe(conn, mapping, runs)?;
        let mut lines = Vec::with_capacity(runs.len());
        let mut news = Vec::new();
        for (run, observation) in runs.iter().zip(&observations) {
            let fingerprint = observation.fingerprint();
            let watch = self
                .watches
                .entry(run.run_id.clone())
                .or_insert_with(|| Watch::new(fingerprint, now));
            watch.observe(fingerprint, now);
            watch.round = self.round.number();
            let verdict = watch.judge(run.stalled_since, self.options.stall_after_ms, now);
            let heartbeat = Heartbeat {
                database_uuid: projector.database_uuid(),
                instance: projector.instance(),
                run,
                observation,
                quiet_ms: now.since(watch.moved_at),
                stalled: verdict.leaves_stalled(run.stalled_since),
            };
            lines.push(heartbeat.line(now));
            if verdict != Verdict::NoNews {
                news.push(StallNews {
                    run,
                    verdict,
                    moved_at: watch.moved_at,
                    status: observation.status.as_deref(),
                });
            }
        }
        stall::record(conn, &news, now)?;
        projector.heartbeat(conn, &lines)?;
        for run in runs {
            if let Some(watch) = self.watches.get_mut(&run.run_id) {
                watch.heartbeats += 1;
            }
        }
        Ok(())
    }
}

fn count_monitored(conn: &Connection) -> Result<i64> {
    conn.prepare_cached(
        "SELECT count(*) FROM runchain_runs INDEXED BY runchain_runs_monitored WHERE monitor = 'on'",
    )
    .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
    .during("count the monitored runs")
}

/// The monitored runs from an id on, in order of their ids.
fn monitored_from(conn: &Connection, from: &str, limit: u32) -> Result<Vec<MonitoredRun>> {
    let mut statement = conn
        .prepare_cached(
            "SELECT run_id, phase = 'active', status, generation, phase_since_ms, stalled_since_ms
             FROM runchain_runs INDEXED BY runchain_runs_monitored
             WHERE monitor = 'on' AND run_id >= ?1
             ORDER BY run_id LIMIT ?2",
        )
        .during("read the monitored runs")?;
    let rows = statement
        .query_map((from, limit), |row| {
            Ok(MonitoredRun {
                run_id: row.get(0)?,
                is_active: row.get(1)?,
                status: row.get(2)?,
                generation: row.get(3)?,
                active_since: row.get(4)?,
                stalled_since: row.get(5)?,
            })
        })
        .during("read the monitored runs")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("read the monitored runs")
}
