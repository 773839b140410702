//! Checks of the installation: required tables, runchain's own objects, mapping, triggers.

use super::database::schema_remedy;
use super::{Context, Verdict};
use crate::capture::{self, Capture};
use crate::error::{During, Error, Result};
use crate::mapping::{self, Mapping, MappingRequest, TRIGGERS};
use crate::{install, schema, triggers};
use rusqlite::Connection;

pub(super) fn required_tables(context: &Context<'_>) -> Result<Verdict> {
    let required = match schema::meta(context.conn, "required_tables")? {
        None => context.options.required_tables.clone(),
        Some(json) => match serde_json::from_str::<Vec<String>>(&json) {
            Ok(tables) => tables,
            Err(error) => {
                return Ok(Verdict::warning(
                    format!("runchain_meta.required_tables is no JSON array of names: {error}"),
                    "it is not known which tables monitoring needs",
                )
                .remedy(require(context, &context.options.required_tables)));
            }
        },
    };
    let mut there = Vec::new();
    let mut missing = Vec::new();
    for name in required {
        let place = if table_or_view(context.conn, &name)? {
            &mut there
        } else {
            &mut missing
        };
        place.push(name);
    }
    if missing.is_empty() {
        return Ok(Verdict::ok(there.join(", ")));
    }
    let instead = mapping::user_tables(context.conn)?;
    let found = format!(
        "missing: {}; this database has: {}",
        missing.join(", "),
        some(&instead)
    );
    if instead.is_empty() {
        return Ok(Verdict::error(
            found,
            "this is an empty database; the orchestrator probably writes to another file",
        )
        .remedy("open the orchestrator's own state database; PRAGMA database_list; shows this one"));
    }
    if let (Some(was), Some(now)) = (&context.mapping, install::renamed_to(context.conn)?)
        && missing.iter().any(|name| name.eq_ignore_ascii_case(&was.table))
    {
        return Ok(Verdict::error(
            format!("{found}; {} looks like {} now", was.table, now.table),
            "a migration has renamed the table that is followed, it seems",
        )
        .remedy(REPAIR_SQL));
    }
    if there.is_empty() {
        there.extend(
            context
                .mapping
                .as_ref()
                .map_or_else(|| instead.first().cloned(), |m| Some(m.table.clone())),
        );
    }
    Ok(Verdict::error(
        found,
        "monitoring can't read what would stand in them; if this orchestrator has no such tables, say so once",
    )
    .remedy(require(context, &there)))
}

/// Both ways to say which tables are required.
fn require(context: &Context<'_>, tables: &[String]) -> String {
    let list = serde_json::Value::from(tables).to_string();
    let install = if context.has_tables {
        ""
    } else {
        "SELECT runchain_install(); "
    };
    format!(
        "{install}INSERT OR REPLACE INTO runchain_meta(key, value) VALUES ('required_tables', {}); \
         -- or in runchain.toml: required_tables = {list}",
        mapping::literal(&list)
    )
}

fn table_or_view(conn: &Connection, name: &str) -> Result<bool> {
    conn.query_row(
        "SELECT EXISTS (SELECT 1 FROM main.sqlite_master
                        WHERE type IN ('table', 'view') AND name = ?1 COLLATE NOCASE)",
        [name],
        |row| row.get(0),
    )
    .during("look for a required table")
}

fn some(names: &[String]) -> String {
    const MOST: usize = 20;
    match names {
        [] => "no tables".to_owned(),
        _ if names.len() > MOST => format!("{} and {} more", names[..MOST].join(", "), names.len() - MOST),
        _ => names.join(", "),
    }
}

pub(super) fn installed(context: &Context<'_>) -> Result<Verdict> {
    if let Some(Mapping {
        table,
        id_column,
        status_column,
    }) = Mapping::installed(context.conn)?
    {
        return Ok(Verdict::ok(format!(
            "follows table {table} (id {id_column}, status {status_column})"
        )));
    }
    let mut found = if schema::table_exists(context.conn, "runchain_meta")? {
        "runchain's tables are here, but it follows no table of yours".to_owned()
    } else {
        "runchain is not installed in this database".to_owned()
    };
    // Where the table can't be detected, the refusal says what was looked for and what to name.
    let remedy = match Mapping::resolve(context.conn, &MappingRequest::default()) {
        Ok(_) => "SELECT runchain_install(); -- or `runchain install`".to_owned(),
        Err(Error::WrongMapping { what, remedy }) => {
            found = format!("{found}; {what}");
            remedy
        }
        Err(other) => return Err(other),
    };
    Ok(Verdict::error(
        found,
        "writes are not captured: nothing is monitored, archived or reported",
    )
    .remedy(remedy))
}

pub(super) fn own_objects(context: &Context<'_>) -> Result<Verdict> {
    // An older database lacks what later migrations add; `schema_version` says that.
    let version = match schema::version(context.conn)? {
        version @ 1..schema::VERSION => version,
        _ => schema::VERSION,
    };
    let texts = schema::MIGRATIONS[..version as usize]
        .iter()
        .map(|migration| migration.sql)
        .chain([schema::VIEWS_SQL]);
    let mut statement = context
        .conn
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM main.sqlite_master WHERE name = ?1 COLLATE NOCASE)")
        .during("look for runchain's objects")?;
    let mut missing = Vec::new();
    for name in texts.flat_map(created_names) {
        let exists: bool = statement
            .query_row([name], |row| row.get(0))
            .during("look for runchain's objects")?;
        if !exists {
            missing.push(name);
        }
    }
    if missing.is_empty() {
        return Ok(Verdict::ok(format!("all objects of schema version {version}")));
    }
    let meaning = if missing.contains(&"runchain_queue") {
        "the capture triggers have nowhere to append: every write to the followed table fails"
    } else {
        "the executor or the views need them"
    };
    Ok(
        Verdict::error(format!("missing: {}", missing.join(", ")), meaning).remedy(format!(
            "{}; then SELECT runchain_install();",
            schema_remedy(context)
        )),
    )
}

/// The names after each `CREATE TABLE`, `CREATE INDEX` and `CREATE VIEW` that begins a line.
fn created_names(sql: &'static str) -> impl Iterator<Item = &'static str> {
    sql.lines().filter_map(|line| {
        let rest = line.strip_prefix("CREATE ")?;
        let rest = ["TABLE ", "INDEX ", "VIEW "]
            .iter()
            .find_map(|kind| rest.strip_prefix(kind))?;
        let rest = rest.strip_prefix("IF NOT EXISTS ").unwrap_or(rest);
        rest.split([' ', '(']).next()
    })
}

pub(super) fn mapping(context: &Context<'_>) -> Result<Verdict> {
    let wanted = context.mapping()?;
    let request = MappingRequest {
        table: Some(wanted.table.clone()),
        id_column: Some(wanted.id_column.clone()),
        status_column: Some(wanted.status_column.clone()),
    };
    let what = match Mapping::resolve(context.conn, &request) {
        Ok(found) => return id_and_status(context.conn, &found),
        Err(Error::WrongMapping { what, .. }) => what,
        Err(other) => return Err(other),
    };
    let remedy = match install::mapping_now(context.conn, wanted) {
        Ok(_) => REPAIR_SQL.to_owned(),
        Err(Error::WrongMapping { remedy, .. }) => remedy,
        Err(other) => return Err(other),
    };
    Ok(Verdict::error(
        what,
        "the table or a column was renamed or dropped; the executor can't look at the runs",
    )
    .remedy(remedy))
}

/// Both columns are there; the id has to tell the rows apart.
fn id_and_status(conn: &Connection, found: &Mapping) -> Result<Verdict> {
    let Mapping {
        table,
        id_column,
        status_column,
    } = found;
    if found.is_unique(conn)? {
        return Ok(Verdict::ok(format!("{table}.{id_column} and .{status_column}")));
    }
    Ok(Verdict::warning(
        format!("{table}.{id_column} is not unique by the table's definition"),
        "rows with one id are taken for one run, and without an index of it every look at a run reads the whole table",
    )
    .remedy(format!(
        "CREATE UNIQUE INDEX {} ON {}({}); -- or install with a column that tells the runs apart",
        mapping::quote(&format!("{table}_{id_column}")),
        mapping::quote(table),
        mapping::quote(id_column)
    )))
}

const REPAIR_SQL: &str = "SELECT runchain_install('{\"repair\":true}'); -- or runchain install --repair";

pub(super) fn triggers(context: &Context<'_>) -> Result<Verdict> {
    let mapping = context.mapping()?;
    if capture::installed(context.conn)? == Capture::Sweep {
        return by_sweep(context);
    }
    let faults = triggers::faults(context.conn, mapping)?;
    Ok(if faults.is_empty() {
        Verdict::ok(format!(
            "{} capture triggers on {}",
            TRIGGERS.len(),
            mapping.table
        ))
    } else {
        Verdict::error(
            triggers::sentence(&faults),
            "a table rebuild (Alembic, Django) or a rename does this; until it is mended, writes are missed or fail",
        )
        .remedy(REPAIR_SQL)
    })
}

/// Without triggers by somebody's own wish.
fn by_sweep(context: &Context<'_>) -> Result<Verdict> {
    if !triggers::any(context.conn)? {
        return Ok(Verdict::ok(
            "capture is by sweep: no triggers, the executor compares after every commit",
        ));
    }
    Ok(Verdict::warning(
        "capture is by sweep, but there are capture triggers",
        "somebody read sql/triggers.sql since; every write is captured twice, which does no harm",
    )
    .remedy("SELECT runchain_install('{\"capture\":\"sweep\"}'); -- or \"triggers\""))
}

pub(super) fn foreign_triggers(context: &Context<'_>) -> Result<Verdict> {
    let mut statement = context
        .conn
        .prepare_cached(
            "SELECT name, sql FROM main.sqlite_master
             WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE ORDER BY name",
        )
        .during("read the table's triggers")?;
    let triggers = statement
        .query_map([&context.mapping()?.table], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .during("read the table's triggers")?;
    let silencing: Vec<String> = triggers
        .into_iter()
        .filter(|(name, sql)| !TRIGGERS.contains(&name.as_str()) && silences_later_triggers(name, sql))
        .map(|(name, _)| name)
        .collect();
    let Some(first) = silencing.first() else {
        return Ok(Verdict::ok("none that would"));
    };
    Ok(Verdict::warning(
        format!("AFTER triggers with RAISE(IGNORE): {}", silencing.join(", ")),
        "when one of them ignores, the row is written but may not be captured; the sweep finds such a run later",
    )
    .remedy(format!(
        "DROP TRIGGER {}; -- then create it again as a BEFORE trigger, or without RAISE(IGNORE)",
        mapping::quote(first)
    )))
}

/// Whether a trigger is AFTER and may `RAISE(IGNORE)`. A BEFORE trigger that ignores is harmless:
/// then the row isn't written either.
fn silences_later_triggers(name: &str, sql: &str) -> bool {
    // The name may itself contain "after".
    let text = sql.replacen(name, "", 1).to_ascii_uppercase();
    let after = text
        .split_whitespace()
        .take_while(|word| !["INSERT", "UPDATE", "DELETE"].contains(word))
        .any(|word| word == "AFTER");
    let dense: String = text.split_whitespace().collect();
    after && dense.contains("RAISE(IGNORE")
}
