//! What must hold in the database: read by plain SQL, compared with what the ledger leads to.

use super::expected::{Expected, Phase, State};
use rusqlite::{Connection, Row};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The steps of every chain, with the event that says that one is done.
pub(crate) const CHAIN: [(&str, &str); 3] = [
    ("archive", "RUN_ARCHIVED"),
    ("report", "REPORT_GENERATED"),
    ("witness", "STEP_DONE"),
];

/// How much was looked at, by what it was.
pub(crate) type Checked = BTreeMap<&'static str, usize>;

/// One row of `runchain_steps`.
pub(crate) struct Step {
    id: i64,
    pub(crate) run_id: String,
    pub(crate) generation: i64,
    pub(crate) step: String,
    pub(crate) state: String,
    pub(crate) attempts: i64,
    pub(crate) started_ms: i64,
    pub(crate) result: Value,
}

impl Step {
    pub(crate) fn is_done(&self) -> bool {
        self.state == "done"
    }

    fn name(&self) -> String {
        format!("{} of {} generation {}", self.step, self.run_id, self.generation)
    }
}

/// One row of `runchain_events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: i64,
    pub(crate) kind: String,
    pub(crate) run_id: Option<String>,
    pub(crate) generation: Option<i64>,
    pub(crate) step: Option<String>,
    pub(crate) data: Value,
}

/// Everything that is read of the database.
pub(crate) struct Found {
    pub(crate) steps: Vec<Step>,
    pub(crate) events: Vec<Event>,
    /// Phase and generation by run.
    pub(crate) runs: BTreeMap<String, (String, i64)>,
    /// Run, generation and digest of every row of `archival_log`.
    pub(crate) logged: Vec<(String, i64, String)>,
}

impl Found {
    pub(crate) fn read(conn: &Connection) -> Self {
        let json =
            |text: Option<String>| text.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap());
        let steps = rows(
            conn,
            "SELECT id, run_id, generation, step, state, attempts, result, coalesce(started_ms, 0) FROM runchain_steps ORDER BY id",
            |row| {
                Ok(Step {
                    id: row.get(0)?,
                    run_id: row.get(1)?,
                    generation: row.get(2)?,
                    step: row.get(3)?,
                    state: row.get(4)?,
                    attempts: row.get(5)?,
                    result: json(row.get(6)?),
                    started_ms: row.get(7)?,
                })
            },
        );
        let events = rows(
            conn,
            "SELECT id, type, run_id, generation, step, data FROM runchain_events ORDER BY id",
            |row| {
                Ok(Event {
                    id: row.get(0)?,
                    kind: row.get(1)?,
                    run_id: row.get(2)?,
                    generation: row.get(3)?,
                    step: row.get(4)?,
                    data: json(row.get(5)?),
                })
            },
        );
        let runs = rows(
            conn,
            "SELECT run_id, phase, generation FROM runchain_runs",
            |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))),
        );
        let logged = rows(
            conn,
            "SELECT run_id, generation, digest FROM archival_log",
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        );
        Self {
            logged,
            steps,
            events,
            runs: runs.into_iter().collect(),
        }
    }

    /// The steps of a generation.
    pub(crate) fn chain<'a>(&'a self, run_id: &str, generation: i64) -> Vec<&'a Step> {
        let steps = self.steps.iter();
        steps
            .filter(|step| step.run_id == run_id && step.generation == generation)
            .collect()
    }

    /// The state of the ledger that the run is in.
    pub(crate) fn state(&self, run_id: &str, expected: &Expected) -> Option<State> {
        let (phase, generation) = self.runs.get(run_id)?;
        let states = expected.states.get(run_id)?.iter();
        states
            .copied()
            .find(|state| state.phase.word() == phase && state.generation == *generation)
    }

    /// The generation that a run's row has its chain in: that of its former id, where it was renamed
    /// when the chain was through.
    fn chain_of_row(&self, run_id: &str, generation: i64, until_event: i64) -> Vec<&Step> {
        let chain = self.chain(run_id, generation);
        if !chain.is_empty() {
            return chain;
        }
        let renamed = self.events.iter().rev().find(|event| {
            event.kind == "RUN_RENAMED" && event.run_id.as_deref() == Some(run_id) && event.id < until_event
        });
        renamed.map_or(Vec::new(), |event| {
            let was = event.data["was"].as_str().unwrap();
            self.chain_of_row(was, event.generation.unwrap(), event.id)
        })
    }
}

/// Looks at everything; each violation is a sentence.
pub(crate) fn violations(database: &Path, expected: &Expected, checked: &mut Checked) -> Vec<String> {
    let conn = Connection::open(database).unwrap();
    let mut wrong = Vec::new();
    let integrity = rows(&conn, "PRAGMA integrity_check", |row| row.get::<_, String>(0));
    if integrity != ["ok"] {
        wrong.push(format!("integrity_check: {integrity:?}"));
    }
    let queued = rows(&conn, "SELECT id FROM runchain_queue", |row| row.get::<_, i64>(0));
    if !queued.is_empty() {
        wrong.push(format!("{} rows are left in the queue", queued.len()));
    }
    let found = Found::read(&conn);
    the_users_tables_are_the_users(&conn, expected, &mut wrong);
    every_end_has_one_chain(&found, expected, &mut wrong);
    every_chain_is_through(&found, expected, &mut wrong);
    nothing_is_settled_twice(&found, &mut wrong);
    attempts_and_failures_agree(&conn, &found, &mut wrong);
    the_archival_log_is_right(&conn, &found, &mut wrong);
    *checked.entry("steps").or_default() += found.steps.len();
    *checked.entry("events").or_default() += found.events.len();
    *checked.entry("runs").or_default() += found.runs.len();
    wrong
}

fn the_users_tables_are_the_users(conn: &Connection, expected: &Expected, wrong: &mut Vec<String>) {
    let runs = rows(
        conn,
        "SELECT run_id, status, metadata_json FROM runs
         WHERE created_at = '2026-01-31T12:00:00Z' AND updated_at = '2026-01-31T12:00:05Z' ORDER BY run_id",
        |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, String>(2)?,
            ))
        },
    );
    let written: Vec<_> = expected
        .rows
        .iter()
        .map(|(id, row)| (id.clone(), row.status.clone(), row.metadata.clone()))
        .collect();
    if runs != written {
        wrong.push(format!("runs holds {runs:?} instead of {written:?}"));
    }
    let events = rows(conn, "SELECT id, run_id FROM events ORDER BY id", |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
    });
    let mut written: Vec<_> = expected
        .events
        .iter()
        .map(|event| (event.id, event.run_id.clone()))
        .collect();
    written.sort();
    if events != written {
        wrong.push(format!(
            "events holds {} rows instead of {}, or others",
            events.len(),
            written.len()
        ));
    }
}

/// Invariant 1: phases and generations are what the ledger leads to; each generation has one row for
/// each step, and its event.
fn every_end_has_one_chain(found: &Found, expected: &Expected, wrong: &mut Vec<String>) {
    for run_id in expected
        .states
        .keys()
        .chain(found.runs.keys())
        .collect::<BTreeSet<_>>()
    {
        if found.state(run_id, expected).is_none() {
            wrong.push(format!(
                "{run_id} stands at {:?}, and the ledger leads to {:?}",
                found.runs.get(run_id),
                expected.states.get(run_id)
            ));
        }
    }
    let mut chains: BTreeMap<(&str, i64), BTreeSet<&str>> = BTreeMap::new();
    for step in &found.steps {
        chains
            .entry((&step.run_id, step.generation))
            .or_default()
            .insert(&step.step);
    }
    let steps: BTreeSet<&str> = CHAIN.iter().map(|(step, _)| *step).collect();
    let mut ended = BTreeSet::new();
    let mut renamed = BTreeSet::new();
    for event in &found.events {
        let Some(run_id) = event.run_id.as_deref() else {
            continue;
        };
        match event.kind.as_str() {
            "RUN_COMPLETED" if !ended.insert((run_id, event.generation.unwrap())) => {
                wrong.push(format!(
                    "{run_id} ended twice in generation {:?}",
                    event.generation
                ));
            }
            "RUN_RENAMED" => _ = renamed.insert(run_id),
            _ => {}
        }
    }
    for (&(run_id, generation), found) in &chains {
        if *found != steps {
            wrong.push(format!(
                "{run_id} generation {generation} has only the steps {found:?}"
            ));
        }
        if !ended.contains(&(run_id, generation)) && !renamed.contains(run_id) {
            wrong.push(format!("{run_id} has a generation {generation} without an end"));
        }
    }
    for end in ended.iter().filter(|end| !chains.contains_key(*end)) {
        wrong.push(format!("the end {end:?} has no chain"));
    }
    // Neither deleted nor renamed: the generations are counted without a gap.
    for (run_id, (_, last)) in &found.runs {
        let whole = expected
            .versions
            .get(run_id)
            .is_some_and(|all| all.iter().all(|one| one.row.is_some()));
        if !whole || expected.before.contains_key(run_id) {
            continue;
        }
        let generations: Vec<i64> = chains
            .keys()
            .filter(|(run, _)| run == run_id)
            .map(|(_, generation)| *generation)
            .collect();
        if generations != (1..=*last).collect::<Vec<_>>() {
            wrong.push(format!("{run_id} has the generations {generations:?} of {last}"));
        }
    }
}

/// Nothing is left to do, and what stands as ended has gone through its whole chain.
fn every_chain_is_through(found: &Found, expected: &Expected, wrong: &mut Vec<String>) {
    for step in &found.steps {
        if !matches!(step.state.as_str(), "done" | "cancelled") {
            wrong.push(format!("{} is left {}", step.name(), step.state));
        }
    }
    for (run_id, (phase, generation)) in &found.runs {
        let terminal = [Phase::Completed, Phase::Failed, Phase::Cancelled];
        if !expected.rows.contains_key(run_id) || !terminal.iter().any(|one| one.word() == phase) {
            continue;
        }
        let chain = found.chain_of_row(run_id, *generation, i64::MAX);
        if chain.len() != CHAIN.len() || !chain.iter().all(|step| step.is_done()) {
            let states: Vec<_> = chain
                .iter()
                .map(|step| format!("{} {}", step.name(), step.state))
                .collect();
            wrong.push(format!(
                "{run_id} is {phase} in generation {generation}, its chain is {states:?}"
            ));
        }
    }
}

/// Invariant 3, by the events, which are written with each settling and each cancelling.
fn nothing_is_settled_twice(found: &Found, wrong: &mut Vec<String>) {
    let mut done: BTreeMap<(&str, i64, &str), usize> = BTreeMap::new();
    let mut cancelled: BTreeMap<&str, i64> = BTreeMap::new();
    for (at, event) in found.events.iter().enumerate() {
        if event.id != at as i64 + 1 {
            wrong.push(format!("event {} is the {}. of all", event.id, at + 1));
            break;
        }
        let run_id = event.run_id.as_deref().unwrap_or("");
        if let Some((step, _)) = CHAIN.iter().find(|(_, kind)| *kind == event.kind) {
            *done.entry((run_id, event.generation.unwrap(), step)).or_default() += 1;
        }
        match event.kind.as_str() {
            "CHAIN_CANCELLED" => {
                *cancelled.entry(run_id).or_default() += event.data["cancelled_steps"].as_i64().unwrap();
            }
            "STEP_DEAD" | "EPOCH_STARTED" => wrong.push(format!("there is the event {event:?}")),
            _ => {}
        }
    }
    for step in &found.steps {
        let events = done
            .remove(&(&step.run_id, step.generation, &step.step))
            .unwrap_or(0);
        if events != usize::from(step.is_done()) {
            wrong.push(format!(
                "{} is {} and has {events} events of being done",
                step.name(),
                step.state
            ));
        }
        if step.state == "cancelled" {
            *cancelled.entry(&step.run_id).or_default() -= 1;
        }
    }
    if !done.is_empty() {
        wrong.push(format!("events of steps that there are not: {done:?}"));
    }
    for (run_id, surplus) in cancelled.into_iter().filter(|(_, surplus)| *surplus != 0) {
        wrong.push(format!(
            "{surplus} cancelled steps of {run_id} are not cancelled any more (or never were)"
        ));
    }
}

/// Every started attempt has one end: it failed and stands among the failures, it was the last one
/// and is done, or it was cancelled. What a command answered is what its last attempt answered.
fn attempts_and_failures_agree(conn: &Connection, found: &Found, wrong: &mut Vec<String>) {
    let mut failures: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    let all = rows(
        conn,
        "SELECT step_id, attempt FROM runchain_failures ORDER BY id",
        |row| Ok((row.get(0)?, row.get(1)?)),
    );
    for (step_id, attempt) in all {
        failures.entry(step_id).or_default().push(attempt);
    }
    let mut said: BTreeMap<(&str, i64, &str), usize> = BTreeMap::new();
    for event in found.events.iter().filter(|event| event.kind == "STEP_FAILED") {
        let step = (
            event.run_id.as_deref().unwrap(),
            event.generation.unwrap(),
            event.step.as_deref().unwrap(),
        );
        *said.entry(step).or_default() += 1;
    }
    for step in &found.steps {
        let failed = failures.remove(&step.id).unwrap_or_default();
        let number = failed.len() as i64;
        if failed != (1..=number).collect::<Vec<_>>() {
            wrong.push(format!("{} failed in the attempts {failed:?}", step.name()));
        }
        if said
            .get(&(&step.run_id, step.generation, &step.step))
            .copied()
            .unwrap_or(0)
            != failed.len()
        {
            wrong.push(format!(
                "{} has {number} failures and another number of events",
                step.name()
            ));
        }
        let open = step.attempts - number;
        let right = if step.is_done() {
            open == 1
        } else {
            (0..=1).contains(&open)
        };
        if !right {
            wrong.push(format!(
                "{} is {} after {} attempts and {number} failures",
                step.name(),
                step.state,
                step.attempts
            ));
        }
        if step.is_done() && step.step == "witness" && step.result["attempt"] != step.attempts {
            wrong.push(format!(
                "{} was settled by attempt {}, when {} had begun",
                step.name(),
                step.result["attempt"],
                step.attempts
            ));
        }
    }
    if !failures.is_empty() {
        wrong.push(format!("failures of steps that there are not: {failures:?}"));
    }
}

/// A row for each bag that a step has settled, and no bag has two. That no bag is without one, and no row
/// without a bag, is looked at with the bags.
fn the_archival_log_is_right(conn: &Connection, found: &Found, wrong: &mut Vec<String>) {
    let logged: BTreeSet<(String, i64, String)> = found.logged.iter().cloned().collect();
    let number = rows(conn, "SELECT id FROM archival_log", |row| row.get::<_, i64>(0)).len();
    if number != logged.len() {
        let bags = logged.len();
        wrong.push(format!("archival_log has {number} rows for {bags} bags"));
    }
    for step in found
        .steps
        .iter()
        .filter(|step| step.step == "archive" && step.is_done())
    {
        let digest = step.result["digest"].as_str().unwrap_or("none").to_owned();
        let bag = (step.run_id.clone(), step.generation, digest);
        if !logged.contains(&bag) {
            wrong.push(format!("archival_log has no row for {bag:?}"));
        }
    }
}

fn rows<T>(conn: &Connection, sql: &str, read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
    let mut statement = conn.prepare(sql).unwrap();
    let rows = statement.query_map([], read).unwrap();
    rows.map(Result::unwrap).collect()
}
