//! Which steps a run's chain gets: those whose `on` and `where` fit the run at its end.
//!
//! A step that doesn't fit is not in the chain at all. The order of the others is the file's order
//! without it: what came after it comes after what it came after, so that a step never runs before
//! one that the file puts before it. What does not belong here: the words of the configuration file.

use super::{Chain, StepSpec};
use crate::error::Result;
use crate::event::{self, EventType, NewEvent};
use crate::run_row::{self, Matched};
use crate::vocabulary::Phase;
use crate::{Mapping, Millis, RunId};
use rusqlite::Connection;
use rusqlite::types::Value;
use serde_json::json;
use std::borrow::Cow;

/// What one column of the run's row must say.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// The column.
    pub column: String,
    /// The values that will do; never none.
    pub values: Vec<Value>,
}

/// A run at its end.
#[derive(Debug, Clone, Copy)]
pub struct RunAtEnd<'a> {
    /// Which.
    pub run_id: &'a RunId,
    /// How it ended.
    pub phase: Phase,
    /// The user's word for it.
    pub status: Option<&'a str>,
}

/// The steps that a run gets, and those that it doesn't.
#[derive(Debug)]
pub struct Selection<'a> {
    /// What to begin.
    pub chain: Cow<'a, Chain>,
    /// What is not for this run.
    pub left_out: Vec<LeftOut>,
}

/// A step that is not for this run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its name.
    pub step: String,
    /// What keeps it out.
    pub why: Why,
}

/// What keeps a step out of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The run ended in none of the ways that `on` lists.
    On,
    /// This column of the run's row has another value.
    Where(String),
    /// The table has no such column.
    NoColumn(String),
    /// The run's row is gone.
    NoRow,
}

impl Why {
    /// Whether nobody wanted it: the condition could not be looked at.
    #[must_use]
    pub fn is_trouble(&self) -> bool {
        matches!(self, Self::NoColumn(_) | Self::NoRow)
    }

    /// The reason as a clause.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::On => "the run ended in none of the ways that its `on` lists".to_owned(),
            Self::Where(column) => {
                format!("column {column} of the run's row has another value than its `where` asks for")
            }
            Self::NoColumn(column) => {
                format!("its `where` names the column {column}, which the table of runs has not")
            }
            Self::NoRow => "its `where` asks for the run's row, which is gone".to_owned(),
        }
    }
}

impl Selection<'_> {
    /// Says by an event which steps were left out though nobody wanted that.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub fn tell(&self, conn: &Connection, run_id: &RunId, generation: i64, now: Millis) -> Result<()> {
        for one in self.left_out.iter().filter(|one| one.why.is_trouble()) {
            let data = json!({ "step": one.step, "reason": one.why.sentence() });
            let mut event = NewEvent::of_run(EventType::StepSkipped, now, run_id, generation, data);
            event.step = Some(&one.step);
            event::append(conn, &event)?;
        }
        Ok(())
    }
}

impl Chain {
    /// The part of the chain that is for this run. The run's row is looked at only where a step asks
    /// for it.
    ///
    /// # Errors
    /// Whatever SQLite answers, for example when the table of runs is being rebuilt.
    pub fn of_run(&self, conn: &Connection, mapping: &Mapping, run: RunAtEnd<'_>) -> Result<Selection<'_>> {
        let mut left_out = Vec::new();
        for step in &self.0 {
            if let Some(why) = step.keeps_out(conn, mapping, run)? {
                left_out.push(LeftOut {
                    step: step.name.clone(),
                    why,
                });
            }
        }
        let chain = if left_out.is_empty() {
            Cow::Borrowed(self)
        } else {
            Cow::Owned(self.without(&left_out))
        };
        Ok(Selection { chain, left_out })
    }

    fn without(&self, left_out: &[LeftOut]) -> Self {
        let is_out = |name: &str| left_out.iter().any(|one| one.step == name);
        let kept = self.0.iter().filter(|step| !is_out(&step.name));
        let steps = kept.map(|step| {
            let mut after = Vec::new();
            self.add_needs(step, &is_out, &mut after);
            StepSpec {
                after,
                ..step.clone()
            }
        });
        Self(steps.collect())
    }

    /// What a step waits for; in place of a step that is out, what that one would wait for.
    fn add_needs(&self, step: &StepSpec, is_out: &dyn Fn(&str) -> bool, needs: &mut Vec<String>) {
        for name in &step.after {
            if !is_out(name) {
                if !needs.contains(name) {
                    needs.push(name.clone());
                }
            } else if let Some(out) = self.0.iter().find(|one| one.name == *name) {
                self.add_needs(out, is_out, needs);
            }
        }
    }
}

impl StepSpec {
    fn keeps_out(&self, conn: &Connection, mapping: &Mapping, run: RunAtEnd<'_>) -> Result<Option<Why>> {
        if !self.on.is_empty() && !self.on.iter().any(|word| run.ended_as(word)) {
            return Ok(Some(Why::On));
        }
        for condition in &self.conditions {
            let column = &condition.column;
            match run_row::matches(conn, mapping, run.run_id, column, &condition.values)? {
                Matched::Yes => {}
                Matched::No => return Ok(Some(Why::Where(column.clone()))),
                Matched::NoColumn => return Ok(Some(Why::NoColumn(column.clone()))),
                Matched::NoRow => return Ok(Some(Why::NoRow)),
            }
        }
        Ok(None)
    }
}

impl RunAtEnd<'_> {
    /// The name of a phase means the whole phase, in whatever case it is written; any other word is
    /// the user's own.
    fn ended_as(self, word: &str) -> bool {
        match Phase::terminal(word) {
            Some(phase) => phase == self.phase,
            None => self
                .status
                .is_some_and(|status| status.eq_ignore_ascii_case(word)),
        }
    }
}
