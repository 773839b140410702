//! Steps that have not ended, those that need somebody first.

use super::detail::{Detail, List};
use super::table::{Cell, Column};
use super::{View, cell, footer, list_title, text, under_title};
use crate::tui::model::{QueuedStep, Snapshot};
use crate::tui::theme::Theme;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, view: View<'_>, snapshot: &Snapshot) {
    let theme = view.theme;
    let [title, rest] = under_title(area);
    let mut line = list_title(view, "steps that have not ended", snapshot.queue.len());
    if !view.app.marks.is_empty() {
        line.push_span(ratatui::text::Span::styled(
            format!("   {} marked", view.app.marks.len()),
            theme.busy(),
        ));
    }
    if let Some(overview) = snapshot
        .overview
        .as_ref()
        .filter(|overview| !overview.paused.is_empty())
    {
        let kinds: Vec<String> = overview
            .paused
            .iter()
            .map(|pause| text::shown(&pause.step))
            .collect();
        line.push_span(ratatui::text::Span::styled(
            format!("   PAUSED: {}", kinds.join(", ")),
            theme.warn(),
        ));
    }
    frame.render_widget(line, title);
    let empty = if view.app.filter().is_empty() {
        "  nothing waits, nothing runs, nothing is dead"
    } else {
        "  no step fits the filter"
    };
    let columns = [
        Column("", 1),
        Column("STEP", 16),
        Column("RUN", if area.width < 100 { 20 } else { 40 }),
        Column("STANDING", 44),
        Column("ERROR", 0),
    ];
    let list = List {
        items: &snapshot.queue,
        empty,
        columns: &columns,
        row: &|step| row(step, view),
        in_full: &|step| in_full(step, theme),
    };
    list.draw(frame, rest, view, view.app.cursor(snapshot));
}

fn in_full(step: &QueuedStep, theme: Theme) -> Detail<'_> {
    let brief = &step.brief;
    Detail {
        heading: format!("{} of {}", brief.step, step.run_id),
        about: format!(
            "{}, {} of {} attempts begun",
            brief.state, brief.attempts, brief.max_attempts
        ),
        text: step.error.as_deref().unwrap_or_default(),
        style: theme.bad(),
    }
}

fn row(step: &QueuedStep, view: View<'_>) -> Vec<Cell> {
    let theme = view.theme;
    let mark = if view.app.marks.contains(&step.id) {
        theme.signs().marked
    } else {
        " "
    };
    let standing = footer::standing(&step.brief, theme, view.now);
    vec![
        cell(mark, theme.busy()),
        cell(&step.brief.step, Style::new()),
        cell(step.run_id.as_str(), theme.heading()),
        cell(&standing.content, standing.style),
        cell(step.error.as_deref().unwrap_or(""), theme.bad()),
    ]
}
