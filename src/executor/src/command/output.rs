//! The two outputs of a command, taken as they come: the end of both for people, the last line of
//! standard output for the steps after it.
//!
//! Each is a pipe of its own, so that a warning on standard error can't hide a result. In the end that
//! is kept, what was printed to standard error stands after what was printed to standard output before
//! it; the other way round only where the command pauses in between.

use super::last_line::{LastLine, LastLineReader};
use super::tail::Tail;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{ErrorKind, PipeReader, PipeWriter, Read, Result};

/// What a command prints.
#[derive(Debug)]
pub(super) struct Output {
    stdout: Option<PipeReader>,
    stderr: Option<PipeReader>,
    tail: Tail,
    last_line: LastLineReader,
}

/// Where it prints to.
pub(super) struct Writers {
    pub(super) stdout: PipeWriter,
    pub(super) stderr: PipeWriter,
}

impl Output {
    /// Nothing yet; `limit_bytes` of the end are kept.
    pub(super) fn open(limit_bytes: usize) -> Result<(Self, Writers)> {
        let (stdout, stdout_writer) = std::io::pipe()?;
        let (stderr, stderr_writer) = std::io::pipe()?;
        rustix::io::ioctl_fionbio(&stdout, true)?;
        rustix::io::ioctl_fionbio(&stderr, true)?;
        let output = Self {
            stdout: Some(stdout),
            stderr: Some(stderr),
            tail: Tail::new(limit_bytes),
            last_line: LastLineReader::default(),
        };
        let writers = Writers {
            stdout: stdout_writer,
            stderr: stderr_writer,
        };
        Ok((output, writers))
    }

    /// What to wait for.
    pub(super) fn to_poll(&self) -> impl Iterator<Item = PollFd<'_>> {
        let pipes = [&self.stdout, &self.stderr].into_iter().flatten();
        pipes.map(|pipe| PollFd::new(pipe, PollFlags::IN))
    }

    /// One read of each, so that a flood never keeps us from looking after the step; the bytes, 0
    /// when there is nothing.
    pub(super) fn take(&mut self) -> usize {
        // Asked before standard output is read: what was printed there before the error is in the pipe
        // now, and a pipe holds no more than the buffer.
        let has_errors = self.stderr.as_ref().is_some_and(is_readable);
        let mut buffer = [0; 65_536];
        let from_stdout = read(&mut self.stdout, &mut buffer);
        self.tail.push(&buffer[..from_stdout]);
        self.last_line.push(&buffer[..from_stdout]);
        if !has_errors {
            return from_stdout;
        }
        let from_stderr = read(&mut self.stderr, &mut buffer);
        self.tail.push(&buffer[..from_stderr]);
        from_stdout + from_stderr
    }

    /// The end of everything that was printed.
    pub(super) fn tail(&mut self) -> String {
        self.tail.text()
    }

    /// The last line of standard output.
    pub(super) fn last_line(&self) -> LastLine {
        self.last_line.finish()
    }
}

fn is_readable(pipe: &PipeReader) -> bool {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
}

/// One read; a pipe that is at its end is closed.
fn read(pipe: &mut Option<PipeReader>, buffer: &mut [u8]) -> usize {
    let Some(reader) = pipe else {
        return 0;
    };
    match reader.read(buffer) {
        Ok(count @ 1..) => count,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
        _ => {
            *pipe = None;
            0
        }
    }
}
