//! Expanding the queue inside a turn: how much of it a turn takes, what overtakes a rush, and the rest after a
//! failure.
//!
//! It depends on the user's table, which may be gone for a moment (a table rebuild): it runs inside a
//! savepoint of its own, so that settling never waits for somebody else's migration.

use runchain_core::chain::Chain;
use runchain_core::error::Result;
use runchain_core::queue::{self, Expanded, Rush};
use runchain_core::storm::StormLimit;
use runchain_core::transaction::atomically;
use runchain_core::{Mapping, Millis};
use rusqlite::Connection;
use std::time::{Duration, Instant};

/// Queue rows for one turn at most, and what so many of one rush are a rush for.
pub(super) const ROWS: usize = 1_000;
/// And at least.
const ROWS_LEAST: usize = 50;
/// How long expanding should take in one turn: steps are settled and started once in each.
const TIME: Duration = Duration::from_millis(20);
/// However slow the machine is at this moment, no row is begun after this: others wait for the lock.
const TIME_MOST: Duration = Duration::from_millis(30);
/// Taking what needn't wait behind a rush rests this many times as long as it took, with the lock held.
const OVERTAKE_REST_TIMES: u32 = 10;
/// After expanding failed: the user's table is being rebuilt, perhaps.
const AGAIN: Duration = Duration::from_secs(1);

/// What the loop remembers of the queue from one turn to the next.
pub(super) struct Expanding {
    /// Expanding failed; not again before this.
    pub(super) after: Option<Instant>,
    /// Queue rows that the next turn takes at most.
    rows: usize,
    /// How long turns of this pass took of which more was left in the queue.
    pub(super) backlog_took: Duration,
    /// More was left in the queue than the last turn took.
    pub(super) has_backlog: bool,
    /// The rush that the queue begins with.
    pub(super) rush: Rush,
    /// Nothing overtakes a rush again before this.
    overtake_after: Option<Instant>,
}

/// What one turn has expanded.
pub(super) struct Expansion {
    pub(super) expanded: Result<Expanded>,
    took: Duration,
    /// How long it took to take what needn't wait behind a rush.
    overtaking: Option<Duration>,
}

impl Default for Expanding {
    fn default() -> Self {
        Self {
            after: None,
            rows: ROWS,
            backlog_took: Duration::ZERO,
            has_backlog: false,
            rush: Rush::default(),
            overtake_after: None,
        }
    }
}

impl Expanding {
    /// Takes from the queue, inside the turn's transaction.
    pub(super) fn expand(
        &mut self,
        conn: &Connection,
        mapping: &Mapping,
        chain: &Chain,
        storm: StormLimit,
        now: Millis,
    ) -> Expansion {
        let (mut took, mut overtaking) = (Duration::ZERO, None);
        let may_overtake = self.overtake_after.is_none_or(|at| Instant::now() >= at);
        let expanded = atomically(conn, true, || {
            let began = Instant::now();
            let go_on = || began.elapsed() < TIME_MOST;
            let expanded = queue::expand_while(conn, mapping, chain, self.rows, storm, &go_on, now)?;
            took = began.elapsed();
            if expanded.more && may_overtake {
                let began = Instant::now();
                let go_on = || began.elapsed() < TIME;
                queue::overtake(conn, mapping, chain, &mut self.rush, ROWS, storm, &go_on, now)?;
                overtaking = Some(began.elapsed());
            }
            Ok(expanded)
        });
        Expansion {
            expanded,
            took,
            overtaking,
        }
    }

    /// After the turn's commit: what the next one may do.
    pub(super) fn note(&mut self, expansion: &Expansion) {
        if let Some(took) = expansion.overtaking {
            self.overtake_after = Some(Instant::now() + took * OVERTAKE_REST_TIMES);
        }
        match &expansion.expanded {
            Ok(expanded) => {
                self.has_backlog = expanded.more;
                self.after = None;
                self.rows = rows_next(self.rows, expansion.took);
            }
            Err(_) => self.after = Some(Instant::now() + AGAIN),
        }
    }
}

impl Default for Expansion {
    /// Nothing was.
    fn default() -> Self {
        Self {
            expanded: Ok(Expanded::default()),
            took: Duration::ZERO,
            overtaking: None,
        }
    }
}

impl Expansion {
    /// Rows that were taken.
    pub(super) fn rows(&self) -> usize {
        self.expanded.as_ref().map_or(0, |expanded| expanded.rows)
    }

    /// Whether more was left.
    pub(super) fn has_more(&self) -> bool {
        self.expanded.as_ref().is_ok_and(|expanded| expanded.more)
    }
}

/// How many rows the next turn may take, after so many would have taken this long.
fn rows_next(rows: usize, took: Duration) -> usize {
    if took > TIME {
        (rows / 2).max(ROWS_LEAST)
    } else if took < TIME / 4 {
        (rows * 2).min(ROWS)
    } else {
        rows
    }
}
