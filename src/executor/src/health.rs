//! Is it well? What a probe asks often: one connection, a few counted looks, nothing written.
//!
//! Unhealthy is what a restart or a person has to mend now: nobody drains, work is late, writes are
//! missed, nothing can be archived. Dead steps and firing alerts are told, but they are about runs, not
//! about the service. What does not belong here: how it is printed.

use crate::config::Settings;
use crate::disk::free_bytes;
use crate::open::{self, OpenMode};
use crate::other_user;
use crate::output;
use runchain_core::{Millis, Result, validate};
use rusqlite::Connection;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use serde::Serialize;
use serde_json::Value;

/// The answer.
#[derive(Debug, Serialize)]
pub(crate) struct Health {
    /// Whether every check is.
    pub(crate) healthy: bool,
    /// Each, in a fixed order.
    pub(crate) checks: Vec<Check>,
    /// Steps that have used up their attempts; null where it can't be told.
    pub(crate) dead_steps: Option<i64>,
    /// Alerts that fire; null where it can't be told.
    pub(crate) alerts_firing: Option<i64>,
}

/// One check.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    /// Stable, for tools.
    pub(crate) check: &'static str,
    /// Whether it is well.
    pub(crate) ok: bool,
    /// What was found.
    pub(crate) found: String,
}

impl Check {
    fn new(check: &'static str, ok: bool, found: impl Into<String>) -> Self {
        Self {
            check,
            ok,
            found: found.into(),
        }
    }
}

/// Looks. `max_age_ms` is how late due work may be.
pub(crate) fn look(settings: &Settings, max_age_ms: i64, now: Millis) -> Health {
    let opened = open::open_state(&settings.state_db_path, OpenMode::ReadOnly)
        .map_err(|error| error.to_string())
        .and_then(|conn| counts(&conn, now).map_err(|error| error.to_string()));
    let mut checks = Vec::new();
    let (mut dead_steps, mut alerts_firing) = (None, None);
    match &opened {
        Ok(counts) => {
            checks.push(Check::new(
                "db_connection_check",
                true,
                "the database can be read",
            ));
            checks.extend(of_counts(counts, max_age_ms));
            dead_steps = counts.pointer("/steps/dead").and_then(Value::as_i64);
            alerts_firing = counts.get("alerts_firing").and_then(Value::as_i64);
        }
        Err(reason) => checks.push(Check::new("db_connection_check", false, reason.as_str())),
    }
    checks.push(storage(settings));
    Health {
        healthy: checks.iter().all(|check| check.ok),
        checks,
        dead_steps,
        alerts_firing,
    }
}

fn counts(conn: &Connection, now: Millis) -> Result<Value> {
    validate::status(conn, now)
}

fn of_counts(counts: &Value, max_age_ms: i64) -> Vec<Check> {
    let is = |pointer: &str| counts.pointer(pointer).and_then(Value::as_bool);
    let mut checks = vec![match is("/installed") {
        Some(true) => Check::new("installed", true, "runchain follows a table"),
        _ => Check::new("installed", false, "runchain is not installed in this database"),
    }];
    checks.push(match is("/executor/alive") {
        Some(true) => Check::new("monitor_heartbeat", true, "an executor is alive"),
        Some(false) => Check::new("monitor_heartbeat", false, "no executor is alive"),
        None => {
            let reason = counts.pointer("/executor/reason").and_then(Value::as_str);
            Check::new("monitor_heartbeat", false, reason.unwrap_or("it can't be told"))
        }
    });
    for (check, key, what) in [
        (
            "queue_age",
            "oldest_queue_age_ms",
            "the oldest write that nobody looked at",
        ),
        ("step_age", "oldest_ready_age_ms", "the oldest due step"),
    ] {
        checks.push(match counts.get(key).and_then(Value::as_i64) {
            None => Check::new(check, true, "nothing waits"),
            Some(age_ms) => Check::new(
                check,
                age_ms <= max_age_ms,
                format!("{what} waits for {}", output::duration(age_ms)),
            ),
        });
    }
    if let Some(in_place) = is("/triggers/in_place") {
        let found = counts.pointer("/triggers/found").and_then(Value::as_str);
        checks.push(Check::new(
            "capture",
            in_place,
            found.map_or_else(
                || "every write is captured".to_owned(),
                |found| format!("writes are missed: {found}"),
            ),
        ));
    }
    checks
}

/// Whether a bag could be made: by permission and by space.
fn storage(settings: &Settings) -> Check {
    const NAME: &str = "archival_storage_check";
    let dir = &settings.archive_dir;
    let Some(folder) = dir.ancestors().find(|folder| folder.exists()) else {
        return Check::new(NAME, false, format!("{} is not there", dir.display()));
    };
    let may_write = accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS);
    // Where the executor is another user, only that one has to write it.
    if let Err(error) = may_write
        && other_user::of_executor(&settings.state_db_path).is_none()
    {
        return Check::new(
            NAME,
            false,
            format!("{} can't be written: {error}", folder.display()),
        );
    }
    let reserve = u64::try_from(settings.archive_min_free_bytes).unwrap_or(0);
    match free_bytes(folder) {
        Ok(free) => Check::new(
            NAME,
            free >= reserve,
            format!(
                "{} free, the reserve is {}",
                output::size(free),
                output::size(reserve)
            ),
        ),
        Err(error) => Check::new(NAME, false, error.to_string()),
    }
}
