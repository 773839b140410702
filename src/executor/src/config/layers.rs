//! The layers of the configuration, and how one value is picked from them.

use super::error::{Problem, nearest};
use super::file::{File, article};
use super::{NAMES, Row};
use runchain_core::capture::Capture;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::DeValue;

/// An option of the command line that sets a key.
#[derive(Debug, Clone)]
pub(crate) struct Flag {
    /// As the user writes it: `--db`.
    pub(crate) name: &'static str,
    /// The key that it sets.
    pub(crate) key: &'static str,
    /// The value as given.
    pub(crate) text: OsString,
}

/// What the process was started in: taken once, so that nothing else asks for it.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    /// The current folder.
    pub(crate) folder: PathBuf,
    /// The variables whose names begin with `RUNCHAIN_`.
    pub(crate) variables: BTreeMap<String, OsString>,
}

impl Surroundings {
    /// Those of this process.
    ///
    /// # Errors
    /// The current folder can't be told, for example because it was deleted.
    pub(crate) fn of_process() -> Result<Self, super::ConfigError> {
        let folder = std::env::current_dir().map_err(|error| {
            Problem::new(
                None,
                format!("can't tell the current folder: {error}"),
                "change to one that exists",
            )
        })?;
        let ours = |(name, text): (OsString, OsString)| Some((name.into_string().ok()?, text));
        let variables = std::env::vars_os()
            .filter_map(ours)
            .filter(|(name, _)| name.starts_with("RUNCHAIN_"));
        Ok(Self {
            folder,
            variables: variables.collect(),
        })
    }

    /// A variable's text; an empty one counts as not set.
    pub(super) fn variable(&self, name: &str) -> Option<&OsStr> {
        self.variables
            .get(name)
            .map(OsString::as_os_str)
            .filter(|text| !text.is_empty())
    }
}

/// The environment variable of a key: `archive.settle_ms` is `RUNCHAIN_ARCHIVE_SETTLE_MS`.
pub(super) fn variable_of(key: &str) -> String {
    format!("RUNCHAIN_{}", key.replace('.', "_").to_ascii_uppercase())
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// An option.
    Flag(&'static str),
    /// An environment variable.
    Environment(String),
    /// A line of the configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// 1-based.
        line: usize,
    },
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

impl Source {
    /// The same for machines.
    pub(super) fn json(&self) -> Value {
        match self {
            Self::Flag(name) => json!({"layer": "flag", "name": name}),
            Self::Environment(name) => json!({"layer": "environment", "name": name}),
            Self::File { path, line } => {
                json!({"layer": "file", "path": path.to_string_lossy(), "line": line})
            }
            Self::Default => json!({"layer": "default"}),
        }
    }
}

/// What picking leaves behind besides the values.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// Each value's origin.
    pub(super) rows: Vec<Row>,
    /// What was wrong.
    pub(super) problems: Vec<Problem>,
}

impl Gathered {
    /// Begins with what the file itself had to say.
    pub(super) fn of_file(file: Option<&File<'_>>) -> Self {
        Self {
            rows: Vec::new(),
            problems: file.map(|file| file.problems.clone()).unwrap_or_default(),
        }
    }
}

/// All layers, and the folders that relative paths start from.
#[derive(Debug)]
pub(super) struct Layers<'a> {
    /// Options.
    pub(super) flags: &'a [Flag],
    /// Environment and current folder.
    pub(super) around: &'a Surroundings,
    /// The configuration file.
    pub(super) file: Option<&'a File<'a>>,
    /// Base of relative paths in the file and in defaults.
    pub(super) root: &'a Path,
}

impl Layers<'_> {
    /// The value of a key from the highest layer that has it. A wrong one becomes a problem and the
    /// default stands in, so that the rest can be checked too.
    pub(super) fn pick<T: Setting>(
        &self,
        key: &'static str,
        default: T,
        limits: Option<&RangeInclusive<i64>>,
        gathered: &mut Gathered,
    ) -> T {
        let (found, source, place) = self.look(key, &default);
        let within = |value: &T| match (limits, value.number()) {
            (Some(limits), Some(number)) if !limits.contains(&number) => Err(format!(
                "{key} is {number}, outside {} to {}",
                limits.start(),
                limits.end()
            )),
            _ => Ok(()),
        };
        let checked = found
            .map_err(|given| format!("{key} must be {}, not {given}", T::EXPECTED))
            .and_then(|value| within(&value).map(|()| value));
        let value = checked.unwrap_or_else(|what| {
            let remedy = format!("leave it out for the default {}", default.json());
            gathered.problems.push(Problem::new(place, what, remedy));
            default
        });
        let base = match source {
            Source::Flag(_) | Source::Environment(_) => &self.around.folder,
            Source::File { .. } | Source::Default => self.root,
        };
        let value = value.anchored(base);
        gathered.rows.push(Row {
            key: key.to_owned(),
            value: value.json(),
            source,
        });
        value
    }

    /// The highest layer's value, or how the wrong one reads; where it came from; its exact place.
    fn look<T: Setting>(&self, key: &str, default: &T) -> (Result<T, String>, Source, Option<String>) {
        let textual = |text: &OsStr, source: Source| {
            let place = Some(source.to_string());
            (
                T::from_text(text).ok_or_else(|| format!("{text:?}")),
                source,
                place,
            )
        };
        if let Some(flag) = self.flags.iter().find(|flag| flag.key == key) {
            return textual(&flag.text, Source::Flag(flag.name));
        }
        let variable = variable_of(key);
        if let Some(text) = self.around.variable(&variable) {
            return textual(text, Source::Environment(variable));
        }
        let Some((file, value)) = self.file.and_then(|file| Some((file, file.value(key)?))) else {
            return (Ok(default.clone()), Source::Default, None);
        };
        let source = Source::File {
            path: file.path().to_owned(),
            line: file.line(&value.span()),
        };
        let read = T::from_toml(value.get_ref()).ok_or_else(|| article(value.get_ref().type_str()));
        (read, source, file.place(&value.span()))
    }

    /// Variables that look like a misspelt key. Others may carry the prefix: steps get some.
    pub(super) fn notes(&self) -> Vec<String> {
        let known: Vec<String> = NAMES
            .iter()
            .map(|key| variable_of(key))
            .chain(["RUNCHAIN_CONFIG".into()])
            .collect();
        let words: Vec<&str> = known
            .iter()
            .filter_map(|name| name.strip_prefix("RUNCHAIN_"))
            .collect();
        let unknown = self.around.variables.keys().filter(|name| !known.contains(name));
        unknown
            .filter_map(|name| {
                let right = nearest(name.strip_prefix("RUNCHAIN_")?, &words)?;
                Some(format!("{name} sets nothing; did you mean RUNCHAIN_{right}?"))
            })
            .collect()
    }
}

/// A type that a key can have.
pub(super) trait Setting: Clone {
    /// For "must be ...".
    const EXPECTED: &'static str;
    /// From the file; `None` when the type is wrong.
    fn from_toml(value: &DeValue<'_>) -> Option<Self>;
    /// From a flag or a variable; `None` when it can't be read.
    fn from_text(text: &OsStr) -> Option<Self>;
    /// For `config show`.
    fn json(&self) -> Value;
    /// For limits.
    fn number(&self) -> Option<i64> {
        None
    }
    /// Relative paths become absolute.
    fn anchored(self, _base: &Path) -> Self {
        self
    }
}

impl Setting for PathBuf {
    const EXPECTED: &'static str = "a path";

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        value.as_str().filter(|text| !text.is_empty()).map(Self::from)
    }

    fn from_text(text: &OsStr) -> Option<Self> {
        (!text.is_empty()).then(|| Self::from(text))
    }

    fn json(&self) -> Value {
        self.to_string_lossy().into()
    }

    fn anchored(self, base: &Path) -> Self {
        base.join(self)
    }
}

impl Setting for Vec<PathBuf> {
    const EXPECTED: &'static str = "a list of paths";

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        let items = value.as_array()?.iter().map(Spanned::get_ref);
        items.map(PathBuf::from_toml).collect()
    }

    /// Separated as in PATH; where one ends in a newline, by newlines only: an option given several times.
    fn from_text(text: &OsStr) -> Option<Self> {
        let bytes = text.as_bytes();
        let separator = if bytes.contains(&b'\n') { b'\n' } else { b':' };
        let items = bytes.split(|byte| *byte == separator);
        let items = items.filter(|item| !item.is_empty());
        Some(items.map(|item| OsStr::from_bytes(item).into()).collect())
    }

    fn json(&self) -> Value {
        self.iter().map(Setting::json).collect()
    }

    fn anchored(self, base: &Path) -> Self {
        self.into_iter().map(|path| path.anchored(base)).collect()
    }
}

impl Setting for bool {
    const EXPECTED: &'static str = "true or false";

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        value.as_bool()
    }

    fn from_text(text: &OsStr) -> Option<Self> {
        text.to_str()?.trim().parse().ok()
    }

    fn json(&self) -> Value {
        (*self).into()
    }
}

impl Setting for Vec<String> {
    const EXPECTED: &'static str = "a list of strings";

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        value
            .as_array()?
            .iter()
            .map(|item| item.get_ref().as_str().map(str::to_owned))
            .collect()
    }

    /// Separated by commas; a name with a comma needs the file.
    fn from_text(text: &OsStr) -> Option<Self> {
        let items = text.to_str()?.split(',').map(str::trim);
        Some(items.filter(|item| !item.is_empty()).map(str::to_owned).collect())
    }

    fn json(&self) -> Value {
        self.as_slice().into()
    }
}

impl Setting for Capture {
    const EXPECTED: &'static str = "\"triggers\" or \"sweep\"";

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        Self::from_word(value.as_str()?)
    }

    fn from_text(text: &OsStr) -> Option<Self> {
        Self::from_word(text.to_str()?)
    }

    fn json(&self) -> Value {
        self.as_str().into()
    }
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Setting for $type {
            const EXPECTED: &'static str = "a whole number";

            fn from_toml(value: &DeValue<'_>) -> Option<Self> {
                let integer = value.as_integer()?;
                Self::from_str_radix(integer.as_str(), integer.radix()).ok()
            }

            fn from_text(text: &OsStr) -> Option<Self> {
                text.to_str()?.trim().replace('_', "").parse().ok()
            }

            fn json(&self) -> Value {
                (*self).into()
            }

            fn number(&self) -> Option<i64> {
                i64::try_from(*self).ok()
            }
        }
    )*};
}
numbers!(i64, u32, usize);
