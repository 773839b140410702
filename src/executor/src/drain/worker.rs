//! The workers: threads that execute one started step each and report what came of it.
//!
//! A worker never writes to the queue: start and settle belong to the main loop, which groups them.
//! Each worker reads through a connection of its own and holds no transaction while it works.

use super::effect::execute;
use crate::config::Settings;
use crate::fault;
use crate::identity::WatchedFile;
use crate::wake::{Wake, Waker};
use runchain_core::steps::{Claim, Failure, Outcome};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// What every worker knows.
#[derive(Debug)]
pub(crate) struct Workshop {
    /// The settled configuration; SIGHUP changes it.
    settings: RwLock<Arc<Settings>>,
    /// Identity of the database, as it stands in bags.
    pub(crate) database_uuid: String,
    /// The database as a file: nothing is done for one that is gone.
    pub(crate) file: WatchedFile,
    /// Set when running commands must end now.
    pub(super) stop: AtomicBool,
    /// Set while copies into bags have to wait for room.
    pub(super) disk_is_low: AtomicBool,
}

impl Workshop {
    pub(super) fn new(settings: &Arc<Settings>, database_uuid: String, file: WatchedFile) -> Self {
        Self {
            settings: RwLock::new(Arc::clone(settings)),
            database_uuid,
            file,
            stop: AtomicBool::new(false),
            disk_is_low: AtomicBool::new(false),
        }
    }

    /// Steps that start from now on use these.
    pub(super) fn use_settings(&self, settings: &Arc<Settings>) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(settings);
    }

    pub(super) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A step that was executed.
#[derive(Debug)]
pub(crate) struct Finished {
    /// What it was.
    pub claim: Claim,
    /// What came of it.
    pub outcome: Outcome,
    /// How long that took.
    pub took: Duration,
}

/// The pool. Dropping it lets the threads end after the step that they are at.
#[derive(Debug)]
pub(crate) struct Workers {
    jobs: Sender<Claim>,
    queue: Arc<Mutex<Receiver<Claim>>>,
    threads: usize,
}

impl Workers {
    /// Starts the threads; each result arrives as [`Wake::Finished`].
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(workshop: &Arc<Workshop>, count: usize, wake: &Waker) -> std::io::Result<Self> {
        let (jobs, receiver) = channel();
        let mut workers = Self {
            jobs,
            queue: Arc::new(Mutex::new(receiver)),
            threads: 0,
        };
        workers.grow_to(workshop, count, wake)?;
        Ok(workers)
    }

    /// Starts as many threads as are missing; more than are wanted do no harm.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn grow_to(
        &mut self,
        workshop: &Arc<Workshop>,
        count: usize,
        wake: &Waker,
    ) -> std::io::Result<()> {
        while self.threads < count {
            let (workshop, queue, wake) = (Arc::clone(workshop), Arc::clone(&self.queue), wake.clone());
            std::thread::Builder::new()
                .name(format!("worker-{}", self.threads))
                .spawn(move || work(&workshop, &queue, &wake))?;
            self.threads += 1;
        }
        Ok(())
    }

    /// Hands a started step to whichever thread is free.
    pub(crate) fn execute(&self, claim: Claim) {
        // The receiver lives as long as the threads, and those as long as this sender.
        let _ = self.jobs.send(claim);
    }
}

fn work(workshop: &Workshop, jobs: &Mutex<Receiver<Claim>>, wake: &Waker) {
    let mut conn = None;
    loop {
        let Ok(claim) = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv() else {
            return;
        };
        let began = Instant::now();
        // A panic is a failed attempt, not the end of the executor.
        let execution = std::panic::AssertUnwindSafe(|| execute(workshop, &mut conn, &claim));
        let outcome = match std::panic::catch_unwind(execution) {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Outcome::Failed(Failure {
                error: error.to_string(),
                // What a busy writer or a full disk keeps from happening is tried until it can.
                blameless: error.is_full() || error.is_busy(),
                ..Failure::default()
            }),
            Err(_) => {
                conn = None;
                failed("the step panicked; the executor's own output says where".to_owned())
            }
        };
        fault::point("effect-end");
        let finished = Box::new(Finished {
            claim,
            outcome,
            took: began.elapsed(),
        });
        if !wake.send(Wake::Finished(finished)) {
            return;
        }
    }
}

pub(super) fn failed(error: String) -> Outcome {
    Outcome::Failed(Failure {
        error,
        ..Failure::default()
    })
}
