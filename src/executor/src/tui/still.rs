//! One frame as lines of text: `runchain monitor --once`, and what the tests of screens compare.

use super::app::{App, Mode};
use super::model::Snapshot;
use super::screens::{self, View, page_rows};
use super::theme::Theme;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

/// The screen as lines of text, without spaces at their ends.
pub(crate) fn as_text(snapshot: &Snapshot, mut app: App, theme: Theme) -> Vec<String> {
    let (columns, rows) = text_size();
    app.page = page_rows(app.screen, rows);
    app.mode = Mode::Commands;
    let view = View {
        snapshot: Some(snapshot),
        app: &app,
        theme,
        now: snapshot.at,
    };
    lines_of(view, columns, rows)
}

/// What a frame of this size would show.
pub(crate) fn lines_of(view: View<'_>, columns: u16, rows: u16) -> Vec<String> {
    let Ok(mut terminal) = Terminal::new(TestBackend::new(columns, rows));
    let Ok(frame) = terminal.draw(|frame| screens::draw(frame, view));
    let buffer = frame.buffer;
    (0..rows)
        .map(|y| {
            let cells = (0..columns).map(|x| buffer[(x, y)].symbol());
            cells.collect::<String>().trim_end().to_owned()
        })
        .collect()
}

/// Of the terminal; in a pipe as COLUMNS and LINES say, else as terminals always were.
fn text_size() -> (u16, u16) {
    let stdout = std::io::stdout();
    let variable = |name: &str| std::env::var(name).ok()?.parse::<u16>().ok();
    let found = rustix::termios::tcgetwinsize(&stdout)
        .ok()
        .filter(|size| size.ws_col > 0);
    let columns = found.map(|size| size.ws_col).or_else(|| variable("COLUMNS"));
    let rows = found.map(|size| size.ws_row).or_else(|| variable("LINES"));
    (
        columns.unwrap_or(80).clamp(20, 1_000),
        rows.unwrap_or(24).clamp(8, 1_000),
    )
}
