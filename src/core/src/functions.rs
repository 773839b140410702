//! The SQL functions: one table of names, one loop that registers them, for both hosts.
//!
//! Whatever has a side effect or reads files is DIRECTONLY and asks who calls, so that nothing in the
//! schema of a hostile database can call it. A failure is an SQL error with the text of [`Error`]; SQLITE_BUSY keeps
//! its code, because callers retry on it. The rules themselves live in the other modules.

use crate::alert::{self, ByHand};
use crate::audit::{Actor, By};
use crate::caller;
use crate::checks_table::Checks;
use crate::error::{During, Error, Result};
use crate::explain;
use crate::held::{self, BatchId, Decision};
use crate::id::{RunId, StepId};
use crate::ingest::{self, IngestOptions};
use crate::install::{self, InstallOptions};
use crate::read_events::Events;
use crate::request::{self, StepVerb};
use crate::table_function;
use crate::validate::{self, ValidateOptions};
use crate::{Mapping, Millis, schema, space, steps};
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::Value;
use rusqlite::{Connection, ffi};
use serde_json::{Value as Json, json};

/// How much is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// Everything.
    Full,
    /// Nothing that reads files named by its caller.
    NoFiles,
}

/// Who calls, as it stands in the audit event.
fn actor() -> String {
    Actor::of_function().to_string()
}

type Body = fn(&Connection, &[Value]) -> Result<Json>;

struct Function {
    name: &'static str,
    /// Fewest and most arguments.
    arguments: std::ops::RangeInclusive<usize>,
    /// What may call it, and where.
    reads_named_files: bool,
    pure: bool,
    body: Body,
}

const fn function(name: &'static str, arguments: std::ops::RangeInclusive<usize>, body: Body) -> Function {
    Function {
        name,
        arguments,
        reads_named_files: false,
        pure: false,
        body,
    }
}

/// Every scalar function.
const FUNCTIONS: [Function; 17] = [
    function("monitor_validate", 0..=0, monitor_validate),
    Function {
        reads_named_files: true,
        ..function("ingest_events", 1..=2, ingest_events)
    },
    function("enqueue_chain", 1..=2, enqueue_chain),
    Function {
        pure: true,
        ..function("runchain_version", 0..=0, runchain_version)
    },
    function("runchain_debug", 0..=0, runchain_debug),
    function("runchain_install", 0..=1, runchain_install),
    function("runchain_uninstall", 0..=2, runchain_uninstall),
    function("runchain_status", 0..=0, runchain_status),
    function("runchain_explain", 0..=1, runchain_explain),
    function("runchain_retry", 1..=2, |conn, arguments| {
        about_step(conn, StepVerb::Retry, arguments)
    }),
    function("runchain_cancel", 1..=2, |conn, arguments| {
        about_step(conn, StepVerb::Cancel, arguments)
    }),
    function("runchain_pause", 0..=2, |conn, arguments| {
        about_kind(conn, true, arguments)
    }),
    function("runchain_resume", 0..=2, |conn, arguments| {
        about_kind(conn, false, arguments)
    }),
    function("runchain_held_release", 1..=2, |conn, arguments| {
        about_batch(conn, Decision::Release { per_minute: None }, arguments)
    }),
    function("runchain_held_discard", 1..=2, |conn, arguments| {
        about_batch(conn, Decision::Discard, arguments)
    }),
    function("runchain_alert_acknowledge", 1..=2, |conn, arguments| {
        about_alert(conn, ByHand::Acknowledge, arguments)
    }),
    function("runchain_alert_resolve", 1..=2, |conn, arguments| {
        about_alert(conn, ByHand::Resolve, arguments)
    }),
];

/// Registers the functions on a connection.
///
/// # Errors
/// Whatever SQLite answers.
pub fn register(conn: &Connection, surface: Surface) -> Result<()> {
    for function in FUNCTIONS
        .iter()
        .filter(|one| surface == Surface::Full || !one.reads_named_files)
    {
        let (name, pure, body) = (function.name, function.pure, function.body);
        let flags = FunctionFlags::SQLITE_UTF8
            | if function.pure {
                FunctionFlags::SQLITE_INNOCUOUS | FunctionFlags::SQLITE_DETERMINISTIC
            } else {
                FunctionFlags::SQLITE_DIRECTONLY
            };
        for arguments in function.arguments.clone() {
            conn.create_scalar_function(
                name,
                i32::try_from(arguments).unwrap_or(-1),
                flags,
                move |context| call(context, name, pure, body),
            )
            .during("register a SQL function")?;
        }
    }
    if surface == Surface::Full {
        table_function::register::<Events>(conn)?;
    }
    table_function::register::<Checks>(conn)
}

fn call(context: &Context<'_>, name: &'static str, pure: bool, body: Body) -> rusqlite::Result<String> {
    let arguments = (0..context.len())
        .map(|index| context.get_raw(index).try_into())
        .collect::<std::result::Result<Vec<Value>, _>>()
        .map_err(|error| rusqlite::Error::UserFunctionError(format!("{name}: {error}").into()))?;
    // SAFETY: the reference lives as long as this call and stays on this thread.
    let conn = unsafe { context.get_connection() }?;
    let direct = if pure {
        Ok(())
    } else {
        caller::require_direct(&conn, name)
    };
    direct
        .and_then(|()| body(&conn, &arguments))
        .map(|answer| match answer {
            Json::String(text) => text,
            other => other.to_string(),
        })
        .map_err(|error| into_sql_error(name, error))
}

/// A message resets the code to SQLITE_ERROR, so a busy database is answered by its code alone.
fn into_sql_error(name: &str, error: Error) -> rusqlite::Error {
    match error {
        Error::Sqlite {
            source: rusqlite::Error::SqliteFailure(failure, _),
            ..
        } if matches!(
            failure.code,
            ffi::ErrorCode::DatabaseBusy | ffi::ErrorCode::DatabaseLocked
        ) =>
        {
            rusqlite::Error::SqliteFailure(failure, None)
        }
        // A NUL of the caller's own argument can't stand in a message; SQLite would say none at all.
        other => rusqlite::Error::UserFunctionError(format!("{name}: {other}").replace('\0', "\\0").into()),
    }
}

fn monitor_validate(conn: &Connection, _: &[Value]) -> Result<Json> {
    let findings = validate::checks(conn, &ValidateOptions::default(), Millis::now())?;
    Ok(validate::to_json(&findings))
}

fn ingest_events(conn: &Connection, arguments: &[Value]) -> Result<Json> {
    let Some(Value::Text(path)) = arguments.first() else {
        return Err(Error::refused(
            "the path is not text",
            "give the path of a JSONL event log: ingest_events('events.jsonl')",
        ));
    };
    let options = IngestOptions::from_argument(arguments.get(1))?;
    space::refuse_while_low(conn)?;
    let report = ingest::ingest_path(conn, std::path::Path::new(path), Millis::now(), &options)?;
    Ok(json!(report))
}

fn enqueue_chain(conn: &Connection, arguments: &[Value]) -> Result<Json> {
    let run_id = arguments.first().and_then(RunId::from_value).ok_or_else(|| {
        Error::refused(
            "the run id is NULL or a BLOB",
            "give the run's id as text or number: enqueue_chain('run-1')",
        )
    })?;
    request::enqueue_chain(conn, &run_id, &actor(), reason(arguments).as_deref())
}

fn runchain_version(_: &Connection, _: &[Value]) -> Result<Json> {
    Ok(json!(env!("CARGO_PKG_VERSION")))
}

fn runchain_debug(conn: &Connection, _: &[Value]) -> Result<Json> {
    let path: Option<String> = conn
        .query_row(
            "SELECT file FROM pragma_database_list WHERE name = 'main'",
            [],
            |row| row.get(0),
        )
        .during("read the database's path")?;
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "schema_version": schema::version(conn)?,
        "schema_version_of_this_build": schema::VERSION,
        "min_writer_version": schema::meta(conn, "min_writer_version")?,
        "mapping": Mapping::installed(conn)?,
        "database": path,
        "database_uuid": schema::meta(conn, "database_uuid")?,
        "epoch": schema::meta(conn, "epoch")?,
        "sqlite_version": rusqlite::version(),
        "build": if cfg!(feature = "extension") { "extension" } else { "executor" },
        "target": format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
    }))
}

fn runchain_install(conn: &Connection, arguments: &[Value]) -> Result<Json> {
    let mut options = match arguments.first() {
        None => InstallOptions::default(),
        Some(Value::Text(text)) => InstallOptions::from_json(text)?,
        Some(_) => {
            return Err(Error::refused(
                "the options are not text",
                "give a JSON object, or nothing",
            ));
        }
    };
    options.actor.get_or_insert_with(actor);
    install::install(conn, &options, Millis::now()).map(|installed| json!(installed))
}

fn runchain_uninstall(conn: &Connection, arguments: &[Value]) -> Result<Json> {
    let purge = match arguments.first() {
        None => false,
        Some(Value::Text(word)) if word == "purge" => true,
        Some(Value::Null) => false,
        Some(_) => {
            return Err(Error::refused(
                "the argument is neither 'purge' nor NULL",
                "call runchain_uninstall() to keep what was recorded, runchain_uninstall('purge') to drop it",
            ));
        }
    };
    let by = By {
        actor: Some(actor()),
        reason: reason(arguments),
    };
    install::uninstall(conn, purge, &by, Millis::now()).map(|uninstalled| json!(uninstalled))
}

fn runchain_status(conn: &Connection, _: &[Value]) -> Result<Json> {
    Mapping::require(conn)?;
    validate::status(conn, Millis::now())
}

fn runchain_explain(conn: &Connection, arguments: &[Value]) -> Result<Json> {
    let run_id = match arguments.first() {
        None => None,
        Some(value) => Some(RunId::from_value(value).ok_or_else(|| {
            Error::refused(
                "the run id is NULL or a BLOB",
                "give the run's id as text or number, or nothing for the whole database",
            )
        })?),
    };
    let facts = explain::gather(conn, run_id.as_ref(), &ValidateOptions::default(), Millis::now())?;
    let database = validate::database_path(conn)?.unwrap_or_default();
    Ok(explain::judge(&facts).to_json(&[], &database))
}

fn about_step(conn: &Connection, verb: StepVerb, arguments: &[Value]) -> Result<Json> {
    let Some(Value::Integer(step_id)) = arguments.first() else {
        return Err(Error::refused(
            "the step id is no integer",
            "give the id of a row in runchain_steps",
        ));
    };
    request::ask_about_step(
        conn,
        verb,
        StepId(*step_id),
        &actor(),
        reason(arguments).as_deref(),
    )
}

fn about_kind(conn: &Connection, pause: bool, arguments: &[Value]) -> Result<Json> {
    let kind = match arguments.first() {
        None => steps::EVERY_KIND,
        Some(Value::Text(kind)) => kind,
        Some(_) => {
            return Err(Error::refused(
                "the kind of steps is not text",
                "give a name such as 'archive', or nothing",
            ));
        }
    };
    request::ask_for_pause(conn, pause, kind, &actor(), reason(arguments).as_deref())
}

fn about_batch(conn: &Connection, decision: Decision, arguments: &[Value]) -> Result<Json> {
    let Some(Value::Integer(batch)) = arguments.first() else {
        return Err(Error::refused(
            "the batch is no integer",
            "give the id of a row in runchain_held_batches",
        ));
    };
    let batch = held::ask(
        conn,
        BatchId(*batch),
        decision,
        &actor(),
        reason(arguments).as_deref(),
    )?;
    Ok(json!({
        "action": decision.action(), "batch": batch.id, "left": batch.left(), "answer": "queued", "queued": true,
    }))
}

fn about_alert(conn: &Connection, what: ByHand, arguments: &[Value]) -> Result<Json> {
    let Some(Value::Integer(alert)) = arguments.first() else {
        return Err(Error::refused(
            "the alert is no integer",
            "give the id of a row in runchain_alerts",
        ));
    };
    alert::ask(conn, *alert, what, &actor(), reason(arguments).as_deref())
}

fn reason(arguments: &[Value]) -> Option<String> {
    arguments.get(1).and_then(RunId::from_value).map(|text| text.0)
}
