//! Changes that somebody asks for: again, cancel, pause, resume.

use super::settle::ready_what_waited;
use super::{THROUGH, ending, find};
use crate::alert::{self, Own};
use crate::error::{During, Result};
use crate::{Millis, RunId, StepId};
use rusqlite::Connection;

/// Makes a step that has ended ready again (waiting, where a step before it holds it up) with its
/// attempts at zero; its token and its failures stay. Its deadline goes: it counted from the end of the run, and who asks now means now.
///
/// # Errors
/// Whatever SQLite answers.
pub fn ready_again(conn: &Connection, step_id: StepId, now: Millis) -> Result<()> {
    conn.prepare_cached(&format!(
        "UPDATE runchain_steps SET attempts = 0, ready_at_ms = ?2, finished_ms = NULL, note = NULL, deadline_ms = NULL,
           state = CASE WHEN EXISTS (
             SELECT 1 FROM json_each(needs) AS need WHERE NOT EXISTS (
               SELECT 1 FROM runchain_steps AS other
               WHERE other.run_id = runchain_steps.run_id AND other.generation = runchain_steps.generation
                 AND other.step = need.value AND {THROUGH})) THEN 'waiting' ELSE 'ready' END
         WHERE id = ?1 AND state IN ('done', 'dead', 'cancelled')"
    ))
    .and_then(|mut statement| statement.execute((step_id, now)))
    .during("make a step ready again")?;
    let claim = find(conn, step_id)?.0;
    no_longer_dead(conn, &claim.run_id, &claim.step, now)
}

/// A dead step has another chance, or is cancelled: it is no alert any more.
fn no_longer_dead(conn: &Connection, run_id: &RunId, step: &str, now: Millis) -> Result<()> {
    alert::resolve(conn, Own::StepDead, &[Some(run_id.as_str()), Some(step)], now).map(drop)
}

/// The same for every step of a chain that has ended, in the chain's order: those that need another
/// step wait for it.
///
/// # Errors
/// Whatever SQLite answers.
pub fn chain_again(conn: &Connection, run_id: &RunId, generation: i64, now: Millis) -> Result<()> {
    conn.prepare_cached(
        "UPDATE runchain_steps SET state = CASE WHEN needs = '[]' THEN 'ready' ELSE 'waiting' END, attempts = 0,
           ready_at_ms = ?3, finished_ms = NULL, note = NULL, deadline_ms = NULL
         WHERE run_id = ?1 AND generation = ?2 AND state IN ('done', 'dead', 'cancelled')",
    )
    .and_then(|mut statement| statement.execute((run_id, generation, now)))
    .during("do a chain again")?;
    alert::resolve_all_of(conn, Own::StepDead, run_id, now).map(drop)
}

/// Cancels a step, and with it the steps that wait for it and could never run; who runs it is
/// fenced off. What waits for a step that isn't required goes on without it.
///
/// # Errors
/// Whatever SQLite answers.
pub fn cancel(conn: &Connection, step_id: StepId, now: Millis) -> Result<()> {
    // What waits for it doesn't run.
    ending::note(conn, step_id, now)?;
    conn.prepare_cached(
        "WITH RECURSIVE
           meant AS (SELECT run_id, generation, step FROM runchain_steps WHERE id = ?1),
           chain AS (SELECT s.* FROM runchain_steps AS s JOIN meant USING (run_id, generation)),
           hit(step) AS (
             SELECT step FROM meant
             UNION
             SELECT c.step FROM hit JOIN chain AS before ON before.step = hit.step AND before.required
             JOIN chain AS c JOIN json_each(c.needs) AS need
             WHERE c.state = 'waiting' AND need.value = hit.step)
         UPDATE runchain_steps SET state = 'cancelled', token = token + 1, executor_id = NULL, finished_ms = ?2
         WHERE id IN (SELECT c.id FROM chain AS c JOIN hit USING (step))",
    )
    .and_then(|mut statement| statement.execute((step_id, now)))
    .during("cancel a step")?;
    let claim = find(conn, step_id)?.0;
    no_longer_dead(conn, &claim.run_id, &claim.step, now)?;
    ready_what_waited(conn, &claim.run_id, claim.generation, now)
}

/// The kind that stands for every kind.
pub const EVERY_KIND: &str = "*";

/// Leases no step of this kind from now on; what runs goes on. [`EVERY_KIND`] pauses everything.
///
/// # Errors
/// Whatever SQLite answers.
pub fn pause(
    conn: &Connection,
    kind: &str,
    actor: Option<&str>,
    reason: Option<&str>,
    now: Millis,
) -> Result<bool> {
    conn.prepare_cached(
        "INSERT INTO runchain_pauses(step, since_ms, actor, reason) VALUES (?1, ?2, ?3, ?4) ON CONFLICT(step) DO NOTHING",
    )
    .and_then(|mut statement| statement.execute((kind, now, actor, reason)))
    .map(|changed| changed == 1)
    .during("pause a kind of steps")
}

/// Ends a pause. [`EVERY_KIND`] ends the pause of everything, not those of single kinds.
///
/// # Errors
/// Whatever SQLite answers.
pub fn resume(conn: &Connection, kind: &str) -> Result<bool> {
    conn.prepare_cached("DELETE FROM runchain_pauses WHERE step = ?1")
        .and_then(|mut statement| statement.execute([kind]))
        .map(|changed| changed == 1)
        .during("resume a kind of steps")
}
