//! What somebody looks at: runs, steps that are not over, problems, events; and whether a chain is through.
//!
//! Invariant: a look costs what it shows, not what there is. Every statement is answered by an index and
//! bounded (a test reads the query plans); where a filter has no index, the number of rows that are read
//! for it is bounded, and the answer says when that bound was reached. Nothing is written, and a schema
//! that an older version left can be read.
//!
//! | file | holds |
//! | --- | --- |
//! | `runs` | runs, the newest first, with the steps of their newest chains |
//! | `live` | steps that are not over |
//! | `problems` | what failed, stalled or fires |
//! | `events` | lifecycle and ingested events, backwards from the newest, or onwards from a place |
//! | `chain` | whether a run's chain is through |
//!
//! What does not belong here: words for people (`explain` has those), printing, files.

pub mod chain;
pub mod events;
pub mod live;
pub mod problems;
pub mod runs;
/// An error with the last line that its command printed: an exit code alone tells nobody anything.
fn with_last_line(error: Option<String>, output: Option<String>) -> Option<String> {
    let output = output.unwrap_or_default();
    let last = output.lines().map(str::trim).rfind(|line| !line.is_empty());
    match (error, last) {
        (Some(error), Some(line)) => Some(format!("{error}: {line}")),
        (error, _) => error,
    }
}

#[cfg(test)]
mod tests;

pub use crate::explain::nearest_runs;

use crate::Millis;
use serde::Serializer;

/// A time as it stands in JSON.
///
/// # Errors
/// The serializer's own.
pub fn as_iso<S: Serializer>(at: &Millis, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.iso())
}

/// The same of a time that may be unknown.
///
/// # Errors
/// The serializer's own.
pub fn as_iso_or_null<S: Serializer>(at: &Option<Millis>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => as_iso(at, serializer),
        None => serializer.serialize_none(),
    }
}
