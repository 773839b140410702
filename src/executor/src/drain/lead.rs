//! What only the leader does: monitor active runs, project events to the logs, sweep.

use super::alerts::AlertClock;
use super::listing::Listing;
use super::look::Looker;
use super::triggers::{News, Triggers};
use crate::config::Settings;
use crate::follow::{Follower, Teller};
use crate::identity::witness::{self, Witness};
use crate::metrics::{Shared, Totals};
use crate::monitor::{Changes, Monitor, MonitorOptions};
use crate::projector::{Projector, Rotation};
use crate::redact::Redactor;
use crate::retention::Duty;
use runchain_core::error::Result;
use runchain_core::identity::Place;
use runchain_core::liveness::Leadership;
use runchain_core::{ExecutorId, Mapping, Millis};
use rusqlite::Connection;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Events for one projection.
const PROJECT_EVENTS: usize = 1_000;
/// Projections before the main loop goes on.
const PROJECTIONS_AT_ONCE: usize = 10;
/// How far the witness may be behind the logs, which speak for themselves while they are there.
const TESTIFY_EVERY: Duration = Duration::from_secs(60);

/// What rode on a turn's commit.
pub(super) struct Riding(Changes);

/// The lead, and what goes with it.
pub(super) struct Lead {
    // Dropped in this order: who takes the lead over must find the logs let go of.
    follower: Option<Follower>,
    projector: Projector,
    leadership: Leadership,
    witness: Witness,
    testified: Instant,
    monitor: Monitor,
    triggers: Triggers,
    monitor_due: Option<Millis>,
    /// Events are left to project.
    behind: bool,
    rest_until: Option<Instant>,
    looker: Looker,
    retention: Duty,
    alert_clock: AlertClock,
    totals: Option<Totals>,
    teller: Teller,
    /// Every event log was read to its end once.
    has_followed: bool,
    listing: Listing,
}

impl Lead {
    /// Takes the lead if it is open. Opens the logs before anything else appends events.
    pub(super) fn try_to(
        settings: &Settings,
        conn: &Connection,
        executor: &ExecutorId,
        place: &Place,
    ) -> Result<Option<Self>> {
        let Some(leadership) = Leadership::try_acquire(&settings.state_db_path, &executor.0)? else {
            return Ok(None);
        };
        let mut projector = Projector::open(&settings.logs_dir, rotation(settings), conn)?;
        projector.use_instance(&settings.instance);
        projector.use_redactor(Redactor::checked(settings));
        let mut lead = Self {
            follower: None,
            leadership,
            witness: Witness {
                database_uuid: projector.database_uuid().to_owned(),
                epoch: projector.epoch(),
                // Nothing is known to be durable yet, but what an earlier witness said.
                seq: Witness::read(&settings.logs_dir)
                    .filter(|earlier| earlier.database_uuid == projector.database_uuid())
                    .filter(|earlier| earlier.epoch == projector.epoch())
                    .map_or(0, |earlier| earlier.seq),
                place: place.clone(),
                folder_inode: 0,
            },
            testified: Instant::now(),
            projector,
            monitor: Monitor::new(monitor_options(settings)),
            triggers: Triggers::new(settings.auto_repair),
            monitor_due: None,
            behind: false,
            rest_until: None,
            looker: Looker::new(settings),
            retention: Duty::new(settings, Millis::now()),
            alert_clock: AlertClock::new(Millis::now()),
            totals: None,
            teller: Teller::default(),
            has_followed: false,
            listing: Listing::default(),
        };
        lead.testify()?;
        Ok(Some(lead))
    }

    /// Before the executor leaves: the cursors, the list of reports and the witness say everything.
    pub(super) fn leave(&mut self, settings: &Settings, conn: &Connection) -> Result<()> {
        self.projector.store_cursors(conn)?;
        self.testify()?;
        if self.projector.take_reported() {
            self.listing.note();
        }
        self.listing.catch_up(settings, conn)
    }

    /// Writes the witness anew.
    fn testify(&mut self) -> Result<()> {
        self.testified = Instant::now();
        let folder = self.projector.folder();
        self.witness.seq = self.witness.seq.max(self.projector.covered());
        self.witness.folder_inode = witness::folder_inode(folder).unwrap_or(0);
        self.witness.write(folder)
    }

    /// Counts for metrics from now on.
    pub(super) fn count(&mut self, shared: &Arc<Shared>, conn: &Connection) -> Result<()> {
        self.totals = Some(Totals::begin(shared, conn)?);
        Ok(())
    }

    /// Saves what was counted: the next leader goes on from there.
    pub(super) fn save_totals(&mut self, conn: &Connection) -> Result<()> {
        self.totals.as_mut().map_or(Ok(()), |totals| totals.save(conn))
    }

    /// What the leader has to say in a turn, inside its transaction, which takes it along for nothing. A
    /// turn that only settles begins and ends no run (`runs`).
    pub(super) fn ride(&self, conn: &Connection, runs: bool, now: Millis) -> Result<Riding> {
        let changes = if runs {
            self.monitor.begin_and_end(conn, now)?
        } else {
            Changes::default()
        };
        self.projector.ride(conn)?;
        Ok(Riding(changes))
    }

    /// That is committed.
    pub(super) fn rode(&mut self, riding: Riding) {
        self.projector.rode();
        self.monitor.note(riding.0);
    }

    /// Whether the lock file is still the one that we hold.
    pub(super) fn is_current(&self) -> bool {
        self.leadership.is_current()
    }

    /// Takes a new configuration over; stall clocks start anew.
    pub(super) fn use_settings(&mut self, settings: &Settings) {
        self.monitor = Monitor::new(monitor_options(settings));
        self.looker.use_settings(settings);
        self.triggers.use_auto_repair(settings.auto_repair);
        self.projector.use_instance(&settings.instance);
        self.projector.use_rotation(rotation(settings));
        self.projector.use_redactor(Redactor::checked(settings));
    }

    /// Whether writes are still captured. What was missed meanwhile is swept for at once.
    pub(super) fn look_at_triggers(
        &mut self,
        conn: &mut Connection,
        mapping: &Mapping,
    ) -> Result<Option<News>> {
        let news = self.triggers.look(conn, mapping, Millis::now())?;
        if matches!(news, Some(News::Back(_))) {
            self.looker.sweep_anew();
        }
        Ok(news)
    }

    /// One round. A stopping executor begins nothing new, but says what has happened; one that catches
    /// up monitors nothing yet.
    pub(super) fn duties(
        &mut self,
        settings: &Settings,
        conn: &mut Connection,
        mapping: &Mapping,
        monitors: bool,
        stopping: bool,
    ) -> Result<()> {
        if self.rests() {
            return Ok(());
        }
        self.rest_until = None;
        if monitors {
            self.monitor_due = self
                .monitor
                .tick(conn, mapping, &mut self.projector, Millis::now())?;
        }
        self.teller.tell(conn, Millis::now(), stopping)?;
        // A large backlog must not keep the lease from being renewed.
        self.behind = true;
        for _ in 0..PROJECTIONS_AT_ONCE {
            if self.projector.project(conn, PROJECT_EVENTS)? < PROJECT_EVENTS {
                self.behind = false;
                break;
            }
        }
        if let Some(totals) = &mut self.totals {
            self.behind |= totals.go_on(conn, self.projector.heartbeat_at())?;
        }
        if self.projector.take_reported() {
            self.listing.note();
        }
        self.listing.go_on(settings, conn)?;
        if self.witness.seq < self.projector.covered() && self.testified.elapsed() >= TESTIFY_EVERY {
            self.testify()?;
        }
        if !stopping {
            self.looker.look(conn, mapping)?;
        }
        if !stopping && !self.behind {
            self.retention.go_on(settings, conn, mapping)?;
        }
        Ok(())
    }

    /// Queues what tables of flags say; `true` when that was anything. What is wrong with one keeps nothing
    /// else from being done.
    pub(super) fn read_flags(&mut self, conn: &mut Connection) -> Result<bool> {
        self.looker.read_flags(conn)
    }

    /// What of alerts only the clock decides.
    pub(super) fn look_at_alerts(&mut self, conn: &mut Connection) -> Result<bool> {
        self.alert_clock.look(conn, Millis::now())
    }

    /// Follows event logs by this, or by nobody.
    pub(super) fn follow(&mut self, follower: Option<Follower>) {
        self.has_followed = follower.is_none();
        self.follower = follower;
    }

    /// Every event log was read to its end.
    pub(super) fn caught_up(&mut self) {
        self.has_followed = true;
    }

    /// Whether that is so, and all of it was told.
    pub(super) fn has_followed(&self) -> bool {
        self.has_followed && self.teller.due().is_none()
    }

    /// Whoever follows looks at it too, unless the disk is full.
    pub(super) fn database_changed(&self, disk_is_low: bool) {
        if let Some(follower) = &self.follower {
            follower.pause(disk_is_low);
            follower.database_changed();
        }
    }

    /// After a failure: leaves the duties be for this long.
    pub(super) fn rest(&mut self, pause: Duration) {
        self.rest_until = Some(Instant::now() + pause);
    }

    /// Whether the duties rest after a failure.
    pub(super) fn rests(&self) -> bool {
        self.rest_until.is_some_and(|until| Instant::now() < until)
    }

    /// Whether every row was compared once since the lead was taken, or since the triggers came back,
    /// and no repair is due that would make it necessary again.
    pub(super) fn has_swept(&self) -> bool {
        self.looker.has_looked() && self.triggers.due().is_none()
    }

    /// When it wants to be called next.
    pub(super) fn next_duty(&self) -> Option<Millis> {
        let repair = self.triggers.due();
        let at = |instant: Instant| {
            let left = instant.saturating_duration_since(Instant::now());
            Millis::now().plus(i64::try_from(left.as_millis()).unwrap_or(0))
        };
        if let Some(until) = self.rest_until {
            return repair.into_iter().chain([at(until)]).min();
        }
        if self.behind {
            return Some(Millis::now());
        }
        let alerts = self.alert_clock.due();
        let others = self.looker.next().into_iter().chain([self.retention.due()]);
        let others = others
            .chain(self.projector.cursors_due().map(at))
            .chain(self.listing.due())
            .chain(self.teller.due())
            .chain(alerts);
        self.monitor_due.into_iter().chain(repair).chain(others).min()
    }
}

fn rotation(settings: &Settings) -> Rotation {
    Rotation {
        bytes: u64::try_from(settings.logs_rotate_bytes).unwrap_or(0),
        after_ms: settings.logs_rotate_after_ms,
        keep_files: settings.logs_keep_files,
        keep_days: settings.logs_keep_days,
        keep_bytes: u64::try_from(settings.logs_keep_bytes).unwrap_or(0),
    }
}

fn monitor_options(settings: &Settings) -> MonitorOptions {
    MonitorOptions {
        heartbeat_ms: settings.monitor_heartbeat_ms,
        stall_after_ms: settings.monitor_stall_after_ms,
        ..MonitorOptions::default()
    }
}
