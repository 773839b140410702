//! So many events within a time: what a batch of an ingest counts, by the events' own time, in slots of a
//! sixtieth of the window. So it comes out the same however the events fall into batches, and costs a
//! bounded number of rows.
//!
//! That a window has passed is the clock's to say: see `due`.

use super::rule::Rule;
use super::{Admission, State, admit, note_change, run_of};
use crate::Millis;
use crate::error::{During, Result};
use rusqlite::{Connection, OptionalExtension};
use std::collections::BTreeMap;

/// Slots of one window.
const SLOTS: i64 = 60;

/// What a batch counts.
#[derive(Debug, Default)]
pub(crate) struct Windows(BTreeMap<(String, String), Group>);

/// The events that one alert is of.
#[derive(Debug)]
struct Group {
    slots: BTreeMap<i64, i64>,
    run_id: Option<String>,
    job: Option<String>,
    subject: String,
    latest: Millis,
    message: String,
}

/// One event to count.
pub(crate) struct Counted {
    /// Of the alert that it may make.
    pub(crate) fingerprint: String,
    /// What it is about.
    pub(crate) subject: String,
    /// Its run, if it has one.
    pub(crate) run_id: Option<String>,
    /// Else its job, if it has one.
    pub(crate) job: Option<String>,
    /// What it says.
    pub(crate) message: String,
    /// Its time.
    pub(crate) at: Millis,
}

impl Windows {
    /// Adds one event that a rule with a window is about.
    pub(crate) fn add(&mut self, rule: &Rule, event: Counted) {
        let slot_ms = slot_ms(rule);
        let slot = event.at.0.div_euclid(slot_ms) * slot_ms;
        let key = (rule.name.clone(), event.fingerprint);
        let group = self.0.entry(key).or_insert_with(|| Group {
            slots: BTreeMap::new(),
            run_id: event.run_id,
            job: event.job,
            subject: event.subject,
            latest: event.at,
            message: event.message.clone(),
        });
        *group.slots.entry(slot).or_default() += 1;
        if (event.at, &event.message) > (group.latest, &group.message) {
            group.latest = event.at;
            group.message = event.message;
        }
    }

    /// Writes what was counted and raises what is too much; how many alerts fire by it.
    pub(crate) fn write(&self, conn: &Connection, rules: &[Rule], now: Millis) -> Result<u64> {
        let mut raised = 0;
        for ((name, fingerprint), group) in &self.0 {
            if let Some(rule) = rules.iter().find(|rule| rule.name == *name) {
                raised += u64::from(group.write(conn, rule, fingerprint, now)?);
            }
        }
        Ok(raised)
    }
}

fn slot_ms(rule: &Rule) -> i64 {
    (rule.window_ms.unwrap_or(0) / SLOTS).max(1)
}

/// The fullest window.
struct Fullest {
    events: i64,
    from: i64,
    to: i64,
}

impl Group {
    fn write(&self, conn: &Connection, rule: &Rule, fingerprint: &str, now: Millis) -> Result<bool> {
        for (slot, events) in &self.slots {
            conn.prepare_cached(
                "INSERT INTO runchain_alert_counts(rule, what, slot_ms, events) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT(rule, what, slot_ms) DO UPDATE SET events = events + excluded.events",
            )
            .and_then(|mut statement| statement.execute((&rule.name, fingerprint, slot, events)))
            .during("count the events of an alert rule")?;
        }
        let fullest = self.fullest(conn, rule, fingerprint)?;
        self.forget_old(conn, rule, fingerprint)?;
        match fullest {
            Some(fullest) if fullest.events >= rule.count => {
                self.raise(conn, rule, fingerprint, &fullest, now)
            }
            _ => Ok(false),
        }
    }

    /// Of all windows with a slot that was just counted in, the one with most events; of equals the latest.
    fn fullest(&self, conn: &Connection, rule: &Rule, fingerprint: &str) -> Result<Option<Fullest>> {
        let window_ms = rule.window_ms.unwrap_or(0);
        let (Some(first), Some(last)) = (self.slots.keys().next(), self.slots.keys().next_back()) else {
            return Ok(None);
        };
        let mut statement = conn
            .prepare_cached(
                "SELECT slot_ms, events FROM runchain_alert_counts
                 WHERE rule = ?1 AND what = ?2 AND slot_ms > ?3 AND slot_ms < ?4 ORDER BY slot_ms",
            )
            .during("read what an alert rule has counted")?;
        let slots = statement
            .query_map(
                (&rule.name, fingerprint, first - window_ms, last + window_ms),
                |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
            )
            .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
            .during("read what an alert rule has counted")?;
        let mut best: Option<Fullest> = None;
        let (mut events, mut from) = (0, 0);
        for &(to, counted) in &slots {
            events += counted;
            while slots[from].0 <= to - window_ms {
                events -= slots[from].1;
                from += 1;
            }
            let is_touched = self.slots.range(slots[from].0..=to).next().is_some();
            if is_touched && best.as_ref().is_none_or(|best| events >= best.events) {
                best = Some(Fullest {
                    events,
                    from: slots[from].0,
                    to,
                });
            }
        }
        Ok(best)
    }

    fn forget_old(&self, conn: &Connection, rule: &Rule, fingerprint: &str) -> Result<()> {
        let newest = self.slots.keys().next_back().copied().unwrap_or(0);
        conn.prepare_cached(
            "DELETE FROM runchain_alert_counts WHERE rule = ?1 AND what = ?2 AND slot_ms < ?3",
        )
        .and_then(|mut statement| {
            statement.execute((&rule.name, fingerprint, newest - 3 * rule.window_ms.unwrap_or(0)))
        })
        .map(drop)
        .during("forget what an alert rule has counted")
    }

    fn raise(
        &self,
        conn: &Connection,
        rule: &Rule,
        fingerprint: &str,
        fullest: &Fullest,
        now: Millis,
    ) -> Result<bool> {
        let was: Option<String> = conn
            .prepare_cached("SELECT state FROM runchain_alerts WHERE fingerprint = ?1")
            .and_then(|mut statement| statement.query_row([fingerprint], |row| row.get(0)).optional())
            .during("look an alert up")?;
        if was.is_none()
            && admit(
                conn,
                &rule.name,
                rule.severity,
                fullest.events,
                &self.message,
                now,
            )? == Admission::Flooded
        {
            return Ok(false);
        }
        let run_id = run_of(conn, self.run_id.as_deref(), self.job.as_deref())?;
        conn.prepare_cached(
            "INSERT INTO runchain_alerts(fingerprint, rule, severity, state, run_id, subject, message, count, first_at_ms, last_at_ms)
             VALUES (?1, ?2, ?3, 'firing', ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT(fingerprint) DO UPDATE SET
               state = CASE state WHEN 'acknowledged' THEN state ELSE 'firing' END,
               severity = ?3, count = max(count, ?7),
               message = CASE WHEN ?9 >= last_at_ms THEN ?6 ELSE message END,
               first_at_ms = min(first_at_ms, ?8), last_at_ms = max(last_at_ms, ?9)",
        )
        .and_then(|mut statement| {
            statement.execute((
                fingerprint,
                &rule.name,
                rule.severity.as_str(),
                run_id,
                &self.subject,
                &self.message,
                fullest.events,
                fullest.from,
                fullest.to,
            ))
        })
        .during("raise an alert")?;
        let was = was.as_deref().and_then(State::from_word);
        if matches!(was, Some(State::Firing | State::Acknowledged)) {
            return Ok(false);
        }
        let id: i64 = conn
            .query_row(
                "SELECT id FROM runchain_alerts WHERE fingerprint = ?1",
                [fingerprint],
                |row| row.get(0),
            )
            .during("look an alert up")?;
        note_change(conn, id, was, State::Firing, None, now)?;
        Ok(true)
    }
}
