//! Steps that are somebody's own command: started without a shell, bounded in time and output.
//!
//! The child gets a process group of its own, so that a timeout reaches its children too; what
//! leaves the group on purpose (setsid) is not reached here. Only the configuration file says what
//! runs: nothing from the database becomes a program, an option or a path.

use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How often a running child is looked after: is its step still ours, is its time up?
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);
/// How long output is awaited once the child itself has ended: a grandchild may hold the pipe.
const DRAIN: Duration = Duration::from_secs(1);

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
}

/// What a command left.
#[derive(Debug, Clone)]
pub(crate) struct Finished {
    /// How it ended.
    pub ending: Ending,
    /// The end of standard output and standard error, as they came.
    pub output_tail: String,
}

/// The process groups of the commands that run now, so that an executor that ends at once takes
/// them along.
#[derive(Debug, Default)]
pub(crate) struct Groups(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    running: Vec<Pid>,
    over: bool,
}

impl Groups {
    /// Kills all of them, and every one that is begun from now on.
    pub(crate) fn end_all(&self) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.over = true;
        for group in &held.running {
            // ESRCH: it has ended by itself.
            let _ = kill_process_group(*group, Signal::KILL);
        }
    }

    fn enter(&self, group: Pid) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.over {
            let _ = kill_process_group(group, Signal::KILL);
        } else {
            held.running.push(group);
        }
    }

    fn leave(&self, group: Pid) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.running.retain(|one| *one != group);
    }
}

/// Fills `{name}` in the words of a configured command. An argument that only by its value would
/// begin with a dash is refused, since the command would read a run's id as an option.
///
/// # Errors
/// The reason, with what to write instead.
pub(crate) fn fill(template: &[String], values: &[(&str, String)]) -> Result<Vec<String>, String> {
    template
        .iter()
        .map(|word| {
            let filled = fill_word(word, values)?;
            if filled.starts_with('-') && !word.starts_with('-') {
                return Err(format!(
                    "the argument {word:?} would become {filled:?}, which a command reads as an option; \
                     write --option={word} or use the environment variable RUNCHAIN_RUN_ID"
                ));
            }
            Ok(filled)
        })
        .collect()
}

/// One pass from left to right, so that a value that looks like a placeholder stays as it is.
pub(crate) fn fill_word(word: &str, values: &[(&str, String)]) -> Result<String, String> {
    let mut filled = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(at) = rest.find('{') {
        filled.push_str(&rest[..at]);
        rest = &rest[at..];
        let known = values
            .iter()
            .find(|(name, _)| rest[1..].starts_with(&format!("{name}}}")));
        let Some((name, value)) = known else {
            filled.push('{');
            rest = &rest[1..];
            continue;
        };
        if value.contains('\0') {
            return Err(format!(
                "{{{name}}} holds a NUL character, which no argument can carry"
            ));
        }
        filled.push_str(value);
        rest = &rest[name.len() + 2..];
    }
    filled.push_str(rest);
    Ok(filled)
}

/// Runs a command to its end. `go_on` is asked now and then; once it says no, the command is ended.
///
/// # Errors
/// When the program can't be started.
pub(crate) fn run(
    line: &CommandLine,
    stdin: Vec<u8>,
    groups: &Groups,
    go_on: &dyn Fn() -> bool,
) -> std::io::Result<Finished> {
    let Some((program, arguments)) = line.argv.split_first() else {
        return Err(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "the command is empty",
        ));
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(line.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&line.cwd)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn()?;
    let group = Pid::from_child(&child);
    groups.enter(group);
    let tail = Arc::new(Mutex::new(Tail::new(line.output_bytes)));
    let drained = drain(&mut child, &tail);
    feed(&mut child, stdin);
    let ending = watch(child, group, line.timeout, go_on);
    // Whatever it left behind in its group ends with it; ESRCH says that there is nothing.
    let _ = kill_process_group(group, Signal::KILL);
    groups.leave(group);
    let ending = ending?;
    let until = Instant::now() + DRAIN;
    while drained
        .recv_timeout(until.saturating_duration_since(Instant::now()))
        .is_ok()
    {}
    let output_tail = tail.lock().unwrap_or_else(PoisonError::into_inner).text();
    Ok(Finished { ending, output_tail })
}

fn watch(
    mut child: Child,
    group: Pid,
    timeout: Duration,
    go_on: &dyn Fn() -> bool,
) -> std::io::Result<Ending> {
    let (sender, ended) = channel();
    let waiter = thread::spawn(move || {
        // The receiver waits until this thread is joined.
        let _ = sender.send(child.wait());
    });
    let deadline = Instant::now() + timeout;
    let ending = loop {
        match ended.recv_timeout(LOOK_EVERY.min(deadline.saturating_duration_since(Instant::now()))) {
            Ok(status) => break Ending::Exited(status?),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(std::io::Error::other("nobody waits for the child"));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        let late = Instant::now() >= deadline;
        if late || !go_on() {
            end_group(group, &ended);
            break if late { Ending::TimedOut } else { Ending::Stopped };
        }
    };
    let _ = waiter.join();
    Ok(ending)
}

fn end_group(group: Pid, ended: &Receiver<std::io::Result<ExitStatus>>) {
    let _ = kill_process_group(group, Signal::TERM);
    if ended.recv_timeout(GRACE).is_err() {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Readers live until the pipes close; each sends once when it is through.
fn drain(child: &mut Child, tail: &Arc<Mutex<Tail>>) -> Receiver<()> {
    let (sender, receiver) = channel();
    let pipes: [Option<Box<dyn Read + Send>>; 2] = [
        child
            .stdout
            .take()
            .map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
        child
            .stderr
            .take()
            .map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
    ];
    for mut pipe in pipes.into_iter().flatten() {
        let (sender, tail) = (sender.clone(), Arc::clone(tail));
        thread::spawn(move || {
            let mut buffer = [0_u8; 8_192];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                tail.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(&buffer[..count]);
            }
            let _ = sender.send(());
        });
    }
    receiver
}

fn feed(child: &mut Child, stdin: Vec<u8>) {
    if let Some(mut pipe) = child.stdin.take() {
        // A child that doesn't read its input is no error; a thread, because a full pipe blocks.
        thread::spawn(move || {
            let _ = pipe.write_all(&stdin);
        });
    }
}

/// The last bytes of an output of any length.
#[derive(Debug)]
struct Tail {
    bytes: VecDeque<u8>,
    limit: usize,
    dropped: u64,
}

impl Tail {
    fn new(limit: usize) -> Self {
        Self {
            bytes: VecDeque::new(),
            limit,
            dropped: 0,
        }
    }

    fn push(&mut self, chunk: &[u8]) {
        self.bytes.extend(chunk);
        let over = self.bytes.len().saturating_sub(self.limit);
        self.bytes.drain(..over);
        self.dropped += over as u64;
    }

    fn text(&mut self) -> String {
        let text = String::from_utf8_lossy(self.bytes.make_contiguous());
        if self.dropped > 0 {
            format!("[{} bytes before this]\n{text}", self.dropped)
        } else {
            text.into_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(argv: &[&str]) -> CommandLine {
        CommandLine {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            cwd: std::env::temp_dir(),
            timeout: Duration::from_secs(20),
            output_bytes: 64,
        }
    }

    #[test]
    fn output_is_bounded_and_its_end_is_kept() {
        let finished = run(
            &line(&["sh", "-c", "seq 1 100000; echo last >&2"]),
            Vec::new(),
            &Groups::default(),
            &|| true,
        )
        .unwrap();
        assert!(matches!(finished.ending, Ending::Exited(status) if status.success()));
        assert!(
            finished.output_tail.contains("bytes before this"),
            "{}",
            finished.output_tail
        );
        assert!(finished.output_tail.len() < 128);
    }

    #[test]
    fn a_timeout_ends_the_whole_group() {
        let folder = tempfile::tempdir().unwrap();
        let witness = folder.path().join("grandchild");
        let script = format!("(trap '' TERM; sleep 60) & echo $! > {}; wait", witness.display());
        let mut line = line(&["sh", "-c", &script]);
        line.timeout = Duration::from_millis(300);
        let finished = run(&line, Vec::new(), &Groups::default(), &|| true).unwrap();
        assert_eq!(finished.ending, Ending::TimedOut);
        let grandchild: i32 = std::fs::read_to_string(&witness).unwrap().trim().parse().unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        while is_running(grandchild) {
            assert!(Instant::now() < until, "process {grandchild} outlived its step");
            thread::yield_now();
        }
    }

    /// A zombie that its new parent has yet to reap no longer runs.
    fn is_running(pid: i32) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
            !stat
                .rsplit(") ")
                .next()
                .is_some_and(|rest| rest.starts_with(['Z', 'X']))
        })
    }

    #[test]
    fn a_step_that_is_no_longer_ours_is_ended() {
        let finished = run(&line(&["sleep", "60"]), Vec::new(), &Groups::default(), &|| false).unwrap();
        assert_eq!(finished.ending, Ending::Stopped);
    }

    #[test]
    fn the_environment_is_what_is_listed_and_input_arrives() {
        let finished = run(
            &line(&["sh", "-c", "cat; env | sort | cut -d= -f1 | tr '\\n' ' '"]),
            b"hello ".to_vec(),
            &Groups::default(),
            &|| true,
        );
        let tail = finished.unwrap().output_tail;
        assert!(tail.starts_with("hello "), "{tail}");
        assert!(!tail.contains("CARGO"), "{tail}");
    }

    #[test]
    fn a_run_id_never_becomes_an_option_by_accident() {
        let values = |id: &str| vec![("run_id", id.to_owned())];
        let template = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let separate = template(&["tool", "--run", "{run_id}"]);
        let joined = template(&["tool", "--run={run_id}"]);
        assert_eq!(fill(&separate, &values("a b;$(x)")).unwrap()[2], "a b;$(x)");
        assert!(fill(&separate, &values("--help")).unwrap_err().contains("option"));
        assert_eq!(fill(&joined, &values("--help")).unwrap()[1], "--run=--help");
        assert!(fill(&joined, &values("a\0b")).unwrap_err().contains("NUL"));
        assert_eq!(
            fill(&template(&["tool", "{other}"]), &values("x")).unwrap()[1],
            "{other}"
        );
    }
}
