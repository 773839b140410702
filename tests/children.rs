//! Commands of steps when something is killed: no process outlives its executor and its lease.
//!
//! The command runs in a whole installation, and every process of it is found by a mark in its
//! environment. Waiting is polling with a deadline: for a process to appear, or to be gone.

use rusqlite::OptionalExtension;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than anything that holds needs on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
const MARK: &str = "RUNCHAIN_TEST_MARK";
/// An executor that says nothing for a quarter of it loses its command.
const LEASE_MS: u64 = 24_000;
const LEASE: Duration = Duration::from_millis(LEASE_MS);

/// A project whose first step is a shell script; a failed attempt is not repeated within the test.
struct Project {
    folder: TempDir,
    mark: String,
}

struct Step {
    state: String,
    error: String,
    output: String,
}

impl Project {
    fn with_step(script: &str, more: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let mark = folder.path().file_name().unwrap().to_str().unwrap().to_owned();
        let configuration = format!(
            "state_db_path = 'state.db'
             required_tables = ['runs']
             workers = 1
             lease_ms = {LEASE_MS}
             retry.base_ms = 2678400000
             retry.cap_ms = 2678400000
             [steps.report]
             command = ['true']
             [steps.archive]
             command = ['sh', '-c', '''{script}''']
             env = {{ {MARK} = '{mark}' }}
             {more}\n"
        );
        fs::write(folder.path().join("runchain.toml"), configuration).unwrap();
        let project = Self { folder, mark };
        project.sql("CREATE TABLE runs (run_id TEXT PRIMARY KEY, status TEXT)");
        let installed = project.runchain(&["install"]).output().unwrap();
        assert!(installed.status.success(), "{installed:?}");
        project.sql("INSERT INTO runs VALUES ('r', 'RUNNING'); UPDATE runs SET status = 'COMPLETED'");
        project
    }

    fn open(&self) -> rusqlite::Connection {
        let conn = rusqlite::Connection::open(self.folder.path().join("state.db")).unwrap();
        conn.busy_timeout(PATIENCE).unwrap();
        conn
    }

    fn sql(&self, sql: &str) {
        self.open().execute_batch(sql).unwrap();
    }

    /// How it stands with the step, which stands in the place of the bag.
    fn step(&self) -> Step {
        self.step_or_none().unwrap()
    }

    /// The same; `None` before the chain is there.
    fn step_or_none(&self) -> Option<Step> {
        let sql = "SELECT state, coalesce(error, ''), coalesce(output_tail, '')
                   FROM runchain_steps WHERE step = 'archive'";
        let row = |row: &rusqlite::Row<'_>| {
            Ok(Step {
                state: row.get(0)?,
                error: row.get(1)?,
                output: row.get(2)?,
            })
        };
        self.open().query_row(sql, [], row).optional().unwrap()
    }

    fn runchain(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runchain"));
        command.current_dir(self.folder.path()).args(arguments);
        command.stdin(Stdio::null());
        command
    }

    /// A service; whatever it prints goes to a file.
    fn drain(&self) -> Drain {
        let said = fs::File::create(self.folder.path().join("said")).unwrap();
        let mut command = self.runchain(&["drain"]);
        command.stdout(said.try_clone().unwrap()).stderr(said);
        Drain(command.spawn().unwrap())
    }

    /// Drains until nothing can be done now.
    fn drain_once(&self) {
        let output = self.runchain(&["drain", "--once"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    fn running(&self) -> Vec<u32> {
        let mark = format!("{MARK}={}", self.mark);
        processes(|pid| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ
                .split(|&byte| byte == 0)
                .any(|variable| variable == mark.as_bytes())
        })
    }

    fn file(&self, name: &str) -> bool {
        self.folder.path().join(name).exists()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        // After a failed assertion nothing may run on either.
        for pid in self.running() {
            kill(pid, "KILL");
        }
    }
}

/// An executor that doesn't outlive its test.
struct Drain(Child);

impl Drop for Drain {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drain {
    /// The supervisor of its only command.
    fn supervisor(&self) -> u32 {
        let supervisors = processes(|pid| {
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            parent(pid) == Some(self.0.id()) && arguments.starts_with(b"runchain\0__supervise\0")
        });
        assert_eq!(supervisors.len(), 1, "{supervisors:?}");
        supervisors[0]
    }
}

fn processes(is_meant: impl Fn(u32) -> bool) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    pids.filter(|&pid| is_meant(pid)).collect()
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()
}

fn kill(pid: u32, signal: &str) {
    let mut command = Command::new("sh");
    let _ = command
        .args(["-c", &format!("kill -{signal} {pid} 2>&-")])
        .status();
}

#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    begun.elapsed()
}

/// A grandchild, one that left the session, a daemon, and one that ignores SIGTERM; `ready` stands
/// once all of them run.
const FAMILY: &str = "
    sleep 300 &
    setsid sleep 300 &
    (setsid sh -c \"sleep 300 & exit\" &)
    sh -c \"trap : TERM; touch resists; while :; do sleep 300; done\" &
    until [ -e resists ]; do sleep 0.01; done
    touch ready
    sleep 300";

#[test]
fn after_kill_9_of_the_executor_nothing_runs_on() {
    let project = Project::with_step(FAMILY, "");
    let mut drain = project.drain();
    until("the command runs", || project.file("ready"));
    let supervisor = drain.supervisor();
    // One that is just becoming another program has no environment to be known by.
    until("all five run", || project.running().len() >= 5);
    drain.0.kill().unwrap();
    drain.0.wait().unwrap();
    let took = until("all are gone", || project.running().is_empty());
    assert!(took < LEASE, "{took:?} is longer than the lease");
    until("the supervisor is gone", || {
        parent(supervisor).is_none_or(|_| zombie(supervisor))
    });
}

#[test]
fn an_executor_that_is_stopped_loses_its_command_within_the_lease() {
    let project = Project::with_step(FAMILY, "");
    let drain = project.drain();
    until("the command runs", || project.file("ready"));
    kill(drain.0.id(), "STOP");
    let took = until("all are gone", || project.running().is_empty());
    assert!(took < LEASE, "{took:?} is longer than the lease");
    kill(drain.0.id(), "CONT");
    until("the attempt is settled", || project.step().state == "ready");
    let error = project.step().error;
    assert!(error.contains("gave no sign of life"), "{error}");
}

#[test]
fn after_kill_9_of_the_supervisor_the_executor_ends_the_rest_and_fails_the_attempt() {
    let project = Project::with_step(FAMILY, "");
    let drain = project.drain();
    until("the command runs", || project.file("ready"));
    kill(drain.supervisor(), "KILL");
    until("all are gone", || project.running().is_empty());
    until("the attempt is settled", || project.step().state == "ready");
    let Step { error, output, .. } = project.step();
    assert!(error.contains("killed its supervisor"), "{error}");
    assert!(output.contains("processes that it left, ended: "), "{output}");
}

#[test]
fn after_kill_9_of_both_the_command_itself_is_gone() {
    let project = Project::with_step("touch ready; exec sleep 300", "");
    let drain = project.drain();
    until("the command runs", || project.file("ready"));
    let both = format!("kill -9 {} {}", drain.0.id(), drain.supervisor());
    assert!(Command::new("sh").args(["-c", &both]).status().unwrap().success());
    until("it is gone", || project.running().is_empty());
}

#[test]
fn a_second_signal_ends_the_executor_even_while_a_supervisor_is_stopped() {
    let project = Project::with_step("touch ready; sleep 300", "");
    let drain = project.drain();
    until("the command runs", || project.file("ready"));
    let supervisor = drain.supervisor();
    kill(supervisor, "STOP");
    // Two signals that arrive at once are one: so again until it works.
    until("the executor is gone", || {
        kill(drain.0.id(), "TERM");
        zombie(drain.0.id())
    });
    kill(supervisor, "CONT");
    until("all are gone", || project.running().is_empty());
}

#[test]
fn cancelling_a_running_step_stops_it_and_what_it_started() {
    let project = Project::with_step("touch ready; setsid sleep 300 & sleep 300", "");
    let _drain = project.drain();
    until("the command runs", || project.file("ready"));
    let cancelled = project.runchain(&["cancel", "r"]).output().unwrap();
    assert!(cancelled.status.success(), "{cancelled:?}");
    until("it is cancelled", || project.step().state == "cancelled");
    let took = until("all are gone", || project.running().is_empty());
    assert!(took < LEASE, "{took:?}: it was not stopped, its lease ended");
}

#[test]
fn a_signal_at_the_terminal_reaches_the_executor_only() {
    let project = Project::with_step("touch ready; until [ -e go ]; do sleep 0.05; done", "");
    let mut command = project.runchain(&["drain"]);
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut drain = Drain(
        command
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap(),
    );
    until("the command runs", || project.file("ready"));
    // What Ctrl-C does: SIGINT for the foreground group.
    assert!(
        Command::new("sh")
            .args(["-c", &format!("kill -INT -{}", drain.0.id())])
            .status()
            .unwrap()
            .success()
    );
    assert!(!project.running().is_empty());
    fs::write(project.folder.path().join("go"), "").unwrap();
    assert_eq!(drain.0.wait().unwrap().code(), Some(0));
    let Step { state, output, .. } = project.step();
    assert_eq!((state.as_str(), output.as_str()), ("done", ""));
}

#[test]
fn a_flood_of_output_costs_neither_memory_nor_disk() {
    let project = Project::with_step("head -c 300000000 /dev/zero; echo; echo end", "");
    let mut drain = project.drain();
    let mut peak_kib = 0;
    until("the step is done", || {
        peak_kib = peak_kib.max(peak_memory_kib(drain.0.id()));
        project.step_or_none().is_some_and(|step| step.state == "done")
    });
    assert!(project.step().output.ends_with("\nend\n"));
    assert!(peak_kib > 0 && peak_kib < 64 * 1024, "{peak_kib} KiB");
    kill(drain.0.id(), "TERM");
    drain.0.wait().unwrap();
}

#[test]
fn how_a_command_ended_stands_in_the_error() {
    for (script, timeout_ms, says) in [
        ("exit 42", 300_000, "ended with exit code 42"),
        ("kill -9 $$", 300_000, "ended with signal 9"),
        ("exec sleep 300", 200, "was ended after its timeout of 200 ms"),
    ] {
        let project = Project::with_step(script, &format!("timeout_ms = {timeout_ms}"));
        project.drain_once();
        let Step { state, error, .. } = project.step();
        assert_eq!(state, "ready");
        assert!(error.contains(says), "{error}");
        assert_eq!(project.running(), [0; 0]);
    }
}

#[test]
fn no_descriptor_of_the_executor_or_its_parent_reaches_a_command() {
    let project = Project::with_step("ls -l /proc/self/fd", "");
    let binary = env!("CARGO_BIN_EXE_runchain");
    let script = format!("exec 7>somebodys-lock; {binary} drain --once");
    let mut shell = Command::new("sh");
    let drained = shell
        .args(["-c", &script])
        .current_dir(project.folder.path())
        .output()
        .unwrap();
    assert!(drained.status.success(), "{drained:?}");
    let Step { state, output, .. } = project.step();
    assert_eq!(state, "done");
    // Its three, and the folder that ls itself reads.
    let open: Vec<&str> = output
        .lines()
        .filter_map(|line| line.split(" -> ").nth(1))
        .collect();
    assert_eq!(open.len(), 4, "{output}");
    assert!(
        !output.contains("state.db") && !output.contains("lock"),
        "{output}"
    );
}

#[test]
fn no_help_shows_the_supervisor() {
    let help = Command::new(env!("CARGO_BIN_EXE_runchain"))
        .arg("--help")
        .output()
        .unwrap();
    assert!(!String::from_utf8(help.stdout).unwrap().contains("__supervise"));
}

fn peak_memory_kib(pid: u32) -> u64 {
    let status =
        fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

fn zombie(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
}
