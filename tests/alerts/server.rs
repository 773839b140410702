//! A channel's other end: a small HTTP server that answers as it is told, slow, wrong or not at all, and
//! remembers what it was asked.

use serde_json::Value;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How one request is answered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reply {
    /// With a status, and a header of its own.
    Status(u16, &'static str),
    /// With 200, a bit at a time, until whoever asked has had enough.
    Drip,
    /// With 500 and everything secret that it was asked with.
    Repeat,
    /// Not at all: the connection is reset when the request was read.
    Reset,
    /// Not at all: nothing is said until the server is gone.
    Hang,
}

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) key: String,
    pub(crate) authorization: String,
    pub(crate) body: Value,
    pub(crate) at: Instant,
}

#[derive(Default)]
struct State {
    asked: Mutex<Vec<Asked>>,
    replies: Mutex<VecDeque<Reply>>,
    gone: (Mutex<bool>, Condvar),
}

/// The server. Dropped, it answers nobody any more.
pub(crate) struct Server {
    address: SocketAddr,
    state: Arc<State>,
}

impl Server {
    /// On a free port. Whoever asks beyond the replies gets a 200.
    pub(crate) fn start(replies: &[Reply]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        state.replies.lock().unwrap().extend(replies);
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if *shared.gone.0.lock().unwrap() {
                    return;
                }
                let state = Arc::clone(&shared);
                std::thread::spawn(move || drop(answer(stream.unwrap(), &state)));
            }
        });
        Self { address, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        *self.state.gone.0.lock().unwrap() = true;
        self.state.gone.1.notify_all();
        // Wakes the one who accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn answer(stream: TcpStream, state: &State) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut length, mut key, mut authorization) = (0, String::new(), String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "idempotency-key" => key = value.to_owned(),
            "authorization" => authorization = value.to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let reply = state.replies.lock().unwrap().pop_front();
    state.asked.lock().unwrap().push(Asked {
        path: path.clone(),
        key,
        authorization: authorization.clone(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        at: Instant::now(),
    });
    let mut stream = stream;
    match reply.unwrap_or(Reply::Status(200, "")) {
        Reply::Status(status, header) => {
            write!(
                stream,
                "HTTP/1.1 {status} x\r\n{header}content-length: 4\r\nconnection: close\r\n\r\nsaid"
            )
        }
        Reply::Repeat => {
            let said = format!("no hook at {path} for {authorization}");
            let length = said.len();
            write!(
                stream,
                "HTTP/1.1 500 x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{said}"
            )
        }
        Reply::Drip => {
            write!(stream, "HTTP/1.1 200 OK\r\n")?;
            loop {
                write!(stream, "x-drip: 1\r\n")?;
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Reply::Reset => {
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
            stream.shutdown(Shutdown::Read)
        }
        Reply::Hang => {
            let gone = state.gone.0.lock().unwrap();
            drop(state.gone.1.wait_while(gone, |gone| !*gone).unwrap());
            Ok(())
        }
    }
}
