//! A mapping of the user's, read strictly: a misspelt field would silently map nothing.

use super::{Field, Places, Preset};
use crate::error::{Error, Result};
use serde_json::{Map, Value as Json};

/// The keys of a mapping: the fields, and the preset that holds for those that aren't named.
pub const MAPPING_KEYS: [&str; 13] = [
    "preset",
    "event_id",
    "source",
    "type",
    "time",
    "run_id",
    "job_id",
    "step_id",
    "pattern_run_id",
    "pattern_id",
    "status",
    "error",
    "details",
];

/// The places of a mapping's fields.
pub(super) fn read(name: &str, mapping: &Map<String, Json>) -> Result<Places> {
    let preset = match mapping.get("preset") {
        None => Preset::Generic,
        Some(Json::String(preset)) => Preset::named(preset)?,
        Some(_) => return Err(wrong(name, "preset", "must be a text", "write \"generic\"")),
    };
    if let Some(unknown) = mapping.keys().find(|key| !MAPPING_KEYS.contains(&key.as_str())) {
        let remedy = nearest(unknown).map_or_else(
            || format!("known fields: {}", MAPPING_KEYS.join(", ")),
            |right| format!("did you mean {right}?"),
        );
        return Err(wrong(name, unknown, "is no field of an event", &remedy));
    }
    let mut places = preset.places();
    for field in Field::ALL {
        if let Some(value) = mapping.get(field.name()) {
            places[field as usize] = read_places(name, field.name(), value)?;
        }
    }
    if places[Field::Type as usize].is_empty() {
        return Err(wrong(
            name,
            "type",
            "has no place",
            "name the key that says what happened",
        ));
    }
    Ok(places)
}

fn read_places(name: &str, field: &str, value: &Json) -> Result<Vec<String>> {
    let listed = match value {
        Json::Array(items) => items.as_slice(),
        single => std::slice::from_ref(single),
    };
    let texts = listed.iter().map(|item| match item {
        Json::String(place) if place.split('.').all(|key| !key.is_empty()) => Ok(place.clone()),
        _ => Err(wrong(
            name,
            field,
            "must be a key, a dotted path such as \"data.id\", or a list of them",
            "write them as texts",
        )),
    });
    texts.collect()
}

fn wrong(name: &str, key: &str, what: &str, remedy: &str) -> Error {
    Error::refused(format!("{key} of the mapping {name} {what}"), remedy)
}

fn nearest(word: &str) -> Option<&'static str> {
    let ranked = MAPPING_KEYS
        .into_iter()
        .map(|right| (strsim::osa_distance(word, right), right));
    let (edits, right) = ranked.min_by_key(|(edits, _)| *edits)?;
    (edits <= (word.chars().count() / 3).max(1)).then_some(right)
}
