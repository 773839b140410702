//! What the logs say, against what a restored database believes.

use super::*;
use crate::install::{InstallOptions, install};
use crate::steps::{Executor, lease_and_start};
use crate::{ExecutorId, steps::Capacity, steps::Wanted};
use std::collections::BTreeMap;

fn installed() -> (Connection, Mapping) {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch("CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT)")
        .unwrap();
    let mapping = install(&conn, &InstallOptions::default(), Millis(1))
        .unwrap()
        .mapping;
    (conn, mapping)
}

fn place() -> Place {
    Place {
        machine: None,
        path: "/p/db".into(),
        inode: 1,
    }
}

/// Ends runs at a time, as a writer whose clock says so.
fn end(conn: &Connection, run: &str, at_ms: i64) {
    conn.execute("INSERT OR REPLACE INTO runs VALUES (?1, 'COMPLETED')", [run])
        .unwrap();
    conn.execute("UPDATE runchain_queue SET at_ms = ?1", [at_ms])
        .unwrap();
}

fn line(seq: i64, event: EventType, run: &str, generation: i64, step: Option<&str>, at_ms: i64) -> LogEvent {
    LogEvent {
        seq,
        epoch: 1,
        at: Some(Millis(at_ms)),
        event: event.as_str().to_owned(),
        run_id: Some(RunId(run.to_owned())),
        generation: Some(generation),
        step: step.map(str::to_owned),
        data: json!({ "error": "no route", "path": "/b", "digest": "sha256:1", "size_bytes": 7 }),
    }
}

fn restore(conn: &Connection, mapping: &Mapping, lines: Vec<LogEvent>) -> Adopted {
    let mut outside = Outside::default();
    lines.into_iter().for_each(|line| outside.take(line));
    let adoption = Adoption {
        mapping,
        chain: &Chain::builtin(3),
        place: &place(),
        by: &By::default(),
    };
    restored(conn, &adoption, &outside, Millis(900)).unwrap()
}

fn states(conn: &Connection) -> BTreeMap<String, String> {
    let mut statement = conn
        .prepare("SELECT run_id || ' ' || generation || ' ' || step, state FROM runchain_steps")
        .unwrap();
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}

#[test]
fn a_restored_chain_is_settled_by_what_the_logs_say_last() {
    use EventType::{
        ChainCancelled, ReportGenerated, RunArchived, RunCompleted, StepDead, StepFailed, StepRetried,
    };
    let archived = |seq| line(seq, RunArchived, "r", 1, Some("archive"), 60);
    let cases: [(&str, Vec<LogEvent>, [&str; 2]); 7] = [
        ("nothing", vec![], ["ready", "waiting"]),
        ("archived", vec![archived(20)], ["done", "ready"]),
        (
            "both",
            vec![
                archived(20),
                line(21, ReportGenerated, "r", 1, Some("report"), 61),
            ],
            ["done", "done"],
        ),
        (
            "dead",
            vec![archived(20), line(21, StepDead, "r", 1, Some("report"), 61)],
            ["done", "dead"],
        ),
        (
            "dead, and asked for again",
            vec![
                line(20, StepDead, "r", 1, Some("archive"), 60),
                line(21, StepRetried, "r", 1, Some("archive"), 61),
                line(22, StepFailed, "r", 1, Some("archive"), 62),
            ],
            ["ready", "waiting"],
        ),
        (
            "cancelled",
            vec![line(20, ChainCancelled, "r", 1, None, 60)],
            ["cancelled", "cancelled"],
        ),
        (
            "another end of the same number",
            vec![line(20, RunCompleted, "r", 1, None, 51), archived(21)],
            ["ready", "waiting"],
        ),
    ];
    for (what, lines, [archive, report]) in cases {
        let (conn, mapping) = installed();
        end(&conn, "r", 50);
        restore(&conn, &mapping, lines);
        let states = states(&conn);
        assert_eq!(states["r 1 archive"], archive, "{what}");
        assert_eq!(states["r 1 report"], report, "{what}");
        let logged: i64 = conn
            .query_row("SELECT count(*) FROM archival_log", [], |row| row.get(0))
            .unwrap();
        assert_eq!(logged, i64::from(archive == "done"), "{what}");
    }
}

#[test]
fn the_same_end_seen_after_the_backup_is_settled() {
    let (conn, mapping) = installed();
    end(&conn, "r", 50);
    let told = vec![
        line(20, EventType::RunCompleted, "r", 1, None, 50),
        line(21, EventType::RunArchived, "r", 1, Some("archive"), 60),
    ];
    let adopted = restore(&conn, &mapping, told);
    assert_eq!(
        (adopted.epoch, adopted.settled_steps, adopted.open_steps),
        (2, 1, 1)
    );
}

#[test]
fn a_generation_that_the_logs_have_seen_is_not_given_out_again() {
    let (conn, mapping) = installed();
    conn.execute("INSERT INTO runs VALUES ('active', 'RUNNING')", [])
        .unwrap();
    let told = vec![
        line(20, EventType::RunCompleted, "active", 1, None, 50),
        line(21, EventType::RunCompleted, "unknown", 3, None, 50),
    ];
    let adopted = restore(&conn, &mapping, told);
    assert_eq!(adopted.ended_before, [RunId("active".into())]);
    end(&conn, "active", 950);
    end(&conn, "unknown", 960);
    queue::expand(&conn, &mapping, &Chain::builtin(3), 100, Millis(970)).unwrap();
    let keys: Vec<String> = states(&conn).into_keys().collect();
    assert_eq!(
        keys,
        [
            "active 2 archive",
            "active 2 report",
            "unknown 4 archive",
            "unknown 4 report"
        ]
    );
}

#[test]
fn an_event_belongs_to_the_epoch_that_had_begun() {
    let (conn, mapping) = installed();
    end(&conn, "r", 50);
    queue::expand(&conn, &mapping, &Chain::builtin(3), 100, Millis(60)).unwrap();
    let before = event::newest_id(&conn).unwrap();
    let adopted = restore(&conn, &mapping, Vec::new());
    let epoch = |event_id| epoch_of_event(&conn, &adopted.database_uuid, event_id).unwrap();
    assert_eq!((epoch(before), epoch(before + 1)), (1, 2));
}

#[test]
fn a_step_that_ran_at_the_time_of_the_backup_is_open_and_its_attempt_uncounted() {
    let (conn, mapping) = installed();
    end(&conn, "r", 50);
    queue::expand(&conn, &mapping, &Chain::builtin(3), 100, Millis(60)).unwrap();
    let executor = Executor {
        id: ExecutorId("gone".into()),
        host: "h".into(),
        pid: 1,
    };
    executor.renew(&conn, 30_000, Millis(60)).unwrap();
    let capacity = Capacity {
        free: 1,
        running: 0,
        concurrency: &BTreeMap::new(),
    };
    let claims = lease_and_start(&conn, &executor.id, Wanted::Due, capacity, Millis(70)).unwrap();
    restore(&conn, &mapping, Vec::new());
    let row: (String, i64, bool) = conn
        .query_row(
            "SELECT state, attempts, token > ?1 FROM runchain_steps WHERE step = 'archive'",
            [claims[0].token],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    assert_eq!(row, ("ready".to_owned(), 0, true));
}
