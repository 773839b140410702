//! Whose transaction it is, and what is left after an error.

use super::*;
use crate::Error;
use rusqlite::functions::FunctionFlags;

fn lines(ids: std::ops::Range<u32>) -> String {
    ids.map(|id| {
        event(
            &format!("EVT-{id}"),
            "pattern.execution.failed",
            1,
            "JOB-1",
            "PRUN-1",
        )
    })
    .collect()
}

const COUNTS: &str = "SELECT (SELECT count(*) FROM runchain_ingested), (SELECT count(*) FROM runchain_ingest_rejects),
    (SELECT count(*) FROM runchain_ingest_files), (SELECT count(*) FROM runchain_derived),
    (SELECT count(*) FROM uet_executions), (SELECT count(*) FROM uet_tasks), (SELECT count(*) FROM runchain_alerts)";

#[test]
fn everything_joins_the_callers_transaction_and_rolls_back_with_it() {
    let mut bench = Bench::new();
    bench.options.batch_lines = 2;
    bench.append("log.jsonl", lines(0..7) + "broken\n");
    bench.conn.execute_batch("BEGIN").unwrap();
    let report = bench.ingest("log.jsonl");
    assert_eq!((report.stored, report.rejected), (7, 1));
    assert_eq!(bench.text(COUNTS), "7|1|1|2|1|1|1");
    assert!(!bench.conn.is_autocommit(), "the end of it is the caller's");
    bench.conn.execute_batch("ROLLBACK").unwrap();
    assert_eq!(bench.text(COUNTS), "0|0|0|0|0|0|0");
    assert_eq!(bench.ingest("log.jsonl").stored, 7);
}

#[test]
fn an_error_in_the_callers_transaction_leaves_the_callers_own_work_alone() {
    let mut bench = Bench::new();
    bench.options.batch_lines = 2;
    fail_on(&bench.conn, "EVT-4");
    bench.append("log.jsonl", lines(0..7));
    bench.conn.execute_batch("BEGIN; CREATE TABLE mine(x)").unwrap();
    bench.try_ingest("log.jsonl").unwrap_err();
    bench.conn.execute_batch("COMMIT").unwrap();
    assert_eq!(bench.text(COUNTS), "0|0|0|0|0|0|0");
    assert_eq!(bench.text("SELECT count(*) FROM mine"), "0");
}

/// As good as a kill there: nothing of the batch may be left.
fn fail_on(conn: &Connection, event_id: &str) {
    conn.execute_batch(&format!(
        "CREATE TRIGGER disk_full BEFORE INSERT ON runchain_ingested WHEN NEW.event_id = '{event_id}'
         BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    ))
    .unwrap();
}

#[test]
fn an_error_in_the_middle_leaves_whole_batches_and_their_checkpoint() {
    for at in 0..10 {
        let mut bench = Bench::new();
        bench.options.batch_lines = 3;
        fail_on(&bench.conn, &format!("EVT-{at}"));
        bench.append("log.jsonl", lines(0..10));
        let error = bench.try_ingest("log.jsonl").unwrap_err();
        assert!(error.to_string().contains("disk full"), "{error}");
        assert!(bench.conn.is_autocommit(), "no transaction is left open");
        let whole = at / 3 * 3;
        assert_eq!(
            bench.text("SELECT count(*) FROM runchain_ingested"),
            whole.to_string()
        );
        assert_eq!(
            bench.text("SELECT coalesce(sum(count), 0) FROM runchain_alerts"),
            whole.to_string(),
            "alerts are of the same transaction"
        );
        bench.conn.execute_batch("DROP TRIGGER disk_full").unwrap();
        let report = bench.ingest("log.jsonl");
        assert_eq!(
            (report.stored, report.duplicate),
            (10 - whole, 0),
            "failed at {at}"
        );
        assert_eq!(
            bench.text("SELECT count, state FROM runchain_alerts"),
            "10|firing"
        );
    }
}

#[test]
fn two_readers_of_one_file_share_it_and_store_each_line_once() {
    let mut bench = Bench::new();
    bench.options.batch_lines = 1;
    bench.append("log.jsonl", lines(0..200));
    let (database, path, options) = (
        bench.path("state.db"),
        bench.path("log.jsonl"),
        bench.options.clone(),
    );
    let reports = std::thread::scope(|scope| {
        let readers = [(); 2].map(|()| {
            scope.spawn(|| {
                let conn = Connection::open(&database).unwrap();
                conn.execute_batch("PRAGMA synchronous = OFF").unwrap();
                conn.busy_timeout(std::time::Duration::from_secs(60)).unwrap();
                ingest_path(&conn, &path, NOW, &options).unwrap()
            })
        });
        readers.map(|reader| reader.join().unwrap())
    });
    let [a, b] = reports;
    assert_eq!((a.stored + b.stored, a.duplicate + b.duplicate), (200, 0));
    assert_eq!(
        bench.text("SELECT stored, duplicates FROM runchain_ingest_files"),
        "200|0"
    );
}

fn with_function(bench: &Bench) {
    let path = bench.path("log.jsonl");
    bench
        .conn
        .create_scalar_function("ingest_log", 0, FunctionFlags::SQLITE_UTF8, move |context| {
            // SAFETY: the connection is used on this thread and not beyond this call.
            let conn = unsafe { context.get_connection()? };
            ingest_path(
                &conn,
                &path,
                NOW,
                &IngestOptions {
                    batch_lines: 2,
                    ..IngestOptions::default()
                },
            )
            .map(|report| report.stored as i64)
            .map_err(|error| rusqlite::Error::UserFunctionError(error.into()))
        })
        .unwrap();
}

#[test]
fn inside_a_plain_select_each_batch_is_committed() {
    let bench = Bench::new();
    with_function(&bench);
    bench.append("log.jsonl", lines(0..5));
    assert_eq!(bench.text("SELECT ingest_log()"), "5");
    let other = Connection::open(bench.path("state.db")).unwrap();
    assert_eq!(
        show(&rows(&other, "SELECT count(*) FROM runchain_ingested")[0][0]),
        "5"
    );
}

#[test]
fn inside_a_statement_that_writes_it_is_refused_in_a_sentence() {
    let bench = Bench::new();
    with_function(&bench);
    bench.conn.execute_batch("CREATE TABLE mine(x)").unwrap();
    bench.append("log.jsonl", lines(0..5));
    for begin in ["", "BEGIN"] {
        bench.conn.execute_batch(begin).unwrap();
        let error = bench
            .conn
            .execute("INSERT INTO mine SELECT ingest_log()", [])
            .unwrap_err();
        assert!(
            error.to_string().contains("inside a statement that writes"),
            "{error}"
        );
        assert_eq!(
            bench.conn.is_autocommit(),
            begin.is_empty(),
            "the caller's transaction stands"
        );
    }
    bench.conn.execute_batch("COMMIT").unwrap();
    assert_eq!(bench.text(COUNTS), "0|0|0|0|0|0|0");
}

#[test]
fn a_database_without_runchain_says_so_and_is_left_as_it_was() {
    let bench = Bench::new();
    bench.append("log.jsonl", lines(0..1));
    let conn = Connection::open_in_memory().unwrap();
    for begin in ["", "BEGIN"] {
        conn.execute_batch(begin).unwrap();
        let error = ingest_path(&conn, &bench.path("log.jsonl"), NOW, &bench.options).unwrap_err();
        assert!(matches!(error, Error::NotInstalled), "{error}");
    }
}

#[test]
fn a_lock_held_elsewhere_is_busy_and_stays_busy_for_the_caller() {
    let bench = Bench::new();
    bench.append("log.jsonl", lines(0..1));
    bench.conn.busy_timeout(std::time::Duration::ZERO).unwrap();
    let other = Connection::open(bench.path("state.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for begin in ["", "BEGIN"] {
        bench.conn.execute_batch(begin).unwrap();
        assert!(bench.try_ingest("log.jsonl").unwrap_err().is_busy());
    }
}

#[test]
fn a_deferred_transaction_writes_before_it_reads() {
    let bench = Bench::new();
    bench.append("log.jsonl", lines(0..2));
    bench.conn.execute_batch("BEGIN").unwrap();
    bench.ingest("log.jsonl");
    let other = Connection::open(bench.path("state.db")).unwrap();
    other.busy_timeout(std::time::Duration::ZERO).unwrap();
    assert!(
        other.execute_batch("BEGIN IMMEDIATE").is_err(),
        "the lock is held"
    );
    bench.conn.execute_batch("COMMIT").unwrap();
}
