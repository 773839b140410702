//! Retention: what runchain has recorded goes when it is old or too much.
//!
//! A pass goes through every kind once, in the order of its key, in two motions: [`Pass::look`] reads
//! a few hundred rows and names those whose time has come; [`Pass::remove`] deletes them in a short
//! transaction that judges each row again. Both need the primary key and the indexes that the queue
//! needs anyway, so a batch costs the same in a table of ten million rows as in one of a thousand.
//!
//! Invariants:
//! - No event goes that a log cursor has not passed, and none of a run that is active or has a step
//!   that has not ended.
//! - The steps of one chain go together, and only when all of them are over. A dead step is not over:
//!   somebody has to look at it, unless `dead_steps` has a limit of its own.
//! - `runchain_runs` keeps the row of every run whose row the user still has.
//! - Rows of `uet_*` go only where runchain made the tables, children first, and never a row that a
//!   foreign key of the user's own tables refers to.
//!
//! What does not belong here: when a pass is due, how long a batch may take, removing files (the rows
//! that name bags and reports are found here, the caller removes what they name first).

mod criteria;
mod kinds;
mod shown;
mod statements;
#[cfg(test)]
mod tests;

use crate::error::{During, Result};
use crate::event::{self, EventType, NewEvent};
use crate::{Mapping, Millis};
pub use kinds::Kind;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use serde_json::{Map, Value as Json, json};
use statements::Statements;
use std::collections::BTreeMap;

/// When rows of one kind go. 0 means never, for each of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Older rows go.
    pub age_ms: i64,
    /// The newest of this number stay.
    pub rows: i64,
    /// The newest of about this size stay, judged by the mean size of a sample.
    pub size_bytes: i64,
}

impl Limits {
    /// Only an age.
    #[must_use]
    pub fn of_age(age_ms: i64) -> Self {
        Self {
            age_ms,
            ..Self::default()
        }
    }

    fn is_never(self) -> bool {
        self == Self::default()
    }
}

/// The limits of every kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// Bags of chains that are over.
    pub bags: Limits,
    /// Reports of runs that ended so long ago.
    pub reports_age_ms: i64,
    /// Steps of chains that are over, with their failed attempts.
    pub steps: Limits,
    /// Age at which a dead step counts as over; 0: never.
    pub dead_steps_age_ms: i64,
    /// Lifecycle and audit events.
    pub events: Limits,
    /// Events kept from event logs.
    pub ingested: Limits,
    /// Lines of event logs that could not be kept.
    pub rejects: Limits,
    /// Ended executions and tasks of `uet_executions` and `uet_tasks`; by age only.
    pub executions_age_ms: i64,
    /// Resolved alerts.
    pub alerts: Limits,
    /// Rows of executors whose lease ended so long ago.
    pub executors_age_ms: i64,
    /// Runs whose row the user deleted so long ago, and which have no steps left.
    pub runs_age_ms: i64,
}

/// What went, or would go, of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Removed {
    /// Rows.
    pub rows: u64,
    /// About so many bytes, without indexes.
    pub size_bytes: u64,
}

/// Rows of one kind whose time has come.
#[derive(Debug)]
pub struct Batch {
    kind: Kind,
    statements: Statements,
    expired: Vec<Expired>,
}

#[derive(Debug)]
struct Expired {
    key: Value,
    size_bytes: u64,
}

impl Batch {
    /// Whether there is nothing to remove.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.expired.is_empty()
    }

    /// What it is a batch of.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The key of the row that is removed next, if its time has still come.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub fn next(&self, conn: &Connection) -> Result<Option<&Value>> {
        let Some(expired) = self.expired.first() else {
            return Ok(None);
        };
        Ok(self.statements.judge(conn, &expired.key)?.then_some(&expired.key))
    }

    /// Keeps only what has something to remove outside the database, of this size in bytes.
    pub fn only_those_with(&mut self, size_bytes: impl Fn(&Value) -> Option<u64>) {
        self.expired.retain_mut(|expired| match size_bytes(&expired.key) {
            Some(found) => {
                expired.size_bytes = found;
                true
            }
            None => false,
        });
    }
}

/// One way through all kinds. Begin with [`Pass::new`], look until it is over.
#[derive(Debug)]
pub struct Pass {
    policy: Policy,
    now: Millis,
    /// Kinds that are left, the next one last.
    left: Vec<Kind>,
    /// What is asked of the kind under way, and the key up to which it was looked at.
    under_way: Option<(Kind, Statements, Option<Value>)>,
    /// What was removed, or in a dry run found.
    removed: BTreeMap<Kind, Removed>,
}

impl Pass {
    /// A pass that judges ages as of `now`.
    #[must_use]
    pub fn new(policy: Policy, now: Millis) -> Self {
        let mut left: Vec<Kind> = Kind::ALL.to_vec();
        left.reverse();
        Self {
            policy,
            now,
            left,
            under_way: None,
            removed: BTreeMap::new(),
        }
    }

    /// What was removed (or counted) so far.
    #[must_use]
    pub fn removed(&self) -> &BTreeMap<Kind, Removed> {
        &self.removed
    }

    /// Looks at the next `limit` rows, reading only. `None`: the pass is over.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub fn look(&mut self, conn: &Connection, mapping: &Mapping, limit: u32) -> Result<Option<Batch>> {
        loop {
            let Some((kind, statements, after)) = &mut self.under_way else {
                let Some(&kind) = self.left.last() else {
                    return Ok(None);
                };
                self.under_way = criteria::statements(conn, mapping, kind, &self.policy, self.now)?
                    .map(|statements| (kind, statements, None));
                // Not before: a busy database is asked again.
                self.left.pop();
                continue;
            };
            let seen = look_at(conn, statements, after.as_ref(), limit)?;
            let batch = Batch {
                kind: *kind,
                statements: statements.clone(),
                expired: seen.expired,
            };
            match seen.last {
                Some(last) => *after = Some(last),
                None => self.under_way = None,
            }
            return Ok(Some(batch));
        }
    }

    /// Counts a batch as if it were removed: a dry run.
    pub fn count(&mut self, batch: &Batch) {
        for expired in &batch.expired {
            let sum = self.removed.entry(batch.kind).or_default();
            sum.rows += 1;
            sum.size_bytes += expired.size_bytes;
        }
    }

    /// Removes from the batch, inside the caller's transaction, until it is empty or `go_on` says no.
    /// Each row is judged again. Answers what went, for [`Pass::add_up`] once that is committed.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub fn remove(conn: &Connection, batch: &Batch, go_on: &dyn Fn() -> bool) -> Result<Gone> {
        let mut gone = Gone {
            kind: batch.kind,
            tried: 0,
            removed: Removed::default(),
        };
        for expired in &batch.expired {
            if gone.tried > 0 && !go_on() {
                break;
            }
            gone.tried += 1;
            if batch.statements.remove(conn, &expired.key)? {
                gone.removed.rows += 1;
                gone.removed.size_bytes += expired.size_bytes;
            }
        }
        Ok(gone)
    }

    /// Takes over what a committed [`Pass::remove`] did; what it had no time for stays in the batch.
    pub fn add_up(&mut self, batch: &mut Batch, gone: &Gone) {
        batch.expired.drain(..gone.tried);
        if gone.removed.rows > 0 {
            let sum = self.removed.entry(gone.kind).or_default();
            sum.rows += gone.removed.rows;
            sum.size_bytes += gone.removed.size_bytes;
        }
    }

    /// Tells what the pass has removed as an event, if anything.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub fn say(&self, conn: &Connection, now: Millis) -> Result<()> {
        if self.removed.is_empty() {
            return Ok(());
        }
        let data = json!({ "removed": self.as_json() });
        event::append(
            conn,
            &NewEvent::of_database(EventType::Retention, now, None, data),
        )
        .map(drop)
    }

    /// `{"events": {"rows": 3, "size_bytes": 120}, ...}`
    #[must_use]
    pub fn as_json(&self) -> Json {
        let entry = |(kind, sum): (&Kind, &Removed)| {
            let sum = json!({ "rows": sum.rows, "size_bytes": sum.size_bytes });
            (kind.as_str().to_owned(), sum)
        };
        Json::Object(self.removed.iter().map(entry).collect::<Map<_, _>>())
    }
}

/// Gives `uet_tasks` the index without which no execution can be removed (SQLite looks for the tasks
/// of each), where runchain made the table and that takes milliseconds.
///
/// # Errors
/// Whatever SQLite answers.
pub fn prepare(conn: &Connection) -> Result<()> {
    /// Rows that an index is made of in some ten milliseconds.
    const FEW_ROWS: i64 = 50_000;
    if !shown::lacks_index(conn)? {
        return Ok(());
    }
    let rows: i64 = conn
        .query_row("SELECT coalesce(max(rowid), 0) FROM main.uet_tasks", [], |row| {
            row.get(0)
        })
        .during("look for the newest task")?;
    if rows > FEW_ROWS {
        return Ok(());
    }
    conn.execute_batch(
        "CREATE INDEX IF NOT EXISTS main.runchain_uet_tasks_by_execution ON uet_tasks(execution_id)",
    )
    .during("make an index on uet_tasks")
}

/// What one transaction removed.
#[derive(Debug)]
pub struct Gone {
    kind: Kind,
    tried: usize,
    removed: Removed,
}

struct Seen {
    expired: Vec<Expired>,
    /// Key to go on after; `None` when the kind is through.
    last: Option<Value>,
}

fn look_at(conn: &Connection, statements: &Statements, after: Option<&Value>, limit: u32) -> Result<Seen> {
    let sql = statements.look_sql(after.is_some(), limit);
    let mut select = conn.prepare_cached(&sql).during("look for old rows")?;
    let mut rows = select
        .query(params_from_iter(after))
        .during("look for old rows")?;
    let mut seen = Seen {
        expired: Vec::new(),
        last: None,
    };
    let (mut count, mut any_old) = (0, false);
    while let Some(row) = rows.next().during("look for old rows")? {
        let (key, size_bytes, is_old, is_expired): (Value, i64, Option<bool>, Option<bool>) =
            row.try_into().during("look for old rows")?;
        count += 1;
        any_old |= is_old == Some(true);
        if is_expired == Some(true) {
            let size_bytes = u64::try_from(size_bytes).unwrap_or(0);
            seen.expired.push(Expired {
                key: key.clone(),
                size_bytes,
            });
        }
        seen.last = Some(key);
    }
    seen.last = seen.last.filter(|_| count == limit && any_old);
    Ok(seen)
}
