//! One run: why it failed, its timeline, every attempt, its events.

use super::{View, WIDE_COLUMNS, files, phase_style, text};
use crate::tui::links::Link;
use crate::tui::model::{Event, RunView, Snapshot, StepView};
use crate::tui::read::Follow;
use crate::tui::theme::Theme;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use runchain_core::Millis;

/// Columns of a name in the timeline.
const NAME: usize = 18;
/// Columns of a state in the timeline.
const STATE: usize = 11;
/// Tasks that the timeline shows before it says how many more there are.
const TASKS: usize = 40;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, view: View<'_>, snapshot: &Snapshot) {
    let Some(run) = &snapshot.run else {
        let text = match view.app.want(None).follow {
            Follow::Run(run_id) => format!(
                "runchain knows no run {}; waiting for it. f follows the newest, : jumps to another",
                text::shown(run_id.as_str())
            ),
            Follow::Newest => "no run yet; waiting for the first one".to_owned(),
        };
        let lines = text::wrapped(&text, usize::from(area.width).saturating_sub(2));
        let lines = lines
            .into_iter()
            .map(|line| Line::styled(format!(" {line}"), view.theme.quiet()));
        frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), area);
        return;
    };
    let [left, right] = columns(area);
    scrolled(frame, left, left_lines(area, view, run), view.app.scroll);
    if right.width > 0 {
        draw_events(frame, right, view, &run.events);
    }
}

/// Everything but the events, and the events beside it where there is room for them.
fn columns(area: Rect) -> [Rect; 2] {
    let share = if area.width >= WIDE_COLUMNS { 58 } else { 100 };
    Layout::horizontal([Constraint::Percentage(share), Constraint::Min(0)]).areas(area)
}

fn left_lines(area: Rect, view: View<'_>, run: &RunView) -> Vec<Line<'static>> {
    let [left, right] = columns(area);
    let width = usize::from(left.width);
    let mut lines = lines(run, view, width);
    if right.width == 0 {
        lines.push(Line::raw(""));
        lines.push(heading("EVENTS", view.theme));
        // The newest first: below the rest they would never be seen.
        let events = run.events.iter().rev();
        lines.extend(events.map(|event| event_line(event, view.theme, width)));
    }
    lines
}

/// Where the files stand that are shown, as the terminal opens them.
pub(super) fn links(area: Rect, view: View<'_>, run: &RunView) -> Vec<Link> {
    let [left, _] = columns(area);
    let above = offset(&left_lines(area, view, run), left, view.app.scroll);
    // The title stands above them.
    let lines = (1..).zip(files::of_run(run, view));
    let visible = lines.filter_map(|(line, files)| {
        let row = usize::checked_sub(line, above)?;
        (row < usize::from(left.height)).then(|| files.links(left, row))
    });
    visible.flatten().collect()
}

/// Everything but the events, in a part of the screen.
pub(super) fn draw_view(frame: &mut Frame<'_>, area: Rect, view: View<'_>, run: &RunView, scroll: usize) {
    scrolled(frame, area, lines(run, view, usize::from(area.width)), scroll);
}

fn scrolled(frame: &mut Frame<'_>, area: Rect, lines: Vec<Line<'static>>, scroll: usize) {
    let above = offset(&lines, area, scroll);
    let visible: Vec<Line<'static>> = lines.into_iter().skip(above).collect();
    frame.render_widget(Paragraph::new(visible), area);
}

/// Lines that are above the window: the last one never leaves its lower edge.
fn offset(lines: &[Line<'static>], area: Rect, scroll: usize) -> usize {
    scroll.min(lines.len().saturating_sub(usize::from(area.height)))
}

fn draw_events(frame: &mut Frame<'_>, area: Rect, view: View<'_>, events: &[Event]) {
    let mut lines = vec![heading("EVENTS", view.theme)];
    let room = usize::from(area.height.saturating_sub(1));
    let newest = &events[events.len().saturating_sub(room)..];
    let width = usize::from(area.width);
    lines.extend(newest.iter().map(|event| event_line(event, view.theme, width)));
    frame.render_widget(Paragraph::new(lines), area);
}

fn heading(text: &str, theme: Theme) -> Line<'static> {
    Line::styled(format!(" {text}"), theme.heading())
}

fn lines(run: &RunView, view: View<'_>, width: usize) -> Vec<Line<'static>> {
    let mut lines = vec![title(run, view)];
    let files = files::of_run(run, view);
    lines.extend(files.iter().map(|files| files.line(view.theme, width)));
    lines.extend(causes(run, view.theme, width));
    lines.push(Line::raw(""));
    lines.extend(timeline(run, view, width));
    lines.extend(attempts(run, view.theme, width));
    lines
}

fn title(run: &RunView, view: View<'_>) -> Line<'static> {
    let theme = view.theme;
    let line = &run.line;
    let status = line.status.as_deref().unwrap_or("no status");
    let meaning = if line.phase.eq_ignore_ascii_case(status) {
        String::new()
    } else {
        format!(" ({})", line.phase)
    };
    let mut spans = vec![
        Span::styled(format!(" {}", text::shown(line.run_id.as_str())), theme.heading()),
        Span::styled(
            format!("  {}{meaning}", text::shown(status)),
            phase_style(theme, &line.phase),
        ),
    ];
    if line.monitor == "unseen" {
        spans.push(Span::styled(", not seen by an executor yet", theme.warn()));
        return Line::from(spans);
    }
    spans.push(Span::raw(format!(" for {}", text::age(line.since, view.now))));
    if line.generation > 1 {
        spans.push(Span::raw(format!(", end number {}", line.generation)));
    }
    spans.push(Span::styled(
        format!(", first seen {} ago", text::age(run.first_seen, view.now)),
        theme.quiet(),
    ));
    if let Some(at) = line.heartbeat {
        spans.push(Span::raw(format!(", heartbeat {} ago", text::age(at, view.now))));
    }
    if let Some(since) = line.stalled_since.filter(|_| line.is_active()) {
        spans.push(Span::styled(
            format!("  STALLED for {}", text::age(since, view.now)),
            theme.warn(),
        ));
    }
    Line::from(spans)
}

fn causes(run: &RunView, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if run.causes.is_empty() {
        if run.line.phase == "failed" {
            lines.push(Line::raw(""));
            lines.push(heading("WHAT WENT WRONG", theme));
            lines.push(Line::styled(
                "   neither its row, its tables nor its events say why it failed",
                theme.quiet(),
            ));
        }
        return lines;
    }
    lines.push(Line::raw(""));
    lines.push(heading("WHAT WENT WRONG", theme));
    for cause in &run.causes {
        let whole = format!("{}: {}", cause.source, cause.text);
        let room = width.saturating_sub(5);
        for (index, part) in text::told(&whole, room, theme.signs().cut)
            .into_iter()
            .enumerate()
        {
            let sign = if index == 0 { theme.signs().dead } else { " " };
            lines.push(Line::styled(format!(" {sign} {part}"), theme.bad()));
        }
    }
    lines
}

/// A bar of the timeline.
struct Bar {
    name: String,
    state: String,
    style: Style,
    from: Option<Millis>,
    to: Option<Millis>,
    is_bad: bool,
    note: String,
}

fn timeline(run: &RunView, view: View<'_>, width: usize) -> Vec<Line<'static>> {
    let theme = view.theme;
    let mut bars: Vec<Bar> = run
        .tasks
        .iter()
        .take(TASKS)
        .map(|task| task_bar(task, view))
        .collect();
    let own = bars.len();
    bars.extend(run.steps.iter().map(|step| step_bar(step, view)));
    let begun = bars.iter().filter_map(|bar| bar.from).min();
    let ended = bars.iter().filter_map(|bar| bar.to).max();
    let room = width.saturating_sub(NAME + STATE + 20).max(10);
    let mut lines = vec![match begun.zip(ended) {
        Some((from, to)) => Line::from(vec![
            Span::styled(" TIMELINE ", theme.heading()),
            Span::styled(
                format!("{} to {} UTC", text::clock(from), text::clock(to)),
                theme.quiet(),
            ),
        ]),
        None => heading("TIMELINE", theme),
    }];
    for (index, bar) in bars.iter().enumerate() {
        if index == own && own > 0 {
            if run.tasks.len() > TASKS {
                let more = run.tasks.len() - TASKS;
                lines.push(Line::styled(format!("   and {more} more"), theme.quiet()));
            }
            lines.push(Line::styled("   its chain:", theme.quiet()));
        }
        lines.push(bar_line(bar, begun, ended, room, theme));
    }
    for table in &run.left_out {
        lines.push(Line::styled(
            format!(
                "   {} is too large to look through without an index on its run",
                text::shown(table)
            ),
            theme.quiet(),
        ));
    }
    lines
}

fn task_bar(task: &crate::tui::model::Task, view: View<'_>) -> Bar {
    let phase = task.phase.as_deref().unwrap_or("");
    let is_over = !matches!(phase, "active" | "");
    let to = task.ended.or(task.started.filter(|_| is_over)).or(Some(view.now));
    Bar {
        name: text::shown(&task.name),
        state: text::shown(&task.status),
        style: match task.started {
            Some(_) => phase_style(view.theme, phase),
            None => view.theme.quiet(),
        },
        from: task.started,
        to: to.filter(|_| task.started.is_some()),
        is_bad: phase == "failed",
        note: String::new(),
    }
}

fn step_bar(step: &StepView, view: View<'_>) -> Bar {
    let theme = view.theme;
    let begun = step
        .failures
        .first()
        .and_then(|failure| failure.started)
        .or(step.started);
    let last = step.failures.last().map(|failure| failure.ended);
    let ended = match step.brief.state.as_str() {
        "running" => Some(view.now),
        _ => step.finished.or(last),
    };
    let (state, style) = match step.brief.state.as_str() {
        "done" => ("done", theme.good()),
        "dead" => ("dead", theme.bad()),
        "running" | "leased" => ("running", theme.busy()),
        "ready" if step.brief.is_deferred => ("settling", theme.busy()),
        "ready" if step.brief.attempts > 0 => ("retrying", theme.warn()),
        "cancelled" => ("cancelled", theme.quiet()),
        _ => ("pending", theme.quiet()),
    };
    let note = match step.brief.attempts {
        0 | 1 => String::new(),
        attempts => format!("{attempts}/{}", step.brief.max_attempts),
    };
    Bar {
        name: text::shown(&step.brief.step),
        state: state.to_owned(),
        style,
        from: begun,
        to: ended.filter(|_| begun.is_some()),
        is_bad: step.brief.state == "dead",
        note,
    }
}

fn bar_line(
    bar: &Bar,
    begun: Option<Millis>,
    ended: Option<Millis>,
    room: usize,
    theme: Theme,
) -> Line<'static> {
    let signs = theme.signs();
    let (drawn, span) = match (bar.from, bar.to, begun, ended) {
        (Some(from), Some(to), Some(begun), Some(ended)) => {
            let whole = ended.since(begun).max(1);
            let place = |at: Millis| (at.since(begun) as i128 * room as i128 / i128::from(whole)) as usize;
            let start = place(from).min(room.saturating_sub(1));
            let length = place(to).saturating_sub(start).clamp(1, room - start);
            let sign = if bar.is_bad { signs.bad_bar } else { signs.bar };
            let drawn = format!("{}{}", " ".repeat(start), sign.repeat(length));
            (drawn, text::span(from, to))
        }
        _ => (String::new(), String::new()),
    };
    let name = text::cut(&bar.name, NAME - 1, signs.cut);
    let state = text::cut(&bar.state, STATE - 1, signs.cut);
    let pad = |text: &str, width: usize| " ".repeat(width.saturating_sub(text::width(text)));
    Line::from(vec![
        Span::raw(format!("   {name}{}", pad(&name, NAME))),
        Span::styled(format!("{state}{}", pad(&state, STATE)), bar.style),
        Span::styled(format!("{drawn}{}", pad(&drawn, room + 1)), bar.style),
        Span::raw(format!("{span} {}", bar.note)),
    ])
}

/// Every attempt that failed, with what its command printed last.
fn attempts(run: &RunView, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for step in run.steps.iter().filter(|step| !step.failures.is_empty()) {
        if lines.is_empty() {
            lines.push(Line::raw(""));
            lines.push(heading("ATTEMPTS THAT FAILED", theme));
        }
        for failure in &step.failures {
            let head = format!(
                "   {} {} of {}  {}  ",
                text::shown(&step.brief.step),
                failure.attempt,
                step.brief.max_attempts,
                text::clock(failure.ended)
            );
            let indent = text::width(&head);
            let parts = text::told(
                &failure.error,
                width.saturating_sub(indent + 1),
                theme.signs().cut,
            );
            let mut head = Some(head);
            for part in parts {
                lines.push(Line::from(vec![
                    Span::raw(head.take().unwrap_or_else(|| " ".repeat(indent))),
                    Span::styled(part, theme.bad()),
                ]));
            }
            for line in &failure.output {
                let shown = text::cut(&text::shown(line), width.saturating_sub(8), theme.signs().cut);
                lines.push(Line::styled(
                    format!("     {} {shown}", theme.signs().edges[5]),
                    theme.quiet(),
                ));
            }
        }
    }
    lines
}

/// `14:02:31 RUN_COMPLETED  phase failed`.
pub(super) fn event_line(event: &Event, theme: Theme, width: usize) -> Line<'static> {
    let at = event.at.map_or_else(|| "        ".to_owned(), text::clock);
    let kind = text::shown(&event.kind);
    let room = width.saturating_sub(text::width(&kind) + 13);
    let shown = text::cut(&text::shown(&event.text), room, theme.signs().cut);
    let style = if event.is_bad() { theme.bad() } else { Style::new() };
    Line::from(vec![
        Span::styled(format!(" {at} "), theme.quiet()),
        Span::styled(kind, style),
        Span::styled(format!("  {shown}"), theme.quiet()),
    ])
}
