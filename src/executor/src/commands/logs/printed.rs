//! What the steps of a run printed: the end of it, as far as it is kept.

use super::Said;
use runchain_core::error::{During, Result};
use runchain_core::{Millis, RunId};
use rusqlite::Connection;
use serde_json::Value;
use std::collections::HashSet;

/// Which outputs were told.
#[derive(Debug, Default)]
pub(super) struct Printed {
    told: HashSet<(i64, i64)>,
}

/// Attempts that failed, then what stands with the steps: their last attempts.
const OUTPUTS: &str = "SELECT s.id, s.step, f.attempt, f.ended_ms, f.output_tail
       FROM runchain_steps AS s JOIN runchain_failures AS f ON f.step_id = s.id
       WHERE s.run_id = ?1 AND f.output_tail IS NOT NULL
     UNION ALL
     SELECT id, step, attempts, coalesce(finished_ms, started_ms), output_tail FROM runchain_steps
       WHERE run_id = ?1 AND state IN ('done', 'dead') AND output_tail IS NOT NULL
     ORDER BY 4";

impl Printed {
    /// Those that weren't told yet.
    pub(super) fn new_of(&mut self, conn: &Connection, run_id: &RunId) -> Result<Vec<Said>> {
        const DOING: &str = "read what the steps printed";
        let mut select = conn.prepare_cached(OUTPUTS).during(DOING)?;
        let rows = select
            .query_map([run_id], |row| {
                let key: (i64, i64) = (row.get(0)?, row.get(2)?);
                let step: String = row.get(1)?;
                let said = Said {
                    source: "output",
                    at: row.get::<_, Option<Millis>>(3)?,
                    what: format!("{step} #{}", key.1),
                    text: row.get::<_, String>(4)?,
                    data: Value::Null,
                };
                Ok((key, said))
            })
            .during(DOING)?;
        let mut said = Vec::new();
        for row in rows {
            let (key, one) = row.during(DOING)?;
            if !one.text.trim().is_empty() && self.told.insert(key) {
                said.push(one);
            }
        }
        Ok(said)
    }
}
