//! `runchain drain` as a child that can't outlive its test.

use super::project::eventually;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use tempfile::NamedTempFile;

/// The executor as a service. Dropped, it is killed.
pub(crate) struct Service {
    child: Child,
    told: NamedTempFile,
}

impl Service {
    /// Starts it in `folder`.
    pub(crate) fn start(folder: &Path) -> Self {
        Self::of(runchain(folder).arg("drain"))
    }

    /// Starts a command that was prepared.
    pub(crate) fn of(command: &mut Command) -> Self {
        let told = NamedTempFile::new().unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(told.reopen().unwrap())
            .spawn()
            .unwrap();
        Self { child, told }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Asks it to stop in order and waits until it has.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.child.wait().unwrap()
    }

    /// Its exit code, after it was asked to stop or ended by itself.
    pub(crate) fn stopped(&mut self) -> Option<i32> {
        if self.is_running() {
            self.signal(Signal::TERM);
        }
        self.ended()
    }

    /// `kill -9`. It must have been alive: one that ended by itself fails the test.
    pub(crate) fn kill(mut self) {
        self.assert_alive();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What it has told on standard error.
    pub(crate) fn told(&self) -> String {
        fs::read_to_string(self.told.path()).unwrap()
    }

    /// Whether it has not ended yet.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Fails the test with what it said if it has ended.
    pub(crate) fn assert_alive(&mut self) {
        assert!(
            self.is_running(),
            "runchain drain ended by itself:\n{}",
            self.told()
        );
    }

    /// Waits for its end: the exit code, none after a signal.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> Option<i32> {
        eventually("the service to end", || match self.child.try_wait().unwrap() {
            Some(status) => Ok(status.code()),
            None => Err(fs::read_to_string(self.told.path()).unwrap()),
        })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Already waited for, or killed here: an error says that it is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `runchain` in a folder, without the caller's own variables.
pub(crate) fn runchain(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runchain"));
    command.current_dir(folder);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RUNCHAIN_")) {
        command.env_remove(name);
    }
    command
}
