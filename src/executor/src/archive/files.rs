//! Files of a run, found by globs below the output root, and how their bytes are taken.
//!
//! Invariants: no symlink is followed; no file of the database is ever opened (closing a descriptor
//! of it would drop SQLite's locks); nothing of our own output gets into a bag; memory is bounded.

use super::name::is_path_component;
use crate::folder::Folder;
use globset::{GlobBuilder, GlobMatcher};
use runchain_core::RunId;
use runchain_core::error::{During, Error, Result};
use rusqlite::Connection;
use rustix::fs::Stat;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use walkdir::{DirEntry, WalkDir};

const COPY_BUFFER_BYTES: usize = 64 << 10;

/// Where to look and what never to touch.
pub(super) struct Search<'a> {
    /// Globs are relative to this folder.
    pub(super) root: &'a Path,
    /// The globs; `{run_id}` stands for the run's id.
    pub(super) globs: &'a [String],
    /// Folders and files that are our own output.
    pub(super) excluded: Vec<PathBuf>,
    /// The database's files.
    pub(super) database: DatabaseFiles,
}

/// What a search found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Regular files by their path relative to the root.
    pub(super) files: BTreeMap<PathBuf, Candidate>,
    /// What was left out, by what it is, and why.
    pub(super) skipped: BTreeMap<String, String>,
}

/// A regular file as it was when it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Where to open it.
    pub(super) path: PathBuf,
    /// Its length.
    pub(super) size_bytes: u64,
    /// Its last change, in nanoseconds since 1970.
    pub(super) mtime_ns: i128,
    identity: Identity,
}

/// What came of taking a file's bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Copied {
    /// It is the file that was found, unchanged.
    Whole,
    /// It changed since it was found, or while it was read.
    Changed,
    /// It is gone.
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }

    fn of_stat(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
        }
    }
}

/// The files of every database that a connection has open, by name; looked at again each time,
/// since `-wal`, `-shm` and `-journal` come and go.
#[derive(Debug, Default)]
pub(super) struct DatabaseFiles(Vec<PathBuf>);

impl DatabaseFiles {
    /// Those of `PRAGMA database_list`, each with its companions.
    pub(super) fn of(conn: &Connection) -> Result<Self> {
        let paths: Vec<String> = conn
            .prepare_cached("SELECT file FROM pragma_database_list WHERE file <> ''")
            .and_then(|mut statement| {
                let rows = statement.query_map([], |row| row.get(0))?;
                rows.collect()
            })
            .during("list the open databases")?;
        let companions = ["", "-wal", "-shm", "-journal", ".runchain-lock"];
        Ok(Self(
            paths
                .iter()
                .flat_map(|path| companions.map(|suffix| PathBuf::from(format!("{path}{suffix}"))))
                .collect(),
        ))
    }

    fn contains(&self, metadata: &Metadata) -> bool {
        self.holds(Identity::of(metadata))
    }

    fn holds(&self, identity: Identity) -> bool {
        self.0
            .iter()
            .filter_map(|path| std::fs::metadata(path).ok())
            .any(|own| Identity::of(&own) == identity)
    }
}

impl Search<'_> {
    /// Every file that a glob matches.
    pub(super) fn run(&self, run_id: &RunId) -> Result<Found> {
        let mut found = Found::default();
        for glob in self.globs {
            if glob.contains("{run_id}") && !is_path_component(run_id.as_str()) {
                let reason = "the run's id is not a plain path component";
                found.skipped.insert(glob.clone(), reason.to_owned());
                continue;
            }
            let filled = glob.replace("{run_id}", &globset::escape(run_id.as_str()));
            let matcher = GlobBuilder::new(&filled)
                .literal_separator(true)
                .backslash_escape(true)
                .build()
                .map_err(|error| {
                    Error::refused(
                        format!("the file glob {glob:?} can't be read: {error}"),
                        "correct it in the configuration",
                    )
                })?
                .compile_matcher();
            let start = literal_prefix(&glob.replace("{run_id}", run_id.as_str()), glob);
            if self.may_enter(&start, &mut found)? {
                self.walk(&start, &matcher, &mut found)?;
            }
        }
        Ok(found)
    }

    /// Whether the folder that a glob begins with can be walked: it is there, below the root, no
    /// part of it is a symlink, and it is not our own output.
    fn may_enter(&self, start: &Path, found: &mut Found) -> Result<bool> {
        let mut path = self.root.to_owned();
        for component in start.components() {
            let Component::Normal(name) = component else {
                found
                    .skipped
                    .insert(lossy(start), "outside the root folder".to_owned());
                return Ok(false);
            };
            path.push(name);
            match std::fs::symlink_metadata(&path) {
                Err(error) if is_missing(&error) => return Ok(false),
                Err(error) => return Err(Error::io("look at", path, error)),
                Ok(metadata) if metadata.is_symlink() => {
                    found.skipped.insert(self.relative(&path), "a symlink".to_owned());
                    return Ok(false);
                }
                Ok(metadata) if self.is_excluded(&metadata) => return Ok(false),
                Ok(_) => {}
            }
        }
        Ok(true)
    }

    fn walk(&self, start: &Path, matcher: &GlobMatcher, found: &mut Found) -> Result<()> {
        let entries = WalkDir::new(self.root.join(start))
            .follow_links(false)
            .into_iter()
            .filter_entry(|entry| !self.leaves_out(entry));
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) if error.io_error().is_some_and(is_missing) => continue,
                Err(error) => {
                    let path = error.path().unwrap_or(self.root).to_owned();
                    return Err(Error::io("look for files below", path, error.into()));
                }
            };
            let path = entry.path();
            let Ok(relative) = path.strip_prefix(self.root) else {
                continue;
            };
            if entry.file_type().is_dir() || !matcher.is_match(relative) {
                continue;
            }
            if entry.file_type().is_symlink() {
                found.skipped.insert(lossy(relative), "a symlink".to_owned());
                continue;
            }
            if !entry.file_type().is_file() {
                found
                    .skipped
                    .insert(lossy(relative), "neither a file nor a folder".to_owned());
                continue;
            }
            match std::fs::symlink_metadata(path) {
                Ok(metadata) if self.database.contains(&metadata) => {}
                Ok(metadata) => {
                    found
                        .files
                        .insert(relative.to_owned(), Candidate::new(path, &metadata));
                }
                Err(error) if is_missing(&error) => {}
                Err(error) => return Err(Error::io("look at", path, error)),
            }
        }
        Ok(())
    }

    /// Takes a file's bytes in pieces. `take` is called only for the file that was found: anything
    /// else under its name is not read.
    pub(super) fn copy(
        &self,
        candidate: &Candidate,
        take: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<Copied> {
        let path = &candidate.path;
        let missing_or = |error: std::io::Error| {
            if is_missing(&error) {
                Ok(Copied::Gone)
            } else {
                Err(Error::io("read", path, error))
            }
        };
        let Ok(relative) = path.strip_prefix(self.root) else {
            return Ok(Copied::Gone);
        };
        // Looked at before it is opened: what is opened gets closed, and closing a database's file
        // drops the locks on it. No part of the way may have become a symlink meanwhile.
        let opened = Folder::open_root(self.root).and_then(|root| {
            root.open_file(relative, |stat| {
                if self.database.holds(Identity::of_stat(stat)) {
                    Err(ErrorKind::NotFound.into())
                } else {
                    Ok(())
                }
            })
        });
        let mut file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::InvalidInput => return Ok(Copied::Gone),
            Err(error) if error.kind() == ErrorKind::InvalidData => return Ok(Copied::Changed),
            Err(error) => return missing_or(error),
        };
        let state = |file: &File| -> Result<Candidate> {
            let metadata = file
                .metadata()
                .map_err(|error| Error::io("look at", path, error))?;
            Ok(Candidate::new(path, &metadata))
        };
        let opened = state(&file)?;
        if opened.identity != candidate.identity {
            return Ok(Copied::Changed);
        }
        let mut buffer = vec![0; COPY_BUFFER_BYTES];
        // No further than the length it had: a file that grows faster than it is read would never end.
        let mut left = opened.size_bytes;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let read = match file.read(&mut buffer[..wanted]) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::io("read", path, error)),
            };
            if read == 0 {
                break;
            }
            take(&buffer[..read])?;
            left -= read as u64;
        }
        let same = left == 0 && opened == *candidate && state(&file)? == *candidate;
        Ok(if same { Copied::Whole } else { Copied::Changed })
    }

    fn leaves_out(&self, entry: &DirEntry) -> bool {
        entry.metadata().is_ok_and(|metadata| self.is_excluded(&metadata))
    }

    fn is_excluded(&self, metadata: &Metadata) -> bool {
        let identity = Identity::of(metadata);
        self.excluded
            .iter()
            .filter_map(|path| std::fs::metadata(path).ok())
            .any(|own| Identity::of(&own) == identity)
    }

    fn relative(&self, path: &Path) -> String {
        lossy(path.strip_prefix(self.root).unwrap_or(path))
    }
}

impl Candidate {
    fn new(path: &Path, metadata: &Metadata) -> Self {
        Self {
            path: path.to_owned(),
            size_bytes: metadata.len(),
            mtime_ns: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
            identity: Identity::of(metadata),
        }
    }
}

/// The folders in front of the first component with a wildcard. `template` is the glob before the
/// id was filled in: characters of an id are no wildcards.
fn literal_prefix(filled: &str, template: &str) -> PathBuf {
    let literal = template
        .split('/')
        .take_while(|part| !part.replace("{run_id}", "").contains(['*', '?', '[', '{', '\\']))
        .count();
    let parts: Vec<&str> = filled.split('/').collect();
    let prefix = parts[..literal.min(parts.len())].join("/");
    if filled.starts_with('/') {
        PathBuf::from("/").join(prefix)
    } else {
        PathBuf::from(prefix)
    }
}

/// A path as text; one that is not UTF-8 with replacement characters.
pub(super) fn lossy(path: &Path) -> String {
    OsString::from(path).to_string_lossy().into_owned()
}

fn is_missing(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
        || error.raw_os_error() == Some(libc::ELOOP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::io::Write;

    #[test]
    fn a_file_that_changes_or_goes_while_it_is_read_is_said_so() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, vec![b'x'; 3 * COPY_BUFFER_BYTES]).unwrap();
        let globs = ["*".to_owned()];
        let search = Search {
            root: dir.path(),
            globs: &globs,
            excluded: Vec::new(),
            database: DatabaseFiles::default(),
        };
        let find = || {
            search
                .run(&RunId("r".into()))
                .unwrap()
                .files
                .into_values()
                .next()
                .unwrap()
        };
        let grow = || {
            let mut file = OpenOptions::new().append(true).open(&path).unwrap();
            file.write_all(b"more").unwrap();
        };
        let found = find();
        let mut bytes = 0;
        let mut count = |piece: &[u8]| {
            bytes += piece.len();
            Ok(())
        };
        assert_eq!(search.copy(&found, &mut count).unwrap(), Copied::Whole);
        assert_eq!(bytes, 3 * COPY_BUFFER_BYTES);
        let mut grow_while_read = |_: &[u8]| {
            grow();
            Ok(())
        };
        assert_eq!(
            search.copy(&found, &mut grow_while_read).unwrap(),
            Copied::Changed
        );
        assert_eq!(search.copy(&found, &mut |_| Ok(())).unwrap(), Copied::Changed);
        let found = find();
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        let mut nothing = |_: &[u8]| -> Result<()> { panic!("a symlink was read") };
        assert_eq!(search.copy(&found, &mut nothing).unwrap(), Copied::Gone);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(search.copy(&found, &mut nothing).unwrap(), Copied::Gone);
    }
}
