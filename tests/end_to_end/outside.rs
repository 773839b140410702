//! What must be true at the end, looked at from outside: files, `sha256sum`, plain SQL. Nothing of
//! runchain's own code takes part.

use super::ledger::{Fate, Ledger, Run, millis};
use super::project::{Project, Shape};
use rusqlite::{Connection, Params};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One row of `runchain_events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: i64,
    pub(crate) kind: String,
    pub(crate) run_id: Option<String>,
    pub(crate) generation: Option<i64>,
}

/// All lifecycle events in order.
pub(crate) fn events(project: &Project) -> Vec<Event> {
    let conn = project.database();
    let mut statement = conn
        .prepare("SELECT id, type, run_id, generation FROM runchain_events ORDER BY id")
        .unwrap();
    let rows = statement.query_map([], |row| {
        Ok(Event {
            id: row.get(0)?,
            kind: row.get(1)?,
            run_id: row.get(2)?,
            generation: row.get(3)?,
        })
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// Nothing is queued, nothing of any chain is left, nothing has failed for good, and the deleted
/// runs have no live steps.
pub(crate) fn nothing_is_left(project: &Project) {
    let conn = project.database();
    assert_eq!(number(&conn, "SELECT count(*) FROM runchain_queue", []), 0);
    let states = texts(
        &conn,
        "SELECT DISTINCT state FROM runchain_steps WHERE state NOT IN ('done', 'cancelled')",
        [],
    );
    assert!(states.is_empty(), "steps are left in {states:?}");
    assert_eq!(texts(&conn, "PRAGMA integrity_check", []), ["ok"]);
    assert_eq!(texts(&conn, "PRAGMA journal_mode", []), ["delete"]);
}

/// `monitor.jsonl` and `archival.jsonl` together hold every event once, each file in order.
pub(crate) fn logs_hold_every_event_once_and_in_order(project: &Project) {
    let mut logged = Vec::new();
    for name in ["monitor.jsonl", "archival.jsonl"] {
        let mut last = 0;
        for line in lines(&project.path("logs").join(name)) {
            // Heartbeats have no number; everything else must.
            if line["event"] == "HEARTBEAT" {
                continue;
            }
            let id = line["seq"].as_i64().unwrap_or_else(|| panic!("{name}: {line}"));
            assert!(id > last, "{name}: {id} stands after {last}");
            last = id;
            logged.push(Event {
                id,
                kind: text(&line["event"]),
                run_id: line["run_id"].as_str().map(str::to_owned),
                generation: line["generation"].as_i64(),
            });
        }
    }
    logged.sort_by_key(|event| event.id);
    assert_eq!(logged, events(project));
}

/// The bag of a finished run passes `sha256sum -c` and holds what the orchestrator wrote.
pub(crate) fn bag_holds_the_run(project: &Project, run: &Run) {
    let bag = project.path(".archive").join(&run.run_id);
    bag_is_whole(&bag);

    let rows = lines(&bag.join("data/run.json"));
    assert_eq!(rows.len(), 1, "{}", run.run_id);
    let column = match project.shape {
        Shape::A => "status",
        Shape::B => "state",
    };
    assert_eq!(rows[0][column], run.status, "{}", run.run_id);

    let mut held = BTreeMap::from([("runs".to_owned(), 1)]);
    for file in files(&bag.join("data/tables")) {
        let table = file.file_stem().unwrap().to_str().unwrap().to_owned();
        held.insert(table, lines(&file).len());
    }
    assert_eq!(
        held, run.rows,
        "rows in the bag of {} ({:?})",
        run.run_id, run.fate
    );

    let own_events = Path::new("jobs").join(&run.run_id).join("pattern_events.jsonl");
    let written = fs::read(project.root().join(&own_events)).ok();
    let archived = files(&bag.join("data/files"));
    assert_eq!(archived.len(), usize::from(written.is_some()), "{archived:?}");
    assert_eq!(archived.first().map(|file| fs::read(file).unwrap()), written);
}

fn bag_is_whole(bag: &Path) {
    for manifest in ["manifest-sha256.txt", "tagmanifest-sha256.txt"] {
        let mut command = Command::new("sha256sum");
        let checked = command
            .args(["--check", "--strict", "--quiet", manifest])
            .current_dir(bag)
            .output()
            .unwrap();
        assert!(
            checked.status.success(),
            "{}: {}{}",
            bag.join(manifest).display(),
            String::from_utf8_lossy(&checked.stdout),
            String::from_utf8_lossy(&checked.stderr)
        );
    }
    // A payload file that no manifest names would pass the check above.
    let manifest = fs::read_to_string(bag.join("manifest-sha256.txt")).unwrap();
    let named: BTreeSet<PathBuf> = manifest.lines().map(|line| bag.join(&line[66..])).collect();
    let stand: BTreeSet<PathBuf> = files(&bag.join("data")).into_iter().collect();
    assert_eq!(named, stand);
}

/// `archival_log` has one row for each bag on the disk, with the size and digest of that bag; also for the
/// older bag of an attempt that was killed before it was settled.
pub(crate) fn archival_log_is_the_archive(project: &Project, ledger: &Ledger) {
    let conn = project.database();
    let mut statement = conn
        .prepare("SELECT run_id, size_bytes, digest FROM archival_log ORDER BY run_id, digest")
        .unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    let logged: Vec<(String, i64, String)> = rows.unwrap().map(Result::unwrap).collect();

    // The newest bag of a run and the older ones beside it; anything else does not belong there.
    let mut stand = Vec::new();
    for entry in fs::read_dir(project.path(".archive")).unwrap() {
        let bag = entry.unwrap().path();
        bag_is_whole(&bag);
        let name = bag.file_name().unwrap().to_str().unwrap();
        let run = ledger.finished().find(|run| name.starts_with(&run.run_id));
        let run = run.unwrap_or_else(|| panic!("{name} in .archive is no bag of a finished run"));
        let size_bytes = files(&bag)
            .iter()
            .map(|file| i64::try_from(fs::metadata(file).unwrap().len()).unwrap())
            .sum();
        let digest = format!("sha256:{}", sha256(&bag.join("tagmanifest-sha256.txt")));
        stand.push((run.run_id.clone(), size_bytes, digest));
    }
    stand.sort_by(|a, b| (&a.0, &a.2).cmp(&(&b.0, &b.2)));
    assert_eq!(logged, stand);
}

/// The numbers, words and times of a finished run's summary and metrics.
pub(crate) fn reports_are_right(project: &Project, run: &Run) {
    let read = |kind: &str| -> Value {
        let path = project
            .path("reports")
            .join(format!("{}_{kind}.json", run.run_id));
        serde_json::from_slice(&fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
            .unwrap()
    };
    let summary = read("summary");
    let of = format!("{} ({:?})", run.run_id, run.fate);
    assert_eq!(summary["run_id"], run.run_id, "{of}");
    assert_eq!(summary["status"], run.status, "{of}");
    assert_eq!(summary["phase"], run.phase(), "{of}");
    assert_eq!(summary["generation"], run.ends, "{of}");
    assert_eq!(
        json!([
            summary["steps"]["total"],
            summary["steps"]["completed"],
            summary["steps"]["failed"]
        ]),
        json!([run.steps.total, run.steps.completed, run.steps.failed]),
        "steps of {of}"
    );
    assert_eq!(
        summary["events"],
        json!({ "total": run.events.total, "errors": run.events.errors }),
        "events of {of}"
    );
    let failures = summary["errors"].as_array().unwrap();
    assert_eq!(failures.is_empty(), run.steps.failed == 0, "errors of {of}");

    let metrics = read("metrics");
    assert_eq!(
        json!([
            metrics["runs_completed_total"],
            metrics["runs_failed_total"],
            metrics["artifacts_archived_total"]
        ]),
        json!([
            u8::from(run.phase() == "completed"),
            u8::from(run.phase() == "failed"),
            1
        ]),
        "{of}"
    );
    assert_eq!(
        metrics["archive_size_bytes"], summary["bag"]["size_bytes"],
        "{of}"
    );
    times_are_right(project.shape, run, &summary);
}

fn times_are_right(shape: Shape, run: &Run, summary: &Value) {
    let of = format!("{} ({:?})", run.run_id, run.fate);
    let said = |name: &str| millis(&text(&summary["timestamps"][name]));
    let written = |time: &Option<String>| millis(time.as_ref().unwrap());
    let created = millis(&run.created_at);
    assert_eq!(said("created"), created, "created of {of}");
    if matches!(shape, Shape::A) && run.fate == Fate::Imported {
        // Its only time is when it was created: the end is when the row was seen.
        assert!(said("ended") >= created, "ended of {of}");
        return;
    }
    let ended = written(&run.ended_at);
    assert_eq!(said("ended"), ended, "ended of {of}");
    let begun = match shape {
        Shape::A => created,
        Shape::B => {
            assert_eq!(said("started"), written(&run.started_at), "started of {of}");
            written(&run.started_at)
        }
    };
    let seconds = summary["duration_seconds"].as_f64().unwrap();
    assert_eq!(
        (seconds * 1_000.0).round() as i64,
        ended - begun,
        "duration of {of}"
    );
}

/// Each event of the files is stored once, although it stands in two of them, and the tables that
/// dashboards read agree with what the orchestrator knows.
pub(crate) fn events_of_files_are_stored_once(project: &Project, ledger: &Ledger) {
    let ids: BTreeSet<String> = ledger.jobs().flat_map(|job| job.event_ids.clone()).collect();
    let mut paths = vec!["state/events/pattern_events.jsonl".to_owned()];
    paths.extend(
        ledger
            .jobs()
            .map(|job| format!("jobs/{}/pattern_events.jsonl", job.job_id)),
    );
    let mut arguments = vec!["ingest"];
    arguments.extend(paths.iter().map(String::as_str));
    let total = |reports: &[Value], key: &str| -> usize {
        let counts = reports.iter().map(|report| report[key].as_u64().unwrap());
        usize::try_from(counts.sum::<u64>()).unwrap()
    };
    let first: Vec<Value> = project.answer(&arguments);
    assert_eq!(total(&first, "stored"), ids.len());
    assert_eq!(total(&first, "duplicate"), ids.len());
    assert_eq!(total(&first, "rejected") + total(&first, "pending"), 0);
    let again: Vec<Value> = project.answer(&arguments);
    assert_eq!(total(&again, "bytes") + total(&again, "stored"), 0);

    let conn = project.database();
    let stored = texts(
        &conn,
        "SELECT event_id FROM runchain_ingested ORDER BY event_id",
        [],
    );
    assert_eq!(stored, ids.into_iter().collect::<Vec<_>>());
    let failed: usize = ledger.jobs().map(|job| job.failed_events).sum();
    let firing = "SELECT count(*) FROM runchain_alerts WHERE state = 'firing' AND rule = 'event.failed'";
    assert_eq!(number(&conn, firing, []), failed as i64);
    let failed = ledger.runs.iter().filter(|run| run.phase() == "failed").count();
    let firing = "SELECT count(*) FROM runchain_alerts WHERE state = 'firing' AND rule = 'run_failed'";
    assert_eq!(number(&conn, firing, []), failed as i64);

    for job in ledger.jobs() {
        let execution = texts(
            &conn,
            "SELECT status FROM uet_executions WHERE execution_id = ?1 AND started_at IS NOT NULL",
            [&job.job_id],
        );
        assert_eq!(execution, [job.status.as_str()], "{}", job.job_id);
        let tasks = texts(
            &conn,
            "SELECT task_id || ' ' || task_type || ' ' || status FROM uet_tasks WHERE execution_id = ?1 ORDER BY task_id",
            [&job.job_id],
        );
        let mut expected: Vec<String> = job
            .tasks
            .iter()
            .map(|task| format!("{} {} {}", task.pattern_run_id, task.pattern_id, task.status))
            .collect();
        expected.sort();
        assert_eq!(tasks, expected, "{}", job.job_id);
    }
}

fn number(conn: &Connection, sql: &str, parameters: impl Params) -> i64 {
    conn.query_row(sql, parameters, |row| row.get(0)).unwrap()
}

fn texts(conn: &Connection, sql: &str, parameters: impl Params) -> Vec<String> {
    let mut statement = conn.prepare(sql).unwrap();
    let rows = statement.query_map(parameters, |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Every line of a JSONL file; one that is torn or no JSON fails the test.
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(
        text.is_empty() || text.ends_with('\n'),
        "{} ends in the middle of a line",
        path.display()
    );
    let parsed = text.lines().map(|line| {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{}: {error}: {line}", path.display()))
    });
    parsed.collect()
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}

/// Every file below a folder, which may be missing.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = walkdir::WalkDir::new(folder).into_iter().filter_map(Result::ok);
    entries
        .filter(|entry| entry.file_type().is_file())
        .map(walkdir::DirEntry::into_path)
        .collect()
}

fn sha256(path: &Path) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(fs::read(path).unwrap()) {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}
