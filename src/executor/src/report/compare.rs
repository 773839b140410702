//! How a run compares with those that ended before it: how long they took, how many failed.
//!
//! Their times are runchain's: from when a run was first seen until its end was written. Which runs they
//! are is not told: a page must not name a run that somebody may ask to forget.

use super::timeline::Colour;
use runchain_core::error::{During, Result};
use runchain_core::{Millis, RunId};
use rusqlite::Connection;

/// So many runs are compared with.
const EARLIER: usize = 20;

/// One run that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Other {
    pub(super) run_id: RunId,
    pub(super) phase: String,
    pub(super) ended: Millis,
    pub(super) took_ms: i64,
}

/// A run among its neighbours, the oldest first and the run itself last.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    runs: Vec<Other>,
}

/// A column of the drawing.
#[derive(Debug)]
pub(super) struct Column<'a> {
    pub(super) run: &'a Other,
    pub(super) colour: Colour,
    /// From the left, in tenths of a column's width.
    pub(super) x: usize,
    /// In hundredths of the highest.
    pub(super) height: i64,
    pub(super) is_this: bool,
}

impl Comparison {
    /// Of a run with the latest that ended before it.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub(super) fn of(conn: &Connection, run_id: &RunId, ended: Millis) -> Result<Self> {
        let mut runs = Vec::new();
        for phase in ["completed", "failed", "cancelled"] {
            let mut statement = conn
                .prepare_cached(
                    "SELECT run_id, phase_since_ms, phase_since_ms - first_seen_ms FROM runchain_runs
                     WHERE phase = ?1 AND phase_since_ms <= ?2 AND run_id <> ?3
                     ORDER BY phase_since_ms DESC LIMIT ?4",
                )
                .during("look at earlier runs")?;
            let rows = statement
                .query_map((phase, ended, run_id, EARLIER as i64), |row| {
                    Ok(Other {
                        run_id: row.get(0)?,
                        phase: phase.to_owned(),
                        ended: row.get(1)?,
                        took_ms: row.get::<_, i64>(2)?.max(0),
                    })
                })
                .during("look at earlier runs")?;
            runs.extend(
                rows.collect::<rusqlite::Result<Vec<_>>>()
                    .during("look at earlier runs")?,
            );
        }
        runs.sort_by(|one, other| (other.ended, &other.run_id.0).cmp(&(one.ended, &one.run_id.0)));
        runs.truncate(EARLIER);
        runs.reverse();
        let itself = conn
            .prepare_cached(
                "SELECT phase, max(phase_since_ms - first_seen_ms, 0) FROM runchain_runs WHERE run_id = ?1",
            )
            .and_then(|mut statement| {
                statement.query_row([run_id], |row| {
                    Ok(Other {
                        run_id: run_id.clone(),
                        phase: row.get(0)?,
                        ended,
                        took_ms: row.get(1)?,
                    })
                })
            });
        runs.extend(itself);
        Ok(Self { runs })
    }

    /// Those before it.
    fn earlier(&self) -> &[Other] {
        self.runs.split_last().map_or(&[], |(_, earlier)| earlier)
    }

    /// In words; `None` when there is nothing to compare with.
    pub(super) fn words(&self) -> Option<String> {
        let (this, earlier) = self.runs.split_last()?;
        let mut took: Vec<i64> = earlier.iter().map(|run| run.took_ms).collect();
        took.sort_unstable();
        let median = *took.get(took.len() / 2)?;
        let failed = earlier.iter().filter(|run| run.phase == "failed").count();
        let pace = match this.took_ms * 100 / median.max(1) {
            0..=90 => format!("{} % less time than", 100 - this.took_ms * 100 / median.max(1)),
            91..=110 => "about as much time as".to_owned(),
            111..=300 => format!("{} % more time than", this.took_ms * 100 / median.max(1) - 100),
            percent => format!("{} times the time of", percent / 100),
        };
        let runs = if earlier.len() == 1 { "run" } else { "runs" };
        Some(format!(
            "It took {pace} the median of the {} {runs} before it ({}); {failed} of them failed.",
            earlier.len(),
            crate::output::duration(median),
        ))
    }

    /// The columns of the drawing.
    pub(super) fn columns(&self) -> Vec<Column<'_>> {
        let highest = self.runs.iter().map(|run| run.took_ms).max().unwrap_or(0).max(1);
        let column = |(index, run)| {
            let run: &Other = run;
            Column {
                run,
                colour: Colour::of(Some(&run.phase)),
                // The newest stand on the right, however few there are.
                x: (EARLIER + 1 - self.runs.len() + index) * 10,
                height: (run.took_ms * 100 / highest).max(3),
                is_this: index + 1 == self.runs.len(),
            }
        };
        self.runs.iter().enumerate().map(column).collect()
    }

    /// Whether there is anything to compare with.
    pub(super) fn is_empty(&self) -> bool {
        self.earlier().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, phase: &str, took_ms: i64) -> Other {
        Other {
            run_id: RunId(name.to_owned()),
            phase: phase.to_owned(),
            ended: Millis(0),
            took_ms,
        }
    }

    #[test]
    fn a_run_is_compared_with_the_median_of_those_before_it() {
        let before = [
            run("a", "completed", 50_000),
            run("b", "failed", 60_000),
            run("c", "completed", 70_000),
        ];
        for (took_ms, words) in [
            (30_000, "50 % less time than"),
            (62_000, "about as much time as"),
            (90_000, "50 % more time than"),
            (600_000, "10 times the time of"),
        ] {
            let mut runs = before.to_vec();
            runs.push(run("d", "completed", took_ms));
            assert_eq!(
                Comparison { runs }.words().unwrap(),
                format!("It took {words} the median of the 3 runs before it (1 min); 1 of them failed.")
            );
        }
    }

    #[test]
    fn the_first_run_is_compared_with_nothing() {
        let runs = vec![run("a", "completed", 1)];
        let comparison = Comparison { runs };
        assert!(comparison.is_empty());
        assert_eq!(comparison.words(), None);
    }
}
