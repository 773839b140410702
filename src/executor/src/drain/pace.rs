//! How much of the time the loop may take while others write.
//!
//! SQLite's writers don't queue: who finds the lock taken sleeps, up to 100 ms in SQLite's own busy
//! handler. A loop that answers every commit of a busy database with commits of its own would take
//! each gap that the sleepers leave, and they would lose most of their throughput. So a pass that
//! others have written before is charged [`SHARE`] times its length. The account pays itself off as
//! time passes; above [`ALLOWANCE`] the loop rests, and what comes meanwhile is one pass's work.
//!
//! Invariant: no rest is longer than [`LONGEST_REST`], so that is how much later a step can start by
//! it. A commit after quiet is within the allowance and is answered at once; where nobody else writes,
//! nothing is charged. What does not belong here: clocks, and what a pass does.

use std::time::{Duration, Instant};

/// A loop takes one part in this many, as long as others write.
const SHARE: u32 = 8;
/// Charged time that is on the house: some commits after quiet.
const ALLOWANCE: Duration = Duration::from_millis(100);
/// However long a pass took.
const LONGEST_REST: Duration = Duration::from_millis(100);

/// The account of one loop.
#[derive(Debug)]
pub(super) struct Pace {
    /// When everything will be paid off.
    paid_at: Instant,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { paid_at: now }
    }

    /// Charges a pass.
    pub(super) fn charge(&mut self, took: Duration, now: Instant) {
        let charged = self.paid_at.max(now) + took * SHARE;
        self.paid_at = charged.min(now + ALLOWANCE + LONGEST_REST);
    }

    /// How long to rest before the next pass.
    pub(super) fn rest(&self, now: Instant) -> Duration {
        self.paid_at.saturating_duration_since(now + ALLOWANCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASS: Duration = Duration::from_millis(2);

    #[test]
    fn a_commit_after_quiet_is_answered_at_once() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        for _ in 0..1_000 {
            assert_eq!(pace.rest(now), Duration::ZERO);
            now += PASS;
            pace.charge(PASS, now);
            now += Duration::from_millis(20);
        }
    }

    #[test]
    fn under_a_stream_of_commits_the_loop_takes_an_eighth_of_the_time() {
        let began = Instant::now();
        let (mut now, mut passes) = (began, 0);
        let mut pace = Pace::new(now);
        while now - began < Duration::from_secs(100) {
            now += pace.rest(now) + PASS;
            pace.charge(PASS, now);
            passes += 1;
        }
        let share = (PASS * passes).as_secs_f64() / (now - began).as_secs_f64();
        assert!((0.11..=0.126).contains(&share), "{share}");
    }

    #[test]
    fn no_rest_is_longer_than_a_tenth_of_a_second() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        for _ in 0..3 {
            pace.charge(Duration::from_secs(10), now);
            assert_eq!(pace.rest(now), Duration::from_millis(100));
        }
        assert_eq!(pace.rest(now + Duration::from_millis(100)), Duration::ZERO);
    }
}
