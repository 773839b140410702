//! A disk that loses its power: from a recording it makes the folder that a person would find after
//! the machine has started again. The model is in the comment of `power_loss`.

use super::recording::{Before, Change, Inode, is_shared_memory};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const SECTOR_BYTES: usize = 512;

/// A change of names, and the folders whose entries it changes.
#[derive(Debug, Clone)]
enum Naming {
    File(PathBuf, usize),
    Folder(PathBuf),
    Rename(PathBuf, PathBuf),
    Exchange(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl Naming {
    fn touches(&self, folder: &Path) -> bool {
        let in_folder = |path: &PathBuf| path.parent() == Some(folder);
        match self {
            Self::File(path, _) | Self::Folder(path) | Self::Remove(path) => in_folder(path),
            Self::Rename(one, other) | Self::Exchange(one, other) => in_folder(one) || in_folder(other),
        }
    }
}

/// What stands under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Folder,
    File(usize),
}

/// Names and what stands under them.
#[derive(Debug, Clone, Default)]
struct Names(BTreeMap<PathBuf, Entry>);

impl Names {
    fn apply(&mut self, naming: &Naming) {
        match naming {
            Naming::File(path, file) => {
                self.0.insert(path.clone(), Entry::File(*file));
            }
            Naming::Folder(path) => {
                self.0.insert(path.clone(), Entry::Folder);
            }
            Naming::Remove(path) => {
                self.0.remove(path);
            }
            Naming::Rename(from, to) => {
                self.take(to);
                for (below, entry) in self.take(from) {
                    self.0.insert(join(to, &below), entry);
                }
            }
            Naming::Exchange(one, other) => {
                let (of_one, of_other) = (self.take(one), self.take(other));
                for (below, entry) in of_one {
                    self.0.insert(join(other, &below), entry);
                }
                for (below, entry) in of_other {
                    self.0.insert(join(one, &below), entry);
                }
            }
        }
    }

    /// Takes a name and everything below it out.
    fn take(&mut self, path: &Path) -> Vec<(PathBuf, Entry)> {
        let names: Vec<PathBuf> = self
            .0
            .keys()
            .filter(|name| name.starts_with(path))
            .cloned()
            .collect();
        let taken = names.iter().map(|name| {
            (
                name.strip_prefix(path).unwrap().to_owned(),
                self.0.remove(name).unwrap(),
            )
        });
        taken.collect()
    }
}

/// `join("")` would leave a slash at the end.
fn join(path: &Path, below: &Path) -> PathBuf {
    if below.as_os_str().is_empty() {
        path.to_owned()
    } else {
        path.join(below)
    }
}

/// A change of content that no sync has covered yet.
#[derive(Debug, Clone)]
enum Pending {
    Write(usize, Vec<u8>),
    Resize(usize),
}

#[derive(Debug, Clone, Default)]
struct Content {
    durable: Vec<u8>,
    pending: Vec<Pending>,
}

impl Content {
    fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            apply(&mut self.durable, &change);
        }
    }

    /// What may be found: each unsynced change is there, is not, or is torn.
    fn found(&self, loss: &mut Loss<'_>) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for change in &self.pending {
            if let Some(kept) = loss.of(change) {
                apply(&mut bytes, &kept);
            }
        }
        bytes
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Pending) {
    match change {
        Pending::Resize(length) => bytes.resize(*length, 0),
        Pending::Write(offset, written) => {
            let end = offset + written.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*offset..end].copy_from_slice(written);
        }
    }
}

/// What happens to that which was not synced.
#[derive(Debug)]
pub(super) enum Loss<'a> {
    /// Nothing is lost: the power didn't fail.
    Nothing,
    /// Whatever was not synced.
    Everything,
    /// Each change meets its own fate.
    Random(&'a mut fastrand::Rng),
}

impl Loss<'_> {
    fn of(&mut self, change: &Pending) -> Option<Pending> {
        let random = match self {
            Self::Nothing => return Some(change.clone()),
            Self::Everything => return None,
            Self::Random(random) => random,
        };
        match (random.u8(0..3), change) {
            (0, _) => None,
            (1, Pending::Write(offset, bytes)) => {
                // The disk writes sectors: a write ends, or begins, at a boundary in its middle.
                let sectors = (offset % SECTOR_BYTES + bytes.len()) / SECTOR_BYTES;
                let boundary =
                    offset / SECTOR_BYTES * SECTOR_BYTES + random.usize(0..=sectors) * SECTOR_BYTES;
                let at = boundary.saturating_sub(*offset).min(bytes.len());
                Some(if random.bool() {
                    Pending::Write(*offset, bytes[..at].to_vec())
                } else {
                    Pending::Write(offset + at, bytes[at..].to_vec())
                })
            }
            _ => Some(change.clone()),
        }
    }

    /// How many of the changes of names are found: a prefix, not shorter than what is durable.
    fn names(&mut self, durable: usize, all: usize) -> usize {
        match self {
            Self::Nothing => all,
            Self::Everything => durable,
            Self::Random(random) => random.usize(durable..=all),
        }
    }
}

/// The disk while the recorded programs ran.
#[derive(Debug)]
pub(super) struct Disk {
    root: PathBuf,
    first: Names,
    namings: Vec<Naming>,
    durable_namings: usize,
    contents: Vec<Content>,
    by_inode: BTreeMap<Inode, usize>,
}

impl Disk {
    pub(super) fn new(root: &Path, before: &Before) -> Self {
        let mut disk = Self {
            root: root.to_owned(),
            first: Names::default(),
            namings: Vec::new(),
            durable_namings: 0,
            contents: Vec::new(),
            by_inode: BTreeMap::new(),
        };
        for folder in &before.folders {
            disk.first.0.insert(folder.clone(), Entry::Folder);
        }
        for (path, inode, bytes) in &before.files {
            let file = disk.new_file(*inode);
            disk.contents[file].durable.clone_from(bytes);
            disk.first.0.insert(path.clone(), Entry::File(file));
        }
        disk
    }

    fn new_file(&mut self, inode: Inode) -> usize {
        self.contents.push(Content::default());
        self.by_inode.insert(inode, self.contents.len() - 1);
        self.contents.len() - 1
    }

    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Write { inode, offset, bytes } => {
                self.content(*inode)
                    .pending
                    .push(Pending::Write(*offset, bytes.clone()));
            }
            Change::Resize { inode, length } => self.content(*inode).pending.push(Pending::Resize(*length)),
            Change::SyncFile { inode } => self.content(*inode).sync(),
            Change::SyncFolder { path } => {
                let last = self.namings.iter().rposition(|naming| naming.touches(path));
                self.durable_namings = self.durable_namings.max(last.map_or(0, |last| last + 1));
            }
            Change::Create { inode, path } => {
                let file = self.new_file(*inode);
                self.namings.push(Naming::File(path.clone(), file));
            }
            Change::MakeFolder { path } => self.namings.push(Naming::Folder(path.clone())),
            Change::Rename { from, to } => self.namings.push(Naming::Rename(from.clone(), to.clone())),
            Change::Exchange { one, other } => {
                self.namings.push(Naming::Exchange(one.clone(), other.clone()));
            }
            Change::Remove { path } => self.namings.push(Naming::Remove(path.clone())),
        }
    }

    fn content(&mut self, inode: Inode) -> &mut Content {
        let file = *self
            .by_inode
            .get(&inode)
            .unwrap_or_else(|| panic!("a file that nobody created: {inode:?}"));
        &mut self.contents[file]
    }

    /// What is found after `loss`, as bytes by path.
    pub(super) fn found(&self, mut loss: Loss<'_>) -> Found {
        let mut names = self.first.clone();
        let kept = loss.names(self.durable_namings, self.namings.len());
        for naming in &self.namings[..kept] {
            names.apply(naming);
        }
        let mut found = Found {
            root: self.root.clone(),
            folders: BTreeSet::new(),
            files: BTreeMap::new(),
        };
        for (path, entry) in names.0 {
            match entry {
                Entry::Folder => {
                    found.folders.insert(path);
                }
                Entry::File(_) if is_shared_memory(&path) => {}
                Entry::File(file) => {
                    found.files.insert(path, self.contents[file].found(&mut loss));
                }
            }
        }
        found
    }
}

/// What a person finds.
#[derive(Debug)]
pub(super) struct Found {
    root: PathBuf,
    folders: BTreeSet<PathBuf>,
    pub(super) files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Found {
    /// Puts it in the place of the folder that was recorded: absolute paths stay true.
    pub(super) fn put_in_place(&self) {
        fs::remove_dir_all(&self.root).unwrap();
        for folder in &self.folders {
            fs::create_dir_all(folder).unwrap();
        }
        for (path, bytes) in &self.files {
            fs::write(path, bytes).unwrap();
        }
    }
}
