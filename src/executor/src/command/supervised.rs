//! The executor's side of a command: starts the supervisor, keeps the end of the output, says now
//! and then that the step is still ours, and takes the report.
//!
//! Invariant: this thread waits for the supervisor only, never for a pipe that a stray process may
//! hold; and never longer than the timeout and a fixed rest. What does not belong here: signals to
//! the command, which are the supervisor's business as long as it lives.

use super::descendants;
use super::output::Output;
use super::protocol::{self, Order, Reason, Report, STILL_OURS, STOP};
#[cfg(not(test))]
use super::supervisor::SUBCOMMAND;
use super::{CommandLine, Ending, Finished};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, waitpid};
use std::collections::HashSet;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How often a running child is looked after: is its step still ours?
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);
/// A supervisor that reports nothing for this long after it should have is killed itself.
const OVERDUE: Duration = Duration::from_secs(30);
/// How long a supervisor may take to accept its order.
const ACCEPT: Duration = Duration::from_secs(30);
/// The shortest silence that ends a command: a busy machine schedules nobody for a while.
const SHORTEST_SILENCE: Duration = Duration::from_secs(1);
/// What a pipe can still hold once its writers are gone, and more.
const REST_BYTES: usize = 1 << 20;

/// Runs a command to its end. `go_on` is asked now and then; once it says no, the command is ended.
///
/// # Errors
/// When the program can't be started.
pub(crate) fn run(line: &CommandLine, stdin: &[u8], go_on: &dyn Fn() -> bool) -> Result<Finished> {
    if line.argv.is_empty() {
        return Err(Error::new(ErrorKind::InvalidInput, "the command is empty"));
    }
    if !line.cwd.is_dir() {
        // The system would say the same of a missing program.
        let message = format!("its working directory {} is no folder", line.cwd.display());
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    let mut supervised = Supervised::start(line, stdin)?;
    let report = supervised.until_reported(line.timeout, go_on)?;
    supervised.finish(report)
}

struct Supervised {
    supervisor: Child,
    control: UnixStream,
    output: Output,
    answer: Vec<u8>,
}

impl Supervised {
    fn start(line: &CommandLine, stdin: &[u8]) -> Result<Self> {
        let (control, theirs) = UnixStream::pair()?;
        let (output, writers) = Output::open(line.output_bytes)?;
        let mut command = supervisor();
        command
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(writers.stdout)
            .stderr(writers.stderr)
            // Ctrl-C at a terminal is for the executor, which then decides.
            .process_group(0);
        let supervisor = Registry::lock().spawn(&mut command)?;
        // Our copies of its ends would keep us from seeing that it is gone.
        drop(command);
        let mut supervised = Self {
            supervisor,
            control,
            output,
            answer: Vec::new(),
        };
        if let Err(error) = supervised.order(line, stdin) {
            // Without its whole order it starts nothing.
            supervised.dismiss();
            return Err(error);
        }
        Ok(supervised)
    }

    fn order(&mut self, line: &CommandLine, stdin: &[u8]) -> Result<()> {
        // The executor renews when a third of its lease is over and looks that often, so a third is
        // left at least whenever we speak; silence and grace together stay below that.
        let order = Order {
            argv: line.argv.clone(),
            env: line.env.clone(),
            cwd: line.cwd.clone().into_os_string(),
            timeout_ms: millis(line.timeout),
            silence_ms: millis((line.lease / 4).max(SHORTEST_SILENCE)),
            grace_ms: millis(GRACE),
            orphan_grace_ms: millis((line.lease / 12).min(GRACE)),
        };
        self.control.set_write_timeout(Some(ACCEPT))?;
        protocol::send(&mut self.control, &order)?;
        protocol::send_bytes(&mut self.control, stdin)?;
        self.control.set_nonblocking(true)
    }

    /// `None` when the supervisor is gone without a report.
    fn until_reported(&mut self, timeout: Duration, go_on: &dyn Fn() -> bool) -> Result<Option<Report>> {
        let mut overdue = Instant::now() + timeout.saturating_add(OVERDUE);
        let mut next_look = Instant::now() + LOOK_EVERY;
        let mut asked_to_stop = false;
        loop {
            if !self.wait(next_look.saturating_duration_since(Instant::now()))? {
                return Ok(None);
            }
            if let Ok(report) = protocol::receive(&mut self.answer.as_slice()) {
                return Ok(Some(report));
            }
            let now = Instant::now();
            if now < next_look {
                continue;
            }
            next_look = now + LOOK_EVERY;
            if now >= overdue {
                // Stopped (SIGSTOP) or worse; the end of the stream follows.
                let _ = self.supervisor.kill();
            }
            if asked_to_stop {
                continue;
            }
            asked_to_stop = !go_on();
            if asked_to_stop {
                overdue = overdue.min(now + OVERDUE);
            }
            // A full socket means that it has our earlier words still to read; a closed one that the
            // next read says so.
            let word = if asked_to_stop { STOP } else { STILL_OURS };
            let _ = self.control.write(&[word]);
        }
    }

    /// Waits for output or the answer, and takes what there is; `false` at the end of the stream.
    fn wait(&mut self, timeout: Duration) -> Result<bool> {
        let mut ready = vec![PollFd::new(&self.control, PollFlags::IN)];
        ready.extend(self.output.to_poll());
        let timeout = Timespec::try_from(timeout).ok();
        match poll(&mut ready, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let answered = !ready[0].revents().is_empty();
        let printed = ready[1..].iter().any(|pipe| !pipe.revents().is_empty());
        if printed {
            self.output.take();
        }
        if !answered {
            return Ok(true);
        }
        let mut buffer = [0; 512];
        match self.control.read(&mut buffer) {
            Ok(count) => {
                self.answer.extend_from_slice(&buffer[..count]);
                Ok(count > 0)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(true),
            Err(_) => Ok(false),
        }
    }

    fn finish(mut self, report: Option<Report>) -> Result<Finished> {
        let (ending, left) = match report {
            Some(Report::NotStarted { errno: 0 }) => {
                self.dismiss();
                let message = "its supervisor could not start it; the executor's own output may say more";
                return Err(Error::other(message));
            }
            Some(Report::NotStarted { errno }) => {
                self.dismiss();
                return Err(Error::from_raw_os_error(errno));
            }
            Some(Report::Ended {
                reason,
                wait_status,
                leftovers,
                survivors,
            }) => {
                let left = Left { leftovers, survivors };
                (ending_of(reason, wait_status), left)
            }
            None => {
                let _ = self.supervisor.kill();
                let _ = self.supervisor.wait();
                let leftovers = Registry::lock().end_strays(&self.supervisor);
                (
                    Ending::Unsupervised,
                    Left {
                        leftovers,
                        survivors: 0,
                    },
                )
            }
        };
        let mut rest = 0;
        while rest < REST_BYTES {
            match self.output.take() {
                0 => break,
                count => rest += count,
            }
        }
        let output_tail = format!("{}{}", left.sentence(), self.output.tail());
        let last_line = self.output.last_line();
        if left.survivors > 0 {
            // It goes on trying, and is our child until it has succeeded.
            thread::spawn(move || self.dismiss());
        } else {
            self.dismiss();
        }
        Ok(Finished {
            ending,
            output_tail,
            last_line,
        })
    }

    /// Waits for a supervisor that has nothing more to do.
    fn dismiss(&mut self) {
        let _ = self.control.shutdown(std::net::Shutdown::Both);
        let _ = self.supervisor.wait();
        Registry::lock().forget(&self.supervisor);
    }
}

fn ending_of(reason: Reason, wait_status: i32) -> Ending {
    match reason {
        Reason::Itself => Ending::Exited(ExitStatus::from_raw(wait_status)),
        Reason::TimedOut => Ending::TimedOut,
        Reason::Stopped => Ending::Stopped,
        Reason::Abandoned => Ending::Abandoned,
    }
}

/// Processes that a command left.
struct Left {
    leftovers: usize,
    survivors: usize,
}

impl Left {
    fn sentence(&self) -> String {
        let mut text = String::new();
        if self.leftovers > 0 {
            text += &format!("[processes that it left, ended: {}]\n", self.leftovers);
        }
        if self.survivors > 0 {
            text += &format!(
                "[processes that do not end, even by SIGKILL: {}]\n",
                self.survivors
            );
        }
        text
    }
}

/// The supervisors that are alive. Every other child of the executor was orphaned by one that was
/// killed (or, where the executor is process 1 of a container, by anybody); so whoever starts another
/// kind of child in this process has to enter it here too.
pub(super) struct Registry(MutexGuard<'static, Vec<Pid>>);

impl Registry {
    pub(super) fn lock() -> Self {
        static ALIVE: Mutex<Vec<Pid>> = Mutex::new(Vec::new());
        Self(ALIVE.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn spawn(&mut self, command: &mut Command) -> Result<Child> {
        if self.0.is_empty() {
            descendants::become_reaper()?;
        }
        let child = command.spawn()?;
        self.0.push(Pid::from_child(&child));
        Ok(child)
    }

    /// Takes what has ended and isn't ours to wait for.
    pub(super) fn reap_foreign(&self) {
        for zombie in descendants::zombies() {
            if !self.0.contains(&zombie) {
                let _ = waitpid(Some(zombie), WaitOptions::NOHANG);
            }
        }
    }

    fn forget(&mut self, child: &Child) {
        let gone = Pid::from_child(child);
        self.0.retain(|pid| *pid != gone);
    }

    /// Kills what a dead supervisor has left to us; how many that were. A fork bomb is outrun: what
    /// is killed forks no more, so each round leaves only what was born during it.
    fn end_strays(&mut self, gone: &Child) -> usize {
        self.forget(gone);
        let mut ended = HashSet::new();
        let until = Instant::now() + OVERDUE;
        let mut pause = Duration::from_millis(1);
        loop {
            let strays = descendants::below(None, &self.0);
            for stray in &strays {
                descendants::signal(*stray, Signal::KILL);
                ended.insert(*stray);
            }
            // Only our own children can be reaped; the others become ours in a moment.
            for one in &ended {
                let _ = waitpid(Some(one.pid), WaitOptions::NOHANG);
            }
            if strays.is_empty() || Instant::now() >= until {
                return ended.len();
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// This very binary, also when the file was replaced by a newer one since we were started.
#[cfg(not(test))]
fn supervisor() -> Command {
    let program = if cfg!(target_os = "linux") {
        "/proc/self/exe".into()
    } else {
        std::env::current_exe().unwrap_or_else(|_| "runchain".into())
    };
    let mut command = Command::new(program);
    command.arg0("runchain").arg(SUBCOMMAND).env_clear();
    command
}

/// In a unit test this binary is the test harness, which reaches the supervisor by a test's name and
/// has words of its own for standard output.
#[cfg(test)]
fn supervisor() -> Command {
    let program = std::env::current_exe().unwrap_or_default();
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "exec \"$0\" \"$@\" 3>&1 1>/dev/null"])
        .arg(program)
        .args(["--exact", "command::tests::the_supervisor_itself", "--nocapture"])
        .env_clear()
        .env(super::supervisor::SUBCOMMAND, "1");
    command
}
