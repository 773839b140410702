//! A row of the queue as it was appended.

use crate::audit;
use crate::error::{During, Result};
use crate::mapping;
use crate::{Millis, RunId, StepId};
use rusqlite::types::Value;
use rusqlite::{Connection, Row};
use serde_json::{Map, Value as Json, json};

/// One row as it was appended. A plain INSERT can put anything in any column, so nothing here is
/// trusted to have a type.
#[derive(Debug)]
pub(crate) struct QueueRow {
    pub(crate) id: i64,
    pub(crate) action: String,
    pub(crate) run_id: Option<RunId>,
    pub(crate) old_run_id: Option<RunId>,
    pub(crate) old_status: Option<String>,
    pub(crate) new_status: Option<String>,
    pub(crate) step_id: Option<StepId>,
    pub(crate) actor: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) at: Option<Millis>,
    pub(crate) step: Option<String>,
}

impl QueueRow {
    fn of_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let text = |index| mapping::text(row, index);
        let number = |index| -> rusqlite::Result<Option<i64>> {
            Ok(match mapping::value(row, index)? {
                Value::Integer(number) => Some(number),
                Value::Text(text) => text.trim().parse().ok(),
                _ => None,
            })
        };
        Ok(Self {
            id: row.get(0)?,
            action: text(1)?.unwrap_or_default(),
            run_id: text(2)?.map(RunId),
            old_run_id: text(3)?.map(RunId),
            old_status: text(4)?,
            new_status: text(5)?,
            step_id: number(6)?.map(StepId),
            actor: text(7)?,
            reason: text(8)?,
            at: number(9)?.map(Millis),
            step: text(10)?,
        })
    }

    /// What stands in the event REQUEST, but for the states before and after.
    pub(crate) fn audit(&self, answer: &str, message: Option<&str>) -> Map<String, Json> {
        let mut data = audit::signed(&self.action, self.actor.as_deref(), self.reason.as_deref());
        data.insert("answer".to_owned(), json!(answer));
        data.insert("message".to_owned(), json!(message));
        data.insert("step_id".to_owned(), json!(self.step_id));
        data.insert("asked_at".to_owned(), json!(self.at.map(Millis::iso)));
        data
    }
}

/// The next rows after an id, in order.
pub(super) fn read(conn: &Connection, after: i64, limit: usize) -> Result<Vec<QueueRow>> {
    let mut statement = conn
        .prepare_cached(
            "SELECT id, action, run_id, old_run_id, old_status, new_status, step_id, actor, reason, at_ms, step
             FROM runchain_queue WHERE id > ?1 ORDER BY id LIMIT ?2",
        )
        .during("read the queue")?;
    let rows = statement
        .query_map(
            (after, i64::try_from(limit).unwrap_or(i64::MAX)),
            QueueRow::of_row,
        )
        .during("read the queue")?;
    rows.collect::<rusqlite::Result<_>>().during("read the queue")
}
