//! Whether we may use the file, and whether its owner still could after we did.
//!
//! SQLite creates `-wal`, `-shm` and `-journal` with the mode of the database, but with the owner
//! and group of who creates them: the orchestrator's own writes can then fail because of us. What
//! [`check`] predicts, [`prove`] tries out before the first write, because access control lists, file
//! servers and containers have their own ideas of owners and groups.
//!
//! A group in common is taken to include the owner: who is in which group only the system's user
//! database knows, and that need not be the one of this machine.

use super::{OpenMode, Problem};
use rustix::fs::{Access, AtFlags, CWD, Gid, Mode, Uid, accessat, fchmod, fchown};
use rustix::io::Errno;
use std::fs::{Metadata, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Refuses what would fail later, or would make others fail.
pub(super) fn check(path: &Path, found: &Metadata, mode: OpenMode) -> Result<(), Problem> {
    may(path, Access::READ_OK).map_err(|error| Problem::Unreadable {
        reason: error.to_string(),
    })?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let may_create = may(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    if mode == OpenMode::ReadWrite {
        for (what, allowed) in [(path, may(path, Access::WRITE_OK).is_ok()), (folder, may_create)] {
            if !allowed {
                return Err(Problem::NotWritable {
                    what: what.to_owned(),
                });
            }
        }
    }
    // A reader of a WAL database creates files too, unless somebody has them open.
    let creates = mode == OpenMode::ReadWrite || (may_create && !beside(path, "-shm").exists());
    let Ok(folder) = std::fs::metadata(folder) else {
        return Ok(());
    };
    let us = Us {
        user: rustix::process::geteuid().as_raw(),
        group: rustix::process::getegid().as_raw(),
    };
    if creates && locks_owner_out(us, &Place::of(found), &Place::of(&folder)) {
        return Err(Problem::LocksOwnerOut {
            owner: found.uid(),
            group: found.gid(),
        });
    }
    Ok(())
}

/// What SQLite may create beside a database.
const SIDECARS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Tries out what [`check`] predicts: makes a file as SQLite would, looks whose it is, and removes it.
/// And what stands there already must be for us and for the owner to write.
pub(super) fn prove(path: &Path) -> Result<(), Problem> {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let unreadable = |error: std::io::Error| Problem::Unreadable {
        reason: error.to_string(),
    };
    let found = std::fs::metadata(&path).map_err(unreadable)?;
    let database = Place::of(&found);
    let left = SIDECARS.map(|suffix| beside(&path, suffix));
    let wrong: Vec<PathBuf> = left
        .into_iter()
        .filter(|file| {
            std::fs::metadata(file).is_ok_and(|sidecar| {
                // A writer that commits removes its journal at any moment.
                let refused = may(file, Access::WRITE_OK).is_err_and(|error| error != Errno::NOENT);
                refused || !database.owner_can_write(&Place::of(&sidecar))
            })
        })
        .collect();
    if !wrong.is_empty() {
        return Err(Problem::ForeignSidecars {
            files: wrong,
            owner: database.user,
            group: database.group,
            mode: database.mode & 0o777,
        });
    }
    let made = probe(&path, &database).map_err(unreadable)?;
    if database.owner_can_write(&made) {
        Ok(())
    } else {
        Err(Problem::LocksOwnerOut {
            owner: database.user,
            group: database.group,
        })
    }
}

/// Makes and removes a file as SQLite makes its own: the mode of the database whatever the umask, and
/// as root its owner, as far as the system lets it.
fn probe(path: &Path, database: &Place) -> std::io::Result<Place> {
    let name = beside(path, &format!(".runchain-probe-{}", std::process::id()));
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(database.mode & 0o777)
        .open(&name)?;
    let looked = fchmod(&file, Mode::from_raw_mode(database.mode & 0o777))
        .map_err(std::io::Error::from)
        .and_then(|()| {
            if rustix::process::geteuid().is_root() {
                // SQLite goes on when it fails, too; whose the file is then shows below.
                let _ = fchown(
                    &file,
                    Some(Uid::from_raw(database.user)),
                    Some(Gid::from_raw(database.group)),
                );
            }
            file.metadata()
        });
    std::fs::remove_file(&name)?;
    looked.map(|made| Place::of(&made))
}

fn may(path: &Path, access: Access) -> rustix::io::Result<()> {
    accessat(CWD, path, access, AtFlags::EACCESS)
}

pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Who we are.
#[derive(Debug, Clone, Copy)]
struct Us {
    user: u32,
    group: u32,
}

/// Owner and mode of a file or folder.
#[derive(Debug, Clone, Copy)]
struct Place {
    user: u32,
    group: u32,
    mode: u32,
}

impl Place {
    fn of(found: &Metadata) -> Self {
        Self {
            user: found.uid(),
            group: found.gid(),
            mode: found.mode(),
        }
    }
}

impl Place {
    /// Whether the owner of this file (the database) can write another one.
    fn owner_can_write(&self, other: &Self) -> bool {
        self.user == 0
            || (self.user == other.user && other.mode & 0o200 != 0)
            || (self.group == other.group && other.mode & 0o020 != 0)
            || other.mode & 0o002 != 0
    }
}

/// Whether the owner of `database` could not write a file that we create beside it.
fn locks_owner_out(us: Us, database: &Place, folder: &Place) -> bool {
    const SET_GROUP: u32 = 0o2000;
    // As root, SQLite hands what it creates to the owner of the database.
    if us.user == 0 || us.user == database.user {
        return false;
    }
    let new_group = if folder.mode & SET_GROUP == 0 {
        us.group
    } else {
        folder.group
    };
    let by_group = database.mode & 0o060 == 0o060 && new_group == database.group;
    let by_anybody = database.mode & 0o006 == 0o006;
    !by_group && !by_anybody
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_journal_that_a_writer_removes_meanwhile_is_no_foreign_sidecar() {
        const PROOFS: usize = 5_000;
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("state.db");
        std::fs::write(&database, "").unwrap();
        let journal = beside(&database, "-journal");
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    std::fs::write(&journal, "").unwrap();
                    std::fs::remove_file(&journal).unwrap();
                }
            });
            let proofs: Vec<_> = (0..PROOFS).map(|_| prove(&database)).collect();
            is_over.store(true, Ordering::Relaxed);
            assert!(proofs.iter().all(Result::is_ok));
        });
    }

    #[test]
    fn the_owner_can_still_write_what_we_create() {
        let database = |mode| Place {
            user: 10,
            group: 20,
            mode,
        };
        let folder = |mode| Place {
            user: 10,
            group: 20,
            mode,
        };
        let cases = [
            ("the owner", Us { user: 10, group: 99 }, 0o600, 0o755, false),
            ("root", Us { user: 0, group: 0 }, 0o600, 0o755, false),
            ("a stranger", Us { user: 11, group: 99 }, 0o664, 0o775, true),
            (
                "the file's group",
                Us { user: 11, group: 20 },
                0o664,
                0o775,
                false,
            ),
            (
                "the group may only read",
                Us { user: 11, group: 20 },
                0o644,
                0o775,
                true,
            ),
            (
                "the folder hands its group on",
                Us { user: 11, group: 99 },
                0o664,
                0o2775,
                false,
            ),
            (
                "anybody may write",
                Us { user: 11, group: 99 },
                0o666,
                0o777,
                false,
            ),
        ];
        for (who, us, file_mode, folder_mode, locked_out) in cases {
            assert_eq!(
                locks_owner_out(us, &database(file_mode), &folder(folder_mode)),
                locked_out,
                "{who}"
            );
        }
    }
}
