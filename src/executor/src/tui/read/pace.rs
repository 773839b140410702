//! What is dear is asked less often: after an answer that took a millisecond it may be asked again
//! fifty milliseconds later, after one that took a second in fifty seconds.

use std::time::{Duration, Instant};

/// A fiftieth of a core at most goes into it.
const SHARE: u32 = 50;
/// What takes less than this is never put off.
const CHEAP: Duration = Duration::from_micros(500);

/// An answer, and when it may be asked for again.
#[derive(Debug, Clone)]
pub(super) struct Paced<T> {
    answer: Option<T>,
    due: Instant,
    is_stale: bool,
}

impl<T> Default for Paced<T> {
    fn default() -> Self {
        Self {
            answer: None,
            due: Instant::now(),
            is_stale: false,
        }
    }
}

impl<T: Clone> Paced<T> {
    /// A new answer if it is time for one, else the last.
    pub(super) fn get<E>(&mut self, ask: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.get_by(Instant::now, ask)
    }

    /// By this clock.
    fn get_by<E>(&mut self, clock: impl Fn() -> Instant, ask: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let began = clock();
        if let Some(answer) = self.answer.as_ref().filter(|_| began < self.due) {
            self.is_stale = true;
            return Ok(answer.clone());
        }
        let answer = ask()?;
        let ended = clock();
        let took = ended.saturating_duration_since(began);
        self.due = if took < CHEAP { began } else { ended + took * SHARE };
        self.is_stale = false;
        self.answer = Some(answer.clone());
        Ok(answer)
    }

    /// The last answer may be outdated: when to ask again.
    pub(super) fn stale_until(&self) -> Option<Instant> {
        self.is_stale.then_some(self.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// A clock that stands unless it is moved: how busy the machine is must not decide what is dear.
    struct Clock(Cell<Instant>);

    impl Clock {
        fn pass(&self, span: Duration) {
            self.0.set(self.0.get() + span);
        }
    }

    fn asked(paced: &mut Paced<i32>, clock: &Clock, answer: i32, takes: Duration) -> i32 {
        let answered = paced.get_by(
            || clock.0.get(),
            || {
                clock.pass(takes);
                Ok::<_, ()>(answer)
            },
        );
        answered.unwrap()
    }

    #[test]
    fn what_was_dear_is_not_asked_at_once_again_but_it_is_said_that_it_must_be() {
        let clock = Clock(Cell::new(Instant::now()));
        let mut paced = Paced::default();
        let dear = Duration::from_millis(2);
        assert_eq!(asked(&mut paced, &clock, 1, dear), 1);
        assert_eq!(paced.stale_until(), None);
        let due = clock.0.get() + Duration::from_millis(100);
        clock.pass(Duration::from_millis(99));
        assert_eq!(asked(&mut paced, &clock, 2, dear), 1);
        assert_eq!(paced.stale_until(), Some(due));
        clock.pass(Duration::from_millis(1));
        assert_eq!(asked(&mut paced, &clock, 3, dear), 3);
        assert_eq!(paced.stale_until(), None);
    }

    #[test]
    fn what_is_cheap_is_always_asked() {
        let clock = Clock(Cell::new(Instant::now()));
        let mut paced = Paced::default();
        let cheap = Duration::from_micros(499);
        assert_eq!(asked(&mut paced, &clock, 1, cheap), 1);
        assert_eq!(asked(&mut paced, &clock, 2, cheap), 2);
    }
}
