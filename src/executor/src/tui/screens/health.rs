//! Every check of `monitor_checks()`; the one under the cursor in full, with what mends it.

use super::table::{self, Cell, Column};
use super::{View, cell, detail, text, under_title};
use crate::tui::model::Snapshot;
use crate::tui::theme::Theme;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use runchain_core::validate::{Finding, Severity};

/// Rows of the finding in full.
pub(super) const DETAIL_ROWS: u16 = 9;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, view: View<'_>, snapshot: &Snapshot) {
    let theme = view.theme;
    let [title, rest] = under_title(area);
    let Some(findings) = &snapshot.health else {
        frame.render_widget(Line::styled(" health", theme.heading()), title);
        frame.render_widget(Line::raw("  r makes every check now; nothing is written"), rest);
        return;
    };
    let count = |severity| findings.iter().filter(|one| one.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let style = |severity, count: usize| {
        if count == 0 {
            theme.good()
        } else {
            look(theme, severity)
        }
    };
    let line = Line::from(vec![
        Span::styled(
            format!(" health {} {} checks   ", theme.signs().between, findings.len()),
            theme.heading(),
        ),
        Span::styled(text::counted(errors, "error"), style(Severity::Error, errors)),
        Span::styled(
            format!("   {}", text::counted(warnings, "warning")),
            style(Severity::Warning, warnings),
        ),
    ]);
    frame.render_widget(line, title);
    let [list, below] = detail::beside(rest, DETAIL_ROWS);
    let columns = [
        Column("", 1),
        Column("SEVERITY", 8),
        Column("CHECK", 20),
        Column("FOUND", 0),
    ];
    let rows: Vec<Vec<Cell>> = findings.iter().map(|finding| row(finding, theme)).collect();
    let cursor = view.app.cursor(snapshot);
    table::draw(frame, list, theme, &columns, &rows, Some(cursor));
    if let Some(finding) = findings.get(cursor) {
        frame.render_widget(Paragraph::new(in_full(finding, theme, area.width)), below);
    }
}

fn look(theme: Theme, severity: Severity) -> Style {
    match severity {
        Severity::Ok => theme.good(),
        Severity::Warning => theme.warn(),
        Severity::Error => theme.bad(),
    }
}

fn row(finding: &Finding, theme: Theme) -> Vec<Cell> {
    let signs = theme.signs();
    let sign = match finding.severity {
        Severity::Ok => signs.done,
        Severity::Warning => signs.again,
        Severity::Error => signs.dead,
    };
    let style = look(theme, finding.severity);
    vec![
        cell(sign, style),
        cell(finding.severity.as_str(), style),
        cell(finding.check, theme.heading()),
        cell(&finding.found, Style::new()),
    ]
}

fn in_full(finding: &Finding, theme: Theme, width: u16) -> Vec<Line<'static>> {
    let rule = theme.signs().rule.repeat(usize::from(width));
    let mut lines = vec![Line::styled(rule, theme.quiet())];
    let parts = [
        ("found", Some(&finding.found), Style::new()),
        ("means", Some(&finding.meaning), Style::new()),
        ("mend it", finding.remedy.as_ref(), theme.heading()),
    ];
    for (label, text, style) in parts {
        let mut label = label;
        let Some(text) = text else { continue };
        for part in text::wrapped(&text::shown(text), usize::from(width).saturating_sub(11)) {
            lines.push(Line::from(vec![
                Span::styled(format!(" {label:<9}"), theme.quiet()),
                Span::styled(part, style),
            ]));
            label = "";
        }
    }
    lines
}
