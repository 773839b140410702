//! Checks of the database itself: its file, versions, journal and the SQLite that reads it.

use super::{Context, Verdict, database_path, wording};
use crate::error::{During, Error, Result};
use crate::schema;
use rusqlite::Connection;

pub(super) fn file(context: &Context<'_>) -> Result<Verdict> {
    Ok(match database_path(context.conn)? {
        Some(path) => Verdict::ok(path.display().to_string()),
        None => Verdict::warning(
            "this database is in memory or temporary",
            "no executor can see it, and it is gone when this connection closes",
        )
        .remedy(".open .state/orchestration.db"),
    })
}

pub(super) fn schema_version(context: &Context<'_>) -> Result<Verdict> {
    let found = schema::version(context.conn)?;
    let ours = schema::VERSION;
    Ok(if found == 0 {
        Verdict::error(
            "runchain_meta has no schema_version",
            "only sql/triggers.sql was read here, or the row was deleted: the executor can't work",
        )
        .remedy(schema_remedy(context))
    } else if found < ours {
        Verdict::warning(
            format!("schema version {found}; this build writes {ours}"),
            "an older runchain installed it; what is newer than that doesn't work yet",
        )
        .remedy("SELECT runchain_install(); -- or `runchain install`: both migrate")
    } else if found > ours {
        Verdict::ok(format!(
            "schema version {found}, newer than this build's {ours}; min_writer_version decides"
        ))
    } else {
        Verdict::ok(format!("schema version {found}"))
    })
}

pub(super) fn min_writer_version(context: &Context<'_>) -> Result<Verdict> {
    Ok(match schema::check_writer(context.conn) {
        Ok(()) => Verdict::ok(format!(
            "this build writes schema version {}, which is allowed",
            schema::VERSION
        )),
        Err(Error::Outdated { ours, required }) => Verdict::error(
            format!("the database asks for schema version {required} or newer; this build writes {ours}"),
            "this build may read, but leaves queue and steps alone",
        )
        .remedy("install a newer runchain (extension and binary), then restart `runchain drain`"),
        Err(Error::NotInstalled) => Verdict::error(
            "runchain_meta has no min_writer_version",
            "no executor dares to write: it can't know whether it is new enough",
        )
        .remedy(schema_remedy(context)),
        Err(other) => return Err(other),
    })
}

pub(super) fn uuid(context: &Context<'_>) -> Result<Verdict> {
    Ok(match schema::meta(context.conn, "database_uuid")? {
        Some(uuid) if !uuid.trim().is_empty() => Verdict::ok(wording::shown(&uuid)),
        _ => Verdict::error(
            "runchain_meta has no database_uuid",
            "an output folder belongs to one database; without this nobody can tell a copy from the original",
        )
        .remedy(schema_remedy(context)),
    })
}

/// `sql/schema.sql` adds what is missing and touches nothing that exists.
pub(super) fn schema_remedy(context: &Context<'_>) -> String {
    let database = context
        .database
        .as_deref()
        .map_or_else(|| "DATABASE".to_owned(), wording::argument);
    format!("sqlite3 {database} \".read sql/schema.sql\"")
}

/// How the database keeps its transactions, in lower case: `wal`, `delete`, `memory`, ...
pub(super) fn journal_mode_of(conn: &Connection) -> Result<String> {
    conn.query_row("PRAGMA main.journal_mode", [], |row| row.get::<_, String>(0))
        .map(|mode| mode.to_ascii_lowercase())
        .during("ask for the journal mode")
}

pub(super) fn journal_mode(context: &Context<'_>) -> Result<Verdict> {
    let mode = journal_mode_of(context.conn)?;
    let remedy = "PRAGMA journal_mode=WAL; -- once, while nobody writes; not on a network file system";
    Ok(match mode.as_str() {
        _ if context.database.is_none() => Verdict::ok(format!("{mode}; this database has no file")),
        "wal" => Verdict::ok("wal"),
        "off" | "memory" => Verdict::warning(
            format!("journal mode {mode} on this connection"),
            "a crash in the middle of a transaction of this connection damages the database",
        )
        .remedy(remedy),
        _ => Verdict::warning(
            format!("rollback journal ({mode})"),
            "readers and the writer block each other: the executor and the orchestrator wait for each other",
        )
        .remedy(remedy),
    })
}

/// Free pages below this are not worth a word.
const FEW_FREE_BYTES: i64 = 64 << 20;

pub(super) fn free_pages(context: &Context<'_>) -> Result<Verdict> {
    let ask = |pragma: &str| -> Result<i64> {
        context
            .conn
            .query_row(&format!("PRAGMA main.{pragma}"), [], |row| row.get(0))
            .during("ask about the database's pages")
    };
    let page_bytes = ask("page_size")?;
    let (free_bytes, all_bytes) = (
        ask("freelist_count")? * page_bytes,
        ask("page_count")? * page_bytes,
    );
    let found = format!("{free_bytes} of {all_bytes} bytes are free");
    if free_bytes < FEW_FREE_BYTES || free_bytes < all_bytes / 4 {
        return Ok(Verdict::ok(found));
    }
    let incremental = ask("auto_vacuum")? == 2;
    Ok(Verdict::warning(
        found,
        "SQLite uses them again before the file grows; only who needs the room elsewhere needs to do something",
    )
    .remedy(if incremental {
        "PRAGMA incremental_vacuum(1000); -- a few milliseconds each time; or `runchain prune`"
    } else {
        "VACUUM; -- while nobody writes: it needs as much room again, and keeps every writer out"
    }))
}

/// What is known of a SQLite release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Release {
    /// Older than the extension can be loaded into.
    TooOld,
    /// Has the WAL-reset bug.
    WalReset,
    /// Nothing known against it.
    Fine,
}

/// Judges SQLite's version number (3.51.3 is 3051003). The WAL-reset bug came with WAL in 3.7.0
/// and was mended in 3.51.3; 3.50.7 and 3.44.6 are the patched ends of their branches.
pub(super) fn release(version: i32) -> Release {
    match version {
        ..3_034_001 => Release::TooOld,
        3_044_006..3_045_000 | 3_050_007..3_051_000 | 3_051_003.. => Release::Fine,
        _ => Release::WalReset,
    }
}

pub(super) fn host_sqlite(context: &Context<'_>) -> Result<Verdict> {
    let wal = journal_mode_of(context.conn)? == "wal";
    let version = rusqlite::version();
    let upgrade = "install SQLite 3.51.3 or newer (or 3.50.7, 3.44.6) for this program, then restart it";
    Ok(match release(rusqlite::version_number()) {
        Release::Fine => Verdict::ok(format!("SQLite {version}")),
        Release::WalReset if !wal => Verdict::ok(format!(
            "SQLite {version}; its WAL-reset bug can't strike without WAL"
        )),
        Release::WalReset => Verdict::warning(
            format!("SQLite {version} in this process, on a WAL database"),
            "it has the WAL-reset bug: two connections that write or checkpoint at the same moment can, \
             rarely, damage the database",
        )
        .remedy(upgrade),
        Release::TooOld => Verdict::error(
            format!("SQLite {version} in this process"),
            "runchain works in SQLite 3.34.1 and newer",
        )
        .remedy(upgrade),
    })
}
