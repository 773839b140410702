//! BagIt (RFC 8493): writing a bag into an empty folder, and checking one against its manifests.
//!
//! Invariant: the same payload of the same end gives the same bytes; the only date in a bag is the
//! run's own. What does not belong here: where bags stand, and what goes into one.

use super::Ended;
use super::collect::Payload;
use super::digest::{Hasher, hex, sha256};
use super::files::{Candidate, Copied, Search};
use super::name::tag_value;
use crate::folder::Folder;
use runchain_core::error::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

const DECLARATION: &str = "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n";
pub(super) const INFO: &str = "bag-info.txt";
pub(super) const MANIFEST: &str = "manifest-sha256.txt";
pub(super) const TAG_MANIFEST: &str = "tagmanifest-sha256.txt";
/// More than this is no `bag-info.txt` of ours.
const INFO_MAX_BYTES: u64 = 64 << 10;
/// More than this is no manifest of ours: a million files.
pub(super) const MANIFEST_MAX_BYTES: u64 = 256 << 20;

/// A complete bag, as its writer or its reader saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verified {
    /// SHA-256 of `tagmanifest-sha256.txt`, which covers everything else: `sha256:...`.
    pub digest: String,
    /// Bytes of all files of the bag.
    pub size_bytes: u64,
    /// Files below `data/`.
    pub payload_files: usize,
}

/// Whose bag it is: what two bags of the same run have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    /// `External-Identifier`, escaped.
    pub(super) run: String,
    /// `Runchain-Database`.
    pub(super) database_uuid: String,
}

/// Writes payload files and remembers what the manifests need.
pub(super) struct Writer {
    root: Folder,
    manifest: BTreeMap<String, String>,
    payload_bytes: u64,
    open: Option<OpenFile>,
}

struct OpenFile {
    name: String,
    path: PathBuf,
    file: BufWriter<File>,
    hasher: Hasher,
    size_bytes: u64,
}

impl Writer {
    /// Begins a bag in an empty folder.
    pub(super) fn new(root: Folder) -> Self {
        Self {
            root,
            manifest: BTreeMap::new(),
            payload_bytes: 0,
            open: None,
        }
    }

    /// Writes the tag files and brings everything to the disk.
    pub(super) fn seal(self, run: &Ended<'_>, owner: &Owner) -> Result<Verified> {
        let listed = |files: &BTreeMap<String, String>| -> String {
            files
                .iter()
                .map(|(name, digest)| format!("{digest}  {name}\n"))
                .collect()
        };
        let info = format!(
            "Bag-Software-Agent: runchain\n\
             Bagging-Date: {date}\n\
             External-Identifier: {run}\n\
             Payload-Oxum: {bytes}.{files}\n\
             Runchain-Database: {database}\n\
             Runchain-Ended-At: {ended}\n\
             Runchain-Generation: {generation}\n\
             Runchain-Phase: {phase}\n\
             Runchain-Status: {status}\n",
            date = &run.ended_at.iso()[..10],
            run = owner.run,
            bytes = self.payload_bytes,
            files = self.manifest.len(),
            database = owner.database_uuid,
            ended = run.ended_at.iso(),
            generation = run.generation,
            phase = tag_value(&run.phase),
            status = tag_value(run.status.as_deref().unwrap_or_default()),
        );
        let mut tags = BTreeMap::new();
        let mut size_bytes = self.payload_bytes;
        let mut tag = |name: &str, text: &str| -> Result<String> {
            write_synced(&self.root, name, text.as_bytes())?;
            size_bytes += text.len() as u64;
            Ok(hex(&sha256(text.as_bytes())))
        };
        for (name, text) in [
            ("bagit.txt", DECLARATION),
            (INFO, info.as_str()),
            (MANIFEST, listed(&self.manifest).as_str()),
        ] {
            tags.insert(name.to_owned(), tag(name, text)?);
        }
        let digest = tag(TAG_MANIFEST, &listed(&tags))?;
        sync_folders(self.root.path())?;
        Ok(Verified {
            digest: format!("sha256:{digest}"),
            size_bytes,
            payload_files: self.manifest.len(),
        })
    }

    fn open_file(&mut self) -> Result<&mut OpenFile> {
        let root = self.root.path();
        self.open.as_mut().ok_or_else(|| {
            Error::refused(
                format!("no payload file is open in {}", root.display()),
                "report this as a bug",
            )
        })
    }
}

impl Payload for Writer {
    fn begin(&mut self, name: &str) -> Result<()> {
        let path = self.root.path().join(name);
        let file = self
            .root
            .create_file(Path::new(name))
            .map_err(|error| Error::io("create", &path, error))?;
        self.open = Some(OpenFile {
            name: name.to_owned(),
            path,
            file: BufWriter::new(file),
            hasher: Hasher::default(),
            size_bytes: 0,
        });
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let open = self.open_file()?;
        open.hasher.update(bytes);
        open.size_bytes += bytes.len() as u64;
        open.file
            .write_all(bytes)
            .map_err(|error| Error::io("write", &open.path, error))
    }

    fn end(&mut self) -> Result<()> {
        self.open_file()?;
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        open.file
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)
            .and_then(|file| file.sync_all())
            .map_err(|error| Error::io("write", &open.path, error))?;
        self.payload_bytes += open.size_bytes;
        self.manifest.insert(open.name, open.hasher.finish());
        Ok(())
    }

    fn file(&mut self, name: &str, found: &Candidate, search: &Search<'_>) -> Result<(u64, Copied)> {
        self.begin(name)?;
        let copied = search.copy(found, &mut |bytes| self.write(bytes))?;
        if copied == Copied::Gone {
            self.open = None;
            self.root
                .remove_file(Path::new(name))
                .map_err(|error| Error::io("remove", self.root.path().join(name), error))?;
            return Ok((0, copied));
        }
        let size_bytes = self.open_file()?.size_bytes;
        self.end()?;
        Ok((size_bytes, copied))
    }
}

/// Checks a bag: every file listed with its digest, nothing unlisted below `data/`, and the number
/// of bytes and files that `Payload-Oxum` promises.
///
/// # Errors
/// A refusal that names the first file that is wrong; I/O errors.
pub(crate) fn verify(bag_dir: &Path) -> Result<Verified> {
    verify_in(&open(bag_dir)?)
}

/// The same of a bag that is open.
pub(super) fn verify_in(bag: &Folder) -> Result<Verified> {
    let bag_dir = bag.path();
    let damaged = |what: String| damaged(bag, &what);
    let tag_manifest = read_text(bag, TAG_MANIFEST, MANIFEST_MAX_BYTES)
        .map_err(|error| damage_of(bag, TAG_MANIFEST, error))?;
    let mut size_bytes = tag_manifest.len() as u64;
    let tags =
        parse_manifest(&tag_manifest).ok_or_else(|| damaged(format!("{TAG_MANIFEST} can't be read")))?;
    for name in ["bagit.txt", INFO, MANIFEST] {
        if !tags.contains_key(name) {
            return Err(damaged(format!("{TAG_MANIFEST} doesn't list {name}")));
        }
    }
    let manifest =
        read_text(bag, MANIFEST, MANIFEST_MAX_BYTES).map_err(|error| damage_of(bag, MANIFEST, error))?;
    let manifest = parse_manifest(&manifest).ok_or_else(|| damaged(format!("{MANIFEST} can't be read")))?;
    let mut payload_bytes = 0;
    for (name, digest) in tags.iter().chain(&manifest) {
        let read = hash_file(bag, name).map_err(|error| damage_of(bag, name, error))?;
        if read.digest != *digest {
            return Err(damaged(format!("{name} is not what the manifest says")));
        }
        size_bytes += read.size_bytes;
        if manifest.contains_key(name) {
            payload_bytes += read.size_bytes;
        }
    }
    let listed: BTreeSet<PathBuf> = manifest.keys().map(|name| bag_dir.join(name)).collect();
    for entry in WalkDir::new(bag_dir.join("data")) {
        let entry = entry.map_err(|error| Error::io("look through", bag_dir, error.into()))?;
        if !entry.file_type().is_dir() && !listed.contains(entry.path()) {
            return Err(damaged(format!("{} is in no manifest", entry.path().display())));
        }
    }
    let oxum = format!("{payload_bytes}.{}", manifest.len());
    if info_value(&read_info(bag)?, "Payload-Oxum") != Some(&oxum) {
        return Err(damaged(format!("its payload is {oxum}, not its Payload-Oxum")));
    }
    Ok(Verified {
        digest: format!("sha256:{}", hex(&sha256(tag_manifest.as_bytes()))),
        size_bytes,
        payload_files: manifest.len(),
    })
}

fn damaged(bag: &Folder, what: &str) -> Error {
    Error::refused(
        format!("the bag {} is damaged: {what}", bag.path().display()),
        "move it aside and archive the run again",
    )
}

/// A file that is gone, or is no plain file any more, is damage of the bag. That the disk fails, or that
/// somebody may not read, is not.
fn damage_of(bag: &Folder, name: &str, error: Error) -> Error {
    let Error::Io { source, .. } = &error else {
        return error;
    };
    match source.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => damaged(bag, &format!("{name} is not there")),
        ErrorKind::InvalidInput | ErrorKind::InvalidData => damaged(bag, &format!("{name}: {source}")),
        _ => error,
    }
}

/// Owner and generation of the bag that stands in a folder, by its `bag-info.txt`; `None` when that
/// is none of ours.
pub(super) fn owner_of(bag: &Folder) -> Option<(Owner, String)> {
    let info = read_info(bag).ok()?;
    let owner = Owner {
        run: info_value(&info, "External-Identifier")?.to_owned(),
        database_uuid: info_value(&info, "Runchain-Database")?.to_owned(),
    };
    let generation = info_value(&info, "Runchain-Generation")?;
    let digits = !generation.is_empty() && generation.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| (owner, generation.to_owned()))
}

/// SHA-256 of the tag manifest as it stands, without looking at what it lists: `sha256:...`.
///
/// # Errors
/// A refusal where the bag has lost it; I/O errors.
pub(super) fn digest_of(bag: &Folder) -> Result<String> {
    let read = hash_file(bag, TAG_MANIFEST).map_err(|error| damage_of(bag, TAG_MANIFEST, error))?;
    Ok(format!("sha256:{}", read.digest))
}

/// The same of a bag at a path.
pub(crate) fn digest_at(bag_dir: &Path) -> Result<String> {
    digest_of(&open(bag_dir)?)
}

pub(super) fn open(bag_dir: &Path) -> Result<Folder> {
    Folder::open(bag_dir).map_err(|error| Error::io("open the bag", bag_dir, error))
}

pub(super) fn info_value<'a>(info: &'a str, label: &str) -> Option<&'a str> {
    info.lines()
        .find_map(|line| line.strip_prefix(label)?.strip_prefix(": "))
}

pub(super) fn read_info(bag: &Folder) -> Result<String> {
    read_text(bag, INFO, INFO_MAX_BYTES)
}

pub(super) fn read_text(bag: &Folder, name: &str, max_bytes: u64) -> Result<String> {
    let mut text = String::new();
    open_file(bag, name)?
        .take(max_bytes)
        .read_to_string(&mut text)
        .map_err(|error| Error::io("read", bag.path().join(name), error))?;
    Ok(text)
}

/// A symlink, also on the way, or a pipe in place of a file is damage, and a pipe must not hold us up.
fn open_file(bag: &Folder, name: &str) -> Result<File> {
    bag.open_file(Path::new(name), |_| Ok(()))
        .map_err(|error| Error::io("read", bag.path().join(name), error))
}

/// Lines of `digest  name`; a name that leaves the bag makes the whole manifest unreadable.
pub(super) fn parse_manifest(text: &str) -> Option<BTreeMap<String, String>> {
    text.lines()
        .map(|line| {
            let (digest, name) = line.split_once("  ")?;
            let inside = Path::new(name)
                .components()
                .all(|part| matches!(part, std::path::Component::Normal(_)));
            (inside && !name.is_empty()).then(|| (name.to_owned(), digest.to_owned()))
        })
        .collect()
}

pub(super) struct Hashed {
    pub(super) digest: String,
    pub(super) size_bytes: u64,
}

pub(super) fn hash_file(bag: &Folder, name: &str) -> Result<Hashed> {
    let mut file = open_file(bag, name)?;
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 64 << 10];
    let mut size_bytes = 0;
    loop {
        let read = file
            .read(&mut buffer)
            .map_err(|error| Error::io("read", bag.path().join(name), error))?;
        if read == 0 {
            return Ok(Hashed {
                digest: hasher.finish(),
                size_bytes,
            });
        }
        hasher.update(&buffer[..read]);
        size_bytes += read as u64;
    }
}

fn write_synced(bag: &Folder, name: &str, bytes: &[u8]) -> Result<()> {
    bag.create_file(Path::new(name))
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .map_err(|error| Error::io("write", bag.path().join(name), error))
}

/// Brings every folder of a tree to the disk, the deepest first.
fn sync_folders(root: &Path) -> Result<()> {
    for entry in WalkDir::new(root).contents_first(true) {
        let entry = entry.map_err(|error| Error::io("look through", root, error.into()))?;
        if entry.file_type().is_dir() {
            super::place::sync_folder(entry.path())?;
        }
    }
    Ok(())
}
