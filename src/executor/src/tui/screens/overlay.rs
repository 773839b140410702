//! What stands in front of a screen, or in its place: help, a question, what is wrong with the
//! database.

use super::{View, text};
use crate::tui::app::Question;
use crate::tui::keys;
use crate::tui::model::Snapshot;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Paragraph};

/// Columns of a question.
const QUESTION_COLUMNS: usize = 70;

/// The first of a binding's keys, as the footer shows it.
pub(super) fn first_key(shown: &str) -> &str {
    shown.split([' ', ',']).next().unwrap_or(shown)
}

/// A box in the middle of an area.
fn boxed(frame: &mut Frame<'_>, area: Rect, view: View<'_>, title: &str, lines: Vec<Line<'static>>) {
    framed(frame, area, view, [title, ""], lines);
}

/// The same with a text in its lower edge, too.
fn framed(
    frame: &mut Frame<'_>,
    area: Rect,
    view: View<'_>,
    [title, foot]: [&str; 2],
    lines: Vec<Line<'static>>,
) {
    let widest = lines
        .iter()
        .map(Line::width)
        .max()
        .unwrap_or(0)
        .max(title.len() + 2)
        .max(foot.len() + 2);
    let width = u16::try_from(widest + 4).unwrap_or(u16::MAX).min(area.width);
    let height = u16::try_from(lines.len() + 2)
        .unwrap_or(u16::MAX)
        .min(area.height);
    let place = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    let mut block = Block::new()
        .borders(Borders::ALL)
        .border_set(view.theme.signs().border())
        .title(Span::styled(format!(" {title} "), view.theme.heading()));
    if !foot.is_empty() {
        block = block.title_bottom(format!(" {foot} "));
    }
    frame.render_widget(Clear, place);
    let lines: Vec<Line<'static>> = lines.into_iter().map(indented).collect();
    frame.render_widget(Paragraph::new(lines).block(block), place);
}

fn indented(mut line: Line<'static>) -> Line<'static> {
    line.spans.insert(0, Span::raw(" "));
    line
}

/// The keys of the screen.
pub(super) fn help(frame: &mut Frame<'_>, area: Rect, view: View<'_>) {
    let lines = keys::of_screen(view.app.screen)
        .map(|binding| {
            Line::from(vec![
                Span::styled(format!("{:<20}", binding.shown), view.theme.busy()),
                Span::raw(binding.does),
            ])
        })
        .collect();
    let title = format!("keys: {}", view.app.screen.name());
    let foot = if keys::of_screen(view.app.screen).any(|binding| binding.action.changes_something()) {
        HOW_ASKED
    } else {
        ""
    };
    framed(frame, area, view, [&title, foot], lines);
}

/// What follows a key that changes something.
const HOW_ASKED: &str = "what changes something asks first: y yes, n no, r yes with a reason";
/// What can be answered.
pub(super) const ANSWERS: &str = "y yes   n no   r yes, with a reason";
/// What can be typed while the reason is.
pub(super) const REASON_ANSWERS: &str = "enter yes   esc back";

/// A question before something is changed, and the reason as far as it is typed.
pub(super) fn question(
    frame: &mut Frame<'_>,
    area: Rect,
    view: View<'_>,
    question: &Question,
    reason: Option<&str>,
) {
    let room = usize::from(area.width).saturating_sub(6).min(QUESTION_COLUMNS);
    let mut lines: Vec<Line<'static>> = text::wrapped(&text::shown(&question.text), room)
        .into_iter()
        .map(|line| Line::styled(line, view.theme.heading()))
        .collect();
    lines.push(Line::raw(""));
    lines.push(Line::styled(question.request.consequence(), view.theme.quiet()));
    if let Some(reason) = reason {
        lines.push(Line::raw(""));
        let typed = text::wrapped(&format!("reason: {}_", text::shown(reason)), room);
        // As wide as it can become, so that the box stays where it is.
        lines.extend(
            typed
                .into_iter()
                .map(|line| Line::styled(format!("{line:room$}"), view.theme.busy())),
        );
        lines.push(Line::raw(""));
    }
    let answers = if reason.is_some() { REASON_ANSWERS } else { ANSWERS };
    lines.push(Line::raw(answers));
    boxed(frame, area, view, "change", lines);
}

/// What is wrong with the database; it goes away by itself when that is mended.
pub(super) fn trouble(frame: &mut Frame<'_>, area: Rect, view: View<'_>, snapshot: &Snapshot) {
    let Some(trouble) = &snapshot.trouble else {
        return;
    };
    let theme = view.theme;
    let room = usize::from(area.width).saturating_sub(6);
    let mut lines = Vec::new();
    for (label, text, style) in [
        ("looked for", &trouble.looked_for, ratatui::style::Style::new()),
        ("found", &trouble.found, theme.bad()),
        ("mend it", &trouble.remedy, theme.heading()),
    ] {
        let mut label = label;
        for part in text::wrapped(&text::shown(text), room.saturating_sub(12)) {
            lines.push(Line::from(vec![
                Span::styled(format!("{label:<12}"), theme.quiet()),
                Span::styled(part, style),
            ]));
            label = "";
        }
        lines.push(Line::raw(""));
    }
    lines.push(Line::styled(
        "This goes away by itself when it is mended.",
        theme.quiet(),
    ));
    boxed(frame, area, view, "the database can't be shown", lines);
}
