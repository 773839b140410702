//! The main loop: one turn is one transaction that settles what has finished, expands what was
//! captured, and leases and starts what is due; then the leader monitors, projects and sweeps.
//!
//! One thread owns every write to the queue, so a turn costs one commit, however much it does. That
//! commit is synchronous=EXTRA: nothing external (a child, a bag, a log line) happens before a durable
//! commit that covers its cause. The loop wakes by hints (see `wake`) and trusts only the queue.
//!
//! Leadership is the flock on `<db>.runchain-lock`. The leader monitors active runs, projects events
//! to the logs and sweeps; any executor leases steps.

mod catch_up;
mod database;
mod effect;
mod lead;
mod logs;
mod look;
mod pace;
mod rest;
mod stop;
mod storm;
mod trace;
mod trail;
mod triggers;
mod turn;
pub(crate) mod worker;

use crate::config::Settings;
use crate::disk::{self, Space};
use crate::door;
use crate::identity::{self as file_identity, Finding, Guard};
use crate::wake::{self, Wake, Watch};
use catch_up::CatchUp;
pub(crate) use database::connect;
use database::{OthersWrote, Version, identity};
use lead::Lead;
use pace::{Pace, Pass};
use runchain_core::chain::Chain;
use runchain_core::downtime::{self, Backlog};
use runchain_core::error::{During, Error, Result};
use runchain_core::file_system::{FileSystem, Under};
use runchain_core::identity::Place;
use runchain_core::steps::{self, Backoff, Executor, Settled};
use runchain_core::{Mapping, Millis, RunId, StepId, adopt, functions, install, schema};
use rusqlite::Connection;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use stop::Stop;
use triggers::News;
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

/// Turns are taken for this long before everything else has its turn.
const TURNS_AT_ONCE: Duration = Duration::from_millis(20);
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

/// How long a database may look damaged or without our tables before that is believed; less than
/// [`AFTER_FAILURE`], so that it is looked at once more.
const DOUBT: Duration = Duration::from_secs(1);

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
    let (conn, file) = file_identity::open_pinned(&database)?;
    let found = file_identity::require(&conn, settings)?;
    // In WAL the same as FULL. In rollback mode the removal of the journal is the commit, and FULL
    // leaves it in memory: power loss would bring the journal back, and with it the older state.
    conn.execute_batch("PRAGMA synchronous = EXTRA")
        .during("ask for durable commits")?;
    // Of a storm each run stands on another page: with the default 2 MB each would be read anew. It is
    // filled only as far as it is used.
    conn.execute_batch("PRAGMA cache_size = -16384")
        .during("size the page cache")?;
    // A turn uses some thirty statements.
    conn.set_prepared_statement_cache_capacity(128);
    functions::register(&conn, functions::Surface::Full)?;
    let mapping = door::patiently(|| install::prepare(&conn, Millis::now()))?;
    let guard = Guard::of(&conn, file)?;
    let place = Place::of(&database)?;
    if let Finding::Moved { from } = &found {
        say(&format!("the database was moved here from {from}"));
    }
    guard.only_way(&conn)?;
    let backlog = door::patiently(|| downtime::look(&conn, Millis::now()))?;
    let (sender, wakes) = channel();
    // Before the start is told: whoever reads of it may signal.
    wake::signals(sender.clone())
        .map_err(|error| Error::io("set signal handlers for", "the executor", error))?;
    let executor = identity();
    door::write(&conn, |conn| {
        if Place::recorded(conn)?.as_ref() != Some(&place) {
            adopt::record_place(conn, &place)?;
        }
        executor.renew(conn, settings.lease_ms, Millis::now())?;
        if *goal == Goal::Forever {
            trail::began(conn, &executor, settings)?;
        }
        Ok(())
    })?;

    if *goal == Goal::Forever
        && let Some(text) = disk::preflight(settings)
    {
        say(&text);
    }
    let space = match goal {
        // Whoever is there for a moment leaves nothing behind.
        Goal::Forever => Some(Space::begin(settings, &conn)?),
        _ => None,
    };
    let watch = Watch::start(&database, sender.clone());
    if let Err(error) = &watch {
        say(&format!(
            "can't watch the database's folder ({error}); looking every {} ms instead",
            settings.poll_ms.min(settings.poll_unwatched_ms)
        ));
    }
    let is_reported = ground(&database, settings, say);
    let workshop = Arc::new(Workshop::new(
        settings,
        guard.identity().uuid.clone(),
        guard.file.clone(),
    ));
    let workers = Workers::start(&workshop, settings.workers, &sender)
        .map_err(|error| Error::io("start the threads of", "the executor", error))?;
    let mut drain = Drain {
        settings: Arc::clone(settings),
        goal,
        say,
        reload,
        version: Version::new(connect(&database)?)?,
        others: OthersWrote::default(),
        pace: Pace::new(Instant::now()),
        conn,
        chain: settings.chain(),
        concurrency: concurrency_of(settings),
        mapping,
        executor,
        workers,
        workshop,
        sender,
        wakes,
        watch: watch.ok(),
        is_reported,
        guard,
        place,
        space,
        lead: None,
        next_lead: Instant::now(),
        running: 0,
        held: BTreeMap::new(),
        suspect: false,
        finished: Vec::new(),
        renewed: Instant::now(),
        recovered: None,
        expand_after: None,
        lease_after: None,
        stopping: None,
        outdated: None,
        looks: LOOK_AGAIN_US.len(),
        hinted: false,
        hold: None,
        complaints: Vec::new(),
        doubt: Cell::default(),
        more: false,
        backlog,
        catch_up: None,
        announced: 0,
        carry_out_at: None,
    };
    let ended = drain.until_over();
    drain.leave(&ended);
    ended
}

/// Whether the file system tells of every change; says so where it doesn't.
fn ground(database: &Path, settings: &Settings, say: Say<'_>) -> bool {
    let Under::Known(FileSystem { name, trust }) = crate::open::ground::under(database) else {
        return true;
    };
    if !trust.reports_changes() {
        say(&format!(
            "the database lies on {name}, which may not report what others write: looking every {} ms",
            settings.poll_ms.min(settings.poll_unwatched_ms)
        ));
    }
    trust.reports_changes()
}

fn concurrency_of(settings: &Settings) -> BTreeMap<String, usize> {
    settings
        .steps
        .iter()
        .filter_map(|step| Some((step.name.clone(), step.rules.concurrency?)))
        .collect()
}

struct Drain<'a> {
    settings: Arc<Settings>,
    goal: &'a Goal,
    say: Say<'a>,
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
    sender: Sender<Wake>,
    wakes: Receiver<Wake>,
    watch: Option<Watch>,
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
    /// Expanding failed; not again before this.
    expand_after: Option<Instant>,
    /// Nothing of what is due could be had; not again before this, or a commit of others.
    lease_after: Option<Instant>,
    stopping: Option<Stop>,
    /// Why nothing but settling is done any more: the database asks for a newer runchain.
    outdated: Option<Error>,
    /// Index into [`LOOK_AGAIN_US`]; past its end the loop sleeps.
    looks: usize,
    /// A hint was read and the next one isn't let through yet.
    hinted: bool,
    /// After a failure: nothing is tried before this.
    hold: Option<Instant>,
    /// What was said to be wrong and isn't mended yet.
    complaints: Vec<String>,
    /// Since when the database looks damaged or without our tables.
    doubt: Cell<Option<Instant>>,
    /// Turns were left: the next pass goes on at once.
    more: bool,
    /// What waited when we started, until the lead is taken or somebody else has it.
    backlog: Option<Backlog>,
    catch_up: Option<CatchUp>,
    /// The newest alert that was announced.
    announced: i64,
    /// The next part of a decided batch of held runs is due.
    carry_out_at: Option<Millis>,
}

impl Drain<'_> {
    fn until_over(&mut self) -> Result<Ended> {
        let mut due = Instant::now();
        loop {
            if let Some(ended) = self.past_grace() {
                return Ok(ended);
            }
            let rest = self.pace.rest(Instant::now());
            if rest.is_zero()
                && std::mem::take(&mut self.hinted)
                && let Some(watch) = &self.watch
            {
                // Before the look: what is written from now on gives another hint.
                watch.rearm();
            }
            // Our own attempts change the database, too: they must not cut the pause short.
            let held = !rest.is_zero() || self.hold.is_some_and(|until| Instant::now() < until);
            if !held && (self.version.changed() || !self.finished.is_empty() || Instant::now() >= due) {
                self.hold = None;
                match self.paced_pass() {
                    Ok(()) => {
                        self.doubt.set(None);
                        if self.expand_after.is_none() && !self.lead.as_ref().is_some_and(Lead::rests) {
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
            let rest = self.pace.rest(Instant::now());
            if !rest.is_zero() {
                pause = rest;
            } else if let Some(look_us) = LOOK_AGAIN_US.get(self.looks) {
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
        if !self.complaints.contains(&text) {
            (self.say)(&text);
            self.complaints.push(text);
        }
    }

    /// Where the disk is full, the ballast goes.
    fn make_room_after(&mut self, error: &Error) {
        if let Some(text) = self.space.as_mut().and_then(|space| space.failed(error)) {
            (self.say)(&text);
            self.workshop.disk_is_low.store(true, Ordering::Release);
        }
    }

    /// Tells what became of the disk, and looks whether there is room again.
    fn look_at_space(&mut self) -> Result<()> {
        let Some(space) = &mut self.space else {
            return Ok(());
        };
        let said = space.look(&mut self.conn, Millis::now());
        self.workshop.disk_is_low.store(space.is_low(), Ordering::Release);
        if let Some(text) = said? {
            (self.say)(&text);
        }
        Ok(())
    }

    /// A service goes on after what somebody else can mend; everything else ends it.
    fn may_pass(&self, error: &Error) -> bool {
        // While somebody copies a file over it, it is empty or damaged for a moment.
        let doubtful = error.is_corrupt() || matches!(error, Error::NotInstalled);
        let since = self.doubt.get().unwrap_or_else(Instant::now);
        if doubtful {
            self.doubt.set(Some(since));
        }
        let fatal = (doubtful && since.elapsed() >= DOUBT)
            || matches!(error, Error::OtherIdentity { .. } | Error::Outdated { .. });
        error.is_busy() || (*self.goal == Goal::Forever && !fatal)
    }

    /// A file that has lost its name makes all kinds of failures; what counts is that.
    fn guarded_pass(&mut self) -> Result<()> {
        let done = self.pass();
        if done.is_err() {
            self.guard.file.check()?;
        }
        done
    }

    /// A pass, charged where it is one of many in a stream of others' commits.
    fn paced_pass(&mut self) -> Result<()> {
        let others_before = self.others.wrote(&self.conn);
        let began = Instant::now();
        let passed = self.guarded_pass();
        let others_during = self.others.wrote(&self.conn);
        self.pace.charge(Pass {
            began,
            ended: Instant::now(),
            others_before,
            others_during,
        });
        passed
    }

    /// One round of everything.
    fn pass(&mut self) -> Result<()> {
        door::patiently(|| self.guard.verify(&self.conn))?;
        if self.outdated.is_some() {
            return self.turn().map(|_| ());
        }
        door::patiently(|| schema::check_writer(&self.conn))?;
        // Somebody may have installed anew, on another table.
        self.mapping = door::patiently(|| Mapping::require(&self.conn))?;
        if let Err(error) = self.try_to_lead() {
            // What runs is ours to renew and settle, whether or not there are logs.
            if self.running > 0 {
                self.turn()?;
            }
            return Err(error);
        }
        if let Err(error) = self.look_at_triggers() {
            self.complain(format!("{error}; trying again"));
        }
        self.read_flags()?;
        // Who writes all the time must not keep finished steps, signals and the lead waiting.
        let enough = Instant::now() + TURNS_AT_ONCE;
        self.more = self.turn()?;
        while self.more && Instant::now() < enough {
            self.more = self.turn()?;
        }
        self.look_at_space()?;
        if self.lead.is_some() {
            self.carry_out()?;
            self.go_on_catching_up()?;
        }
        let Some(lead) = &mut self.lead else {
            return Ok(());
        };
        let is_low = self.space.as_ref().is_some_and(Space::is_low);
        lead.database_changed(is_low);
        if is_low {
            // Log lines can wait; the events stand in the database.
            lead.rest(AFTER_FAILURE);
            return Ok(());
        }
        self.guard.verify(&self.conn)?;
        let (stopping, monitors) = (self.stopping.is_some(), self.catch_up.is_none());
        match lead.duties(
            &self.settings,
            &mut self.conn,
            &self.mapping,
            monitors && !stopping,
            stopping,
        ) {
            // Logs on a full disk, a table that is being rebuilt: the steps go on meanwhile.
            Err(error) if self.may_pass(&error) && !error.is_busy() => {
                self.make_room_after(&error);
                if let Some(lead) = &mut self.lead {
                    lead.rest(AFTER_FAILURE);
                }
                self.complain(format!("{error}; trying again"));
                Ok(())
            }
            done => done,
        }
    }

    /// What is wrong with a table of flags is said; everything else goes on.
    fn read_flags(&mut self) -> Result<()> {
        let Some(lead) = self.lead.as_mut().filter(|_| self.stopping.is_none()) else {
            return Ok(());
        };
        match lead.read_flags(&mut self.conn) {
            Err(error) if self.may_pass(&error) && !error.is_busy() => {
                self.complain(format!("{error}; everything else goes on"));
                Ok(())
            }
            done => done,
        }
    }

    /// A migration of the user's may have lost or renamed what we capture by.
    fn look_at_triggers(&mut self) -> Result<()> {
        let Some(lead) = self.lead.as_mut().filter(|_| self.stopping.is_none()) else {
            return Ok(());
        };
        match lead.look_at_triggers(&mut self.conn, &self.mapping)? {
            None => {}
            Some(News::Lost(text)) => (self.say)(&format!("TRIGGERS_LOST: {text}")),
            Some(News::Stuck(text)) => (self.say)(&format!("can't repair by itself: {text}")),
            Some(News::Back(text)) => {
                (self.say)(&text);
                self.mapping = door::patiently(|| Mapping::require(&self.conn))?;
            }
        }
        Ok(())
    }

    fn try_to_lead(&mut self) -> Result<()> {
        if self.lead.as_ref().is_some_and(|lead| !lead.is_current()) {
            (self.say)("somebody removed the lock file; the lead is open again");
            self.lead = None;
        }
        if self.lead.is_none() && Instant::now() >= self.next_lead {
            self.next_lead = Instant::now() + LEAD_EVERY;
            self.lead = Lead::try_to(&self.settings, &self.conn, &self.executor.id, &self.place)?;
            if self.lead.is_some() {
                self.begin_to_catch_up()?;
                self.follow_logs();
            }
            // Who finds another one leading has no downtime to tell of.
            self.backlog = None;
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
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
