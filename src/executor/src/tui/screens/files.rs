//! Where a run's bag and reports are: a line for each step that left files, each file a link.

use super::{View, text};
use crate::output::hyperlink;
use crate::tui::links::Link;
use crate::tui::model::{RunView, StepView};
use crate::tui::theme::Theme;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use std::path::{Path, PathBuf};

/// Where the files of a step begin, and what stands between them.
const COLUMN: usize = 10;
const BETWEEN: &str = "  ";

/// The files of a step: a line.
pub(super) struct Files {
    label: String,
    files: Vec<File>,
}

/// A file, from the project's folder where it lies below it.
struct File {
    text: String,
    path: PathBuf,
    /// Where it begins.
    column: usize,
}

impl Files {
    /// As it is drawn.
    pub(super) fn line(&self, theme: Theme, width: usize) -> Line<'static> {
        let files: Vec<&str> = self.files.iter().map(|file| file.text.as_str()).collect();
        let room = width.saturating_sub(COLUMN + 1);
        let shown = text::cut(&files.join(BETWEEN), room, theme.signs().cut);
        let label = text::cut(&self.label, COLUMN - 2, theme.signs().cut);
        let pad = " ".repeat(COLUMN - 1 - text::width(&label));
        Line::from(vec![
            Span::styled(format!(" {label}{pad}"), theme.quiet()),
            Span::raw(shown),
        ])
    }

    /// As the terminal opens them, where they are drawn in a line of an area.
    pub(super) fn links(&self, area: Rect, row: usize) -> Vec<Link> {
        let room = usize::from(area.width).saturating_sub(1).max(COLUMN);
        let number = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
        let visible = self.files.iter().filter(|file| file.column < room);
        let link = |file: &File| Link {
            x: area.x + number(file.column),
            y: area.y + number(row),
            columns: number(text::width(&file.text).min(room - file.column)),
            address: hyperlink::of_file(&file.path),
        };
        visible.map(link).collect()
    }
}

/// Where the bag and the reports are.
pub(super) fn of_run(run: &RunView, view: View<'_>) -> Vec<Files> {
    let root = Path::new(view.snapshot.map_or("/", |snapshot| snapshot.root.as_str()));
    let steps = run.steps.iter().filter(|step| !step.files.is_empty());
    let of_step = |step: &StepView| {
        let mut column = COLUMN;
        let files = step.files.iter().map(|file| {
            let path = root.join(file);
            let below = path.strip_prefix(root).unwrap_or(&path);
            let text = text::shown(&below.display().to_string());
            let file = File {
                column,
                path: path.clone(),
                text,
            };
            column += text::width(&file.text) + BETWEEN.len();
            file
        });
        Files {
            files: files.collect(),
            label: match step.brief.step.as_str() {
                "archive" => "bag".to_owned(),
                name => text::shown(name),
            },
        }
    };
    steps.map(of_step).collect()
}
