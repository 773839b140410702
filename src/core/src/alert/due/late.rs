//! A chain that takes much longer than others did.

use super::{Look, Verdict, open_of};
use crate::alert::{self, Alarm, Own};
use crate::error::{During, Result};
use crate::{Millis, RunId};
use rusqlite::Connection;

/// How often chains are looked at while some are under way.
const LATE_EVERY_MS: i64 = 30_000;
/// The newest finished steps that are the history of a kind.
const HISTORY_ROWS: i64 = 1_000;
/// Less than so many say nothing.
const HISTORY_LEAST: usize = 20;
/// Live steps that are looked at.
const LIVE_ROWS: i64 = 1_000;
/// Late is what takes so many times as long as nineteen of twenty did, and at least a minute more.
const LATE_TIMES: i64 = 4;
const LATE_LEAST_MS: i64 = 60_000;
/// Alerts of late chains raised in one look.
const LATE_AT_ONCE: usize = 20;

#[derive(Debug)]
pub(super) struct Late {
    run_id: RunId,
    step: String,
    took_ms: i64,
    usual_ms: i64,
}

/// A live step, since when its chain's step waits or runs.
struct Live {
    run_id: RunId,
    step: String,
    created: Millis,
}

pub(super) fn look(conn: &Connection, now: Millis, look: &mut Look) -> Result<()> {
    let live = live_steps(conn)?;
    let open = open_of(conn, Own::ChainLate.name())?;
    if live.is_empty() && open.is_empty() {
        return Ok(());
    }
    look.at(now.plus(LATE_EVERY_MS));
    for alert in open.iter().filter(|alert| !alert.is_flood) {
        let Some(run_id) = &alert.run_id else { continue };
        if !is_live(conn, run_id)? {
            look.verdicts.push(Verdict::Over {
                alert: alert.id,
                state: alert.state,
            });
        }
    }
    if Own::ChainLate.in_force(conn)?.is_none() {
        return Ok(());
    }
    let mut usual = std::collections::BTreeMap::new();
    let mut late = 0;
    for step in live {
        if !usual.contains_key(&step.step) {
            usual.insert(step.step.clone(), usual_ms(conn, &step.step)?);
        }
        let Some(usual_ms) = usual[&step.step] else {
            continue;
        };
        let took_ms = now.since(step.created);
        let is_known = open
            .iter()
            .any(|alert| alert.run_id.as_ref() == Some(&step.run_id));
        if took_ms <= (usual_ms * LATE_TIMES).max(usual_ms + LATE_LEAST_MS)
            || is_known
            || late >= LATE_AT_ONCE
        {
            continue;
        }
        late += 1;
        look.verdicts.push(Verdict::Late(Late {
            run_id: step.run_id,
            step: step.step,
            took_ms,
            usual_ms,
        }));
    }
    Ok(())
}

/// A bounded number of the steps that wait or run, of each chain the first.
fn live_steps(conn: &Connection) -> Result<Vec<Live>> {
    let mut statement = conn
        .prepare_cached(
            "SELECT run_id, step, min(created_ms) FROM (
               SELECT run_id, step, created_ms FROM runchain_steps
               WHERE finished_ms IS NULL AND state IN ('ready', 'leased', 'running')
                 AND NOT EXISTS (SELECT 1 FROM runchain_pauses AS p WHERE p.step = runchain_steps.step OR p.step = '*')
               LIMIT ?1)
             GROUP BY run_id",
        )
        .during("read the steps under way")?;
    let rows = statement
        .query_map([LIVE_ROWS], |row| {
            Ok(Live {
                run_id: row.get(0)?,
                step: row.get(1)?,
                created: row.get(2)?,
            })
        })
        .during("read the steps under way")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("read the steps under way")
}

fn is_live(conn: &Connection, run_id: &RunId) -> Result<bool> {
    conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM runchain_steps
                        WHERE run_id = ?1 AND finished_ms IS NULL AND state IN ('ready', 'leased', 'running', 'waiting'))",
    )
    .and_then(|mut statement| statement.query_row([run_id], |row| row.get(0)))
    .during("look whether a chain is under way")
}

/// What nineteen of twenty of the newest steps of this kind took at most, from the beginning of their
/// chain; `None` where there are too few.
fn usual_ms(conn: &Connection, step: &str) -> Result<Option<i64>> {
    let mut statement = conn
        .prepare_cached(
            "SELECT finished_ms - created_ms FROM
               (SELECT step, state, finished_ms, created_ms FROM runchain_steps ORDER BY id DESC LIMIT ?2)
             WHERE step = ?1 AND state = 'done' ORDER BY 1",
        )
        .during("read how long steps took")?;
    let took = statement
        .query_map((step, HISTORY_ROWS), |row| row.get::<_, i64>(0))
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .during("read how long steps took")?;
    if took.len() < HISTORY_LEAST {
        return Ok(None);
    }
    Ok(took.get(took.len() * 19 / 20).copied())
}

pub(super) fn raise(conn: &Connection, late: &Late, now: Millis) -> Result<()> {
    let message = format!(
        "step {} of its chain has not ended after {} s; nineteen of twenty took {} s at most: runchain explain {}",
        late.step,
        late.took_ms / 1_000,
        (late.usual_ms + 999) / 1_000,
        late.run_id
    );
    let alarm = Alarm {
        own: Own::ChainLate,
        of: &[Some(late.run_id.as_str())],
        run_id: Some(&late.run_id),
        subject: late.run_id.as_str(),
        message: &message,
    };
    alert::raise(conn, &alarm, now).map(drop)
}
