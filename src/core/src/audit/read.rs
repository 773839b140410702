//! Reading the audit trail, newest first, in short statements.
//!
//! Cost: one look into the index of audit events for each chunk, or into that of a run's events; other
//! events, however many, are never read. An actor or an action is looked for in what these give.

use super::{Actor, TYPES};
use crate::error::{During, Result};
use crate::{Millis, RunId};
use rusqlite::{Connection, Row, ToSql};
use serde::Serialize;
use serde_json::Value as Json;

/// Events read in one statement.
const CHUNK: i64 = 500;

/// Which entries are wanted; what is `None` doesn't matter.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Of this run.
    pub run_id: Option<RunId>,
    /// By this actor: the whole text, a login, or a uid.
    pub actor: Option<String>,
    /// Of this verb.
    pub action: Option<String>,
    /// At this time or later.
    pub since: Option<Millis>,
    /// At this time or earlier.
    pub until: Option<Millis>,
    /// The newest so many.
    pub limit: usize,
}

/// One entry of the trail.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// Id of the event.
    pub id: i64,
    /// When it was done.
    #[serde(serialize_with = "iso")]
    pub at: Millis,
    /// Type of the event.
    #[serde(rename = "type")]
    pub kind: String,
    /// The verb.
    pub action: String,
    /// The run that it concerned.
    pub run_id: Option<RunId>,
    /// The kind of steps that it concerned.
    pub step: Option<String>,
    /// The held batch that it concerned.
    pub batch: Option<i64>,
    /// Who, as it was given.
    pub actor: Option<String>,
    /// The parts of that, where it has any.
    pub who: Json,
    /// Why, as it was given.
    pub reason: Option<String>,
    /// What came of a request; `done` for everything else.
    pub answer: String,
    /// What that means.
    pub message: Option<String>,
    /// The state before.
    pub before: Json,
    /// The state after.
    pub after: Json,
}

fn iso<S: serde::Serializer>(at: &Millis, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.iso())
}

/// The wanted entries, oldest first.
///
/// # Errors
/// Whatever SQLite answers.
pub fn entries(conn: &Connection, query: &Query) -> Result<Vec<Entry>> {
    let mut found = Vec::new();
    let mut before = (query.until.unwrap_or(Millis(i64::MAX)), i64::MAX);
    while found.len() < query.limit {
        let chunk = chunk(conn, query, before)?;
        let Some(last) = chunk.last().map(|entry| (entry.at, entry.id)) else {
            break;
        };
        before = last;
        found.extend(chunk.into_iter().filter(|entry| query.wants(entry)));
    }
    found.truncate(query.limit);
    found.reverse();
    Ok(found)
}

impl Query {
    fn wants(&self, entry: &Entry) -> bool {
        let actor = entry.actor.as_deref().unwrap_or_default();
        self.action.as_ref().is_none_or(|action| *action == entry.action)
            && self
                .actor
                .as_ref()
                .is_none_or(|name| Actor::parse(actor).is_called(name))
    }
}

/// The condition of the partial index, word for word: SQLite compares them.
fn is_audit() -> String {
    TYPES
        .map(|kind| format!("type = '{}'", kind.as_str()))
        .join(" OR ")
}

fn chunk(conn: &Connection, query: &Query, before: (Millis, i64)) -> Result<Vec<Entry>> {
    let (place, since) = (
        if query.run_id.is_some() {
            "run_id = :run"
        } else {
            ":run IS NULL"
        },
        query.since.unwrap_or(Millis(i64::MIN)),
    );
    let sql = format!(
        "SELECT id, at_ms, type, run_id, data FROM runchain_events
         WHERE ({}) AND {place} AND at_ms >= :since AND at_ms <= :at AND (at_ms < :at OR id < :id)
         ORDER BY at_ms DESC, id DESC LIMIT :chunk",
        is_audit()
    );
    let parameters: [(&str, &dyn ToSql); 5] = [
        (":run", &query.run_id),
        (":since", &since),
        (":at", &before.0),
        (":id", &before.1),
        (":chunk", &CHUNK),
    ];
    let mut statement = conn.prepare_cached(&sql).during("read the audit trail")?;
    let rows = statement
        .query_map(&parameters[..], of_row)
        .during("read the audit trail")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("read the audit trail")
}

fn of_row(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let data: String = row.get(4)?;
    let data: Json = serde_json::from_str(&data).unwrap_or_default();
    let text = |key: &str| data.get(key).and_then(Json::as_str).map(str::to_owned);
    let state = |key: &str| data.get(key).cloned().unwrap_or_default();
    let kind: String = row.get(2)?;
    let named = if kind == "INSTALLED" { "install" } else { "" };
    let actor = text("actor");
    let parts = || {
        actor
            .as_deref()
            .map_or(Json::Null, |text| Actor::parse(text).parts())
    };
    Ok(Entry {
        id: row.get(0)?,
        at: row.get(1)?,
        kind,
        action: text("action").unwrap_or_else(|| named.to_owned()),
        run_id: row.get(3)?,
        step: text("step"),
        batch: data.get("batch").and_then(Json::as_i64),
        who: data.get("who").cloned().unwrap_or_else(parts),
        actor,
        reason: text("reason"),
        answer: text("answer").unwrap_or_else(|| "done".to_owned()),
        message: text("message"),
        before: state("before"),
        after: state("after"),
    })
}

/// One value that differs between two states.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// The keys that lead to it, joined by dots.
    pub path: String,
    /// As it was; null where there was none.
    pub before: Json,
    /// As it is; null where there is none.
    pub after: Json,
}

/// What differs between two states, value by value, in the order of their keys.
#[must_use]
pub fn changes(before: &Json, after: &Json) -> Vec<Change> {
    let mut found = Vec::new();
    compare("", before, after, &mut found);
    found
}

fn compare(path: &str, before: &Json, after: &Json, found: &mut Vec<Change>) {
    if before == after {
        return;
    }
    let (Json::Object(_) | Json::Null, Json::Object(_) | Json::Null) = (before, after) else {
        found.push(Change {
            path: path.to_owned(),
            before: before.clone(),
            after: after.clone(),
        });
        return;
    };
    let keys = |value: &Json| -> Vec<String> {
        value
            .as_object()
            .map(|object| object.keys().cloned().collect())
            .unwrap_or_default()
    };
    let mut all = keys(before);
    all.extend(keys(after).into_iter().filter(|key| before.get(key).is_none()));
    for key in all {
        let below = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        let value = |state: &Json| state.get(&key).cloned().unwrap_or_default();
        compare(&below, &value(before), &value(after), found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Action, By, record};
    use crate::schema;
    use serde_json::json;

    fn trail(conn: &Connection, name: &str, actor: &str, at: i64) {
        let by = By {
            actor: Some(actor.to_owned()),
            reason: Some("why".to_owned()),
        };
        let action = Action {
            name,
            run_id: None,
            by: &by,
            before: json!({"n": 1}),
            after: json!({"n": 2}),
        };
        record(conn, &action, Millis(at)).unwrap();
    }

    #[test]
    fn entries_are_found_by_what_is_asked_for_and_stand_oldest_first() {
        let conn = schema::in_memory();
        for number in 0..1_200 {
            trail(
                &conn,
                if number % 2 == 0 { "prune" } else { "adopt" },
                &format!("u{}(1)@box", number % 3),
                number,
            );
        }
        let query = |query: Query| -> Vec<i64> {
            entries(&conn, &query)
                .unwrap()
                .iter()
                .map(|entry| entry.at.0)
                .collect()
        };
        let all = Query {
            limit: 3,
            ..Query::default()
        };
        assert_eq!(query(all.clone()), [1_197, 1_198, 1_199]);
        assert_eq!(
            query(Query {
                action: Some("prune".into()),
                ..all.clone()
            }),
            [1_194, 1_196, 1_198]
        );
        assert_eq!(
            query(Query {
                actor: Some("u0".into()),
                until: Some(Millis(5)),
                ..all.clone()
            }),
            [0, 3]
        );
        assert_eq!(
            query(Query {
                since: Some(Millis(1_199)),
                ..all.clone()
            }),
            [1_199]
        );
        assert_eq!(query(Query { limit: 5_000, ..all }).len(), 1_200);
    }

    #[test]
    fn other_events_are_never_read() {
        let conn = schema::in_memory();
        for run in ["run_id = :run", ":run IS NULL"] {
            let sql = format!(
                "EXPLAIN QUERY PLAN SELECT id FROM runchain_events
                 WHERE ({}) AND {run} AND at_ms >= 1 AND at_ms <= 2 ORDER BY at_ms DESC, id DESC",
                is_audit()
            );
            let plan: Vec<String> = conn
                .prepare(&sql)
                .unwrap()
                .query_map([(":run", &None::<String>)].as_slice(), |row| row.get(3))
                .unwrap()
                .map(rusqlite::Result::unwrap)
                .collect();
            assert!(
                plan[0].contains("USING INDEX") || plan[0].contains("USING COVERING INDEX"),
                "{plan:?}"
            );
        }
    }

    #[test]
    fn changes_are_told_value_by_value() {
        let told = |before: Json, after: Json| -> Vec<String> {
            changes(&before, &after)
                .into_iter()
                .map(|change| format!("{} {} {}", change.path, change.before, change.after))
                .collect()
        };
        assert_eq!(
            told(
                json!({"phase": "failed", "steps": {"archive": "dead", "report": "waiting"}}),
                json!({"phase": "failed", "steps": {"archive": "ready", "report": "waiting"}})
            ),
            [r#"steps.archive "dead" "ready""#]
        );
        assert_eq!(
            told(Json::Null, json!({"paused": {"actor": "ann"}})),
            [r#"paused.actor null "ann""#]
        );
        assert_eq!(told(json!({"a": [1]}), json!({"a": [2]})), ["a [1] [2]"]);
        assert_eq!(told(json!({}), Json::Null), [""; 0]);
    }
}
