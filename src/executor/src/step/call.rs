//! What a call is about, read from the database.

use crate::archive::{encode_value, folder_name};
use crate::config::Settings;
use crate::redact::Redactor;
use runchain_core::error::{During, Result};
use runchain_core::queue::KnownRun;
use runchain_core::{Mapping, Millis, RunId, adopt, run_row, schema};
use rusqlite::Connection;
use serde_json::{Map, Value};
use std::path::PathBuf;

/// Which execution it is.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// The run.
    pub(crate) run_id: RunId,
    /// The generation of its chain.
    pub(crate) generation: i64,
    /// The step's name.
    pub(crate) step: String,
    /// Starts of the step, this one included.
    pub(crate) attempt: i64,
}

/// Everything that a command is told.
#[derive(Debug)]
pub(crate) struct Call {
    /// Which execution it is.
    pub(super) subject: Subject,
    /// The user's word for how the run ended.
    pub(super) status: Option<String>,
    /// What that means.
    pub(super) phase: &'static str,
    /// When the run ended.
    pub(super) ended_at: Millis,
    /// The run's row; null when it is gone.
    pub(super) row: Value,
    /// By name: the results of the steps that this one comes after.
    pub(super) results: Map<String, Value>,
    /// The database's file.
    pub(super) database: PathBuf,
    /// The database's identity.
    pub(super) database_uuid: String,
    /// The life of the database in which the run ended: a restored backup begins another one.
    pub(super) epoch: String,
}

impl Call {
    /// Reads what the call is about; what `[redact]` names is not in it.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub(crate) fn gather(
        conn: &Connection,
        mapping: &Mapping,
        settings: &Settings,
        run: &KnownRun,
        subject: Subject,
    ) -> Result<Self> {
        let redactor = Redactor::checked(settings);
        let database = &settings.state_db_path;
        let mut row = row_of(conn, mapping, &subject.run_id)?;
        if let Some(members) = row.as_object_mut() {
            redactor.row(&mapping.table, members);
        }
        let mut results = results_before(conn, &subject)?;
        for result in results.values_mut() {
            redactor.json(result);
        }
        Ok(Self {
            status: run.status.clone(),
            phase: run.phase.as_str(),
            ended_at: run.since,
            row,
            results,
            database: std::path::absolute(database).unwrap_or_else(|_| database.clone()),
            database_uuid: schema::meta(conn, "database_uuid")?.unwrap_or_default(),
            epoch: epoch_of(conn, run)?,
            subject,
        })
    }

    /// The same for every attempt of one step of one generation, different for any other, also in a
    /// copy of the database. Of `[A-Za-z0-9._~-]`, so that it can stand in a header or a file's name.
    pub(crate) fn idempotency_key(&self) -> String {
        // Only the last part can have a dot in it: two keys are equal only if all parts are.
        let parts = [
            &self.database_uuid,
            &self.epoch,
            &self.subject.generation.to_string(),
            &self.subject.step,
            &folder_name(&self.subject.run_id),
        ];
        parts.map(String::as_str).join(".")
    }

    /// A text member of an earlier step's result.
    pub(super) fn earlier(&self, step: &str, member: &str) -> Option<&str> {
        self.results.get(step)?.get(member)?.as_str()
    }
}

/// The epoch that the run ended in: a chain that was begun before a restore keeps its keys, so that what
/// it did outside can be told from something new.
fn epoch_of(conn: &Connection, run: &KnownRun) -> Result<String> {
    let uuid = schema::meta(conn, "database_uuid")?.unwrap_or_default();
    let epoch = match run.ended_event_id {
        Some(event_id) => adopt::epoch_of_event(conn, &uuid, event_id)?,
        None => schema::epoch(conn)?,
    };
    Ok(epoch.to_string())
}

/// The run's row as it would stand in its bag.
fn row_of(conn: &Connection, mapping: &Mapping, run_id: &RunId) -> Result<Value> {
    let row = run_row::whole(conn, mapping, run_id, |row| {
        let names = row.as_ref().column_names();
        let member = |(index, name): (usize, &&str)| {
            let text = encode_value(row.get_ref(index)?);
            let value = serde_json::from_str(&text).unwrap_or(Value::Null);
            Ok(((*name).to_owned(), value))
        };
        names.iter().enumerate().map(member).collect()
    })?;
    Ok(row.map_or(Value::Null, Value::Object))
}

/// Only of steps that this one comes after, however far: others may or may not be through, and
/// a second attempt must not see more than the first.
fn results_before(conn: &Connection, subject: &Subject) -> Result<Map<String, Value>> {
    let mut select = conn
        .prepare_cached(
            "WITH RECURSIVE
               chain AS (SELECT * FROM runchain_steps WHERE run_id = ?1 AND generation = ?2),
               before(step) AS (
                 SELECT need.value FROM chain JOIN json_each(chain.needs) AS need WHERE chain.step = ?3
                 UNION
                 SELECT need.value FROM before JOIN chain USING (step) JOIN json_each(chain.needs) AS need)
             SELECT step, result FROM chain JOIN before USING (step)
             WHERE state = 'done' AND result IS NOT NULL ORDER BY chain.id",
        )
        .during("read earlier steps' results")?;
    let rows = select
        .query_map((&subject.run_id, subject.generation, &subject.step), |row| {
            let (step, text): (String, String) = row.try_into()?;
            Ok((step, serde_json::from_str(&text).unwrap_or(Value::Null)))
        })
        .during("read earlier steps' results")?;
    let results: Map<String, Value> = rows
        .collect::<rusqlite::Result<_>>()
        .during("read earlier steps' results")?;
    Ok(results
        .into_iter()
        .filter(|(_, result)| result.is_object())
        .collect())
}
