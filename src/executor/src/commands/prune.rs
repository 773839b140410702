//! `runchain prune`: retention now, or what it would remove.

use super::open_checked;
use crate::actor;
use crate::cli::PruneArgs;
use crate::config::Settings;
use crate::door;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output::{self, Output};
use crate::retention::{Moved, Work};
use runchain_core::audit::{self, Action};
use runchain_core::error::{During, Error};
use runchain_core::{Mapping, Millis, Result};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Between two batches, so that writers have their turn.
const PAUSE: Duration = Duration::from_millis(10);
/// While somebody else holds the lock.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// Nobody holds it for so long in passing.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn prune(arguments: &PruneArgs, settings: &Settings, output: &Output) -> Outcome<Exit> {
    let mut conn = open_checked(settings)?;
    let mapping = Mapping::require(&conn)?;
    let now = Millis::now();
    let mut work = if arguments.dry_run {
        Work::begin(settings, &conn, now)?
    } else {
        Work::prepare(&mut conn)?;
        Work::begin(settings, &conn, now)?
    };
    let mut free_since = Instant::now();
    loop {
        let moved = if arguments.dry_run {
            work.count(&mapping)?
        } else {
            work.go_on(&mapping)?
        };
        match moved {
            Moved::Through => break,
            Moved::On => free_since = Instant::now(),
            Moved::Busy if free_since.elapsed() < PATIENCE => std::thread::sleep(BUSY_PAUSE),
            Moved::Busy => {
                return Err(Error::refused(
                    "somebody has held the database's lock for a minute",
                    "look who writes, then prune again: what was removed stays removed",
                )
                .into());
            }
        }
        if work.has_batch() {
            std::thread::sleep(PAUSE);
        }
    }
    if !arguments.dry_run {
        remember(&mut conn, &work, arguments.why.reason.as_deref())?;
        door::patiently(|| give_back(&conn))?;
    }
    tell(arguments.dry_run, &work, &Free::of(&conn)?, output)
}

/// What was removed stands in the audit trail.
fn remember(conn: &mut Connection, work: &Work, reason: Option<&str>) -> Result<()> {
    if work.pass().removed().is_empty() {
        return Ok(());
    }
    let action = Action {
        name: "prune",
        run_id: None,
        by: &actor::by(reason),
        before: Value::Null,
        after: work.pass().as_json(),
    };
    door::write(conn, |conn| audit::record(conn, &action, Millis::now())).map(drop)
}

fn tell(dry_run: bool, work: &Work, free: &Free, output: &Output) -> Outcome<Exit> {
    let removed = work.pass().removed();
    if output.json {
        output.print_json(&json!({
            "dry_run": dry_run, "removed": work.pass().as_json(), "free_bytes": free.free_bytes,
            "database_bytes": free.database_bytes,
        }))?;
        return Ok(Exit::Ok);
    }
    if removed.is_empty() {
        output.line("nothing is old enough, and nothing is too much")?;
    } else {
        let verb = if dry_run { "WOULD GO" } else { "REMOVED" };
        let rows = removed.iter().map(|(kind, sum)| {
            let size = output::size(sum.size_bytes);
            [kind.as_str().to_owned(), sum.rows.to_string(), size]
        });
        output.table(&["KIND", verb, "ABOUT"], rows)?;
    }
    if free.free_bytes > 0 {
        output.note(&format!(
            "{} of {} in the database file are free and used again; VACUUM would give them back to the disk, \
             and keeps every writer out while it runs",
            output::size(free.free_bytes),
            output::size(free.database_bytes)
        ))?;
    }
    Ok(Exit::Ok)
}

/// Pages of the database file that hold nothing.
struct Free {
    free_bytes: u64,
    database_bytes: u64,
}

impl Free {
    fn of(conn: &Connection) -> Result<Self> {
        let page_bytes = pragma(conn, "page_size")?;
        Ok(Self {
            free_bytes: pragma(conn, "freelist_count")? * page_bytes,
            database_bytes: pragma(conn, "page_count")? * page_bytes,
        })
    }
}

fn pragma(conn: &Connection, name: &str) -> Result<u64> {
    conn.query_row(&format!("PRAGMA main.{name}"), [], |row| row.get::<_, i64>(0))
        .map(|value| u64::try_from(value).unwrap_or(0))
        .during("ask about the database's pages")
}

/// Gives free pages back to the disk where the database was made for that (auto_vacuum incremental), a
/// few at a time.
fn give_back(conn: &Connection) -> Result<()> {
    const PAGES: u32 = 200;
    const INCREMENTAL: u64 = 2;
    if pragma(conn, "auto_vacuum")? != INCREMENTAL {
        return Ok(());
    }
    let mut left = pragma(conn, "freelist_count")?;
    while left > 0 {
        conn.execute_batch(&format!("PRAGMA main.incremental_vacuum({PAGES})"))
            .during("give free pages back")?;
        let now_left = pragma(conn, "freelist_count")?;
        if now_left >= left {
            break;
        }
        left = now_left;
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
