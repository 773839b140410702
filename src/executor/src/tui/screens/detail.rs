//! A list, and below it the row that the cursor is on in full: on a small terminal a table cuts off just what
//! went wrong.

use super::table::{self, Cell, Column};
use super::{View, text};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

/// Rows of it: a rule, what it is, more about it, and what it says.
pub(super) const ROWS: u16 = 6;
/// A list that is lower than this needs its rows itself.
const LEAST: u16 = 8;

/// What is told of a row.
#[derive(Debug)]
pub(super) struct Detail<'a> {
    /// What it is.
    pub(super) heading: String,
    /// More about it.
    pub(super) about: String,
    /// What it says.
    pub(super) text: &'a str,
    /// How that looks.
    pub(super) style: Style,
}

/// A list whose rows can be told in full.
pub(super) struct List<'a, T> {
    /// What is listed.
    pub(super) items: &'a [T],
    /// What stands there where nothing is.
    pub(super) empty: &'a str,
    /// The columns of [`List::row`].
    pub(super) columns: &'a [Column],
    /// One of them as a row.
    pub(super) row: &'a dyn Fn(&T) -> Vec<Cell>,
    /// One of them in full.
    pub(super) in_full: &'a dyn Fn(&'a T) -> Detail<'a>,
}

impl<T> List<'_, T> {
    /// Draws it with the cursor on one of its rows.
    pub(super) fn draw(&self, frame: &mut Frame<'_>, area: Rect, view: View<'_>, cursor: usize) {
        if self.items.is_empty() {
            frame.render_widget(Line::styled(self.empty, view.theme.quiet()), area);
            return;
        }
        let [above, below] = beside(area, ROWS);
        let rows: Vec<Vec<Cell>> = self.items.iter().map(self.row).collect();
        table::draw(frame, above, view.theme, self.columns, &rows, Some(cursor));
        if let Some(item) = self.items.get(cursor) {
            draw(frame, below, view, &(self.in_full)(item));
        }
    }
}

/// The list above, so many rows about the row that the cursor is on below.
pub(super) fn beside(area: Rect, rows: u16) -> [Rect; 2] {
    let rows = if area.height < LEAST {
        0
    } else {
        rows.min(area.height / 2)
    };
    Layout::vertical([Constraint::Min(0), Constraint::Length(rows)]).areas(area)
}

fn draw(frame: &mut Frame<'_>, area: Rect, view: View<'_>, detail: &Detail<'_>) {
    let theme = view.theme;
    let width = usize::from(area.width);
    let room = width.saturating_sub(2);
    let mut lines = vec![
        Line::styled(theme.signs().rule.repeat(width), theme.quiet()),
        Line::styled(format!(" {}", text::shown(&detail.heading)), theme.heading()),
        Line::styled(format!(" {}", text::shown(&detail.about)), theme.quiet()),
    ];
    let told = text::told(detail.text, room, theme.signs().cut);
    lines.extend(
        told.into_iter()
            .map(|line| Line::styled(format!(" {line}"), detail.style)),
    );
    frame.render_widget(Paragraph::new(lines), area);
}
