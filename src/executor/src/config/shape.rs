//! What can stand in a configuration file, as data: the one source of `config reference`, `config schema`
//! and the suggestions for unknown keys.
//!
//! Single keys come from the list in `config`, tables of the user's own naming (`[steps.NAME]`,
//! `[[flags]]`) from the [`Table`] beside the code that reads them. What does not belong here: reading.

use super::layers::Setting;
use serde_json::{Value, json};
use std::ops::RangeInclusive;

/// A single key.
#[derive(Debug)]
pub(super) struct Key {
    /// Dotted name.
    pub(super) name: &'static str,
    /// What it is, a sentence or two.
    pub(super) doc: &'static str,
    /// What holds where nobody says anything.
    pub(super) default: Value,
    /// Its limits, where it is a number that has some.
    pub(super) limits: Option<RangeInclusive<i64>>,
    /// "a whole number".
    pub(super) expected: &'static str,
    /// As JSON Schema, limits and default included.
    pub(super) schema: Value,
}

impl Key {
    /// The key of a type.
    pub(super) fn of<T: Setting>(
        name: &'static str,
        doc: &'static str,
        default: &T,
        limits: Option<&RangeInclusive<i64>>,
    ) -> Self {
        let (default, doc) = (default.json(), doc.trim());
        let mut schema = T::schema();
        schema["description"] = doc.into();
        schema["default"] = default.clone();
        if let Some(limits) = limits {
            schema["minimum"] = (*limits.start()).into();
            schema["maximum"] = (*limits.end()).into();
        }
        Self {
            name,
            doc,
            default,
            limits: limits.cloned(),
            expected: T::EXPECTED,
            schema,
        }
    }
}

/// A table whose name, or number, is the user's.
#[derive(Debug)]
pub(super) struct Table {
    /// As it is written: `[steps.NAME]`.
    pub(super) heading: &'static str,
    /// What it is for.
    pub(super) doc: &'static str,
    /// Its keys.
    pub(super) fields: &'static [Field],
}

impl Table {
    /// Whether there is a list of them: `[[flags]]`.
    pub(super) fn is_list(&self) -> bool {
        self.heading.starts_with("[[")
    }

    /// Whether there is one of them, under its own name: `[deadman]`.
    pub(super) fn is_single(&self) -> bool {
        !self.is_list() && !self.heading.contains("NAME")
    }

    /// The names up to the user's own: `steps`, `flags`.
    pub(super) fn path(&self) -> Vec<&'static str> {
        let words = self.heading.trim_matches(['[', ']']).split('.');
        words.filter(|word| *word != "NAME").collect()
    }

    /// The names of its keys.
    pub(super) fn keys(&self) -> Vec<&'static str> {
        self.fields.iter().map(|field| field.name).collect()
    }

    /// Between which numbers the value of a key must be.
    pub(super) fn limits(&self, key: &str) -> RangeInclusive<i64> {
        let field = self.fields.iter().find(|field| field.name == key);
        match field.map(|field| field.kind) {
            Some(Kind::Integer(low, high)) => low..=high,
            _ => {
                debug_assert!(false, "{key} is no number of {}", self.heading);
                i64::MIN..=i64::MAX
            }
        }
    }

    /// One such table.
    pub(super) fn schema(&self) -> Value {
        let fields = self
            .fields
            .iter()
            .map(|field| (field.name.to_owned(), field.schema()));
        let required: Vec<&str> = self
            .fields
            .iter()
            .filter(|field| field.is_required)
            .map(|field| field.name)
            .collect();
        let mut one = json!({
            "type": "object", "description": self.doc, "additionalProperties": false,
            "properties": fields.collect::<serde_json::Map<_, _>>(),
        });
        if !required.is_empty() {
            one["required"] = json!(required);
        }
        one
    }
}

/// A key of a table.
#[derive(Debug)]
pub(super) struct Field {
    /// Its name.
    pub(super) name: &'static str,
    /// What its value looks like.
    pub(super) kind: Kind,
    /// Whether every table must have it.
    pub(super) is_required: bool,
    /// What holds where it is left out, in words or as TOML.
    pub(super) default: &'static str,
    /// What it is.
    pub(super) doc: &'static str,
}

/// What a value looks like.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// A string.
    Text,
    /// A list of strings.
    Texts,
    /// A string, or a list of them.
    TextOrTexts,
    /// true or false.
    Bool,
    /// A whole number between two others.
    Integer(i64, i64),
    /// A table of strings.
    TextTable,
    /// A table whose values are one of these words.
    WordTable(&'static [&'static str]),
    /// A table of values or lists of them.
    Conditions,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A string, a number, true or false.
    Scalar,
}

impl Kind {
    /// For the reference.
    pub(super) fn words(self) -> String {
        match self {
            Self::Text => "string".to_owned(),
            Self::Texts => "list of strings".to_owned(),
            Self::TextOrTexts => "string, or list of strings".to_owned(),
            Self::Bool => "true or false".to_owned(),
            Self::Integer(low, high) => format!("{low} to {high}"),
            Self::TextTable => "table of strings".to_owned(),
            Self::WordTable(words) => format!("table of the words {}", words.join(", ")),
            Self::Conditions => "table of values, or of lists of values".to_owned(),
            Self::Word(words) => words.join(", "),
            Self::Scalar => "string, number, true or false".to_owned(),
        }
    }

    fn schema(self) -> Value {
        let scalar = json!({"type": ["string", "number", "boolean"]});
        match self {
            Self::Text => json!({"type": "string"}),
            Self::Texts => json!({"type": "array", "items": {"type": "string"}}),
            Self::TextOrTexts => {
                json!({"type": ["string", "array"], "items": {"type": "string"}})
            }
            Self::Bool => json!({"type": "boolean"}),
            Self::Integer(low, high) => json!({"type": "integer", "minimum": low, "maximum": high}),
            Self::TextTable => json!({"type": "object", "additionalProperties": {"type": "string"}}),
            Self::WordTable(words) => json!({"type": "object", "additionalProperties": {"enum": words}}),
            Self::Conditions => json!({"type": "object", "additionalProperties": {
                "anyOf": [scalar, {"type": "array", "items": scalar}]
            }}),
            Self::Word(words) => json!({"enum": words}),
            Self::Scalar => scalar,
        }
    }
}

impl Field {
    /// A key that may be left out, and then nothing takes its place.
    pub(super) const fn new(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self {
            name,
            kind,
            is_required: false,
            default: "none",
            doc,
        }
    }

    /// The same, where every table must have it.
    pub(super) const fn required(self) -> Self {
        Self {
            is_required: true,
            default: "required",
            ..self
        }
    }

    /// The same, with what holds where it is left out.
    pub(super) const fn or(self, default: &'static str) -> Self {
        Self { default, ..self }
    }

    fn schema(&self) -> Value {
        let mut schema = self.kind.schema();
        schema["description"] = self.doc.into();
        schema
    }
}
