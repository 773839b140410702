//! Flags: a run's beginning or end that stands in the orchestrator's event table, or in an ingested log,
//! where no write to its row says it.
//!
//! A table of flags is read past a cursor, by rowid; what its rows say goes through the queue, in the
//! same transaction as the cursor. There the row and the flag must not fight: the flag's end counts
//! while the row still says RUNNING, and what the row said then is remembered (`runchain_flagged`). As
//! long as the row says the same, neither the sweep nor a look makes anything of it; a captured write of
//! the row is news and ends the flag's say. A flag never starts a finished run again, and never speaks
//! against a row that says how the run ended.

use crate::error::{During, Error, Result};
use crate::event::EventType;
use crate::mapping::{self, quote};
use crate::queue::{Expander, QueueRow, known_run};
use crate::vocabulary::{Phase, Vocabulary};
use crate::{Millis, RunId, schema};
use rusqlite::{Connection, OptionalExtension};
use serde_json::json;

/// A flag whose time lies further back than this before the run was started again is about an earlier
/// life of it. Event tables often have whole seconds only.
const STALE_MS: i64 = 2_000;

/// A table whose rows are flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagSource {
    /// Table in the main database.
    pub table: String,
    /// Its column with the run's id.
    pub run_id_column: String,
    /// Its column with the word.
    pub type_column: String,
    /// A column whose word, where the vocabulary knows it as an end, says how the run ended.
    pub status_column: Option<String>,
    /// A column with the time, ISO 8601.
    pub time_column: Option<String>,
    /// What the words mean; others mean nothing. Compared without case.
    pub words: Vec<FlagWord>,
}

/// What a word means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagWord {
    /// As it stands in the table: RUN_COMPLETED.
    pub word: String,
    /// The phase that the run enters.
    pub phase: Phase,
}

impl FlagSource {
    /// The words that mean something when nothing is said.
    #[must_use]
    pub fn default_words() -> Vec<FlagWord> {
        [
            ("RUN_CREATED", Phase::Active),
            ("RUN_STARTED", Phase::Active),
            ("RUN_COMPLETED", Phase::Completed),
            ("RUN_FAILED", Phase::Failed),
            ("RUN_CANCELLED", Phase::Cancelled),
            ("RUN_CANCELED", Phase::Cancelled),
        ]
        .map(|(word, phase)| FlagWord {
            word: word.to_owned(),
            phase,
        })
        .into()
    }

    fn phase(&self, word: Option<&str>) -> Option<Phase> {
        let word = word?;
        let found = self
            .words
            .iter()
            .find(|one| one.word.eq_ignore_ascii_case(word))?;
        Some(found.phase)
    }
}

/// Whether a source has rows beyond its cursor. A source that is new begins at its end: what was
/// written before is history. Reads only, but for that beginning.
///
/// # Errors
/// A refusal when the table or a column isn't there, or the table has no rowids.
pub fn is_waiting(conn: &Connection, source: &FlagSource) -> Result<bool> {
    check(conn, source)?;
    Ok(cursor(conn, source)? != Some(newest(conn, source)?))
}

fn check(conn: &Connection, source: &FlagSource) -> Result<()> {
    let columns = mapping::columns(conn, &source.table)?;
    if columns.is_empty() {
        return Err(Error::wrong_mapping(
            format!("[[flags]]: there is no table {}", source.table),
            "name a table of this database, or remove the section",
        ));
    }
    let wanted = [Some(&source.run_id_column), Some(&source.type_column)];
    let more = [source.status_column.as_ref(), source.time_column.as_ref()];
    for name in wanted.into_iter().chain(more).flatten() {
        if !columns
            .iter()
            .any(|column| column.name.eq_ignore_ascii_case(name))
        {
            return Err(Error::wrong_mapping(
                format!("[[flags]]: table {} has no column {name}", source.table),
                "name one that it has",
            ));
        }
    }
    if !mapping::has_rowid(conn, &source.table)? {
        return Err(Error::wrong_mapping(
            format!("[[flags]]: table {} has no rowids to read it by", source.table),
            "remove the section; a WITHOUT ROWID table can't be followed",
        ));
    }
    Ok(())
}

fn cursor(conn: &Connection, source: &FlagSource) -> Result<Option<i64>> {
    conn.prepare_cached("SELECT after_rowid FROM runchain_flag_cursors WHERE source = ?1")
        .and_then(|mut statement| statement.query_row([&source.table], |row| row.get(0)).optional())
        .during("read the cursor of a table of flags")
}

fn newest(conn: &Connection, source: &FlagSource) -> Result<i64> {
    let sql = format!(
        "SELECT coalesce(max(rowid), 0) FROM main.{}",
        quote(&source.table)
    );
    conn.prepare_cached(&sql)
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .during("look for new flags")
}

fn set_cursor(conn: &Connection, source: &FlagSource, after: i64) -> Result<()> {
    conn.prepare_cached("INSERT OR REPLACE INTO runchain_flag_cursors(source, after_rowid) VALUES (?1, ?2)")
        .and_then(|mut statement| statement.execute((&source.table, after)))
        .map(|_| ())
        .during("move the cursor of a table of flags")
}

/// Reads at most `limit` rows beyond the cursor and queues what they say. `true` when there may be more.
///
/// # Errors
/// As [`is_waiting`]; the caller rolls back.
pub fn read(conn: &Connection, source: &FlagSource, limit: u32) -> Result<bool> {
    schema::check_writer(conn)?;
    check(conn, source)?;
    let newest = newest(conn, source)?;
    let after = match cursor(conn, source)? {
        Some(after) if after <= newest => after,
        // Emptied: rowids begin anew. Rebuilt: what is there was read under other rowids.
        _ => return set_cursor(conn, source, newest).map(|()| false),
    };
    let text = |column: &Option<String>| {
        column.as_ref().map_or_else(
            || "NULL".to_owned(),
            |name| format!("CAST(f.{} AS TEXT)", quote(name)),
        )
    };
    let sql = format!(
        "SELECT f.rowid, f.{run_id}, CAST(f.{word} AS TEXT), {status}, {time}
         FROM main.{table} AS f WHERE f.rowid > ?1 ORDER BY f.rowid LIMIT {limit}",
        run_id = quote(&source.run_id_column),
        word = quote(&source.type_column),
        status = text(&source.status_column),
        time = text(&source.time_column),
        table = quote(&source.table),
    );
    let vocabulary = Vocabulary::load(conn)?;
    let mut insert = conn
        .prepare_cached(
            "INSERT INTO runchain_queue(action, run_id, new_status, step, actor, reason, at_ms)
             VALUES ('flag', ?1, ?2, ?3, 'flag:' || ?4, ?5,
               coalesce(?6, CAST((julianday('now') - 2440587.5) * 86400000 + 0.5 AS INTEGER)))",
        )
        .during("queue a flag")?;
    let mut select = conn.prepare_cached(&sql).during("read a table of flags")?;
    let mut rows = select.query([after]).during("read a table of flags")?;
    let (mut seen, mut last) = (0, after);
    while let Some(row) = rows.next().during("read a table of flags")? {
        seen += 1;
        last = row.get(0).during("read a table of flags")?;
        let text = |index| mapping::text(row, index).during("read a table of flags");
        let (run_id, word, status, time) = (text(1)?, text(2)?, text(3)?, text(4)?);
        let (Some(run_id), Some(mut phase)) = (run_id, source.phase(word.as_deref())) else {
            continue;
        };
        if let Some(end) = vocabulary
            .phase(status.as_deref())
            .filter(|end| end.is_terminal())
            && phase.is_terminal()
        {
            phase = end;
        }
        let at = time.as_deref().and_then(Millis::parse_iso);
        insert
            .execute((run_id, phase, word, &source.table, last.to_string(), at))
            .during("queue a flag")?;
    }
    set_cursor(conn, source, last)?;
    Ok(seen == limit)
}

/// The phase that a queued flag names.
pub(crate) fn phase_of(row: &QueueRow) -> Option<Phase> {
    let word = row.new_status.as_deref()?;
    Phase::OF_WORDS.into_iter().find(|phase| phase.as_str() == word)
}

/// Judges a flag.
pub(crate) fn take(expander: &Expander<'_>, row: &QueueRow, run_id: &RunId, at: Millis) -> Result<()> {
    let Some(phase) = phase_of(row) else {
        return expander.refuse(row, "new_status is no phase");
    };
    let known = known_run(expander.conn, run_id)?.filter(|run| run.phase != Phase::Deleted);
    let user_row = expander.mapping.status_of(expander.conn, run_id)?;
    let says = user_row
        .as_ref()
        .and_then(|status| expander.vocabulary.phase(status.as_deref()));
    let stale = known.as_ref().is_some_and(|run| at.plus(STALE_MS) < run.since);
    let settled = known.as_ref().is_some_and(|run| run.phase.is_terminal());
    if stale || settled || (phase == Phase::Active && known.is_some()) {
        return Ok(());
    }
    if says.is_some_and(Phase::is_terminal) || (says.is_some() && phase == Phase::Active) {
        // No write was captured, but the row itself says it.
        return expander.observe(run_id, None, user_row.flatten().as_deref(), at);
    }
    expander
        .conn
        .prepare_cached(
            "INSERT OR REPLACE INTO runchain_flagged(run_id, has_row, row_status, source, at_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
        )
        .and_then(|mut statement| {
            let status = user_row.as_ref().and_then(Option::as_deref);
            statement.execute((run_id, user_row.is_some(), status, &row.actor, at))
        })
        .during("remember a flag")?;
    let data = json!({
        "flag": row.step, "phase": phase, "source": row.actor, "rowid": row.reason,
        "has_row": user_row.is_some(), "row_status": user_row.flatten(),
    });
    let generation = known.map_or(0, |run| run.generation);
    expander.run_event(EventType::RunFlagged, run_id, generation, data, at)?;
    expander.observe(run_id, None, Some(phase.as_str()), at)
}

/// What a flag decided about a run, and what its row said then.
pub(crate) struct Flagged {
    has_row: bool,
    row_status: Option<String>,
}

impl Flagged {
    /// Whether the row (`None`: there is none) still says what it said then.
    pub(crate) fn stands(&self, row: Option<Option<&str>>) -> bool {
        self.has_row == row.is_some() && self.row_status.as_deref() == row.flatten()
    }
}

/// Whether a flag decided about any run.
pub(crate) fn any(conn: &Connection) -> Result<bool> {
    conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM runchain_flagged)")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .during("look for flags")
}

/// The flag that decided about a run, if one did.
pub(crate) fn of_run(conn: &Connection, run_id: &RunId) -> Result<Option<Flagged>> {
    conn.prepare_cached("SELECT has_row, row_status FROM runchain_flagged WHERE run_id = ?1")
        .and_then(|mut statement| {
            statement
                .query_row([run_id], |row| {
                    Ok(Flagged {
                        has_row: row.get(0)?,
                        row_status: row.get(1)?,
                    })
                })
                .optional()
        })
        .during("look for a run's flag")
}

/// Whether a run never had a row: it is known by a flag only, and what is archived of it stands in the
/// tables beside.
///
/// # Errors
/// Whatever SQLite answers.
pub fn is_known_by_flag_only(conn: &Connection, run_id: &RunId) -> Result<bool> {
    Ok(of_run(conn, run_id)?.is_some_and(|flagged| !flagged.has_row))
}

/// A write of the run's row was captured, or its row says something else by now: that is what counts.
pub(crate) fn forget(conn: &Connection, run_id: &RunId) -> Result<()> {
    conn.prepare_cached("DELETE FROM runchain_flagged WHERE run_id = ?1")
        .and_then(|mut statement| statement.execute([run_id]))
        .map(|_| ())
        .during("forget a run's flag")
}

/// SQL: a flag decided about run `k`, and its row still says what `status` (an expression) says.
pub(crate) fn stands_for(status: &str) -> String {
    format!(
        "EXISTS (SELECT 1 FROM runchain_flagged AS f
                 WHERE f.run_id = k.run_id AND f.has_row = 1 AND f.row_status IS {status})"
    )
}

/// SQL: run `k` is known by a flag only and never had a row.
pub(crate) const STANDS_ALONE: &str =
    "EXISTS (SELECT 1 FROM runchain_flagged AS f WHERE f.run_id = k.run_id AND f.has_row = 0)";
