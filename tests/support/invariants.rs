//! What must be true of a project's folder whatever happened to it, looked at from outside: plain
//! SQL, JSON, `sha256sum`. Nothing of runchain's own code takes part.

use rusqlite::Connection;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What an event and its line in a log have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Event {
    kind: String,
    run_id: Option<String>,
    generation: Option<i64>,
    data: Value,
}

/// A project's folder and its database, open.
pub(crate) struct Outside {
    root: PathBuf,
    conn: Connection,
}

impl Outside {
    /// Opens the database, which must be sound.
    #[track_caller]
    pub(crate) fn of(root: &Path) -> Self {
        let conn = Connection::open(root.join(".state/orchestration.db")).unwrap();
        let outside = Self {
            root: root.to_owned(),
            conn,
        };
        assert_eq!(outside.texts("PRAGMA integrity_check"), ["ok"]);
        outside
    }

    /// The values of a query with one column.
    #[track_caller]
    pub(crate) fn texts(&self, sql: &str) -> Vec<String> {
        let mut statement = self.conn.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// No log line and no bag tells of something that the database doesn't know. True at any moment.
    #[track_caller]
    pub(crate) fn nothing_refers_to_what_is_not_there(&self) {
        let events = self.events();
        for name in ["monitor", "archival"] {
            for line in self.log(name) {
                // What is torn is mended when an executor takes the lead.
                let Ok(line) = serde_json::from_str::<Value>(&line) else {
                    continue;
                };
                let Some(seq) = line["seq"].as_i64() else {
                    continue;
                };
                assert_eq!(line["epoch"], 1, "{line}");
                assert_eq!(
                    Some(&event_of(&line)),
                    events.get(&seq),
                    "the database knows no such line"
                );
            }
        }
        for bag in self.bags() {
            let (run_id, generation) = bag_of(&bag);
            let known = events.values().any(|event| {
                event.kind == "RUN_COMPLETED"
                    && event.run_id.as_deref() == Some(&run_id)
                    && event.generation == Some(generation)
            });
            assert!(
                known,
                "{} is of an end that the database doesn't know",
                bag.display()
            );
        }
    }

    /// What a done step or `archival_log` claims stands on the disk, whole. True at any moment.
    #[track_caller]
    pub(crate) fn what_is_done_stands_on_the_disk(&self) {
        let by_digest: BTreeMap<String, PathBuf> = self
            .bags()
            .into_iter()
            .map(|bag| (digest_of(&bag), bag))
            .collect();
        let claimed = self.texts(
            "SELECT digest FROM archival_log
             UNION SELECT json_extract(result, '$.digest') FROM runchain_steps WHERE step = 'archive' AND state = 'done'",
        );
        for digest in claimed {
            let bag = by_digest
                .get(&digest)
                .unwrap_or_else(|| panic!("no bag has the digest {digest} that the database claims"));
            bag_is_whole(bag);
        }
        for summary in self.texts(
            "SELECT json_extract(result, '$.' || name) FROM runchain_steps, (SELECT 'summary' AS name UNION SELECT 'metrics')
             WHERE step = 'report' AND state = 'done'",
        ) {
            let text = fs::read_to_string(&summary).unwrap_or_else(|error| panic!("{summary}: {error}"));
            serde_json::from_str::<Value>(&text).unwrap_or_else(|error| panic!("{summary}: {error}: {text}"));
        }
    }

    /// Every event stands in the logs once and in order, every chain is through, every finished run
    /// has its bag and its reports. True when an executor has nothing left to do.
    #[track_caller]
    pub(crate) fn everything_is_done_once(&self) {
        assert_eq!(self.texts("SELECT action FROM runchain_queue"), [""; 0]);
        let left = self.texts("SELECT run_id || ' ' || step || ' ' || state FROM runchain_steps WHERE state NOT IN ('done', 'cancelled')");
        assert_eq!(left, [""; 0]);
        self.every_event_stands_in_the_logs_once();
        self.what_is_done_stands_on_the_disk();
        let finished = self.texts("SELECT run_id FROM runs WHERE status IN ('COMPLETED', 'FAILED')");
        for run_id in finished {
            let of = |column: &str| {
                self.texts(&format!(
                    "SELECT CAST({column} AS TEXT) FROM runchain_runs WHERE run_id = '{run_id}'"
                ))
            };
            assert_eq!(
                of("status"),
                self.texts(&format!("SELECT status FROM runs WHERE run_id = '{run_id}'"))
            );
            let generation: i64 = of("generation")[0].parse().unwrap();
            let done = self.texts(&format!(
                "SELECT step FROM runchain_steps WHERE run_id = '{run_id}' AND generation = {generation} AND state = 'done' ORDER BY step"
            ));
            assert_eq!(done, ["archive", "report"], "{run_id}");
            assert_eq!(
                bag_of(&self.root.join(".archive").join(&run_id)),
                (run_id.clone(), generation)
            );
            let summary = self.root.join(format!("reports/{run_id}_summary.json"));
            let summary: Value = serde_json::from_slice(&fs::read(summary).unwrap()).unwrap();
            assert_eq!(summary["generation"], generation, "{run_id}");
        }
        for bag in self.bags() {
            let rows = format!(
                "SELECT CAST(count(*) AS TEXT) FROM archival_log WHERE digest = '{}'",
                digest_of(&bag)
            );
            assert_eq!(
                self.texts(&rows),
                ["1"],
                "rows of {} in archival_log",
                bag.display()
            );
        }
    }

    #[track_caller]
    fn every_event_stands_in_the_logs_once(&self) {
        let mut logged = BTreeMap::new();
        for name in ["monitor", "archival"] {
            let mut last = 0;
            for line in self.log(name) {
                let line: Value =
                    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{name}: {error}: {line}"));
                let Some(seq) = line["seq"].as_i64() else {
                    // The last is a command's, of a database that failed under it.
                    let unnumbered = ["HEARTBEAT", "LOG_OPENED", "STATE_DB_INVALID"];
                    assert!(unnumbered.contains(&line["event"].as_str().unwrap()), "{line}");
                    continue;
                };
                assert!(seq > last, "{name}: {seq} stands after {last}");
                last = seq;
                logged.insert(seq, event_of(&line));
            }
        }
        assert_eq!(logged, self.events());
    }

    fn events(&self) -> BTreeMap<i64, Event> {
        let mut statement = self
            .conn
            .prepare("SELECT id, type, run_id, generation, data FROM runchain_events ORDER BY id")
            .unwrap();
        let rows = statement.query_map([], |row| {
            let event = Event {
                kind: row.get(1)?,
                run_id: row.get(2)?,
                generation: row.get(3)?,
                data: serde_json::from_str(&row.get::<_, String>(4)?).unwrap(),
            };
            Ok((row.get(0)?, event))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// The lines of a log, rotated files first.
    fn log(&self, name: &str) -> Vec<String> {
        let current = format!("{name}.jsonl");
        let mut files: Vec<PathBuf> = entries(&self.root.join("logs"))
            .into_iter()
            .filter(|path| {
                let file = path.file_name().unwrap().to_str().unwrap();
                file.starts_with(&format!("{name}.")) && file.ends_with(".jsonl") && file != current
            })
            .collect();
        files.push(self.root.join("logs").join(current));
        let texts = files.iter().map(|path| fs::read(path).unwrap_or_default());
        texts
            .flat_map(|text| {
                String::from_utf8_lossy(&text)
                    .lines()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// Bags in place and beside it; staging folders are nobody's bags.
    fn bags(&self) -> Vec<PathBuf> {
        let mut bags = entries(&self.root.join(".archive"));
        bags.retain(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.'));
        bags
    }
}

fn event_of(line: &Value) -> Event {
    Event {
        kind: line["event"].as_str().unwrap().to_owned(),
        run_id: line["run_id"].as_str().map(str::to_owned),
        generation: line["generation"].as_i64(),
        data: line["data"].clone(),
    }
}

/// In order of name; a folder that is missing has none.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Run and generation, as `bag-info.txt` has them.
#[track_caller]
fn bag_of(bag: &Path) -> (String, i64) {
    let path = bag.join("bag-info.txt");
    let info = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let value = |label: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(label));
        line.unwrap_or_else(|| panic!("{} has no {label} in\n{info}", path.display()))
            .to_owned()
    };
    (
        value("External-Identifier: "),
        value("Runchain-Generation: ").parse().unwrap(),
    )
}

fn digest_of(bag: &Path) -> String {
    use sha2::{Digest, Sha256};
    let bytes = fs::read(bag.join("tagmanifest-sha256.txt")).unwrap_or_default();
    let hex: Vec<String> = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{}", hex.concat())
}

#[track_caller]
fn bag_is_whole(bag: &Path) {
    let checked = Command::new("sha256sum")
        .args([
            "--check",
            "--strict",
            "--quiet",
            "manifest-sha256.txt",
            "tagmanifest-sha256.txt",
        ])
        .current_dir(bag)
        .output()
        .unwrap();
    assert!(
        checked.status.success(),
        "{}: {}{}",
        bag.display(),
        String::from_utf8_lossy(&checked.stdout),
        String::from_utf8_lossy(&checked.stderr)
    );
}
