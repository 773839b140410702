//! Checks of the work: is somebody draining, what waits too long, what needs a person.

use super::backlog::{self, Backlog};
use super::{Context, Severity, Verdict, wording};
use crate::Millis;
use crate::error::{During, Result};
use crate::liveness::{Liveness, executor_alive};
use crate::steps::EVERY_KIND;
use rusqlite::OptionalExtension;

/// Due work that is older than this is late.
const LATE_MS: i64 = 60_000;
/// Due work that is older than this stands still.
const STUCK_MS: i64 = 600_000;

const DRAIN: &str = "runchain drain";

pub(super) fn executor(context: &Context<'_>) -> Result<Verdict> {
    let conn = context.conn;
    let last = backlog::last_executor(conn)?;
    Ok(match executor_alive(context.file()?) {
        Liveness::Alive { who } => Verdict::ok(format!("alive: {who}")),
        Liveness::Unknown(reason) => Verdict::warning(
            format!("the lock file can't be asked: {reason}"),
            "it is not known whether an executor is alive; the age of the queue tells",
        ),
        Liveness::Dead => {
            let last = last.map_or_else(
                || "the last one stopped in order, if there was one".to_owned(),
                |last| format!("the last was {last}"),
            );
            let waiting =
                Backlog::QueueRows.count(conn)? > 0 || backlog::oldest_due_step(conn, context.now)?.is_some();
            let severity = if waiting {
                Severity::Error
            } else {
                Severity::Warning
            };
            let meaning = if waiting {
                "work is waiting, and nobody does it"
            } else {
                "nothing is waiting now; what is written from now on is captured, but nobody acts on it"
            };
            Verdict::bad(severity, format!("no executor is alive; {last}"), meaning).remedy(DRAIN)
        }
    })
}

pub(super) fn queue(context: &Context<'_>) -> Result<Verdict> {
    let Some(oldest) = backlog::oldest_queue_row(context.conn)? else {
        return Ok(Verdict::ok("the queue is empty"));
    };
    let rows = wording::count(Backlog::QueueRows.count(context.conn)?, "queue row");
    let Some(at) = oldest.at else {
        return Ok(Verdict::warning(
            format!("{rows}; row {} has no time", oldest.id),
            "its age can't be told: at_ms must be a number of milliseconds since 1970, or left out",
        )
        .remedy(DRAIN));
    };
    let meaning = "writes were captured, but nobody has expanded them: runs that ended are not archived yet";
    Ok(by_age(context.now.since(at), &rows, meaning))
}

pub(super) fn ready_steps(context: &Context<'_>) -> Result<Verdict> {
    let ready = Backlog::ReadySteps.count(context.conn)?;
    let steps = wording::count(ready, "ready step");
    Ok(match backlog::oldest_due_step(context.conn, context.now)? {
        None if ready == 0 => Verdict::ok("no step is ready"),
        None => Verdict::ok(format!("{steps}, none due yet")),
        Some(at) => by_age(
            context.now.since(at),
            &steps,
            "steps are due, and nobody starts them",
        ),
    })
}

fn by_age(age_ms: i64, things: &str, meaning: &str) -> Verdict {
    let found = format!("{things}, the oldest due for {}", wording::age(age_ms));
    if age_ms > STUCK_MS {
        Verdict::error(found, meaning).remedy(DRAIN)
    } else if age_ms > LATE_MS {
        Verdict::warning(found, meaning).remedy(DRAIN)
    } else {
        Verdict::ok(found)
    }
}

pub(super) fn pauses(context: &Context<'_>) -> Result<Verdict> {
    let pauses = backlog::pauses(context.conn)?;
    if pauses.is_empty() {
        return Ok(Verdict::ok("nothing is paused"));
    }
    let described = pauses.iter().map(|pause| {
        let kind = match pause.step.as_str() {
            EVERY_KIND => "every kind".to_owned(),
            step => wording::shown(step),
        };
        let actor = pause.actor.as_deref().unwrap_or("an unknown actor");
        let age = wording::age(context.now.since(pause.since));
        let why =
            (pause.reason.as_deref()).map_or_else(String::new, |why| format!(" ({})", wording::shown(why)));
        format!("{kind}, by {} for {age}{why}", wording::shown(actor))
    });
    let described: Vec<String> = described.collect();
    let resume = pauses
        .iter()
        .map(|pause| format!("runchain_resume('{}')", pause.step.replace('\'', "''")));
    let resume: Vec<String> = resume.collect();
    Ok(Verdict::warning(
        format!("paused: {}", described.join("; ")),
        "steps of these kinds are not started until somebody resumes them",
    )
    .remedy(format!("SELECT {};", resume.join(", "))))
}

pub(super) fn dead_steps(context: &Context<'_>) -> Result<Verdict> {
    let newest = context
        .conn
        .query_row(
            "SELECT id, step, run_id, coalesce(error, 'no error was kept') FROM runchain_steps
             WHERE finished_ms IS NULL AND state = 'dead' ORDER BY id DESC LIMIT 1",
            [],
            |row| {
                let id: i64 = row.get(0)?;
                let shown = |column| row.get::<_, String>(column).map(|text| wording::shown(&text));
                Ok((
                    id,
                    format!("step {id}, {} of run {}: {}", shown(1)?, shown(2)?, shown(3)?),
                ))
            },
        )
        .optional()
        .during("look for dead steps")?;
    let Some((id, description)) = newest else {
        return Ok(Verdict::ok("no dead steps"));
    };
    let steps = wording::count(Backlog::DeadSteps.count(context.conn)?, "dead step");
    Ok(Verdict::warning(
        format!("{steps}; the newest is {description}"),
        "its attempts are used up; nothing more happens to these chains by itself",
    )
    .remedy(format!(
        "SELECT runchain_retry({id}); -- when its cause is mended; all of them: SELECT * FROM runchain_problems;"
    )))
}

pub(super) fn stalled_runs(context: &Context<'_>) -> Result<Verdict> {
    let oldest: Option<(String, Millis)> = context
        .conn
        .query_row(
            "SELECT run_id, stalled_since_ms FROM runchain_runs
             WHERE monitor = 'on' AND stalled_since_ms IS NOT NULL ORDER BY stalled_since_ms LIMIT 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()
        .during("look for stalled runs")?;
    let Some((run_id, since)) = oldest else {
        return Ok(Verdict::ok("no stalled runs"));
    };
    Ok(Verdict::warning(
        format!(
            "{}; the longest is {}, for {}",
            wording::count(Backlog::StalledRuns.count(context.conn)?, "stalled run"),
            wording::shown(&run_id),
            wording::age(context.now.since(since)),
        ),
        "the orchestrator says that they run, but nothing of them has changed",
    )
    .remedy("SELECT * FROM runchain_problems; -- then look at the orchestrator"))
}

pub(super) fn alerts(context: &Context<'_>) -> Result<Verdict> {
    let newest: Option<String> = context
        .conn
        .query_row(
            "SELECT severity || ' ' || rule || ' on ' || subject || ': ' || coalesce(message, '')
             FROM runchain_alerts WHERE state = 'firing' ORDER BY last_at_ms DESC LIMIT 1",
            [],
            |row| row.get(0),
        )
        .optional()
        .during("look for firing alerts")?;
    let Some(newest) = newest else {
        return Ok(Verdict::ok("no alert is firing"));
    };
    let alerts = wording::count(Backlog::FiringAlerts.count(context.conn)?, "firing alert");
    Ok(Verdict::warning(
        format!("{alerts}; the newest: {}", wording::shown(&newest)),
        "these fire until their cause is gone or somebody acknowledges them",
    )
    .remedy("SELECT * FROM runchain_alerts WHERE state = 'firing';"))
}

/// One row for each event log that was ever read, so a sum over the table is cheap.
pub(super) fn ingest_rejects(context: &Context<'_>) -> Result<Verdict> {
    let (lines, bytes): (i64, i64) = context
        .conn
        .query_row(
            "SELECT coalesce(sum(rejected), 0), coalesce(sum(rejected_bytes), 0) FROM runchain_ingest_files",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .during("count rejected lines")?;
    Ok(if lines == 0 && bytes == 0 {
        Verdict::ok("no rejected lines")
    } else {
        Verdict::warning(
            format!("{lines} rejected lines, {bytes} bytes"),
            "these lines of the event logs could not be read as events; everything around them was kept",
        )
        .remedy("SELECT file_id, line, reason, start FROM runchain_ingest_rejects ORDER BY id DESC LIMIT 20;")
    })
}

pub(super) fn ingest_balance(context: &Context<'_>) -> Result<Verdict> {
    let worst: Option<(String, i64)> = context
        .conn
        .query_row(
            "SELECT path, offset_bytes - stored_bytes - rejected_bytes AS unaccounted_bytes
             FROM runchain_ingest_files WHERE unaccounted_bytes <> 0
             ORDER BY abs(unaccounted_bytes) DESC LIMIT 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()
        .during("balance the event logs")?;
    Ok(match worst {
        None => Verdict::ok("every byte that was read is accounted for"),
        Some((path, bytes)) => Verdict::error(
            format!(
                "{bytes} bytes of {} are neither stored nor rejected",
                wording::shown(&path)
            ),
            "events may be missing, or somebody has edited runchain's tables; please report it",
        )
        .remedy("SELECT * FROM runchain_ingest_balance WHERE unaccounted_bytes <> 0;"),
    })
}
