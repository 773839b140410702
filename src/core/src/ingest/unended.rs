//! A line over the limit, or a run of NUL bytes, that has no end yet: where it was left.
//!
//! Its checkpoint stands at its beginning until its end is certain, so that nothing of it is counted too
//! early. Whoever looks often keeps this between two looks and reads only what was added: without it a
//! gigabyte that is written in small pieces would be read from its beginning at each of them. It is a
//! hint, kept in memory: where the file is no longer what it was, the line is read from its beginning.

use super::file::LogFile;
use crate::error::Result;

/// What a call has seen of it; a later call on the same file goes on from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unended {
    /// NUL bytes, not a line.
    pub(super) nuls: bool,
    /// Where it begins.
    pub(super) offset: u64,
    /// Everything before is read, and its end is not there.
    pub(super) read_to: u64,
    /// What stands before it.
    pub(super) before: Vec<u8>,
    /// Its first bytes.
    pub(super) sample: Vec<u8>,
    /// The last ones that were read.
    pub(super) last: Vec<u8>,
}

impl Unended {
    /// Whether a log that was read up to `offset` still has it there. What was cut off and has grown
    /// again has other bytes at one of the three places.
    pub(super) fn is_in(&self, log: &LogFile, offset: u64) -> Result<bool> {
        let first_end = offset + self.sample.len() as u64;
        Ok(self.offset == offset
            && self.read_to <= log.size_bytes
            && log.read_before(offset, self.before.len())? == self.before
            && log.read_before(first_end, self.sample.len())? == self.sample
            && log.read_before(self.read_to, self.last.len())? == self.last)
    }
}
