//! A table of the user's own naming, read as a struct: unknown keys with the nearest right one, wrong types
//! with their place, numbers within the limits of its shape.

use super::error::{Problem, suggest};
use super::file::{File, Located};
use super::shape::Table;
use serde::de::DeserializeOwned;
use toml::de::ValueDeserializer;

/// A table that is being read.
pub(super) struct Reading<'f, 'a> {
    pub(super) file: &'f File<'a>,
    /// What can stand in it.
    pub(super) shape: &'static Table,
    /// The page that shows it.
    pub(super) page: &'static str,
    /// Dotted name of the table.
    pub(super) name: String,
    pub(super) value: &'f Located<'a>,
}

impl Reading<'_, '_> {
    /// A problem with the table as a whole.
    pub(super) fn problem(&self, what: impl Into<String>, remedy: impl Into<String>) -> Problem {
        let what = format!("{}: {}", self.name, what.into());
        Problem::new(self.file.place(&self.value.span()), what, remedy)
    }

    /// The table as a struct that has a field for each key of its shape.
    pub(super) fn table<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let keys = self.shape.keys();
        if let Some(table) = self.value.get_ref().as_table()
            && let Some(key) = table.keys().find(|key| !keys.contains(&key.get_ref().as_ref()))
        {
            return Err(Problem::new(
                self.file.place(&key.span()),
                format!("unknown key {}.{}", self.name, key.get_ref()),
                suggest(key.get_ref(), &keys),
            ));
        }
        T::deserialize(ValueDeserializer::from(self.value.clone())).map_err(|error| {
            let span = error.span().unwrap_or_else(|| self.value.span());
            let what = format!("{}: {}", self.name, error.message().replace('\n', ", "));
            Problem::new(
                self.file.place(&span),
                what,
                format!("{} shows the shape", self.page),
            )
        })
    }

    /// A number within its limits.
    pub(super) fn within(&self, key: &str, number: Option<i64>, default: i64) -> Result<i64, Problem> {
        let limits = self.shape.limits(key);
        let number = number.unwrap_or(default);
        if limits.contains(&number) {
            return Ok(number);
        }
        Err(self.problem(
            format!(
                "{key} is {number}, outside {} to {}",
                limits.start(),
                limits.end()
            ),
            "choose one inside",
        ))
    }
}
