//! The fuzz targets' checks on stable Rust: the seeds, and random bytes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub,
    reason = "this crate is tests, and the fuzz targets' sources are a library of their own"
)]

#[path = "../../../fuzz/src/line.rs"]
pub mod line;
#[path = "../../../fuzz/src/script.rs"]
pub mod script;
#[path = "../../../fuzz/src/store.rs"]
mod store;

use std::path::Path;

/// Replays a folder of inputs, in order of name.
fn replay(target: &str, check: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/seeds")
        .join(target);
    let mut seeds: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty());
    for seed in seeds {
        println!("{}", seed.display());
        check(&std::fs::read(seed).unwrap());
    }
}

#[test]
fn every_seed_of_a_line_holds() {
    replay("line", line::check);
}

#[test]
fn every_seed_of_a_file_holds() {
    replay("file", script::check);
}

/// RUNCHAIN_SCRIPTS=N runs more of them, RUNCHAIN_SEED=N begins elsewhere.
#[test]
fn any_script_of_appends_cuts_rotations_reads_and_crashes_stores_each_line_once() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let first: u64 = number("RUNCHAIN_SEED").unwrap_or(0);
    for seed in first..first + number("RUNCHAIN_SCRIPTS").unwrap_or(150) {
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let bytes: Vec<u8> = (0..rng.usize(10..200)).map(|_| rng.u8(..)).collect();
        script::check(&bytes);
    }
}
