//! What tells a storm from a busy day, and from the backlog of a weekend.
//!
//! Judged by capture time, never by when the queue is read: a backlog that piled up over days is none.
//! Ends that follow each other within [`GAP_MS`] are a rush. A rush that would bring the
//! chains begun within `window_ms` above `max_transitions` is held, the whole of it, also what follows
//! it within the same gap. So one statement or one transaction over many rows is held to its last row,
//! and of a slow trickle never more than `max_transitions` pass within `window_ms`; what was held counts
//! for nothing, so that other runs' ends pass again as soon as the rush is over.
//!
//! Only judging belongs here; what is done with a held end stands in `held`.

use crate::error::{During, Result};
use crate::queue::{QueueRow, known_run};
use crate::vocabulary::{Phase, Vocabulary};
use crate::{Mapping, Millis, RunId, flags, held};
use rusqlite::Connection;
use std::collections::{BTreeMap, HashMap};

/// Ends that are no further apart belong to one rush: the statements of one transaction, or the commits
/// of a loop, follow each other more closely.
pub const GAP_MS: i64 = 50;

/// How many chains may begin in which time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StormLimit {
    /// More ends than this within the window are a storm; 0: nothing ever is.
    pub max_transitions: usize,
    /// The window, in capture time.
    pub window_ms: i64,
}

impl StormLimit {
    /// Nothing is ever held.
    pub const OFF: Self = Self {
        max_transitions: 0,
        window_ms: 1,
    };

    fn is_off(self) -> bool {
        self.max_transitions == 0
    }
}

/// What was judged of a batch.
pub(crate) struct Judged {
    /// Which of its rows are ends that are held, by their place in it.
    pub(crate) held: Vec<bool>,
    /// Ends that pass.
    passing: Vec<End>,
    limit: StormLimit,
}

impl Judged {
    /// Writes down how many of the batch's first rows passed: those that were taken.
    pub(crate) fn note(&self, conn: &Connection, taken: usize) -> Result<()> {
        let mut passed = self.passing.iter().filter(|end| end.place < taken).peekable();
        if passed.peek().is_none() {
            return Ok(());
        }
        let mut pace = Pace::load(conn, self.limit)?;
        for end in passed {
            pace.add(end.at);
        }
        pace.save(conn)
    }
}

/// Which rows of a batch are ends that are held. How many pass is written down by [`Judged::note`].
///
/// # Errors
/// Whatever SQLite answers.
pub(crate) fn judge(
    conn: &Connection,
    mapping: &Mapping,
    vocabulary: &Vocabulary,
    rows: &[QueueRow],
    ahead: impl FnOnce() -> Result<Vec<QueueRow>>,
    limit: StormLimit,
    now: Millis,
) -> Result<Judged> {
    let mut judged = Judged {
        held: vec![false; rows.len()],
        passing: Vec::new(),
        limit,
    };
    if limit.is_off() {
        return Ok(judged);
    }
    let mut finder = EndFinder {
        conn,
        mapping,
        vocabulary,
        phases: HashMap::new(),
        now,
    };
    let mut ends = Vec::new();
    for (place, row) in rows.iter().enumerate() {
        if let Some(at) = finder.end_at(row)? {
            ends.push(End { place, at });
        }
    }
    if ends.is_empty() {
        return Ok(judged);
    }
    let mut last_held = held::newest_capture(conn)?;
    let mut pace = Pace::load(conn, limit)?;
    let mut rest = &ends[..];
    let mut ahead = Some(ahead);
    while let Some(first) = rest.first() {
        let length = rush_length(rest.iter().map(|end| end.at));
        let (rush, later) = rest.split_at(length);
        rest = later;
        let goes_on = last_held.is_some_and(|last| apart_ms(last, first.at) <= GAP_MS);
        let mut room = limit.max_transitions.saturating_sub(pace.around(first.at));
        let mut is_held = goes_on || rush.len() > room;
        if let (false, true, Some(last)) = (is_held, later.is_empty(), rush.last())
            && let Some(ahead) = ahead.take()
        {
            // The rest of the rush may stand behind this batch.
            room -= rush.len();
            let mut times = vec![last.at];
            for row in ahead()? {
                times.extend(finder.end_at(&row)?);
                if times.len() > room + 1 {
                    break;
                }
            }
            is_held = rush_length(times.into_iter()) - 1 > room;
        }
        for end in rush {
            if is_held {
                judged.held[end.place] = true;
                last_held = Some(end.at);
            } else {
                pace.add(end.at);
                judged.passing.push(*end);
            }
        }
    }
    Ok(judged)
}

/// A row that begins a chain.
#[derive(Debug, Clone, Copy)]
struct End {
    place: usize,
    at: Millis,
}

fn apart_ms(one: Millis, other: Millis) -> i64 {
    one.0.saturating_sub(other.0).saturating_abs()
}

/// How many of the times, from the first on, follow each other closely.
fn rush_length(mut times: impl Iterator<Item = Millis>) -> usize {
    let Some(mut last) = times.next() else {
        return 0;
    };
    let close = times.take_while(|at| {
        let close = apart_ms(*at, last) <= GAP_MS;
        last = *at;
        close
    });
    1 + close.count()
}

/// Tells by word and by what was last acted on which rows will begin a chain. It follows phases
/// through the batch, so that a repeat is no end and a re-run is one.
struct EndFinder<'a> {
    conn: &'a Connection,
    mapping: &'a Mapping,
    vocabulary: &'a Vocabulary,
    phases: HashMap<RunId, Option<Phase>>,
    now: Millis,
}

impl EndFinder<'_> {
    fn end_at(&mut self, row: &QueueRow) -> Result<Option<Millis>> {
        let Some(run_id) = row.run_id.as_ref() else {
            return Ok(None);
        };
        let status = match row.action.as_str() {
            "insert" | "update" => row.new_status.clone(),
            "flag" => return self.flag_at(row, run_id),
            "look" => self.mapping.status_of(self.conn, run_id)?.flatten(),
            "enqueue_chain" => return self.chain_at(row, run_id),
            _ => return Ok(None),
        };
        let Some(next) = self.vocabulary.phase(status.as_deref()) else {
            return Ok(None);
        };
        let before = self.before(row, run_id, next)?;
        self.phases.insert(run_id.clone(), Some(next));
        let ends = next.is_terminal() && before != Some(next);
        Ok(ends.then(|| row.at.unwrap_or(self.now)))
    }

    fn before(&self, row: &QueueRow, run_id: &RunId, next: Phase) -> Result<Option<Phase>> {
        if let Some(seen) = self.phases.get(run_id) {
            return Ok(*seen);
        }
        for id in [Some(run_id), row.old_run_id.as_ref()].into_iter().flatten() {
            if let Some(run) = known_run(self.conn, id)?.filter(|run| run.phase != Phase::Deleted) {
                let was = if run.is_left_alone() {
                    held::was(self.conn, id)?
                } else {
                    None
                };
                // Going back to what it was before it was held takes that back.
                return Ok(match was {
                    Some(was) if was.phase == Some(next) => was.phase,
                    _ => Some(run.phase),
                });
            }
        }
        Ok(self.vocabulary.phase(row.old_status.as_deref()))
    }

    /// A flag ends only what isn't over.
    fn flag_at(&mut self, row: &QueueRow, run_id: &RunId) -> Result<Option<Millis>> {
        let Some(next) = flags::phase_of(row).filter(|phase| phase.is_terminal()) else {
            return Ok(None);
        };
        let before = self.before(row, run_id, next)?;
        self.phases.insert(run_id.clone(), Some(next));
        let ends = !before.is_some_and(Phase::is_terminal);
        Ok(ends.then(|| row.at.unwrap_or(self.now)))
    }

    /// A request begins a new chain only where the run's end has none.
    fn chain_at(&self, row: &QueueRow, run_id: &RunId) -> Result<Option<Millis>> {
        let begins = known_run(self.conn, run_id)?.is_none_or(|run| run.ended_event_id.is_none());
        Ok(begins.then(|| row.at.unwrap_or(self.now)))
    }
}

/// How many ends were let through, by slots of capture time; read and written once for a batch.
struct Pace {
    slots: BTreeMap<i64, i64>,
    slot_ms: i64,
    window_ms: i64,
    newest: Option<Millis>,
}

impl Pace {
    fn load(conn: &Connection, limit: StormLimit) -> Result<Self> {
        let mut statement = conn
            .prepare_cached("SELECT slot_ms, ends FROM runchain_pace")
            .during("read how many runs ended lately")?;
        let slots = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .and_then(Iterator::collect::<rusqlite::Result<_>>)
            .during("read how many runs ended lately")?;
        Ok(Self {
            slots,
            slot_ms: (limit.window_ms / 10).max(1),
            window_ms: limit.window_ms,
            newest: None,
        })
    }

    /// Ends within the window of a time; later ones, too, because clocks are set back.
    fn around(&self, at: Millis) -> usize {
        let window = at.0.saturating_sub(self.window_ms)..=at.0.saturating_add(self.window_ms);
        let ends: i64 = self.slots.range(window).map(|(_, ends)| *ends).sum();
        usize::try_from(ends).unwrap_or(0)
    }

    fn add(&mut self, at: Millis) {
        let slot = at.0.div_euclid(self.slot_ms).saturating_mul(self.slot_ms);
        *self.slots.entry(slot).or_default() += 1;
        self.newest = Some(at);
    }

    fn save(&self, conn: &Connection) -> Result<()> {
        let Some(newest) = self.newest else {
            return Ok(());
        };
        let window = newest.0.saturating_sub(self.window_ms)..=newest.0.saturating_add(self.window_ms);
        conn.prepare_cached("DELETE FROM runchain_pace WHERE slot_ms < ?1 OR slot_ms > ?2")
            .and_then(|mut statement| statement.execute((window.start(), window.end())))
            .during("note how many runs ended lately")?;
        let mut insert = conn
            .prepare_cached("INSERT OR REPLACE INTO runchain_pace(slot_ms, ends) VALUES (?1, ?2)")
            .during("note how many runs ended lately")?;
        for slot in self.slots.range(window) {
            insert.execute(slot).during("note how many runs ended lately")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rush_ends_where_two_ends_are_further_apart_than_the_gap() {
        let length = |times: &[i64]| rush_length(times.iter().map(|at| Millis(*at)));
        assert_eq!(length(&[]), 0);
        assert_eq!(length(&[5]), 1);
        assert_eq!(length(&[0, 50, 100, 151, 152]), 3);
        // A clock that was set back by little changes nothing.
        assert_eq!(length(&[120, 115, 120, 2]), 3);
    }
}
