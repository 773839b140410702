//! One channel's courier: takes the next message, sends it, keeps what came of it, and sleeps until
//! something is due.
//!
//! It writes through a connection of its own whose commits are as durable as the main loop's: the number
//! of a message is on the disk before the message leaves.

use super::Order;
use super::send::{Answer, Letter, Origin, send};
use crate::config::{Channel, ChannelKind, Settings};
use crate::door;
use crate::drain::worker::Workshop;
use crate::fault;
use crate::wake::{Wake, Waker};
use runchain_core::alert::delivery::{self, Outcome};
use runchain_core::error::{During, Result};
use runchain_core::steps::Backoff;
use runchain_core::{Millis, schema};
use rusqlite::Connection;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// Between two attempts of one message.
const BACKOFF: Backoff = Backoff {
    base_ms: 1_000,
    cap_ms: 600_000,
};
/// Whatever a channel asks for, it is tried again after this.
const LONGEST_PAUSE_MS: i64 = 3_600_000;
/// After a failure of the database.
const AFTER_FAILURE: Duration = Duration::from_secs(2);
/// Nothing is due.
const IDLE: Duration = Duration::from_secs(3_600);
/// Open alerts in one message to who keeps hearing of them.
const OPEN_IN_ONE: usize = 100;

/// A channel's courier.
pub(super) struct Courier {
    channel: Channel,
    database: PathBuf,
    origin: Origin,
    workshop: Arc<Workshop>,
    wake: Waker,
    /// When who keeps hearing of open alerts hears of them again.
    resend_at: Option<Millis>,
    /// The last failure, so that it is said once.
    failing: bool,
}

impl Courier {
    pub(super) fn new(
        channel: &Channel,
        settings: &Settings,
        workshop: &Arc<Workshop>,
        wake: &Waker,
    ) -> Self {
        Self {
            channel: channel.clone(),
            database: settings.state_db_path.clone(),
            origin: Origin::of(settings),
            workshop: Arc::clone(workshop),
            wake: wake.clone(),
            resend_at: matches!(channel.kind, ChannelKind::Alertmanager { .. }).then(Millis::now),
            failing: false,
        }
    }

    /// Works until it is told to finish, or nobody is there to tell.
    pub(super) fn work(mut self, orders: &Receiver<Order>) {
        let mut conn = None;
        let mut last = false;
        loop {
            let pause = match self.round(&mut conn, orders, last) {
                Ok(pause) => pause,
                Err(error) => {
                    conn = None;
                    self.say_once(&error.to_string());
                    AFTER_FAILURE
                }
            };
            if last {
                return;
            }
            match orders.recv_timeout(pause) {
                Ok(Order::Look) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Order::Finish) => last = true,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Sends everything that is due; how long nothing is. In the last round nothing waits for others to
    /// leave with it.
    fn round(
        &mut self,
        conn: &mut Option<Connection>,
        orders: &Receiver<Order>,
        last: bool,
    ) -> Result<Duration> {
        let ahead_ms = if last { self.channel.group_ms } else { 0 };
        let conn = match conn {
            Some(conn) => conn,
            None => {
                let opened = crate::drain::connect(&self.database)?;
                opened
                    .execute_batch("PRAGMA synchronous = EXTRA")
                    .during("ask for durable commits")?;
                conn.insert(opened)
            }
        };
        // What was opened may be another file of the same name.
        self.workshop.file.check()?;
        while let Some(message) = self.take(conn, ahead_ms)? {
            self.workshop.file.check()?;
            let letter = Letter::of_message(&message, self.number(conn, message.id)?, &self.origin);
            let answer = send(&self.channel, &letter);
            fault::point("alert-sent");
            let attempts = message.attempts() + 1;
            let outcome = self.judge(answer, attempts);
            self.tell(&outcome, message.items.len());
            door::write(conn, |conn| {
                delivery::settle(conn, &self.channel.name, message.id, &outcome, Millis::now())
            })?;
            // The channel is not asked again for another message before this one's time has come.
            if let Outcome::Again { at, .. } = &outcome {
                let at = *at;
                door::write(conn, |conn| delivery::hold(conn, &self.channel.name, at))?;
                break;
            }
            if matches!(
                orders.try_recv(),
                Err(std::sync::mpsc::TryRecvError::Disconnected)
            ) {
                return Ok(Duration::ZERO);
            }
        }
        self.resend(conn)?;
        let due = door::patiently(|| delivery::next_due(conn, &self.channel.name))?;
        let next = due.into_iter().chain(self.resend_at).min();
        Ok(next.map_or(IDLE, |at| {
            Duration::from_millis(u64::try_from(at.since(Millis::now())).unwrap_or(0))
        }))
    }

    fn take(&self, conn: &Connection, ahead_ms: i64) -> Result<Option<delivery::Message>> {
        let name = &self.channel.name;
        let is_due = door::patiently(|| delivery::next_due(conn, name))?
            .is_some_and(|due| due <= Millis::now().plus(ahead_ms));
        if !is_due {
            return Ok(None);
        }
        door::write(conn, |conn| {
            schema::check_writer(conn)?;
            delivery::take(conn, name, Millis::now().plus(ahead_ms))
        })
    }

    /// The same for every attempt, and for nothing else: of this database, in this epoch.
    fn number(&self, conn: &Connection, message: i64) -> Result<String> {
        let epoch = door::patiently(|| schema::epoch(conn))?;
        let (uuid, channel) = (&self.workshop.database_uuid, &self.channel.name);
        Ok(format!("{uuid}/{epoch}/{channel}/{message}"))
    }

    fn judge(&self, answer: Answer, attempts: i64) -> Outcome {
        match answer {
            Answer::Taken => Outcome::Sent,
            Answer::Refused { error } => Outcome::Dead { error },
            Answer::Failed { error, .. } if attempts >= self.channel.max_attempts => Outcome::Dead { error },
            Answer::Failed { error, after_ms } => {
                let own_ms = BACKOFF.pause_ms(attempts, fastrand::f64());
                // Who names a time means it.
                let pause_ms = after_ms.map_or(own_ms, |asked_ms| asked_ms.max(own_ms.min(1_000)));
                Outcome::Again {
                    at: Millis::now().plus(pause_ms.min(LONGEST_PAUSE_MS)),
                    error,
                }
            }
        }
    }

    /// Who keeps hearing of open alerts hears of them all.
    fn resend(&mut self, conn: &Connection) -> Result<()> {
        let ChannelKind::Alertmanager { resend_ms, .. } = &self.channel.kind else {
            return Ok(());
        };
        let resend_ms = *resend_ms;
        if self.resend_at.is_some_and(|at| at > Millis::now()) {
            return Ok(());
        }
        self.resend_at = Some(Millis::now().plus(resend_ms));
        let mut after = 0;
        loop {
            let open = door::patiently(|| delivery::open_alerts(conn, after, OPEN_IN_ONE))?;
            let Some(last) = open.last().map(|open| open.alert.id) else {
                return Ok(());
            };
            after = last;
            let heard: Vec<_> = open
                .into_iter()
                .filter(|open| self.channel.hears(&open.alert.rule, open.alert.severity()))
                .collect();
            if heard.is_empty() {
                continue;
            }
            let letter = Letter::of_open(&heard, self.number(conn, 0)?, &self.origin);
            if let Answer::Failed { error, .. } | Answer::Refused { error } = send(&self.channel, &letter) {
                self.say_once(&error);
                return Ok(());
            }
            self.failing = false;
        }
    }

    fn tell(&mut self, outcome: &Outcome, alerts: usize) {
        match outcome {
            Outcome::Sent => self.failing = false,
            Outcome::Again { error, .. } => self.say_once(error),
            Outcome::Dead { error } => {
                let name = &self.channel.name;
                self.say(format!(
                    "{alerts} alerts could not be delivered to {name}: {error} (runchain alerts retry {name} tries again)"
                ));
            }
        }
    }

    fn say_once(&mut self, error: &str) {
        if !std::mem::replace(&mut self.failing, true) {
            self.say(format!("channel {}: {error}; trying again", self.channel.name));
        }
    }

    fn say(&self, text: String) {
        // Nobody is there to hear when the main loop has ended.
        self.wake.send(Wake::Told(text));
    }
}
