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
        let began = Instant::now();
        if let Some(answer) = self.answer.as_ref().filter(|_| began < self.due) {
            self.is_stale = true;
            return Ok(answer.clone());
        }
        let answer = ask()?;
        let took = began.elapsed();
        self.due = if took < CHEAP {
            began
        } else {
            Instant::now() + took * SHARE
        };
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

    #[test]
    fn what_was_dear_is_not_asked_at_once_again_but_it_is_said_that_it_must_be() {
        let mut paced = Paced::default();
        let dear = || {
            std::thread::sleep(Duration::from_millis(2));
            Ok::<_, ()>(1)
        };
        assert_eq!(paced.get(dear), Ok(1));
        assert_eq!(paced.stale_until(), None);
        assert_eq!(paced.get(|| Ok::<_, ()>(2)), Ok(1));
        assert!(paced.stale_until().unwrap() > Instant::now() + Duration::from_millis(50));
    }

    #[test]
    fn what_is_cheap_is_always_asked() {
        let mut paced = Paced::default();
        assert_eq!(paced.get(|| Ok::<_, ()>(1)), Ok(1));
        assert_eq!(paced.get(|| Ok::<_, ()>(2)), Ok(2));
    }
}
