//! `runchain adopt`: an operator says what a copied, restored or moved database is.
//!
//! Invariant: no executor works meanwhile, and nobody else writes the logs. The database changes in one
//! transaction; the files beside the logs follow it, and a call that was killed in between is repeated.

use super::open;
use crate::actor;
use crate::cli::{AdoptArgs, AdoptAs};
use crate::config::Settings;
use crate::door;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::identity::witness::{self, Witness};
use crate::identity::{self, Finding, Identity};
use crate::open::OpenMode;
use crate::output::Output;
use crate::projector;
use runchain_core::adopt::{self, Adopted, Adoption, As};
use runchain_core::error::{During, Error, Result};
use runchain_core::identity::Place;
use runchain_core::liveness::{FileLock, Leadership};
use runchain_core::{Mapping, Millis, install};
use rusqlite::Connection;
use std::path::Path;

pub(super) fn adopt(arguments: &AdoptArgs, settings: &Settings, output: &Output) -> Outcome<Exit> {
    let conn = open(settings, OpenMode::ReadWrite)?;
    conn.execute_batch("PRAGMA synchronous = EXTRA")
        .during("ask for durable commits")?;
    let Some(_lead) = Leadership::try_acquire(&settings.state_db_path, "adopt")? else {
        return Err(Failure::new(
            Exit::Failed,
            "an executor works on this database; stop it, then adopt the database",
        ));
    };
    let kind = match arguments.kind {
        AdoptAs::Copy => As::Copy,
        AdoptAs::Restored => As::Restored,
        AdoptAs::Moved => As::Moved,
    };
    let Some(was) = Identity::of(&conn)? else {
        return Err(Error::NotInstalled.into());
    };
    let lock = claim(kind, &was, &conn, settings)?;
    let outside = match kind {
        As::Restored => identity::outside(&settings.logs_dir, &was)?,
        As::Copy | As::Moved => adopt::Outside::default(),
    };
    let mapping = door::patiently(|| install::prepare(&conn, Millis::now()))?;
    let adopted = change(&conn, kind, &mapping, &outside, arguments, settings)?;
    testify(lock, &adopted, &was, settings)?;
    say(kind, &was, &adopted, &outside, output)?;
    Ok(Exit::Ok)
}

/// Locks the log folder, if it is this database's to write, or was copied together with it.
fn claim(kind: As, was: &Identity, conn: &Connection, settings: &Settings) -> Result<Option<FileLock>> {
    let logs = &settings.logs_dir;
    let owner = projector::owner_of(logs);
    match (kind, owner) {
        (As::Copy, None) => Ok(None),
        (As::Copy, Some(owner)) if owner == was.uuid => {
            let copied = Witness::read(logs).is_some_and(|witness| !witness.is_in_its_folder(logs));
            if !copied {
                return Err(Error::other_identity(
                    format!("the logs in {} are the original's", logs.display()),
                    "name a folder of its own for the copy (logs_dir, and archive_dir and reports_dir), then adopt it",
                ));
            }
            projector::claim(logs, &was.uuid).map(Some)
        }
        (As::Moved, _) => {
            if let Finding::Behind { epoch, seq } = identity::examine_time(conn, settings)? {
                return Err(Error::other_identity(
                    format!("the logs know event {seq} of epoch {epoch}, which this database doesn't"),
                    "adopt it as restored",
                ));
            }
            projector::claim(logs, &was.uuid).map(Some)
        }
        (As::Restored, _) => projector::claim(logs, &was.uuid).map(Some),
        (As::Copy, Some(owner)) => Err(Error::other_identity(
            format!("the logs in {} belong to database {owner}", logs.display()),
            "name a folder of its own for the copy (logs_dir), then adopt it",
        )),
    }
}

fn change(
    conn: &Connection,
    kind: As,
    mapping: &Mapping,
    outside: &adopt::Outside,
    arguments: &AdoptArgs,
    settings: &Settings,
) -> Result<Adopted> {
    let place = Place::of(&settings.state_db_path)?;
    let (chain, by) = (settings.chain(), actor::by(arguments.why.reason.as_deref()));
    let adoption = Adoption {
        mapping,
        chain: &chain,
        place: &place,
        by: &by,
    };
    door::write(conn, |conn| {
        let now = Millis::now();
        match kind {
            As::Copy => adopt::copy(conn, &adoption, now),
            As::Restored => adopt::restored(conn, &adoption, outside, now),
            As::Moved => adopt::moved(conn, &adoption, now),
        }
    })
}

/// The folder of the logs is this database's, here and now. (A folder that isn't there yet will be
/// claimed by the executor.)
fn testify(lock: Option<FileLock>, adopted: &Adopted, was: &Identity, settings: &Settings) -> Result<()> {
    let Some(mut lock) = lock else {
        return Ok(());
    };
    let logs: &Path = &settings.logs_dir;
    Witness {
        database_uuid: adopted.database_uuid.clone(),
        epoch: adopted.epoch,
        seq: was.newest,
        place: Place::of(&settings.state_db_path)?,
        folder_inode: witness::folder_inode(logs).unwrap_or(0),
    }
    .write(logs)?;
    if adopted.database_uuid != was.uuid {
        lock.write(&format!("{}\n", adopted.database_uuid))?;
    }
    Ok(())
}

fn say(
    kind: As,
    was: &Identity,
    adopted: &Adopted,
    outside: &adopt::Outside,
    output: &Output,
) -> Outcome<()> {
    if output.json {
        output.print_json(&serde_json::json!({
            "as": kind.as_str(), "was": {"database_uuid": was.uuid, "epoch": was.epoch, "newest_event": was.newest},
            "later_log_lines": outside.lines, "adopted": adopted,
        }))?;
        return Ok(());
    }
    output.line(&format!(
        "database {}, epoch {}: adopted as {}",
        adopted.database_uuid,
        adopted.epoch,
        kind.as_str()
    ))?;
    for line in consequences(kind, was, adopted, outside) {
        output.line(&line)?;
    }
    Ok(())
}

fn consequences(kind: As, was: &Identity, adopted: &Adopted, outside: &adopt::Outside) -> Vec<String> {
    match kind {
        As::Moved => vec!["runchain drain goes on from here".to_owned()],
        As::Copy => vec![
            format!("it was a copy of {}", was.uuid),
            format!(
                "{} steps of the original are cancelled here; runchain finish --run ID does a chain here, too",
                adopted.cancelled_steps
            ),
            "runs that are still active are watched here".to_owned(),
        ],
        As::Restored => {
            let mut lines = vec![
                format!(
                    "the logs know {} events that the database has lost; they stay in the logs",
                    outside.lines
                ),
                format!(
                    "{} steps were done before and {} were dead: they are not executed again; runchain finish --run ID does",
                    adopted.settled_steps, adopted.dead_steps
                ),
                format!("{} steps are open and will be executed", adopted.open_steps),
            ];
            if !adopted.ended_before.is_empty() {
                let runs: Vec<String> = adopted.ended_before.iter().map(ToString::to_string).collect();
                lines.push(format!(
                    "active here, although they had ended: {}; they are watched until the orchestrator ends them again",
                    runs.join(", ")
                ));
            }
            lines
        }
    }
}
