//! The check of the vocabulary: which status words of the user's table have no phase?
//!
//! Invariant: however large the table, at most a fixed number of its rows is read.

use super::{Context, Verdict, wording};
use crate::error::{During, Result};
use crate::mapping::{self, Mapping};
use rusqlite::Connection;

/// Rows of the user's table whose status word is looked at.
const RECENT_ROWS: i64 = 10_000;
/// Unknown status words that a finding names.
const UNKNOWN_WORDS: i64 = 20;
/// Longer status words, and those with control characters, are shown but not offered for the vocabulary.
const WORD_CHARACTERS: usize = 100;

pub(super) fn status_words(context: &Context<'_>) -> Result<Verdict> {
    let unknown = unknown_words(context.conn, context.mapping()?)?;
    if unknown.is_empty() {
        return Ok(Verdict::ok(format!(
            "none unknown in the newest rows (at most {RECENT_ROWS})"
        )));
    }
    let more = if unknown.len() as i64 == UNKNOWN_WORDS {
        ", perhaps more"
    } else {
        ""
    };
    let shown: Vec<String> = unknown
        .iter()
        .map(|word| format!("{} ({} rows)", wording::shown(&word.word), word.rows))
        .collect();
    let verdict = Verdict::warning(
        format!("unknown status words: {}{more}", shown.join(", ")),
        "a run that gets such a word stays in the phase it was in: it is not archived by it",
    );
    let values: Vec<String> = unknown
        .iter()
        .filter(|word| word.word.chars().count() <= WORD_CHARACTERS && !word.word.contains(char::is_control))
        .map(|word| format!("({}, 'PHASE')", mapping::literal(&word.word)))
        .collect();
    Ok(if values.is_empty() {
        verdict
    } else {
        // 'PHASE' fails the table's CHECK: only a person knows what the word means.
        verdict.remedy(format!(
            "INSERT INTO runchain_vocabulary(status, phase) VALUES {}; \
             -- each PHASE: active, completed, failed or cancelled",
            values.join(", ")
        ))
    })
}

/// A status word that the vocabulary doesn't have.
struct UnknownWord {
    word: String,
    rows: i64,
}

fn unknown_words(conn: &Connection, mapping: &Mapping) -> Result<Vec<UnknownWord>> {
    let columns = mapping::columns(conn, &mapping.table)?;
    let newest_first = if has_rowid(conn, &mapping.table) {
        ["rowid", "_rowid_", "oid"]
            .iter()
            .find(|alias| {
                columns
                    .iter()
                    .all(|column| !column.name.eq_ignore_ascii_case(alias))
            })
            .map_or_else(String::new, |alias| format!("ORDER BY {alias} DESC"))
    } else {
        String::new()
    };
    let sql = format!(
        "SELECT min(recent.word), count(*) AS found
         FROM (SELECT CAST({status} AS TEXT) AS word
               FROM main.{table} {newest_first} LIMIT {RECENT_ROWS}) AS recent
         WHERE recent.word IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM runchain_vocabulary AS known WHERE known.status = recent.word)
         GROUP BY recent.word COLLATE NOCASE
         ORDER BY found DESC, 1
         LIMIT {UNKNOWN_WORDS}",
        status = mapping::quote(&mapping.status_column),
        table = mapping::quote(&mapping.table),
    );
    let mut statement = conn.prepare(&sql).during("look for unknown status words")?;
    statement
        .query_map([], |row| {
            Ok(UnknownWord {
                word: row.get(0)?,
                rows: row.get(1)?,
            })
        })
        .and_then(Iterator::collect)
        .during("look for unknown status words")
}

/// Asked of SQLite itself: the three names of the rowid don't exist on a WITHOUT ROWID table.
fn has_rowid(conn: &Connection, table: &str) -> bool {
    conn.prepare(&format!(
        "SELECT _rowid_ FROM main.{} LIMIT 0",
        mapping::quote(table)
    ))
    .is_ok()
}
