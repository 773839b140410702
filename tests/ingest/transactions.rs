//! `ingest_events()` in a stock host: in whose transaction it writes, and what is left of it.

use super::*;
use crate::support::Sqlite;
use std::fs;

/// So many lines at most are one transaction in autocommit.
const BATCH_LINES: u32 = 5_000;

const COUNTS: &str = "SELECT (SELECT count(*) FROM runchain_ingested), (SELECT count(*) FROM runchain_ingest_rejects),
    (SELECT count(*) FROM runchain_ingest_files), (SELECT count(*) FROM uet_executions), (SELECT count(*) FROM uet_tasks),
    (SELECT count(*) FROM runchain_alerts);\n";

/// A failed task, five times, and a broken line.
fn log() -> String {
    let failed = |id: u32| {
        format!(
            "{{\"event_id\":\"EVT-{id}\",\"event_type\":\"pattern.execution.failed\",\"timestamp\":\"2026-03-01T12:00:00Z\",\
             \"job_id\":\"JOB-1\",\"pattern_run_id\":\"PRUN-1\"}}\n"
        )
    };
    (0..5).map(failed).collect::<String>() + "broken\n"
}

/// Runs SQL in a shell that has loaded the extension; after a failure the next statement runs.
fn shell(project: &Project, sql: &str) -> (String, String) {
    let sql = format!(".load {}\n{sql}", extension().display());
    let finished = Sqlite::Stock.run(&project.database(), &sql);
    (finished.stdout, finished.stderr)
}

fn select(project: &Project) -> String {
    format!(
        "SELECT json_extract(ingest_events('{}'), '$.stored')",
        project.path("log.jsonl").display()
    )
}

/// A project with that log, and the SQL that takes it in.
fn with_log() -> (Project, String) {
    let project = installed();
    fs::write(project.path("log.jsonl"), log()).unwrap();
    let select = select(&project);
    (project, select)
}

#[test]
fn everything_joins_the_callers_transaction_and_rolls_back_with_it() {
    let (project, select) = with_log();
    let (answer, said) = shell(
        &project,
        &format!(
            "BEGIN;\nCREATE TABLE mine(x);\n{select};\n{COUNTS}ROLLBACK;\n{COUNTS}SELECT count(*) FROM sqlite_master WHERE name = 'mine';\n"
        ),
    );
    assert_eq!(
        (answer.as_str(), said.as_str()),
        ("5\n5|1|1|1|1|1\n0|0|0|0|0|0\n0\n", "")
    );
    let (answer, _) = shell(
        &project,
        &format!("BEGIN;\n{select};\nCOMMIT;\n{COUNTS}{select};\n"),
    );
    assert_eq!(answer, "5\n5|1|1|1|1|1\n0\n");
}

#[test]
fn a_savepoint_of_the_callers_takes_it_back_alone() {
    let (project, select) = with_log();
    let (answer, said) = shell(
        &project,
        &format!(
            "BEGIN;\nCREATE TABLE mine(x);\nSAVEPOINT s;\n{select};\nROLLBACK TO s;\nCOMMIT;\n{COUNTS}SELECT count(*) FROM mine;\n"
        ),
    );
    assert_eq!((answer.as_str(), said.as_str()), ("5\n0|0|0|0|0|0\n0\n", ""));
}

#[test]
fn in_autocommit_each_bounded_batch_is_kept_whatever_comes_after_it() {
    let project = installed();
    fs::write(project.path("log.jsonl"), lines(0..3 * BATCH_LINES)).unwrap();
    let last = 2 * BATCH_LINES + 7;
    project.sql(&format!(
        "CREATE TRIGGER full BEFORE INSERT ON runchain_ingested WHEN NEW.event_id = 'e-{last}'
         BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    ));
    let select = select(&project);
    let (answer, said) = shell(
        &project,
        &format!("{select};\nSELECT count(*) FROM runchain_ingested;\n"),
    );
    assert!(said.contains("disk full"), "{said}");
    assert_eq!(answer, format!("{}\n", 2 * BATCH_LINES), "two whole batches");
    balances(&project);
    project.sql("DROP TRIGGER full");
    let (answer, _) = shell(&project, &format!("{select};\n"));
    assert_eq!(answer, format!("{BATCH_LINES}\n"), "it goes on behind them");
}

#[test]
fn inside_a_statement_that_writes_it_is_refused_and_the_callers_transaction_stands() {
    let (project, select) = with_log();
    let (answer, said) = shell(
        &project,
        &format!(
            "CREATE TABLE mine(x);\nINSERT INTO mine {select};\nBEGIN;\nINSERT INTO mine VALUES (1);\n\
             INSERT INTO mine {select};\nUPDATE mine SET x = ({select});\nCOMMIT;\nSELECT * FROM mine;\n{COUNTS}"
        ),
    );
    assert_eq!(
        said.matches("from inside a statement that writes").count(),
        3,
        "{said}"
    );
    assert!(said.contains("call it in a SELECT of its own"), "{said}");
    assert_eq!(answer, "1\n0|0|0|0|0|0\n");
}

#[test]
fn the_entry_point_without_file_functions_reads_no_file() {
    let project = installed();
    fs::write(project.path("log.jsonl"), log()).unwrap();
    let sql = format!(
        ".load {} sqlite3_runchainnofiles_init\n{};\nSELECT runchain_version() IS NOT NULL;\n",
        extension().display(),
        select(&project)
    );
    let finished = Sqlite::Stock.run(&project.database(), &sql);
    assert!(
        finished.stderr.contains("no such function: ingest_events"),
        "{}",
        finished.stderr
    );
    assert_eq!(finished.stdout, "1\n", "what reads no files is there");
}
