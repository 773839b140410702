//! Each host runs its script in an orchestrator's folder. The answers must be true of that folder,
//! errors must be the host's own exceptions with our text, and a busy database must be one that the
//! host knows as busy.

use crate::support::{Project, apsw_folder, extension, matrix, python_program, repository, run, sqlite3};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::process::Command;

/// A program that loads the extension.
struct Host {
    /// As `docs/hosts.md` calls it.
    name: &'static str,
    /// Its script in this folder.
    script: &'static str,
    /// The command that runs the script, which comes as its last argument.
    command: fn() -> Command,
    /// How this host says that the database is busy, apart from the text.
    busy: &'static str,
}

/// One test a host, and the table of them all.
macro_rules! hosts {
    ($($test:ident: $name:literal, $script:literal, $busy:literal, $command:expr;)*) => {
        const HOSTS: &[Host] = &[$(Host { name: $name, script: $script, command: $command, busy: $busy }),*];
        $(
            #[test]
            fn $test() {
                prove($name);
            }
        )*
    };
}

hosts! {
    sqlite3_shell: "sqlite3 shell", "sqlite3.sql", "(5)", || {
        let mut shell = Command::new(sqlite3());
        shell.args(["-batch", "-list", "-noheader", ".state/orchestration.db"]).env("HOME", "/nonexistent");
        shell
    };
    python: "Python sqlite3", "python.py", "SQLITE_BUSY", || Command::new(python_program());
    apsw_new: "apsw", "python-apsw.py", "BusyError", || {
        let mut python = Command::new(python_program());
        python.env("PYTHONPATH", apsw_folder());
        python
    };
    apsw_old: "apsw before 3.42", "python-apsw.py", "BusyError", || {
        let mut python = Command::new(python_program());
        python.env("PYTHONPATH", matrix("RUNCHAIN_TEST_APSW_OLD"));
        python
    };
    better_sqlite3: "Node better-sqlite3", "better-sqlite3.js", "SQLITE_BUSY", || {
        let mut node = Command::new(matrix("RUNCHAIN_TEST_NODE"));
        node.env("NODE_PATH", matrix("RUNCHAIN_TEST_NODE_PATH"));
        node
    };
    node_sqlite: "Node node:sqlite", "node-sqlite.js", "5", || Command::new(matrix("RUNCHAIN_TEST_NODE"));
    perl: "Perl DBD::SQLite", "perl.pl", "5", || Command::new(matrix("RUNCHAIN_TEST_PERL"));
    ruby: "Ruby sqlite3", "ruby.rb", "BusyException", || Command::new(matrix("RUNCHAIN_TEST_RUBY"));
    php: "PHP SQLite3", "php.php", "5", || {
        let mut php = Command::new(matrix("RUNCHAIN_TEST_PHP"));
        let folder = extension().parent().unwrap();
        php.arg("-d").arg(format!("sqlite3.extension_dir={}", folder.display()));
        php
    };
    tcl: "Tcl sqlite3", "tcl.tcl", "5", || Command::new(matrix("RUNCHAIN_TEST_TCLSH"));
    java: "Java sqlite-jdbc", "Java.java", "5", || {
        let mut java = Command::new(matrix("RUNCHAIN_TEST_JAVA"));
        java.args(["-cp", matrix("RUNCHAIN_TEST_JDBC")]);
        java
    };
}

const EVENTS: &str = concat!(
    r#"{"event_id":"EVT-1","event_type":"pattern.execution.started","timestamp":"2025-01-01T00:00:00+00:00","job_id":"JOB-1","pattern_run_id":"PRUN-1","pattern_id":"PAT-1","status":"in_progress","details":{}}"#,
    "\n",
    r#"{"event_id":"EVT-2","event_type":"pattern.execution.completed","timestamp":"2025-01-01T00:00:01+00:00","job_id":"JOB-1","pattern_run_id":"PRUN-1","pattern_id":"PAT-1","status":"success","details":{}}"#,
    "\nno event\n",
);

/// A folder with runchain installed, a run that ended before that, an event log, and the library.
fn folder() -> Project {
    let project = Project::new(
        "CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT NOT NULL); CREATE TABLE tasks(task_id TEXT);
         INSERT INTO runs VALUES ('run-1', 'COMPLETED');",
        "",
    );
    project.runchain(&["install"]).exits(0);
    fs::write(project.path("pattern_events.jsonl"), EVENTS).unwrap();
    let library = extension();
    std::os::unix::fs::symlink(
        library,
        project.path(library.file_name().unwrap().to_str().unwrap()),
    )
    .unwrap();
    project
}

/// What a script printed, by the first word of each line. The shell prints an error on a line of its
/// own, below its word.
fn answers(printed: &str) -> HashMap<&str, &str> {
    let mut lines = printed.lines();
    let mut answers = HashMap::new();
    while let Some(line) = lines.next() {
        let (word, answer) = match line.split_once(' ') {
            Some(parts) => parts,
            None => (line, lines.next().unwrap_or_default()),
        };
        answers.insert(word, answer);
    }
    answers
}

fn prove(name: &str) {
    let host = HOSTS.iter().find(|host| host.name == name).unwrap();
    let project = folder();
    let path = repository().join("tests/hosts").join(host.script);
    let mut command = (host.command)();
    command.current_dir(project.root());
    let finished = if host.script.ends_with(".sql") {
        run(&mut command, &fs::read_to_string(path).unwrap())
    } else {
        run(command.arg(path), "")
    };
    // The shell has no variables to keep an error in: there it stands on standard error.
    let mut printed = finished.stdout.clone();
    for (word, error) in ["error", "busy"].into_iter().zip(finished.stderr.lines()) {
        printed = printed.replace(&format!("{word}\n"), &format!("{word} {error}\n"));
    }
    let answers = answers(&printed);
    let answer = |word: &str| -> &str {
        answers
            .get(word)
            .unwrap_or_else(|| panic!("no {word} from {name}:\n{}{}", finished.stdout, finished.stderr))
    };
    let json = |word: &str| -> Value { serde_json::from_str(answer(word)).unwrap() };

    validated(&project, &json("validate"));
    assert_eq!(
        json("ingest"),
        json!({
            "path": project.path("pattern_events.jsonl"), "file_id": 1, "identity": "new", "bytes": EVENTS.len(),
            "stored": 2, "duplicate": 0, "rejected": 1, "pending": 0, "unread_times": 0, "format": "pattern",
            "format_by": "detected", "alerts": 0, "underived": 0,
        })
    );
    assert_eq!(
        project.lines("SELECT event_id FROM runchain_ingested ORDER BY 1"),
        ["EVT-1", "EVT-2"]
    );
    for word in ["enqueue", "after"] {
        assert_eq!(
            (&json(word)["run_id"], &json(word)["answer"]),
            (&json!("run-1"), &json!("queued"))
        );
    }
    assert_eq!(answer("second"), env!("CARGO_PKG_VERSION"));
    let error = answer("error");
    assert!(
        error.contains("ingest_events: there is no event log missing.jsonl; name a file"),
        "{error}"
    );
    let busy = answer("busy");
    assert!(
        busy.contains(host.busy) && busy.contains("database is locked"),
        "{busy}"
    );

    // What was asked for in the host is done by an executor: twice asked, once done.
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert!(project.path(".archive/run-1/bagit.txt").is_file());
    assert_eq!(
        project.lines("SELECT step, state FROM runchain_steps ORDER BY step"),
        ["archive|done", "report|done"]
    );

    let page = page();
    let row = rows(&page).into_iter().find(|row| row.host == name).unwrap();
    let proven = format!("{}, SQLite {}", answer("host"), answer("sqlite"));
    // A distribution's versions are its own affair.
    assert!(
        row.proven == proven || row.proven.starts_with("Debian"),
        "{} is {proven}",
        row.proven
    );
}

/// One table is missing, and nothing else is wrong.
fn validated(project: &Project, answer: &Value) {
    let checks = answer["checks"].as_array().unwrap();
    let wrong: Vec<&Value> = checks
        .iter()
        .filter(|check| check["severity"] == "error")
        .collect();
    assert_eq!(answer["ok"], false);
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert_eq!(wrong[0]["check"], "required_tables");
    assert!(
        wrong[0]["found"]
            .as_str()
            .unwrap()
            .starts_with("missing: workstreams;")
    );
    let found = |name: &str| checks.iter().find(|check| check["check"] == name).unwrap();
    assert_eq!(found("database_file")["found"], json!(project.database()));
    assert_eq!(found("triggers")["severity"], "ok");
}

/// A row of the page's first table.
struct Row<'a> {
    host: &'a str,
    proven: &'a str,
    line: &'a str,
}

fn page() -> String {
    fs::read_to_string(repository().join("docs/hosts.md")).unwrap()
}

fn rows(page: &str) -> Vec<Row<'_>> {
    let table = page
        .split("\n\n")
        .find(|part| part.starts_with("| host "))
        .unwrap();
    table
        .lines()
        .skip(2)
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            Row {
                host: cells[0],
                proven: cells[1],
                line: cells[2].trim_matches('`'),
            }
        })
        .collect()
}

#[test]
fn the_page_names_every_host_of_the_matrix_and_no_other_with_a_line_of_its_script() {
    let page = page();
    let rows = rows(&page);
    let named: BTreeSet<&str> = rows.iter().map(|row| row.host).collect();
    let proven: BTreeSet<&str> = HOSTS.iter().map(|host| host.name).collect();
    assert_eq!(named, proven);
    for row in rows {
        let host = HOSTS.iter().find(|host| host.name == row.host).unwrap();
        let script = fs::read_to_string(repository().join("tests/hosts").join(host.script)).unwrap();
        // Statements of one row stand on lines of their own in the script.
        for part in row.line.split("; ") {
            let part = part.trim_end_matches(';');
            assert!(script.contains(part), "{} has no line {part:?}", host.script);
        }
    }
}

#[test]
fn every_script_of_this_folder_is_run() {
    let folder = fs::read_dir(repository().join("tests/hosts")).unwrap();
    let scripts: BTreeSet<String> = folder
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".rs"))
        .collect();
    let run: BTreeSet<String> = HOSTS.iter().map(|host| host.script.to_owned()).collect();
    assert_eq!(scripts, run);
}
