//! What the writers did, in the order of their commits.

/// One statement of a writer. `n` is unique and ends up in the row, so that every version of a row
/// is told from every other.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// A plain INSERT, which fails where the run exists.
    Insert {
        id: String,
        status: &'static str,
        n: i64,
    },
    /// INSERT OR REPLACE; with `recursive_triggers` an existing row is deleted first.
    Replace {
        id: String,
        status: &'static str,
        n: i64,
        recursive: bool,
    },
    /// INSERT ... ON CONFLICT DO UPDATE.
    Upsert {
        id: String,
        status: &'static str,
        n: i64,
    },
    /// An UPDATE of the status.
    Status {
        id: String,
        status: &'static str,
        n: i64,
    },
    /// An UPDATE of another column.
    Touch { id: String, n: i64 },
    /// A DELETE.
    Delete { id: String },
    /// An UPDATE OR IGNORE of the key.
    Rename { from: String, to: String },
    /// A row in a table of the run's.
    Event { id: String, n: i64 },
}

/// A committed transaction.
#[derive(Debug)]
pub(crate) struct Commit {
    /// Its place in the order of commits.
    pub(crate) seq: i64,
    pub(crate) ops: Vec<Op>,
}
