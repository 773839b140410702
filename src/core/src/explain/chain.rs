//! The steps of the newest chain: what each waits for, and why.

use super::facts::{Cancelled, Facts, FailedAttempt, RunFacts, StepFacts};
use super::judge::Finding;
use super::whole::{for_run, with_run};
use super::words::{age, by, literal, shown, when};
use super::{Remedy, StepLine};
use crate::steps::EVERY_KIND;
use crate::vocabulary::Phase;

pub(super) fn findings(facts: &Facts, run: &RunFacts) -> (Vec<StepLine>, Vec<Finding>) {
    let is_over = run.known.as_ref().is_some_and(|known| known.phase.is_terminal());
    let stuck = stuck(run);
    let mut lines = Vec::new();
    let mut found = Vec::new();
    let mut cancelled = false;
    for step in &run.steps {
        let finding = match step.state.as_str() {
            "done" => done(facts, run, step),
            "waiting" => waiting(run, step, &stuck),
            "ready" => ready(facts, run, step),
            "dead" => dead(facts, run, step),
            "cancelled" => {
                cancelled = true;
                Finding::through("cancelled", "cancelled")
            }
            _ => held(facts, step),
        };
        lines.push(StepLine {
            step: step.step.clone(),
            state: step.state.clone(),
            text: finding.cause.text.clone(),
        });
        let name = &step.step;
        if step.state != "cancelled" {
            let mut finding = finding;
            finding.cause.text = format!("{name}: {}", finding.cause.text);
            found.push(finding);
        }
    }
    if is_over && !run.steps.is_empty() {
        found.extend(left_out(facts, run));
    }
    // What an active or a deleted run did at its last end is history.
    if cancelled && is_over {
        found.push(why_cancelled(facts, run));
    }
    if !is_over {
        found.retain(|finding| finding.cause.code != "done");
    } else if !found.is_empty() && run.steps.iter().all(|step| step.state == "done") {
        found.push(Finding::through("through", "every step of its chain is done").next("nothing"));
    }
    (lines, found)
}

/// Configured steps that this chain doesn't have.
fn left_out(facts: &Facts, run: &RunFacts) -> Option<Finding> {
    let has = |kind: &&String| run.steps.iter().any(|step| step.step == **kind);
    let missing: Vec<&str> = facts
        .outside
        .kinds
        .iter()
        .flatten()
        .filter(|kind| !has(kind))
        .map(String::as_str)
        .collect();
    (!missing.is_empty()).then(|| {
        Finding::through(
            "left_out",
            format!(
                "this chain has no {}: its `on` or `where` doesn't fit this run, or it was not configured when the run ended",
                missing.join(" and no ")
            ),
        )
        .can(with_run(&["show"], &run.run_id.0, "its events; STEP_SKIPPED says what could not be looked at"))
    })
}

fn done(facts: &Facts, run: &RunFacts, step: &StepFacts) -> Finding {
    let at = step
        .finished
        .map_or_else(String::new, |at| format!(" {}", when(at, facts.now)));
    if let Some(what) = facts.outside.lost_files.get(&step.step) {
        let remedy = match step.step.as_str() {
            "report" => for_run("report", &run.run_id.0, "write the reports again"),
            _ => for_run(
                "archive",
                &run.run_id.0,
                "make the bag again, from what the database holds now",
            ),
        };
        return Finding::needs_somebody("files_lost", format!("done{at}, but {what}"))
            .next("nothing: what is done is not looked at again")
            .can(remedy);
    }
    let files = if step.files.is_empty() {
        String::new()
    } else {
        format!(": {}", step.files.join(", "))
    };
    Finding::through("done", format!("done{at}{files}"))
}

/// The steps that wait for a dead one, however many others stand between.
fn stuck(run: &RunFacts) -> Vec<&str> {
    let mut stuck: Vec<&str> = run
        .steps
        .iter()
        .filter(|step| step.state == "dead" && step.required)
        .map(|step| step.step.as_str())
        .collect();
    loop {
        let more = run.steps.iter().find(|step| {
            let waits = step.state == "waiting" && !stuck.contains(&step.step.as_str());
            waits && step.needs.iter().any(|need| stuck.contains(&need.as_str()))
        });
        match more {
            Some(step) => stuck.push(&step.step),
            None => return stuck,
        }
    }
}

/// Whether a step no longer keeps others waiting.
fn is_met(run: &RunFacts, need: &str) -> bool {
    let Some(step) = run.steps.iter().find(|one| one.step == need) else {
        return false;
    };
    step.state == "done" || (!step.required && matches!(step.state.as_str(), "dead" | "cancelled"))
}

fn waiting(run: &RunFacts, step: &StepFacts, stuck: &[&str]) -> Finding {
    let state_of = |need: &str| {
        run.steps
            .iter()
            .find(|one| one.step == need)
            .map(|one| one.state.as_str())
    };
    let open: Vec<&String> = step.needs.iter().filter(|need| !is_met(run, need)).collect();
    let missing: Vec<&&String> = open.iter().filter(|need| state_of(need).is_none()).collect();
    if let [first, ..] = missing.as_slice() {
        return Finding::needs_somebody(
            "needs_nothing",
            format!("waits for {first}, which this chain doesn't have"),
        )
        .can(with_run(
            &["cancel"],
            &run.run_id.0,
            "cancel what has not ended of its chain",
        ));
    }
    let named: Vec<String> = open
        .iter()
        .map(|need| format!("{need} ({})", state_of(need).unwrap_or("missing")))
        .collect();
    let text = format!("waits for {}", named.join(", "));
    if stuck.contains(&step.step.as_str()) {
        return Finding::needs_somebody("waits", text);
    }
    Finding::goes_on("waits", text)
}

fn ready(facts: &Facts, run: &RunFacts, step: &StepFacts) -> Finding {
    let now = facts.now;
    if let Some(deadline) = step.deadline.filter(|deadline| *deadline <= now) {
        return Finding::goes_on(
            "deadline",
            format!(
                "its deadline passed {}: it will not be started any more, and be dead",
                when(deadline, now)
            ),
        );
    }
    if let Some(kinds) = &facts.outside.kinds
        && !kinds.contains(&step.step)
    {
        return Finding::needs_somebody(
            "not_configured",
            format!(
                "no step {} is configured any more: it will fail for good",
                step.step
            ),
        )
        .next("it fails when it is started")
        .can(with_run(
            &["cancel"],
            &run.run_id.0,
            "cancel what has not ended of its chain",
        ));
    }
    let attempt = step.failures.last().filter(|_| step.error.is_some()).map(|last| {
        format!(
            "attempt {} of {} failed {}: {}",
            last.attempt,
            step.max_attempts,
            when(last.ended, now),
            what_failed(last)
        )
    });
    if step.ready_at > now {
        let due = when(step.ready_at, now);
        return match attempt {
            Some(attempt) => Finding::goes_on("backoff", format!("{attempt}; tried again {due}"))
                .next_at(format!("{} is tried again {due}", step.step), step.ready_at)
                .can(with_run(&["show"], &run.run_id.0, "every attempt")),
            None if step.is_deferred => Finding::goes_on(
                "settling",
                format!("waits until its rows and files stand still; looks again {due}"),
            )
            .next_at(format!("{} looks again {due}", step.step), step.ready_at),
            None => Finding::goes_on("delayed", format!("delayed; due {due}"))
                .next_at(format!("{} is due {due}", step.step), step.ready_at),
        };
    }
    if is_paused(facts, step) {
        return Finding::goes_on(
            "ready_paused",
            format!("has been ready for {}, and is paused", age_of(facts, step)),
        );
    }
    if !run.ending.is_empty() {
        return Finding::goes_on(
            "ending",
            format!(
                "due for {}, but {} was cancelled while it ran and hasn't ended yet",
                age_of(facts, step),
                run.ending.join(" and ")
            ),
        )
        .next(format!("{} is started when that has ended", step.step));
    }
    if let Some(text) = limit_reached(facts, step) {
        return Finding::goes_on("limit", text)
            .next(format!("{} is started when a place is free", step.step));
    }
    let suspect = if step.lost > 0 {
        format!(
            "; its executor disappeared {} while it ran, so it runs alone",
            super::words::count(step.lost, "time")
        )
    } else {
        String::new()
    };
    let attempt = attempt.map_or_else(String::new, |attempt| format!("; {attempt}"));
    Finding::goes_on(
        "due",
        format!("due for {}{suspect}{attempt}", age_of(facts, step)),
    )
    .next(format!("an executor starts {}", step.step))
}

fn age_of(facts: &Facts, step: &StepFacts) -> String {
    age(facts.now.since(step.ready_at))
}

fn is_paused(facts: &Facts, step: &StepFacts) -> bool {
    let pauses = &facts.database.pauses;
    pauses
        .iter()
        .any(|pause| pause.kind == EVERY_KIND || pause.kind == step.step)
}

fn limit_reached(facts: &Facts, step: &StepFacts) -> Option<String> {
    let limit = *facts.outside.limits.get(&step.step)?;
    let holders: Vec<String> = facts
        .database
        .held
        .iter()
        .filter(|held| held.step == step.step)
        .map(|held| shown(&held.run_id.to_string()))
        .collect();
    (holders.len() >= limit).then(|| {
        let named = holders.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        format!(
            "due for {}, but {limit} of {} at once are allowed (steps.{}.concurrency), and these run: {named}",
            age_of(facts, step),
            step.step,
            step.step
        )
    })
}

fn held(facts: &Facts, step: &StepFacts) -> Finding {
    let now = facts.now;
    let since = step
        .started
        .map_or_else(String::new, |at| format!(" for {}", age(now.since(at))));
    let Some(holder) = &step.holder else {
        return Finding::goes_on("running", format!("{}{since}", step.state));
    };
    let process = holder.process.clone().unwrap_or_else(|| holder.executor.clone());
    match holder.lease_until.filter(|until| *until > now) {
        Some(_) => Finding::goes_on(
            "running",
            format!(
                "running{since}, attempt {} of {}, by {process}",
                step.attempts, step.max_attempts
            ),
        )
        .next(format!("{} comes to its end", step.step)),
        None => Finding::goes_on(
            "abandoned",
            format!("{process} held it and is gone: its lease is over"),
        )
        .next(format!("another executor takes {} back", step.step)),
    }
}

fn dead(facts: &Facts, run: &RunFacts, step: &StepFacts) -> Finding {
    let last = step.failures.last();
    let kept = || shown(step.error.as_deref().unwrap_or("no error was kept"));
    let error = last.map_or_else(kept, what_failed);
    let at = last.map_or_else(String::new, |last| format!(" {}", when(last.ended, facts.now)));
    let mut text = format!(
        "dead since attempt {} of {}{at}: {error}",
        step.attempts, step.max_attempts,
    );
    if step.attempts < step.max_attempts && step.deadline.is_none() {
        text.push_str(" (trying again can't help, it said)");
    }
    let earlier: Vec<String> = step
        .failures
        .iter()
        .rev()
        .skip(1)
        .map(|one| {
            format!(
                "attempt {} {}: {}",
                one.attempt,
                when(one.ended, facts.now),
                what_failed(one)
            )
        })
        .collect();
    if !earlier.is_empty() {
        text.push_str(&format!("; before that {}", earlier.join("; ")));
    }
    if !step.required {
        return Finding::through(
            "dead_optional",
            format!("{text}; it is not required, so the chain goes on without it"),
        )
        .can(with_run(&["retry"], &run.run_id.0, "try its dead steps again"));
    }
    Finding::needs_somebody("dead", text)
        .next(format!("nothing: the attempts of {} are used up", step.step))
        .can(
            with_run(
                &["retry"],
                &run.run_id.0,
                "try its dead steps again, when the cause is mended",
            )
            .or_sql(format!("SELECT runchain_retry({});", step.id)),
        )
        .can(with_run(
            &["show"],
            &run.run_id.0,
            "every attempt, with its output",
        ))
        .can(
            with_run(&["cancel"], &run.run_id.0, "give its chain up")
                .or_sql(format!("SELECT runchain_cancel({});", step.id)),
        )
}

/// The error, and what the command printed last.
fn what_failed(attempt: &FailedAttempt) -> String {
    let said = attempt
        .last_line
        .as_deref()
        .filter(|line| !attempt.error.contains(line));
    let said = said.map_or_else(String::new, |line| format!(" (it said: {})", shown(line)));
    format!("{}{said}", shown(&attempt.error))
}

fn why_cancelled(facts: &Facts, run: &RunFacts) -> Finding {
    let why = match &run.cancelled {
        None => ", and nothing recorded says why".to_owned(),
        Some(Cancelled {
            at,
            reason,
            actor: Some(actor),
        }) => {
            format!(" {}{}", when(*at, facts.now), by(Some(actor), reason.as_deref()))
        }
        Some(Cancelled {
            at,
            reason,
            actor: None,
        }) => format!(
            " {}: {}",
            when(*at, facts.now),
            shown(reason.as_deref().unwrap_or("no reason was kept"))
        ),
    };
    let finding = Finding::through("chain_cancelled", format!("its chain was cancelled{why}"))
        .next("nothing, unless somebody asks for it");
    let deleted = run
        .known
        .as_ref()
        .is_some_and(|known| known.phase == Phase::Deleted);
    if deleted {
        return finding;
    }
    let again: Remedy = for_run("finish", &run.run_id.0, "do its chain all the same")
        .or_sql(format!("SELECT enqueue_chain({});", literal(&run.run_id.0)));
    finding.can(again)
}
