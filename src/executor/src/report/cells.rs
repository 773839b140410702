//! Rows as people read them: of the columns that may hold the same thing, the first that has a value.
//!
//! Invariant: what is told has passed the redactor. What does not belong here: which columns those are.

use super::count::text;
use crate::archive::refer::Source;
use crate::archive::rows::Values;
use crate::redact::Redactor;

/// How the rows of one table are read.
pub(super) struct Cells<'a> {
    source: &'a Source,
    redactor: &'a Redactor,
}

impl<'a> Cells<'a> {
    pub(super) fn new(source: &'a Source, redactor: &'a Redactor) -> Self {
        Self { source, redactor }
    }

    /// The table.
    pub(super) fn table(&self) -> &'a str {
        &self.source.table
    }

    /// For a person: the first that isn't empty.
    pub(super) fn told(&self, values: Values<'_>, names: &[&str]) -> Option<String> {
        let mut found = self.found(values, names);
        let (column, text) = found.find(|(_, text)| !text.is_empty())?;
        Some(self.redactor.column(&self.source.table, column).text(text))
    }

    /// To be judged and not shown: the first, also an empty one, as it stands there.
    pub(super) fn word(&self, values: Values<'_>, names: &[&str]) -> Option<String> {
        self.found(values, names).next().map(|(_, text)| text)
    }

    fn found<'n>(&'n self, values: Values<'n>, names: &'n [&str]) -> impl Iterator<Item = (&'n str, String)> {
        names.iter().filter_map(move |name| {
            let columns = &self.source.columns;
            let index = columns
                .iter()
                .position(|column| column.eq_ignore_ascii_case(name))?;
            Some((columns[index].as_str(), values.get(index).ok().and_then(text)?))
        })
    }
}
