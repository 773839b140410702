//! Plans, and the answers of small databases.

use super::chain::{NoChain, Standing, standing};
use super::events::{self, EventQuery, INGESTED, LIFECYCLE, Source};
use super::live;
use super::problems::{self, ProblemKind};
use super::runs::{self, PHASES, RunQuery};
use crate::install::{self, InstallOptions};
use crate::vocabulary::Phase;
use crate::{Mapping, Millis, RunId};
use rusqlite::Connection;

const NOW: Millis = Millis(1_764_168_412_000);

fn database() -> Connection {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch("CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT NOT NULL)")
        .unwrap();
    install::install(&conn, &InstallOptions::default(), NOW).unwrap();
    conn.execute_batch("DELETE FROM runchain_events; DELETE FROM runchain_queue")
        .unwrap();
    conn
}

fn query(run_id: Option<&str>, since: Option<i64>, limit: usize) -> EventQuery<'static> {
    EventQuery {
        run_id: run_id.map(|id| RunId(id.to_owned())),
        since: since.map(Millis),
        limit,
        keep: &|_| true,
    }
}

fn event(conn: &Connection, id: i64, at_ms: i64, kind: &str, run_id: Option<&str>) {
    conn.execute(
        "INSERT INTO runchain_events(id, at_ms, type, run_id) VALUES (?1, ?2, ?3, ?4)",
        (id, at_ms, kind, run_id),
    )
    .unwrap();
}

fn ingested(conn: &Connection, id: i64, at_ms: i64, kind: &str, job_id: &str) {
    conn.execute(
        "INSERT INTO runchain_ingested(id, event_id, type, at_ms, job_id, file_id, line, offset_bytes)
         VALUES (?1, 'EVT-' || ?1, ?3, ?2, ?4, 1, 1, 0)",
        (id, at_ms, kind, job_id),
    )
    .unwrap();
}

fn step(conn: &Connection, run_id: &str, step: &str, state: &str, required: bool) {
    conn.execute(
        "INSERT INTO runchain_steps(run_id, generation, step, state, ready_at_ms, max_attempts, created_ms, required)
         VALUES (?1, 1, ?2, ?3, 0, 5, 0, ?4)",
        (run_id, step, state, required),
    )
    .unwrap();
}

fn run(conn: &Connection, run_id: &str, phase: &str, since_ms: i64) {
    conn.execute(
        "INSERT INTO runchain_runs(run_id, phase, status, generation, first_seen_ms, phase_since_ms, ended_event_id)
         VALUES (?1, ?2, upper(?2), 1, 0, ?3, CASE WHEN ?2 <> 'active' THEN 7 END)",
        (run_id, phase, since_ms),
    )
    .unwrap();
}

#[test]
fn no_look_scans_runs_steps_or_events() {
    let conn = database();
    let all = RunQuery {
        phases: PHASES.to_vec(),
        since: None,
        limit: 50,
    };
    let mut statements = vec![
        runs::sql(&all),
        runs::STEPS.to_owned(),
        live::OF_STATE.to_owned(),
        live::OF_STATE_AND_STEP.to_owned(),
    ];
    statements.extend(problems::STATEMENTS.map(|(_, sql)| sql.to_owned()));
    for table in [LIFECYCLE, INGESTED] {
        statements.extend([
            table.backwards(None),
            table.whole(),
            table.onwards(),
            table.first_from(),
        ]);
        for condition in ["run_id = ?1", "job_id = ?1"] {
            if table.newest().contains("ingested") || condition.starts_with("run_id") {
                statements.push(table.backwards(Some(condition)));
            }
        }
    }
    for sql in statements {
        let mut plan = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let lines: Vec<String> = plan
            .raw_query()
            .mapped(|row| row.get(3))
            .collect::<rusqlite::Result<_>>()
            .unwrap();
        for line in &lines {
            let large = [
                "runchain_runs",
                "runchain_steps",
                "runchain_events",
                "runchain_ingested",
            ];
            // An index of the few that are monitored.
            let is_small = line.ends_with("runchain_runs_monitored");
            assert!(
                is_small || !(line.starts_with("SCAN") && large.iter().any(|name| line.contains(name))),
                "{sql}\n{lines:#?}"
            );
        }
    }
}

#[test]
fn runs_are_the_newest_of_their_phases_with_the_steps_of_their_newest_chains() {
    let conn = database();
    for (run_id, phase, since_ms) in [("a", "completed", 10), ("b", "failed", 30), ("c", "active", 20)] {
        run(&conn, run_id, phase, since_ms);
    }
    step(&conn, "b", "archive", "done", true);
    step(&conn, "b", "upload", "dead", true);
    let ids = |phases: &[Phase], since: Option<i64>, limit: u32| -> Vec<String> {
        let query = RunQuery {
            phases: phases.to_vec(),
            since: since.map(Millis),
            limit,
        };
        let found = runs::runs(&conn, &query).unwrap();
        found.into_iter().map(|run| run.run_id.0).collect()
    };
    assert_eq!(ids(&PHASES, None, 50), ["b", "c", "a"]);
    assert_eq!(ids(&PHASES, None, 2), ["b", "c"]);
    assert_eq!(ids(&PHASES, Some(20), 50), ["b", "c"]);
    assert_eq!(ids(&[Phase::Completed, Phase::Active], None, 50), ["c", "a"]);
    let query = RunQuery {
        phases: vec![Phase::Failed],
        since: None,
        limit: 1,
    };
    let steps = &runs::runs(&conn, &query).unwrap()[0].steps;
    let told: Vec<&str> = steps.iter().map(|step| step.step.as_str()).collect();
    assert_eq!(told, ["archive", "upload"]);
}

#[test]
fn the_newest_events_of_both_kinds_stand_in_order_of_time() {
    let conn = database();
    event(&conn, 1, 100, "RUN_CREATED", Some("r"));
    event(&conn, 2, 300, "RUN_COMPLETED", Some("r"));
    event(&conn, 3, 400, "RUN_CREATED", Some("other"));
    ingested(&conn, 1, 200, "pattern.execution.failed", "r");
    let told = |query: &EventQuery<'_>| -> Vec<(Source, i64)> {
        let tail = events::tail(&conn, query).unwrap();
        assert!(!tail.gave_up);
        tail.events.into_iter().map(|one| (one.source, one.id)).collect()
    };
    use Source::{Ingested, Lifecycle};
    assert_eq!(
        told(&query(None, None, 50)),
        [(Lifecycle, 1), (Ingested, 1), (Lifecycle, 2), (Lifecycle, 3)]
    );
    assert_eq!(told(&query(None, None, 2)), [(Lifecycle, 2), (Lifecycle, 3)]);
    assert_eq!(
        told(&query(Some("r"), None, 50)),
        [(Lifecycle, 1), (Ingested, 1), (Lifecycle, 2)]
    );
    assert_eq!(told(&query(Some("r"), Some(250), 50)), [(Lifecycle, 2)]);
    assert_eq!(
        told(&query(None, Some(250), 50)),
        [(Lifecycle, 2), (Lifecycle, 3)]
    );
    let failed = EventQuery {
        keep: &|kind| kind.ends_with(".failed"),
        ..query(None, None, 50)
    };
    assert_eq!(told(&failed), [(Ingested, 1)]);
}

#[test]
fn what_comes_after_a_place_is_told_once() {
    let conn = database();
    event(&conn, 1, 100, "RUN_CREATED", Some("r"));
    let mut cursor = events::tail(&conn, &query(None, None, 50)).unwrap().cursor;
    let all = query(None, None, 50);
    assert_eq!(events::after(&conn, &all, &mut cursor).unwrap(), []);
    event(&conn, 2, 200, "RUN_COMPLETED", Some("r"));
    ingested(&conn, 1, 150, "x.failed", "r");
    let ids = |found: Vec<events::Event>| -> Vec<(Source, i64)> {
        found.into_iter().map(|one| (one.source, one.id)).collect()
    };
    let found = ids(events::after(&conn, &all, &mut cursor).unwrap());
    assert_eq!(found, [(Source::Ingested, 1), (Source::Lifecycle, 2)]);
    assert_eq!(events::after(&conn, &all, &mut cursor).unwrap(), []);
    // What doesn't fit is passed by, however much of it there is.
    for id in 3..2_500 {
        event(&conn, id, 200, "HELD", Some("other"));
    }
    event(&conn, 2_500, 300, "REPORT_GENERATED", Some("r"));
    let of_run = query(Some("r"), None, 50);
    let found = ids(events::after(&conn, &of_run, &mut cursor).unwrap());
    assert_eq!(found, [(Source::Lifecycle, 2_500)]);
}

#[test]
fn the_first_event_of_a_time_is_found_among_many_without_looking_at_them() {
    let conn = database();
    const HOUR_MS: i64 = 3_600_000;
    // Ids with gaps, as retention leaves them.
    for nth in 0..1_000 {
        event(&conn, nth * 7 + 1, nth * HOUR_MS, "RUN_CREATED", Some("r"));
    }
    let tail = events::tail(&conn, &query(None, Some(997 * HOUR_MS), 50)).unwrap();
    let at: Vec<i64> = tail
        .events
        .iter()
        .map(|one| one.at.unwrap().0 / HOUR_MS)
        .collect();
    assert_eq!(at, [997, 998, 999]);
}

#[test]
fn problems_are_what_needs_somebody_and_then_what_is_tried_again() {
    let conn = database();
    run(&conn, "r", "failed", 10);
    step(&conn, "r", "archive", "dead", true);
    step(&conn, "r", "report", "ready", true);
    conn.execute_batch(
        "UPDATE runchain_steps SET error = 'E-' || step;
         INSERT INTO runchain_failures(step_id, attempt, ended_ms, error)
         SELECT id, 1, 5, error FROM runchain_steps;
         INSERT INTO runchain_runs(run_id, phase, first_seen_ms, phase_since_ms, monitor, stalled_since_ms)
         VALUES ('s', 'active', 0, 0, 'on', 50)",
    )
    .unwrap();
    let found = problems::problems(&conn, 10).unwrap();
    let told: Vec<(ProblemKind, Option<&str>)> = found
        .iter()
        .map(|one| (one.kind, one.message.as_deref()))
        .collect();
    assert_eq!(
        told,
        [
            (ProblemKind::DeadStep, Some("E-archive")),
            (ProblemKind::StalledRun, None),
            (ProblemKind::FailingStep, Some("E-report")),
        ]
    );
}

#[test]
fn a_chain_stands_as_its_required_steps_say() {
    let cases: [(&[(&str, bool)], Standing); 8] = [
        (
            &[("done", true)],
            Standing::Through {
                phase: Phase::Completed,
            },
        ),
        (
            &[("done", true), ("dead", false)],
            Standing::Through {
                phase: Phase::Completed,
            },
        ),
        (
            &[("done", true), ("cancelled", false)],
            Standing::Through {
                phase: Phase::Completed,
            },
        ),
        (&[("dead", true), ("running", true)], Standing::UnderWay),
        (&[("done", true), ("ready", true)], Standing::UnderWay),
        (&[("ready", true), ("waiting", true)], Standing::UnderWay),
        (
            &[("dead", true), ("waiting", true)],
            Standing::Dead {
                step: "s0".into(),
                error: None,
            },
        ),
        (
            &[("done", true), ("cancelled", true)],
            Standing::NoChain(NoChain::Cancelled),
        ),
    ];
    for (steps, expected) in cases {
        let conn = database();
        let mapping = Mapping::require(&conn).unwrap();
        run(&conn, "r", "completed", 10);
        for (nth, (state, required)) in steps.iter().enumerate() {
            step(&conn, "r", &format!("s{nth}"), state, *required);
        }
        let found = standing(&conn, &mapping, &RunId("r".into())).unwrap();
        assert_eq!(found, expected, "{steps:?}");
    }
}

#[test]
fn what_nobody_has_looked_at_yet_counts_before_what_is_known() {
    let conn = database();
    let mapping = Mapping::require(&conn).unwrap();
    let of = |run_id: &str| standing(&conn, &mapping, &RunId(run_id.into())).unwrap();
    assert_eq!(of("r"), Standing::NoSuchRun);
    run(&conn, "r", "completed", 10);
    step(&conn, "r", "archive", "dead", true);
    assert!(matches!(of("r"), Standing::Dead { .. }));
    conn.execute_batch("INSERT INTO runchain_queue(action, step_id) SELECT 'retry', id FROM runchain_steps")
        .unwrap();
    assert_eq!(of("r"), Standing::Unseen);
    conn.execute_batch(
        "DELETE FROM runchain_queue; INSERT INTO runs VALUES ('new', 'RUNNING'); DELETE FROM runchain_queue",
    )
    .unwrap();
    assert_eq!(of("new"), Standing::Unseen);
    conn.execute_batch("UPDATE runchain_runs SET ended_event_id = NULL")
        .unwrap();
    assert_eq!(of("r"), Standing::NoChain(NoChain::LeftAlone));
    conn.execute_batch("INSERT INTO runchain_held(batch_id, run_id) VALUES (1, 'r')")
        .unwrap();
    assert_eq!(of("r"), Standing::NoChain(NoChain::Held));
}
