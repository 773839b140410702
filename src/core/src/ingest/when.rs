//! When an event happened: the many ways in which logs write a moment.
//!
//! ISO 8601 with any offset and any number of decimals, and seconds, milliseconds, microseconds or
//! nanoseconds since 1970, as text or as number. What can't be read stays text, and is counted: a
//! wrong guess would put events into a wrong order for good.
//!
//! What does not belong here: times of our own (`crate::time`), which are always written the same.

use crate::Millis;
use chrono::{NaiveDate, NaiveTime};

/// The range of Python's `datetime`, years 1 to 9999; a time outside it stays text only.
const READABLE_MS: std::ops::RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

const MINUTE_MS: i64 = 60_000;

/// The moment that a JSON value means: `raw` as it was written, `text` what it says.
pub(super) fn read(raw: &str, text: &str) -> Option<Millis> {
    let ms = if raw.starts_with('"') {
        iso(text.as_bytes())
            .or_else(|| epoch_text(text))
            .or_else(|| dot_net(text))
    } else {
        epoch(raw)
    };
    ms.filter(|ms| READABLE_MS.contains(ms)).map(Millis)
}

/// A number below 1e11 is seconds (until the year 5138), and each unit begins where the one before it
/// would be as late.
fn epoch(number: &str) -> Option<i64> {
    let value: f64 = number.parse().ok()?;
    let ms = match value.abs() {
        size if size < 1e11 => value * 1e3,
        size if size < 1e14 => value,
        size if size < 1e17 => value / 1e3,
        _ => value / 1e6,
    };
    // Cut, as the decimals of a text are; a hundredth makes up for what a float can't say. `as` saturates,
    // and what is out of range is dropped by the caller.
    ms.is_finite().then(|| (ms + 0.01).floor() as i64)
}

/// A text of digits is a time only with as many of them as times since 1973 have: 20260301 is a date
/// that nobody has to guess.
fn epoch_text(text: &str) -> Option<i64> {
    let text = text.trim_ascii();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_epoch = is_digits(whole)
        && is_digits(fraction)
        && matches!(whole.len(), 9 | 10 | 12 | 13 | 15 | 16 | 18 | 19);
    if is_epoch { epoch(text) } else { None }
}

/// `/Date(1764168412742)/`, as Windows PowerShell 5.1 writes a date to JSON; an offset in it is for show.
fn dot_net(text: &str) -> Option<i64> {
    let inner = text.strip_prefix("/Date(")?.strip_suffix(")/")?;
    let end = inner.get(1..)?.find(['+', '-']).map_or(inner.len(), |at| at + 1);
    inner.get(..end)?.parse().ok()
}

/// ISO 8601: a date, then perhaps a time of day, then perhaps an offset; without one it is UTC.
fn iso(text: &[u8]) -> Option<i64> {
    let mut rest = Rest(text.trim_ascii());
    let year = rest.digits(4)?;
    let is_extended = rest.skip(b'-');
    let month = rest.digits(2)?;
    if rest.skip(b'-') != is_extended {
        return None;
    }
    let day = rest.digits(2)?;
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?;
    if rest.0.is_empty() {
        // Eight digits alone may be anything.
        return is_extended.then(|| milliseconds(date, NaiveTime::MIN));
    }
    if !(rest.skip(b'T') || rest.skip(b' ') || rest.skip(b't')) {
        return None;
    }
    let time = time_of_day(&mut rest)?;
    rest.0 = rest.0.trim_ascii_start();
    Some(milliseconds(date, time) - offset_ms(&mut rest)?)
}

fn milliseconds(date: NaiveDate, time: NaiveTime) -> i64 {
    date.and_time(time).and_utc().timestamp_millis()
}

/// `hh:mm`, `hhmm`, with seconds, with decimals after a dot or a comma.
fn time_of_day(rest: &mut Rest<'_>) -> Option<NaiveTime> {
    let hour = rest.digits(2)?;
    let is_extended = rest.skip(b':');
    let minute = rest.digits(2)?;
    let has_seconds = if is_extended {
        rest.skip(b':')
    } else {
        rest.0.first().is_some_and(u8::is_ascii_digit)
    };
    if !has_seconds {
        return NaiveTime::from_hms_opt(hour, minute, 0);
    }
    let second = rest.digits(2)?;
    let mut nanoseconds = 0;
    if rest.skip(b'.') || rest.skip(b',') {
        let length = rest.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (decimals, left) = rest.0.split_at(length);
        rest.0 = left;
        let digit = |index: usize| decimals.get(index).map_or(0, |byte| u32::from(byte - b'0'));
        // More than nine decimals are cut, not rounded.
        nanoseconds = (0..9).fold(0, |sum, index| sum * 10 + digit(index));
        decimals.first()?;
    }
    // A leap second is the last moment of its minute.
    if second == 60 {
        return NaiveTime::from_hms_nano_opt(hour, minute, 59, 999_999_999);
    }
    NaiveTime::from_hms_nano_opt(hour, minute, second, nanoseconds)
}

/// `Z`, `+01:00`, `+0100`, `+01`, `UTC`, or nothing; and nothing after it.
fn offset_ms(rest: &mut Rest<'_>) -> Option<i64> {
    if rest.0.is_empty() || matches!(rest.0, b"Z" | b"z" | b"UTC" | b"GMT") {
        return Some(0);
    }
    let sign = if rest.skip(b'+') {
        1
    } else if rest.skip(b'-') {
        -1
    } else {
        return None;
    };
    let hours = i64::from(rest.digits(2)?);
    let is_extended = rest.skip(b':');
    let minutes = match rest.0.len() {
        0 if !is_extended => 0,
        _ => i64::from(rest.digits(2)?),
    };
    let is_offset = rest.0.is_empty() && hours < 24 && minutes < 60;
    is_offset.then_some(sign * (hours * 60 + minutes) * MINUTE_MS)
}

/// What of a text is not read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    /// So many digits.
    fn digits(&mut self, count: usize) -> Option<u32> {
        let (digits, left) = self.0.split_at_checked(count)?;
        let mut number = 0;
        for byte in digits {
            number = number * 10 + u32::from(byte.is_ascii_digit().then(|| byte - b'0')?);
        }
        self.0 = left;
        Some(number)
    }

    fn skip(&mut self, byte: u8) -> bool {
        let found = self.0.first() == Some(&byte);
        if found {
            self.0 = &self.0[1..];
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::read;
    use crate::Millis;

    /// A JSON text, or a number.
    fn moment(json: &str) -> Option<i64> {
        let text = json.trim_matches('"');
        read(json, text).map(|Millis(ms)| ms)
    }

    #[test]
    fn every_way_of_writing_one_moment_reads_the_same() {
        for written in [
            r#""2025-11-26T14:46:52.742613+00:00""#,
            r#""2025-11-26T14:46:52.7426130Z""#,
            r#""2025-11-26T15:46:52.7426130+01:00""#,
            r#""2025-11-26T14:46:52.742Z""#,
            r#""2025-11-26t14:46:52.742z""#,
            r#""2025-11-26 14:46:52.742""#,
            r#""2025-11-26 14:46:52,742""#,
            r#""2025-11-26 14:46:52.742 UTC""#,
            r#""2025-11-26T14:46:52.742+0000""#,
            r#""2025-11-26T20:16:52.742613999999+05:30""#,
            r#""2025-11-26T06:46:52.742-08""#,
            r#""20251126T144652.742Z""#,
            r#""/Date(1764168412742)/""#,
            r#""/Date(1764168412742+0100)/""#,
            r#""1764168412.742""#,
            r#""1764168412742""#,
            r#""1764168412742613""#,
            "1764168412.742",
            "1764168412742",
            "1764168412742613",
            "1764168412742613000",
            "1.764168412742e9",
        ] {
            assert_eq!(moment(written), Some(1_764_168_412_742), "{written}");
        }
    }

    #[test]
    fn less_than_a_whole_time_is_its_beginning() {
        assert_eq!(moment(r#""2025-11-26T14:46Z""#), Some(1_764_168_360_000));
        assert_eq!(moment(r#""2025-11-26""#), Some(1_764_115_200_000));
        assert_eq!(moment(r#""2016-12-31T23:59:60Z""#), Some(1_483_228_799_999));
        assert_eq!(moment("0"), Some(0));
        assert_eq!(moment(r#""0001-01-01T00:00:00Z""#), Some(-62_135_596_800_000));
    }

    #[test]
    fn what_is_no_time_is_not_guessed() {
        for written in [
            r#""""#,
            r#""yesterday""#,
            r#""2025-13-01T00:00:00Z""#,
            r#""2025-02-30T00:00:00Z""#,
            r#""2025-11-26T25:00:00Z""#,
            r#""2025-11-26T14:46:52.Z""#,
            r#""2025-11-26T14:46:52+01:""#,
            r#""2025-11-26T14:46:52 Europe/Berlin""#,
            r#""2025-1126T14:46:52Z""#,
            r#""26/11/2025 14:46""#,
            r#""20251126""#,
            r#""20251126144652""#,
            r#""1e9""#,
            r#""-1764168412""#,
            r#""/Date()/""#,
            r#""0000-01-01T00:00:00Z""#,
            "1e300",
            "true",
        ] {
            assert_eq!(moment(written), None, "{written}");
        }
    }
}
