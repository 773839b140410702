//! What only the clock decides: a window passes without enough events, nothing was heard for too long, a
//! flood or a rise of rejected lines is over, a chain takes longer than others did.
//!
//! ```text
//! silence.rs  a rule that hears nothing
//! late.rs     a chain that takes longer than others did
//! ```
//!
//! The leader asks [`look`] when something may have changed or the time that it named has come; between
//! two such moments nothing can become true. An ingest only writes down what it heard.

mod late;
mod silence;
#[cfg(test)]
mod tests;

use super::life::set_resolved;
use super::own::Own;
use super::rule::Rule;
use super::{State, fingerprint, flood, list, rejects, rulebook};
use crate::error::{During, Result};
use crate::{Millis, RunId, schema};
use late::Late;
use rusqlite::Connection;

pub(crate) use silence::heard;
pub(super) use silence::heard_first;

/// What has become true.
#[derive(Debug)]
enum Verdict {
    /// The alert is over.
    Over { alert: i64, state: State },
    /// Nothing was heard by a rule.
    Silent { rule: Rule, heard: Millis },
    /// A chain is late.
    Late(Late),
}

/// What there is to do now, and when something may become true by the clock alone.
#[derive(Debug, Default)]
pub struct Look {
    verdicts: Vec<Verdict>,
    /// Ask again then; `None`: only a change can matter.
    pub next: Option<Millis>,
}

impl Look {
    /// Whether [`carry_out`] would write anything.
    #[must_use]
    pub fn is_news(&self) -> bool {
        !self.verdicts.is_empty()
    }

    fn at(&mut self, time: Millis) {
        self.next = Some(self.next.map_or(time, |next| next.min(time)));
    }

    /// An alert is over when nothing was added to it for so long.
    fn passes(&mut self, alert: &Open, after_ms: i64, now: Millis) {
        let over = alert.last_at.plus(after_ms);
        if over > now {
            self.at(over);
            return;
        }
        self.verdicts.push(Verdict::Over {
            alert: alert.id,
            state: alert.state,
        });
    }
}

/// Looks what the clock has decided. `since`: when whoever asks began to; nobody's silence from before
/// counts.
///
/// # Errors
/// Whatever SQLite answers.
pub fn look(conn: &Connection, since: Millis, now: Millis) -> Result<Look> {
    let mut look = Look::default();
    for rule in rulebook::in_force(conn)? {
        if let Some(silence_ms) = rule.silence_ms {
            silence::look(conn, rule, silence_ms, since, now, &mut look)?;
        } else if let Some(window_ms) = rule.window_ms {
            passed(conn, &rule.name, window_ms, now, &mut look)?;
        }
    }
    floods(conn, now, &mut look)?;
    rejects(conn, now, &mut look)?;
    late::look(conn, now, &mut look)?;
    Ok(look)
}

/// Writes what a look has found, inside the caller's transaction.
///
/// # Errors
/// Whatever SQLite answers.
pub fn carry_out(conn: &Connection, look: &Look, now: Millis) -> Result<()> {
    schema::check_writer(conn)?;
    for verdict in &look.verdicts {
        match verdict {
            Verdict::Over { alert, state } => set_resolved(conn, *alert, *state, now)?,
            Verdict::Silent { rule, heard } => silence::raise(conn, rule, *heard, now)?,
            Verdict::Late(late) => late::raise(conn, late, now)?,
        }
    }
    Ok(())
}

/// An open alert, as much of it as matters here.
struct Open {
    id: i64,
    state: State,
    run_id: Option<RunId>,
    is_flood: bool,
    last_at: Millis,
}

fn open_of(conn: &Connection, rule: &str) -> Result<Vec<Open>> {
    let mut statement = conn
        .prepare_cached(
            "SELECT id, state, run_id, fingerprint, last_at_ms FROM runchain_alerts
             WHERE rule = ?1 AND state <> 'resolved' ORDER BY id LIMIT 1000",
        )
        .during("look for the open alerts of a rule")?;
    let flood = fingerprint(rule, &[Some(flood::FLOOD)]);
    let rows = statement
        .query_map([rule], |row| {
            Ok(Open {
                id: row.get(0)?,
                state: list::state(&row.get::<_, String>(1)?),
                run_id: row.get(2)?,
                is_flood: row.get::<_, String>(3)? == flood,
                last_at: row.get(4)?,
            })
        })
        .during("look for the open alerts of a rule")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("look for the open alerts of a rule")
}

/// Alerts of a rule that are over when nothing was added for a time.
fn passed(conn: &Connection, rule: &str, after_ms: i64, now: Millis, look: &mut Look) -> Result<()> {
    for alert in open_of(conn, rule)? {
        look.passes(&alert, after_ms, now);
    }
    Ok(())
}

fn floods(conn: &Connection, now: Millis, look: &mut Look) -> Result<()> {
    let mut statement = conn
        .prepare_cached("SELECT DISTINCT rule FROM runchain_alert_counts WHERE what = ?1")
        .during("look for floods")?;
    let rules = statement
        .query_map([flood::NEW], |row| row.get::<_, String>(0))
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .during("look for floods")?;
    for rule in rules {
        for alert in open_of(conn, &rule)?.into_iter().filter(|alert| alert.is_flood) {
            look.passes(&alert, flood::SLOT_MS, now);
        }
    }
    Ok(())
}

fn rejects(conn: &Connection, now: Millis, look: &mut Look) -> Result<()> {
    passed(conn, Own::IngestRejects.name(), rejects::WINDOW_MS, now, look)
}
