//! Checks of what lies under and beside the database: its file system and its journal files.
//!
//! Invariant: only stat and statfs. Opening a database or its journals, and
//! closing them again, would drop every lock that this process holds on them.

use super::database::journal_mode_of;
use super::{Context, Verdict, wording};
use crate::error::{Error, Result};
use crate::file_system::{self, FileSystem, Trust, Under};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub(super) fn file_system(context: &Context<'_>) -> Result<Verdict> {
    let under = file_system::under(folder_of(context.file()?))?;
    let wal = journal_mode_of(context.conn)? == "wal";
    Ok(judge_file_system(&under, wal))
}

/// What a file system means for a database in WAL or with a rollback journal.
pub(super) fn judge_file_system(under: &Under, wal: bool) -> Verdict {
    let move_it = "move the database to a local disk, and let other machines ask through the orchestrator";
    let FileSystem { name, trust } = match under {
        Under::Known(found) => found,
        Under::Unknown(magic) => {
            return Verdict::ok(format!(
                "unknown file system, magic number 0x{magic:x}; taken for a local one"
            ));
        }
        Under::NotAsked => return Verdict::ok("not looked at on this operating system"),
    };
    match trust {
        Trust::Local => Verdict::ok(name.as_str()),
        Trust::Volatile => Verdict::warning(
            format!("{name}, in memory"),
            "the database is gone when this machine or container restarts",
        )
        .remedy("move the database to a disk"),
        Trust::Unclear => Verdict::warning(
            format!("{name}; what lies behind it can't be seen from here"),
            "if it is shared with another machine, WAL doesn't work on it and locks may lie",
        )
        .remedy(move_it),
        Trust::Shared if wal => Verdict::error(
            format!("{name}, with a WAL database"),
            "WAL needs memory that all processes share; through such a file system the database gets damaged",
        )
        .remedy(format!("PRAGMA journal_mode=DELETE; -- and {move_it}")),
        Trust::Shared => Verdict::warning(
            name.to_string(),
            "locks of network and host-shared file systems may lie, and changes made elsewhere are seen late",
        )
        .remedy(move_it),
    }
}

pub(super) fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Who may write a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ownership {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
}

impl Ownership {
    fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            uid: metadata.uid(),
            gid: metadata.gid(),
            mode: metadata.mode(),
        }
    }

    /// Whether the owner of this file (the database) can write `sidecar`. A group in common is taken
    /// to include the owner.
    pub(super) fn can_write(self, sidecar: Self) -> bool {
        self.uid == 0
            || self.uid == sidecar.uid
            || (self.gid == sidecar.gid && sidecar.mode & 0o020 != 0)
            || sidecar.mode & 0o002 != 0
    }
}

/// A journal file that the database's owner can't write.
struct Foreign {
    path: PathBuf,
    uid: u32,
}

pub(super) fn sidecars(context: &Context<'_>) -> Result<Verdict> {
    let file = context.file()?;
    let database = std::fs::metadata(file)
        .map(|metadata| Ownership::of(&metadata))
        .map_err(|error| Error::io("stat", file, error))?;
    let mut there = Vec::new();
    let mut foreign: Vec<Foreign> = Vec::new();
    for suffix in ["-wal", "-shm", "-journal"] {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        let path = PathBuf::from(name);
        // One that vanishes between two looks is as good as absent.
        let Ok(metadata) = std::fs::symlink_metadata(&path) else {
            continue;
        };
        there.push(suffix);
        if !database.can_write(Ownership::of(&metadata)) {
            foreign.push(Foreign {
                path,
                uid: metadata.uid(),
            });
        }
    }
    if foreign.is_empty() {
        return Ok(Verdict::ok(if there.is_empty() {
            "none there".to_owned()
        } else {
            there.join(", ")
        }));
    }
    let found: Vec<String> = foreign
        .iter()
        .map(|file| format!("{} belongs to user {}", file.path.display(), file.uid))
        .collect();
    let paths: Vec<String> = foreign.iter().map(|file| wording::argument(&file.path)).collect();
    let Ownership { uid, gid, mode } = database;
    Ok(Verdict::error(
        format!("{}; the database belongs to user {uid}", found.join(", ")),
        "the database's owner can't write: \"attempt to write a readonly database\"",
    )
    .remedy(format!(
        "chown {uid}:{gid} {paths} && chmod {mode:o} {paths}; then run runchain as user {uid}",
        paths = paths.join(" "),
        mode = mode & 0o666
    )))
}
