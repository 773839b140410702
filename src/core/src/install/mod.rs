//! Putting runchain on a user's table, putting it back, and taking it off again.
//!
//! Each is idempotent and happens in one transaction: the caller's, or one of its own. (The sweep
//! after a repair is the exception: many short ones.) What became of the runs that were there is
//! `history`'s; which table a renamed one is, `renamed`'s.

mod history;
mod renamed;
mod repair;
mod uninstall;

pub use history::{Backfill, History, YOUNG_MS};
pub use renamed::Evidence;
pub(crate) use renamed::find as mapping_now;
pub use repair::{Repair, auto_repair};
pub use uninstall::{Uninstalled, uninstall};

use crate::audit;
use crate::capture::{self, Capture};
use crate::error::{During, Error, Result};
use crate::event::{self, EventType, NewEvent};
use crate::mapping::{Mapping, MappingRequest};
use crate::transaction::atomically;
use crate::{Millis, schema, triggers};
use history::{baseline, baseline_once, catch_up, is_baseline_of};
use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

/// What to install, as `runchain_install(options_json)` takes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallOptions {
    /// The user's table; what is not given is detected.
    #[serde(flatten)]
    pub mapping: MappingRequest,
    /// What happens to the runs that are there.
    #[serde(default)]
    pub backfill: Backfill,
    /// How writes become known; `None`: as it is installed, else by triggers.
    #[serde(default)]
    pub capture: Option<Capture>,
    /// Do everything, report it, and take it all back.
    #[serde(default)]
    pub dry_run: bool,
    /// Only put lost triggers back, under a new name where the table or a column was renamed, and
    /// queue what was missed.
    #[serde(default)]
    pub repair: bool,
    /// Who wants it, for the audit trail.
    #[serde(default)]
    pub actor: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

impl InstallOptions {
    /// The keys of the JSON form.
    pub const KEYS: [&str; 9] = [
        "table", "id", "status", "backfill", "capture", "dry_run", "repair", "actor", "reason",
    ];

    /// Reads the JSON form.
    ///
    /// # Errors
    /// A refusal that names the key or the place.
    pub fn from_json(text: &str) -> Result<Self> {
        let refuse = |what: String| {
            let example = r#"{"table":"runs","id":"run_id","status":"state","backfill":"active"}"#;
            Error::refused(what, format!("give a JSON object such as {example}"))
        };
        let value: serde_json::Value = serde_json::from_str(text)
            .map_err(|error| refuse(format!("the options are no JSON: {error}")))?;
        let object = value
            .as_object()
            .ok_or_else(|| refuse("the options are no JSON object".to_owned()))?;
        if let Some(key) = object.keys().find(|key| !Self::KEYS.contains(&key.as_str())) {
            return Err(refuse(format!(
                "unknown option {key:?} (known: {})",
                Self::KEYS.join(", ")
            )));
        }
        serde_json::from_value(value).map_err(|error| refuse(format!("the options are wrong: {error}")))
    }
}

/// What an install did, or would do.
#[derive(Debug, Clone, Serialize)]
pub struct Installed {
    /// The table that is captured.
    pub mapping: Mapping,
    /// How its writes become known.
    pub capture: Capture,
    /// Whether anything was changed; `false` when all of it stood there already.
    pub changed: bool,
    /// Whether it was taken back again.
    pub dry_run: bool,
    /// Migrations that were applied.
    pub migrations: Vec<&'static str>,
    /// The runs that were there.
    pub history: History,
    /// What was mended, where a repair was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repair: Option<Repair>,
    /// The statements, in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
}

/// Installs runchain on a table; nothing changes where it stands already. With `repair`, only mends
/// what is installed.
///
/// # Errors
/// A refusal that names the missing table or column, [`Error::NotInstalled`] when there is nothing to
/// repair, [`Error::Outdated`], and whatever SQLite answers; then nothing was changed.
pub fn install(conn: &Connection, options: &InstallOptions, now: Millis) -> Result<Installed> {
    if options.repair {
        return repair::repair(conn, options, now);
    }
    atomically(conn, !options.dry_run, || {
        let mut before = Before {
            mapping: Mapping::installed(conn)?,
            capture: None,
            schema_version: schema::version(conn)?,
        };
        let mapping = before.meant(conn, &options.mapping)?;
        refuse_shadows(conn, &mapping)?;
        let Migrated { migrations, mut sql } = migrate(conn, before.schema_version)?;
        let faults = triggers::faults(conn, &mapping)?;
        if before.mapping.is_some() {
            before.capture = capture::known(conn)?;
        }
        let capture = match (options.capture, &before.mapping) {
            (Some(capture), _) => capture,
            (None, Some(_)) => capture::installed(conn)?,
            (None, None) => Capture::default(),
        };
        let in_place = before.mapping.as_ref() == Some(&mapping)
            && before.capture == Some(capture)
            && faults.is_empty()
            && (capture == Capture::Triggers || !triggers::any(conn)?);
        if !in_place {
            let triggers = capture.sql(&mapping);
            conn.execute_batch(&triggers)
                .during("create the capture triggers")?;
            sql.push_str(&triggers);
            capture::note(conn, capture)?;
        }
        let history = if !in_place && is_baseline_of(conn, &mapping)? {
            let mut history = baseline(conn, &mapping, options.backfill, now)?;
            history.queued += catch_up(conn, &mapping)?;
            history
        } else {
            baseline_once(conn, &mapping, options.backfill, now)?
        };
        let installed = Installed {
            changed: !in_place || !migrations.is_empty(),
            mapping,
            capture,
            dry_run: options.dry_run,
            migrations,
            history,
            repair: None,
            sql: options.dry_run.then_some(sql),
        };
        if installed.changed {
            record(conn, options, &before, &installed, now)?;
        }
        let lost = if before.mapping.is_some() {
            faults
        } else {
            Vec::new()
        };
        triggers::restored(conn, &installed.mapping, &lost, "install", now)?;
        Ok(installed)
    })
}

/// How runchain was installed before; all of it is nothing where it wasn't.
struct Before {
    mapping: Option<Mapping>,
    capture: Option<Capture>,
    schema_version: i64,
}

impl Before {
    /// What a request means: asked for nothing in particular, what is installed.
    fn meant(&self, conn: &Connection, request: &MappingRequest) -> Result<Mapping> {
        match &self.mapping {
            Some(installed) if *request == MappingRequest::default() => {
                Mapping::resolve(conn, &MappingRequest::from(installed))
            }
            _ => Mapping::resolve(conn, request),
        }
    }
}

/// What brought the schema up to date.
struct Migrated {
    migrations: Vec<&'static str>,
    /// The statements that did, and the views.
    sql: String,
}

fn migrate(conn: &Connection, from: i64) -> Result<Migrated> {
    let migrations = schema::migrate(conn)?;
    let mut sql = String::new();
    if from == 0 {
        sql.push_str(schema::body(schema::SCHEMA_SQL));
    } else {
        let applied = schema::MIGRATIONS
            .iter()
            .filter(|one| migrations.contains(&one.name));
        sql.extend(applied.map(|migration| migration.sql));
    }
    sql.push_str(&schema::views_sql());
    Ok(Migrated { migrations, sql })
}

/// The event that tells who has installed what, and what it was before.
fn record(
    conn: &Connection,
    options: &InstallOptions,
    before: &Before,
    installed: &Installed,
    now: Millis,
) -> Result<()> {
    let (mapping, capture) = (&installed.mapping, installed.capture);
    let mut data = audit::signed("install", options.actor.as_deref(), options.reason.as_deref());
    data.insert("mapping".to_owned(), json!(mapping));
    data.insert("capture".to_owned(), json!(capture));
    data.insert("migrations".to_owned(), json!(installed.migrations));
    data.insert("history".to_owned(), json!(installed.history));
    data.insert(
        "before".to_owned(),
        state(before.mapping.as_ref(), before.capture, before.schema_version),
    );
    data.insert(
        "after".to_owned(),
        state(Some(mapping), Some(capture), schema::version(conn)?),
    );
    event::append(
        conn,
        &NewEvent::of_database(EventType::Installed, now, None, Json::Object(data)),
    )
    .map(drop)
}

/// The table that the followed one became, where it is not there any more and exactly one is plausible.
///
/// # Errors
/// Whatever SQLite answers.
pub fn renamed_to(conn: &Connection) -> Result<Option<Mapping>> {
    let Some(recorded) = Mapping::installed(conn)? else {
        return Ok(None);
    };
    if !crate::mapping::columns(conn, &recorded.table)?.is_empty() {
        return Ok(None);
    }
    match mapping_now(conn, &recorded) {
        Ok(found) => Ok(Some(found.mapping)),
        Err(Error::WrongMapping { .. } | Error::Refused { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What an install changes, for the audit trail.
fn state(mapping: Option<&Mapping>, capture: Option<Capture>, schema_version: i64) -> Json {
    json!({ "table": mapping, "capture": capture, "schema_version": schema_version })
}

/// A TEMP table of the same name would get the triggers, and they would go with this connection.
fn refuse_shadows(conn: &Connection, mapping: &Mapping) -> Result<()> {
    let shadow: Option<String> = conn
        .query_row(
            "SELECT name FROM sqlite_temp_master WHERE type IN ('table', 'view')
               AND (name = ?1 COLLATE NOCASE OR name LIKE 'runchain\\_%' ESCAPE '\\') LIMIT 1",
            [&mapping.table],
            |row| row.get(0),
        )
        .optional()
        .during("look for TEMP tables")?;
    match shadow {
        None => Ok(()),
        Some(name) => Err(Error::refused(
            format!("this connection has a TEMP table or view {name}, which hides the one in the database"),
            "install from a connection without it",
        )),
    }
}

/// What an executor does before it drains: newer tables for an older schema, and the baseline where
/// somebody read the SQL files in a stock shell. Never touches the triggers.
///
/// # Errors
/// [`Error::NotInstalled`], [`Error::Outdated`], and whatever SQLite answers.
pub fn prepare(conn: &Connection, now: Millis) -> Result<Mapping> {
    let mapping = Mapping::require(conn)?;
    atomically(conn, true, || {
        schema::migrate(conn)?;
        baseline_once(conn, &mapping, Backfill::default(), now)
    })?;
    Ok(mapping)
}
