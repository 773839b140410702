//! Taking runchain off a user's table, and dropping what it recorded.
//!
//! Invariant: works on a half-dropped schema, triggers first, and touches no object of the user's.

use super::state;
use crate::audit::{self, Action, By};
use crate::capture::{self, Capture};
use crate::error::{During, Result};
use crate::mapping::Mapping;
use crate::transaction::atomically;
use crate::{Millis, schema, triggers};
use rusqlite::Connection;
use serde::Serialize;

/// What an uninstall did.
#[derive(Debug, Clone, Serialize)]
pub struct Uninstalled {
    /// Whether there was anything of ours to take off.
    pub changed: bool,
    /// Whether what runchain recorded was dropped, too.
    pub purged: bool,
    /// Steps that had not ended; they stay as they are unless purged.
    pub live_steps: i64,
}

/// Takes triggers, views and mapping away; with `purge` also everything that runchain recorded.
/// The user's own objects are never touched. It stands in the audit trail, unless that is purged. An
/// empty `sqlite_sequence` may remain: SQLite doesn't let anybody drop it.
///
/// # Errors
/// Whatever SQLite answers; then nothing was changed.
pub fn uninstall(conn: &Connection, purge: bool, by: &By, now: Millis) -> Result<Uninstalled> {
    atomically(conn, true, || {
        // A half-dropped schema is no reason to stay.
        let before = Mapping::installed(conn).ok().flatten();
        let installed = schema::table_exists(conn, "runchain_mapping")? || triggers::any(conn)?;
        let live_steps = if schema::table_exists(conn, "runchain_steps")? {
            conn.query_row(
                "SELECT count(*) FROM runchain_steps WHERE state IN ('waiting', 'ready', 'leased', 'running')",
                [],
                |row| row.get(0),
            )
            .during("count live steps")?
        } else {
            0
        };
        conn.execute_batch(schema::body(schema::UNINSTALL_SQL))
            .during("drop triggers and views")?;
        if schema::table_exists(conn, "runchain_meta")? {
            capture::note(conn, Capture::Triggers)?;
        }
        let recorded =
            schema::table_exists(conn, "runchain_meta")? || schema::table_exists(conn, "runchain_queue")?;
        if purge {
            purge_tables(conn)?;
        } else if installed && schema::table_exists(conn, "runchain_events")? {
            let version = schema::version(conn)?;
            let action = Action {
                name: "uninstall",
                run_id: None,
                by,
                before: state(before.as_ref(), None, version),
                after: state(None, None, version),
            };
            audit::record(conn, &action, now)?;
        }
        Ok(Uninstalled {
            changed: installed || (purge && recorded),
            purged: purge,
            live_steps,
        })
    })
}

/// Tables that may have been the user's before us; dropped only if our schema made them. Children
/// first, for databases with foreign keys on.
const SHARED_TABLES: [&str; 3] = ["uet_tasks", "uet_executions", "archival_log"];

fn purge_tables(conn: &Connection) -> Result<()> {
    for table in SHARED_TABLES {
        if schema::meta(conn, &format!("owns.{table}"))?.as_deref() == Some("1") {
            conn.execute_batch(&format!("DROP TABLE IF EXISTS {table}"))
                .during("drop a shared table")?;
        }
    }
    conn.execute_batch(schema::body(schema::PURGE_SQL))
        .during("drop runchain's tables")
}
