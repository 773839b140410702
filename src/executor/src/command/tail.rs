//! The end of an output of any length, in bounded memory.

use std::collections::VecDeque;

/// The last bytes of an output, and how many came before them.
#[derive(Debug)]
pub(super) struct Tail {
    bytes: VecDeque<u8>,
    limit_bytes: usize,
    dropped_bytes: u64,
}

impl Tail {
    /// Nothing yet.
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self {
            bytes: VecDeque::new(),
            limit_bytes,
            dropped_bytes: 0,
        }
    }

    /// What came next.
    pub(super) fn push(&mut self, chunk: &[u8]) {
        let kept = &chunk[chunk.len().saturating_sub(self.limit_bytes)..];
        let over = (self.bytes.len() + kept.len()).saturating_sub(self.limit_bytes);
        self.bytes.drain(..over);
        self.bytes.extend(kept);
        self.dropped_bytes += (over + chunk.len() - kept.len()) as u64;
    }

    /// What is kept; bytes that are no UTF-8 become replacement characters.
    pub(super) fn text(&mut self) -> String {
        let text = String::from_utf8_lossy(self.bytes.make_contiguous());
        if self.dropped_bytes > 0 {
            format!("[{} bytes before this]\n{text}", self.dropped_bytes)
        } else {
            text.into_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tail;

    #[test]
    fn the_end_is_kept_and_what_was_dropped_is_counted() {
        let mut tail = Tail::new(4);
        tail.push(b"ab");
        assert_eq!(tail.text(), "ab");
        tail.push(b"cde");
        assert_eq!(tail.text(), "[1 bytes before this]\nbcde");
        tail.push(b"0123456789");
        assert_eq!(tail.text(), "[11 bytes before this]\n6789");
    }
}
