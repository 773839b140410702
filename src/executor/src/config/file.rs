//! `runchain.toml`: reads it, refuses what it does not know, and keeps the place of every value.

use super::error::{ConfigError, Problem, suggest};
use super::{NAMES, trust};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The table of tables that say how the lines of event logs are understood.
const MAPPINGS: &str = "ingest.mappings";

/// The text of a configuration file.
#[derive(Debug)]
pub(super) struct Document {
    path: PathBuf,
    text: String,
}

impl Document {
    /// Reads the file, if nobody else could have written it.
    pub(super) fn read(path: PathBuf) -> Result<Self, ConfigError> {
        let problems = trust::problems(&path);
        if !problems.is_empty() {
            return Err(ConfigError { problems });
        }
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Self { path, text }),
            Err(error) => Err(Problem::new(
                Some(path.display().to_string()),
                format!("can't read the configuration file: {error}"),
                "name a readable UTF-8 file with --config or RUNCHAIN_CONFIG",
            )
            .into()),
        }
    }

    /// Folder that the file's relative paths start from.
    pub(super) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// 1-based line of a byte.
    fn line(&self, at: usize) -> usize {
        self.before(at).matches('\n').count() + 1
    }

    /// `path:line:column`, in characters.
    fn place(&self, span: &Range<usize>) -> String {
        let before = self.before(span.start);
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        format!("{}:{}:{column}", self.path.display(), self.line(span.start))
    }

    fn before(&self, at: usize) -> &str {
        self.text.get(..at).unwrap_or(&self.text)
    }
}

/// A value with its place.
pub(super) type Located<'a> = Spanned<DeValue<'a>>;

/// What a configuration file says.
#[derive(Debug)]
pub(super) struct File<'a> {
    document: &'a Document,
    /// By dotted name; every name is one of [`NAMES`].
    values: BTreeMap<String, Located<'a>>,
    /// The tables below `[steps]`, not looked into yet.
    pub(super) steps: Vec<(String, Located<'a>)>,
    /// The entries of `[[flags]]`, not looked into yet.
    pub(super) flags: Vec<Located<'a>>,
    /// The tables below `[alerts.rules]`, not looked into yet.
    pub(super) alert_rules: Vec<(String, Located<'a>)>,
    /// The tables below `[alerts.channels]`, not looked into yet.
    pub(super) alert_channels: Vec<(String, Located<'a>)>,
    /// `[deadman]`, not looked into yet.
    pub(super) deadman: Option<Located<'a>>,
    /// The tables below `[ingest.mappings]`, not looked into yet.
    pub(super) mappings: Vec<(String, Located<'a>)>,
    /// Keys that are not known.
    pub(super) problems: Vec<Problem>,
}

impl<'a> File<'a> {
    /// Parses a document. Unknown keys become `problems`, a syntax error is returned.
    pub(super) fn parse(document: &'a Document) -> Result<Self, ConfigError> {
        let root = DeTable::parse(&document.text).map_err(|error| {
            let place = document.place(&error.span().unwrap_or(0..0));
            let remedy = "write it as TOML: key = value";
            Problem::new(Some(place), error.message().replace('\n', ", "), remedy)
        })?;
        let mut file = Self {
            document,
            values: BTreeMap::new(),
            steps: Vec::new(),
            flags: Vec::new(),
            alert_rules: Vec::new(),
            alert_channels: Vec::new(),
            deadman: None,
            mappings: Vec::new(),
            problems: Vec::new(),
        };
        file.walk("", root.into_inner());
        Ok(file)
    }

    /// The file's path.
    pub(super) fn path(&self) -> &Path {
        &self.document.path
    }

    /// The value of a key, where the file has it.
    pub(super) fn value(&self, key: &str) -> Option<&Located<'a>> {
        self.values.get(key)
    }

    /// Line of a value.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        self.document.line(span.start)
    }

    /// `path:line:column` of a value.
    pub(super) fn place(&self, span: &Range<usize>) -> Option<String> {
        Some(self.document.place(span))
    }

    /// Sorts one table's keys: values, sections, steps, and what is not known.
    fn walk(&mut self, prefix: &str, table: DeTable<'a>) {
        for (key, value) in table {
            let name = format!("{prefix}{}", key.get_ref());
            if NAMES.contains(&name.as_str()) {
                self.values.insert(name, value);
            } else if name == "flags" {
                match value.into_inner() {
                    DeValue::Array(entries) => self.flags = entries.into_iter().collect(),
                    // One that isn't a list of tables is refused where it is read.
                    other => self.flags = vec![Spanned::new(key.span(), other)],
                }
            } else if name == "deadman" {
                self.deadman = Some(value);
            } else if NESTED.contains(&name.as_str()) || sections().any(|section| section == name) {
                self.section(&name, value);
            } else {
                self.unknown(prefix, key.get_ref(), &key.span());
            }
        }
    }

    fn section(&mut self, name: &str, value: Located<'a>) {
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(table) if name == "steps" => self.steps = named(table),
            DeValue::Table(table) if name == "alerts.rules" => self.alert_rules = named(table),
            DeValue::Table(table) if name == "alerts.channels" => self.alert_channels = named(table),
            DeValue::Table(table) if name == MAPPINGS => self.mappings = named(table),
            DeValue::Table(table) => self.walk(&format!("{name}."), table),
            other => self.problems.push(Problem::new(
                self.place(&span),
                format!("{name} must be a table, not {}", article(other.type_str())),
                format!("write [{name}] and its keys below"),
            )),
        }
    }

    fn unknown(&mut self, prefix: &str, key: &str, span: &Range<usize>) {
        let known: Vec<&str> = if prefix.is_empty() {
            let top = NAMES.iter().copied().filter(|name| !name.contains('.'));
            let tables = ["steps", "flags", "alerts", "deadman"];
            top.chain(sections()).chain(tables).collect()
        } else {
            let nested = NESTED.iter().filter_map(|name| name.strip_prefix(prefix));
            NAMES
                .iter()
                .chain([&MAPPINGS])
                .filter_map(|name| name.strip_prefix(prefix))
                .chain(nested)
                .collect()
        };
        let elsewhere = NAMES
            .iter()
            .filter_map(|name| name.rsplit_once('.'))
            .find(|&(_, last)| last == key);
        let remedy = match elsewhere {
            Some((section, _)) => format!("it belongs into [{section}]"),
            None => suggest(key, &known),
        };
        self.problems.push(Problem::new(
            self.place(span),
            format!("unknown key {prefix}{key}"),
            remedy,
        ));
    }
}

/// Tables of tables that the user names.
const NESTED: [&str; 5] = ["steps", MAPPINGS, "alerts", "alerts.rules", "alerts.channels"];

/// Tables with names that the user gives.
fn named<'a>(table: DeTable<'a>) -> Vec<(String, Located<'a>)> {
    let entries = table.into_iter();
    entries
        .map(|(key, value)| (key.into_inner().into_owned(), value))
        .collect()
}

/// The tables of the file, but for `steps`.
fn sections() -> impl Iterator<Item = &'static str> {
    let all = NAMES
        .iter()
        .filter_map(|name| name.split_once('.'))
        .map(|(section, _)| section);
    all.scan("", |last, section| {
        Some((std::mem::replace(last, section) != section).then_some(section))
    })
    .flatten()
}

/// "an integer", "a string": for sentences about types.
pub(super) fn article(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {kind}")
}
