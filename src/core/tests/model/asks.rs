//! What requests lead to in the model.

use crate::kinds::CHAIN;
use crate::op::{Request, Target, Verb};
use crate::world::State::{self, Cancelled, Dead, Done, Leased, Ready, Running, Waiting};
use crate::world::{Run, World, phase_of};

impl World {
    pub(crate) fn answer(&mut self, request: &Request) {
        match request {
            Request::Chain(run) => self.answer_chain(run),
            Request::Pause(kind) => {
                self.pauses.insert((*kind).to_owned());
            }
            Request::Resume(kind) => {
                self.pauses.remove(*kind);
            }
            Request::Steps(verb, Target::Step(index)) => self.answer_step(*verb, *index),
            Request::Steps(Verb::Cancel, Target::Run(run)) => {
                self.cancel_run(run);
            }
            Request::Steps(Verb::Retry, Target::Run(run)) => {
                for index in self.chain_of(run) {
                    self.answer_step(Verb::Retry, index);
                }
            }
            Request::Steps(Verb::Redo, Target::Run(run)) => {
                if self.runs.get(run).is_some_and(Run::is_over) {
                    self.chain_again(run);
                }
            }
        }
    }

    fn answer_step(&mut self, verb: Verb, index: usize) {
        let step = self.steps[index].clone();
        let ended = [Done, Dead, Cancelled].contains(&step.state);
        let is_current = self
            .runs
            .get(&step.run)
            .is_some_and(|run| run.is_over() && run.generation == step.generation);
        match verb {
            Verb::Retry if step.state == Dead && is_current => self.again(index, self.turn_of(index)),
            Verb::Redo if ended && is_current => self.again(index, self.turn_of(index)),
            Verb::Cancel if ![Done, Cancelled].contains(&step.state) => {
                self.cancel_step(index);
                self.ready_those_that_waited(index);
            }
            _ => {}
        }
    }

    /// Ready, or waiting for a step before it that isn't through (any more).
    fn turn_of(&self, index: usize) -> State {
        let step = &self.steps[index];
        let is_through = |name: &&str| {
            (0..self.steps.len()).any(|at| {
                let other = &self.steps[at];
                (&other.run, other.generation) == (&step.run, step.generation)
                    && CHAIN[other.kind].name == *name
                    && self.is_through(at)
            })
        };
        if CHAIN[step.kind].after.iter().all(is_through) {
            Ready
        } else {
            Waiting
        }
    }

    /// What somebody asks for again has no deadline any more: that of the run's end is over.
    fn again(&mut self, index: usize, state: State) {
        let now = self.now;
        let step = &mut self.steps[index];
        (step.state, step.attempts, step.ready_at, step.deadline) = (state, 0, now, None);
    }

    /// With those that wait for it and could never run.
    fn cancel_step(&mut self, index: usize) {
        self.take_away(index);
        self.end_step(index, Cancelled);
        if !CHAIN[self.steps[index].kind].required {
            return;
        }
        let (run, generation, kind) = {
            let step = &self.steps[index];
            (step.run.clone(), step.generation, CHAIN[step.kind].name)
        };
        for other in 0..self.steps.len() {
            let it = &self.steps[other];
            if it.run == run
                && it.generation == generation
                && it.state == Waiting
                && CHAIN[it.kind].after.contains(&kind)
            {
                self.cancel_step(other);
            }
        }
    }

    fn answer_chain(&mut self, run: &str) {
        let Some(status) = self.rows.get(run).cloned() else {
            return;
        };
        let known = self.known(run).cloned();
        let phase = phase_of(status.as_deref()).or(known.as_ref().map(|run| run.phase));
        let Some(phase) = phase.filter(|phase| *phase != "active") else {
            return;
        };
        if !known.is_some_and(|run| run.is_over() && run.generation > 0) {
            self.set(run, phase, status);
            return self.begin_generation(run);
        }
        let chain = self.chain_of(run);
        let any = |states: &[State]| {
            chain
                .iter()
                .any(|index| states.contains(&self.steps[*index].state))
        };
        if chain.is_empty() {
            self.observe(run, None, status);
            if self.chain_of(run).is_empty() {
                self.begin_chain(run);
            }
        } else if any(&[Ready, Leased, Running]) {
        } else if any(&[Dead]) {
            for index in chain {
                self.answer_step(Verb::Retry, index);
            }
        } else {
            self.chain_again(run);
        }
    }

    /// Everything that has ended, in the chain's order.
    fn chain_again(&mut self, run: &str) {
        for index in self.chain_of(run) {
            let alone = CHAIN[self.steps[index].kind].after.is_empty();
            if [Done, Dead, Cancelled].contains(&self.steps[index].state) {
                self.again(index, if alone { Ready } else { Waiting });
            }
        }
    }
}
