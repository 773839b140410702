//! How far it is, on a terminal: a line on standard error that is written over.

use crate::output::Output;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

const CELLS: i64 = 30;
/// Between two lines.
const EVERY: Duration = Duration::from_millis(100);

/// A bar, or nothing where nobody would see it.
#[derive(Debug)]
pub(super) struct Progress {
    all: i64,
    done: i64,
    shown: bool,
    next: Option<Instant>,
}

impl Progress {
    pub(super) fn start(all: i64, output: &Output) -> Self {
        let is_seen = all > 1 && !output.quiet && std::io::stderr().is_terminal();
        Self {
            all,
            done: 0,
            shown: false,
            next: is_seen.then(Instant::now),
        }
    }

    /// One more is done.
    pub(super) fn step(&mut self) {
        self.done += 1;
        let Some(next) = self.next.filter(|next| Instant::now() >= *next) else {
            return;
        };
        self.next = Some(next.max(Instant::now()) + EVERY);
        self.shown = true;
        // A bar that can't be shown keeps nothing from being checked.
        let _ = write!(std::io::stderr(), "\r{}", bar(self.done, self.all));
    }

    /// Takes the line away, for others to be printed.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(std::io::stderr(), "\r\u{1b}[K");
        }
    }
}

/// `[#######                       ]  12 of 50 bags`
fn bar(done: i64, all: i64) -> String {
    let filled = (done.min(all) * CELLS / all.max(1)).unsigned_abs() as usize;
    let width = all.to_string().len();
    let cells = CELLS.unsigned_abs() as usize;
    format!("[{:cells$}]  {done:width$} of {all} bags", "#".repeat(filled))
}

#[cfg(test)]
mod tests {
    use super::bar;

    #[test]
    fn the_bar_is_as_full_as_what_is_done() {
        assert_eq!(bar(0, 200), format!("[{:30}]    0 of 200 bags", ""));
        assert_eq!(bar(100, 200), format!("[{:30}]  100 of 200 bags", "#".repeat(15)));
        assert_eq!(bar(200, 200), format!("[{}]  200 of 200 bags", "#".repeat(30)));
    }
}
