//! Power loss: what is found on the disk afterwards is enough to go on from.
//!
//! A load is run once with `tests/shim` between its programs and the disk, which writes down every
//! change and every fsync. From that the test makes the folder as it may be found after the power
//! failed at a random moment, lets runchain go on there, and looks at the outcome from outside.
//!
//! The model of the disk. It is that of a journalling file system (ext4, XFS), less kind in some places:
//! - What was written to a file before an fsync or fdatasync of that file is there.
//! - Every other write, change of size and truncation is there, is not, or ends or begins at a boundary
//!   of 512 bytes in its middle, each by itself, in no order. Where one is missing before one that is
//!   there, zeros are found.
//! - Creations, renames and removals happen in order: what is found is a prefix. An fsync of a folder
//!   makes the last change in it durable and so everything before. An fsync of a file does not: its
//!   name may be missing (ext4 would keep it).
//! - The disk tells the truth about what it has synced, and doesn't damage what it isn't writing.
//! - Memory is lost, and with it `-shm`, every lock and every process.
//!
//! More by the environment: POWER_LOSS_MOMENTS (of each load), POWER_LOSS_SEED.

#![expect(clippy::print_stderr, reason = "whoever looks into a failure needs the seed")]

mod disk;
mod recording;

use crate::support::{Outside, Project, SHAPE_A, disk_shim, eventually, extension, python_program};
use disk::{Disk, Loss};
use fastrand::Rng;
use recording::{Before, Change, Inode};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// One kind of orchestrator.
#[derive(Debug, Clone, Copy)]
struct Load {
    journal: &'static str,
    synchronous: &'static str,
    /// Whether SQLite promises that what was committed is there after power loss. In rollback mode
    /// FULL doesn't: the removal of the journal, which is the commit, may be lost.
    durable: bool,
}

/// Logs are small enough to be rotated, leases end soon.
const CONFIG: &str = "lease_ms = 1000\narchive.files = ['artifacts/{run_id}/**']\nlogs.rotate_bytes = 4000\nlogs.keep_files = 1000\n";

/// Python, as many orchestrators are: one short transaction for each write. After each commit it says
/// so in the file `committed`, which is on the recorded disk to stand in the order of everything else.
const WRITER: &str = r#"
import os, random, sqlite3, sys, time
root, name, synchronous, seed = sys.argv[1:]
random.seed(seed)
conn = sqlite3.connect(root + "/.state/orchestration.db", timeout=60, isolation_level=None)
conn.execute("PRAGMA synchronous = " + synchronous)
said = os.open(root + "/committed", os.O_WRONLY | os.O_APPEND)
def commit(run, version, sql, *parameters):
    conn.execute("BEGIN IMMEDIATE")
    conn.execute(sql, parameters)
    conn.execute("UPDATE runs SET metadata_json = ? WHERE run_id = ?", (str(version), run))
    conn.execute("COMMIT")
    os.write(said, f"{run} {version}\n".encode())
    time.sleep(random.random() * 0.01)
for number in range(6):
    run = f"{name}-{number}"
    words = ["RUNNING", "COMPLETED"] + (["RUNNING", "FAILED"] if number % 3 == 0 else [])
    commit(run, 0, "INSERT INTO runs(run_id, status) VALUES (?, 'CREATED')", run)
    os.makedirs(f"{root}/artifacts/{run}")
    for version, word in enumerate(words, 1):
        with open(f"{root}/artifacts/{run}/{version}.txt", "w") as file:
            file.write(f"{run} {word}\n" * random.randrange(1, 400))
        for row in range(2):
            commit(run, version * 10 + row, "INSERT INTO events(run_id, event_type) VALUES (?, ?)", run, word * 30)
        commit(run, version * 10 + 5, "UPDATE runs SET status = ? WHERE run_id = ?", word, run)
"#;

/// A load that was run and written down.
struct Recorded {
    project: Project,
    _journal_folder: TempDir,
    journal: PathBuf,
    before: Before,
    committed: Inode,
}

impl Recorded {
    fn of(load: Load, seed: u64) -> Self {
        let recorded = Self::of_nothing_yet(load.journal);
        recorded.run(load, seed);
        recorded
    }

    fn of_nothing_yet(journal_mode: &str) -> Self {
        let project = Project::new(SHAPE_A, CONFIG);
        project.sql(&format!("PRAGMA journal_mode = {journal_mode};"));
        project.runchain(&["install"]).exits(0);
        fs::write(project.path("committed"), "").unwrap();
        let before = Before::of(project.root());
        let is_committed = |path: &PathBuf| *path == project.path("committed");
        let committed = before
            .files
            .iter()
            .find(|(path, _, _)| is_committed(path))
            .unwrap()
            .1;
        let journal_folder = tempfile::tempdir().unwrap();
        Self {
            journal: journal_folder.path().join("journal"),
            project,
            _journal_folder: journal_folder,
            before,
            committed,
        }
    }

    /// Two writers beside a service that is killed once and started again; then what is left is done.
    fn run(&self, load: Load, seed: u64) {
        let mut service = self.start(&mut self.project.command(&["drain"]));
        let [left, right] = ["left", "right"].map(|name| self.writer(name, load, seed));
        succeeds(left);
        self.kill_between_two_records(&mut service);
        service = self.start(&mut self.project.command(&["drain"]));
        succeeds(right);
        // Before it leads it may not know yet what a signal asks for.
        let lead = self.project.path(".state/orchestration.db.runchain-lock");
        eventually("the second service to lead", || {
            let leader = fs::read_to_string(&lead).unwrap();
            if leader.contains(&format!("pid {} ", service.id())) {
                Ok(())
            } else {
                Err(leader)
            }
        });
        kill_process(Pid::from_child(&service), Signal::TERM).unwrap();
        assert!(service.wait().unwrap().success());
        succeeds(self.start(&mut self.project.command(&["drain", "--until-idle"])));
    }

    /// The shim holds the journal's lock from a change to its record: who is killed in between would
    /// leave a change that nobody wrote down.
    fn kill_between_two_records(&self, child: &mut Child) {
        let journal = fs::File::open(&self.journal).unwrap();
        flock(&journal, FlockOperation::LockExclusive).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn start(&self, command: &mut Command) -> Child {
        command
            .env("LD_PRELOAD", disk_shim())
            .env("DISK_SHIM_ROOT", self.project.root())
            .env("DISK_SHIM_JOURNAL", &self.journal)
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn writer(&self, name: &str, load: Load, seed: u64) -> Child {
        let mut command = Command::new(python_program());
        command
            .arg("-")
            .arg(self.project.root())
            .args([name, load.synchronous]);
        let mut child = self.start(command.arg(format!("{seed}-{name}")).stdin(Stdio::piped()));
        child.stdin.take().unwrap().write_all(WRITER.as_bytes()).unwrap();
        child
    }
}

fn succeeds(child: Child) {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
}

/// The newest version of each run whose commit was said to be through.
#[derive(Debug, Default)]
struct Committed(BTreeMap<String, i64>);

impl Committed {
    fn note(&mut self, bytes: &[u8]) {
        let line = std::str::from_utf8(bytes).unwrap();
        let (run, version) = line.trim_end().split_once(' ').unwrap();
        self.0.insert(run.to_owned(), version.parse().unwrap());
    }

    #[track_caller]
    fn is_there(&self, outside: &Outside) {
        for (run, version) in &self.0 {
            let found = outside.texts(&format!("SELECT metadata_json FROM runs WHERE run_id = '{run}'"));
            let found = found.first().and_then(|text| text.parse().ok()).unwrap_or(-1);
            assert!(
                found >= *version,
                "{run}: committed was version {version}, found is {found}"
            );
        }
    }
}

fn number_from(variable: &str) -> Option<u64> {
    Some(std::env::var(variable).ok()?.parse().unwrap())
}

/// Runs a load, and goes on from each of some moments.
fn survives(load: Load) {
    let seed = number_from("POWER_LOSS_SEED").unwrap_or_else(|| fastrand::u64(..));
    let moments = number_from("POWER_LOSS_MOMENTS").unwrap_or(10);
    eprintln!("{load:?}: POWER_LOSS_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let recorded = Recorded::of(load, seed);
    let changes = recording::read(&recorded.journal);
    nothing_was_missed(&recorded, &changes);

    let mut at: Vec<usize> = (0..moments).map(|_| random.usize(0..=changes.len())).collect();
    at.sort_unstable();
    let mut disk = Disk::new(recorded.project.root(), &recorded.before);
    let mut committed = Committed::default();
    let mut applied = 0;
    for moment in at {
        for change in &changes[applied..moment] {
            disk.apply(change);
            match change {
                Change::Write { inode, bytes, .. } if *inode == recorded.committed => committed.note(bytes),
                _ => {}
            }
        }
        applied = moment;
        eprintln!("the power fails after {moment} of {} changes", changes.len());
        disk.found(Loss::Random(&mut random)).put_in_place();
        goes_on(load, &recorded.project, &committed);
    }
}

/// A disk that loses nothing must be the folder itself, byte by byte; else the shim missed a change.
fn nothing_was_missed(recorded: &Recorded, changes: &[Change]) {
    let root = recorded.project.root();
    let mut disk = Disk::new(root, &recorded.before);
    for change in changes {
        disk.apply(change);
    }
    let found = disk.found(Loss::Nothing).files;
    let stands = Before::of(root).files;
    let names: Vec<&PathBuf> = stands.iter().map(|(path, _, _)| path).collect();
    let mut of_found: Vec<&PathBuf> = found.keys().collect();
    of_found.retain(|path| !names.contains(path));
    assert!(of_found.is_empty(), "recorded, but not there: {of_found:?}");
    for (path, _, bytes) in &stands {
        assert!(
            found.get(path) == Some(bytes),
            "{} is not as recorded",
            path.display()
        );
    }
}

#[track_caller]
fn goes_on(load: Load, project: &Project, committed: &Committed) {
    let outside = Outside::of(project.root());
    outside.nothing_refers_to_what_is_not_there();
    outside.what_is_done_stands_on_the_disk();
    if load.durable {
        committed.is_there(&outside);
    }
    drop(outside);
    project.runchain(&["drain", "--until-idle"]).exits(0);
    // Of a run that runs again, the bag that was placed and not recorded gets its row by a pass of retention.
    project.runchain(&["prune"]).exits(0);
    project.runchain(&["drain", "--until-idle"]).exits(0);
    let outside = Outside::of(project.root());
    outside.nothing_refers_to_what_is_not_there();
    outside.everything_is_done_once();
}

#[test]
fn a_wal_database_whose_writers_sync_goes_on_after_power_loss() {
    survives(Load {
        journal: "wal",
        synchronous: "FULL",
        durable: true,
    });
}

#[test]
fn a_wal_database_whose_writers_don_t_sync_goes_on_after_power_loss() {
    survives(Load {
        journal: "wal",
        synchronous: "NORMAL",
        durable: false,
    });
}

#[test]
fn a_rollback_database_goes_on_after_power_loss() {
    survives(Load {
        journal: "delete",
        synchronous: "FULL",
        durable: false,
    });
}

#[test]
fn a_rollback_database_whose_writers_sync_the_folder_goes_on_after_power_loss() {
    survives(Load {
        journal: "delete",
        synchronous: "EXTRA",
        durable: true,
    });
}

/// Installs anew while a service runs, and stays until it is told to go: a connection that is closed
/// would bring everything to the disk.
const HOST_THAT_DOES_NOT_SYNC: &str = r#"
import sqlite3, sys
root, extension = sys.argv[1:]
conn = sqlite3.connect(root + "/.state/orchestration.db", timeout=60, isolation_level=None)
conn.enable_load_extension(True)
conn.load_extension(extension)
conn.execute("PRAGMA synchronous = OFF")
conn.execute("BEGIN IMMEDIATE")
conn.execute("DROP TRIGGER runchain_capture_update")
conn.execute("SELECT runchain_install()").fetchall()
conn.execute("COMMIT")
open("/dev/stdin").read()
"#;

#[test]
fn what_a_host_commits_without_syncing_is_made_durable_before_it_is_told() {
    let recorded = Recorded::of_nothing_yet("wal");
    let project = &recorded.project;
    let installed = |text: &str| text.matches("\"INSTALLED\"").count();
    let log = project.path("logs/monitor.jsonl");
    let told = || installed(&fs::read_to_string(&log).unwrap_or_default());
    let mut service = recorded.start(&mut project.command(&["drain"]));
    let until_told = |times| {
        eventually("an event INSTALLED in the log", || match told() {
            found if found == times => Ok(()),
            found => Err(found.to_string()),
        });
    };
    until_told(1);
    let mut command = Command::new(python_program());
    command
        .args(["-c", HOST_THAT_DOES_NOT_SYNC])
        .arg(project.root())
        .arg(extension());
    let mut host = recorded.start(command.stdin(Stdio::piped()));
    until_told(2);
    drop(host.stdin.take());
    succeeds(host);
    kill_process(Pid::from_child(&service), Signal::TERM).unwrap();
    service.wait().unwrap();

    let mut disk = Disk::new(project.root(), &recorded.before);
    let mut times = 0;
    for change in recording::read(&recorded.journal) {
        disk.apply(&change);
        if let Change::Write { bytes, .. } = &change
            && bytes.starts_with(b"{\"seq\"")
        {
            times += installed(&String::from_utf8_lossy(bytes));
            if times == 2 {
                break;
            }
        }
    }
    disk.found(Loss::Everything).put_in_place();
    let events =
        Outside::of(project.root()).texts("SELECT type FROM runchain_events WHERE type = 'INSTALLED'");
    assert_eq!(events.len(), 2);
}
