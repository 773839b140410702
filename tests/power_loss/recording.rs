//! What programs did to the files below one folder, as `tests/shim/disk.c` wrote it down.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file by its number in a recording. Inodes are used again, these are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Inode(pub(super) u64);

/// One change, in the order in which it happened.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Write {
        inode: Inode,
        offset: usize,
        bytes: Vec<u8>,
    },
    Resize {
        inode: Inode,
        length: usize,
    },
    SyncFile {
        inode: Inode,
    },
    SyncFolder {
        path: PathBuf,
    },
    Create {
        inode: Inode,
        path: PathBuf,
    },
    MakeFolder {
        path: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Exchange {
        one: PathBuf,
        other: PathBuf,
    },
    Remove {
        path: PathBuf,
    },
}

/// The folder before anything was recorded, which counts as durable.
#[derive(Debug)]
pub(super) struct Before {
    pub(super) folders: Vec<PathBuf>,
    pub(super) files: Vec<(PathBuf, Inode, Vec<u8>)>,
}

impl Before {
    pub(super) fn of(root: &Path) -> Self {
        let mut before = Self {
            folders: Vec::new(),
            files: Vec::new(),
        };
        for entry in walkdir::WalkDir::new(root).into_iter().map(Result::unwrap) {
            let path = entry.path().to_owned();
            if entry.file_type().is_dir() {
                before.folders.push(path);
            } else if !is_shared_memory(&path) {
                let inode = Inode(entry.metadata().unwrap().ino());
                let bytes = fs::read(&path).unwrap();
                before.files.push((path, inode, bytes));
            }
        }
        before
    }
}

/// A `-shm` file doesn't outlive the power: SQLite makes it anew.
pub(super) fn is_shared_memory(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"-shm")
}

/// Reads a journal whole.
pub(super) fn read(journal: &Path) -> Vec<Change> {
    let bytes = fs::read(journal).unwrap();
    let mut rest = bytes.as_slice();
    let mut changes = Vec::new();
    while !rest.is_empty() {
        changes.push(next(&mut rest));
    }
    changes
}

fn next(rest: &mut &[u8]) -> Change {
    let kind = char::from_u32(number(rest, 4) as u32).unwrap();
    let name_bytes = number(rest, 4);
    let other_bytes = number(rest, 4);
    let data_bytes = number(rest, 4);
    let inode = Inode(number(rest, 8) as u64);
    let offset = number(rest, 8);
    let path = path_from(take(rest, name_bytes));
    let other = path_from(take(rest, other_bytes));
    let bytes = take(rest, data_bytes).to_vec();
    match kind {
        'W' => Change::Write { inode, offset, bytes },
        'T' => Change::Resize {
            inode,
            length: offset,
        },
        'S' => Change::SyncFile { inode },
        'D' => Change::SyncFolder { path },
        'C' => Change::Create { inode, path },
        'M' => Change::MakeFolder { path },
        'R' => Change::Rename {
            from: path,
            to: other,
        },
        'X' => Change::Exchange { one: path, other },
        'U' => Change::Remove { path },
        kind => panic!("a record of kind {kind:?}"),
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at(count);
    *rest = left;
    taken
}

fn number(rest: &mut &[u8], width: usize) -> usize {
    let digits = take(rest, width);
    let number = digits
        .iter()
        .rev()
        .fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte));
    usize::try_from(number).unwrap()
}

/// Without `.` and doubled slashes.
fn path_from(bytes: &[u8]) -> PathBuf {
    Path::new(std::str::from_utf8(bytes).unwrap())
        .components()
        .collect()
}
