//! The formats that are known without being told.

use super::{Field, Places};
use crate::error::{Error, Result};

/// A format that is known without being told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// The events of pattern runs; also what reads a file that has been read before there were presets.
    Pattern,
    /// CloudEvents 1.0 in JSON, structured mode.
    CloudEvents,
    /// Anything with a type and a time, by the spellings that are common.
    Generic,
}

/// All of them.
pub const PRESETS: [Preset; 3] = [Preset::Pattern, Preset::CloudEvents, Preset::Generic];

impl Preset {
    /// Its name, as in configuration and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pattern => "pattern",
            Self::CloudEvents => "cloudevents",
            Self::Generic => "generic",
        }
    }

    /// The preset of a name.
    ///
    /// # Errors
    /// A refusal that names them all.
    pub fn named(name: &str) -> Result<Self> {
        let found = PRESETS.into_iter().find(|preset| preset.name() == name);
        found.ok_or_else(|| {
            let names = PRESETS.map(Self::name).join(", ");
            Error::refused(
                format!("there is no preset {name:?} for event logs"),
                format!("use one of {names}"),
            )
        })
    }

    pub(super) fn places(self) -> Places {
        Field::ALL.map(|field| {
            let spellings: Vec<&str> = match self {
                Self::Pattern => pattern(field).to_vec(),
                Self::Generic => generic(field).to_vec(),
                // A line of another format, in the middle of a file, is an event all the same.
                Self::CloudEvents => {
                    let own = cloud_event(field);
                    let others = generic(field).iter().filter(|place| !own.contains(place));
                    own.iter().chain(others).copied().collect()
                }
            };
            spellings.into_iter().map(str::to_owned).collect()
        })
    }
}

fn pattern(field: Field) -> &'static [&'static str] {
    match field {
        Field::EventId => &["event_id", "id", "eventId"],
        Field::Type => &["event_type", "type", "event"],
        Field::Time => &["timestamp", "time", "ts", "at"],
        Field::Run => &["run_id"],
        Field::Job => &["job_id"],
        Field::Step => &["step_id"],
        Field::PatternRun => &["pattern_run_id"],
        Field::Pattern => &["pattern_id"],
        Field::Status => &["status"],
        Field::Details => &["details", "data", "payload"],
        // `details.error_message` is looked for where it is asked for.
        Field::Source | Field::Error => &[],
    }
}

/// An id of CloudEvents is unique within its source only. Names of extension attributes have lower case
/// letters and digits only.
fn cloud_event(field: Field) -> &'static [&'static str] {
    match field {
        Field::EventId => &["id"],
        Field::Source => &["source"],
        Field::Type => &["type"],
        Field::Time => &["time"],
        Field::Run => &["runid", "run_id", "data.run_id"],
        Field::Job => &["jobid", "job_id", "data.job_id", "subject"],
        Field::Step => &["stepid", "step_id", "data.step_id"],
        Field::PatternRun => &["patternrunid", "pattern_run_id", "data.pattern_run_id"],
        Field::Pattern => &["patternid", "pattern_id", "data.pattern_id"],
        Field::Status => &["status", "data.status"],
        Field::Error => &["data.error_message", "data.error.message", "data.error"],
        Field::Details => &["data"],
    }
}

fn generic(field: Field) -> &'static [&'static str] {
    match field {
        Field::EventId => &["event_id", "id", "eventId", "EventId", "Id", "uuid", "guid"],
        Field::Source => &[],
        Field::Type => &[
            "event_type",
            "type",
            "event",
            "eventType",
            "EventType",
            "Type",
            "Event",
            "event_name",
            "eventName",
            "kind",
            "action",
            "level",
            "Level",
            "severity",
        ],
        Field::Time => &[
            "timestamp",
            "time",
            "ts",
            "at",
            "@timestamp",
            "Timestamp",
            "TimeStamp",
            "Time",
            "event_time",
            "eventTime",
            "datetime",
            "date",
            "created_at",
            "createdAt",
            "occurred_at",
            "occurredAt",
            "TimeCreated",
        ],
        Field::Run => &["run_id", "runId", "RunId"],
        Field::Job => &["job_id", "jobId", "JobId", "execution_id", "executionId"],
        Field::Step => &["step_id", "stepId", "StepId", "step"],
        Field::PatternRun => &["pattern_run_id", "patternRunId", "task_id", "taskId", "TaskId"],
        Field::Pattern => &["pattern_id", "patternId", "task_type", "taskType"],
        Field::Status => &["status", "Status", "state", "outcome"],
        Field::Error => &[
            "error_message",
            "errorMessage",
            "error.message",
            "error",
            "err",
            "exception",
            "Exception",
            "message",
            "Message",
            "msg",
        ],
        Field::Details => &["details", "data", "payload", "Details", "Data", "Payload"],
    }
}
