//! `runchain forget RUN`: erases everything of a run but a tombstone.
//!
//! In this order, so that a kill anywhere leaves something that the same command finishes: rows and
//! tombstone (one transaction), then bags and reports, then the lines of the logs, then the WAL.

use super::open_checked;
use crate::actor;
use crate::archive;
use crate::cli::ForgetArgs;
use crate::config::Settings;
use crate::door;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::{self, Output};
use crate::projector::erase;
use crate::report;
use crate::retention;
use runchain_core::error::{During, Error};
use runchain_core::explain::quoted;
use runchain_core::forget;
use runchain_core::liveness::Leadership;
use runchain_core::{Mapping, Millis, Result, RunId, queue, schema};
use rusqlite::Connection;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use serde_json::json;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a living leader may take to write what was committed before to its logs.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

pub(super) fn forget(arguments: &ForgetArgs, settings: &Settings, output: &Output) -> Outcome<Exit> {
    let conn = open_checked(settings)?;
    let mapping = Mapping::require(&conn)?;
    let run_id = RunId(arguments.id.clone());
    let stands = mapping.status_of(&conn, &run_id)?.is_some();
    let known = queue::known_run(&conn, &run_id)?;
    let was_forgotten = forget::is_forgotten(&conn, &run_id)?;
    let traces = forget::traces(&conn, &run_id)?;
    if known.is_none() && !stands && !was_forgotten && traces.total() == 0 {
        return Err(Failure::new(
            Exit::NoSuchRun,
            "runchain knows no such run, and has forgotten none of that id",
        ));
    }
    if stands && known.is_some_and(|run| run.phase == runchain_core::vocabulary::Phase::Active) {
        return Err(Error::refused(
            "the run is active: what it does next would be written down again",
            "end it or delete its row, then forget it",
        )
        .into());
    }
    let uuid = schema::meta(&conn, "database_uuid")?.unwrap_or_default();
    let bags = archive::bags_of(&settings.archive_dir, &run_id, &uuid)?;
    let reports: Vec<PathBuf> = retention::files_of(&settings.reports_dir, &run_id)
        .filter(|path| path.is_file())
        .collect();
    let mut told = Told {
        dry_run: arguments.dry_run,
        rows: traces.as_json(),
        bags: bags.len(),
        reports: reports.len(),
        log_lines: 0,
        left: archive::others_in_place_of(&settings.archive_dir, &run_id, &uuid)?,
        stands,
        vacuumed: arguments.vacuum && !arguments.dry_run,
        free_bytes: 0,
    };
    if arguments.dry_run {
        told.log_lines = erase::count(&settings.logs_dir, &run_id)?;
    } else {
        // All or nothing: rows that are gone no longer say where the rest of the run is.
        if !bags.is_empty() {
            require_writable(&settings.archive_dir, &run_id)?;
        }
        if !reports.is_empty() {
            require_writable(&settings.reports_dir, &run_id)?;
        }
        for file in log_files(&settings.logs_dir) {
            require_writable(&file, &run_id)?;
        }
        conn.pragma_update(None, "secure_delete", true)
            .during("turn secure_delete on")?;
        let by = actor::by(arguments.reason.as_deref());
        let event_id = door::write(&conn, |conn| {
            schema::check_writer(conn)?;
            forget::erase(conn, &run_id, &by, Millis::now())
        })?;
        for bag in &bags {
            archive::remove_bag(bag)?;
        }
        retention::remove_files(reports.into_iter())?;
        if settings.reports_dir.join(report::INDEX).exists() {
            report::write_index(&conn, &settings.reports_dir)?;
        }
        // A leader at work may hold events in memory that it has not written yet.
        let _no_leader = until_nothing_is_under_way(settings, &conn, event_id)?;
        told.log_lines = erase::erase(&settings.logs_dir, &run_id)?;
        if arguments.vacuum {
            door::patiently(|| conn.execute_batch("VACUUM").during("vacuum"))?;
        }
        empty_wal(&conn)?;
    }
    told.free_bytes = free_bytes(&conn)?;
    told.tell(output)
}

/// Until every event up to `event_id` stands in the logs; or nobody leads, and nobody can as long as
/// the answer is held.
fn until_nothing_is_under_way(
    settings: &Settings,
    conn: &Connection,
    event_id: i64,
) -> Result<Option<Leadership>> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(lead) = Leadership::try_acquire(&settings.state_db_path, "forget")? {
            return Ok(Some(lead));
        }
        let projected: bool = door::patiently(|| {
            conn.query_row(
                "SELECT coalesce(min(event_id), 0) >= ?1 FROM runchain_cursors",
                [event_id],
                |row| row.get(0),
            )
            .during("look how far the logs are written")
        })?;
        if projected {
            return Ok(None);
        }
        std::thread::sleep(PAUSE);
    }
    Err(Error::refused(
        "an executor leads, and has not brought its logs up to date for a minute; rows, bags and reports are erased, log lines not",
        "look at what it says, then forget the run again",
    ))
}

/// Moves everything into the database file and empties the WAL, so that no older page is left there.
fn empty_wal(conn: &Connection) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let busy: bool = conn
            .query_row("PRAGMA main.wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            .during("empty the WAL")?;
        if !busy {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Error::refused(
                "readers have kept the WAL from being emptied for a minute; all is erased, but older pages still stand in it",
                "end who reads for so long, then forget the run again",
            ));
        }
        std::thread::sleep(PAUSE);
    }
}

fn free_bytes(conn: &Connection) -> Result<u64> {
    conn.query_row(
        "SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size",
        [],
        |row| row.get::<_, i64>(0),
    )
    .map(|bytes| u64::try_from(bytes).unwrap_or(0))
    .during("ask for the free pages")
}

/// Refuses where who runs this may not write a place that holds something of the run.
fn require_writable(place: &Path, run_id: &RunId) -> Outcome<()> {
    let Err(errno) = accessat(CWD, place, Access::WRITE_OK, AtFlags::EACCESS) else {
        return Ok(());
    };
    let owner = place.metadata().map_or_else(
        |_| "its owner".to_owned(),
        |found| format!("`sudo -u '#{}'`", found.uid()),
    );
    Err(Error::refused(
        format!(
            "{} can't be written: {errno}; nothing was erased",
            place.display()
        ),
        format!(
            "forget {} as who writes there: {owner}, or root",
            quoted(run_id.as_str())
        ),
    )
    .into())
}

/// The logs, rotated ones included.
fn log_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path());
    files
        .filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
        .collect()
}

/// What was erased, or would be.
struct Told {
    dry_run: bool,
    rows: serde_json::Value,
    bags: usize,
    reports: usize,
    log_lines: u64,
    /// What stands in the place of a bag and doesn't say that it is one.
    left: Vec<PathBuf>,
    stands: bool,
    vacuumed: bool,
    free_bytes: u64,
}

impl Told {
    fn tell(&self, output: &Output) -> Outcome<Exit> {
        let left: Vec<_> = self.left.iter().map(|path| path.to_string_lossy()).collect();
        if output.json {
            output.print_json(&json!({
                "dry_run": self.dry_run, "rows": self.rows, "bags": self.bags, "reports": self.reports,
                "log_lines": self.log_lines, "left": left, "user_row_stands": self.stands,
                "vacuumed": self.vacuumed,
            }))?;
            return self.end();
        }
        let rows = self.rows.as_object().into_iter().flatten();
        let mut lines: Vec<[String; 2]> = rows
            .map(|(table, rows)| [table.clone(), rows.to_string()])
            .collect();
        lines.push(["bags".to_owned(), self.bags.to_string()]);
        lines.push(["reports".to_owned(), self.reports.to_string()]);
        lines.push(["log lines".to_owned(), self.log_lines.to_string()]);
        let verb = if self.dry_run { "WOULD GO" } else { "ERASED" };
        output.table(&["WHAT", verb], lines)?;
        if self.stands {
            output.note("your own row of the run and what refers to it are yours: delete them yourself; runchain passes them over from now on")?;
        }
        if !self.vacuumed {
            output.note(&format!(
                "what went was overwritten with zeros; pages that SQLite freed earlier ({} now) can hold older copies \
                 until VACUUM: runchain forget --vacuum does it, and keeps every writer out while it runs",
                output::size(self.free_bytes)
            ))?;
        }
        self.end()
    }

    /// What may hold the run's rows and is not ours to remove must not pass for erased.
    fn end(&self) -> Outcome<Exit> {
        if self.left.is_empty() {
            return Ok(Exit::Ok);
        }
        let left: Vec<String> = self.left.iter().map(|path| path.display().to_string()).collect();
        Err(Failure::new(
            Exit::Failed,
            format!(
                "{} stands under the name of a bag of this run and doesn't say that it is one (bag-info.txt), so it was left \
                 as it is; look what is in it, and remove it yourself",
                left.join(", ")
            ),
        ))
    }
}
