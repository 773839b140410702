//! Where a database lives, and what becomes of that when the file is moved, copied or mounted elsewhere.
//!
//! A database is known by its UUID, and a copy has the same one. What tells them apart is the place:
//! the inode does not change when a folder is renamed, mounted under another path or in a container
//! (whose device numbers and paths differ); it does when the file is copied. A copy is told from a
//! move between disks by looking whether something still stands where the original stood.
//!
//! Invariant: in doubt it is a copy, because draining two of them would do everything twice. What can't
//! be told from here: a clone of a whole machine, or a copy at the same path on another machine where
//! neither has a machine id (containers).
//!
//! What does not belong here: what the logs know (the executor compares that), and adopting.

use crate::error::{Error, Result};
use crate::schema;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Key in `runchain_meta` under which an executor records the [`Place`].
pub const PLACE: &str = "place";

/// Where a database file was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// `/etc/machine-id`; containers often have none.
    pub machine: Option<String>,
    /// The real path of the file.
    pub path: String,
    /// Its inode.
    pub inode: u64,
}

/// A file as the system tells it apart from all others that are there now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    /// Changes over reboots and containers.
    pub device: u64,
    /// Stays for as long as the file.
    pub inode: u64,
}

impl FileId {
    /// Of a path; `None` when nothing stands there that can be looked at.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|found| Self {
            device: found.dev(),
            inode: found.ino(),
        })
    }
}

impl Place {
    /// The place of a file that is there.
    ///
    /// # Errors
    /// When it can't be looked at.
    pub fn of(file: &Path) -> Result<Self> {
        let path = std::fs::canonicalize(file).map_err(|error| Error::io("find", file, error))?;
        let found = std::fs::metadata(&path).map_err(|error| Error::io("stat", &path, error))?;
        Ok(Self {
            machine: machine_id(),
            path: path.to_string_lossy().into_owned(),
            inode: found.ino(),
        })
    }

    /// What a database has on record; `None` before an executor has drained it, and for a record that
    /// nobody can read.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub fn recorded(conn: &Connection) -> Result<Option<Self>> {
        let text = schema::meta(conn, PLACE)?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }
}

fn machine_id() -> Option<String> {
    let text = std::fs::read_to_string("/etc/machine-id").ok()?;
    let id = text.trim();
    (!id.is_empty() && id != "uninitialized").then(|| id.to_owned())
}

/// How a database stands to the place that is on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is there: the same file, or one that was put in its place (`VACUUM INTO` and rename, a
    /// restored backup). Whether it is as new as it was, the logs know.
    AtHome,
    /// The whole thing is elsewhere now, and nothing is left where it was.
    Moved,
    /// Something still stands where it was: this is a copy.
    Copy,
    /// It comes from a place that can't be looked at from here.
    Unknown,
}

/// Judges a database that is `here` (with this file id) by the place on record. `look` tells what
/// stands at a path now.
#[must_use]
pub fn standing(
    recorded: &Place,
    here: &Place,
    file: Option<FileId>,
    look: impl Fn(&str) -> Option<FileId>,
) -> Standing {
    let same_inode = recorded.inode == here.inode;
    let machines = (recorded.machine.as_deref(), here.machine.as_deref());
    if recorded.path == here.path {
        let other_machine = matches!(machines, (Some(then), Some(now)) if then != now);
        return if same_inode || !other_machine {
            Standing::AtHome
        } else {
            Standing::Unknown
        };
    }
    match look(&recorded.path) {
        // Two names of one file: a bind mount, a link.
        Some(original) if Some(original) == file => Standing::AtHome,
        // A snapshot or clone of a disk has the same inodes on another device.
        Some(original) if original.inode == recorded.inode || !same_inode => Standing::Copy,
        Some(_) => Standing::Moved,
        None if same_inode => Standing::Moved,
        None if machines.0.is_some() && machines.0 == machines.1 => Standing::Moved,
        None => Standing::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Option<&str> = Some("m1");
    const OTHER: Option<&str> = Some("m2");
    const CONTAINER: Option<&str> = None;

    fn place(machine: Option<&str>, path: &str, inode: u64) -> Place {
        Place {
            machine: machine.map(str::to_owned),
            path: path.to_owned(),
            inode,
        }
    }

    /// Device and inode.
    fn id(device: u64, inode: u64) -> FileId {
        FileId { device, inode }
    }

    #[test]
    fn a_copy_is_told_from_everything_that_only_looks_like_one() {
        let home = place(MACHINE, "/p/db", 7);
        let here = |machine, path, inode| place(machine, path, inode);
        let cases = [
            (
                "untouched",
                here(MACHINE, "/p/db", 7),
                id(1, 7),
                None,
                Standing::AtHome,
            ),
            (
                "VACUUM INTO and rename",
                here(MACHINE, "/p/db", 8),
                id(1, 8),
                None,
                Standing::AtHome,
            ),
            (
                "a device number that changed",
                here(MACHINE, "/p/db", 7),
                id(9, 7),
                None,
                Standing::AtHome,
            ),
            (
                "mv of the project",
                here(MACHINE, "/q/db", 7),
                id(1, 7),
                None,
                Standing::Moved,
            ),
            (
                "mv, then another file at the old path",
                here(MACHINE, "/q/db", 7),
                id(1, 7),
                Some(id(1, 9)),
                Standing::Moved,
            ),
            (
                "mv to another disk",
                here(MACHINE, "/q/db", 8),
                id(2, 8),
                None,
                Standing::Moved,
            ),
            (
                "a bind mount",
                here(MACHINE, "/q/db", 7),
                id(1, 7),
                Some(id(1, 7)),
                Standing::AtHome,
            ),
            (
                "the volume in a container",
                here(CONTAINER, "/data/db", 7),
                id(5, 7),
                None,
                Standing::Moved,
            ),
            (
                "cp",
                here(MACHINE, "/q/db", 8),
                id(1, 8),
                Some(id(1, 7)),
                Standing::Copy,
            ),
            (
                "cp, and the original was rewritten since",
                here(MACHINE, "/q/db", 8),
                id(1, 8),
                Some(id(1, 9)),
                Standing::Copy,
            ),
            (
                "a clone of the disk",
                here(MACHINE, "/q/db", 7),
                id(2, 7),
                Some(id(1, 7)),
                Standing::Copy,
            ),
            (
                "rsync to another machine",
                here(OTHER, "/q/db", 8),
                id(2, 8),
                None,
                Standing::Unknown,
            ),
            (
                "rsync to the same path there",
                here(OTHER, "/p/db", 8),
                id(2, 8),
                None,
                Standing::Unknown,
            ),
            (
                "a copied volume in a container",
                here(CONTAINER, "/q/db", 8),
                id(2, 8),
                None,
                Standing::Unknown,
            ),
        ];
        for (what, here, file, original, expected) in cases {
            let look = |path: &str| {
                assert_eq!(path, "/p/db");
                original
            };
            assert_eq!(standing(&home, &here, Some(file), look), expected, "{what}");
        }
    }
}
