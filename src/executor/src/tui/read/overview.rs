//! The database as a whole: counts, the runs to list, the newest failure.

use super::pace::Paced;
use super::{COUNTED_AT_MOST, MINUTES, all, one, run, sql};
use crate::tui::model::{Executor, LastError, Need, Overview, Pause, RunCounts, RunLine, StepCounts};
use runchain_core::error::Result;
use runchain_core::{Millis, RunId, validate};
use rusqlite::Connection;
use serde_json::Value;

/// Runs listed of each kind.
const NEEDY_LISTED: usize = 10;
const ACTIVE_LISTED: usize = 50;
const ENDED_LISTED: usize = 40;
/// A run that failed longer ago than this is history.
const LATELY_MS: i64 = 86_400_000;
/// Ends that the throughput looks at in each phase.
const ENDS_AT_MOST: i64 = 100_000;
const MINUTE_MS: i64 = 60_000;

/// What takes longer the more runs there are, and is therefore counted less often the longer it takes.
#[derive(Debug, Clone, Default)]
pub(super) struct Tallies {
    completed: i64,
    failed: i64,
    cancelled: i64,
    ended_per_minute: Vec<u64>,
}

pub(super) fn read(conn: &Connection, tallies: &mut Paced<Tallies>, now: Millis) -> Result<Overview> {
    let status = validate::status(conn, now)?;
    let tallies = tallies.get(|| count(conn, now))?;
    let mut overview = of_status(&status, now);
    overview.runs = RunCounts {
        completed: tallies.completed,
        failed: tallies.failed,
        cancelled: tallies.cancelled,
        ..overview.runs
    };
    overview.ended_per_minute = tallies.ended_per_minute;
    overview.last_error = last_error(conn)?;
    overview.list = list(conn, now)?;
    Ok(overview)
}

/// What `runchain_status()` answers, as it is shown.
fn of_status(status: &Value, now: Millis) -> Overview {
    let number = |pointer: &str| status.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let text = |pointer: &str| status.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let since = |pointer: &str| {
        let age_ms = status.pointer(pointer).and_then(Value::as_i64)?;
        Some(now.plus(-age_ms))
    };
    let executor = match status.pointer("/executor/alive").and_then(Value::as_bool) {
        Some(true) => Executor::Alive(text("/executor/who").unwrap_or_default()),
        Some(false) => Executor::None(text("/executor/last")),
        None => Executor::Unknown,
    };
    let paused = status.get("paused").and_then(Value::as_array);
    let pause = |pause: &Value| {
        let text = |key: &str| pause.get(key).and_then(Value::as_str).map(str::to_owned);
        Pause {
            step: text("step").unwrap_or_default(),
            actor: text("actor"),
            reason: text("reason"),
        }
    };
    Overview {
        executor,
        runs: RunCounts {
            active: number("/runs/active"),
            stalled: number("/runs/stalled"),
            ..RunCounts::default()
        },
        steps: StepCounts {
            running: number("/steps/leased") + number("/steps/running"),
            ready: number("/steps/ready"),
            waiting: number("/steps/waiting"),
            dead: number("/steps/dead"),
        },
        oldest_due: since("/oldest_ready_age_ms"),
        queue_rows: number("/queue_rows"),
        oldest_queued: since("/oldest_queue_age_ms"),
        paused: paused.into_iter().flatten().map(pause).collect(),
        triggers_lost: text("/triggers/found"),
        alerts_firing: number("/alerts_firing"),
        ..Overview::default()
    }
}

fn count(conn: &Connection, now: Millis) -> Result<Tallies> {
    let phase = |phase: &str| -> Result<i64> {
        let found = one(conn, sql::COUNT_PHASE, (phase, COUNTED_AT_MOST), |row| row.get(0))?;
        Ok(found.unwrap_or(0))
    };
    // Whole minutes, so that a bar doesn't change its meaning from one look to the next.
    let first = Millis((now.0 / MINUTE_MS - MINUTES + 1) * MINUTE_MS);
    let mut ended_per_minute = vec![0; MINUTES as usize];
    for phase in ["completed", "failed", "cancelled"] {
        let ends: Vec<(i64, i64)> = all(conn, sql::ENDED, (phase, first, ENDS_AT_MOST), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        for (minute, ends) in ends {
            let minute = usize::try_from(minute).unwrap_or(usize::MAX);
            if let Some(sum) = ended_per_minute.get_mut(minute) {
                *sum += u64::try_from(ends).unwrap_or(0);
            }
        }
    }
    Ok(Tallies {
        completed: phase("completed")?,
        failed: phase("failed")?,
        cancelled: phase("cancelled")?,
        ended_per_minute,
    })
}

fn last_error(conn: &Connection) -> Result<Option<LastError>> {
    one(conn, sql::LAST_ERROR, [], |row| {
        Ok(LastError {
            run_id: row.get(0)?,
            step: row.get(1)?,
            state: row.get(2)?,
            attempt: row.get(3)?,
            max_attempts: row.get(4)?,
            at: row.get(5)?,
            error: run::said(row.get(6)?, &run::last_lines(row.get(7)?)),
        })
    })
}

/// First the runs that need somebody, then those that are under way, then those that ended last.
fn list(conn: &Connection, now: Millis) -> Result<Vec<RunLine>> {
    let newest = |phase: &str, limit: usize| -> Result<Vec<RunLine>> {
        let lines = all(conn, sql::NEWEST_OF_PHASE, (phase, limit as i64), run::line)?;
        Ok(lines.into_iter().map(|(line, _)| line).collect())
    };
    let mut list: Vec<RunLine> = Vec::new();
    let add = |list: &mut Vec<RunLine>, line: RunLine| {
        if list.iter().all(|one| one.run_id != line.run_id) {
            list.push(line);
        }
    };
    for (sql, need) in [(sql::DEAD, Need::DeadStep), (sql::STALLED, Need::Stalled)] {
        let mut ids: Vec<RunId> = all(conn, sql, [], |row| row.get(0))?;
        ids.truncate(NEEDY_LISTED * 4);
        for run_id in ids {
            if list.len() < NEEDY_LISTED
                && let Some((line, _)) = one(conn, sql::RUN, [&run_id], run::line)?
            {
                let need = Some(need);
                add(&mut list, RunLine { need, ..line });
            }
        }
    }
    let failed = newest("failed", ENDED_LISTED)?;
    for line in failed.iter().filter(|line| now.since(line.since) <= LATELY_MS) {
        if list.len() < NEEDY_LISTED {
            let need = Some(Need::Failed);
            add(&mut list, RunLine { need, ..line.clone() });
        }
    }
    list.sort_by_key(|line| (line.need != Some(Need::DeadStep), -line.since.0));
    for line in newest("active", ACTIVE_LISTED)? {
        add(&mut list, line);
    }
    let mut ended = newest("completed", ENDED_LISTED)?;
    ended.extend(failed);
    ended.extend(newest("cancelled", ENDED_LISTED)?);
    ended.sort_by_key(|line| -line.since.0);
    for line in ended.into_iter().take(ENDED_LISTED) {
        add(&mut list, line);
    }
    for line in &mut list {
        line.chain = run::brief_chain(conn, line)?;
    }
    Ok(list)
}
