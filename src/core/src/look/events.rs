//! Lifecycle and ingested events: backwards from the newest, or onwards from a place.
//!
//! Both tables are read by their rowid, or by the index on the run, in chunks; a filter on the type has
//! no index, so at most [`LOOKED_THROUGH`] rows are read for it. Ids grow with time, so the first event
//! since a moment is found by halving.

use crate::error::{During, Result};
use crate::{Millis, RunId, schema};
use rusqlite::{Connection, OptionalExtension, Row};
use serde::Serialize;
use serde_json::{Value as Json, json};

/// Rows that are read at most for one answer, of each table.
pub const LOOKED_THROUGH: usize = 200_000;
/// Rows that one statement reads.
const CHUNK: usize = 1_000;

/// Where an event comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// runchain's own.
    Lifecycle,
    /// The orchestrator's event logs.
    Ingested,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Where it comes from.
    pub source: Source,
    /// Its id there.
    pub id: i64,
    /// When it happened; an ingested one may not say.
    #[serde(serialize_with = "super::as_iso_or_null")]
    pub at: Option<Millis>,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: String,
    /// The run that it concerns; of an ingested one without a run the job.
    pub run_id: Option<RunId>,
    /// The generation of the run's chain.
    pub generation: Option<i64>,
    /// The step that it concerns.
    pub step: Option<String>,
    /// Everything else.
    pub data: Json,
}

/// Which events.
pub struct EventQuery<'a> {
    /// Of this run only.
    pub run_id: Option<RunId>,
    /// Not before this.
    pub since: Option<Millis>,
    /// The newest so many.
    pub limit: usize,
    /// Whether a type is meant.
    pub keep: &'a dyn Fn(&str) -> bool,
}

/// How far the events were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    lifecycle: i64,
    ingested: i64,
}

/// The newest events that fit, the oldest of them first.
#[derive(Debug)]
pub struct Tail {
    /// In order of time.
    pub events: Vec<Event>,
    /// Older ones may fit, too: so many rows were looked through, and no more.
    pub gave_up: bool,
    /// Where to go on from.
    pub cursor: Cursor,
}

/// One of the two tables, as both are read in the same way.
pub(super) struct Table {
    name: &'static str,
    columns: &'static str,
    /// Conditions that mean a run; `?1` is its id. Several: each has its own index.
    of_run: &'static [&'static str],
    of_row: fn(&Row<'_>) -> rusqlite::Result<Event>,
}

pub(super) const LIFECYCLE: Table = Table {
    name: "runchain_events",
    columns: "id, type, at_ms, run_id, generation, step, data",
    of_run: &["run_id = ?1"],
    of_row: lifecycle,
};

pub(super) const INGESTED: Table = Table {
    name: "runchain_ingested",
    columns: "id, type, at_ms, run_id, job_id, step_id, event_id, pattern_run_id, pattern_id, status, details",
    of_run: &["run_id = ?1", "job_id = ?1"],
    of_row: ingested,
};

fn lifecycle(row: &Row<'_>) -> rusqlite::Result<Event> {
    let data: String = row.get(6)?;
    Ok(Event {
        source: Source::Lifecycle,
        id: row.get(0)?,
        kind: row.get(1)?,
        at: row.get(2)?,
        run_id: row.get(3)?,
        generation: row.get(4)?,
        step: row.get(5)?,
        data: serde_json::from_str(&data).unwrap_or(Json::String(data)),
    })
}

fn ingested(row: &Row<'_>) -> rusqlite::Result<Event> {
    let (run_id, job_id): (Option<RunId>, Option<RunId>) = (row.get(3)?, row.get(4)?);
    let text = |index: usize| row.get::<_, Option<String>>(index);
    let details = text(10)?.map(|text| serde_json::from_str(&text).unwrap_or(Json::String(text)));
    Ok(Event {
        source: Source::Ingested,
        id: row.get(0)?,
        kind: row.get(1)?,
        at: row.get(2)?,
        generation: None,
        step: row.get(5)?,
        data: json!({
            "event_id": text(6)?, "job_id": job_id, "pattern_run_id": text(7)?, "pattern_id": text(8)?,
            "status": text(9)?, "details": details,
        }),
        run_id: run_id.or(job_id),
    })
}

impl Table {
    /// Downwards from `?2`, not below `?3`: what a filter asks about. A row has no more than that taken
    /// apart until it is known to fit.
    pub(super) fn backwards(&self, condition: Option<&str>) -> String {
        format!(
            "SELECT id, type, at_ms FROM {name} WHERE {of_run} id < ?2 AND id >= ?3 ORDER BY id DESC LIMIT {CHUNK}",
            name = self.name,
            of_run = condition.map_or_else(|| "?1 IS NULL AND".to_owned(), |of| format!("{of} AND")),
        )
    }

    /// The whole of `?1`.
    pub(super) fn whole(&self) -> String {
        format!("SELECT {} FROM {} WHERE id = ?1", self.columns, self.name)
    }

    /// Upwards past `?1`.
    pub(super) fn onwards(&self) -> String {
        format!(
            "SELECT {} FROM {} WHERE id > ?1 ORDER BY id LIMIT {CHUNK}",
            self.columns, self.name
        )
    }

    pub(super) fn newest(&self) -> String {
        format!("SELECT max(id) FROM {}", self.name)
    }

    /// The first row at `?1` or past it.
    pub(super) fn first_from(&self) -> String {
        format!(
            "SELECT id, at_ms FROM {} WHERE id >= ?1 ORDER BY id LIMIT 1",
            self.name
        )
    }

    fn is_there(&self, conn: &Connection) -> Result<bool> {
        schema::table_exists(conn, self.name)
    }

    fn newest_id(&self, conn: &Connection) -> Result<i64> {
        if !self.is_there(conn)? {
            return Ok(0);
        }
        conn.query_row(&self.newest(), [], |row| row.get::<_, Option<i64>>(0))
            .during("look for the newest event")
            .map(Option::unwrap_or_default)
    }

    /// The newest that fit, the newest first; whether it gave up.
    fn tail(&self, conn: &Connection, query: &EventQuery<'_>) -> Result<(Vec<Event>, bool)> {
        if !self.is_there(conn)? {
            return Ok((Vec::new(), false));
        }
        let floor = match query.since {
            // Of a run there are few enough to look at each.
            Some(since) if query.run_id.is_none() => self.first_since(conn, since)?,
            _ => i64::MIN,
        };
        let conditions: Vec<Option<&str>> = match query.run_id {
            Some(_) => self.of_run.iter().copied().map(Some).collect(),
            None => vec![None],
        };
        let (mut found, mut gave_up) = (Vec::new(), false);
        for condition in conditions {
            gave_up |= self.walk(conn, query, condition, floor, &mut found)?;
        }
        found.sort_by_key(|event| std::cmp::Reverse(event.id));
        found.dedup_by_key(|event| event.id);
        found.truncate(query.limit);
        Ok((found, gave_up))
    }

    fn walk(
        &self,
        conn: &Connection,
        query: &EventQuery<'_>,
        condition: Option<&str>,
        floor: i64,
        found: &mut Vec<Event>,
    ) -> Result<bool> {
        const DOING: &str = "read the newest events";
        let enough = found.len() + query.limit;
        let mut select = conn.prepare_cached(&self.backwards(condition)).during(DOING)?;
        let mut whole = conn.prepare_cached(&self.whole()).during(DOING)?;
        let (mut before, mut looked) = (i64::MAX, 0);
        loop {
            let mut rows = select.query((&query.run_id, before, floor)).during(DOING)?;
            let mut in_chunk = 0;
            while let Some(row) = rows.next().during(DOING)? {
                in_chunk += 1;
                before = row.get(0).during(DOING)?;
                let at: Option<Millis> = row.get(2).during(DOING)?;
                let is_old = query.since.is_some_and(|since| at.is_none_or(|at| at < since));
                if is_old || !(query.keep)(kind_of(row).during(DOING)?) {
                    continue;
                }
                // Retention may have taken it away between the two statements.
                let event = whole.query_row([before], self.of_row).optional().during(DOING)?;
                found.extend(event);
                if found.len() == enough {
                    return Ok(false);
                }
            }
            looked += in_chunk;
            if in_chunk < CHUNK {
                return Ok(false);
            }
            if looked >= LOOKED_THROUGH {
                return Ok(true);
            }
        }
    }

    /// The first id whose event is not older than `since`, by halving. Times that step back a little
    /// (a captured write is older than the event of it) are met by an hour's margin.
    fn first_since(&self, conn: &Connection, since: Millis) -> Result<i64> {
        const MARGIN_MS: i64 = 3_600_000;
        const DOING: &str = "look for the first event of a time";
        let since = since.plus(-MARGIN_MS);
        let mut select = conn.prepare_cached(&self.first_from()).during(DOING)?;
        let (mut low, mut high) = (0, self.newest_id(conn)?.saturating_add(1));
        while low < high {
            let middle = low + (high - low) / 2;
            let first: Option<(i64, Option<Millis>)> = select
                .query_row([middle], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
                .during(DOING)?;
            match first {
                Some((id, at)) if at.is_some_and(|at| at < since) => low = id + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }
}

/// The type of a row of [`Table::backwards`], where SQLite has it: most rows are looked at and left.
fn kind_of<'row>(row: &'row Row<'_>) -> rusqlite::Result<&'row str> {
    let kind = row.get_ref(1)?;
    kind.as_str()
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(1, kind.data_type(), Box::new(error)))
}

/// The newest events of both kinds.
///
/// # Errors
/// Whatever SQLite answers.
pub fn tail(conn: &Connection, query: &EventQuery<'_>) -> Result<Tail> {
    // Before the events: what is appended meanwhile is told by `after`, once.
    let cursor = newest(conn)?;
    let (mut events, mut gave_up) = (Vec::new(), false);
    for table in [LIFECYCLE, INGESTED] {
        let (found, incomplete) = table.tail(conn, query)?;
        events.extend(found);
        gave_up |= incomplete;
    }
    events.retain(|event| event.id <= cursor.of(event.source));
    // Without a time: where its neighbours in the file are, at the beginning if it has none.
    events.sort_by_key(|event| (event.at, event.source, event.id));
    let surplus = events.len().saturating_sub(query.limit);
    events.drain(..surplus);
    Ok(Tail {
        events,
        gave_up,
        cursor,
    })
}

/// The place past every event that is there.
///
/// # Errors
/// Whatever SQLite answers.
pub fn newest(conn: &Connection) -> Result<Cursor> {
    Ok(Cursor {
        lifecycle: LIFECYCLE.newest_id(conn)?,
        ingested: INGESTED.newest_id(conn)?,
    })
}

impl Cursor {
    fn of(self, source: Source) -> i64 {
        match source {
            Source::Lifecycle => self.lifecycle,
            Source::Ingested => self.ingested,
        }
    }

    fn of_mut(&mut self, source: Source) -> &mut i64 {
        match source {
            Source::Lifecycle => &mut self.lifecycle,
            Source::Ingested => &mut self.ingested,
        }
    }
}

/// What came past a place, a bounded part of it in order of time: ask again until nothing comes. `since`
/// and `limit` of the query don't count.
///
/// # Errors
/// Whatever SQLite answers.
pub fn after(conn: &Connection, query: &EventQuery<'_>, cursor: &mut Cursor) -> Result<Vec<Event>> {
    const DOING: &str = "read the next events";
    let mut events: Vec<Event> = Vec::new();
    let mut more = true;
    while more && events.is_empty() {
        more = false;
        for (table, source) in [(LIFECYCLE, Source::Lifecycle), (INGESTED, Source::Ingested)] {
            if !table.is_there(conn)? {
                continue;
            }
            let mut select = conn.prepare_cached(&table.onwards()).during(DOING)?;
            let found = select
                .query_map([cursor.of(source)], table.of_row)
                .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
                .during(DOING)?;
            more |= found.len() == CHUNK;
            if let Some(last) = found.last() {
                *cursor.of_mut(source) = last.id;
            }
            events.extend(found.into_iter().filter(|event| fits(query, event)));
        }
    }
    events.sort_by_key(|event| (event.at, event.source, event.id));
    Ok(events)
}

fn fits(query: &EventQuery<'_>, event: &Event) -> bool {
    let of_run = query.run_id.as_ref().is_none_or(|run_id| {
        event.run_id.as_ref() == Some(run_id) || event.data["job_id"].as_str() == Some(run_id.as_str())
    });
    of_run && (query.keep)(&event.kind)
}
