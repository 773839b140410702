//! Bags that stand in the archive folder and have no row in `archival_log`: who placed one was killed, or
//! lost its step, before it was settled.
//!
//! Only looking belongs here; the row is written by who holds the database's lock.

use super::{bag, bags_of, parts, place};
use runchain_core::RunId;
use runchain_core::error::{Error, Result};
use runchain_core::steps::{self, Archival, BagBeside};
use rusqlite::Connection;
use std::path::Path;

/// The whole bags of a run without a row, but for the one at `newest`. A damaged one is for a person to
/// look at.
///
/// # Errors
/// Whatever SQLite and the file system answer.
pub(crate) fn unlogged(
    conn: &Connection,
    archive_dir: &Path,
    run_id: &RunId,
    database_uuid: &str,
    newest: Option<&Path>,
) -> Result<Vec<BagBeside>> {
    let mut found = Vec::new();
    for path in bags_of(archive_dir, run_id, database_uuid)? {
        if Some(path.as_path()) == newest {
            continue;
        }
        let digest = match bag::digest_at(&path) {
            // Without its tag manifest it is damaged, and keeps nothing else from its row.
            Err(Error::Refused { .. }) => continue,
            digest => digest?,
        };
        // To verify one reads all of it: not for those that have their row.
        if steps::lacks_row(conn, run_id, &digest)? {
            found.extend(whole(&path));
        }
    }
    Ok(found)
}

fn whole(path: &Path) -> Option<BagBeside> {
    let (archive_dir, name) = parts(path).ok()?;
    let bag = place::open_bag(&place::open_folder(archive_dir).ok()?, name).ok()?;
    let generation = bag::owner_of(&bag)?.1.parse().ok()?;
    let verified = bag::verify_in(&bag).ok()?;
    Some(BagBeside {
        generation,
        archival: Archival {
            archive_path: path.to_string_lossy().into_owned(),
            size_bytes: i64::try_from(verified.size_bytes).unwrap_or(i64::MAX),
            digest: verified.digest,
            unchanged: true,
        },
    })
}
