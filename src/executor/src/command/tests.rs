//! What holds for a command, with real processes. What needs an executor that is killed is in the
//! black-box suite.

use super::*;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// Not a test of its own: what `/proc/self/exe` is asked for by the tests below.
#[test]
fn the_supervisor_itself() {
    if std::env::var_os(SUBCOMMAND).is_some() {
        supervisor::serve().unwrap();
    }
}

/// A mark in the environment by which every process of one test is found.
fn mark() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("RUNCHAIN_TEST_MARK={}-{number}", std::process::id())
}

fn line(script: &str, mark: &str) -> CommandLine {
    let (name, value) = mark.split_once('=').unwrap();
    CommandLine {
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: vec![
            ("PATH".into(), "/usr/bin:/bin".into()),
            (name.into(), value.into()),
        ],
        cwd: std::env::temp_dir(),
        timeout: Duration::from_secs(60),
        lease: Duration::from_secs(30),
        output_bytes: 256,
    }
}

fn finished(line: &CommandLine) -> Finished {
    run(line, b"", &|| true).unwrap()
}

/// Ids of the running processes that carry a mark.
fn marked(mark: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let folder = entry.unwrap().path();
        let environ = std::fs::read(folder.join("environ")).unwrap_or_default();
        if environ
            .split(|&byte| byte == 0)
            .any(|variable| variable == mark.as_bytes())
        {
            found.push(folder.display().to_string());
        }
    }
    found
}

fn exit_code(finished: &Finished) -> Option<i32> {
    match finished.ending {
        Ending::Exited(status) => status.code(),
        _ => None,
    }
}

#[test]
fn output_is_bounded_and_its_end_is_kept() {
    let finished = finished(&line("seq 1 100000; echo last >&2", &mark()));
    assert_eq!(exit_code(&finished), Some(0));
    let tail = &finished.output_tail;
    assert!(tail.contains("bytes before this"), "{tail}");
    assert!(tail.ends_with("100000\nlast\n"), "{tail}");
    assert!(tail.len() < 256 + 64);
}

#[test]
fn the_environment_is_what_is_listed_and_input_arrives() {
    let line = line("cat; env | sort | cut -d= -f1 | tr '\\n' ' '", &mark());
    let tail = run(&line, b"hello ", &|| true).unwrap().output_tail;
    assert!(tail.starts_with("hello "), "{tail}");
    assert!(!tail.contains("CARGO"), "{tail}");
    assert!(!tail.contains(SUBCOMMAND), "{tail}");
}

#[test]
fn the_last_line_of_standard_output_is_not_lost_among_errors() {
    let script = "echo first; echo '{\"a\": 1}'; echo; echo warning >&2; exit 3";
    let mut line = line(script, &mark());
    line.output_bytes = 4;
    assert_eq!(finished(&line).last_line, LastLine::Kept("{\"a\": 1}".to_owned()));
}

#[test]
fn input_of_any_length_arrives_and_may_stay_unread() {
    let input = vec![b'x'; 3_000_000];
    let counted = run(&line("wc -c", &mark()), &input, &|| true).unwrap();
    assert_eq!(counted.output_tail.trim(), "3000000");
    let unread = run(&line("exec true", &mark()), &input, &|| true).unwrap();
    assert_eq!(exit_code(&unread), Some(0));
}

#[test]
fn whatever_a_command_leaves_is_ended_with_it() {
    for (left, script) in [
        ("a grandchild", "sleep 300 & exit 7"),
        (
            "one that left the session",
            "setsid sh -c 'sleep 300; :' & exit 7",
        ),
        ("a daemon", "(setsid sh -c '(sleep 300; :) & exit' &) ; exit 7"),
        ("a stopped one", "sh -c 'kill -STOP $$; sleep 300' & exit 7"),
    ] {
        let mark = mark();
        let finished = finished(&line(script, &mark));
        assert_eq!(exit_code(&finished), Some(7), "{left}");
        assert_eq!(marked(&mark), [""; 0], "{left} outlived the command");
        let tail = &finished.output_tail;
        assert!(tail.contains("processes that it left, ended: "), "{left}: {tail}");
    }
}

#[test]
fn what_a_command_leaves_may_still_finish_its_last_lines() {
    let finished = finished(&line("(sleep 0.1; echo last) & echo first", &mark()));
    assert_eq!(finished.output_tail, "first\nlast\n");
}

#[test]
fn what_ignores_sigterm_is_killed_after_the_grace_time() {
    let mark = mark();
    let mut line = line(
        "trap '' TERM; (sleep 300; sleep 300) & echo ready; wait; wait",
        &mark,
    );
    line.timeout = Duration::from_millis(300);
    let finished = finished(&line);
    assert_eq!(finished.ending, Ending::TimedOut);
    assert_eq!(marked(&mark), [""; 0]);
}

#[test]
fn a_timeout_ends_everything_at_once_where_nobody_resists() {
    let mark = mark();
    let mut line = line("setsid sleep 300 & sleep 300", &mark);
    line.timeout = Duration::from_millis(300);
    let begun = Instant::now();
    assert_eq!(finished(&line).ending, Ending::TimedOut);
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "waited out the grace time"
    );
    assert_eq!(marked(&mark), [""; 0]);
}

#[test]
fn a_step_that_is_no_longer_ours_is_ended() {
    let mark = mark();
    let finished = run(&line("setsid sleep 300 & sleep 300", &mark), b"", &|| false).unwrap();
    assert_eq!(finished.ending, Ending::Stopped);
    assert_eq!(marked(&mark), [""; 0]);
}

#[test]
fn a_command_that_closes_its_output_is_still_waited_for() {
    let begun = Instant::now();
    let finished = finished(&line("exec >&- 2>&- <&-; sleep 0.5; exit 3", &mark()));
    assert_eq!(exit_code(&finished), Some(3));
    assert!(begun.elapsed() >= Duration::from_millis(500));
}

#[test]
fn a_fork_bomb_is_ended() {
    let mark = mark();
    // Every process starts one more than it ends; bounded by depth, so that a bug here is survived.
    let bomb = "b() { [ $1 -gt 0 ] && { b $(($1-1)) & b $(($1-1)) & }; sleep 300; }; b 7";
    let mut line = line(bomb, &mark);
    line.timeout = Duration::from_millis(100);
    assert_eq!(finished(&line).ending, Ending::TimedOut);
    assert_eq!(marked(&mark), [""; 0]);
}

#[test]
fn signals_and_session_start_afresh() {
    let mut line = line("", &mark());
    line.argv = ["cat", "/proc/self/status", "/proc/self/stat"]
        .map(str::to_owned)
        .to_vec();
    line.output_bytes = 10_000;
    let tail = finished(&line).output_tail;
    for field in ["SigBlk:", "SigIgn:"] {
        let bits = tail.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        // Without 32 to 64: the C library ignores one of its own there while it spawns.
        let bits = u64::from_str_radix(bits.trim(), 16).unwrap() & 0x7fff_ffff;
        assert_eq!(bits, 0, "{field} {bits:x}");
    }
    let stat: Vec<&str> = tail.lines().next_back().unwrap().split(' ').collect();
    assert_eq!(
        (stat[4], stat[5]),
        (stat[0], stat[0]),
        "group and session are its own"
    );
}

#[test]
fn an_ending_is_told_as_code_or_signal() {
    let by_code = finished(&line("exit 42", &mark()));
    let by_signal = finished(&line("kill -9 $$", &mark()));
    let said_of = |finished: &Finished| match finished.ending {
        Ending::Exited(status) => said(status),
        other => panic!("{other:?}"),
    };
    assert_eq!(said_of(&by_code), "exit code 42");
    assert_eq!(said_of(&by_signal), "signal 9");
}

#[test]
fn a_program_or_folder_that_is_not_there_is_an_error() {
    let mut missing = line("", &mark());
    missing.argv = vec!["/nowhere/program".into()];
    let error = run(&missing, b"", &|| true).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    let mut elsewhere = line("exit 0", &mark());
    elsewhere.cwd = PathBuf::from("/nowhere");
    let error = run(&elsewhere, b"", &|| true).unwrap_err();
    assert!(error.to_string().contains("/nowhere"), "{error}");
}
