//! What happens: the newest at the end, followed until somebody goes up or holds them.

use super::detail::{Detail, List};
use super::table::{Cell, Column};
use super::{View, cell, list_title, text, under_title};
use crate::tui::model::{Event, Snapshot};
use crate::tui::theme::Theme;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Span;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, view: View<'_>, snapshot: &Snapshot) {
    let theme = view.theme;
    let events = view.app.events(snapshot);
    let [title, rest] = under_title(area);
    let mut line = list_title(view, "events (UTC)", events.len());
    line.push_span(if view.app.held.is_some() {
        Span::styled("   HELD: f follows again", theme.warn())
    } else {
        Span::styled("   following", theme.good())
    });
    frame.render_widget(line, title);
    let columns = [
        Column("AT", 8),
        Column("TYPE", 28),
        Column("RUN", if area.width < 100 { 16 } else { 40 }),
        Column("", 0),
    ];
    let list = List {
        items: events,
        empty: "  no event",
        columns: &columns,
        row: &|event| row(event, theme),
        in_full: &|event| in_full(event, theme),
    };
    list.draw(frame, rest, view, view.app.cursor(snapshot));
}

fn in_full(event: &Event, theme: Theme) -> Detail<'_> {
    let at = event.at.map_or_else(
        || "at an unknown time".to_owned(),
        |at| format!("{} UTC", at.iso().replace('T', " ").trim_end_matches("+00:00")),
    );
    let run = event.run_id.as_deref();
    Detail {
        heading: event.kind.clone(),
        about: run.map_or_else(|| at.clone(), |run| format!("{at}, run {run}")),
        text: &event.text,
        style: if event.is_bad() { theme.bad() } else { Style::new() },
    }
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
