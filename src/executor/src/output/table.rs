//! Rows below a header, laid out for the width that there is.
//!
//! Invariants: on a terminal no line is longer than its width, and nothing is cut off: what doesn't fit
//! is wrapped, or stands beneath its row. In a pipe every row is one line. What does not belong here:
//! where it is printed.

use super::clean;
use super::wrap::{broken, wrapped};
use anstyle::Style;
use std::fmt::Write as _;
use unicode_width::UnicodeWidthStr;

const HEADER: Style = Style::new().bold();
/// Between two columns.
const GAP: usize = 2;
/// A text that has less room than this stands beneath its row.
const LEAST_TEXT: usize = 34;
/// A column of words is not made narrower than this.
const LEAST_WORD: usize = 8;
/// What stands beneath a row begins here.
const INDENT: usize = 4;

/// How the cells of a column give way where there is too little room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// Last of all.
    Word,
    /// The same, to the right.
    Number,
    /// First: wrapped between words, or beneath its row.
    Text,
}

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    title: &'static str,
    fit: Fit,
}

impl Column {
    /// Short words: ids, states, times.
    pub(crate) const fn word(title: &'static str) -> Self {
        Self {
            title,
            fit: Fit::Word,
        }
    }

    /// Numbers, to the right.
    pub(crate) const fn number(title: &'static str) -> Self {
        Self {
            title,
            fit: Fit::Number,
        }
    }

    /// Sentences.
    pub(crate) const fn text(title: &'static str) -> Self {
        Self {
            title,
            fit: Fit::Text,
        }
    }
}

/// What stands in a row and a column.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A text in a colour.
    pub(crate) fn styled(text: impl Into<String>, style: Style) -> Self {
        Self {
            style,
            ..Self::from(text.into())
        }
    }

    fn width(&self) -> usize {
        self.text.width()
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self {
            text: clean(&text),
            style: Style::new(),
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

/// The lines of a table, the header first. `width` is the terminal's; none in a pipe.
pub(super) fn render(columns: &[Column], rows: &[Vec<Cell>], width: Option<usize>) -> Vec<String> {
    let layout = Layout::of(columns, rows, width);
    let header: Vec<Cell> = columns
        .iter()
        .map(|column| Cell::styled(column.title, HEADER))
        .collect();
    let mut lines = layout.in_columns(columns, &header);
    for row in rows {
        lines.extend(layout.in_columns(columns, row));
        lines.extend(layout.beneath(columns, row));
    }
    lines
}

/// Where everything stands.
struct Layout {
    /// Of each column; none where it stands beneath.
    widths: Vec<Option<usize>>,
    /// Of the terminal.
    width: usize,
}

impl Layout {
    fn of(columns: &[Column], rows: &[Vec<Cell>], width: Option<usize>) -> Self {
        let natural: Vec<usize> = columns
            .iter()
            .enumerate()
            .map(|(index, column)| {
                let cells = rows.iter().filter_map(|row| row.get(index)).map(Cell::width);
                cells.max().unwrap_or(0).max(column.title.width())
            })
            .collect();
        let whole = |widths: &[usize]| widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
        let Some(width) = width.filter(|width| whole(&natural) > *width) else {
            return Self {
                widths: natural.into_iter().map(Some).collect(),
                width: width.unwrap_or(usize::MAX),
            };
        };
        let pick = |text: bool| -> Vec<usize> {
            let meant = |index: &usize| (columns[*index].fit == Fit::Text) == text;
            (0..columns.len()).filter(meant).collect()
        };
        let (words, texts) = (pick(false), pick(true));
        let of_words: Vec<usize> = words.iter().map(|&index| natural[index]).collect();
        let room = width.saturating_sub(whole(&of_words) + GAP * texts.len());
        let mut widths = vec![None; columns.len()];
        if !texts.is_empty() && room >= LEAST_TEXT * texts.len() {
            share(&mut widths, &texts, &natural, room);
            for index in words {
                widths[index] = Some(natural[index]);
            }
        } else {
            let room = width.saturating_sub(GAP * words.len().saturating_sub(1));
            let narrowed = narrowed(&of_words, room);
            for (index, narrow) in words.into_iter().zip(narrowed) {
                widths[index] = Some(narrow);
            }
        }
        Self { widths, width }
    }

    /// A row's cells that stand in columns; more than one line where a cell is wrapped.
    fn in_columns(&self, columns: &[Column], row: &[Cell]) -> Vec<String> {
        let cells: Vec<(usize, Fit, &Cell, Vec<String>)> = columns
            .iter()
            .zip(&self.widths)
            .zip(row)
            .filter_map(|((column, width), cell)| {
                let width = (*width)?;
                let lines = match column.fit {
                    Fit::Text => wrapped(&cell.text, width),
                    Fit::Word | Fit::Number => broken(&cell.text, width),
                };
                Some((width, column.fit, cell, lines))
            })
            .collect();
        let height = cells.iter().map(|(.., lines)| lines.len()).max().unwrap_or(0);
        (0..height)
            .map(|at| {
                let mut line = Line::default();
                for (width, fit, cell, lines) in &cells {
                    let text = lines.get(at).map_or("", String::as_str);
                    line.cell(text, *width, *fit, cell.style);
                }
                line.text
            })
            .collect()
    }

    /// A row's texts for which there is no column.
    fn beneath(&self, columns: &[Column], row: &[Cell]) -> Vec<String> {
        let without: Vec<(&Column, &Cell)> = columns
            .iter()
            .zip(&self.widths)
            .zip(row)
            .filter(|((_, width), _)| width.is_none())
            .map(|((column, _), cell)| (column, cell))
            .collect();
        let is_labelled = without.len() > 1;
        let told = without
            .into_iter()
            .filter(|(_, cell)| !matches!(cell.text.as_str(), "" | "-"));
        told.flat_map(|(column, cell)| {
            let text = if is_labelled {
                format!("{}: {}", column.title.to_lowercase(), cell.text)
            } else {
                cell.text.clone()
            };
            let style = cell.style;
            let lines = wrapped(&text, self.width.saturating_sub(INDENT));
            lines
                .into_iter()
                .map(move |line| format!("{:INDENT$}{style}{line}{style:#}", ""))
        })
        .collect()
    }
}

/// Gives each of these columns what it needs or an equal share of the room, the narrowest first.
fn share(widths: &mut [Option<usize>], columns: &[usize], natural: &[usize], room: usize) {
    let mut columns = columns.to_vec();
    columns.sort_by_key(|&index| natural[index]);
    let (mut room, mut left) = (room, columns.len());
    for index in columns {
        let width = natural[index].min(room / left);
        widths[index] = Some(width);
        room -= width;
        left -= 1;
    }
}

/// Takes from the widest until all fit.
fn narrowed(natural: &[usize], room: usize) -> Vec<usize> {
    let mut widths = natural.to_vec();
    while widths.iter().sum::<usize>() > room {
        let Some(widest) = widths.iter_mut().max_by_key(|width| **width) else {
            break;
        };
        if *widest <= LEAST_WORD {
            break;
        }
        *widest -= 1;
    }
    widths
}

/// A line in the making: what fills it up to the next cell is written only when that has text.
#[derive(Default)]
struct Line {
    text: String,
    /// Columns that are still to be filled with spaces.
    pending: usize,
}

impl Line {
    fn cell(&mut self, text: &str, width: usize, fit: Fit, style: Style) {
        let free = width.saturating_sub(text.width());
        let before = if fit == Fit::Number { free } else { 0 };
        if text.is_empty() {
            self.pending += width + GAP;
            return;
        }
        // Not by a width of the format: that ends at 65,535.
        self.text.extend(std::iter::repeat_n(' ', self.pending + before));
        // Writing to a string can't fail.
        let _ = write!(self.text, "{style}{text}{style:#}");
        self.pending = free - before + GAP;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [
        Column::word("RUN"),
        Column::number("N"),
        Column::text("WHAT"),
        Column::text("WHY"),
    ];

    fn rows() -> Vec<Vec<Cell>> {
        let row = |run: &str, number: &str, what: &str, why: &str| {
            [run, number, what, why].map(Cell::from).to_vec()
        };
        vec![
            row(
                "run-1",
                "7",
                "the disk was full when the bag was staged",
                "nobody looked",
            ),
            row("run-22", "12", "", "-"),
        ]
    }

    fn plain(columns: &[Column], rows: &[Vec<Cell>], width: Option<usize>) -> Vec<String> {
        let lines = render(columns, rows, width);
        lines
            .iter()
            .map(|line| anstream::adapter::strip_str(line).to_string())
            .collect()
    }

    #[test]
    fn a_pipe_has_one_line_for_each_row() {
        assert_eq!(
            plain(&COLUMNS, &rows(), None),
            [
                "RUN      N  WHAT                                       WHY",
                "run-1    7  the disk was full when the bag was staged  nobody looked",
                "run-22  12                                             -",
            ]
        );
    }

    #[test]
    fn texts_share_the_room_that_words_leave() {
        assert_eq!(
            plain(&COLUMNS[..3], &rows(), Some(50)),
            [
                "RUN      N  WHAT",
                "run-1    7  the disk was full when the bag was",
                "            staged",
                "run-22  12",
            ]
        );
    }

    #[test]
    fn texts_without_room_stand_beneath_with_their_names() {
        assert_eq!(
            plain(&COLUMNS, &rows(), Some(30)),
            [
                "RUN      N",
                "run-1    7",
                "    what: the disk was full",
                "    when the bag was staged",
                "    why: nobody looked",
                "run-22  12",
            ]
        );
    }

    #[test]
    fn no_line_is_longer_than_the_terminal_and_no_letter_is_lost() {
        let id = "x".repeat(300);
        let wide = "長".repeat(100);
        let rows = vec![vec![
            Cell::from(id.as_str()),
            Cell::from("1"),
            Cell::from(wide.as_str()),
            Cell::from("b"),
        ]];
        for width in [20, 40, 80, 200] {
            let lines = plain(&COLUMNS, &rows, Some(width));
            assert!(lines.iter().all(|line| line.width() <= width), "{lines:#?}");
            let count = |letter: char| {
                lines
                    .iter()
                    .flat_map(|line| line.chars())
                    .filter(|&one| one == letter)
                    .count()
            };
            assert_eq!((count('x'), count('長')), (300, 100));
        }
    }

    #[test]
    fn colour_stands_around_the_text_only() {
        let red = anstyle::AnsiColor::Red.on_default();
        let lines = render(
            &COLUMNS[..2],
            &[vec![Cell::styled("a", red), Cell::from("1")]],
            None,
        );
        assert_eq!(lines[1], "\u{1b}[31ma\u{1b}[0m    1");
    }
}
