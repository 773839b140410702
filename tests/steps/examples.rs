//! The two worked examples of `examples/`, run against local servers that take part in nothing else.

use super::{chain, end_as, field};
use crate::support::{Project, SHAPE_A, repository, run, step_host};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Python with the packages of `scripts/step-hosts`.
pub(super) fn step_python() -> Command {
    let mut command = Command::new(step_host("RUNCHAIN_TEST_STEP_PYTHON"));
    command.env("PYTHONPATH", step_host("RUNCHAIN_TEST_STEP_PACKAGES"));
    command
}

/// A server that prints its port and ends with its standard input, or with the test.
struct Server {
    child: Child,
    port: String,
}

impl Server {
    fn start(script: &str, argument: &Path) -> Self {
        let mut child = step_python()
            .arg(repository().join("tests/steps").join(script))
            .arg(argument)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().expect("the server ended by itself").unwrap();
        Self { child, port }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A project with the files of `examples/` in it. The packages of the tests stand where a user would
/// have installed them: in the interpreter's own path.
fn project() -> (Project, PathBuf) {
    let text = fs::read_to_string(repository().join("examples/runchain.toml")).unwrap();
    let project = Project::new(SHAPE_A, &text);
    for name in ["upload.py", "ticket.py"] {
        fs::copy(repository().join("examples").join(name), project.path(name)).unwrap();
    }
    let programs = project.path("bin");
    fs::create_dir(&programs).unwrap();
    let python = programs.join("python3");
    fs::write(
        &python,
        format!(
            "#!/bin/sh\nPYTHONPATH='{}' exec '{}' \"$@\"\n",
            step_host("RUNCHAIN_TEST_STEP_PACKAGES"),
            step_host("RUNCHAIN_TEST_STEP_PYTHON")
        ),
    )
    .unwrap();
    run(Command::new("chmod").arg("+x").arg(&python), "").output();
    project.runchain(&["install"]).exits(0);
    (project, programs)
}

#[test]
fn the_examples_upload_each_bag_and_open_one_ticket_for_each_failed_run() {
    let (project, programs) = project();
    let log = project.path("tickets.jsonl");
    let store = Server::start("s3_server.py", Path::new("-"));
    let tracker = Server::start("ticket_server.py", &log);
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let aws = [
        ("AWS_ENDPOINT_URL_S3", store.url()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("AWS_DEFAULT_REGION", "us-east-1".to_owned()),
    ];
    let runchain = |arguments: &[&str]| {
        let mut command = project.command(arguments);
        command.env("PATH", &path).envs(aws.clone());
        command
            .env("TICKET_URL", tracker.url())
            .env("TICKET_TOKEN", "t0ken");
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    runchain(&["config", "check"]);
    end_as(&project, "good/1", "COMPLETED");
    end_as(&project, "bad", "FAILED");
    runchain(&["drain", "--until-idle"]);
    assert_eq!(
        chain(&project, "good/1"),
        ["archive done", "report done", "upload done"]
    );
    assert_eq!(
        chain(&project, "bad"),
        ["archive done", "report done", "upload done", "ticket done"]
    );
    // An overloaded tracker and a lost answer: three attempts, two arrived, one ticket.
    assert_eq!(field(&project, "bad", "ticket", "attempts"), "3");
    let tickets = || -> Vec<Value> {
        let text = fs::read_to_string(&log).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let arrived = tickets();
    assert_eq!(arrived.len(), 2);
    assert_eq!(
        (&arrived[0]["new"], &arrived[1]["new"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(arrived[1]["token"], "Bearer t0ken");
    assert_eq!(
        arrived[1]["body"],
        json!({
            "title": "run bad ended as FAILED",
            "ended_at": arrived[0]["body"]["ended_at"],
            "bag": "s3://bags/bad/1/",
            "report": project.path("reports/bad_summary.json").display().to_string(),
        })
    );
    assert_eq!(field(&project, "bad", "ticket", "result"), r#"{"ticket":"T-1"}"#);

    // Everything again leaves everything as it was: nothing is sent twice.
    let result =
        |step: &str| -> Value { serde_json::from_str(&field(&project, "bad", step, "result")).unwrap() };
    assert!(result("upload")["sent"].as_u64().unwrap() > 5);
    for step in ["upload", "ticket"] {
        runchain(&["exec", step, "--run", "bad"]);
    }
    assert_eq!(result("upload")["sent"], 0);
    assert!(tickets()[2]["new"] == false && result("ticket")["ticket"] == "T-1");

    let fetched = project.path("fetched");
    let mut check = step_python();
    let check = check
        .arg(repository().join("tests/steps/s3_check.py"))
        .arg(&fetched);
    run(check.envs(aws.clone()), "").output();
    let folders: Vec<PathBuf> = (fs::read_dir(&fetched).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(folders.len(), 2);
    for folder in folders {
        is_valid_bag(&folder.join("1"));
    }
}

/// By a library that shares no code with us.
#[track_caller]
pub(super) fn is_valid_bag(folder: &Path) {
    let mut check = step_python();
    let script = "import bagit, sys; bagit.Bag(sys.argv[1]).validate()";
    run(check.args(["-c", script]).arg(folder), "").output();
}
