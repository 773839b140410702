//! A command as it looks on a terminal of a given size.

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::process::{Command, Stdio};

/// What was printed on the terminal, and the exit code.
pub(crate) struct Seen {
    pub(crate) code: Option<i32>,
    /// With colours.
    pub(crate) raw: String,
}

impl Seen {
    /// The lines without colours and without what a progress bar wrote over.
    pub(crate) fn lines(&self) -> Vec<String> {
        let plain = anstream::adapter::strip_str(&self.raw).to_string();
        plain
            .lines()
            .map(|line| line.rsplit('\r').next().unwrap_or(line).to_owned())
            .collect()
    }

    /// The command must have ended with this code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "printed:\n{}", self.raw);
        self
    }
}

/// Runs a command to its end on a terminal of this size.
pub(crate) fn on_terminal(command: &mut Command, columns: u16, lines: u16) -> Seen {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let size = Winsize {
        ws_row: lines,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let theirs = OpenOptions::new().read(true).write(true).open(name).unwrap();
    tcsetwinsize(&theirs, size).unwrap();
    let end = |file: &File| Stdio::from(file.try_clone().unwrap());
    let mut child = command
        .env("TERM", "xterm-256color")
        .env_remove("NO_COLOR")
        .stdin(end(&theirs))
        .stdout(end(&theirs))
        .stderr(end(&theirs))
        .spawn()
        .unwrap();
    // The command holds copies of the other end until it is spawned anew.
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    drop(theirs);
    let raw = read_all(File::from(ours));
    Seen {
        code: child.wait().unwrap().code(),
        raw: raw.replace("\r\n", "\n"),
    }
}

/// Until nobody has the other end open any more: Linux says EIO then.
fn read_all(mut ours: File) -> String {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4_096]);
    loop {
        match ours.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => bytes.extend(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
                break;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
