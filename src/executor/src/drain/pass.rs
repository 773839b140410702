//! One pass: everything that is due has its turn once, in a fixed order, and what fails is judged: what
//! may pass is said and tried again, what is fatal ends the loop. What each duty does stands in its own
//! module.

use super::database::data_version;
use super::lead::Lead;
use super::pace::Pass;
use super::triggers::News;
use super::turn::ToDo;
use super::{AFTER_FAILURE, Drain, Goal, LEAD_EVERY};
use crate::disk::Space;
use crate::door;
use runchain_core::error::{During, Error, Result};
use runchain_core::{Mapping, Millis, schema};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Turns are taken for this long before everything else has its turn.
const TURNS_AT_ONCE: Duration = Duration::from_millis(20);
/// How long a database may look damaged or without our tables before that is believed; less than
/// [`AFTER_FAILURE`], so that it is looked at once more.
const DOUBT: Duration = Duration::from_secs(1);

/// What a pass knows before it does anything.
struct FirstLook {
    /// As the connection that writes answers it.
    data_version: i64,
    /// None where the database asks for a newer runchain.
    mapping: Option<Mapping>,
    to_do: ToDo,
}

impl Drain<'_> {
    /// Says what is wrong once, however often it is tried again.
    pub(super) fn complain(&mut self, text: String) {
        if !self.complaints.contains(&text) {
            self.log.warn(&text);
            self.complaints.push(text);
        }
    }

    /// Where the disk is full, the ballast goes.
    pub(super) fn make_room_after(&mut self, error: &Error) {
        if let Some(text) = self.space.as_mut().and_then(|space| space.failed(error)) {
            self.log.error(&text);
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
    pub(super) fn may_pass(&self, error: &Error) -> bool {
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
    fn guarded_pass(&mut self, first: Result<FirstLook>) -> Result<()> {
        let done = first.and_then(|first| self.pass(first));
        if done.is_err() {
            self.guard.file.check()?;
        }
        done
    }

    /// A pass, charged where it is one of many in a stream of others' commits.
    pub(super) fn paced_pass(&mut self) -> Result<()> {
        let began = Instant::now();
        let first = self.first_look();
        let seen = first.as_ref().ok().map(|first| first.data_version);
        let others_before = self.others.wrote(seen);
        let passed = self.guarded_pass(first);
        let others_during = self.others.wrote(data_version(&self.conn).ok());
        self.pace.charge(Pass {
            began,
            ended: Instant::now(),
            backlog: std::mem::take(&mut self.expanding.backlog_took),
            others_before,
            others_during,
        });
        passed
    }

    /// Everything that is asked before steps are claimed, by one lock.
    fn first_look(&self) -> Result<FirstLook> {
        door::read(&self.conn, |conn| {
            let mapping = if self.outdated.is_none() {
                self.guard.verify(conn)?;
                schema::check_writer(conn)?;
                // Somebody may have installed anew, on another table.
                Some(Mapping::require(conn)?)
            } else {
                None
            };
            Ok(FirstLook {
                data_version: data_version(conn).during("look whether anybody has committed")?,
                mapping,
                to_do: self.what_to_do(conn)?,
            })
        })
    }

    /// One round of everything. What is waited for comes first; what only concerns later turns, after it.
    fn pass(&mut self, first: FirstLook) -> Result<()> {
        let Some(mapping) = first.mapping else {
            return self.turn(first.to_do).map(|_| ());
        };
        self.mapping = mapping;
        if let Err(error) = self.compare_with_logs().and_then(|()| self.try_to_lead()) {
            self.tell_of_logs(&error);
            // What runs is ours to renew and settle, whether or not there are logs.
            if self.running > 0 {
                self.next_turn()?;
            }
            return Err(error);
        }
        // Who writes all the time must not keep finished steps, signals and the lead waiting.
        let enough = Instant::now() + TURNS_AT_ONCE;
        self.more = self.turn(first.to_do)?;
        while self.more && Instant::now() < enough {
            self.more = self.next_turn()?;
        }
        if let Err(error) = self.look_at_triggers() {
            self.complain(format!("{error}; trying again"));
        }
        self.more |= self.read_flags()?;
        self.look_at_space()?;
        if self.lead.is_some() {
            self.carry_out()?;
            self.look_at_alerts()?;
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
        let (stopping, monitors) = (self.stopping.is_some(), self.monitors());
        let Some(lead) = &mut self.lead else {
            return Ok(());
        };
        match lead.duties(&self.settings, &mut self.conn, &self.mapping, monitors, stopping) {
            // Logs on a full disk, a table that is being rebuilt: the steps go on meanwhile.
            Err(error) if self.may_pass(&error) && !error.is_busy() => {
                self.make_room_after(&error);
                if let Some(lead) = &mut self.lead {
                    lead.rest(AFTER_FAILURE);
                }
                self.tell_of_logs(&error);
                self.complain(format!("{error}; trying again"));
                Ok(())
            }
            Ok(()) if self.lead.as_ref().is_some_and(Lead::rests) => Ok(()),
            Ok(()) => self.logs_are_written().and_then(|()| self.after_duties()),
            Err(error) => Err(error),
        }
    }

    /// Whether monitors start and stop now.
    pub(super) fn monitors(&self) -> bool {
        let is_low = self.space.as_ref().is_some_and(Space::is_low);
        self.stopping.is_none() && self.catch_up.is_none() && !is_low
    }

    /// What is wrong with a table of flags is said; everything else goes on. `true` when something was
    /// queued.
    fn read_flags(&mut self) -> Result<bool> {
        let Some(lead) = self.lead.as_mut().filter(|_| self.stopping.is_none()) else {
            return Ok(false);
        };
        match lead.read_flags(&mut self.conn) {
            Err(error) if self.may_pass(&error) && !error.is_busy() => {
                self.complain(format!("{error}; everything else goes on"));
                Ok(false)
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
            Some(News::Lost(text)) => self.log.error(&format!("TRIGGERS_LOST: {text}")),
            Some(News::Stuck(text)) => self.log.error(&format!("can't repair by itself: {text}")),
            Some(News::Back(text)) => {
                (self.say)(&text);
                self.mapping = door::patiently(|| Mapping::require(&self.conn))?;
            }
        }
        Ok(())
    }

    fn try_to_lead(&mut self) -> Result<()> {
        if self.lead.as_ref().is_some_and(|lead| !lead.is_current()) {
            self.log
                .warn("somebody removed the lock file; the lead is open again");
            self.lead = None;
            self.let_couriers_go();
        }
        if self.lead.is_none() && Instant::now() >= self.next_lead {
            self.next_lead = Instant::now() + LEAD_EVERY;
            self.lead = Lead::try_to(&self.settings, &self.conn, &self.executor.id, &self.place)?;
            if let (Some(lead), Some(metrics)) = (&mut self.lead, &self.metrics) {
                lead.count(metrics, &self.conn)?;
            }
            if self.lead.is_some() {
                self.send_couriers();
                self.begin_to_catch_up()?;
                self.follow_logs();
            }
            // Who finds another one leading has no downtime to tell of.
            self.backlog = None;
        }
        Ok(())
    }
}
