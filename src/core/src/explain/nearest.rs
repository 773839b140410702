//! "Did you mean": known ids that look like one that isn't known. A bounded look: its neighbours in the
//! order of ids, and the newest runs of each phase.

use crate::RunId;
use crate::error::{During, Result};
use rusqlite::Connection;

const NEIGHBOURS: i64 = 20;
const NEWEST: i64 = 50;
const NAMED: usize = 3;

/// Known ids that look like this one, the nearest first.
///
/// # Errors
/// Whatever SQLite answers.
pub fn nearest(conn: &Connection, run_id: &RunId) -> Result<Vec<RunId>> {
    let newest = ["active", "completed", "failed", "cancelled"].map(|phase| {
        format!(
            "SELECT run_id FROM (SELECT run_id FROM runchain_runs WHERE phase = '{phase}' \
             ORDER BY phase_since_ms DESC LIMIT {NEWEST})"
        )
    });
    let sql = format!(
        "SELECT run_id FROM (SELECT run_id FROM runchain_runs WHERE run_id < ?1 ORDER BY run_id DESC LIMIT {NEIGHBOURS})
         UNION SELECT run_id FROM (SELECT run_id FROM runchain_runs WHERE run_id > ?1 ORDER BY run_id LIMIT {NEIGHBOURS})
         UNION {}",
        newest.join(" UNION ")
    );
    let mut select = conn.prepare_cached(&sql).during("look for ids that look alike")?;
    let ids = select
        .query_map([run_id], |row| row.get(0))
        .and_then(Iterator::collect::<rusqlite::Result<Vec<RunId>>>)
        .during("look for ids that look alike")?;
    Ok(ranked(run_id, ids))
}

/// Those that differ in a third of their letters at most, the nearest first.
fn ranked(run_id: &RunId, ids: Vec<RunId>) -> Vec<RunId> {
    let plain = |id: &RunId| id.as_str().to_lowercase();
    let wanted = plain(run_id);
    let most = (wanted.chars().count() / 3).max(1);
    let mut near: Vec<(usize, RunId)> = ids
        .into_iter()
        .map(|id| (strsim::osa_distance(&wanted, &plain(&id)), id))
        .filter(|(edits, _)| *edits <= most)
        .collect();
    near.sort();
    near.into_iter().take(NAMED).map(|(_, id)| id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_alike_is_named_nearest_first() {
        let ids = ["run-12", "RUN-1", "rnu-1", "other", ""]
            .map(|id| RunId(id.into()))
            .to_vec();
        let named: Vec<String> = ranked(&RunId("run-1".into()), ids)
            .into_iter()
            .map(|id| id.0)
            .collect();
        assert_eq!(named, ["RUN-1", "rnu-1", "run-12"]);
    }
}
