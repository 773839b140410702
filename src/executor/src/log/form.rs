//! An entry as text.

use super::{Entry, Level};
use crate::output::clean;
use runchain_core::{Millis, RunId};
use serde::Serialize;

/// `2026-01-31T12:00:00.000+00:00 orders warn: can't watch the folder`
pub(super) fn human(entry: &Entry<'_>, instance: &str, now: Millis) -> String {
    let level = match entry.level {
        Level::Info => String::new(),
        level => format!(" {}", level.as_str()),
    };
    let mut lines = String::new();
    for text in entry.text.lines() {
        lines += &format!("{} {}{level}: {}\n", now.iso(), clean(instance), clean(text));
    }
    lines
}

#[derive(Serialize)]
struct Object<'a> {
    ts: String,
    level: &'a str,
    instance: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<&'a RunId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'a str>,
}

/// One object, and a newline.
pub(super) fn json(entry: &Entry<'_>, instance: &str, now: Millis) -> String {
    let object = Object {
        ts: now.iso(),
        level: entry.level.as_str(),
        instance,
        message: entry.text,
        run_id: entry.run_id,
        step: entry.step,
    };
    // A struct of strings always serialises.
    let mut text = serde_json::to_string(&object).unwrap_or_default();
    text.push('\n');
    text
}

/// `<4>text`: what the journal makes of a line on a stream.
pub(super) fn prefixed(entry: &Entry<'_>) -> String {
    let mut lines = String::new();
    for text in entry.text.lines() {
        lines += &format!("<{}>{}\n", priority(entry.level), clean(text));
    }
    lines
}

/// As syslog counts.
pub(super) fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_text_is_one_line_and_one_object() {
        let run_id = RunId("r\n1".to_owned());
        let entry = Entry {
            level: Level::Warn,
            text: "r\u{1b}[2J: \"archive\" failed",
            run_id: Some(&run_id),
            step: Some("archive"),
        };
        assert_eq!(
            human(&entry, "orders", Millis(0)),
            "1970-01-01T00:00:00.000+00:00 orders warn: r\\u{1b}[2J: \"archive\" failed\n"
        );
        assert_eq!(
            json(&entry, "orders", Millis(0)),
            concat!(
                r#"{"ts":"1970-01-01T00:00:00.000+00:00","level":"warn","instance":"orders","#,
                r#""message":"r\u001b[2J: \"archive\" failed","run_id":"r\n1","step":"archive"}"#,
                "\n"
            )
        );
        assert_eq!(prefixed(&entry), "<4>r\\u{1b}[2J: \"archive\" failed\n");
    }
}
