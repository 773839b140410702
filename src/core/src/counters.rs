//! Totals for `/metrics`: what has happened since the installation, by kind.
//!
//! Each is a sum over `runchain_events` up to one event. The leader keeps them in memory, adds what is new
//! and saves them now and then together with that event's id: after a restart, or when another executor
//! takes the lead, they go on from there and count what came meanwhile from the events themselves. So no
//! event counts twice, however many executors there are, and saving less often loses nothing.
//!
//! What does not belong here: gauges, which are looked at when somebody asks.

use crate::error::{During, Result};
use crate::event::EventType;
use rusqlite::{Connection, Row};
use std::collections::BTreeMap;

/// Kinds of steps that are told apart; the rest is "other". The configuration names few, but a history may
/// hold more.
const MOST_LABELS: usize = 64;
/// The label of what is too much.
const OTHER: &str = "other";

macro_rules! counters {
    ($($(#[$doc:meta])* $variant:ident = $word:literal,)*) => {
        /// What is counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Counter { $($(#[$doc])* $variant,)* }

        impl Counter {
            /// All of them.
            pub const ALL: [Self; [$($word,)*].len()] = [$(Self::$variant,)*];

            /// The word in the database.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

counters! {
    /// Runs seen for the first time.
    RunsCreated = "runs_created",
    /// Ends of runs that went well.
    RunsCompleted = "runs_completed",
    /// Ends of runs that failed.
    RunsFailed = "runs_failed",
    /// Ends of runs that were cancelled.
    RunsCancelled = "runs_cancelled",
    /// Times that a run stalled.
    RunsStalled = "runs_stalled",
    /// Bags that were put in their place.
    ArtifactsArchived = "artifacts_archived",
    /// Bytes of those bags, less those that retention has removed.
    ArchiveBytes = "archive_bytes",
    /// Steps that succeeded, by kind.
    StepsDone = "steps_done",
    /// Attempts that failed and are followed by another, by kind.
    StepRetries = "step_retries",
    /// Steps that used up their attempts, by kind.
    StepsDead = "steps_dead",
}

/// The totals up to one event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    upto: i64,
    values: BTreeMap<Counter, BTreeMap<String, i64>>,
    is_saved: bool,
}

/// The row that says how far the sums go.
const UPTO: &str = "upto";

impl Counters {
    /// What was saved last; nothing yet where nobody has.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub fn load(conn: &Connection) -> Result<Self> {
        let mut counters = Self {
            is_saved: true,
            ..Self::default()
        };
        let mut statement = conn
            .prepare("SELECT name, label, value FROM runchain_counters")
            .during("read the counters")?;
        let rows = statement
            .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?)))
            .during("read the counters")?;
        for row in rows {
            let (name, label, value) = row.during("read the counters")?;
            if name == UPTO {
                counters.upto = value;
            } else if let Some(counter) = Counter::ALL.into_iter().find(|one| one.as_str() == name) {
                counters.values.entry(counter).or_default().insert(label, value);
            }
        }
        // After power loss the newest events of other programs may be gone, and their ids come back.
        counters.upto = counters.upto.min(crate::event::newest_id(conn)?);
        Ok(counters)
    }

    /// Adds the next events, `limit` at most; how many there were.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub fn add_new(&mut self, conn: &Connection, limit: usize) -> Result<usize> {
        let mut statement = conn
            .prepare_cached(
                "SELECT id, type, step,
                        CASE type
                          WHEN 'RUN_COMPLETED' THEN json_extract(data, '$.phase')
                          WHEN 'RUN_ARCHIVED' THEN json_extract(data, '$.size_bytes')
                          WHEN 'RETENTION' THEN json_extract(data, '$.removed.bags.size_bytes')
                        END
                 FROM runchain_events WHERE id > ?1 ORDER BY id LIMIT ?2",
            )
            .during("count events")?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = statement.query((self.upto, limit)).during("count events")?;
        let mut count = 0;
        while let Some(row) = rows.next().during("count events")? {
            self.add(row).during("count events")?;
            count += 1;
        }
        self.is_saved &= count == 0;
        Ok(count)
    }

    fn add(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        use EventType as E;
        self.upto = row.get(0)?;
        let kind: String = row.get(1)?;
        let bytes = || row.get::<_, Option<i64>>(3).unwrap_or_default().unwrap_or(0);
        let step = || row.get::<_, Option<String>>(2);
        match E::from_word(&kind) {
            Some(E::RunCreated) => self.count(Counter::RunsCreated, "", 1),
            Some(E::RunStalled) => self.count(Counter::RunsStalled, "", 1),
            Some(E::RunCompleted) => match row.get::<_, Option<String>>(3).unwrap_or_default().as_deref() {
                Some("completed") => self.count(Counter::RunsCompleted, "", 1),
                Some("failed") => self.count(Counter::RunsFailed, "", 1),
                Some("cancelled") => self.count(Counter::RunsCancelled, "", 1),
                _ => {}
            },
            Some(E::RunArchived) => {
                self.count(Counter::ArtifactsArchived, "", 1);
                self.count(Counter::ArchiveBytes, "", bytes());
                self.count(Counter::StepsDone, step()?.as_deref().unwrap_or("archive"), 1);
            }
            Some(E::Retention) => self.count(Counter::ArchiveBytes, "", -bytes()),
            Some(E::ReportGenerated) => {
                self.count(Counter::StepsDone, step()?.as_deref().unwrap_or("report"), 1);
            }
            Some(E::StepDone) => self.count(Counter::StepsDone, step()?.as_deref().unwrap_or(OTHER), 1),
            Some(E::StepFailed) => self.count(Counter::StepRetries, step()?.as_deref().unwrap_or(OTHER), 1),
            Some(E::StepDead) => self.count(Counter::StepsDead, step()?.as_deref().unwrap_or(OTHER), 1),
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self, counter: Counter, label: &str, by: i64) {
        let labels = self.values.entry(counter).or_default();
        let label = if labels.len() < MOST_LABELS || labels.contains_key(label) {
            label
        } else {
            OTHER
        };
        let value = match labels.get_mut(label) {
            Some(value) => value,
            None => labels.entry(label.to_owned()).or_default(),
        };
        *value = value.saturating_add(by).max(0);
    }

    /// One counter's labels with their values.
    pub fn of(&self, counter: Counter) -> impl Iterator<Item = (&str, i64)> {
        let labels = self.values.get(&counter).into_iter().flatten();
        labels.map(|(label, value)| (label.as_str(), *value))
    }

    /// One counter without labels.
    #[must_use]
    pub fn total(&self, counter: Counter) -> i64 {
        self.of(counter).map(|(_, value)| value).sum()
    }

    /// Whether the database has them as they are.
    #[must_use]
    pub fn is_saved(&self) -> bool {
        self.is_saved
    }

    /// Writes them, inside the caller's transaction. Unless that fails, they are saved.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub fn save(&self, conn: &Connection) -> Result<()> {
        let mut upsert = conn
            .prepare_cached(
                "INSERT INTO runchain_counters(name, label, value) VALUES (?1, ?2, ?3)
                 ON CONFLICT (name, label) DO UPDATE SET value = excluded.value",
            )
            .during("save the counters")?;
        for (counter, labels) in &self.values {
            for (label, value) in labels {
                upsert
                    .execute((counter.as_str(), label, value))
                    .during("save the counters")?;
            }
        }
        upsert
            .execute((UPTO, "", self.upto))
            .during("save the counters")?;
        Ok(())
    }

    /// The transaction of [`Counters::save`] is committed.
    pub fn saved(&mut self) {
        self.is_saved = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{self, NewEvent};
    use crate::{Millis, RunId};
    use serde_json::{Value, json};

    fn database() -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(crate::schema::SCHEMA_SQL).unwrap();
        conn
    }

    fn happens(conn: &Connection, kind: EventType, step: Option<&str>, data: Value) {
        let run_id = RunId("r".to_owned());
        let mut event = NewEvent::of_run(kind, Millis(1), &run_id, 1, data);
        event.step = step;
        event::append(conn, &event).unwrap();
    }

    fn up_to_date(counters: &mut Counters, conn: &Connection) {
        while counters.add_new(conn, 2).unwrap() > 0 {}
    }

    #[test]
    fn each_event_counts_once_over_restarts_and_other_leaders() {
        let conn = database();
        let end = |phase: &str| happens(&conn, EventType::RunCompleted, None, json!({"phase": phase}));
        end("completed");
        end("failed");
        happens(
            &conn,
            EventType::RunArchived,
            Some("archive"),
            json!({"size_bytes": 100}),
        );
        let mut first = Counters::load(&conn).unwrap();
        up_to_date(&mut first, &conn);
        first.save(&conn).unwrap();
        // Counted by the first and not saved; the second counts it itself.
        end("completed");
        up_to_date(&mut first, &conn);
        let mut second = Counters::load(&conn).unwrap();
        up_to_date(&mut second, &conn);
        for counters in [&first, &second] {
            assert_eq!(counters.total(Counter::RunsCompleted), 2);
            assert_eq!(counters.total(Counter::RunsFailed), 1);
            assert_eq!(counters.total(Counter::ArtifactsArchived), 1);
            assert_eq!(counters.total(Counter::ArchiveBytes), 100);
        }
    }

    #[test]
    fn what_retention_removes_counts_no_more_and_attempts_count_by_kind() {
        let conn = database();
        happens(
            &conn,
            EventType::RunArchived,
            Some("archive"),
            json!({"size_bytes": 100}),
        );
        let removed = json!({"removed": {"bags": {"rows": 1, "size_bytes": 60}}});
        happens(&conn, EventType::Retention, None, removed);
        happens(&conn, EventType::StepFailed, Some("upload"), json!({}));
        happens(&conn, EventType::StepDead, Some("upload"), json!({}));
        happens(&conn, EventType::StepDone, Some("page"), json!({}));
        let mut counters = Counters::load(&conn).unwrap();
        up_to_date(&mut counters, &conn);
        assert_eq!(counters.total(Counter::ArchiveBytes), 40);
        assert_eq!(
            counters.of(Counter::StepRetries).collect::<Vec<_>>(),
            [("upload", 1)]
        );
        assert_eq!(
            counters.of(Counter::StepsDead).collect::<Vec<_>>(),
            [("upload", 1)]
        );
        assert_eq!(
            counters.of(Counter::StepsDone).collect::<Vec<_>>(),
            [("archive", 1), ("page", 1)]
        );
    }

    #[test]
    fn labels_are_bounded() {
        let conn = database();
        for number in 0..100 {
            happens(
                &conn,
                EventType::StepDone,
                Some(&format!("step-{number}")),
                json!({}),
            );
        }
        let mut counters = Counters::load(&conn).unwrap();
        up_to_date(&mut counters, &conn);
        assert_eq!(counters.of(Counter::StepsDone).count(), MOST_LABELS + 1);
        assert_eq!(
            counters.of(Counter::StepsDone).find(|(label, _)| *label == OTHER),
            Some((OTHER, 36))
        );
    }
}
