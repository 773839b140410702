//! The processes below this one: found, signalled, reaped, until none is left.
//!
//! Invariant: nobody who isn't below us is ever signalled. A process is signalled through a pidfd
//! and only while its start time is the one that was scanned, so a recycled id is safe.
//!
//! As a subreaper (Linux) we become the parent of whatever loses its own parent below us, so
//! leaving the group or the session (setsid, a double fork) hides nothing. Other systems have no
//! such thing: there only the command's own process group is reached.
//!
//! What does not belong here: when to end anything, and who is told.

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};

/// One process below us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Descendant {
    /// Its id.
    pub pid: Pid,
    /// When it started, in clock ticks since boot: with the id it names one process for good.
    pub started: u64,
}

/// A child of ours that has ended and was reaped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reaped {
    /// Which.
    pub pid: Pid,
    /// How it ended, as wait(2) says it.
    pub wait_status: i32,
}

/// One look at our children.
#[derive(Debug)]
pub(super) enum Look {
    /// This one had ended.
    Reaped(Reaped),
    /// There are some, all running.
    Running,
    /// There is none at all, so no other descendant either.
    Childless,
}

/// Reaps one child that has ended, whichever.
pub(super) fn reap() -> Look {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                return Look::Reaped(Reaped {
                    pid,
                    wait_status: status.as_raw(),
                });
            }
            Ok(None) => return Look::Running,
            Err(Errno::INTR) => {}
            Err(_) => return Look::Childless,
        }
    }
}

#[cfg(target_os = "linux")]
pub(super) use linux::{become_reaper, below, die_with_parent, signal, zombies};
#[cfg(not(target_os = "linux"))]
pub(super) use other::{become_reaper, below, die_with_parent, signal, zombies};

#[cfg(target_os = "linux")]
mod linux {
    use super::{Descendant, Errno, Pid, Signal};
    use rustix::process::{self, PidfdFlags};
    use std::collections::HashMap;

    /// From now on, orphans below us become our children.
    pub(in super::super) fn become_reaper() -> std::io::Result<()> {
        Ok(process::set_child_subreaper(Some(process::getpid()))?)
    }

    /// Called in a child before it becomes another program: SIGKILL when `parent` dies. A second
    /// net only: it is lost in set-user-id programs, and no grandchild has it.
    pub(in super::super) fn die_with_parent(parent: Pid) -> std::io::Result<()> {
        process::set_parent_process_death_signal(Some(Signal::KILL))?;
        if process::getppid() == Some(parent) {
            Ok(())
        } else {
            Err(Errno::SRCH.into())
        }
    }

    /// Everything that runs below us, but for the children in `except` and what is below those.
    /// Zombies don't run.
    pub(in super::super) fn below(_command: Option<Pid>, except: &[Pid]) -> Vec<Descendant> {
        let mut children: HashMap<Pid, Vec<Seen>> = HashMap::new();
        for seen in processes() {
            children.entry(seen.parent).or_default().push(seen);
        }
        let mut found = Vec::new();
        let mut parents = vec![process::getpid()];
        while let Some(parent) = parents.pop() {
            for child in children.remove(&parent).unwrap_or_default() {
                if except.contains(&child.itself.pid) {
                    continue;
                }
                parents.push(child.itself.pid);
                if child.runs {
                    found.push(child.itself);
                }
            }
        }
        found
    }

    /// Children of ours that have ended and that nobody has waited for.
    pub(in super::super) fn zombies() -> Vec<Pid> {
        let ours = process::getpid();
        let ended = processes().filter(|seen| seen.parent == ours && !seen.runs);
        ended.map(|seen| seen.itself.pid).collect()
    }

    /// Sends a signal; `false` when the process has ended meanwhile.
    pub(in super::super) fn signal(to: Descendant, signal: Signal) -> bool {
        match process::pidfd_open(to.pid, PidfdFlags::empty()) {
            Ok(pidfd) => {
                is_current(to) && !matches!(process::pidfd_send_signal(&pidfd, signal), Err(Errno::SRCH))
            }
            Err(Errno::SRCH) => false,
            // A kernel before 5.3, or a sandbox that forbids it, or no descriptor left.
            Err(_) => is_current(to) && process::kill_process(to.pid, signal) != Err(Errno::SRCH),
        }
    }

    struct Seen {
        itself: Descendant,
        parent: Pid,
        runs: bool,
    }

    fn is_current(one: Descendant) -> bool {
        seen(one.pid).is_some_and(|seen| seen.itself == one && seen.runs)
    }

    fn processes() -> impl Iterator<Item = Seen> {
        std::fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(|pid| seen(Pid::from_raw(pid)?))
    }

    fn seen(pid: Pid) -> Option<Seen> {
        let stat = std::fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        // The name is in parentheses and may hold any byte, more parentheses too.
        let after_name = stat.iter().rposition(|&byte| byte == b')')? + 1;
        let rest = std::str::from_utf8(&stat[after_name..]).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?;
        let parent = Pid::from_raw(fields.next()?.parse().ok()?)?;
        // Field 22 of proc(5); state is field 3, and two are taken.
        let started = fields.nth(17)?.parse().ok()?;
        Some(Seen {
            itself: Descendant { pid, started },
            parent,
            runs: !matches!(state, "Z" | "X"),
        })
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use super::{Descendant, Pid, Signal};
    use rustix::process;

    /// There is no such thing here; the process group has to do.
    pub(in super::super) fn become_reaper() -> std::io::Result<()> {
        Ok(())
    }

    /// There is no such thing here.
    pub(in super::super) fn die_with_parent(_parent: Pid) -> std::io::Result<()> {
        Ok(())
    }

    /// The command's process group as one, where anything of it is left.
    pub(in super::super) fn below(command: Option<Pid>, _except: &[Pid]) -> Vec<Descendant> {
        command
            .filter(|group| process::test_kill_process_group(*group).is_ok())
            .map(|pid| Descendant { pid, started: 0 })
            .into_iter()
            .collect()
    }

    /// Nobody is process 1 here.
    pub(in super::super) fn zombies() -> Vec<Pid> {
        Vec::new()
    }

    /// Sends a signal to a process group; `false` when nothing is left of it.
    pub(in super::super) fn signal(to: Descendant, signal: Signal) -> bool {
        process::kill_process_group(to.pid, signal).is_ok()
    }
}
