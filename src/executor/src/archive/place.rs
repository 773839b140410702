//! Staging folders, and putting a finished bag in its place.
//!
//! Invariants: at any moment, also after a crash, the place of a run holds a whole bag or nothing;
//! nothing that stands there is ever overwritten or deleted, an older bag goes beside it; no symlink
//! is followed out of the archive folder.

use super::bag::{self, Owner, Verified};
use runchain_core::error::{Error, Result};
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with, statvfs};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
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

/// Looks at a run's place. What is not a bag of this run from this database is refused.
pub(super) fn look(place: &Path, owner: &Owner) -> Result<Standing> {
    let refused = |what: &str| {
        Error::refused(
            format!("{} {what}; it was left as it is", place.display()),
            "move it away, or name another archive folder in the configuration, and retry",
        )
    };
    match std::fs::symlink_metadata(place) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Standing::Nothing),
        Err(error) => return Err(Error::io("look at", place, error)),
        Ok(metadata) if metadata.is_symlink() => return Err(refused("is a symlink")),
        Ok(metadata) if !metadata.is_dir() => return Err(refused("is not a folder")),
        Ok(_) => {}
    }
    match bag::owner_of(place) {
        Some((found, generation)) if found == *owner => Ok(Standing::Bag { generation }),
        Some((found, _)) => Err(refused(&format!(
            "is a bag of run {} from database {}",
            found.run, found.database_uuid
        ))),
        None => Err(refused("is not a bag of this run")),
    }
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
pub(super) struct Staging {
    folder: PathBuf,
    /// Held until drop.
    _lock: File,
}

impl Staging {
    /// A new staging folder for a run's folder, after what dead ones left is removed, also of runs
    /// that are never archived again.
    pub(super) fn new(archive_dir: &Path, folder: &str) -> Result<Self> {
        remove_dead(archive_dir)?;
        for _ in 0..TRIES {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = archive_dir.join(format!("{PREFIX}{folder}-{}-{number}", std::process::id()));
            match std::fs::create_dir(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(Error::io("create", path, error)),
            }
            // Between the two calls another executor may have taken it for a dead one.
            if let Some(lock) = try_lock(&path) {
                return Ok(Self {
                    folder: path,
                    _lock: lock,
                });
            }
        }
        Err(Error::refused(
            format!("no staging folder could be made in {}", archive_dir.display()),
            "look for other executors on this archive folder",
        ))
    }

    /// Where the bag is made; not there yet.
    pub(super) fn bag(&self) -> PathBuf {
        self.folder.join("bag")
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What can't be removed now is removed by the next staging.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// No folder of a run begins so.
const PREFIX: &str = ".staging-";

/// A free name for a bag that is being removed: a staging folder without a lock is a dead one.
pub(super) fn removal_name(archive_dir: &Path) -> PathBuf {
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    archive_dir.join(format!("{PREFIX}removed-{}-{number}", std::process::id()))
}

pub(super) fn remove_dead(archive_dir: &Path) -> Result<()> {
    let entries =
        std::fs::read_dir(archive_dir).map_err(|error| Error::io("look through", archive_dir, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| Error::io("look through", archive_dir, error))?;
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && entry.file_type().is_ok_and(|kind| kind.is_dir());
        if ours && let Some(_lock) = try_lock(&entry.path()) {
            let path = entry.path();
            match std::fs::remove_dir_all(&path) {
                // Another worker removes it as well.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => {}
                removed => removed.map_err(|error| Error::io("remove", path, error))?,
            }
        }
    }
    Ok(())
}

/// The lock of a staging folder, if nobody holds it and it is still that folder's.
fn try_lock(folder: &Path) -> Option<File> {
    let path = folder.join("lock");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path)
        .ok()?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    let held = file.metadata().ok()?;
    let named = std::fs::symlink_metadata(&path).ok()?;
    (held.ino() == named.ino() && held.dev() == named.dev()).then_some(file)
}

/// The right to place bags of one run, from the question whether it is still ours to the rename that
/// follows: an executor that is frozen in between keeps others from placing a newer bag, which its own
/// rename would then put aside. It ends with its process.
struct Placing(#[expect(dead_code, reason = "held until drop")] Staging);

impl Placing {
    /// `None` while another process has it.
    fn begin(archive_dir: &Path, folder: &str) -> Result<Option<Self>> {
        let path = archive_dir.join(format!("{PREFIX}{folder}.placing"));
        for _ in 0..TRIES {
            match std::fs::create_dir(&path) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    return Err(Error::io("create", path, error));
                }
                _ => {}
            }
            if let Some(lock) = try_lock(&path) {
                return Ok(Some(Self(Staging {
                    folder: path,
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
    staged: &Path,
    sealed: &Verified,
    archive_dir: &Path,
    folder: &str,
    owner: &Owner,
    still_ours: &dyn Fn() -> bool,
) -> Result<Placed> {
    let place = archive_dir.join(folder);
    let Some(_placing) = Placing::begin(archive_dir, folder)? else {
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
        let replaced = match look(&place, owner)? {
            Standing::Nothing => {
                check_ours()?;
                match rename_new(staged, &place) {
                    Ok(()) => None,
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                    Err(error) => return Err(Error::io("place the bag at", place, error)),
                }
            }
            // An equal digest is not enough: a damaged bag must be mended.
            Standing::Bag { .. } if bag::verify(&place).is_ok_and(|found| found == *sealed) => {
                // Who placed it may have been killed before its name was on the disk.
                sync_folder(archive_dir)?;
                return Ok(Placed::Unchanged);
            }
            Standing::Bag { generation } => {
                let digest = bag::digest_of(&place).unwrap_or_else(|_| "sha256:damaged0".to_owned());
                let short = digest
                    .trim_start_matches("sha256:")
                    .get(..8)
                    .unwrap_or("damaged0");
                let aside = archive_dir.join(format!("{folder}~g{generation}-{short}"));
                check_ours()?;
                Some(exchange(staged, sealed, &place, &aside)?)
            }
        };
        sync_folder(archive_dir)?;
        return Ok(Placed::New(replaced));
    }
    Err(Error::refused(
        format!("{} changed hands {TRIES} times", place.display()),
        "look for other executors on this archive folder",
    ))
}

/// Puts the staged bag in the place of an older one, which goes to `aside` (or beside it).
///
/// The new bag first takes the name that the old one will have, so that the old one is never under a
/// staging name: those are removed after a crash. What a crash in between leaves under that name is
/// the new bag; the next call goes on from there.
fn exchange(staged: &Path, sealed: &Verified, place: &Path, aside: &Path) -> Result<PathBuf> {
    let io = |error| Error::io("place the bag at", place, error);
    for number in 1..=TRIES {
        let aside = match number {
            1 => aside.to_owned(),
            _ => PathBuf::from(format!("{}-{number}", aside.display())),
        };
        match rename_new(staged, &aside) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if !bag::verify(&aside).is_ok_and(|found| found == *sealed) {
                    continue;
                }
            }
            Err(error) => return Err(io(error)),
        }
        let swapped = renameat_with(CWD, &aside, CWD, place, RenameFlags::EXCHANGE);
        match swapped {
            Ok(()) => {}
            // A file system that can't exchange: for a moment nothing stands in the place.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                let staged_again = PathBuf::from(format!("{}-new", aside.display()));
                std::fs::rename(&aside, &staged_again).map_err(io)?;
                std::fs::rename(place, &aside).map_err(io)?;
                std::fs::rename(&staged_again, place).map_err(io)?;
            }
            Err(errno) => return Err(io(errno.into())),
        }
        return Ok(aside);
    }
    Err(Error::refused(
        format!("{} and {TRIES} names after it are taken", aside.display()),
        "move some of the older bags elsewhere",
    ))
}

/// Renames to a name that must be free.
fn rename_new(from: &Path, to: &Path) -> std::io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system without that flag; a plain rename of a folder still fails on a folder with
        // something in it.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => match std::fs::symlink_metadata(to) {
            Ok(_) => Err(ErrorKind::AlreadyExists.into()),
            Err(_) => std::fs::rename(from, to),
        },
        other => other.map_err(Into::into),
    }
}

/// Brings a folder's entries to the disk.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|file| file.sync_all())
        .map_err(|error| Error::io("write", folder, error))
}
