//! Databases that may be meant when one is missing, found by looking, never by opening.

use crate::config::project_of;
use std::collections::BTreeSet;
use std::fs::Metadata;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Names that orchestrators are known to use.
const KNOWN: [&str; 2] = [".state/orchestration.db", ".worktrees/pipeline_state.db"];

/// At most this many are named.
const ENOUGH: usize = 6;

/// Databases in the project of `missing` and in the current folder.
pub(super) fn databases(missing: &Path) -> Vec<PathBuf> {
    let mut folders = vec![project_of(missing)];
    folders.extend(std::env::current_dir());
    let mut found = BTreeSet::new();
    for folder in &folders {
        found.extend(
            KNOWN
                .iter()
                .map(|name| folder.join(name))
                .filter(|path| is_candidate(path)),
        );
        for folder in [folder.clone(), folder.join(".state")] {
            let entries = std::fs::read_dir(folder)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path());
            found.extend(
                entries.filter(|path| path.extension().is_some_and(|end| end == "db") && is_candidate(path)),
            );
        }
    }
    found
        .into_iter()
        .filter(|path| path != missing)
        .take(ENOUGH)
        .collect()
}

fn is_candidate(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() > 0)
}

/// What stands where a file was expected.
pub(super) fn kind(found: &Metadata) -> &'static str {
    let kind = found.file_type();
    if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}
