//! The whole on one screen: how much there is, what was wrong last, and the runs.

use super::table::{self, Cell, Column};
use super::{View, WIDE_COLUMNS, cell, list_title, phase_style, run, text, under_title};
use crate::tui::model::{Alert, ChainStep, Executor, Need, Overview, RunLine, Snapshot, Standing};
use crate::tui::read::COUNTED_AT_MOST;
use crate::tui::theme::Theme;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use runchain_core::Millis;

/// Rows above the list of runs, with some for what is there on bad days only.
pub(super) const SUMMARY_ROWS: u16 = 8;
/// Parts of a bar of progress.
const BAR: usize = 10;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, view: View<'_>, snapshot: &Snapshot) {
    let Some(overview) = &snapshot.overview else {
        return;
    };
    let summary = summary(overview, &snapshot.alerts, view, usize::from(area.width));
    let rows = u16::try_from(summary.len()).unwrap_or(0);
    let [top, _, below] = Layout::vertical([
        Constraint::Length(rows),
        Constraint::Length(1),
        Constraint::Min(3),
    ])
    .areas(area);
    for (line, y) in summary.into_iter().zip(top.y..top.bottom()) {
        frame.render_widget(line, Rect { y, height: 1, ..top });
    }
    let list = match &snapshot.preview {
        Some(preview) if area.width >= WIDE_COLUMNS => {
            let [left, right] =
                Layout::horizontal([Constraint::Percentage(56), Constraint::Percentage(44)]).areas(below);
            run::draw_view(frame, right, view, preview, 0);
            left
        }
        _ => below,
    };
    draw_list(frame, list, view, snapshot);
}

fn draw_list(frame: &mut Frame<'_>, area: Rect, view: View<'_>, snapshot: &Snapshot) {
    let runs = view.app.runs(snapshot);
    let [title, list] = under_title(area);
    frame.render_widget(list_title(view, "runs", runs.len()), title);
    if runs.is_empty() {
        let text = if view.app.filter().is_empty() {
            "  no run yet; the first one shows here as soon as it is written"
        } else {
            "  no run fits the filter"
        };
        frame.render_widget(Line::styled(text, view.theme.quiet()), list);
        return;
    }
    let columns = [
        Column("", 1),
        Column("RUN", if area.width < 100 { 18 } else { 40 }),
        Column("STATUS", 12),
        Column("SINCE", 8),
        Column("PROGRESS", BAR + 8),
        Column("BEAT", 7),
        Column("", 0),
    ];
    let rows: Vec<Vec<Cell>> = runs.iter().map(|line| row(line, view.theme, view.now)).collect();
    let cursor = view.app.cursor(snapshot);
    table::draw(frame, list, view.theme, &columns, &rows, Some(cursor));
}

fn row(line: &RunLine, theme: Theme, now: Millis) -> Vec<Cell> {
    let signs = theme.signs();
    let (sign, style) = match line.need {
        Some(_) => (signs.dead, theme.bad()),
        None if line.is_active() => (signs.running, theme.busy()),
        None => (" ", Style::new()),
    };
    let status = line.status.as_deref().unwrap_or("-");
    let beat = line
        .heartbeat
        .filter(|_| line.is_active())
        .map_or_else(String::new, |at| text::age(at, now));
    let (note, note_style) = note(line, theme, now);
    vec![
        cell(sign, style),
        cell(line.run_id.as_str(), theme.heading()),
        cell(status, phase_style(theme, &line.phase)),
        cell(text::age(line.since, now), Style::new()),
        cell(progress(line, theme), Style::new()),
        cell(beat, Style::new()),
        cell(note, note_style),
    ]
}

/// `████░░░░░░ 4/10`, of the first kind of rows that there is.
fn progress(line: &RunLine, theme: Theme) -> String {
    let Some(progress) = line.progress.first().filter(|progress| progress.total > 0) else {
        return String::new();
    };
    let signs = theme.signs();
    let share = |count: i64| (count * BAR as i64 / progress.total).clamp(0, BAR as i64) as usize;
    let (done, failed) = (share(progress.done), share(progress.failed));
    format!(
        "{}{}{} {}/{}",
        signs.bar.repeat(done),
        signs.bad_bar.repeat(failed),
        signs.empty.repeat(BAR.saturating_sub(done + failed)),
        progress.done,
        progress.total
    )
}

/// Where its chain stands, or that it stands still.
fn note(line: &RunLine, theme: Theme, now: Millis) -> (String, Style) {
    if let Some(since) = line.stalled_since.filter(|_| line.is_active()) {
        return (format!("STALLED {}", text::age(since, now)), theme.warn());
    }
    if line.is_active() {
        return (String::new(), Style::new());
    }
    // Where there is little room, what is done is not what somebody looks for.
    let (done, open): (Vec<_>, Vec<_>) = line
        .chain
        .iter()
        .partition(|step| step.standing() == Standing::Done);
    let parts: Vec<String> = open
        .into_iter()
        .chain(done)
        .map(|step| brief(step, theme, now))
        .collect();
    let style = match line.need {
        Some(Need::DeadStep) => theme.bad(),
        _ if line.chain.iter().all(|step| step.standing() == Standing::Done) => theme.good(),
        _ => Style::new(),
    };
    (parts.join("  "), style)
}

/// `✓ archive`, `↻ upload 2/5 in 8 s`.
fn brief(step: &ChainStep, theme: Theme, now: Millis) -> String {
    let signs = theme.signs();
    let name = &step.step;
    match step.standing() {
        Standing::Done => format!("{} {name}", signs.done),
        Standing::Dead => format!("{} {name} dead", signs.dead),
        Standing::Cancelled => format!("{} {name}", signs.cancelled),
        Standing::Pending => format!("{} {name}", signs.pending),
        Standing::Settling(_) => format!("{} {name} settling", signs.running),
        Standing::Running { attempt } => {
            format!("{} {name} {attempt}/{}", signs.running, step.max_attempts)
        }
        Standing::Retrying { attempt, at } => format!(
            "{} {name} {attempt}/{} in {}",
            signs.again,
            step.max_attempts,
            text::until(at, now)
        ),
    }
}

fn summary(overview: &Overview, alerts: &[Alert], view: View<'_>, width: usize) -> Vec<Line<'static>> {
    let theme = view.theme;
    let mut lines = vec![
        runs(overview, theme),
        steps(overview, theme, view.now),
        ended(overview, theme, width),
        firing(overview, alerts, theme, width),
        last_error(overview, view, width),
    ];
    if overview.queue_rows > 0 && overview.executor != Executor::Unknown {
        let since = overview.oldest_queued.map_or_else(String::new, |at| {
            format!(", the oldest for {}", text::age(at, view.now))
        });
        let rows = text::number(overview.queue_rows);
        lines.push(labelled(
            "queue",
            vec![Span::raw(format!("{rows} writes not looked at yet{since}"))],
            theme,
        ));
    }
    for pause in &overview.paused {
        let what = if pause.step == runchain_core::steps::EVERY_KIND {
            "every kind of steps"
        } else {
            pause.step.as_str()
        };
        let actor = pause.actor.as_deref().unwrap_or("an unknown actor");
        let why = pause
            .reason
            .as_deref()
            .map_or_else(String::new, |why| format!(": {why}"));
        let text = text::shown(&format!("{what} by {actor}{why} (resume: u on the queue)"));
        lines.push(labelled(
            "paused",
            vec![Span::styled(fitting(&text, width, theme), theme.warn())],
            theme,
        ));
    }
    if let Some(lost) = &overview.triggers_lost {
        let text = text::shown(&format!("LOST, runchain install --repair: {lost}"));
        lines.push(labelled(
            "triggers",
            vec![Span::styled(fitting(&text, width, theme), theme.alarm())],
            theme,
        ));
    }
    lines
}

fn labelled(label: &str, spans: Vec<Span<'static>>, theme: Theme) -> Line<'static> {
    let mut all = vec![Span::styled(format!(" {label:<9}"), theme.quiet())];
    all.extend(spans);
    Line::from(all)
}

fn fitting(text: &str, width: usize, theme: Theme) -> String {
    text::cut(text, width.saturating_sub(11), theme.signs().cut)
}

fn runs(overview: &Overview, theme: Theme) -> Line<'static> {
    let runs = overview.runs;
    let count = |count: i64| {
        let more = if count >= COUNTED_AT_MOST { "+" } else { "" };
        format!("{}{more}", text::number(count))
    };
    let mut spans = vec![Span::styled(
        format!("{} active", count(runs.active)),
        theme.busy(),
    )];
    if runs.stalled > 0 {
        spans.push(Span::styled(format!(" ({} stalled)", runs.stalled), theme.warn()));
    }
    spans.push(Span::styled(
        format!("   {} completed", count(runs.completed)),
        theme.good(),
    ));
    let failed = if runs.failed > 0 {
        theme.bad()
    } else {
        theme.quiet()
    };
    spans.push(Span::styled(format!("   {} failed", count(runs.failed)), failed));
    spans.push(Span::styled(
        format!("   {} cancelled", count(runs.cancelled)),
        theme.quiet(),
    ));
    labelled("runs", spans, theme)
}

fn steps(overview: &Overview, theme: Theme, now: Millis) -> Line<'static> {
    let steps = overview.steps;
    let oldest = overview.oldest_due.map_or_else(String::new, |at| {
        format!(" (the oldest due for {})", text::age(at, now))
    });
    let dead = if steps.dead > 0 {
        theme.bad()
    } else {
        theme.quiet()
    };
    let spans = vec![
        Span::styled(format!("{} running", steps.running), theme.busy()),
        Span::raw(format!("   {} ready{oldest}", text::number(steps.ready))),
        Span::raw(format!("   {} waiting", text::number(steps.waiting))),
        Span::styled(format!("   {} dead", text::number(steps.dead)), dead),
    ];
    labelled("steps", spans, theme)
}

/// As many minutes as there is room for, and two sums.
fn ended(overview: &Overview, theme: Theme, width: usize) -> Line<'static> {
    let minutes = &overview.ended_per_minute;
    let shown = if width < 100 { 30 } else { 60 }.min(minutes.len());
    let most = minutes.iter().copied().max().unwrap_or(0);
    let heights = theme.signs().heights;
    let spark: String = minutes[minutes.len() - shown..]
        .iter()
        .map(|&count| {
            let height = if most == 0 { 0 } else { (count * 8).div_ceil(most) };
            heights[usize::try_from(height).unwrap_or(0).min(8)]
        })
        .collect();
    let sum: u64 = minutes.iter().sum();
    let last = minutes.last().copied().unwrap_or(0);
    let spans = vec![
        Span::styled(spark, theme.busy()),
        Span::raw(format!("  {sum} in an hour, {last} in this minute")),
    ];
    labelled("ended", spans, theme)
}

fn firing(overview: &Overview, alerts: &[Alert], theme: Theme, width: usize) -> Line<'static> {
    if overview.alerts_firing == 0 {
        return labelled("alerts", vec![Span::styled("none firing", theme.quiet())], theme);
    }
    let newest = alerts.first().map_or_else(String::new, |alert| {
        format!(": {} {} {}", alert.rule, alert.subject, alert.message)
    });
    let text = text::shown(&format!("{} firing{newest}", overview.alerts_firing));
    let shown = fitting(&text, width, theme);
    labelled("alerts", vec![Span::styled(shown, theme.alarm())], theme)
}

fn last_error(overview: &Overview, view: View<'_>, width: usize) -> Line<'static> {
    let theme = view.theme;
    let Some(error) = &overview.last_error else {
        return labelled("error", vec![Span::styled("none", theme.quiet())], theme);
    };
    let text = text::shown(&format!(
        "{} {}, {} ago: {} (attempt {} of {})",
        error.run_id,
        error.step,
        text::age(error.at, view.now),
        error.error,
        error.attempt,
        error.max_attempts,
    ));
    let style = if error.state == "done" {
        theme.quiet()
    } else {
        theme.bad()
    };
    labelled(
        "error",
        vec![Span::styled(fitting(&text, width, theme), style)],
        theme,
    )
}
