//! Of each kind: where its rows stand, how large they are, when they are over.

use super::shown::{is_ours, shown};
use super::statements::Statements;
use super::{Kind, Limits, Policy};
use crate::error::Result;
use crate::mapping::quote;
use crate::{Mapping, Millis};
use rusqlite::Connection;

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
    let Some((limits, mut made)) = of_kind(conn, kind, policy)?.filter(|(limits, _)| !limits.is_never())
    else {
        return Ok(None);
    };
    let cutoff = |age_ms: i64| {
        if age_ms > 0 {
            now.0.saturating_sub(age_ms)
        } else {
            i64::MIN
        }
    };
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
    Ok(Some(made))
}

/// The limits of a kind, and its statements with places to fill in; `None` where it has no table.
fn of_kind(conn: &Connection, kind: Kind, policy: &Policy) -> Result<Option<(Limits, Statements)>> {
    let of_age = Limits::of_age;
    let (limits, made) = match kind {
        Kind::Bags => (
            policy.bags,
            Statements {
                // In a table of the user's own, our rows stay as history.
                goes: is_ours(conn, "archival_log")?,
                ..Statements::simple("archival_log", "coalesce(r.size_bytes, 0)", BAGS_EXPIRED)
                    .growing("r.archived_at < '{age_iso}' OR r.id <= {id}")
            },
        ),
        Kind::Reports => (
            of_age(policy.reports_age_ms),
            Statements {
                key: "run_id",
                goes: false,
                ..Statements::simple("runchain_runs", "0", "r.phase <> 'active' AND r.phase_since_ms < {age} AND NOT ({live})")
            },
        ),
        Kind::Steps => (
            policy.steps,
            Statements {
                with: &["DELETE FROM runchain_failures WHERE step_id = ?1"],
                ..Statements::simple("runchain_steps", STEP_SIZE, STEPS_EXPIRED)
                    .growing("r.created_ms < {age} OR r.id <= {id}")
            },
        ),
        Kind::Events => (
            policy.events,
            Statements::simple("runchain_events", EVENT_SIZE, EVENTS_EXPIRED).growing("r.at_ms < {age} OR r.id <= {id}"),
        ),
        Kind::Ingested => (
            policy.ingested,
            Statements::simple("runchain_ingested", INGESTED_SIZE, INGESTED_EXPIRED).growing(INGESTED_OLD),
        ),
        Kind::Rejects => (
            policy.rejects,
            Statements::simple(
                "runchain_ingest_rejects",
                "60 + length(r.reason) + length(r.start)",
                "1",
            )
            .growing("r.at_ms < {age} OR r.id <= {id}"),
        ),
        Kind::Alerts => (
            policy.alerts,
            Statements::simple(
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
                ..Statements::simple(
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
                ..Statements::simple("runchain_runs", "80 + 2 * length(r.run_id)", RUNS_EXPIRED)
            },
        ),
        Kind::Tasks | Kind::Executions => {
            let Some(made) = shown(conn, kind)? else {
                return Ok(None);
            };
            (of_age(policy.executions_age_ms), made)
        }
    };
    Ok(Some((limits, made)))
}

/// A time as `archival_log` has it; what never comes sorts before all of them.
fn cutoff_iso(cutoff_ms: i64) -> String {
    if cutoff_ms == i64::MIN {
        String::new()
    } else {
        Millis(cutoff_ms).iso()
    }
}
