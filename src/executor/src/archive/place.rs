//! Staging folders, and putting a finished bag in its place.
//!
//! Invariants: at any moment, also after a crash, the place of a run holds a whole bag or nothing;
//! nothing that stands there is ever overwritten or deleted, an older bag goes beside it; no symlink
//! is followed out of the archive folder.

use super::bag::{self, Owner, Verified};
use crate::folder::Folder;
use runchain_core::error::{Error, Result};
use rustix::fs::{FileType, FlockOperation, RenameFlags, flock, statvfs};
use rustix::io::Errno;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

static COUNTER: AtomicU64 = AtomicU64::new(0);
/// How often a name that somebody else takes at the same moment is tried again.
const TRIES: u32 = 100;

/// What stands in a run's place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing.
    Nothing,
    /// A bag of this run from this database, of this generation.
    Bag {
        /// As its `bag-info.txt` has it.
        generation: String,
    },
}

/// Where the bag came to stand.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// Another process is placing a bag of this run: try again later.
    Later,
    /// The same bag stood there already.
    Unchanged,
    /// It stands there now; an older one went to this path.
    New(Option<PathBuf>),
}

/// Makes a folder of ours where it is missing; one that is a symlink is refused, since it would lead
/// our writes to where nobody expects them.
pub(crate) fn ensure_folder(folder: &Path) -> Result<()> {
    match std::fs::symlink_metadata(folder) {
        Ok(metadata) if metadata.is_symlink() => Err(Error::refused(
            format!("{} is a symlink", folder.display()),
            "name the folder itself in the configuration",
        )),
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(Error::refused(
            format!("{} is not a folder", folder.display()),
            "move it away, or name another folder in the configuration",
        )),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            std::fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, error))?;
            folder
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty())
                .map_or(Ok(()), sync_folder)
        }
        Err(error) => Err(Error::io("look at", folder, error)),
    }
}

/// The same, and holds it open: whatever is put under its path later, what we do stays in it.
pub(crate) fn open_folder(folder: &Path) -> Result<Folder> {
    ensure_folder(folder)?;
    Folder::open(folder).map_err(|error| Error::io("open", folder, error))
}

/// Looks at a run's place. What is not a bag of this run from this database is refused.
pub(super) fn look(archive: &Folder, folder: &str, owner: &Owner) -> Result<Standing> {
    let place = archive.path().join(folder);
    let refused = |what: &str| {
        Error::refused(
            format!("{} {what}; it was left as it is", place.display()),
            "move it away, or name another archive folder in the configuration, and retry",
        )
    };
    let bag = match archive.kind(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Standing::Nothing),
        Err(error) => return Err(Error::io("look at", place, error)),
        Ok(FileType::Symlink) => return Err(refused("is a symlink")),
        Ok(FileType::Directory) => open_bag(archive, folder)?,
        Ok(_) => return Err(refused("is not a folder")),
    };
    match bag::owner_of(&bag) {
        Some((found, generation)) if found == *owner => Ok(Standing::Bag { generation }),
        Some((found, _)) => Err(refused(&format!(
            "is a bag of run {} from database {}",
            found.run, found.database_uuid
        ))),
        None => Err(refused("is not a bag of this run")),
    }
}

/// The bag in a run's place.
pub(super) fn open_bag(archive: &Folder, folder: &str) -> Result<Folder> {
    archive
        .child(folder)
        .map_err(|error| Error::io("open the bag", archive.path().join(folder), error))
}

/// Refuses when the bag and the reserve don't fit the disk.
pub(super) fn check_space(archive_dir: &Path, bag_bytes: u64, min_free_bytes: u64) -> Result<()> {
    let disk = statvfs(archive_dir)
        .map_err(|errno| Error::io("ask for the free space of", archive_dir, errno.into()))?;
    let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
    // A tenth more: manifests, and whole blocks for small files.
    let needed_bytes = bag_bytes
        .saturating_add(bag_bytes / 10)
        .saturating_add(min_free_bytes);
    if free_bytes >= needed_bytes {
        return Ok(());
    }
    let needed = format!(
        "{free_bytes} bytes are free on its disk, but {needed_bytes} are needed (bag {bag_bytes} and a tenth, \
         reserve {min_free_bytes}); free some space, or lower archive.min_free_bytes"
    );
    Err(Error::io(
        "find room in",
        archive_dir,
        std::io::Error::new(ErrorKind::StorageFull, needed),
    ))
}

/// A folder in the making. Its lock tells it from what a crash left; dropped, it is removed.
pub(super) struct Staging<'a> {
    archive: &'a Folder,
    folder: Folder,
    name: String,
    /// Held until drop.
    _lock: File,
}

/// The staged bag in its staging folder.
const BAG: &str = "bag";

impl<'a> Staging<'a> {
    /// A new staging folder for a run's folder, after what dead ones left is removed, also of runs
    /// that are never archived again.
    pub(super) fn new(archive: &'a Folder, folder: &str) -> Result<Self> {
        remove_dead(archive)?;
        for _ in 0..TRIES {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let name = format!("{PREFIX}{folder}-{}-{number}", std::process::id());
            match archive.create_child(&name) {
                // Between the two calls another executor may have taken it for a dead one.
                Ok(made) => {
                    if let Some(lock) = try_lock(&made) {
                        return Ok(Self {
                            archive,
                            folder: made,
                            name,
                            _lock: lock,
                        });
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => {}
                Err(error) => return Err(Error::io("create", archive.path().join(name), error)),
            }
        }
        Err(Error::refused(
            format!("no staging folder could be made in {}", archive.path().display()),
            "look for other executors on this archive folder",
        ))
    }

    /// Makes the folder for the bag.
    pub(super) fn create_bag(&self) -> Result<Folder> {
        self.folder
            .create_child(BAG)
            .map_err(|error| Error::io("create", self.folder.path().join(BAG), error))
    }
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        // What can't be removed now is removed by the next staging.
        let _ = self.archive.remove_tree(&self.name);
    }
}

/// No folder of a run begins so.
const PREFIX: &str = ".staging-";

/// Removes a bag: first out of its place by one rename, so that nobody meets half of it. What a kill
/// leaves is a dead staging folder, which the next archiving removes.
pub(super) fn remove_bag(archive: &Folder, name: &str) -> Result<()> {
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let gone = format!("{PREFIX}removed-{}-{number}", std::process::id());
    let path = || archive.path().join(name);
    archive
        .rename(name, archive, &gone, RenameFlags::empty())
        .map_err(|errno| Error::io("move away", path(), errno.into()))?;
    archive
        .sync()
        .and_then(|()| archive.remove_tree(&gone))
        .map_err(|error| Error::io("remove", path(), error))
}

pub(super) fn remove_dead(archive: &Folder) -> Result<()> {
    let names = archive
        .names()
        .map_err(|error| Error::io("look through", archive.path(), error))?;
    for name in names {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };
        // What is gone, or no folder, is none of ours.
        let Ok(folder) = archive.child(name) else {
            continue;
        };
        let Some(_lock) = try_lock(&folder) else {
            continue;
        };
        match archive.remove_tree(name) {
            // Another worker removes it as well.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => {}
            removed => removed.map_err(|error| Error::io("remove", folder.path(), error))?,
        }
    }
    Ok(())
}

/// The lock of a staging folder, if nobody holds it and it is still that folder's.
fn try_lock(folder: &Folder) -> Option<File> {
    let file = folder.open_to_append("lock").ok()?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    folder.names_file("lock", &file).then_some(file)
}

/// The right to place bags of one run, from the question whether it is still ours to the rename that
/// follows: an executor that is frozen in between keeps others from placing a newer bag, which its own
/// rename would then put aside. It ends with its process.
struct Placing<'a>(#[expect(dead_code, reason = "held until drop")] Staging<'a>);

impl<'a> Placing<'a> {
    /// `None` while another process has it.
    fn begin(archive: &'a Folder, folder: &str) -> Result<Option<Self>> {
        let name = format!("{PREFIX}{folder}.placing");
        for _ in 0..TRIES {
            let made = archive.create_child(&name).or_else(|error| match error.kind() {
                ErrorKind::AlreadyExists => archive.child(&name),
                _ => Err(error),
            });
            let lock = match made {
                Ok(made) => try_lock(&made).map(|lock| (made, lock)),
                // Removed in between by who had it.
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(error) => return Err(Error::io("create", archive.path().join(name), error)),
            };
            if let Some((folder, lock)) = lock {
                return Ok(Some(Self(Staging {
                    archive,
                    folder,
                    name,
                    _lock: lock,
                })));
            }
            std::thread::yield_now();
        }
        Ok(None)
    }
}

/// Moves a staged bag to its place. `still_ours` is asked right before that, after everything that
/// takes time: an executor that was held up must not put an older bag in the place of a newer one.
pub(super) fn place(
    staging: &Staging<'_>,
    sealed: &Verified,
    folder: &str,
    owner: &Owner,
    still_ours: &dyn Fn() -> bool,
) -> Result<Placed> {
    let archive = staging.archive;
    let place = archive.path().join(folder);
    let Some(_placing) = Placing::begin(archive, folder)? else {
        return Ok(Placed::Later);
    };
    let check_ours = || {
        if still_ours() {
            return Ok(());
        }
        Err(Error::refused(
            format!("archiving to {} is no longer ours", place.display()),
            "nothing: whoever holds the step now archives it",
        ))
    };
    for _ in 0..TRIES {
        let replaced = match look(archive, folder, owner)? {
            Standing::Nothing => {
                check_ours()?;
                match rename_new(&staging.folder, BAG, archive, folder) {
                    Ok(()) => None,
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                    Err(error) => return Err(Error::io("place the bag at", place, error)),
                }
            }
            // An equal digest is not enough: a damaged bag must be mended.
            Standing::Bag { .. } if is_bag(archive, folder, sealed) => {
                // Who placed it may have been killed before its name was on the disk.
                sync(archive)?;
                return Ok(Placed::Unchanged);
            }
            Standing::Bag { generation } => {
                let digest = open_bag(archive, folder)
                    .and_then(|bag| bag::digest_of(&bag))
                    .unwrap_or_else(|_| "sha256:damaged0".to_owned());
                let short = digest
                    .trim_start_matches("sha256:")
                    .get(..8)
                    .unwrap_or("damaged0");
                let aside = format!("{folder}~g{generation}-{short}");
                check_ours()?;
                Some(exchange(staging, sealed, folder, &aside)?)
            }
        };
        sync(archive)?;
        return Ok(Placed::New(replaced));
    }
    Err(Error::refused(
        format!("{} changed hands {TRIES} times", place.display()),
        "look for other executors on this archive folder",
    ))
}

/// Whether the bag that stands there is this one, undamaged.
fn is_bag(archive: &Folder, folder: &str, sealed: &Verified) -> bool {
    open_bag(archive, folder)
        .and_then(|bag| bag::verify_in(&bag))
        .is_ok_and(|found| found == *sealed)
}

/// Puts the staged bag in the place of an older one, which goes to `aside` (or beside it).
///
/// The new bag first takes the name that the old one will have, so that the old one is never under a
/// staging name: those are removed after a crash. What a crash in between leaves under that name is
/// the new bag; the next call goes on from there.
fn exchange(staging: &Staging<'_>, sealed: &Verified, folder: &str, aside: &str) -> Result<PathBuf> {
    let archive = staging.archive;
    let io = |error| Error::io("place the bag at", archive.path().join(folder), error);
    for number in 1..=TRIES {
        let aside = match number {
            1 => aside.to_owned(),
            _ => format!("{aside}-{number}"),
        };
        match rename_new(&staging.folder, BAG, archive, &aside) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if !is_bag(archive, &aside, sealed) {
                    continue;
                }
            }
            Err(error) => return Err(io(error)),
        }
        match archive.rename(&aside, archive, folder, RenameFlags::EXCHANGE) {
            Ok(()) => {}
            // A file system that can't exchange: for a moment nothing stands in the place.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                let staged_again = format!("{aside}-new");
                for (from, to) in [
                    (aside.as_str(), staged_again.as_str()),
                    (folder, &aside),
                    (&staged_again, folder),
                ] {
                    archive
                        .rename(from, archive, to, RenameFlags::empty())
                        .map_err(|errno| io(errno.into()))?;
                }
            }
            Err(errno) => return Err(io(errno.into())),
        }
        return Ok(archive.path().join(aside));
    }
    Err(Error::refused(
        format!(
            "{} and {TRIES} names after it are taken",
            archive.path().join(aside).display()
        ),
        "move some of the older bags elsewhere",
    ))
}

/// Renames to a name that must be free.
fn rename_new(from: &Folder, old: &str, to: &Folder, new: &str) -> std::io::Result<()> {
    match from.rename(old, to, new, RenameFlags::NOREPLACE) {
        // A file system without that flag; a plain rename of a folder still fails on a folder with
        // something in it.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => match to.kind(new) {
            Ok(_) => Err(ErrorKind::AlreadyExists.into()),
            Err(_) => Ok(from.rename(old, to, new, RenameFlags::empty())?),
        },
        other => other.map_err(Into::into),
    }
}

fn sync(folder: &Folder) -> Result<()> {
    folder
        .sync()
        .map_err(|error| Error::io("write", folder.path(), error))
}

/// Brings a folder's entries to the disk.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|file| file.sync_all())
        .map_err(|error| Error::io("write", folder, error))
}
