//! Steps that are somebody's own command: started without a shell, bounded in time and output, and
//! ended with everything that they started.
//!
//! Between executor and command stands a *supervisor*: this binary once more, as `runchain
//! __supervise`. It is a subreaper, so that grandchildren, daemons (double forks) and what has left
//! group and session (setsid) stay below it, and it ends all of them (SIGTERM, a grace time,
//! SIGKILL, again until none is left) when
//! - the command itself has ended, and what it has left had half a second to end too: a step that
//!   wants to leave a service behind has to ask a service manager for it,
//! - its time is up, or the executor asks for it,
//! - the executor is dead (end of the stream) or silent for longer than its lease allows.
//!
//! What holds when something is killed by SIGKILL:
//! - the executor: the supervisor ends everything, within the lease;
//! - the supervisor: the command dies with it, the rest becomes the executor's (a subreaper too), which
//!   ends it and fails the attempt;
//! - both at one moment: the command itself still dies (its parent-death signal); what it has started
//!   is init's, and only a cgroup can promise its end: run the service under systemd or in a container.
//!
//! macOS has no subreapers: what leaves the command's process group is not reached there, and
//! a supervisor that is killed leaves the command behind.
//!
//! Invariant: only the configuration file says what runs; nothing from the database becomes
//! a program, an option or a path. What does not belong here: what a step's end means for the queue.

mod descendants;
pub(crate) mod init;
mod last_line;
mod output;
mod protocol;
mod supervised;
mod supervisor;
mod tail;
mod words;

pub(crate) use last_line::{LINE_LIMIT_BYTES, LastLine};
pub(crate) use supervised::run;
pub(crate) use supervisor::{SUBCOMMAND, supervise};
pub(crate) use words::{fill, fill_word};

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// A command with everything filled in.
#[derive(Debug, Clone)]
pub(crate) struct CommandLine {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The child's whole environment.
    pub env: Vec<(String, String)>,
    /// Its working directory.
    pub cwd: PathBuf,
    /// What it may take.
    pub timeout: Duration,
    /// How long the step is the executor's without renewal.
    pub lease: Duration,
    /// How much of the end of its output is kept.
    pub output_bytes: usize,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// By itself.
    Exited(ExitStatus),
    /// We ended it: its time was up.
    TimedOut,
    /// We ended it: its step is no longer ours, or the executor stops.
    Stopped,
    /// Its supervisor ended it: the executor gave no sign of life, as when it was stopped (SIGSTOP).
    Abandoned,
    /// Its supervisor was killed; how the command itself has ended is not known.
    Unsupervised,
}

/// What a command left.
#[derive(Debug, Clone)]
pub(crate) struct Finished {
    /// How it ended.
    pub ending: Ending,
    /// The end of standard output and standard error, as they came; before it a line in brackets for
    /// whatever else is worth knowing.
    pub output_tail: String,
    /// The last line of standard output alone.
    pub last_line: LastLine,
}

/// "exit code 3" or "signal 9".
pub(crate) fn said(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests;
