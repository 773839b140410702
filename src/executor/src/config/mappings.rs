//! `[ingest.mappings.NAME]`: how the lines of some event logs are understood.
//!
//! Each names its files by globs, relative to the folder of the configuration file, and says in which
//! keys of a line its fields stand. Where several fit a file, the first by name holds. What a
//! mapping may say is `runchain_core::ingest::Format`'s; here is only where it is written.

use super::error::{Problem, suggest};
use super::file::{File, Located, article};
use super::layers::{Gathered, Layers};
use super::shape::{Field, Kind, Table};
use super::{Row, Settings, Source};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use runchain_core::Error;
use runchain_core::ingest::{Format, IngestOptions, MAPPING_KEYS, PRESETS, Preset};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::Arc;
use toml::de::{DeTable, DeValue};

const FIELDS: &[Field] = &[
    Field::new(
        "files",
        Kind::TextOrTexts,
        "globs of the files, from the folder of the configuration file; [] where only --preset asks for it",
    )
    .required(),
    Field::new(
        "preset",
        Kind::Text,
        "what holds for the fields that are not named here: pattern, cloudevents or generic",
    )
    .or("generic"),
    Field::new(
        "event_id",
        Kind::TextOrTexts,
        "the key, or keys, of a line with: its id, by which it is known in every file",
    )
    .or("the preset's"),
    Field::new(
        "source",
        Kind::TextOrTexts,
        "the key, or keys, of a line with: where ids are unique only within a source, that",
    )
    .or("the preset's"),
    Field::new(
        "type",
        Kind::TextOrTexts,
        "the key, or keys, of a line with: what happened",
    )
    .or("the preset's"),
    Field::new(
        "time",
        Kind::TextOrTexts,
        "the key, or keys, of a line with: when",
    )
    .or("the preset's"),
    Field::new(
        "run_id",
        Kind::TextOrTexts,
        "the key, or keys, of a line with: the orchestrator's run",
    )
    .or("the preset's"),
    Field::new(
        "job_id",
        Kind::TextOrTexts,
        "the key, or keys, of a line with: the job, shown as an execution",
    )
    .or("the preset's"),
    Field::new(
        "step_id",
        Kind::TextOrTexts,
        "the key, or keys, of a line with: the step",
    )
    .or("the preset's"),
    Field::new(
        "pattern_run_id",
        Kind::TextOrTexts,
        "the key, or keys, of a line with: the pattern run, shown as a task",
    )
    .or("the preset's"),
    Field::new(
        "pattern_id",
        Kind::TextOrTexts,
        "the key, or keys, of a line with: the pattern, shown as the task's type",
    )
    .or("the preset's"),
    Field::new(
        "status",
        Kind::TextOrTexts,
        "the key, or keys, of a line with: the status word",
    )
    .or("the preset's"),
    Field::new(
        "error",
        Kind::TextOrTexts,
        "the key, or keys, of a line with: what went wrong, in words",
    )
    .or("the preset's"),
    Field::new(
        "details",
        Kind::TextOrTexts,
        "the key, or keys, of a line with: whatever else belongs to it, of any JSON type",
    )
    .or("the preset's"),
];

/// The same for the reference. A test compares its names with what the core knows.
pub(super) const TABLE: Table = Table {
    heading: "[ingest.mappings.NAME]",
    doc: "How the lines of some event logs are understood. Where several fit a file, the first by name holds.",
    fields: FIELDS,
};

/// A mapping and the files that it is for.
#[derive(Debug, Clone)]
pub(crate) struct LineMapping {
    files: GlobSet,
    format: Arc<Format>,
}

impl Settings {
    /// How a log is to be read, as far as the configuration says.
    pub(crate) fn ingest_options(&self, path: &Path) -> IngestOptions {
        IngestOptions {
            max_line_bytes: usize::try_from(self.ingest_max_line_bytes).unwrap_or(usize::MAX),
            format: self.format_of(path),
            ..IngestOptions::default()
        }
    }

    /// The configured format of a file; `None` where no mapping names it.
    fn format_of(&self, path: &Path) -> Option<Arc<Format>> {
        // As it is named, and where it really is: a rotated or linked file is meant by either.
        let absolute = std::path::absolute(path).ok();
        let real = path.canonicalize().ok();
        let mut found = self.mappings.iter().filter(|mapping| {
            let mut paths = [&absolute, &real].into_iter().flatten();
            paths.any(|path| mapping.files.is_match(path))
        });
        found.next().map(|mapping| Arc::clone(&mapping.format))
    }

    /// A preset, or a mapping of the configuration.
    ///
    /// # Errors
    /// A refusal that names the nearest one.
    pub(crate) fn format_named(&self, name: &str) -> runchain_core::Result<Arc<Format>> {
        let mapping = self.mappings.iter().find(|mapping| mapping.format.name() == name);
        if let Some(mapping) = mapping {
            return Ok(Arc::clone(&mapping.format));
        }
        Preset::named(name).map(Format::preset).map_err(|_| {
            let mappings = self.mappings.iter().map(|mapping| mapping.format.name());
            let known: Vec<&str> = PRESETS
                .iter()
                .map(|preset| preset.name())
                .chain(mappings)
                .collect();
            Error::refused(
                format!("there is no preset and no mapping {name}"),
                suggest(name, &known),
            )
        })
    }
}

/// The mappings that the file has.
pub(super) fn resolve(layers: &Layers<'_>, gathered: &mut Gathered) -> Vec<LineMapping> {
    let Some(file) = layers.file else {
        return Vec::new();
    };
    let mut mappings = Vec::new();
    for (name, entry) in &file.mappings {
        match read(layers.root, file, name, entry) {
            Ok((mapping, value)) => {
                gathered.rows.push(Row {
                    key: format!("ingest.mappings.{name}"),
                    value,
                    source: Source::File {
                        path: file.path().to_owned(),
                        line: file.line(&entry.span()),
                    },
                });
                mappings.push(mapping);
            }
            Err(problem) => gathered.problems.push(problem),
        }
    }
    mappings
}

fn read(
    root: &Path,
    file: &File<'_>,
    name: &str,
    entry: &Located<'_>,
) -> Result<(LineMapping, Value), Problem> {
    let at = |place: &Located<'_>, what: String, remedy: &str| {
        Problem::new(file.place(&place.span()), what, remedy)
    };
    let DeValue::Table(table) = entry.get_ref() else {
        let what = format!(
            "ingest.mappings.{name} must be a table, not {}",
            article(entry.get_ref().type_str())
        );
        return Err(at(entry, what, "write [ingest.mappings.NAME] and its keys below"));
    };
    if Preset::named(name).is_ok() {
        let what = format!("{name} is the name of a preset");
        return Err(at(
            entry,
            what,
            "give the mapping another name; `preset` in it says what it builds on",
        ));
    }
    refuse_unknown(file, name, table)?;
    let globs = match table.get("files") {
        Some(globs) => read_globs(globs).ok_or_else(|| {
            let what = format!("files of ingest.mappings.{name} must be a glob or a list of globs");
            at(globs, what, "write files = [\"state/events/*.jsonl\"]")
        })?,
        None => {
            let what = format!("ingest.mappings.{name} names no files");
            return Err(at(
                entry,
                what,
                "write files = [\"state/events/*.jsonl\"]; [] where only --preset asks for it",
            ));
        }
    };
    let fields = table.iter().filter(|(key, _)| key.get_ref() != "files");
    let fields: Map<String, Value> = fields
        .map(|(key, value)| (key.get_ref().to_string(), as_json(value.get_ref())))
        .collect();
    let refused = |error: Error| match error {
        Error::Refused { what, remedy } => Problem::new(file.place(&entry.span()), what, remedy),
        other => Problem::new(file.place(&entry.span()), other.to_string(), "mend the mapping"),
    };
    let format = Format::mapping(name, &fields).map_err(refused)?;
    let files =
        glob_set(root, &globs).map_err(|error| at(entry, format!("files: {error}"), "mend the glob"))?;
    let mut shown = fields;
    shown.insert("files".to_owned(), json!(globs));
    let mapping = LineMapping {
        files,
        format: Arc::new(format),
    };
    Ok((mapping, Value::Object(shown)))
}

fn refuse_unknown(file: &File<'_>, name: &str, table: &DeTable<'_>) -> Result<(), Problem> {
    let known: Vec<&str> = MAPPING_KEYS.into_iter().chain(["files"]).collect();
    let unknown = table.keys().find(|key| !known.contains(&key.get_ref().as_ref()));
    unknown.map_or(Ok(()), |key| {
        Err(Problem::new(
            file.place(&key.span()),
            format!("unknown key {} in [ingest.mappings.{name}]", key.get_ref()),
            suggest(key.get_ref(), &known),
        ))
    })
}

fn read_globs(value: &Located<'_>) -> Option<Vec<String>> {
    match value.get_ref() {
        DeValue::String(glob) => Some(vec![glob.to_string()]),
        DeValue::Array(globs) => globs
            .iter()
            .map(|glob| glob.get_ref().as_str().map(str::to_owned))
            .collect(),
        _ => None,
    }
}

fn glob_set(root: &Path, globs: &[String]) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    let base = globset::escape(&root.to_string_lossy());
    for glob in globs {
        let anchored = if glob.starts_with('/') {
            glob.clone()
        } else {
            format!("{base}/{glob}")
        };
        set.add(GlobBuilder::new(&anchored).literal_separator(true).build()?);
    }
    set.build()
}

/// What is no text is refused by who reads the mapping.
fn as_json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Array(items) => items.iter().map(|item| as_json(item.get_ref())).collect(),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod shape_tests {
    use super::*;

    #[test]
    fn the_reference_names_every_field_of_a_mapping() {
        let mut known: Vec<&str> = MAPPING_KEYS.into_iter().chain(["files"]).collect();
        let mut named = TABLE.keys();
        known.sort_unstable();
        named.sort_unstable();
        assert_eq!(known, named);
    }
}
