//! A database, a folder or a log that somebody has prepared against us: nothing of it runs our
//! functions, holds us up, leads us outside the output root, or breaks the host.

/// Paths given to `ingest_events`.
mod arguments;
/// The executor on a hostile or damaged schema.
mod executor;
/// JSON in metadata columns and in event logs.
mod json;
/// Symlinks in every place that is written or read.
mod links;
/// Run ids through the whole chain.
mod run_ids;
/// Views, triggers and the rest of a schema that call our functions.
mod schema;

use crate::support::tree;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// What must not be found anywhere below the output root.
const SECRET: &str = "nobody must read this";

/// A folder that belongs to somebody else.
struct Theirs {
    folder: TempDir,
    before: Vec<(String, Vec<u8>)>,
}

impl Theirs {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secret"), SECRET).unwrap();
        let before = tree(folder.path());
        Self { folder, before }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Nothing in it was written, nothing of it was copied to `root`.
    #[track_caller]
    fn is_untouched(&self, root: &Path) {
        assert_eq!(names(&tree(self.path())), names(&self.before));
        assert!(tree(self.path()) == self.before, "a file of theirs was changed");
        for entry in walkdir::WalkDir::new(root).into_iter().map(Result::unwrap) {
            if entry.file_type().is_file() {
                let text = fs::read(entry.path()).unwrap();
                let found = text.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
                assert!(!found, "{} discloses it", entry.path().display());
            }
        }
    }
}

fn names(files: &[(String, Vec<u8>)]) -> Vec<&String> {
    files.iter().map(|(name, _)| name).collect()
}
