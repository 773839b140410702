//! `config schema`: what a configuration file can say, as JSON Schema, for editors.

use super::shape::Table;
use super::{alerts, flags, keys, mappings, steps};
use serde_json::{Map, Value, json};

/// Every table that is read by code of its own.
pub(super) const TABLES: [&Table; 6] = [
    &steps::TABLE,
    &flags::TABLE,
    &mappings::TABLE,
    &alerts::RULES,
    &alerts::CHANNELS,
    &alerts::DEADMAN,
];

/// The schema of a whole file.
pub(crate) fn schema() -> Value {
    let mut root = object("Configuration of runchain");
    for key in keys() {
        let mut names: Vec<&str> = key.name.split('.').collect();
        let last = names.pop().unwrap_or_default();
        let table = names.into_iter().fold(&mut root, section);
        table["properties"][last] = key.schema;
    }
    for table in TABLES {
        let mut names = table.path();
        let last = names.pop().unwrap_or_default();
        let parent = names.into_iter().fold(&mut root, section);
        parent["properties"][last] = if table.is_single() {
            table.schema()
        } else if table.is_list() {
            json!({"type": "array", "items": table.schema()})
        } else {
            json!({"type": "object", "additionalProperties": table.schema()})
        };
    }
    root["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    root["title"] = "runchain.toml".into();
    root
}

fn object(description: &str) -> Value {
    json!({"type": "object", "description": description, "additionalProperties": false, "properties": {}})
}

/// The table of a name, made where it is missing.
fn section<'a>(parent: &'a mut Value, name: &str) -> &'a mut Value {
    let properties = &mut parent["properties"];
    if let Some(map) = properties.as_object_mut() {
        let known: &mut Map<String, Value> = map;
        known.entry(name).or_insert_with(|| object(&format!("[{name}]")));
    }
    &mut parent["properties"][name]
}
