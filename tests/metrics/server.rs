//! A server that nobody can hold up.

use super::http;
use super::{listening, project};
use crate::support::{Service, eventually, runchain};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

#[test]
fn only_the_two_pages_are_answered_and_nonsense_is_refused() {
    let project = project("");
    let (_service, address) = listening(&project);
    let long = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n", "x".repeat(20_000));
    for (request, code) in [
        ("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET /metrics?a=b HTTP/1.0\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\n\r\n", 404),
        ("GET /../../etc/passwd HTTP/1.1\r\n\r\n", 404),
        ("POST /metrics HTTP/1.1\r\n\r\n", 405),
        ("\u{0}\u{1}\u{2}\r\n\r\n", 400),
        (&long, 431),
    ] {
        let answer = address.send(request.as_bytes()).unwrap();
        assert_eq!(answer.code, code, "{:?}", &request[..request.len().min(60)]);
        assert!(answer.head.contains("Connection: close"), "{}", answer.head);
    }
    let head = address.send(b"HEAD /healthz HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!((head.code, head.body.as_str()), (200, ""));
}

/// More connections than there are places, each with half a request, and more of them all the time.
#[test]
fn who_never_finishes_a_request_keeps_nobody_waiting() {
    let project = project("");
    let (mut service, address) = listening(&project);
    let half = || {
        let mut stream = address.connect().unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nX-Slow: ").unwrap();
        stream
    };
    let mut slow: Vec<TcpStream> = (0..200).map(|_| half()).collect();
    let mut waits: Vec<Duration> = Vec::new();
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(address.get("/healthz").unwrap().code, 200);
        waits.push(began.elapsed());
        slow.push(half());
    }
    // Of the five seconds that one of them has, nothing is waited for; a busy machine may stand still once.
    waits.sort();
    assert!(waits[waits.len() / 2] < Duration::from_secs(4), "{waits:?}");
    // A place has an end, also where nobody else wants it.
    let mut last = slow.pop().unwrap();
    let mut rest = Vec::new();
    assert_eq!(last.read_to_end(&mut rest).unwrap_or(0), 0, "it got an answer");
    service.assert_alive();
}

#[test]
fn a_socket_is_a_file_and_one_that_a_killed_executor_left_is_no_obstacle() {
    let project = project("");
    let path = project.path("metrics.sock");
    let start = || {
        let service = Service::of(
            runchain(project.root())
                .arg("drain")
                .env("RUNCHAIN_METRICS_LISTEN", format!("unix:{}", path.display())),
        );
        eventually("an answer", || {
            let mut stream = UnixStream::connect(&path).map_err(|error| error.to_string())?;
            let asked = stream.write_all(b"GET /healthz HTTP/1.1\r\n\r\n");
            asked.map_err(|error| error.to_string())?;
            let answer = http::read(&mut stream).map_err(|error| error.to_string())?;
            if answer.code == 200 {
                Ok(())
            } else {
                Err(answer.body)
            }
        });
        service
    };
    start().kill();
    assert!(path.exists());
    drop(start());
}

#[test]
fn an_address_that_is_taken_stops_no_work() {
    let project = project("");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    project.configure(&format!("[metrics]\nlisten = '{address}'"));
    let service = project.service();
    super::end(&project, "r", "COMPLETED");
    eventually("the service to say so", || {
        let told = service.told();
        let said = told.contains("can't listen at") && told.contains("\"level\":\"error\"");
        if said { Ok(()) } else { Err(told) }
    });
    project.configure("[metrics]\nlisten = 'everywhere'");
    let ran = project.runchain(&["config", "check"]).exits(3);
    assert!(
        ran.stderr
            .contains("metrics.listen must be an address with a port"),
        "{}",
        ran.stderr
    );
}
