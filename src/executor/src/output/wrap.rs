//! Breaking text that is too wide. Widths are those of the terminal: a letter may take two columns.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Breaks a text between words; a word that is wider than the room is broken, too.
pub(super) fn wrapped(text: &str, room: usize) -> Vec<String> {
    joined(text, room, room, |word| broken(word, room))
}

/// The same with later lines further in: those have less room.
pub(super) fn hanging(text: &str, width: usize, indent: usize) -> Vec<String> {
    let room = width.saturating_sub(indent).max(1);
    let lines = joined(text, width, room, |word| broken(word, room));
    let indented = |(nth, line): (usize, String)| {
        if nth == 0 {
            line
        } else {
            format!("{:indent$}{line}", "")
        }
    };
    lines.into_iter().enumerate().map(indented).collect()
}

/// Breaks a text between words, and nowhere else.
pub(super) fn between_words(text: &str, room: usize) -> Vec<String> {
    joined(text, room, room, |word| vec![word.to_owned()])
}

/// Puts words on lines: the first has `first` columns, the others `room`.
fn joined(text: &str, first: usize, room: usize, parts: impl Fn(&str) -> Vec<String>) -> Vec<String> {
    // Spaces at the beginning align it with what stands above.
    let spaces = text.len() - text.trim_start_matches(' ').len();
    let mut lines = vec![" ".repeat(spaces)];
    for word in text[spaces..].split(' ') {
        for (nth, part) in parts(word).into_iter().enumerate() {
            let room = if lines.len() == 1 { first } else { room };
            match lines.last_mut() {
                Some(line) if line.trim().is_empty() => line.push_str(&part),
                Some(line) if nth == 0 && line.width() + 1 + part.width() <= room => {
                    line.push(' ');
                    line.push_str(&part);
                }
                _ => lines.push(part),
            }
        }
    }
    lines
}

/// Breaks a text wherever the room ends.
pub(super) fn broken(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut width = 0;
    for character in text.chars() {
        let wide = character.width().unwrap_or(0);
        if width > 0 && width + wide > room {
            lines.push(String::new());
            width = 0;
        }
        width += wide;
        if let Some(line) = lines.last_mut() {
            line.push(character);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paragraph_is_broken_between_words() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(
            wrapped("a-word-that-is-long x", 6),
            ["a-word", "-that-", "is-lon", "g x"]
        );
        assert_eq!(wrapped("one two", usize::MAX), ["one two"]);
        assert_eq!(wrapped("", 5), [""]);
        assert_eq!(between_words("a-long-word x", 5), ["a-long-word", "x"]);
        assert_eq!(
            hanging("one two three four", 9, 2),
            ["one two", "  three", "  four"]
        );
    }

    #[test]
    fn wide_letters_take_two_columns() {
        assert_eq!(broken("長長長a", 4), ["長長", "長a"]);
    }
}
