//! An HTTP client that can be slow, rude and wrong.

use std::fmt;
use std::io::{Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Where an executor listens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Address(SocketAddr);

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Address {
    /// The first address that a program has told that it listens at, behind these words.
    pub(super) fn told(text: &str, words: &str) -> Option<Self> {
        let (_, rest) = text.split_once(words)?;
        let end = rest.find(|character: char| !(character.is_ascii_digit() || ".:".contains(character)))?;
        rest[..end].parse().ok().map(Self)
    }

    pub(super) fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.0)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(stream)
    }

    pub(super) fn get(&self, path: &str) -> Result<Answer> {
        self.send(format!("GET {path} HTTP/1.0\r\nHost: here\r\n\r\n").as_bytes())
    }

    pub(super) fn send(&self, request: &[u8]) -> Result<Answer> {
        let mut stream = self.connect()?;
        stream.write_all(request)?;
        read(&mut stream)
    }
}

/// Reads one answer to its end.
pub(super) fn read(stream: &mut impl Read) -> Result<Answer> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or_else(|| std::io::Error::other(format!("no answer: {text:?}")))?;
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok(Answer {
        code,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
