//! Facts -> sentences. Each case changes one fact of a run that is otherwise well.

use super::facts::{
    Cancelled, Counts, DatabaseFacts, DeadStep, Disk, Facts, FailedAttempt, Held, HeldBatch, Holder, Known,
    Outside, Pause, Queue, RunFacts, StepFacts,
};
use super::{Explanation, Verdict, judge};
use crate::liveness::Liveness;
use crate::vocabulary::Phase;
use crate::{Mapping, Millis, RunId, StepId};

const NOW: Millis = Millis(1_764_168_412_000);

fn ago(span_ms: i64) -> Millis {
    NOW.plus(-span_ms)
}

fn step(name: &str, state: &str, needs: &[&str]) -> StepFacts {
    StepFacts {
        id: StepId(if name == "archive" { 1 } else { 2 }),
        step: name.into(),
        state: state.into(),
        needs: needs.iter().map(|&need| need.to_owned()).collect(),
        ready_at: ago(3_000),
        required: true,
        attempts: 0,
        max_attempts: 5,
        started: None,
        finished: (state == "done").then(|| ago(2_000)),
        holder: None,
        is_deferred: false,
        error: None,
        lost: 0,
        delay_ms: 0,
        deadline: None,
        files: Vec::new(),
        failures: Vec::new(),
    }
}

/// An executor is alive; the run `r` has ended, with its chain in these states.
fn facts(archive: &str, report: &str) -> Facts {
    Facts {
        now: NOW,
        mapping: Mapping {
            table: "runs".into(),
            id_column: "run_id".into(),
            status_column: "status".into(),
        },
        database: DatabaseFacts {
            table_is_there: true,
            trigger_faults: Vec::new(),
            executor: Liveness::Alive {
                who: "executor x".into(),
            },
            last_executor: None,
            queue: Queue::default(),
            next_due: None,
            pauses: Vec::new(),
            counts: Counts::default(),
            dead: None,
            held: Vec::new(),
            suspect: None,
            held_batch: None,
            complaints: Vec::new(),
            renamed_to: None,
        },
        run: Some(RunFacts {
            run_id: RunId("r".into()),
            row: Some(Some("COMPLETED".into())),
            row_phase: Some(Phase::Completed),
            nearest: Vec::new(),
            is_forgotten: false,
            known: Some(Known {
                phase: Phase::Completed,
                status: Some("COMPLETED".into()),
                generation: 1,
                since: ago(5_000),
                monitor: "off".into(),
                stalled_since: None,
            }),
            queued: Queue::default(),
            steps: vec![
                step("archive", archive, &[]),
                step("report", report, &["archive"]),
            ],
            held: None,
            ending: Vec::new(),
            cancelled: None,
        }),
        outside: Outside::default(),
    }
}

/// Verdict, the first cause, next, and the commands.
fn told(explanation: &Explanation) -> (Verdict, String, String, Vec<String>) {
    (
        explanation.verdict,
        explanation
            .causes
            .first()
            .map(|cause| cause.text.clone())
            .unwrap_or_default(),
        explanation.next.text.clone(),
        explanation
            .you_can
            .iter()
            .map(|remedy| remedy.arguments.join(" "))
            .collect(),
    )
}

/// What differs.
type Case<'a> = &'a dyn Fn(&mut Facts, &mut RunFacts);
/// Verdict, the first cause, next, and the commands.
type Expected<'a> = (Verdict, &'a str, &'a str, &'a [&'a str]);

#[track_caller]
fn tells(change: impl FnOnce(&mut Facts, &mut RunFacts), states: (&str, &str), expected: Expected<'_>) {
    let mut facts = facts(states.0, states.1);
    let mut run = facts.run.take().unwrap();
    change(&mut facts, &mut run);
    facts.run = Some(run);
    let (verdict, cause, next, commands) = told(&judge(&facts));
    let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
    assert_eq!(
        (verdict, cause.as_str(), next.as_str(), commands.as_slice()),
        expected
    );
}

#[test]
fn what_is_through_says_so_and_where_it_is() {
    tells(
        |_, run| run.steps[0].files = vec!["/p/.archive/r".into()],
        ("done", "done"),
        (
            Verdict::Through,
            "archive: done 2 s ago: /p/.archive/r",
            "nothing",
            &[],
        ),
    );
    tells(
        |facts, _| {
            facts
                .outside
                .lost_files
                .insert("archive".into(), "/p/.archive/r is not there any more".into());
        },
        ("done", "done"),
        (
            Verdict::NeedsSomebody,
            "archive: done 2 s ago, but /p/.archive/r is not there any more",
            "nothing: what is done is not looked at again",
            &["archive --run r"],
        ),
    );
}

#[test]
fn a_ready_step_says_what_it_waits_for() {
    let cases: [(Case<'_>, Expected<'_>); 8] = [
        (
            &|_, run| run.ending = vec!["report".into()],
            (
                Verdict::OnItsWay,
                "archive: due for 3 s, but report was cancelled while it ran and hasn't ended yet",
                "archive is started when that has ended",
                &[],
            ),
        ),
        (
            &|_, _| (),
            (
                Verdict::OnItsWay,
                "archive: due for 3 s",
                "an executor starts archive",
                &[],
            ),
        ),
        (
            &|_, run| {
                run.steps[0].is_deferred = true;
                run.steps[0].ready_at = NOW.plus(2_000);
            },
            (
                Verdict::OnItsWay,
                "archive: waits until its rows and files stand still; looks again in 2 s (2025-11-26 14:46:54 UTC)",
                "archive looks again in 2 s (2025-11-26 14:46:54 UTC)",
                &[],
            ),
        ),
        (
            &|_, run| run.steps[0].ready_at = NOW.plus(120_000),
            (
                Verdict::OnItsWay,
                "archive: delayed; due in 2 min (2025-11-26 14:48:52 UTC)",
                "archive is due in 2 min (2025-11-26 14:48:52 UTC)",
                &[],
            ),
        ),
        (
            &|_, run| {
                run.steps[0].ready_at = NOW.plus(10_000);
                run.steps[0].error = Some("disk full".into());
                run.steps[0].failures = vec![FailedAttempt {
                    attempt: 2,
                    ended: ago(4_000),
                    error: "disk full".into(),
                    last_line: Some("no room".into()),
                }];
            },
            (
                Verdict::OnItsWay,
                "archive: attempt 2 of 5 failed 4 s ago: disk full (it said: no room); tried again in 10 s (2025-11-26 14:47:02 UTC)",
                "archive is tried again in 10 s (2025-11-26 14:47:02 UTC)",
                &["show r"],
            ),
        ),
        (
            &|facts, _| {
                facts.outside.limits.insert("archive".into(), 1);
                facts.database.held.push(Held {
                    run_id: RunId("other".into()),
                    step: "archive".into(),
                });
            },
            (
                Verdict::OnItsWay,
                "archive: due for 3 s, but 1 of archive at once are allowed (steps.archive.concurrency), and these run: other",
                "archive is started when a place is free",
                &[],
            ),
        ),
        (
            &|_, run| run.steps[0].deadline = Some(ago(60_000)),
            (
                Verdict::OnItsWay,
                "archive: its deadline passed 60 s ago: it will not be started any more, and be dead",
                "it goes on by itself",
                &[],
            ),
        ),
        (
            &|facts, _| facts.outside.kinds = Some(vec!["report".into()]),
            (
                Verdict::NeedsSomebody,
                "archive: no step archive is configured any more: it will fail for good",
                "it fails when it is started",
                &["cancel r"],
            ),
        ),
    ];
    for (change, expected) in cases {
        tells(change, ("ready", "waiting"), expected);
    }
}

#[test]
fn what_holds_every_run_up_stands_first() {
    tells(
        |facts, _| {
            facts.database.executor = Liveness::Dead;
            facts.database.last_executor = Some("process 7 on box".into());
        },
        ("ready", "waiting"),
        (
            Verdict::NeedsSomebody,
            "no executor is alive; the last was process 7 on box",
            "nothing, until an executor runs",
            &["drain --until-idle", "drain"],
        ),
    );
    let pause = |kind: &str| Pause {
        kind: kind.into(),
        since: ago(7_200_000),
        actor: Some("ann(1000)@box".into()),
        reason: Some("disk full".into()),
    };
    tells(
        |facts, _| facts.database.pauses = vec![pause("archive"), pause("upload")],
        ("ready", "waiting"),
        (
            Verdict::NeedsSomebody,
            "archive was paused 2 h ago by ann(1000)@box: disk full",
            "nothing, until archive is resumed",
            &["resume archive"],
        ),
    );
    tells(
        |facts, _| facts.database.trigger_faults = vec!["runchain_capture_update is missing".into()],
        ("ready", "waiting"),
        (
            Verdict::NeedsSomebody,
            "the capture triggers on runs are not as they should be (runchain_capture_update is missing; a table rebuild drops \
             them): what is written there is seen only when the executor compares all rows",
            "the executor's next comparison of all rows, if one is alive",
            &["install --repair"],
        ),
    );
    tells(
        |facts, _| {
            facts.outside.disk = Some(Disk {
                folder: "/p/.archive".into(),
                free_bytes: 10,
                reserve_bytes: 20,
            });
        },
        ("ready", "waiting"),
        (
            Verdict::NeedsSomebody,
            "10 bytes are free on the disk of /p/.archive, less than the reserve of 20 (archive.min_free_bytes): no bag is made",
            "nothing is archived, until there is room",
            &[],
        ),
    );
}

#[test]
fn a_dead_step_tells_all_its_attempts_and_nobody_waits_for_an_executor() {
    let failed = |attempt, span_ms, error: &str| FailedAttempt {
        attempt,
        ended: ago(span_ms),
        error: error.into(),
        last_line: None,
    };
    tells(
        |facts, run| {
            facts.database.executor = Liveness::Dead;
            run.steps[0].attempts = 5;
            run.steps[0].failures = vec![failed(4, 9_000, "first"), failed(5, 4_000, "last")];
        },
        ("dead", "waiting"),
        (
            Verdict::NeedsSomebody,
            "archive: dead since attempt 5 of 5 4 s ago: last; before that attempt 4 9 s ago: first",
            "nothing: the attempts of archive are used up",
            &["retry r", "show r", "cancel r"],
        ),
    );
}

#[test]
fn a_held_step_tells_who_holds_it_and_whether_that_one_lives() {
    let holder = |lease_until| Holder {
        executor: "x".into(),
        process: Some("process 7 on box".into()),
        lease_until: Some(lease_until),
    };
    for (lease_until, cause, next) in [
        (
            NOW.plus(1),
            "archive: running for 9 s, attempt 1 of 5, by process 7 on box",
            "archive comes to its end",
        ),
        (
            ago(1),
            "archive: process 7 on box held it and is gone: its lease is over",
            "another executor takes archive back",
        ),
    ] {
        tells(
            |_, run| {
                run.steps[0].attempts = 1;
                run.steps[0].started = Some(ago(9_000));
                run.steps[0].holder = Some(holder(lease_until));
            },
            ("running", "waiting"),
            (Verdict::OnItsWay, cause, next, &[]),
        );
    }
}

#[test]
fn a_cancelled_chain_tells_who_asked_or_why() {
    let cancelled = |actor: Option<&str>, reason: &str| {
        Some(Cancelled {
            at: ago(4_000),
            reason: Some(reason.into()),
            actor: actor.map(str::to_owned),
        })
    };
    for (cancelled, cause) in [
        (
            cancelled(Some("ann(1000)@box"), "wrong project"),
            "its chain was cancelled 4 s ago by ann(1000)@box: wrong project",
        ),
        (
            cancelled(None, "the run ended again"),
            "its chain was cancelled 4 s ago: the run ended again",
        ),
    ] {
        tells(
            |_, run| run.cancelled = cancelled,
            ("cancelled", "cancelled"),
            (
                Verdict::Through,
                cause,
                "nothing, unless somebody asks for it",
                &["finish --run r"],
            ),
        );
    }
}

#[test]
fn a_run_s_own_row_status_and_phase_are_causes() {
    let cases: [(Case<'_>, Expected<'_>); 7] = [
        (
            &|_, run| {
                (run.row, run.known) = (None, None);
                run.nearest = vec![RunId("R".into()), RunId("-r".into())];
            },
            (
                Verdict::NoSuchRun,
                "table runs has no run r, and runchain has never seen one; did you mean R or -r?",
                "nothing",
                &["explain R", "explain -- -r", "status"],
            ),
        ),
        (
            &|_, run| {
                run.known = None;
                run.queued = Queue {
                    rows: 1,
                    oldest: Some(ago(3_000)),
                };
            },
            (
                Verdict::OnItsWay,
                "a write or request of this run, written 3 s ago, waits in the queue to be looked at",
                "an executor looks at what was written",
                &[],
            ),
        ),
        (
            &|_, run| {
                run.row = Some(Some("WAITNG".into()));
                run.row_phase = None;
            },
            (
                Verdict::NeedsSomebody,
                "its status word \"WAITNG\" is not in runchain_vocabulary, so it changes nothing: the run stays completed",
                "nothing, until the word is known",
                &[""],
            ),
        ),
        (
            &|_, run| run.known.as_mut().unwrap().phase = Phase::Active,
            (
                Verdict::OnItsWay,
                "its row says COMPLETED, but that write was not captured (triggers were off or missing, or it was written \
                 before them): it is found when the executor compares all rows",
                "the executor's next comparison of all rows (sweep_ms)",
                &[],
            ),
        ),
        (
            &|_, run| {
                run.row = None;
                run.known.as_mut().unwrap().phase = Phase::Deleted;
            },
            (
                Verdict::Through,
                "its row is gone from runs since 5 s ago; what had not ended of its chain was cancelled, what was archived stays",
                "nothing",
                &[],
            ),
        ),
        (
            &|_, run| run.known.as_mut().unwrap().generation = 0,
            (
                Verdict::Through,
                "its end has no chain: it ended before runchain followed this table, or its chain was held and discarded; \
                 such runs are left alone unless asked for",
                "nothing, unless somebody asks for it",
                &["finish --run r"],
            ),
        ),
        (
            &|_, run| {
                run.row_phase = Some(Phase::Active);
                let known = run.known.as_mut().unwrap();
                (known.phase, known.stalled_since) = (Phase::Active, Some(ago(9_000)));
            },
            (
                Verdict::NeedsSomebody,
                "it is not over, and nothing of it has changed since 2025-11-26 14:46:43 UTC: its orchestrator may be gone",
                "nothing, until its orchestrator writes again; its chain begins when it ends",
                &["show r"],
            ),
        ),
    ];
    for (change, expected) in cases {
        let change = |facts: &mut Facts, run: &mut RunFacts| {
            run.steps.clear();
            change(facts, run);
        };
        tells(change, ("done", "done"), expected);
    }
}

#[test]
fn the_whole_database_says_why_nothing_happens() {
    let whole = |change: &dyn Fn(&mut DatabaseFacts)| {
        let mut facts = facts("done", "done");
        facts.run = None;
        change(&mut facts.database);
        let (verdict, cause, next, _) = told(&judge(&facts));
        (verdict, cause, next)
    };
    let expect = |verdict, cause: &str, next: &str| (verdict, cause.to_owned(), next.to_owned());
    assert_eq!(
        whole(&|_| ()),
        expect(
            Verdict::Through,
            "no run is active, and every run that ended is through",
            "nothing, until a run is written"
        )
    );
    assert_eq!(
        whole(&|database| {
            database.executor = Liveness::Dead;
            database.queue = Queue {
                rows: 2,
                oldest: Some(ago(60_000)),
            };
        }),
        expect(
            Verdict::NeedsSomebody,
            "no executor is alive; the last one, if there was one, stopped in order",
            "nothing, until an executor runs"
        )
    );
    assert_eq!(
        whole(&|database| {
            database.counts.ready = 1;
            database.next_due = Some(NOW.plus(3_000));
        }),
        expect(
            Verdict::OnItsWay,
            "1 step is ready; the first is due in 3 s (2025-11-26 14:46:55 UTC)",
            "a step is started in 3 s (2025-11-26 14:46:55 UTC)"
        )
    );
    assert_eq!(
        whole(&|database| {
            database.counts.dead = 3;
            database.dead = Some(DeadStep {
                run_id: RunId("r".into()),
                step: "upload".into(),
                error: None,
            });
        }),
        expect(
            Verdict::NeedsSomebody,
            "3 dead steps; the newest is upload of run r: no error was kept",
            "nothing for these chains, until they are retried"
        )
    );
}

#[test]
fn what_is_to_be_typed_survives_the_shell() {
    for (argument, typed) in [
        ("run-1", "run-1"),
        ("", "''"),
        ("a b", "'a b'"),
        ("it's", "\"it's\""),
        ("it's $HOME", "'it'\\''s $HOME'"),
        ("a\u{1b}1'\\", "$'a\\0331\\'\\\\'"),
        ("é", "'é'"),
        ("\u{202e}x", "$'\\342\\200\\256x'"),
    ] {
        assert_eq!(super::quoted(argument), typed);
    }
}

#[test]
fn a_held_chain_names_its_batch_and_what_can_be_decided() {
    tells(
        |_, run| {
            run.held = Some(HeldBatch {
                id: 7,
                state: "held".into(),
                since: ago(4_000),
                runs: 3,
            });
        },
        ("done", "done"),
        (
            Verdict::NeedsSomebody,
            "3 runs ended in a rush 4 s ago, and their chains are held in batch 7",
            "nothing, until batch 7 is released or discarded",
            &["held", "held release 7", "held discard 7"],
        ),
    );
}

#[test]
fn a_chain_goes_on_without_what_is_not_required_and_tells_what_it_has_not() {
    tells(
        |_, run| {
            run.steps[0].required = false;
            run.steps[0].attempts = 5;
            run.steps[0].error = Some("no".into());
        },
        ("dead", "done"),
        (
            Verdict::Through,
            "archive: dead since attempt 5 of 5: no; it is not required, so the chain goes on without it",
            "nothing",
            &["retry r"],
        ),
    );
    let mut facts = facts("done", "done");
    facts.outside.kinds = Some(["archive", "report", "upload"].map(str::to_owned).to_vec());
    let causes = judge(&facts).causes;
    assert!(causes.iter().any(|cause| {
        cause.code == "left_out"
            && cause
                .text
                .starts_with("this chain has no upload: its `on` or `where` doesn't fit this run")
    }));
}

#[test]
fn a_forgotten_run_and_a_pruned_chain_say_so() {
    tells(
        |_, run| (run.row, run.known, run.is_forgotten) = (None, None, true),
        ("done", "done"),
        (
            Verdict::Through,
            "somebody had it forgotten: only a digest of its id is left, and what is written under that id is not acted on",
            "nothing",
            &[],
        ),
    );
    tells(
        |_, run| run.steps.clear(),
        ("done", "done"),
        (
            Verdict::Through,
            "its chain has no steps: none of them was for it, or retention has dropped them since",
            "nothing",
            &[],
        ),
    );
}
