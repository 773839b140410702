//! Where the cursor of each list is, and how it moves.

use super::{App, Effect};
use crate::tui::Screen;
use crate::tui::model::Snapshot;
use runchain_core::RunId;

/// Where the cursor of a list is: on the first row until somebody moves it, then on its row, wherever
/// that goes.
#[derive(Debug, Clone, Default)]
pub(super) struct Cursor {
    index: usize,
    key: Option<String>,
}

impl App {
    /// The row that the cursor is on.
    pub(crate) fn cursor(&self, snapshot: &Snapshot) -> usize {
        let rows = self.rows(snapshot);
        if self.screen == Screen::Events && self.held.is_none() {
            return rows.len().saturating_sub(1);
        }
        let Some(cursor) = self.cursors.get(&self.screen) else {
            return 0;
        };
        let found = cursor
            .key
            .as_ref()
            .and_then(|key| rows.iter().position(|row| row == key));
        found.unwrap_or(cursor.index.min(rows.len().saturating_sub(1)))
    }

    /// What the rows of the screen are known by.
    fn rows(&self, snapshot: &Snapshot) -> Vec<String> {
        match self.screen {
            Screen::Dashboard => self
                .runs(snapshot)
                .iter()
                .map(|line| line.run_id.to_string())
                .collect(),
            Screen::Queue => snapshot.queue.iter().map(|step| step.id.to_string()).collect(),
            Screen::Events => self
                .events(snapshot)
                .iter()
                .map(|event| format!("{:?} {}", event.origin, event.id))
                .collect(),
            Screen::Alerts => snapshot.alerts.iter().map(|alert| alert.id.to_string()).collect(),
            Screen::Health => snapshot
                .health
                .iter()
                .flatten()
                .map(|finding| finding.check.to_owned())
                .collect(),
            Screen::Run => Vec::new(),
        }
    }

    /// The run that the cursor is on.
    pub(super) fn run_at_cursor(&self, snapshot: &Snapshot) -> Option<RunId> {
        let row = self.cursor(snapshot);
        match self.screen {
            Screen::Dashboard => self.runs(snapshot).get(row).map(|line| line.run_id.clone()),
            Screen::Queue => snapshot.queue.get(row).map(|step| step.run_id.clone()),
            Screen::Events => self.events(snapshot).get(row)?.run_id.clone().map(RunId),
            Screen::Alerts => snapshot.alerts.get(row)?.run_id.clone(),
            Screen::Run => Some(snapshot.run.as_ref()?.line.run_id.clone()),
            Screen::Health => None,
        }
    }

    pub(super) fn hold(&mut self, snapshot: &Snapshot) {
        if self.held.take().is_none() {
            self.hold_at(snapshot, snapshot.events.len().saturating_sub(1));
        }
    }

    fn hold_at(&mut self, snapshot: &Snapshot, row: usize) {
        let events = self.held.take().unwrap_or_else(|| snapshot.events.clone());
        self.held = Some(events);
        self.put_cursor(row, snapshot);
    }

    pub(super) fn move_by(&mut self, by: i32, snapshot: &Snapshot) -> Option<Effect> {
        if self.screen == Screen::Run {
            self.scroll = moved(self.scroll, by, usize::MAX);
            return None;
        }
        let last = self.rows(snapshot).len().saturating_sub(1);
        let row = moved(self.cursor(snapshot), by, last);
        if self.screen == Screen::Events {
            // Whoever goes up wants to read; whoever goes to the end wants the news.
            if row == last && by > 0 {
                self.held = None;
            } else {
                self.hold_at(snapshot, row);
            }
        } else {
            self.put_cursor(row, snapshot);
        }
        (self.is_wide && self.screen == Screen::Dashboard).then_some(Effect::Look)
    }

    fn put_cursor(&mut self, row: usize, snapshot: &Snapshot) {
        let key = self.rows(snapshot).get(row).cloned();
        let cursor = Cursor {
            index: row,
            // The first row is whatever needs somebody most.
            key: key.filter(|_| row > 0),
        };
        self.cursors.insert(self.screen, cursor);
    }
}

fn moved(from: usize, by: i32, last: usize) -> usize {
    let step = by.unsigned_abs() as usize;
    if by < 0 {
        from.saturating_sub(step)
    } else {
        from.saturating_add(step).min(last)
    }
}
