//! `index.html` beside the reports: the newest runs, each with a link to its page.
//!
//! The leader writes it, from the database, after reports were generated; nobody else does, so that two
//! never write it at once. What does not belong here: the pages.

use super::page::{self, Listed};
use super::timeline::Colour;
use super::{INDEX, page_name, write_whole};
use crate::archive::{folder_name, place};
use crate::{door, output};
use runchain_core::error::{During, Error, Result};
use runchain_core::{Millis, RunId};
use rusqlite::Connection;
use std::path::Path;

/// So many runs are listed.
const LISTED: i64 = 200;

/// Writes the index anew, if it doesn't say the same already.
///
/// # Errors
/// A reports folder that is a symlink or no folder; whatever SQLite and the file system answer.
pub(crate) fn write_index(conn: &Connection, reports_dir: &Path) -> Result<()> {
    let runs = door::patiently(|| newest(conn, reports_dir))?;
    let write = || {
        let bytes = page::render_index(&runs).map_err(std::io::Error::other)?;
        let folder = place::open_folder(reports_dir).map_err(std::io::Error::other)?;
        write_whole(&folder, INDEX, &bytes, &|| true)
    };
    write().map_err(|error| Error::io("write", reports_dir.join(INDEX), error))
}

/// A name that a link can be seen and touched by, whatever the id is.
fn shown(run_id: &RunId) -> String {
    let name = output::clean(run_id.as_str());
    if name.trim().is_empty() {
        format!("'{name}'")
    } else {
        name
    }
}

fn newest(conn: &Connection, reports_dir: &Path) -> Result<Vec<Listed>> {
    let mut runs = Vec::new();
    for phase in ["completed", "failed", "cancelled"] {
        let mut statement = conn
            .prepare_cached(
                "SELECT run_id, phase_since_ms, max(phase_since_ms - first_seen_ms, 0) FROM runchain_runs
                 WHERE phase = ?1 AND generation > 0 ORDER BY phase_since_ms DESC LIMIT ?2",
            )
            .during("list the newest runs")?;
        let rows = statement
            .query_map((phase, LISTED), |row| {
                let (run_id, ended, took_ms): (RunId, Millis, i64) = row.try_into()?;
                let file = page_name(&folder_name(&run_id));
                Ok(Listed {
                    phase: phase.to_owned(),
                    colour: Colour::of(Some(phase)),
                    ended,
                    took_ms,
                    file: reports_dir.join(&file).is_file().then_some(file),
                    run_id: shown(&run_id),
                })
            })
            .during("list the newest runs")?;
        runs.extend(
            rows.collect::<rusqlite::Result<Vec<_>>>()
                .during("list the newest runs")?,
        );
    }
    runs.sort_by(|one, other| (other.ended, &other.run_id).cmp(&(one.ended, &one.run_id)));
    runs.truncate(LISTED as usize);
    Ok(runs)
}
