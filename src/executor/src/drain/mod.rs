//! The main loop: expand, settle, lease and start; and, for whoever leads, monitor and project.
//!
//! One thread owns every write to the queue, so that starts and settlings are grouped into one
//! transaction where there is more than one. It wakes by hints (see `wake`) and trusts only the
//! queue. Its connection is synchronous=FULL: nothing external (a child, a bag, a log line) happens
//! before a durable commit that covers its cause.
//!
//! Leadership is the flock on `<db>.runchain-lock`. The leader monitors active runs and projects
//! events to the logs; any executor leases steps.

mod trace;
pub(crate) mod worker;

use crate::config::Settings;
use crate::door;
use crate::monitor::{Monitor, MonitorOptions};
use crate::open::{self, OpenMode};
use crate::projector::Projector;
use crate::wake::{self, Wake, Watch};
use runchain_core::chain::{Chain, StepSpec};
use runchain_core::error::{During, Error, Result};
use runchain_core::liveness::Leadership;
use runchain_core::steps::{self, Backoff, Executor, Settled, Wanted};
use runchain_core::{ExecutorId, Mapping, Millis, RunId, functions, install, queue, schema};
use rusqlite::Connection;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
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

/// Queue rows for one expansion: some ten milliseconds of writing.
const EXPAND_ROWS: usize = 1_000;
/// Events for one projection.
const PROJECT_EVENTS: usize = 1_000;
/// How often somebody who doesn't lead tries to.
const LEAD_EVERY: Duration = Duration::from_secs(2);
/// How long a graceful stop lets steps finish before their commands are ended.
const STOP_GRACE: Duration = Duration::from_secs(20);
/// The watcher's event comes at the write, before the commit is visible: look again after growing
/// pauses before sleeping.
const LOOK_AGAIN_MS: [u64; 6] = [1, 2, 4, 8, 16, 32];
/// After a failure that may pass (a table that is being rebuilt), in a service.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// Tells a person what happens; the caller decides where that goes.
pub(crate) type Say<'a> = &'a dyn Fn(&str);

/// Runs the loop until its goal is reached or a signal stops it.
///
/// # Errors
/// A database that is missing, replaced, not installed or too new; output folders that belong to
/// another database; whatever SQLite answers, but for "busy".
pub(crate) fn run(settings: &Arc<Settings>, goal: &Goal, say: Say<'_>) -> Result<Ended> {
    let mut conn = open::open_state(&settings.state_db_path, OpenMode::ReadWrite)
        .map_err(|error| Error::refused(error.to_string(), "see above"))?;
    conn.execute_batch("PRAGMA synchronous = FULL")
        .during("ask for durable commits")?;
    functions::register(&conn, functions::Surface::Full)?;
    let mapping = door::patiently(|| install::prepare(&conn, Millis::now()))?;
    let database_uuid = schema::meta(&conn, "database_uuid")?.ok_or(Error::NotInstalled)?;
    let executor = identity();
    door::write(&mut conn, |conn| {
        executor.renew(conn, settings.lease_ms, Millis::now())
    })?;

    let (sender, wakes) = channel();
    wake::signals(sender.clone())
        .map_err(|error| Error::io("set signal handlers for", "the executor", error))?;
    let watch = Watch::start(&settings.state_db_path, sender.clone());
    if let Err(error) = &watch {
        say(&format!(
            "can't watch the database's folder ({error}); looking every {} ms instead",
            settings.poll_ms
        ));
    }
    let workshop = Arc::new(Workshop {
        settings: Arc::clone(settings),
        mapping: mapping.clone(),
        database_uuid,
        stop: AtomicBool::new(false),
    });
    let workers = Workers::start(&workshop, settings.workers, &sender)
        .map_err(|error| Error::io("start the threads of", "the executor", error))?;
    let file = FileIdentity::of(&settings.state_db_path);
    let mut drain = Drain {
        settings: settings.as_ref(),
        goal,
        say,
        conn,
        chain: chain_of(settings),
        mapping,
        executor,
        workers,
        workshop,
        wakes,
        watch: watch.ok(),
        file,
        lead: None,
        next_lead: Instant::now(),
        running: 0,
        finished: Vec::new(),
        renewed: Instant::now(),
        recovered: None,
        heartbeat_due: None,
        stopping: None,
        looks: LOOK_AGAIN_MS.len(),
    };
    let ended = drain.until_over();
    drain.leave();
    ended
}

/// The chain that the configuration names.
pub(crate) fn chain_of(settings: &Settings) -> Chain {
    Chain(
        settings
            .steps
            .iter()
            .map(|step| StepSpec {
                name: step.name.clone(),
                after: step.after.clone(),
                max_attempts: step.max_attempts,
            })
            .collect(),
    )
}

fn identity() -> Executor {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let pid = std::process::id();
    let id = ExecutorId(format!("{host}-{pid}-{:08x}", fastrand::u32(..)));
    Executor { id, host, pid }
}

/// Device and inode of the database: a file that was replaced under us must not be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileIdentity(Option<(u64, u64)>);

impl FileIdentity {
    fn of(path: &Path) -> Self {
        Self(
            std::fs::metadata(path)
                .ok()
                .map(|found| (found.dev(), found.ino())),
        )
    }
}

/// What the leader keeps.
struct Lead {
    _leadership: Leadership,
    projector: Projector,
    monitor: Monitor,
}

struct Stop {
    signal: i32,
    deadline: Instant,
}

struct Drain<'a> {
    settings: &'a Settings,
    goal: &'a Goal,
    say: Say<'a>,
    conn: Connection,
    chain: Chain,
    mapping: Mapping,
    executor: Executor,
    workers: Workers,
    workshop: Arc<Workshop>,
    wakes: Receiver<Wake>,
    watch: Option<Watch>,
    file: FileIdentity,
    lead: Option<Lead>,
    next_lead: Instant,
    running: usize,
    finished: Vec<Finished>,
    renewed: Instant,
    recovered: Option<Instant>,
    heartbeat_due: Option<Millis>,
    stopping: Option<Stop>,
    /// Index into [`LOOK_AGAIN_MS`]; past its end the loop sleeps.
    looks: usize,
}

impl Drain<'_> {
    fn until_over(&mut self) -> Result<Ended> {
        loop {
            let pause = match self.pass() {
                Ok(true) => {
                    self.looks = 0;
                    None
                }
                Ok(false) => None,
                Err(error) if self.may_pass(&error) => {
                    (self.say)(&format!("{error}; trying again"));
                    Some(AFTER_FAILURE)
                }
                Err(error) => return Err(error),
            };
            if pause.is_none()
                && let Some(ended) = self.over()?
            {
                return Ok(ended);
            }
            let timeout = pause.map_or_else(|| self.timeout(), Ok)?;
            if let Some(ended) = self.sleep(timeout)? {
                return Ok(ended);
            }
        }
    }

    /// A service goes on after what somebody else can mend; everything else ends it.
    fn may_pass(&self, error: &Error) -> bool {
        let fatal = error.is_corrupt()
            || matches!(
                error,
                Error::Refused { .. } | Error::NotInstalled | Error::Outdated { .. }
            );
        error.is_busy() || (*self.goal == Goal::Forever && !fatal)
    }

    /// One round of everything; `true` when anything was done.
    fn pass(&mut self) -> Result<bool> {
        if FileIdentity::of(&self.settings.state_db_path) != self.file {
            return Err(Error::refused(
                format!(
                    "{} was replaced or deleted while runchain had it open",
                    self.settings.state_db_path.display()
                ),
                "look where it went, then start runchain again",
            ));
        }
        self.try_to_lead()?;
        let mut worked = self.expand()?;
        worked |= self.settle()?;
        self.keep_lease()?;
        worked |= self.recover()?;
        worked |= self.dispatch()?;
        worked |= self.do_what_leaders_do()?;
        Ok(worked)
    }

    fn try_to_lead(&mut self) -> Result<()> {
        if self.lead.is_some() || Instant::now() < self.next_lead {
            return Ok(());
        }
        self.next_lead = Instant::now() + LEAD_EVERY;
        let Some(leadership) = Leadership::try_acquire(&self.settings.state_db_path, &self.executor.id.0)?
        else {
            return Ok(());
        };
        let projector = Projector::open(&self.settings.logs_dir, &self.conn)?;
        let monitor = Monitor::new(MonitorOptions {
            heartbeat_ms: self.settings.monitor_heartbeat_ms,
            stall_after_ms: self.settings.monitor_stall_after_ms,
            ..MonitorOptions::default()
        });
        self.lead = Some(Lead {
            _leadership: leadership,
            projector,
            monitor,
        });
        Ok(())
    }

    fn expand(&mut self) -> Result<bool> {
        let mut worked = false;
        let waiting = door::patiently(|| {
            self.conn
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM runchain_queue)")
                .and_then(|mut statement| statement.query_row([], |row| row.get::<_, bool>(0)))
                .during("look at the queue")
        })?;
        if waiting {
            trace::mark(trace::Mark::Seen);
        }
        let mut more = waiting;
        while more {
            let (mapping, chain) = (&self.mapping, &self.chain);
            let expanded = door::write(&mut self.conn, |conn| {
                queue::expand(conn, mapping, chain, EXPAND_ROWS, Millis::now())
            })?;
            worked |= expanded.rows > 0;
            more = expanded.more;
        }
        Ok(worked)
    }

    /// Settles everything that has finished since the last round, in one transaction.
    fn settle(&mut self) -> Result<bool> {
        if self.finished.is_empty() {
            return Ok(false);
        }
        let backoff = self.backoff();
        let finished = &self.finished;
        let settled = door::write(&mut self.conn, |conn| {
            finished
                .iter()
                .map(|one| {
                    steps::settle(
                        conn,
                        &one.claim,
                        &one.outcome,
                        backoff,
                        fastrand::f64(),
                        Millis::now(),
                    )
                })
                .collect::<Result<Vec<_>>>()
        })?;
        for (one, settled) in std::mem::take(&mut self.finished).into_iter().zip(settled) {
            self.running -= 1;
            self.tell(&one, settled);
        }
        Ok(true)
    }

    fn tell(&self, one: &Finished, settled: Settled) {
        let (run, step) = (&one.claim.run_id, &one.claim.step);
        let error = match &one.outcome {
            steps::Outcome::Failed(failure) => failure.error.as_str(),
            _ => "",
        };
        match settled {
            Settled::Done => (self.say)(&format!("{run}: {step} done")),
            Settled::Again(_) if error.is_empty() => {}
            Settled::Again(at) => (self.say)(&format!(
                "{run}: {step} failed, next attempt at {}: {error}",
                at.iso()
            )),
            Settled::Dead => {
                (self.say)(&format!(
                    "{run}: {step} is dead: {error} (runchain retry {run} tries it again)"
                ));
            }
            Settled::Fenced => (self.say)(&format!(
                "{run}: {step} was taken from us meanwhile; nothing was settled"
            )),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff {
            base_ms: self.settings.retry_base_ms,
            cap_ms: self.settings.retry_cap_ms,
        }
    }

    /// The executor's one lease covers all its steps; without steps it may run out.
    fn keep_lease(&mut self) -> Result<()> {
        if self.running > 0 && self.renewed.elapsed() >= self.lease_part() {
            let (executor, lease_ms) = (&self.executor, self.settings.lease_ms);
            door::write(&mut self.conn, |conn| {
                executor.renew(conn, lease_ms, Millis::now())
            })?;
            self.renewed = Instant::now();
        }
        Ok(())
    }

    fn lease_part(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.settings.lease_ms / 3).unwrap_or(1))
    }

    /// Takes steps back from executors whose lease ran out.
    fn recover(&mut self) -> Result<bool> {
        if self
            .recovered
            .is_some_and(|last| last.elapsed() < self.lease_part())
        {
            return Ok(false);
        }
        self.recovered = Some(Instant::now());
        if !self.others_hold()? {
            return Ok(false);
        }
        let backoff = self.backoff();
        let recovered = door::write(&mut self.conn, |conn| {
            steps::recover(conn, backoff, fastrand::f64(), Millis::now())
        })?;
        if recovered > 0 {
            (self.say)(&format!(
                "took {recovered} steps back from an executor that is gone"
            ));
        }
        Ok(recovered > 0)
    }

    fn others_hold(&self) -> Result<bool> {
        door::patiently(|| {
            self.conn
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM runchain_steps WHERE state IN ('leased', 'running') AND executor_id <> ?1)",
                )
                .and_then(|mut statement| statement.query_row([&self.executor.id], |row| row.get(0)))
                .during("look for steps of others")
        })
    }

    /// Leases, starts and hands out as many due steps as workers are free. Leased steps start in the
    /// same transaction, so that nothing is held that isn't worked on.
    fn dispatch(&mut self) -> Result<bool> {
        let free = self.settings.workers.saturating_sub(self.running);
        if free == 0 || self.stopping.is_some() || !self.is_due()? {
            return Ok(false);
        }
        let wanted = match self.goal {
            Goal::Run { run_id, step } => Wanted::OfRun {
                run_id,
                step: step.as_deref(),
            },
            _ => Wanted::Due,
        };
        let (executor, lease_ms) = (&self.executor, self.settings.lease_ms);
        let claims = door::write(&mut self.conn, |conn| {
            let now = Millis::now();
            executor.renew(conn, lease_ms, now)?;
            let mut claims = steps::lease(conn, &executor.id, wanted, free, now)?;
            for claim in &mut claims {
                steps::start(conn, claim, &executor.id, now)?;
            }
            Ok(claims)
        })?;
        self.renewed = Instant::now();
        let any = !claims.is_empty();
        if any {
            trace::mark(trace::Mark::Started);
        }
        for claim in claims {
            self.running += 1;
            self.workers.execute(claim);
        }
        Ok(any)
    }

    fn is_due(&self) -> Result<bool> {
        Ok(self.next_due()?.is_some_and(|due| due <= Millis::now()))
    }

    fn next_due(&self) -> Result<Option<Millis>> {
        door::patiently(|| match self.goal {
            Goal::Run { run_id, step } => steps::next_due_of(&self.conn, run_id, step.as_deref()),
            _ => steps::next_due(&self.conn),
        })
    }

    fn do_what_leaders_do(&mut self) -> Result<bool> {
        let Some(lead) = &mut self.lead else {
            return Ok(false);
        };
        self.heartbeat_due =
            lead.monitor
                .tick(&self.conn, &self.mapping, &mut lead.projector, Millis::now())?;
        let mut worked = false;
        loop {
            let projected = lead.projector.project(&self.conn, PROJECT_EVENTS)?;
            worked |= projected > 0;
            if projected < PROJECT_EVENTS {
                return Ok(worked);
            }
        }
    }

    fn over(&self) -> Result<Option<Ended>> {
        if self.stopping.is_some() {
            return Ok((self.running == 0).then_some(Ended::Stopped));
        }
        if self.running > 0 {
            return Ok(None);
        }
        let reached = match self.goal {
            Goal::Forever => false,
            Goal::Once => !self.is_due()?,
            Goal::UntilIdle => !door::patiently(|| steps::work_left(&self.conn, None, None))?,
            Goal::Run { run_id, step } => {
                !door::patiently(|| steps::work_left(&self.conn, Some(run_id), step.as_deref()))?
            }
        };
        Ok(reached.then_some(Ended::Reached))
    }

    /// How long nothing is known to happen.
    fn timeout(&mut self) -> Result<Duration> {
        let mut timeout = Duration::from_millis(u64::try_from(self.settings.poll_ms).unwrap_or(60_000));
        if let Some(pause_ms) = LOOK_AGAIN_MS.get(self.looks) {
            self.looks += 1;
            timeout = timeout.min(Duration::from_millis(*pause_ms));
        }
        let now = Millis::now();
        let until = |at: Millis| Duration::from_millis(u64::try_from(at.since(now)).unwrap_or(0).max(1));
        if self.stopping.is_none() && self.running < self.settings.workers {
            timeout = self.next_due()?.map_or(timeout, |due| timeout.min(until(due)));
        }
        timeout = self.heartbeat_due.map_or(timeout, |due| timeout.min(until(due)));
        if self.lead.is_none() {
            timeout = timeout.min(LEAD_EVERY);
        }
        if self.running > 0 || self.others_hold()? {
            timeout = timeout.min(self.lease_part());
        }
        if let Some(stop) = &self.stopping {
            timeout = timeout.min(
                stop.deadline
                    .saturating_duration_since(Instant::now())
                    .max(Duration::from_millis(50)),
            );
        }
        Ok(timeout)
    }

    /// Waits for a wake or the timeout, and takes everything that has arrived.
    fn sleep(&mut self, timeout: Duration) -> Result<Option<Ended>> {
        let mut wake = match self.wakes.recv_timeout(timeout) {
            Ok(wake) => Some(wake),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::refused(
                    "every source of wakes is gone",
                    "report this as a bug of runchain",
                ));
            }
        };
        while let Some(one) = wake {
            match one {
                Wake::Changed => {
                    self.looks = 0;
                    if let Some(watch) = &self.watch {
                        watch.rearm();
                    }
                }
                Wake::Finished(finished) => self.finished.push(*finished),
                Wake::Stop(signal) => {
                    if let Some(ended) = self.stop(signal) {
                        return Ok(Some(ended));
                    }
                }
            }
            wake = self.wakes.try_recv().ok();
        }
        if self
            .stopping
            .as_ref()
            .is_some_and(|stop| Instant::now() >= stop.deadline)
        {
            self.workshop.stop.store(true, Ordering::Release);
        }
        Ok(None)
    }

    fn stop(&mut self, signal: i32) -> Option<Ended> {
        if let Some(stop) = &self.stopping {
            (self.say)(&format!(
                "stopping at once; {} steps are left to their lease",
                self.running
            ));
            return Some(Ended::Forced(if signal == stop.signal {
                signal
            } else {
                stop.signal
            }));
        }
        if self.running > 0 {
            (self.say)(&format!(
                "stopping when {} running steps are through; again to stop at once",
                self.running
            ));
        }
        self.stopping = Some(Stop {
            signal,
            deadline: Instant::now() + STOP_GRACE,
        });
        None
    }

    /// Takes the executor off the list, so that nobody waits for its lease.
    fn leave(&mut self) {
        if self.running > 0 || FileIdentity::of(&self.settings.state_db_path) != self.file {
            return;
        }
        let executor = &self.executor;
        if let Err(error) = door::write(&mut self.conn, |conn| executor.leave(conn)) {
            (self.say)(&format!("{error}; the lease will run out by itself"));
        }
    }
}
