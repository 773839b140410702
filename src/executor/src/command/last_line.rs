//! The last line of an output of any length, in bounded memory: a step's result stands there.

/// The longest line that is kept. What is larger belongs into a file whose path is the result.
pub(crate) const LINE_LIMIT_BYTES: usize = 65_536;

/// What the last line of an output was; blank lines don't count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LastLine {
    /// There was no line.
    None,
    /// This one, without its end.
    Kept(String),
    /// It had this many bytes, more than [`LINE_LIMIT_BYTES`].
    TooLong(u64),
}

/// Takes an output as it comes.
#[derive(Debug, Default)]
pub(super) struct LastLineReader {
    /// The line under way.
    now: Line,
    /// The last whole line that wasn't blank.
    last: Line,
}

#[derive(Debug, Default)]
struct Line {
    start: Vec<u8>,
    length_bytes: u64,
}

impl Line {
    fn is_blank(&self) -> bool {
        self.length_bytes == self.start.len() as u64 && self.start.trim_ascii().is_empty()
    }
}

impl LastLineReader {
    /// What came next.
    pub(super) fn push(&mut self, chunk: &[u8]) {
        for piece in chunk.split_inclusive(|&byte| byte == b'\n') {
            let room = LINE_LIMIT_BYTES.saturating_sub(self.now.start.len());
            self.now.start.extend_from_slice(&piece[..piece.len().min(room)]);
            self.now.length_bytes += piece.len() as u64;
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.now);
                if !line.is_blank() {
                    self.last = line;
                }
            }
        }
    }

    /// At the end of the output; a last line may lack its end.
    pub(super) fn finish(&self) -> LastLine {
        let line = if self.now.is_blank() {
            &self.last
        } else {
            &self.now
        };
        if line.is_blank() {
            LastLine::None
        } else if line.length_bytes > LINE_LIMIT_BYTES as u64 {
            LastLine::TooLong(line.length_bytes)
        } else {
            LastLine::Kept(String::from_utf8_lossy(&line.start).trim_end().to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last_of(chunks: &[&[u8]]) -> LastLine {
        let mut reader = LastLineReader::default();
        for chunk in chunks {
            reader.push(chunk);
        }
        reader.finish()
    }

    fn kept(text: &str) -> LastLine {
        LastLine::Kept(text.to_owned())
    }

    #[test]
    fn the_last_line_that_is_not_blank_counts_in_whatever_pieces_it_comes() {
        assert_eq!(last_of(&[]), LastLine::None);
        assert_eq!(last_of(&[b"\n \n\r\n"]), LastLine::None);
        assert_eq!(last_of(&[b"one\ntw", b"o"]), kept("two"));
        assert_eq!(last_of(&[b"one\ntw", b"o\n", b"\n", b" "]), kept("two"));
        assert_eq!(last_of(&[b"one\r\n"]), kept("one"));
    }

    #[test]
    fn a_line_that_is_too_long_is_counted_and_not_kept() {
        let long = vec![b'x'; LINE_LIMIT_BYTES];
        assert_eq!(last_of(&[&long]), kept(&"x".repeat(LINE_LIMIT_BYTES)));
        assert_eq!(last_of(&[&long, b"y"]), LastLine::TooLong(65_537));
        assert_eq!(last_of(&[&long, b"y\nshort"]), kept("short"));
        assert_eq!(last_of(&[b"short\n", &long, b"y"]), LastLine::TooLong(65_537));
    }
}
