//! The timeline of a run: its steps and tasks as bars, each from when to when.
//!
//! Invariant: at most [`MOST_BARS`] bars are kept, failed ones rather than others, and how many were left
//! out is told. What does not belong here: drawing them.

use super::cells::Cells;
use super::count::Words;
use super::times::Moment;
use crate::archive::refer::Source;
use crate::archive::rows::{Reader, Values, read};
use crate::redact::Redactor;
use runchain_core::error::Result;
use runchain_core::{Millis, RunId};
use rusqlite::Connection;

/// More bars than this nobody looks at, and a page must open on a telephone.
const MOST_BARS: usize = 200;
/// Width of the drawing, in its own units.
const WIDTH: i64 = 1_000;
/// The narrowest bar that can still be seen.
const NARROWEST: i64 = 4;

// Where tables of the field keep what a bar needs; the first that has a value counts.
const NAME: &[&str] = &["step_name", "tool_id", "task_type", "name", "title", "task_name"];
const ID: &[&str] = &["step_id", "step_attempt_id", "task_id", "id"];
const STATUS: &[&str] = &["status", "state"];
const BEGAN: &[&str] = &["started_at", "created_at"];
const ENDED: &[&str] = &["ended_at", "completed_at", "finished_at"];

/// What a status word means, as a colour: the class of the bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Colour(pub(super) &'static str);

impl Colour {
    /// Of a phase of the vocabulary; a word that is not in it has a colour of its own.
    pub(super) fn of(phase: Option<&str>) -> Self {
        Self(match phase {
            Some("completed") => "good",
            Some("failed") => "bad",
            Some("cancelled") => "off",
            Some("active") => "busy",
            _ => "odd",
        })
    }
}

/// One step or task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bar {
    /// Its name, and its id where it has no name.
    pub(super) name: String,
    /// The table that it stands in.
    pub(super) table: String,
    /// Its status word.
    pub(super) status: String,
    pub(super) colour: Colour,
    pub(super) began: Millis,
    /// `None` when it never said that it ended.
    pub(super) ended: Option<Millis>,
}

/// All bars, in the order of their beginning.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    bars: Vec<Bar>,
    /// When the run itself ended: what never said that it ended was over by then.
    run_ended: Option<Millis>,
    /// Steps and tasks that are not drawn.
    pub(super) left_out: u64,
}

/// A bar in its place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Drawn<'a> {
    pub(super) bar: &'a Bar,
    /// From the left, in thousandths of the whole.
    pub(super) x: i64,
    /// In thousandths of the whole.
    pub(super) width: i64,
    pub(super) lasted_ms: Option<i64>,
}

impl Timeline {
    /// Without bars, of a run that ended at this time.
    pub(super) fn of_run(ended: Millis) -> Self {
        Self {
            run_ended: Some(ended),
            ..Self::default()
        }
    }

    /// Adds the rows of one table; one without times adds nothing.
    pub(super) fn add(
        &mut self,
        conn: &Connection,
        source: &Source,
        run_id: &RunId,
        words: &Words,
        redactor: &Redactor,
    ) -> Result<()> {
        let names = [NAME, ID, STATUS, BEGAN, ENDED].concat();
        let Some(narrow) = source.only(&names).filter(|narrow| has_any(narrow, BEGAN)) else {
            return Ok(());
        };
        let mut bars = Bars {
            timeline: self,
            cells: Cells::new(&narrow, redactor),
            words,
        };
        read(conn, &narrow, run_id, &mut bars)?;
        self.bars.sort_by_key(|bar| bar.began);
        Ok(())
    }

    fn keep(&mut self, bar: Bar) {
        if self.bars.len() < MOST_BARS {
            self.bars.push(bar);
            return;
        }
        self.left_out += 1;
        if bar.colour == Colour::of(Some("failed"))
            && let Some(other) = self
                .bars
                .iter_mut()
                .rev()
                .find(|other| other.colour != bar.colour)
        {
            *other = bar;
        }
    }

    /// When the first began and the last ended.
    pub(super) fn span(&self) -> Option<(Millis, Millis)> {
        let from = self.bars.iter().map(|bar| bar.began).min()?;
        let ends = self.bars.iter().filter_map(|bar| bar.ended.or(self.run_ended));
        Some((from, ends.max().unwrap_or(from).max(from)))
    }

    /// The bars in their places. One that never ended reaches to the right edge.
    pub(super) fn drawn(&self) -> Vec<Drawn<'_>> {
        let Some((from, until)) = self.span() else {
            return Vec::new();
        };
        let whole = until.since(from).max(1);
        let place = |at: Millis| (i128::from(at.since(from)) * i128::from(WIDTH) / i128::from(whole)) as i64;
        self.bars
            .iter()
            .map(|bar| {
                let x = place(bar.began).clamp(0, WIDTH - NARROWEST);
                let right = bar.ended.map_or(WIDTH, place).min(WIDTH);
                Drawn {
                    bar,
                    x,
                    width: (right - x).max(NARROWEST),
                    lasted_ms: bar.ended.map(|ended| ended.since(bar.began)),
                }
            })
            .collect()
    }
}

fn has_any(source: &Source, names: &[&str]) -> bool {
    source.only(names).is_some()
}

struct Bars<'a> {
    timeline: &'a mut Timeline,
    cells: Cells<'a>,
    words: &'a Words,
}

impl Reader for Bars<'_> {
    fn row(&mut self, values: Values<'_>) -> rusqlite::Result<usize> {
        let told = |names| self.cells.told(values, names);
        let at = |names| Moment::read(&told(names)?).at();
        let Some(began) = at(BEGAN) else {
            return Ok(0);
        };
        let status = told(STATUS).unwrap_or_default();
        let bar = Bar {
            name: told(NAME).or_else(|| told(ID)).unwrap_or_default(),
            table: self.cells.table().to_owned(),
            colour: Colour::of(self.words.phase(&status)),
            status,
            began,
            ended: at(ENDED),
        };
        self.timeline.keep(bar);
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(name: &str, phase: &str, began: i64, ended: Option<i64>) -> Bar {
        Bar {
            name: name.to_owned(),
            table: "tasks".to_owned(),
            status: phase.to_owned(),
            colour: Colour::of(Some(phase)),
            began: Millis(began),
            ended: ended.map(Millis),
        }
    }

    #[test]
    fn bars_stand_where_their_times_say() {
        let mut timeline = Timeline::default();
        for bar in [
            bar("first", "completed", 1_000, Some(2_000)),
            bar("an instant", "completed", 2_000, Some(2_000)),
            bar("never ended", "active", 2_500, None),
            bar("last", "failed", 2_000, Some(3_000)),
        ] {
            timeline.keep(bar);
        }
        let places: Vec<_> = timeline
            .drawn()
            .iter()
            .map(|drawn| (drawn.x, drawn.width))
            .collect();
        assert_eq!(places, [(0, 500), (500, 4), (750, 250), (500, 500)]);
    }

    #[test]
    fn what_never_ended_lasted_until_the_run_ended_at_most() {
        let mut timeline = Timeline::of_run(Millis(5_000));
        timeline.keep(bar("first", "completed", 1_000, Some(2_000)));
        assert_eq!(timeline.span(), Some((Millis(1_000), Millis(2_000))));
        timeline.keep(bar("was running when its worker died", "active", 2_000, None));
        assert_eq!(timeline.span(), Some((Millis(1_000), Millis(5_000))));
        let widths: Vec<_> = timeline.drawn().iter().map(|drawn| drawn.width).collect();
        assert_eq!(widths, [250, 750]);
    }

    #[test]
    fn of_too_many_the_failed_ones_are_kept() {
        let mut timeline = Timeline::default();
        for number in 0..1_000 {
            let phase = if number % 100 == 99 { "failed" } else { "completed" };
            timeline.keep(bar("task", phase, number, Some(number + 1)));
        }
        assert_eq!(timeline.bars.len(), MOST_BARS);
        assert_eq!(timeline.left_out, 800);
        let failed = timeline.bars.iter().filter(|bar| bar.colour.0 == "bad").count();
        assert_eq!(failed, 10);
    }
}
