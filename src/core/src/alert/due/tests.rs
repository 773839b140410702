//! What the clock decides, as the leader asks for it: look, carry out, look when it said.

use super::*;
use crate::alert::rejects;

fn states(conn: &Connection) -> Vec<String> {
    let mut statement = conn
        .prepare("SELECT rule || ' ' || state FROM runchain_alerts ORDER BY id")
        .unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}

fn step(conn: &Connection, since: i64, now: i64) -> Option<i64> {
    let look = look(conn, Millis(since), Millis(now)).unwrap();
    carry_out(conn, &look, Millis(now)).unwrap();
    look.next.map(|next| next.0)
}

#[test]
fn silence_fires_when_its_time_is_over_and_ends_with_the_next_event() {
    let conn = schema::in_memory();
    let rule = Rule {
        silence_ms: Some(1_000),
        ..Rule::named("quiet")
    };
    rulebook::adopt(&conn, &[rule], Millis(5_000)).unwrap();
    assert_eq!(step(&conn, 0, 5_000), Some(6_000));
    heard(&conn, "quiet", Millis(5_500)).unwrap();
    assert_eq!(step(&conn, 0, 6_000), Some(6_500));
    assert_eq!(states(&conn), [""; 0]);
    assert_eq!(step(&conn, 0, 6_500), None);
    assert_eq!(states(&conn), ["quiet firing"]);
    assert_eq!(step(&conn, 0, 9_000), None, "once");
    heard(&conn, "quiet", Millis(9_500)).unwrap();
    assert_eq!(step(&conn, 0, 9_600), Some(10_500));
    assert_eq!(states(&conn), ["quiet resolved"]);
    assert_eq!(
        step(&conn, 20_000, 20_500),
        Some(21_000),
        "what was before we came isn't silence"
    );
    assert_eq!(step(&conn, 20_000, 21_000), None);
    assert_eq!(states(&conn), ["quiet firing"]);
}

#[test]
fn a_chain_is_late_by_what_others_took() {
    let conn = schema::in_memory();
    for number in 0..30 {
        conn.execute(
            "INSERT INTO runchain_steps(run_id, generation, step, state, ready_at_ms, max_attempts, created_ms, finished_ms)
             VALUES ('r' || ?1, 1, 'archive', 'done', 0, 5, 0, 40000)",
            [number],
        )
        .unwrap();
    }
    conn.execute_batch(
        "INSERT INTO runchain_steps(run_id, generation, step, state, ready_at_ms, max_attempts, created_ms)
         VALUES ('slow', 1, 'archive', 'running', 0, 5, 100000)",
    )
    .unwrap();
    assert_eq!(step(&conn, 0, 260_000), Some(290_000));
    assert_eq!(states(&conn), [""; 0], "four times as long");
    step(&conn, 0, 260_001);
    assert_eq!(states(&conn), ["chain_late firing"]);
    conn.execute_batch(
        "UPDATE runchain_steps SET state = 'done', finished_ms = 300000 WHERE run_id = 'slow'",
    )
    .unwrap();
    step(&conn, 0, 300_000);
    assert_eq!(states(&conn), ["chain_late resolved"]);
    assert_eq!(step(&conn, 0, 300_001), None, "nothing is under way");
}

#[test]
fn rejected_lines_are_an_alert_when_they_are_many_and_more_than_before() {
    let conn = schema::in_memory();
    rejects::count(&conn, "/log", 99, Millis(3_600_000)).unwrap();
    assert_eq!(states(&conn), [""; 0]);
    rejects::count(&conn, "/log", 1, Millis(3_600_000)).unwrap();
    assert_eq!(states(&conn), ["ingest_rejects firing"]);
    assert_eq!(step(&conn, 0, 3_700_000), Some(4_200_000));
    step(&conn, 0, 4_200_000);
    assert_eq!(states(&conn), ["ingest_rejects resolved"]);
}
