//! A file is known by what it is, not by its name. Whatever happens to it between two reads, every event
//! that stood whole in a file when it was read is stored once, and the report says what the file is.

use super::*;
use std::fs;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::process::{Command, Stdio};

/// Reads a log, and says what it is and what came of it.
#[track_caller]
fn read(door: Door, project: &Project, name: &str) -> (String, Counts) {
    let report = door.ingest(project, name).unwrap();
    balances(project);
    (
        report["identity"].as_str().unwrap().to_owned(),
        Counts::of(&report),
    )
}

fn duplicates(duplicate: u64, stored: u64) -> Counts {
    Counts {
        stored,
        duplicate,
        ..Counts::default()
    }
}

/// One project for each door, with five events of a log read in.
fn after_five(check: impl Fn(Door, &Project)) {
    for door in DOORS {
        let project = installed();
        append(&project, "log.jsonl", lines(0..5));
        assert_eq!(read(door, &project, "log.jsonl"), ("new".into(), stored(5)));
        check(door, &project);
    }
}

#[test]
fn what_is_read_is_known_again_whoever_read_it_first() {
    after_five(|door, project| {
        let other = DOORS.into_iter().find(|other| *other != door).unwrap();
        for door in [door, other] {
            assert_eq!(read(door, project, "log.jsonl"), ("known".into(), stored(0)));
        }
        append(project, "log.jsonl", lines(5..7));
        assert_eq!(read(other, project, "log.jsonl"), ("known".into(), stored(2)));
    });
}

#[test]
fn rotation_by_rename_goes_on_under_the_new_name() {
    after_five(|door, project| {
        append(project, "log.jsonl", lines(5..7));
        fs::rename(project.path("log.jsonl"), project.path("log.jsonl.1")).unwrap();
        append(project, "log.jsonl", lines(7..8));
        assert_eq!(read(door, project, "log.jsonl"), ("replaced".into(), stored(1)));
        assert_eq!(read(door, project, "log.jsonl.1"), ("renamed".into(), stored(2)));
    });
}

#[test]
fn copy_truncate_stores_nothing_twice() {
    after_five(|door, project| {
        append(project, "log.jsonl", lines(5..7));
        fs::copy(project.path("log.jsonl"), project.path("log.jsonl.1")).unwrap();
        fs::write(project.path("log.jsonl"), lines(7..8)).unwrap();
        assert_eq!(read(door, project, "log.jsonl"), ("truncated".into(), stored(1)));
        assert_eq!(
            read(door, project, "log.jsonl.1"),
            ("new".into(), duplicates(5, 2))
        );
    });
}

#[test]
fn a_truncated_file_is_read_from_its_beginning() {
    after_five(|door, project| {
        let file = OpenOptions::new()
            .write(true)
            .open(project.path("log.jsonl"))
            .unwrap();
        file.set_len(lines(0..2).len() as u64).unwrap();
        append(project, "log.jsonl", lines(20..21));
        assert_eq!(
            read(door, project, "log.jsonl"),
            ("truncated".into(), duplicates(2, 1))
        );
    });
}

#[test]
fn a_file_that_was_truncated_and_has_grown_past_its_checkpoint_is_another() {
    after_five(|door, project| {
        fs::write(project.path("log.jsonl"), lines(20..40)).unwrap();
        assert_eq!(read(door, project, "log.jsonl"), ("rewritten".into(), stored(20)));
    });
}

#[test]
fn a_rewritten_file_with_the_same_first_kilobytes_is_another() {
    for door in DOORS {
        let project = installed();
        let banner = format!(
            "{{\"id\":\"banner\",\"type\":\"a\",\"text\":\"{}\"}}\n",
            "-".repeat(5_000)
        );
        fs::write(project.path("log.jsonl"), banner.clone() + &lines(0..5)).unwrap();
        assert_eq!(read(door, &project, "log.jsonl"), ("new".into(), stored(6)));
        fs::write(project.path("log.jsonl"), banner + &lines(20..40)).unwrap();
        assert_eq!(
            read(door, &project, "log.jsonl"),
            ("rewritten".into(), duplicates(1, 20))
        );
    }
}

#[test]
fn an_inode_that_is_used_again_is_another_file() {
    after_five(|door, project| {
        // What a file system does when it likes: the old file's number for a new one.
        fs::remove_file(project.path("log.jsonl")).unwrap();
        append(project, "new.jsonl", lines(20..40));
        let inode = fs::metadata(project.path("new.jsonl")).unwrap().ino();
        project.sql(&format!("UPDATE runchain_ingest_files SET inode = {inode}"));
        assert_eq!(read(door, project, "new.jsonl").1, stored(20));
    });
}

#[test]
fn a_replaced_file_is_another() {
    after_five(|door, project| {
        append(project, "next.jsonl", lines(3..9));
        fs::rename(project.path("next.jsonl"), project.path("log.jsonl")).unwrap();
        assert_eq!(
            read(door, project, "log.jsonl"),
            ("replaced".into(), duplicates(2, 4))
        );
    });
}

#[test]
fn a_symbolic_link_is_the_file_that_it_names_today() {
    after_five(|door, project| {
        symlink("log.jsonl", project.path("current")).unwrap();
        assert_eq!(read(door, project, "current"), ("known".into(), stored(0)));
        append(project, "tomorrow.jsonl", lines(5..7));
        fs::remove_file(project.path("current")).unwrap();
        symlink("tomorrow.jsonl", project.path("current")).unwrap();
        assert_eq!(read(door, project, "current"), ("new".into(), stored(2)));
        append(project, "log.jsonl", lines(7..8));
        assert_eq!(read(door, project, "log.jsonl"), ("known".into(), stored(1)));
    });
}

#[test]
fn a_file_that_is_deleted_while_it_is_read_is_read_to_its_end() {
    // Several slices of the binary.
    const EVENTS: u32 = 300_000;
    for door in DOORS {
        let project = installed();
        project.sql("PRAGMA journal_mode = WAL");
        let mut log = BufWriter::new(fs::File::create(project.path("log.jsonl")).unwrap());
        log.write_all(lines(0..EVENTS).as_bytes()).unwrap();
        log.flush().unwrap();
        let mut reader = match door {
            Door::Binary => project.command(&["ingest", "log.jsonl"]),
            Door::Extension => {
                let mut shell = Command::new(crate::support::sqlite3());
                let load = format!(".load {}", extension().display());
                let select = format!("SELECT ingest_events('{}')", project.path("log.jsonl").display());
                shell.arg("-batch").arg(project.database()).args([load, select]);
                shell
            }
        };
        let mut reader = reader.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        project.until("SELECT count(*) > 0 FROM runchain_ingested", "1");
        fs::remove_file(project.path("log.jsonl")).unwrap();
        assert!(reader.wait().unwrap().success());
        assert_eq!(
            project.sql("SELECT count(*), count(DISTINCT event_id) FROM runchain_ingested"),
            format!("{EVENTS}|{EVENTS}\n"),
            "{door:?}"
        );
        balances(&project);
        let gone = door.ingest(&project, "log.jsonl").unwrap_err();
        assert!(gone.contains("there is no event log"), "{gone}");
    }
}

#[test]
fn what_can_be_no_log_is_refused_in_a_sentence() {
    for door in DOORS {
        let project = installed();
        fs::create_dir(project.path("folder")).unwrap();
        let fifo = project.path("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        symlink("fifo", project.path("to-fifo")).unwrap();
        fs::hard_link(project.database(), project.path("hard-link.jsonl")).unwrap();
        fs::write(project.path("other.jsonl"), "SQLite format 3\0and so on\n").unwrap();
        for (name, reason) in [
            ("folder", "is a folder, no event log"),
            ("fifo", "is a FIFO, no event log"),
            ("to-fifo", "is a FIFO, no event log"),
            ("missing.jsonl", "there is no event log"),
            (".state/orchestration.db", "is a file of this database"),
            ("hard-link.jsonl", "is a file of this database"),
            ("other.jsonl", "is an SQLite database"),
        ] {
            let said = door.ingest(&project, name).unwrap_err();
            assert!(said.contains(reason), "{door:?} {name}: {said}");
            assert!(said.contains("; name a"), "a remedy: {said}");
        }
        assert_eq!(project.sql("SELECT count(*) FROM runchain_ingest_files"), "0\n");
    }
}
