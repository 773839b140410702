//! Whether we may use the file, and whether its owner still could after we did.
//!
//! SQLite creates `-wal`, `-shm` and `-journal` with the mode of the database, but with the owner
//! and group of who creates them: the orchestrator's own writes can then fail because of us.

use super::{OpenMode, Problem};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

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

fn may(path: &Path, access: Access) -> rustix::io::Result<()> {
    accessat(CWD, path, access, AtFlags::EACCESS)
}

pub(super) fn beside(path: &Path, suffix: &str) -> std::path::PathBuf {
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
