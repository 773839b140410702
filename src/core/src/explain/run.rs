//! One run: is it there, was its last write seen, what does its status mean, is it over?

use super::chain;
use super::facts::{Facts, Known, RunFacts};
use super::judge::Finding;
use super::whole::{common, for_run, held, paused, with_run};
use super::words::{literal, shown, utc, when};
use super::{Remedy, StepLine, Verdict};
use crate::steps::EVERY_KIND;
use crate::vocabulary::Phase;

pub(super) fn headline(facts: &Facts, run: &RunFacts) -> String {
    let name = &run.run_id;
    match (&run.row, &run.known) {
        (None, None) => format!("run {name}: not known"),
        (Some(status), None) => {
            format!("run {name}: {}, not looked at yet", word(status.as_deref()))
        }
        (_, Some(known)) => {
            let status = word(known.status.as_deref());
            let phase = known.phase.as_str();
            let meaning = if phase.eq_ignore_ascii_case(&status) {
                String::new()
            } else {
                format!(" ({phase})")
            };
            format!(
                "run {name}: {status}{meaning} since {}, {}, generation {}",
                utc(known.since),
                when(known.since, facts.now),
                known.generation
            )
        }
    }
}

fn word(status: Option<&str>) -> String {
    status.map_or_else(|| "no status".to_owned(), shown)
}

pub(super) fn findings(facts: &Facts, run: &RunFacts) -> (Vec<StepLine>, Vec<Finding>) {
    if run.row.is_none()
        && run.known.is_none()
        && run.queued.rows == 0
        && !run.is_forgotten
        && facts.database.table_is_there
    {
        return (Vec::new(), vec![unknown(facts, run)]);
    }
    if run.is_forgotten {
        let text = "somebody had it forgotten: only a digest of its id is left, and what is written under that id is not acted on";
        return (Vec::new(), vec![Finding::through("forgotten", text)]);
    }
    let own = existence(facts, run);
    // While its newest end is held, the steps are those of an earlier one.
    let (lines, steps) = if run.held.is_some() {
        Default::default()
    } else {
        chain::findings(facts, run)
    };
    let mut found: Vec<Finding> = own.into_iter().chain(steps).collect();
    let waits =
        |finding: &Finding| finding.cause.code == "stalled" || finding.cause.verdict == Verdict::OnItsWay;
    // What holds up every run matters where this one is not through.
    if found.iter().any(waits) {
        // Causes stand before what follows from them.
        let mut all = common(facts, true);
        for pause in facts
            .database
            .pauses
            .iter()
            .filter(|pause| concerns(run, &pause.kind))
        {
            all.push(paused(facts, pause));
        }
        all.append(&mut found);
        return (lines, all);
    }
    (lines, found)
}

/// Whether a pause keeps a step of this run from starting, now or later.
fn concerns(run: &RunFacts, kind: &str) -> bool {
    let begins = |state: &str| matches!(state, "ready" | "waiting");
    run.steps
        .iter()
        .any(|step| begins(&step.state) && (kind == EVERY_KIND || kind == step.step))
}

fn unknown(facts: &Facts, run: &RunFacts) -> Finding {
    let table = &facts.mapping.table;
    let alike = match run.nearest.as_slice() {
        [] => String::new(),
        ids => {
            let ids: Vec<String> = ids.iter().map(|id| shown(&id.to_string())).collect();
            format!("; did you mean {}?", ids.join(" or "))
        }
    };
    let mut found = Finding::new(
        "no_such_run",
        Verdict::NoSuchRun,
        format!(
            "table {table} has no run {}, and runchain has never seen one{alike}",
            run.run_id
        ),
    );
    for id in &run.nearest {
        found = found.can(with_run(&["explain"], &id.0, "about that run"));
    }
    found.can(Remedy::command(["status"], "the newest runs"))
}

/// The run's row, its last write, its word, its phase.
fn existence(facts: &Facts, run: &RunFacts) -> Vec<Finding> {
    let mut found = Vec::new();
    if run.queued.rows > 0 {
        let age = run
            .queued
            .oldest
            .map_or_else(String::new, |at| format!(", written {},", when(at, facts.now)));
        found.push(
            Finding::goes_on(
                "queued",
                format!("a write or request of this run{age} waits in the queue to be looked at"),
            )
            .next("an executor looks at what was written"),
        );
    }
    let Some(status) = &run.row else {
        found.extend(row_is_gone(facts, run));
        return found;
    };
    if run.row_phase.is_none() && run.queued.rows == 0 {
        found.push(unknown_word(facts, run, status.as_deref()));
        return found;
    }
    let Some(known) = &run.known else {
        if run.queued.rows == 0 {
            found.push(unseen("runchain has never seen it"));
        }
        return found;
    };
    let differs = run.row_phase.is_some_and(|phase| phase != known.phase);
    if differs {
        // What waits in the queue says it already.
        if run.queued.rows == 0 {
            let what = format!(
                "its row says {}, but that write was not captured",
                word(status.as_deref())
            );
            found.push(unseen(&what));
        }
        return found;
    }
    if let Some(batch) = &run.held {
        found.push(held(facts, batch));
        return found;
    }
    match known.phase {
        Phase::Active => found.push(active(run, known)),
        Phase::Completed | Phase::Failed | Phase::Cancelled
            if known.generation == 0 && run.queued.rows == 0 =>
        {
            found.push(history(run));
        }
        Phase::Completed | Phase::Failed | Phase::Cancelled if run.steps.is_empty() => {
            found.push(Finding::through(
                "pruned",
                "its chain has no steps: none of them was for it, or retention has dropped them since",
            ));
        }
        _ => {}
    }
    found
}

fn row_is_gone(facts: &Facts, run: &RunFacts) -> Option<Finding> {
    let known = run.known.as_ref()?;
    if known.phase == Phase::Deleted {
        return Some(Finding::through(
            "deleted",
            format!(
                "its row is gone from {} since {}; what had not ended of its chain was cancelled, what was archived stays",
                facts.mapping.table,
                when(known.since, facts.now)
            ),
        ));
    }
    (facts.database.table_is_there && run.queued.rows == 0)
        .then(|| unseen("its row is gone, but the delete was not captured"))
}

fn unseen(what: &str) -> Finding {
    Finding::goes_on(
        "unseen",
        format!("{what} (triggers were off or missing, or it was written before them): it is found when the executor compares all rows"),
    )
    .next("the executor's next comparison of all rows (sweep_ms)")
}

fn unknown_word(facts: &Facts, run: &RunFacts, status: Option<&str>) -> Finding {
    let phase = run.known.as_ref().map_or(Phase::Active, |known| known.phase);
    let Some(status) = status else {
        return Finding::needs_somebody(
            "status_unknown",
            format!(
                "its {} is NULL, which means nothing: it stays {phase}",
                facts.mapping.status_column
            ),
        )
        .next("nothing, until its status is a known word");
    };
    Finding::needs_somebody(
        "status_unknown",
        format!(
            "its status word {:?} is not in runchain_vocabulary, so it changes nothing: the run stays {phase}",
            shown(status)
        ),
    )
    .next("nothing, until the word is known")
    .can(Remedy::sql(
        format!(
            "INSERT INTO runchain_vocabulary(status, phase) VALUES ({}, 'completed');",
            literal(status)
        ),
        "say what it means: completed, failed, cancelled or active; the next comparison of all rows acts on it",
    ))
}

fn active(run: &RunFacts, known: &Known) -> Finding {
    if let Some(since) = known.stalled_since {
        return Finding::needs_somebody(
            "stalled",
            format!(
                "it is not over, and nothing of it has changed since {}: its orchestrator may be gone",
                utc(since)
            ),
        )
        .next("nothing, until its orchestrator writes again; its chain begins when it ends")
        .can(with_run(&["show"], &run.run_id.0, "its events"));
    }
    let monitor = match known.monitor.as_str() {
        "on" => "it is monitored",
        "abandoned" => {
            "it was active for more than a day when runchain was installed, so it is not monitored"
        }
        _ => "its monitoring has not begun",
    };
    Finding::goes_on(
        "active",
        format!("it is not over ({monitor}); its chain begins when it ends"),
    )
    .next("its chain begins when its orchestrator writes how it ended")
}

/// Finished before runchain came: left alone unless asked for.
fn history(run: &RunFacts) -> Finding {
    Finding::through(
        "history",
        "its end has no chain: it ended before runchain followed this table, or its chain was held and discarded; \
         such runs are left alone unless asked for",
    )
    .next("nothing, unless somebody asks for it")
    .can(
        for_run("finish", &run.run_id.0, "archive and report it now")
            .or_sql(format!("SELECT enqueue_chain({});", literal(&run.run_id.0))),
    )
}
