//! A day in the life of the service, compressed to a few seconds: `scripts/soak service` makes it longer.

use crate::support::{python_program, repository, run};
use std::process::Command;

/// Runs that fail, executors that are stopped and killed, channels that are slow, wrong, down: and then each
/// failure was told once to each channel, each chain is through, and nothing is lost or double.
#[test]
fn after_a_day_of_failures_restarts_and_outages_the_books_balance() {
    let mut day = Command::new(python_program());
    day.arg(repository().join("scripts/day"))
        .arg(env!("CARGO_BIN_EXE_runchain"))
        .args(["--seconds", "10"]);
    let finished = run(&mut day, "");
    assert!(
        finished.success && finished.stdout.ends_with("The books balance.\n"),
        "{}{}",
        finished.stdout,
        finished.stderr
    );
}
