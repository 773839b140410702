//! The built-in step `archive`: everything that belongs to an ended run, sealed in a BagIt bag.
//!
//! Promises: executed five times it leaves the same bytes as once; a bag is sealed when the run has
//! become quiet; nothing that is not ours is overwritten; a run id never leads out of the archive
//! folder. What does not belong here: when the step runs, and recording that it did.
//!
//! | file | holds |
//! | --- | --- |
//! | `settle` | whether the run is quiet |
//! | `refer`, `rows` | which rows are the run's, and how they are read |
//! | `files` | which files are the run's, and how they are read |
//! | `collect` | what goes into the bag, in order, with its fingerprint |
//! | `bag` | BagIt |
//! | `inspect` | everything that is wrong with a bag |
//! | `place` | staging and renaming |
//! | `unlogged` | bags that nobody recorded |
//! | `name`, `digest` | names and hashes |

mod bag;
mod collect;
mod digest;
mod files;
#[cfg(test)]
pub(crate) mod fixture;
pub(crate) mod inspect;
mod name;
pub(crate) mod place;
pub(crate) mod refer;
pub(crate) mod rows;
mod settle;
#[cfg(test)]
mod tests;
mod unlogged;

pub(crate) use bag::{digest_at, verify};
pub(crate) use name::folder_name;
pub(crate) use rows::encode as encode_value;
pub(crate) use unlogged::unlogged;

use crate::fault;
use crate::redact::Redactor;
use bag::Owner;
use collect::{Look, Subject, collect};
use files::{DatabaseFiles, Search};
use place::{Placed, Staging};
use runchain_core::error::{Error, Result};
use runchain_core::{Mapping, Millis, RunId};
use rusqlite::Connection;
use settle::{Note, Patience, Verdict};
use std::path::{Path, PathBuf};

/// How long to wait at least after something moved while it was staged.
const LEAST_WAIT_MS: i64 = 100;

/// How and where to archive.
#[derive(Debug, Clone)]
pub(crate) struct ArchiveOptions {
    /// Where bags stand; made where it is missing.
    pub archive_dir: PathBuf,
    /// What the globs are relative to.
    pub root: PathBuf,
    /// How long a run's rows and files must stand still; 0 seals at the first look.
    pub settle_ms: i64,
    /// Seal anyway this long after the first look.
    pub settle_limit_ms: i64,
    /// Globs of files that belong to a run, relative to `root`; `{run_id}` stands for its id, `*`
    /// doesn't cross a `/`, `**` does.
    pub files: Vec<String>,
    /// Our own folders and files besides `archive_dir` (reports, logs): no glob takes them.
    pub excluded: Vec<PathBuf>,
    /// What its rows must not tell.
    pub redactor: Redactor,
    /// What must stay free on the disk after the bag.
    pub min_free_bytes: u64,
}

/// A run's entry into a terminal phase.
#[derive(Debug, Clone)]
pub(crate) struct Ended<'a> {
    /// The run.
    pub run_id: &'a RunId,
    /// Which of its ends it is.
    pub generation: i64,
    /// The status word.
    pub status: Option<String>,
    /// What the word means: completed, failed, cancelled.
    pub phase: String,
    /// When it was written.
    pub ended_at: Millis,
    /// The event RUN_COMPLETED of this generation.
    pub ended_event_id: i64,
}

/// What came of a call.
#[derive(Debug)]
pub(crate) enum Archived {
    /// The run still moves: call again with this note.
    Settling {
        /// To be given to the next call as it is.
        note: String,
        /// When that call makes sense.
        until: Millis,
    },
    /// The bag stands in its place and was read back.
    Sealed(Bag),
}

/// A bag in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bag {
    /// Its folder.
    pub path: PathBuf,
    /// SHA-256 of its `tagmanifest-sha256.txt`, which covers everything else: `sha256:...`.
    pub digest: String,
    /// Bytes of all its files.
    pub size_bytes: u64,
    /// Files below `data/`.
    pub payload_files: usize,
    /// The same bag stood there already and was left untouched.
    pub unchanged: bool,
    /// Where an older bag of this run was moved to.
    pub replaced: Option<PathBuf>,
    /// The run was quiet; `false` when it was sealed only because the limit had passed.
    pub settled: bool,
}

/// Seals the bag of an ended run, or says when to look again.
///
/// `conn` must be in autocommit: rows are read in short statements of their own. `note` is what an
/// earlier call for this generation answered. `still_ours` is asked right before the bag is placed.
///
/// # Errors
/// Refusals with a remedy: a full disk, a symlink or something foreign in the bag's place, a run
/// whose row is gone, a lease that was lost; whatever SQLite and the file system answer.
#[expect(
    clippy::too_many_arguments,
    reason = "each differs from database to database, run to run or call to call"
)]
pub(crate) fn archive(
    conn: &Connection,
    mapping: &Mapping,
    database_uuid: &str,
    options: &ArchiveOptions,
    run: &Ended<'_>,
    note: Option<&str>,
    now: Millis,
    still_ours: &dyn Fn() -> bool,
) -> Result<Archived> {
    let folder = folder_name(run.run_id);
    let owner = Owner {
        run: name::tag_value(run.run_id.as_str()),
        database_uuid: name::tag_value(database_uuid),
    };
    let archive_folder = place::open_folder(&options.archive_dir)?;
    // Asked again when the bag is placed; asked here so that nobody waits for a refusal.
    place::look(&archive_folder, &folder, &owner)?;
    let mut excluded = options.excluded.clone();
    excluded.push(options.archive_dir.clone());
    let search = Search {
        root: &options.root,
        globs: &options.files,
        excluded,
        database: DatabaseFiles::of(conn)?,
    };
    let subject = Subject {
        conn,
        mapping,
        run,
        search: &search,
        redactor: &options.redactor,
    };
    let seen = collect(&subject, &mut Look)?;
    let patience = Patience {
        settle_ms: options.settle_ms,
        limit_ms: options.settle_limit_ms,
    };
    let (note, settled) =
        match settle::judge(settle::read_note(note).as_ref(), seen.fingerprint, now, patience) {
            Verdict::Wait { note, until } => return Ok(settling(&note, until)),
            Verdict::Seal(note) => (note, true),
            Verdict::SealUnsettled(note) => (note, false),
        };
    place::check_space(&options.archive_dir, seen.size_bytes, options.min_free_bytes)?;

    let staging = Staging::new(&archive_folder, &folder)?;
    let mut writer = bag::Writer::new(staging.create_bag()?);
    let staged = collect(&subject, &mut writer)?;
    let moved = staged.moving || staged.fingerprint != note.fingerprint;
    if moved && settled && now.since(note.first_ms) < options.settle_limit_ms {
        let note = Note {
            fingerprint: staged.fingerprint,
            since_ms: now,
            first_ms: note.first_ms,
        };
        return Ok(settling(&note, now.plus(options.settle_ms.max(LEAST_WAIT_MS))));
    }
    let sealed = writer.seal(run, &owner)?;
    fault::point("archive-before-place");
    let placed = place::place(&staging, &sealed, &folder, &owner, still_ours)?;
    fault::point("archive-after-place");
    let path = options.archive_dir.join(&folder);
    let (unchanged, replaced) = match placed {
        Placed::Unchanged => (true, None),
        Placed::New(replaced) => (false, replaced),
        Placed::Later => return Ok(settling(&note, now.plus(LATER_MS))),
    };
    if !unchanged && verify(&path)? != sealed {
        return Err(Error::refused(
            format!(
                "the bag {} reads back otherwise than it was written",
                path.display()
            ),
            "check the disk, move the bag aside and retry",
        ));
    }
    Ok(Archived::Sealed(Bag {
        path,
        digest: sealed.digest,
        size_bytes: sealed.size_bytes,
        payload_files: sealed.payload_files,
        unchanged,
        replaced,
        settled: settled && !moved,
    }))
}

/// Whether a folder, and no symlink to one, is a bag of this run from this database.
pub(crate) fn is_bag_of(place: &Path, run_id: &RunId, database_uuid: &str) -> bool {
    let owner = Owner {
        run: name::tag_value(run_id.as_str()),
        database_uuid: name::tag_value(database_uuid),
    };
    let look = || {
        let (archive_dir, name) = parts(place)?;
        place::look(&place::open_folder(archive_dir)?, name, &owner)
    };
    matches!(look(), Ok(place::Standing::Bag { .. }))
}

/// The folders of every bag of a run, its older generations included, after what a crash left half made
/// is removed.
///
/// # Errors
/// Whatever the file system answers.
pub(crate) fn bags_of(archive_dir: &Path, run_id: &RunId, database_uuid: &str) -> Result<Vec<PathBuf>> {
    if archive_dir.exists() {
        place::remove_dead(&place::open_folder(archive_dir)?)?;
    }
    let mut bags = places_of(archive_dir, run_id)?;
    bags.retain(|place| is_bag_of(place, run_id, database_uuid));
    Ok(bags)
}

/// What stands under the names of a run's bags and doesn't say that it is one: somebody else's, or a bag
/// that has lost its `bag-info.txt`. It is nothing for us to touch.
///
/// # Errors
/// Whatever the file system answers.
pub(crate) fn others_in_place_of(
    archive_dir: &Path,
    run_id: &RunId,
    database_uuid: &str,
) -> Result<Vec<PathBuf>> {
    let mut others = places_of(archive_dir, run_id)?;
    others.retain(|place| !is_bag_of(place, run_id, database_uuid));
    Ok(others)
}

/// Whatever stands under the names of a run's bags, in order of name.
fn places_of(archive_dir: &Path, run_id: &RunId) -> Result<Vec<PathBuf>> {
    if !archive_dir.exists() {
        return Ok(Vec::new());
    }
    let folder = folder_name(run_id);
    let older = format!("{folder}~g");
    let names = place::open_folder(archive_dir)?
        .names()
        .map_err(|error| Error::io("look through", archive_dir, error))?;
    let mut places: Vec<PathBuf> = names
        .iter()
        .filter_map(|name| name.to_str())
        .filter(|name| *name == folder || name.starts_with(&older))
        .map(|name| archive_dir.join(name))
        .collect();
    places.sort();
    Ok(places)
}

/// Removes a bag, whole or not at all.
///
/// # Errors
/// Whatever the file system answers.
pub(crate) fn remove_bag(bag: &Path) -> Result<()> {
    let (archive_dir, name) = parts(bag)?;
    place::remove_bag(&place::open_folder(archive_dir)?, name)
}

fn parts(bag: &Path) -> Result<(&Path, &str)> {
    let name = bag.file_name().and_then(|name| name.to_str());
    bag.parent().zip(name).ok_or_else(|| {
        Error::refused(
            format!("{} is no bag's place", bag.display()),
            "name a bag's folder",
        )
    })
}

/// Until a bag is tried to be placed again while another process is placing one.
const LATER_MS: i64 = 1_000;

fn settling(note: &Note, until: Millis) -> Archived {
    Archived::Settling {
        note: serde_json::json!(note).to_string(),
        until,
    }
}
