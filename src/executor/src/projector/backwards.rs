//! The lines of a file from its end, in bounded memory: places and heads, not contents.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const CHUNK_BYTES: usize = 64 * 1024;

/// Where a line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinePlace {
    /// Offset of its first byte.
    pub(crate) start: u64,
    /// Offset after its last byte, the newline not counted.
    pub(crate) end: u64,
    /// Whether it holds a NUL byte. JSON never does; a file that lost power does.
    pub(crate) has_nul: bool,
}

/// Walks from the end of a file to its start. The first line is what stands after the last newline:
/// the tail, empty in a file that ends as it should.
#[derive(Debug)]
pub(crate) struct Backwards<'a> {
    file: &'a File,
    chunk: Vec<u8>,
    chunk_start: u64,
    /// End of the line that is looked for next; `None` after the first line of the file.
    line_end: Option<u64>,
}

impl<'a> Backwards<'a> {
    /// Begins at `len_bytes`, the file's length.
    pub(crate) fn new(file: &'a File, len_bytes: u64) -> Self {
        Self {
            file,
            chunk: Vec::new(),
            chunk_start: len_bytes,
            line_end: Some(len_bytes),
        }
    }

    /// The next line towards the start of the file.
    pub(crate) fn next_line(&mut self) -> io::Result<Option<LinePlace>> {
        let Some(end) = self.line_end else {
            return Ok(None);
        };
        let mut has_nul = false;
        let mut search_end = end;
        loop {
            let known = usize::try_from(search_end - self.chunk_start).unwrap_or(usize::MAX);
            let bytes = &self.chunk[..known.min(self.chunk.len())];
            let newline = bytes.iter().rposition(|&byte| byte == b'\n');
            has_nul |= bytes[newline.map_or(0, |at| at + 1)..].contains(&0);
            if let Some(at) = newline {
                let newline_at = self.chunk_start + at as u64;
                self.line_end = Some(newline_at);
                return Ok(Some(LinePlace {
                    start: newline_at + 1,
                    end,
                    has_nul,
                }));
            }
            if self.chunk_start == 0 {
                self.line_end = None;
                return Ok(Some(LinePlace {
                    start: 0,
                    end,
                    has_nul,
                }));
            }
            search_end = self.chunk_start;
            self.load_before(search_end)?;
        }
    }

    fn load_before(&mut self, end: u64) -> io::Result<()> {
        let start = end.saturating_sub(CHUNK_BYTES as u64);
        self.chunk
            .resize(usize::try_from(end - start).unwrap_or(CHUNK_BYTES), 0);
        self.file.read_exact_at(&mut self.chunk, start)?;
        self.chunk_start = start;
        Ok(())
    }
}

/// The first bytes of a line, at most `limit_bytes`.
pub(crate) fn head(file: &File, place: LinePlace, limit_bytes: usize) -> io::Result<Vec<u8>> {
    let wanted = usize::try_from(place.end - place.start)
        .unwrap_or(limit_bytes)
        .min(limit_bytes);
    let mut bytes = vec![0; wanted];
    file.read_exact_at(&mut bytes, place.start)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn lines(content: &[u8]) -> Vec<LinePlace> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        let mut walk = Backwards::new(&file, content.len() as u64);
        let mut found = Vec::new();
        while let Some(place) = walk.next_line().unwrap() {
            found.push(place);
        }
        found
    }

    fn place(start: u64, end: u64, has_nul: bool) -> LinePlace {
        LinePlace { start, end, has_nul }
    }

    #[test]
    fn lines_come_from_the_end_and_the_tail_first() {
        assert_eq!(
            lines(b"ab\nc\0d\nef"),
            [place(7, 9, false), place(3, 6, true), place(0, 2, false)]
        );
        assert_eq!(lines(b"ab\n"), [place(3, 3, false), place(0, 2, false)]);
        assert_eq!(
            lines(b"\n\n"),
            [place(2, 2, false), place(1, 1, false), place(0, 0, false)]
        );
        assert_eq!(lines(b""), [place(0, 0, false)]);
    }

    #[test]
    fn lines_are_whole_wherever_the_chunks_meet() {
        for length in [CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES] {
            let mut content = vec![b'x'; length];
            content.extend(b"\nlast\n");
            content[0] = 0;
            let length = length as u64;
            assert_eq!(
                lines(&content),
                [
                    place(length + 6, length + 6, false),
                    place(length + 1, length + 5, false),
                    place(0, length, true)
                ]
            );
        }
    }
}
