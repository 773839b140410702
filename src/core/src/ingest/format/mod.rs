//! How a line is understood: which key of its JSON object is which field.
//!
//! A [`Format`] is one of the presets or made from a mapping of the user's. For each field it holds
//! the places where the value may stand, the one that counts more first. A place is a key, or a
//! dotted path into objects: `data.job_id` is `job_id` within `data`, or a key that is written with
//! the dot. What stands in a place that lost, or in none of them, is kept as it is (`extra`).
//!
//! What does not belong here: reading a line (`fields.rs`) and globs of files (they are the caller's).

mod detect;
mod level;
mod mapping;
mod preset;

pub(super) use detect::detect;
pub(super) use level::{Level, Target};
pub use mapping::MAPPING_KEYS;
pub use preset::{PRESETS, Preset};

use crate::error::Result;
use serde_json::{Map, Value as Json};
use std::sync::{Arc, LazyLock};

/// What an event can say of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Its id, by which it is known in every file.
    EventId,
    /// Where ids are unique only within a source, that; it becomes a part of the id.
    Source,
    /// What happened.
    Type,
    /// When.
    Time,
    /// The orchestrator's run.
    Run,
    /// The job, shown as an execution.
    Job,
    /// The step.
    Step,
    /// The pattern run, shown as a task.
    PatternRun,
    /// The pattern, shown as the task's type.
    Pattern,
    /// The status word.
    Status,
    /// What went wrong, in words.
    Error,
    /// Whatever else belongs to it, of any JSON type.
    Details,
}

impl Field {
    /// All of them, in their order.
    pub const ALL: [Self; 12] = [
        Self::EventId,
        Self::Source,
        Self::Type,
        Self::Time,
        Self::Run,
        Self::Job,
        Self::Step,
        Self::PatternRun,
        Self::Pattern,
        Self::Status,
        Self::Error,
        Self::Details,
    ];

    /// The key of a mapping that says where it stands.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EventId => "event_id",
            Self::Source => "source",
            Self::Type => "type",
            Self::Time => "time",
            Self::Run => "run_id",
            Self::Job => "job_id",
            Self::Step => "step_id",
            Self::PatternRun => "pattern_run_id",
            Self::Pattern => "pattern_id",
            Self::Status => "status",
            Self::Error => "error",
            Self::Details => "details",
        }
    }

    /// Whether it has no column of its own, so that its key stays in `extra` too.
    pub(super) fn has_no_column(self) -> bool {
        matches!(self, Self::Source | Self::Error)
    }
}

/// The places of every field, by [`Field`], the one that counts more first.
type Places = [Vec<String>; Field::ALL.len()];

/// How the lines of a file are understood.
#[derive(Debug, Clone)]
pub struct Format {
    name: String,
    /// What a mapping says otherwise than its preset, as JSON; `None` for a preset itself.
    mapping: Option<Map<String, Json>>,
    places: Places,
    level: Level,
}

/// What it means is what its places are.
impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.places == other.places
    }
}

impl Format {
    /// One of the formats that are known without being told.
    #[must_use]
    pub fn preset(preset: Preset) -> Arc<Self> {
        static MADE: LazyLock<[Arc<Format>; 3]> = LazyLock::new(|| {
            PRESETS.map(|preset| {
                let places = preset.places();
                Arc::new(Format {
                    name: preset.name().to_owned(),
                    mapping: None,
                    level: Level::of(&places),
                    places,
                })
            })
        });
        Arc::clone(&MADE[preset as usize])
    }

    /// A mapping of the user's: an object whose keys are [`MAPPING_KEYS`] and whose values are places, a
    /// text or a list of texts. An empty list means that there is no such field, and for what it doesn't
    /// name its `preset` holds (`generic`, if that isn't named either).
    ///
    /// # Errors
    /// A refusal that names the wrong key and the nearest right one.
    pub fn mapping(name: &str, mapping: &Map<String, Json>) -> Result<Self> {
        let places = mapping::read(name, mapping)?;
        Ok(Self {
            name: name.to_owned(),
            mapping: Some(mapping.clone()),
            level: Level::of(&places),
            places,
        })
    }

    /// The name of the preset or mapping.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a mapping says otherwise than its preset; `None` for a preset.
    #[must_use]
    pub fn as_mapping(&self) -> Option<&Map<String, Json>> {
        self.mapping.as_ref()
    }

    /// Where a field may stand, for messages.
    pub(super) fn places(&self, field: Field) -> &[String] {
        &self.places[field as usize]
    }

    pub(super) fn level(&self) -> &Level {
        &self.level
    }
}
