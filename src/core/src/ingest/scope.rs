//! Whose transaction an ingest call writes in: its own, one for each batch, or the caller's.

use crate::error::{During, Error, Result};
use crate::schema;
use rusqlite::{Connection, ErrorCode};

/// An ingest call as the database sees it. What is open when it is dropped is rolled back, also when
/// a panic unwinds through a host's SQL function.
pub(super) struct Scope<'c> {
    conn: &'c Connection,
    joined: bool,
    open: bool,
}

impl<'c> Scope<'c> {
    /// In autocommit: probes whether a transaction can be begun here at all. In the caller's
    /// transaction: opens a savepoint and writes first, because a transaction that has only read
    /// can't wait for the lock any more.
    pub(super) fn enter(conn: &'c Connection) -> Result<Self> {
        let joined = !conn.is_autocommit();
        if !joined && !schema::table_exists(conn, "runchain_ingest_files")? {
            return Err(Error::NotInstalled);
        }
        conn.execute_batch("SAVEPOINT runchain_ingest")
            .map_err(refuse_inside_a_write)?;
        let mut scope = Self {
            conn,
            joined,
            open: true,
        };
        if joined {
            scope.write_first()?;
        } else {
            conn.execute_batch("RELEASE runchain_ingest")
                .during("release the probe before ingesting")?;
            scope.open = false;
        }
        Ok(scope)
    }

    fn write_first(&self) -> Result<()> {
        let touched = self
            .conn
            .execute("UPDATE runchain_ingest_files SET path = path WHERE id = 0", []);
        match touched {
            Ok(_) => Ok(()),
            Err(_) if !schema::table_exists(self.conn, "runchain_ingest_files")? => Err(Error::NotInstalled),
            Err(source) => Err(source).during("take the write lock to ingest"),
        }
    }

    /// Begins a batch.
    pub(super) fn begin(&mut self) -> Result<()> {
        if !self.joined {
            self.conn
                .execute_batch("BEGIN IMMEDIATE")
                .during("begin to ingest a batch")?;
            self.open = true;
        }
        Ok(())
    }

    /// Takes back a batch that has only found its place; in the caller's transaction that may stand.
    pub(super) fn roll_back(&mut self) -> Result<()> {
        if !self.joined {
            self.conn
                .execute_batch("ROLLBACK")
                .during("begin to ingest a batch again")?;
            self.open = false;
        }
        Ok(())
    }

    /// Commits a batch; in the caller's transaction that is left to the caller.
    pub(super) fn commit(&mut self) -> Result<()> {
        if !self.joined {
            self.conn
                .execute_batch("COMMIT")
                .during("commit an ingested batch")?;
            self.open = false;
        }
        Ok(())
    }

    /// Ends the call after its last batch.
    pub(super) fn leave(mut self) -> Result<()> {
        if self.joined {
            self.conn
                .execute_batch("RELEASE runchain_ingest")
                .during("release the ingest's savepoint")?;
        }
        self.open = false;
        Ok(())
    }
}

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        // SQLite may have rolled everything back by itself (disk full): then nothing is left to do.
        if !self.open || self.conn.is_autocommit() {
            return;
        }
        let undo = if self.joined {
            "ROLLBACK TO runchain_ingest; RELEASE runchain_ingest"
        } else {
            "ROLLBACK"
        };
        // The error that brought us here is the one to report.
        let _ = self.conn.execute_batch(undo);
    }
}

/// A savepoint takes no lock, so BUSY can only mean that the calling statement itself writes.
fn refuse_inside_a_write(source: rusqlite::Error) -> Error {
    if source.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) {
        return Error::refused(
            "events can't be ingested from inside a statement that writes, such as INSERT ... SELECT",
            "call it in a SELECT of its own",
        );
    }
    Error::Sqlite {
        operation: "open a savepoint to ingest",
        source,
    }
}
