//! A path that is no event log is refused in a sentence, at once, without opening it: closing a
//! descriptor of the database would drop the host's locks in the middle of its transaction.

use crate::support::{Project, SHAPE_A, extension, python};
use serde_json::Value;
use std::collections::BTreeMap;

/// What each path is answered, in part. The journal files differ by mode: which of them is there.
const ANSWERS: &[(&str, &str)] = &[
    ("zero", "/dev/zero is a device, no event log"),
    ("null", "/dev/null is a device"),
    ("terminal", "/dev/tty is a device"),
    ("folder", "folder is a folder"),
    ("fifo", "fifo is a FIFO"),
    ("socket", "socket is a socket"),
    ("database", "is a file of this database"),
    ("relative", "is a file of this database"),
    ("wal", "-wal"),
    ("shm", "-shm"),
    ("journal", "-journal"),
    ("attached", "is a file of this database"),
    ("other", "other.db is a file of an SQLite database"),
    ("other-wal", "other.db-wal is a file of an SQLite database"),
    ("hard-link", "is a file of this database"),
    ("to-database", "is a file of this database"),
    ("to-zero", "is a device"),
    ("to-fifo", "is a FIFO"),
    ("to-wal", "to-wal"),
    ("to-journal", "to-journal"),
    ("to-nothing", "there is no event log to-nothing"),
    ("loop", "Too many levels of symbolic links"),
    ("descriptor", "is a file of this database"),
    ("empty", "there is no event log"),
    ("long", "File name too long"),
    ("nul", "open the event log a"),
    ("blob", "the path is not text"),
    ("number", "the path is not text"),
    ("null value", "the path is not text"),
];

fn refused_in(mode: &str) {
    let project = Project::new(SHAPE_A, "");
    project.runchain(&["install"]).exits(0);
    let database = project.database();
    let arguments = [extension().to_str().unwrap(), database.to_str().unwrap(), mode];
    let printed = python(include_str!("arguments.py"), &arguments).output();
    let mut answers: BTreeMap<String, (String, bool)> = serde_json::from_str(&printed).unwrap();

    let (zeros, locked) = answers.remove("zeros").unwrap();
    let report: Value = serde_json::from_str(&zeros).unwrap();
    assert!(locked);
    assert_eq!(
        (&report["bytes"], &report["pending"]),
        (&0.into(), &10_000_000_000_u64.into())
    );

    assert_eq!(answers.len(), ANSWERS.len());
    for (name, wanted) in ANSWERS {
        let (answer, locked) = &answers[*name];
        assert!(locked, "{name}: the host lost its lock");
        assert!(
            answer.starts_with("ingest_events: ") && answer.contains(wanted),
            "{name}: {answer}"
        );
        // What only the system can tell has no remedy of ours.
        let of_system = ["long", "loop", "nul"].contains(name);
        assert!(of_system || answer.contains("; "), "{name}: {answer}");
        let exists = match *name {
            "wal" | "shm" | "to-wal" => mode == "wal",
            "journal" | "to-journal" => mode == "delete",
            _ => continue,
        };
        let wanted = if exists {
            "is a file of this database"
        } else {
            "there is no event log"
        };
        assert!(answer.contains(wanted), "{name}: {answer}");
    }
}

#[test]
fn a_path_that_is_no_event_log_is_refused_and_the_hosts_locks_stay_in_rollback_mode() {
    refused_in("delete");
}

#[test]
fn a_path_that_is_no_event_log_is_refused_and_the_hosts_locks_stay_in_wal_mode() {
    refused_in("wal");
}
