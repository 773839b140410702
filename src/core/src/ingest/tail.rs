//! The bytes right before a checkpoint, kept as a hash: the rows of `runchain_ingest_tails`.
//!
//! Logs that a program opens anew may begin with the same kilobyte each time (a banner, a header, a
//! configuration that is repeated), so inode and head alone would take a rewritten log for the old one
//! and read on in its middle. What the head covers needs no row here. A row of another offset than the
//! file's checkpoint says nothing: an older runchain has moved that one on.
//!
//! What does not belong here: what follows from a difference (`checkpoint.rs`).

use super::file::{HEAD_BYTES, LogFile};
use crate::error::{During, Result};
use crate::schema;
use rusqlite::{Connection, OptionalExtension};

/// So many bytes before a checkpoint must still be what they were.
const TAIL_BYTES: u64 = 1024;

/// Whether the bytes before this checkpoint are still the ones that were read.
pub(super) fn is_unchanged(conn: &Connection, log: &LogFile, file_id: i64, offset: u64) -> Result<bool> {
    if offset <= HEAD_BYTES as u64 || !is_there(conn)? {
        return Ok(true);
    }
    let kept: Option<(u64, String)> = conn
        .prepare_cached(
            "SELECT length_bytes, sha256 FROM runchain_ingest_tails WHERE file_id = ?1 AND offset_bytes = ?2",
        )
        .and_then(|mut statement| {
            statement
                .query_row((file_id, offset as i64), |row| {
                    Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?))
                })
                .optional()
        })
        .during("read the tail of an event log's checkpoint")?;
    match kept {
        None => Ok(true),
        Some((length, sha256)) => {
            let found = log.sha256_of(offset.saturating_sub(length)..offset)?;
            Ok(found.as_deref() == Some(sha256.as_str()))
        }
    }
}

/// Keeps the hash of what stands before a checkpoint. A file that was cut in this moment has none.
pub(super) fn keep(conn: &Connection, log: &LogFile, file_id: i64, offset: u64) -> Result<()> {
    if offset <= HEAD_BYTES as u64 || !is_there(conn)? {
        return Ok(());
    }
    let length = offset.min(TAIL_BYTES);
    let Some(sha256) = log.sha256_of(offset - length..offset)? else {
        return Ok(());
    };
    conn.prepare_cached(
        "INSERT OR REPLACE INTO runchain_ingest_tails(file_id, offset_bytes, length_bytes, sha256)
         VALUES (?1, ?2, ?3, ?4)",
    )
    .and_then(|mut statement| statement.execute((file_id, offset as i64, length as i64, sha256)))
    .during("keep the tail of an event log's checkpoint")
    .map(drop)
}

/// A database that only an older runchain has installed lacks the table.
fn is_there(conn: &Connection) -> Result<bool> {
    schema::table_exists(conn, "runchain_ingest_tails")
}
