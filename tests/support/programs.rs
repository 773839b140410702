//! Programs of the machine: those that `scripts/hosts` finds, run with a script on standard input.

use super::build::{repository, target};
use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

/// A program that has ended by itself.
pub(crate) struct Finished {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    /// What it printed; the test fails if the program did.
    #[track_caller]
    pub(crate) fn output(self) -> String {
        assert!(
            self.success,
            "failed after printing:\n{}{}",
            self.stdout, self.stderr
        );
        self.stdout
    }
}

/// Runs `command` with `input`. A program that a signal has ended fails the test: nothing of ours
/// may crash a host.
pub(crate) fn run(command: &mut Command, input: &str) -> Finished {
    let mut child = command
        // Cargo points it at its own libraries; a user's host has no such thing.
        .env_remove("LD_LIBRARY_PATH")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    // From a thread, so that neither side waits on a full pipe. A program that ends without
    // reading closes it, which is no failure of its own.
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    let finished = Finished {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    assert!(
        output.status.code().is_some(),
        "{command:?} crashed ({}) after printing:\n{}{}",
        output.status,
        finished.stdout,
        finished.stderr
    );
    finished
}

/// The stock `sqlite3` shell.
pub(crate) fn sqlite3() -> &'static str {
    host("RUNCHAIN_TEST_SQLITE3")
}

/// A Python whose `sqlite3` can load extensions.
pub(crate) fn python_program() -> &'static str {
    host("RUNCHAIN_TEST_PYTHON")
}

/// Runs a script in a Python whose `sqlite3` can load extensions; `arguments` are `sys.argv[1:]`.
pub(crate) fn python(script: &str, arguments: &[&str]) -> Finished {
    let mut command = Command::new(host("RUNCHAIN_TEST_PYTHON"));
    run(command.arg("-").args(arguments), script)
}

/// The same with `apsw` to import, which brings a SQLite library of its own.
pub(crate) fn apsw(script: &str, arguments: &[&str]) -> Finished {
    let mut command = Command::new(host("RUNCHAIN_TEST_PYTHON"));
    command.env("PYTHONPATH", host("RUNCHAIN_TEST_APSW"));
    run(command.arg("-").args(arguments), script)
}

/// The folder to put into PYTHONPATH for `apsw`.
pub(crate) fn apsw_folder() -> &'static str {
    host("RUNCHAIN_TEST_APSW")
}

/// A line of what `scripts/hosts` prints.
fn host(key: &str) -> &'static str {
    static HOSTS: Lines = OnceLock::new();
    line_of("scripts/hosts", &HOSTS, key)
}

/// A line of what `scripts/matrix` prints: hosts in other languages.
pub(crate) fn matrix(key: &str) -> &'static str {
    static MATRIX: Lines = OnceLock::new();
    line_of("scripts/matrix", &MATRIX, key)
}

/// A line of what `scripts/step-hosts` prints: what the tests of steps need.
pub(crate) fn step_host(key: &str) -> &'static str {
    static STEP_HOSTS: Lines = OnceLock::new();
    line_of("scripts/step-hosts", &STEP_HOSTS, key)
}

/// The binary where every user of the machine can reach it.
pub(crate) fn everybodys_runchain() -> &'static Path {
    static PROGRAM: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = PROGRAM.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = folder.path().join("runchain");
        // By cp: a file that this process has open for writing can't be executed while a child that
        // another test has just started still holds the descriptor (ETXTBSY).
        let copied = Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_runchain"))
            .arg(&path)
            .status();
        assert!(copied.unwrap().success());
        (folder, path)
    });
    path
}

/// A line of what `scripts/monitoring` prints: what the tests of the service and of its alerts need.
pub(crate) fn monitoring(key: &str) -> &'static str {
    static MONITORING: Lines = OnceLock::new();
    line_of("scripts/monitoring", &MONITORING, key)
}

type Lines = OnceLock<Result<HashMap<String, String>, String>>;

/// What a machine lacks fails the tests that need it: a skipped test would prove nothing.
fn line_of(script: &str, lines: &'static Lines, key: &str) -> &'static str {
    let lines = lines.get_or_init(|| {
        let mut script = Command::new(repository().join(script));
        let found = run(script.env("CARGO_TARGET_DIR", target()), "");
        if !found.success {
            return Err(format!(
                "a program that the tests need is missing:\n{}",
                found.stderr
            ));
        }
        let pairs = found.stdout.lines().filter_map(|line| line.split_once('='));
        Ok(pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect())
    });
    let lines = lines.as_ref().unwrap_or_else(|sentence| panic!("{sentence}"));
    lines
        .get(key)
        .unwrap_or_else(|| panic!("{script} printed no {key}"))
}
