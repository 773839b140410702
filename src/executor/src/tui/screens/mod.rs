//! Model and state → frame. Pure: the same snapshot, state, theme and time give the same cells.
//!
//! Invariant: text that others wrote passes [`text::shown`] before it becomes a cell.

mod alerts;
mod dashboard;
mod detail;
mod events;
mod files;
mod footer;
mod health;
mod overlay;
mod queue;
mod run;
mod table;
#[cfg(test)]
mod tests;
mod text;

use super::Screen;
use super::app::{App, Mode};
use super::links::Link;
use super::model::Snapshot;
use super::theme::Theme;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use runchain_core::Millis;
use table::Cell;

/// From this width on there is room for a run beside the list.
pub(crate) const WIDE_COLUMNS: u16 = 120;
/// Rows around the body: tabs, database, two of the footer.
const AROUND: u16 = 4;

/// What a frame is drawn from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    /// What was read; none: nothing yet.
    pub(crate) snapshot: Option<&'a Snapshot>,
    /// What the person has done.
    pub(crate) app: &'a App,
    /// How it looks.
    pub(crate) theme: Theme,
    /// What time it is.
    pub(crate) now: Millis,
}

/// Rows of a page of this screen on a terminal of this height: never more than are shown, so that nobody
/// leafs past a row.
pub(crate) fn page_rows(screen: Screen, height: u16) -> usize {
    let list = height.saturating_sub(AROUND + 2);
    let rows = match screen {
        Screen::Dashboard => list.saturating_sub(dashboard::SUMMARY_ROWS),
        Screen::Health => list.saturating_sub(health::DETAIL_ROWS),
        Screen::Queue | Screen::Events | Screen::Alerts => list.saturating_sub(detail::ROWS),
        Screen::Run => list,
    };
    usize::from(rows).max(1)
}

/// Draws everything.
pub(crate) fn draw(frame: &mut Frame<'_>, view: View<'_>) {
    let [top, title, body, foot] = parts(frame.area());
    frame.render_widget(tabs(view), top);
    frame.render_widget(title_line(view, title.width), title);
    match view.snapshot {
        None => frame.render_widget(Line::styled(" reading ...", view.theme.quiet()), body),
        Some(snapshot) if snapshot.trouble.is_some() => overlay::trouble(frame, body, view, snapshot),
        Some(snapshot) => match view.app.screen {
            Screen::Dashboard => dashboard::draw(frame, body, view, snapshot),
            Screen::Run => run::draw(frame, body, view, snapshot),
            Screen::Queue => queue::draw(frame, body, view, snapshot),
            Screen::Events => events::draw(frame, body, view, snapshot),
            Screen::Alerts => alerts::draw(frame, body, view, snapshot),
            Screen::Health => health::draw(frame, body, view, snapshot),
        },
    }
    footer::draw(frame, foot, view);
    match &view.app.mode {
        Mode::Help => overlay::help(frame, frame.area(), view),
        Mode::Confirm(question) => overlay::question(frame, body, view, question, None),
        Mode::Reason(question, reason) => overlay::question(frame, body, view, question, Some(reason)),
        _ => {}
    }
}

/// Tabs, database, body, footer.
fn parts(area: Rect) -> [Rect; 4] {
    Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(2),
    ])
    .areas(area)
}

/// The files that a frame of this size shows whole or in part; none below a box.
pub(crate) fn links(area: Rect, view: View<'_>) -> Vec<Link> {
    let is_covered = matches!(view.app.mode, Mode::Help | Mode::Confirm(_) | Mode::Reason(..));
    let snapshot = view.snapshot.filter(|snapshot| snapshot.trouble.is_none());
    let run = snapshot.and_then(|snapshot| snapshot.run.as_ref());
    match run {
        Some(run) if view.app.screen == Screen::Run && !is_covered => {
            let [_, _, body, _] = parts(area);
            run::links(body, view, run)
        }
        _ => Vec::new(),
    }
}

/// ` runchain  1 dashboard  2 run ... `, the current one highlighted.
fn tabs(view: View<'_>) -> Line<'static> {
    let theme = view.theme;
    let mut spans = vec![Span::styled(" runchain ", theme.heading())];
    let firing = view
        .snapshot
        .and_then(|snapshot| snapshot.overview.as_ref())
        .map_or(0, |overview| overview.alerts_firing);
    for (number, screen) in (1..).zip(Screen::ALL) {
        let mut name = format!(" {number} {} ", screen.name());
        if screen == Screen::Alerts && firing > 0 {
            name = format!(" {number} {} ({firing}) ", screen.name());
        }
        let style = match () {
            () if screen == view.app.screen => theme.cursor().patch(theme.heading()),
            () if screen == Screen::Alerts && firing > 0 => theme.bad(),
            () => Style::new(),
        };
        spans.push(Span::styled(name, style));
    }
    Line::from(spans)
}

/// A rule with the name of the database in it.
fn title_line(view: View<'_>, width: u16) -> Line<'static> {
    let theme = view.theme;
    let rule = theme.signs().rule;
    let path = view.snapshot.map_or("", |snapshot| snapshot.database.as_str());
    let room = usize::from(width.saturating_sub(6));
    let path = text::cut_start(&text::shown(path), room, theme.signs().cut);
    let left = usize::from(width).saturating_sub(text::width(&path) + 5);
    Line::from(vec![
        Span::styled(format!("{rule}{rule}{rule} "), theme.quiet()),
        Span::raw(path),
        Span::styled(format!(" {}", rule.repeat(left)), theme.quiet()),
    ])
}

/// A line above a list: what it shows, and its filter.
fn list_title(view: View<'_>, what: &str, shown: usize) -> Line<'static> {
    let theme = view.theme;
    let mut spans = vec![Span::styled(
        format!(" {what} {} {shown} shown", theme.signs().between),
        theme.heading(),
    )];
    let filter = view.app.filter();
    if view.app.mode == Mode::Filter {
        spans.push(Span::styled(
            format!("   filter: {}_", text::shown(filter)),
            theme.busy(),
        ));
    } else if !filter.is_empty() {
        spans.push(Span::styled(
            format!("   filter: {} (esc ends it)", text::shown(filter)),
            theme.busy(),
        ));
    }
    Line::from(spans)
}

/// A part of the area for a title, the rest for the list.
fn under_title(area: Rect) -> [Rect; 2] {
    Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area)
}

fn cell(text: impl AsRef<str>, style: Style) -> Cell {
    Cell {
        text: text::shown(text.as_ref()),
        style,
    }
}

/// What a phase looks like.
fn phase_style(theme: Theme, phase: &str) -> Style {
    match phase {
        "active" => theme.busy(),
        "completed" => theme.good(),
        "failed" => theme.bad(),
        _ => theme.quiet(),
    }
}
