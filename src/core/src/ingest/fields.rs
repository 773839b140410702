//! One line to one event: which key of a JSON object is which column.
//!
//! Every line ends here as an event or as a reason. Values are borrowed from the line where they can
//! be; `details` and the fields without a column stay the JSON text that they were.

use crate::Millis;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

/// Objects and arrays deeper than this are rejected: whoever reads the JSON again (SQLite, Python,
/// serde_json) has such a limit, and a row that nobody can parse is no use.
const MAX_DEPTH: usize = 128;

/// What an event can say of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    EventId,
    Type,
    Time,
    Run,
    Job,
    Step,
    PatternRun,
    Pattern,
    Status,
    Details,
}

/// The keys of each field, the one that counts more first. What stands under a key that lost, or
/// under none of these, is kept in `extra`.
const KEYS: [(Field, &[&str]); 10] = [
    (Field::EventId, &["event_id", "id", "eventId"]),
    (Field::Type, &["event_type", "type", "event"]),
    (Field::Time, &["timestamp", "time", "ts", "at"]),
    (Field::Run, &["run_id"]),
    (Field::Job, &["job_id"]),
    (Field::Step, &["step_id"]),
    (Field::PatternRun, &["pattern_run_id"]),
    (Field::Pattern, &["pattern_id"]),
    (Field::Status, &["status"]),
    (Field::Details, &["details", "data", "payload"]),
];

/// The range of Python's `datetime`, years 1 to 9999; a time outside it stays text only.
const READABLE_MS: std::ops::RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

/// A number below this is seconds since 1970 (until the year 5138), from it on milliseconds.
const SECONDS_BELOW: f64 = 1e11;

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
}

/// What a line is.
#[derive(Debug)]
pub(super) enum Line<'a> {
    Event(Box<Event<'a>>),
    /// Nothing but white space.
    Empty,
}

/// Reads a line; the error is the reason to reject it.
pub(super) fn parse(line: &[u8]) -> Result<Line<'_>, String> {
    let line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
    let text = std::str::from_utf8(line)
        .map_err(|error| format!("not UTF-8 from byte {}", error.valid_up_to()))?
        .trim_ascii();
    if text.is_empty() {
        return Ok(Line::Empty);
    }
    if too_deep(text.as_bytes()) {
        return Err(format!("nested deeper than {MAX_DEPTH}"));
    }
    let fields: Fields<'_> =
        serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))?;
    fields.into_event().map(|event| Line::Event(Box::new(event)))
}

/// Counts brackets first: nearly every line has too few of them to look closer.
fn too_deep(text: &[u8]) -> bool {
    let openers = text.iter().filter(|byte| matches!(byte, b'{' | b'[')).count();
    if openers <= MAX_DEPTH {
        return false;
    }
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

#[derive(Clone, Copy)]
struct Candidate<'a> {
    rank: usize,
    key: &'static str,
    value: &'a RawValue,
}

/// A line's object, sorted into fields.
struct Fields<'a> {
    known: [Option<Candidate<'a>>; KEYS.len()],
    rest: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Fields<'a> {
    fn put(&mut self, key: Cow<'a, str>, value: &'a RawValue) {
        let Some((index, rank)) = place(&key) else {
            self.rest.push((key, value));
            return;
        };
        let (field, keys) = KEYS[index];
        if !suits(field, value) {
            // An object where a word is expected belongs to somebody else's format; null is absence.
            if value.get() != "null" {
                self.rest.push((key, value));
            }
            return;
        }
        let new = Candidate {
            rank,
            key: keys[rank],
            value,
        };
        let lost = match self.known[index] {
            Some(old) if old.rank < rank => Some(new),
            old => {
                self.known[index] = Some(new);
                old.filter(|old| old.rank > rank)
            }
        };
        if let Some(lost) = lost {
            self.rest.push((Cow::Borrowed(lost.key), lost.value));
        }
    }

    fn raw(&self, field: Field) -> Option<&'a str> {
        self.known[field as usize].map(|candidate| candidate.value.get())
    }

    fn text(&self, field: Field) -> Result<Option<Cow<'a, str>>, String> {
        let Some(candidate) = self.known[field as usize] else {
            return Ok(None);
        };
        let text = unquote(candidate.value.get())
            .map_err(|error| format!("{} can't be read: {error}", candidate.key))?;
        Ok((!text.is_empty()).then_some(text))
    }

    fn into_event(self) -> Result<Event<'a>, String> {
        let at = self.text(Field::Time)?;
        let at_ms = self.raw(Field::Time).zip(at.as_deref()).and_then(|(raw, text)| {
            let ms = if raw.starts_with('"') {
                Millis::parse_iso(text)
            } else {
                from_epoch(raw)
            };
            ms.filter(|ms| READABLE_MS.contains(&ms.0))
        });
        Ok(Event {
            id: self.text(Field::EventId)?,
            kind: self.text(Field::Type)?.ok_or("no event type")?,
            at,
            at_ms,
            run_id: self.text(Field::Run)?,
            job_id: self.text(Field::Job)?,
            step_id: self.text(Field::Step)?,
            pattern_run_id: self.text(Field::PatternRun)?,
            pattern_id: self.text(Field::Pattern)?,
            status: self.text(Field::Status)?,
            details: self.raw(Field::Details),
            extra: object(&self.rest),
        })
    }
}

/// Index in [`KEYS`] and rank among the field's keys.
fn place(key: &str) -> Option<(usize, usize)> {
    KEYS.iter().enumerate().find_map(|(index, (_, keys))| {
        let rank = keys.iter().position(|known| *known == key)?;
        Some((index, rank))
    })
}

fn suits(field: Field, value: &RawValue) -> bool {
    match value.get().as_bytes().first() {
        Some(b'n') | None => false,
        Some(b'{' | b'[') => field == Field::Details,
        Some(_) => true,
    }
}

/// A string's content; a number or a boolean as it was written, however large.
fn unquote(raw: &str) -> Result<Cow<'_, str>, serde_json::Error> {
    match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        None => Ok(Cow::Borrowed(raw)),
        Some(inner) if !inner.contains('\\') => Ok(Cow::Borrowed(inner)),
        Some(_) => serde_json::from_str::<String>(raw).map(Cow::Owned),
    }
}

fn from_epoch(raw: &str) -> Option<Millis> {
    let number: f64 = raw.parse().ok()?;
    let ms = if number.abs() < SECONDS_BELOW {
        number * 1000.0
    } else {
        number
    };
    // `as` saturates, and what is out of range is dropped by the caller.
    ms.is_finite().then(|| Millis(ms.round() as i64))
}

/// The fields as one JSON object, of a repeated key the last.
fn object(fields: &[(Cow<'_, str>, &RawValue)]) -> Option<String> {
    if fields.is_empty() {
        return None;
    }
    let mut seen = HashSet::with_capacity(fields.len());
    let mut last: Vec<_> = fields
        .iter()
        .rev()
        .filter(|(key, _)| seen.insert(key.as_ref()))
        .collect();
    last.reverse();
    let mut json = String::from("{");
    for (key, value) in last {
        if json.len() > 1 {
            json.push(',');
        }
        json.push_str(&quote(key));
        json.push(':');
        json.push_str(value.get());
    }
    json.push('}');
    Some(json)
}

/// A JSON string.
pub(super) fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Fields<'de>, M::Error> {
                let mut fields = Fields {
                    known: [None; KEYS.len()],
                    rest: Vec::new(),
                };
                while let Some((key, value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    fields.put(key.0, value);
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A key, borrowed where it has no escapes (a plain `Cow` would always be copied).
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::{Field, KEYS};

    #[test]
    fn the_table_of_keys_is_in_the_order_of_the_fields() {
        for (index, (field, _)) in KEYS.iter().enumerate() {
            assert_eq!(*field as usize, index, "{field:?}");
        }
        assert_eq!(KEYS[KEYS.len() - 1].0, Field::Details);
    }
}
