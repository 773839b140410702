//! A heartbeat as one line of `monitor.jsonl`. It has no sequence number: it is no event.

use super::MonitoredRun;
use super::observe::{LastEvent, Observation, Progress};
use runchain_core::{Millis, RunId};
use serde::Serialize;
use serde_json::Value;

/// What one line tells.
#[derive(Debug)]
pub(super) struct Heartbeat<'a> {
    /// The database that the run is in.
    pub(super) database_uuid: &'a str,
    /// Its name among others.
    pub(super) instance: &'a str,
    /// The run.
    pub(super) run: &'a MonitoredRun,
    /// What was seen of it just now.
    pub(super) observation: &'a Observation,
    /// For how long nothing of it changed.
    pub(super) quiet_ms: i64,
    /// Whether that is too long.
    pub(super) stalled: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    ts: String,
    event: &'static str,
    db: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    instance: &'a str,
    run_id: &'a RunId,
    status: Option<&'a str>,
    age_ms: i64,
    #[serde(skip_serializing_if = "Progress::is_empty")]
    progress: &'a Progress,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_event: Option<&'a LastEvent>,
    quiet_ms: i64,
    stalled: bool,
}

impl Heartbeat<'_> {
    /// The line, in the documented order of keys. `age_ms` counts from when the run became active.
    pub(super) fn line(&self, now: Millis) -> Value {
        let line = Line {
            ts: now.iso(),
            event: "HEARTBEAT",
            db: self.database_uuid,
            instance: self.instance,
            run_id: &self.run.run_id,
            status: self.observation.status.as_deref(),
            age_ms: now.since(self.run.active_since),
            progress: &self.observation.progress,
            last_event: self.observation.last_event.as_ref(),
            quiet_ms: self.quiet_ms,
            stalled: self.stalled,
        };
        // Strings, numbers and maps with string keys always serialise.
        serde_json::to_value(line).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::observe::Counts;

    #[test]
    fn a_heartbeat_has_its_keys_in_the_documented_order() {
        let run = MonitoredRun {
            run_id: RunId("run-1".into()),
            is_active: true,
            status: None,
            generation: 0,
            active_since: Millis(1_764_168_402_742),
            stalled_since: None,
        };
        let counts = Counts {
            total: 4,
            done: 2,
            failed: 1,
        };
        let observation = Observation {
            status: Some("RUNNING".into()),
            updated: None,
            progress: Progress::from([("steps", counts)]),
            last_event: Some(LastEvent {
                id: 9,
                kind: "pattern.execution.started".into(),
                at: Some("2025-11-26T14:46:50+00:00".into()),
            }),
        };
        let heartbeat = Heartbeat {
            database_uuid: "0a1b",
            instance: "",
            run: &run,
            observation: &observation,
            quiet_ms: 5_000,
            stalled: false,
        };
        assert_eq!(
            heartbeat.line(Millis(1_764_168_412_742)).to_string(),
            "{\"ts\":\"2025-11-26T14:46:52.742+00:00\",\"event\":\"HEARTBEAT\",\"db\":\"0a1b\",\
             \"run_id\":\"run-1\",\"status\":\"RUNNING\",\"age_ms\":10000,\
             \"progress\":{\"steps\":{\"total\":4,\"done\":2,\"failed\":1}},\
             \"last_event\":{\"type\":\"pattern.execution.started\",\"at\":\"2025-11-26T14:46:50+00:00\"},\
             \"quiet_ms\":5000,\"stalled\":false}"
        );
        let bare = Observation {
            progress: Progress::new(),
            last_event: None,
            ..observation.clone()
        };
        let line = Heartbeat {
            observation: &bare,
            ..heartbeat
        }
        .line(Millis(0));
        assert_eq!((line.get("progress"), line.get("last_event")), (None, None));
    }
}
