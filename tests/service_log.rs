//! What the service says of itself, as whoever reads it gets it: JSON objects in a pipe or file, lines at a
//! terminal, messages where journald listens.

use crate::support::{Project, Service, eventually, runchain, whole_lines};
use serde_json::Value;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

fn end(project: &Project, run_id: &str) {
    project.sql(&format!(
        "INSERT INTO runs(run_id, status) VALUES ('{run_id}', 'COMPLETED');"
    ));
    project.until(
        &format!("SELECT state FROM runchain_steps WHERE run_id = '{run_id}' AND step = 'report'"),
        "done",
    );
}

/// Waits for an object with this message.
fn told(service: &Service, message: &str) -> Value {
    eventually(message, || {
        let told = service.told();
        objects(&told)
            .into_iter()
            .find(|line| line["message"] == message)
            .ok_or(told)
    })
}

/// Every line that was written to its end.
fn objects(told: &str) -> Vec<Value> {
    whole_lines(told)
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn every_line_is_an_object_with_level_and_instance_and_the_run_that_it_concerns() {
    let project = Project::installed("instance = 'orders'\nlog_level = 'debug'");
    let service = project.service();
    end(&project, "r-1");
    let done = told(&service, "r-1: archive done");
    assert_eq!(done["level"], "info");
    assert_eq!(done["run_id"], "r-1");
    assert_eq!(done["step"], "archive");
    assert_eq!(told(&service, "r-1: report begins")["level"], "debug");
    for line in objects(&service.told()) {
        assert_eq!(line["instance"], "orders", "{line}");
        assert!(line["ts"].is_string() && line["level"].is_string(), "{line}");
        let names_a_run = line["message"].as_str().unwrap().starts_with("r-1");
        assert_eq!(line["run_id"].is_string(), names_a_run, "{line}");
    }
}

#[test]
fn less_urgent_lines_are_left_out_and_a_reload_changes_which() {
    let project =
        Project::installed("log_level = 'warn'\n[steps.upload]\nmax_attempts = 1\ncommand = ['false']");
    let service = project.service();
    end(&project, "r");
    eventually("the dead step", || {
        let told = service.told();
        if told.contains("r: upload is dead") {
            Ok(())
        } else {
            Err(told)
        }
    });
    // What a busy machine warns of may come besides.
    for line in objects(&service.told()) {
        assert!(line["level"] == "error" || line["level"] == "warn", "{line}");
    }
    project.configure("log_level = 'info'");
    service.signal(rustix::process::Signal::HUP);
    told(&service, "the configuration was read again");
}

#[test]
fn without_a_name_of_its_own_an_instance_has_its_project_s() {
    let project = Project::installed("");
    let folder = project.root().file_name().unwrap().to_str().unwrap();
    let shown = project.runchain(&["config", "show", "--json"]).exits(0).json();
    let rows = shown["settings"].as_array().unwrap();
    let row = rows.iter().find(|row| row["key"] == "instance").unwrap();
    assert_eq!(row["value"], folder);
    let service = project.service();
    assert_eq!(
        told(&service, &format!("draining {}", project.database().display()))["instance"],
        folder
    );
}

#[test]
fn a_service_that_can_t_start_says_so_in_its_log() {
    let project = Project::installed("");
    project.configure("log_level = 'loud'");
    let ran = project.runchain(&["drain"]).exits(3);
    let line: Value = serde_json::from_str(ran.stderr.trim()).unwrap();
    assert_eq!(line["level"], "error");
    assert!(
        line["message"].as_str().unwrap().contains("log_level must be"),
        "{line}"
    );
    let ran = project.runchain(&["drain", "--once"]).exits(3);
    assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
}

#[test]
fn at_a_terminal_it_is_lines_and_in_a_container_standard_output_where_that_is_wanted() {
    let project = Project::installed("instance = 'orders'");
    let binary = env!("CARGO_BIN_EXE_runchain");
    let mut command = Command::new("script");
    command
        .args([
            "--quiet",
            "--flush",
            "--command",
            &format!("exec '{binary}' drain"),
            "typescript",
        ])
        .current_dir(project.root());
    let service = Service::of(&mut command);
    eventually("a line", || {
        let text = fs::read_to_string(project.path("typescript")).unwrap_or_default();
        let line = whole_lines(&text)
            .find(|line| line.contains("draining"))
            .ok_or(&text)?;
        let (stamp, rest) = line.split_once(' ').unwrap();
        assert!(stamp.starts_with("20"), "{line}");
        assert!(rest.starts_with("orders: draining "), "{line}");
        Ok::<(), &String>(()).map_err(Clone::clone)
    });
    drop(service);

    let out = fs::File::create(project.path("out")).unwrap();
    let mut child = runchain(project.root())
        .arg("drain")
        .env("RUNCHAIN_LOG_OUTPUT", "stdout")
        .stdout(out)
        .spawn()
        .unwrap();
    eventually("an object", || {
        let text = fs::read_to_string(project.path("out")).unwrap();
        if text.contains("\"message\":\"draining ") {
            Ok(())
        } else {
            Err(text)
        }
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Takes what arrives, all the time: the kernel keeps some ten messages.
fn heard(socket: UnixDatagram) -> Receiver<String> {
    let (sender, messages) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4_096];
        while let Ok(count) = socket.recv(&mut buffer) {
            let message = String::from_utf8(buffer[..count].to_vec()).unwrap();
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    messages
}

/// The test's socket stands where journald's would, in a mount space of its own.
#[test]
fn where_journald_listens_it_gets_fields() {
    let project = Project::installed("instance = 'orders'");
    fs::create_dir(project.path("journal")).unwrap();
    let socket = UnixDatagram::bind(project.path("journal/socket")).unwrap();
    let messages = heard(socket);
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c"])
        .arg(
            "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && mount --bind journal /run/systemd/journal \
             && JOURNAL_STREAM=$(stat -Lc %d:%i /dev/stderr) exec \"$0\" drain",
        )
        .arg(env!("CARGO_BIN_EXE_runchain"))
        .current_dir(project.root());
    let service = Service::of(&mut command);
    project.until("SELECT count(*) FROM runchain_executors", "1");
    end(&project, "r-1");
    let mut seen = Vec::new();
    loop {
        let message = messages
            .recv_timeout(Duration::from_secs(90))
            .unwrap_or_else(|error| panic!("{error}; came: {seen:?}, {}", service.told()));
        if message.starts_with("MESSAGE=r-1: archive done\n") {
            assert_eq!(
                message,
                "MESSAGE=r-1: archive done\nPRIORITY=6\nSYSLOG_IDENTIFIER=runchain\nRUNCHAIN_INSTANCE=orders\n\
                 RUNCHAIN_RUN_ID=r-1\nRUNCHAIN_STEP=archive\n"
            );
            break;
        }
        seen.push(message);
    }
    assert_eq!(service.told(), "", "nothing is said twice");
}

#[test]
fn every_line_of_the_lifecycle_logs_has_the_instance() {
    let project =
        Project::installed("instance = 'orders'\nmonitor.heartbeat_ms = 100\nlogs.rotate_bytes = 2000");
    let _service = project.service();
    project.sql("INSERT INTO runs(run_id, status) VALUES ('on', 'RUNNING');");
    end(&project, "r-1");
    let kinds = eventually("a rotated log", || {
        let lines = project.log("monitor.jsonl");
        let kinds: Vec<String> = lines
            .iter()
            .map(|line| line["event"].as_str().unwrap().to_owned())
            .collect();
        let has_all = ["LOG_OPENED", "HEARTBEAT"]
            .iter()
            .all(|kind| kinds.iter().any(|one| one == kind));
        if has_all {
            Ok(lines)
        } else {
            Err(format!("{kinds:?}"))
        }
    });
    let lines = kinds.into_iter().chain(project.log("archival.jsonl"));
    for line in lines {
        assert_eq!(line["instance"], "orders", "{line}");
    }
}
