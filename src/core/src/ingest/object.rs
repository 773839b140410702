//! A JSON object as a list of fields whose values stay the text that they were.
//!
//! A tree of a line of a mebibyte can take a hundred times as much; a list of its top-level fields can't,
//! and what nobody asked for is written again byte by byte. What does not belong here: which fields.

use super::fields::quote;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Fields in the order of the text.
#[derive(Debug, Default)]
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Object<'a> {
    /// The fields of an object; `None` where the text is something else.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        Self::parse_some(text, |_| true)
    }

    /// Those fields whose keys are wanted; the others cost nothing.
    pub(super) fn parse_some(text: &'a str, wanted: impl Fn(&str) -> bool) -> Option<Self> {
        let mut json = serde_json::Deserializer::from_str(text);
        let fields = Wanted(wanted).deserialize(&mut json).ok()?;
        json.end().ok()?;
        Some(Self(fields))
    }

    /// The last value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&'a str> {
        let found = self.0.iter().rev().find(|(name, _)| name == key);
        found.map(|(_, value)| *value)
    }

    /// Puts a field at the end, in place of those with this key.
    pub(super) fn set(&mut self, key: &'a str, value: &'a str) {
        self.remove(key);
        self.0.push((Cow::Borrowed(key), value));
    }

    /// Takes every field with this key away.
    pub(super) fn remove(&mut self, key: &str) {
        self.0.retain(|(name, _)| name != key);
    }

    /// Whether no field is left.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, (key, value)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}:{value}", quote(key))?;
        }
        f.write_str("}")
    }
}

/// Reads the fields whose keys are wanted.
struct Wanted<F>(F);

impl<'de, F: Fn(&str) -> bool> DeserializeSeed<'de> for Wanted<F> {
    type Value = Vec<(Cow<'de, str>, &'de str)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: Fn(&str) -> bool> Visitor<'de> for Wanted<F> {
    type Value = Vec<(Cow<'de, str>, &'de str)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut fields = Vec::new();
        while let Some((key, value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
            if (self.0)(&key.0) {
                fields.push((key.0, value.get()));
            }
        }
        Ok(fields)
    }
}

/// A key, borrowed where it has no escapes (a plain `Cow` would always be copied).
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::Object;

    #[test]
    fn values_stay_as_they_were_and_fields_are_set_at_the_end() {
        let mut object = Object::parse(r#"{"a": 1.50, "b\n": [ ], "a": 2e999, "c":"\ud800"}"#).unwrap();
        assert_eq!(object.get("a"), Some("2e999"));
        object.set("a", "{}");
        assert_eq!(object.to_string(), r#"{"b\n":[ ],"c":"\ud800","a":{}}"#);
    }

    #[test]
    fn what_is_no_object_is_none() {
        for text in ["", "[]", "null", "{", "{}x", "{\"a\"}", "7"] {
            assert!(Object::parse(text).is_none(), "{text}");
        }
        assert!(Object::parse("{}").unwrap().is_empty());
    }
}
