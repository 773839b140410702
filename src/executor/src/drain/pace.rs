//! How much of the time the loop may take while others write.
//!
//! SQLite's writers don't queue: who finds the lock taken sleeps, up to 100 ms in SQLite's own busy
//! handler. A loop that answers every commit of a busy database with commits of its own would take
//! each gap that the sleepers leave, and they would lose most of their throughput. So a pass in a
//! stream of others' commits is charged [`SHARE`] times its length. The account pays itself off as
//! time passes; above [`ALLOWANCE`] the loop rests, and what comes meanwhile is one pass's work.
//!
//! A backlog in the queue is taken in by turns as long, each followed by a rest of its own: steps that have
//! finished meanwhile, and those that are due, don't wait for it.
//!
//! Invariant: no rest is longer than [`LONGEST_REST`], so that is how much later a step can start by
//! it. A commit after quiet is answered at once and is no stream. Where nobody else writes, nothing is
//! charged. What does not belong here: clocks, and what a pass does.

use std::time::{Duration, Instant};

/// A loop takes one part in this many, as long as others write.
const SHARE: u32 = 16;
/// Charged time that is on the house: two commits that happen to meet.
const ALLOWANCE: Duration = Duration::from_millis(100);
/// However long a pass took.
const LONGEST_REST: Duration = Duration::from_millis(100);

/// Commits of others this soon after a pass, or during one, are a stream.
const SOON: Duration = Duration::from_millis(50);

/// The account of one loop.
#[derive(Debug)]
pub(super) struct Pace {
    /// When everything will be paid off.
    paid_at: Instant,
    /// When the last pass was over.
    passed_at: Option<Instant>,
    /// The backlog rests until then.
    backlog_at: Instant,
}

/// A pass, and whether others have committed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass {
    pub(super) began: Instant,
    pub(super) ended: Instant,
    /// How much of it went into a backlog.
    pub(super) backlog: Duration,
    /// Between the one before and this one.
    pub(super) others_before: bool,
    /// Meanwhile.
    pub(super) others_during: bool,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            paid_at: now,
            passed_at: None,
            backlog_at: now,
        }
    }

    /// Charges a pass, if it was one of a stream.
    pub(super) fn charge(&mut self, pass: Pass) {
        // What came during a rest came soon: the loop would have answered it otherwise.
        let ready_at = self
            .passed_at
            .replace(pass.ended)
            .map(|passed| passed.max(self.rests_until()));
        let soon = ready_at.is_some_and(|ready| pass.began.saturating_duration_since(ready) < SOON);
        if pass.others_during || (pass.others_before && soon) {
            self.backlog_at = pass.ended + (pass.backlog * SHARE).min(LONGEST_REST);
            let took = (pass.ended - pass.began).saturating_sub(pass.backlog);
            let charged = self.paid_at.max(pass.ended) + took * SHARE;
            self.paid_at = charged.min(pass.ended + ALLOWANCE + LONGEST_REST);
        }
    }

    /// How long a backlog rests.
    pub(super) fn backlog_rest(&self, now: Instant) -> Duration {
        self.backlog_at.saturating_duration_since(now)
    }

    fn rests_until(&self) -> Instant {
        self.paid_at.checked_sub(ALLOWANCE).unwrap_or(self.paid_at)
    }

    /// How long to rest before the next pass.
    pub(super) fn rest(&self, now: Instant) -> Duration {
        self.rests_until().saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASS_MS: u64 = 2;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn pass(pace: &mut Pace, began: Instant, took: Duration, others: (bool, bool)) -> Instant {
        let ended = began + took;
        pace.charge(Pass {
            began,
            ended,
            backlog: Duration::ZERO,
            others_before: others.0,
            others_during: others.1,
        });
        ended
    }

    #[test]
    fn a_commit_after_quiet_is_answered_at_once() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        for _ in 0..1_000 {
            assert_eq!(pace.rest(now), Duration::ZERO);
            // Slower than a sixteenth of the time; then the steps are settled.
            now = pass(&mut pace, now, ms(30), (true, false));
            now = pass(&mut pace, now, ms(30), (false, false));
            now += SOON;
        }
    }

    #[test]
    fn who_writes_alone_never_rests() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        for _ in 0..1_000 {
            now = pass(&mut pace, now, ms(PASS_MS), (false, false));
            assert_eq!(pace.rest(now), Duration::ZERO);
        }
    }

    #[test]
    fn in_a_stream_of_commits_the_loop_takes_a_sixteenth_of_the_time() {
        for others in [(true, false), (false, true), (true, true)] {
            let began = Instant::now();
            let (mut now, mut passes) = (began, 0);
            let mut pace = Pace::new(now);
            while now - began < Duration::from_secs(100) {
                now = pass(&mut pace, now, ms(PASS_MS), others);
                now += pace.rest(now);
                passes += 1;
            }
            let share = (ms(PASS_MS) * passes).as_secs_f64() / (now - began).as_secs_f64();
            assert!((0.05..=0.063).contains(&share), "{others:?}: {share}");
        }
    }

    #[test]
    fn a_backlog_rests_by_itself_and_only_where_others_write() {
        let now = Instant::now();
        for (others, rests) in [(true, true), (false, false)] {
            let mut pace = Pace::new(now);
            pace.charge(Pass {
                began: now,
                ended: now + ms(41),
                backlog: ms(40),
                others_before: false,
                others_during: others,
            });
            assert_eq!(pace.rest(now + ms(41)), Duration::ZERO);
            let rest = if rests { LONGEST_REST } else { Duration::ZERO };
            assert_eq!(pace.backlog_rest(now + ms(41)), rest);
        }
    }

    #[test]
    fn no_rest_is_longer_than_a_tenth_of_a_second() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        for _ in 0..3 {
            now = pass(&mut pace, now, Duration::from_secs(10), (true, true));
            assert_eq!(pace.rest(now), ms(100));
        }
        assert_eq!(pace.rest(now + ms(100)), Duration::ZERO);
    }
}
