//! Words of a frame: foreign text made harmless, cut and broken to fit.

use crate::output;
use runchain_core::Millis;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Lines of what went wrong.
const TOLD_LINES: usize = 4;

/// Text that others wrote, so that it can't act on the terminal.
pub(super) fn shown(text: &str) -> String {
    output::clean(text)
}

/// Columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// The beginning of a text, so that it fits.
pub(super) fn cut(text: &str, room: usize, mark: &str) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut taken = width(mark);
    for letter in text.chars() {
        taken += letter.width().unwrap_or(0);
        if taken > room {
            break;
        }
        kept.push(letter);
    }
    if room > 0 {
        kept.push_str(mark);
    }
    kept
}

/// The end of a text, so that it fits.
pub(super) fn cut_start(text: &str, room: usize, mark: &str) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let mut kept: Vec<char> = Vec::new();
    let mut taken = width(mark);
    for letter in text.chars().rev() {
        taken += letter.width().unwrap_or(0);
        if taken > room {
            break;
        }
        kept.push(letter);
    }
    kept.extend(mark.chars());
    kept.into_iter().rev().collect()
}

/// A text in lines that fit, broken between words where that is possible.
pub(super) fn wrapped(text: &str, room: usize) -> Vec<String> {
    let room = room.max(1);
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let mut word = word.to_owned();
        if !line.is_empty() && width(&line) + 1 + width(&word) > room {
            lines.push(std::mem::take(&mut line));
        }
        while width(&word) > room {
            let head = cut(&word, room, "");
            // One letter that is wider than the room would never fit.
            let head = if head.is_empty() { word.clone() } else { head };
            word = word[head.len()..].to_owned();
            lines.push(head);
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    lines.push(line);
    lines
}

/// What went wrong, in few lines. Of several lines the first, which says whose it is, and the last ones:
/// there a stack trace says what it is about.
pub(super) fn told(error: &str, room: usize, mark: &str) -> Vec<String> {
    let mut lines = error
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.trim().is_empty());
    let first = wrapped(&shown(lines.next().unwrap_or_default()), room);
    let mut rest: Vec<String> = lines.flat_map(|line| wrapped(&shown(line), room)).collect();
    let left = TOLD_LINES - usize::from(!rest.is_empty());
    let mut told: Vec<String> = first.into_iter().take(left).collect();
    let left = TOLD_LINES - told.len();
    if rest.len() > left {
        rest.drain(..rest.len() - left);
        rest[0] = format!("{} {}", mark, rest[0].trim_start());
        rest[0] = cut(&rest[0], room, mark);
    }
    told.extend(rest);
    told
}

/// `12 s`, `3 min`; to the second.
pub(super) fn age(since: Millis, now: Millis) -> String {
    output::age(now.since(since) / 1_000 * 1_000).replace("0 ms", "0 s")
}

/// A span between two moments, in its two largest units.
pub(super) fn span(from: Millis, to: Millis) -> String {
    output::duration(to.since(from))
}

/// How long until then.
pub(super) fn until(at: Millis, now: Millis) -> String {
    // Rounded up: "in 0 s" would be now.
    let left_ms = at.since(now);
    output::age((left_ms + 999) / 1_000 * 1_000).replace("0 ms", "0 s")
}

/// `14:02:31`, UTC.
pub(super) fn clock(at: Millis) -> String {
    at.iso().get(11..19).unwrap_or_default().to_owned()
}

/// `3 active`, `1 step`.
pub(super) fn number(count: i64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && digits.len() > 4 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 error`, `2 errors`.
pub(super) fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_by_columns_not_by_letters() {
        assert_eq!(cut("abcdef", 6, "…"), "abcdef");
        assert_eq!(cut("abcdef", 4, "…"), "abc…");
        assert_eq!(cut("日本語", 5, "…"), "日本…");
        assert_eq!(cut("日本語", 4, "…"), "日…");
        assert_eq!(cut("abc", 0, "…"), "");
        assert_eq!(cut_start("/a/b/c/d", 5, "…"), "…/c/d");
    }

    #[test]
    fn a_text_is_broken_between_words_and_long_words_anywhere() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrapped("", 3), [""]);
    }

    #[test]
    fn long_numbers_have_commas() {
        assert_eq!(
            [0, 1_204, 12_345, 1_000_000].map(number),
            ["0", "1204", "12,345", "1,000,000"]
        );
    }

    #[test]
    fn what_is_due_is_said_in_whole_seconds() {
        assert_eq!(until(Millis(7_001), Millis(0)), "8 s");
        assert_eq!(until(Millis(0), Millis(5)), "0 s");
        assert_eq!(age(Millis(0), Millis(999)), "0 s");
        assert_eq!(age(Millis(0), Millis(61_000)), "1 min");
    }

    #[test]
    fn of_a_stack_trace_the_last_lines_are_told() {
        let trace = "runs: Traceback (most recent call last):\n  File \"load.py\", line 12\n\n    price()\n  File \"x.py\"\nKeyError: 'price'\n";
        assert_eq!(
            told(trace, 60, "…"),
            [
                "runs: Traceback (most recent call last):",
                "… price()",
                "  File \"x.py\"",
                "KeyError: 'price'"
            ]
        );
        // A long line is told from its beginning.
        assert_eq!(
            told("one two three four five", 5, "…"),
            ["one", "two", "three", "four"]
        );
        assert_eq!(told("x: a\nb", 60, "…"), ["x: a", "b"]);
        assert_eq!(told("", 60, "…"), [""]);
    }
}
