//! What the leader reads of the user's tables to learn what no trigger tells: glances and whole sweeps,
//! and tables of flags.
//!
//! Each statement is short, and what looking costs is bounded by how long it rests afterwards. Judging
//! is the queue's: this only asks to look, or queues what a flag says.

use crate::config::Settings;
use crate::door;
use runchain_core::capture::{self, Capture};
use runchain_core::error::{During, Result};
use runchain_core::flags::{self, FlagSource};
use runchain_core::glance::{self, Glance};
use runchain_core::sweep::{self, Sweep};
use runchain_core::{Mapping, Millis};
use rusqlite::Connection;

/// Rows compared in one statement: some ten milliseconds of reading in a table of a million
/// (examples/sweep_cost.rs), for which a rollback journal keeps writers waiting.
const SWEEP_ROWS: u32 = 1_000;
/// A sweep of a large table waits this many times as long as it took before the next one, so that
/// sweeping costs at most a thousandth of a core.
const SWEEP_SHARE: i64 = 1_000;
/// The same where sweeping is all there is: a twentieth of a core.
const SWEEP_SHARE_ALONE: i64 = 20;
/// The least time between two sweeps there; glances see most of it at once.
const SWEEP_ALONE_MS: i64 = 5_000;
/// A glance rests this many times as long as it took: at most a tenth of a core.
const GLANCE_SHARE: i64 = 10;
/// Rows of one table of flags read in one transaction.
const FLAG_ROWS: u32 = 1_000;

/// How long nothing is compared while the queue is long.
const AFTER_BACKLOG_MS: i64 = 100;

/// Whether more rows wait in the queue than one chunk compares.
fn is_backlogged(conn: &Connection) -> Result<bool> {
    door::patiently(|| {
        conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM runchain_queue LIMIT 1 OFFSET ?1)")
            .and_then(|mut statement| statement.query_row([SWEEP_ROWS], |row| row.get(0)))
            .during("look how much waits in the queue")
    })
}

/// Looks for what no trigger told.
pub(super) struct Looker {
    capture: Capture,
    /// `PRAGMA data_version` of the connection that writes: it changes by commits of others only.
    seen: Option<i64>,
    sweep: Sweep,
    /// When the sweep under way began: the time at which everything that it finds was captured, so
    /// that many runs found at once are judged as many at once.
    sweep_began: Option<Millis>,
    /// Time that the sweep under way has taken.
    sweep_took_ms: i64,
    sweep_due: Millis,
    sweep_ms: i64,
    /// Others have committed since the last whole sweep began.
    unswept: bool,
    /// The first sweep is through.
    has_swept: bool,
    glance: Glance,
    glance_began: Option<Millis>,
    glance_took_ms: i64,
    glance_due: Millis,
    /// Others have committed since the last glance began.
    unseen: bool,
    flags: Vec<FlagSource>,
    unread: bool,
}

impl Looker {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            capture: Capture::Triggers,
            seen: None,
            sweep: Sweep::default(),
            sweep_began: None,
            sweep_took_ms: 0,
            sweep_due: Millis::now(),
            sweep_ms: settings.sweep_ms,
            unswept: true,
            has_swept: false,
            glance: Glance::default(),
            glance_began: None,
            glance_took_ms: 0,
            glance_due: Millis::now(),
            unseen: true,
            flags: settings.flags.clone(),
            unread: true,
        }
    }

    pub(super) fn use_settings(&mut self, settings: &Settings) {
        self.sweep_ms = settings.sweep_ms;
        self.flags.clone_from(&settings.flags);
        self.unread = true;
    }

    /// Triggers were away: whatever was missed meanwhile is swept for at once.
    pub(super) fn sweep_anew(&mut self) {
        self.sweep = Sweep::default();
        self.sweep_began = None;
        self.sweep_took_ms = 0;
        self.sweep_due = Millis::now();
        self.has_swept = false;
    }

    /// Whether every row was compared once since the lead was taken, and every flag was read.
    pub(super) fn has_looked(&self) -> bool {
        self.has_swept && !self.unread && !self.wants_a_glance()
    }

    /// When there is something to look at again.
    pub(super) fn next(&self) -> Option<Millis> {
        let sweeps = self.wants_a_sweep();
        let glances = self.wants_a_glance();
        let sweep = sweeps.then_some(self.sweep_due);
        let glance = glances.then_some(self.glance_due);
        let flags = (self.unread && !self.flags.is_empty()).then(Millis::now);
        sweep.into_iter().chain(glance).chain(flags).min()
    }

    /// One round of what is due.
    pub(super) fn look(&mut self, conn: &mut Connection, mapping: &Mapping) -> Result<()> {
        self.notice(conn)?;
        // What waits there differs by nature. To look at it as well would double the queue.
        if is_backlogged(conn)? {
            let later = Millis::now().plus(AFTER_BACKLOG_MS);
            self.sweep_due = self.sweep_due.max(later);
            self.glance_due = self.glance_due.max(later);
            return Ok(());
        }
        if self.wants_a_glance() && Millis::now() >= self.glance_due {
            self.glance_on(conn, mapping)?;
        }
        if self.wants_a_sweep() && Millis::now() >= self.sweep_due {
            self.sweep_on(conn, mapping)?;
        }
        Ok(())
    }

    /// Queues what new flags say; `true` when there were any.
    pub(super) fn read_flags(&mut self, conn: &mut Connection) -> Result<bool> {
        self.notice(conn)?;
        if !std::mem::take(&mut self.unread) {
            return Ok(false);
        }
        let mut any = false;
        for source in &self.flags {
            if door::patiently(|| flags::is_waiting(conn, source))? {
                any = true;
                self.unread |= door::write(conn, |conn| flags::read(conn, source, FLAG_ROWS))?;
            }
        }
        Ok(any)
    }

    fn wants_a_glance(&self) -> bool {
        self.capture == Capture::Sweep && (self.unseen || self.glance_began.is_some())
    }

    /// Where sweeping is all there is, it goes by commits: nothing is compared twice for nothing.
    fn wants_a_sweep(&self) -> bool {
        let is_under_way = self.sweep_began.is_some();
        self.capture == Capture::Triggers || self.unswept || !self.has_swept || is_under_way
    }

    /// Notes whether others have committed since the last call.
    fn notice(&mut self, conn: &Connection) -> Result<()> {
        let version = door::patiently(|| {
            conn.prepare_cached("PRAGMA data_version")
                .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
                .during("look whether anybody has committed")
        })?;
        if self.seen == Some(version) {
            return Ok(());
        }
        self.seen = Some(version);
        self.capture = door::patiently(|| capture::installed(conn))?;
        (self.unswept, self.unseen, self.unread) = (true, true, !self.flags.is_empty());
        Ok(())
    }

    fn glance_on(&mut self, conn: &mut Connection, mapping: &Mapping) -> Result<()> {
        let began = Millis::now();
        let captured = *self.glance_began.get_or_insert_with(|| {
            self.unseen = false;
            began
        });
        let found = door::patiently(|| glance::chunk(conn, mapping, &mut self.glance, SWEEP_ROWS))?;
        if !found.is_empty() {
            door::write(conn, |conn| sweep::ask_to_look(conn, &found, captured))?;
        }
        let now = Millis::now();
        self.glance_took_ms += now.since(began);
        self.glance_due = now;
        if self.glance.is_over() {
            self.glance_due = now.plus(self.glance_took_ms.saturating_mul(GLANCE_SHARE));
            self.glance_took_ms = 0;
            self.glance.again();
            self.glance_began = None;
        }
        Ok(())
    }

    /// The next chunk of the sweep, a transaction only where something differs.
    fn sweep_on(&mut self, conn: &mut Connection, mapping: &Mapping) -> Result<()> {
        let began = Millis::now();
        let captured = *self.sweep_began.get_or_insert_with(|| {
            self.unswept = false;
            began
        });
        let found = door::patiently(|| sweep::chunk(conn, mapping, &mut self.sweep, SWEEP_ROWS))?;
        if !found.is_empty() {
            door::write(conn, |conn| sweep::ask_to_look(conn, &found, captured))?;
        }
        let now = Millis::now();
        self.sweep_took_ms += now.since(began);
        self.sweep_due = now.plus(1);
        if self.sweep.is_over() {
            let (share, least_ms) = match self.capture {
                Capture::Triggers => (SWEEP_SHARE, self.sweep_ms),
                Capture::Sweep => (SWEEP_SHARE_ALONE, self.sweep_ms.min(SWEEP_ALONE_MS)),
            };
            // Milliseconds were rounded up for what is quicker.
            let took_ms = if self.sweep.compared > u64::from(SWEEP_ROWS) {
                self.sweep_took_ms
            } else {
                0
            };
            self.sweep_due = now.plus(least_ms.max(took_ms.saturating_mul(share)));
            self.sweep = Sweep::default();
            self.has_swept = true;
            self.sweep_took_ms = 0;
        }
        Ok(())
    }
}
