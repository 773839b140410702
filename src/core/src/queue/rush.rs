//! The rush that the queue begins with: where it ends, and whose rows stand in it.
//!
//! Told by capture time alone, as in `storm`: rows that follow each other within the gap belong together,
//! and more than one slice of them is a rush, whatever they say.
//!
//! It is read bit by bit before the write lock is taken, since a rush of hundreds of thousands of rows
//! takes a while. What was read stays true: a rush only loses rows, at its front. Its last row leaves it
//! last, so where that one still stands as it was read, so does whatever is left of the rush; where it
//! doesn't, the rush is over, or the queue was empty meanwhile and ids began anew: then nothing that was
//! read counts any more.
//!
//! Runs are kept as hashes. Two that meet in one keep a row waiting that needn't wait, nothing else.

use super::QueueRow;
use crate::error::{During, Result};
use crate::mapping;
use crate::storm::GAP_MS;
use crate::{Millis, RunId};
use rusqlite::{Connection, OptionalExtension};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// Rows that are looked through at most: some ten megabytes of hashes. Behind a longer rush, others wait.
const LOOK_ROWS: usize = 1_000_000;

/// What was read of the rush in front.
#[derive(Debug, Default)]
pub struct Rush {
    hasher: RandomState,
    /// The newest row of each run in it, by the run's hash.
    newest: HashMap<u64, i64>,
    /// Its last row, once that is known.
    ends: Option<Mark>,
    /// The group that was read last: rows within the gap of each other, perhaps not all of them.
    group: Group,
    /// Rows that were read.
    rows: usize,
    is_read: bool,
}

/// A row of the queue, by which it is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    id: i64,
    at: Option<i64>,
    run: Option<u64>,
}

#[derive(Debug, Default)]
struct Group {
    length: usize,
    last: Option<Mark>,
    /// When the last row with a time was captured.
    last_at: Option<i64>,
    /// Hashes of runs and rows, until it is long enough for a rush.
    runs: Vec<(u64, i64)>,
}

impl Rush {
    /// Reads on, at most `rows` rows; `slice` of them make no rush yet. `true`: there is more to read
    /// before [`overtake`](super::overtake()) can take anything.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub fn read_on(&mut self, conn: &Connection, slice: usize, rows: usize) -> Result<bool> {
        let mark = self.ends.filter(|_| self.is_read).or(self.group.last);
        if let Some(mark) = mark
            && !self.stands(conn, mark)?
        {
            self.forget();
        }
        if self.is_read || self.rows >= LOOK_ROWS {
            return Ok(false);
        }
        let after = self.group.last.map_or(i64::MIN, |last| last.id);
        let mut statement = conn
            .prepare_cached(
                "SELECT id, CASE WHEN typeof(at_ms) = 'integer' THEN at_ms END, run_id, old_run_id
                 FROM runchain_queue WHERE id > ?1 ORDER BY id LIMIT ?2",
            )
            .during("look for a rush")?;
        let mut found = statement
            .query((after, i64::try_from(rows).unwrap_or(i64::MAX)))
            .during("look for a rush")?;
        let mut read = 0;
        while let Some(row) = found.next().during("look for a rush")? {
            read += 1;
            let seen = (|| {
                let runs = [mapping::text(row, 2)?, mapping::text(row, 3)?];
                rusqlite::Result::Ok((row.get(0)?, row.get(1)?, runs))
            })();
            let (id, at, runs): (_, _, [Option<String>; 2]) = seen.during("look for a rush")?;
            let runs = runs.map(|run| run.map(|run| self.hasher.hash_one(RunId(run))));
            if !self.take(id, at, runs, slice) {
                return Ok(false);
            }
        }
        self.rows += read;
        let is_all = read < rows;
        if is_all && self.group.length <= slice {
            // Groups may still follow; that they do is seen when something overtakes.
            self.settle();
        }
        Ok(!is_all)
    }

    /// One more row; `false` when it shows where the rush ends, or that there is none.
    fn take(&mut self, id: i64, at: Option<i64>, runs: [Option<u64>; 2], slice: usize) -> bool {
        let goes_on = match (self.group.last_at, at) {
            (Some(last), Some(at)) => at.saturating_sub(last).saturating_abs() <= GAP_MS,
            _ => true,
        };
        if !goes_on {
            if self.group.length <= slice {
                self.settle();
                return false;
            }
            self.ends = self.group.last;
            self.group = Group::default();
        }
        let group = &mut self.group;
        group.length += 1;
        group.last_at = at.or(group.last_at);
        group.last = Some(Mark { id, at, run: runs[0] });
        let runs = runs.into_iter().flatten().map(|run| (run, id));
        if group.length <= slice {
            group.runs.extend(runs);
        } else {
            self.newest.extend(group.runs.drain(..).chain(runs));
        }
        true
    }

    /// Everything of the rush was read, or there is none.
    fn settle(&mut self) {
        if self.ends.is_none() {
            self.forget();
        } else {
            self.group = Group::default();
            self.is_read = true;
        }
    }

    /// The id of its last row, while that stands in the queue; `None` also where not all of it was read.
    pub(super) fn end(&mut self, conn: &Connection) -> Result<Option<i64>> {
        let Some(mark) = self.ends.filter(|_| self.is_read) else {
            return Ok(None);
        };
        if !self.stands(conn, mark)? {
            self.forget();
            return Ok(None);
        }
        Ok(Some(mark.id))
    }

    /// Whether a row of the run stands in it; `first` is the first row of the queue.
    pub(super) fn holds(&self, run_id: &RunId, first: i64) -> bool {
        self.newest
            .get(&self.hasher.hash_one(run_id))
            .is_some_and(|newest| *newest >= first)
    }

    /// What stands behind it has become a rush, too.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    fn stands(&self, conn: &Connection, mark: Mark) -> Result<bool> {
        conn.prepare_cached(
            "SELECT CASE WHEN typeof(at_ms) = 'integer' THEN at_ms END, run_id FROM runchain_queue WHERE id = ?1",
        )
        .and_then(|mut statement| {
            statement
                .query_row([mark.id], |row| {
                    let run = mapping::text(row, 1)?.map(|run| self.hasher.hash_one(RunId(run)));
                    Ok(row.get::<_, Option<i64>>(0)? == mark.at && run == mark.run)
                })
                .optional()
        })
        .map(|found| found == Some(true))
        .during("look for the end of a rush")
    }
}

/// How many rows, from the first on, belong together.
pub(super) fn group_length(rows: &[QueueRow]) -> usize {
    let mut last: Option<Millis> = None;
    let together = rows.iter().take_while(|row| {
        let goes_on = match (last, row.at) {
            (Some(last), Some(at)) => at.0.saturating_sub(last.0).saturating_abs() <= GAP_MS,
            _ => true,
        };
        last = row.at.or(last);
        goes_on
    });
    together.count()
}
