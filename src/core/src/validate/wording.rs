//! How findings word ages, sizes, foreign text and shell arguments.
//!
//! Invariant: text that came out of the user's data can't move the cursor of who reads it.

use std::path::Path;

/// Longest piece of the user's text that a finding repeats.
const SHOWN_CHARACTERS: usize = 60;

/// An age in its largest whole unit.
pub(crate) fn age(age_ms: i64) -> String {
    const UNITS: [(i64, &str); 4] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s")];
    UNITS
        .iter()
        .find(|(unit_ms, _)| age_ms >= 2 * unit_ms)
        .map_or_else(
            || format!("{age_ms} ms"),
            |(unit_ms, name)| format!("{} {name}", age_ms / unit_ms),
        )
}

/// `1 dead step`, `3 dead steps`, `10000 or more dead steps`.
pub(crate) fn count(count: i64, thing: &str) -> String {
    let more = if count >= super::backlog::COUNT_LIMIT {
        " or more"
    } else {
        ""
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count}{more} {thing}{plural}")
}

/// Foreign text, cut to a length that fits a sentence.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Control characters escaped; every finding's text goes through here.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// A path as one argument of a POSIX shell.
pub(super) fn argument(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', "'\\''"))
}
