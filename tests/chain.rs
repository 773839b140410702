//! A run's chain from its end to its reports: in the foreground, again and again, by commands of the
//! user's own, with ids of every kind, with late rows, re-runs and deletes.

use crate::support::{Project, eventually, run, tree};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

fn end(project: &Project, run_id: &str) {
    project.sql(&format!(
        "INSERT OR REPLACE INTO runs(run_id, status, created_at, updated_at)
         VALUES ('{run_id}', 'COMPLETED', '2026-01-31T12:00:00Z', '2026-01-31T12:00:05Z');"
    ));
}

fn step(project: &Project, run_id: &str, step: &str, column: &str) -> String {
    let row = format!("WHERE run_id = '{run_id}' AND step = '{step}' ORDER BY generation DESC LIMIT 1;");
    project
        .sql(&format!("SELECT {column} FROM runchain_steps {row}"))
        .trim_end()
        .to_owned()
}

/// `sha256sum -c` on both manifests, as a person would.
#[track_caller]
fn verify(bag: &Path) {
    for manifest in ["manifest-sha256.txt", "tagmanifest-sha256.txt"] {
        let mut check = Command::new("sha256sum");
        run(
            check
                .args(["--check", "--strict", "--quiet", manifest])
                .current_dir(bag),
            "",
        )
        .output();
    }
}

fn bags(project: &Project) -> Vec<String> {
    let Ok(entries) = fs::read_dir(project.path(".archive")) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_foreground_commands_answer_for_every_kind_of_run() {
    for command in ["archive", "report", "finish"] {
        let project = Project::installed("");
        end(&project, "over");
        end(&project, "gone");
        end(&project, "again");
        project.sql("INSERT INTO runs(run_id, status) VALUES ('active', 'RUNNING');");
        for run_id in ["gone", "again"] {
            project.runchain(&["finish", "--run", run_id]).exits(0);
        }
        project.sql("DELETE FROM runs WHERE run_id = 'gone'; UPDATE runs SET status = 'RUNNING' WHERE run_id = 'again';");
        project.runchain(&["drain", "--once"]).exits(0);
        let before = (tree(&project.path(".archive")), tree(&project.path("reports")));
        for (run_id, code, says) in [
            ("nobody", 13, "there is no run nobody in table runs"),
            ("gone", 13, "there is no run gone in table runs"),
            ("active", 1, "run active is not over"),
            ("again", 1, "run again is not over"),
        ] {
            let ran = project.runchain(&[command, "--run", run_id]).exits(code);
            assert!(ran.stderr.contains(says), "{command} {run_id}: {}", ran.stderr);
        }
        let after = (tree(&project.path(".archive")), tree(&project.path("reports")));
        assert!(
            before == after,
            "{command} wrote something for a run that is not over"
        );
        if command == "report" {
            project.runchain(&["archive", "--run", "over"]).exits(0);
        }
        for _ in 0..2 {
            let answer = project
                .runchain(&[command, "--run", "over", "--json"])
                .exits(0)
                .json();
            assert!(
                answer["steps"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|step| step["state"] == "done")
            );
        }
    }
}

#[test]
fn a_report_needs_its_archive_first_and_says_so() {
    let project = Project::installed("");
    end(&project, "r");
    // Before an executor has seen the run, and after.
    for _ in 0..2 {
        let ran = project.runchain(&["report", "--run", "r"]).exits(1);
        let says = "step report of run r waits for a step before it; do the whole chain: runchain finish";
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
    }
    project.runchain(&["archive", "--run", "r"]).exits(0);
    project.runchain(&["report", "--run", "r"]).exits(0);
    verify(&project.path(".archive/r"));
}

#[test]
fn five_executions_leave_the_same_bytes_as_one() {
    let project = Project::installed("archive.files = ['out/{run_id}/**']");
    fs::create_dir_all(project.path("out/r")).unwrap();
    fs::write(project.path("out/r/result.txt"), "42\n").unwrap();
    project.sql("INSERT INTO events(run_id, event_type) VALUES ('r', 'tool_done'), ('r', 'tool_error');");
    end(&project, "r");
    project.runchain(&["finish", "--run", "r"]).exits(0);
    let once = (tree(&project.path(".archive")), tree(&project.path("reports")));
    assert!(once.0.len() > 5 && once.1.len() == 4);
    for command in ["finish", "finish", "archive", "report", "finish"] {
        project.runchain(&[command, "--run", "r"]).exits(0);
    }
    let often = (tree(&project.path(".archive")), tree(&project.path("reports")));
    assert!(once == often, "bytes differ");
    assert_eq!(
        project.sql("SELECT count(*), max(generation) FROM archival_log;"),
        "1|1\n"
    );
    verify(&project.path(".archive/r"));
}

#[test]
fn a_command_gets_its_run_its_environment_and_its_folder_and_nothing_else() {
    let project = Project::installed(
        r#"
[steps.archive]
command = ["sh", "-c", 'cat > stdin.json; env | sort > env.txt; pwd > cwd.txt; printf "%s|" "$@" > args.txt; echo "{\"path\": \"elsewhere\"}"',
           "sh", "--run={run_id}", "{generation}", "{step}", "{}"]
env = { TARGET = "s3://bucket/{run_id}" }
pass_env = ["GIVEN"]
cwd = "tools"
[steps.upload]
command = ["sh", "-c", 'cat > ../upload.json; echo up']
cwd = "tools"
after = ["archive"]
"#,
    );
    fs::create_dir(project.path("tools")).unwrap();
    end(&project, "r 1");
    let mut finish = project.command(&["finish", "--run", "r 1"]);
    finish.env("GIVEN", "yes").env("SECRET", "no");
    assert!(finish.output().unwrap().status.success());
    let read = |name: &str| fs::read_to_string(project.path("tools").join(name)).unwrap();
    assert_eq!(read("args.txt"), "--run=r 1|1|archive|{}|");
    assert_eq!(
        read("cwd.txt").trim_end(),
        project.path("tools").to_str().unwrap()
    );
    let env = read("env.txt");
    for line in [
        "GIVEN=yes",
        "TARGET=s3://bucket/r 1",
        "RUNCHAIN_RUN_ID=r 1",
        "RUNCHAIN_GENERATION=1",
        "RUNCHAIN_STATUS=COMPLETED",
        "RUNCHAIN_STEP=archive",
        "RUNCHAIN_ATTEMPT=1",
    ] {
        assert!(env.lines().any(|one| one == line), "{line} is not in {env}");
    }
    let uuid = project.sql("SELECT value FROM runchain_meta WHERE key = 'database_uuid';");
    assert!(
        env.contains(&format!(
            // Of the run id what can stand in a header; printf 'r 1' | sha256sum
            "RUNCHAIN_IDEMPOTENCY_KEY={}.1.1.archive.r_1~{}\n",
            uuid.trim(),
            "bdb7cfb21ed7b2b2"
        )),
        "{env}"
    );
    assert!(!env.contains("SECRET") && !env.contains("CARGO"), "{env}");
    let stdin: Value = serde_json::from_str(&read("stdin.json")).unwrap();
    assert_eq!(
        (&stdin["run_id"], &stdin["phase"]),
        (&"r 1".into(), &"completed".into())
    );
    // What a step prints as its last line is there for the steps after it.
    let upload: Value = serde_json::from_slice(&fs::read(project.path("upload.json")).unwrap()).unwrap();
    assert_eq!(upload["results"]["archive"]["path"], "elsewhere");
    assert_eq!(
        step(&project, "r 1", "upload", "state || ' ' || output_tail"),
        "done up"
    );
    assert_eq!(
        bags(&project),
        [""; 0],
        "the command replaces the built-in archive"
    );
}

#[test]
fn a_timeout_ends_the_command_and_its_children() {
    let project = Project::installed(
        r#"
[steps.archive]
command = ["sh", "-c", 'sleep 600 & echo $! > child; echo begun; wait']
timeout_ms = 6000
max_attempts = 1
"#,
    );
    end(&project, "r");
    project.runchain(&["finish", "--run", "r"]).exits(14);
    let error = step(
        &project,
        "r",
        "archive",
        "state || ': ' || error || ' ' || output_tail",
    );
    assert!(
        error.starts_with("dead: \"sh\" was ended after its timeout of 6000 ms "),
        "{error}"
    );
    assert!(error.ends_with("begun"), "{error}");
    let child = fs::read_to_string(project.path("child")).unwrap();
    eventually("the grandchild to end", || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
        let over = stat.is_empty()
            || stat
                .rsplit(") ")
                .next()
                .is_some_and(|rest| rest.starts_with(['Z', 'X']));
        if over { Ok(()) } else { Err(stat) }
    });
}

#[test]
fn of_a_long_output_the_end_is_kept() {
    let project = Project::installed(
        "[steps.archive]\ncommand = ['sh', '-c', 'seq 1 200000; echo the end >&2']\noutput_bytes = 100\n",
    );
    end(&project, "r");
    project.runchain(&["finish", "--run", "r"]).exits(0);
    let tail = step(&project, "r", "archive", "output_tail");
    assert!(
        tail.len() < 200 && tail.starts_with('[') && tail.contains(" bytes before this]"),
        "{tail}"
    );
    assert!(tail.contains("the end"), "{tail}");
}

#[test]
fn a_failing_step_is_tried_again_then_dead_with_its_history_and_a_retry_completes_the_chain() {
    let project = Project::installed(
        r#"
[steps.archive]
command = ["sh", "-c", 'echo "attempt $RUNCHAIN_ATTEMPT"; test -e mended']
max_attempts = 3
"#,
    );
    end(&project, "r");
    let ran = project.runchain(&["finish", "--run", "r"]).exits(14);
    assert!(
        ran.stderr.contains("step archive of run r is dead"),
        "{}",
        ran.stderr
    );
    let history = "SELECT f.attempt, f.error, trim(f.output_tail, char(10)) FROM runchain_failures AS f
                   JOIN runchain_steps AS s ON s.id = f.step_id WHERE s.run_id = 'r' ORDER BY f.id;";
    let failed = |attempt: u32| format!("{attempt}|\"sh\" ended with exit code 1|attempt {attempt}");
    assert_eq!(project.lines(history), [failed(1), failed(2), failed(3)]);
    assert_eq!(step(&project, "r", "report", "state"), "waiting");
    let problem = project.sql("SELECT problem, run_id, subject FROM runchain_problems;");
    assert_eq!(problem, "dead step|r|archive\n");
    let events = "SELECT type FROM runchain_events WHERE step = 'archive' ORDER BY id;";
    assert_eq!(project.lines(events), ["STEP_FAILED", "STEP_FAILED", "STEP_DEAD"]);

    fs::write(project.path("mended"), "").unwrap();
    project.runchain(&["retry", "r"]).exits(0);
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(step(&project, "r", "archive", "state || attempts"), "done1");
    assert_eq!(step(&project, "r", "report", "state"), "done");
    assert_eq!(project.lines(history).len(), 3, "the history stays");
    project.runchain(&["finish", "--run", "r"]).exits(0);
}

#[test]
fn a_failed_attempt_waits_before_the_next() {
    let project = Project::installed(
        "retry.base_ms = 3600000\nretry.cap_ms = 3600000\n[steps.archive]\ncommand = ['false']\nmax_attempts = 9\n",
    );
    // The pause is drawn from 0 to the base: of eight runs some wait, almost surely.
    for run_id in 0..8 {
        end(&project, &run_id.to_string());
    }
    project.runchain(&["drain", "--once"]).exits(0);
    let waiting =
        "SELECT count(*) FROM runchain_steps WHERE step = 'archive' AND state = 'ready' AND attempts >= 1
                   AND ready_at_ms > 1000 * CAST(strftime('%s', 'now') AS INTEGER) + 60000;";
    assert!(
        project.sql(waiting).trim().parse::<u32>().unwrap() >= 4,
        "{}",
        project.sql(waiting)
    );
}

/// Ids as SQL literals.
fn hostile_ids() -> Vec<String> {
    let quoted = [
        "--help",
        "-rf",
        "../x",
        "../../x",
        "a/b",
        "/etc/passwd",
        ".",
        "..",
        "",
        "a\nb",
        "🚀 é",
        "a'' b;$(touch pwned)",
    ]
    .map(|id| format!("'{id}'"));
    let mut ids = quoted.to_vec();
    ids.push(format!("'{}'", "x".repeat(300)));
    ids.push("CAST(x'610062' AS TEXT)".to_owned());
    ids
}

#[test]
fn no_run_id_leads_anywhere_it_should_not() {
    let project = Project::installed("archive.files = ['out/{run_id}/*']");
    fs::create_dir_all(project.path("out/x")).unwrap();
    fs::write(project.path("x"), "precious").unwrap();
    let top = |project: &Project| {
        let mut names: Vec<String> = fs::read_dir(project.root())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let ids = hostile_ids();
    for id in &ids {
        project.sql(&format!(
            "INSERT INTO runs(run_id, status) VALUES ({id}, 'COMPLETED');"
        ));
    }
    project.runchain(&["drain", "--until-idle"]).exits(0);
    let states = project.sql("SELECT step, state, count(*) FROM runchain_steps GROUP BY 1, 2;");
    assert_eq!(states, format!("archive|done|{0}\nreport|done|{0}\n", ids.len()));
    assert_eq!(
        top(&project),
        [
            ".archive",
            ".state",
            "logs",
            "out",
            "reports",
            "runchain.toml",
            "x"
        ]
    );
    assert_eq!(bags(&project).len(), ids.len());
    for bag in bags(&project) {
        verify(&project.path(".archive").join(bag));
    }
    assert_eq!(
        fs::read_dir(project.path("reports")).unwrap().count(),
        // Summary, metrics and page of each, and the list.
        3 * ids.len() + 1
    );
    assert!(
        project
            .tree("reports")
            .iter()
            .all(|(name, _)| !name.contains('/'))
    );
    for log in ["monitor.jsonl", "archival.jsonl"] {
        assert!(!project.log(log).is_empty(), "every line of {log} is JSON");
    }
    // The same ids by the command line; a NUL can't be an argument.
    for id in ["--help", "-rf", "../x", "a/b", "", "a\nb", "🚀 é"] {
        project.runchain(&["finish", "--run", id]).exits(0);
        project.runchain(&["show", "--", id]).exits(0);
        project.runchain(&["cancel", "--", id]).exits(0);
    }
    assert_eq!(fs::read(project.path("x")).unwrap(), b"precious");
    assert_eq!(bags(&project).len(), ids.len());
}

#[test]
fn an_id_that_a_command_would_take_for_an_option_is_a_dead_step_that_says_so() {
    let project = Project::installed(
        "[steps.archive]\ncommand = ['sh', '-c', 'printf \"%s\" \"$1\" > got', 'sh', '{run_id}']\n",
    );
    for id in ["'--help'", "CAST(x'610062' AS TEXT)"] {
        project.sql(&format!(
            "INSERT INTO runs(run_id, status) VALUES ({id}, 'COMPLETED');"
        ));
    }
    project.runchain(&["drain", "--until-idle"]).exits(0);
    let errors = project
        .lines("SELECT state, attempts, error FROM runchain_steps WHERE step = 'archive' ORDER BY id;");
    assert!(
        errors[0].starts_with("dead|1|the argument \"{run_id}\" would become \"--help\""),
        "{errors:?}"
    );
    assert!(errors[0].contains("write --option={run_id}"), "{errors:?}");
    assert!(
        errors[1].starts_with("dead|1|") && errors[1].contains("NUL"),
        "{errors:?}"
    );
    assert!(!project.path("got").exists());
    project.sql("INSERT INTO runs(run_id, status) VALUES ('$(touch pwned)', 'COMPLETED');");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(fs::read_to_string(project.path("got")).unwrap(), "$(touch pwned)");
    assert!(!project.path("pwned").exists());
}

#[test]
fn rows_that_come_after_the_end_are_in_the_bag() {
    let project = Project::installed("archive.settle_ms = 500");
    let _service = project.service();
    // The first look has been taken: the step is deferred, with a note. In one statement, so that the row
    // is there before the step begins again.
    let late = |run: &str| {
        project.sql(&format!(
            "INSERT INTO events(run_id, event_type) SELECT run_id, 'late' FROM runchain_steps
             WHERE run_id = '{run}' AND step = 'archive' AND state = 'ready' AND note IS NOT NULL;
             SELECT changes();"
        ))
    };
    // Who is held up for too long meets a sealed bag, and takes another run.
    let run = eventually("a run that waits for quiet", || {
        let number: u32 = project.sql("SELECT count(*) FROM runs;").trim().parse().unwrap();
        let run = format!("r{number}");
        end(&project, &run);
        while step(&project, &run, "archive", "state") != "done" {
            if late(&run) == "1\n" {
                return Ok(run);
            }
        }
        Err(format!("{run} was sealed"))
    });
    project.until(
        &format!("SELECT state FROM runchain_steps WHERE run_id = '{run}' AND step = 'report'"),
        "done",
    );
    let events = project.path(&format!(".archive/{run}/data/tables/events.jsonl"));
    let events = fs::read_to_string(events).unwrap();
    assert!(events.contains("\"late\""), "{events}");
    assert_eq!(
        step(&project, &run, "archive", "attempts"),
        "1",
        "waiting for quiet is no attempt"
    );
}

#[test]
fn a_run_that_is_done_again_has_both_bags() {
    let project = Project::installed("");
    end(&project, "r");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    project.sql("UPDATE runs SET status = 'RUNNING'; UPDATE runs SET status = 'FAILED', updated_at = 't';");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    let names = bags(&project);
    assert!(
        names.len() == 2 && names[0] == "r" && names[1].starts_with("r~g1-"),
        "{names:?}"
    );
    for (name, status) in names.iter().zip(["FAILED", "COMPLETED"]) {
        let bag = project.path(".archive").join(name);
        verify(&bag);
        let row: Value = serde_json::from_slice(&fs::read(bag.join("data/run.json")).unwrap()).unwrap();
        assert_eq!(row["status"], status, "{name}");
    }
    let summary: Value =
        serde_json::from_slice(&fs::read(project.path("reports/r_summary.json")).unwrap()).unwrap();
    assert_eq!(
        (&summary["status"], &summary["generation"]),
        (&"FAILED".into(), &2.into())
    );
    assert_eq!(
        project.sql("SELECT generation FROM archival_log ORDER BY id;"),
        "1\n2\n"
    );
}

/// Such a bag can't be told from others any more; all else goes on.
#[test]
fn a_bag_that_lost_its_tag_manifest_is_named_and_made_again_and_keeps_nothing_waiting() {
    const LOST: &str = "tagmanifest-sha256.txt";
    let project = Project::installed("");
    end(&project, "r");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    fs::remove_file(project.path(".archive/r").join(LOST)).unwrap();
    let verified = project.runchain(&["verify", "--run", "r"]).exits(34);
    assert!(
        verified.stdout.contains("/.archive/r") && verified.stdout.contains(LOST),
        "{}",
        verified.stdout
    );
    let explained = project.runchain(&["explain", "--verify", "r"]).exits(15);
    assert!(
        explained
            .stdout
            .contains(".archive/r is damaged: tagmanifest-sha256.txt is not there; move it aside")
            && explained.stdout.contains("runchain archive --run r"),
        "{}",
        explained.stdout
    );
    project.runchain(&["archive", "--run", "r"]).exits(0);
    verify(&project.path(".archive/r"));
    assert_eq!(bags(&project), ["r", "r~g1-damaged0"]);
    project.runchain(&["verify", "--run", "r"]).exits(0);

    // The run ends again: its chain is done, though the damaged one stands there.
    project.sql("UPDATE runs SET status = 'RUNNING';");
    project.runchain(&["drain", "--once"]).exits(0);
    project.sql("UPDATE runs SET status = 'FAILED';");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(
        step(&project, "r", "report", "state || ' ' || generation"),
        "done 2"
    );

    // So is a pass of retention, which looks through the bags of what was never settled.
    project.sql("UPDATE runchain_steps SET state = 'cancelled' WHERE step = 'archive' AND generation = 2;");
    project.runchain(&["prune"]).exits(0);
    assert_eq!(
        bags(&project).len(),
        3,
        "what is damaged stays for a person to look at"
    );

    // Of a bag that can't be told any more, the one that was put aside is the damaged one.
    project.sql("UPDATE archival_log SET digest = 'sha256:0' WHERE generation = 1;");
    let verified = project.runchain(&["verify", "--run", "r"]).exits(34);
    assert!(
        verified.stdout.contains("r~g1-damaged0  run r, generation 1"),
        "{}",
        verified.stdout
    );
}

#[test]
fn a_run_deleted_while_its_archive_waits_gets_no_bag() {
    let project = Project::installed("archive.settle_ms = 60000");
    end(&project, "r");
    project.runchain(&["drain", "--once"]).exits(0);
    project.sql("DELETE FROM runs;");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(
        project.lines("SELECT state FROM runchain_steps;"),
        ["cancelled", "cancelled"]
    );
    let events =
        "SELECT type FROM runchain_events WHERE run_id = 'r' AND type NOT LIKE 'MONITOR%' ORDER BY id;";
    assert_eq!(
        project.lines(events),
        ["RUN_CREATED", "RUN_COMPLETED", "RUN_DELETED", "CHAIN_CANCELLED"]
    );
    assert_eq!(bags(&project), [""; 0]);
}
