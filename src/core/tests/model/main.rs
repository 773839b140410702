//! The queue against a model of it: random operations, everything compared after each.
//!
//! The model (`world`, `asks`, `work`) is written from the promises, as simply as possible and without SQL. A failure
//! names its seed and the shortest sequence of operations found that still fails.
//! `RUNCHAIN_MODEL_SEED` repeats one seed, `RUNCHAIN_MODEL_ROUNDS` runs more of them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "a test states what must hold; a panic is how it fails"
)]

mod asks;
mod compare;
mod kinds;
mod op;
mod real;
mod work;
mod world;

use fastrand::Rng;
use op::Op;

/// Operations of one seed: enough for chains of several generations.
const OPS: usize = 500;
const ROUNDS: u64 = 20;

#[test]
fn the_queue_does_what_the_model_does() {
    let number = |name: &str| -> Option<u64> { std::env::var(name).ok()?.parse().ok() };
    let first = number("RUNCHAIN_MODEL_SEED");
    let rounds = number("RUNCHAIN_MODEL_ROUNDS").unwrap_or(if first.is_some() { 1 } else { ROUNDS });
    let first = first.unwrap_or_else(|| fastrand::u64(..u64::MAX / 2));
    println!("RUNCHAIN_MODEL_SEED={first}");
    for seed in first..first + rounds {
        let mut rng = Rng::with_seed(seed);
        let ops: Vec<Op> = (0..OPS).map(|_| op::random(&mut rng)).collect();
        if real::run(&ops).is_err() {
            let shortest = shorten(ops);
            let what = real::run(&shortest).unwrap_err();
            panic!("RUNCHAIN_MODEL_SEED={seed} fails, also with only\n{shortest:#?}\n{what}");
        }
    }
}

/// Leaves out ever smaller parts as long as what is left still fails.
fn shorten(mut ops: Vec<Op>) -> Vec<Op> {
    let mut part = ops.len() / 2;
    while part > 0 {
        let mut at = 0;
        while at < ops.len() {
            let mut fewer = ops.clone();
            fewer.drain(at..(at + part).min(ops.len()));
            if real::run(&fewer).is_err() {
                ops = fewer;
            } else {
                at += part;
            }
        }
        part /= 2;
    }
    ops
}
