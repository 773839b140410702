//! Forgetting a run, from outside: its bytes are gone, the rest is untouched, it does not come back.

use crate::support::{Project, SHAPE_A, extension};
use serde_json::Value;
use std::fs;
use std::io::{Read, Seek, SeekFrom};

const SECRET: &str = "patient-4711-leukaemia";
const PAYLOAD: &str = "payload-of-the-secret-run";

/// Every file of the project that still holds a text, by its bytes or in its name.
fn holders(project: &Project, text: &str) -> Vec<String> {
    let tree = project.tree("");
    assert!(
        tree.iter().any(|(name, _)| name == ".state/orchestration.db"),
        "the database is looked at"
    );
    let needle = text.as_bytes();
    tree.into_iter()
        .filter(|(name, bytes)| {
            name.contains(text) || bytes.windows(needle.len()).any(|window| window == needle)
        })
        .map(|(name, _)| name)
        .collect()
}

/// A project with a run that shall be forgotten and one that shall not.
fn project(journal_mode: &str, config: &str) -> Project {
    let project = Project::new(SHAPE_A, config);
    project.sql(&format!("PRAGMA journal_mode = {journal_mode};"));
    project.runchain(&["install"]).exits(0);
    for run in [SECRET, "other"] {
        project.sql(&format!(
            "INSERT INTO runs(run_id, status, metadata_json) VALUES ('{run}', 'RUNNING', '{PAYLOAD} of {run}');
             UPDATE runs SET status = 'COMPLETED' WHERE run_id = '{run}';"
        ));
        fs::write(
            project.path("events.jsonl"),
            format!(
                "{{\"event_id\":\"e-{run}\",\"event_type\":\"pattern.execution.failed\",\"timestamp\":\"2026-01-01T00:00:00Z\",\
                 \"job_id\":\"{run}\",\"pattern_run_id\":\"p-{run}\",\"details\":{{\"error_message\":\"{PAYLOAD} of {run}\"}}}}\n"
            ),
        )
        .unwrap();
        project.runchain(&["ingest", "events.jsonl"]).exits(0);
        fs::remove_file(project.path("events.jsonl")).unwrap();
    }
    project.runchain(&["drain", "--until-idle"]).exits(0);
    project.runchain(&["drain", "--until-idle"]).exits(0);
    project
}

/// The numbers of every line of every log, rotated ones included.
fn seqs(project: &Project) -> Vec<i64> {
    let logs = project.tree("logs").into_iter();
    let mut seqs: Vec<i64> = logs
        .filter(|(name, _)| name.ends_with(".jsonl"))
        .flat_map(|(_, bytes)| {
            let lines = String::from_utf8(bytes).unwrap();
            let lines = lines
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap());
            lines.filter_map(|line| line["seq"].as_i64()).collect::<Vec<_>>()
        })
        .collect();
    seqs.sort_unstable();
    seqs
}

#[test]
fn no_byte_of_a_forgotten_run_is_left_in_database_wal_logs_bags_or_reports() {
    for journal_mode in ["wal", "delete"] {
        let project = project(journal_mode, "logs.rotate_bytes = 1\n");
        assert!(holders(&project, SECRET).len() > 5);
        assert!(
            fs::read_dir(project.path("logs")).unwrap().count() > 4,
            "rotated logs are looked at"
        );
        let before = seqs(&project);
        project.sql(&format!("DELETE FROM runs WHERE run_id = '{SECRET}';"));
        project.runchain(&["drain", "--until-idle"]).exits(0);

        let told = project
            .runchain(&["forget", "--dry-run", "--json", SECRET])
            .exits(0)
            .json();
        assert!(holders(&project, SECRET).len() > 5, "a dry run erases nothing");
        let done = project
            .runchain(&["forget", "--vacuum", "--json", "--reason", "asked for", SECRET])
            .exits(0)
            .json();
        for what in ["rows", "bags", "reports", "log_lines"] {
            assert_eq!(done[what], told[what], "{what}");
        }
        assert_eq!(done["bags"], 1);
        assert_eq!(done["reports"], 3);
        assert_eq!(holders(&project, SECRET), [""; 0], "{journal_mode}");
        assert_eq!(
            holders(&project, &format!("{PAYLOAD} of {SECRET}")),
            [""; 0],
            "{journal_mode}"
        );

        // The other run is as it was, and every log line is still a line.
        assert!(project.path(".archive/other/bagit.txt").exists());
        assert_eq!(
            project.lines("SELECT run_id || ' ' || count(*) FROM runchain_steps GROUP BY run_id;"),
            ["other 2"]
        );
        project.runchain(&["drain", "--until-idle"]).exits(0);
        let after = seqs(&project);
        assert!(
            after.len() > before.len() && after.windows(2).all(|pair| pair[0] < pair[1]),
            "{after:?}"
        );

        // What is left says that, and who, and which bags; not whom.
        let tombstone = project.sql(
            "SELECT json_object('run', run_sha256, 'reason', reason, 'actor', actor, 'bags', json(digests)) FROM runchain_forgotten;",
        );
        let tombstone: Value = serde_json::from_str(tombstone.trim()).unwrap();
        // printf patient-4711-leukaemia | sha256sum
        assert_eq!(tombstone["run"], HASH);
        assert_eq!(tombstone["reason"], "asked for");
        assert!(tombstone["actor"].is_string(), "{tombstone}");
        assert_eq!(tombstone["bags"].as_array().unwrap().len(), 1);
        let event = project.sql(
            "SELECT data FROM runchain_events WHERE type = 'OPERATOR_ACTION' AND json_extract(data, '$.action') = 'forget';",
        );
        let event: Value = serde_json::from_str(event.trim()).unwrap();
        assert_eq!(event["after"]["run"], HASH);
        assert_eq!(event["after"]["bags"], tombstone["bags"]);
        assert_eq!(event["actor"], tombstone["actor"]);
    }
}

const HASH: &str = "sha256:9f1bc17d64006b5fc75a18bfc99f5f2b2a67429cd27b1a388da3e1230f391fc2";

/// It may be somebody else's folder, so it stays; and it may hold the run, so that is said.
#[test]
fn a_bag_that_does_not_say_whose_it_is_is_left_and_not_passed_over() {
    let project = project("wal", "");
    project.sql(&format!("DELETE FROM runs WHERE run_id = '{SECRET}';"));
    project.runchain(&["drain", "--until-idle"]).exits(0);
    let bag = project.path(".archive").join(SECRET);
    fs::remove_file(bag.join("bag-info.txt")).unwrap();
    let rehearsed = project
        .runchain(&["forget", SECRET, "--dry-run", "--json"])
        .exits(1)
        .json();
    assert_eq!(rehearsed["left"], serde_json::json!([bag]));
    let told = project.runchain(&["forget", SECRET]).exits(1).stderr;
    assert!(
        told.contains(&format!("{} stands under the name of a bag", bag.display()))
            && told.contains("remove it yourself"),
        "{told}"
    );
    assert!(
        holders(&project, PAYLOAD)
            .iter()
            .any(|name| name.contains(SECRET))
    );
    fs::remove_dir_all(&bag).unwrap();
    let again = project.runchain(&["forget", SECRET, "--json"]).exits(0).json();
    assert_eq!(again["left"], serde_json::json!([]));
}

#[test]
fn a_forgotten_run_does_not_come_back_by_sweep_trigger_or_request() {
    let project = project("wal", "sweep_ms = 100\n");
    let told = project.runchain(&["forget", SECRET]).exits(0).stderr;
    assert!(told.contains("your own row"), "{told}");
    // By a write that a trigger sees, by request, and by a sweep, which looks at every row.
    project.sql(&format!(
        "UPDATE runs SET status = 'RUNNING' WHERE run_id = '{SECRET}';
         UPDATE runs SET status = 'FAILED' WHERE run_id = '{SECRET}';
         INSERT INTO runchain_queue(action, run_id) VALUES ('enqueue_chain', '{SECRET}');
         INSERT INTO runs(run_id, status) VALUES ('new', 'COMPLETED');"
    ));
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(project.sql("SELECT count(*) FROM runchain_queue;").trim(), "0");
    for table in [
        "runchain_runs",
        "runchain_steps",
        "runchain_events",
        "archival_log",
    ] {
        let rows = project.sql(&format!(
            "SELECT count(*) FROM {table} WHERE run_id = '{SECRET}';"
        ));
        assert_eq!(rows.trim(), "0", "{table}");
    }
    assert!(project.path(".archive/new/bagit.txt").exists());
    assert!(!project.path(".archive").join(SECRET).exists());
    // Whoever asks for it hears why nothing happens, and nobody waits for it.
    for command in [
        &["finish", "--run", SECRET][..],
        &["exec", "report", "--run", SECRET],
        &["exec", "report", "--run", SECRET, "--dry-run"],
        &["wait", SECRET],
        &["show", SECRET],
    ] {
        let said = project.runchain(command).exits(13).stderr;
        assert!(said.contains("forgotten"), "{command:?}: {said}");
    }
    let asked = format!(
        ".load {}\nSELECT enqueue_chain('{SECRET}');",
        extension().display()
    );
    let answer: Value = serde_json::from_str(project.sql(&asked).trim()).unwrap();
    assert_eq!(
        (&answer["answer"], &answer["queued"]),
        (&"forgotten".into(), &false.into())
    );
    // Again is no error: what was interrupted is finished so.
    project.runchain(&["forget", SECRET]).exits(0);
    project.runchain(&["forget", "never heard of"]).exits(13);
}

#[test]
fn forgetting_beside_a_living_executor_moves_no_byte_under_a_reader_of_the_logs() {
    let project = project("wal", "");
    let service = project.service();
    // The reader's place is the end of a line.
    project.until_told();
    let path = project.path("logs/monitor.jsonl");
    let mut reader = fs::File::open(&path).unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let offset = reader.stream_position().unwrap();
    project.runchain(&["forget", SECRET]).exits(0);
    project.sql("INSERT INTO runs(run_id, status) VALUES ('later', 'COMPLETED');");
    project.until(
        "SELECT count(*) FROM runchain_steps WHERE run_id = 'later' AND state = 'done'",
        "2",
    );
    assert!(service.terminate().success());
    // What was read before is as long as it was, and what follows begins with a line.
    reader.seek(SeekFrom::Start(0)).unwrap();
    let mut again = String::new();
    reader.read_to_string(&mut again).unwrap();
    let (old, new) = again.split_at(usize::try_from(offset).unwrap());
    assert!(!old.contains(SECRET), "{old}");
    assert!(new.starts_with("{\"seq\":") && new.contains("\"later\""), "{new}");
    let lengths = |text: &str| text.lines().map(str::len).collect::<Vec<_>>();
    assert_eq!(lengths(old), lengths(&text));
    for line in again.lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
}

#[test]
fn an_active_run_or_one_at_work_is_not_forgotten() {
    let project = Project::new(
        SHAPE_A,
        "[steps.gate]\ncommand = ['sh', '-c', 'until [ -e open ]; do sleep 0.05; done']\n",
    );
    project.runchain(&["install"]).exits(0);
    project.sql("INSERT INTO runs(run_id, status) VALUES ('active', 'RUNNING'), ('at work', 'COMPLETED');");
    let service = project.service();
    project.until("SELECT state FROM runchain_steps WHERE step = 'gate'", "running");
    let refused = project.runchain(&["forget", "active"]).exits(1).stderr;
    assert!(refused.contains("is active"), "{refused}");
    let refused = project.runchain(&["forget", "at work"]).exits(1).stderr;
    assert!(refused.contains("gate"), "{refused}");
    fs::write(project.path("open"), "").unwrap();
    project.until("SELECT count(*) FROM runchain_steps WHERE state = 'done'", "3");
    assert!(service.terminate().success());
    project.runchain(&["forget", "at work"]).exits(0);
    assert_eq!(project.lines("SELECT run_id FROM runchain_runs;"), ["active"]);
}

#[test]
fn a_held_or_flagged_run_is_forgotten_and_its_batch_does_not_wait_for_it() {
    let project = Project::new(
        SHAPE_A,
        "storm.max_transitions = 2\n[[flags]]\ntable = 'events'\n",
    );
    project.runchain(&["install"]).exits(0);
    project.runchain(&["drain", "--until-idle"]).exits(0);
    // The first of a batch: the batch's row says so, and stays.
    project.sql(&format!(
        "INSERT INTO runs(run_id, status)
         VALUES ('{SECRET}', 'COMPLETED'), ('a', 'COMPLETED'), ('b', 'COMPLETED');
         INSERT INTO runs(run_id, status) VALUES ('flagged-{SECRET}', 'RUNNING');
         UPDATE runchain_queue SET at_ms = at_ms - 60000;"
    ));
    project.runchain(&["drain", "--until-idle"]).exits(0);
    project.sql(&format!(
        "INSERT INTO events(run_id, event_type) VALUES ('flagged-{SECRET}', 'run_completed');"
    ));
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(
        project.lines("SELECT run_id FROM runchain_flagged;"),
        [format!("flagged-{SECRET}")]
    );

    for run in [SECRET.to_owned(), format!("flagged-{SECRET}")] {
        project.runchain(&["forget", &run]).exits(0);
    }
    let held = project.runchain(&["held", "--json"]).exits(0).json();
    assert_eq!((&held[0]["held"], &held[0]["left"]), (&3.into(), &2.into()));
    project.runchain(&["held", "release", "1"]).exits(0);
    project.runchain(&["drain", "--until-idle"]).exits(0);
    let held = project.runchain(&["held", "--json"]).exits(0).json();
    assert_eq!(
        (&held[0]["state"], &held[0]["left"]),
        (&"released".into(), &0.into())
    );

    // The user's own rows are the user's, and so are the free pages here.
    project.sql(&format!(
        "DELETE FROM runs WHERE run_id LIKE '%{SECRET}';
         DELETE FROM events;"
    ));
    project.runchain(&["drain", "--until-idle"]).exits(0);
    project.sql("VACUUM;");
    assert_eq!(holders(&project, SECRET), [""; 0]);
}
