//! What a step does: the built-in bag, the built-in reports, or a command of the user's.
//!
//! Everything here may run twice for one step (a kill between the effect and its settling), so it
//! leaves the same after one execution or five. It reads through a connection of its worker's and
//! writes nothing to the database.

use super::worker::{Workshop, failed};
use crate::archive::{self, ArchiveOptions, Archived, Bag, Ended};
use crate::command::{self, CommandLine};
use crate::config::{Action, CommandStep, Settings};
use crate::fault;
use crate::redact::Redactor;
use crate::report::{self, ReportOptions, ReportedBag};
use crate::step;
use runchain_core::error::{During, Result};
use runchain_core::steps::{self, Archival, BagBeside, Claim, Failure, Outcome, Success};
use runchain_core::{Mapping, Millis, queue};
use rusqlite::{Connection, OptionalExtension};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a bag waits before it is looked whether there is room again.
const WHILE_LOW_MS: i64 = 2_000;

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
    if claim.deadline.is_some_and(|deadline| deadline <= Millis::now()) {
        return Ok(never("its deadline had passed before it could start".to_owned()));
    }
    let Some(configured) = settings.step(&claim.step) else {
        let name = &claim.step;
        return Ok(never(format!(
            "no step {name} is configured any more; add [steps.{name}] again and retry it, or cancel it"
        )));
    };
    let Some(run) = Run::of(conn, claim)? else {
        return Ok(never(format!(
            "generation {} of run {} is over; a newer one has a chain of its own",
            claim.generation, claim.run_id
        )));
    };
    let ended = run.ended(claim);
    match &configured.action {
        Action::Archive => archive_run(workshop, &settings, conn, claim, &ended),
        Action::Report => report_run(workshop, &settings, conn, claim, &ended),
        Action::Command(command) => run_command(workshop, &settings, conn, claim, &run.known, command),
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
    if workshop.disk_is_low.load(Ordering::Acquire) {
        return Ok(Outcome::Deferred {
            note: claim.note.clone().unwrap_or_default(),
            until: Millis::now().plus(WHILE_LOW_MS),
        });
    }
    let options = ArchiveOptions {
        archive_dir: settings.archive_dir.clone(),
        root: settings.root.clone(),
        settle_ms: settings.archive_settle_ms,
        settle_limit_ms: settings.archive_settle_limit_ms,
        files: settings.archive_files.clone(),
        excluded: vec![settings.reports_dir.clone(), settings.logs_dir.clone()],
        redactor: Redactor::checked(settings),
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
            beside: bags_beside(workshop, settings, conn, claim, &bag)?,
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

/// Older bags of the run that have no row. There can't be one where this is the first attempt and nothing
/// stood in the place.
fn bags_beside(
    workshop: &Workshop,
    settings: &Settings,
    conn: &Connection,
    claim: &Claim,
    newest: &Bag,
) -> Result<Vec<BagBeside>> {
    if claim.attempt <= 1 && !newest.unchanged && newest.replaced.is_none() {
        return Ok(Vec::new());
    }
    let (archive_dir, uuid) = (&settings.archive_dir, &workshop.database_uuid);
    archive::unlogged(conn, archive_dir, &claim.run_id, uuid, Some(&newest.path))
}

fn report_run(
    workshop: &Workshop,
    settings: &Settings,
    conn: &Connection,
    claim: &Claim,
    ended: &Ended<'_>,
) -> Result<Outcome> {
    let options = ReportOptions {
        reports_dir: settings.reports_dir.clone(),
        root: settings.root.clone(),
        redactor: Redactor::checked(settings),
    };
    // The step's own beginning, not the clock: a second execution leaves the same bytes.
    let generated_at = claim.created;
    let archived = earlier_result(conn, claim, "archive")?;
    let bag = archived.as_ref().and_then(reported_bag);
    let still_ours = || steps::still_held(conn, claim).unwrap_or(false) && workshop.file.is_current();
    let mapping = Mapping::require(conn)?;
    let reports = report::report(conn, &mapping, &options, ended, generated_at, bag, &still_ours)?;
    Ok(Outcome::Done(Success {
        result: json!({
            "summary": reports.summary.to_string_lossy(), "metrics": reports.metrics.to_string_lossy(),
            "page": reports.page.to_string_lossy(),
        }),
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

/// Runs a command under the terms that its chain began with; only what runs is the file's to say.
fn run_command(
    workshop: &Workshop,
    settings: &Settings,
    conn: &Connection,
    claim: &Claim,
    run: &queue::KnownRun,
    command: &CommandStep,
) -> Result<Outcome> {
    let subject = step::Subject {
        run_id: claim.run_id.clone(),
        generation: claim.generation,
        step: claim.step.clone(),
        attempt: claim.attempt,
    };
    let mapping = Mapping::require(conn)?;
    let call = step::Call::gather(conn, &mapping, settings, run, subject)?;
    let prepared = match step::prepare(&call, command, &step::Inherited::Own) {
        Ok(prepared) => prepared,
        Err(error) => return Ok(never(error)),
    };
    let timeout_ms = steps::terms_of(conn, claim.step_id)?
        .timeout_ms
        .unwrap_or(command.timeout_ms);
    let line = CommandLine {
        argv: prepared.argv,
        env: (prepared.env.into_iter())
            .map(|variable| (variable.name, variable.value))
            .collect(),
        cwd: prepared.cwd,
        timeout: time_for(timeout_ms, claim),
        lease: Duration::from_millis(u64::try_from(settings.lease_ms).unwrap_or(0)),
        output_bytes: command.output_bytes,
    };
    let stopping = || workshop.stop.load(Ordering::Acquire);
    let go_on =
        || !stopping() && steps::still_held(conn, claim).unwrap_or(true) && workshop.file.is_current();
    let finished = match command::run(&line, prepared.document.to_string().as_bytes(), &go_on) {
        Ok(finished) => finished,
        Err(error) => return Ok(failed(format!("can't start {:?}: {error}", line.argv[0]))),
    };
    let circumstances = step::Circumstances {
        program: &line.argv[0],
        timeout_ms,
        lease_ms: settings.lease_ms,
        stopping: stopping(),
    };
    Ok(step::outcome(claim, finished, &circumstances))
}

/// Its timeout, or what is left until its deadline.
fn time_for(timeout_ms: i64, claim: &Claim) -> Duration {
    let left_ms = claim
        .deadline
        .map_or(i64::MAX, |deadline| deadline.since(Millis::now()));
    Duration::from_millis(u64::try_from(timeout_ms.min(left_ms)).unwrap_or(0))
}

/// A failure that trying again can't mend.
fn never(error: String) -> Outcome {
    Outcome::Failed(Failure {
        error,
        permanent: true,
        ..Failure::default()
    })
}
