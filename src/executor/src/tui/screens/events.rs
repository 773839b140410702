//! What happens: the newest at the end, followed until somebody goes up or holds them.

use super::table::{self, Cell, Column};
use super::{View, cell, list_title, text, under_title};
use crate::tui::model::{Event, Snapshot};
use crate::tui::theme::Theme;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, view: View<'_>, snapshot: &Snapshot) {
    let theme = view.theme;
    let events = view.app.events(snapshot);
    let [title, list] = under_title(area);
    let mut line = list_title(view, "events (UTC)", events.len());
    line.push_span(if view.app.held.is_some() {
        Span::styled("   HELD: f follows again", theme.warn())
    } else {
        Span::styled("   following", theme.good())
    });
    frame.render_widget(line, title);
    if events.is_empty() {
        frame.render_widget(Line::styled("  no event", theme.quiet()), list);
        return;
    }
    let columns = [
        Column("AT", 8),
        Column("TYPE", 28),
        Column("RUN", if area.width < 100 { 16 } else { 40 }),
        Column("", 0),
    ];
    let rows: Vec<Vec<Cell>> = events.iter().map(|event| row(event, theme)).collect();
    table::draw(
        frame,
        list,
        theme,
        &columns,
        &rows,
        Some(view.app.cursor(snapshot)),
    );
}

fn row(event: &Event, theme: Theme) -> Vec<Cell> {
    let style = if event.is_bad() { theme.bad() } else { Style::new() };
    vec![
        cell(event.at.map(text::clock).unwrap_or_default(), theme.quiet()),
        cell(&event.kind, style),
        cell(event.run_id.as_deref().unwrap_or(""), theme.heading()),
        cell(&event.text, theme.quiet()),
    ]
}
