//! Which files are event logs: what was named, as files, folders and globs, or the usual places.
//!
//! A folder stands for its `*.jsonl`, up to [`MAX_DEPTH`] levels below. `*` in a glob stays within one
//! name, `**` goes deeper. Our own logs, bags and reports are never event logs: what they say of an
//! event would be an event again.

use super::scan::Scan;
use crate::config::{Settings, Source};
use crate::projector;
use globset::{GlobBuilder, GlobMatcher};
use runchain_core::error::{Error, Result};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Levels below a named folder, or below the fixed part of a glob with `**`, that are looked into.
pub(crate) const MAX_DEPTH: usize = 8;

/// Where orchestrators of this kind put their event logs.
const USUAL: [&str; 3] = ["state/events", "state_manager/src/state/events", ".state/events"];

/// What a folder's event logs are called.
const SUFFIX: &[u8] = b".jsonl";

/// Everything that is followed, and what bounds it.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// What was named, in this order.
    pub(super) named: Vec<Place>,
    /// Folders below which files may lie; empty: anywhere.
    pub(super) roots: Vec<PathBuf>,
    /// Folders that hold what runchain writes.
    own_folders: Vec<PathBuf>,
    logs_dir: PathBuf,
    /// Nobody named any: these are the usual ones.
    pub(super) are_usual: bool,
}

/// One thing that was named.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// As it is told.
    pub(super) given: PathBuf,
    /// The part without metacharacters.
    pub(super) base: PathBuf,
    /// Which files below it; `None`: the file itself, or the folder's logs.
    glob: Option<GlobMatcher>,
    /// Levels of files below the base.
    pub(super) depth: usize,
}

impl Places {
    /// What a service follows.
    ///
    /// # Errors
    /// A glob that can't be read.
    pub(crate) fn of_service(settings: &Settings) -> Result<Self> {
        let are_usual = settings.source_of("ingest.events") == Some(&Source::Default);
        let named: Vec<PathBuf> = if are_usual {
            USUAL.iter().map(|place| settings.root.join(place)).collect()
        } else {
            settings.ingest_events.clone()
        };
        let mut places = Self::named(&named, settings)?;
        places.are_usual = are_usual;
        places.roots.clone_from(&settings.ingest_roots);
        Ok(places)
    }

    /// What a person has typed: anywhere.
    ///
    /// # Errors
    /// A glob that can't be read.
    pub(crate) fn named(paths: &[PathBuf], settings: &Settings) -> Result<Self> {
        Ok(Self {
            named: paths.iter().map(|path| Place::of(path)).collect::<Result<_>>()?,
            roots: Vec::new(),
            own_folders: vec![resolved(&settings.archive_dir), resolved(&settings.reports_dir)],
            logs_dir: resolved(&settings.logs_dir),
            are_usual: false,
        })
    }

    /// Whether there is nothing to follow.
    pub(crate) fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// Whether a pattern was named.
    pub(crate) fn has_glob(&self) -> bool {
        self.named.iter().any(Place::is_glob)
    }

    /// As they were named, for the audit trail.
    pub(crate) fn told(&self) -> Vec<String> {
        let given = self
            .named
            .iter()
            .map(|place| place.given.to_string_lossy().into_owned());
        given.collect()
    }

    /// What of them is there now.
    pub(crate) fn scan(&self) -> Scan {
        Scan::of(self)
    }

    /// Whether a resolved path is what runchain writes itself.
    pub(super) fn is_own(&self, path: &Path) -> bool {
        self.own_folders.iter().any(|folder| path.starts_with(folder))
            || (path.parent() == Some(&self.logs_dir) && projector::is_log(path))
    }
}

impl Place {
    fn of(path: &Path) -> Result<Self> {
        let is_glob = |part: &OsStr| part.as_bytes().iter().any(|byte| b"*?[{".contains(byte));
        // What is there under this very name is meant.
        let is_literal = std::fs::symlink_metadata(path).is_ok();
        let first = path.components().position(|part| is_glob(part.as_os_str()));
        let Some(first) = first.filter(|_| !is_literal) else {
            return Ok(Self {
                given: path.to_owned(),
                base: path.to_owned(),
                glob: None,
                depth: MAX_DEPTH + 1,
            });
        };
        let base: PathBuf = path.components().take(first).collect();
        let rest: PathBuf = path.components().skip(first).collect();
        let text = rest.to_str().ok_or_else(|| bad_glob(path, "it is not UTF-8"))?;
        let glob = GlobBuilder::new(text)
            .literal_separator(true)
            .build()
            .map_err(|error| bad_glob(path, error.kind()))?;
        let is_deep = rest
            .components()
            .any(|part| part == Component::Normal("**".as_ref()));
        let depth = if is_deep {
            MAX_DEPTH + 1
        } else {
            rest.components().count()
        };
        Ok(Self {
            given: path.to_owned(),
            base: if base.as_os_str().is_empty() {
                PathBuf::from(".")
            } else {
                base
            },
            glob: Some(glob.compile_matcher()),
            depth,
        })
    }

    /// Whether it names a pattern, and so never a single file.
    pub(super) fn is_glob(&self) -> bool {
        self.glob.is_some()
    }

    /// Whether a file at this path below the base is meant.
    pub(super) fn means(&self, relative: &Path) -> bool {
        match &self.glob {
            Some(glob) => glob.is_match(relative),
            None => relative.as_os_str().as_bytes().ends_with(SUFFIX),
        }
    }
}

fn bad_glob(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::refused(
        format!("{} is no glob: {why}", path.display()),
        "write * for names, ** for folders, and [*] for the character itself",
    )
}

fn resolved(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn means(place: &str, relative: &str) -> bool {
        Place::of(Path::new(place)).unwrap().means(Path::new(relative))
    }

    #[test]
    fn a_star_stays_within_a_name_and_two_go_deeper() {
        let place = Place::of(Path::new("/p/jobs/*/events.jsonl")).unwrap();
        assert_eq!((place.base.as_path(), place.depth), (Path::new("/p/jobs"), 2));
        assert!(means("/p/jobs/*/events.jsonl", "a/events.jsonl"));
        assert!(!means("/p/jobs/*/events.jsonl", "a/b/events.jsonl"));
        assert!(means("/p/**/*.jsonl", "a/b/c.jsonl") && means("/p/**/*.jsonl", "c.jsonl"));
        assert!(means("/p/{a,b}.log", "b.log") && !means("/p/{a,b}.log", "c.log"));
    }

    #[test]
    fn a_folder_stands_for_its_jsonl_at_any_depth() {
        assert!(means("/p/events", "jobs/j/x.jsonl"));
        assert!(!means("/p/events", "x.jsonl.1") && !means("/p/events", "x.json"));
    }
}
