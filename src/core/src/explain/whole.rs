//! The database as a whole: what holds every run up, and why nothing happens at all.

use super::facts::{DeadStep, Facts, HeldBatch, Pause};
use super::judge::Finding;
use super::words::{age, by, count, literal, shown, when};
use super::{Remedy, Verdict};
use crate::Millis;
use crate::liveness::Liveness;
use crate::steps::EVERY_KIND;

/// Due work that is older than this is late though an executor is alive.
const LATE_MS: i64 = 60_000;

pub(super) fn headline(facts: &Facts) -> String {
    let counts = &facts.database.counts;
    format!(
        "{} active, {} to look at, {} ready, {} running, {} waiting, {} dead",
        count(counts.active, "run"),
        count(facts.database.queue.rows, "write"),
        count(counts.ready, "step"),
        counts.held,
        counts.waiting,
        counts.dead,
    )
}

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let database = &facts.database;
    let mut found = common(facts, has_work(facts));
    found.extend(database.pauses.iter().map(|pause| paused(facts, pause)));
    found.extend(database.held_batch.as_ref().map(|batch| held(facts, batch)));
    found.extend(database.dead.as_ref().map(|dead| dead_steps(facts, dead)));
    found.extend(stalled_runs(facts));
    found.extend(queued(facts));
    found.extend(database.next_due.map(|at| ready_steps(facts, at)));
    found.extend(running_steps(facts));
    if found.is_empty() {
        found.push(idle(facts));
    }
    found
}

fn dead_steps(facts: &Facts, newest: &DeadStep) -> Finding {
    let error = newest.error.as_deref().unwrap_or("no error was kept");
    Finding::needs_somebody(
        "dead_steps",
        format!(
            "{}; the newest is {} of run {}: {}",
            count(facts.database.counts.dead, "dead step"),
            newest.step,
            newest.run_id,
            shown(error)
        ),
    )
    .next("nothing for these chains, until they are retried")
    .can(with_run(&["explain"], &newest.run_id.0, "why that one is dead"))
    .can(with_run(&["retry"], &newest.run_id.0, "try its dead steps again"))
}

fn stalled_runs(facts: &Facts) -> Option<Finding> {
    let stalled = Some(facts.database.counts.stalled).filter(|stalled| *stalled > 0)?;
    let text = format!("{} without any change for too long", count(stalled, "active run"));
    let finding = Finding::needs_somebody("stalled_runs", text)
        .next("nothing, until their orchestrator writes again")
        .can(Remedy::command(["status"], "which runs those are"));
    Some(finding)
}

fn queued(facts: &Facts) -> Option<Finding> {
    let queue = &facts.database.queue;
    if queue.rows == 0 {
        return None;
    }
    let oldest = queue
        .oldest
        .map_or_else(String::new, |at| format!(", the oldest {}", when(at, facts.now)));
    let text = format!("{} nobody has looked at yet{oldest}", count(queue.rows, "write"));
    Some(Finding::goes_on("queue", text).next("an executor looks at what was written"))
}

fn ready_steps(facts: &Facts, first_due: Millis) -> Finding {
    let due = when(first_due, facts.now);
    let text = format!(
        "{} ready; the first is due {due}",
        are(facts.database.counts.ready)
    );
    let next = if first_due <= facts.now {
        "a step is started now".to_owned()
    } else {
        format!("a step is started {due}")
    };
    Finding::goes_on("ready_steps", text).next_at(next, first_due)
}

fn running_steps(facts: &Facts) -> Option<Finding> {
    let running = Some(facts.database.counts.held).filter(|running| *running > 0)?;
    let text = format!("{} running", are(running));
    Some(Finding::goes_on("running_steps", text).next("what runs comes to its end"))
}

fn idle(facts: &Facts) -> Finding {
    let text = match facts.database.counts.active {
        0 => "no run is active, and every run that ended is through".to_owned(),
        number => format!("every run that ended is through; {}", active(number)),
    };
    Finding::through("idle", text).next("nothing, until a run is written")
}

fn active(number: i64) -> String {
    format!("the chain of {} begins when it ends", count(number, "active run"))
}

fn are(steps: i64) -> String {
    format!(
        "{} {}",
        count(steps, "step"),
        if steps == 1 { "is" } else { "are" }
    )
}

fn has_work(facts: &Facts) -> bool {
    let database = &facts.database;
    database.queue.rows > 0
        || database.counts.ready > 0
        || database.counts.held > 0
        || database.counts.active > 0
}

/// What holds up every run; the executor only where there is something to do.
pub(super) fn common(facts: &Facts, has_work: bool) -> Vec<Finding> {
    let mut found: Vec<Finding> = capture(facts).into_iter().collect();
    found.extend(executor(facts, has_work));
    if let Some(disk) = facts
        .outside
        .disk
        .as_ref()
        .filter(|disk| disk.free_bytes < disk.reserve_bytes)
    {
        found.push(
            Finding::needs_somebody(
                "disk_full",
                format!(
                    "{} bytes are free on the disk of {}, less than the reserve of {} (archive.min_free_bytes): no bag is made",
                    disk.free_bytes, disk.folder, disk.reserve_bytes
                ),
            )
            .next("nothing is archived, until there is room"),
        );
    }
    for complaint in &facts.database.complaints {
        let remedy = complaint
            .remedy
            .as_ref()
            .map_or_else(String::new, |remedy| format!("; {remedy}"));
        found.push(
            Finding::needs_somebody(
                "database",
                format!("{} ({}{remedy})", complaint.found, complaint.check),
            )
            .can(
                Remedy::command(["validate"], "every check, with what mends it")
                    .or_sql("SELECT * FROM monitor_checks();".to_owned()),
            ),
        );
    }
    found
}

fn capture(facts: &Facts) -> Option<Finding> {
    let table = &facts.mapping.table;
    if !facts.database.table_is_there {
        let mut found = Finding::needs_somebody(
            "table_missing",
            format!("the followed table {table}, or one of its two columns, is not there"),
        )
        .next("nothing, until it is there again or another is followed");
        if let Some(now) = &facts.database.renamed_to {
            found.cause.text += &format!("; it looks like {} now", shown(&now.table));
            found = found.can(
                Remedy::command(
                    ["install", "--repair"],
                    "follow it there; what was missed is caught up",
                )
                .or_sql("SELECT runchain_install('{\"repair\":true}');".to_owned()),
            );
        }
        return Some(
            found.can(
                Remedy::command(["validate"], "what was found in its place")
                    .or_sql("SELECT * FROM monitor_checks();".to_owned()),
            ),
        );
    }
    if facts.database.trigger_faults.is_empty() {
        return None;
    }
    Some(
        Finding::needs_somebody(
            "triggers_lost",
            format!(
                "the capture triggers on {table} are not as they should be ({}; a table rebuild drops them): what is written \
                 there is seen only when the executor compares all rows",
                facts.database.trigger_faults.join(", ")
            ),
        )
        .next("the executor's next comparison of all rows, if one is alive")
        .can(
            Remedy::command(["install", "--repair"], "put the triggers back; what was missed is caught up")
                .or_sql("SELECT runchain_install('{\"repair\":true}');".to_owned()),
        ),
    )
}

fn executor(facts: &Facts, has_work: bool) -> Option<Finding> {
    let database = &facts.database;
    match &database.executor {
        Liveness::Dead => {
            let last = database.last_executor.as_ref().map_or_else(
                || "; the last one, if there was one, stopped in order".to_owned(),
                |last| format!("; the last was {last}"),
            );
            let verdict = if has_work {
                Verdict::NeedsSomebody
            } else {
                Verdict::Through
            };
            let mut found = Finding::new("no_executor", verdict, format!("no executor is alive{last}"));
            // What is copied or restored is not drained: a drain would only say so.
            if database.complaints.iter().any(|one| one.check == "identity") {
                return Some(found.next("nothing, until runchain adopt says what this database is"));
            }
            found = found.next("nothing, until an executor runs");
            if has_work {
                found = found
                    .can(Remedy::command(
                        ["drain", "--until-idle"],
                        "do what there is to do, then exit",
                    ))
                    .can(Remedy::command(["drain"], "the executor, as a service"));
            }
            Some(found)
        }
        Liveness::Unknown(reason) => Some(Finding::goes_on(
            "executor_unknown",
            format!("it can't be told whether an executor is alive: {reason}"),
        )),
        Liveness::Alive { who } => {
            let late = database.next_due.filter(|at| facts.now.since(*at) > LATE_MS)?;
            let suspect = database.suspect.as_ref().map_or_else(String::new, |suspect| {
                format!(
                    "; {} of run {}, whose executor disappeared while it ran, has to run alone first",
                    suspect.step, suspect.run_id
                )
            });
            Some(Finding::goes_on(
                "late",
                format!(
                    "an executor is alive ({}), but a step has been due for {}: it has no free place, or a limit is reached{suspect}",
                    shown(who),
                    age(facts.now.since(late))
                ),
            )
            .can(Remedy::command(["config", "show"], "workers and limits")))
        }
    }
}

pub(super) fn paused(facts: &Facts, pause: &Pause) -> Finding {
    let every = pause.kind == EVERY_KIND;
    let kind = if every {
        "every kind of steps"
    } else {
        pause.kind.as_str()
    };
    let resume = if every {
        Remedy::command(["resume"], "start steps again").or_sql("SELECT runchain_resume();".to_owned())
    } else {
        Remedy::command(["resume", &pause.kind], "start such steps again")
            .or_sql(format!("SELECT runchain_resume({});", literal(&pause.kind)))
    };
    Finding::needs_somebody(
        "paused",
        format!(
            "{} was paused {}{}",
            shown(kind),
            when(pause.since, facts.now),
            by(pause.actor.as_deref(), pause.reason.as_deref())
        ),
    )
    .next(format!("nothing, until {} is resumed", shown(kind)))
    .can(resume)
}

/// The chains of runs that ended in a rush.
pub(super) fn held(facts: &Facts, batch: &HeldBatch) -> Finding {
    let id = batch.id.to_string();
    let since = when(batch.since, facts.now);
    match batch.state.as_str() {
        "releasing" => Finding::goes_on("held", format!("held in batch {id}, which is being released"))
            .next("its turn comes, in the order in which the runs ended"),
        "discarding" => Finding::goes_on("held", format!("held in batch {id}, which is being discarded"))
            .next("it stays recorded as over, without a chain"),
        _ => Finding::needs_somebody(
            "held",
            format!(
                "{} ended in a rush {since}, and their chains are held in batch {id}",
                count(batch.runs, "run")
            ),
        )
        .next(format!("nothing, until batch {id} is released or discarded"))
        .can(Remedy::command(["held"], "what is held"))
        .can(
            Remedy::command(
                ["held", "release", &id],
                "begin these chains, in order and bounded",
            )
            .or_sql(format!("SELECT runchain_held_release({id});")),
        )
        .can(
            Remedy::command(["held", "discard", &id], "leave these runs without chains")
                .or_sql(format!("SELECT runchain_held_discard({id});")),
        ),
    }
}

/// A command about a run: its id is data, whatever it looks like.
pub(super) fn with_run(words: &[&str], run_id: &str, does: &str) -> Remedy {
    let mut arguments: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    if run_id.starts_with('-') {
        arguments.push("--".to_owned());
    }
    arguments.push(run_id.to_owned());
    Remedy {
        arguments,
        sql: None,
        does: does.to_owned(),
    }
}

/// The same for commands with `--run`.
pub(super) fn for_run(word: &str, run_id: &str, does: &str) -> Remedy {
    Remedy {
        arguments: vec![word.to_owned(), "--run".to_owned(), run_id.to_owned()],
        sql: None,
        does: does.to_owned(),
    }
}
