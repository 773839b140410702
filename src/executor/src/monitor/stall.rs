//! Stalls: when did anything of a run last change, and is that news?
//!
//! The clock is in memory and starts anew with the executor: what happened while nobody looked
//! can't be held against a run. That a run *is* stalled stands in `runchain_runs`, so that it is
//! said once, also across restarts.

use super::MonitoredRun;
use super::observe::Fingerprint;
use crate::door;
use runchain_core::alert::{self, Alarm, Own};
use runchain_core::error::{During, Result};
use runchain_core::event::{self, EventType, NewEvent};
use runchain_core::{Millis, schema};
use rusqlite::Connection;
use serde_json::json;

/// What is remembered of one run.
#[derive(Debug)]
pub(super) struct Watch {
    fingerprint: Fingerprint,
    has_moved: bool,
    /// When anything last changed, or when it was first looked at.
    pub(super) moved_at: Millis,
    /// Heartbeats written so far.
    pub(super) heartbeats: u64,
    /// The last round that saw the run.
    pub(super) round: u64,
}

/// What there is to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    NoNews,
    /// It stalls.
    Stalls,
    /// It moves again.
    Resumes,
}

impl Watch {
    /// First sight of a run.
    pub(super) fn new(fingerprint: Fingerprint, now: Millis) -> Self {
        Self {
            fingerprint,
            has_moved: false,
            moved_at: now,
            heartbeats: 0,
            round: 0,
        }
    }

    /// Compares with what was last seen.
    pub(super) fn observe(&mut self, fingerprint: Fingerprint, now: Millis) {
        if fingerprint != self.fingerprint {
            self.fingerprint = fingerprint;
            self.has_moved = true;
            self.moved_at = now;
        }
        // A clock that is set back must not prolong the patience.
        self.moved_at = self.moved_at.min(now);
    }

    /// Whether there is news, given what stands in `runchain_runs`. Asked again without having been
    /// recorded, it says the same.
    pub(super) fn judge(&self, stalled_since: Option<Millis>, stall_after_ms: i64, now: Millis) -> Verdict {
        match stalled_since {
            Some(since) if self.has_moved && self.moved_at > since => Verdict::Resumes,
            None if now.since(self.moved_at) >= stall_after_ms => Verdict::Stalls,
            _ => Verdict::NoNews,
        }
    }
}

impl Verdict {
    /// Whether the run is stalled once this is recorded.
    pub(super) fn leaves_stalled(self, stalled_since: Option<Millis>) -> bool {
        match self {
            Self::NoNews => stalled_since.is_some(),
            Self::Stalls => true,
            Self::Resumes => false,
        }
    }
}

/// A verdict to record.
#[derive(Debug)]
pub(super) struct StallNews<'a> {
    /// The run.
    pub(super) run: &'a MonitoredRun,
    /// The verdict.
    pub(super) verdict: Verdict,
    /// When anything of it last changed.
    pub(super) moved_at: Millis,
    /// Its status word.
    pub(super) status: Option<&'a str>,
}

/// Writes all news in one transaction; runs that ended meanwhile are left alone.
pub(super) fn record(conn: &Connection, news: &[StallNews<'_>], now: Millis) -> Result<()> {
    if news.is_empty() {
        return Ok(());
    }
    door::write(conn, |conn| {
        schema::check_writer(conn)?;
        news.iter().try_for_each(|one| record_one(conn, one, now))
    })
}

fn record_one(conn: &Connection, news: &StallNews<'_>, now: Millis) -> Result<()> {
    let run = news.run;
    let (kind, stalled_since, data) = match news.verdict {
        Verdict::NoNews => return Ok(()),
        Verdict::Stalls => (
            EventType::RunStalled,
            Some(news.moved_at),
            json!({ "status": news.status, "quiet_ms": now.since(news.moved_at) }),
        ),
        Verdict::Resumes => (
            EventType::RunResumed,
            None,
            json!({ "status": news.status, "stalled_ms": run.stalled_since.map(|since| now.since(since)) }),
        ),
    };
    let changed = conn
        .prepare_cached(
            "UPDATE runchain_runs SET stalled_since_ms = ?2
             WHERE run_id = ?1 AND phase = 'active' AND monitor = 'on' AND (stalled_since_ms IS NULL) <> (?2 IS NULL)",
        )
        .and_then(|mut statement| statement.execute((&run.run_id, stalled_since)))
        .during("record whether a run is stalled")?;
    if changed > 0 {
        let of = &[Some(run.run_id.as_str())];
        match news.verdict {
            Verdict::Stalls => {
                let message = format!("nothing of it has changed since {}", news.moved_at.iso());
                let alarm = Alarm {
                    own: Own::RunStalled,
                    of,
                    run_id: Some(&run.run_id),
                    subject: run.run_id.as_str(),
                    message: &message,
                };
                alert::raise(conn, &alarm, now)?;
            }
            Verdict::Resumes => drop(alert::resolve(conn, Own::RunStalled, of, now)?),
            Verdict::NoNews => {}
        }
        event::append(
            conn,
            &NewEvent::of_run(kind, now, &run.run_id, run.generation, data),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Fingerprint = Fingerprint(1);
    const SECOND: Fingerprint = Fingerprint(2);

    #[test]
    fn a_run_stalls_after_the_quiet_time_and_not_before() {
        let mut watch = Watch::new(FIRST, Millis(1_000));
        watch.observe(FIRST, Millis(1_999));
        assert_eq!(watch.judge(None, 1_000, Millis(1_999)), Verdict::NoNews);
        assert_eq!(watch.judge(None, 1_000, Millis(2_000)), Verdict::Stalls);
        assert_eq!(
            watch.judge(Some(Millis(1_000)), 1_000, Millis(9_000)),
            Verdict::NoNews
        );
    }

    #[test]
    fn only_a_change_that_was_seen_ends_a_stall() {
        let mut watch = Watch::new(FIRST, Millis(5_000));
        let stalled_before_we_came = Some(Millis(1_000));
        assert_eq!(
            watch.judge(stalled_before_we_came, 1_000, Millis(5_000)),
            Verdict::NoNews
        );
        watch.observe(SECOND, Millis(6_000));
        for _ in 0..2 {
            assert_eq!(
                watch.judge(stalled_before_we_came, 1_000, Millis(6_000)),
                Verdict::Resumes
            );
            watch.observe(SECOND, Millis(6_100)); // not recorded yet: said again
        }
    }

    #[test]
    fn a_clock_that_is_set_back_starts_the_quiet_time_anew() {
        let mut watch = Watch::new(FIRST, Millis(3_600_000));
        watch.observe(FIRST, Millis(1_000));
        assert_eq!(watch.judge(None, 1_000, Millis(2_000)), Verdict::Stalls);
    }
}
