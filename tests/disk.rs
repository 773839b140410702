//! Disks that are full, and disks that fail: nothing half written counts as done, the operator is
//! told, and when the fault is over the chain goes on by itself.

use crate::support::{Outside, Project, SHAPE_A, Service, Sqlite, disk_shim, eventually};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;
use tempfile::TempDir;

const CONFIG: &str =
    "archive.min_free_bytes = 0\narchive.files = ['artifacts/{run_id}/**']\nretry.cap_ms = 200\n";

/// A disk that can be filled.
enum SmallDisk {
    /// A tmpfs of its own, which takes root to mount.
    Tmpfs { mount: TempDir },
    /// The machine's disk behind `tests/shim`: while the flag stands, nothing grows.
    Shim { folder: TempDir },
}

impl SmallDisk {
    /// All kinds that can be had here. Without root that is the shim alone; it needs nothing.
    fn all() -> Vec<Self> {
        let mut disks = vec![Self::Shim {
            folder: tempfile::tempdir().unwrap(),
        }];
        if rustix::process::geteuid().is_root() {
            let mount = tempfile::tempdir().unwrap();
            let mut command = Command::new("mount");
            command
                .args(["-t", "tmpfs", "-o", "size=6m", "runchain-test"])
                .arg(mount.path());
            assert!(
                command.status().unwrap().success(),
                "can't mount a tmpfs although this is root"
            );
            disks.push(Self::Tmpfs { mount });
        }
        disks
    }

    fn project(&self, config: &str) -> Project {
        let (Self::Tmpfs { mount: folder } | Self::Shim { folder }) = self;
        Project::within(folder.path(), SHAPE_A, &format!("{CONFIG}{config}"))
    }

    fn service(&self, project: &Project) -> Service {
        self.service_on(project, project.root())
    }

    /// For which only the archive is on the small disk; a tmpfs is filled in a way that has the same effect.
    fn archive_service(&self, project: &Project) -> Service {
        self.service_on(project, &project.path(".archive"))
    }

    fn service_on(&self, project: &Project, small: &Path) -> Service {
        let mut command = project.command(&["drain"]);
        if let Self::Shim { folder } = self {
            command
                .env("LD_PRELOAD", disk_shim())
                .env("DISK_SHIM_ROOT", small)
                .env("DISK_SHIM_FULL", folder.path().join("full"));
        }
        Service::of(&mut command)
    }

    /// Where files can be made that fill it or, behind the shim, say that it is full.
    fn ballast(&self) -> PathBuf {
        match self {
            Self::Tmpfs { mount } => mount.path().join("ballast"),
            Self::Shim { folder } => folder.path().join("full"),
        }
    }

    /// Fills it but for `left_bytes` (behind the shim: wholly).
    fn fill(&self, left_bytes: u64) {
        let ballast = self.ballast();
        let mut file = File::create(&ballast).unwrap();
        if let Self::Tmpfs { .. } = self {
            while file.write_all(&[1; 4096]).is_ok() {}
            let length = file.metadata().unwrap().len();
            file.set_len(length.saturating_sub(left_bytes)).unwrap();
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Self::Tmpfs { mount } = self {
            // Lazily: whatever still stands in it goes with it.
            let _ = Command::new("umount").arg("--lazy").arg(mount.path()).status();
        }
    }
}

/// Files of a run that a check of the free bytes doesn't see coming: each takes a block.
fn many_small_files(project: &Project, run_id: &str) {
    let folder = project.path("artifacts").join(run_id);
    fs::create_dir_all(&folder).unwrap();
    for number in 0..250 {
        fs::write(
            folder.join(format!("{number}.txt")),
            format!("{run_id} {number}\n"),
        )
        .unwrap();
    }
}

#[track_caller]
fn until_told(service: &Service, what: &str) {
    eventually(what, || {
        let told = service.told();
        if told.contains(what) { Ok(()) } else { Err(told) }
    });
}

/// Until somebody leads, and every event stands in the logs.
#[track_caller]
fn until_projected(project: &Project) {
    project.until(
        "SELECT min(event_id) = (SELECT max(id) FROM runchain_events) FROM runchain_cursors",
        "1",
    );
}

#[track_caller]
fn is_done(project: &Project, run_id: &str) {
    project.until(
        &format!("SELECT count(*) FROM runchain_steps WHERE run_id = '{run_id}' AND state = 'done'"),
        "2",
    );
}

#[track_caller]
fn ends_well(project: &Project, service: Service) {
    project.until("SELECT count(*) FROM runchain_queue", "0");
    // The last lines are written when it stops.
    assert!(service.terminate().success());
    Outside::of(project.root()).everything_is_done_once();
}

/// What a folder holds, by name.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// What failures write down fills the disk further: then it shows before the first byte.
fn tells_of_no_room(text: &str) -> bool {
    text.contains("No space left") || text.contains("are free on its disk")
}

#[test]
fn a_bag_that_does_not_fit_is_no_bag_and_is_made_when_there_is_room() {
    each_full_disk(|disk, journal_mode| {
        let project = disk.project("");
        project.sql(&format!(
            "PRAGMA journal_mode = {journal_mode}; INSERT INTO runs(run_id, status) VALUES ('r', 'RUNNING');"
        ));
        project.runchain(&["install"]).exits(0);
        many_small_files(&project, "r");
        let mut service = disk.archive_service(&project);
        until_projected(&project);
        disk.fill(700 << 10);
        project.sql("UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'r';");
        // More often than it has attempts.
        project.until("SELECT count(*) > 6 FROM runchain_failures", "1");
        service.assert_alive();
        until_told(&service, "archive failed, next attempt");
        let failures = project.lines("SELECT DISTINCT error FROM runchain_failures;");
        assert!(
            failures.iter().all(|error| tells_of_no_room(error)),
            "{failures:#?}"
        );
        let status = project.runchain(&["status"]).exits(0).stdout;
        assert!(
            status.contains("failing step") && tells_of_no_room(&status),
            "{status}"
        );
        assert!(!project.path(".archive/r").exists());
        assert_eq!(project.sql("SELECT count(*) FROM archival_log;").trim(), "0");

        disk.make_room();
        is_done(&project, "r");
        assert_eq!(names(&project.path(".archive")), ["r"]);
        ends_well(&project, service);
    });
}

/// The ballast goes when the disk is full, and in its room the executor says so and goes on with what
/// matters; what can wait waits.
#[test]
fn the_ballast_is_released_on_a_full_disk_told_and_made_again_when_there_is_room() {
    each_full_disk(|disk, journal_mode| {
        let elsewhere = tempfile::tempdir().unwrap();
        let project = disk.project(&format!(
            "ballast_bytes = 1048576\npoll_ms = 200\n[ingest]\nevents = ['{0}']\nroots = ['{0}']\n",
            elsewhere.path().display()
        ));
        project.sql(&format!(
            "PRAGMA journal_mode = {journal_mode}; INSERT INTO runs(run_id, status) VALUES ('r', 'RUNNING');"
        ));
        project.runchain(&["install"]).exits(0);
        let mut service = disk.service(&project);
        until_projected(&project);
        let ballast = project.path(".state/.runchain-ballast");
        let found = fs::metadata(&ballast).unwrap();
        assert_eq!(found.len(), 1 << 20);
        assert!(found.blocks() * 512 >= 1 << 20, "real blocks, not a hole");
        disk.fill(0);
        // This writer may meet the full disk itself; then it is the executor's log that does.
        let end = "UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'r';";
        eventually("the ballast to be released", || {
            Sqlite::Stock.run(&project.database(), &format!(".timeout 10000\n{end}"));
            if ballast.exists() {
                Err(service.told())
            } else {
                Ok(())
            }
        });
        until_told(&service, "were released by removing");
        service.assert_alive();
        if let SmallDisk::Tmpfs { .. } = disk {
            let alert = "SELECT state || ' ' || severity FROM runchain_alerts WHERE rule = 'disk_low'";
            project.until(alert, "firing critical");
            // The writer has its room, and what it wrote is captured and expanded.
            project.sql(end);
            project.until("SELECT count(*) FROM runchain_steps WHERE run_id = 'r'", "2");
            project.until(
                "SELECT note IS NOT NULL FROM runchain_steps WHERE step = 'archive'",
                "1",
            );
            assert!(!project.path(".archive/r").exists(), "copies wait");
            assert_eq!(project.sql("SELECT count(*) FROM runchain_failures;").trim(), "0");
            fs::write(project.path("events.jsonl"), "").unwrap();
            let refused = project.runchain(&["ingest", "events.jsonl"]).exits(1).stderr;
            assert!(refused.contains("can wait"), "{refused}");
            // So do followed event logs.
            let event = "{\"id\": \"e\", \"type\": \"x\"}\n";
            fs::write(elsewhere.path().join("a.jsonl"), event).unwrap();
            project.sql("UPDATE runs SET metadata_json = 'x' WHERE run_id = 'r';");
            std::thread::sleep(Duration::from_millis(500));
            assert_eq!(project.sql("SELECT count(*) FROM runchain_ingested;"), "0\n");
        }
        disk.make_room();
        until_told(&service, "there is room on the disk again");
        assert_eq!(fs::metadata(&ballast).unwrap().len(), 1 << 20);
        if let SmallDisk::Tmpfs { .. } = disk {
            project.until("SELECT count(*) FROM runchain_ingested", "1");
        }
        project.sql(end);
        is_done(&project, "r");
        project.until(
            "SELECT count(*) FROM runchain_alerts WHERE state <> 'resolved'",
            "0",
        );
        until_projected(&project);
        if let SmallDisk::Tmpfs { .. } = disk {
            let log = fs::read_to_string(project.path("logs/monitor.jsonl")).unwrap();
            assert!(
                log.contains("\"DISK_LOW\"") && log.contains("\"DISK_RECOVERED\""),
                "{log}"
            );
        }
        ends_well(&project, service);
    });
}

#[test]
fn no_ballast_is_made_where_it_would_not_fit_and_little_room_is_said_before_anything_begins() {
    let project = Project::new(SHAPE_A, "ballast_bytes = 1099511627776\n");
    project.sql("INSERT INTO runs(run_id, status) VALUES ('r', 'COMPLETED');");
    let told = project
        .runchain(&["install", "--backfill", "all"])
        .exits(0)
        .stderr;
    assert!(told.contains("are free on the disk"), "{told}");
    let service = project.service();
    until_told(&service, "are free on the disk");
    is_done(&project, "r");
    assert!(!project.path(".state/.runchain-ballast").exists());
    assert!(service.terminate().success());
}

/// Each kind of disk and journal, one after the other.
fn each_full_disk(act: impl Fn(&SmallDisk, &str)) {
    for journal_mode in ["wal", "delete"] {
        for disk in SmallDisk::all() {
            act(&disk, journal_mode);
        }
    }
}

#[test]
fn work_that_can_t_be_settled_is_settled_once_when_there_is_room() {
    each_full_disk(|disk, journal_mode| {
        let outside = tempfile::tempdir().unwrap();
        let at = |name: &str| outside.path().join(name).display().to_string();
        let project = disk.project(&format!(
            "[steps.gate]\nafter = ['report']\ncommand = ['sh', '-c', 'echo $RUNCHAIN_RUN_ID >> {}; until [ -e {} ]; do sleep 0.05; done']\n",
            at("begun"),
            at("open")
        ));
        project.sql(&format!(
            "PRAGMA journal_mode = {journal_mode}; INSERT INTO runs(run_id, status) VALUES ('r', 'RUNNING');"
        ));
        project.runchain(&["install"]).exits(0);
        let mut service = disk.service(&project);
        project.sql("UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'r';");
        let begun = || fs::read_to_string(at("begun")).unwrap_or_default();
        eventually("the gate", || {
            if begun().is_empty() {
                Err(service.told())
            } else {
                Ok(())
            }
        });
        until_projected(&project);
        disk.fill(0);
        fs::write(at("open"), "").unwrap();
        until_told(&service, "trying again");
        service.assert_alive();

        disk.make_room();
        project.until("SELECT state FROM runchain_steps WHERE step = 'gate'", "done");
        assert_eq!(begun(), "r\n", "{journal_mode}");
        assert_eq!(
            project
                .sql("SELECT attempts FROM runchain_steps WHERE step = 'gate';")
                .trim(),
            "1"
        );
        // A chain with a step of its own.
        project.sql("DELETE FROM runchain_steps WHERE step = 'gate';");
        ends_well(&project, service);
    });
}

#[test]
fn what_was_captured_is_expanded_once_when_there_is_room() {
    each_full_disk(|disk, journal_mode| {
        let project = disk.project("");
        project.sql(&format!("PRAGMA journal_mode = {journal_mode};"));
        project.runchain(&["install"]).exits(0);
        let mut service = disk.service(&project);
        until_projected(&project);
        // The last that fits: what a writer has committed, with no room for what follows from it.
        disk.fill(200 << 10);
        for run in 0..40 {
            let row = format!("('r{run}', 'COMPLETED', zeroblob(20000))");
            let insert = format!("INSERT INTO runs(run_id, status, metadata_json) VALUES {row};");
            // A full disk is for this writer to meet, too.
            Sqlite::Stock.run(&project.database(), &format!(".timeout 10000\n{insert}"));
        }
        // Where not even the journal can be made, SQLite says nothing of a full disk.
        until_told(&service, "again");
        service.assert_alive();

        disk.make_room();
        let wanted = project.sql("SELECT 2 * count(*) FROM runs;");
        project.until(
            "SELECT count(*) FROM runchain_steps WHERE state = 'done'",
            wanted.trim(),
        );
        ends_well(&project, service);
    });
}

/// A fault on its n-th time: which operation, on which files.
#[derive(Debug, Clone, Copy)]
struct Fault {
    operation: &'static str,
    files: &'static str,
    number: usize,
    /// How often in a row.
    times: usize,
}

/// Of which SQLite tells in its own words.
const DATABASE: [&str; 2] = ["orchestration.db", "/.state"];

const FAULTS: [(&str, &str); 6] = [
    ("sync", "orchestration.db"),
    ("write", "orchestration.db"),
    ("sync", "/logs"),
    ("write", "/logs/"),
    ("sync", "/.archive"),
    ("write", "/.archive/"),
];

/// A service meets one fault. It goes on by itself, or it ends with an exit code that says why and goes
/// on when it is started again. What it told is the answer.
fn goes_on_after(fault: Fault, journal_mode: &str) -> String {
    let project = Project::new(SHAPE_A, CONFIG);
    project.sql(&format!("PRAGMA journal_mode = {journal_mode}; INSERT INTO runs(run_id, status) VALUES ('a', 'COMPLETED'), ('b', 'RUNNING');"));
    project.runchain(&["install", "--backfill", "all"]).exits(0);
    let artifact = project.path("artifacts/a");
    fs::create_dir_all(&artifact).unwrap();
    fs::write(artifact.join("x.txt"), "x\n".repeat(50_000)).unwrap();
    let Fault {
        operation,
        files,
        number,
        times,
    } = fault;
    let mut service = Service::of(
        project
            .command(&["drain"])
            .env("LD_PRELOAD", disk_shim())
            .env("DISK_SHIM_ROOT", project.root())
            .env("DISK_SHIM_FAULT", format!("{operation}:{files}:{number}:{times}")),
    );
    project.sql("UPDATE runs SET status = 'FAILED' WHERE run_id = 'b';");
    let through = "SELECT count(*) = 4 AND (SELECT min(event_id) FROM runchain_cursors) = (SELECT max(id) FROM runchain_events)
        FROM runchain_steps WHERE state = 'done'";
    eventually(
        "the chains and their log lines, or the end of the service",
        || {
            if !service.is_running() || project.sql(through).trim() == "1" {
                Ok(())
            } else {
                Err(service.told())
            }
        },
    );
    // It may have ended meanwhile, or meet the fault only while it stops.
    let code = service.stopped();
    let told = service.told();
    assert!(!told.contains("panicked"), "{fault:?}: {told}");
    let met = told.contains("disk shim: ");
    assert!(met || number > 1, "nobody met {fault:?}: {told}");
    // What fails while SQLite moves its WAL into the database stays in the WAL, and nobody need know.
    assert!(
        !met || DATABASE.contains(&files) || told.contains("os error 5"),
        "{fault:?}: {told}"
    );
    assert!(
        code == Some(0) || met && matches!(code, Some(1 | 7)),
        "{fault:?}: exit code {code:?}: {told}"
    );
    project.runchain(&["drain", "--until-idle"]).exits(0);
    let outside = Outside::of(project.root());
    outside.everything_is_done_once();
    outside.nothing_refers_to_what_is_not_there();
    told
}

fn goes_on_after_each(journal_mode: &'static str) {
    let numbers = 1..=8;
    let faults = numbers.flat_map(|number| {
        FAULTS.map(|(operation, files)| Fault {
            operation,
            files,
            number,
            times: 1 + 2 * (number % 2),
        })
    });
    goes_on_after_all(faults, journal_mode);
}

/// All that the services told.
fn goes_on_after_all(faults: impl Iterator<Item = Fault> + Send, journal_mode: &'static str) -> String {
    let faults = Mutex::new(faults);
    let told = Mutex::new(String::new());
    let next = || faults.lock().unwrap().next();
    // They wait more than they work.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(fault) = next() {
                    let one = goes_on_after(fault, journal_mode);
                    told.lock().unwrap().push_str(&one);
                }
            });
        }
    });
    told.into_inner().unwrap()
}

#[test]
fn a_disk_that_fails_once_leaves_nothing_half_done_in_wal_mode() {
    goes_on_after_each("wal");
}

#[test]
fn a_disk_that_fails_once_leaves_nothing_half_done_in_rollback_mode() {
    goes_on_after_each("delete");
}

/// In rollback mode the folder's sync follows the end of the journal, which is the commit: an error
/// there says that nothing was committed, and it was.
#[test]
fn a_commit_that_was_answered_by_an_error_leaves_no_step_that_nobody_runs() {
    let faults = (1..=40).map(|number| Fault {
        operation: "sync",
        files: "/.state",
        number,
        times: 1,
    });
    let told = goes_on_after_all(faults, "delete");
    assert!(
        told.contains("steps back that were started by a commit that seemed to have failed"),
        "no fault met such a commit"
    );
}
