//! Last lines without a newline: half written, or whole by a writer that ends no line.
//!
//! A half of a JSON object is never an object, so a held line that is one may be taken as soon as nobody
//! goes on writing it: when the run that the file's last event is of has ended, after the quiet that a
//! run's last rows get, or when its file was rotated. One that is no object yet waits longer before it counts
//! as rejected: its writer may hold the rest in a buffer. Where nothing tells of a run, a line is held until
//! the file is rotated.

use runchain_core::error::{During, Result};
use rusqlite::{Connection, OptionalExtension};
use serde::de::IgnoredAny;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use super::files::HeldLine;

/// The last event of a file is looked for among so many of the newest ones.
const RECENT_ROWS: i64 = 50_000;

/// How long nothing must have been added.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quiet {
    /// To a line that is an object.
    pub(super) whole: Duration,
    /// To one that isn't.
    pub(super) half: Duration,
}

/// What is to be done with a held line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing until the database has changed.
    Wait,
    /// Look again then.
    WaitUntil(Instant),
    /// Take it as it is.
    Finalise,
}

/// Decides about one line; `line` reads it. `is_over`: whoever goes on does so in another file.
pub(super) fn judge(
    conn: &Connection,
    held: HeldLine,
    quiet: Quiet,
    is_over: bool,
    line: impl FnOnce() -> Option<Vec<u8>>,
) -> Result<Verdict> {
    if !is_over && !has_run_ended(conn, held.file_id)? {
        return Ok(Verdict::Wait);
    }
    let since = held.since.elapsed();
    if since < quiet.whole {
        return Ok(Verdict::WaitUntil(held.since + quiet.whole));
    }
    let is_whole = line().is_some_and(|line| {
        line.first() == Some(&b'{') && serde_json::from_slice::<IgnoredAny>(&line).is_ok()
    });
    Ok(if is_whole || since >= quiet.half {
        Verdict::Finalise
    } else {
        Verdict::WaitUntil(held.since + quiet.half)
    })
}

/// The last bytes of a file.
pub(super) fn last_bytes(file: &File, bytes: u64) -> Option<Vec<u8>> {
    let size = file.metadata().ok()?.len();
    let mut line = vec![0; usize::try_from(bytes).ok()?];
    file.read_exact_at(&mut line, size.checked_sub(bytes)?).ok()?;
    Some(line)
}

/// Whether the run, or the job, of the newest event of a file has ended.
fn has_run_ended(conn: &Connection, file_id: i64) -> Result<bool> {
    let of: Option<(Option<String>, Option<String>)> = conn
        .prepare_cached(
            "SELECT run_id, job_id FROM (
               SELECT id, run_id, job_id, file_id FROM runchain_ingested
               WHERE id > (SELECT max(id) FROM runchain_ingested) - ?2)
             WHERE file_id = ?1 ORDER BY id DESC LIMIT 1",
        )
        .and_then(|mut statement| {
            let row = statement.query_row((file_id, RECENT_ROWS), |row| row.try_into());
            row.optional()
        })
        .during("look for the last event of an event log")?;
    let Some((run_id, job_id)) = of else {
        return Ok(false);
    };
    conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM runchain_runs WHERE run_id IN (?1, ?2) AND phase <> 'active')
             OR EXISTS (SELECT 1 FROM runchain_derived WHERE kind = 'execution' AND id = ?2 AND outcome IS NOT NULL)",
    )
    .and_then(|mut statement| statement.query_row((run_id, job_id), |row| row.get(0)))
    .during("look whether the run of an event log has ended")
}
