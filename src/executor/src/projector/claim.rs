//! The lock of a folder of logs, which names the one database whose logs these are.

use crate::archive::place;
use runchain_core::error::{Error, Result};
use runchain_core::liveness::FileLock;
use std::path::Path;
use std::time::Duration;

/// Locks the folder and makes sure that it belongs to this database.
pub(crate) fn claim(folder: &Path, uuid: &str) -> Result<FileLock> {
    place::ensure_folder(folder)?;
    let path = folder.join(".runchain.lock");
    let Some(mut lock) = acquire(&path)? else {
        return Err(Error::refused(
            format!("another process writes the logs in {}", folder.display()),
            format!(
                "end it, or name another folder for the logs (its lock is {})",
                path.display()
            ),
        ));
    };
    let owner = lock.read()?;
    match owner.trim() {
        "" => lock.write(&format!("{uuid}\n"))?,
        owner if owner == uuid => {}
        owner => {
            return Err(Error::other_identity(
                format!(
                    "the logs in {} belong to database {owner}, this one is {uuid}",
                    folder.display()
                ),
                format!(
                    "name another folder for the logs; where this database has replaced the other for good, remove {}",
                    path.display()
                ),
            ));
        }
    }
    Ok(lock)
}

/// A leader that has just died may hold the folder a moment longer than the lead.
fn acquire(path: &Path) -> Result<Option<FileLock>> {
    const TRIES: u32 = 25;
    const PAUSE: Duration = Duration::from_millis(20);
    for _ in 1..TRIES {
        if let Some(lock) = FileLock::try_acquire(path)? {
            return Ok(Some(lock));
        }
        std::thread::sleep(PAUSE);
    }
    FileLock::try_acquire(path)
}
