//! Judging a status: what it means for a run, compared with what was last acted on.
//!
//! Reading the row of the user's table belongs to `look`, holding a storm's ends back to `held`.

use super::{Expander, KnownRun, known_run};
use crate::alert::{self, Alarm, Own};
use crate::error::{During, Result};
use crate::event::{self, EventType, NewEvent};
use crate::held::{self, Left};
use crate::vocabulary::Phase;
use crate::{Millis, RunId, chain};
use serde_json::json;

impl Expander<'_> {
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
        self.alert_of_end(run_id, generation, phase, status, at)?;
        self.begin_chain(run_id, generation, phase, status)
    }

    /// A failed run is an alert until it succeeds in a later generation.
    fn alert_of_end(
        &self,
        run_id: &RunId,
        generation: i64,
        phase: Phase,
        status: Option<&str>,
        at: Millis,
    ) -> Result<()> {
        let of = &[Some(run_id.as_str())];
        match phase {
            Phase::Failed => {
                let message = format!("the run ended with the status {}", status.unwrap_or("NULL"));
                let alarm = Alarm {
                    own: Own::RunFailed,
                    of,
                    run_id: Some(run_id),
                    subject: run_id.as_str(),
                    message: &message,
                };
                alert::raise(self.conn, &alarm, at).map(drop)
            }
            // Only a run that has ended before can have failed before.
            Phase::Completed if generation > 1 => {
                alert::resolve(self.conn, Own::RunFailed, of, self.now).map(drop)
            }
            _ => Ok(()),
        }
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

    pub(super) fn set_phase(
        &self,
        run_id: &RunId,
        phase: Phase,
        status: Option<&str>,
        at: Millis,
    ) -> Result<()> {
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

    pub(super) fn generation(&self, run_id: &RunId) -> Result<i64> {
        Ok(known_run(self.conn, run_id)?.map_or(0, |run| run.generation))
    }
}
