//! Which preset a file is, told from its first event.
//!
//! One line decides, not a vote of several: a vote would come out otherwise when the file is read as it
//! grows. Lines that are no events, such as a header, decide nothing.

use super::Preset;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Any value, null excepted.
type Any = Option<IgnoredAny>;

#[derive(Deserialize)]
struct Marks {
    specversion: Any,
    id: Any,
    source: Any,
    #[serde(rename = "type")]
    kind: Any,
    event_id: Any,
    event_type: Any,
    timestamp: Any,
}

/// The preset that a line speaks for; `generic` where it says nothing.
pub(in crate::ingest) fn detect(line: &[u8]) -> Preset {
    let line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
    // No JSON, or a key that stands twice; whether it is an event somebody else decides.
    let Ok(marks) = serde_json::from_slice::<Marks>(line) else {
        return Preset::Generic;
    };
    let is_cloud_event =
        marks.specversion.is_some() && marks.id.is_some() && marks.source.is_some() && marks.kind.is_some();
    let is_pattern = marks.event_type.is_some() && (marks.event_id.is_some() || marks.timestamp.is_some());
    if is_cloud_event {
        Preset::CloudEvents
    } else if is_pattern {
        Preset::Pattern
    } else {
        Preset::Generic
    }
}
