//! Steps of the user's own: which runs they are for, what they get, what their end means, what stays
//! when the configuration changes, and what is asked of the configuration beforehand.

mod asked;
mod config_file;
mod docs;
mod examples;
mod generations;

use crate::support::{Project, Service, eventually};
use serde_json::{Value, json};
use std::fs;

fn end_as(project: &Project, run_id: &str, status: &str) {
    project.sql(&format!(
        "INSERT OR REPLACE INTO runs(run_id, status, created_at, updated_at, metadata_json)
         VALUES ('{run_id}', '{status}', '2026-01-31T12:00:00Z', '2026-01-31T12:00:05Z', '{{\"a\": 1}}');"
    ));
}

/// "step state" of a run's newest chain, in order.
fn chain(project: &Project, run_id: &str) -> Vec<String> {
    project.lines(&format!(
        "SELECT step || ' ' || state FROM runchain_steps WHERE run_id = '{run_id}'
           AND generation = (SELECT generation FROM runchain_runs WHERE run_id = '{run_id}') ORDER BY id;"
    ))
}

fn field(project: &Project, run_id: &str, step: &str, column: &str) -> String {
    let sql = format!(
        "SELECT {column} FROM runchain_steps WHERE run_id = '{run_id}' AND step = '{step}' ORDER BY id DESC LIMIT 1;"
    );
    project.sql(&sql).trim_end().to_owned()
}

#[track_caller]
fn says(service: &Service, text: &str) {
    eventually(&format!("the service to say {text:?}"), || {
        let told = service.told();
        if told.contains(text) { Ok(()) } else { Err(told) }
    });
}

fn read_json(project: &Project, name: &str) -> Value {
    serde_json::from_slice(&fs::read(project.path(name)).unwrap()).unwrap()
}

#[test]
fn a_step_runs_for_the_runs_that_it_is_for_and_others_wait_only_for_steps_that_are_there() {
    let project = Project::installed(
        r#"
[steps.report]
on = ["completed"]
[steps.collect]
command = ["true"]
on = ["failed"]
after = ["archive"]
[steps.ticket]
command = ["true"]
on = ["failed"]
after = ["collect", "report"]
[steps.mine]
command = ["true"]
on = ["failed", "cancelled", "completed"]
where = { run_id = ["a", "c"] }
after = ["ticket"]
[steps.typo]
command = ["true"]
where = { projekt = "x" }
"#,
    );
    end_as(&project, "a", "COMPLETED");
    end_as(&project, "b", "TIMEOUT");
    end_as(&project, "c", "killed");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(chain(&project, "a"), ["archive done", "report done", "mine done"]);
    assert_eq!(
        chain(&project, "b"),
        ["archive done", "collect done", "ticket done"]
    );
    assert_eq!(chain(&project, "c"), ["archive done", "mine done"]);
    // In the place of what is not there, what that would have waited for.
    assert_eq!(field(&project, "a", "mine", "needs"), r#"["archive","report"]"#);
    assert_eq!(field(&project, "c", "mine", "needs"), r#"["archive"]"#);
    let skipped: Vec<Value> = project
        .log("archival.jsonl")
        .into_iter()
        .filter(|line| line["event"] == "STEP_SKIPPED")
        .collect();
    assert_eq!(skipped.len(), 3);
    assert_eq!(skipped[0]["data"]["step"], "typo");
    assert_eq!(
        skipped[0]["data"]["reason"],
        "its `where` names the column projekt, which the table of runs has not"
    );
    let shown = project.runchain(&["show", "a"]).exits(0).stdout;
    assert!(shown.contains("STEP_SKIPPED"), "{shown}");
}

#[test]
fn a_dead_step_that_is_not_required_does_not_make_the_chain_incomplete() {
    let project = Project::installed(
        r#"
[steps.upload]
command = ["false"]
after = ["archive"]
max_attempts = 1
require = false
[steps.ticket]
command = ["true"]
after = ["upload", "report"]
"#,
    );
    end_as(&project, "r", "COMPLETED");
    let finished = project.runchain(&["finish", "--run", "r"]).exits(0);
    assert!(
        finished.stdout.contains("dead"),
        "it is said: {}",
        finished.stdout
    );
    assert_eq!(
        chain(&project, "r"),
        ["archive done", "report done", "upload dead", "ticket done"]
    );
    let shown = project.runchain(&["show", "r"]).exits(0).stdout;
    assert!(shown.contains("dead, not required"), "{shown}");
    project.runchain(&["exec", "upload", "--run", "r"]).exits(14);
}

const PEEK: &str = r#"
[steps.first]
command = ["sh", "-c", 'echo log; echo "{\"url\": \"s3://x\", \"n\": 1}"; echo noise >&2']
[steps.second]
command = ["sh", "-c", 'cat > stdin.json; env > env.txt; echo "[1]"']
after = ["first", "report"]
env = { TOKEN = "hunter2-{run_id}" }
pass_env = ["HANDED"]
"#;

#[test]
fn a_command_is_told_the_run_and_what_the_steps_before_it_left() {
    let project = Project::installed(PEEK);
    end_as(&project, "r", "FAILED");
    let mut finish = project.command(&["finish", "--run", "r"]);
    finish.env("HANDED", "over").env("AWS_SECRET_ACCESS_KEY", "no");
    assert!(finish.output().unwrap().status.success());
    let uuid = project.sql("SELECT value FROM runchain_meta WHERE key = 'database_uuid';");
    let key = format!("{}.1.1.second.r", uuid.trim());
    let told = read_json(&project, "stdin.json");
    let members: Vec<&String> = told.as_object().unwrap().keys().collect();
    assert_eq!(
        members,
        [
            "run_id",
            "generation",
            "status",
            "phase",
            "ended_at",
            "step",
            "attempt",
            "idempotency_key",
            "database",
            "run",
            "results"
        ]
    );
    assert_eq!(
        told["run"],
        json!({
            "run_id": "r", "status": "FAILED", "created_at": "2026-01-31T12:00:00Z",
            "updated_at": "2026-01-31T12:00:05Z", "metadata_json": "{\"a\": 1}",
        })
    );
    assert_eq!(
        (&told["phase"], &told["status"]),
        (&json!("failed"), &json!("FAILED"))
    );
    assert_eq!(told["idempotency_key"], key);
    assert_eq!(told["results"]["first"], json!({ "url": "s3://x", "n": 1 }));
    assert_eq!(
        told["results"]["archive"]["path"],
        project.path(".archive/r").display().to_string(),
        "archive comes before report"
    );
    let env = fs::read_to_string(project.path("env.txt")).unwrap();
    let value = |name: &str| -> Option<String> {
        let line = env
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.map(str::to_owned)
    };
    let path = |name: &str| Some(project.path(name).display().to_string());
    assert_eq!(value("RUNCHAIN_BAG"), path(".archive/r"));
    assert_eq!(value("RUNCHAIN_REPORT"), path("reports/r_summary.json"));
    assert_eq!(value("RUNCHAIN_DATABASE"), path(".state/orchestration.db"));
    assert_eq!(value("RUNCHAIN_IDEMPOTENCY_KEY"), Some(key));
    assert_eq!(value("RUNCHAIN_PHASE").as_deref(), Some("failed"));
    let allowed = [
        "PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "HANDED", "TOKEN", "PWD", "SHLVL", "_", "OLDPWD",
    ];
    for line in env.lines() {
        let name = line.split('=').next().unwrap();
        assert!(
            name.starts_with("RUNCHAIN_") || allowed.contains(&name),
            "{name} leaked"
        );
    }
    // No object, no result; noise on standard error hides none.
    assert_eq!(field(&project, "r", "second", "result"), "null");
    let shown = project.runchain(&["show", "r", "--json"]).exits(0).json();
    let first = shown["steps"]
        .as_array()
        .unwrap()
        .iter()
        .find(|step| step["step"] == "first");
    assert_eq!(first.unwrap()["result"]["url"], "s3://x");
    let shown = project.runchain(&["show", "r"]).exits(0).stdout;
    assert!(shown.contains("url s3://x, n 1"), "{shown}");
}

#[test]
fn a_step_sees_no_bag_that_it_does_not_come_after() {
    let project =
        Project::installed("[steps.early]\ncommand = ['sh', '-c', 'env > env.txt; cat > stdin.json']\n");
    end_as(&project, "r", "FAILED");
    project.runchain(&["finish", "--run", "r"]).exits(0);
    // Done again, when the bag is there.
    project.runchain(&["exec", "early", "--run", "r"]).exits(0);
    let env = fs::read_to_string(project.path("env.txt")).unwrap();
    assert!(
        !env.contains("RUNCHAIN_BAG") && !env.contains("RUNCHAIN_REPORT"),
        "{env}"
    );
    assert_eq!(read_json(&project, "stdin.json")["results"], json!({}));
}

#[test]
fn a_command_that_does_not_read_its_input_does_not_fail_by_that() {
    let project = Project::installed("[steps.deaf]\ncommand = ['sh', '-c', 'exec <&-; echo fine']\n");
    project.sql(
        "INSERT INTO runs(run_id, status, metadata_json) VALUES ('r', 'DONE', hex(randomblob(2000000)));",
    );
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(
        field(&project, "r", "deaf", "state || trim(output_tail, char(10))"),
        "donefine"
    );
}

#[test]
fn a_result_that_is_too_long_is_none_and_that_is_said() {
    let script = r#"printf '{"x": "%070000d"}\n' 1"#;
    let project = Project::installed(&format!(
        "[steps.long]\ncommand = ['sh', '-c', '''{script}''']\noutput_bytes = 10\n"
    ));
    end_as(&project, "r", "FAILED");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(
        field(&project, "r", "long", "state || ' ' || result"),
        "done null"
    );
    let tail = field(&project, "r", "long", "output_tail");
    assert!(
        tail.starts_with("[no result: the last line has 70010 bytes, and 65536 is the most]"),
        "{tail}"
    );
}

#[test]
fn exit_codes_say_whether_trying_again_helps() {
    let project = Project::installed(
        r#"
[steps.code]
command = ["sh", "-c", '''n=$(cat "n-$RUNCHAIN_RUN_ID" 2>/dev/null || echo 0); echo $((n + 1)) > "n-$RUNCHAIN_RUN_ID"
  [ "$n" -ge 4 ] || exit "$RUNCHAIN_RUN_ID"''']
max_attempts = 2
"#,
    );
    for code in ["1", "64", "65", "75", "77", "78", "100"] {
        end_as(&project, code, "FAILED");
    }
    project.runchain(&["drain", "--until-idle"]).exits(0);
    let of = |code: &str| {
        let starts = fs::read_to_string(project.path(&format!("n-{code}"))).unwrap();
        (field(&project, code, "code", "state"), starts.trim().to_owned())
    };
    for code in ["1", "100"] {
        assert_eq!(of(code), ("dead".to_owned(), "2".to_owned()), "{code}");
    }
    for code in ["64", "65", "77", "78"] {
        assert_eq!(of(code), ("dead".to_owned(), "1".to_owned()), "{code}: never");
    }
    // Not now: five starts of at most two, and then it is done.
    assert_eq!(of("75"), ("done".to_owned(), "5".to_owned()));
    let error = field(&project, "64", "code", "error");
    assert_eq!(
        error,
        r#""sh" ended with exit code 64, which means that trying again can't help"#
    );
}

#[test]
fn the_idempotency_key_is_that_of_the_step_and_not_of_the_attempt() {
    let project = Project::installed(
        "[steps.key]\ncommand = ['sh', '-c', 'echo \"$RUNCHAIN_IDEMPOTENCY_KEY\" >> keys; test \"$RUNCHAIN_ATTEMPT\" = 3']\n",
    );
    end_as(&project, "r", "FAILED");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    end_as(&project, "r", "RUNNING");
    end_as(&project, "r", "FAILED");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    let keys = fs::read_to_string(project.path("keys")).unwrap();
    let keys: Vec<&str> = keys.lines().collect();
    assert_eq!(keys.len(), 6);
    assert!(keys[..3].iter().all(|key| *key == keys[0]), "{keys:?}");
    assert!(keys[3..].iter().all(|key| *key == keys[3]), "{keys:?}");
    assert_ne!(keys[0], keys[3], "another generation");
}

#[test]
fn a_chain_keeps_the_definition_it_began_with() {
    let before = r#"
[steps.gate]
command = ["sh", "-c", 'touch begun; while [ ! -e go ]; do sleep 0.05; done']
[steps.limited]
command = ["false"]
after = ["gate"]
max_attempts = 2
[steps.slow]
command = ["sh", "-c", "exec sleep 600"]
after = ["gate"]
timeout_ms = 300
max_attempts = 1
[steps.gone]
command = ["true"]
after = ["gate"]
[steps.last]
command = ["true"]
after = ["gate"]
"#;
    // Other limits, another order, a step less and one more.
    let after = r#"
[steps.gate]
command = ["true"]
[steps.limited]
command = ["false"]
after = ["gate"]
max_attempts = 7
[steps.slow]
command = ["sh", "-c", "exec sleep 600"]
after = ["gate"]
timeout_ms = 500000
[steps.last]
command = ["touch", "new-command"]
after = ["limited", "slow"]
on = ["completed"]
[steps.added]
command = ["touch", "added"]
after = ["gate"]
"#;
    let project = Project::installed(before);
    let service = project.service();
    end_as(&project, "r", "FAILED");
    eventually("the gate to begin", || {
        if project.path("begun").exists() {
            Ok(())
        } else {
            Err("not yet".to_owned())
        }
    });
    project.configure(after);
    service.signal(rustix::process::Signal::HUP);
    says(&service, "the configuration was read again");
    fs::write(project.path("go"), "").unwrap();
    project.until(
        "SELECT count(*) FROM runchain_steps WHERE state IN ('done', 'dead')",
        "7",
    );
    assert_eq!(
        chain(&project, "r"),
        [
            "archive done",
            "report done",
            "gate done",
            "gone dead",
            "last done",
            "limited dead",
            "slow dead"
        ]
    );
    assert_eq!(field(&project, "r", "limited", "attempts"), "2");
    assert!(field(&project, "r", "slow", "error").ends_with("after its timeout of 300 ms"));
    assert_eq!(
        field(&project, "r", "gone", "error"),
        "no step gone is configured any more; add [steps.gone] again and retry it, or cancel it"
    );
    assert!(
        project.path("new-command").exists(),
        "only the file says what a step runs"
    );
    assert!(!project.path("added").exists());
    // Asked for again, it is the same chain; the next generation is the new one.
    let refused = project.runchain(&["exec", "added", "--run", "r"]).exits(21);
    assert!(
        refused.stderr.contains("a chain keeps the definition"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_restart_with_another_file_changes_nothing_of_a_chain_under_way() {
    let project = Project::installed(
        "[steps.upload]\ncommand = ['true']\nafter = ['archive']\n[steps.ticket]\ncommand = ['false']\nafter = ['upload']\nrequire = false\nmax_attempts = 2\n\
         [steps.last]\ncommand = ['true']\nafter = ['ticket']\n",
    );
    end_as(&project, "r", "FAILED");
    project.runchain(&["archive", "--run", "r"]).exits(0);
    let began = || {
        project.sql("SELECT step, needs, max_attempts, required, timeout_ms FROM runchain_steps ORDER BY id;")
    };
    let before = began();
    project.configure(
        "[steps.upload]\ncommand = ['true']\non = ['completed']\n[steps.ticket]\ncommand = ['false']\n[steps.last]\ncommand = ['true']\nafter = ['ticket', 'more']\ntimeout_ms = 5\n\
         [steps.more]\ncommand = ['true']\n",
    );
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(began(), before);
    assert_eq!(
        chain(&project, "r"),
        [
            "archive done",
            "report done",
            "upload done",
            "ticket dead",
            "last done"
        ]
    );
    assert_eq!(field(&project, "r", "ticket", "attempts"), "2");
    end_as(&project, "r", "RUNNING");
    end_as(&project, "r", "FAILED");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(
        chain(&project, "r"),
        [
            "archive done",
            "report done",
            "more done",
            "ticket dead",
            "last waiting"
        ],
        "the next generation is the new file's"
    );
}

#[test]
fn a_command_is_not_told_what_is_redacted() {
    let project = Project::installed(
        "[redact]\ncolumns = ['runs.created_at']\nkeys = ['*secret*']\n\
         [steps.first]\ncommand = ['sh', '-c', '''echo '{\"url\": 1, \"secret\": \"s3cret\"}' ''']\n\
         [steps.second]\ncommand = ['sh', '-c', 'cat > stdin.json']\nafter = ['first']\n",
    );
    project
        .sql("INSERT INTO runs VALUES ('r', 'FAILED', 's3cret', 't', '{\"secret\": \"s3cret\", \"b\": 2}');");
    project.runchain(&["finish", "--run", "r"]).exits(0);
    let told = read_json(&project, "stdin.json");
    assert_eq!(told["run"]["created_at"], "[redacted]");
    assert_eq!(told["run"]["metadata_json"], r#"{"secret":"[redacted]","b":2}"#);
    assert_eq!(
        told["results"]["first"],
        json!({ "url": 1, "secret": "[redacted]" })
    );
    let shown = project
        .runchain(&["exec", "second", "--run", "r", "--dry-run"])
        .exits(0)
        .stdout;
    assert!(
        shown.contains("[redacted]") && !shown.contains("s3cret"),
        "{shown}"
    );
}
