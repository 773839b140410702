//! The main loop: one turn is one transaction that settles what has finished, expands what was
//! captured, and leases and starts what is due; then the leader monitors, projects and sweeps.
//!
//! One thread owns every write to the queue, so a turn costs one commit, however much it does. That
//! commit is synchronous=EXTRA: nothing external (a child, a bag, a log line) happens before a durable
//! commit that covers its cause. The loop wakes by hints (see `wake`) and trusts only the queue.
//!
//! Leadership is the flock on `<db>.runchain-lock`. The leader monitors active runs, projects events
//! to the logs and sweeps; any executor leases steps.

mod lead;
mod trace;
mod turn;
pub(crate) mod worker;

use crate::config::Settings;
use crate::door;
use crate::open::{self, OpenMode};
use crate::wake::{self, Wake, Watch};
use lead::Lead;
use runchain_core::chain::{Chain, StepSpec};
use runchain_core::error::{During, Error, Result};
use runchain_core::steps::{self, Backoff, Executor, Settled};
use runchain_core::{ExecutorId, Mapping, Millis, RunId, functions, install, schema};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
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

/// How often somebody who doesn't lead tries to.
const LEAD_EVERY: Duration = Duration::from_secs(2);
/// The watcher's event comes at the write, before the commit is visible: look again after growing
/// pauses before sleeping. Together 51 ms, which covers a slow fsync.
const LOOK_AGAIN_US: [u64; 10] = [50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600];
/// How long after the end of a graceful stop ended commands may take to be settled.
const SETTLE_GRACE: Duration = Duration::from_secs(15);
/// After a failure that may pass (a table that is being rebuilt, a full disk), in a service.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// Tells a person what happens; the caller decides where that goes.
pub(crate) type Say<'a> = &'a dyn Fn(&str);
/// Reads the configuration again, for SIGHUP.
pub(crate) type Reload<'a> = &'a dyn Fn() -> std::result::Result<Settings, String>;

/// Runs the loop until its goal is reached or a signal stops it.
///
/// # Errors
/// A database that is missing, replaced, not installed or too new; output folders that belong to
/// another database; whatever SQLite answers, but for "busy".
pub(crate) fn run(settings: &Arc<Settings>, goal: &Goal, say: Say<'_>, reload: Reload<'_>) -> Result<Ended> {
    let database = settings.state_db_path.clone();
    let file = FileIdentity::of(&database);
    let mut conn = connect(&database)?;
    // In WAL the same as FULL. In rollback mode the removal of the journal is the commit, and FULL
    // leaves it in memory: power loss would bring the journal back, and with it the older state.
    conn.execute_batch("PRAGMA synchronous = EXTRA")
        .during("ask for durable commits")?;
    // A turn uses some thirty statements.
    conn.set_prepared_statement_cache_capacity(128);
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
    let watch = Watch::start(&database, sender.clone());
    if let Err(error) = &watch {
        say(&format!(
            "can't watch the database's folder ({error}); looking every {} ms instead",
            settings.poll_ms
        ));
    }
    let workshop = Arc::new(Workshop::new(settings, database_uuid));
    let workers = Workers::start(&workshop, settings.workers, &sender)
        .map_err(|error| Error::io("start the threads of", "the executor", error))?;
    let mut drain = Drain {
        settings: Arc::clone(settings),
        goal,
        say,
        reload,
        version: Version::new(connect(&database)?)?,
        conn,
        chain: chain_of(settings),
        concurrency: concurrency_of(settings),
        mapping,
        executor,
        workers,
        workshop,
        sender,
        wakes,
        watch: watch.ok(),
        file,
        lead: None,
        next_lead: Instant::now(),
        running: 0,
        suspect: false,
        finished: Vec::new(),
        renewed: Instant::now(),
        recovered: None,
        expand_after: None,
        lease_after: None,
        stopping: None,
        outdated: None,
        looks: LOOK_AGAIN_US.len(),
        hold: None,
        complaint: String::new(),
    };
    let ended = drain.until_over();
    drain.leave();
    ended
}

fn connect(database: &Path) -> Result<Connection> {
    open::open_state(database, OpenMode::ReadWrite)
        .map_err(|error| Error::refused(error.what(), error.remedy()))
}

/// The chain that the configuration names.
fn chain_of(settings: &Settings) -> Chain {
    let spec = |step: &crate::config::Step| StepSpec {
        name: step.name.clone(),
        after: step.after.clone(),
        max_attempts: step.max_attempts,
        priority: step.rules.priority,
        delay_ms: step.rules.delay_ms,
        deadline_ms: step.rules.deadline_ms,
    };
    Chain(settings.steps.iter().map(spec).collect())
}

fn concurrency_of(settings: &Settings) -> BTreeMap<String, usize> {
    settings
        .steps
        .iter()
        .filter_map(|step| Some((step.name.clone(), step.rules.concurrency?)))
        .collect()
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

/// `PRAGMA data_version` on a connection that never writes: it ignores the connection's own commits.
struct Version {
    conn: Connection,
    seen: Option<i64>,
}

impl Version {
    /// Asking must not wait for a lock: a finished step or a signal may come meanwhile.
    fn new(conn: Connection) -> Result<Self> {
        conn.busy_timeout(Duration::ZERO).during("watch the database")?;
        Ok(Self { conn, seen: None })
    }

    /// Whether anybody has committed since the last call. A busy database counts as changed.
    fn changed(&mut self) -> bool {
        let now = self
            .conn
            .prepare_cached("PRAGMA data_version")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .ok();
        let changed = now.is_none() || now != self.seen;
        self.seen = now;
        changed
    }
}

struct Stop {
    signal: i32,
    deadline: Instant,
}

struct Drain<'a> {
    settings: Arc<Settings>,
    goal: &'a Goal,
    say: Say<'a>,
    reload: Reload<'a>,
    conn: Connection,
    version: Version,
    chain: Chain,
    concurrency: BTreeMap<String, usize>,
    mapping: Mapping,
    executor: Executor,
    workers: Workers,
    workshop: Arc<Workshop>,
    sender: Sender<Wake>,
    wakes: Receiver<Wake>,
    watch: Option<Watch>,
    file: FileIdentity,
    lead: Option<Lead>,
    next_lead: Instant,
    running: usize,
    /// A suspect runs: nothing else may.
    suspect: bool,
    finished: Vec<Finished>,
    renewed: Instant,
    recovered: Option<Instant>,
    /// Expanding failed; not again before this.
    expand_after: Option<Instant>,
    /// Nothing of what is due could be had; not again before this, or a commit of others.
    lease_after: Option<Instant>,
    stopping: Option<Stop>,
    /// Why nothing but settling is done any more: the database asks for a newer runchain.
    outdated: Option<Error>,
    /// Index into [`LOOK_AGAIN_US`]; past its end the loop sleeps.
    looks: usize,
    /// After a failure: nothing is tried before this.
    hold: Option<Instant>,
    /// What was wrong at last.
    complaint: String,
}

impl Drain<'_> {
    fn until_over(&mut self) -> Result<Ended> {
        let mut due = Instant::now();
        loop {
            if let Some(ended) = self.past_grace() {
                return Ok(ended);
            }
            // Our own attempts change the database, too: they must not cut the pause short.
            let held = self.hold.is_some_and(|until| Instant::now() < until);
            if !held && (self.version.changed() || !self.finished.is_empty() || Instant::now() >= due) {
                self.hold = None;
                match self.pass() {
                    Ok(()) => {
                        if self.expand_after.is_none() {
                            self.complaint.clear();
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
                        // What has finished is settled at once.
                        due = Instant::now();
                    }
                    Err(error) if self.may_pass(&error) => {
                        self.complain(format!("{error}; trying again"));
                        due = Instant::now() + AFTER_FAILURE;
                        self.hold = Some(due);
                        self.looks = LOOK_AGAIN_US.len();
                    }
                    Err(error) => return Err(error),
                }
            }
            let mut pause = due.saturating_duration_since(Instant::now());
            if let Some(look_us) = LOOK_AGAIN_US.get(self.looks) {
                self.looks += 1;
                pause = pause.min(Duration::from_micros(*look_us));
            }
            if let Some(ended) = self.sleep(pause)? {
                return Ok(ended);
            }
        }
    }

    /// Says what is wrong once, however often it is tried again.
    fn complain(&mut self, text: String) {
        if self.complaint != text {
            (self.say)(&text);
            self.complaint = text;
        }
    }

    /// A service goes on after what somebody else can mend; everything else ends it.
    fn may_pass(&self, error: &Error) -> bool {
        let fatal = error.is_corrupt()
            || matches!(
                error,
                Error::OtherIdentity { .. } | Error::NotInstalled | Error::Outdated { .. }
            );
        error.is_busy() || (*self.goal == Goal::Forever && !fatal)
    }

    /// One round of everything.
    fn pass(&mut self) -> Result<()> {
        if FileIdentity::of(&self.settings.state_db_path) != self.file {
            return Err(Error::other_identity(
                format!(
                    "{} was replaced or deleted while runchain had it open",
                    self.settings.state_db_path.display()
                ),
                "look where it went, then start runchain again",
            ));
        }
        if self.outdated.is_some() {
            return self.turn().map(|_| ());
        }
        door::patiently(|| schema::check_writer(&self.conn))?;
        // Somebody may have installed anew, on another table.
        self.mapping = door::patiently(|| Mapping::require(&self.conn))?;
        self.try_to_lead()?;
        while self.turn()? {}
        let Some(lead) = &mut self.lead else {
            return Ok(());
        };
        lead.duties(&mut self.conn, &self.mapping, self.stopping.is_some())
    }

    fn try_to_lead(&mut self) -> Result<()> {
        if self.lead.as_ref().is_some_and(|lead| !lead.is_current()) {
            (self.say)("somebody removed the lock file; the lead is open again");
            self.lead = None;
        }
        if self.lead.is_none() && Instant::now() >= self.next_lead {
            self.next_lead = Instant::now() + LEAD_EVERY;
            self.lead = Lead::try_to(&self.settings, &self.conn, &self.executor.id)?;
        }
        Ok(())
    }

    fn backoff(&self) -> Backoff {
        Backoff {
            base_ms: self.settings.retry_base_ms,
            cap_ms: self.settings.retry_cap_ms,
        }
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

    fn lease_part(&self) -> Duration {
        millis(self.settings.lease_ms / 3)
    }

    fn over(&mut self) -> Result<Option<Ended>> {
        if self.running == 0
            && let Some(error) = self.outdated.take()
        {
            return Err(error);
        }
        if self.stopping.is_some() {
            return Ok((self.running == 0).then_some(Ended::Stopped));
        }
        if self.running > 0 {
            return Ok(None);
        }
        let left = |run_id, step| door::patiently(|| steps::work_left(&self.conn, run_id, step));
        let reached = match self.goal {
            Goal::Forever => false,
            Goal::Once => self.lease_after.is_some() || !self.is_due()?,
            // What no trigger saw is work, too: whoever leads has looked at every row once.
            Goal::UntilIdle => self.lead.as_ref().is_none_or(Lead::has_swept) && !left(None, None)?,
            Goal::Run { run_id, step } => !left(Some(run_id), step.as_deref())?,
        };
        Ok(reached.then_some(Ended::Reached))
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

    /// How long nothing is known to happen: the next timer, or the fallback poll.
    fn until_next(&self) -> Result<Duration> {
        let mut timeout = millis(self.settings.poll_ms);
        let now = Millis::now();
        let until = |at: Millis| millis(at.since(now).max(1));
        if self.stopping.is_none() && self.running < self.settings.workers && !self.suspect {
            let held_back = self
                .lease_after
                .map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
            timeout = self
                .next_due()?
                .map_or(timeout, |due| timeout.min(until(due).max(held_back)));
        }
        match &self.lead {
            Some(lead) => timeout = lead.next_duty().map_or(timeout, |due| timeout.min(until(due))),
            None => timeout = timeout.min(LEAD_EVERY),
        }
        if self.running > 0 || self.others_hold()? {
            timeout = timeout.min(self.lease_part());
        }
        if let Some(at) = self.expand_after {
            timeout = timeout.min(at.saturating_duration_since(Instant::now()));
        }
        if let Some(stop) = &self.stopping {
            let left = stop.deadline.saturating_duration_since(Instant::now());
            timeout = timeout.min(left.max(Duration::from_millis(50)));
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
                Wake::Reload => self.reload_settings(),
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

    /// What could not be settled in time is left to its lease: a stop has an end.
    fn past_grace(&self) -> Option<Ended> {
        let stop = self.stopping.as_ref()?;
        (Instant::now() >= stop.deadline + SETTLE_GRACE).then(|| {
            (self.say)(&format!(
                "{} steps could not be settled; they are left to their lease",
                self.running
            ));
            Ended::Stopped
        })
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
            deadline: Instant::now() + millis(self.settings.stop_grace_ms),
        });
        // The version may not have changed, but there is something to decide.
        self.version.seen = None;
        None
    }

    /// Takes over a new configuration whole, or keeps the old one and says why.
    fn reload_settings(&mut self) {
        let new = match (self.reload)() {
            Ok(new) => new,
            Err(error) => {
                (self.say)(&format!(
                    "the configuration is wrong, so the old one stays: {error}"
                ));
                return;
            }
        };
        let old = &self.settings;
        let fixed = [
            ("state_db_path", old.state_db_path != new.state_db_path),
            ("logs_dir", old.logs_dir != new.logs_dir),
        ];
        if let Some((key, _)) = fixed.iter().find(|(_, differs)| *differs) {
            (self.say)(&format!(
                "{key} has changed, which needs a restart; the old configuration stays"
            ));
            return;
        }
        if let Err(error) = self.workers.grow_to(&self.workshop, new.workers, &self.sender) {
            (self.say)(&format!("can't start more workers: {error}"));
        }
        let new = Arc::new(new);
        self.workshop.use_settings(&new);
        self.chain = chain_of(&new);
        self.concurrency = concurrency_of(&new);
        if let Some(lead) = &mut self.lead {
            lead.use_settings(&new);
        }
        self.settings = new;
        self.version.seen = None;
        (self.say)("the configuration was read again");
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

fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
