//! How many events of each type a run has, and which types say that something went wrong.

use super::count::{Words, text};
use crate::archive::refer::Source;
use crate::archive::rows::{Reader, Values, read};
use runchain_core::RunId;
use runchain_core::error::Result;
use rusqlite::Connection;
use std::collections::BTreeMap;

/// Types that are told apart; a log that makes up a type for each event has one more line.
const MOST_TYPES: usize = 100;
const OTHERS: &str = "(other types)";

/// Events of one type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OfType {
    pub(super) name: String,
    pub(super) count: u64,
    pub(super) is_failure: bool,
}

/// Events by type.
#[derive(Debug, Default)]
pub(super) struct EventTypes(BTreeMap<String, u64>);

impl EventTypes {
    /// Adds the rows of one table; one without a column for the type adds nothing.
    pub(super) fn add(&mut self, conn: &Connection, source: &Source, run_id: &RunId) -> Result<()> {
        let narrow = source.only(&["event_type"]).or_else(|| source.only(&["type"]));
        match narrow {
            Some(narrow) => read(conn, &narrow, run_id, self),
            None => Ok(()),
        }
    }

    /// Failures first, then the most frequent.
    pub(super) fn sorted(&self, words: &Words) -> Vec<OfType> {
        let mut types: Vec<OfType> = self
            .0
            .iter()
            .map(|(name, &count)| OfType {
                name: name.clone(),
                count,
                is_failure: words.says_failure(name),
            })
            .collect();
        types.sort_by_key(|of_type| (!of_type.is_failure, std::cmp::Reverse(of_type.count)));
        types
    }
}

impl Reader for EventTypes {
    fn row(&mut self, values: Values<'_>) -> rusqlite::Result<usize> {
        let name = values.get(0).ok().and_then(text).unwrap_or_default();
        let is_known = self.0.contains_key(&name) || self.0.len() < MOST_TYPES;
        *self
            .0
            .entry(if is_known { name } else { OTHERS.to_owned() })
            .or_default() += 1;
        Ok(0)
    }
}
