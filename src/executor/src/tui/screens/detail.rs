//! The row that the cursor is on in full, below its list: on a small terminal a table cuts off just what
//! went wrong.

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

/// The list above, so many rows about the row that the cursor is on below.
pub(super) fn beside(area: Rect, rows: u16) -> [Rect; 2] {
    let rows = if area.height < LEAST {
        0
    } else {
        rows.min(area.height / 2)
    };
    Layout::vertical([Constraint::Min(0), Constraint::Length(rows)]).areas(area)
}

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, view: View<'_>, detail: &Detail<'_>) {
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
