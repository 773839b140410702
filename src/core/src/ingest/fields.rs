//! One line to one event.
//!
//! Every line ends here as an event, as nothing or as a reason. Which key is which field the
//! [`Format`] says. Values are borrowed from the line where they can be; `details` and the fields
//! without a column stay the JSON text that they were.

use super::format::{Field, Format, Level, Target};
use super::scan::{self, Raw};
use super::when;
use crate::Millis;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

/// Objects and arrays deeper than this are rejected: whoever reads the JSON again (SQLite, Python,
/// serde_json) has such a limit, and a row that nobody can parse is no use.
const MAX_DEPTH: usize = 128;

/// An event as it stands in its line.
#[derive(Debug)]
pub(super) struct Event<'a> {
    /// `None`: the caller makes one.
    pub(super) id: Option<Cow<'a, str>>,
    pub(super) kind: Cow<'a, str>,
    /// The time as it was written.
    pub(super) at: Option<Cow<'a, str>>,
    /// The time where it could be read.
    pub(super) at_ms: Option<Millis>,
    pub(super) run_id: Option<Cow<'a, str>>,
    pub(super) job_id: Option<Cow<'a, str>>,
    pub(super) step_id: Option<Cow<'a, str>>,
    pub(super) pattern_run_id: Option<Cow<'a, str>>,
    pub(super) pattern_id: Option<Cow<'a, str>>,
    pub(super) status: Option<Cow<'a, str>>,
    /// JSON as it was written.
    pub(super) details: Option<&'a str>,
    /// The other fields, a JSON object.
    pub(super) extra: Option<String>,
    /// The message of its error, where the format names its place.
    error: Option<Cow<'a, str>>,
}

impl Event<'_> {
    /// What went wrong, in the event's own words: where the format says, else `error_message` in its
    /// details.
    pub(super) fn error(&self) -> Option<Cow<'_, str>> {
        #[derive(serde::Deserialize)]
        struct Details<'d> {
            #[serde(borrow)]
            error_message: Option<Cow<'d, str>>,
        }
        let in_details = || {
            serde_json::from_str::<Details<'_>>(self.details?)
                .ok()?
                .error_message
        };
        self.error.as_deref().map(Cow::Borrowed).or_else(in_details)
    }

    /// Whether a time stands there that nobody can read.
    pub(super) fn has_unread_time(&self) -> bool {
        self.at.is_some() && self.at_ms.is_none()
    }
}

/// Reads a line; `None` is a line of nothing but white space, the error is the reason to reject it.
pub(super) fn parse<'a>(line: &'a [u8], format: &'a Format) -> Result<Option<Event<'a>>, String> {
    let line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
    let text = std::str::from_utf8(line)
        .map_err(|error| format!("not UTF-8 from byte {}", error.valid_up_to()))?
        .trim_ascii();
    if text.is_empty() {
        return Ok(None);
    }
    let mut fields = Fields::empty();
    if fields.read_fast(text, format.level()).is_none() {
        // From the beginning: it may be right all the same, and here are the reasons.
        fields = Fields::empty();
        fields.read_strictly(text, format.level())?;
    }
    fields.into_event(format).map(Some)
}

/// Whether brackets are open deeper than anybody reads.
fn too_deep(text: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
    }
    false
}

/// What stands where a field may stand.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    rank: usize,
    key: &'a str,
    value: Raw<'a>,
    /// Of the line's own object, and not of one within it.
    is_top: bool,
}

/// A line's object, sorted into fields.
struct Fields<'a> {
    known: [Option<Candidate<'a>>; Field::ALL.len()],
    /// The keys of the line that are no field.
    rest: Vec<(Cow<'a, str>, &'a str)>,
}

impl<'a> Fields<'a> {
    fn empty() -> Self {
        Self {
            known: [const { None }; Field::ALL.len()],
            rest: Vec::new(),
        }
    }

    fn read_fast(&mut self, text: &'a str, level: &'a Level) -> Option<()> {
        scan::object(text, |key, value| {
            self.take(Cow::Borrowed(key), value, level, true);
        })
    }

    fn read_strictly(&mut self, text: &'a str, level: &'a Level) -> Result<(), String> {
        if too_deep(text.as_bytes()) {
            return Err(format!("nested deeper than {MAX_DEPTH}"));
        }
        let mut json = serde_json::Deserializer::from_str(text);
        let object = Object { fields: self, level };
        object
            .deserialize(&mut json)
            .and_then(|()| json.end())
            .map_err(|error| format!("not a JSON object: {error}"))
    }

    /// Sorts one key and its value, and what a path finds within the value.
    fn take(&mut self, key: Cow<'a, str>, value: Raw<'a>, level: &'a Level, is_top: bool) {
        let Some(node) = level.find(&key) else {
            if is_top {
                self.rest.push((key, value.text));
            }
            return;
        };
        if let Some(below) = node.below.as_ref().filter(|_| value.text.starts_with('{')) {
            // What isn't ordinary within it, such as an escape in a key, is not looked into further.
            self.read_within(value.text, below);
        }
        let candidate = Candidate {
            rank: usize::MAX,
            key: &node.key,
            value,
            is_top,
        };
        self.offer(&node.targets, candidate);
    }

    fn read_within(&mut self, text: &'a str, level: &'a Level) {
        let mut each = |key, value| self.take(Cow::Borrowed(key), value, level, false);
        let each: &mut dyn FnMut(&'a str, Raw<'a>) = &mut each;
        scan::object(text, each);
    }

    /// The value is each of these fields, unless a better one stands there.
    fn offer(&mut self, targets: &[Target], new: Candidate<'a>) {
        let mut is_kept = false;
        for target in targets {
            let place = &mut self.known[target.field as usize];
            if !suits(target.field, new.value.text) || place.is_some_and(|old| old.rank < target.rank) {
                continue;
            }
            let lost = place.replace(Candidate {
                rank: target.rank,
                ..new
            });
            is_kept |= !target.field.has_no_column();
            // Of a key that stands twice the last value wins, and the first is gone.
            if let Some(old) = lost.filter(|old| old.rank > target.rank) {
                self.put_back(old);
            }
        }
        if !is_kept {
            self.put_back(new);
        }
    }

    /// A value that is no field of its own stays what it was. Null is absence where a field was looked for.
    fn put_back(&mut self, lost: Candidate<'a>) {
        let is_elsewhere = || {
            let shown = Field::ALL.iter().filter(|field| !field.has_no_column());
            let mut shown = shown.filter_map(|field| self.known[*field as usize]);
            shown.any(|other| std::ptr::eq(other.value.text, lost.value.text))
        };
        if lost.is_top && lost.value.text != "null" && !is_elsewhere() {
            self.rest.push((Cow::Borrowed(lost.key), lost.value.text));
        }
    }

    fn raw(&self, field: Field) -> Option<&'a str> {
        self.known[field as usize].map(|candidate| candidate.value.text)
    }

    fn text(&self, field: Field) -> Result<Option<Cow<'a, str>>, String> {
        let Some(candidate) = self.known[field as usize] else {
            return Ok(None);
        };
        let text =
            unquote(candidate.value).map_err(|error| format!("{} can't be read: {error}", candidate.key))?;
        Ok((!text.is_empty()).then_some(text))
    }

    fn into_event(self, format: &Format) -> Result<Event<'a>, String> {
        let at = self.text(Field::Time)?;
        let at_ms = self.raw(Field::Time).zip(at.as_deref());
        Ok(Event {
            id: self.id()?,
            kind: self.text(Field::Type)?.ok_or_else(|| no_type(format))?,
            at_ms: at_ms.and_then(|(raw, text)| when::read(raw, text)),
            at,
            run_id: self.text(Field::Run)?,
            job_id: self.text(Field::Job)?,
            step_id: self.text(Field::Step)?,
            pattern_run_id: self.text(Field::PatternRun)?,
            pattern_id: self.text(Field::Pattern)?,
            status: self.text(Field::Status)?,
            details: self.raw(Field::Details),
            extra: object(&self.rest),
            // One that can't be read stands in `extra` or in the details all the same.
            error: self.text(Field::Error).unwrap_or_default(),
        })
    }

    /// A source is a URI, which has no spaces: so both together are as unique as CloudEvents promises.
    fn id(&self) -> Result<Option<Cow<'a, str>>, String> {
        let id = self.text(Field::EventId)?;
        let source = self.text(Field::Source)?;
        Ok(match (id, source) {
            (Some(id), Some(source)) => Some(Cow::Owned(format!("{source} {id}"))),
            (id, _) => id,
        })
    }
}

fn no_type(format: &Format) -> String {
    let places = format.places(Field::Type);
    let shown = places.iter().take(3).map(String::as_str);
    let shown = shown.collect::<Vec<_>>().join(", ");
    let more = if places.len() > 3 { ", ..." } else { "" };
    format!("no event type (looked for {shown}{more})")
}

fn suits(field: Field, value: &str) -> bool {
    match value.as_bytes().first() {
        Some(b'n') | None => false,
        // An object where a word is expected belongs to somebody else's format.
        Some(b'{' | b'[') => field == Field::Details,
        Some(_) => true,
    }
}

/// A string's content; a number or a boolean as it was written, however large.
fn unquote(raw: Raw<'_>) -> Result<Cow<'_, str>, serde_json::Error> {
    if raw.is_plain {
        return Ok(Cow::Borrowed(&raw.text[1..raw.text.len() - 1]));
    }
    if raw.text.starts_with('"') {
        return serde_json::from_str::<String>(raw.text).map(Cow::Owned);
    }
    Ok(Cow::Borrowed(raw.text))
}

/// The fields as one JSON object, of a repeated key the last.
fn object(fields: &[(Cow<'_, str>, &str)]) -> Option<String> {
    if fields.is_empty() {
        return None;
    }
    let mut seen = HashSet::with_capacity(fields.len());
    let mut last: Vec<_> = fields.iter().collect();
    // As they stand in the line: what was a field for a while came here later.
    last.sort_by_key(|(_, value)| std::cmp::Reverse(value.as_ptr()));
    last.retain(|(key, _)| seen.insert(key.as_ref()));
    last.reverse();
    let mut json = String::from("{");
    for (key, value) in last {
        if json.len() > 1 {
            json.push(',');
        }
        json.push_str(&quote(key));
        json.push(':');
        json.push_str(value);
    }
    json.push('}');
    Some(json)
}

/// A JSON string.
pub(super) fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Reads a line's object with serde_json.
struct Object<'f, 'a> {
    fields: &'f mut Fields<'a>,
    level: &'a Level,
}

impl<'de> DeserializeSeed<'de> for Object<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some((key, value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
            self.fields.take(key.0, Raw::of(value.get()), self.level, true);
        }
        Ok(())
    }
}

/// A key, borrowed where it has no escapes (a plain `Cow` would always be copied).
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
