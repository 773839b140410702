//! One turn: settle, recover, expand, lease and start, in one transaction and one commit.

use super::expand::Expansion;
use super::lead::Riding;
use super::worker::Finished;
use super::{Drain, Goal, trace};
use crate::log::Level;
use crate::{door, fault};
use runchain_core::error::{During, Error, Result};
use runchain_core::steps::{self, Capacity, Claim, Settled, Wanted};
use runchain_core::{ExecutorId, Millis, StepId, queue};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// After steps were due that could not be had: a limit is reached, or a suspect waits for room. A
/// commit of somebody else's is looked at sooner.
const LEASE_AGAIN: Duration = Duration::from_millis(250);

/// What there is to do, looked at before any lock is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ToDo {
    settle: bool,
    renew: bool,
    /// What others left may be taken back again; asked seldom.
    recover_due: bool,
    recover: bool,
    expand: bool,
    lease: bool,
}

/// What a committed turn has done.
struct Turn {
    settled: Vec<Settled>,
    taken_back: TakenBack,
    expansion: Expansion,
    claims: Vec<Claim>,
    /// What the leader had to say besides.
    riding: Option<Riding>,
}

/// Steps that were leased or running and that nobody works on.
#[derive(Debug, Clone, Copy, Default)]
struct TakenBack {
    /// Of executors that are gone.
    recovered: usize,
    /// Of our own, started by a commit that was answered by an error.
    strays: usize,
}

impl Drain<'_> {
    /// The next turn, by what there is to do now.
    pub(super) fn next_turn(&mut self) -> Result<bool> {
        let to_do = door::read(&self.conn, |conn| self.what_to_do(conn))?;
        self.turn(to_do)
    }

    /// Takes a turn if there is anything to do; `true` when another may find more.
    pub(super) fn turn(&mut self, to_do: ToDo) -> Result<bool> {
        if to_do.recover_due {
            self.recovered = Some(Instant::now());
        }
        if !to_do.expand && !self.rests_from_expanding() {
            // Somebody else has expanded it.
            self.expanding.after = None;
        }
        if !(to_do.settle || to_do.renew || to_do.recover || to_do.expand || to_do.lease) {
            return Ok(false);
        }
        if to_do.expand {
            trace::mark(trace::Mark::Seen);
            self.measure_queue()?;
            self.read_of_a_rush()?;
        }
        let began = Instant::now();
        let turn = self.commit_turn(to_do)?;
        if turn.expansion.has_more() {
            self.expanding.backlog_took += began.elapsed();
        }
        // What went into a file that has lost its name is not done, and nothing of it is begun.
        self.guard.file.check()?;
        if !turn.claims.is_empty() {
            trace::mark(trace::Mark::Started);
        }
        if to_do.settle {
            fault::point("settle-after-commit");
        }
        fault::point("turn-after-commit");
        let more = self.after_turn(turn, to_do);
        Ok(more)
    }

    /// Looks at the queue, inside the caller's transaction, so that one lock does for everything.
    pub(super) fn what_to_do(&self, conn: &Connection) -> Result<ToDo> {
        let settle = !self.finished.is_empty();
        let renew = self.renewed.elapsed() >= self.lease_part();
        if self.outdated.is_some() {
            return Ok(ToDo {
                settle,
                renew,
                recover_due: false,
                recover: false,
                expand: false,
                lease: false,
            });
        }
        let recover_due = self
            .recovered
            .is_none_or(|last| last.elapsed() >= self.lease_part());
        Ok(ToDo {
            settle,
            renew: self.running > 0 && renew,
            recover_due,
            recover: recover_due && (self.others_hold(conn)? || self.has_strays(conn)?),
            expand: !self.rests_from_expanding() && is_queued(conn)?,
            lease: self.free() > 0 && self.is_due(conn)?,
        })
    }

    fn rests_from_expanding(&self) -> bool {
        self.expanding.after.is_some_and(|at| Instant::now() < at) || self.backlog_rests()
    }

    /// Places for steps, counting those that are about to be settled.
    pub(super) fn free(&self) -> usize {
        if self.stopping.is_some()
            || self.outdated.is_some()
            || (self.suspect && self.finished.len() < self.running)
        {
            return 0;
        }
        (self.settings.workers + self.finished.len()).saturating_sub(self.running)
    }

    /// Whether what is left in the queue waits, so that steps don't.
    pub(super) fn backlog_rests(&self) -> bool {
        !self.pace.backlog_rest(Instant::now()).is_zero()
    }

    pub(super) fn others_hold(&self, conn: &Connection) -> Result<bool> {
        conn.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM runchain_steps
                            WHERE finished_ms IS NULL AND state IN ('leased', 'running') AND executor_id <> ?1)",
        )
        .and_then(|mut statement| statement.query_row([&self.executor.id], |row| row.get(0)))
        .during("look for steps of others")
    }

    fn has_strays(&self, conn: &Connection) -> Result<bool> {
        steps::has_strays(conn, &self.executor.id, |claim| knows(&self.held, claim))
    }

    fn commit_turn(&mut self, to_do: ToDo) -> Result<Turn> {
        let backoff = self.backoff();
        let wanted = match self.goal {
            Goal::Run { run_id, step } => Wanted::OfRun {
                run_id,
                step: step.as_deref(),
            },
            _ => Wanted::Due,
        };
        let capacity = Capacity {
            free: self.free(),
            running: self.running - self.finished.len(),
            concurrency: &self.concurrency,
        };
        let (finished, executor, chain, mapping) =
            (&self.finished, &self.executor, &self.chain, &self.mapping);
        let guard = &self.guard;
        let storm = super::storm::limit(&self.settings);
        let held = &self.held;
        let monitors = self.monitors();
        let lead = self.lead.as_ref();
        let expanding = &mut self.expanding;
        let (lease_ms, forever) = (self.settings.lease_ms, *self.goal == Goal::Forever);
        door::write(&self.conn, |conn| {
            guard.verify(conn)?;
            let now = Millis::now();
            // First of all, so that nobody takes our own steps for abandoned, whatever the clocks did.
            if to_do.renew || to_do.recover {
                executor.renew(conn, lease_ms, now)?;
            }
            let settled = settle(conn, finished, backoff, now)?;
            if conn.is_autocommit() {
                return Err(Error::refused(
                    "SQLite took the whole turn back while a step was settled",
                    "look for triggers with RAISE(ROLLBACK) on archival_log, and at the disk",
                ));
            }
            let taken_back = if to_do.recover {
                take_back(conn, &executor.id, held, backoff, now)?
            } else {
                TakenBack::default()
            };
            let expansion = if to_do.expand {
                expanding.expand(conn, mapping, chain, storm, now)
            } else {
                Expansion::default()
            };
            match expansion.expanded {
                Err(error @ (Error::Outdated { .. } | Error::NotInstalled)) => return Err(error),
                // SQLite rolls back more than the savepoint when the disk is full or fails: what was
                // settled above is undone, and nothing below would be in a transaction.
                Err(error) if conn.is_autocommit() => return Err(error),
                // Who waits in front of it wants to know.
                Err(error) if !forever => return Err(error),
                _ => {}
            }
            let took_in = expansion.rows() > 0;
            let mut claims = Vec::new();
            if to_do.lease || (capacity.free > 0 && (to_do.settle || to_do.expand)) {
                claims = steps::lease_and_start(conn, &executor.id, wanted, capacity, now)?;
            }
            if !claims.is_empty() {
                executor.renew(conn, lease_ms, now)?;
            }
            let writes = took_in || !claims.is_empty() || !settled.is_empty();
            let riding = match lead.filter(|_| writes) {
                Some(lead) => Some(lead.ride(conn, took_in && monitors, now)?),
                None => None,
            };
            fault::point(if finished.is_empty() {
                "turn-before-commit"
            } else {
                "settle-before-commit"
            });
            Ok(Turn {
                settled,
                taken_back,
                expansion,
                claims,
                riding,
            })
        })
    }

    /// When the oldest write was made that is about to be expanded, for who measures.
    fn measure_queue(&self) -> Result<()> {
        let Some(metrics) = &self.metrics else {
            return Ok(());
        };
        let oldest = door::patiently(|| queue::oldest_write(&self.conn))?;
        metrics.meters.queue_seen(oldest);
        Ok(())
    }

    /// How soon it was taken up, and how long steps took and waited.
    fn measure(&self, turn: &Turn) {
        let Some(metrics) = &self.metrics else {
            return;
        };
        let (meters, now) = (&metrics.meters, Millis::now());
        if turn.expansion.rows() > 0 {
            meters.queue_taken(now);
        }
        for one in &self.finished {
            // Not yet is no attempt: it says nothing of how long the step takes.
            if !matches!(one.outcome, steps::Outcome::Deferred { .. }) {
                meters.step_ended(&one.claim, one.took.as_secs_f64());
            }
        }
        for claim in &turn.claims {
            meters.step_begun(claim, now);
        }
    }

    fn after_turn(&mut self, mut turn: Turn, to_do: ToDo) -> bool {
        if let (Some(lead), Some(riding)) = (&mut self.lead, turn.riding.take()) {
            lead.rode(riding);
        }
        if to_do.renew || !turn.claims.is_empty() {
            self.renewed = Instant::now();
        }
        self.lease_after = (to_do.lease && turn.claims.is_empty()).then(|| Instant::now() + LEASE_AGAIN);
        let did = !turn.settled.is_empty()
            || !turn.claims.is_empty()
            || turn.taken_back.recovered + turn.taken_back.strays > 0
            || turn.expansion.rows() > 0;
        if did {
            self.moved();
        }
        self.measure(&turn);
        let finished = std::mem::take(&mut self.finished);
        for (one, settled) in finished.iter().zip(&turn.settled) {
            self.running -= 1;
            self.held.remove(&one.claim.step_id);
            self.tell(one, *settled);
        }
        if self.running == 0 {
            self.suspect = false;
        }
        self.tell_taken_back(turn.taken_back);
        if to_do.expand {
            self.expanding.note(&turn.expansion);
        }
        let more = match &turn.expansion.expanded {
            // What was expanded may be due at once, and there was a place only after settling.
            Ok(expanded) => expanded.more || (expanded.rows > 0 && turn.claims.is_empty()) || to_do.settle,
            Err(error) => {
                self.complain(format!("{error}; the queue is kept and tried again"));
                false
            }
        };
        for claim in turn.claims {
            self.execute(claim);
        }
        more
    }

    fn tell_taken_back(&self, taken_back: TakenBack) {
        let TakenBack { recovered, strays } = taken_back;
        if recovered > 0 {
            self.log.warn(&format!(
                "took {recovered} steps back from an executor that is gone"
            ));
        }
        if strays > 0 {
            self.log.warn(&format!(
                "took {strays} steps back that were started by a commit that seemed to have failed"
            ));
        }
    }

    fn execute(&mut self, claim: Claim) {
        self.running += 1;
        self.held.insert(claim.step_id, claim.token);
        self.suspect |= claim.lost > 0;
        self.tell_of(
            &claim,
            Level::Debug,
            &format!("{}: {} begins", claim.run_id, claim.step),
        );
        self.workers.execute(claim);
    }
}

fn is_queued(conn: &Connection) -> Result<bool> {
    conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM runchain_queue)")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .during("look at the queue")
}

/// Whether this is what runs: the same step under the same fence.
fn knows(held: &BTreeMap<StepId, i64>, claim: &Claim) -> bool {
    held.get(&claim.step_id) == Some(&claim.token)
}

fn take_back(
    conn: &Connection,
    executor_id: &ExecutorId,
    held: &BTreeMap<StepId, i64>,
    backoff: steps::Backoff,
    now: Millis,
) -> Result<TakenBack> {
    let knows = |claim: &Claim| knows(held, claim);
    Ok(TakenBack {
        recovered: steps::recover(conn, backoff, fastrand::f64(), now)?,
        strays: steps::take_strays(conn, executor_id, knows, backoff, fastrand::f64(), now)?,
    })
}

fn settle(
    conn: &Connection,
    finished: &[Finished],
    backoff: steps::Backoff,
    now: Millis,
) -> Result<Vec<Settled>> {
    finished
        .iter()
        .map(|one| steps::settle(conn, &one.claim, &one.outcome, backoff, fastrand::f64(), now))
        .collect()
}
