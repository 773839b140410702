//! Who did what, when and why: every way of asking, every command, the service itself.

use crate::support::{Project, SHAPE_A, Sqlite, extension};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::process::Command;

const CONFIG: &str = "
[steps.archive]
command = ['sh', '-c', 'test ! -e \"broken/$RUNCHAIN_RUN_ID\"']
max_attempts = 1
env = { TOKEN = 'hunter2' }
";

fn project() -> Project {
    let project = Project::new(SHAPE_A, CONFIG);
    std::fs::create_dir(project.path("broken")).unwrap();
    std::fs::write(project.path("broken/r"), "").unwrap();
    project.runchain(&["install", "--reason", "first day"]).exits(0);
    project.sql("INSERT INTO runs(run_id, status) VALUES ('r', 'COMPLETED');");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    project
}

fn audit(project: &Project, arguments: &[&str]) -> Vec<Value> {
    let ran = project
        .runchain(&[&["audit", "--json"], arguments].concat())
        .exits(0);
    ran.json().as_array().unwrap().clone()
}

fn of<'a>(entry: &'a Value, keys: &[&str]) -> Vec<&'a str> {
    keys.iter()
        .map(|key| entry[key].as_str().unwrap_or("-"))
        .collect()
}

/// Login and host as the system's own programs say.
fn said_by(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn the_command_line_is_audited_by_login_uid_and_host_whatever_user_says() {
    let project = project();
    let output = project
        .command(&["retry", "--reason", "disk was full", "r"])
        .env("USER", "somebody-else")
        .env("SUDO_USER", "ann")
        .env("SUDO_UID", "4711")
        .output()
        .unwrap();
    assert!(output.status.success());
    std::fs::remove_file(project.path("broken/r")).unwrap();
    project.runchain(&["drain", "--until-idle"]).exits(0);
    let entries = audit(&project, &["--action", "retry"]);
    assert_eq!(entries.len(), 1);
    let (login, uid, host) = (said_by("id", "-un"), said_by("id", "-u"), said_by("uname", "-n"));
    assert_eq!(
        entries[0]["actor"],
        format!("{login}({uid})@{host} via sudo by ann(4711)")
    );
    assert_eq!(
        entries[0]["who"],
        json!({"by": "command line", "login": login, "uid": uid.parse::<u32>().unwrap(), "host": host,
               "sudo_by": {"login": "ann", "uid": 4711}})
    );
    assert_eq!(entries[0]["reason"], "disk was full");
    for name in [login.as_str(), "ann", "4711"] {
        assert_eq!(
            audit(&project, &["--actor", name, "--action", "retry"]).len(),
            1,
            "{name}"
        );
    }
    assert_eq!(audit(&project, &["--actor", "somebody-else"]).len(), 0);
}

#[test]
fn a_request_tells_the_states_before_and_after() {
    let project = project();
    project.runchain(&["retry", "r"]).exits(0);
    project
        .runchain(&["pause", "--reason", "disk is being changed", "archive"])
        .exits(0);
    project.runchain(&["drain", "--once"]).exits(0);
    project.runchain(&["resume", "archive"]).exits(0);
    project.runchain(&["cancel", "r"]).exits(0);
    project.runchain(&["drain", "--once"]).exits(0);
    let entries = audit(&project, &[]);
    let find = |action: &str| entries.iter().find(|entry| entry["action"] == action).unwrap();
    let steps = |archive: &str, report: &str| json!({"phase": "completed", "generation": 1, "steps": {"archive": archive, "report": report}});
    assert_eq!(find("retry")["before"], steps("dead", "waiting"));
    assert_eq!(find("retry")["after"], steps("ready", "waiting"));
    assert_eq!(find("pause")["before"], json!({"paused": null}));
    assert_eq!(
        find("pause")["after"]["paused"]["reason"],
        "disk is being changed"
    );
    assert_eq!(
        find("resume")["before"]["paused"]["reason"],
        "disk is being changed"
    );
    assert_eq!(find("resume")["after"], json!({"paused": null}));
    assert_eq!(find("cancel")["after"], steps("cancelled", "cancelled"));
}

#[test]
fn sql_functions_say_their_process_and_a_plain_insert_what_was_given() {
    let project = project();
    let shell = format!(
        ".load {}\nSELECT runchain_pause('archive', 'by function');\n",
        extension().display()
    );
    Sqlite::Stock.run(&project.database(), &shell).output();
    project.sql("INSERT INTO runchain_queue(action, step, actor, reason) VALUES ('resume', 'archive', 'nightly job', 'by insert'), ('resume', 'archive', NULL, NULL);");
    project.runchain(&["drain", "--once"]).exits(0);
    let entries = audit(&project, &["--since", "1h"]);
    let requests: Vec<&Value> = entries
        .iter()
        .filter(|entry| entry["type"] == "REQUEST")
        .collect();
    let (uid, host) = (said_by("id", "-u"), said_by("uname", "-n"));
    let function = format!("sql:{uid}@{host}");
    let keys = ["action", "actor", "reason", "answer"];
    assert_eq!(
        of(requests[0], &keys),
        ["pause", function.as_str(), "by function", "done"]
    );
    assert_eq!(
        of(requests[1], &keys),
        ["resume", "nightly job", "by insert", "done"]
    );
    assert_eq!(of(requests[2], &keys), ["resume", "-", "-", "nothing_to_do"]);
    assert_eq!(requests[1]["who"], Value::Null);
}

#[test]
fn a_repair_and_another_capture_stay_in_the_trail() {
    let project = project();
    project.sql("DROP TRIGGER runchain_capture_delete;");
    for _ in 0..2 {
        // The second finds nothing to mend, and isn't an event.
        project
            .runchain(&["install", "--repair", "--reason", "alembic"])
            .exits(0);
    }
    project
        .runchain(&["install", "--capture", "sweep", "--reason", "dba"])
        .exits(0);
    let entries = audit(&project, &[]);
    let [_, repair, sweep] = entries.as_slice() else {
        panic!("{entries:?}");
    };
    assert_eq!(of(repair, &["action", "reason"]), ["repair", "alembic"]);
    assert!(repair["actor"].is_string(), "{repair}");
    assert_eq!(
        repair["before"]["faults"],
        json!(["runchain_capture_delete is missing"])
    );
    assert_eq!(of(sweep, &["action", "reason"]), ["install", "dba"]);
    assert_eq!(sweep["before"]["capture"], "triggers");
    assert_eq!(sweep["after"]["capture"], "sweep");
}

#[test]
fn what_the_executor_repairs_by_itself_stays_in_the_trail() {
    let project = project();
    project.configure("auto_repair = true\n");
    let service = project.service();
    project.sql("DROP TRIGGER runchain_capture_delete;");
    project.until(
        "SELECT count(*) FROM runchain_events WHERE type = 'TRIGGERS_RESTORED'",
        "1",
    );
    assert!(service.terminate().success());
    let entries = audit(&project, &["--action", "repair"]);
    let [repair] = entries.as_slice() else {
        panic!("{entries:?}");
    };
    assert_eq!(repair["reason"], "auto_repair");
    assert!(repair["actor"].as_str().unwrap().contains(")@"), "{repair}");
    assert_eq!(
        repair["before"]["faults"],
        json!(["runchain_capture_delete is missing"])
    );
}

#[test]
fn install_and_uninstall_stay_in_the_trail() {
    let project = project();
    project.runchain(&["uninstall", "--reason", "last day"]).exits(0);
    let entries = audit(&project, &[]);
    assert_eq!(of(&entries[0], &["action", "reason"]), ["install", "first day"]);
    assert_eq!(entries[0]["before"]["table"], Value::Null);
    assert_eq!(entries[0]["after"]["table"]["table"], "runs");
    let last = entries.last().unwrap();
    assert_eq!(of(last, &["action", "reason"]), ["uninstall", "last day"]);
    assert_eq!(last["before"]["table"]["table"], "runs");
    assert_eq!(last["after"]["table"], Value::Null);
    project.runchain(&["uninstall", "--purge"]).exits(0);
    project.runchain(&["audit"]).exits(9);
}

#[test]
fn a_service_says_that_it_began_what_a_reload_changed_and_why_it_ended() {
    let project = project();
    let service = project.service();
    let done = |action: &str| {
        format!(
            "SELECT count(*) FROM runchain_events WHERE type = 'OPERATOR_ACTION' AND json_extract(data, '$.action') = '{action}'"
        )
    };
    project.until(&done("executor_start"), "1");
    project.configure(&format!("workers = 7\n{}", CONFIG.replace("hunter2", "hunter3")));
    service.signal(Signal::HUP);
    project.until(&done("config_reload"), "1");
    assert!(service.terminate().success());
    let entries = audit(&project, &["--actor", &said_by("id", "-un")]);
    let find = |action: &str| entries.iter().find(|entry| entry["action"] == action).unwrap();
    assert_eq!(
        find("executor_start")["after"]["version"],
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(
        (&find("config_reload")["before"], &find("config_reload")["after"]),
        (
            &json!({"workers": 4, "steps.archive.env": "(not shown)"}),
            &json!({"workers": 7, "steps.archive.env": "(changed, not shown)"})
        )
    );
    assert_eq!(find("executor_stop")["after"]["why"], "SIGTERM");
    // The service itself has projected all of it.
    let logged = project.log("monitor.jsonl");
    let actions: Vec<&str> = logged
        .iter()
        .filter(|line| line["event"] == "OPERATOR_ACTION")
        .filter_map(|line| line["data"]["action"].as_str())
        .collect();
    assert_eq!(actions, ["executor_start", "config_reload", "executor_stop"]);
    assert!(!format!("{logged:?}").contains("hunter"));
}

#[test]
fn the_table_is_read_by_a_person_and_nothing_found_says_so() {
    let project = project();
    project
        .runchain(&["retry", "--reason", "disk was full", "r"])
        .exits(0);
    project.runchain(&["drain", "--until-idle"]).exits(0);
    let ran = project.runchain(&["audit"]).exits(0);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(lines[0].starts_with("AT (UTC)"), "{}", ran.stdout);
    assert!(
        lines[1].contains("install") && lines[1].contains("first day"),
        "{}",
        ran.stdout
    );
    let last = lines.last().unwrap();
    assert!(
        last.contains("retry")
            && last.contains("done: archive dead -> ready")
            && last.ends_with("disk was full"),
        "{}",
        ran.stdout
    );
    let nothing = project.runchain(&["audit", "--run", "nobody"]).exits(0);
    assert_eq!(nothing.stdout, "nothing of that kind was asked for or done\n");
    let wrong = project.runchain(&["audit", "--since", "yesterday"]).exits(2);
    assert!(
        wrong.stderr.contains("--since \"yesterday\" is no time"),
        "{}",
        wrong.stderr
    );
    assert_eq!(audit(&project, &["--limit", "1"])[0]["action"], "retry");
}

#[test]
fn what_a_command_takes_in_is_audited_once() {
    let project = project();
    std::fs::write(
        project.path("events.jsonl"),
        "{\"event_id\":\"e1\",\"event_type\":\"x\"}\nno json\n",
    )
    .unwrap();
    for _ in 0..2 {
        project
            .runchain(&["ingest", "--reason", "late delivery", "events.jsonl"])
            .exits(0);
    }
    let entries = audit(&project, &["--action", "ingest"]);
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["reason"], "late delivery");
    assert_eq!(
        (&entries[0]["after"]["stored"], &entries[0]["after"]["rejected"]),
        (&json!(1), &json!(1))
    );
}
