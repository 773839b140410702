//! Which colour means what. Never the only sign: the word stands beside it.

use anstyle::{AnsiColor, Style};
use runchain_core::look::runs::RunLine;

/// Needs somebody.
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
/// Goes on by itself, but look.
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default();
/// As it should be.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// Less important.
pub(crate) const FAINT: Style = Style::new().dimmed();

/// The colour of a run's phase.
pub(crate) fn phase(phase: &str) -> Style {
    match phase {
        "completed" => GOOD,
        "failed" => BAD,
        "active" => AnsiColor::Cyan.on_default(),
        _ => FAINT,
    }
}

/// The colour of a step's state.
pub(crate) fn state(state: &str) -> Style {
    match state {
        "dead" => BAD,
        "done" => GOOD,
        "running" | "leased" => AnsiColor::Cyan.on_default(),
        "cancelled" => FAINT,
        _ => Style::new(),
    }
}

/// The colour of a run's chain: red where a step is dead or nothing moves.
pub(crate) fn chain(run: &RunLine) -> Style {
    let is_dead = run.steps.iter().any(|step| step.state == "dead");
    if is_dead || run.stalled_since.is_some() {
        BAD
    } else {
        Style::new()
    }
}

/// The colour of an event's type.
pub(crate) fn event(kind: &str) -> Style {
    const BAD_TYPES: [&str; 5] = [
        "STEP_DEAD",
        "RUN_STALLED",
        "TRIGGERS_LOST",
        "ALERT_FIRING",
        "DISK_LOW",
    ];
    const WARN_TYPES: [&str; 4] = ["STEP_FAILED", "STORM_HELD", "STATUS_UNKNOWN", "EXECUTOR_WAS_DOWN"];
    if kind.ends_with(".failed") || BAD_TYPES.contains(&kind) {
        BAD
    } else if WARN_TYPES.contains(&kind) {
        WARN
    } else {
        Style::new()
    }
}
