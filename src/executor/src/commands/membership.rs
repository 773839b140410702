//! Whether a step is, or would be, in a run's chain; asked before anything is queued, so that who
//! asks for one step never gets a whole chain instead.

use crate::config::Settings;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use runchain_core::chain::{RunAtEnd, Why};
use runchain_core::error::During;
use runchain_core::queue::{self, KnownRun};
use runchain_core::vocabulary::{Phase, Vocabulary};
use runchain_core::{Mapping, Millis, Result, RunId};
use rusqlite::Connection;

/// Where a step stands with respect to a run that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// In the run's newest chain.
    In(StepNow),
    /// The chain isn't begun; it will have the step.
    WillBe,
    /// The run is not one that the step is for.
    NotFor(Why),
    /// The chain was begun by a definition without the step.
    BegunWithout,
}

/// A step's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StepNow {
    /// Its state.
    pub(super) state: String,
    /// Starts so far.
    pub(super) attempts: i64,
}

/// A run that is over, as it is or will be acted on.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its phase, word and generation.
    pub(super) run: KnownRun,
    /// Whether the generation has its steps.
    pub(super) has_chain: bool,
}

/// How a run has ended; `None` when it is not over. What no executor has seen yet is judged by the
/// run's row.
pub(super) fn ended(conn: &Connection, mapping: &Mapping, run_id: &RunId) -> Result<Option<Ended>> {
    let status = mapping.status_of(conn, run_id)?.flatten();
    let phase = Vocabulary::load(conn)?.phase(status.as_deref());
    let known = queue::known_run(conn, run_id)?;
    let generation = known.as_ref().map_or(0, |run| run.generation);
    let is_current = |run: &KnownRun| run.phase.is_terminal() && phase.is_none_or(|phase| phase == run.phase);
    if let Some(run) = known.filter(is_current).filter(|_| generation > 0) {
        let has_chain = has_chain(conn, run_id, generation)?;
        return Ok(Some(Ended { run, has_chain }));
    }
    Ok(phase
        .filter(|phase: &Phase| phase.is_terminal())
        .map(|phase| Ended {
            run: KnownRun {
                phase,
                status,
                generation: generation + 1,
                since: Millis::now(),
                ended_event_id: None,
            },
            has_chain: false,
        }))
}

fn has_chain(conn: &Connection, run_id: &RunId, generation: i64) -> Result<bool> {
    conn.query_row(
        "SELECT EXISTS (SELECT 1 FROM runchain_steps WHERE run_id = ?1 AND generation = ?2)",
        (run_id, generation),
        |row| row.get(0),
    )
    .during("look for the run's chain")
}

/// Where a step stands.
pub(super) fn standing(
    conn: &Connection,
    settings: &Settings,
    mapping: &Mapping,
    run_id: &RunId,
    ended: &Ended,
    step: &str,
) -> Result<Standing> {
    if let Some(now) = step_now(conn, run_id, ended.run.generation, step)? {
        return Ok(Standing::In(now));
    }
    let at_end = RunAtEnd {
        run_id,
        phase: ended.run.phase,
        status: ended.run.status.as_deref(),
    };
    let chain = settings.chain();
    let selection = chain.of_run(conn, mapping, at_end)?;
    let out = selection.left_out.into_iter().find(|one| one.step == step);
    Ok(match out {
        Some(out) => Standing::NotFor(out.why),
        None if ended.has_chain => Standing::BegunWithout,
        None => Standing::WillBe,
    })
}

impl Standing {
    /// Refuses for a step that is not in the chain.
    pub(super) fn require_in_chain(&self, run_id: &RunId, step: &str) -> Outcome<()> {
        let why = match self {
            Self::In(_) | Self::WillBe => return Ok(()),
            Self::NotFor(why) => why.sentence(),
            Self::BegunWithout => {
                "the chain began before the step was configured for such runs, and a chain keeps the definition \
                 that it began with"
                    .to_owned()
            }
        };
        Err(Failure::new(
            Exit::NotInChain,
            format!("step {step} is not in the chain of run {run_id}: {why}"),
        ))
    }
}

fn step_now(conn: &Connection, run_id: &RunId, generation: i64, step: &str) -> Result<Option<StepNow>> {
    use rusqlite::OptionalExtension;
    conn.query_row(
        "SELECT state, attempts FROM runchain_steps WHERE run_id = ?1 AND generation = ?2 AND step = ?3",
        (run_id, generation, step),
        |row| {
            Ok(StepNow {
                state: row.get(0)?,
                attempts: row.get(1)?,
            })
        },
    )
    .optional()
    .during("look for the run's step")
}
