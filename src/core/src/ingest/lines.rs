//! A log cut into lines, in bounded memory, whatever stands in it.
//!
//! A chunk is given out only when its end is certain, so that the chunks of a file don't depend on
//! how it grew between calls. What waits for its end is pending.

use super::IngestOptions;
use super::file::{HEAD_BYTES, LogFile};
use super::reading::TAIL_BYTES;
use super::unended::Unended;
use crate::error::{Error, Result};
use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

/// Enough for a batch of ordinary lines; larger only where one line may be larger.
const BUFFER_BYTES: usize = 8 << 20;

/// So much of a skipped line is kept for its reject.
const SAMPLE_BYTES: usize = 1024;

/// A piece of the file whose end is certain.
#[derive(Debug)]
pub(super) struct Chunk<'a> {
    /// Where it stands.
    pub(super) extent: Extent,
    /// What it is.
    pub(super) content: Content<'a>,
}

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Where it begins.
    pub(super) offset: u64,
    /// Its bytes, newline included.
    pub(super) length: u64,
}

/// What a chunk is.
#[derive(Debug)]
pub(super) enum Content<'a> {
    /// A line without its newline.
    Line(&'a [u8]),
    /// A line over the limit; only its beginning was kept.
    TooLong(&'a [u8]),
    /// NUL bytes before a line or an end: what a crash leaves of a tail that was never written. They
    /// are a chunk of their own so that the line glued to them is not lost.
    Nuls,
}

/// What is being skipped, until its end comes into sight.
struct Skip {
    nuls: bool,
    offset: u64,
    /// What stands before it: the buffer goes on without.
    tail: Vec<u8>,
}

enum Shape {
    Line(Range<usize>),
    TooLong,
    Nuls,
}

/// Reads a log from an offset to the end that it had when it was opened.
pub(super) struct LineReader {
    file: File,
    path: PathBuf,
    limit: u64,
    max_line_bytes: usize,
    finalise: bool,
    buffer: Vec<u8>,
    /// From here to `unread` the buffer holds what stands before it in the file.
    before: usize,
    /// What of the buffer is not yet given out.
    unread: Range<usize>,
    /// Offset in the file of the byte after the buffer.
    read_to: u64,
    ended: bool,
    skip: Option<Skip>,
    sample: Vec<u8>,
    /// So much was skipped by this reader, and when that is enough.
    skipped_bytes: u64,
    skip_at_most_bytes: u64,
    /// Where another reader has left a line that had no end.
    unended: Option<Unended>,
    /// The beginning of the file that was opened.
    head: Vec<u8>,
}

impl LineReader {
    /// Before the first chunk: [`LineReader::start`].
    pub(super) fn new(file: File, log: &LogFile, options: &IngestOptions) -> Self {
        let capacity = options.max_line_bytes.saturating_add(2).max(BUFFER_BYTES);
        // A small file needs no more than its own size.
        let capacity =
            usize::try_from(log.size_bytes.saturating_add(1)).map_or(capacity, |size| capacity.min(size));
        let capacity = capacity + TAIL_BYTES;
        Self {
            file,
            path: log.given().to_path_buf(),
            limit: log.size_bytes,
            max_line_bytes: options.max_line_bytes,
            finalise: options.finalise,
            buffer: vec![0; capacity],
            before: 0,
            unread: 0..0,
            read_to: 0,
            ended: false,
            skip: None,
            sample: Vec::new(),
            skipped_bytes: 0,
            skip_at_most_bytes: options.skip_at_most_bytes,
            unended: options.unended.clone(),
            head: log.head.clone(),
        }
    }

    /// Offset of the first byte that was not given out.
    pub(super) fn offset(&self) -> u64 {
        match &self.skip {
            Some(skip) => skip.offset,
            None => self.read_to - self.unread.len() as u64,
        }
    }

    /// Bytes read but not given out.
    pub(super) fn pending(&self) -> u64 {
        self.read_to - self.offset()
    }

    /// What waits for the end of its line, or the beginning of it.
    pub(super) fn rest(&self) -> &[u8] {
        match &self.skip {
            Some(_) => &self.sample,
            None => &self.buffer[self.unread.clone()],
        }
    }

    /// Whether nothing is left to read.
    pub(super) fn at_end(&self) -> bool {
        self.ended
    }

    /// What stands before [`LineReader::offset`], at most [`TAIL_BYTES`].
    pub(super) fn tail(&self) -> &[u8] {
        if let Some(skip) = &self.skip {
            return &skip.tail;
        }
        let end = self.unread.start;
        &self.buffer[self.before.max(end.saturating_sub(TAIL_BYTES))..end]
    }

    /// Goes on from an offset of the log, up to which it was read; in a line that had no end, from where
    /// that was left.
    pub(super) fn start(&mut self, log: &LogFile, offset: u64) -> Result<()> {
        match self.unended.take() {
            Some(left) if left.is_in(log, offset)? => {
                self.seek(left.read_to, &left.last)?;
                self.sample = left.sample;
                self.skip = Some(Skip {
                    nuls: left.nuls,
                    offset,
                    tail: left.before,
                });
            }
            _ => self.seek(offset, &log.read_before(offset, TAIL_BYTES)?)?,
        }
        self.fill()
    }

    /// Where a line that is being skipped is left, for another reader.
    pub(super) fn unended(&self, log: &LogFile) -> Result<Option<Unended>> {
        let Some(skip) = &self.skip else {
            return Ok(None);
        };
        Ok(Some(Unended {
            nuls: skip.nuls,
            offset: skip.offset,
            read_to: self.read_to - self.unread.len() as u64,
            before: skip.tail.clone(),
            sample: self.sample.clone(),
            last: log.read_before(self.read_to - self.unread.len() as u64, TAIL_BYTES)?,
        }))
    }

    /// Whether the rest of the line that is being skipped is for a further call.
    pub(super) fn has_skipped_enough(&self) -> bool {
        self.skip.is_some() && self.skipped_bytes >= self.skip_at_most_bytes
    }

    /// Goes on from another offset; `before` are bytes of the file that end there.
    pub(super) fn seek(&mut self, offset: u64, before: &[u8]) -> Result<()> {
        self.file
            .seek(SeekFrom::Start(offset))
            .map_err(|source| Error::io("read the event log", &self.path, source))?;
        let kept = before.len().min(TAIL_BYTES);
        self.buffer[..kept].copy_from_slice(&before[before.len() - kept..]);
        self.before = 0;
        self.unread = kept..kept;
        self.read_to = offset;
        self.ended = false;
        self.skip = None;
        Ok(())
    }

    /// Whether so much was given out that filling the buffer is worth moving what is left in it.
    pub(super) fn is_low(&self) -> bool {
        !self.ended && self.unread.start > self.buffer.len() / 4
    }

    /// Fills the buffer; while something is being skipped, up to its end, or until that is enough. Of a
    /// file that was cut or rewritten in the meantime nothing more is given out: what was read may be of
    /// another file.
    pub(super) fn fill(&mut self) -> Result<()> {
        loop {
            self.fill_once()?;
            if self.ended || self.skip.is_none() || self.end_of_skip().is_some() {
                break;
            }
            self.skipped_bytes += self.unread.len() as u64;
            self.unread.start = self.unread.end;
            if self.has_skipped_enough() {
                break;
            }
            self.jump_over_hole()?;
        }
        if !self.is_still_the_file()? {
            self.read_to = self.offset();
            self.skip = None;
            self.unread = self.unread.start..self.unread.start;
            self.before = self.unread.start;
            self.ended = true;
        }
        Ok(())
    }

    /// Asked after reading, so that what changes later has done no harm.
    fn is_still_the_file(&self) -> Result<bool> {
        let mut head = [0; HEAD_BYTES];
        let head = &mut head[..self.head.len()];
        match self.file.read_exact_at(head, 0) {
            Ok(()) if *head != *self.head => return Ok(false),
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
            Err(source) => return Err(Error::io("read the event log", &self.path, source)),
        }
        let now = self.file.metadata();
        let now = now.map_err(|source| Error::io("look at the event log", &self.path, source))?;
        // Somebody who has read further than we were to is no sign of anything.
        Ok(now.len() >= self.read_to.min(self.limit))
    }

    /// What is being skipped ends at a newline or at a byte that is not NUL, and neither is in a hole
    /// of the file: terabytes that nobody has written are not read. Only with an empty buffer.
    fn jump_over_hole(&mut self) -> Result<()> {
        use rustix::fs::SeekFrom as Seek;
        let data = match rustix::fs::seek(&self.file, Seek::Data(self.read_to)) {
            Ok(data) => data,
            Err(rustix::io::Errno::NXIO) => self.limit,
            // A file system that can't tell holes.
            Err(_) => self.read_to,
        };
        let next = data.clamp(self.read_to, self.limit.max(self.read_to));
        if next > self.read_to {
            self.before = self.unread.start;
        }
        self.read_to = next;
        self.file
            .seek(SeekFrom::Start(self.read_to))
            .map_err(|source| Error::io("read the event log", &self.path, source))?;
        Ok(())
    }

    fn fill_once(&mut self) -> Result<()> {
        let from = self.before.max(self.unread.start.saturating_sub(TAIL_BYTES));
        self.buffer.copy_within(from..self.unread.end, 0);
        self.before = 0;
        self.unread = self.unread.start - from..self.unread.end - from;
        while !self.ended && self.unread.end < self.buffer.len() {
            let left = self.limit.saturating_sub(self.read_to);
            let room = self.buffer.len() - self.unread.end;
            let want = usize::try_from(left).map_or(room, |left| room.min(left));
            let target = &mut self.buffer[self.unread.end..self.unread.end + want];
            match self.file.read(target) {
                // The end that we know of, or the file was cut while we read.
                Ok(0) => self.ended = true,
                Ok(got) => {
                    self.unread.end += got;
                    self.read_to += got as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::io("read the event log", &self.path, source)),
            }
        }
        Ok(())
    }

    /// The next chunk, or `None` until the buffer is filled again (or for good, at the end).
    pub(super) fn next_chunk(&mut self) -> Option<Chunk<'_>> {
        let offset = self.offset();
        let shape = self.advance()?;
        let length = self.offset() - offset;
        let content = match shape {
            Shape::Line(range) => Content::Line(&self.buffer[range]),
            Shape::TooLong => Content::TooLong(&self.sample),
            Shape::Nuls => Content::Nuls,
        };
        let extent = Extent { offset, length };
        Some(Chunk { extent, content })
    }

    fn advance(&mut self) -> Option<Shape> {
        if self.skip.is_some() {
            return self.finish_skip();
        }
        let bytes = &self.buffer[self.unread.clone()];
        if *bytes.first()? == 0 {
            self.begin_skip(true);
            return self.finish_skip();
        }
        let start = self.unread.start;
        let (length, taken) = match newline(bytes) {
            Some(length) => (length, length + 1),
            None => (bytes.len(), bytes.len()),
        };
        if length > self.max_line_bytes {
            self.begin_skip(false);
            return self.finish_skip();
        }
        let whole = taken > length || (self.ended && self.finalise);
        if !whole {
            return None;
        }
        self.unread.start += taken;
        Some(Shape::Line(start..start + length))
    }

    fn begin_skip(&mut self, nuls: bool) {
        let bytes = &self.buffer[self.unread.clone()];
        self.sample.clear();
        self.sample
            .extend_from_slice(&bytes[..bytes.len().min(SAMPLE_BYTES)]);
        self.skip = Some(Skip {
            nuls,
            offset: self.offset(),
            tail: self.tail().to_vec(),
        });
    }

    fn finish_skip(&mut self) -> Option<Shape> {
        let end = self.end_of_skip();
        self.unread.start += end.unwrap_or(self.unread.len());
        if end.is_none() && !(self.ended && self.finalise) {
            return None;
        }
        let skip = self.skip.take()?;
        Some(if skip.nuls { Shape::Nuls } else { Shape::TooLong })
    }

    /// How much of the buffer still belongs to what is skipped, if its end is there.
    fn end_of_skip(&self) -> Option<usize> {
        let bytes = &self.buffer[self.unread.clone()];
        if self.skip.as_ref()?.nuls {
            bytes.iter().position(|byte| *byte != 0)
        } else {
            newline(bytes).map(|length| length + 1)
        }
    }
}

/// Bytes before the first newline.
fn newline(bytes: &[u8]) -> Option<usize> {
    memchr::memchr(b'\n', bytes)
}
