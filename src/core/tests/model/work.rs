//! The model's work: lease and start, settle, and what brings a step back.

use crate::kinds::CHAIN;
use crate::op::{Ending, Limits};
use crate::world::State::{Dead, Done, Leased, Ready, Running};
use crate::world::{Failure, Hold, Step, World};
use std::collections::BTreeMap;

pub(crate) const LEASE_MS: i64 = 5_000;
pub(crate) const BACKOFF_BASE_MS: i64 = 100;
pub(crate) const BACKOFF_CAP_MS: i64 = 300;
const SUSPECT_PATIENCE_MS: i64 = 5_000;
const FORGOTTEN_AFTER_MS: i64 = 86_400_000;

/// What came of a settling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Settling {
    Done,
    Again(i64),
    Dead,
    Fenced,
}

impl World {
    /// Steps that an executor holds.
    pub(crate) fn held_by(&self, executor: usize) -> Vec<usize> {
        let holds = |step: &Step| step.hold.is_some_and(|hold| hold.executor == executor);
        (0..self.steps.len())
            .filter(|index| holds(&self.steps[*index]))
            .collect()
    }

    fn is_paused(&self, step: &Step) -> bool {
        self.pauses.contains("*") || self.pauses.contains(CHAIN[step.kind].name)
    }

    pub(crate) fn next_due(&self) -> Option<i64> {
        let waits = |step: &&Step| step.state == Ready && !self.is_paused(step);
        self.steps.iter().filter(waits).map(|step| step.ready_at).min()
    }

    pub(crate) fn work_left(&self) -> bool {
        self.next_due().is_some()
            || !self.queue.is_empty()
            || self.steps.iter().any(|step| step.hold.is_some())
    }

    /// Leases and starts for an executor; the steps in the order in which it gets them.
    pub(crate) fn lease(
        &mut self,
        executor: usize,
        of: (Option<&str>, Option<&str>),
        free: usize,
        limits: &Limits,
    ) -> Vec<(usize, Hold)> {
        let mut room: BTreeMap<&str, i64> = limits
            .iter()
            .map(|(kind, limit)| (*kind, *limit as i64))
            .collect();
        for step in self.steps.iter().filter(|step| step.hold.is_some()) {
            if let Some(room) = room.get_mut(CHAIN[step.kind].name) {
                *room -= 1;
            }
        }
        let ending: Vec<usize> = (self.ending.iter())
            .filter(|(_, (_, until))| *until > self.now)
            .map(|(index, _)| *index)
            .collect();
        for index in &ending {
            if let Some(room) = room.get_mut(CHAIN[self.steps[*index].kind].name) {
                *room -= 1;
            }
        }
        let ends = |run: &str| ending.iter().any(|index| self.steps[*index].run == run);
        let mut due: Vec<usize> = (0..self.steps.len())
            .filter(|index| {
                let step = &self.steps[*index];
                step.state == Ready
                    && step.ready_at <= self.now
                    && !self.is_paused(step)
                    && !ends(&step.run)
                    && of.0.is_none_or(|run| step.run == run)
                    && of.1.is_none_or(|kind| CHAIN[step.kind].name == kind)
            })
            .collect();
        let has_room = |room: &BTreeMap<&str, i64>, index: usize| {
            room.get(CHAIN[self.steps[index].kind].name)
                .is_none_or(|room| *room > 0)
        };
        let suspect = due
            .iter()
            .copied()
            .filter(|index| self.steps[*index].lost > 0 && has_room(&room, *index))
            .min_by_key(|index| (self.steps[*index].ready_at, *index));
        let mut leased = Vec::new();
        if free == 0 {
        } else if let Some(suspect) = suspect.filter(|_| self.held_by(executor).is_empty()) {
            leased.push(suspect);
        } else if suspect.is_none_or(|index| self.now - self.steps[index].ready_at < SUSPECT_PATIENCE_MS) {
            due.retain(|index| self.steps[*index].lost == 0);
            due.sort_by_key(|index| {
                let step = &self.steps[*index];
                (CHAIN[step.kind].priority, step.ready_at, *index)
            });
            for index in due {
                if leased.len() < free && has_room(&room, index) {
                    leased.push(index);
                    if let Some(room) = room.get_mut(CHAIN[self.steps[index].kind].name) {
                        *room -= 1;
                    }
                }
            }
        }
        leased
            .into_iter()
            .map(|index| (index, self.hand_out(index, executor)))
            .collect()
    }

    fn hand_out(&mut self, index: usize, executor: usize) -> Hold {
        let hold = self.lease_only(index, executor);
        self.steps[index].state = Running;
        self.steps[index].attempts += 1;
        hold
    }

    pub(crate) fn lease_only(&mut self, index: usize, executor: usize) -> Hold {
        self.leases += 1;
        let hold = Hold {
            executor,
            lease: self.leases,
        };
        self.steps[index].state = Leased;
        self.steps[index].hold = Some(hold);
        hold
    }

    pub(crate) fn ready_steps(&self) -> Vec<usize> {
        (0..self.steps.len())
            .filter(|index| self.steps[*index].state == Ready)
            .collect()
    }

    pub(crate) fn settle(&mut self, index: usize, hold: Hold, ending: Ending, half_pauses: i64) -> Settling {
        let now = self.now;
        let step = &mut self.steps[index];
        if step.hold != Some(hold) || step.state != Running {
            if self.ending.get(&index).is_some_and(|(ending, _)| *ending == hold) {
                self.ending.remove(&index);
            }
            return Settling::Fenced;
        }
        match ending {
            Ending::Done | Ending::DoneWithBag => {
                step.error = None;
                self.end_step(index, Done);
                self.ready_those_that_waited(index);
                Settling::Done
            }
            Ending::Deferred { after_ms } => {
                step.attempts -= 1;
                step.ready_at = now + after_ms;
                self.end_step(index, Ready);
                Settling::Again(now + after_ms)
            }
            Ending::Failed { permanent } => self.fail(index, permanent, "it broke", half_pauses),
        }
    }

    fn fail(&mut self, index: usize, permanent: bool, error: &str, half_pauses: i64) -> Settling {
        let step = &mut self.steps[index];
        let Some(hold) = step.hold else {
            return Settling::Fenced;
        };
        step.error = Some(error.to_owned());
        self.failures.push(Failure {
            step: index,
            attempt: step.attempts,
            executor: hold.executor,
            error: error.to_owned(),
        });
        if permanent || step.attempts >= CHAIN[step.kind].max_attempts {
            self.end_step(index, Dead);
            self.ready_those_that_waited(index);
            return Settling::Dead;
        }
        let doubled = BACKOFF_BASE_MS * 2_i64.pow(step.attempts as u32 - 1);
        step.ready_at = self.now + doubled.min(BACKOFF_CAP_MS) * half_pauses / 2;
        let again = step.ready_at;
        self.end_step(index, Ready);
        Settling::Again(again)
    }

    pub(crate) fn renew(&mut self, executor: usize) {
        self.executors.insert(executor, self.now + LEASE_MS);
    }

    pub(crate) fn recover(&mut self, half_pauses: i64, names: &[String]) -> usize {
        let now = self.now;
        let mut taken = 0;
        for index in 0..self.steps.len() {
            let Some(hold) = self.steps[index].hold else {
                continue;
            };
            if self
                .executors
                .get(&hold.executor)
                .is_some_and(|until| *until > now)
            {
                continue;
            }
            taken += 1;
            if self.steps[index].state == Leased {
                self.end_step(index, Ready);
            } else {
                let error = format!(
                    "executor {} disappeared while it ran this step",
                    names[hold.executor]
                );
                self.fail(index, false, &error, half_pauses);
                self.steps[index].lost += 1;
            }
        }
        self.executors
            .retain(|_, until| *until > now - FORGOTTEN_AFTER_MS);
        taken
    }
}
