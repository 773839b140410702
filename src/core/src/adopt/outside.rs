//! What the logs know that a restored database doesn't: the ends of runs, and the fate of their steps.
//!
//! Invariant: later lines speak last. What does not belong here: reading the files.

use crate::event::EventType;
use crate::{Millis, RunId};
use serde_json::Value;
use std::collections::BTreeMap;

/// One numbered line of a log that is later than anything the database holds.
#[derive(Debug, Clone, PartialEq)]
pub struct LogEvent {
    /// Its number.
    pub seq: i64,
    /// The epoch of that number.
    pub epoch: i64,
    /// When it happened.
    pub at: Option<Millis>,
    /// The word of its type.
    pub event: String,
    /// The run that it concerns.
    pub run_id: Option<RunId>,
    /// The generation of the run's chain.
    pub generation: Option<i64>,
    /// The step.
    pub step: Option<String>,
    /// Everything else.
    pub data: Value,
}

/// Everything that the logs know beyond the database.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outside {
    /// The newest epoch that was seen.
    pub epoch: i64,
    /// Lines that were taken.
    pub lines: u64,
    /// The runs that they tell of.
    pub runs: BTreeMap<RunId, OutsideRun>,
}

/// What they know of one run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OutsideRun {
    /// The newest generation.
    pub generation: i64,
    /// By generation.
    pub ends: BTreeMap<i64, OutsideEnd>,
}

/// What they know of one end of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OutsideEnd {
    /// When the run ended; `None` where that is older than what was read, and so known to the database.
    pub ended: Option<Millis>,
    /// Its chain was cancelled.
    pub cancelled: bool,
    /// By name.
    pub steps: BTreeMap<String, OutsideStep>,
}

/// The last word on a step, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct OutsideStep {
    /// What became of it.
    pub fate: StepFate,
    /// Epoch of the line.
    pub epoch: i64,
    /// Number of the line.
    pub seq: i64,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq)]
pub enum StepFate {
    /// It was done.
    Done {
        /// What it left.
        result: Value,
    },
    /// It had used up its attempts.
    Dead {
        /// The last failure.
        error: String,
    },
    /// It was to be executed (again).
    Open,
}

impl StepFate {
    /// As in `runchain_steps.state`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Done { .. } => "done",
            Self::Dead { .. } => "dead",
            Self::Open => "ready",
        }
    }
}

impl Outside {
    /// Takes one line in, in the order of (epoch, seq).
    pub fn take(&mut self, line: LogEvent) {
        self.epoch = self.epoch.max(line.epoch);
        self.lines += 1;
        let (Some(run_id), Some(generation)) = (line.run_id, line.generation) else {
            return;
        };
        if generation == 0 {
            return;
        }
        let run = self.runs.entry(run_id).or_default();
        run.generation = run.generation.max(generation);
        let fate = match EventType::from_word(&line.event) {
            Some(EventType::RunCompleted) => {
                // Also where an earlier epoch has seen an end of this number: that one is history.
                let end = OutsideEnd {
                    ended: line.at,
                    ..OutsideEnd::default()
                };
                run.ends.insert(generation, end);
                return;
            }
            Some(EventType::ChainCancelled) => {
                run.ends.entry(generation).or_default().cancelled = true;
                return;
            }
            Some(EventType::RunArchived | EventType::ReportGenerated | EventType::StepDone) => {
                StepFate::Done { result: line.data }
            }
            Some(EventType::StepDead) => StepFate::Dead {
                error: line.data["error"].as_str().unwrap_or_default().to_owned(),
            },
            Some(EventType::StepFailed | EventType::StepRetried) => StepFate::Open,
            _ => return,
        };
        let end = run.ends.entry(generation).or_default();
        // What is executed is not cancelled (any more).
        end.cancelled = false;
        if let Some(step) = line.step {
            let told = OutsideStep {
                fate,
                epoch: line.epoch,
                seq: line.seq,
            };
            end.steps.insert(step, told);
        }
    }
}
