//! Versions that have to fit together, and the clock that everything depends on.

use super::Finding;
use super::typed::runchain;
use crate::config::Settings;
use crate::output;
use runchain_core::error::{During, Result};
use runchain_core::liveness::{Liveness, executor_alive};
use runchain_core::validate::Severity;
use runchain_core::{Millis, schema};
use rusqlite::{Connection, OptionalExtension};

/// An event may be this much ahead: writers' clocks differ a little.
const AHEAD_MS: i64 = 60_000;
/// 2024-01-01: no machine with a set clock is before the day this was written.
const NOT_BEFORE: Millis = Millis(1_704_067_200_000);

/// This program.
pub(super) fn binary() -> Finding {
    let beside = std::env::current_exe().ok().and_then(|exe| {
        let name = format!(
            "{}runchain{}",
            std::env::consts::DLL_PREFIX,
            std::env::consts::DLL_SUFFIX
        );
        let library = exe.with_file_name(name);
        library.is_file().then(|| library.display().to_string())
    });
    let extension = beside.map_or_else(
        || "no extension lies beside it".to_owned(),
        |path| format!("the extension beside it: {path}"),
    );
    Finding::ok(
        "versions",
        format!(
            "runchain {}, SQLite {}, writes schema version {}; {extension} (SELECT runchain_version() tells of a loaded one)",
            env!("CARGO_PKG_VERSION"),
            rusqlite::version(),
            schema::VERSION,
        ),
    )
}

/// What the database knows of others.
pub(super) fn findings(conn: &Connection, settings: &Settings, now: Millis) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    if schema::table_exists(conn, "runchain_executors")? {
        findings.extend(executor(conn, settings)?);
    }
    findings.push(clock(conn, now)?);
    Ok(findings)
}

/// A service that runs on after an upgrade of its program is still the old one.
fn executor(conn: &Connection, settings: &Settings) -> Result<Option<Finding>> {
    if !matches!(executor_alive(&settings.state_db_path), Liveness::Alive { .. }) {
        return Ok(None);
    }
    let version: Option<String> = conn
        .query_row(
            "SELECT version FROM runchain_executors ORDER BY beat_ms DESC LIMIT 1",
            [],
            |row| row.get(0),
        )
        .optional()
        .during("ask for the executor's version")?;
    let ours = env!("CARGO_PKG_VERSION");
    Ok(version.map(|version| {
        if version == ours {
            return Finding::ok("executor_version", format!("the executor is runchain {version}"));
        }
        Finding::bad(
            "executor_version",
            Severity::Warning,
            format!("the executor is runchain {version}, this is {ours}"),
            "what you type and what runs may not know the same",
        )
        .remedy(
            "restart the service, so that it is of this version",
            runchain(&["drain"], settings).map(|drain| format!("systemctl restart runchain || {drain}")),
        )
    }))
}

fn clock(conn: &Connection, now: Millis) -> Result<Finding> {
    let shown = now.iso();
    if now < NOT_BEFORE {
        return Ok(Finding::bad(
            "clock",
            Severity::Error,
            format!("it is {shown}, says the clock"),
            "leases, retries and retention go by it",
        )
        .remedy("set the clock", Some("sudo timedatectl set-ntp true".to_owned())));
    }
    if !schema::table_exists(conn, "runchain_events")? {
        return Ok(Finding::ok("clock", shown));
    }
    let newest: Option<Millis> = conn
        .query_row(
            "SELECT at_ms FROM runchain_events ORDER BY id DESC LIMIT 1",
            [],
            |row| row.get(0),
        )
        .optional()
        .during("ask when the newest event was")?;
    let ahead_ms = newest.map_or(0, |newest| newest.since(now));
    if ahead_ms > AHEAD_MS {
        return Ok(Finding::bad(
            "clock",
            Severity::Error,
            format!(
                "the newest event is {} ahead of the clock, which says {shown}",
                output::duration(ahead_ms)
            ),
            "the clock was set back, or a writer's is ahead: what is due waits by as much longer",
        )
        .remedy(
            "set the clocks of this machine and of those that write",
            Some("sudo timedatectl set-ntp true".to_owned()),
        ));
    }
    Ok(Finding::ok("clock", shown))
}
