//! Steps that were taken from whoever executes them: cancelled, or of a generation that is over.
//!
//! Nobody can settle such a step any more, but its command is told only a moment later and may take its
//! time to end. Invariant: until it has ended, nothing of its run is leased by anybody, and it counts for
//! the limit of its kind: two uploads of one run never work at the same time.
//!
//! Who executed it says that it has ended, by settling in vain. An executor that died or is of an earlier
//! version says nothing, so that nobody is waited for longer than [`LONGEST_MS`].

use super::Claim;
use crate::error::{During, Result};
use crate::{Millis, RunId, StepId};
use rusqlite::{Connection, ToSql};

/// A command has some five seconds after SIGTERM, and ten more to be gone after SIGKILL.
const LONGEST_MS: i64 = 30_000;

/// What still ends.
pub(super) struct Ending {
    pub(super) run_id: RunId,
    pub(super) step: String,
}

/// Notes a step that is about to be cancelled, if it runs.
pub(super) fn note(conn: &Connection, step_id: StepId, now: Millis) -> Result<()> {
    note_where(conn, "id = ?1", step_id, now)
}

/// The same for every step of a run that runs.
pub(crate) fn note_all_of(conn: &Connection, run_id: &RunId, now: Millis) -> Result<()> {
    note_where(conn, "run_id = ?1", run_id, now)
}

fn note_where(conn: &Connection, condition: &str, key: impl ToSql, now: Millis) -> Result<()> {
    conn.prepare_cached(&format!(
        "INSERT OR REPLACE INTO runchain_ending(step_id, token, until_ms)
         SELECT id, token, ?2 FROM runchain_steps WHERE {condition} AND state = 'running'"
    ))
    .and_then(|mut statement| statement.execute((key, now.plus(LONGEST_MS))))
    .during("note the steps that have to end")
    .and_then(|noted| forget_old(conn, noted, now))
}

fn forget_old(conn: &Connection, noted: usize, now: Millis) -> Result<()> {
    if noted == 0 {
        return Ok(());
    }
    conn.prepare_cached("DELETE FROM runchain_ending WHERE until_ms <= ?1")
        .and_then(|mut statement| statement.execute([now]))
        .map(drop)
        .during("forget the steps that had to end")
}

/// Whoever executed it by this claim has come to its end.
pub(super) fn over(conn: &Connection, claim: &Claim) -> Result<()> {
    conn.prepare_cached("DELETE FROM runchain_ending WHERE step_id = ?1 AND token = ?2")
        .and_then(|mut statement| statement.execute((claim.step_id, claim.token)))
        .map(drop)
        .during("say that a step has ended")
}

/// The names of a run's steps that still end.
pub(crate) fn of_run(conn: &Connection, run_id: &RunId, now: Millis) -> Result<Vec<String>> {
    let of_run = all(conn, now)?.into_iter().filter(|one| one.run_id == *run_id);
    Ok(of_run.map(|one| one.step).collect())
}

/// Everything that still ends; nearly always nothing.
pub(super) fn all(conn: &Connection, now: Millis) -> Result<Vec<Ending>> {
    // What lies further ahead than anybody notes was noted before the clock was set back.
    let mut select = conn
        .prepare_cached(
            "SELECT s.run_id, s.step FROM runchain_ending AS e JOIN runchain_steps AS s ON s.id = e.step_id
             WHERE e.until_ms > ?1 AND e.until_ms <= ?2",
        )
        .during("look for steps that have to end")?;
    let rows = select
        .query_map((now, now.plus(LONGEST_MS)), |row| {
            Ok(Ending {
                run_id: row.get(0)?,
                step: row.get(1)?,
            })
        })
        .during("look for steps that have to end")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("look for steps that have to end")
}
