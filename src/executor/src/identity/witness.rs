//! The witness: a small file beside the logs that says which database they belong to, where it lives
//! and how far it was. It speaks for logs that were removed, and for a backup that is older than them.
//!
//! Invariants: it never claims more than is durable in the database; it is replaced whole. One that
//! can't be read is as good as none: the logs speak for themselves.

use runchain_core::error::{Error, Result};
use runchain_core::identity::Place;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// More than this is no witness of ours.
const LIMIT_BYTES: u64 = 64 << 10;

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Witness {
    /// Whose logs these are.
    pub(crate) database_uuid: String,
    /// The epoch that the database was in.
    pub(crate) epoch: i64,
    /// The newest event that was durable.
    pub(crate) seq: i64,
    /// Where the database lived.
    pub(crate) place: Place,
    /// Inode of the folder: a copy of the whole project has another.
    pub(crate) folder_inode: u64,
}

impl Witness {
    /// What stands there; `None` also for what is no witness.
    pub(crate) fn read(logs_dir: &Path) -> Option<Self> {
        let file = File::options()
            .read(true)
            .custom_flags(
                (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK)
                    .bits()
                    .cast_signed(),
            )
            .open(path(logs_dir))
            .ok()?;
        let mut text = String::new();
        file.take(LIMIT_BYTES).read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Writes it durably. Only who holds the folder's lock does.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn write(&self, logs_dir: &Path) -> Result<()> {
        let path = path(logs_dir);
        let io = |error| Error::io("write", &path, error);
        // A struct of strings and numbers always serialises.
        let text = serde_json::to_string(self).unwrap_or_default();
        let mut file = tempfile::NamedTempFile::new_in(logs_dir).map_err(io)?;
        file.write_all(format!("{text}\n").as_bytes())
            .and_then(|()| file.as_file().sync_all())
            .map_err(io)?;
        file.persist(&path).map_err(|error| io(error.error))?;
        File::open(logs_dir)
            .and_then(|folder| folder.sync_all())
            .map_err(io)
    }

    /// Whether the folder is the one that it was written in, or a copy of it.
    pub(crate) fn is_in_its_folder(&self, logs_dir: &Path) -> bool {
        folder_inode(logs_dir) == Some(self.folder_inode)
    }
}

/// The inode of a folder, where it is there.
pub(crate) fn folder_inode(folder: &Path) -> Option<u64> {
    std::fs::metadata(folder).ok().map(|found| found.ino())
}

fn path(logs_dir: &Path) -> PathBuf {
    logs_dir.join(".runchain-witness.json")
}
