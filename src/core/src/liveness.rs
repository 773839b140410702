//! Who works on a database, told by `flock` on a file beside it.
//!
//! The one executor that holds [`Leadership`] expands, monitors and projects; anybody else asks
//! [`executor_alive`]. The kernel drops the lock with its process, however that ends, so there is
//! no timeout to choose and no clock to trust. `flock` belongs to an open file description: two
//! opens conflict even inside one process, and no other descriptor that is closed can drop it.
//!
//! What does not belong here: the database file itself. Opening and closing it would drop the locks
//! that SQLite holds on it; it is only ever named here.

use crate::error::{Error, Result};
use rustix::fs::{FlockOperation, Gid, Mode, OFlags, Uid, fchmod, fchown, flock};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// How often a lock is tried while others only look at it. A look lasts microseconds.
const TRIES: usize = 200;
/// A lock file holds one short line; nobody makes us read more.
const CONTENT_LIMIT_BYTES: u64 = 1024;

/// The lock file of a database: its real path, as SQLite itself resolves it, and a suffix.
#[must_use]
pub fn lock_path(db: &Path) -> PathBuf {
    let mut path = std::fs::canonicalize(db)
        .unwrap_or_else(|_| db.to_owned())
        .into_os_string();
    path.push(".runchain-lock");
    path.into()
}

/// The right to work on a database, until it is dropped.
#[derive(Debug)]
pub struct Leadership {
    lock: FileLock,
}

impl Leadership {
    /// Takes the lead, or `None` when another executor has it. The lock file is created where it is
    /// missing, says who holds it (`who` is the executor's id), and is kept afterwards: removing it
    /// would let two lock two files of one name.
    ///
    /// # Errors
    /// When the lock file can't be created, locked or written.
    pub fn try_acquire(db: &Path, who: &str) -> Result<Option<Self>> {
        let Some(mut lock) = FileLock::try_acquire(&lock_path(db))? else {
            return Ok(None);
        };
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        lock.write(&format!("executor {who}, pid {} on {host}\n", std::process::id()))?;
        lock.share_like(db);
        Ok(Some(Self { lock }))
    }

    /// The lock file.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.lock.path()
    }

    /// Whether the lock file is still the one that is locked. When somebody removed it, another
    /// executor may have taken the lead already: stop.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.lock.is_current()
    }
}

/// Whether an executor works on a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Liveness {
    /// One does.
    Alive {
        /// What it wrote into the lock file, control characters escaped.
        who: String,
    },
    /// None does.
    Dead,
    /// It can't be told, for this reason.
    Unknown(String),
}

/// Looks whether an executor works on the database. Creates nothing and holds nothing afterwards.
#[must_use]
pub fn executor_alive(db: &Path) -> Liveness {
    if db.as_os_str().is_empty() {
        return Liveness::Unknown("the database is not a file".into());
    }
    let path = lock_path(db);
    let unknown = |operation: &str, error: std::io::Error| {
        Liveness::Unknown(format!("{operation} {}: {error}", path.display()))
    };
    let mut file = match no_symlink(OpenOptions::new().read(true)).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Liveness::Dead,
        Err(error) => return unknown("open", error),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            unlock(&file);
            Liveness::Dead
        }
        Err(Errno::WOULDBLOCK) => match read_content(&mut file) {
            Ok(text) => Liveness::Alive {
                who: text.trim_end().chars().flat_map(visible).collect(),
            },
            Err(error) => unknown("read", error),
        },
        Err(errno) => unknown("test the lock on", errno.into()),
    }
}

/// An exclusive lock on a small file with a line of text, until it is dropped.
#[derive(Debug)]
pub struct FileLock {
    path: PathBuf,
    file: File,
}

impl FileLock {
    /// Locks the file, created where it is missing; `None` when somebody else holds it. Symlinks are
    /// refused.
    ///
    /// # Errors
    /// When the file can't be opened or locked.
    pub fn try_acquire(path: &Path) -> Result<Option<Self>> {
        for _ in 0..TRIES {
            let file = no_symlink(
                OpenOptions::new()
                    .read(true)
                    .write(true)
                    .create(true)
                    .truncate(false),
            )
            .open(path)
            .map_err(|source| Error::io("open the lock file", path, source))?;
            let lock = Self {
                path: path.to_owned(),
                file,
            };
            if lock.lock_exclusively()? {
                // Between open and lock the file may have been removed: that lock excludes nobody.
                if lock.is_current() {
                    return Ok(Some(lock));
                }
            } else if !lock.only_looked_at()? {
                return Ok(None);
            }
            std::thread::yield_now();
        }
        Ok(None)
    }

    /// The locked file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still names the file that is locked.
    #[must_use]
    pub fn is_current(&self) -> bool {
        match (std::fs::symlink_metadata(&self.path), self.file.metadata()) {
            (Ok(named), Ok(held)) => (named.dev(), named.ino()) == (held.dev(), held.ino()),
            _ => false,
        }
    }

    /// The file's text.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn read(&mut self) -> Result<String> {
        read_content(&mut self.file).map_err(|source| Error::io("read the lock file", &self.path, source))
    }

    /// Replaces the file's text, durably.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write(&mut self, text: &str) -> Result<()> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .and_then(|_| self.file.write_all(text.as_bytes()))
            .and_then(|()| self.file.sync_all())
            .map_err(|source| Error::io("write the lock file", &self.path, source))
    }

    /// Whoever may write the database may lock this file, whoever made it and with whatever umask. It is
    /// not ours to change where another user made it; then it is as that user left it.
    fn share_like(&self, db: &Path) {
        let Ok(database) = std::fs::metadata(db) else {
            return;
        };
        let _ = fchmod(&self.file, Mode::from_raw_mode(database.mode() & 0o666));
        if rustix::process::geteuid().is_root() {
            let owner = (Uid::from_raw(database.uid()), Gid::from_raw(database.gid()));
            let _ = fchown(&self.file, Some(owner.0), Some(owner.1));
        }
    }

    fn lock_exclusively(&self) -> Result<bool> {
        self.attempt(FlockOperation::NonBlockingLockExclusive)
    }

    /// Who looks takes a shared lock for a moment. Where another shared lock succeeds there is no
    /// holder, so the exclusive one is worth another try.
    fn only_looked_at(&self) -> Result<bool> {
        self.attempt(FlockOperation::NonBlockingLockShared)
    }

    fn attempt(&self, operation: FlockOperation) -> Result<bool> {
        match flock(&self.file, operation) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(errno) => Err(Error::io("lock", &self.path, errno.into())),
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        unlock(&self.file);
    }
}

/// Closing isn't enough: a child that another thread is just starting holds a copy of the
/// descriptor until it executes its program. Unlocking acts on all copies. It can't fail on a
/// descriptor that holds the lock, and the close that follows would mend it.
fn unlock(file: &File) {
    let _ = flock(file, FlockOperation::Unlock);
}

fn no_symlink(options: &mut OpenOptions) -> &mut OpenOptions {
    // NONBLOCK: a FIFO of that name must not hold us.
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
}

fn read_content(file: &mut File) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(CONTENT_LIMIT_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn visible(character: char) -> Vec<char> {
    if character.is_control() {
        character.escape_default().collect()
    } else {
        vec![character]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};

    const CHILD_DB: &str = "RUNCHAIN_TEST_LEADERSHIP_DB";

    /// Not a test by itself: the other process of the tests below. Holds the lead until it is ended.
    #[test]
    fn child_that_leads() {
        let Some(db) = std::env::var_os(CHILD_DB) else {
            return;
        };
        let _lead = Leadership::try_acquire(Path::new(&db), "child").unwrap().unwrap();
        println!("leading");
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
    }

    fn spawn_leader(db: &Path) -> Child {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "liveness::tests::child_that_leads", "--nocapture"])
            .env(CHILD_DB, db)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("leading")));
        child
    }

    #[test]
    fn when_the_executor_is_killed_others_can_tell_and_take_the_lead() {
        let folder = tempfile::tempdir().unwrap();
        let db = folder.path().join("state.db");
        let mut child = spawn_leader(&db);
        let Liveness::Alive { who } = executor_alive(&db) else {
            panic!("a child leads, yet {:?}", executor_alive(&db));
        };
        assert!(
            who.starts_with(&format!("executor child, pid {} on ", child.id())),
            "{who}"
        );
        assert!(Leadership::try_acquire(&db, "second").unwrap().is_none());

        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(executor_alive(&db), Liveness::Dead);
        assert!(Leadership::try_acquire(&db, "second").unwrap().is_some());
    }

    #[test]
    fn two_in_one_process_conflict_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let db = folder.path().join("state.db");
        let lead = Leadership::try_acquire(&db, "one").unwrap().unwrap();
        assert!(Leadership::try_acquire(&db, "two").unwrap().is_none());
        assert!(matches!(executor_alive(&db), Liveness::Alive { .. }));
        drop(lead);
        assert_eq!(executor_alive(&db), Liveness::Dead);
        assert!(lock_path(&db).exists(), "the lock file is kept");
    }

    #[test]
    fn looking_creates_nothing_and_opens_no_database() {
        let folder = tempfile::tempdir().unwrap();
        let db = folder.path().join("state.db");
        assert_eq!(executor_alive(&db), Liveness::Dead);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(matches!(executor_alive(Path::new("")), Liveness::Unknown(_)));
    }

    #[test]
    fn who_looks_does_not_keep_anybody_from_leading() {
        let folder = tempfile::tempdir().unwrap();
        let db = folder.path().join("state.db");
        drop(Leadership::try_acquire(&db, "first").unwrap().unwrap());
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let _ = executor_alive(&db);
                }
            });
            for _ in 0..500 {
                let lead = Leadership::try_acquire(&db, "again").unwrap();
                if lead.is_none() {
                    done.store(true, std::sync::atomic::Ordering::Relaxed);
                }
                assert!(lead.is_some());
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }

    #[test]
    fn every_name_of_a_database_leads_to_one_lock() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("state.db");
        let link = folder.path().join("link.db");
        std::fs::write(&real, "").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let _lead = Leadership::try_acquire(&link, "one").unwrap().unwrap();
        assert!(matches!(executor_alive(&real), Liveness::Alive { .. }));
    }

    #[test]
    fn a_lock_file_that_was_removed_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let db = folder.path().join("state.db");
        let lead = Leadership::try_acquire(&db, "one").unwrap().unwrap();
        assert!(lead.is_current());
        std::fs::remove_file(lead.path()).unwrap();
        assert!(!lead.is_current());
    }

    #[test]
    fn a_symlink_in_place_of_the_lock_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let db = folder.path().join("state.db");
        let target = folder.path().join("precious");
        std::fs::write(&target, "text").unwrap();
        std::os::unix::fs::symlink(&target, lock_path(&db)).unwrap();
        assert!(Leadership::try_acquire(&db, "one").is_err());
        assert!(matches!(executor_alive(&db), Liveness::Unknown(_)));
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "text");
    }
}
