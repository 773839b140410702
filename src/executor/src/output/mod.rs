//! What a person or a script reads: tables, JSON, lines; colour, ages, sizes.
//!
//! Invariant: text that others wrote (run ids, errors, paths) can't move the cursor of who reads
//! it: it passes [`clean`] first. A reader that goes away (`| head`) is no failure. What does not
//! belong here: deciding what to say.

pub(crate) mod hyperlink;
pub(crate) mod paint;
mod table;
mod wrap;

pub(crate) use table::{Cell, Column};

use crate::cli::{Color, GlobalArgs};
use anstream::ColorChoice;
use anstyle::{AnsiColor, Style};
use paint::FAINT;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use unicode_width::UnicodeWidthStr;

const HEADER: Style = Style::new().bold();
const ERROR: Style = AnsiColor::Red.on_default().bold();
const NOTE: Style = AnsiColor::Yellow.on_default();
/// Where the later lines of an entry begin.
const ENTRY_INDENT: usize = 4;
/// Nobody reads standard output any more.
static READER_IS_GONE: AtomicBool = AtomicBool::new(false);

/// How to print, from the command line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// JSON instead of text.
    pub(crate) json: bool,
    /// No notes.
    pub(crate) quiet: bool,
    /// When to colour.
    pub(crate) color: Color,
    /// Files are hyperlinks.
    pub(crate) hyperlinks: bool,
}

impl Output {
    /// Prints nothing but what is asked for.
    pub(crate) const SILENT: Self = Self {
        json: false,
        quiet: true,
        color: Color::Never,
        hyperlinks: false,
    };

    /// As the options say; sets the process's colours, which `auto` leaves to the terminal and to
    /// NO_COLOR.
    pub(crate) fn new(options: &GlobalArgs) -> Self {
        match options.color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        }
        .write_global();
        Self {
            json: options.json,
            quiet: options.quiet,
            color: options.color,
            hyperlinks: hyperlink::are_wanted(options.hyperlink),
        }
    }

    /// A line on standard output; on a terminal broken between words, not inside them, so that a command
    /// or a path can be copied.
    pub(crate) fn line(&self, text: &str) -> io::Result<()> {
        let width = columns_of_terminal().unwrap_or(usize::MAX);
        for line in wrap::between_words(&clean(text), width) {
            survive_reader(writeln!(anstream::stdout(), "{line}"))?;
        }
        Ok(())
    }

    /// A file with a label before it, on a line of its own that is never broken: a hyperlink where the
    /// terminal takes them. `path` is absolute, `shown` what stands for it.
    pub(crate) fn file(&self, label: &str, shown: &str, path: &Path) -> io::Result<()> {
        let (label, shown) = (clean(label), clean(shown));
        let line = if self.hyperlinks {
            let address = hyperlink::of_file(path);
            format!("{label}{}{shown}{}", hyperlink::begin(&address), hyperlink::END)
        } else {
            format!("{label}{shown}")
        };
        survive_reader(writeln!(io::stdout(), "{line}"))
    }

    /// Whether nobody reads any more: who goes on printing stops.
    pub(crate) fn reader_is_gone(&self) -> bool {
        READER_IS_GONE.load(Ordering::Relaxed)
    }

    /// A whole text of our own on standard output, as it is.
    pub(crate) fn text(&self, text: &str) -> io::Result<()> {
        survive_reader(io::stdout().write_all(text.as_bytes()))
    }

    /// A paragraph on standard output: its later lines stand below the first one's text, which begins
    /// at `indent`. Wrapped on a terminal, in a pipe never.
    pub(crate) fn paragraph(&self, label: &str, indent: usize, text: &str) -> io::Result<()> {
        self.labelled(label, HEADER, indent, text)
    }

    /// The same with a label in a colour.
    pub(crate) fn labelled(&self, label: &str, style: Style, indent: usize, text: &str) -> io::Result<()> {
        let room = room_of_paragraph(indent);
        let label = clean(label);
        let gap = indent.saturating_sub(label.width());
        let mut lines = wrap::between_words(&clean(text), room).into_iter();
        let first = lines.next().unwrap_or_default();
        let mut out = anstream::stdout();
        survive_reader(writeln!(out, "{style}{label}{style:#}{:gap$}{first}", ""))?;
        for line in lines {
            survive_reader(writeln!(out, "{:indent$}{line}", ""))?;
        }
        Ok(())
    }

    /// One of many lines on standard output: a mark (such as a time), a word in its colour, and what there
    /// is to say. Wrapped on a terminal, its later lines further in; in a pipe never.
    pub(crate) fn entry(&self, mark: &str, word: &str, style: Style, text: &str) -> io::Result<()> {
        let (mark, word) = (clean(mark), clean(word));
        let whole = format!("{mark}  {word}  {}", clean(text));
        let width = columns_of_terminal().unwrap_or(usize::MAX);
        let mut lines = wrap::hanging(whole.trim_end(), width, ENTRY_INDENT).into_iter();
        let first = lines.next().unwrap_or_default();
        let mut out = anstream::stdout();
        // A word that was wrapped itself is left as it is.
        let coloured = first
            .strip_prefix(&mark)
            .and_then(|rest| rest.strip_prefix("  "))
            .and_then(|rest| rest.strip_prefix(word.as_str()));
        match coloured {
            Some(rest) => survive_reader(writeln!(
                out,
                "{FAINT}{mark}{FAINT:#}  {style}{word}{style:#}{rest}"
            ))?,
            None => survive_reader(writeln!(out, "{first}"))?,
        }
        for line in lines {
            survive_reader(writeln!(out, "{line}"))?;
        }
        Ok(())
    }

    /// How many lines [`Output::rows`] takes.
    pub(crate) fn height_of_rows(&self, columns: &[Column], rows: &[Vec<Cell>]) -> usize {
        table::render(columns, rows, columns_of_terminal()).len()
    }

    /// How many lines [`Output::paragraph`] takes.
    pub(crate) fn height_of_paragraph(&self, indent: usize, text: &str) -> usize {
        wrap::between_words(&clean(text), room_of_paragraph(indent)).len()
    }

    /// A word in its colour and a sentence, on one line however long that is: for probes.
    pub(crate) fn one_line(&self, word: &str, style: Style, text: &str) -> io::Result<()> {
        let (word, text) = (clean(word), clean(text));
        survive_reader(writeln!(anstream::stdout(), "{style}{word}{style:#}: {text}"))
    }

    /// A remark on standard error, unless `--quiet`.
    pub(crate) fn note(&self, text: &str) -> io::Result<()> {
        if self.quiet {
            return Ok(());
        }
        told("note", NOTE, text)
    }

    /// A line about what happens, on standard error, unless `--quiet`.
    pub(crate) fn progress(&self, text: &str) -> io::Result<()> {
        if self.quiet {
            return Ok(());
        }
        for line in wrap::between_words(&clean(text), columns(&io::stderr()).unwrap_or(usize::MAX)) {
            survive_reader(writeln!(anstream::stderr(), "{line}"))?;
        }
        Ok(())
    }

    /// A failure on standard error; with `--json` as an object with its exit code.
    pub(crate) fn error(&self, error: &dyn std::fmt::Display, exit_code: u8) -> io::Result<()> {
        let text = error.to_string();
        if self.json {
            let object = serde_json::json!({"error": text, "exit_code": exit_code});
            return survive_reader(writeln!(anstream::stderr(), "{object}"));
        }
        for line in text.lines() {
            told("error", ERROR, line)?;
        }
        Ok(())
    }

    /// Any value as JSON on standard output.
    pub(crate) fn print_json<T: Serialize>(&self, value: &T) -> io::Result<()> {
        let text = serde_json::to_string_pretty(value)?;
        survive_reader(writeln!(io::stdout(), "{text}"))
    }

    /// Any value as one line of JSON on standard output, at once: for what follows something.
    pub(crate) fn json_line<T: Serialize>(&self, value: &T) -> io::Result<()> {
        let text = serde_json::to_string(value)?;
        survive_reader(writeln!(io::stdout(), "{text}"))
    }

    /// Rows below a header whose last column holds sentences: as [`Output::rows`].
    pub(crate) fn table<R: IntoIterator<Item = String>>(
        &self,
        header: &[&'static str],
        rows: impl IntoIterator<Item = R>,
    ) -> io::Result<()> {
        let last = header.len().saturating_sub(1);
        let columns: Vec<Column> = header
            .iter()
            .enumerate()
            .map(|(index, &title)| {
                if index == last {
                    Column::text(title)
                } else {
                    Column::word(title)
                }
            })
            .collect();
        let rows = rows
            .into_iter()
            .map(|row| row.into_iter().map(Cell::from).collect());
        self.rows(&columns, rows)
    }

    /// Rows below a header, aligned; on a terminal they fit its width, in a pipe each is one line.
    pub(crate) fn rows(
        &self,
        columns: &[Column],
        rows: impl IntoIterator<Item = Vec<Cell>>,
    ) -> io::Result<()> {
        let mut out = anstream::stdout();
        let rows: Vec<Vec<Cell>> = rows.into_iter().collect();
        for line in table::render(columns, &rows, columns_of_terminal()) {
            survive_reader(writeln!(out, "{line}"))?;
        }
        Ok(())
    }
}

/// For the text of a paragraph: lines of more than a hundred columns are hard to read.
fn room_of_paragraph(indent: usize) -> usize {
    let width = columns_of_terminal().map_or(usize::MAX, |columns| columns.clamp(20, 100));
    width.saturating_sub(indent)
}

/// A word and a sentence on standard error; on a terminal broken between words.
fn told(word: &str, style: Style, text: &str) -> io::Result<()> {
    let width = columns(&io::stderr()).unwrap_or(usize::MAX);
    let whole = format!("{word}: {}", clean(text));
    let mut lines = wrap::between_words(&whole, width).into_iter();
    let first = lines.next().unwrap_or_default();
    let rest = first.strip_prefix(word).unwrap_or(&first);
    survive_reader(writeln!(anstream::stderr(), "{style}{word}{style:#}{rest}"))?;
    for line in lines {
        survive_reader(writeln!(anstream::stderr(), "{line}"))?;
    }
    Ok(())
}

/// Columns of the terminal on standard output, when it is one.
fn columns_of_terminal() -> Option<usize> {
    columns(&io::stdout())
}

/// Lines of the terminal on standard output, when it is one.
pub(crate) fn lines_of_terminal() -> Option<usize> {
    let lines = terminal_size(&io::stdout())?.ws_row;
    (lines > 0).then(|| usize::from(lines))
}

fn columns(stream: &(impl IsTerminal + AsFd)) -> Option<usize> {
    let columns = terminal_size(stream)?.ws_col;
    (columns > 0).then(|| usize::from(columns))
}

fn terminal_size(stream: &(impl IsTerminal + AsFd)) -> Option<rustix::termios::Winsize> {
    if !stream.is_terminal() {
        return None;
    }
    rustix::termios::tcgetwinsize(stream).ok()
}

/// A closed pipe ends what is printed, not what is done.
fn survive_reader(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            READER_IS_GONE.store(true, Ordering::Relaxed);
            Ok(())
        }
        other => other,
    }
}

/// Escapes what acts on a terminal instead of showing: control characters, line and paragraph
/// separators, and the characters that reorder text.
pub(crate) fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for character in text.chars() {
        let acts = character.is_control()
            || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if acts {
            cleaned.extend(character.escape_default());
        } else {
            cleaned.push(character);
        }
    }
    cleaned
}

/// A span of time in its largest unit, for columns: `250 ms`, `42 s`, `3 min`, `2 h`, `4 d`.
pub(crate) fn age(span_ms: i64) -> String {
    let text = duration(span_ms);
    let words: Vec<&str> = text.split(' ').take(2).collect();
    words.join(" ")
}

/// A span of time in its two largest units: `250 ms`, `42 s`, `3 min 5 s`, `2 h`, `4 d 1 h`.
pub(crate) fn duration(span_ms: i64) -> String {
    const UNITS: [(i64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    if span_ms < 1_000 {
        return format!("{} ms", span_ms.max(0));
    }
    let seconds = span_ms / 1_000;
    let largest = UNITS
        .iter()
        .position(|&(size, _)| seconds >= size)
        .unwrap_or(UNITS.len() - 1);
    let (size, unit) = UNITS[largest];
    let mut text = format!("{} {unit}", seconds / size);
    if let Some((smaller, unit)) = UNITS.get(largest + 1) {
        let rest = seconds % size / smaller;
        if rest > 0 {
            // Writing to a string can't fail.
            let _ = write!(text, " {rest} {unit}");
        }
    }
    text
}

/// A size in binary units: `512 B`, `1.5 KiB`, `20 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    // Tenths, so that no float rounds 1023.96 KiB to "1024.0 KiB".
    let mut tenths = u128::from(bytes) * 10 / 1024;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    match (tenths / 10, tenths % 10) {
        (whole, tenth) if whole >= 10 || tenth == 0 => format!("{whole} {}", UNITS[unit]),
        (whole, tenth) => format!("{whole}.{tenth} {}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_can_t_act_on_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\r\n\0"), "a\\u{1b}[2Jb\\r\\n\\u{0}");
        assert_eq!(
            clean("\u{202e}gpj.exe\u{2066}\u{9b}"),
            "\\u{202e}gpj.exe\\u{2066}\\u{9b}"
        );
        assert_eq!(clean("plain \"text\" é 🦀"), "plain \"text\" é 🦀");
    }

    #[test]
    fn durations_and_sizes_read_as_people_say_them() {
        let spans = [-5, 0, 999, 1_000, 59_999, 185_000, 7_200_000, 349_200_000];
        assert_eq!(
            spans.map(duration),
            [
                "0 ms",
                "0 ms",
                "999 ms",
                "1 s",
                "59 s",
                "3 min 5 s",
                "2 h",
                "4 d 1 h"
            ]
        );
        assert_eq!([999, 185_000, 349_200_000].map(age), ["999 ms", "3 min", "4 d"]);
        let sizes = [0, 1_023, 1_024, 1_536, 20 * 1024 * 1024, 1_048_575, u64::MAX];
        assert_eq!(
            sizes.map(size),
            [
                "0 B", "1023 B", "1 KiB", "1.5 KiB", "20 MiB", "1023 KiB", "15 EiB"
            ]
        );
    }
}
