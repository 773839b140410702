//! The kinds of rows that retention knows: where they stand, how large they are, when they are over.

use super::{Limits, Policy};
use crate::error::{During, Result};
use crate::mapping::quote;
use crate::{Mapping, Millis, schema};
use rusqlite::Connection;
use rusqlite::types::Value;

/// What a pass goes through, in this order: what others refer to comes after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Bags of chains that are over, by their rows in `archival_log`.
    Bags,
    /// Reports of runs whose chains are over.
    Reports,
    /// Steps of chains that are over, with their failed attempts.
    Steps,
    /// Lifecycle and audit events.
    Events,
    /// Events kept from event logs.
    Ingested,
    /// Lines of event logs that could not be kept.
    Rejects,
    /// Ended tasks (`uet_tasks`).
    Tasks,
    /// Ended executions without tasks (`uet_executions`).
    Executions,
    /// Resolved alerts.
    Alerts,
    /// Rows of executors that are gone.
    Executors,
    /// Runs whose row the user deleted.
    Runs,
}

impl Kind {
    /// Every kind, in the order of a pass.
    pub const ALL: &'static [Self] = &[
        Self::Bags,
        Self::Reports,
        Self::Steps,
        Self::Events,
        Self::Ingested,
        Self::Rejects,
        Self::Tasks,
        Self::Executions,
        Self::Alerts,
        Self::Executors,
        Self::Runs,
    ];

    /// As it stands in events and in `prune --json`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bags => "bags",
            Self::Reports => "reports",
            Self::Steps => "steps",
            Self::Events => "events",
            Self::Ingested => "ingested",
            Self::Rejects => "rejects",
            Self::Tasks => "tasks",
            Self::Executions => "executions",
            Self::Alerts => "alerts",
            Self::Executors => "executors",
            Self::Runs => "runs",
        }
    }
}

/// What is asked of one kind in one pass; the row is `r`.
#[derive(Debug, Clone)]
pub(super) struct Statements {
    table: &'static str,
    key: &'static str,
    /// Which rows of the table are of this kind.
    of_kind: &'static str,
    /// Size of a row.
    size: &'static str,
    /// Whether it is old or too much. Where keys grow with time, a chunk without such a row ends the
    /// kind: what has just been written need not be read to be kept.
    old: String,
    /// Whether its time has come.
    expired: String,
    /// What must hold besides when it is removed; a dry run foresees it.
    ready: String,
    /// Removed before it, by its key.
    with: &'static [&'static str],
    /// Whether the row goes, and not only files that it names.
    goes: bool,
}

/// A run that is active, has a step that has not ended (a dead one that isn't required has), or a chain that
/// a storm holds back.
const LIVE: &str = "
  EXISTS (SELECT 1 FROM runchain_runs AS n WHERE n.run_id = {run} AND n.phase = 'active')
  OR EXISTS (SELECT 1 FROM runchain_steps AS s
             WHERE s.run_id = {run} AND s.finished_ms IS NULL AND (s.required OR s.state <> 'dead'))
  OR EXISTS (SELECT 1 FROM runchain_held AS h WHERE h.run_id = {run})";

/// Without a digest it is a row of somebody else's.
const BAGS_EXPIRED: &str = "
  r.digest IS NOT NULL AND r.generation IS NOT NULL AND NOT ({live})";

/// What is over stands in the chain with something that must stay: a step that has not ended, a dead
/// one that nobody has resolved, one that ended later.
const STEPS_EXPIRED: &str = "
  NOT EXISTS (
    SELECT 1 FROM runchain_steps AS s
    WHERE s.run_id = r.run_id AND s.generation = r.generation
      AND CASE
            WHEN s.finished_ms IS NOT NULL THEN s.finished_ms >= {age} AND s.id > {id}
            WHEN s.state = 'dead' THEN coalesce(s.started_ms, s.created_ms) >= {dead}
            ELSE 1
          END)";

const EVENTS_EXPIRED: &str = "
  r.id <= (SELECT coalesce(min(event_id), 0) FROM runchain_cursors)
  AND NOT (r.run_id IS NOT NULL AND ({live}))";

/// An old event can stand in a file that was read yesterday: it stays as long as one that was written then.
const INGESTED_OLD: &str = "
  r.id <= {id} OR coalesce(
     (SELECT max(coalesce(r.at_ms, f.last_read_ms), f.first_read_ms)
      FROM runchain_ingest_files AS f WHERE f.id = r.file_id),
     r.at_ms, 0) < {age}";

const INGESTED_EXPIRED: &str = "
  NOT (r.run_id IS NOT NULL AND ({live}))
  AND NOT (r.job_id IS NOT NULL AND ({live_job}))";

const EXECUTIONS_EXPIRED: &str = "
  r.ended_ms < {age}
  AND NOT ({live})
  AND NOT EXISTS (
    SELECT 1 FROM main.uet_tasks AS t LEFT JOIN runchain_derived AS d ON d.kind = 'task' AND d.id = t.task_id
    WHERE t.execution_id = r.id AND coalesce(d.ended_ms, {age}) >= {age})";

const RUNS_EXPIRED: &str = "
  r.phase = 'deleted' AND r.phase_since_ms < {age}
  AND NOT EXISTS (
    SELECT 1 FROM main.{runs} AS u
    WHERE u.{run_id} = r.run_id
       OR u.{run_id} = CASE WHEN CAST(CAST(r.run_id AS INTEGER) AS TEXT) = r.run_id
                            THEN CAST(r.run_id AS INTEGER) ELSE r.run_id END)";

/// Bytes of a row that no column accounts for: key, header, its entries in indexes.
const EVENT_SIZE: &str = "80 + length(r.type) + coalesce(2 * length(r.run_id), 0) + length(r.data)";
const STEP_SIZE: &str =
    "150 + 2 * length(r.run_id) + length(r.step) + length(r.needs) + coalesce(length(r.result), 0)
  + coalesce(length(r.error), 0) + coalesce(length(r.output_tail), 0)";
const INGESTED_SIZE: &str =
    "100 + 2 * length(r.event_id) + length(r.type) + coalesce(2 * length(r.job_id), 0)
  + coalesce(length(r.details), 0) + coalesce(length(r.extra), 0)";

/// What a kind's statements are in this pass; `None` where nothing of it ever goes.
pub(super) fn statements(
    conn: &Connection,
    mapping: &Mapping,
    kind: Kind,
    policy: &Policy,
    now: Millis,
) -> Result<Option<Statements>> {
    let cutoff = |age_ms: i64| {
        if age_ms > 0 {
            now.0.saturating_sub(age_ms)
        } else {
            i64::MIN
        }
    };
    let of_age = |age_ms: i64| Limits::of_age(age_ms);
    let (limits, mut made) = match kind {
        Kind::Bags => (
            policy.bags,
            Statements {
                // In a table of the user's own, our rows stay as history.
                goes: is_ours(conn, "archival_log")?,
                ..simple("archival_log", "coalesce(r.size_bytes, 0)", BAGS_EXPIRED)
                    .growing("r.archived_at < '{age_iso}' OR r.id <= {id}")
            },
        ),
        Kind::Reports => (
            of_age(policy.reports_age_ms),
            Statements {
                key: "run_id",
                goes: false,
                ..simple("runchain_runs", "0", "r.phase <> 'active' AND r.phase_since_ms < {age} AND NOT ({live})")
            },
        ),
        Kind::Steps => (
            policy.steps,
            simple("runchain_steps", STEP_SIZE, STEPS_EXPIRED).growing("r.created_ms < {age} OR r.id <= {id}"),
        ),
        Kind::Events => (
            policy.events,
            simple("runchain_events", EVENT_SIZE, EVENTS_EXPIRED).growing("r.at_ms < {age} OR r.id <= {id}"),
        ),
        Kind::Ingested => (
            policy.ingested,
            simple("runchain_ingested", INGESTED_SIZE, INGESTED_EXPIRED).growing(INGESTED_OLD),
        ),
        Kind::Rejects => (
            policy.rejects,
            simple(
                "runchain_ingest_rejects",
                "60 + length(r.reason) + length(r.start)",
                "1",
            )
            .growing("r.at_ms < {age} OR r.id <= {id}"),
        ),
        Kind::Alerts => (
            policy.alerts,
            simple(
                "runchain_alerts",
                "80 + 2 * length(r.fingerprint) + length(r.subject) + coalesce(length(r.message), 0)",
                "r.state = 'resolved' AND (r.last_at_ms < {age} OR r.id <= {id})",
            )
            .after(&[
                "DELETE FROM runchain_alert_deliveries WHERE alert_id = ?1",
                "DELETE FROM runchain_alert_changes WHERE alert_id = ?1",
            ]),
        ),
        Kind::Executors => (
            of_age(policy.executors_age_ms),
            Statements {
                key: "executor_id",
                ..simple(
                    "runchain_executors",
                    "80 + length(r.executor_id)",
                    "r.lease_until_ms < {age} AND NOT EXISTS (
                       SELECT 1 FROM runchain_steps AS s
                       WHERE s.finished_ms IS NULL AND s.state IN ('leased', 'running') AND s.executor_id = r.executor_id)",
                )
            },
        ),
        Kind::Runs => (
            of_age(policy.runs_age_ms),
            Statements {
                key: "run_id",
                ready: "NOT EXISTS (SELECT 1 FROM runchain_steps AS s WHERE s.run_id = r.run_id)".to_owned(),
                ..simple("runchain_runs", "80 + 2 * length(r.run_id)", RUNS_EXPIRED)
            },
        ),
        Kind::Tasks | Kind::Executions => {
            let Some(made) = shown(conn, kind)? else {
                return Ok(None);
            };
            (of_age(policy.executions_age_ms), made)
        }
    };
    if limits.is_never() {
        return Ok(None);
    }
    let live = |run: &str| LIVE.replace("{run}", run);
    let run = if kind == Kind::Executions {
        "r.id"
    } else {
        "r.run_id"
    };
    let id = if made.key == "id" && made.table != "runchain_derived" {
        made.id_cutoff(conn, limits)?
    } else {
        i64::MIN
    };
    for condition in [&mut made.old, &mut made.expired] {
        *condition = condition
            .replace("{live}", &live(run))
            .replace("{live_job}", &live("r.job_id"))
            .replace("{age_iso}", &cutoff_iso(cutoff(limits.age_ms)))
            .replace("{age}", &cutoff(limits.age_ms).to_string())
            .replace("{dead}", &cutoff(policy.dead_steps_age_ms).to_string())
            .replace("{id}", &id.to_string())
            .replace("{runs}", &quote(&mapping.table))
            .replace("{run_id}", &quote(&mapping.id_column));
    }
    if kind == Kind::Steps {
        made.with = &["DELETE FROM runchain_failures WHERE step_id = ?1"];
    }
    Ok(Some(made))
}

/// A time as `archival_log` has it; what never comes sorts before all of them.
fn cutoff_iso(cutoff_ms: i64) -> String {
    if cutoff_ms == i64::MIN {
        String::new()
    } else {
        Millis(cutoff_ms).iso()
    }
}

fn simple(table: &'static str, size: &'static str, expired: &str) -> Statements {
    Statements {
        table,
        key: "id",
        of_kind: "1",
        size,
        old: "1".to_owned(),
        expired: expired.to_owned(),
        ready: "1".to_owned(),
        with: &[],
        goes: true,
    }
}

/// Executions and tasks, where both tables that show them are ours and nothing stands in the way.
fn shown(conn: &Connection, kind: Kind) -> Result<Option<Statements>> {
    if !is_ours(conn, "uet_tasks")? || !is_ours(conn, "uet_executions")? {
        return Ok(None);
    }
    let table = if kind == Kind::Tasks {
        "uet_tasks"
    } else {
        "uet_executions"
    };
    let Some(unreferenced) = unreferenced(conn, table)? else {
        return Ok(None);
    };
    let (of_kind, expired, ready, with): (_, _, _, &'static [&'static str]) = if kind == Kind::Tasks {
        (
            "r.kind = 'task'",
            "r.ended_ms < {age}",
            "1",
            &["DELETE FROM main.uet_tasks WHERE task_id = ?1"],
        )
    } else {
        (
            "r.kind = 'execution'",
            EXECUTIONS_EXPIRED,
            "NOT EXISTS (SELECT 1 FROM main.uet_tasks AS t WHERE t.execution_id = r.id)",
            &["DELETE FROM main.uet_executions WHERE execution_id = ?1"],
        )
    };
    Ok(Some(Statements {
        table: "runchain_derived",
        key: "id",
        of_kind,
        old: "1".to_owned(),
        size: "120 + 2 * length(r.id) + coalesce(length(r.error), 0)",
        expired: format!("{expired} AND {unreferenced}"),
        ready: ready.to_owned(),
        with,
        goes: true,
    }))
}

fn is_ours(conn: &Connection, table: &str) -> Result<bool> {
    Ok(
        schema::meta(conn, &format!("owns.{table}"))?.as_deref() == Some("1")
            && schema::table_exists(conn, table)?,
    )
}

/// Whether our own `uet_tasks` has no index on the execution.
pub(super) fn lacks_index(conn: &Connection) -> Result<bool> {
    if !is_ours(conn, "uet_tasks")? {
        return Ok(false);
    }
    conn.query_row(
        "SELECT NOT EXISTS (SELECT 1 FROM pragma_index_list('uet_tasks') AS l, pragma_index_info(l.name) AS c
                            WHERE l.partial = 0 AND c.seqno = 0 AND c.name = 'execution_id')",
        [],
        |row| row.get(0),
    )
    .during("look at the indexes of uet_tasks")
}

/// A condition that no row of the user's refers to the row by a foreign key. `None` where that can't
/// be told without reading a whole table: then nothing of the kind goes.
fn unreferenced(conn: &Connection, table: &str) -> Result<Option<String>> {
    let mut statement = conn
        .prepare_cached(
            r#"SELECT m.name, k."from",
                      EXISTS (SELECT 1 FROM pragma_index_list(m.name) AS l, pragma_index_info(l.name) AS c
                              WHERE l.partial = 0 AND c.seqno = 0 AND c.name = k."from" COLLATE NOCASE)
               FROM main.sqlite_master AS m, pragma_foreign_key_list(m.name) AS k
               WHERE m.type = 'table' AND k."table" = ?1 COLLATE NOCASE"#,
        )
        .during("look for foreign keys")?;
    let found = statement
        .query_map([table], |row| <(String, String, bool)>::try_from(row))
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .during("look for foreign keys")?;
    let mut condition = "1".to_owned();
    for (child, column, is_indexed) in found {
        // Deleting a parent makes SQLite look for children as well, by the same index.
        if !is_indexed {
            return Ok(None);
        }
        if child.eq_ignore_ascii_case("uet_tasks") {
            continue;
        }
        let (child, column) = (quote(&child), quote(&column));
        condition += &format!(" AND NOT EXISTS (SELECT 1 FROM main.{child} AS c WHERE c.{column} = r.id)");
    }
    Ok(Some(condition))
}

impl Statements {
    /// Of a table whose ids grow with time.
    fn growing(mut self, old: &str) -> Self {
        self.old = old.to_owned();
        self
    }

    /// Whose rows go after others that refer to them.
    fn after(mut self, with: &'static [&'static str]) -> Self {
        self.with = with;
        self
    }

    /// Looks at the next rows in the order of the key.
    pub(super) fn look_sql(&self, has_after: bool, limit: u32) -> String {
        let Self {
            table,
            key,
            of_kind,
            size,
            old,
            expired,
            ..
        } = self;
        let after = if has_after {
            format!("AND r.{key} > ?1")
        } else {
            String::new()
        };
        format!(
            "SELECT r.{key}, {size}, ({old}), ({old}) AND ({expired}) FROM {table} AS r
             WHERE {of_kind} {after} ORDER BY r.{key} LIMIT {limit}"
        )
    }

    /// Whether a row's time has come, as of now.
    pub(super) fn judge(&self, conn: &Connection, key: &Value) -> Result<bool> {
        let Self {
            table,
            key: column,
            of_kind,
            old,
            expired,
            ready,
            ..
        } = self;
        let condition = format!("r.{column} = ?1 AND {of_kind} AND ({old}) AND ({expired}) AND ({ready})");
        conn.prepare_cached(&format!(
            "SELECT EXISTS (SELECT 1 FROM {table} AS r WHERE {condition})"
        ))
        .and_then(|mut statement| statement.query_row([key], |row| row.get(0)))
        .during("judge an old row")
    }

    /// Removes one row, if its time has still come; `false` when it stays.
    pub(super) fn remove(&self, conn: &Connection, key: &Value) -> Result<bool> {
        let Self {
            table,
            key: column,
            of_kind,
            ..
        } = self;
        if !self.judge(conn, key)? {
            return Ok(false);
        }
        if !self.goes {
            return Ok(true);
        }
        for first in self.with {
            conn.prepare_cached(first)
                .and_then(|mut statement| statement.execute([key]))
                .during("remove what goes with an old row")?;
        }
        conn.prepare_cached(&format!(
            "DELETE FROM {table} AS r WHERE r.{column} = ?1 AND {of_kind}"
        ))
        .and_then(|mut statement| statement.execute([key]))
        .during("remove an old row")?;
        Ok(true)
    }

    /// The newest id that goes because of number or size. Ids grow by one with every row, so that
    /// nothing has to be counted.
    fn id_cutoff(&self, conn: &Connection, limits: Limits) -> Result<i64> {
        let newest: i64 = conn
            .prepare_cached(&format!("SELECT coalesce(max(id), 0) FROM {}", self.table))
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .during("look for the newest row")?;
        let mut cutoff = i64::MIN;
        if limits.rows > 0 {
            cutoff = newest - limits.rows;
        }
        if limits.size_bytes > 0
            && let Some(mean_bytes) = self.mean_bytes(conn, newest)?
        {
            cutoff = cutoff.max(newest - limits.size_bytes / mean_bytes);
        }
        Ok(cutoff)
    }

    /// The mean size of some rows from everywhere in the table.
    fn mean_bytes(&self, conn: &Connection, newest: i64) -> Result<Option<i64>> {
        const PLACES: i64 = 64;
        const ROWS_EACH: i64 = 8;
        let Self { table, size, .. } = self;
        let oldest: i64 = conn
            .prepare_cached(&format!("SELECT coalesce(min(id), 0) FROM {table}"))
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .during("look for the oldest row")?;
        let mut sample = conn
            .prepare_cached(&format!(
                "SELECT count(*), coalesce(sum(size), 0)
                 FROM (SELECT {size} AS size FROM {table} AS r WHERE r.id >= ?1 ORDER BY r.id LIMIT {ROWS_EACH})"
            ))
            .during("sample the size of rows")?;
        let (mut rows, mut size_bytes) = (0, 0);
        for place in 0..PLACES {
            let from = oldest + (newest - oldest) / PLACES * place;
            let (more, larger): (i64, i64) = sample
                .query_row([from], |row| row.try_into())
                .during("sample the size of rows")?;
            rows += more;
            size_bytes += larger;
        }
        Ok((rows > 0).then(|| (size_bytes / rows).max(1)))
    }
}
