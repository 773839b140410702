//! `runchain explain [ID]`: why a run is where it is, or why nothing happens at all. The judgement is
//! the core's; this adds what only the binary can see (files, limits, free space) and prints it.

use super::suggest::options_to_repeat;
use super::{open, required};
use crate::archive;
use crate::cli::ExplainArgs;
use crate::config::Settings;
use crate::door;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::identity;
use crate::open::OpenMode;
use crate::output::Output;
use runchain_core::explain::{self, Complaint, Disk, Explanation, Facts, Outside, Verdict};
use runchain_core::validate::ValidateOptions;
use runchain_core::{Millis, RunId};
use rusqlite::Connection;
use std::path::Path;

/// Where the text of a paragraph begins.
const INDENT: usize = 9;

pub(super) fn explain(arguments: &ExplainArgs, settings: &Settings, output: &Output) -> Outcome<Exit> {
    let conn = open(settings, OpenMode::ReadOnly)?;
    let run_id = arguments.id.clone().map(RunId);
    let options = ValidateOptions {
        required_tables: required(&conn, settings)?,
        look_at_files: true,
    };
    let mut facts = door::patiently(|| explain::gather(&conn, run_id.as_ref(), &options, Millis::now()))?;
    ask_the_logs(&mut facts, &conn, settings);
    facts.outside = outside(&facts, settings, arguments.verify);
    let explanation = explain::judge(&facts);
    let options = options_to_repeat(settings);
    if output.json {
        output.print_json(&explanation.to_json(&options, &settings.state_db_path))?;
    } else {
        print(&explanation, &options, settings, output)?;
    }
    Ok(match explanation.verdict {
        Verdict::Through | Verdict::OnItsWay => Exit::Ok,
        Verdict::NeedsSomebody => Exit::NeedsSomebody,
        Verdict::NoSuchRun => Exit::NoSuchRun,
    })
}

/// What only the logs know: that the database was restored. Then nothing is drained.
fn ask_the_logs(facts: &mut Facts, conn: &Connection, settings: &Settings) {
    let complaints = &mut facts.database.complaints;
    if complaints.iter().any(|one| one.check == "identity") {
        return;
    }
    if let Some(unadopted) = identity::unadopted(conn, settings) {
        complaints.push(Complaint {
            check: "identity",
            found: unadopted.what,
            remedy: Some(unadopted.remedy),
        });
    }
}

fn print(
    explanation: &Explanation,
    options: &[String],
    settings: &Settings,
    output: &Output,
) -> std::io::Result<()> {
    let root = format!("{}/", settings.root.display());
    let short = |text: &str| text.replace(&root, "");
    output.paragraph("", 0, &explanation.headline)?;
    let name_width = explanation
        .steps
        .iter()
        .map(|step| step.step.chars().count())
        .max()
        .unwrap_or(0);
    if !explanation.steps.is_empty() {
        output.line("")?;
    }
    for step in &explanation.steps {
        let label = format!("  {}", step.step);
        // Of these the state says all; of the others `why` does.
        let told = matches!(step.state.as_str(), "done" | "waiting");
        let text = if told {
            short(&step.text)
        } else {
            step.state.clone()
        };
        output.paragraph(&label, name_width + 4, &text)?;
    }
    output.line("")?;
    let mut label = "why";
    for cause in &explanation.causes {
        // What is through explains nothing while something else isn't, and the list has told the rest.
        let is_through = cause.verdict == Verdict::Through && explanation.verdict != Verdict::Through;
        if is_through || matches!(cause.code, "done" | "waits") {
            continue;
        }
        output.paragraph(label, INDENT, &short(&cause.text))?;
        label = "";
    }
    output.paragraph("next", INDENT, &explanation.next.text)?;
    let mut label = "you can";
    for remedy in &explanation.you_can {
        output.paragraph(
            label,
            INDENT,
            &remedy.command_line(options, &settings.state_db_path),
        )?;
        output.paragraph("", INDENT + 2, &remedy.does)?;
        label = "";
    }
    Ok(())
}

fn outside(facts: &Facts, settings: &Settings, verify: bool) -> Outside {
    let steps = facts.run.iter().flat_map(|run| &run.steps);
    let lost = steps.filter(|step| step.state == "done").filter_map(|step| {
        let lost = step
            .files
            .iter()
            .find_map(|file| lost(&step.step, Path::new(file), verify))?;
        Some((step.step.clone(), lost))
    });
    Outside {
        kinds: Some(settings.steps.iter().map(|step| step.name.clone()).collect()),
        limits: settings
            .steps
            .iter()
            .filter_map(|step| Some((step.name.clone(), step.rules.concurrency?)))
            .collect(),
        lost_files: lost.collect(),
        disk: disk(settings),
    }
}

/// What is wrong with a file that a step left.
fn lost(step: &str, file: &Path, verify: bool) -> Option<String> {
    if let Err(error) = std::fs::symlink_metadata(file) {
        return Some(format!("{} is not there any more: {error}", file.display()));
    }
    if step == "archive" && verify {
        return archive::verify(file).err().map(|error| error.to_string());
    }
    None
}

/// Of the archive folder, or of the nearest folder above it that is there.
fn disk(settings: &Settings) -> Option<Disk> {
    let folder = settings.archive_dir.ancestors().find(|folder| folder.is_dir())?;
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(Disk {
        folder: settings.archive_dir.display().to_string(),
        free_bytes: disk.f_bavail.saturating_mul(disk.f_frsize),
        reserve_bytes: u64::try_from(settings.archive_min_free_bytes).unwrap_or(0),
    })
}
