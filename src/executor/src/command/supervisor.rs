//! The supervisor: a process between the executor and one command, which ends everything below it.
//!
//! Invariant: it does not end before every descendant has, and it outlives every signal but SIGKILL
//! and SIGSTOP: only the executor's word, its death or its silence count. It has one thread, reads
//! no file but /proc, and never touches the database.
//!
//! Standard input is the socket to the executor; standard output and standard error are the pipes
//! that take the command's. What does not belong here: what an ending means.

use super::descendants::{self, Descendant, Look};
use super::protocol::{self, Order, Reason, Report, STOP};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use std::collections::HashSet;
use std::io::{ErrorKind, PipeWriter, Read, Result, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// The subcommand that leads here; no help shows it.
pub(crate) const SUBCOMMAND: &str = "__supervise";

/// How long what a command leaves may go on: `tee` at the end of a pipe that nobody waits for still
/// has the last lines to write.
const LINGER: Duration = Duration::from_millis(500);
/// How long after the first SIGKILL the executor is told that something doesn't end.
const REPORT_SURVIVORS_AFTER: Duration = Duration::from_secs(10);
/// Pauses between two looks at what is to end; the end of a child of ours cuts them short.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// The same once the executor was told.
const PAUSE_AFTER_REPORT: Duration = Duration::from_secs(1);

/// The whole process, as `main` runs it.
pub(crate) fn supervise() -> ExitCode {
    close_inherited();
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        // The executor sees the end of the stream and what it finds in the output.
        Err(_) => ExitCode::FAILURE,
    }
}

/// Takes one order from standard input and carries it out.
pub(super) fn serve() -> Result<()> {
    let mut control = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    outlive_signals()?;
    let child_ended = ChildEnded::watch()?;
    descendants::become_reaper()?;
    let order: Order = protocol::receive(&mut control)?;
    let input = protocol::receive_bytes(&mut control)?;
    let (command, stdin) = match start(&order) {
        Ok(started) => started,
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(0);
            return protocol::send(&mut control, &Report::NotStarted { errno });
        }
    };
    control.set_nonblocking(true)?;
    let mut supervision = Supervision {
        control,
        child_ended,
        command,
        wait_status: None,
        feed: Some(Feed { stdin, input, fed: 0 }),
        signalled: HashSet::new(),
    };
    let reason = supervision.until_over(&order)?;
    supervision.end_all(reason, &order)
}

/// Descriptors that the executor itself inherited and that aren't close-on-exec (its own all are)
/// would reach the command: somebody's lock, somebody's pipe.
fn close_inherited() {
    #[cfg(target_os = "linux")]
    // SAFETY: called first thing in `main`, so nothing in this process owns a descriptor above 2;
    // the system call takes three integers. The C library's wrapper would need glibc 2.34.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32);
    }
}

/// A handler, not "ignore": the command starts with the defaults.
fn outlive_signals() -> Result<()> {
    let noted = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP, SIGQUIT] {
        signal_hook::flag::register(signal, Arc::clone(&noted))?;
    }
    // Started as /proc/self/exe, it would be listed as "exe".
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::set_name(c"runchain-step");
    Ok(())
}

fn start(order: &Order) -> Result<(Pid, PipeWriter)> {
    let (reader, stdin) = std::io::pipe()?;
    rustix::io::ioctl_fionbio(&stdin, true)?;
    let supervisor = rustix::process::getpid();
    let program = order.argv.first().ok_or(ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command
        .args(&order.argv[1..])
        .env_clear()
        .envs(order.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&order.cwd)
        .stdin(reader)
        .stdout(standard_output()?)
        .stderr(std::io::stderr().as_fd().try_clone_to_owned()?);
    // SAFETY: `prepare` makes system calls only: it allocates nothing, takes no lock, and this
    // process has one thread anyway.
    unsafe {
        command.pre_exec(move || prepare(supervisor));
    }
    Ok((Pid::from_child(&command.spawn()?), stdin))
}

#[cfg(not(test))]
fn standard_output() -> Result<OwnedFd> {
    std::io::stdout().as_fd().try_clone_to_owned()
}

/// The harness has words of its own for standard output.
#[cfg(test)]
fn standard_output() -> Result<OwnedFd> {
    let pipe = std::fs::File::options().write(true).open("/proc/self/fd/3")?;
    Ok(pipe.into())
}

/// What happens in the child before it becomes the command.
fn prepare(supervisor: Pid) -> Result<()> {
    rustix::process::setsid()?;
    descendants::die_with_parent(supervisor)?;
    // Whoever started the executor may have ignored or blocked signals (nohup); exec keeps that.
    for signal in 1..=SIGNALS {
        // SAFETY: resetting to the default installs no handler; for numbers that have none to
        // reset (SIGKILL, or the C library's own) the call fails and changes nothing.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set that sigprocmask then reads.
    let result = unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut())
    };
    if result == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

/// The highest signal number, real-time signals included.
const SIGNALS: i32 = if cfg!(target_os = "linux") { 64 } else { 31 };

/// Becomes readable when a child of ours ends.
struct ChildEnded(UnixStream);

impl ChildEnded {
    fn watch() -> Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(SIGCHLD, writer)?;
        Ok(Self(reader))
    }

    fn clear(&mut self) {
        let mut buffer = [0; 64];
        while matches!(self.0.read(&mut buffer), Ok(1..)) {}
    }
}

/// The command's standard input, as far as it isn't written yet.
struct Feed {
    stdin: PipeWriter,
    input: Vec<u8>,
    fed: usize,
}

impl Feed {
    /// Writes what fits; `false` when all is written, or the command doesn't want it.
    fn go_on(&mut self) -> bool {
        match self.stdin.write(&self.input[self.fed..]) {
            Ok(count) => {
                self.fed += count;
                self.fed < self.input.len()
            }
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }
}

struct Supervision {
    control: UnixStream,
    child_ended: ChildEnded,
    command: Pid,
    wait_status: Option<i32>,
    feed: Option<Feed>,
    signalled: HashSet<Descendant>,
}

impl Supervision {
    /// Until the command has ended or has to.
    fn until_over(&mut self, order: &Order) -> Result<Reason> {
        let silence = Duration::from_millis(order.silence_ms);
        let deadline = Instant::now().checked_add(Duration::from_millis(order.timeout_ms));
        let mut silent_until = Instant::now() + silence;
        loop {
            self.reap();
            let now = Instant::now();
            if self.wait_status.is_some() {
                return Ok(Reason::Itself);
            }
            if deadline.is_some_and(|deadline| now >= deadline) {
                return Ok(Reason::TimedOut);
            }
            let next = deadline.map_or(silent_until, |deadline| deadline.min(silent_until));
            let said = self.wait(next.saturating_duration_since(now))?;
            // Judged after the wait: what was said while we ourselves were not scheduled counts.
            match said {
                Said::StillOurs => silent_until = Instant::now() + silence,
                Said::Stop => return Ok(Reason::Stopped),
                Said::Nothing if Instant::now() < silent_until => {}
                Said::Nothing | Said::Gone => return Ok(Reason::Abandoned),
            }
        }
    }

    fn reap(&mut self) -> Look {
        loop {
            match descendants::reap() {
                Look::Reaped(child) if child.pid == self.command => {
                    self.wait_status = Some(child.wait_status);
                }
                Look::Reaped(_) => {}
                look => return look,
            }
        }
    }

    /// Waits for a word, the end of a child or the timeout; feeds the command meanwhile.
    fn wait(&mut self, timeout: Duration) -> Result<Said> {
        let mut ready = vec![
            PollFd::new(&self.child_ended.0, PollFlags::IN),
            PollFd::new(&self.control, PollFlags::IN),
        ];
        ready.extend(
            self.feed
                .as_ref()
                .map(|feed| PollFd::new(&feed.stdin, PollFlags::OUT)),
        );
        let timeout = Timespec::try_from(timeout).ok();
        match poll(&mut ready, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [child_ended, spoken] = [0, 1].map(|at| !ready[at].revents().is_empty());
        let hungry = ready.get(2).is_some_and(|pipe| !pipe.revents().is_empty());
        if child_ended {
            self.child_ended.clear();
        }
        if hungry && !self.feed.as_mut().is_some_and(Feed::go_on) {
            self.feed = None;
        }
        Ok(if spoken { self.listen() } else { Said::Nothing })
    }

    fn listen(&mut self) -> Said {
        let mut words = [0; 256];
        match self.control.read(&mut words) {
            Ok(0) => Said::Gone,
            Ok(count) if words[..count].contains(&STOP) => Said::Stop,
            Ok(_) => Said::StillOurs,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                Said::Nothing
            }
            Err(_) => Said::Gone,
        }
    }

    /// Ends everything and reports. What even SIGKILL doesn't end (a dead network disk, another
    /// user's process) is reported, and tried for as long as it takes.
    fn end_all(mut self, reason: Reason, order: &Order) -> Result<()> {
        self.feed = None;
        if reason == Reason::Itself {
            self.let_linger()?;
        }
        let grace = Duration::from_millis(match reason {
            Reason::Abandoned => order.orphan_grace_ms,
            Reason::Itself | Reason::TimedOut | Reason::Stopped => order.grace_ms,
        });
        let kill_at = Instant::now() + grace;
        let survivors = self.end_until(kill_at, Some(kill_at + REPORT_SURVIVORS_AFTER))?;
        let report = Report::Ended {
            reason,
            wait_status: self.wait_status.unwrap_or(0),
            leftovers: self
                .signalled
                .iter()
                .filter(|one| one.pid != self.command)
                .count(),
            survivors,
        };
        self.control.set_nonblocking(false)?;
        // A dead executor needs no report.
        let _ = protocol::send(&mut self.control, &report);
        if survivors > 0 {
            self.end_until(kill_at, None)?;
        }
        Ok(())
    }

    /// Until nothing is left, or the time for that is up.
    fn let_linger(&mut self) -> Result<()> {
        let until = Instant::now() + LINGER;
        while !matches!(self.reap(), Look::Childless) {
            let rest = until.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                break;
            }
            self.pause(rest)?;
        }
        Ok(())
    }

    /// SIGTERM for each descendant once, SIGKILL for all from `kill_at` on, until none is left or
    /// the time is up; how many are left. What is killed forks no more, so that each round leaves
    /// only what was born during it.
    fn end_until(&mut self, kill_at: Instant, give_up_at: Option<Instant>) -> Result<usize> {
        let mut pause = FIRST_PAUSE;
        let longest_pause = give_up_at.map_or(PAUSE_AFTER_REPORT, |_| LONGEST_PAUSE);
        loop {
            let childless = matches!(self.reap(), Look::Childless);
            if childless && cfg!(target_os = "linux") {
                return Ok(0);
            }
            let running = descendants::below(Some(self.command), &[]);
            if childless && running.is_empty() {
                return Ok(0);
            }
            let now = Instant::now();
            if give_up_at.is_some_and(|give_up_at| now >= give_up_at) {
                // A child that /proc hides (another user's) is one all the same.
                return Ok(running.len().max(1));
            }
            for one in running {
                let first = self.signalled.insert(one);
                if now >= kill_at {
                    descendants::signal(one, Signal::KILL);
                } else if first && descendants::signal(one, Signal::TERM) {
                    // A stopped process gets SIGTERM only once it goes on.
                    descendants::signal(one, Signal::CONT);
                }
            }
            let until_kill = kill_at.saturating_duration_since(now);
            let longest = if until_kill.is_zero() {
                pause
            } else {
                pause.min(until_kill)
            };
            self.pause(longest)?;
            pause = (pause * 2).min(longest_pause);
        }
    }

    /// Until a child of ours ends, or the time is up.
    fn pause(&mut self, longest: Duration) -> Result<()> {
        let timeout = Timespec::try_from(longest).ok();
        match poll(
            &mut [PollFd::new(&self.child_ended.0, PollFlags::IN)],
            timeout.as_ref(),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.child_ended.clear();
        Ok(())
    }
}

/// What the executor said since the last look.
enum Said {
    Nothing,
    StillOurs,
    Stop,
    /// It is dead.
    Gone,
}
