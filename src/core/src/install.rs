//! Putting runchain on a user's table, and taking it off again.
//!
//! Both are idempotent and happen in one transaction: the caller's, or one of their own. Nothing
//! that was finished before is archived unless asked: history is recorded as it is (the baseline),
//! so that a later `INSERT OR REPLACE` of an old row is no news.

use crate::capture::{self, Capture};
use crate::error::{During, Error, Result};
use crate::event::{self, EventType, NewEvent};
use crate::mapping::{self, Mapping, MappingRequest, TRIGGERS, quote};
use crate::transaction::atomically;
use crate::vocabulary::Phase;
use crate::{Millis, RunId, flags, schema};
use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// What happens to the runs that are in the table already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backfill {
    /// Nothing is followed; only what changes from now on.
    None,
    /// Active runs younger than [`YOUNG_MS`] are monitored; older ones are listed as abandoned.
    #[default]
    Active,
    /// As `active`, and every finished run gets its chain; also when asked for at a later install.
    All,
}

/// Active runs older than this at install are taken for abandoned: 24 hours.
pub const YOUNG_MS: i64 = 24 * 60 * 60 * 1000;

/// How many abandoned runs the answer names; it counts them all.
const ABANDONED_NAMED: usize = 100;

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
}

impl InstallOptions {
    /// The keys of the JSON form.
    pub const KEYS: [&str; 6] = ["table", "id", "status", "backfill", "capture", "dry_run"];

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
    /// The statements, in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
}

/// The runs that were in the table at install.
#[derive(Debug, Clone, Default, Serialize)]
pub struct History {
    /// All rows of the user's table that were looked at.
    pub rows: i64,
    /// Finished runs that are left as they are.
    pub finished_left_alone: i64,
    /// Runs that were queued: active and young, and with `all` the finished ones.
    pub queued: i64,
    /// Active runs that are too old to be believed.
    pub abandoned: i64,
    /// The first of those.
    pub abandoned_ids: Vec<RunId>,
}

/// Installs runchain on a table; nothing changes where it stands already.
///
/// # Errors
/// A refusal that names the missing table or column, [`Error::Outdated`], and whatever SQLite
/// answers; then nothing was changed.
pub fn install(conn: &Connection, options: &InstallOptions, now: Millis) -> Result<Installed> {
    atomically(conn, !options.dry_run, || {
        let before = Mapping::installed(conn)?;
        // Asked for nothing in particular, what is installed is what is meant.
        let mapping = match &before {
            Some(installed) if options.mapping == MappingRequest::default() => {
                Mapping::resolve(conn, &MappingRequest::from(installed))?
            }
            _ => Mapping::resolve(conn, &options.mapping)?,
        };
        refuse_shadows(conn, &mapping)?;
        let from = schema::version(conn)?;
        let mut sql = String::new();
        let migrations = schema::migrate(conn)?;
        if from == 0 {
            sql.push_str(schema::body(schema::SCHEMA_SQL));
        } else {
            for migration in schema::MIGRATIONS
                .iter()
                .filter(|one| migrations.contains(&one.name))
            {
                sql.push_str(migration.sql);
            }
        }
        sql.push_str(schema::body(schema::VIEWS_SQL));
        let was = before.as_ref().map(|_| capture::installed(conn)).transpose()?;
        let capture = options.capture.or(was).unwrap_or_default();
        let in_place =
            before.as_ref() == Some(&mapping) && was == Some(capture) && triggers_in_place(conn, &mapping)?;
        if !in_place {
            let triggers = match capture {
                Capture::Triggers => mapping.triggers_sql(),
                Capture::Sweep => mapping.without_triggers_sql(),
            };
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
        let changed = !in_place || !migrations.is_empty();
        if changed {
            let data = json!({ "mapping": mapping, "capture": capture, "migrations": migrations, "history": history });
            event::append(
                conn,
                &NewEvent::of_database(EventType::Installed, now, None, data),
            )?;
        }
        Ok(Installed {
            mapping,
            capture,
            changed,
            dry_run: options.dry_run,
            migrations,
            history,
            sql: options.dry_run.then_some(sql),
        })
    })
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

/// Key in `runchain_meta`: the table whose history is recorded.
const BASELINE: &str = "baseline_of";

fn baseline_of(mapping: &Mapping) -> String {
    format!("{}.{}", mapping.table, mapping.id_column)
}

fn is_baseline_of(conn: &Connection, mapping: &Mapping) -> Result<bool> {
    Ok(schema::meta(conn, BASELINE)? == Some(baseline_of(mapping)))
}

/// While the triggers were away (uninstalled, or lost in a table rebuild) nobody captured what known
/// runs did: what their rows say differently now is queued, as if it were written now.
fn catch_up(conn: &Connection, mapping: &Mapping) -> Result<i64> {
    let table = quote(&mapping.table);
    let (id, status) = (quote(&mapping.id_column), quote(&mapping.status_column));
    let moved = conn
        .execute(
            &format!(
                "INSERT INTO runchain_queue(action, run_id, new_status, actor, reason)
                 SELECT 'insert', r.{id}, r.{status}, 'install', 'not captured'
                 FROM main.{table} AS r JOIN runchain_runs AS k ON k.run_id = CAST(r.{id} AS TEXT)
                 WHERE (k.phase = 'deleted' OR k.status IS NOT CAST(r.{status} AS TEXT)) AND NOT {stands}",
                stands = flags::stands_for(&format!("CAST(r.{status} AS TEXT)")),
            ),
            [],
        )
        .during("queue what was not captured")?;
    let gone = conn
        .execute(
            &format!(
                "INSERT INTO runchain_queue(action, run_id, actor, reason)
                 SELECT 'delete', k.run_id, 'install', 'not captured' FROM runchain_runs AS k
                 WHERE k.phase <> 'deleted' AND NOT {alone} AND k.run_id NOT IN (
                   SELECT CAST(r.{id} AS TEXT) FROM main.{table} AS r WHERE r.{id} IS NOT NULL)",
                alone = flags::STANDS_ALONE,
            ),
            [],
        )
        .during("queue what was deleted")?;
    Ok(count(moved) + count(gone))
}

fn baseline_once(conn: &Connection, mapping: &Mapping, backfill: Backfill, now: Millis) -> Result<History> {
    if is_baseline_of(conn, mapping)? {
        return match backfill {
            Backfill::All => ask_for_what_was_left_alone(conn),
            Backfill::None | Backfill::Active => Ok(History::default()),
        };
    }
    let history = baseline(conn, mapping, backfill, now)?;
    conn.execute(
        "INSERT OR REPLACE INTO runchain_meta(key, value) VALUES (?1, ?2)",
        (BASELINE, baseline_of(mapping)),
    )
    .during("note that the history is recorded")?;
    Ok(history)
}

/// Asks for the chain of every finished run that never had one: the history is recorded already,
/// and now somebody wants all of it.
fn ask_for_what_was_left_alone(conn: &Connection) -> Result<History> {
    let queued = conn
        .execute(
            "INSERT INTO runchain_queue(action, run_id, actor, reason)
             SELECT 'enqueue_chain', run_id, 'install', 'backfill' FROM runchain_runs AS r
             WHERE generation = 0 AND phase IN ('completed', 'failed', 'cancelled')
               AND NOT EXISTS (SELECT 1 FROM runchain_queue AS q WHERE q.run_id = r.run_id)
             ORDER BY run_id",
            [],
        )
        .during("queue the finished runs")?;
    Ok(History {
        rows: count(queued),
        queued: count(queued),
        ..History::default()
    })
}

/// Whether all three triggers are in the database, to the letter; where capture is by sweep, whether
/// none is.
///
/// # Errors
/// Whatever SQLite answers.
pub fn triggers_in_place(conn: &Connection, mapping: &Mapping) -> Result<bool> {
    if capture::installed(conn)? == Capture::Sweep {
        return Ok(!has_triggers(conn)?);
    }
    for (name, wanted) in mapping.triggers() {
        let found: Option<String> = conn
            .query_row(
                "SELECT sql FROM main.sqlite_master WHERE type = 'trigger' AND name = ?1",
                [name],
                |row| row.get(0),
            )
            .optional()
            .during("look at the capture triggers")?;
        if found.as_deref() != Some(wanted.as_str()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Records the runs that are there already, those that wait in the queue excepted: their capture is
/// what counts.
fn baseline(conn: &Connection, mapping: &Mapping, backfill: Backfill, now: Millis) -> Result<History> {
    let table = quote(&mapping.table);
    let (id, status) = (quote(&mapping.id_column), quote(&mapping.status_column));
    let source = format!(
        "main.{table} AS r LEFT JOIN runchain_vocabulary AS v ON v.status = CAST(r.{status} AS TEXT)
         WHERE r.{id} IS NOT NULL AND typeof(r.{id}) <> 'blob'
           AND NOT EXISTS (SELECT 1 FROM runchain_queue AS q WHERE q.run_id = CAST(r.{id} AS TEXT))
           AND NOT EXISTS (SELECT 1 FROM runchain_runs AS k WHERE k.run_id = CAST(r.{id} AS TEXT))"
    );
    let finished = "v.phase IN ('completed', 'failed', 'cancelled')";
    let mut history = History::default();
    if backfill == Backfill::All {
        let sql = format!(
            "INSERT INTO runchain_queue(action, run_id, new_status, actor, reason)
             SELECT 'insert', r.{id}, r.{status}, 'install', 'backfill' FROM {source} AND {finished} ORDER BY r.{id}"
        );
        let queued = conn.execute(&sql, []).during("queue the finished runs")?;
        history.queued += count(queued);
    } else {
        let sql = format!(
            "INSERT OR IGNORE INTO runchain_runs(run_id, phase, status, first_seen_ms, phase_since_ms)
             SELECT CAST(r.{id} AS TEXT), v.phase, CAST(r.{status} AS TEXT), ?1, ?1 FROM {source} AND {finished}"
        );
        let left = conn.execute(&sql, [now]).during("record the finished runs")?;
        history.finished_left_alone += count(left);
    }
    for run in active_runs(conn, mapping, &source)? {
        let young = run.seen.is_none_or(|seen| now.since(seen) < YOUNG_MS);
        if backfill != Backfill::None && young {
            conn.execute(
                "INSERT INTO runchain_queue(action, run_id, new_status, actor, reason) VALUES ('insert', ?1, ?2, 'install', 'backfill')",
                (&run.run_id, &run.status),
            )
            .during("queue an active run")?;
            history.queued += 1;
        } else {
            conn.execute(
                "INSERT OR IGNORE INTO runchain_runs(run_id, phase, status, first_seen_ms, phase_since_ms, monitor)
                 VALUES (?1, ?2, ?3, ?4, ?5, 'abandoned')",
                (&run.run_id, Phase::Active, &run.status, now, run.seen.unwrap_or(now)),
            )
            .during("record an abandoned run")?;
            history.abandoned += 1;
            if history.abandoned_ids.len() < ABANDONED_NAMED {
                history.abandoned_ids.push(run.run_id);
            }
        }
    }
    history.rows = history.finished_left_alone + history.queued + history.abandoned;
    Ok(history)
}

struct ActiveRun {
    run_id: RunId,
    status: Option<String>,
    /// The latest time that its row names, where it has such a column.
    seen: Option<Millis>,
}

/// Times that say how old a run is, the most telling first: a run that was updated an hour ago is
/// not abandoned, whenever it was created.
const TIME_COLUMNS: [&str; 4] = ["updated_at", "started_at", "created_at", "timestamp"];

fn active_runs(conn: &Connection, mapping: &Mapping, source: &str) -> Result<Vec<ActiveRun>> {
    let columns = mapping::columns(conn, &mapping.table)?;
    let times: Vec<String> = TIME_COLUMNS
        .iter()
        .filter_map(|wanted| {
            columns
                .iter()
                .find(|column| column.name.eq_ignore_ascii_case(wanted))
        })
        .map(|column| format!("CAST(r.{} AS TEXT)", quote(&column.name)))
        .collect();
    let time = if times.is_empty() {
        "NULL".to_owned()
    } else {
        format!("coalesce({}, NULL)", times.join(", "))
    };
    let sql = format!(
        "SELECT r.{id}, r.{status}, {time} FROM {source} AND (v.phase IS NULL OR v.phase = 'active')",
        id = quote(&mapping.id_column),
        status = quote(&mapping.status_column),
    );
    let mut statement = conn.prepare(&sql).during("read the active runs")?;
    let rows = statement
        .query_map([], |row| {
            let time = mapping::text(row, 2)?;
            Ok(ActiveRun {
                // Neither NULL nor BLOB: the source leaves those out.
                run_id: RunId(mapping::text(row, 0)?.unwrap_or_default()),
                status: mapping::text(row, 1)?,
                seen: time.as_deref().and_then(Millis::parse_iso),
            })
        })
        .during("read the active runs")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("read the active runs")
}

fn count(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

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
/// The user's own objects are never touched. An empty `sqlite_sequence` may remain: SQLite doesn't
/// let anybody drop it.
///
/// # Errors
/// Whatever SQLite answers; then nothing was changed.
pub fn uninstall(conn: &Connection, purge: bool) -> Result<Uninstalled> {
    atomically(conn, true, || {
        let installed = schema::table_exists(conn, "runchain_mapping")? || has_triggers(conn)?;
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
        }
        Ok(Uninstalled {
            changed: installed || (purge && recorded),
            purged: purge,
            live_steps,
        })
    })
}

/// Whether any of the capture triggers is there.
pub(crate) fn has_triggers(conn: &Connection) -> Result<bool> {
    let [insert, update, delete] = TRIGGERS;
    conn.query_row(
        "SELECT EXISTS (SELECT 1 FROM main.sqlite_master WHERE type = 'trigger' AND name IN (?1, ?2, ?3))",
        [insert, update, delete],
        |row| row.get(0),
    )
    .during("look for the capture triggers")
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
