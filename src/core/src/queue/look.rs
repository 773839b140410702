//! Looking at the user's row, where what was captured doesn't say enough: deletes, renames, what the sweep
//! found, and what a user's own trigger did meanwhile.

use super::{Expander, known_run};
use crate::error::{During, Result};
use crate::event::EventType;
use crate::held::{self, Left};
use crate::vocabulary::Phase;
use crate::{Millis, RunId, chain, flags};
use serde_json::json;

impl Expander<'_> {
    /// Whether a write to the run waits behind this row. Then its status would be judged twice, and
    /// what came before it too late.
    pub(super) fn is_captured_after(&self, queue_id: i64, run_id: &RunId) -> Result<bool> {
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
    pub(super) fn look(&self, run_id: &RunId, at: Millis) -> Result<()> {
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
    pub(super) fn look_whether_gone(&self, run_id: &RunId, at: Millis) -> Result<()> {
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
    pub(super) fn look_at_doubtful(&self) -> Result<()> {
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
    pub(super) fn rename(&self, old: &RunId, new: &RunId, at: Millis) -> Result<()> {
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
}
