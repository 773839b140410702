//! What is in a bag.

use crate::archive::fixture::{ENDED_AT, Fixture, UUID, ended, run, sha256sum, tree};
use crate::archive::{Bag, Ended, verify};
use serde_json::{Value, json};
use std::os::unix::fs::symlink;

fn lines(bag: &Bag, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(bag.path.join(name)).unwrap_or_else(|_| panic!("no {name}"));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn names(bag: &Bag) -> Value {
    serde_json::from_slice(&std::fs::read(bag.path.join("data/names.json")).unwrap()).unwrap()
}

fn payload(bag: &Bag) -> Vec<String> {
    tree(&bag.path.join("data"))
        .into_iter()
        .map(|(path, _)| path.to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_bag_of_shape_a_holds_everything_of_the_run_and_nothing_else() {
    let fixture = Fixture::shape_a();
    let id = run("run-1");
    let bag = fixture.seal(&ended(&id));
    assert_eq!(bag.path, fixture.path(".archive/run-1"));
    assert_eq!(
        payload(&bag),
        [
            "events/ingested.jsonl",
            "events/lifecycle.jsonl",
            "names.json",
            "run.json",
            "tables/errors.jsonl",
            "tables/events.jsonl",
            "tables/step_attempts.jsonl",
            "tables/uet_executions.jsonl",
            "tables/workstreams.jsonl",
        ]
    );
    assert_eq!(
        std::fs::read_to_string(bag.path.join("data/run.json")).unwrap(),
        "{\"run_id\":\"run-1\",\"status\":\"COMPLETED\",\"created_at\":\"2026-01-31T12:00:00+00:00\",\
         \"updated_at\":\"2026-01-31T12:00:05.25+00:00\",\"metadata_json\":\"{\\\"who\\\":\\\"ünï\\\"}\"}\n"
    );
    let ids = |name: &str, key: &str| -> Vec<Value> {
        lines(&bag, name).iter().map(|row| row[key].clone()).collect()
    };
    assert_eq!(ids("data/tables/step_attempts.jsonl", "id"), [1, 3, 4]);
    assert_eq!(ids("data/events/ingested.jsonl", "event_id"), ["EVT-1", "EVT-2"]);
    assert_eq!(ids("data/events/lifecycle.jsonl", "id"), [1, 2, 3]);
    assert_eq!(
        names(&bag)["tables"]["data/tables/events.jsonl"],
        json!({ "table": "events", "rows": 2 })
    );
}

#[test]
fn a_bag_passes_sha256sum_and_its_own_check_and_has_only_the_runs_date() {
    let fixture = Fixture::shape_b();
    let id = run("run-1");
    let bag = fixture.seal(&ended(&id));
    for manifest in ["manifest-sha256.txt", "tagmanifest-sha256.txt"] {
        let output = sha256sum(&bag.path, manifest);
        assert!(output.status.success(), "{output:?}");
    }
    let verified = verify(&bag.path).unwrap();
    assert_eq!(
        (verified.digest, verified.size_bytes, verified.payload_files),
        (bag.digest.clone(), bag.size_bytes, bag.payload_files)
    );
    let on_disk: usize = tree(&bag.path).iter().map(|(_, content)| content.len()).sum();
    assert_eq!(bag.size_bytes, on_disk as u64);
    let info = std::fs::read_to_string(bag.path.join("bag-info.txt")).unwrap();
    let payload_bytes: usize = tree(&bag.path.join("data")).iter().map(|(_, c)| c.len()).sum();
    assert_eq!(
        info,
        format!(
            "Bag-Software-Agent: runchain\nBagging-Date: 2026-01-31\nExternal-Identifier: run-1\n\
             Payload-Oxum: {payload_bytes}.6\nRunchain-Database: {UUID}\n\
             Runchain-Ended-At: 2026-01-31T12:00:05.250+00:00\nRunchain-Generation: 1\n\
             Runchain-Phase: completed\nRunchain-Status: COMPLETED\n"
        )
    );
    assert_eq!(
        std::fs::read_to_string(bag.path.join("bagit.txt")).unwrap(),
        "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
    );
}

#[test]
fn a_damaged_bag_is_found_out() {
    type Damage = fn(&Bag);
    let damages: [(Damage, &str); 7] = [
        (
            |bag| std::fs::write(bag.path.join("data/run.json"), "{}").unwrap(),
            "data/run.json",
        ),
        (
            |bag| std::fs::write(bag.path.join("data/extra"), "").unwrap(),
            "in no manifest",
        ),
        (
            |bag| std::fs::remove_file(bag.path.join("data/names.json")).unwrap(),
            "data/names.json is not there; move it aside and archive the run again",
        ),
        (
            |bag| std::fs::remove_file(bag.path.join("tagmanifest-sha256.txt")).unwrap(),
            "run-1 is damaged: tagmanifest-sha256.txt is not there; move it aside",
        ),
        (
            |bag| std::fs::write(bag.path.join("manifest-sha256.txt"), [0xff]).unwrap(),
            "is damaged: manifest-sha256.txt",
        ),
        (
            |bag| std::fs::write(bag.path.join("bag-info.txt"), "").unwrap(),
            "bag-info.txt",
        ),
        (
            |bag| {
                let path = bag.path.join("data/run.json");
                std::fs::rename(&path, bag.path.with_extension("elsewhere")).unwrap();
                symlink(bag.path.with_extension("elsewhere"), path).unwrap();
            },
            "run.json",
        ),
    ];
    for (damage, expected) in damages {
        let fixture = Fixture::shape_b();
        let id = run("run-1");
        let bag = fixture.seal(&ended(&id));
        damage(&bag);
        let error = verify(&bag.path).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn every_kind_of_table_and_value_is_read() {
    let fixture = Fixture::shape_a();
    fixture.sql(
        r#"
        PRAGMA foreign_keys = OFF;
        CREATE TABLE pairs(a TEXT, b INTEGER, RUN_ID TEXT, v, PRIMARY KEY (a, b)) WITHOUT ROWID;
        INSERT INTO pairs VALUES ('x', 2, 'run-1', 'late'), ('x', 1, 'run-1', 'early'), ('a', 9, 'run-2', NULL);
        CREATE TABLE child(owner TEXT REFERENCES RUNS, other TEXT REFERENCES workstreams, v);
        INSERT INTO child VALUES ('run-1', NULL, x'00ff'), (NULL, 'run-1', 'not ours'), ('run-1', NULL, NULL),
          ('run-1', NULL, 9e999), ('run-1', NULL, -9e999), ('run-1', NULL, 1.0), ('run-1', NULL, 9007199254740993),
          ('run-1', NULL, CAST(x'66ff' AS TEXT)), ('run-1', NULL, 'a' || char(0) || char(10) || '😀'), ('run-1', NULL, '');
        CREATE TABLE shadowed(rowid TEXT, run_id TEXT, parent TEXT REFERENCES runs(run_id));
        INSERT INTO shadowed VALUES ('z', 'run-1', 'run-1'), ('a', 'run-2', 'run-1'), ('b', 'run-2', 'run-2');
        CREATE TABLE "a/b 'c' "" ☂"(run_id TEXT, "col ""x" TEXT, twice AS (run_id || run_id));
        INSERT INTO "a/b 'c' "" ☂" VALUES ('run-1', '1');
        CREATE TABLE "a_b__c_____"(run_id TEXT);
        INSERT INTO "a_b__c_____" VALUES ('run-1');
        CREATE TABLE empty(run_id TEXT);
        CREATE VIEW all_of_it AS SELECT * FROM runs;
        "#,
    );
    let id = run("run-1");
    let bag = fixture.seal(&ended(&id));
    assert_eq!(
        std::fs::read_to_string(bag.path.join("data/tables/pairs.jsonl")).unwrap(),
        "{\"a\":\"x\",\"b\":1,\"RUN_ID\":\"run-1\",\"v\":\"early\"}\n\
         {\"a\":\"x\",\"b\":2,\"RUN_ID\":\"run-1\",\"v\":\"late\"}\n"
    );
    let values: Vec<String> = lines(&bag, "data/tables/child.jsonl")
        .iter()
        .map(|row| row["v"].to_string())
        .collect();
    assert_eq!(
        values,
        [
            r#"{"blob_hex":"00ff"}"#,
            "null",
            r#"{"real":"Infinity"}"#,
            r#"{"real":"-Infinity"}"#,
            "1.0",
            "9007199254740993",
            r#"{"text_hex":"66ff"}"#,
            r#""a\u0000\n😀""#,
            r#""""#,
        ]
    );
    // Found by two columns at once: once in the bag.
    assert_eq!(
        lines(&bag, "data/tables/shadowed.jsonl"),
        [
            json!({ "rowid": "z", "run_id": "run-1", "parent": "run-1" }),
            json!({ "rowid": "a", "run_id": "run-2", "parent": "run-1" }),
        ]
    );
    let tables = names(&bag)["tables"].as_object().unwrap().clone();
    let odd: Vec<&String> = tables
        .iter()
        .filter(|(_, entry)| entry["table"] == "a/b 'c' \" ☂" || entry["table"] == "a_b__c_____")
        .map(|(path, _)| path)
        .collect();
    assert_eq!(odd.len(), 2);
    assert!(odd.iter().all(|path| bag.path.join(path).is_file()));
    let strange = tables
        .iter()
        .find(|(_, entry)| entry["table"] == "a/b 'c' \" ☂")
        .unwrap()
        .0;
    assert_eq!(
        lines(&bag, strange),
        [json!({ "run_id": "run-1", "col \"x": "1", "twice": "run-1run-1" })]
    );
    assert!(
        !payload(&bag)
            .iter()
            .any(|name| name.contains("empty") || name.contains("all_of_it"))
    );
    assert!(sha256sum(&bag.path, "manifest-sha256.txt").status.success());
}

#[test]
fn a_table_of_many_pages_is_complete_and_in_order_with_and_without_an_index() {
    let fixture = Fixture::shape_a();
    // 25,000 rows are more than two windows of a scan; every third row is the run's.
    fixture.sql(
        "CREATE TABLE plain(n INTEGER, run_id TEXT, twin TEXT REFERENCES runs);
         CREATE TABLE indexed(n INTEGER, run_id TEXT, pad TEXT);
         CREATE INDEX by_run ON indexed(run_id);
         CREATE TABLE keyed(a INTEGER, b INTEGER, run_id TEXT, PRIMARY KEY (a DESC, b)) WITHOUT ROWID;
         WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 25000)
         INSERT INTO plain SELECT n, iif(n % 3 = 0, 'run-1', 'x'), iif(n % 6 = 1, 'run-1', NULL) FROM c;
         INSERT INTO indexed SELECT n, run_id, printf('%5000s', '') FROM plain WHERE n <= 3000;
         INSERT INTO keyed SELECT n % 10, n, run_id FROM plain;
         CREATE TABLE sparse(n INTEGER, run_id TEXT);
         INSERT INTO sparse SELECT n, iif(n IN (1, 25000), 'run-1', 'x') FROM plain;
         CREATE TABLE folded(a TEXT COLLATE NOCASE, run_id TEXT, PRIMARY KEY (a COLLATE BINARY)) WITHOUT ROWID;
         INSERT INTO folded VALUES ('a', 'run-1');
         INSERT INTO folded SELECT printf('k%d', n), 'run-1' FROM plain WHERE n <= 400;
         INSERT INTO folded SELECT printf('K%d', n), 'run-1' FROM plain WHERE n <= 400;",
    );
    let id = run("run-1");
    let bag = fixture.seal(&ended(&id));
    let numbers = |table: &str, column: &str| -> Vec<i64> {
        lines(&bag, &format!("data/tables/{table}.jsonl"))
            .iter()
            .map(|row| row[column].as_i64().unwrap())
            .collect()
    };
    let plain: Vec<i64> = (1..=25_000).filter(|n| n % 3 == 0 || n % 6 == 1).collect();
    assert_eq!(numbers("plain", "n"), plain);
    let indexed: Vec<i64> = (1..=3_000).filter(|n| n % 3 == 0).collect();
    assert_eq!(numbers("indexed", "n"), indexed);
    let mut keyed: Vec<i64> = (1..=25_000).filter(|n| n % 3 == 0).collect();
    keyed.sort_by_key(|n| (n % 10, *n));
    assert_eq!(numbers("keyed", "b"), keyed);
    // A window without any of the run's rows lies between these two.
    assert_eq!(numbers("sparse", "n"), [1, 25_000]);
    // Keys that are equal by the column's collation, but not by the key's own.
    assert_eq!(lines(&bag, "data/tables/folded.jsonl").len(), 801);
}

#[test]
fn an_id_column_called_id_is_found_under_the_tables_name_elsewhere() {
    let mut fixture = Fixture::new(
        "CREATE TABLE jobs(id INTEGER PRIMARY KEY, state TEXT);
         INSERT INTO jobs VALUES (7, 'done'), (8, 'done');
         CREATE TABLE logs(job_id INTEGER, line TEXT);
         INSERT INTO logs VALUES (7, 'ours'), (8, 'not ours');
         CREATE TABLE loose(jobs_id, line TEXT);
         INSERT INTO loose VALUES (7, 'number'), ('7', 'text');
         CREATE TABLE other(id INTEGER PRIMARY KEY);
         INSERT INTO other VALUES (7);",
        "state",
    );
    fixture.mapping.table = "jobs".into();
    fixture.mapping.id_column = "id".into();
    let id = run("7");
    let bag = fixture.seal(&ended(&id));
    assert_eq!(
        lines(&bag, "data/run.json"),
        [json!({ "id": 7, "state": "done" })]
    );
    assert_eq!(
        lines(&bag, "data/tables/logs.jsonl"),
        [json!({ "job_id": 7, "line": "ours" })]
    );
    assert_eq!(lines(&bag, "data/tables/loose.jsonl").len(), 2);
    assert!(!payload(&bag).contains(&"tables/other.jsonl".to_owned()));
}

#[test]
fn globs_take_the_runs_files_and_never_the_database_or_our_own_output() {
    let mut fixture = Fixture::shape_a();
    fixture.conn.pragma_update(None, "journal_mode", "wal").unwrap();
    fixture.sql("INSERT INTO settings VALUES ('a', 'b')");
    for (name, content) in [
        ("logs/run-1/out.log", "out"),
        ("logs/run-1/deep/a b.txt", "ab"),
        ("logs/run-2/out.log", "other run"),
        ("reports/run-1_summary.json", "report"),
        (".archive/old/x", "bag"),
        ("big", "0123456789"),
    ] {
        fixture.write(name, content.as_bytes());
    }
    std::fs::hard_link(fixture.path(".state/orchestration.db"), fixture.path("linked.db")).unwrap();
    symlink(fixture.path("big"), fixture.path("logs/run-1/link")).unwrap();
    symlink("/etc", fixture.path("logs/run-1/etc")).unwrap();
    fixture.options.files = vec!["logs/{run_id}/**".into(), "**/*".into()];
    let id = run("run-1");
    let bag = fixture.seal(&ended(&id));
    let files = names(&bag)["files"].as_object().unwrap().clone();
    let paths: Vec<&str> = files
        .values()
        .map(|entry| entry["path"].as_str().unwrap())
        .collect();
    assert_eq!(
        paths,
        [
            "big",
            "logs/run-1/deep/a b.txt",
            "logs/run-1/out.log",
            "logs/run-2/out.log"
        ]
    );
    assert_eq!(
        std::fs::read(bag.path.join("data/files/logs_run-1_deep_a_b.txt")).unwrap(),
        b"ab"
    );
    assert_eq!(
        names(&bag)["skipped"],
        json!({ "logs/run-1/etc": "a symlink", "logs/run-1/link": "a symlink" })
    );
    // The locks of this process are whole: a second connection still can't write past ours.
    fixture.sql("BEGIN IMMEDIATE");
    let second = rusqlite::Connection::open(fixture.path(".state/orchestration.db")).unwrap();
    second.busy_timeout(std::time::Duration::ZERO).unwrap();
    assert!(second.execute_batch("BEGIN IMMEDIATE").is_err());
}

#[test]
fn a_glob_never_leaves_the_root() {
    let mut fixture = Fixture::shape_a();
    let outside = tempfile::TempDir::new().unwrap();
    std::fs::write(outside.path().join("secret"), "s").unwrap();
    symlink(outside.path(), fixture.path("link")).unwrap();
    let absolute = format!("{}/*", outside.path().display());
    fixture.options.files = vec!["link/*".into(), "../*".into(), absolute, "missing/**".into()];
    let id = run("run-1");
    let bag = fixture.seal(&ended(&id));
    assert_eq!(names(&bag)["files"], json!({}));
    assert_eq!(names(&bag)["skipped"]["link"], "a symlink");
    fixture.options.files = vec!["[".into()];
    assert!(fixture.refusal(&ended(&id)).contains("\"[\""));
}

#[test]
fn an_id_that_is_no_path_component_is_not_filled_into_a_glob() {
    let mut fixture = Fixture::shape_a();
    fixture.write("logs/secret", b"s");
    fixture.write("logs/*/x", b"star");
    fixture.write("logs/b/x", b"other");
    fixture.options.files = vec!["logs/{run_id}".into(), "logs/{run_id}/*".into()];
    for id in ["../logs/secret", "", ".", "..", "*"] {
        fixture
            .conn
            .execute("INSERT INTO runs VALUES (?1, 'DONE', '', '', NULL)", [id])
            .unwrap();
    }
    for id in ["../logs/secret", "", ".", ".."] {
        let bag = fixture.seal(&ended(&run(id)));
        assert_eq!(names(&bag)["files"], json!({}), "{id}");
        assert_eq!(names(&bag)["skipped"].as_object().unwrap().len(), 2, "{id}");
    }
    let bag = fixture.seal(&ended(&run("*")));
    let files = names(&bag)["files"].as_object().unwrap().clone();
    assert_eq!(files.len(), 1);
    assert_eq!(files.values().next().unwrap()["path"], "logs/*/x");
}

#[test]
fn executing_it_five_times_leaves_the_same_bytes_as_once() {
    let mut fixture = Fixture::shape_a();
    fixture.write("logs/run-1/out.log", b"out");
    fixture.options.files = vec!["logs/{run_id}/*".into()];
    let id = run("run-1");
    let first = fixture.seal(&ended(&id));
    assert!(!first.unchanged);
    let before = tree(&fixture.options.archive_dir);
    for time in 2..=5 {
        // Our own bookkeeping goes on, and the clock too.
        fixture.sql("INSERT INTO archival_log(run_id) VALUES ('run-1'); INSERT INTO runchain_events(at_ms, type, run_id) VALUES (1, 'RUN_ARCHIVED', 'run-1')");
        let again = fixture.seal(&Ended {
            ended_at: ENDED_AT,
            ..ended(&id)
        });
        assert!(again.unchanged && again.replaced.is_none(), "time {time}");
        assert_eq!(again.digest, first.digest);
        assert_eq!(tree(&fixture.options.archive_dir), before);
    }
    // Thrown away and made anew, it is the same bag.
    std::fs::remove_dir_all(&first.path).unwrap();
    assert_eq!(fixture.seal(&ended(&id)), first);
    assert_eq!(tree(&fixture.options.archive_dir), before);
}

#[test]
fn a_run_whose_row_is_gone_is_refused() {
    let fixture = Fixture::shape_a();
    let id = run("no-such-run");
    assert!(fixture.refusal(&ended(&id)).contains("no row in table runs"));
}
