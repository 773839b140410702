//! What only the clock decides: a window passes without enough events, nothing was heard for too long, a
//! flood or a rise of rejected lines is over, a chain takes longer than others did.
//!
//! The leader asks [`look`] when something may have changed or the time that it named has come; between
//! two such moments nothing can become true. An ingest only writes down what it heard.

use super::life::set_resolved;
use super::own::Own;
use super::rule::Rule;
use super::rulebook;
use super::{Alarm, State, fingerprint, flood, list, note_change, raise};
use crate::error::{During, Result};
use crate::{Millis, RunId, schema};
use rusqlite::{Connection, OptionalExtension};

/// How long rejected lines are counted for.
pub(crate) const REJECTS_WINDOW_MS: i64 = 600_000;
/// How often chains are looked at while some are under way.
const LATE_EVERY_MS: i64 = 30_000;
/// The newest finished steps that are the history of a kind.
const HISTORY_ROWS: i64 = 1_000;
/// Less than so many say nothing.
const HISTORY_LEAST: usize = 20;
/// Live steps that are looked at.
const LIVE_ROWS: i64 = 1_000;
/// Late is what takes so many times as long as nineteen of twenty did, and at least a minute more.
const LATE_TIMES: i64 = 4;
const LATE_LEAST_MS: i64 = 60_000;
/// Alerts of late chains raised in one look.
const LATE_AT_ONCE: usize = 20;

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

#[derive(Debug)]
struct Late {
    run_id: RunId,
    step: String,
    took_ms: i64,
    usual_ms: i64,
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
            silence(conn, rule, silence_ms, since, now, &mut look)?;
        } else if let Some(window_ms) = rule.window_ms {
            passed(conn, &rule.name, window_ms, now, &mut look)?;
        }
    }
    floods(conn, now, &mut look)?;
    rejects(conn, now, &mut look)?;
    late_chains(conn, now, &mut look)?;
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
            Verdict::Silent { rule, heard } => raise_silence(conn, rule, *heard, now)?,
            Verdict::Late(late) => raise_late(conn, late, now)?,
        }
    }
    Ok(())
}

/// A rule begins to listen; what it heard before stays.
pub(super) fn heard_first(conn: &Connection, rule: &str, now: Millis) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO runchain_alert_heard(rule, at_ms) VALUES (?1, ?2) ON CONFLICT(rule) DO NOTHING",
    )
    .and_then(|mut statement| statement.execute((rule, now)))
    .map(drop)
    .during("begin to listen for a rule")
}

/// A rule heard of a matching event.
pub(crate) fn heard(conn: &Connection, rule: &str, now: Millis) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO runchain_alert_heard(rule, at_ms) VALUES (?1, ?2)
         ON CONFLICT(rule) DO UPDATE SET at_ms = max(at_ms, excluded.at_ms)",
    )
    .and_then(|mut statement| statement.execute((rule, now)))
    .map(drop)
    .during("note what a rule heard")
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

fn silence(
    conn: &Connection,
    rule: Rule,
    silence_ms: i64,
    since: Millis,
    now: Millis,
    look: &mut Look,
) -> Result<()> {
    let heard: Option<Millis> = conn
        .prepare_cached("SELECT at_ms FROM runchain_alert_heard WHERE rule = ?1")
        .and_then(|mut statement| statement.query_row([&rule.name], |row| row.get(0)).optional())
        .during("read what a rule heard")?;
    let due = heard.unwrap_or(since).max(since).plus(silence_ms);
    let open = open_of(conn, &rule.name)?;
    // An alert stands with the time of what was heard last before it.
    let over = open
        .iter()
        .filter(|alert| heard.is_some_and(|heard| heard > alert.last_at));
    look.verdicts.extend(over.map(|alert| Verdict::Over {
        alert: alert.id,
        state: alert.state,
    }));
    if due > now {
        look.at(due);
    } else if open.is_empty() {
        look.verdicts.push(Verdict::Silent {
            heard: heard.unwrap_or(since),
            rule,
        });
    }
    Ok(())
}

fn raise_silence(conn: &Connection, rule: &Rule, heard: Millis, now: Millis) -> Result<()> {
    let key = fingerprint(&rule.name, &[None, None, None]);
    let message = format!(
        "nothing was heard since {} (expected every {} s)",
        heard.iso(),
        rule.silence_ms.unwrap_or(0) / 1_000
    );
    let was: Option<String> = conn
        .prepare_cached("SELECT state FROM runchain_alerts WHERE fingerprint = ?1")
        .and_then(|mut statement| statement.query_row([&key], |row| row.get(0)).optional())
        .during("look an alert up")?;
    conn.prepare_cached(
        "INSERT INTO runchain_alerts(fingerprint, rule, severity, state, subject, message, count, first_at_ms, last_at_ms)
         VALUES (?1, ?2, ?3, 'firing', ?4, ?5, 1, ?6, ?6)
         ON CONFLICT(fingerprint) DO UPDATE SET state = 'firing', severity = ?3, message = ?5, count = count + 1, last_at_ms = ?6",
    )
    .and_then(|mut statement| {
        let subject = rule.kind.as_deref().unwrap_or("any event");
        statement.execute((&key, &rule.name, rule.severity.as_str(), subject, message, heard))
    })
    .during("raise the alert of a silence")?;
    let id: i64 = conn
        .query_row(
            "SELECT id FROM runchain_alerts WHERE fingerprint = ?1",
            [&key],
            |row| row.get(0),
        )
        .during("look an alert up")?;
    note_change(
        conn,
        id,
        was.as_deref().map(list::state),
        State::Firing,
        None,
        now,
    )
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
    passed(conn, Own::IngestRejects.name(), REJECTS_WINDOW_MS, now, look)
}

/// A live step, since when its chain's step waits or runs.
struct Live {
    run_id: RunId,
    step: String,
    created: Millis,
}

fn late_chains(conn: &Connection, now: Millis, look: &mut Look) -> Result<()> {
    let live = live_steps(conn)?;
    let open = open_of(conn, Own::ChainLate.name())?;
    if live.is_empty() && open.is_empty() {
        return Ok(());
    }
    look.at(now.plus(LATE_EVERY_MS));
    for alert in open.iter().filter(|alert| !alert.is_flood) {
        let Some(run_id) = &alert.run_id else { continue };
        if !is_live(conn, run_id)? {
            look.verdicts.push(Verdict::Over {
                alert: alert.id,
                state: alert.state,
            });
        }
    }
    if Own::ChainLate.in_force(conn)?.is_none() {
        return Ok(());
    }
    let mut usual = std::collections::BTreeMap::new();
    let mut late = 0;
    for step in live {
        if !usual.contains_key(&step.step) {
            usual.insert(step.step.clone(), usual_ms(conn, &step.step)?);
        }
        let Some(usual_ms) = usual[&step.step] else {
            continue;
        };
        let took_ms = now.since(step.created);
        let is_known = open
            .iter()
            .any(|alert| alert.run_id.as_ref() == Some(&step.run_id));
        if took_ms <= (usual_ms * LATE_TIMES).max(usual_ms + LATE_LEAST_MS)
            || is_known
            || late >= LATE_AT_ONCE
        {
            continue;
        }
        late += 1;
        look.verdicts.push(Verdict::Late(Late {
            run_id: step.run_id,
            step: step.step,
            took_ms,
            usual_ms,
        }));
    }
    Ok(())
}

/// A bounded number of the steps that wait or run, of each chain the first.
fn live_steps(conn: &Connection) -> Result<Vec<Live>> {
    let mut statement = conn
        .prepare_cached(
            "SELECT run_id, step, min(created_ms) FROM (
               SELECT run_id, step, created_ms FROM runchain_steps
               WHERE finished_ms IS NULL AND state IN ('ready', 'leased', 'running')
                 AND NOT EXISTS (SELECT 1 FROM runchain_pauses AS p WHERE p.step = runchain_steps.step OR p.step = '*')
               LIMIT ?1)
             GROUP BY run_id",
        )
        .during("read the steps under way")?;
    let rows = statement
        .query_map([LIVE_ROWS], |row| {
            Ok(Live {
                run_id: row.get(0)?,
                step: row.get(1)?,
                created: row.get(2)?,
            })
        })
        .during("read the steps under way")?;
    rows.collect::<rusqlite::Result<_>>()
        .during("read the steps under way")
}

fn is_live(conn: &Connection, run_id: &RunId) -> Result<bool> {
    conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM runchain_steps
                        WHERE run_id = ?1 AND finished_ms IS NULL AND state IN ('ready', 'leased', 'running', 'waiting'))",
    )
    .and_then(|mut statement| statement.query_row([run_id], |row| row.get(0)))
    .during("look whether a chain is under way")
}

/// What nineteen of twenty of the newest steps of this kind took at most, from the beginning of their
/// chain; `None` where there are too few.
fn usual_ms(conn: &Connection, step: &str) -> Result<Option<i64>> {
    let mut statement = conn
        .prepare_cached(
            "SELECT finished_ms - created_ms FROM
               (SELECT step, state, finished_ms, created_ms FROM runchain_steps ORDER BY id DESC LIMIT ?2)
             WHERE step = ?1 AND state = 'done' ORDER BY 1",
        )
        .during("read how long steps took")?;
    let took = statement
        .query_map((step, HISTORY_ROWS), |row| row.get::<_, i64>(0))
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .during("read how long steps took")?;
    if took.len() < HISTORY_LEAST {
        return Ok(None);
    }
    Ok(took.get(took.len() * 19 / 20).copied())
}

fn raise_late(conn: &Connection, late: &Late, now: Millis) -> Result<()> {
    let message = format!(
        "step {} of its chain has not ended after {} s; nineteen of twenty took {} s at most: runchain explain {}",
        late.step,
        late.took_ms / 1_000,
        (late.usual_ms + 999) / 1_000,
        late.run_id
    );
    let alarm = Alarm {
        own: Own::ChainLate,
        of: &[Some(late.run_id.as_str())],
        run_id: Some(&late.run_id),
        subject: late.run_id.as_str(),
        message: &message,
    };
    raise(conn, &alarm, now).map(drop)
}

/// Rejected lines were read: raises the alert where they are many, and more than before.
pub(crate) fn count_rejects(conn: &Connection, path: &str, lines: u64, now: Millis) -> Result<()> {
    const SLOT_MS: i64 = 60_000;
    const LEAST: i64 = 100;
    const TIMES: i64 = 3;
    const KEPT_MS: i64 = 3_600_000;
    let lines = i64::try_from(lines).unwrap_or(i64::MAX);
    if lines == 0 || !schema::table_exists(conn, "runchain_alert_counts")? {
        return Ok(());
    }
    let (rule, slot) = (Own::IngestRejects.name(), now.0.div_euclid(SLOT_MS) * SLOT_MS);
    conn.prepare_cached(
        "INSERT INTO runchain_alert_counts(rule, what, slot_ms, events) VALUES (?1, 'lines', ?2, ?3)
         ON CONFLICT(rule, what, slot_ms) DO UPDATE SET events = events + excluded.events",
    )
    .and_then(|mut statement| statement.execute((rule, slot, lines)))
    .during("count rejected lines")?;
    conn.prepare_cached(
        "DELETE FROM runchain_alert_counts WHERE rule = ?1 AND what = 'lines' AND slot_ms < ?2",
    )
    .and_then(|mut statement| statement.execute((rule, slot - KEPT_MS)))
    .during("forget older counts of rejected lines")?;
    let (lately, before): (i64, i64) = conn
        .prepare_cached(
            "SELECT coalesce(sum(CASE WHEN slot_ms > ?2 THEN events END), 0), coalesce(sum(CASE WHEN slot_ms <= ?2 THEN events END), 0)
             FROM runchain_alert_counts WHERE rule = ?1 AND what = 'lines'",
        )
        .and_then(|mut statement| statement.query_row((rule, slot - REJECTS_WINDOW_MS), |row| row.try_into()))
        .during("count rejected lines")?;
    let usual = before * REJECTS_WINDOW_MS / (KEPT_MS - REJECTS_WINDOW_MS);
    if lately < LEAST || lately < usual * TIMES {
        return Ok(());
    }
    let message = format!(
        "{lately} lines within ten minutes could not be kept, the newest of {path}: SELECT * FROM runchain_ingest_rejects ORDER BY id DESC"
    );
    let alarm = Alarm {
        own: Own::IngestRejects,
        of: &[],
        run_id: None,
        subject: "event logs",
        message: &message,
    };
    raise(conn, &alarm, now)?;
    // It counts lines, not batches.
    conn.prepare_cached("UPDATE runchain_alerts SET count = ?2 WHERE fingerprint = ?1")
        .and_then(|mut statement| statement.execute((fingerprint(rule, &[]), lately)))
        .map(drop)
        .during("count rejected lines in their alert")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(conn: &Connection) -> Vec<String> {
        let mut statement = conn
            .prepare("SELECT rule || ' ' || state FROM runchain_alerts ORDER BY id")
            .unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    }

    fn step(conn: &Connection, since: i64, now: i64) -> Option<i64> {
        let look = look(conn, Millis(since), Millis(now)).unwrap();
        carry_out(conn, &look, Millis(now)).unwrap();
        look.next.map(|next| next.0)
    }

    #[test]
    fn silence_fires_when_its_time_is_over_and_ends_with_the_next_event() {
        let conn = schema::in_memory();
        let rule = Rule {
            silence_ms: Some(1_000),
            ..Rule::named("quiet")
        };
        rulebook::adopt(&conn, &[rule], Millis(5_000)).unwrap();
        assert_eq!(step(&conn, 0, 5_000), Some(6_000));
        heard(&conn, "quiet", Millis(5_500)).unwrap();
        assert_eq!(step(&conn, 0, 6_000), Some(6_500));
        assert_eq!(states(&conn), [""; 0]);
        assert_eq!(step(&conn, 0, 6_500), None);
        assert_eq!(states(&conn), ["quiet firing"]);
        assert_eq!(step(&conn, 0, 9_000), None, "once");
        heard(&conn, "quiet", Millis(9_500)).unwrap();
        assert_eq!(step(&conn, 0, 9_600), Some(10_500));
        assert_eq!(states(&conn), ["quiet resolved"]);
        assert_eq!(
            step(&conn, 20_000, 20_500),
            Some(21_000),
            "what was before we came isn't silence"
        );
        assert_eq!(step(&conn, 20_000, 21_000), None);
        assert_eq!(states(&conn), ["quiet firing"]);
    }

    #[test]
    fn a_chain_is_late_by_what_others_took() {
        let conn = schema::in_memory();
        for number in 0..30 {
            conn.execute(
                "INSERT INTO runchain_steps(run_id, generation, step, state, ready_at_ms, max_attempts, created_ms, finished_ms)
                 VALUES ('r' || ?1, 1, 'archive', 'done', 0, 5, 0, 40000)",
                [number],
            )
            .unwrap();
        }
        conn.execute_batch(
            "INSERT INTO runchain_steps(run_id, generation, step, state, ready_at_ms, max_attempts, created_ms)
             VALUES ('slow', 1, 'archive', 'running', 0, 5, 100000)",
        )
        .unwrap();
        assert_eq!(step(&conn, 0, 260_000), Some(290_000));
        assert_eq!(states(&conn), [""; 0], "four times as long");
        step(&conn, 0, 260_001);
        assert_eq!(states(&conn), ["chain_late firing"]);
        conn.execute_batch(
            "UPDATE runchain_steps SET state = 'done', finished_ms = 300000 WHERE run_id = 'slow'",
        )
        .unwrap();
        step(&conn, 0, 300_000);
        assert_eq!(states(&conn), ["chain_late resolved"]);
        assert_eq!(step(&conn, 0, 300_001), None, "nothing is under way");
    }

    #[test]
    fn rejected_lines_are_an_alert_when_they_are_many_and_more_than_before() {
        let conn = schema::in_memory();
        count_rejects(&conn, "/log", 99, Millis(3_600_000)).unwrap();
        assert_eq!(states(&conn), [""; 0]);
        count_rejects(&conn, "/log", 1, Millis(3_600_000)).unwrap();
        assert_eq!(states(&conn), ["ingest_rejects firing"]);
        assert_eq!(step(&conn, 0, 3_700_000), Some(4_200_000));
        step(&conn, 0, 4_200_000);
        assert_eq!(states(&conn), ["ingest_rejects resolved"]);
    }
}
