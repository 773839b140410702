//! Whether a run's chain is through, and what came of it: for who waits.

use crate::error::{During, Result};
use crate::queue::{KnownRun, known_run};
use crate::vocabulary::Phase;
use crate::{Mapping, RunId, forget, schema};
use rusqlite::Connection;

/// Queue rows that are looked through for those of one run.
const QUEUE_ROWS: i64 = 10_000;

/// How a run's chain stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// There is no such run.
    NoSuchRun,
    /// Something about it was written or asked for, and no executor has looked at that yet.
    Unseen,
    /// The run is not over.
    Active,
    /// Its chain is on its way.
    UnderWay,
    /// Every step that is required is done.
    Through {
        /// How the run itself ended.
        phase: Phase,
    },
    /// A required step is dead, and nothing else of the chain goes on.
    Dead {
        /// Which.
        step: String,
        /// What was wrong with its last attempt.
        error: Option<String>,
    },
    /// It has no chain that could end by itself.
    NoChain(NoChain),
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoChain {
    /// It was cancelled.
    Cancelled,
    /// Many runs ended in a rush: somebody has to decide.
    Held,
    /// The run's row is gone.
    Deleted,
    /// It was over before runchain came, or its batch was discarded.
    LeftAlone,
}

impl Standing {
    /// Whether waiting makes sense.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        matches!(self, Self::Unseen | Self::Active | Self::UnderWay)
    }
}

/// Looks how a run's newest chain stands.
///
/// # Errors
/// Whatever SQLite answers.
pub fn standing(conn: &Connection, mapping: &Mapping, run_id: &RunId) -> Result<Standing> {
    let known = known_run(conn, run_id)?;
    // Nobody ever looks at what is written under its id.
    if known.is_none() && forget::is_forgotten(conn, run_id)? {
        return Ok(Standing::NoSuchRun);
    }
    if is_queued(conn, run_id)? {
        return Ok(Standing::Unseen);
    }
    let Some(run) = known else {
        // A row that no trigger saw is found by the executor's comparison.
        return Ok(match mapping.status_of(conn, run_id)? {
            Some(_) => Standing::Unseen,
            None => Standing::NoSuchRun,
        });
    };
    match run.phase {
        Phase::Active => Ok(Standing::Active),
        Phase::Deleted => Ok(Standing::NoChain(NoChain::Deleted)),
        _ if run.is_left_alone() => Ok(Standing::NoChain(if is_held(conn, run_id)? {
            NoChain::Held
        } else {
            NoChain::LeftAlone
        })),
        _ => of_steps(conn, run_id, &run),
    }
}

fn of_steps(conn: &Connection, run_id: &RunId, run: &KnownRun) -> Result<Standing> {
    let steps = steps(conn, run_id, run.generation)?;
    let in_state = |states: &[&str]| steps.iter().any(|step| states.contains(&step.state.as_str()));
    let dead = steps.iter().find(|step| step.is_required && step.state == "dead");
    Ok(if in_state(&["ready", "leased", "running"]) {
        Standing::UnderWay
    } else if let Some(dead) = dead {
        Standing::Dead {
            step: dead.step.clone(),
            error: dead.error.clone(),
        }
    } else if in_state(&["waiting"]) {
        Standing::UnderWay
    } else if steps
        .iter()
        .any(|step| step.is_required && step.state == "cancelled")
    {
        Standing::NoChain(NoChain::Cancelled)
    } else {
        Standing::Through { phase: run.phase }
    })
}

struct Step {
    step: String,
    state: String,
    error: Option<String>,
    is_required: bool,
}

fn steps(conn: &Connection, run_id: &RunId, generation: i64) -> Result<Vec<Step>> {
    // Looking migrates nothing, so the schema may be an older one, where every step was required.
    let required = if schema::version(conn)? < 3 {
        "1"
    } else {
        "required"
    };
    let sql = format!(
        "SELECT step, state, error, {required} FROM runchain_steps WHERE run_id = ?1 AND generation = ?2 ORDER BY id"
    );
    let mut select = conn.prepare_cached(&sql).during("look at a run's chain")?;
    let rows = select
        .query_map((run_id, generation), |row| {
            Ok(Step {
                step: row.get(0)?,
                state: row.get(1)?,
                error: row.get(2)?,
                is_required: row.get(3)?,
            })
        })
        .during("look at a run's chain")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("look at a run's chain")
}

fn is_queued(conn: &Connection, run_id: &RunId) -> Result<bool> {
    conn.prepare_cached(
        "SELECT EXISTS (
           SELECT 1 FROM (SELECT run_id, step_id FROM runchain_queue ORDER BY id LIMIT ?2) AS q
           WHERE CAST(q.run_id AS TEXT) = ?1
              OR (q.run_id IS NULL AND (SELECT s.run_id FROM runchain_steps AS s WHERE s.id = q.step_id) = ?1))",
    )
    .and_then(|mut select| select.query_row((run_id, QUEUE_ROWS), |row| row.get(0)))
    .during("look for a run in the queue")
}

fn is_held(conn: &Connection, run_id: &RunId) -> Result<bool> {
    if !schema::table_exists(conn, "runchain_held")? {
        return Ok(false);
    }
    conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM runchain_held WHERE run_id = ?1)")
        .and_then(|mut select| select.query_row([run_id], |row| row.get(0)))
        .during("look whether a run is held")
}
