//! A file by its descriptor: named below a root and through no symlink, known again by its inode.
//!
//! The descriptor only names the file (O_PATH); core looks at what it is, and opens it through that very
//! descriptor. So what is read is what was checked, whatever happens to the path meanwhile.

use super::scan::{Stamp, real, root_of};
use crate::folder::Folder;
use runchain_core::Millis;
use runchain_core::error::{During, Error, Result};
use runchain_core::ingest::{self, IngestOptions, IngestReport};
use rusqlite::{Connection, OptionalExtension};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What is read before the next file has its turn: some ten milliseconds of writing.
pub(super) const SLICE_BYTES: u64 = 1 << 20;
/// The same of a line over the limit, which is only looked through.
const SKIP_BYTES: u64 = 64 << 20;
/// Lines in one transaction.
const BATCH_LINES: usize = 1_000;

/// How far a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// All whole lines.
    Lines,
    /// The same, of a file that must have been read before.
    KnownLines,
    /// Of such a file also a last line without newline.
    KnownToItsEnd,
}

/// A file that can be opened, also when it has lost its name.
#[derive(Debug)]
pub(crate) struct NamedFile {
    pub(super) path: PathBuf,
    /// Names it only: no reading, no lock of anybody's is lost when it is closed.
    named: File,
}

impl NamedFile {
    /// The file at a resolved path below one of the roots; where there are none, anywhere.
    pub(crate) fn below(roots: &[PathBuf], path: &Path) -> Result<Self> {
        let root = root_of(path, roots).or(path.parent()).unwrap_or(Path::new("/"));
        let relative = path.strip_prefix(root).unwrap_or(path);
        let pointed = Folder::open_root(root).and_then(|root| root.point_at(relative));
        let named = pointed.map_err(|error| Error::io("open the event log", path, error))?;
        Ok(Self {
            path: path.to_owned(),
            named: named.into(),
        })
    }

    /// Where it was found.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is a regular file.
    pub(crate) fn is_plain(&self) -> bool {
        self.named.metadata().is_ok_and(|found| found.is_file())
    }

    pub(super) fn stamp(&self) -> Result<Stamp> {
        let found = self.named.metadata();
        found
            .map(|found| Stamp::of(&found))
            .map_err(|error| Error::io("look at the event log", &self.path, error))
    }

    /// Opens it to read. Only of a file that core has read before: it may not be a database.
    pub(super) fn open(&self) -> io::Result<File> {
        File::open(self.reopened())
    }

    /// Reads one slice, whose lines are `understood` so.
    pub(super) fn read_slice(
        &self,
        conn: &Connection,
        understood: IngestOptions,
        extent: Extent,
    ) -> Result<IngestReport> {
        let options = IngestOptions {
            finalise: extent == Extent::KnownToItsEnd,
            resume_only: extent != Extent::Lines,
            at_most_bytes: SLICE_BYTES,
            skip_at_most_bytes: SKIP_BYTES,
            batch_lines: BATCH_LINES,
            recorded_as: Some(self.path.clone()),
            ..understood
        };
        ingest::ingest_path(conn, &self.reopened(), Millis::now(), &options)
    }

    /// The name through which exactly this file is opened.
    pub(crate) fn reopened(&self) -> PathBuf {
        if cfg!(target_os = "linux") {
            PathBuf::from(format!("/proc/self/fd/{}", self.named.as_raw_fd()))
        } else {
            self.path.clone()
        }
    }
}

/// The inode of the file that was last read under a path.
pub(super) fn last_known(conn: &Connection, path: &Path) -> Result<Option<u64>> {
    conn.prepare_cached("SELECT inode FROM runchain_ingest_files WHERE path = ?1 ORDER BY id DESC LIMIT 1")
        .and_then(|mut statement| {
            let row = statement.query_row([path.to_string_lossy()], |row| row.get::<_, i64>(0));
            // Core keeps the bits in SQLite's signed numbers.
            row.map(|inode| inode as u64).optional()
        })
        .during("look which event log had this path")
}

/// Where the file of this inode is now, beside the path that it had. Whether it is the same log is for
/// core to say, which knows its beginning.
pub(super) fn find(path: &Path, inode: u64) -> Option<PathBuf> {
    let folder = real(path.parent()?);
    let mut entries = std::fs::read_dir(&folder)
        .ok()?
        .filter_map(std::result::Result::ok);
    let named = entries.find(|entry| entry.ino() == inode)?;
    let found = named.metadata().ok()?;
    (found.is_file() && found.ino() == inode).then(|| folder.join(named.file_name()))
}
