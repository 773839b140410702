//! Bags and reports that a row names, found by the run's folder name and removed.
//!
//! A bag goes only if it says itself that it is of this run and this database, and if its digest is
//! the one on record: what somebody else put in its place stays.

use crate::archive::{self, folder_name};
use crate::config::Settings;
use crate::folder::Folder;
use crate::report::INDEX;
use runchain_core::RunId;
use runchain_core::error::{During, Error, Result};
use runchain_core::retention::Kind;
use rusqlite::Connection;
use rusqlite::types::Value;
use rustix::fs::FileType;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Endings of the files that a report consists of, after the run's folder name.
const REPORTS: [&str; 4] = ["_summary.json", "_metrics.json", "_report.html", ".html"];

/// Where a database's files stand.
#[derive(Debug)]
pub(crate) struct Folders {
    archive_dir: PathBuf,
    reports_dir: PathBuf,
    database_uuid: String,
}

impl Folders {
    /// As configured.
    pub(crate) fn of(settings: &Settings, database_uuid: String) -> Self {
        Self {
            archive_dir: settings.archive_dir.clone(),
            reports_dir: settings.reports_dir.clone(),
            database_uuid,
        }
    }

    /// Bytes of a run's reports; `None` when it has none.
    pub(super) fn size_of_reports(&self, key: &Value) -> Option<u64> {
        let run_id = RunId::from_value(key)?;
        let sizes = files_of(&self.reports_dir, &run_id).filter_map(|path| {
            let found = std::fs::symlink_metadata(path).ok()?;
            found.is_file().then_some(found.len())
        });
        sizes.fold(None, |sum, size| Some(sum.unwrap_or(0) + size))
    }
}

/// The names that a run's reports have.
pub(crate) fn files_of(reports_dir: &Path, run_id: &RunId) -> impl Iterator<Item = PathBuf> {
    let folder = folder_name(run_id);
    REPORTS
        .map(|ending| format!("{folder}{ending}"))
        .into_iter()
        .filter(|name| !name.eq_ignore_ascii_case(INDEX))
        .map(|name| reports_dir.join(name))
}

/// Removes the files that a row names.
pub(super) fn remove(conn: &Connection, kind: Kind, key: &Value, folders: &Folders) -> Result<()> {
    if kind == Kind::Reports {
        let Some(run_id) = RunId::from_value(key) else {
            return Ok(());
        };
        return remove_files(files_of(&folders.reports_dir, &run_id));
    }
    let (run_id, generation, digest): (RunId, i64, String) = conn
        .query_row(
            "SELECT run_id, generation, digest FROM archival_log WHERE id = ?1",
            [key],
            |row| row.try_into(),
        )
        .during("read where a bag stands")?;
    let folder = folder_name(&run_id);
    let short = digest
        .trim_start_matches("sha256:")
        .get(..8)
        .unwrap_or("damaged0");
    let aside = format!("{folder}~g{generation}-{short}");
    for name in [folder, aside] {
        let place = folders.archive_dir.join(name);
        if archive::is_bag_of(&place, &run_id, &folders.database_uuid)
            && archive::digest_at(&place).is_ok_and(|found| found == digest)
        {
            archive::remove_bag(&place)?;
        }
    }
    Ok(())
}

/// Removes plain files that may not be there, from folders that are no symlinks.
pub(crate) fn remove_files(paths: impl Iterator<Item = PathBuf>) -> Result<()> {
    for path in paths {
        match remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            removed => removed.map_err(|error| Error::io("remove", &path, error))?,
        }
    }
    Ok(())
}

fn remove_file(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(OsStr::to_str)) else {
        return Err(ErrorKind::InvalidInput.into());
    };
    let folder = Folder::open(parent)?;
    if folder.kind(name)? == FileType::RegularFile {
        folder.remove_file(Path::new(name))?;
    }
    Ok(())
}
