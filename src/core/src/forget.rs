//! Forgetting a run: every row about it goes, and a tombstone stays that doesn't tell its id.
//!
//! The tombstone is the SHA-256 of the id, so that the run doesn't come back: the sweep and the
//! expansion of the queue pass a forgotten id over without a word. Everything happens in the caller's
//! transaction, with `secure_delete` on, so that what goes is overwritten with zeros.
//!
//! What does not belong here: bags, reports, logs, and the user's own rows, which are the user's.

use crate::audit::{self, Action, By};
use crate::error::{During, Error, Result};
use crate::{Millis, RunId, held, ingested, schema};
use rusqlite::Connection;
use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// What stands about a run, or stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces {
    /// Rows by table.
    pub rows: Vec<(&'static str, u64)>,
    /// Digests of its bags, as they are on record.
    pub digests: Vec<String>,
}

impl Traces {
    /// All rows.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.rows.iter().map(|(_, rows)| rows).sum()
    }

    /// Rows by table.
    #[must_use]
    pub fn as_json(&self) -> Json {
        let entries = self.rows.iter();
        Json::Object(
            entries
                .map(|(table, rows)| ((*table).to_owned(), json!(rows)))
                .collect::<Map<_, _>>(),
        )
    }
}

/// How a table's rows of a run are found: `?1` is the id.
struct Place {
    table: &'static str,
    of_run: &'static str,
}

/// Children before what they refer to. An id is also a number in a column without a type: `CAST`.
const PLACES: [Place; 17] = [
    Place {
        table: "runchain_queue",
        of_run: "?1 IN (CAST(run_id AS TEXT), CAST(old_run_id AS TEXT))
                 OR step_id IN (SELECT id FROM runchain_steps WHERE run_id = ?1)",
    },
    Place {
        table: "runchain_failures",
        of_run: "step_id IN (SELECT id FROM runchain_steps WHERE run_id = ?1)",
    },
    Place {
        table: "runchain_steps",
        of_run: "run_id = ?1",
    },
    Place {
        table: "runchain_events",
        // A run that took another id: the event is the other's. Only then all events are looked through.
        of_run: "run_id = ?1
                 OR (EXISTS (SELECT 1 FROM runchain_runs WHERE run_id = ?1 AND phase = 'deleted')
                     AND id IN (SELECT id FROM runchain_events
                                WHERE type = 'RUN_RENAMED' AND json_extract(data, '$.was') = ?1))
                 OR (EXISTS (SELECT 1 FROM runchain_alerts
                             WHERE run_id = ?1 OR instr(fingerprint, json_quote(?1)) > 0)
                     AND id IN (SELECT id FROM runchain_events
                                WHERE type LIKE 'ALERT%' AND instr(data, json_quote(?1)) > 0))",
    },
    Place {
        table: "runchain_ingested",
        of_run: "run_id = ?1 OR job_id = ?1",
    },
    Place {
        // The start of a line that could not be kept: whatever quotes the id.
        table: "runchain_ingest_rejects",
        of_run: "instr(start, json_quote(?1)) > 0",
    },
    Place {
        table: "runchain_held",
        of_run: "run_id = ?1",
    },
    Place {
        table: "runchain_flagged",
        of_run: "run_id = ?1",
    },
    Place {
        table: "runchain_alert_deliveries",
        of_run: "alert_id IN (SELECT id FROM runchain_alerts WHERE run_id = ?1 OR instr(fingerprint, json_quote(?1)) > 0)",
    },
    Place {
        table: "runchain_alert_changes",
        of_run: "alert_id IN (SELECT id FROM runchain_alerts WHERE run_id = ?1 OR instr(fingerprint, json_quote(?1)) > 0)",
    },
    Place {
        // A rule that counts within a window for each job or task.
        table: "runchain_alert_counts",
        of_run: "instr(what, json_quote(?1)) > 0",
    },
    Place {
        table: "runchain_alerts",
        // A job is no run by itself, but its id may be the same.
        of_run: "run_id = ?1 OR instr(fingerprint, json_quote(?1)) > 0",
    },
    Place {
        table: "uet_tasks",
        of_run: "execution_id = ?1",
    },
    Place {
        table: "uet_executions",
        of_run: "execution_id = ?1",
    },
    Place {
        table: "runchain_derived",
        of_run: "id = ?1 OR execution_id = ?1",
    },
    Place {
        table: "archival_log",
        of_run: "run_id = ?1",
    },
    Place {
        table: "runchain_runs",
        of_run: "run_id = ?1",
    },
];

/// The id as it stands in a tombstone: `sha256:...`.
#[must_use]
pub fn hash(run_id: &RunId) -> String {
    let digest = Sha256::digest(run_id.as_str().as_bytes());
    digest.iter().fold("sha256:".to_owned(), |mut text, byte| {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whether a run was forgotten.
///
/// # Errors
/// Whatever SQLite answers.
pub fn is_forgotten(conn: &Connection, run_id: &RunId) -> Result<bool> {
    // Nearly always there is none, and no hash is needed to know that.
    let any: bool = conn
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM runchain_forgotten)")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .during("look for tombstones")?;
    if !any {
        return Ok(false);
    }
    conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM runchain_forgotten WHERE run_sha256 = ?1)")
        .and_then(|mut statement| statement.query_row([hash(run_id)], |row| row.get(0)))
        .during("look for a tombstone")
}

/// What there is to forget.
///
/// # Errors
/// Whatever SQLite answers.
pub fn traces(conn: &Connection, run_id: &RunId) -> Result<Traces> {
    let mut rows = Vec::new();
    for place in PLACES {
        if is_ours(conn, place.table)? {
            let Place { table, of_run } = place;
            let found: i64 = conn
                .query_row(
                    &format!("SELECT count(*) FROM main.{table} WHERE {of_run}"),
                    [run_id],
                    |row| row.get(0),
                )
                .during("look for a run's rows")?;
            rows.push((table, u64::try_from(found).unwrap_or(0)));
        }
    }
    rows.retain(|(_, count)| *count > 0);
    let mut statement = conn
        .prepare_cached(
            "SELECT DISTINCT digest FROM main.archival_log WHERE run_id = ?1 AND digest IS NOT NULL ORDER BY id",
        )
        .during("look for a run's bags")?;
    let digests = statement
        .query_map([run_id], |row| row.get(0))
        .and_then(Iterator::collect::<rusqlite::Result<_>>)
        .during("look for a run's bags")?;
    Ok(Traces { rows, digests })
}

/// Erases the rows of a run and leaves a tombstone and an audit event, whose id is answered. To be
/// called in a transaction of a connection with `secure_delete` on.
///
/// # Errors
/// A refusal while a step of it is being executed; whatever SQLite answers.
pub fn erase(conn: &Connection, run_id: &RunId, by: &By, now: Millis) -> Result<i64> {
    refuse_while_running(conn, run_id, now)?;
    let traces = traces(conn, run_id)?;
    // Its batch counts what is left, and must not wait for it.
    held::leave(conn, run_id, held::Left::TakenBack, now)?;
    for place in PLACES {
        if is_ours(conn, place.table)? {
            let Place { table, of_run } = place;
            conn.execute(&format!("DELETE FROM main.{table} WHERE {of_run}"), [run_id])
                .during("erase a run's rows")?;
        }
    }
    ingested::forget_deleted(conn)?;
    let hash = hash(run_id);
    for end in ["first_run_id", "last_run_id"] {
        // A batch says where it begins and ends; it is about many runs, and stays.
        conn.execute(
            &format!("UPDATE runchain_held_batches SET {end} = ?2 WHERE {end} = ?1"),
            (run_id, &hash),
        )
        .during("take a run's id out of a batch")?;
    }
    let digests = json!(traces.digests);
    conn.execute(
        "INSERT INTO runchain_forgotten(run_sha256, at_ms, actor, reason, digests) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT(run_sha256) DO UPDATE SET at_ms = excluded.at_ms, actor = excluded.actor, reason = excluded.reason,
           digests = CASE excluded.digests WHEN '[]' THEN digests ELSE excluded.digests END",
        (&hash, now, &by.actor, &by.reason, digests.to_string()),
    )
    .during("leave a tombstone")?;
    let action = Action {
        name: "forget",
        run_id: None,
        by,
        before: Json::Null,
        after: json!({ "run": hash, "bags": digests, "rows": traces.as_json() }),
    };
    audit::record(conn, &action, now)
}

fn refuse_while_running(conn: &Connection, run_id: &RunId, now: Millis) -> Result<()> {
    let running: Option<String> = conn
        .query_row(
            "SELECT group_concat(step, ', ') FROM runchain_steps AS s
             WHERE run_id = ?1 AND (state IN ('leased', 'running')
               OR EXISTS (SELECT 1 FROM runchain_ending AS e WHERE e.step_id = s.id AND e.until_ms > ?2))",
            (run_id, now),
            |row| row.get(0),
        )
        .during("look for steps that run")?;
    match running {
        None => Ok(()),
        Some(steps) => Err(Error::refused(
            format!("an executor is at work on it ({steps}), and would write of it again"),
            "wait until it is through, or cancel its chain, then forget it",
        )),
    }
}

/// A table of the user's own keeps its rows; `archival_log` holds ours in either case.
fn is_ours(conn: &Connection, table: &str) -> Result<bool> {
    if !table.starts_with("uet_") {
        return schema::table_exists(conn, table);
    }
    Ok(
        schema::meta(conn, &format!("owns.{table}"))?.as_deref() == Some("1")
            && schema::table_exists(conn, table)?,
    )
}
