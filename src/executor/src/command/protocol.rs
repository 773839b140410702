//! What executor and supervisor say to each other, over one socket pair.
//!
//! The executor sends an [`Order`], the child's standard input as raw bytes, then single bytes:
//! [`STILL_OURS`] now and then, [`STOP`] at most once. The supervisor answers with one [`Report`] when
//! nothing of the command runs any more. The end of the stream means, to either side, that the other
//! one is dead. Both ends are the same binary (`/proc/self/exe`), so there are no versions.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io::{Error, ErrorKind, Read, Result, Write};

/// The executor lives, and the step is its own.
pub(super) const STILL_OURS: u8 = b'r';
/// End the command now.
pub(super) const STOP: u8 = b's';

/// What to run. It travels here and not on a command line, where everybody could read it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The child's whole environment.
    pub env: Vec<(String, String)>,
    /// Its working directory.
    pub cwd: OsString,
    /// How long it may run.
    pub timeout_ms: u64,
    /// How long the executor may be silent.
    pub silence_ms: u64,
    /// How long descendants have between SIGTERM and SIGKILL.
    pub grace_ms: u64,
    /// The same when the executor is dead or silent: its lease runs out meanwhile.
    pub orphan_grace_ms: u64,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Report {
    /// The program could not be started, by this error number.
    NotStarted {
        /// Of the operating system; 0 when it has none for this.
        errno: i32,
    },
    /// It ran, and has ended.
    Ended {
        /// Why.
        reason: Reason,
        /// The command's own status, as wait(2) gives it.
        wait_status: i32,
        /// Processes that it left, which were ended.
        leftovers: usize,
        /// Processes that even SIGKILL has not ended yet.
        survivors: usize,
    },
}

/// Why a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Reason {
    /// By itself.
    Itself,
    /// Its time was up.
    TimedOut,
    /// The executor asked for it.
    Stopped,
    /// The executor was silent for too long, or is dead.
    Abandoned,
}

/// More than any order can be: the system's own limit for arguments and environment is lower.
const FRAME_LIMIT_BYTES: usize = 64 << 20;

/// Sends one message.
pub(super) fn send(to: &mut impl Write, message: &impl Serialize) -> Result<()> {
    send_bytes(to, &serde_json::to_vec(message)?)
}

/// Sends bytes, their number first.
pub(super) fn send_bytes(to: &mut impl Write, bytes: &[u8]) -> Result<()> {
    let too_long = || Error::new(ErrorKind::InvalidInput, "the input of the command is too long");
    let count = u32::try_from(bytes.len()).map_err(|_| too_long())?;
    if bytes.len() > FRAME_LIMIT_BYTES {
        return Err(too_long());
    }
    // In one piece: each piece would wake the other side once.
    to.write_all(&[&count.to_le_bytes(), bytes].concat())
}

/// Receives one message.
pub(super) fn receive<T: DeserializeOwned>(from: &mut impl Read) -> Result<T> {
    Ok(serde_json::from_slice(&receive_bytes(from)?)?)
}

/// Receives bytes sent by [`send_bytes`].
pub(super) fn receive_bytes(from: &mut impl Read) -> Result<Vec<u8>> {
    let mut count = [0; 4];
    from.read_exact(&mut count)?;
    let count = u32::from_le_bytes(count) as usize;
    if count > FRAME_LIMIT_BYTES {
        return Err(Error::from(ErrorKind::InvalidData));
    }
    let mut bytes = vec![0; count];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}
