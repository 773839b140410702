//! How the loop begins: the database is opened and proved to be the one that was meant, the executor
//! says that it is there, and the threads and watches start. Nothing of a step is done here.

use super::database::{OthersWrote, Version, connect, identity};
use super::expand::Expanding;
use super::pace::Pace;
use super::vital::Vital;
use super::worker::{Workers, Workshop};
use super::{Drain, Ended, Goal, LOOK_AGAIN_US, Reload, Say, concurrency_of, logs, trail};
use crate::command::init;
use crate::config::Settings;
use crate::disk::{self, Space};
use crate::door;
use crate::identity::{self as file_identity, Finding, Guard};
use crate::log::Log;
use crate::metrics::{Listen, Server, Shared};
use crate::pulse::{PATIENCE, Pulse};
use crate::service_manager::Manager;
use crate::wake::{self, Mailbox};
use runchain_core::alert::rulebook;
use runchain_core::downtime::Backlog;
use runchain_core::error::{During, Error, Result};
use runchain_core::file_system::{FileSystem, Under};
use runchain_core::identity::Place;
use runchain_core::steps::Executor;
use runchain_core::{Mapping, Millis, adopt, downtime, functions, install};
use rusqlite::Connection;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Runs the loop until its goal is reached or a signal stops it.
///
/// # Errors
/// A database that is missing, replaced, not installed or too new; output folders that belong to
/// another database; whatever SQLite answers, but for "busy".
pub(crate) fn run(settings: &Arc<Settings>, goal: &Goal, log: &Log, reload: Reload<'_>) -> Result<Ended> {
    let say: Say<'_> = &|text| log.info(text);
    let now = Instant::now();
    let manager = match goal {
        Goal::Forever => Manager::of_environment(now),
        _ => Manager::nobody(now),
    };
    init::begin().map_err(|error| Error::io("take over the duties of", "process 1", error))?;
    let opened = open(settings, goal, say)?;
    let database = &settings.state_db_path;
    let mut mailbox =
        Mailbox::new().map_err(|error| Error::io("open a mailbox for", "the executor", error))?;
    let waker = mailbox.waker().clone();
    // Before the start is told: whoever reads of it may signal.
    wake::signals(move |wake| waker.send(wake))
        .map_err(|error| Error::io("set signal handlers for", "the executor", error))?;
    init::loop_has_handlers();
    let executor = identity();
    sign_in(&opened, &executor, settings, goal)?;
    let Opened {
        conn,
        guard,
        place,
        mapping,
        is_compared,
        backlog,
    } = opened;

    if *goal == Goal::Forever
        && let Some(text) = disk::preflight(settings)
    {
        log.warn(&text);
    }
    let space = match goal {
        // Whoever is there for a moment leaves nothing behind.
        Goal::Forever => Some(Space::begin(settings, &conn)?),
        _ => None,
    };
    if let Err(error) = mailbox.watch(database) {
        log.warn(&format!(
            "can't watch the database's folder ({error}); looking every {} ms instead",
            settings.poll_ms.min(settings.poll_unwatched_ms)
        ));
    }
    let is_reported = ground(database, settings, say);
    let health = Arc::new(Pulse::new(now));
    let metrics = match goal {
        Goal::Forever => offer_metrics(settings, &health, &manager, log),
        _ => None,
    };
    let workshop = Arc::new(Workshop::new(
        settings,
        guard.identity().uuid.clone(),
        guard.file.clone(),
    ));
    let workers = Workers::start(&workshop, settings.workers, mailbox.waker())
        .map_err(|error| Error::io("start the threads of", "the executor", error))?;
    let mut drain = Drain {
        settings: Arc::clone(settings),
        goal,
        say,
        log,
        vital: Vital::new(manager, health),
        metrics,
        reload,
        version: Version::new(connect(database)?)?,
        others: OthersWrote::default(),
        pace: Pace::new(Instant::now()),
        conn,
        chain: settings.chain(),
        concurrency: concurrency_of(settings),
        mapping,
        executor,
        workers,
        workshop,
        mailbox,
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
        expanding: Expanding::default(),
        lease_after: None,
        stopping: None,
        outdated: None,
        looks: LOOK_AGAIN_US.len(),
        hold: None,
        complaints: Vec::new(),
        is_compared,
        logs_told: logs::Told::Unknown,
        doubt: Cell::default(),
        more: false,
        backlog,
        catch_up: None,
        announced: 0,
        couriers: None,
        sign_of_life: None,
        carry_out_at: None,
    };
    let ended = drain.until_over();
    drain.leave(&ended);
    ended
}

/// The database, proved to be the one that was meant, and what is known of it.
struct Opened {
    conn: Connection,
    guard: Guard,
    place: Place,
    mapping: Mapping,
    /// The logs were asked what they know of the database.
    is_compared: bool,
    backlog: Option<Backlog>,
}

fn open(settings: &Settings, goal: &Goal, say: Say<'_>) -> Result<Opened> {
    let database = &settings.state_db_path;
    let (conn, file) = file_identity::open_pinned(database)?;
    let found = match goal {
        Goal::Forever => file_identity::require_if_readable(&conn, settings)?,
        _ => Some(file_identity::require(&conn, settings)?),
    };
    prepare(&conn)?;
    let mapping = door::patiently(|| install::prepare(&conn, Millis::now()))?;
    let guard = Guard::of(&conn, file)?;
    let place = Place::of(database)?;
    if let Some(Finding::Moved { from }) = &found {
        say(&format!("the database was moved here from {from}"));
    }
    guard.only_way(&conn)?;
    let backlog = door::patiently(|| downtime::look(&conn, Millis::now()))?;
    Ok(Opened {
        conn,
        guard,
        place,
        mapping,
        is_compared: found.is_some(),
        backlog,
    })
}

/// Makes the connection one that the loop can write by.
fn prepare(conn: &Connection) -> Result<()> {
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
    functions::register(conn, functions::Surface::Full)
}

/// Says that the executor is there, and what its configuration says that must stand in the database.
fn sign_in(opened: &Opened, executor: &Executor, settings: &Settings, goal: &Goal) -> Result<()> {
    door::write(&opened.conn, |conn| {
        if Place::recorded(conn)?.as_ref() != Some(&opened.place) {
            adopt::record_place(conn, &opened.place)?;
        }
        executor.renew(conn, settings.lease_ms, Millis::now())?;
        rulebook::adopt(conn, &settings.alerts.rules, Millis::now())?;
        if *goal == Goal::Forever {
            trail::began(conn, executor, settings)?;
        }
        Ok(())
    })
}

/// Listens, where that is configured. Work goes on where it can't.
fn offer_metrics(
    settings: &Settings,
    health: &Arc<Pulse>,
    manager: &Manager,
    log: &Log,
) -> Option<Arc<Shared>> {
    let listen = &settings.metrics_listen;
    if *listen == Listen::Nowhere {
        return None;
    }
    let patience = manager.watchdog().unwrap_or(PATIENCE);
    let shared = Arc::new(Shared::new(settings, Arc::clone(health), patience));
    match Server::start(listen, &shared) {
        Ok(found) if found.is_open_to_others() => log.warn(&format!(
            "metrics at {found}: whoever reaches this address can read them, and nobody has to log in"
        )),
        Ok(found) => log.info(&format!("metrics at {found}")),
        Err(error) => log.error(&format!(
            "metrics.listen: can't listen at {listen}: {error}; there are no metrics until the next start"
        )),
    }
    Some(shared)
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
