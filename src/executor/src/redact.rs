//! Redaction: what must not leave the database, by column, by place in JSON, by name.
//!
//! Whatever carries the user's data out (rows in bags, reports, log lines, the standard input of
//! commands) passes it through here. Invariant: a value that a rule names is replaced by [`MARKER`]
//! whole, whatever it is, and never by something derived from it; JSON that holds none stays byte for
//! byte. What does not belong here: files of the user's (they are copied as they are), and free text
//! that repeats a secret: name its column.

mod repeats;

use crate::config::Settings;
use globset::{GlobBuilder, GlobMatcher};
use serde_json::{Map, Value};

/// What stands in the place of a value.
pub(crate) const MARKER: &str = "[redacted]";

/// The rules of `[redact]`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Redactor {
    /// `table.column` in lower case; the table may be `*`.
    columns: Vec<(String, String)>,
    paths: Vec<Vec<Part>>,
    keys: Vec<GlobMatcher>,
}

/// One part of a path into JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Key(String),
    Index(usize),
    /// Every member or item.
    Any,
}

/// What the rules do to one column of one table.
#[derive(Debug, Clone)]
pub(crate) struct ColumnRule<'a> {
    redactor: &'a Redactor,
    whole: bool,
}

impl Redactor {
    /// The configured rules; a wrong one is an error of the configuration.
    ///
    /// # Errors
    /// What is wrong, in words, for each wrong rule.
    pub(crate) fn of(settings: &Settings) -> Result<Self, Vec<String>> {
        Self::parse(
            &settings.redact_columns,
            &settings.redact_json_paths,
            &settings.redact_keys,
        )
    }

    /// Rules that were checked when the configuration was read.
    pub(crate) fn checked(settings: &Settings) -> Self {
        Self::of(settings).unwrap_or_default()
    }

    fn parse(columns: &[String], paths: &[String], keys: &[String]) -> Result<Self, Vec<String>> {
        let mut wrong = Vec::new();
        let mut rules = Self::default();
        for text in columns {
            match text.rsplit_once('.') {
                Some((table, column)) if !table.is_empty() && !column.is_empty() => {
                    rules.columns.push((table.to_lowercase(), column.to_lowercase()));
                }
                _ => wrong.push(format!(
                    "redact.columns: {text:?} is not table.column (or *.column)"
                )),
            }
        }
        for text in paths {
            match parse_path(text) {
                Some(path) => rules.paths.push(path),
                None => wrong.push(format!(
                    "redact.json_paths: {text:?} is not a path like $.key, $.list[*].key or $.list[0]"
                )),
            }
        }
        for text in keys {
            match GlobBuilder::new(text).case_insensitive(true).build() {
                Ok(glob) => rules.keys.push(glob.compile_matcher()),
                Err(error) => wrong.push(format!("redact.keys: {error}")),
            }
        }
        if wrong.is_empty() { Ok(rules) } else { Err(wrong) }
    }

    /// What applies to a column.
    pub(crate) fn column(&self, table: &str, column: &str) -> ColumnRule<'_> {
        let (table, column) = (table.to_lowercase(), column.to_lowercase());
        let named = |rule: &(String, String)| (rule.0 == "*" || rule.0 == table) && rule.1 == column;
        ColumnRule {
            redactor: self,
            whole: self.columns.iter().any(named) || self.is_secret_key(&column),
        }
    }

    /// Redacts a row that was made an object, column by column; answers how many values went.
    pub(crate) fn row(&self, table: &str, row: &mut Map<String, Value>) -> usize {
        let mut count = 0;
        for (name, value) in row {
            let rule = self.column(table, name);
            match value {
                Value::Null => {}
                _ if rule.whole => count += replace(value),
                Value::String(text) => {
                    if let Some((redacted, found)) = rule.json_text(text) {
                        *text = redacted;
                        count += found;
                    }
                }
                other => match blob_text(other).and_then(|text| rule.json_text(&text)) {
                    Some((redacted, found)) => {
                        *other = Value::from(redacted);
                        count += found;
                    }
                    None => count += self.json(other),
                },
            }
        }
        count
    }

    /// Redacts JSON by paths and keys; answers how many values went.
    pub(crate) fn json(&self, value: &mut Value) -> usize {
        let by_path: usize = self.paths.iter().map(|path| at_path(value, path)).sum();
        by_path + self.by_keys(value)
    }

    fn by_keys(&self, value: &mut Value) -> usize {
        if self.keys.is_empty() {
            return 0;
        }
        match value {
            Value::Object(members) => members
                .iter_mut()
                .map(|(key, member)| match self.is_secret_key(key) {
                    true => replace(member),
                    false => self.by_keys(member),
                })
                .sum(),
            Value::Array(items) => items.iter_mut().map(|item| self.by_keys(item)).sum(),
            // JSON inside a string of JSON is as readable.
            Value::String(text) => match self.text(text) {
                Some((redacted, count)) => {
                    *text = redacted;
                    count
                }
                None => 0,
            },
            _ => 0,
        }
    }

    fn text(&self, text: &str) -> Option<(String, usize)> {
        if (self.keys.is_empty() && self.paths.is_empty()) || !text.trim_start().starts_with(['{', '[']) {
            return None;
        }
        let mut value: Value = serde_json::from_str(text).ok()?;
        let count = self.json(&mut value);
        (count > 0).then(|| (value.to_string(), count))
    }

    fn is_secret_key(&self, key: &str) -> bool {
        self.keys.iter().any(|glob| glob.is_match(key))
    }
}

impl ColumnRule<'_> {
    /// Whether every value of the column goes, but for NULL.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Text that is JSON, redacted; `None` when it stays as it is.
    pub(crate) fn json_text(&self, text: &str) -> Option<(String, usize)> {
        self.redactor.text(text)
    }

    /// Any text of the column as it may leave.
    pub(crate) fn text(&self, text: String) -> String {
        if self.whole {
            return MARKER.to_owned();
        }
        self.json_text(&text).map_or(text, |(redacted, _)| redacted)
    }
}

/// The text of a BLOB as rows have it: `{"blob_hex": "7b7d"}`.
fn blob_text(value: &Value) -> Option<String> {
    let members = value.as_object().filter(|members| members.len() == 1)?;
    let hex = members.get("blob_hex")?.as_str()?.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = hex.chunks(2).map(byte).collect();
    String::from_utf8(bytes?).ok()
}

/// One value goes; NULL tells nothing, and what was redacted before counts once.
fn replace(value: &mut Value) -> usize {
    if value.is_null() || value == MARKER {
        return 0;
    }
    *value = Value::from(MARKER);
    1
}

fn at_path(value: &mut Value, path: &[Part]) -> usize {
    let Some((part, rest)) = path.split_first() else {
        return replace(value);
    };
    match (part, value) {
        (Part::Key(key), Value::Object(members)) => {
            members.get_mut(key).map_or(0, |member| at_path(member, rest))
        }
        (Part::Index(index), Value::Array(items)) => {
            items.get_mut(*index).map_or(0, |item| at_path(item, rest))
        }
        (Part::Any, Value::Array(items)) => items.iter_mut().map(|item| at_path(item, rest)).sum(),
        (Part::Any, Value::Object(members)) => members.values_mut().map(|item| at_path(item, rest)).sum(),
        _ => 0,
    }
}

/// `$.key.other[0].list[*].x`, with `*` for any key.
fn parse_path(text: &str) -> Option<Vec<Part>> {
    let mut rest = text.strip_prefix('$')?;
    let mut path = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let (inside, after) = after.split_once(']')?;
            path.push(match inside {
                "*" => Part::Any,
                _ => Part::Index(inside.parse().ok()?),
            });
            rest = after;
        } else {
            let after = rest.strip_prefix('.')?;
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (key, after) = after.split_at(end);
            path.push(match key {
                "" => return None,
                "*" => Part::Any,
                _ => Part::Key(key.to_owned()),
            });
            rest = after;
        }
    }
    (!path.is_empty()).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rules(columns: &[&str], paths: &[&str], keys: &[&str]) -> Redactor {
        let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        Redactor::parse(&owned(columns), &owned(paths), &owned(keys)).unwrap()
    }

    #[test]
    fn values_go_whole_by_path_and_by_key_wherever_they_stand() {
        let rules = rules(
            &[],
            &["$.auth.token", "$.steps[*].env", "$.list[1]"],
            &["*password*"],
        );
        let mut value = json!({
            "auth": {"token": {"value": "s3cret"}, "user": "u"}, "steps": [{"env": "A=s3cret"}, {"env": null}],
            "list": [1, 2], "deep": [{"DB_Password": 17}], "text": "{\"password\":\"s3cret\",\"n\":1}",
        });
        assert_eq!(rules.json(&mut value), 5);
        assert_eq!(
            value,
            json!({
                "auth": {"token": MARKER, "user": "u"}, "steps": [{"env": MARKER}, {"env": null}],
                "list": [1, MARKER], "deep": [{"DB_Password": MARKER}],
                "text": "{\"password\":\"[redacted]\",\"n\":1}",
            })
        );
        assert_eq!(
            rules.json(&mut value),
            0,
            "what is redacted is not redacted again"
        );
    }

    #[test]
    fn a_column_goes_by_its_table_or_by_its_name_and_other_json_stays_byte_for_byte() {
        let rules = rules(&["Runs.metadata_json", "*.notes"], &["$.token"], &["*secret*"]);
        assert!(rules.column("runs", "METADATA_JSON").is_whole());
        assert!(!rules.column("steps", "metadata_json").is_whole());
        assert!(rules.column("anything", "notes").is_whole());
        assert!(rules.column("steps", "client_secret").is_whole());
        let plain = rules.column("steps", "result");
        assert_eq!(plain.json_text("{ \"n\": 1.50 }"), None);
        assert_eq!(plain.json_text("no json {"), None);
        assert_eq!(
            plain.json_text("{ \"token\": 1 }"),
            Some(("{\"token\":\"[redacted]\"}".to_owned(), 1))
        );
    }

    #[test]
    fn wrong_rules_are_told_all_at_once() {
        let text = |text: &str| vec![text.to_owned()];
        let wrong = Redactor::parse(&text("metadata"), &text("token"), &text("a[")).unwrap_err();
        assert_eq!(wrong.len(), 3, "{wrong:?}");
        for path in ["$", "$..a", "$.a[", "$.a[x]", "$a"] {
            assert_eq!(parse_path(path), None, "{path}");
        }
    }
}
