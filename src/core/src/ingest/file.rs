//! Opening an event log without doing harm, and knowing it again.
//!
//! Closing *any* descriptor of a database file drops this process's locks on it, so a file is looked
//! at before it is opened, and the databases of this connection are refused. A FIFO would block, a
//! device would never end.

use crate::error::{During, Error, Result};
use rusqlite::Connection;
use rustix::fs::{FileType, Mode, OFlags, Stat};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// So much of a file's beginning identifies it, together with its inode.
pub(super) const HEAD_BYTES: usize = 1024;

/// Database files that SQLite keeps beside the main one.
const SIDE_FILES: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// An open log, as it was when it was opened.
pub(super) struct LogFile {
    file: File,
    given: PathBuf,
    /// Where it is, symbolic links resolved.
    pub(super) path: String,
    /// Inode number; SQLite has no unsigned integers, so the bits are kept.
    pub(super) inode: i64,
    /// Device number: a hint, it changes over reboots and containers.
    pub(super) device: i64,
    /// Bytes that it has now; what is appended later is for the next call.
    pub(super) size_bytes: u64,
    /// The first [`HEAD_BYTES`] bytes, fewer where the file is shorter.
    pub(super) head: Vec<u8>,
}

impl LogFile {
    /// Opens a regular file that is none of the connection's databases. It is recorded and told under
    /// `name`, where that is given: the path of a caller who has resolved it already.
    pub(super) fn open(conn: &Connection, path: &Path, name: Option<&Path>) -> Result<Self> {
        let own = database_files(conn)?;
        let given = name.unwrap_or(path);
        let file = open_checked(path, given, |stat| check(given, stat, &own))?;
        let stat =
            rustix::fs::fstat(&file).map_err(|e| Error::io("look at the event log", given, e.into()))?;
        let resolved = match name {
            Some(name) => name.to_path_buf(),
            None => path.canonicalize().unwrap_or_else(|_| path.to_path_buf()),
        };
        let mut log = Self {
            file,
            given: given.to_path_buf(),
            path: resolved.to_string_lossy().into_owned(),
            inode: stat.st_ino as i64,
            device: stat.st_dev as i64,
            size_bytes: u64::try_from(stat.st_size).unwrap_or(0),
            head: Vec::new(),
        };
        log.head = log.read_head()?;
        if log.head.starts_with(b"SQLite format 3\0") {
            return Err(Error::refused(
                format!("{} is an SQLite database, no event log", given.display()),
                "name a file of JSON lines",
            ));
        }
        Ok(log)
    }

    fn read_head(&self) -> Result<Vec<u8>> {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        let limit = self.size_bytes.min(HEAD_BYTES as u64);
        (&self.file)
            .take(limit)
            .read_to_end(&mut head)
            .map_err(|source| self.failed("read the event log", source))?;
        Ok(head)
    }

    /// Bytes that it has at this moment.
    pub(super) fn size_bytes_now(&self) -> Result<u64> {
        let found = self
            .file
            .metadata()
            .map_err(|source| self.failed("look at the event log", source))?;
        Ok(found.len())
    }

    /// Another handle on the same open file, for the reader.
    pub(super) fn handle(&self) -> Result<File> {
        self.file
            .try_clone()
            .map_err(|source| self.failed("open the event log again", source))
    }

    /// The path as the caller gave it, for messages.
    pub(super) fn given(&self) -> &Path {
        &self.given
    }

    /// Hash of the first `bytes` of the file; `None` where it is shorter now.
    pub(super) fn head_sha256(&self, bytes: usize) -> Option<String> {
        self.head.get(..bytes).map(sha256)
    }

    /// At most `length` bytes that end at `end`; fewer where the file has become shorter.
    pub(super) fn read_before(&self, end: u64, length: usize) -> Result<Vec<u8>> {
        let length = usize::try_from(end).map_or(length, |end| length.min(end));
        let (mut bytes, mut got) = (vec![0; length], 0);
        while got < length {
            let at = end - (length - got) as u64;
            match self.file.read_at(&mut bytes[got..], at) {
                Ok(0) => break,
                Ok(more) => got += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(self.failed("read the event log", source)),
            }
        }
        bytes.truncate(got);
        Ok(bytes)
    }

    /// An id for an event that has none: from the file's first line, the place and the content. The
    /// first line and not the whole head, because that is still growing when a file is new; no path
    /// and no inode, so that a copy or a renamed file gives the same ids.
    pub(super) fn generated_id(&self, offset: u64, line: &[u8]) -> String {
        let mut first_line = Sha256::new();
        match self.head.iter().position(|byte| *byte == b'\n') {
            Some(end) => first_line.update(&self.head[..=end]),
            // An only line that was taken without its newline is the same line when that comes.
            None if self.head.len() < HEAD_BYTES => {
                first_line.update(&self.head);
                first_line.update(b"\n");
            }
            None => first_line.update(&self.head),
        }
        let digest = Sha256::new()
            .chain_update(first_line.finalize())
            .chain_update(offset.to_le_bytes())
            .chain_update(line)
            .finalize();
        format!("gen-{}", hex(&digest[..16]))
    }

    fn failed(&self, operation: &'static str, source: io::Error) -> Error {
        Error::io(operation, &self.given, source)
    }
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String can't fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// A file of a database that this connection has open.
struct OwnFile {
    path: String,
    stat: Stat,
}

fn database_files(conn: &Connection) -> Result<Vec<OwnFile>> {
    let mut statement = conn
        .prepare_cached("PRAGMA database_list")
        .during("list the open databases")?;
    let files: Vec<Option<String>> = statement
        .query_map([], |row| row.get(2))
        .and_then(Iterator::collect)
        .during("list the open databases")?;
    let paths = files
        .into_iter()
        .flatten()
        .filter(|file| !file.is_empty())
        .flat_map(|file| SIDE_FILES.map(|suffix| format!("{file}{suffix}")));
    Ok(paths
        .filter_map(|path| {
            let stat = rustix::fs::stat(&path).ok()?;
            Some(OwnFile { path, stat })
        })
        .collect())
}

fn check(path: &Path, stat: &Stat, own: &[OwnFile]) -> Result<()> {
    if let Some(file) = own
        .iter()
        .find(|file| file.stat.st_ino == stat.st_ino && file.stat.st_dev == stat.st_dev)
    {
        return Err(Error::refused(
            format!("{} is a file of this database ({})", path.display(), file.path),
            "name an event log",
        ));
    }
    let what = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return refuse_other_database(path),
        FileType::Directory => "a folder",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "not a regular file",
    };
    Err(Error::refused(
        format!("{} is {what}, no event log", path.display()),
        "name a regular file of JSON lines",
    ))
}

/// Another connection of this process may have another database open, and would lose its locks just
/// as ours would. While a database is in use one of its companions stands beside it.
fn refuse_other_database(path: &Path) -> Result<()> {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let name = real.as_os_str().as_encoded_bytes();
    let companions = &SIDE_FILES[1..];
    let beside = |suffix: &&str| {
        let mut other = real.clone().into_os_string();
        other.push(suffix);
        rustix::fs::lstat(PathBuf::from(other)).is_ok()
    };
    let is_companion = companions.iter().any(|suffix| name.ends_with(suffix.as_bytes()));
    if !is_companion && !companions.iter().any(beside) {
        return Ok(());
    }
    Err(Error::refused(
        format!("{} is a file of an SQLite database, no event log", path.display()),
        "name a file of JSON lines",
    ))
}

fn cannot_open(path: &Path, error: rustix::io::Errno) -> Error {
    if error == rustix::io::Errno::NOENT {
        return Error::refused(
            format!("there is no event log {}", path.display()),
            "name a file that exists; a relative path starts at this process's working folder",
        );
    }
    Error::io("open the event log", path, error.into())
}

const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// O_PATH names the file without opening it; what is then opened through /proc is what was checked,
/// whatever happens to the path in between.
#[cfg(target_os = "linux")]
fn open_checked(path: &Path, given: &Path, check: impl Fn(&Stat) -> Result<()>) -> Result<File> {
    use std::os::fd::AsRawFd as _;
    let named: OwnedFd = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| cannot_open(given, error))?;
    let stat = rustix::fs::fstat(&named).map_err(|error| cannot_open(given, error))?;
    check(&stat)?;
    let through = format!("/proc/self/fd/{}", named.as_raw_fd());
    match rustix::fs::open(through.as_str(), READ, Mode::empty()) {
        Ok(file) => Ok(File::from(file)),
        // No /proc here.
        Err(rustix::io::Errno::NOENT) => open_same(path, given, &stat),
        Err(error) => Err(cannot_open(given, error)),
    }
}

/// Without O_PATH a moment is left between looking and opening; a file that changed in it is refused.
#[cfg(not(target_os = "linux"))]
fn open_checked(path: &Path, given: &Path, check: impl Fn(&Stat) -> Result<()>) -> Result<File> {
    let stat = rustix::fs::stat(path).map_err(|error| cannot_open(given, error))?;
    check(&stat)?;
    open_same(path, given, &stat)
}

fn open_same(path: &Path, given: &Path, wanted: &Stat) -> Result<File> {
    let file: OwnedFd =
        rustix::fs::open(path, READ, Mode::empty()).map_err(|error| cannot_open(given, error))?;
    let stat = rustix::fs::fstat(&file).map_err(|error| cannot_open(given, error))?;
    if stat.st_ino == wanted.st_ino && stat.st_dev == wanted.st_dev {
        return Ok(File::from(file));
    }
    Err(Error::refused(
        format!("{} was replaced while it was being opened", path.display()),
        "try again",
    ))
}
