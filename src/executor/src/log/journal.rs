//! journald's own protocol: one datagram of fields for each entry, so that `journalctl
//! RUNCHAIN_RUN_ID=run-42` finds it.

use super::Entry;
use super::form::priority;
use std::io::{self, Error, ErrorKind};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixDatagram;

const SOCKET: &str = "/run/systemd/journal/socket";

/// A connected socket.
#[derive(Debug)]
pub(super) struct Journal(UnixDatagram);

impl Journal {
    /// The journal, if it is what reads this stream: `JOURNAL_STREAM` names the stream's device and inode.
    pub(super) fn behind(stream: BorrowedFd<'_>) -> Option<Self> {
        let named = std::env::var("JOURNAL_STREAM").ok()?;
        let found = rustix::fs::fstat(stream).ok()?;
        (named == format!("{}:{}", found.st_dev, found.st_ino))
            .then(Self::open)?
            .ok()
    }

    /// Whatever listens.
    pub(super) fn open() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(SOCKET)?;
        // A journal that is stopped must not stop us.
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    /// Sends an entry, or fails where it is too long for a datagram.
    pub(super) fn send(&self, entry: &Entry<'_>, instance: &str) -> io::Result<()> {
        let message = fields(entry, instance);
        match self.0.send(&message)? {
            sent if sent == message.len() => Ok(()),
            _ => Err(Error::new(ErrorKind::WriteZero, "the journal took a part only")),
        }
    }
}

fn fields(entry: &Entry<'_>, instance: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    field(&mut bytes, "MESSAGE", entry.text);
    field(&mut bytes, "PRIORITY", &priority(entry.level).to_string());
    field(&mut bytes, "SYSLOG_IDENTIFIER", "runchain");
    field(&mut bytes, "RUNCHAIN_INSTANCE", instance);
    if let Some(run_id) = entry.run_id {
        field(&mut bytes, "RUNCHAIN_RUN_ID", &run_id.0);
    }
    if let Some(step) = entry.step {
        field(&mut bytes, "RUNCHAIN_STEP", step);
    }
    bytes
}

/// `NAME=value`, or where the value has a newline its length before it.
fn field(bytes: &mut Vec<u8>, name: &str, value: &str) {
    bytes.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        bytes.push(b'\n');
        bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        bytes.push(b'=');
    }
    bytes.extend_from_slice(value.as_bytes());
    bytes.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Level;
    use runchain_core::RunId;

    #[test]
    fn a_run_id_with_a_newline_adds_no_field() {
        let run_id = RunId("a\nPRIORITY=0".to_owned());
        let entry = Entry {
            level: Level::Error,
            text: "dead",
            run_id: Some(&run_id),
            step: None,
        };
        assert_eq!(
            fields(&entry, "orders"),
            b"MESSAGE=dead\nPRIORITY=3\nSYSLOG_IDENTIFIER=runchain\nRUNCHAIN_INSTANCE=orders\n\
              RUNCHAIN_RUN_ID\n\x0c\0\0\0\0\0\0\0a\nPRIORITY=0\n"
        );
    }
}
