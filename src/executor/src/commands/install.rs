//! `runchain install` and `runchain uninstall`.

use super::open;
use crate::actor;
use crate::cli::{Backfill as BackfillArg, InstallArgs, UninstallArgs};
use crate::config::{Settings, Source};
use crate::door;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::open::OpenMode;
use crate::output::{self, Output};
use runchain_core::capture::Capture;
use runchain_core::error::{During, Error};
use runchain_core::install::{self, Backfill, InstallOptions, Installed, Repair};
use runchain_core::mapping::MappingRequest;
use runchain_core::{Millis, Result};
use rusqlite::Connection;
use rusqlite::backup::Backup;
use serde_json::json;
use std::time::{Duration, Instant};

pub(super) fn install(arguments: &InstallArgs, settings: &Settings, output: &Output) -> Outcome<Exit> {
    let options = InstallOptions {
        mapping: MappingRequest {
            table: arguments.table.clone(),
            id_column: arguments.id_column.clone(),
            status_column: arguments.status_column.clone(),
        },
        backfill: match arguments.backfill {
            BackfillArg::None => Backfill::None,
            BackfillArg::Active => Backfill::Active,
            BackfillArg::All => Backfill::All,
        },
        capture: (settings.source_of("capture") != Some(&Source::Default)).then_some(settings.capture),
        dry_run: arguments.dry_run,
        repair: arguments.repair,
        actor: Some(actor::actor().to_string()),
        reason: arguments.why.reason.clone(),
    };
    if options.dry_run {
        return rehearse(&options, settings, output);
    }
    let conn = open(settings, OpenMode::ReadWrite)?;
    if let Some(text) = crate::disk::preflight(settings) {
        output.note(&text)?;
    }
    let installed = door::patiently(|| install::install(&conn, &options, Millis::now()))?;
    if output.json {
        output.print_json(&installed)?;
        return Ok(Exit::Ok);
    }
    if let Some(repair) = &installed.repair {
        say_repair(&installed, repair, output)?;
        return Ok(Exit::Ok);
    }
    let mapping = &installed.mapping;
    let state = if installed.changed {
        "installed on"
    } else {
        "already installed on"
    };
    output.line(&format!(
        "{state} {}: table {}, id {}, status {}",
        settings.state_db_path.display(),
        mapping.table,
        mapping.id_column,
        mapping.status_column
    ))?;
    if installed.capture == Capture::Sweep {
        output.line("no triggers: the executor compares after every commit, and misses what flips back between two looks")?;
    }
    say_history(&installed, output)?;
    if !mapping.is_unique(&conn)? {
        output.note(&format!(
            "{}.{} is not unique by the table's definition: rows with one id are taken for one run (runchain validate)",
            mapping.table, mapping.id_column
        ))?;
    }
    output.line("next: runchain drain (as a service), or runchain drain --until-idle")?;
    Ok(Exit::Ok)
}

/// What was wrong, where the triggers stand now, and what was missed.
fn say_repair(installed: &Installed, repair: &Repair, output: &Output) -> Outcome<()> {
    let mapping = &installed.mapping;
    for fault in &repair.faults {
        output.line(&format!("found: {fault}"))?;
    }
    if repair.before != *mapping {
        output.line(&format!(
            "renamed: {} (id {}, status {}) is {} (id {}, status {}) now",
            repair.before.table,
            repair.before.id_column,
            repair.before.status_column,
            mapping.table,
            mapping.id_column,
            mapping.status_column
        ))?;
    }
    let state = if installed.capture == Capture::Sweep {
        "none is wanted (capture = sweep)"
    } else if repair.faults.is_empty() && repair.before == *mapping {
        "they were in place"
    } else {
        "they are back"
    };
    output.line(&format!(
        "capture triggers on table {}: {state}; every run was compared: {} changed meanwhile and are queued",
        mapping.table, installed.history.queued
    ))?;
    Ok(())
}

fn say_history(installed: &Installed, output: &Output) -> Outcome<()> {
    let history = &installed.history;
    if history.rows > 0 {
        output.line(&format!(
            "runs that were there: {} left alone (finished), {} queued, {} abandoned (active, but older than 24 hours)",
            history.finished_left_alone, history.queued, history.abandoned
        ))?;
    }
    for run_id in &history.abandoned_ids {
        output.line(&format!("  abandoned: {run_id}"))?;
    }
    Ok(())
}

/// A copy larger than this isn't made for an estimate.
const REHEARSAL_LIMIT_BYTES: i64 = 2 << 30;

/// Installs on a copy of the same size, so that the rows and the time under lock are measured, not
/// guessed, while the database itself isn't written to at all.
fn rehearse(options: &InstallOptions, settings: &Settings, output: &Output) -> Outcome<Exit> {
    let conn = open(settings, OpenMode::ReadOnly)?;
    let folder = tempfile::tempdir()?;
    let copied = if size_bytes(&conn)? <= REHEARSAL_LIMIT_BYTES {
        Some(copy(&conn, &folder.path().join("copy.db"))?)
    } else {
        None
    };
    let Some(copy) = copied else {
        return Err(Error::refused(
            format!(
                "the database is larger than {}",
                output::size(REHEARSAL_LIMIT_BYTES.unsigned_abs())
            ),
            "rehearse on a copy that you make: runchain --db COPY install --dry-run",
        )
        .into());
    };
    let started = Instant::now();
    let installed = install::install(&copy, options, Millis::now())?;
    let held_ms = started.elapsed().as_secs_f64() * 1_000.0;
    if output.json {
        output.print_json(
            &json!({ "would": installed, "write_lock_held_ms": held_ms, "measured_on": "a copy" }),
        )?;
        return Ok(Exit::Ok);
    }
    output.line(&format!(
        "-- what runchain install would execute in {}, in one transaction:",
        settings.state_db_path.display()
    ))?;
    for line in installed.sql.as_deref().unwrap_or_default().lines() {
        output.line(line)?;
    }
    output.line("-- end of the SQL; nothing was changed")?;
    say_history(&installed, output)?;
    output.line(&format!(
        "write lock held for {held_ms:.1} ms, measured on a copy of the database"
    ))?;
    Ok(Exit::Ok)
}

fn size_bytes(conn: &Connection) -> Result<i64> {
    conn.query_row(
        "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
        [],
        |row| row.get(0),
    )
    .during("measure the database")
}

fn copy(conn: &Connection, path: &std::path::Path) -> Result<Connection> {
    const PAGES_PER_STEP: std::ffi::c_int = 1_000;
    let mut copy = Connection::open(path).during("create a copy")?;
    Backup::new(conn, &mut copy)
        .and_then(|backup| backup.run_to_completion(PAGES_PER_STEP, Duration::from_millis(1), None))
        .during("copy the database")?;
    Ok(copy)
}

pub(super) fn uninstall(arguments: &UninstallArgs, settings: &Settings, output: &Output) -> Outcome<Exit> {
    let conn = open(settings, OpenMode::ReadWrite)?;
    let by = actor::by(arguments.why.reason.as_deref());
    let uninstalled = door::patiently(|| install::uninstall(&conn, arguments.purge, &by, Millis::now()))?;
    crate::disk::remove_ballast(settings);
    if output.json {
        output.print_json(&uninstalled)?;
        return Ok(Exit::Ok);
    }
    let text = match (uninstalled.changed, uninstalled.purged) {
        (false, _) => "nothing of runchain's was there",
        (true, true) => {
            "uninstalled, and everything that runchain recorded in the database is dropped; files stay"
        }
        (true, false) => "uninstalled; what runchain recorded stays (runchain uninstall --purge drops it)",
    };
    output.line(text)?;
    if uninstalled.live_steps > 0 {
        output.note(&format!("{} steps had not ended", uninstalled.live_steps))?;
    }
    Ok(Exit::Ok)
}
