//! What an operator asks about steps: one of them now, what it would be called with, whether the
//! configuration is right.

use super::{PEEK, end_as, read_json, says};
use crate::support::{Project, Service};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn exec_does_one_step_through_the_queue() {
    let project = Project::installed(
        "[steps.touch]\ncommand = ['sh', '-c', 'echo x >> touched']\n[steps.failed-only]\ncommand = ['true']\non = ['failed']\n",
    );
    end_as(&project, "r", "COMPLETED");
    project.sql("INSERT INTO runs(run_id, status) VALUES ('active', 'RUNNING');");
    for _ in 0..2 {
        project.runchain(&["exec", "touch", "--run", "r"]).exits(0);
    }
    assert_eq!(fs::read_to_string(project.path("touched")).unwrap(), "x\nx\n");
    let asked = project.sql(
        "SELECT count(*) FROM runchain_events WHERE type = 'REQUEST' AND json_extract(data, '$.action') = 'redo'
           AND json_extract(data, '$.actor') IS NOT NULL;",
    );
    assert_eq!(asked, "1\n", "audited");
    let cases = [
        (
            ["exec", "tuch", "--run", "r"],
            20,
            "no step tuch is configured; did you mean touch?",
        ),
        (["exec", "touch", "--run", "nobody"], 13, "there is no run nobody"),
        (["exec", "touch", "--run", "active"], 1, "run active is not over"),
        (
            ["exec", "failed-only", "--run", "r"],
            21,
            "step failed-only is not in the chain of run r: the run ended in none of the ways that its `on` lists",
        ),
    ];
    let before = project.sql("SELECT count(*), max(id) FROM runchain_events;");
    for (arguments, code, says) in cases {
        for dry in [false, true] {
            let mut arguments = arguments.to_vec();
            arguments.extend(dry.then_some("--dry-run"));
            let ran = project.runchain(&arguments).exits(code);
            assert!(ran.stderr.contains(says), "{arguments:?}: {}", ran.stderr);
        }
    }
    assert_eq!(
        project.sql("SELECT count(*), max(id) FROM runchain_events;"),
        before,
        "what is refused does nothing else instead"
    );
}

#[test]
fn a_dry_run_shows_the_call_without_secrets_and_writes_nothing() {
    let project = Project::installed(PEEK);
    end_as(&project, "r", "FAILED");
    let dry = |step: &str, code: i32| {
        let mut command = project.command(&["exec", step, "--run", "r", "--dry-run", "--json"]);
        let output = command.env("HANDED", "secret-too").output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            !text.contains("hunter2") && !text.contains("secret-too"),
            "{text}"
        );
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let snapshot = || {
        project.sql("SELECT (SELECT count(*) FROM runchain_queue), (SELECT count(*) FROM runchain_events);")
    };
    let before = snapshot();
    let planned = dry("second", 0);
    assert_eq!(
        planned["why"],
        "yes: with the run's chain, which is not begun yet"
    );
    assert_eq!(snapshot(), before);
    assert!(!project.path("logs").exists() && !project.path("stdin.json").exists());

    project.runchain(&["archive", "--run", "r"]).exits(0);
    let waiting = dry("second", 1);
    assert_eq!(waiting["would_run"], false);
    project.runchain(&["finish", "--run", "r"]).exits(0);
    let planned = dry("second", 0);
    assert_eq!(planned["why"], "yes: it is done, and would be done again");
    assert_eq!(planned["argv"][0], "sh");
    assert_eq!(
        (&planned["env"]["TOKEN"], &planned["env"]["HANDED"]),
        (&json!("***"), &json!("***"))
    );
    assert_eq!(planned["env"]["RUNCHAIN_RUN_ID"], "r");
    // What it shows is what the command got.
    assert_eq!(planned["stdin"], read_json(&project, "stdin.json"));
    let text = project
        .runchain(&["exec", "archive", "--run", "r", "--dry-run"])
        .exits(0)
        .stdout;
    assert!(text.contains("command: built in"), "{text}");
}

#[test]
fn a_dry_run_shows_the_environment_of_the_service_that_would_execute_it() {
    let project = Project::installed(PEEK);
    let dry = || {
        let mut command = project.command(&["exec", "second", "--run", "r", "--dry-run", "--json"]);
        let output = command.env("HOME", "/home/of/the/caller").output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    end_as(&project, "r", "FAILED");
    let alone = dry();
    assert_eq!(alone["env"]["HOME"], "/home/of/the/caller");
    project.sql("INSERT INTO runchain_queue(action) VALUES ('pause');");
    let service = Service::of(project.command(&["drain"]).env("HOME", "/home/of/the/service"));
    project.until("SELECT count(*) FROM runchain_pauses", "1");
    let shown = dry();
    assert_eq!(shown["env"]["HOME"], "/home/of/the/service", "{shown}");
    assert!(shown["env_of"].as_str().unwrap().contains("service"), "{shown}");
    assert!(service.terminate().success());
}

#[test]
fn config_check_asks_the_machine_and_the_database() {
    let project = Project::installed(
        r#"
[steps.ok]
command = ["sh", "-c", "true"]
on = ["completed", "archivable"]
where = { RUN_ID = "r" }
[steps.script]
command = ["./tool"]
"#,
    );
    let wrong = |says: &[&str]| {
        let ran = project.runchain(&["config", "check"]).exits(3);
        for says in says {
            assert!(ran.stderr.contains(says), "{says} is not in {}", ran.stderr);
        }
    };
    wrong(&[
        "steps.ok.on: archivable is neither a phase nor a status word that this database knows",
        &format!(
            "steps.script.command: there is no program {}",
            project.path("./tool").display()
        ),
    ]);
    project.sql("INSERT INTO runchain_vocabulary VALUES ('ARCHIVABLE', 'completed');");
    fs::write(project.path("tool"), "#!/bin/sh\n").unwrap();
    wrong(&["tool can't be executed; run `chmod +x "]);
    fs::set_permissions(project.path("tool"), fs::Permissions::from_mode(0o755)).unwrap();
    project.runchain(&["config", "check"]).exits(0);
    project.configure(
        "[steps.a]\ncommand = ['no-such-program']\n[steps.b]\ncommand = ['true']\non = ['RUNNING', 'COMPLETD']\nwhere = { statuss = 'x' }\n\
         [steps.c]\ncommand = ['true']\ncwd = 'nowhere'\n",
    );
    wrong(&[
        "steps.a.command: there is no program no-such-program in PATH (",
        "steps.b.on: a run whose status is RUNNING is active, so that the step would never run",
        "COMPLETD is neither a phase nor a status word that this database knows; did you mean COMPLETE?",
        "steps.b.where: the table runs has no column statuss; did you mean status?",
        "steps.c.cwd: there is no folder ",
        "runchain.toml:",
    ]);
    // The service says it, and runs all the same.
    let service = project.service();
    says(&service, "configuration: ");
    assert!(service.terminate().success());
    // Without a database there is nothing to compare with, which is said.
    fs::remove_dir_all(project.path(".state")).unwrap();
    project.configure("[steps.b]\ncommand = ['true']\non = ['whatever']\n");
    let ran = project.runchain(&["config", "check", "--json"]).exits(0);
    let note = ran.json()["notes"][0].as_str().unwrap().to_owned();
    assert!(
        note.starts_with("`on` and `where` were not compared with the database: "),
        "{note}"
    );
}
