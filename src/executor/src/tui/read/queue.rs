//! Steps that have not ended: first those that need somebody.

use super::{all, one, run, sql};
use crate::tui::model::QueuedStep;
use runchain_core::error::Result;
use rusqlite::Connection;

/// In the order in which they are shown.
const STATES: [&str; 5] = ["dead", "running", "leased", "ready", "waiting"];

/// Steps whose run, name or state has a text in it.
pub(super) fn read(conn: &Connection, filter: &str, limit: usize) -> Result<Vec<QueuedStep>> {
    let filter = filter.to_lowercase();
    let mut steps = Vec::new();
    for state in STATES {
        steps.extend(all(conn, sql::QUEUE, (state, &filter, limit as i64), |row| {
            Ok(QueuedStep {
                id: row.get(0)?,
                run_id: row.get(1)?,
                brief: run::brief(row, 2)?,
                error: match row.get(8)? {
                    Some(error) => Some(run::said(error, &run::last_lines(row.get(9)?))),
                    None => None,
                },
            })
        })?);
    }
    Ok(steps)
}

/// How many steps a pause of a kind would hold up.
pub(super) fn held_up_by_pause(conn: &Connection, kind: &str) -> Result<i64> {
    Ok(one(conn, sql::HELD_UP_BY_PAUSE, [kind], |row| row.get(0))?.unwrap_or(0))
}
