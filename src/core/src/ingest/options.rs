//! How a log is read, and how SQL says so.

use super::format::{Format, Preset};
use super::unended::Unended;
use crate::error::{Error, Result};
use rusqlite::types::Value;
use serde::Deserialize;
use serde_json::{Map, Value as Json};
use std::path::PathBuf;
use std::sync::Arc;

/// The name that a mapping has when its caller gives none.
const NAMELESS: &str = "mapping";

/// How a log is read.
#[derive(Debug, Clone)]
pub struct IngestOptions {
    /// A longer line is skipped in bounded memory and counted as rejected.
    pub max_line_bytes: usize,
    /// At most so many lines go into one transaction (in the caller's own transaction there is one).
    pub batch_lines: usize,
    /// Take a last line without newline as whole. Otherwise it waits, pending, until it grows.
    pub finalise: bool,
    /// Stop after about so many bytes; a further call goes on from there.
    pub at_most_bytes: u64,
    /// Stop after about so many bytes of a line over the limit; a further call that is given what this
    /// one says of it goes on from there.
    pub skip_at_most_bytes: u64,
    /// What the last call on this file said of a line over the limit that had no end.
    pub unended: Option<Unended>,
    /// Read nothing of a file that was never read before, under whatever name.
    pub resume_only: bool,
    /// The path under which the file is recorded and told, where it is opened by another: what a caller
    /// holds open, say. It must be resolved.
    pub recorded_as: Option<PathBuf>,
    /// How lines are understood. `None`: as before, and a new file as its first event tells.
    pub format: Option<Arc<Format>>,
}

impl Default for IngestOptions {
    fn default() -> Self {
        Self {
            max_line_bytes: 1 << 20,
            batch_lines: 10_000,
            finalise: false,
            at_most_bytes: u64::MAX,
            skip_at_most_bytes: u64::MAX,
            unended: None,
            resume_only: false,
            recorded_as: None,
            format: None,
        }
    }
}

/// Options as a caller writes them in SQL.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    preset: Option<String>,
    mapping: Option<Map<String, Json>>,
    finalise: Option<bool>,
    max_line_bytes: Option<usize>,
}

impl IngestOptions {
    /// From an argument of a SQL function: nothing, NULL, or the text of [`IngestOptions::from_json`].
    pub(crate) fn from_argument(argument: Option<&Value>) -> Result<Self> {
        match argument {
            None | Some(Value::Null) => Ok(Self::default()),
            Some(Value::Text(text)) => Self::from_json(text),
            Some(_) => Err(Error::refused(
                "the options are not text",
                "give a JSON object such as {\"preset\":\"cloudevents\"}, or nothing",
            )),
        }
    }

    /// From a JSON object: `preset` or `mapping`, `finalise`, `max_line_bytes`.
    ///
    /// # Errors
    /// A refusal for a key that is none of these, and for what [`Format::mapping`] refuses.
    pub fn from_json(text: &str) -> Result<Self> {
        let written: Written = serde_json::from_str(text).map_err(|error| {
            Error::refused(
                format!("the options can't be read: {error}"),
                "give a JSON object such as {\"preset\":\"cloudevents\"}; the keys are preset, mapping, finalise, max_line_bytes",
            )
        })?;
        let format = match (written.preset, written.mapping) {
            (None, None) => None,
            (Some(preset), None) => Some(Format::preset(Preset::named(&preset)?)),
            (None, Some(mapping)) => Some(Arc::new(Format::mapping(NAMELESS, &mapping)?)),
            (Some(_), Some(_)) => {
                return Err(Error::refused(
                    "the options have both a preset and a mapping",
                    "write the preset into the mapping: {\"mapping\":{\"preset\":\"cloudevents\",...}}",
                ));
            }
        };
        let default = Self::default();
        Ok(Self {
            max_line_bytes: written.max_line_bytes.unwrap_or(default.max_line_bytes),
            finalise: written.finalise.unwrap_or(default.finalise),
            format,
            ..default
        })
    }
}
