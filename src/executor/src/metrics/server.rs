//! A very small HTTP server: one thread, a bounded number of connections, two pages.
//!
//! Invariant: nobody can hold it up. Sockets never block; a request has to arrive, and its answer to be
//! taken, within [`PATIENCE`]; who comes when all places are taken gets that of who has been there for
//! longest. A request is GET or HEAD and its head; a body is not read. What does not belong here: what
//! stands on a page.

use super::page::Pages;
use super::{Listen, Shared};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a whole exchange may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections at once.
const PLACES: usize = 16;
/// The longest head of a request.
const HEAD_BYTES: usize = 8 * 1024;
/// After the system has given no connection (no descriptors left).
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// The thread lives as long as the process.
#[derive(Debug)]
pub(crate) struct Server;

impl Server {
    /// Listens and answers from a thread of its own. Where that is: port 0 asks the system for a free one.
    ///
    /// # Errors
    /// When the address can't be had.
    pub(crate) fn start(listen: &Listen, shared: &Arc<Shared>) -> Result<Listen> {
        let Some(door) = Door::open(listen)? else {
            return Ok(Listen::Nowhere);
        };
        let found = match &door {
            Door::Tcp(listener) => Listen::Tcp(listener.local_addr()?),
            Door::Unix(_) => listen.clone(),
        };
        let shared = Arc::clone(shared);
        std::thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || serve(&door, &shared))?;
        Ok(found)
    }
}

enum Door {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Door {
    fn open(listen: &Listen) -> Result<Option<Self>> {
        Ok(match listen {
            Listen::Nowhere => None,
            Listen::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                Some(Self::Tcp(listener))
            }
            Listen::Unix(path) => {
                remove_dead_socket(path)?;
                let listener = UnixListener::bind(path)?;
                // Who may read the database's folder may read what is counted of it.
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
                listener.set_nonblocking(true)?;
                Some(Self::Unix(listener))
            }
        })
    }

    fn accept(&self) -> Result<Stream> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Stream::Tcp(stream)
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Stream::Unix(stream)
            }
        })
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

/// A socket on which nobody listens is left of an executor that was killed.
fn remove_dead_socket(path: &Path) -> Result<()> {
    match UnixStream::connect(path) {
        Ok(_) => Err(Error::new(ErrorKind::AddrInUse, "another program listens there")),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }

    /// Nothing more is sent.
    fn end(&self) -> Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }
}

/// One connection: first its request grows, then its answer goes, then the other side closes.
struct Guest {
    stream: Stream,
    until: Instant,
    request: Vec<u8>,
    answer: Option<Vec<u8>>,
    sent: usize,
}

/// What became of a guest.
#[derive(PartialEq, Eq)]
enum Stays {
    Yes,
    No,
}

fn serve(door: &Door, shared: &Shared) {
    let mut pages = Pages::new(shared);
    let mut guests: Vec<Guest> = Vec::with_capacity(PLACES);
    loop {
        let ready = wait(door, &guests);
        let now = Instant::now();
        // In the order of waiting: the door first.
        let mut index = 0;
        guests.retain_mut(|guest| {
            index += 1;
            let is_ready = ready.get(index).copied().unwrap_or(false);
            now < guest.until && (!is_ready || guest.go_on(&mut pages, shared) == Stays::Yes)
        });
        if ready.first().copied().unwrap_or(false) {
            let_in(door, &mut guests, now);
        }
    }
}

/// Which of door and guests have something to do; waits until one has or a guest's time is up.
fn wait(door: &Door, guests: &[Guest]) -> Vec<bool> {
    let mut polled = vec![PollFd::from_borrowed_fd(door.as_fd(), PollFlags::IN)];
    polled.extend(guests.iter().map(|guest| {
        let wanted = match &guest.answer {
            Some(answer) if guest.sent < answer.len() => PollFlags::OUT,
            _ => PollFlags::IN,
        };
        PollFd::from_borrowed_fd(guest.stream.as_fd(), wanted)
    }));
    let until = guests.iter().map(|guest| guest.until).min();
    let timeout =
        until.map(|until| until.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    match poll(&mut polled, timeout.as_ref()) {
        Ok(_) => polled.iter().map(|one| !one.revents().is_empty()).collect(),
        Err(_) => Vec::new(),
    }
}

/// Everybody who stands before the door; for the last ones there may be no place but that of others.
fn let_in(door: &Door, guests: &mut Vec<Guest>, now: Instant) {
    for _ in 0..PLACES {
        match door.accept() {
            Ok(stream) => {
                if guests.len() == PLACES {
                    guests.remove(0);
                }
                guests.push(Guest {
                    stream,
                    until: now + PATIENCE,
                    request: Vec::new(),
                    answer: None,
                    sent: 0,
                });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionAborted | ErrorKind::Interrupted
                ) => {}
            Err(_) => {
                std::thread::sleep(AFTER_FAILURE);
                return;
            }
        }
    }
}

impl Guest {
    fn go_on(&mut self, pages: &mut Pages<'_>, shared: &Shared) -> Stays {
        if self.is_leaving() {
            return self.leave();
        }
        if self.answer.is_none() {
            let mut buffer = [0; 4_096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Stays::No,
                Ok(count) => self.request.extend_from_slice(&buffer[..count]),
                Err(error) => return stays(&error),
            }
            self.answer = answer(&self.request, pages, shared);
        }
        let Some(answer) = &self.answer else {
            return Stays::Yes;
        };
        match self.stream.write(&answer[self.sent..]) {
            Ok(count) => self.sent += count,
            Err(error) => return stays(&error),
        }
        if self.sent < answer.len() {
            return Stays::Yes;
        }
        // To close with something unread would take the answer back: the other side closes first.
        self.stream.end().map_or_else(|_| Stays::No, |()| Stays::Yes)
    }

    /// The answer is sent; whatever still comes is nobody's.
    fn is_leaving(&self) -> bool {
        self.answer
            .as_ref()
            .is_some_and(|answer| self.sent == answer.len())
    }

    fn leave(&mut self) -> Stays {
        match self.stream.read(&mut [0; 4_096]) {
            Ok(0) => Stays::No,
            Ok(_) => Stays::Yes,
            Err(error) => stays(&error),
        }
    }
}

fn stays(error: &Error) -> Stays {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted => Stays::Yes,
        _ => Stays::No,
    }
}

/// The whole answer, once the request is whole or wrong.
fn answer(request: &[u8], pages: &mut Pages<'_>, shared: &Shared) -> Option<Vec<u8>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut headers);
    let is_whole = match parsed.parse(request) {
        Ok(status) => status.is_complete(),
        Err(_) => {
            return Some(reply(
                shared,
                "other",
                400,
                TEXT,
                "this is no HTTP request\n",
                true,
            ));
        }
    };
    if !is_whole {
        let is_long = request.len() > HEAD_BYTES;
        return is_long.then(|| {
            reply(
                shared,
                "other",
                431,
                TEXT,
                "the request's head is too long\n",
                true,
            )
        });
    }
    let has_body = match parsed.method {
        Some("GET") => true,
        Some("HEAD") => false,
        _ => {
            return Some(reply(
                shared,
                "other",
                405,
                TEXT,
                "only GET and HEAD are answered\n",
                true,
            ));
        }
    };
    let path = parsed.path.unwrap_or("/").split('?').next();
    Some(match path {
        Some("/metrics") => reply(shared, "/metrics", 200, OPENMETRICS, &pages.metrics(), has_body),
        Some("/healthz") => {
            let (code, body) = pages.health();
            reply(shared, "/healthz", code, JSON, &body, has_body)
        }
        _ => reply(
            shared,
            "other",
            404,
            TEXT,
            "there are /metrics and /healthz\n",
            has_body,
        ),
    })
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn reply(shared: &Shared, path: &'static str, code: u16, kind: &str, body: &str, has_body: bool) -> Vec<u8> {
    shared.meters.answered(path, code);
    let reason = match code {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable",
    };
    let head = format!(
        "HTTP/1.1 {code} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n",
        length = body.len(),
    );
    [head.as_bytes(), if has_body { body.as_bytes() } else { b"" }].concat()
}
