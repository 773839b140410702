//! The check for other state databases that a dashboard or the orchestrator may be using in place of
//! this one.
//!
//! Invariant: folders are listed and files stated, nothing is opened; both are bounded.

use super::files::folder_of;
use super::{Context, Verdict, wording};
use crate::Millis;
use crate::error::{Error, Result};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Entries of one folder that are looked at.
const MOST_ENTRIES: usize = 2000;
/// Databases that a finding names.
const MOST_NAMED: usize = 20;

/// A database file beside ours.
struct Nearby {
    path: PathBuf,
    size_bytes: u64,
    modified: Option<Millis>,
}

pub(super) fn databases(context: &Context<'_>) -> Result<Verdict> {
    let file = context.file()?;
    let nearby = list(file)?;
    if nearby.is_empty() {
        return Ok(Verdict::ok("none"));
    }
    let mut named: Vec<String> = nearby
        .iter()
        .take(MOST_NAMED)
        .map(|other| {
            let age = other.modified.map_or_else(
                || "of unknown age".to_owned(),
                |at| format!("last written {} ago", wording::age(context.now.since(at))),
            );
            format!("{} ({} bytes, {age})", other.path.display(), other.size_bytes)
        })
        .collect();
    if nearby.len() > MOST_NAMED {
        named.push(format!("{} more", nearby.len() - MOST_NAMED));
    }
    Ok(Verdict::warning(
        named.join(", "),
        "a dashboard, or the orchestrator itself, may be using one of these in place of this database",
    )
    .remedy(format!(
        "let every tool open {}; then move away what nobody opens",
        wording::argument(file)
    )))
}

fn list(file: &Path) -> Result<Vec<Nearby>> {
    let ours = std::fs::metadata(file).map_err(|error| Error::io("stat", file, error))?;
    let mut seen = vec![(ours.dev(), ours.ino())];
    let mut found = Vec::new();
    for path in candidates(file) {
        let Ok(metadata) = std::fs::metadata(&path) else {
            continue;
        };
        let identity = (metadata.dev(), metadata.ino());
        if !metadata.is_file() || seen.contains(&identity) {
            continue;
        }
        seen.push(identity);
        let modified = metadata
            .modified()
            .ok()
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
            .and_then(|since| i64::try_from(since.as_millis()).ok());
        found.push(Nearby {
            path,
            size_bytes: metadata.len(),
            modified: modified.map(Millis),
        });
    }
    Ok(found)
}

/// Paths at which state databases are met, in the project around `file`.
fn candidates(file: &Path) -> Vec<PathBuf> {
    let folder = folder_of(file);
    let root = match folder.file_name().and_then(|name| name.to_str()) {
        Some(".state" | "state" | ".worktrees") => folder_of(folder),
        _ => folder,
    };
    let mut paths = vec![root.join(".worktrees/pipeline_state.db")];
    for folder in [root.join(".state"), root.join("state"), root.to_owned()] {
        // A folder that isn't there, or may not be listed, holds nothing that could be named.
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        let mut databases: Vec<PathBuf> = entries
            .take(MOST_ENTRIES)
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension.eq_ignore_ascii_case("db"))
            })
            .collect();
        databases.sort();
        paths.append(&mut databases);
    }
    paths
}
