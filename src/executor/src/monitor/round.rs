//! When which runs are due: one round over all monitored runs in each heartbeat interval, in slices
//! of bounded size, in order of the run ids. Arithmetic only.

use runchain_core::{Millis, RunId};

/// Between two slices when the rounds can't keep up: others have the loop for that long.
const LEAST_PAUSE_MS: i64 = 5;

/// Where the round stands.
#[derive(Debug)]
pub(super) struct Round {
    heartbeat_ms: i64,
    slice_runs: i64,
    number: u64,
    /// First run id that is still due; `None` between two rounds.
    from: Option<String>,
    began_at: Millis,
    /// Monitored runs, as far as is known.
    runs: i64,
    next_at: Option<Millis>,
}

impl Round {
    /// The first round is due at once.
    pub(super) fn new(heartbeat_ms: i64, slice_runs: u32) -> Self {
        Self {
            heartbeat_ms: heartbeat_ms.max(LEAST_PAUSE_MS),
            slice_runs: i64::from(slice_runs).max(1),
            number: 0,
            from: None,
            began_at: Millis(0),
            runs: 0,
            next_at: Some(Millis(i64::MIN)),
        }
    }

    /// How many rounds have begun.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Whether some of the round's slices are still to come.
    pub(super) fn is_under_way(&self) -> bool {
        self.from.is_some()
    }

    /// First run id of the next slice.
    pub(super) fn from(&self) -> &str {
        self.from.as_deref().unwrap_or_default()
    }

    /// When the next slice is due; `None` while nothing is monitored.
    pub(super) fn next_at(&self) -> Option<Millis> {
        self.next_at
    }

    /// Whether a slice is due. A time further away than any pause means that the clock was set back.
    pub(super) fn is_due(&self, now: Millis) -> bool {
        self.next_at
            .is_some_and(|next| next <= now || next > now.plus(self.heartbeat_ms))
    }

    /// Monitors were started or stopped: the slices to come follow each other faster or slower.
    pub(super) fn adjust(&mut self, started: usize, stopped: usize) {
        let count = |runs: usize| i64::try_from(runs).unwrap_or(i64::MAX);
        self.runs = (self.runs + count(started) - count(stopped)).max(0);
    }

    /// Nothing is monitored any more.
    pub(super) fn sleep(&mut self) {
        self.next_at = None;
    }

    /// Something is monitored (and has just had its first heartbeat).
    pub(super) fn wake(&mut self, now: Millis) {
        self.next_at.get_or_insert(now.plus(self.heartbeat_ms));
    }

    /// A round over so many runs begins.
    pub(super) fn begin(&mut self, now: Millis, runs: i64) {
        self.number += 1;
        self.from = Some(String::new());
        self.began_at = now;
        self.runs = runs;
    }

    /// A slice is done, up to this run; others follow.
    pub(super) fn go_on_after(&mut self, last: &RunId, now: Millis) {
        // The smallest text greater than another is that text and a NUL.
        self.from = Some(format!("{}\0", last.as_str()));
        let slices = (self.runs + self.slice_runs - 1) / self.slice_runs;
        let pause_ms = (self.heartbeat_ms / slices.max(1)).max(LEAST_PAUSE_MS);
        self.next_at = Some(now.plus(pause_ms));
    }

    /// The last slice is done; the next round begins one interval after this one began.
    pub(super) fn end(&mut self, now: Millis) {
        self.from = None;
        let soonest = now.plus(LEAST_PAUSE_MS);
        self.next_at = Some(self.began_at.plus(self.heartbeat_ms).max(soonest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_runs_are_spread_over_the_interval() {
        let mut round = Round::new(10_000, 200);
        assert!(round.is_due(Millis(0)));
        round.begin(Millis(1_000), 100_000);
        round.go_on_after(&RunId("a".into()), Millis(1_000));
        assert_eq!(round.next_at(), Some(Millis(1_020)));
        assert_eq!(round.from(), "a\0");
        assert!(!round.is_due(Millis(1_019)));
        assert!(round.is_due(Millis(1_020)));
    }

    #[test]
    fn runs_that_come_during_a_round_make_it_faster() {
        let mut round = Round::new(10_000, 200);
        round.begin(Millis(0), 400);
        round.adjust(99_600, 0);
        round.go_on_after(&RunId("a".into()), Millis(0));
        assert_eq!(round.next_at(), Some(Millis(20)));
    }

    #[test]
    fn rounds_follow_each_other_by_the_interval() {
        let mut round = Round::new(10_000, 200);
        round.begin(Millis(0), 250);
        round.go_on_after(&RunId("a".into()), Millis(0));
        assert_eq!(round.next_at(), Some(Millis(5_000)));
        round.end(Millis(5_100));
        assert_eq!(round.next_at(), Some(Millis(10_000)));
        round.begin(Millis(10_000), 1);
        round.end(Millis(30_000));
        assert_eq!(
            round.next_at(),
            Some(Millis(30_005)),
            "late, but others have the loop"
        );
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_end_the_heartbeats() {
        let mut round = Round::new(10_000, 200);
        round.begin(Millis(3_600_000), 1);
        round.end(Millis(3_600_000));
        assert!(!round.is_due(Millis(3_600_001)));
        assert!(round.is_due(Millis(1_000)));
    }

    #[test]
    fn nothing_is_due_while_nothing_is_monitored() {
        let mut round = Round::new(10_000, 200);
        round.sleep();
        assert!(!round.is_due(Millis(i64::MAX)));
        round.wake(Millis(50));
        assert_eq!(round.next_at(), Some(Millis(10_050)));
    }
}
