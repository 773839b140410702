//! One row of `runchain_events` as one line of a log, and what recovery needs back from such a line.
//!
//! The order of the keys is fixed: a line of ours begins with seq, epoch and db, so that its head is
//! enough to place it.

use crate::redact::Redactor;
use runchain_core::error::{During, Result};
use runchain_core::event::{EventType, Log};
use runchain_core::{Millis, RunId};
use rusqlite::Connection;
use rusqlite::types::Value as SqlValue;
use serde::Serialize;
use serde_json::Value;

/// Every line with a sequence number begins so.
pub(crate) const LINE_PREFIX: &str = "{\"seq\":";
/// Every header of a rotated log begins so: it repeats the seq of the last event before it.
pub(crate) const HEADER_PREFIX: &str = "{\"after_seq\":";
/// Every heartbeat begins so.
pub(crate) const HEARTBEAT_PREFIX: &str = "{\"ts\":";
/// Bytes from the start of a line that hold its seq, epoch and db.
pub(crate) const HEAD_BYTES: usize = 256;

/// Which database, and in which of its epochs, a sequence number belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// `database_uuid` of `runchain_meta`.
    pub(crate) uuid: String,
    /// `epoch` of `runchain_meta`.
    pub(crate) epoch: i64,
}

/// A lifecycle event as it stands in the database.
#[derive(Debug)]
pub(crate) struct StoredEvent {
    /// Its id, the line's seq.
    pub(crate) id: i64,
    at: Millis,
    kind: String,
    run_id: Option<RunId>,
    generation: Option<i64>,
    step: Option<String>,
    data: String,
}

#[derive(Serialize)]
struct Line<'a> {
    seq: i64,
    epoch: i64,
    db: &'a str,
    ts: String,
    event: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    instance: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<&'a RunId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'a str>,
    data: Value,
}

impl StoredEvent {
    /// The log that the event belongs to. A type that only a newer version knows goes to the monitor
    /// log: a wrong place is better than none.
    pub(crate) fn log(&self) -> Log {
        EventType::from_word(&self.kind).map_or(Log::Monitor, EventType::log)
    }

    /// Whether the list of reports says something else since.
    pub(crate) fn concerns_reports(&self) -> bool {
        use EventType::{OperatorAction, ReportGenerated, Retention, RunDeleted};
        // Operators forget runs.
        let those = [ReportGenerated, Retention, RunDeleted, OperatorAction];
        EventType::from_word(&self.kind).is_some_and(|kind| those.contains(&kind))
    }

    /// Whether another program than an executor may have committed it, with whatever durability that
    /// has: installing is done inside hosts of the extension, too, and operators have commands.
    pub(crate) fn is_of_others(&self) -> bool {
        let others = [
            EventType::Installed,
            EventType::OperatorAction,
            EventType::IngestRefused,
        ];
        EventType::from_word(&self.kind).is_none_or(|kind| others.contains(&kind))
    }

    /// The event as one line, newline included. Data that is no JSON is kept as a string.
    pub(crate) fn line(&self, origin: &Origin, instance: &str, redactor: &Redactor) -> String {
        let mut data = serde_json::from_str(&self.data).unwrap_or_else(|_| Value::String(self.data.clone()));
        redactor.json(&mut data);
        redactor.event(&self.kind, &mut data);
        let line = Line {
            seq: self.id,
            epoch: origin.epoch,
            db: &origin.uuid,
            ts: self.at.iso(),
            event: &self.kind,
            instance,
            run_id: self.run_id.as_ref(),
            generation: self.generation,
            step: self.step.as_deref(),
            data,
        };
        // A struct of numbers, strings and a JSON value always serialises.
        let mut text = serde_json::to_string(&line).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// The next events after `after`, in order, read whole: no statement stays open behind them.
pub(crate) fn events_after(conn: &Connection, after: i64, limit: usize) -> Result<Vec<StoredEvent>> {
    let mut statement = conn
        .prepare_cached(
            "SELECT id, at_ms, type, run_id, generation, step, data FROM runchain_events \
             WHERE id > ?1 ORDER BY id LIMIT ?2",
        )
        .during("read lifecycle events")?;
    let rows = statement
        .query_map((after, i64::try_from(limit).unwrap_or(i64::MAX)), |row| {
            Ok(StoredEvent {
                id: row.get(0)?,
                at: row.get(1)?,
                kind: row.get(2)?,
                run_id: RunId::from_value(&row.get::<_, SqlValue>(3)?),
                generation: row.get(4)?,
                step: row.get(5)?,
                data: row.get(6)?,
            })
        })
        .during("read lifecycle events")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("read lifecycle events")
}

/// What the head of a line says about its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LineHead {
    /// The event's id.
    pub(crate) seq: i64,
    /// The database and epoch that the id belongs to.
    pub(crate) origin: Origin,
}

impl LineHead {
    /// Reads the first bytes of a line; `None` when the line isn't one of ours (a heartbeat, or
    /// something foreign).
    pub(crate) fn parse(start: &[u8]) -> Option<Self> {
        // Cutting at HEAD_BYTES may halve a character of run_id; what stands before is ASCII.
        let text = match std::str::from_utf8(start) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&start[..error.valid_up_to()]).ok()?,
        };
        let numbered = text
            .strip_prefix(LINE_PREFIX)
            .or_else(|| text.strip_prefix(HEADER_PREFIX))?;
        let (seq, rest) = numbered.split_once(",\"epoch\":")?;
        let (epoch, rest) = rest.split_once(",\"db\":\"")?;
        let (uuid, _) = rest.split_once('"')?;
        Some(Self {
            seq: seq.parse().ok()?,
            origin: Origin {
                uuid: uuid.to_owned(),
                epoch: epoch.parse().ok()?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin {
            uuid: "0a1b".into(),
            epoch: 3,
        }
    }

    fn event(data: &str) -> StoredEvent {
        StoredEvent {
            id: 17,
            at: Millis(1_764_168_412_742),
            kind: "RUN_CREATED".into(),
            run_id: Some(RunId("a\n\"b\u{0}é".into())),
            generation: Some(0),
            step: None,
            data: data.into(),
        }
    }

    #[test]
    fn a_line_has_its_keys_in_the_documented_order_and_stands_on_one_line() {
        assert_eq!(
            event("{\n \"b\": 1, \"a\": {}}").line(&origin(), "", &Redactor::default()),
            "{\"seq\":17,\"epoch\":3,\"db\":\"0a1b\",\"ts\":\"2025-11-26T14:46:52.742+00:00\",\
             \"event\":\"RUN_CREATED\",\"run_id\":\"a\\n\\\"b\\u0000é\",\"generation\":0,\"data\":{\"b\":1,\"a\":{}}}\n"
        );
    }

    #[test]
    fn an_event_without_a_run_has_no_key_for_it() {
        let event = StoredEvent {
            kind: "INSTALLED".into(),
            run_id: None,
            generation: None,
            ..event("{}")
        };
        assert_eq!(
            event.line(&origin(), "", &Redactor::default()),
            "{\"seq\":17,\"epoch\":3,\"db\":\"0a1b\",\"ts\":\"2025-11-26T14:46:52.742+00:00\",\
             \"event\":\"INSTALLED\",\"data\":{}}\n"
        );
    }

    #[test]
    fn data_that_is_no_json_is_kept_as_a_string() {
        assert!(
            event("{oops")
                .line(&origin(), "", &Redactor::default())
                .ends_with(",\"data\":\"{oops\"}\n")
        );
    }

    #[test]
    fn an_unknown_type_goes_to_the_monitor_log() {
        let of = |kind: &str| {
            StoredEvent {
                kind: kind.into(),
                ..event("{}")
            }
            .log()
        };
        assert_eq!(of("FROM_THE_FUTURE"), Log::Monitor);
        assert_eq!(of("RUN_ARCHIVED"), Log::Archival);
    }

    #[test]
    fn the_head_of_a_line_is_enough_to_place_it() {
        let line = event("{}").line(&origin(), "", &Redactor::default());
        for end in [60, line.len()] {
            let head = LineHead::parse(&line.as_bytes()[..end]);
            assert_eq!(
                head,
                Some(LineHead {
                    seq: 17,
                    origin: origin()
                })
            );
        }
        for foreign in [
            "",
            "{\"ts\":\"x\",\"event\":\"HEARTBEAT\"}",
            "{\"seq\":\"x\",\"epoch\":1,\"db\":\"\"",
        ] {
            assert_eq!(LineHead::parse(foreign.as_bytes()), None, "{foreign}");
        }
    }
}
