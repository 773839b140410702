//! Ingested events leave as lifecycle events: few one by one as EVENT_INGESTED, many as a digest for
//! each file, EVENTS_INGESTED.
//!
//! Whoever stored them (the service, a command, `ingest_events()` in a foreign host), they are told once,
//! by whoever leads: a cursor over the ids of `runchain_ingested` moves in the transaction that appends
//! what is told. So the log says it once and in order like every other event, and half a million new
//! events are some fifty lines. What an event says besides its type, time and run stands in its row.
//!
//! A digest names no run and no path (a path may hold a run's id): it must survive that a run is
//! forgotten. Where rows of the newest ids are deleted, [`forget_deleted`] belongs into the same
//! transaction: SQLite gives their ids out again.

use crate::error::{During, Result};
use crate::event::{self, EventType, NewEvent};
use crate::{Millis, RunId, schema};
use rusqlite::Connection;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// So many new events are told one by one.
const ONE_BY_ONE: usize = 10;
/// Events read for one telling; what is beyond waits for the next.
const AT_ONCE: i64 = 10_000;
/// Types that a digest counts by name.
const TYPES_NAMED: usize = 20;

/// Key in `runchain_meta`: the newest event that was told.
const KEY: &str = "ingested_told";

/// The newest ingested event, for asking cheaply whether there is a new one.
///
/// # Errors
/// Whatever SQLite answers.
pub fn newest(conn: &Connection) -> Result<i64> {
    conn.prepare_cached("SELECT coalesce(max(id), 0) FROM runchain_ingested")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .during("look for new ingested events")
}

/// What was told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// The newest event that is told now.
    pub up_to: i64,
    /// Ingested events that this call told.
    pub events: usize,
    /// There are more.
    pub more: bool,
}

struct New {
    id: i64,
    event_id: String,
    kind: String,
    at: Option<String>,
    run_id: Option<RunId>,
    status: Option<String>,
    file_id: i64,
}

/// Tells what is new, in the caller's transaction.
///
/// # Errors
/// Whatever SQLite answers; the caller rolls back.
pub fn tell(conn: &Connection, now: Millis) -> Result<Told> {
    schema::check_writer(conn)?;
    forget_deleted(conn)?;
    let told = told(conn)?;
    let new = read(conn, told)?;
    let Some(last) = new.last().map(|event| event.id) else {
        return Ok(Told {
            up_to: told,
            ..Told::default()
        });
    };
    if new.len() > ONE_BY_ONE {
        tell_digests(conn, &new, now)?;
    } else {
        for one in &new {
            let data = json!({
                "event_id": one.event_id, "type": one.kind, "at": one.at, "status": one.status, "file_id": one.file_id,
            });
            let event = NewEvent::of_database(EventType::EventIngested, now, one.run_id.as_ref(), data);
            event::append(conn, &event)?;
        }
    }
    remember(conn, last)?;
    Ok(Told {
        up_to: last,
        events: new.len(),
        more: new.len() as i64 == AT_ONCE,
    })
}

fn tell_digests(conn: &Connection, new: &[New], now: Millis) -> Result<()> {
    let mut files: BTreeMap<i64, Vec<&New>> = BTreeMap::new();
    for one in new {
        files.entry(one.file_id).or_default().push(one);
    }
    for (file_id, events) in files {
        let mut types: BTreeMap<&str, u64> = BTreeMap::new();
        for one in &events {
            *types.entry(&one.kind).or_default() += 1;
        }
        let mut most: Vec<_> = types.into_iter().collect();
        most.sort_by_key(|&(kind, count)| (std::cmp::Reverse(count), kind));
        let others: u64 = most.iter().skip(TYPES_NAMED).map(|(_, count)| count).sum();
        most.truncate(TYPES_NAMED);
        let mut named: Map<String, Value> = most
            .into_iter()
            .map(|(kind, count)| (kind.to_owned(), json!(count)))
            .collect();
        if others > 0 {
            named.insert("(other)".to_owned(), json!(others));
        }
        let (first, last) = (events[0].id, events[events.len() - 1].id);
        let times = || events.iter().filter_map(|one| one.at.as_deref());
        let data = json!({
            "file_id": file_id, "events": events.len(), "types": named,
            "first_id": first, "last_id": last, "first_at": times().next(), "last_at": times().next_back(),
            "look": format!("SELECT * FROM runchain_ingested WHERE id BETWEEN {first} AND {last} AND file_id = {file_id}"),
        });
        event::append(
            conn,
            &NewEvent::of_database(EventType::EventsIngested, now, None, data),
        )?;
    }
    Ok(())
}

/// After rows of `runchain_ingested` were deleted: what gets one of their ids is new all the same.
///
/// # Errors
/// Whatever SQLite answers; the caller rolls back.
pub fn forget_deleted(conn: &Connection) -> Result<()> {
    let newest = newest(conn)?;
    if told(conn)? > newest {
        remember(conn, newest)?;
    }
    Ok(())
}

fn told(conn: &Connection) -> Result<i64> {
    let text = schema::meta(conn, KEY)?;
    Ok(text.and_then(|text| text.parse().ok()).unwrap_or(0))
}

fn read(conn: &Connection, after: i64) -> Result<Vec<New>> {
    let mut statement = conn
        .prepare_cached(
            // Where nothing names a run, the job is one, or will be: under it the line is forgotten with it.
            "SELECT id, event_id, type, at, coalesce(run_id, job_id), status, file_id FROM runchain_ingested
             WHERE id > ?1 ORDER BY id LIMIT ?2",
        )
        .during("read new ingested events")?;
    let rows = statement
        .query_map((after, AT_ONCE), |row| {
            Ok(New {
                id: row.get(0)?,
                event_id: row.get(1)?,
                kind: row.get(2)?,
                at: row.get(3)?,
                run_id: row.get(4)?,
                status: row.get(5)?,
                file_id: row.get(6)?,
            })
        })
        .during("read new ingested events")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("read new ingested events")
}

fn remember(conn: &Connection, last: i64) -> Result<()> {
    conn.execute(
        "INSERT OR REPLACE INTO runchain_meta(key, value) VALUES (?1, ?2)",
        (KEY, last.to_string()),
    )
    .map(drop)
    .during("note which ingested events were told")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(conn: &Connection, ids: std::ops::Range<i64>, file_id: i64) {
        for id in ids {
            conn.execute(
                "INSERT INTO runchain_ingested(event_id, type, at, job_id, file_id, line, offset_bytes)
                 VALUES ('e' || ?1, iif(?1 % 2, 'odd', 'even'), 't' || ?1, 'JOB-' || ?1, ?2, ?1, 0)",
                (id, file_id),
            )
            .unwrap();
        }
    }

    fn lines(conn: &Connection) -> Vec<String> {
        let mut statement = conn
            .prepare(
                "SELECT type || '|' || coalesce(run_id, '-') || '|' || data FROM runchain_events ORDER BY id",
            )
            .unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    }

    #[test]
    fn few_events_are_told_one_by_one_under_their_run_and_once() {
        let conn = schema::in_memory();
        store(&conn, 1..3, 7);
        assert_eq!(tell(&conn, Millis(1)).unwrap().events, 2);
        let wanted = [
            r#"EVENT_INGESTED|JOB-1|{"event_id":"e1","type":"odd","at":"t1","status":null,"file_id":7}"#,
            r#"EVENT_INGESTED|JOB-2|{"event_id":"e2","type":"even","at":"t2","status":null,"file_id":7}"#,
        ];
        assert_eq!(lines(&conn), wanted);
        assert_eq!(
            tell(&conn, Millis(2)).unwrap(),
            Told {
                up_to: 2,
                events: 0,
                more: false
            }
        );
        assert_eq!(lines(&conn), wanted);
    }

    #[test]
    fn many_events_are_one_digest_of_each_file_that_names_no_run() {
        let conn = schema::in_memory();
        store(&conn, 1..12, 7);
        store(&conn, 12..13, 8);
        let told = tell(&conn, Millis(1)).unwrap();
        assert_eq!((told.events, told.up_to, told.more), (12, 12, false));
        assert_eq!(
            lines(&conn),
            [
                r#"EVENTS_INGESTED|-|{"file_id":7,"events":11,"types":{"odd":6,"even":5},"first_id":1,"last_id":11,"first_at":"t1","last_at":"t11","look":"SELECT * FROM runchain_ingested WHERE id BETWEEN 1 AND 11 AND file_id = 7"}"#,
                r#"EVENTS_INGESTED|-|{"file_id":8,"events":1,"types":{"even":1},"first_id":12,"last_id":12,"first_at":"t12","last_at":"t12","look":"SELECT * FROM runchain_ingested WHERE id BETWEEN 12 AND 12 AND file_id = 8"}"#,
            ]
        );
    }

    #[test]
    fn an_id_that_is_given_out_again_is_told_again() {
        let conn = schema::in_memory();
        store(&conn, 1..4, 7);
        tell(&conn, Millis(1)).unwrap();
        conn.execute("DELETE FROM runchain_ingested WHERE id > 1", [])
            .unwrap();
        forget_deleted(&conn).unwrap();
        store(&conn, 20..22, 7);
        assert_eq!(tell(&conn, Millis(2)).unwrap().events, 2);
    }
}
