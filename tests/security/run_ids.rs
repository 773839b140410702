//! Any text, integer or real can be a run's id. None leads out of its folder, shares one, breaks a
//! line of a log, or becomes a word of its own in a command.

use crate::support::{Project, tree};
use rusqlite::Connection;
use rusqlite::types::Value as Sql;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;

fn ids() -> Vec<Sql> {
    let texts = [
        "../../x",
        "/etc/cron.d/x",
        "-rf",
        "--help",
        "nul\0byte",
        "line\nbreak\r\n",
        "q'uo\"te`s",
        "a; DROP TABLE runs; --",
        "$(touch pwned)",
        "{run_id}",
        "%s%n",
        "\u{202e}txt.exe\u{2066}",
        "line\u{2028}separator",
        "\u{1b}[2J\u{7}",
        "",
        " ",
        ".",
        "..",
        "a/b",
        "A/b",
        "a_b",
        "CON",
        ".staging-x",
        "\u{fffd}",
        "é",
        "e\u{301}",
    ];
    let mut ids: Vec<Sql> = texts.map(|text| Sql::Text(text.to_owned())).into();
    ids.push(Sql::Text("x".repeat(10_000)));
    ids.extend([
        Sql::Integer(-7),
        Sql::Integer(i64::MAX),
        Sql::Real(1.5),
        Sql::Real(f64::INFINITY),
    ]);
    ids
}

/// The id as runchain names it.
fn as_text(id: &Sql) -> String {
    match id {
        Sql::Text(text) => text.clone(),
        Sql::Integer(number) => number.to_string(),
        Sql::Real(number) => number.to_string(),
        other => panic!("{other:?} is no id"),
    }
}

fn json(path: &std::path::Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_hostile_run_id_stays_in_its_folder_on_its_line_and_in_its_word() {
    // The column has no type, so that a number stays one.
    let parent = tempfile::tempdir().unwrap();
    let project = Project::within(
        parent.path(),
        "CREATE TABLE runs(run_id PRIMARY KEY, status TEXT NOT NULL);",
        "archive.files = ['artifacts/{run_id}/**']
         [steps.tell]
         after = ['archive']
         max_attempts = 1
         command = ['sh', '-c', 'printf %s \"$1\" | sha256sum', 'sh', 'id={run_id}']
         ",
    );
    project.runchain(&["install"]).exits(0);
    let conn = Connection::open(project.database()).unwrap();
    let ids = ids();
    for id in &ids {
        conn.execute("INSERT INTO runs VALUES (?1, 'COMPLETED')", [id])
            .unwrap();
    }
    // Not followed, and in nobody's way.
    conn.execute("INSERT INTO runs VALUES (x'00ff', 'COMPLETED')", [])
        .unwrap();
    conn.execute("INSERT INTO runs VALUES (NULL, 'COMPLETED')", [])
        .unwrap();
    drop(conn);
    project.runchain(&["drain", "--until-idle"]);

    let expected: BTreeSet<String> = ids.iter().map(as_text).collect();
    assert_eq!(expected.len(), ids.len());
    let entries = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(project.path(folder)).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    // Every id has a folder, with its own row in it.
    let folders = entries(".archive");
    let of_bags: BTreeSet<String> = folders
        .iter()
        .map(|folder| {
            let lines =
                fs::read_to_string(project.path(".archive").join(folder).join("data/run.json")).unwrap();
            assert_eq!(lines.lines().count(), 1, "{folder}");
            match &serde_json::from_str::<Value>(&lines).unwrap()["run_id"] {
                Value::String(text) => text.clone(),
                Value::Object(infinite) => infinite["real"].as_str().unwrap().replace("Infinity", "inf"),
                number => number.to_string(),
            }
        })
        .collect();
    assert_eq!(of_bags, expected);
    assert_eq!(folders.len(), ids.len());
    for folder in &folders {
        let info = fs::read_to_string(project.path(".archive").join(folder).join("bag-info.txt")).unwrap();
        assert_eq!(info.lines().count(), 9, "{info}");
        let checked = std::process::Command::new("sha256sum")
            .args([
                "--quiet",
                "--check",
                "manifest-sha256.txt",
                "tagmanifest-sha256.txt",
            ])
            .current_dir(project.path(".archive").join(folder))
            .output()
            .unwrap();
        assert!(checked.status.success(), "{folder}: {checked:?}");
    }
    // So has every report.
    let reports: BTreeSet<String> = entries("reports");
    assert_eq!(
        reports.len(),
        3 * ids.len() + 1,
        "summary, metrics and page of each, and the list"
    );
    let of_reports: BTreeSet<String> = reports
        .iter()
        .filter(|name| name.ends_with(".json"))
        .map(|name| {
            json(&project.path("reports").join(name))["run_id"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(of_reports, expected);
    // Project::log parses each line; each id is whole on one.
    for (log, event) in [
        ("monitor.jsonl", "RUN_COMPLETED"),
        ("archival.jsonl", "RUN_ARCHIVED"),
    ] {
        let lines = project.log(log);
        let of_log: BTreeSet<String> = lines
            .iter()
            .filter(|line| line["event"] == event)
            .map(|line| line["run_id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(of_log, expected, "{log}");
    }
    // A command gets the id as one word. Only a NUL can't be in one: that step fails in a sentence.
    let told =
        project.lines("SELECT state, count(*) FROM runchain_steps WHERE step = 'tell' GROUP BY 1 ORDER BY 1");
    assert_eq!(told, ["dead|1".to_owned(), format!("done|{}", ids.len() - 1)]);
    assert!(
        project
            .sql("SELECT error FROM runchain_steps WHERE step = 'tell' AND state = 'dead'")
            .contains("NUL character")
    );
    // Nothing stands anywhere else.
    let top: BTreeSet<String> = entries(".");
    let wanted = [".archive", ".state", "logs", "reports", "runchain.toml"];
    assert_eq!(top, wanted.map(str::to_owned).into());
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    let pwned = tree(project.root())
        .into_iter()
        .find(|(name, _)| name.ends_with("/pwned") || name == "pwned");
    assert_eq!(pwned, None);
}

#[test]
fn a_terminal_is_not_moved_by_an_id() {
    let project = Project::new(
        "CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT NOT NULL);",
        "",
    );
    project.runchain(&["install"]).exits(0);
    let conn = Connection::open(project.database()).unwrap();
    for id in ["\u{1b}[2J", "a\nb", "\u{202e}fdp.exe", "\u{2028}"] {
        conn.execute("INSERT INTO runs VALUES (?1, 'COMPLETED')", [id])
            .unwrap();
    }
    project.runchain(&["drain", "--until-idle"]).exits(0);
    for command in [
        &["status"][..],
        &["show", "\u{202e}fdp.exe"],
        &["show", "\u{1b}[2J"],
    ] {
        let printed = project.runchain(command);
        for hostile in ["\u{1b}", "\u{202e}", "\u{2028}"] {
            let text = printed.stdout.clone() + &printed.stderr;
            assert!(
                !text.contains(hostile),
                "{command:?} prints {hostile:?}:\n{text:?}"
            );
        }
    }
}
