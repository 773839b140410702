//! Expanding the queue: what the triggers appended, judged in order, becomes phases, events and
//! steps.
//!
//! One call is one transaction of the caller's: the rows it read are gone together with everything
//! that they led to, or nothing happened. The judgement compares with the phase last acted on
//! (`runchain_runs`), so a status that arrives five times is one event. Requests come through the
//! same door and are judged in `request`. Doing the steps belongs to the executor.
//!
//! | file | holds |
//! | --- | --- |
//! | `row` | a row as it was appended |
//! | `known` | what was last acted on |
//! | `judge` | what a status means for a run |
//! | `look` | what the user's row says |
//! | `rush` | the rush that the queue begins with |
//! | `overtake` | which rows needn't wait behind it |

mod judge;
mod known;
mod look;
mod overtake;
mod row;
mod rush;

pub use known::{KnownRun, known_run};
pub use overtake::overtake;
pub(crate) use row::QueueRow;
pub use rush::Rush;

use crate::chain::Chain;
use crate::error::{During, Result};
use crate::event::{self, EventType, NewEvent};
use crate::flags;
use crate::forget;
use crate::held::Keeper;
use crate::request;
use crate::storm::{self, StormLimit};
use crate::vocabulary::Vocabulary;
use crate::{Mapping, Millis, RunId};
use row::read;
use rusqlite::{Connection, OptionalExtension};
use serde_json::Value as Json;
use std::cell::{Cell, RefCell};

/// What one expansion did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expanded {
    /// Queue rows that were taken.
    pub rows: usize,
    /// Whether the limit was reached, so that more may be waiting.
    pub more: bool,
}

/// Takes at most `limit` rows from the queue, oldest first, and holds nothing back.
///
/// # Errors
/// As [`expand_within`].
pub fn expand(
    conn: &Connection,
    mapping: &Mapping,
    chain: &Chain,
    limit: usize,
    now: Millis,
) -> Result<Expanded> {
    expand_within(conn, mapping, chain, limit, StormLimit::OFF, now)
}

/// Takes at most `limit` rows from the queue, oldest first; the chains of a storm are held. `mapping`
/// counts only where none is installed any more.
///
/// # Errors
/// [`crate::Error::Outdated`], and whatever SQLite answers; the caller rolls back.
pub fn expand_within(
    conn: &Connection,
    mapping: &Mapping,
    chain: &Chain,
    limit: usize,
    storm: StormLimit,
    now: Millis,
) -> Result<Expanded> {
    expand_while(conn, mapping, chain, limit, storm, &|| true, now)
}

/// The same, but of more than `limit` rows it takes no other when `go_on` says no. (What is the rest of the
/// queue is taken whole: once that is empty, runs are looked at that were written by triggers of the user's.)
///
/// # Errors
/// As [`expand_within`].
pub fn expand_while(
    conn: &Connection,
    mapping: &Mapping,
    chain: &Chain,
    limit: usize,
    storm: StormLimit,
    go_on: &dyn Fn() -> bool,
    now: Millis,
) -> Result<Expanded> {
    crate::schema::check_writer(conn)?;
    let mut rows = read(conn, i64::MIN, limit.saturating_add(1))?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let Some(last) = rows.last().map(|row| row.id) else {
        return Ok(Expanded::default());
    };
    let slice = Slice {
        rows: &rows,
        last,
        more,
        go_on,
    };
    let taken = take_slice(conn, mapping, chain, &slice, storm, now)?;
    conn.prepare_cached("DELETE FROM runchain_queue WHERE id <= ?1")
        .and_then(|mut statement| statement.execute([taken.last().map(|row| row.id)]))
        .during("take expanded rows from the queue")?;
    Ok(Expanded {
        rows: taken.len(),
        more: more || taken.len() < rows.len(),
    })
}

/// Rows that are judged together.
struct Slice<'a> {
    rows: &'a [QueueRow],
    /// What may belong to the same rush stands behind this row.
    last: i64,
    /// Something stands there.
    more: bool,
    /// Whether there is time for another row, where something stands there.
    go_on: &'a dyn Fn() -> bool,
}

/// Returns the rows that were taken.
fn take_slice<'a>(
    conn: &Connection,
    mapping: &Mapping,
    chain: &Chain,
    slice: &Slice<'a>,
    storm: StormLimit,
    now: Millis,
) -> Result<&'a [QueueRow]> {
    // Another install may have named another table since the caller looked.
    let installed = Mapping::installed(conn)?;
    let mapping = installed.as_ref().unwrap_or(mapping);
    let expander = Expander::new(conn, mapping, chain, storm, now)?;
    let ahead = || {
        if slice.more {
            read(conn, slice.last, storm.max_transitions.saturating_add(1))
        } else {
            Ok(Vec::new())
        }
    };
    let judged = storm::judge(conn, mapping, &expander.vocabulary, slice.rows, ahead, storm, now)?;
    let mut taken = 0;
    for (row, is_held) in slice.rows.iter().zip(&judged.held) {
        if slice.more && taken > 0 && !(slice.go_on)() {
            break;
        }
        expander.holds.set(*is_held);
        expander.take(row)?;
        taken += 1;
    }
    expander.holds.set(false);
    judged.note(conn, taken)?;
    if !slice.more {
        expander.look_at_doubtful()?;
    }
    expander.keeper.borrow_mut().save()?;
    Ok(&slice.rows[..taken])
}

/// Everything that the judgement of one batch needs.
pub(crate) struct Expander<'a> {
    pub(crate) conn: &'a Connection,
    pub(crate) mapping: &'a Mapping,
    pub(crate) chain: &'a Chain,
    pub(crate) vocabulary: Vocabulary,
    pub(crate) now: Millis,
    /// Runs whose phase changed in this batch.
    doubtful: RefCell<Vec<RunId>>,
    /// The newest queue row of a trigger, once it was asked for.
    last_captured: Cell<Option<i64>>,
    /// Whether the row at hand is part of a storm.
    pub(crate) holds: Cell<bool>,
    keeper: RefCell<Keeper<'a>>,
    /// A flag decided about some run.
    any_flagged: Cell<bool>,
}

impl<'a> Expander<'a> {
    pub(crate) fn new(
        conn: &'a Connection,
        mapping: &'a Mapping,
        chain: &'a Chain,
        storm: StormLimit,
        now: Millis,
    ) -> Result<Self> {
        Ok(Self {
            conn,
            mapping,
            chain,
            vocabulary: Vocabulary::load(conn)?,
            now,
            doubtful: RefCell::default(),
            last_captured: Cell::default(),
            holds: Cell::default(),
            keeper: RefCell::new(Keeper::new(conn, storm, now)?),
            any_flagged: Cell::new(flags::any(conn)?),
        })
    }
}

impl Expander<'_> {
    fn take(&self, row: &QueueRow) -> Result<()> {
        let at = row.at.unwrap_or(self.now);
        for run_id in row.run_id.iter().chain(&row.old_run_id) {
            // Also a refusal would write the id down again.
            if forget::is_forgotten(self.conn, run_id)? {
                return Ok(());
            }
        }
        if let ("insert" | "update" | "delete", Some(run_id)) = (row.action.as_str(), &row.run_id)
            && self.any_flagged.get()
        {
            flags::forget(self.conn, run_id)?;
        }
        match (row.action.as_str(), &row.run_id) {
            ("flag", Some(run_id)) => {
                self.any_flagged.set(true);
                flags::take(self, row, run_id, at)
            }
            ("insert", Some(run_id)) => self.observe(run_id, None, row.new_status.as_deref(), at),
            ("update", new_id) => self.take_update(row, new_id.as_ref(), at),
            ("delete", Some(run_id)) => self.look_whether_gone(run_id, at),
            ("look", Some(run_id)) if self.is_captured_after(row.id, run_id)? => Ok(()),
            ("look", Some(run_id)) => self.look(run_id, at),
            ("insert" | "delete", None) => self.refuse(
                row,
                "the run id is neither text nor a number, so it is not followed",
            ),
            _ => request::take(self, row),
        }
    }

    fn take_update(&self, row: &QueueRow, new_id: Option<&RunId>, at: Millis) -> Result<()> {
        let (old_status, new_status) = (row.old_status.as_deref(), row.new_status.as_deref());
        match (row.old_run_id.as_ref(), new_id) {
            (Some(old), Some(new)) if old != new => {
                self.rename(old, new, at)?;
                self.observe(new, old_status, new_status, at)
            }
            (_, Some(run_id)) => self.observe(run_id, old_status, new_status, at),
            (Some(old), None) => self.look_whether_gone(old, at),
            (None, None) => self.refuse(
                row,
                "the run id is neither text nor a number, so it is not followed",
            ),
        }
    }

    pub(crate) fn run_event(
        &self,
        kind: EventType,
        run_id: &RunId,
        generation: i64,
        data: Json,
        at: Millis,
    ) -> Result<()> {
        event::append(self.conn, &NewEvent::of_run(kind, at, run_id, generation, data)).map(|_| ())
    }

    pub(crate) fn refuse(&self, row: &QueueRow, why: &str) -> Result<()> {
        let data = row.audit("refused", Some(why));
        event::append(
            self.conn,
            &NewEvent::of_database(
                EventType::Request,
                self.now,
                row.run_id.as_ref(),
                Json::Object(data),
            ),
        )
        .map(|_| ())
    }
}

/// When the first row of the queue was written; `None` where there is none, or where its writer put
/// something that is no number.
///
/// # Errors
/// Whatever SQLite answers.
pub fn oldest_write(conn: &Connection) -> Result<Option<Millis>> {
    conn.prepare_cached(
        "SELECT CASE WHEN typeof(at_ms) IN ('integer', 'real') THEN CAST(at_ms AS INTEGER) END
         FROM runchain_queue ORDER BY id LIMIT 1",
    )
    .and_then(|mut statement| statement.query_row([], |row| row.get(0)).optional())
    .map(Option::flatten)
    .during("look at the queue's first row")
}
