//! Alerts: those that fire, then the others; the one under the cursor in full.

use super::table::{self, Cell, Column};
use super::{View, cell, list_title, text, under_title, with_detail};
use crate::tui::model::{Alert, Snapshot};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

/// Rows of the alert in full.
const DETAIL: u16 = 7;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, view: View<'_>, snapshot: &Snapshot) {
    let theme = view.theme;
    let [title, rest] = under_title(area);
    frame.render_widget(list_title(view, "alerts", snapshot.alerts.len()), title);
    if snapshot.alerts.is_empty() {
        frame.render_widget(Line::styled("  no alert", theme.quiet()), rest);
        return;
    }
    let [list, detail] = with_detail(rest, DETAIL);
    let columns = [
        Column("STATE", 12),
        Column("SEVERITY", 8),
        Column("RULE", 20),
        Column("LAST", 8),
        Column("TIMES", 6),
        Column("SUBJECT", 0),
    ];
    let rows: Vec<Vec<Cell>> = snapshot.alerts.iter().map(|alert| row(alert, view)).collect();
    let cursor = view.app.cursor(snapshot);
    table::draw(frame, list, theme, &columns, &rows, Some(cursor));
    if let Some(alert) = snapshot.alerts.get(cursor) {
        frame.render_widget(Paragraph::new(in_full(alert, view, area.width)), detail);
    }
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

fn in_full(alert: &Alert, view: View<'_>, width: u16) -> Vec<Line<'static>> {
    let theme = view.theme;
    let rule = theme.signs().rule.repeat(usize::from(width));
    let mut lines = vec![Line::styled(rule, theme.quiet())];
    let run = alert
        .run_id
        .as_ref()
        .map_or_else(String::new, |run| format!(", run {}", text::shown(run.as_str())));
    lines.push(Line::styled(
        format!(
            " {} {}{run}",
            text::shown(&alert.rule),
            text::shown(&alert.subject)
        ),
        theme.heading(),
    ));
    lines.push(Line::styled(
        format!(
            " first {} ago, last {} ago",
            text::age(alert.first, view.now),
            text::age(alert.last, view.now)
        ),
        theme.quiet(),
    ));
    let message = text::wrapped(&text::shown(&alert.message), usize::from(width).saturating_sub(2));
    lines.extend(message.into_iter().map(|line| Line::raw(format!(" {line}"))));
    lines
}
