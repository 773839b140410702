//! `runchain verify`: bags against their manifests, and against the digests in the database.
//!
//! It looks and changes nothing. What it can't see: who changes the bag and the database alike.

mod places;
mod progress;

use super::open;
use super::suggest::{command, no_such_run};
use crate::archive::inspect::{Damage, Fault, inspect};
use crate::cli::VerifyArgs;
use crate::config::Settings;
use crate::door;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::open::OpenMode;
use crate::output::{Output, paint};
use places::{Places, Sealed};
use progress::Progress;
use runchain_core::explain::count;
use runchain_core::{Mapping, RunId, queue};
use serde::Serialize;
use serde_json::json;
use std::path::PathBuf;

/// A bag that the database knows, and what is wrong with it.
#[derive(Debug, Serialize)]
struct Verified {
    run_id: RunId,
    generation: i64,
    /// Where it stands, or should.
    path: PathBuf,
    /// As the database keeps it.
    digest: String,
    ok: bool,
    damages: Vec<Damage>,
}

pub(super) fn verify(arguments: &VerifyArgs, settings: &Settings, output: &Output) -> Outcome<Exit> {
    let conn = open(settings, OpenMode::ReadOnly)?;
    let mapping = Mapping::require(&conn)?;
    let run_id = arguments.run_id.clone().map(RunId);
    if let Some(run_id) = &run_id
        && queue::known_run(&conn, run_id)?.is_none()
    {
        return Err(no_such_run(&conn, &mapping, run_id)?);
    }
    let places = Places::of(&conn, settings)?;
    let all = door::patiently(|| places.count(&conn, run_id.as_ref()))?;
    let mut progress = Progress::start(all, output);
    let (mut bags, mut damaged, mut after) = (Vec::new(), 0_i64, 0);
    let mut looked = 0_i64;
    loop {
        let chunk = door::patiently(|| places.after(&conn, run_id.as_ref(), after))?;
        let Some(last) = chunk.last() else { break };
        after = last.id;
        for sealed in chunk {
            let verified = look(&places, sealed)?;
            looked += 1;
            damaged += i64::from(!verified.ok);
            progress.clear();
            if !output.json {
                print(&verified, run_id.is_some(), output)?;
            } else if !verified.ok || run_id.is_some() {
                bags.push(verified);
            }
            progress.step();
        }
    }
    progress.clear();
    if output.json {
        output.print_json(
            &json!({ "ok": damaged == 0, "looked_at": looked, "damaged": damaged, "bags": bags }),
        )?;
    }
    finish(settings, run_id.as_ref(), looked, damaged, output)
}

fn look(places: &Places, sealed: Sealed) -> Outcome<Verified> {
    let path = places.place(&sealed);
    let damages = if path.symlink_metadata().is_ok() {
        inspect(&path, &sealed.digest)
            .unwrap_or_else(|error| vec![whole(Fault::Unreadable, error.to_string())])
    } else {
        vec![whole(Fault::Missing, "the bag is not there".to_owned())]
    };
    Ok(Verified {
        ok: damages.is_empty(),
        run_id: sealed.run_id,
        generation: sealed.generation,
        path,
        digest: sealed.digest,
        damages,
    })
}

/// A fault of the bag as a whole.
fn whole(fault: Fault, message: String) -> Damage {
    Damage {
        file: ".".to_owned(),
        fault,
        message,
    }
}

/// Of a single run every bag, of all only those that are not as they were.
fn print(verified: &Verified, tell_all: bool, output: &Output) -> Outcome<()> {
    let path = verified.path.display();
    if verified.ok {
        if tell_all {
            output.entry("ok     ", &path.to_string(), paint::GOOD, &verified.digest)?;
        }
        return Ok(());
    }
    let of = format!("run {}, generation {}", verified.run_id, verified.generation);
    output.entry("DAMAGED", &path.to_string(), paint::BAD, &of)?;
    for damage in &verified.damages {
        let fault = match damage.fault {
            Fault::Missing => "missing",
            Fault::Extra => "extra",
            Fault::Changed => "changed",
            Fault::Unreadable => "unreadable",
        };
        output.entry(
            &format!("  {fault:10}"),
            &damage.file,
            paint::BAD,
            &damage.message,
        )?;
    }
    Ok(())
}

fn finish(
    settings: &Settings,
    run_id: Option<&RunId>,
    looked: i64,
    damaged: i64,
    output: &Output,
) -> Outcome<Exit> {
    if damaged > 0 {
        if !output.json {
            output.note(&format!(
                "{} not as sealed; move what is damaged aside, then archive its run again: {}",
                are(damaged, looked),
                command(settings, &["archive", "--run", "ID"], None)
            ))?;
        }
        return Ok(Exit::BagDamaged);
    }
    match run_id {
        Some(run_id) if looked == 0 => {
            return Err(Failure::new(
                Exit::Failed,
                format!("run {run_id} has no bag yet; runchain explain tells why"),
            ));
        }
        None if !output.json => output.line(&format!("{}: all as they were sealed", count(looked, "bag")))?,
        _ => {}
    }
    Ok(Exit::Ok)
}

fn are(damaged: i64, looked: i64) -> String {
    let is = if damaged == 1 { "is" } else { "are" };
    format!("{damaged} of {} {is}", count(looked, "bag"))
}
