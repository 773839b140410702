//! What a step does: the built-in bag, the built-in reports, or a command of the user's.
//!
//! Everything here may run twice for one step (a kill between the effect and its settling), so it
//! leaves the same after one execution or five. It reads through a connection of its worker's and
//! writes nothing to the database.

use super::worker::{Workshop, failed};
use crate::archive::{self, ArchiveOptions, Archived, Ended};
use crate::command::{self, CommandLine, Ending};
use crate::config::{Action, CommandStep, Settings};
use crate::fault;
use crate::report::{self, ReportOptions, ReportedBag};
use runchain_core::error::{During, Result};
use runchain_core::steps::{self, Archival, Claim, Failure, Outcome, Success};
use runchain_core::{Mapping, Millis, adopt, queue};
use rusqlite::{Connection, OptionalExtension};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Executes a started step.
///
/// # Errors
/// What failed; the attempt counts.
pub(super) fn execute(workshop: &Workshop, conn: &mut Option<Connection>, claim: &Claim) -> Result<Outcome> {
    fault::point("effect-begin");
    let settings = workshop.settings();
    let conn = match conn {
        Some(conn) => conn,
        None => conn.insert(super::connect(&settings.state_db_path)?),
    };
    // Also after opening: what was opened may be another file of the same name.
    workshop.file.check()?;
    let permanent = |error: String| {
        Ok(Outcome::Failed(Failure {
            error,
            permanent: true,
            ..Failure::default()
        }))
    };
    if claim.deadline.is_some_and(|deadline| deadline <= Millis::now()) {
        return permanent("its deadline had passed before it could start".to_owned());
    }
    let Some(step) = settings.steps.iter().find(|step| step.name == claim.step) else {
        let name = &claim.step;
        return permanent(format!(
            "no step {name} is configured any more; add [steps.{name}] again or cancel it"
        ));
    };
    let Some(run) = Run::of(conn, claim)? else {
        return permanent(format!(
            "generation {} of run {} is over; a newer one has a chain of its own",
            claim.generation, claim.run_id
        ));
    };
    let ended = run.ended(claim);
    match &step.action {
        Action::Archive => archive_run(workshop, &settings, conn, claim, &ended),
        Action::Report => report_run(&settings, conn, claim, &ended),
        Action::Command(command) => run_command(workshop, &settings, conn, claim, &ended, command),
    }
}

/// The run of a claim, as it was last acted on.
struct Run {
    known: queue::KnownRun,
    ended_event_id: i64,
}

impl Run {
    /// `None` when the run has gone on to another generation.
    fn of(conn: &Connection, claim: &Claim) -> Result<Option<Self>> {
        let known = queue::known_run(conn, &claim.run_id)?.filter(|run| run.generation == claim.generation);
        Ok(known.and_then(|known| {
            Some(Self {
                ended_event_id: known.ended_event_id?,
                known,
            })
        }))
    }

    fn ended<'a>(&self, claim: &'a Claim) -> Ended<'a> {
        Ended {
            run_id: &claim.run_id,
            generation: claim.generation,
            status: self.known.status.clone(),
            phase: self.known.phase.as_str().to_owned(),
            ended_at: self.known.since,
            ended_event_id: self.ended_event_id,
        }
    }
}

fn archive_run(
    workshop: &Workshop,
    settings: &Settings,
    conn: &Connection,
    claim: &Claim,
    ended: &Ended<'_>,
) -> Result<Outcome> {
    let options = ArchiveOptions {
        archive_dir: settings.archive_dir.clone(),
        root: settings.root.clone(),
        settle_ms: settings.archive_settle_ms,
        settle_limit_ms: settings.archive_settle_limit_ms,
        files: settings.archive_files.clone(),
        excluded: vec![settings.reports_dir.clone(), settings.logs_dir.clone()],
        min_free_bytes: u64::try_from(settings.archive_min_free_bytes).unwrap_or(0),
    };
    let still_ours = || steps::still_held(conn, claim).unwrap_or(false) && workshop.file.is_current();
    let archived = archive::archive(
        conn,
        &Mapping::require(conn)?,
        &workshop.database_uuid,
        &options,
        ended,
        claim.note.as_deref(),
        Millis::now(),
        &still_ours,
    )?;
    Ok(match archived {
        Archived::Settling { note, until } => Outcome::Deferred { note, until },
        Archived::Sealed(bag) => Outcome::Done(Success {
            result: json!({
                "path": bag.path.to_string_lossy(), "digest": bag.digest, "size_bytes": bag.size_bytes,
                "payload_files": bag.payload_files, "settled": bag.settled,
                "replaced": bag.replaced.as_deref().map(Path::to_string_lossy),
            }),
            archival: Some(Archival {
                archive_path: bag.path.to_string_lossy().into_owned(),
                size_bytes: i64::try_from(bag.size_bytes).unwrap_or(i64::MAX),
                digest: bag.digest,
                unchanged: bag.unchanged,
            }),
            output_tail: None,
        }),
    })
}

fn report_run(settings: &Settings, conn: &Connection, claim: &Claim, ended: &Ended<'_>) -> Result<Outcome> {
    let options = ReportOptions {
        reports_dir: settings.reports_dir.clone(),
        root: settings.root.clone(),
    };
    // The step's own beginning, not the clock: a second execution leaves the same bytes.
    let generated_at = claim.created;
    let archived = earlier_result(conn, claim, "archive")?;
    let bag = archived.as_ref().and_then(reported_bag);
    let reports = report::report(conn, &Mapping::require(conn)?, &options, ended, generated_at, bag)?;
    Ok(Outcome::Done(Success {
        result: json!({ "summary": reports.summary.to_string_lossy(), "metrics": reports.metrics.to_string_lossy() }),
        ..Success::default()
    }))
}

/// The bag that the built-in archive left; a command in its place may leave another result.
fn reported_bag(archived: &Value) -> Option<ReportedBag<'_>> {
    Some(ReportedBag {
        path: Path::new(archived.get("path")?.as_str()?),
        digest: archived.get("digest")?.as_str()?,
        size_bytes: archived.get("size_bytes")?.as_u64()?,
    })
}

/// What an earlier step of the same chain left as its result.
fn earlier_result(conn: &Connection, claim: &Claim, step: &str) -> Result<Option<Value>> {
    let text: Option<Option<String>> = conn
        .prepare_cached("SELECT result FROM runchain_steps WHERE run_id = ?1 AND generation = ?2 AND step = ?3 AND state = 'done'")
        .and_then(|mut statement| statement.query_row((&claim.run_id, claim.generation, step), |row| row.get(0)).optional())
        .during("read an earlier step's result")?;
    Ok(text.flatten().and_then(|text| serde_json::from_str(&text).ok()))
}

fn run_command(
    workshop: &Workshop,
    settings: &Settings,
    conn: &Connection,
    claim: &Claim,
    ended: &Ended<'_>,
    step: &CommandStep,
) -> Result<Outcome> {
    let values = [
        ("run_id", claim.run_id.0.clone()),
        ("generation", claim.generation.to_string()),
        ("step", claim.step.clone()),
    ];
    let permanent = |error: String| {
        Ok(Outcome::Failed(Failure {
            error,
            permanent: true,
            ..Failure::default()
        }))
    };
    let argv = match command::fill(&step.command, &values) {
        Ok(argv) => argv,
        Err(error) => return permanent(error),
    };
    let epoch = adopt::epoch_of_event(conn, &workshop.database_uuid, ended.ended_event_id)?;
    let env = match environment(workshop, epoch, claim, ended, step, &values) {
        Ok(env) => env,
        Err(error) => return permanent(error),
    };
    let line = CommandLine {
        argv,
        env,
        cwd: step.cwd.clone(),
        timeout: time_for(step, claim),
        lease: Duration::from_millis(u64::try_from(settings.lease_ms).unwrap_or(0)),
        output_bytes: step.output_bytes,
    };
    let stopping = || workshop.stop.load(Ordering::Acquire);
    let go_on =
        || !stopping() && steps::still_held(conn, claim).unwrap_or(true) && workshop.file.is_current();
    let input = json!({
        "run_id": claim.run_id, "generation": claim.generation, "status": ended.status, "phase": ended.phase,
        "archive": earlier_result(conn, claim, "archive")?,
    });
    let finished = match command::run(&line, input.to_string().as_bytes(), &go_on) {
        Ok(finished) => finished,
        Err(error) => return Ok(failed(format!("can't start {:?}: {error}", line.argv[0]))),
    };
    let error = match finished.ending {
        Ending::Exited(status) if status.success() => {
            return Ok(Outcome::Done(Success {
                result: result_of(&finished.output_tail),
                output_tail: Some(finished.output_tail),
                archival: None,
            }));
        }
        Ending::Stopped if stopping() => {
            return Ok(Outcome::Deferred {
                note: claim.note.clone().unwrap_or_default(),
                until: Millis::now(),
            });
        }
        Ending::Exited(status) => format!("{:?} ended with {}", line.argv[0], command::said(status)),
        Ending::TimedOut if claim.deadline.is_some_and(|deadline| deadline <= Millis::now()) => {
            return Ok(Outcome::Failed(Failure {
                error: format!("{:?} was ended at the step's deadline", line.argv[0]),
                output_tail: Some(finished.output_tail),
                permanent: true,
                ..Failure::default()
            }));
        }
        Ending::TimedOut => format!(
            "{:?} was ended after its timeout of {} ms",
            line.argv[0], step.timeout_ms
        ),
        Ending::Stopped => format!("{:?} was ended because its step was cancelled", line.argv[0]),
        Ending::Abandoned => format!(
            "{:?} was ended because the executor gave no sign of life for a part of its lease of {} ms",
            line.argv[0], settings.lease_ms
        ),
        Ending::Unsupervised => format!(
            "{:?} was ended because somebody killed its supervisor",
            line.argv[0]
        ),
    };
    Ok(Outcome::Failed(Failure {
        error,
        output_tail: Some(finished.output_tail),
        ..Failure::default()
    }))
}

/// Its timeout, or what is left until its deadline.
fn time_for(step: &CommandStep, claim: &Claim) -> Duration {
    let left_ms = claim
        .deadline
        .map_or(i64::MAX, |deadline| deadline.since(Millis::now()));
    Duration::from_millis(u64::try_from(step.timeout_ms.min(left_ms)).unwrap_or(0))
}

/// The last line of the output, where it is a JSON object.
fn result_of(output: &str) -> Value {
    output
        .lines()
        .next_back()
        .and_then(|line| serde_json::from_str::<Value>(line).ok())
        .filter(Value::is_object)
        .unwrap_or(Value::Null)
}

/// Variables that every program expects; everything else has to be listed.
const PASSED: [&str; 6] = ["PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR"];

fn environment(
    workshop: &Workshop,
    epoch: i64,
    claim: &Claim,
    ended: &Ended<'_>,
    step: &CommandStep,
    values: &[(&str, String)],
) -> std::result::Result<Vec<(String, String)>, String> {
    let mut env: Vec<(String, String)> = PASSED
        .iter()
        .copied()
        .chain(step.pass_env.iter().map(String::as_str))
        .filter_map(|name| std::env::var(name).ok().map(|value| (name.to_owned(), value)))
        .collect();
    let key = format!(
        "{}-{epoch}-{}-{}-{}",
        workshop.database_uuid, claim.run_id, claim.generation, claim.step
    );
    let ours = [
        ("RUNCHAIN_RUN_ID", claim.run_id.0.clone()),
        ("RUNCHAIN_GENERATION", claim.generation.to_string()),
        ("RUNCHAIN_STATUS", ended.status.clone().unwrap_or_default()),
        ("RUNCHAIN_STEP", claim.step.clone()),
        ("RUNCHAIN_ATTEMPT", claim.attempt.to_string()),
        ("RUNCHAIN_IDEMPOTENCY_KEY", key),
    ];
    for (name, value) in ours {
        if value.contains('\0') {
            return Err(format!(
                "{name} would hold a NUL character, which no environment can carry"
            ));
        }
        env.push((name.to_owned(), value));
    }
    for (name, value) in &step.env {
        let filled = command::fill_word(value, values)?;
        env.push((name.clone(), filled));
    }
    Ok(env)
}
