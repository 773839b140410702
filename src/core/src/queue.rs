//! Expanding the queue: what the triggers appended, judged in order, becomes phases, events and
//! steps.
//!
//! One call is one transaction of the caller's: the rows it read are gone together with everything
//! that they led to, or nothing happened. The judgement compares with the phase last acted on
//! (`runchain_runs`), so a status that arrives five times is one event. Requests come through the
//! same door and are judged in `request`. Doing the steps belongs to the executor.

use crate::audit;
use crate::chain::{self, Chain};
use crate::error::{During, Result};
use crate::event::{self, EventType, NewEvent};
use crate::flags;
use crate::forget;
use crate::held::{self, Keeper, Left};
use crate::mapping;
use crate::request;
use crate::storm::{self, StormLimit};
use crate::vocabulary::{Phase, Vocabulary};
use crate::{Mapping, Millis, RunId, StepId};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::{Map, Value as Json, json};
use std::cell::{Cell, RefCell};

/// What one expansion did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expanded {
    /// Queue rows that were taken.
    pub rows: usize,
    /// Whether the limit was reached, so that more may be waiting.
    pub more: bool,
}

/// Takes at most `limit` rows from the queue, oldest first, and holds nothing back.
///
/// # Errors
/// As [`expand_within`].
pub fn expand(
    conn: &Connection,
    mapping: &Mapping,
    chain: &Chain,
    limit: usize,
    now: Millis,
) -> Result<Expanded> {
    expand_within(conn, mapping, chain, limit, StormLimit::OFF, now)
}

/// Takes at most `limit` rows from the queue, oldest first; the chains of a storm are held. `mapping`
/// counts only where none is installed any more.
///
/// # Errors
/// [`crate::Error::Outdated`], and whatever SQLite answers; the caller rolls back.
pub fn expand_within(
    conn: &Connection,
    mapping: &Mapping,
    chain: &Chain,
    limit: usize,
    storm: StormLimit,
    now: Millis,
) -> Result<Expanded> {
    crate::schema::check_writer(conn)?;
    let mut rows = read(conn, i64::MIN, limit.saturating_add(1))?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let Some(last) = rows.last().map(|row| row.id) else {
        return Ok(Expanded::default());
    };
    // Another install may have named another table since the caller looked.
    let installed = Mapping::installed(conn)?;
    let mapping = installed.as_ref().unwrap_or(mapping);
    let expander = Expander::new(conn, mapping, chain, storm, now)?;
    let ahead = || {
        if more {
            read(conn, last, storm.max_transitions.saturating_add(1))
        } else {
            Ok(Vec::new())
        }
    };
    let held = storm::judge(conn, mapping, &expander.vocabulary, &rows, ahead, storm, now)?;
    for (row, is_held) in rows.iter().zip(held) {
        expander.holds.set(is_held);
        expander.take(row)?;
    }
    expander.holds.set(false);
    if !more {
        expander.look_at_doubtful()?;
    }
    expander.keeper.borrow_mut().save()?;
    conn.prepare_cached("DELETE FROM runchain_queue WHERE id <= ?1")
        .and_then(|mut statement| statement.execute([last]))
        .during("take expanded rows from the queue")?;
    Ok(Expanded {
        rows: rows.len(),
        more,
    })
}

/// One row as it was appended. A plain INSERT can put anything in any column, so nothing here is
/// trusted to have a type.
#[derive(Debug)]
pub(crate) struct QueueRow {
    pub(crate) id: i64,
    pub(crate) action: String,
    pub(crate) run_id: Option<RunId>,
    pub(crate) old_run_id: Option<RunId>,
    pub(crate) old_status: Option<String>,
    pub(crate) new_status: Option<String>,
    pub(crate) step_id: Option<StepId>,
    pub(crate) actor: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) at: Option<Millis>,
    pub(crate) step: Option<String>,
}

impl QueueRow {
    fn of_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let text = |index| mapping::text(row, index);
        let number = |index| -> rusqlite::Result<Option<i64>> {
            Ok(match mapping::value(row, index)? {
                Value::Integer(number) => Some(number),
                Value::Text(text) => text.trim().parse().ok(),
                _ => None,
            })
        };
        Ok(Self {
            id: row.get(0)?,
            action: text(1)?.unwrap_or_default(),
            run_id: text(2)?.map(RunId),
            old_run_id: text(3)?.map(RunId),
            old_status: text(4)?,
            new_status: text(5)?,
            step_id: number(6)?.map(StepId),
            actor: text(7)?,
            reason: text(8)?,
            at: number(9)?.map(Millis),
            step: text(10)?,
        })
    }

    /// What stands in the event REQUEST, but for the states before and after.
    pub(crate) fn audit(&self, answer: &str, message: Option<&str>) -> Map<String, Json> {
        let mut data = audit::signed(&self.action, self.actor.as_deref(), self.reason.as_deref());
        data.insert("answer".to_owned(), json!(answer));
        data.insert("message".to_owned(), json!(message));
        data.insert("step_id".to_owned(), json!(self.step_id));
        data.insert("asked_at".to_owned(), json!(self.at.map(Millis::iso)));
        data
    }
}

fn read(conn: &Connection, after: i64, limit: usize) -> Result<Vec<QueueRow>> {
    let mut statement = conn
        .prepare_cached(
            "SELECT id, action, run_id, old_run_id, old_status, new_status, step_id, actor, reason, at_ms, step
             FROM runchain_queue WHERE id > ?1 ORDER BY id LIMIT ?2",
        )
        .during("read the queue")?;
    let rows = statement
        .query_map(
            (after, i64::try_from(limit).unwrap_or(i64::MAX)),
            QueueRow::of_row,
        )
        .during("read the queue")?;
    rows.collect::<rusqlite::Result<_>>().during("read the queue")
}

/// What was last acted on for a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownRun {
    /// The phase.
    pub phase: Phase,
    /// The user's word for it.
    pub status: Option<String>,
    /// Entries into a terminal phase so far.
    pub generation: i64,
    /// When the phase began.
    pub since: Millis,
    /// The event RUN_COMPLETED of this generation.
    pub ended_event_id: Option<i64>,
}

impl KnownRun {
    /// Over without a chain of its own: finished before runchain came, or held.
    #[must_use]
    pub fn is_left_alone(&self) -> bool {
        self.phase.is_terminal() && self.ended_event_id.is_none()
    }
}

/// The run's row in `runchain_runs`.
///
/// # Errors
/// Whatever SQLite answers.
pub fn known_run(conn: &Connection, run_id: &RunId) -> Result<Option<KnownRun>> {
    conn.prepare_cached("SELECT phase, status, generation, phase_since_ms, ended_event_id FROM runchain_runs WHERE run_id = ?1")
        .and_then(|mut statement| {
            statement
                .query_row([run_id], |row| {
                    Ok(KnownRun {
                        phase: row.get(0)?,
                        status: row.get(1)?,
                        generation: row.get(2)?,
                        since: row.get(3)?,
                        ended_event_id: row.get(4)?,
                    })
                })
                .optional()
        })
        .during("look a run up")
}

/// Everything that the judgement of one batch needs.
pub(crate) struct Expander<'a> {
    pub(crate) conn: &'a Connection,
    pub(crate) mapping: &'a Mapping,
    pub(crate) chain: &'a Chain,
    pub(crate) vocabulary: Vocabulary,
    pub(crate) now: Millis,
    /// Runs whose phase changed in this batch.
    doubtful: RefCell<Vec<RunId>>,
    /// The newest queue row of a trigger, once it was asked for.
    last_captured: Cell<Option<i64>>,
    /// Whether the row at hand is part of a storm.
    pub(crate) holds: Cell<bool>,
    keeper: RefCell<Keeper<'a>>,
    /// A flag decided about some run.
    any_flagged: Cell<bool>,
}

impl<'a> Expander<'a> {
    pub(crate) fn new(
        conn: &'a Connection,
        mapping: &'a Mapping,
        chain: &'a Chain,
        storm: StormLimit,
        now: Millis,
    ) -> Result<Self> {
        Ok(Self {
            conn,
            mapping,
            chain,
            vocabulary: Vocabulary::load(conn)?,
            now,
            doubtful: RefCell::default(),
            last_captured: Cell::default(),
            holds: Cell::default(),
            keeper: RefCell::new(Keeper::new(conn, storm, now)?),
            any_flagged: Cell::new(flags::any(conn)?),
        })
    }
}

impl Expander<'_> {
    fn take(&self, row: &QueueRow) -> Result<()> {
        let at = row.at.unwrap_or(self.now);
        for run_id in row.run_id.iter().chain(&row.old_run_id) {
            // Also a refusal would write the id down again.
            if forget::is_forgotten(self.conn, run_id)? {
                return Ok(());
            }
        }
        if let ("insert" | "update" | "delete", Some(run_id)) = (row.action.as_str(), &row.run_id)
            && self.any_flagged.get()
        {
            flags::forget(self.conn, run_id)?;
        }
        match (row.action.as_str(), &row.run_id) {
            ("flag", Some(run_id)) => {
                self.any_flagged.set(true);
                flags::take(self, row, run_id, at)
            }
            ("insert", Some(run_id)) => self.observe(run_id, None, row.new_status.as_deref(), at),
            ("update", new_id) => self.take_update(row, new_id.as_ref(), at),
            ("delete", Some(run_id)) => self.look_whether_gone(run_id, at),
            ("look", Some(run_id)) if self.is_captured_after(row.id, run_id)? => Ok(()),
            ("look", Some(run_id)) => self.look(run_id, at),
            ("insert" | "delete", None) => self.refuse(
                row,
                "the run id is neither text nor a number, so it is not followed",
            ),
            _ => request::take(self, row),
        }
    }

    fn take_update(&self, row: &QueueRow, new_id: Option<&RunId>, at: Millis) -> Result<()> {
        let (old_status, new_status) = (row.old_status.as_deref(), row.new_status.as_deref());
        match (row.old_run_id.as_ref(), new_id) {
            (Some(old), Some(new)) if old != new => {
                self.rename(old, new, at)?;
                self.observe(new, old_status, new_status, at)
            }
            (_, Some(run_id)) => self.observe(run_id, old_status, new_status, at),
            (Some(old), None) => self.look_whether_gone(old, at),
            (None, None) => self.refuse(
                row,
                "the run id is neither text nor a number, so it is not followed",
            ),
        }
    }

    /// Judges one status of one run. `old_status` speaks only for runs that were never seen before:
    /// an UPDATE of a run that was finished before runchain came is no news.
    pub(crate) fn observe(
        &self,
        run_id: &RunId,
        old_status: Option<&str>,
        status: Option<&str>,
        at: Millis,
    ) -> Result<()> {
        let known = known_run(self.conn, run_id)?.filter(|run| run.phase != Phase::Deleted);
        let next = self.vocabulary.phase(status);
        if let Some(run) = &known
            && run.is_left_alone()
            && next.is_some_and(|next| next != run.phase)
            && held::take_back(self.conn, run_id, self.now)?
        {
            return self.observe(run_id, None, status, at);
        }
        let Some(run) = known else {
            let before = self.vocabulary.phase(old_status);
            return self.first_sight(run_id, status, before, next, at);
        };
        match next {
            None => self.note_unknown(run_id, &run, status, at),
            Some(next) if next == run.phase => self.set_status(run_id, status),
            Some(Phase::Active) => self.restart(run_id, &run, status, at),
            Some(terminal) => self.end(run_id, terminal, status, at),
        }
    }

    fn first_sight(
        &self,
        run_id: &RunId,
        status: Option<&str>,
        before: Option<Phase>,
        next: Option<Phase>,
        at: Millis,
    ) -> Result<()> {
        let deleted = known_run(self.conn, run_id)?;
        let holds_at_once = self.holds.get() && before.is_none_or(|before| before == Phase::Active);
        let begins_as = match next {
            Some(terminal) if terminal.is_terminal() && holds_at_once => terminal,
            _ => before.unwrap_or(Phase::Active),
        };
        self.conn
            .prepare_cached(
                "INSERT INTO runchain_runs(run_id, phase, status, first_seen_ms, phase_since_ms) VALUES (?1, ?2, ?3, ?4, ?4)
                 ON CONFLICT(run_id) DO UPDATE SET phase = excluded.phase, status = excluded.status,
                   phase_since_ms = excluded.phase_since_ms, stalled_since_ms = NULL",
            )
            .and_then(|mut statement| statement.execute((run_id, begins_as, status, at)))
            .during("remember a new run")?;
        self.doubtful.borrow_mut().push(run_id.clone());
        if begins_as == Phase::Active {
            self.run_event(
                EventType::RunCreated,
                run_id,
                self.generation(run_id)?,
                json!({ "status": status }),
                at,
            )?;
        }
        match next {
            None => self.unknown_event(run_id, begins_as, status, at),
            Some(next) if next.is_terminal() && holds_at_once => {
                self.keep_back(run_id, deleted.as_ref(), status, at)
            }
            Some(next) if next == begins_as => Ok(()),
            Some(_) => self.observe(run_id, None, status, at),
        }
    }

    /// A word that nobody knows changes the word on record, never the phase.
    fn note_unknown(&self, run_id: &RunId, run: &KnownRun, status: Option<&str>, at: Millis) -> Result<()> {
        if run.status.as_deref() == status {
            return Ok(());
        }
        self.set_status(run_id, status)?;
        self.unknown_event(run_id, run.phase, status, at)
    }

    fn unknown_event(&self, run_id: &RunId, phase: Phase, status: Option<&str>, at: Millis) -> Result<()> {
        let data = json!({
            "status": status, "phase": phase,
            "remedy": "add the word: INSERT INTO runchain_vocabulary(status, phase) VALUES (...)",
        });
        self.run_event(
            EventType::StatusUnknown,
            run_id,
            self.generation(run_id)?,
            data,
            at,
        )
    }

    fn set_status(&self, run_id: &RunId, status: Option<&str>) -> Result<()> {
        self.conn
            .prepare_cached("UPDATE runchain_runs SET status = ?2 WHERE run_id = ?1 AND status IS NOT ?2")
            .and_then(|mut statement| statement.execute((run_id, status)))
            .map(|_| ())
            .during("remember a run's status")
    }

    fn restart(&self, run_id: &RunId, run: &KnownRun, status: Option<&str>, at: Millis) -> Result<()> {
        self.doubtful.borrow_mut().push(run_id.clone());
        self.set_phase(run_id, Phase::Active, status, at)?;
        let data = json!({ "status": status, "was": run.phase });
        self.run_event(EventType::RunRestarted, run_id, run.generation, data, at)?;
        chain::cancel_live(
            self.conn,
            run_id,
            run.generation,
            "the run was started again",
            self.now,
        )
        .map(|_| ())
    }

    /// The run enters a terminal phase: a new generation with a chain of its own.
    pub(crate) fn end(&self, run_id: &RunId, phase: Phase, status: Option<&str>, at: Millis) -> Result<()> {
        self.doubtful.borrow_mut().push(run_id.clone());
        if self.holds.get() {
            return self.hold(run_id, phase, status, at);
        }
        held::leave(self.conn, run_id, Left::Released, self.now)?;
        let generation = self.generation(run_id)? + 1;
        chain::cancel_live(self.conn, run_id, generation - 1, "the run ended again", self.now)?;
        self.set_phase(run_id, phase, status, at)?;
        let data = json!({ "status": status, "phase": phase });
        let event = NewEvent::of_run(EventType::RunCompleted, at, run_id, generation, data);
        let event_id = event::append(self.conn, &event)?;
        self.conn
            .prepare_cached("UPDATE runchain_runs SET generation = ?2, ended_event_id = ?3 WHERE run_id = ?1")
            .and_then(|mut statement| statement.execute((run_id, generation, event_id)))
            .during("begin a generation")?;
        self.begin_chain(run_id, generation, phase, status)
    }

    /// The steps that are for this run, as its row stands now.
    pub(crate) fn begin_chain(
        &self,
        run_id: &RunId,
        generation: i64,
        phase: Phase,
        status: Option<&str>,
    ) -> Result<()> {
        let run = chain::RunAtEnd {
            run_id,
            phase,
            status,
        };
        let selection = self.chain.of_run(self.conn, self.mapping, run)?;
        selection.tell(self.conn, run_id, generation, self.now)?;
        selection.chain.begin(self.conn, run_id, generation, self.now)
    }

    /// The run is over, but its chain waits for a person.
    fn hold(&self, run_id: &RunId, phase: Phase, status: Option<&str>, at: Millis) -> Result<()> {
        let was = known_run(self.conn, run_id)?;
        self.set_phase(run_id, phase, status, at)?;
        self.keep_back(run_id, was.as_ref(), status, at)
    }

    fn keep_back(
        &self,
        run_id: &RunId,
        was: Option<&KnownRun>,
        status: Option<&str>,
        at: Millis,
    ) -> Result<()> {
        self.keeper.borrow_mut().hold(run_id, was, status, at)?;
        if was.is_none_or(|run| run.ended_event_id.is_none()) {
            return Ok(());
        }
        self.conn
            .prepare_cached("UPDATE runchain_runs SET ended_event_id = NULL WHERE run_id = ?1")
            .and_then(|mut statement| statement.execute([run_id]))
            .map(|_| ())
            .during("hold the end of a run")
    }

    fn set_phase(&self, run_id: &RunId, phase: Phase, status: Option<&str>, at: Millis) -> Result<()> {
        self.conn
            .prepare_cached(
                "UPDATE runchain_runs SET phase = ?2, status = ?3, phase_since_ms = ?4, stalled_since_ms = NULL,
                   monitor = CASE WHEN monitor = 'abandoned' THEN 'off' ELSE monitor END
                 WHERE run_id = ?1",
            )
            .and_then(|mut statement| statement.execute((run_id, phase, status, at)))
            .map(|_| ())
            .during("remember a run's phase")
    }

    fn generation(&self, run_id: &RunId) -> Result<i64> {
        Ok(known_run(self.conn, run_id)?.map_or(0, |run| run.generation))
    }

    /// Whether a write to the run waits behind this row. Then its status would be judged twice, and
    /// what came before it too late.
    fn is_captured_after(&self, queue_id: i64, run_id: &RunId) -> Result<bool> {
        let last = match self.last_captured.get() {
            Some(last) => last,
            None => self
                .conn
                .query_row(
                    "SELECT coalesce(max(id), 0) FROM runchain_queue WHERE action IN ('insert', 'update', 'delete')",
                    [],
                    |row| row.get(0),
                )
                .during("look for captured writes")?,
        };
        self.last_captured.set(Some(last));
        if last < queue_id {
            return Ok(false);
        }
        self.conn
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM runchain_queue
                                WHERE id > ?1 AND action IN ('insert', 'update', 'delete')
                                  AND ?2 IN (CAST(run_id AS TEXT), CAST(old_run_id AS TEXT)))",
            )
            .and_then(|mut statement| statement.query_row((queue_id, run_id), |row| row.get(0)))
            .during("look for captured writes of a run")
    }

    /// The sweep found that the row and what was last acted on differ. What counts is the row as it
    /// stands now, in this transaction.
    fn look(&self, run_id: &RunId, at: Millis) -> Result<()> {
        self.observe_row(run_id, at)
    }

    /// Judges the row as it stands now, unless a flag decided about the run and the row still says what
    /// it said then.
    fn observe_row(&self, run_id: &RunId, at: Millis) -> Result<()> {
        let row = self.mapping.status_of(self.conn, run_id)?;
        if let Some(flagged) = flags::of_run(self.conn, run_id)? {
            if flagged.stands(row.as_ref().map(|status| status.as_deref())) {
                return Ok(());
            }
            flags::forget(self.conn, run_id)?;
        }
        match row {
            Some(status) => self.observe(run_id, None, status.as_deref(), at),
            None => self.look_whether_gone(run_id, at),
        }
    }

    /// A delete only asks to look: OR REPLACE deletes, too, and the row may be back.
    fn look_whether_gone(&self, run_id: &RunId, at: Millis) -> Result<()> {
        if self.mapping.status_of(self.conn, run_id)?.is_some() {
            return Ok(());
        }
        let Some(run) = known_run(self.conn, run_id)?.filter(|run| run.phase != Phase::Deleted) else {
            return Ok(());
        };
        if run.is_left_alone() {
            held::leave(self.conn, run_id, Left::TakenBack, self.now)?;
        }
        self.set_phase(run_id, Phase::Deleted, run.status.as_deref(), at)?;
        self.run_event(
            EventType::RunDeleted,
            run_id,
            run.generation,
            json!({ "was": run.phase }),
            at,
        )?;
        chain::cancel_live(
            self.conn,
            run_id,
            run.generation,
            "the run's row is gone",
            self.now,
        )
        .map(|_| ())
    }

    /// SQLite fires the newest trigger first, so what a user's own newer trigger does to a row is
    /// captured before the write that it answers. Once the queue is empty, the row itself says where
    /// such a run stands.
    fn look_at_doubtful(&self) -> Result<()> {
        let mut doubtful = self.doubtful.take();
        doubtful.sort_unstable();
        doubtful.dedup();
        for run_id in doubtful {
            self.observe_row(&run_id, self.now)?;
        }
        Ok(())
    }

    /// The row lives on under another id: its phase and generation go with it, and what has not
    /// ended of its chain begins anew under the new id.
    fn rename(&self, old: &RunId, new: &RunId, at: Millis) -> Result<()> {
        let Some(run) = known_run(self.conn, old)?.filter(|run| run.phase != Phase::Deleted) else {
            return Ok(());
        };
        // A row that has the old id by now is another run, or came back: what stands after this in the
        // queue says so.
        self.doubtful.borrow_mut().extend([old.clone(), new.clone()]);
        // An id with a history of its own (deleted before, or replaced by this very UPDATE): its chain
        // is over, and the generation must be one that has no steps yet.
        if let Some(replaced) = known_run(self.conn, new)? {
            chain::cancel_live(
                self.conn,
                new,
                replaced.generation,
                "another run took its id",
                self.now,
            )?;
        }
        self.conn
            .prepare_cached(
                "INSERT INTO runchain_runs(run_id, phase, status, generation, first_seen_ms, phase_since_ms, ended_event_id)
                 SELECT ?2, phase, status, generation, first_seen_ms, phase_since_ms, ended_event_id
                 FROM runchain_runs WHERE run_id = ?1
                 ON CONFLICT(run_id) DO UPDATE SET phase = excluded.phase, status = excluded.status,
                   generation = max(runchain_runs.generation, excluded.generation) + 1,
                   phase_since_ms = excluded.phase_since_ms, ended_event_id = excluded.ended_event_id",
            )
            .and_then(|mut statement| statement.execute((old, new)))
            .during("carry a run over to its new id")?;
        if run.is_left_alone() {
            held::rename(self.conn, old, new)?;
        }
        self.set_phase(old, Phase::Deleted, run.status.as_deref(), at)?;
        self.run_event(
            EventType::RunRenamed,
            new,
            run.generation,
            json!({ "was": old }),
            at,
        )?;
        let cancelled = chain::cancel_live(self.conn, old, run.generation, "the run was renamed", self.now)?;
        if cancelled > 0 && run.phase.is_terminal() {
            self.begin_chain(new, self.generation(new)?, run.phase, run.status.as_deref())?;
        }
        Ok(())
    }

    pub(crate) fn run_event(
        &self,
        kind: EventType,
        run_id: &RunId,
        generation: i64,
        data: Json,
        at: Millis,
    ) -> Result<()> {
        event::append(self.conn, &NewEvent::of_run(kind, at, run_id, generation, data)).map(|_| ())
    }

    pub(crate) fn refuse(&self, row: &QueueRow, why: &str) -> Result<()> {
        let data = row.audit("refused", Some(why));
        event::append(
            self.conn,
            &NewEvent::of_database(
                EventType::Request,
                self.now,
                row.run_id.as_ref(),
                Json::Object(data),
            ),
        )
        .map(|_| ())
    }
}
/// When the first row of the queue was written; `None` where there is none, or where its writer put
/// something that is no number.
///
/// # Errors
/// Whatever SQLite answers.
pub fn oldest_write(conn: &Connection) -> Result<Option<Millis>> {
    conn.prepare_cached(
        "SELECT CASE WHEN typeof(at_ms) IN ('integer', 'real') THEN CAST(at_ms AS INTEGER) END
         FROM runchain_queue ORDER BY id LIMIT 1",
    )
    .and_then(|mut statement| statement.query_row([], |row| row.get(0)).optional())
    .map(Option::flatten)
    .during("look at the queue's first row")
}
