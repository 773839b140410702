//! `runchain drain` as a child that can't outlive its test.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// The executor as a service. Dropped, it is killed.
pub(crate) struct Service {
    child: Child,
    said: PathBuf,
}

impl Service {
    /// Starts it in `folder`; what it says is appended to `drain.log` there.
    pub(crate) fn start(folder: &Path) -> Self {
        let said = folder.join("drain.log");
        let log: File = OpenOptions::new().create(true).append(true).open(&said).unwrap();
        let mut command = runchain(folder);
        let child = command
            .arg("drain")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, said }
    }

    /// Asks it to stop in order and waits until it has.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }

    /// `kill -9`. It must have been alive: one that ended by itself fails the test.
    pub(crate) fn kill(mut self) {
        self.assert_alive();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Fails the test with what it said if it has ended.
    pub(crate) fn assert_alive(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(
            ended.is_none(),
            "runchain drain ended by itself ({}):\n{}",
            ended.unwrap(),
            std::fs::read_to_string(&self.said).unwrap_or_default()
        );
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
