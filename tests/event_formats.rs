//! How the lines of event logs are understood: presets, mappings of the configuration, and
//! `read_events()`, which shows it without storing anything.

use crate::support::{Project, SHAPE_A, Sqlite, extension, stock_sqlite3};
use std::fs;

const CLOUD_EVENTS: &str = r#"{"specversion":"1.0","id":"1","source":"/scheduler","type":"com.example.job.failed","time":"2026-03-01T12:00:00Z","subject":"job-7","data":{"error_message":"no disk"}}
{"specversion":"1.0","id":"1","source":"/other","type":"com.example.job.done","time":"2026-03-01T13:00:00+01:00","subject":"job-7"}
"#;

const OWN_FORMAT: &str = r#"{"uid":"u-1","what":"boot","meta":{"when":1772366400},"proc":{"id":41}}
{"uid":"u-2","what":"halt","meta":{"when":"soon"},"proc":{"id":41}}
"#;

const MAPPING: &str = r#"
required_tables = ["runs"]

[ingest.mappings.supervisor]
files = ["logs-of-mine/**/*.jsonl"]
event_id = "uid"
type = "what"
time = "meta.when"
job_id = ["proc.id", "pid"]
"#;

fn installed(config: &str) -> Project {
    let project = Project::new(SHAPE_A, config);
    project.runchain(&["install"]).exits(0);
    project
}

/// SQL in the stock shell with the extension loaded, in the project's database and folder.
fn in_shell(project: &Project, sql: &str) -> String {
    let sql = format!(".load {}\n{sql}", extension().display());
    stock_sqlite3(&project.database(), &sql)
}

fn refused_in_shell(project: &Project, sql: &str) -> String {
    let sql = format!(".load {}\n{sql}", extension().display());
    let ran = Sqlite::Stock.run(&project.database(), &sql);
    ran.stdout + &ran.stderr
}

fn path(project: &Project, name: &str) -> String {
    project.path(name).display().to_string()
}

const STORED: &str = "SELECT event_id, type, at_ms, job_id FROM runchain_ingested ORDER BY id;";

#[test]
fn a_files_first_event_tells_its_format_and_that_is_told_and_kept() {
    let project = installed("");
    fs::write(project.path("bus.jsonl"), CLOUD_EVENTS).unwrap();
    let report = project
        .runchain(&["ingest", "--json", "bus.jsonl"])
        .exits(0)
        .json();
    assert_eq!(report[0]["format"], "cloudevents", "{report}");
    assert_eq!(report[0]["format_by"], "detected");
    assert_eq!(report[0]["stored"], 2, "ids are unique within a source only");
    assert_eq!(
        project.lines(STORED),
        [
            "/scheduler 1|com.example.job.failed|1772366400000|job-7",
            "/other 1|com.example.job.done|1772366400000|job-7",
        ]
    );
    assert_eq!(
        project.lines("SELECT format, unread_times FROM runchain_ingest_balance;"),
        ["cloudevents|0"]
    );
    assert_eq!(
        project.lines("SELECT subject, message FROM runchain_alerts;"),
        ["job-7|no disk"]
    );
}

#[test]
fn a_mapping_of_the_configuration_holds_for_the_files_of_its_globs() {
    let project = installed(MAPPING);
    fs::create_dir_all(project.path("logs-of-mine/deep")).unwrap();
    fs::write(project.path("logs-of-mine/deep/a.jsonl"), OWN_FORMAT).unwrap();
    fs::write(
        project.path("elsewhere.jsonl"),
        "{\"what\":\"x\",\"type\":\"y\",\"id\":\"e\"}\n",
    )
    .unwrap();
    let report = project
        .runchain(&["ingest", "--json", "logs-of-mine/deep/a.jsonl", "elsewhere.jsonl"])
        .exits(0)
        .json();
    assert_eq!(report[0]["format"], "supervisor", "{report}");
    assert_eq!(report[0]["unread_times"], 1);
    assert_eq!(report[1]["format"], "generic");
    assert_eq!(
        project.lines(STORED),
        ["u-1|boot|1772366400000|41", "u-2|halt||41", "e|y||"]
    );
    // From SQL, where there is no configuration, the file goes on as it began.
    let more = OWN_FORMAT
        .replace("u-1", "u-3")
        .replace("u-2", "u-4")
        .replace("\"soon\"", "1772366401000");
    fs::write(
        project.path("logs-of-mine/deep/a.jsonl"),
        OWN_FORMAT.to_owned() + &more,
    )
    .unwrap();
    let answer = in_shell(
        &project,
        &format!(
            "SELECT json_extract(ingest_events('{}'), '$.format');",
            path(&project, "logs-of-mine/deep/a.jsonl")
        ),
    );
    assert_eq!(answer, "supervisor\n");
    assert_eq!(
        project.lines(STORED)[3..],
        ["u-3|boot|1772366400000|41", "u-4|halt|1772366401000|41"]
    );
    assert_eq!(
        project.lines("SELECT format, chosen_by, unread_times FROM runchain_ingest_readings;"),
        ["supervisor|given|1", "generic|detected|0"]
    );
}

#[test]
fn a_preset_can_be_given_on_the_command_line_and_in_sql() {
    let project = installed(MAPPING);
    fs::write(project.path("a.jsonl"), OWN_FORMAT).unwrap();
    fs::write(
        project.path("b.jsonl"),
        "{\"event\":\"x\",\"id\":\"b\",\"kind\":\"y\"}",
    )
    .unwrap();
    let report = project
        .runchain(&["ingest", "--json", "--preset", "supervisor", "a.jsonl"])
        .exits(0)
        .json();
    assert_eq!(
        (&report[0]["format"], &report[0]["stored"]),
        (&"supervisor".into(), &2.into())
    );
    let wrong = project
        .runchain(&["ingest", "--preset", "superviser", "a.jsonl"])
        .exits(1)
        .stderr;
    assert!(wrong.contains("did you mean supervisor?"), "{wrong}");

    let path = path(&project, "b.jsonl");
    let ask = |options: &str| format!("SELECT ingest_events('{path}', '{options}');");
    let answer = in_shell(
        &project,
        &ask(r#"{"mapping":{"type":"kind","preset":"pattern"},"finalise":true}"#),
    );
    assert!(
        answer.contains("\"stored\":1") && answer.contains("\"format\":\"mapping\""),
        "{answer}"
    );
    assert_eq!(project.lines(STORED)[2..], ["b|y||"]);
    for (options, says) in [
        (
            r#"{"preset":"cloudevent"}"#,
            "use one of pattern, cloudevents, generic",
        ),
        (
            r#"{"mapping":{"typ":"a"}}"#,
            "typ of the mapping mapping is no field of an event; did you mean type?",
        ),
        (
            r#"{"pre":1}"#,
            "the keys are preset, mapping, finalise, max_line_bytes",
        ),
    ] {
        let refused = refused_in_shell(&project, &ask(options));
        assert!(refused.contains(says), "{refused}");
    }
}

#[test]
fn config_check_refuses_a_misspelt_field_with_the_nearest_right_one() {
    for (config, says) in [
        (
            "[ingest.mappings.a]\nfiles = 'x'\npatern_id = 'p'",
            "unknown key patern_id in [ingest.mappings.a]",
        ),
        (
            "[ingest.mappings.a]\nfiles = 'x'\npatern_id = 'p'",
            "did you mean pattern_id?",
        ),
        (
            "[ingest.mappings.a]\nfiles = 'x'\ntype = 7",
            "type of the mapping a must be a key",
        ),
        (
            "[ingest.mappings.a]\nfiles = 'x'\npreset = 'cloudevent'",
            "use one of pattern, cloudevents, generic",
        ),
        ("[ingest.mappings.a]\nfiles = '{x'", "mend the glob"),
        (
            "[ingest.mappings.a]\ntype = 'x'",
            "ingest.mappings.a names no files",
        ),
        (
            "[ingest.mappings.generic]\nfiles = 'x'",
            "generic is the name of a preset",
        ),
        ("[ingest]\nmappings = 7", "ingest.mappings must be a table"),
        ("[ingest]\nmaping = 7", "unknown key ingest.maping"),
    ] {
        let project = Project::new(SHAPE_A, config);
        let refused = project.runchain(&["config", "check"]);
        assert!(refused.stderr.contains(says), "{config}: {}", refused.stderr);
    }
    let project = Project::new(SHAPE_A, MAPPING);
    project.runchain(&["config", "check"]).exits(0);
    let shown = project.runchain(&["config", "show"]).exits(0).stdout;
    assert!(shown.contains("ingest.mappings.supervisor"), "{shown}");
}

#[test]
fn read_events_shows_a_file_line_by_line_and_stores_nothing() {
    let project = installed("");
    let before = project.sql("SELECT total_changes(), count(*) FROM sqlite_master;");
    fs::write(
        project.path("mixed.jsonl"),
        "\n{\"event_id\":\"E-1\",\"event_type\":\"pattern.execution.failed\",\"timestamp\":\"2026-03-01T14:00:00.1234567+02:00\",\
         \"job_id\":\"J\",\"pattern_run_id\":\"P\",\"step_id\":null,\"status\":\"failed\",\"details\":{\"error_message\":\"exit 2\"},\"host\":\"a\"}\n\
         {broken\n\
         {\"type\":\"tick\",\"time\":\"soon\"}\n{\"type\":\"last\"",
    )
    .unwrap();
    let path = path(&project, "mixed.jsonl");
    let rows = in_shell(
        &project,
        &format!(
            ".nullvalue -\nSELECT line, offset_bytes, length_bytes, event_id, event_type, timestamp, at, job_id, pattern_run_id, step_id, status, error, extra, substr(reason, 1, 17), format
             FROM read_events('{path}') WHERE event_type IS NOT 'tick';
             SELECT event_type, substr(event_id, 1, 4), timestamp, at, raw FROM read_events('{path}', '{{\"finalise\":true}}') WHERE line = 4;
             SELECT raw FROM read_events('{path}') WHERE reason IS NOT NULL;
             SELECT sum(length_bytes) + 1 FROM read_events('{path}');"
        ),
    );
    let size = fs::metadata(project.path("mixed.jsonl")).unwrap().len();
    let expected = [
        "2|1|222|E-1|pattern.execution.failed|2026-03-01T12:00:00.123+00:00|2026-03-01T14:00:00.1234567+02:00|J|P|-|failed|exit 2|{\"host\":\"a\"}|-|pattern",
        "3|223|8|-|-|-|-|-|-|-|-|-|-|not a JSON object|pattern",
        "5|261|14|-|-|-|-|-|-|-|-|-|-|no newline yet: i|pattern",
        "tick|gen-|-|soon|{\"type\":\"tick\",\"time\":\"soon\"}",
        "{broken",
        "{\"type\":\"last\"",
    ];
    assert_eq!(rows.lines().take(6).collect::<Vec<_>>(), expected);
    assert_eq!(
        rows.lines().last(),
        Some(size.to_string().as_str()),
        "the empty line is no row"
    );
    assert_eq!(project.sql("SELECT count(*) FROM runchain_ingest_files;"), "0\n");
    assert_eq!(
        project.sql("SELECT total_changes(), count(*) FROM sqlite_master;"),
        before
    );
}

#[test]
fn read_events_needs_no_installation_and_takes_its_paths_from_a_table() {
    let project = Project::new(SHAPE_A, "");
    let mut list = Vec::new();
    for name in ["a", "b"] {
        let lines: String = (0..3).map(|n| format!("{{\"type\":\"{name}{n}\"}}\n")).collect();
        fs::write(project.path(name), lines).unwrap();
        list.push(format!("('{}')", path(&project, name)));
    }
    let rows = in_shell(
        &project,
        &format!(
            "CREATE TEMP TABLE files(file); INSERT INTO files VALUES {};
             SELECT group_concat(event_type) FROM files, read_events(file) WHERE line < 3;
             SELECT count(*) FROM read_events((SELECT file FROM files)) AS x JOIN read_events((SELECT file FROM files)) AS y ON x.line = y.line;",
            list.join(", ")
        ),
    );
    assert_eq!(rows, "a0,a1,b0,b1\n3\n");
}

#[test]
fn read_events_refuses_what_is_no_log_in_a_sentence() {
    let project = installed("");
    fs::create_dir(project.path("folder")).unwrap();
    let database = project.database().display().to_string();
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        project.path("fifo"),
        rustix::fs::Mode::from_raw_mode(0o600),
    )
    .unwrap();
    for (arguments, says) in [
        (String::new(), "read_events: the path is missing or not text"),
        ("(7)".to_owned(), "read_events: the path is missing or not text"),
        (
            format!("('{}')", path(&project, "missing")),
            "there is no event log",
        ),
        (format!("('{}')", path(&project, "folder")), "is a folder"),
        (format!("('{}')", path(&project, "fifo")), "is a FIFO"),
        (format!("('{database}')"), "is a file of this database"),
        (format!("('{database}', 7)"), "the options are not text"),
        (format!("('{database}', '[]')"), "the options can't be read"),
    ] {
        let refused = refused_in_shell(
            &project,
            &format!("SELECT count(*) FROM read_events{arguments};\n"),
        );
        assert!(refused.contains(says), "{arguments}: {refused}");
    }
    // A second look goes on after a refusal.
    fs::write(project.path("log"), "{\"type\":\"a\"}\n").unwrap();
    let answer = in_shell(
        &project,
        &format!("SELECT count(*) FROM read_events('{}');", path(&project, "log")),
    );
    assert_eq!(answer, "1\n");
}

#[test]
fn ingest_events_waits_while_the_disk_is_low() {
    let project = installed("");
    fs::write(project.path("log"), "{\"type\":\"a\"}\n").unwrap();
    project.sql(
        "INSERT INTO runchain_alerts(fingerprint, rule, severity, state, subject, count, first_at_ms, last_at_ms)
         VALUES ('[\"disk_low\"]', 'disk_low', 'critical', 'firing', 'disk', 1, 0, 0);",
    );
    let call = format!("SELECT ingest_events('{}');", path(&project, "log"));
    let refused = refused_in_shell(&project, &call);
    assert!(refused.contains("reading event logs in can wait"), "{refused}");
    project.sql("UPDATE runchain_alerts SET state = 'resolved';");
    assert!(in_shell(&project, &call).contains("\"stored\":1"));
}

#[test]
fn an_alert_names_a_run_and_a_job_only_where_a_run_has_its_id() {
    let project = installed("");
    project.sql("INSERT INTO runs(run_id, status) VALUES ('JOB-1', 'RUNNING');");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    let event = |id: u32, job: &str, more: &str| {
        format!(
            "{{\"event_id\":\"{id}\",\"event_type\":\"pattern.execution.failed\",\"timestamp\":\"2026-03-01T12:00:00Z\",\"job_id\":\"{job}\"{more}}}\n"
        )
    };
    let lines = event(1, "JOB-1", "") + &event(2, "JOB-2", "") + &event(3, "JOB-3", ",\"run_id\":\"r\"");
    fs::write(project.path("log.jsonl"), lines).unwrap();
    project.runchain(&["ingest", "log.jsonl"]).exits(0);
    assert_eq!(
        project.lines("SELECT subject, coalesce(run_id, '-') FROM runchain_alerts ORDER BY 1;"),
        ["JOB-1|JOB-1", "JOB-2|-", "JOB-3|r"]
    );
}
