//! Rows below a header, as wide as what stands in them; the last column takes what is left.

use super::text;
use crate::tui::theme::Theme;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// Columns between two columns.
const GAP: usize = 2;

/// A cell: text that was made harmless, and its look.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) style: Style,
}

/// A column: its title, and how wide it may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column(pub(super) &'static str, pub(super) usize);

/// Draws as many rows as there is room for, the one with the cursor among them.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    theme: Theme,
    columns: &[Column],
    rows: &[Vec<Cell>],
    cursor: Option<usize>,
) {
    if area.height == 0 {
        return;
    }
    let widths = widths(columns, rows, usize::from(area.width).saturating_sub(1));
    let header = columns.iter().zip(&widths).map(|(column, width)| {
        let title = text::cut(column.0, *width, "");
        Span::styled(padded(&title, *width), theme.quiet())
    });
    let header = Line::from(std::iter::once(Span::raw(" ")).chain(header).collect::<Vec<_>>());
    frame.render_widget(header, Rect { height: 1, ..area });
    let room = usize::from(area.height - 1);
    let first = cursor.map_or(0, |cursor| (cursor + 1).saturating_sub(room));
    for (place, (index, row)) in (1..).zip(rows.iter().enumerate().skip(first).take(room)) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| {
            let room = width.saturating_sub(GAP);
            let last = *width == *widths.last().unwrap_or(&0);
            let shown = text::cut(&cell.text, if last { *width } else { room }, theme.signs().cut);
            Span::styled(padded(&shown, *width), cell.style)
        });
        let mut line = Line::from(std::iter::once(Span::raw(" ")).chain(cells).collect::<Vec<_>>());
        if cursor == Some(index) {
            // One look for the whole row: each colour reversed would be a row of boxes.
            for span in &mut line.spans {
                span.style = theme.cursor();
            }
        }
        let place = Rect {
            y: area.y + place,
            height: 1,
            ..area
        };
        frame.render_widget(line, place);
    }
}

fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text::width(text))))
}

/// Of each column with the gap behind it.
fn widths(columns: &[Column], rows: &[Vec<Cell>], room: usize) -> Vec<usize> {
    let mut left = room;
    let mut widths = Vec::new();
    for (index, Column(title, most)) in columns.iter().enumerate() {
        if index + 1 == columns.len() {
            widths.push(left);
            break;
        }
        let content = rows
            .iter()
            .filter_map(|row| row.get(index))
            .map(|cell| text::width(&cell.text));
        let wanted = content.max().unwrap_or(0).max(title.len()).min(*most) + GAP;
        let width = wanted.min(left);
        widths.push(width);
        left -= width;
    }
    widths
}
