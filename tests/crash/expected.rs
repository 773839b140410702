//! What must have come of the writers' ledger: the rows, and for each run its phase and generation.
//!
//! Written from the rules as they are documented, without runchain's code. One thing the ledger does
//! not decide: whether an executor looked while a run was deleted that was made again later. So a
//! run has a set of possible states; it has one only where no such thing happened.

use super::ledger::{Commit, Op};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Active,
    Completed,
    Failed,
    Cancelled,
    Deleted,
}

impl Phase {
    /// The vocabulary of the words that the load uses.
    fn of(status: &str) -> Option<Self> {
        match status {
            "PENDING" | "RUNNING" => Some(Self::Active),
            "COMPLETED" | "succeeded" => Some(Self::Completed),
            "FAILED" | "PARTIAL" => Some(Self::Failed),
            "cancelled" => Some(Self::Cancelled),
            _ => None,
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Deleted => "deleted",
        }
    }

    pub(crate) fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// Where a run stands; `entered` is the commit with which the phase began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    pub(crate) generation: i64,
    pub(crate) entered: i64,
}

impl State {
    /// An entry into a terminal phase is a generation; a repeat and an unknown word are nothing.
    fn observe(self, status: &str, seq: i64) -> Self {
        match Phase::of(status) {
            Some(phase) if phase != self.phase => Self {
                phase,
                generation: self.generation + i64::from(phase.is_terminal()),
                entered: seq,
            },
            _ => self,
        }
    }

    /// A run that was not there before begins as active.
    fn first_sight(generation: i64, status: &str, seq: i64) -> Self {
        let begun = Self {
            phase: Phase::Active,
            generation,
            entered: seq,
        };
        begun.observe(status, seq)
    }

    fn deleted(self, seq: i64) -> Self {
        Self {
            phase: Phase::Deleted,
            entered: seq,
            ..self
        }
    }
}

/// What the capture sees of a statement.
enum Seen {
    Status {
        id: String,
        status: String,
    },
    Delete {
        id: String,
    },
    Rename {
        from: String,
        to: String,
        status: String,
    },
}

/// A row of `runs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) status: String,
    pub(crate) metadata: String,
}

/// A row of `events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventRow {
    pub(crate) id: i64,
    pub(crate) run_id: String,
    pub(crate) seq: i64,
}

/// A run's row as a commit left it; `None` where it was gone.
#[derive(Debug)]
pub(crate) struct Version {
    pub(crate) seq: i64,
    pub(crate) row: Option<Row>,
}

/// Everything that follows from a ledger.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    pub(crate) rows: BTreeMap<String, Row>,
    pub(crate) events: Vec<EventRow>,
    pub(crate) versions: BTreeMap<String, Vec<Version>>,
    pub(crate) states: BTreeMap<String, BTreeSet<State>>,
    /// By run: the ids that its row may have had before.
    pub(crate) before: BTreeMap<String, BTreeSet<String>>,
}

impl Expected {
    /// `commits` in their order.
    pub(crate) fn of(commits: &[Commit]) -> Self {
        let mut expected = Self::default();
        let mut seen = Vec::new();
        for commit in commits {
            for op in &commit.ops {
                let captured = expected.write(op, commit.seq);
                seen.extend(captured.into_iter().map(|one| (commit.seq, one)));
            }
            expected.note_versions(commit.seq);
        }
        for (seq, one) in &seen {
            expected.judge(one, *seq);
        }
        // A run whose row is gone was looked at after that, and one whose row is there stands.
        for (id, states) in &mut expected.states {
            let there = expected.rows.contains_key(id);
            states.retain(|state| (state.phase != Phase::Deleted) == there);
        }
        expected
    }

    /// SQLite's part: what the statement does to the rows, and what triggers it fires.
    fn write(&mut self, op: &Op, seq: i64) -> Vec<Seen> {
        let row = |status: &str, n: &i64| Row {
            status: status.to_owned(),
            metadata: format!("n{n}"),
        };
        let status_of = |id: &String, status: &str| Seen::Status {
            id: id.clone(),
            status: status.to_owned(),
        };
        let there = |id: &String| self.rows.contains_key(id);
        match op {
            Op::Insert { id, .. } if there(id) => vec![],
            Op::Replace {
                id,
                status,
                n,
                recursive: true,
            } if there(id) => {
                self.rows.insert(id.clone(), row(status, n));
                vec![Seen::Delete { id: id.clone() }, status_of(id, status)]
            }
            Op::Status { id, .. } | Op::Touch { id, .. } if !there(id) => vec![],
            Op::Insert { id, status, n }
            | Op::Replace { id, status, n, .. }
            | Op::Upsert { id, status, n }
            | Op::Status { id, status, n } => {
                self.rows.insert(id.clone(), row(status, n));
                vec![status_of(id, status)]
            }
            Op::Touch { id, n } => {
                let status = self.rows[id].status.clone();
                self.rows.insert(id.clone(), row(&status, n));
                vec![]
            }
            Op::Delete { id } => match self.rows.remove(id) {
                Some(_) => vec![Seen::Delete { id: id.clone() }],
                None => vec![],
            },
            Op::Rename { from, to } if !there(from) || there(to) => vec![],
            Op::Rename { from, to } => {
                let renamed = self.rows.remove(from).unwrap();
                let status = renamed.status.clone();
                self.rows.insert(to.clone(), renamed);
                vec![Seen::Rename {
                    from: from.clone(),
                    to: to.clone(),
                    status,
                }]
            }
            Op::Event { id, n } => {
                self.events.push(EventRow {
                    id: *n,
                    run_id: id.clone(),
                    seq,
                });
                vec![]
            }
        }
    }

    fn note_versions(&mut self, seq: i64) {
        let known: BTreeSet<String> = self.rows.keys().chain(self.versions.keys()).cloned().collect();
        for id in known {
            let row = self.rows.get(&id).cloned();
            let versions = self.versions.entry(id).or_default();
            if versions.last().is_none_or(|last| last.row != row) {
                versions.push(Version { seq, row });
            }
        }
    }

    /// Whether the run's row was gone at some time from this commit on.
    fn gone_since(&self, id: &str, seq: i64) -> bool {
        let versions = self.versions.get(id).map_or(&[][..], Vec::as_slice);
        let standing = versions.iter().rev().find(|version| version.seq <= seq);
        standing.is_none_or(|version| version.row.is_none())
            || versions
                .iter()
                .any(|version| version.seq > seq && version.row.is_none())
    }

    /// runchain's part: what the captured writes mean.
    fn judge(&mut self, seen: &Seen, seq: i64) {
        match seen {
            Seen::Status { id, status } => {
                let known = self.states.get(id).cloned().unwrap_or_default();
                let mut next: BTreeSet<State> = known
                    .iter()
                    .map(|state| after_status(*state, status, seq))
                    .collect();
                if known.is_empty() {
                    next.insert(State::first_sight(0, status, seq));
                }
                self.states.insert(id.clone(), next);
            }
            Seen::Delete { id } => {
                let looked = self.gone_since(id, seq);
                let states = self.states.entry(id.clone()).or_default();
                if looked {
                    let deleted: Vec<State> = states.iter().map(|state| state.deleted(seq)).collect();
                    states.extend(deleted);
                }
            }
            Seen::Rename { from, to, status } => self.judge_rename(from, to, status, seq),
        }
    }

    /// The phase and the generation go with the row; an id with a history of its own gets a
    /// generation that it has not had.
    fn judge_rename(&mut self, from: &str, to: &str, status: &str, seq: i64) {
        let old = self.states.get(from).cloned().unwrap_or_default();
        let replaced = self.states.get(to).cloned().unwrap_or_default();
        let mut carried = BTreeSet::new();
        for state in &old {
            let moved = |generation| {
                State {
                    generation,
                    entered: seq,
                    ..*state
                }
                .observe(status, seq)
            };
            if replaced.is_empty() {
                carried.insert(moved(state.generation));
            }
            for history in &replaced {
                carried.insert(moved(state.generation.max(history.generation) + 1));
            }
        }
        self.states.insert(to.to_owned(), carried);
        self.states.insert(
            from.to_owned(),
            old.iter().map(|state| state.deleted(seq)).collect(),
        );
        let mut before = self.before.get(from).cloned().unwrap_or_default();
        before.insert(from.to_owned());
        self.before.entry(to.to_owned()).or_default().append(&mut before);
    }
}

fn after_status(state: State, status: &str, seq: i64) -> State {
    match state.phase {
        Phase::Deleted => State::first_sight(state.generation, status, seq),
        _ => state.observe(status, seq),
    }
}
