//! The last two lines: where the chain of the run in view stands and whether anybody drains; what can
//! be typed.

use super::text;
use super::{View, overlay};
use crate::tui::app::Mode;
use crate::tui::keys;
use crate::tui::model::{ChainStep, Executor, RunView, Standing};
use crate::tui::theme::Theme;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Span};
use runchain_core::Millis;

/// The run's name gives way to the chain.
const NAME_COLUMNS: usize = 24;
const SHORT_NAME_COLUMNS: usize = 12;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, view: View<'_>) {
    let [chain, bottom] = Layout::vertical([Constraint::Length(1), Constraint::Length(1)]).areas(area);
    let run = view.snapshot.and_then(|snapshot| snapshot.run.as_ref());
    frame.render_widget(chain_line(run, view, chain.width), chain);
    let executor = executor(view);
    let width = u16::try_from(executor.width()).unwrap_or(0).min(bottom.width);
    let [left, right] = Layout::horizontal([Constraint::Min(0), Constraint::Length(width)]).areas(bottom);
    frame.render_widget(bottom_line(view, left.width), left);
    frame.render_widget(executor, right);
}

/// As wordy as there is room for.
fn chain_line(run: Option<&RunView>, view: View<'_>, width: u16) -> Line<'static> {
    let Some(run) = run else {
        let text = match view.snapshot {
            Some(snapshot) if snapshot.has_no_run() => " no run yet; waiting for the first one",
            _ => " no run in view",
        };
        return Line::styled(text, view.theme.quiet());
    };
    let lines = Room::ALL.map(|room| chain_words(run, view, room));
    let [.., shortest] = &lines;
    let fits = lines.iter().find(|line| line.width() <= usize::from(width));
    fits.unwrap_or(shortest).clone()
}

/// How much room there is for the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Room {
    /// For everything.
    All,
    /// What is done has a sign only.
    NoDone,
    /// What is pending, too.
    NoPending,
    /// The run's name is cut.
    Least,
}

impl Room {
    const ALL: [Self; 4] = [Self::All, Self::NoDone, Self::NoPending, Self::Least];
}

fn chain_words(run: &RunView, view: View<'_>, room: Room) -> Line<'static> {
    let theme = view.theme;
    let line = &run.line;
    let columns = if room == Room::Least {
        SHORT_NAME_COLUMNS
    } else {
        NAME_COLUMNS
    };
    let name = text::cut(&text::shown(line.run_id.as_str()), columns, theme.signs().cut);
    let mut spans = vec![Span::styled(format!(" {name}"), theme.heading())];
    if run.is_followed && room < Room::NoPending {
        let what = if line.is_active() {
            " (newest)"
        } else {
            " (waiting for the next)"
        };
        spans.push(Span::styled(what, theme.quiet()));
    }
    let (sign, word, style) = monitor(line.is_active(), &line.monitor, theme);
    let monitor = Span::styled(format!("{sign} {word}"), style);
    let gap = if room < Room::Least { "  " } else { " " };
    spans.push(Span::raw(format!("{gap}monitor ")));
    spans.push(shortened(monitor, word, room));
    for step in &line.chain {
        let word = match step.standing() {
            Standing::Done => "done",
            Standing::Pending => "pending",
            _ => "",
        };
        spans.push(Span::raw(format!("{gap}{} ", text::shown(&step.step))));
        spans.push(shortened(standing(step, theme, view.now), word, room));
    }
    Line::from(spans)
}

/// The sign alone, where the word is one that there is no room for.
fn shortened(span: Span<'static>, word: &str, room: Room) -> Span<'static> {
    let is_left_out = match word {
        "done" => room >= Room::NoDone,
        "pending" => room >= Room::NoPending,
        _ => false,
    };
    let sign = span.content.split(' ').next().unwrap_or_default().to_owned();
    if is_left_out {
        Span::styled(sign, span.style)
    } else {
        span
    }
}

/// The monitor is no step: it is on while the run is active.
fn monitor(is_active: bool, monitor: &str, theme: Theme) -> (&'static str, &'static str, Style) {
    let signs = theme.signs();
    match (is_active, monitor) {
        (_, "unseen") => (signs.pending, "pending", theme.quiet()),
        (_, "abandoned") => (signs.cancelled, "abandoned", theme.quiet()),
        (_, "on") => (signs.running, "running", theme.busy()),
        (true, _) => (signs.pending, "pending", theme.quiet()),
        (false, _) => (signs.done, "done", theme.good()),
    }
}

/// A step's standing in words, with its sign.
pub(super) fn standing(step: &ChainStep, theme: Theme, now: Millis) -> Span<'static> {
    let signs = theme.signs();
    let of = |attempt: i64| {
        if step.max_attempts > 0 {
            format!("attempt {attempt} of {}", step.max_attempts)
        } else {
            format!("attempt {attempt}")
        }
    };
    match step.standing() {
        Standing::Pending => Span::styled(format!("{} pending", signs.pending), theme.quiet()),
        Standing::Settling(until) => Span::styled(
            format!("{} settling, {}", signs.running, text::until(until, now)),
            theme.busy(),
        ),
        Standing::Running { attempt } => Span::styled(
            format!("{} running ({})", signs.running, of(attempt)),
            theme.busy(),
        ),
        Standing::Retrying { attempt, at } => Span::styled(
            format!(
                "{} running ({}, next in {})",
                signs.again,
                of(attempt),
                text::until(at, now)
            ),
            theme.warn(),
        ),
        Standing::Done => Span::styled(format!("{} done", signs.done), theme.good()),
        Standing::Dead => Span::styled(format!("{} dead", signs.dead), theme.bad()),
        Standing::Cancelled => Span::styled(format!("{} cancelled", signs.cancelled), theme.quiet()),
    }
}

fn executor(view: View<'_>) -> Line<'static> {
    let theme = view.theme;
    let overview = view.snapshot.and_then(|snapshot| snapshot.overview.as_ref());
    let signs = theme.signs();
    match overview.map(|overview| &overview.executor) {
        Some(Executor::Alive(_)) => Line::styled(format!("{} executor alive ", signs.running), theme.good()),
        Some(Executor::None(_)) => Line::styled(
            format!(" {} NO EXECUTOR: runchain drain ", signs.dead),
            theme.alarm(),
        ),
        Some(Executor::Unknown) | None => {
            Line::styled(format!("{} executor not known ", signs.pending), theme.quiet())
        }
    }
}

fn bottom_line(view: View<'_>, width: u16) -> Line<'static> {
    let theme = view.theme;
    match &view.app.mode {
        Mode::Jump(text) => {
            let known = "   dashboard run queue events alerts health, or a run's id";
            return Line::from(vec![
                Span::styled(format!(" :{}_", text::shown(text)), theme.busy()),
                Span::styled(known, theme.quiet()),
            ]);
        }
        Mode::Filter => {
            return Line::styled(format!(" /{}_", text::shown(view.app.filter())), theme.busy());
        }
        Mode::Confirm(_) => return Line::styled(format!(" {}", overlay::ANSWERS), theme.heading()),
        Mode::Reason(..) => return Line::styled(format!(" {}", overlay::REASON_ANSWERS), theme.heading()),
        Mode::Help => return Line::styled(" any key closes the help", theme.quiet()),
        Mode::Commands => {}
    }
    if let Some(said) = &view.app.said {
        let said = text::cut(
            &text::shown(said),
            usize::from(width).saturating_sub(2),
            theme.signs().cut,
        );
        return Line::styled(format!(" {said}"), theme.warn());
    }
    hints(view, width)
}

/// The keys that matter most here, as many as there is room for; help and quit always.
fn hints(view: View<'_>, width: u16) -> Line<'static> {
    let theme = view.theme;
    let all: Vec<_> = keys::of_screen(view.app.screen)
        .filter_map(|binding| Some((overlay::first_key(binding.shown), binding.hint?)))
        .collect();
    let always = |hint: &str| matches!(hint, "help" | "quit");
    let columns = |(key, hint): &(&str, &str)| key.len() + 1 + hint.len() + 2;
    let mut left = usize::from(width).saturating_sub(1);
    for one in all.iter().filter(|(_, hint)| always(hint)) {
        left = left.saturating_sub(columns(one));
    }
    let mut spans = vec![Span::raw(" ")];
    for one in &all {
        if !always(one.1) {
            if columns(one) > left {
                continue;
            }
            left -= columns(one);
        }
        spans.push(Span::raw(one.0.to_owned()).bold());
        spans.push(Span::styled(format!(" {}  ", one.1), theme.quiet()));
    }
    Line::from(spans)
}
