//! Times and spans as a person types them.

use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use chrono::NaiveDate;
use runchain_core::Millis;

const UNITS: [(&str, i64); 6] = [
    ("ms", 1),
    ("min", 60_000),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// The time that an option gives, if it is given.
///
/// # Errors
/// When it is no time.
pub(super) fn time(option: &str, text: Option<&str>, now: Millis) -> Outcome<Option<Millis>> {
    let Some(text) = text else { return Ok(None) };
    moment(text, now).map(Some).ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            format!(
                "{option} {text:?} is no time; give an age such as 2h or 7d, a date, or 2026-01-31T12:00:00Z"
            ),
        )
    })
}

/// The span that an option gives.
///
/// # Errors
/// When it is no span.
pub(super) fn span_ms(option: &str, text: &str) -> Outcome<i64> {
    span(text).ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            format!("{option} {text:?} is no span of time; give 30s, 10min, 2h or 7d"),
        )
    })
}

/// `2026-01-31 12:00:00`
pub(super) fn utc(at: Millis) -> String {
    let text: String = at.iso().chars().take(19).collect();
    text.replacen('T', " ", 1)
}

/// An age (`90s`, `30min`, `2h`, `7d`), a date, or a timestamp. Without an offset it is UTC, as
/// everything that is printed.
fn moment(text: &str, now: Millis) -> Option<Millis> {
    if let Some(span_ms) = span(text) {
        return Some(now.plus(-span_ms));
    }
    if let Ok(date) = NaiveDate::parse_from_str(text.trim(), "%Y-%m-%d") {
        return Some(Millis(date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis()));
    }
    Millis::parse_iso(text)
}

fn span(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<i64>().ok()?.checked_mul(*unit_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_an_age_a_date_or_a_timestamp() {
        let now = Millis(1_764_168_412_742);
        for (text, expected) in [
            ("2h", now.plus(-7_200_000)),
            ("30 min", now.plus(-1_800_000)),
            ("90s", now.plus(-90_000)),
            ("7d", now.plus(-604_800_000)),
            ("2025-11-26", Millis(1_764_115_200_000)),
            ("2025-11-26T14:46:52.742Z", now),
            ("2025-11-26 15:46:52.742+01:00", now),
        ] {
            assert_eq!(moment(text, now), Some(expected), "{text}");
        }
        for text in [
            "",
            "h",
            "yesterday",
            "2 fortnights",
            "99999999999999999999d",
            "-2h",
        ] {
            assert_eq!(moment(text, now), None, "{text}");
        }
    }

    #[test]
    fn a_span_has_a_unit() {
        assert_eq!(span("10min"), Some(600_000));
        assert_eq!(["10", "", "min", "1 year"].map(span), [None; 4]);
    }
}
