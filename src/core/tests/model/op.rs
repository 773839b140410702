//! What can happen to a queue. Indexes are taken modulo what there is, so that any part of a
//! sequence is a sequence again and a failing one can be shortened.

use crate::kinds::CHAIN;
use fastrand::Rng;
use std::collections::BTreeMap;

pub(crate) const EXECUTORS: usize = 3;

/// How many of a kind may be held at once.
pub(crate) type Limits = BTreeMap<&'static str, usize>;

#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// By index into the runs' names.
    Write(usize, Write),
    Rename(usize),
    Ask(Asked),
    Expand {
        limit: usize,
    },
    Lease {
        executor: usize,
        of: Wanted,
        free: usize,
        limits: Limits,
    },
    /// Another version's executor leases this one of the ready steps, and never starts it.
    LeaseOnly {
        executor: usize,
        ready: usize,
    },
    /// By index into all claims that were ever handed out.
    Settle(usize, Ending, i64),
    Renew(usize),
    Leave(usize),
    /// Every executor but this one falls silent for longer than a lease; then somebody recovers.
    Silence(usize, i64),
    Recover(i64),
    Wait {
        ms: i64,
    },
}

#[derive(Debug, Clone)]
pub(crate) enum Write {
    OrIgnore(Option<&'static str>),
    OrReplace(Option<&'static str>),
    Upsert(Option<&'static str>),
    Update(Option<&'static str>),
    RolledBack(Option<&'static str>),
    Delete,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted {
    Due,
    OfRun(usize),
    OfStep(usize, &'static str),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Ending {
    Done,
    DoneWithBag,
    Failed { permanent: bool },
    Deferred { after_ms: i64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Retry,
    Cancel,
    Redo,
}

/// A request before its indexes are looked up.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asked {
    Chain(usize),
    OfRun(Verb, usize),
    OfStep(Verb, usize),
    Pause(&'static str),
    Resume(&'static str),
}

/// A request as it is queued.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    Chain(String),
    Steps(Verb, Target),
    Pause(&'static str),
    Resume(&'static str),
}

#[derive(Debug, Clone)]
pub(crate) enum Target {
    Run(String),
    /// By index into the steps.
    Step(usize),
}

/// Terminal words are in the majority: what happens after the end is what is tested.
const WORDS: [Option<&str>; 10] = [
    Some("RUNNING"),
    Some("pending"),
    Some("COMPLETED"),
    Some("completed"),
    Some("DONE"),
    Some("FAILED"),
    Some("FAILED"),
    Some("CANCELLED"),
    Some("Zwischenlager"),
    None,
];

fn any<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(..of.len())]
}

fn kind(rng: &mut Rng) -> &'static str {
    CHAIN[rng.usize(..CHAIN.len())].name
}

pub(crate) fn random(rng: &mut Rng) -> Op {
    let executor = rng.usize(..EXECUTORS);
    let index = rng.usize(..);
    // Late claims are the rarer ones: counted from the newest.
    let claim = if rng.u8(..4) > 0 {
        rng.usize(..4)
    } else {
        rng.usize(..30)
    };
    let half_pauses = rng.i64(0..=2);
    match rng.u8(..100) {
        0..14 => Op::Write(index, write(rng)),
        14 => Op::Rename(index),
        15..22 => Op::Ask(asked(rng, index)),
        22..36 => Op::Expand {
            limit: any(rng, &[1, 2, 3, 1_000]),
        },
        36..54 => Op::Lease {
            executor,
            of: match rng.u8(..8) {
                0 => Wanted::OfRun(index),
                1 => Wanted::OfStep(index, kind(rng)),
                _ => Wanted::Due,
            },
            free: any(rng, &[0, 1, 1, 2, 3, 50]),
            limits: (0..rng.usize(..3)).map(|_| (kind(rng), rng.usize(..3))).collect(),
        },
        54..56 => Op::LeaseOnly {
            executor,
            ready: index,
        },
        56..86 => Op::Settle(claim, ending(rng), half_pauses),
        86..88 => Op::Renew(executor),
        88 => Op::Leave(executor),
        89..91 => Op::Silence(executor, half_pauses),
        91 => Op::Recover(half_pauses),
        _ => Op::Wait {
            ms: any(rng, &[1, 100, 100, 400, 1_000, 6_000, 100_000_000]),
        },
    }
}

fn write(rng: &mut Rng) -> Write {
    let word = any(rng, &WORDS);
    match rng.u8(..10) {
        0 => Write::OrIgnore(word),
        1..3 => Write::OrReplace(word),
        3..5 => Write::Upsert(word),
        5..8 => Write::Update(word),
        8 => Write::RolledBack(word),
        _ => Write::Delete,
    }
}

fn asked(rng: &mut Rng, index: usize) -> Asked {
    let verb = any(rng, &[Verb::Retry, Verb::Cancel, Verb::Redo]);
    let what = if rng.bool() { "*" } else { kind(rng) };
    match rng.u8(..8) {
        0..2 => Asked::Chain(index),
        2 => Asked::OfRun(verb, index),
        3..5 => Asked::OfStep(verb, index),
        5 => Asked::Pause(what),
        _ => Asked::Resume(what),
    }
}

fn ending(rng: &mut Rng) -> Ending {
    match rng.u8(..10) {
        0..5 => Ending::Done,
        5 => Ending::DoneWithBag,
        6..8 => Ending::Failed { permanent: false },
        8 => Ending::Failed { permanent: true },
        _ => Ending::Deferred {
            after_ms: any(rng, &[0, 250, 3_000]),
        },
    }
}
