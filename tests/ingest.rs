//! Event logs in every state that a disk, a program or a person can leave them in, read through both
//! doors: the extension in a stock shell, and the binary. Whatever stands in a file ends as a count and a
//! reason: stored, a duplicate, rejected with its reason, or pending.
//!
//! What follows from events (executions, tasks, alerts) is not looked at here.

/// Damage within a file.
mod damaged;
/// Which file is which, and which are refused.
mod identity;
/// The binary killed at random moments, while the log is written and rotated.
mod killed;
/// Who else can write meanwhile.
#[cfg(target_os = "linux")]
mod lock;
/// How much memory it takes, whatever the input.
mod memory;
/// Whose transaction it is, in a stock host.
mod transactions;

use crate::support::{Project, SHAPE_A, Sqlite, extension};
use serde_json::Value;
use std::fs::OpenOptions;
use std::io::Write;

/// Who reads the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    /// `ingest_events()` in the stock `sqlite3` shell.
    Extension,
    /// `runchain ingest`.
    Binary,
}

const DOORS: [Door; 2] = [Door::Extension, Door::Binary];

impl Door {
    /// The report, or what was said instead.
    fn ingest(self, project: &Project, path: &str) -> Result<Value, String> {
        self.read(project, path, false)
    }

    /// The same, and a last line without newline is whole.
    fn finalise(self, project: &Project, path: &str) -> Result<Value, String> {
        self.read(project, path, true)
    }

    fn read(self, project: &Project, path: &str, finalise: bool) -> Result<Value, String> {
        let json = |text: &str| serde_json::from_str(text).unwrap();
        match self {
            Self::Extension => {
                let path = project.path(path);
                let sql = format!(
                    ".load {}\nSELECT ingest_events('{}', '{{\"finalise\":{finalise}}}');\n",
                    extension().display(),
                    path.display()
                );
                let finished = Sqlite::Stock.run(&project.database(), &sql);
                let report = finished.success.then(|| json(&finished.stdout));
                report.ok_or(finished.stderr)
            }
            Self::Binary => {
                let mut arguments = vec!["--json", "ingest", path];
                arguments.extend(finalise.then_some("--finalise"));
                let ran = project.runchain(&arguments);
                match ran.code {
                    Some(0) => Ok(ran.json()[0].clone()),
                    Some(1) => Err(ran.stderr),
                    other => panic!("{other:?}: {}{}", ran.stdout, ran.stderr),
                }
            }
        }
    }
}

/// What a report counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    stored: u64,
    duplicate: u64,
    rejected: u64,
    pending: u64,
}

impl Counts {
    fn of(report: &Value) -> Self {
        let count = |key: &str| report[key].as_u64().unwrap();
        Self {
            stored: count("stored"),
            duplicate: count("duplicate"),
            rejected: count("rejected"),
            pending: count("pending"),
        }
    }
}

fn stored(stored: u64) -> Counts {
    Counts {
        stored,
        ..Counts::default()
    }
}

fn installed() -> Project {
    let project = Project::new(SHAPE_A, "");
    project.runchain(&["install"]).exits(0);
    project
}

fn append(project: &Project, name: &str, bytes: impl AsRef<[u8]>) {
    let path = project.path(name);
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(bytes.as_ref()).unwrap();
}

/// Events `e-N`, one a line.
fn lines(numbers: std::ops::Range<u32>) -> String {
    numbers
        .map(|number| format!("{{\"id\":\"e-{number}\",\"type\":\"a\",\"n\":{number}}}\n"))
        .collect()
}

/// Bytes read = bytes stored + bytes rejected, of every file.
#[track_caller]
fn balances(project: &Project) {
    assert_eq!(
        project
            .sql("SELECT * FROM runchain_ingest_balance WHERE unaccounted_bytes <> 0 OR pending_bytes < 0"),
        ""
    );
}

/// The ids of all events that are stored, in order of their lines.
fn ids(project: &Project) -> Vec<String> {
    project.lines("SELECT event_id FROM runchain_ingested ORDER BY file_id, offset_bytes")
}
