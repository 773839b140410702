//! How times, spans and commands are worded. Foreign text is cut and can't move a cursor.

use crate::Millis;

pub(super) use crate::validate::wording::shown;

/// A span in its largest unit: `42 s`, `3 min`, `2 h`, `4 d`.
#[must_use]
pub fn age(span_ms: i64) -> String {
    crate::validate::wording::age(span_ms.max(0))
}

/// `2026-01-31 12:00:00 UTC`
pub(super) fn utc(at: Millis) -> String {
    let text: String = at.iso().chars().take(19).collect();
    format!("{} UTC", text.replacen('T', " ", 1))
}

/// `3 min ago`, `in 3 min (2026-01-31 12:00:00 UTC)`
pub(super) fn when(at: Millis, now: Millis) -> String {
    if at <= now {
        format!("{} ago", age(now.since(at)))
    } else {
        format!("in {} ({})", age(at.since(now)), utc(at))
    }
}

/// `, by ann(1000)@box: disk full`
pub(super) fn by(actor: Option<&str>, reason: Option<&str>) -> String {
    let actor = actor.map_or_else(
        || " by somebody who gave no name".to_owned(),
        |actor| format!(" by {}", shown(actor)),
    );
    let reason = reason.map_or_else(String::new, |reason| format!(": {}", shown(reason)));
    format!("{actor}{reason}")
}

/// `1 step`, `3 steps`
#[must_use]
pub fn count(number: i64, thing: &str) -> String {
    crate::validate::wording::count(number, thing)
}

/// A SQL literal.
pub(super) fn literal(text: &str) -> String {
    crate::mapping::literal(text)
}

/// One argument as a person types it into a shell. Control characters need the `$'...'` of bash, zsh
/// and ksh.
#[must_use]
pub fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument.to_owned();
    }
    // Also what a terminal acts on instead of showing it.
    let acts = |c: char| c.is_control() || !(c.is_ascii() || c.is_alphanumeric());
    if !argument.chars().any(acts) {
        // Easier to read where nothing in it means anything inside double quotes.
        if argument.contains('\'') && !argument.contains(['"', '$', '`', '\\', '!']) {
            return format!("\"{argument}\"");
        }
        return format!("'{}'", argument.replace('\'', "'\\''"));
    }
    let mut text = String::from("$'");
    for c in argument.chars() {
        match c {
            '\'' | '\\' => {
                text.push('\\');
                text.push(c);
            }
            c if acts(c) => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    // Three octal digits always end the escape, whatever follows.
                    text.push_str(&format!("\\{byte:03o}"));
                }
            }
            c => text.push(c),
        }
    }
    text.push('\'');
    text
}
