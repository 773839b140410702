//! The main job, end to end: an orchestrator that has never heard of runchain writes its runs, and
//! each finished one has a verified bag and right reports, whatever happens to the executor.
//!
//! The orchestrator is `tests/orchestrator/orchestrator.py`; its ledger is what the results are
//! compared with. That it ends with success says that no statement of it failed because of us.

mod ledger;
mod outside;
mod project;

use crate::support::Service;
use ledger::{Fate, Ledger, Run};
use outside::Event;
use project::{Project, Shape};
use std::time::Duration;

#[test]
fn shape_a_finished_runs_are_archived_and_reported() {
    undisturbed(Shape::A);
}

#[test]
fn shape_b_finished_runs_are_archived_and_reported() {
    undisturbed(Shape::B);
}

#[test]
fn shape_a_killing_the_executor_loses_and_repeats_nothing() {
    killed_again_and_again(Shape::A);
}

#[test]
fn shape_b_killing_the_executor_loses_and_repeats_nothing() {
    killed_again_and_again(Shape::B);
}

fn undisturbed(shape: Shape) {
    let project = Project::new(shape);
    let mut service = Service::start(project.root());
    project.wait_until_it_works(&mut service);
    let ledger = project.execute_runs("1", "90");
    project.wait_until_through(&mut service);
    assert!(
        service.terminate().success(),
        "SIGTERM stops the executor in order"
    );

    everything_holds(&project, &ledger);
    let events = outside::events(&project);
    let mut seen_active = 0;
    for run in &ledger.runs {
        assert_eq!(
            lifecycle(&events, run),
            run.lifecycle(),
            "{} ({:?})",
            run.run_id,
            run.fate
        );
        monitors_alternate(&events, run);
        seen_active += usize::from(!monitored(&events, run).is_empty());
    }
    // Which ones lived for long enough depends on how busy the machine is.
    assert!(seen_active > 0, "no run was monitored");
}

#[expect(
    clippy::print_stdout,
    reason = "the seed of a failed test stands in what it printed"
)]
fn killed_again_and_again(shape: Shape) {
    // Enough to hit starts, expansions, archiving and logging; the last ones after the last write.
    const LEAST_KILLS: usize = 15;
    let seed = std::env::var("RUNCHAIN_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..1_000_000));
    println!("RUNCHAIN_TEST_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let project = Project::new(shape);

    let (ledger, kills) = std::thread::scope(|scope| {
        let orchestrator = scope.spawn(|| project.execute_runs("1.5", "20"));
        let mut kills = 0;
        while !orchestrator.is_finished() || kills < LEAST_KILLS {
            let service = Service::start(project.root());
            std::thread::sleep(Duration::from_millis(random.u64(20..500)));
            service.kill();
            kills += 1;
        }
        (orchestrator.join().unwrap(), kills)
    });
    let mut service = Service::start(project.root());
    project.wait_until_it_works(&mut service);
    project.wait_until_through(&mut service);
    assert!(
        service.terminate().success(),
        "SIGTERM stops the executor in order"
    );
    println!("the executor was killed {kills} times");

    everything_holds(&project, &ledger);
    let events = outside::events(&project);
    for run in &ledger.runs {
        // An executor that was down may have missed the quiet time between the two ends.
        let of_last_end = |event: &&Event| match event.kind.as_str() {
            "RUN_ARCHIVED" | "REPORT_GENERATED" => event.generation == Some(run.ends),
            _ => true,
        };
        let events: Vec<Event> = events.iter().filter(of_last_end).cloned().collect();
        let mut expected = run.lifecycle().to_vec();
        if run.fate == Fate::Reopened {
            expected.drain(2..4);
        }
        assert_eq!(
            lifecycle(&events, run),
            expected,
            "{} ({:?})",
            run.run_id,
            run.fate
        );
        monitors_alternate(&events, run);
    }
}

fn everything_holds(project: &Project, ledger: &Ledger) {
    assert_eq!(ledger.runs.len(), 10);
    assert_eq!(ledger.finished().count(), 8);
    outside::nothing_is_left(project);
    outside::logs_hold_every_event_once_and_in_order(project);
    for run in ledger.finished() {
        outside::bag_holds_the_run(project, run);
        outside::reports_are_right(project, run);
    }
    outside::archival_log_is_the_archive(project, ledger);
    outside::events_of_files_are_stored_once(project, ledger);
}

fn of_run<'a>(events: &'a [Event], run: &Run) -> impl Iterator<Item = &'a str> {
    let events = events.iter();
    events
        .filter(|event| event.run_id.as_deref() == Some(&run.run_id))
        .map(|event| event.kind.as_str())
}

/// What happened to a run. Left out: the monitor, which has rules of its own, and what stopped or
/// failed in between.
fn lifecycle<'a>(events: &'a [Event], run: &Run) -> Vec<&'a str> {
    of_run(events, run)
        .filter(|kind| !kind.starts_with("MONITOR_") && !kind.starts_with("ALERT_"))
        .filter(|kind| !matches!(*kind, "CHAIN_CANCELLED" | "STEP_FAILED"))
        .collect()
}

fn monitored<'a>(events: &'a [Event], run: &Run) -> Vec<&'a str> {
    of_run(events, run)
        .filter(|kind| kind.starts_with("MONITOR_"))
        .collect()
}

/// Every monitor that started has stopped, and the first started before the run ended.
fn monitors_alternate(events: &[Event], run: &Run) {
    let monitored = monitored(events, run);
    let pairs = monitored.chunks(2);
    assert!(
        pairs
            .clone()
            .all(|pair| pair == ["MONITOR_STARTED", "MONITOR_STOPPED"]),
        "{}: {monitored:?}",
        run.run_id
    );
    let last = of_run(events, run).last();
    assert_ne!(last, Some("MONITOR_STARTED"), "{}", run.run_id);
}
