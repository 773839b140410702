//! What a person or a script reads: tables, JSON, lines; colour, ages, sizes.
//!
//! Invariant: text that others wrote (run ids, errors, paths) can't move the cursor of who reads
//! it: it passes [`clean`] first. A reader that goes away (`| head`) is no failure. What does not
//! belong here: deciding what to say.

use crate::cli::{Color, GlobalArgs};
use anstream::ColorChoice;
use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

const HEADER: Style = Style::new().bold();
const ERROR: Style = AnsiColor::Red.on_default().bold();
const NOTE: Style = AnsiColor::Yellow.on_default();

/// How to print, from the command line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// JSON instead of text.
    pub(crate) json: bool,
    /// No notes.
    pub(crate) quiet: bool,
    /// When to colour.
    #[cfg(feature = "tui")]
    pub(crate) color: Color,
}

impl Output {
    /// Prints nothing but what is asked for.
    pub(crate) const SILENT: Self = Self {
        json: false,
        quiet: true,
        #[cfg(feature = "tui")]
        color: Color::Never,
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
            #[cfg(feature = "tui")]
            color: options.color,
        }
    }

    /// A line on standard output.
    pub(crate) fn line(&self, text: &str) -> io::Result<()> {
        survive_reader(writeln!(anstream::stdout(), "{}", clean(text)))
    }

    /// A paragraph on standard output: its later lines stand below the first one's text, which begins
    /// at `indent`. Wrapped on a terminal, in a pipe never.
    pub(crate) fn paragraph(&self, label: &str, indent: usize, text: &str) -> io::Result<()> {
        let width = terminal_columns().map_or(usize::MAX, |columns| usize::from(columns).clamp(40, 100));
        let room = width.saturating_sub(indent);
        let label = clean(label);
        let mut lines = wrapped(&clean(text), room).into_iter();
        let first = lines.next().unwrap_or_default();
        let mut out = anstream::stdout();
        survive_reader(writeln!(out, "{HEADER}{label:<indent$}{HEADER:#}{first}"))?;
        for line in lines {
            survive_reader(writeln!(out, "{:indent$}{line}", ""))?;
        }
        Ok(())
    }

    /// A remark on standard error, unless `--quiet`.
    pub(crate) fn note(&self, text: &str) -> io::Result<()> {
        if self.quiet {
            return Ok(());
        }
        survive_reader(writeln!(
            anstream::stderr(),
            "{NOTE}note{NOTE:#}: {}",
            clean(text)
        ))
    }

    /// A line about what happens, on standard error, unless `--quiet`.
    pub(crate) fn progress(&self, text: &str) -> io::Result<()> {
        if self.quiet {
            return Ok(());
        }
        survive_reader(writeln!(anstream::stderr(), "{}", clean(text)))
    }

    /// A failure on standard error; with `--json` as an object with its exit code.
    pub(crate) fn error(&self, error: &dyn std::fmt::Display, exit_code: u8) -> io::Result<()> {
        let text = error.to_string();
        if self.json {
            let object = serde_json::json!({"error": text, "exit_code": exit_code});
            return survive_reader(writeln!(anstream::stderr(), "{object}"));
        }
        for line in text.lines() {
            survive_reader(writeln!(
                anstream::stderr(),
                "{ERROR}error{ERROR:#}: {}",
                clean(line)
            ))?;
        }
        Ok(())
    }

    /// Any value as JSON on standard output.
    pub(crate) fn print_json<T: Serialize>(&self, value: &T) -> io::Result<()> {
        let text = serde_json::to_string_pretty(value)?;
        survive_reader(writeln!(io::stdout(), "{text}"))
    }

    /// Rows below a header, aligned; on a terminal wrapped to its width, in a pipe never.
    pub(crate) fn table<R: IntoIterator<Item = String>>(
        &self,
        header: &[&str],
        rows: impl IntoIterator<Item = R>,
    ) -> io::Result<()> {
        let mut out = anstream::stdout();
        let text = render(header, rows, terminal_columns());
        let mut lines = text.lines();
        let first = lines.next().unwrap_or("");
        survive_reader(writeln!(out, "{HEADER}{first}{HEADER:#}"))?;
        for line in lines {
            survive_reader(writeln!(out, "{line}"))?;
        }
        Ok(())
    }
}

/// Breaks a text between words; a word that is too long stands in a line of its own.
fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut();
        match last {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn render<R: IntoIterator<Item = String>>(
    header: &[&str],
    rows: impl IntoIterator<Item = R>,
    columns: Option<u16>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_header(header.iter().copied());
    match columns {
        Some(columns) => table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(columns),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    for row in rows {
        table.add_row(row.into_iter().map(|cell| clean(&cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().fold(String::new(), |mut text, line| {
        // Writing to a string can't fail.
        let _ = writeln!(text, "{}", line.trim_end());
        text
    })
}

/// Width of the terminal on standard output, when it is one.
fn terminal_columns() -> Option<u16> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&stdout).ok()?;
    (size.ws_col > 0).then_some(size.ws_col)
}

/// A closed pipe ends what is printed, not what is done.
fn survive_reader(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
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
    fn a_table_is_aligned_and_has_no_boxes() {
        let rows = [["run-1", "done"], ["a\nb", "é"]].map(|row| row.map(str::to_owned));
        assert_eq!(
            render(&["run", "state"], rows, None),
            "run    state\nrun-1  done\na\\nb   é\n"
        );
    }

    #[test]
    fn a_table_fits_the_terminal_and_a_pipe_is_never_wrapped() {
        let rows = || [["x".repeat(300), "done".to_owned()]];
        assert!(
            render(&["run", "state"], rows(), Some(80))
                .lines()
                .all(|line| line.chars().count() <= 80)
        );
        assert_eq!(render(&["run", "state"], rows(), None).lines().count(), 2);
    }

    #[test]
    fn a_paragraph_is_broken_between_words() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("a-word-that-is-long x", 5), ["a-word-that-is-long", "x"]);
        assert_eq!(wrapped("one two", usize::MAX), ["one two"]);
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
