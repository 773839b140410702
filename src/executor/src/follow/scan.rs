//! What of the named places is there now: its files, the folders to watch, and what can't be read.
//!
//! Symlinks to files are resolved, and the file must lie below a root; a symlink to a folder is followed
//! only where it was named itself. Of a place that isn't there yet, the nearest folder above is watched.

use super::left_behind::names_before;
use super::places::{Place, Places};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use walkdir::{DirEntry, WalkDir};

/// More files than this are not followed by one process.
const MAX_FILES: usize = 20_000;

/// What tells that a file has changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(super) inode: u64,
    pub(super) device: u64,
    pub(super) size_bytes: u64,
    pub(super) modified_ns: i128,
}

impl Stamp {
    pub(super) fn of(found: &std::fs::Metadata) -> Self {
        Self {
            inode: found.ino(),
            device: found.dev(),
            size_bytes: found.len(),
            modified_ns: i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec()),
        }
    }

    /// Whether it is the same file, changed or not.
    pub(super) fn is_file_of(&self, other: &Self) -> bool {
        (self.inode, self.device) == (other.inode, other.device)
    }
}

/// What a look found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Files by their resolved paths.
    pub(crate) files: BTreeMap<PathBuf, Stamp>,
    /// Folders in which something may change that matters.
    pub(super) folders: BTreeSet<PathBuf>,
    /// What is missing, by its whole path: it matters when it appears.
    pub(super) wanted: Vec<PathBuf>,
    /// The roots, resolved.
    pub(super) roots: Vec<PathBuf>,
    /// Resolved bases, with the places that they are of.
    pub(super) bases: Vec<(PathBuf, Place)>,
    /// What can't be read, and what to do.
    pub(crate) refused: BTreeMap<PathBuf, String>,
    /// For each place, how many files it has; `None`: it isn't there.
    pub(crate) counts: Vec<(PathBuf, Option<usize>)>,
}

impl Scan {
    /// Looks at everything.
    pub(crate) fn of(places: &Places) -> Self {
        let mut scan = Self::default();
        let roots: Vec<PathBuf> = places.roots.iter().map(|root| real(root)).collect();
        for place in &places.named {
            let before = scan.files.len();
            let there = scan.look_at(places, place, &roots);
            let count = there.then(|| scan.files.len() - before);
            scan.counts.push((place.given.clone(), count));
        }
        scan.roots = roots;
        scan
    }

    /// `false` where it isn't there.
    fn look_at(&mut self, places: &Places, place: &Place, roots: &[PathBuf]) -> bool {
        let found = match std::fs::metadata(&place.base) {
            Ok(found) => found,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                self.wait_for(&place.base);
                return false;
            }
            Err(error) => {
                self.refuse(
                    &place.base,
                    format!("can't look at it: {error}; make its folders searchable"),
                );
                self.wait_for(&place.base);
                return false;
            }
        };
        let base = real(&place.base);
        // A symlink is replaced where it stands.
        self.folders.extend(place.base.parent().map(real));
        if found.is_dir() {
            self.walk(places, place, &base, roots);
            self.bases.push((base, place.clone()));
        } else if place.is_glob() {
            self.refuse(
                &place.base,
                "it is a file, not a folder; mend the glob".to_owned(),
            );
        } else {
            self.folders.extend(base.parent().map(Path::to_owned));
            if places.is_own(&base) {
                self.refuse(
                    &base,
                    "it is runchain's own; name the orchestrator's event logs".to_owned(),
                );
            } else {
                self.add(base, Stamp::of(&found), roots);
            }
        }
        true
    }

    fn walk(&mut self, places: &Places, place: &Place, base: &Path, roots: &[PathBuf]) {
        let entries = WalkDir::new(base)
            .max_depth(place.depth)
            .sort_by_file_name()
            .into_iter()
            .filter_entry(|entry| !(entry.file_type().is_dir() && places.is_own(entry.path())));
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    let path = error.path().unwrap_or(base).to_owned();
                    let gone = error
                        .io_error()
                        .is_some_and(|error| error.kind() == ErrorKind::NotFound);
                    if !gone {
                        self.refuse(&path, format!("{error}; let runchain read it"));
                    }
                    continue;
                }
            };
            if entry.file_type().is_dir() {
                if entry.depth() < place.depth {
                    self.folders.insert(entry.into_path());
                }
                continue;
            }
            let relative = entry.path().strip_prefix(base).unwrap_or(entry.path());
            if place.means(relative) && !places.is_own(entry.path()) {
                self.take(places, &entry, roots);
            }
        }
    }

    fn take(&mut self, places: &Places, entry: &DirEntry, roots: &[PathBuf]) {
        if !entry.path_is_symlink() {
            if let Ok(found) = entry.metadata() {
                self.add(entry.path().to_owned(), Stamp::of(&found), roots);
            }
            return;
        }
        // A dangling one waits for what it names.
        let (Ok(found), Ok(file)) = (std::fs::metadata(entry.path()), entry.path().canonicalize()) else {
            return;
        };
        if found.is_dir() {
            let text =
                "it is a symlink to a folder, which is followed only where it is named itself; name it";
            self.refuse(entry.path(), text.to_owned());
        } else if !places.is_own(&file) {
            self.folders.extend(file.parent().map(Path::to_owned));
            if is_below(&file, roots) {
                self.add(file, Stamp::of(&found), roots);
            } else {
                self.refuse(entry.path(), outside(&file, roots));
            }
        }
    }

    fn add(&mut self, file: PathBuf, stamp: Stamp, roots: &[PathBuf]) {
        if !is_below(&file, roots) {
            let text = outside(&file, roots);
            self.refuse(&file, text);
        } else if self.files.len() < MAX_FILES {
            self.files.insert(file, stamp);
        } else {
            self.refuse(
                &file,
                format!("{MAX_FILES} files are followed already; name fewer"),
            );
        }
    }

    fn wait_for(&mut self, missing: &Path) {
        let above = missing.ancestors().skip(1).find(|folder| folder.is_dir());
        self.folders.extend(above.map(real));
        // Its resolved form, as far as there is one.
        let wanted = above.and_then(|above| Some(real(above).join(missing.strip_prefix(above).ok()?)));
        self.wanted.extend(wanted);
    }

    /// The name under which a file is one of the places' event logs: its own, or the one that it may have
    /// had before it was rotated.
    pub(super) fn log_of(&self, path: &Path) -> Option<PathBuf> {
        names_before(path).find(|path| {
            let mut below =
                (self.bases.iter()).filter_map(|(base, place)| Some((path.strip_prefix(base).ok()?, place)));
            self.files.contains_key(path)
                || self.wanted.contains(path)
                || below.any(|(relative, place)| place.means(relative))
        })
    }

    fn refuse(&mut self, path: &Path, why: String) {
        self.refused.insert(path.to_owned(), why);
    }
}

/// The root that a file lies below.
pub(super) fn root_of<'a>(file: &Path, roots: &'a [PathBuf]) -> Option<&'a Path> {
    let root = roots.iter().find(|root| file.starts_with(root));
    root.map(PathBuf::as_path)
}

fn is_below(file: &Path, roots: &[PathBuf]) -> bool {
    roots.is_empty() || root_of(file, roots).is_some()
}

fn outside(file: &Path, roots: &[PathBuf]) -> String {
    let roots: Vec<_> = roots.iter().map(|root| root.display().to_string()).collect();
    format!(
        "{} lies outside the folders that the service reads ({}); add its folder to ingest.roots, or move it there",
        file.display(),
        roots.join(", ")
    )
}

pub(super) fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
