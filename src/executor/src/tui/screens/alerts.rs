//! Alerts: those that fire, then the others; the one under the cursor in full.

use super::detail::{Detail, List};
use super::table::{Cell, Column};
use super::{View, cell, list_title, text, under_title};
use crate::tui::model::{Alert, Snapshot};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, view: View<'_>, snapshot: &Snapshot) {
    let [title, rest] = under_title(area);
    frame.render_widget(list_title(view, "alerts", snapshot.alerts.len()), title);
    let columns = [
        Column("STATE", 12),
        Column("SEVERITY", 8),
        Column("RULE", 20),
        Column("LAST", 8),
        Column("TIMES", 6),
        Column("SUBJECT", 0),
    ];
    let list = List {
        items: &snapshot.alerts,
        empty: "  no alert",
        columns: &columns,
        row: &|alert| row(alert, view),
        in_full: &|alert| in_full(alert, view),
    };
    list.draw(frame, rest, view, view.app.cursor(snapshot));
}

fn row(alert: &Alert, view: View<'_>) -> Vec<Cell> {
    let theme = view.theme;
    let style = match alert.state.as_str() {
        "firing" => theme.bad(),
        "acknowledged" => theme.warn(),
        _ => theme.quiet(),
    };
    vec![
        cell(&alert.state, style),
        cell(&alert.severity, Style::new()),
        cell(&alert.rule, theme.heading()),
        cell(text::age(alert.last, view.now), Style::new()),
        cell(alert.count.to_string(), Style::new()),
        cell(&alert.subject, Style::new()),
    ]
}

fn in_full<'a>(alert: &'a Alert, view: View<'_>) -> Detail<'a> {
    let run = alert
        .run_id
        .as_ref()
        .filter(|run| run.as_str() != alert.subject)
        .map_or_else(String::new, |run| format!(", run {run}"));
    Detail {
        heading: format!("{} {}{run}", alert.rule, alert.subject),
        about: format!(
            "first {} ago, last {} ago",
            text::age(alert.first, view.now),
            text::age(alert.last, view.now)
        ),
        text: &alert.message,
        style: Style::new(),
    }
}
