//! What reports say about runs of both shapes.

use super::{ReportOptions, ReportedBag, Reports, report};
use crate::archive::Ended;
use crate::archive::fixture::{Fixture, ended, run, tree};
use runchain_core::Millis;
use serde_json::{Value, json};
use std::os::unix::fs::symlink;

const GENERATED_AT: Millis = Millis(1_769_860_810_000);

fn generate(fixture: &Fixture, run: &Ended<'_>, bag: Option<ReportedBag<'_>>) -> Reports {
    let options = ReportOptions {
        redactor: crate::redact::Redactor::default(),
        reports_dir: fixture.path("reports"),
        root: fixture.dir.path().to_owned(),
    };
    let conn = &fixture.conn;
    report(conn, &fixture.mapping, &options, run, GENERATED_AT, bag, &|| true).unwrap()
}

fn read(path: &std::path::Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn the_reports_of_shape_a_have_the_right_numbers() {
    let fixture = Fixture::shape_a();
    let id = run("run-1");
    let bag_path = fixture.path(".archive/run-1");
    let bag = ReportedBag {
        path: &bag_path,
        digest: "sha256:00",
        size_bytes: 4_096,
    };
    let reports = generate(&fixture, &ended(&id), Some(bag));
    assert_eq!(reports.summary, fixture.path("reports/run-1_summary.json"));
    assert_eq!(
        read(&reports.summary),
        json!({
            "run_id": "run-1",
            "generated_at": "2026-01-31T12:00:10.000+00:00",
            "status": "COMPLETED",
            "phase": "completed",
            "generation": 1,
            "duration_seconds": 5.25,
            "steps": {
                "total": 3, "completed": 2, "failed": 1,
                "by_status": { "COMPLETED": 1, "failed": 1, "success": 1 }
            },
            // Two rows of `events`, of which one failed; two ingested, of which one failed.
            "events": { "total": 4, "errors": 2 },
            "timestamps": {
                "created": "2026-01-31T12:00:00.000+00:00",
                "started": "2026-01-31T12:00:00.100+00:00",
                "ended": "2026-01-31T12:00:05.250+00:00"
            },
            "workstreams": { "total": 1, "completed": 1, "failed": 0, "by_status": { "COMPLETED": 1 } },
            "bag": { "path": ".archive/run-1", "digest": "sha256:00", "size_bytes": 4096 },
            "errors": [
                { "source": "step_attempts", "step": "build", "at": "2026-01-31T12:00:02Z" },
                { "source": "errors", "step": "build", "code": "E42", "message": "no such file",
                  "at": "2026-01-31T12:00:02Z" }
            ]
        })
    );
    assert_eq!(
        read(&reports.metrics),
        json!({
            "run_id": "run-1",
            "generated_at": "2026-01-31T12:00:10.000+00:00",
            "generation": 1,
            "runs_completed_total": 1,
            "runs_failed_total": 0,
            "artifacts_archived_total": 1,
            "archive_size_bytes": 4096,
            "duration_seconds": 5.25,
            "steps_total": 3,
            "steps_completed_total": 2,
            "steps_failed_total": 1,
            "events_total": 4,
            "events_errors_total": 2,
            "workstreams_total": 1
        })
    );
}

#[test]
fn the_reports_of_shape_b_have_the_right_numbers() {
    let fixture = Fixture::shape_b();
    let id = run("run-1");
    let failed = Ended {
        status: Some("quarantined".into()),
        phase: "failed".into(),
        ..ended(&id)
    };
    let reports = generate(&fixture, &failed, None);
    let summary = read(&reports.summary);
    assert_eq!(summary["duration_seconds"], 4.25);
    assert_eq!(
        summary["steps"],
        json!({ "total": 2, "completed": 1, "failed": 1, "by_status": { "failed": 1, "succeeded": 1 } })
    );
    assert_eq!(summary["events"], json!({ "total": 2, "errors": 1 }));
    assert_eq!(
        summary["timestamps"],
        json!({
            "created": "2026-01-31T12:00:00.000+00:00",
            "started": "2026-01-31T12:00:01.000+00:00",
            "ended": "2026-01-31T12:00:05.250+00:00"
        })
    );
    assert_eq!(
        summary["errors"],
        json!([
            { "source": "step_attempts", "step": "test", "code": "3", "message": "boom",
              "at": "2026-01-31T12:00:05Z" },
            { "source": "runs", "code": "3", "message": "tool crashed" }
        ])
    );
    assert_eq!(summary["bag"], Value::Null);
    let metrics = read(&reports.metrics);
    assert_eq!(metrics["runs_failed_total"], 1);
    assert_eq!(metrics["runs_completed_total"], 0);
    assert_eq!(metrics["artifacts_archived_total"], 0);
}

#[test]
fn tasks_stand_in_for_step_attempts_and_our_own_times_for_missing_columns() {
    let fixture = Fixture::new(
        "CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT);
         INSERT INTO runs VALUES ('run-1', 'DONE');
         CREATE TABLE tasks(task TEXT, run_id TEXT, state TEXT);
         INSERT INTO tasks VALUES ('a', 'run-1', 'done'), ('b', 'run-1', NULL), ('c', 'run-2', 'done');
         INSERT INTO runchain_runs(run_id, phase, first_seen_ms, phase_since_ms)
         VALUES ('run-1', 'completed', 1769860795250, 0);
         INSERT INTO runchain_events(id, at_ms, type, run_id) VALUES (2, 1769860800250, 'MONITOR_STARTED', 'run-1');",
        "status",
    );
    let id = run("run-1");
    let summary = read(&generate(&fixture, &ended(&id), None).summary);
    let counts = json!({ "total": 2, "completed": 1, "failed": 0, "by_status": { "done": 1 } });
    assert_eq!((&summary["steps"], &summary["tasks"]), (&counts, &counts));
    assert_eq!(summary["duration_seconds"], 10.0);
    assert_eq!(
        summary["timestamps"],
        json!({
            "created": "2026-01-31T11:59:55.250+00:00",
            "started": "2026-01-31T12:00:00.250+00:00",
            "ended": "2026-01-31T12:00:05.250+00:00"
        })
    );
}

#[test]
fn times_as_numbers_and_times_nobody_can_read_do_no_harm() {
    let fixture = Fixture::new(
        "CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT, created_at, started_at, ended_at);
         INSERT INTO runs VALUES ('seconds', 'DONE', 1769860800, 1769860801.5, 1769860805250),
           ('words', 'DONE', 'yesterday', NULL, '');",
        "status",
    );
    let seconds = run("seconds");
    let summary = read(&generate(&fixture, &ended(&seconds), None).summary);
    assert_eq!(summary["duration_seconds"], 3.75);
    let words = run("words");
    let summary = read(&generate(&fixture, &ended(&words), None).summary);
    assert_eq!(summary["duration_seconds"], Value::Null);
    assert_eq!(
        summary["timestamps"],
        json!({ "created": "yesterday", "started": null, "ended": "2026-01-31T12:00:05.250+00:00" })
    );
}

#[test]
fn executing_it_five_times_leaves_the_same_bytes_as_once() {
    let fixture = Fixture::shape_a();
    let id = run("run-1");
    generate(&fixture, &ended(&id), None);
    let before = tree(&fixture.path("reports"));
    assert_eq!(before.len(), 3);
    for _ in 2..=5 {
        generate(&fixture, &ended(&id), None);
        assert_eq!(tree(&fixture.path("reports")), before);
    }
}

#[test]
fn hostile_ids_stay_inside_the_reports_folder_and_a_deleted_run_is_reported() {
    let fixture = Fixture::shape_b();
    let before = tree(fixture.dir.path()).len();
    let ids = ["--help", "../x", "a/b", "", "run\n1", "nul\0", "🚀", ".", ".."];
    for id in ids {
        let id = run(id);
        let reports = generate(&fixture, &ended(&id), None);
        assert_eq!(read(&reports.summary)["run_id"], id.as_str());
    }
    assert_eq!(tree(&fixture.path("reports")).len(), 3 * ids.len());
    std::fs::remove_dir_all(fixture.path("reports")).unwrap();
    assert_eq!(tree(fixture.dir.path()).len(), before);
}

#[test]
fn a_symlink_is_neither_followed_nor_written_through() {
    let fixture = Fixture::shape_b();
    let id = run("run-1");
    fixture.write("reports/x", b"");
    fixture.write("victim", b"precious");
    symlink(fixture.path("victim"), fixture.path("reports/run-1_summary.json")).unwrap();
    generate(&fixture, &ended(&id), None);
    assert_eq!(std::fs::read(fixture.path("victim")).unwrap(), b"precious");

    std::fs::rename(fixture.path("reports"), fixture.path("elsewhere")).unwrap();
    symlink(fixture.path("elsewhere"), fixture.path("reports")).unwrap();
    let options = ReportOptions {
        redactor: crate::redact::Redactor::default(),
        reports_dir: fixture.path("reports"),
        root: fixture.dir.path().to_owned(),
    };
    let error = report(
        &fixture.conn,
        &fixture.mapping,
        &options,
        &ended(&id),
        GENERATED_AT,
        None,
        &|| true,
    )
    .unwrap_err();
    assert!(error.to_string().contains("reports is a symlink"), "{error}");
}

/// What a browser would show as text, and the tags around it.
fn page(reports: &Reports) -> String {
    std::fs::read_to_string(&reports.page).unwrap()
}

#[test]
fn the_page_tells_what_failed_before_anything_else() {
    let fixture = Fixture::shape_a();
    let id = run("run-1");
    let reports = generate(&fixture, &ended(&id), None);
    assert_eq!(reports.page, fixture.path("reports/run-1.html"));
    let page = page(&reports);
    let place = |text: &str| {
        page.find(text)
            .unwrap_or_else(|| panic!("{text} is not there: {page}"))
    };
    assert!(place("What failed") < place("no such file"));
    assert!(place("no such file") < place("<h2>Timeline</h2>"));
    assert!(place("<h2>Timeline</h2>") < place("<rect"));
    for text in [
        "E42",
        "5 s",
        "summary</a>",
        "run-1_summary.json",
        "index.html",
        "This run has no bag.",
    ] {
        place(text);
    }
}

#[test]
fn hostile_text_is_text_on_the_page_and_nothing_else() {
    const HOSTILE: [&str; 8] = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "'; alert(1); '",
        "</title></style></svg><script>alert(1)</script>",
        "<!-- --><![CDATA[ x ]]>",
        "javascript:alert(1)",
        "\u{202e}gpj.exe\u{0}\u{1b}[31m",
        "{{ 7 * 7 }}{% raw %}&lt;&#60;",
    ];
    for hostile in HOSTILE {
        let fixture = Fixture::shape_a();
        let id = run(hostile);
        let quoted = hostile.replace('\'', "''").replace('\0', "");
        fixture.sql(&format!(
            "INSERT INTO runs(run_id, status, created_at, updated_at)
             VALUES ('{quoted}', '{quoted}', '2026-01-31T12:00:00Z', '2026-01-31T12:00:05Z');
             INSERT INTO step_attempts(run_id, step_name, status, started_at, completed_at)
             VALUES ('{quoted}', '{quoted}', '{quoted}', '2026-01-31T12:00:00Z', '2026-01-31T12:00:02Z');
             INSERT INTO errors(run_id, step_name, error_code, message, last_seen_at)
             VALUES ('{quoted}', '{quoted}', '{quoted}', '{quoted}', '{quoted}');
             INSERT INTO events(run_id, event_type, timestamp) VALUES ('{quoted}', '{quoted}', '{quoted}');"
        ));
        let id = if hostile.contains('\0') {
            run(&hostile.replace('\0', ""))
        } else {
            id
        };
        let bag_path = fixture.path(&format!(".archive/{}", id.0.replace('/', "_")));
        let bag = ReportedBag {
            path: &bag_path,
            digest: "sha256:00",
            size_bytes: 1,
        };
        let clean = page(&generate(&Fixture::shape_a(), &ended(&run("run-1")), Some(bag)));
        let page = page(&generate(&fixture, &ended(&id), Some(bag)));
        // The same kinds of tags with the same kinds of attributes as on a page without hostile text.
        let known = tags(&clean);
        for tag in tags(&page) {
            assert!(known.contains(&tag), "{tag} comes of {hostile}");
        }
        assert!(
            !page.contains(|c: char| c.is_control() && c != '\n'),
            "{hostile:?}"
        );
        assert!(!page.contains('\u{202e}'), "{hostile:?}");
        let links = page.split("href=\"").skip(1);
        for link in links {
            assert!(!link.to_lowercase().starts_with("javascript:"), "{hostile}");
        }
        assert!(page.contains("default-src 'none'"));
    }
}

/// Names of tags and of their attributes, each once.
fn tags(page: &str) -> std::collections::BTreeSet<String> {
    let mut rest = page;
    let mut tags = std::collections::BTreeSet::new();
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let Some(end) = rest.find('>') else { break };
        let tag = &rest[..end];
        let mut words = Vec::new();
        let mut is_value = false;
        for part in tag.split('"') {
            if !is_value {
                words.extend(part.split_whitespace().map(str::to_owned));
            }
            is_value = !is_value;
        }
        tags.insert(words.join(" "));
    }
    tags
}

#[test]
fn a_run_called_index_doesn_t_take_the_place_of_the_list() {
    let fixture = Fixture::shape_a();
    let id = run("index");
    let reports = generate(&fixture, &ended(&id), None);
    assert_eq!(reports.page, fixture.path("reports/index_report.html"));
    super::write_index(&fixture.conn, &fixture.path("reports")).unwrap();
    assert!(fixture.path("reports/index.html").is_file());
}

#[test]
fn an_executor_that_lost_the_step_leaves_the_newer_report_in_its_place() {
    let fixture = Fixture::shape_a();
    let id = run("run-1");
    generate(&fixture, &ended(&id), None);
    let before = tree(&fixture.path("reports"));
    let options = ReportOptions {
        redactor: crate::redact::Redactor::default(),
        reports_dir: fixture.path("reports"),
        root: fixture.dir.path().to_owned(),
    };
    let older = Ended {
        status: Some("FAILED".into()),
        phase: "failed".into(),
        ..ended(&id)
    };
    let lost = report(
        &fixture.conn,
        &fixture.mapping,
        &options,
        &older,
        Millis(1),
        None,
        &|| false,
    );
    assert!(lost.unwrap_err().to_string().contains("no longer ours"));
    assert_eq!(tree(&fixture.path("reports")), before);
}
