//! The main loop: one turn is one transaction that settles what has finished, expands what was
//! captured, and leases and starts what is due; then the leader monitors, projects and sweeps.
//!
//! One thread owns every write to the queue, so a turn costs one commit, however much it does. That
//! commit is synchronous=EXTRA: nothing external (a child, a bag, a log line) happens before a durable
//! commit that covers its cause. The loop wakes by hints (see `wake`) and trusts only the queue.
//!
//! ```text
//! begin, rest, stop              how the loop begins, sleeps and ends
//! pass, turn, expand, pace       what it does when it is woken, and how much of the time it may take
//! worker, effect                 the threads that execute steps, and what a step does
//! lead                           what only the leader does, and its parts:
//!   catch_up, storm              what waited while nobody drained; a rush that is held
//!   look, triggers               what no trigger told; whether the triggers stand
//!   followed, alerts             event logs that are followed; alerts that leave the machine
//!   logs, listing                whether logs can be written; the list of reports
//! database, vital, trail, trace  the file, signs of life, the audit trail, marks for who measures
//! ```
//!
//! Leadership is the flock on `<db>.runchain-lock`. The leader monitors active runs, projects events
//! to the logs and sweeps; any executor leases steps.

mod alerts;
mod begin;
mod catch_up;
mod database;
mod effect;
mod expand;
mod followed;
mod lead;
mod listing;
mod logs;
mod look;
mod pace;
mod pass;
mod rest;
mod stop;
mod storm;
mod trace;
mod trail;
mod triggers;
mod turn;
mod vital;
pub(crate) mod worker;

use crate::config::Settings;
use crate::courier::{Couriers, SignOfLife};
use crate::disk::Space;
use crate::identity::Guard;
use crate::log::{Entry, Level, Log};
use crate::metrics::Shared;
use crate::redact::Redactor;
use crate::wake::{Mailbox, Sleep};
pub(crate) use begin::run;
use catch_up::CatchUp;
use database::{OthersWrote, Version};
pub(crate) use database::{connect, connect_to_look};
use expand::Expanding;
use lead::Lead;
use pace::Pace;
use runchain_core::chain::Chain;
use runchain_core::downtime::Backlog;
use runchain_core::error::{Error, Result};
use runchain_core::identity::Place;
use runchain_core::steps::{self, Backoff, Claim, Executor, Settled};
use runchain_core::{Mapping, Millis, RunId, StepId};
use rusqlite::Connection;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stop::Stop;
use vital::Vital;
use worker::{Finished, Workers, Workshop};

/// When the loop ends by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Never: a service.
    Forever,
    /// When nothing is due any more; what is delayed stays for later.
    Once,
    /// When nothing is queued, ready (now or later), leased or running.
    UntilIdle,
    /// When nothing is left of one run's chain (or of one step of it); other steps stay untouched.
    Run {
        /// The run.
        run_id: RunId,
        /// Only this step of it.
        step: Option<String>,
    },
}

/// How the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Its goal was reached.
    Reached,
    /// A signal stopped it, in order.
    Stopped,
    /// A second signal stopped it at once; leases are left to expire.
    Forced(i32),
}

/// How often somebody who doesn't lead tries to.
const LEAD_EVERY: Duration = Duration::from_secs(2);
/// The watcher's event comes at the write, before the commit is visible: look again after growing
/// pauses before sleeping. In WAL the commit itself, which follows the fsync, makes no event; together
/// 3.3 s cover a slow disk, by one `PRAGMA data_version` each.
const LOOK_AGAIN_US: [u64; 16] = [
    50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 102_400, 204_800, 409_600, 819_200,
    1_638_400,
];
/// After a failure that may pass (a table that is being rebuilt, a full disk), in a service.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// Tells a person what happens; the caller decides where that goes.
pub(crate) type Say<'a> = &'a dyn Fn(&str);
/// Reads the configuration again, for SIGHUP.
pub(crate) type Reload<'a> = &'a dyn Fn() -> std::result::Result<Settings, String>;

struct Drain<'a> {
    settings: Arc<Settings>,
    goal: &'a Goal,
    /// Plain words; what has a level, a run or a step goes to the log itself.
    say: Say<'a>,
    log: &'a Log,
    vital: Vital,
    /// What metrics are made of, where they are offered.
    metrics: Option<Arc<Shared>>,
    reload: Reload<'a>,
    conn: Connection,
    version: Version,
    others: OthersWrote,
    pace: Pace,
    chain: Chain,
    concurrency: BTreeMap<String, usize>,
    mapping: Mapping,
    executor: Executor,
    workers: Workers,
    workshop: Arc<Workshop>,
    mailbox: Mailbox,
    /// The file system tells of every change.
    is_reported: bool,
    guard: Guard,
    place: Place,
    /// A service's disk.
    space: Option<Space>,
    lead: Option<Lead>,
    next_lead: Instant,
    running: usize,
    /// The fences of what runs, by step.
    held: BTreeMap<StepId, i64>,
    /// A suspect runs: nothing else may.
    suspect: bool,
    finished: Vec<Finished>,
    renewed: Instant,
    recovered: Option<Instant>,
    expanding: Expanding,
    /// Nothing of what is due could be had; not again before this, or a commit of others.
    lease_after: Option<Instant>,
    stopping: Option<Stop>,
    /// Why nothing but settling is done any more: the database asks for a newer runchain.
    outdated: Option<Error>,
    /// Index into [`LOOK_AGAIN_US`]; past its end the loop sleeps.
    looks: usize,
    /// After a failure: nothing is tried before this.
    hold: Option<Instant>,
    /// What was said to be wrong and isn't mended yet.
    complaints: Vec<String>,
    /// The logs were asked what they know of the database.
    is_compared: bool,
    /// What the database says about the logs.
    logs_told: logs::Told,
    /// Since when the database looks damaged or without our tables.
    doubt: Cell<Option<Instant>>,
    /// Turns were left: the next pass goes on at once.
    more: bool,
    /// What waited when we started, until the lead is taken or somebody else has it.
    backlog: Option<Backlog>,
    catch_up: Option<CatchUp>,
    /// The newest change of an alert that was announced.
    announced: i64,
    /// What carries alerts away, while we lead.
    couriers: Option<Couriers>,
    /// Who is told that work goes on, while we lead as a service.
    sign_of_life: Option<SignOfLife>,
    /// The next part of a decided batch of held runs is due.
    carry_out_at: Option<Millis>,
}

impl Drain<'_> {
    fn until_over(&mut self) -> Result<Ended> {
        // The first looks are 50 us apart; by default the kernel adds as much to every sleep.
        // Where it refuses, they come a little later.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let mut due = Instant::now();
        loop {
            if let Some(ended) = self.past_grace() {
                return Ok(ended);
            }
            let rest = self.pace.rest(Instant::now());
            // Our own attempts change the database, too: they must not cut the pause short.
            let held = !rest.is_zero() || self.hold.is_some_and(|until| Instant::now() < until);
            let is_due = || Instant::now() >= due || !self.guard.file.is_current();
            if !held && (self.version.changed() || !self.finished.is_empty() || is_due()) {
                self.hold = None;
                match self.paced_pass() {
                    Ok(()) => {
                        self.passed(None);
                        self.doubt.set(None);
                        if self.expanding.after.is_none() && !self.lead.as_ref().is_some_and(Lead::rests) {
                            self.complaints.clear();
                        }
                        if let Some(ended) = self.over()? {
                            return Ok(ended);
                        }
                        due = Instant::now() + self.until_next()?;
                    }
                    Err(error @ Error::Outdated { .. }) if self.running > 0 => {
                        (self.say)(&format!(
                            "{error}; stopping when {} running steps are through",
                            self.running
                        ));
                        self.outdated = Some(error);
                        // Whoever is new enough leads meanwhile.
                        self.lead = None;
                        // What has finished is settled at once.
                        due = Instant::now();
                    }
                    Err(error) if self.may_pass(&error) => {
                        self.passed(Some(&error.to_string()));
                        self.make_room_after(&error);
                        self.complain(format!("{error}; trying again"));
                        // What was answered by an error may have been committed all the same.
                        self.recovered = None;
                        if self.stopping.is_some() && self.running == 0 {
                            return Ok(Ended::Stopped);
                        }
                        due = Instant::now() + AFTER_FAILURE;
                        self.hold = Some(due);
                        self.looks = LOOK_AGAIN_US.len();
                    }
                    Err(error) => return Err(error),
                }
            }
            let mut pause = due.saturating_duration_since(Instant::now());
            let mut sleep = Sleep::Light;
            let rest = self.pace.rest(Instant::now());
            if !rest.is_zero() {
                (pause, sleep) = (rest, Sleep::Deep);
            } else if let Some(look_us) = LOOK_AGAIN_US.get(self.looks) {
                self.looks += 1;
                pause = pause.min(Duration::from_micros(*look_us));
            }
            let pause = self.come_past(pause);
            if let Some(ended) = self.sleep(pause, sleep)? {
                return Ok(ended);
            }
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff {
            base_ms: self.settings.retry_base_ms,
            cap_ms: self.settings.retry_cap_ms,
        }
    }

    /// What became of an attempt.
    fn tell(&self, one: &Finished, settled: Settled) {
        let (run, step) = (&one.claim.run_id, &one.claim.step);
        let error = match &one.outcome {
            steps::Outcome::Failed(failure) => Redactor::checked(&self.settings).step_error(&failure.error),
            _ => String::new(),
        };
        let (level, text) = match settled {
            Settled::Done => (Level::Info, format!("{run}: {step} done")),
            Settled::Again(_) if error.is_empty() => return,
            Settled::Again(at) => (
                Level::Warn,
                format!("{run}: {step} failed, next attempt at {}: {error}", at.iso()),
            ),
            Settled::Dead => (
                Level::Error,
                format!("{run}: {step} is dead: {error} (runchain retry {run} tries it again)"),
            ),
            Settled::Fenced => (
                Level::Warn,
                format!("{run}: {step} was taken from us meanwhile; nothing was settled"),
            ),
        };
        self.tell_of(&one.claim, level, &text);
    }

    fn tell_of(&self, claim: &Claim, level: Level, text: &str) {
        self.log.write(&Entry {
            level,
            text,
            run_id: Some(&claim.run_id),
            step: Some(&claim.step),
        });
    }

    fn lease_part(&self) -> Duration {
        millis(self.settings.lease_ms / 3)
    }
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

fn concurrency_of(settings: &Settings) -> BTreeMap<String, usize> {
    settings
        .steps
        .iter()
        .filter_map(|step| Some((step.name.clone(), step.rules.concurrency?)))
        .collect()
}
