//! What must hold outside the database: bags, reports, logs, and what commands left.

use super::database::{Checked, Event, Found};
use super::expected::Expected;
use crate::support::Project;
use rusqlite::Connection;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Looks at everything; each violation is a sentence. `calm_ms`: when nobody was killed any more.
pub(crate) fn violations(
    project: &Project,
    expected: &Expected,
    calm_ms: i64,
    checked: &mut Checked,
) -> Vec<String> {
    let found = Found::read(&Connection::open(project.database()).unwrap());
    let mut wrong = Vec::new();
    every_bag_is_whole(project, &found, calm_ms, checked, &mut wrong);
    every_ended_run_stands_in_its_bag(project, &found, expected, checked, &mut wrong);
    every_report_is_of_the_last_end(project, &found, expected, &mut wrong);
    logs_hold_every_event_once_and_in_order(project, &found, checked, &mut wrong);
    no_attempt_ran_twice(project, &found, checked, &mut wrong);
    wrong
}

/// Invariant 4: `sha256sum -c` on every bag, by one call; nothing lies in one that its manifest
/// doesn't name; `archival_log` has a row for every bag on the disk and for no other.
fn every_bag_is_whole(
    project: &Project,
    found: &Found,
    calm_ms: i64,
    checked: &mut Checked,
    wrong: &mut Vec<String>,
) {
    let archive = project.path(".archive");
    let mut sums = String::new();
    let mut stand = BTreeSet::new();
    let mut staged = Vec::new();
    for name in names(&archive) {
        if name.starts_with(".staging-") {
            staged.push(name);
            continue;
        }
        let bag = archive.join(&name);
        let mut named = BTreeSet::new();
        for manifest in ["manifest-sha256.txt", "tagmanifest-sha256.txt"] {
            let Ok(text) = fs::read_to_string(bag.join(manifest)) else {
                wrong.push(format!("the bag {name} has no {manifest}"));
                continue;
            };
            for line in text.lines() {
                let (sum, file) = line.split_once("  ").unwrap_or(("", line));
                writeln!(sums, "{sum}  {name}/{file}").unwrap();
                named.insert(bag.join(file));
            }
        }
        named.insert(bag.join("tagmanifest-sha256.txt"));
        if named != files(&bag) {
            wrong.push(format!(
                "the manifests of the bag {name} don't name what it holds"
            ));
        }
        stand.insert(described(&bag));
        *checked.entry("bags").or_default() += 1;
    }
    // What the killed had staged is removed by the next archive, of whatever run.
    let mut archives = found
        .steps
        .iter()
        .filter(|step| step.step == "archive" && step.is_done());
    *checked
        .entry("staging folders without an archive after them")
        .or_default() += staged.len();
    if !staged.is_empty() && archives.any(|step| step.started_ms > calm_ms) {
        wrong.push(format!("staging folders are left: {staged:?}"));
    }
    if let Err(said) = sha256sum(&archive, &sums) {
        wrong.push(format!("sha256sum: {said}"));
    }
    let logged: BTreeSet<_> = found.logged.iter().cloned().collect();
    for bag in logged.symmetric_difference(&stand) {
        let which = if stand.contains(bag) {
            "has no row"
        } else {
            "is not on the disk"
        };
        wrong.push(format!("archival_log: {bag:?} {which}"));
    }
}

/// What stands in a run's place is the bag of its last end, with its row as it stood at some time
/// since that end, and at least the rows that it had before.
fn every_ended_run_stands_in_its_bag(
    project: &Project,
    found: &Found,
    expected: &Expected,
    checked: &mut Checked,
    wrong: &mut Vec<String>,
) {
    for run_id in expected.rows.keys() {
        let Some(state) = found
            .state(run_id, expected)
            .filter(|state| state.phase.is_terminal())
        else {
            continue;
        };
        let chain = found.chain(run_id, state.generation);
        let Some(archived) = chain.iter().find(|step| step.step == "archive" && step.is_done()) else {
            continue;
        };
        let bag = project.path(".archive").join(run_id);
        if digest(&bag) != archived.result["digest"] {
            wrong.push(format!(
                "in the place of {run_id} stands the bag {}, not that of generation {}",
                digest(&bag),
                state.generation
            ));
            continue;
        }
        *checked.entry("contents of bags").or_default() += 1;
        let rows = lines(&bag.join("data/run.json"), wrong);
        let versions = &expected.versions[run_id];
        let standing = versions
            .iter()
            .rposition(|version| version.seq <= state.entered)
            .unwrap_or(0);
        let holds = versions[standing..]
            .iter()
            .filter_map(|version| version.row.as_ref())
            .any(|row| {
                rows.len() == 1 && rows[0]["status"] == row.status && rows[0]["metadata_json"] == row.metadata
            });
        if !holds {
            let entered = state.entered;
            wrong.push(format!(
                "the bag of {run_id} holds {rows:?}, which it was not since commit {entered}: {versions:?}"
            ));
        }
        let held: BTreeSet<i64> = match bag.join("data/tables/events.jsonl") {
            path if path.exists() => lines(&path, wrong)
                .iter()
                .filter_map(|row| row["id"].as_i64())
                .collect(),
            _ => BTreeSet::new(),
        };
        let of_run = || expected.events.iter().filter(|event| event.run_id == *run_id);
        let all: BTreeSet<i64> = of_run().map(|event| event.id).collect();
        let least = of_run()
            .filter(|event| event.seq <= state.entered)
            .map(|event| event.id)
            .collect();
        if !held.is_subset(&all) || !held.is_superset(&least) {
            wrong.push(format!(
                "the bag of {run_id} holds the events {held:?} instead of {all:?}"
            ));
        }
    }
}

fn every_report_is_of_the_last_end(
    project: &Project,
    found: &Found,
    expected: &Expected,
    wrong: &mut Vec<String>,
) {
    for run_id in expected.rows.keys() {
        let Some(state) = found
            .state(run_id, expected)
            .filter(|state| state.phase.is_terminal())
        else {
            continue;
        };
        if found.chain(run_id, state.generation).is_empty() {
            continue;
        }
        let path = project.path("reports").join(format!("{run_id}_summary.json"));
        let text = fs::read_to_string(&path).unwrap_or_default();
        let summary: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if summary["run_id"] != *run_id || summary["generation"] != state.generation {
            let generation = state.generation;
            wrong.push(format!(
                "the summary of {run_id} is not of generation {generation}: {summary}"
            ));
        }
    }
}

/// Invariant 6, over all rotated files and the current one of each log.
fn logs_hold_every_event_once_and_in_order(
    project: &Project,
    found: &Found,
    checked: &mut Checked,
    wrong: &mut Vec<String>,
) {
    let logs = project.path("logs");
    let mut logged: BTreeMap<i64, Event> = BTreeMap::new();
    for log in ["monitor", "archival"] {
        let prefix = format!("{log}.");
        let mut rotated: Vec<String> = names(&logs)
            .into_iter()
            .filter(|name| name.starts_with(&prefix) && *name != format!("{log}.jsonl"))
            .collect();
        // By epoch and position; those of one position hold heartbeats only, but for the first.
        rotated.sort_by_key(|name| name.trim_end_matches(".jsonl").to_owned());
        rotated.push(format!("{log}.jsonl"));
        let mut last = 0;
        for name in rotated {
            *checked.entry("log files").or_default() += 1;
            for line in lines(&logs.join(&name), wrong) {
                let Some(id) = line["seq"].as_i64() else {
                    if !matches!(line["event"].as_str(), Some("HEARTBEAT" | "LOG_OPENED")) {
                        wrong.push(format!("{name}: a line without a seq: {line}"));
                    }
                    continue;
                };
                if id <= last || line["epoch"] != 1 {
                    wrong.push(format!("{name}: event {id} stands after {last}: {line}"));
                }
                last = id;
                let text = |key: &str| line[key].as_str().map(str::to_owned);
                let event = Event {
                    id,
                    kind: text("event").unwrap_or_default(),
                    run_id: text("run_id"),
                    generation: line["generation"].as_i64(),
                    step: text("step"),
                    data: line["data"].clone(),
                };
                if logged.insert(id, event).is_some() {
                    wrong.push(format!("{name}: event {id} stands in the logs twice"));
                }
            }
        }
    }
    for event in &found.events {
        match logged.remove(&event.id) {
            Some(line) if line == *event => {}
            line => wrong.push(format!("the logs have {line:?} for {event:?}")),
        }
    }
    if !logged.is_empty() {
        wrong.push(format!("the logs have events that there are not: {logged:?}"));
    }
}

/// A command noted every attempt that it was called for: each at most once, none that no commit had
/// started, and the one that is done.
fn no_attempt_ran_twice(project: &Project, found: &Found, checked: &mut Checked, wrong: &mut Vec<String>) {
    let text = fs::read_to_string(project.path("witness")).unwrap_or_default();
    let mut noted = BTreeSet::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let attempt = match words[..] {
            [run_id, generation, attempt] => (
                run_id.to_owned(),
                generation.parse().unwrap_or(0_i64),
                attempt.parse().unwrap_or(0_i64),
            ),
            _ => (line.to_owned(), 0, 0),
        };
        if !noted.insert(attempt) {
            wrong.push(format!("an attempt ran twice: {line}"));
        }
    }
    *checked.entry("executions of commands").or_default() += noted.len();
    let steps = found.steps.iter().filter(|step| step.step == "witness");
    let started: BTreeMap<(&str, i64), i64> = steps
        .clone()
        .map(|step| ((step.run_id.as_str(), step.generation), step.attempts))
        .collect();
    for (run_id, generation, attempt) in &noted {
        let attempts = started.get(&(run_id.as_str(), *generation)).copied().unwrap_or(0);
        if !(1..=attempts).contains(attempt) {
            wrong.push(format!(
                "attempt {attempt} of {run_id} {generation} ran, {attempts} were started"
            ));
        }
    }
    for step in steps.filter(|step| step.is_done()) {
        if !noted.contains(&(step.run_id.clone(), step.generation, step.attempts)) {
            let (run_id, generation) = (&step.run_id, step.generation);
            wrong.push(format!(
                "the witness of {run_id} {generation} is done and never ran"
            ));
        }
    }
}

/// Every line of a JSONL file; a torn one is a violation.
fn lines(path: &Path, wrong: &mut Vec<String>) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    if text.is_empty() || !text.ends_with('\n') {
        wrong.push(format!(
            "{} is missing, empty or ends in the middle of a line",
            path.display()
        ));
    }
    let mut values = Vec::new();
    for line in text.lines() {
        match serde_json::from_str(line) {
            Ok(value) => values.push(value),
            Err(error) => wrong.push(format!("{}: {error}: {line}", path.display())),
        }
    }
    values
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap);
    let files = entries.filter(|entry| !entry.file_type().is_dir());
    files.map(walkdir::DirEntry::into_path).collect()
}

/// Run, generation and digest, as the bag itself says.
fn described(bag: &Path) -> (String, i64, String) {
    let info = fs::read_to_string(bag.join("bag-info.txt")).unwrap_or_default();
    let value = |label: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(label));
        line.unwrap_or_default().to_owned()
    };
    (
        value("External-Identifier: "),
        value("Runchain-Generation: ").parse().unwrap_or(0),
        digest(bag),
    )
}

fn digest(bag: &Path) -> String {
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(fs::read(bag.join("tagmanifest-sha256.txt")).unwrap_or_default()) {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

fn sha256sum(folder: &Path, sums: &str) -> Result<(), String> {
    let mut command = Command::new("sha256sum");
    command
        .args(["--check", "--strict", "--quiet"])
        .current_dir(folder);
    let mut list = tempfile::NamedTempFile::new().unwrap();
    list.write_all(sums.as_bytes()).unwrap();
    let checked = command.arg(list.path()).stdin(Stdio::null()).output().unwrap();
    if checked.status.success() || sums.is_empty() {
        return Ok(());
    }
    let said = [checked.stdout, checked.stderr].concat();
    Err(String::from_utf8_lossy(&said).into_owned())
}
