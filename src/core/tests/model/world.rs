//! The model: what the queue promises, as maps and vectors. No SQL, no token: a claim is good while
//! its step is still held by the very lease that made it. Here: what writes lead to.

use crate::kinds::CHAIN;
use crate::op::{Request, Write};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Waiting,
    Ready,
    Leased,
    Running,
    Done,
    Dead,
    Cancelled,
}

use State::{Cancelled, Done, Ready, Waiting};

/// How long the end of a cancelled step is waited for.
const ENDING_MS: i64 = 30_000;

/// What holds a step: the executor, and which of all leases it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) executor: usize,
    pub(crate) lease: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) run: String,
    pub(crate) generation: i64,
    pub(crate) kind: usize,
    pub(crate) state: State,
    pub(crate) ready_at: i64,
    pub(crate) attempts: i64,
    pub(crate) lost: i64,
    pub(crate) hold: Option<Hold>,
    pub(crate) deadline: Option<i64>,
    pub(crate) error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) phase: &'static str,
    pub(crate) status: Option<String>,
    pub(crate) generation: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) step: usize,
    pub(crate) attempt: i64,
    pub(crate) executor: usize,
    pub(crate) error: String,
}

#[derive(Debug, Clone)]
pub(crate) enum Entry {
    Insert(String, Option<String>),
    Update(String, String, Option<String>, Option<String>),
    Delete(String),
    Ask(Request),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    pub(crate) now: i64,
    /// The orchestrator's table.
    pub(crate) rows: BTreeMap<String, Option<String>>,
    pub(crate) queue: Vec<Entry>,
    pub(crate) runs: BTreeMap<String, Run>,
    /// In the order in which they came.
    pub(crate) steps: Vec<Step>,
    pub(crate) failures: Vec<Failure>,
    pub(crate) pauses: BTreeSet<String>,
    /// Until when each executor's lease holds.
    pub(crate) executors: BTreeMap<usize, i64>,
    pub(crate) leases: usize,
    /// Steps that were cancelled while they ran: whose end isn't known, and until when it is waited for.
    pub(crate) ending: BTreeMap<usize, (Hold, i64)>,
}

pub(crate) fn phase_of(status: Option<&str>) -> Option<&'static str> {
    match status?.to_ascii_lowercase().as_str() {
        "running" | "pending" => Some("active"),
        "completed" | "done" => Some("completed"),
        "failed" => Some("failed"),
        "cancelled" => Some("cancelled"),
        _ => None,
    }
}

impl Run {
    pub(crate) fn is_over(&self) -> bool {
        ["completed", "failed", "cancelled"].contains(&self.phase)
    }
}

impl World {
    pub(crate) fn at(now: i64) -> Self {
        Self {
            now,
            ..Self::default()
        }
    }

    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// The orchestrator's write, and what the triggers append.
    pub(crate) fn write(&mut self, run: &str, write: &Write) {
        let id = run.to_owned();
        let old = self.rows.get(run).cloned();
        match write {
            Write::OrIgnore(status) if old.is_none() => self.insert(id, status),
            Write::OrReplace(status) => self.insert(id, status),
            Write::Upsert(status) if old.is_none() => self.insert(id, status),
            Write::Upsert(status) | Write::Update(status) => {
                if let Some(old) = old.filter(|old| old.as_deref() != *status) {
                    let new = status.map(str::to_owned);
                    self.rows.insert(id.clone(), new.clone());
                    self.queue.push(Entry::Update(id.clone(), id, old, new));
                }
            }
            Write::Delete if old.is_some() => {
                self.rows.remove(run);
                self.queue.push(Entry::Delete(id));
            }
            Write::OrIgnore(_) | Write::Delete | Write::RolledBack(_) => {}
        }
    }

    fn insert(&mut self, id: String, status: &Option<&str>) {
        let status = status.map(str::to_owned);
        self.rows.insert(id.clone(), status.clone());
        self.queue.push(Entry::Insert(id, status));
    }

    pub(crate) fn rename(&mut self, old: &str, new: &str) {
        if let Some(status) = self.rows.remove(old) {
            self.rows.insert(new.to_owned(), status.clone());
            self.queue.push(Entry::Update(
                old.to_owned(),
                new.to_owned(),
                status.clone(),
                status,
            ));
        }
    }

    pub(crate) fn ask(&mut self, request: Request) {
        self.queue.push(Entry::Ask(request));
    }

    pub(crate) fn expand(&mut self, limit: usize) {
        for entry in self
            .queue
            .drain(..limit.min(self.queue.len()))
            .collect::<Vec<_>>()
        {
            match entry {
                Entry::Insert(run, status) => self.observe(&run, None, status),
                Entry::Update(old, new, before, status) => {
                    if old != new {
                        self.take_over(&old, &new);
                    }
                    self.observe(&new, before.as_deref(), status);
                }
                Entry::Delete(run) => self.look_whether_gone(&run),
                Entry::Ask(request) => self.answer(&request),
            }
        }
    }

    pub(crate) fn known(&self, run: &str) -> Option<&Run> {
        self.runs.get(run).filter(|run| run.phase != "deleted")
    }

    pub(crate) fn set(&mut self, run: &str, phase: &'static str, status: Option<String>) {
        let generation = self.runs.get(run).map_or(0, |run| run.generation);
        let now = Run {
            phase,
            status,
            generation,
        };
        self.runs.insert(run.to_owned(), now);
    }

    pub(crate) fn observe(&mut self, run: &str, before: Option<&str>, status: Option<String>) {
        if self.known(run).is_none() {
            self.set(run, phase_of(before).unwrap_or("active"), status.clone());
        }
        let was = self.runs[run].phase;
        let phase = phase_of(status.as_deref()).unwrap_or(was);
        self.set(run, phase, status);
        if phase != was {
            self.cancel_run(run);
            if phase != "active" {
                self.begin_generation(run);
            }
        }
    }

    pub(crate) fn begin_generation(&mut self, run: &str) {
        self.cancel_run(run);
        if let Some(run) = self.runs.get_mut(run) {
            run.generation += 1;
        }
        self.begin_chain(run);
    }

    pub(crate) fn begin_chain(&mut self, run: &str) {
        for (kind, it) in CHAIN.iter().enumerate() {
            self.steps.push(Step {
                run: run.to_owned(),
                generation: self.runs[run].generation,
                kind,
                state: if it.after.is_empty() { Ready } else { Waiting },
                ready_at: self.now + it.delay_ms,
                attempts: 0,
                lost: 0,
                hold: None,
                deadline: it.deadline_ms.map(|deadline_ms| self.now + deadline_ms),
                error: None,
            });
        }
    }

    fn look_whether_gone(&mut self, run: &str) {
        if !self.rows.contains_key(run)
            && let Some(known) = self.known(run).cloned()
        {
            self.set(run, "deleted", known.status);
            self.cancel_run(run);
        }
    }

    /// New ids are fresh here: nobody else's history stands in the way.
    fn take_over(&mut self, old: &str, new: &str) {
        if self.rows.contains_key(old) {
            return;
        }
        let Some(run) = self.known(old).cloned() else {
            return;
        };
        let is_over = run.is_over();
        self.set(old, "deleted", run.status.clone());
        self.runs.insert(new.to_owned(), run);
        if self.cancel_run(old) && is_over {
            self.begin_chain(new);
        }
    }

    /// Whether what comes after this step need not wait for it any more.
    pub(crate) fn is_through(&self, index: usize) -> bool {
        let step = &self.steps[index];
        step.state == Done || (!CHAIN[step.kind].required && [State::Dead, Cancelled].contains(&step.state))
    }

    /// Readies the steps of the same chain that wait for nothing any more.
    pub(crate) fn ready_those_that_waited(&mut self, index: usize) {
        let (run, generation) = (self.steps[index].run.clone(), self.steps[index].generation);
        let chain: Vec<usize> = (0..self.steps.len())
            .filter(|at| self.steps[*at].run == run && self.steps[*at].generation == generation)
            .collect();
        let through: Vec<&str> = (chain.iter())
            .filter(|at| self.is_through(**at))
            .map(|at| CHAIN[self.steps[*at].kind].name)
            .collect();
        for at in chain {
            let kind = &CHAIN[self.steps[at].kind];
            if self.steps[at].state == Waiting && kind.after.iter().all(|need| through.contains(need)) {
                self.steps[at].state = Ready;
                self.steps[at].ready_at = self.now + kind.delay_ms;
            }
        }
    }

    pub(crate) fn end_step(&mut self, index: usize, state: State) {
        self.steps[index].state = state;
        self.steps[index].hold = None;
    }

    /// Who executes it has still to end it.
    pub(crate) fn take_away(&mut self, index: usize) {
        let step = &self.steps[index];
        if let (State::Running, Some(hold)) = (step.state, step.hold) {
            self.ending.insert(index, (hold, self.now + ENDING_MS));
        }
    }

    /// Cancels what has not ended, in any generation; whether there was anything.
    pub(crate) fn cancel_run(&mut self, run: &str) -> bool {
        let mut any = false;
        for index in 0..self.steps.len() {
            if self.steps[index].run == run && ![Done, Cancelled].contains(&self.steps[index].state) {
                self.take_away(index);
                self.end_step(index, Cancelled);
                any = true;
            }
        }
        any
    }

    pub(crate) fn chain_of(&self, run: &str) -> Vec<usize> {
        let generation = self.runs.get(run).map_or(0, |run| run.generation);
        let of_chain = |step: &Step| step.run == run && step.generation == generation;
        (0..self.steps.len())
            .filter(|index| of_chain(&self.steps[*index]))
            .collect()
    }
}
